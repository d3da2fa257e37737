//! Command lines through the real parser, with an environment that each test defines.

mod config_file;
mod connection;
mod help;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use mde_cancel::cli::args::{Cli, Command, RunArgs, SandboxArgs};
use mde_cancel::cli::commands::serve_sandbox;
use mde_cancel::cli::failure::Failure;
use mde_cancel::cli::hint::ForwardedFlags;
use mde_cancel::cli::settings::{
    ConnectionSettings, Context, Settings, Sources, default_outputs, time_scale,
};
use mde_cancel::cli::{Color, ProgressMode};
use mde_cancel::engine::Precheck;
use mde_cancel::input::{Input, InputFormat};
use mde_cancel::model::{ActionStatus, ActionType, RunId};
use mde_cancel::sandbox::Latency;

use crate::support::table;

/// A fake secret that tests look for where no secret may appear.
const MARKER: &str = "s3cr3t-marker";

/// One test's command line and environment.
#[derive(Clone)]
#[must_use]
pub(super) struct Typing {
    words: Vec<OsString>,
    variables: Vec<(&'static str, OsString)>,
    default_state_dir: Option<PathBuf>,
    default_config: Option<PathBuf>,
}

/// Types `words`, separated by spaces, after the program's name.
pub(super) fn typing(words: &str) -> Typing {
    Typing {
        words: words.split_whitespace().map(OsString::from).collect(),
        variables: Vec::new(),
        default_state_dir: Some(PathBuf::from("state")),
        default_config: None,
    }
}

impl Typing {
    pub(super) fn word(mut self, word: impl Into<OsString>) -> Self {
        self.words.push(word.into());
        self
    }

    pub(super) fn words(mut self, words: &str) -> Self {
        self.words
            .extend(words.split_whitespace().map(OsString::from));
        self
    }

    pub(super) fn variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Sets a variable that overrides any other of its name.
    pub(super) fn first(mut self, name: &'static str, value: &str) -> Self {
        self.variables.insert(0, (name, value.into()));
        self
    }

    pub(super) fn without_state_dir(mut self) -> Self {
        self.default_state_dir = None;
        self
    }

    /// Puts a config file in the platform's default place.
    pub(super) fn config(mut self, path: impl Into<PathBuf>) -> Self {
        self.default_config = Some(path.into());
        self
    }

    pub(super) fn resolve(self) -> Result<Settings, Failure> {
        let sources = Sources {
            environment: &|name| {
                let mut all = self.variables.iter();
                let found = all.find(|(known, _)| *known == name);
                found.map(|(_, value)| value.clone())
            },
            default_state_dir: self.default_state_dir.clone(),
            default_config: self.default_config.clone(),
        };
        let name = OsString::from("mde-cancel");
        Settings::resolve(std::iter::once(name).chain(self.words.clone()), &sources)
    }

    pub(super) fn run(self) -> Run {
        let Settings {
            command, context, ..
        } = self.resolve().unwrap();
        match command {
            Command::Run(args) => Run {
                args: *args,
                context,
            },
            other => panic!("no run: {other:?}"),
        }
    }

    pub(super) fn connection(self) -> ConnectionSettings {
        self.run().context.into_connection().unwrap()
    }

    /// Returns the exit code and the error as the user sees it.
    pub(super) fn complaint(self) -> (u8, String) {
        let failure = self.resolve().unwrap_err();
        let text = failure.render(Color::Plain, &ForwardedFlags::default());
        (failure.exit.code(), text)
    }
}

/// A run, as it was typed and resolved.
pub(super) struct Run {
    pub(super) args: RunArgs,
    pub(super) context: Context,
}

fn service(words: &str) -> Typing {
    typing(&format!("run --yes a.csv {words}")).variable("MDE_CANCEL_TOKEN", MARKER)
}

#[test]
fn a_flag_that_the_plan_of_a_release_has_settled_is_refused_beside_it() {
    use clap::Parser as _;
    let plan = "mde-cancel release 019a2b3c --yes --plan 961c-2524-c3ed-07b1-4e02";
    assert!(Cli::try_parse_from(plan.split(' ')).is_ok());
    for flag in [
        "--comment=x",
        "--requestor=x",
        "--exclude-from=x",
        "--quota=10/1m",
        "--read-quota=10/1m",
        "--no-verify",
        "--verify-timeout=5m",
        "--max-failures=5",
    ] {
        let typed = plan.split(' ').chain([flag]);
        let error = Cli::try_parse_from(typed).unwrap_err();
        assert_eq!(
            error.kind(),
            clap::error::ErrorKind::ArgumentConflict,
            "{flag}"
        );
    }
}

#[test]
fn the_parser_of_the_command_line_is_sound() {
    use clap::CommandFactory as _;
    Cli::command().debug_assert();
}

/// Concurrency, attempts, time-out and grace.
fn tuned(run: &Run) -> [u64; 4] {
    let tuning = &run.args.send.tuning;
    [
        u64::from(tuning.concurrency),
        u64::from(tuning.max_attempts),
        tuning.timeout.as_secs(),
        tuning.timeout_grace.as_secs(),
    ]
}

#[test]
fn a_run_that_names_nothing_but_its_input_gets_the_documented_defaults() {
    let run = service("").run();
    assert_eq!(run.args.plan.input.inputs, [Input::File("a.csv".into())]);
    assert_eq!(run.args.plan.quota.cancels().to_string(), "100/1m, 1500/1h");
    assert_eq!(
        run.args.plan.quota.reads.reads().to_string(),
        "50/1m, 750/1h"
    );
    assert_eq!(run.args.send.tuning.rate.0.unwrap().to_string(), "50/1s");
    assert_eq!(tuned(&run), [16, 6, 30, 120]);
    assert_eq!(run.args.plan.precheck(), Precheck::ReadFirst);
    assert!(!run.args.send.no_verify && !run.args.asks());
    assert_eq!(run.args.send.verify_timeout, Duration::from_secs(120));
    assert_eq!(run.context.state_dir, Some(PathBuf::from("state")));
    assert!(run.args.plan.comment.is_none() && run.args.plan.allow_protected.is_empty());
    let connection = run.context.into_connection().unwrap();
    assert_eq!(
        connection.api_url.as_str(),
        "https://api.security.microsoft.com/"
    );
    assert_eq!(connection.cloud, "commercial");
    assert!(connection.tenant.is_none() && connection.client_id.is_none());
}

#[test]
fn every_flag_of_a_run_arrives() {
    let run = service(
        "- b.csv --comment why --id-column Id --input-format jsonl --no-precheck --no-verify \
         --allow-protected unisolate --allow-protected Unisolate,UnrestrictCodeExecution \
         --report one.csv --report - --quota 10/1m,20/1h --quota 5/1s --read-quota none --rate none \
         --concurrency 3 --max-attempts 2 --timeout 5s --timeout-grace 0s --state-dir there",
    )
    .run();
    assert_eq!(
        run.args.plan.input.inputs[1..],
        [Input::Stdin, Input::File("b.csv".into())]
    );
    assert_eq!(run.args.plan.comment.as_deref(), Some("why"));
    assert_eq!(run.args.plan.input.id_column.as_deref(), Some("Id"));
    assert_eq!(run.args.plan.input.input_format, InputFormat::Jsonl);
    assert_eq!(run.args.plan.precheck(), Precheck::Skip);
    assert!(run.args.send.no_verify);
    assert_eq!(
        run.args.plan.allow_protected,
        [
            ActionType::Unisolate,
            ActionType::Unisolate,
            ActionType::UnrestrictCodeExecution
        ]
    );
    assert_eq!(
        run.args.send.output.reports,
        [PathBuf::from("one.csv"), PathBuf::from("-")]
    );
    assert_eq!(
        run.args.plan.quota.cancels().to_string(),
        "10/1m, 20/1h, 5/1s"
    );
    assert!(run.args.plan.quota.reads.reads().is_empty() && run.args.send.tuning.rate.0.is_none());
    assert_eq!(tuned(&run), [3, 2, 5, 0]);
    assert_eq!(run.context.state_dir, Some(PathBuf::from("there")));
}

#[test]
fn a_sandbox_run_needs_no_consent_no_token_and_has_a_report_of_its_own() {
    let run = typing("run --sandbox a.csv").run();
    assert!(run.context.connections.unwrap().is_empty());
    assert_eq!([true, false].map(time_scale), [10, 1]);
    assert!(!run.args.asks());
    let id = RunId::parse("0190b2c4-0000-7000-8000-000000000001").unwrap();
    let name = |is_sandbox| {
        let paths = default_outputs(id, is_sandbox).reports;
        assert_eq!(paths.len(), 1);
        paths[0].to_str().unwrap().replace('\\', "/")
    };
    assert_eq!(name(true), format!("./mde-cancel-SANDBOX-{id}.csv"));
    assert_eq!(name(false), format!("./mde-cancel-{id}.csv"));
    let named = typing("run --sandbox a.csv --report x.csv").run();
    assert_eq!(named.args.send.output.reports, [PathBuf::from("x.csv")]);
}

#[test]
fn no_debug_output_shows_a_secret() {
    let typed = service("--token-file")
        .word(format!("eyJ0.{MARKER}.sig"))
        .word("--api-url")
        .word(format!("https://user:{MARKER}@host"));
    let command = <Cli as clap::CommandFactory>::command();
    let words = std::iter::once(OsString::from("mde-cancel")).chain(typed.words);
    let matches = command.try_get_matches_from(words).unwrap();
    let shown = format!(
        "{:?}",
        <Cli as clap::FromArgMatches>::from_arg_matches(&matches)
    );
    assert!(!shown.contains(MARKER), "{shown}");
    let shown = format!("{:?}", service("").resolve().unwrap());
    assert!(
        shown.contains("REDACTED") && !shown.contains(MARKER),
        "{shown}"
    );
}

#[test]
fn each_v_logs_more_and_quiet_hides_progress_unless_requested() {
    for (flags, directives, progress) in [
        ("", "warn", ProgressMode::Auto),
        ("-v", "warn,mde_cancel=info", ProgressMode::Auto),
        ("-vv", "warn,mde_cancel=debug", ProgressMode::Auto),
        ("-vvvv", "debug,mde_cancel=trace", ProgressMode::Auto),
        ("-q", "error", ProgressMode::Never),
        ("-q --progress always", "error", ProgressMode::Always),
        ("--progress never", "warn", ProgressMode::Never),
    ] {
        for words in [format!("quota {flags}"), format!("{flags} quota")] {
            let common = typing(&words).resolve().unwrap().common;
            assert_eq!(common.log_directives(), directives, "{words}");
            assert_eq!(common.progress_mode(), progress, "{words}");
        }
    }
}

#[test]
fn no_variable_hides_a_scope_from_quota() {
    let typed = typing("quota").variable("AZURE_TENANT_ID", "other.example");
    let Command::Quota(quota) = typed.resolve().unwrap().command else {
        panic!("no quota");
    };
    assert_eq!(quota.scope.tenant_id, None);
}

/// A run that selects from the tenant and doesn't ask.
fn selecting(words: &str) -> Typing {
    let tenant = "11111111-2222-3333-4444-555555555555";
    typing(&format!("run --yes --max-actions 9 --tenant-id {tenant}"))
        .variable("MDE_CANCEL_TOKEN", MARKER)
        .words(words)
}

#[test]
fn a_selection_narrows_an_input_as_it_is_typed() {
    let now = "2026-02-10T12:00:00Z".parse().unwrap();
    let words = "--type isolate,LiveResponse --type Offboard --status pending --requestor a@x,b@x --since 2h \
                 --until 2026-02-10T11:30:00Z";
    let run = service(words).run();
    let selection = run.args.plan.selection(now);
    assert_eq!(
        selection.types,
        [
            ActionType::Isolate,
            ActionType::LiveResponse,
            ActionType::Offboard
        ]
    );
    assert_eq!(selection.statuses, [ActionStatus::Pending]);
    assert_eq!(selection.requestors, ["a@x", "b@x"]);
    assert_eq!(selection.since.unwrap().to_string(), "2026-02-10T10:00:00Z");
    assert_eq!(selection.until.unwrap().to_string(), "2026-02-10T11:30:00Z");
    assert!(service("").run().args.plan.selection(now).is_all());
}

#[test]
fn without_an_input_the_tenants_open_actions_are_selected() {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let run = selecting("--type Isolate").run();
    assert!(run.args.plan.input.inputs.is_empty());
    assert_eq!(run.args.max_actions, Some(9));
    assert_eq!(
        run.args.plan.selection(now).statuses,
        [ActionStatus::Pending, ActionStatus::InProgress]
    );
    let named = selecting("--type Isolate --status TimeOut").run();
    assert_eq!(
        named.args.plan.selection(now).statuses,
        [ActionStatus::TimeOut]
    );
    let filtered = selecting("")
        .word("--filter")
        .word("requestor eq 'o''neil@x'")
        .run();
    assert_eq!(
        filtered.args.plan.selection.filter.as_deref(),
        Some("requestor eq 'o''neil@x'")
    );
    assert!(filtered.args.plan.selection(now).is_all());
}

#[test]
fn a_list_may_mean_everything_and_reads_as_slowly_as_a_run() {
    let list = typing("list").variable("MDE_CANCEL_TOKEN", MARKER);
    let Command::List(list) = list.resolve().unwrap().command else {
        panic!("no list");
    };
    let selection = list.selection.selection(jiff::Timestamp::UNIX_EPOCH);
    assert!(selection.is_all());
    assert_eq!(list.read_quota.reads().to_string(), "50/1m, 750/1h");
}

#[test]
fn conflicting_flags_are_refused() {
    let needs_records = "a selection by status or time needs the actions' records";
    let needs_rows = "there is neither an INPUT nor a selection from the tenant";
    let in_tenant = "run --yes --type Isolate --tenant-id contoso.onmicrosoft.com";
    let token = |words: &str| typing(words).variable("MDE_CANCEL_TOKEN", MARKER);
    let narrowed = "--filter selects from the tenant and can't narrow an input";
    for (typed, what) in [
        (service("--filter x"), narrowed),
        (service("--status Pending --no-precheck"), needs_records),
        (service("--until 2h --no-precheck"), needs_records),
        (selecting("--type Isolate --no-precheck"), needs_records),
        (
            service("--since 1h --until 2h"),
            "--since is later than --until",
        ),
        (selecting(""), needs_rows),
        (
            selecting("--status Pending"),
            "a selection from the tenant needs --type or --filter",
        ),
        (
            token(in_tenant),
            "a selection from the tenant needs --max-actions or --plan",
        ),
        (
            token("run --yes --type Isolate --max-actions 9"),
            "a selection from the tenant needs a tenant",
        ),
        (
            typing("run --sandbox --type Isolate"),
            "--sandbox needs an INPUT",
        ),
        (service("--filter x --type Isolate"), "cannot be used with"),
        (service("--type Isolte"), "expected RunAntiVirusScan"),
        (service("--status open"), "expected Pending"),
        (
            service("--machine-id dc-01"),
            "a machine id is 40 hexadecimal digits",
        ),
        (service("--since yesterday"), "expected a time such as"),
    ] {
        let (code, text) = typed.complaint();
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(what), "{what}: {text}");
    }
}

#[test]
fn every_error_says_what_is_wrong_where_and_what_helps() {
    let complaints = [
        typing("run --yes a.csv"),
        typing("preview a.csv"),
        typing("run --yes a.csv")
            .variable("MDE_CANCEL_TOKEN", MARKER)
            .variable("MDE_CANCEL_TOKEN_FILE", "t"),
        service("--token-file").word(format!("eyJ0.{MARKER}.x")),
        service("--token-file").word(""),
        service("- -"),
        service("").without_state_dir(),
        service("--quota none,1/1m"),
        service("--cloud gcc --region eu"),
        service("--report r.pdf"),
        service("--report - --report -"),
        service("").variable("MDE_CANCEL_STOP_AFTER", "5"),
        service("").variable("MDE_CANCEL_CLOUD", "moon"),
    ]
    .map(|typed| {
        let (code, complaint) = typed.complaint();
        assert_eq!(code, 2, "{complaint}");
        complaint
    });
    insta::assert_snapshot!(complaints.concat(), @"
    error: there is nothing to sign in with
    hint: as an app, use --tenant-id and --client-id with AZURE_CLIENT_SECRET or --client-secret-file
    hint: with a token of your own, set MDE_CANCEL_TOKEN or use --token-file
    hint: as yourself, use --credential azure-cli or device-code
    hint: to try it without a tenant, use --sandbox
    error: there is nothing to sign in with, so the actions' status can't be read
    hint: sign in as for `run`: with an app, a token, or --credential azure-cli
    hint: to look at the input alone, add --no-precheck
    error: both MDE_CANCEL_TOKEN and MDE_CANCEL_TOKEN_FILE are set
    hint: unset one of them, or use --token-file
    error: --token-file must name a file, but holds the secret itself
    hint: write the secret to a file that only you can read, and name that; or set MDE_CANCEL_TOKEN or AZURE_CLIENT_SECRET
    error: --token-file is empty
    error: standard input (`-`) is named more than once
    error: no state folder can be determined
    hint: name a folder with --state-dir or MDE_CANCEL_STATE_DIR
    error: invalid value 'none,1/1m' for '--quota <N/DURATION>': `none` is not of the form N/DURATION, for example 100/1m or 1500/1h

    For more information, try '--help'.
    error: region eu exists in the commercial cloud only, not in gcc
    hint: leave out --region (MDE_CANCEL_REGION), or name another --cloud (MDE_CANCEL_CLOUD)
    error: the ending of report r.pdf names no format that can be written; supported: .csv, .jsonl, .json, .html, .md
    error: the report - is the same file as the report -
    hint: name another file
    error: `5` in MDE_CANCEL_STOP_AFTER cannot be used: expected a duration such as 30s, 1h30m, 7d or 2w
    error: `moon` in MDE_CANCEL_CLOUD cannot be used: expected commercial, gcc, gcc-high, dod
    ");
}

#[test]
fn an_address_is_refused_by_the_name_of_its_flag_and_never_repeated() {
    let plain = ": plain http is accepted for loopback addresses only, not for";
    let surplus = " must not have a user name, a password, a query or a fragment";
    let none = " is not an address that starts with https://";
    for (url, text) in [
        ("http://h.example", format!("{plain} h.example")),
        ("http://10.0.0.1:80", format!("{plain} 10.0.0.1")),
        (
            "http://localhost.example",
            format!("{plain} localhost.example"),
        ),
        ("https://u:s3cr3t-marker@h", surplus.to_owned()),
        ("http://s3cr3t-marker@h", surplus.to_owned()),
        ("https://h/?k=s3cr3t-marker", surplus.to_owned()),
        ("https://h/#s3cr3t-marker", surplus.to_owned()),
        ("ftp://s3cr3t-marker@h", none.to_owned()),
        ("s3cr3t-marker", none.to_owned()),
        ("", none.to_owned()),
    ] {
        let complaint = service("--api-url").word(url).complaint();
        assert_eq!(complaint, (2, format!("error: --api-url{text}\n")), "{url}");
        if !url.is_empty() {
            let by_variable = service("").variable("MDE_CANCEL_API_URL", url);
            let told = format!("error: MDE_CANCEL_API_URL{text}\n");
            assert_eq!(by_variable.complaint(), (2, told), "{url}");
        }
    }
}

#[test]
fn what_cannot_be_typed_is_told_by_the_parser_and_names_the_flag() {
    for [words, part] in table(
        "
                                       | Usage: mde-cancel
        run                            | there is neither an INPUT nor a selection
        run --since 2h                 | a selection from the tenant needs --type
        preview a --sandbox            | tip: `mde-cancel run --dry-run --sandbox` prints a plan
        runn a                         | unrecognized subcommand 'runn'
        run a --token x                | unexpected argument '--token'
        run a --timeout 5              | '--timeout <DURATION>': expected a duration
        run a --timeout 0s             | expected a duration between 100 ms and 24 h
        run a --timeout-grace 25h      | expected a duration between 0 s and 24 h
        run a --concurrency 0          | 0 is not in 1..=1024
        run a --max-attempts 0         | 0 is not in 1..=100
        run a --quota 5                | `5` is not of the form N/DURATION
        run a --quota 0/1m             | `0/1m` allows no call at all
        run a --read-quota 1/25h       | the period of `1/25h`
        run a --rate fast              | expected a rate such as 50/s, or `none`
        run a --allow-protected Isolate | the protected types are Unisolate
        run a --input-format xls       | [possible values: auto, csv, tsv, jsonl, json, lines]
        run a --tenant-id contoso      | a tenant is a GUID or a domain name
        run a --client-id me           | an application (client) id is a GUID
        run a --cloud moon             | [possible values: commercial, gcc, gcc-high, dod]
        run a --region eu --api-url x  | cannot be used with
        run a --sandbox --api-url x    | '--sandbox' cannot be used with '--api-url <URL>'
        run a --sandbox --token-file x | '--sandbox' cannot be used with '--token-file <PATH>'
        run a --sandbox --cloud gcc    | '--sandbox' cannot be used with '--cloud <CLOUD>'
        run a --sandbox --region eu    | '--sandbox' cannot be used with '--region <REGION>'
        run a --sandbox --tenant-id a.b | '--sandbox' cannot be used with '--tenant-id
        run a --sandbox --client-id 11111111-2222-3333-4444-555555555555 | '--sandbox' cannot be used with '--client-id
        run a -v -q                    | cannot be used with '--quiet'
        quota a                        | unrecognized subcommand 'a'
        sandbox --seed a --actions 5   | cannot be used with
        sandbox --port 65536           | 65536 is not in 0..=65535
        sandbox --actions 1000001      | 1000001 is not in 0..=1000000
        sandbox --latency fast         | `fast` is not a latency
        sandbox --faults pest          | `pest` names no fault
        ",
    ) {
        let (code, complaint) = typing(words).complaint();
        assert_eq!(code, 2, "{words}");
        assert!(complaint.contains(part), "{words}: {complaint}");
    }
    for flag in ["--state-dir", "--log-file", "--report", "--"] {
        let empty = service(flag).word("").complaint().1;
        assert!(empty.contains("a value is required for"), "{empty}");
    }
    let blank = service("--comment").word(" ").complaint().1;
    assert!(blank.contains("'--comment <TEXT>': it is empty"), "{blank}");
    let long = service("--comment").word("x".repeat(4097)).complaint().1;
    assert!(long.contains("it has more than 4096 characters"), "{long}");
}

#[cfg(unix)]
#[test]
fn non_utf8_values_are_accepted_only_for_paths() {
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = || OsString::from_vec(b"\xffs3cr3t-marker".to_vec());
    for name in ["MDE_CANCEL_TOKEN", "MDE_CANCEL_COMMENT"] {
        let typed = typing("run -y a --token-file t");
        let typed = match name {
            "MDE_CANCEL_TOKEN" => typing("run -y a"),
            _ => typed,
        };
        let (code, complaint) = typed.variable(name, bytes()).complaint();
        let text = format!("error: {name} is not UTF-8\n");
        assert_eq!((code, complaint), (2, text));
    }
    let run = service("")
        .word(bytes())
        .variable("MDE_CANCEL_STATE_DIR", bytes())
        .run();
    assert_eq!(run.context.state_dir, Some(bytes().into()));
    let (_, complaint) = service("--api-url").word(bytes()).complaint();
    assert_eq!(
        complaint,
        "error: --api-url is not an address that starts with https://\n"
    );
}

fn sandbox_of(typed: Typing) -> SandboxArgs {
    match typed.resolve().unwrap().command {
        Command::Sandbox(serve) => *serve,
        other => panic!("no sandbox: {other:?}"),
    }
}

#[test]
fn a_sandbox_listens_on_a_loopback_address_and_needs_no_state_folder() {
    let serve = sandbox_of(typing("sandbox").without_state_dir());
    assert_eq!((serve.port, serve.actions), (0, 1000));
    assert_eq!(serve.quota.to_string(), "100/1m, 1500/1h");
    assert_eq!(serve.latency, Latency::NONE);
    assert!(serve.seed.is_none() && serve.faults.is_none() && serve.log.is_none());
}

#[test]
fn every_flag_of_the_sandbox_arrives() {
    let serve = sandbox_of(typing(
        "sandbox --port 8642 --seed - --quota none --latency 5ms --faults 503@every=7;hang@nth=12 \
         --strict-tokens --log calls.jsonl",
    ));
    assert_eq!(serve.port, 8642);
    assert_eq!(serve.seed.unwrap().to_str(), Some("-"));
    assert!(serve.quota.is_empty());
    assert_eq!(serve.latency, Latency::parse("5ms").unwrap());
    assert_eq!(serve.faults.unwrap().len(), 2);
    assert!(serve.strict_tokens);
    assert_eq!(serve.log.unwrap().to_str(), Some("calls.jsonl"));
    let few = sandbox_of(typing("sandbox --actions 3"));
    assert_eq!(few.actions, 3);
}

#[tokio::test]
async fn a_sandbox_that_is_told_to_stop_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("a.txt");
    std::fs::write(&input, "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2\nrubbish\n").unwrap();
    let log = folder.path().join("calls.jsonl");
    let typed = typing("sandbox --seed")
        .word(&input)
        .word("--log")
        .word(&log);
    serve_sandbox(sandbox_of(typed), std::future::ready(()))
        .await
        .unwrap();
    assert!(log.exists());
}

#[tokio::test]
async fn what_keeps_a_sandbox_from_serving_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let cases = [
        (
            typing("sandbox --port").word(port.to_string()),
            format!("error: cannot listen on 127.0.0.1:{port}"),
        ),
        (
            typing("sandbox --seed").word(folder.path().join("none.csv")),
            "error: cannot open".to_owned(),
        ),
        (
            typing("sandbox --log").word(folder.path()),
            "error: log file".to_owned(),
        ),
    ];
    for (typed, start) in cases {
        let failure = serve_sandbox(sandbox_of(typed), std::future::pending::<()>())
            .await
            .unwrap_err();
        assert_eq!(failure.exit.code(), 2, "{start}");
        let text = failure.render(Color::Plain, &ForwardedFlags::default());
        assert!(text.starts_with(&start), "{text}");
    }
}
