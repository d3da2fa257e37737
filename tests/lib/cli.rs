//! What is typed and what it means: through the real parser, with an environment that each test writes down.

mod config;
mod errors;
mod help;
mod layers;
mod sandbox;
mod selection;
mod sign_in;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use mde_cancel::cli::args::Cli;
use mde_cancel::cli::failure::Failure;
use mde_cancel::cli::hint::ForwardedFlags;
use mde_cancel::cli::settings::{
    CommandSettings, ConnectionSettings, RunSettings, SecretSource, Settings, SettingsError,
    SignIn, Sources, Target, default_outputs,
};
use mde_cancel::engine::Precheck;
use mde_cancel::input::Input;
use mde_cancel::model::{ActionType, RunId};
use secrecy::ExposeSecret as _;

use crate::support::table;

/// Stands where a secret would, so that a test can look for it where it must not be.
const MARKER: &str = "s3cr3t-marker";

/// What one test types, and the variables it sets.
#[derive(Clone)]
#[must_use]
pub(super) struct Typing {
    words: Vec<OsString>,
    variables: Vec<(&'static str, OsString)>,
    default_state_dir: Option<PathBuf>,
    default_config: Option<PathBuf>,
}

/// Types `words`, parted by blanks, behind the program's name.
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

    /// Sets a variable in place of one of that name.
    pub(super) fn first(mut self, name: &'static str, value: &str) -> Self {
        self.variables.insert(0, (name, value.into()));
        self
    }

    pub(super) fn without_state_dir(mut self) -> Self {
        self.default_state_dir = None;
        self
    }

    /// Puts a config file where the platform has its own.
    pub(super) fn config(mut self, path: impl Into<PathBuf>) -> Self {
        self.default_config = Some(path.into());
        self
    }

    pub(super) fn resolve(self) -> Result<Settings, SettingsError> {
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

    pub(super) fn run(self) -> RunSettings {
        match self.resolve().unwrap().command {
            CommandSettings::Run(run) => *run,
            other => panic!("no run: {other:?}"),
        }
    }

    pub(super) fn connection(self) -> ConnectionSettings {
        match self.run().target {
            Target::Service(connection) => *connection,
            other => panic!("no connection: {other:?}"),
        }
    }

    /// Returns all that the user sees of the error, typing errors included.
    pub(super) fn complaint(self) -> (u8, String) {
        let failure = match self.resolve().unwrap_err() {
            SettingsError::Typing(error) => return (2, error.to_string()),
            error => Failure::from(error),
        };
        let text = failure.render(mde_cancel::cli::Color::Plain, &ForwardedFlags::default());
        (failure.exit().code(), text)
    }
}

fn service(words: &str) -> Typing {
    typing(&format!("run --yes a.csv {words}")).variable("MDE_CANCEL_TOKEN", MARKER)
}

#[test]
fn the_parser_of_the_command_line_is_sound() {
    use clap::CommandFactory as _;
    Cli::command().debug_assert();
}

#[test]
fn a_run_that_names_nothing_but_its_input_gets_the_documented_defaults() {
    let run = service("").run();
    assert_eq!(run.inputs, [Input::File("a.csv".into())]);
    assert_eq!(run.allowance.cancel.to_string(), "100/1m, 1500/1h");
    assert_eq!(run.allowance.read.to_string(), "50/1m, 750/1h");
    assert_eq!(run.args.tuning.rate.0.unwrap().to_string(), "50/1s");
    assert_eq!(
        (run.args.tuning.concurrency, run.args.tuning.max_attempts),
        (16, 6)
    );
    assert_eq!(
        (
            run.args.tuning.timeout.as_secs(),
            run.args.tuning.timeout_grace.as_secs()
        ),
        (30, 120)
    );
    assert_eq!(run.args.plan.precheck(), Precheck::ReadFirst);
    assert!(!run.args.no_verify && !run.asks());
    assert_eq!(run.args.verify_timeout, Duration::from_secs(120));
    assert_eq!(run.state_dir, PathBuf::from("state"));
    assert!(run.args.plan.comment.is_none() && run.args.plan.allow_protected.is_empty());
    let Target::Service(connection) = run.target else {
        panic!("a sandbox");
    };
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
    assert_eq!(run.inputs[1..], [Input::Stdin, Input::File("b.csv".into())]);
    assert_eq!(run.args.plan.comment.as_deref(), Some("why"));
    assert_eq!(run.args.plan.input.id_column.as_deref(), Some("Id"));
    assert_eq!(
        run.args.plan.input.input_format,
        mde_cancel::input::InputFormat::Jsonl
    );
    assert_eq!(run.args.plan.precheck(), Precheck::Skip);
    assert!(run.args.no_verify);
    assert_eq!(
        run.args.plan.allow_protected,
        [
            ActionType::Unisolate,
            ActionType::Unisolate,
            ActionType::UnrestrictCodeExecution
        ]
    );
    assert_eq!(
        run.outputs.reports,
        [PathBuf::from("one.csv"), PathBuf::from("-")]
    );
    assert_eq!(run.allowance.cancel.to_string(), "10/1m, 20/1h, 5/1s");
    assert!(run.allowance.read.is_empty() && run.args.tuning.rate.0.is_none());
    assert_eq!(
        (run.args.tuning.concurrency, run.args.tuning.max_attempts),
        (3, 2)
    );
    assert_eq!(
        (
            run.args.tuning.timeout.as_secs(),
            run.args.tuning.timeout_grace.as_secs()
        ),
        (5, 0)
    );
    assert_eq!(run.state_dir, PathBuf::from("there"));
}

#[test]
fn a_sandbox_run_needs_no_consent_no_token_and_has_a_folder_and_a_name_of_its_own() {
    let run = typing("run --sandbox a.csv").run();
    assert!(matches!(run.target, Target::Sandbox));
    assert_eq!(run.target.time_scale(), 10);
    assert!(!run.asks());
    assert_eq!(run.state_dir, PathBuf::from("state").join("sandbox"));
    let id = RunId::parse("0190b2c4-0000-7000-8000-000000000001").unwrap();
    let name = |is_sandbox| {
        let paths = default_outputs(id, is_sandbox).reports;
        assert_eq!(paths.len(), 1);
        paths[0].to_str().unwrap().replace('\\', "/")
    };
    assert_eq!(name(true), format!("./mde-cancel-SANDBOX-{id}.csv"));
    assert_eq!(name(false), format!("./mde-cancel-{id}.csv"));
    let named = typing("run --sandbox a.csv --report x.csv").run();
    assert_eq!(named.outputs.reports, [PathBuf::from("x.csv")]);
}

#[test]
fn every_cloud_and_region_has_its_host_and_the_scope_names_the_cloud_alone() {
    for [flags, url, cloud] in table(
        "
        --cloud commercial | https://api.security.microsoft.com/           | commercial
        --cloud gcc        | https://api-gcc.securitycenter.microsoft.us/  | gcc
        --cloud gcc-high   | https://api-gov.securitycenter.microsoft.us/  | gcc-high
        --cloud dod        | https://api-gov.securitycenter.microsoft.us/  | dod
        --region us        | https://us.api.security.microsoft.com/        | commercial
        --region eu        | https://eu.api.security.microsoft.com/        | commercial
        --region uk        | https://uk.api.security.microsoft.com/        | commercial
        --region au        | https://au.api.security.microsoft.com/        | commercial
        --region swa       | https://swa.api.security.microsoft.com/       | commercial
        --region ina       | https://ina.api.security.microsoft.com/       | commercial
        --region aea       | https://aea.api.security.microsoft.com/       | commercial
        ",
    ) {
        let connection = service(flags).connection();
        assert_eq!(connection.api_url.as_str(), url, "{flags}");
        assert_eq!(connection.cloud, cloud, "{flags}");
    }
}

#[test]
fn a_typed_address_of_the_service_is_counted_with_its_cloud_and_any_other_by_host_and_port() {
    for [url, cloud] in table(
        "
        https://api.securitycenter.microsoft.com                | commercial
        https://API.Security.Microsoft.com/                     | commercial
        https://api.security.microsoft.com./                    | commercial
        https://gateway.example.:8443                           | gateway.example:8443
        https://eu.api.security.microsoft.com                   | commercial
        https://api-uk.securitycenter.microsoft.com             | commercial
        https://api-gcc.securitycenter.microsoft.us             | gcc
        https://api-gov.securitycenter.microsoft.us             | gcc-high
        https://api-gov.securitycenter.microsoft.us --cloud dod | dod
        https://api.security.microsoft.com:8443                 | api.security.microsoft.com:8443
        https://notapi.security.microsoft.com                   | notapi.security.microsoft.com:443
        https://api.security.microsoft.com.evil.example         | api.security.microsoft.com.evil.example:443
        https://gateway.example/mde                             | gateway.example:443
        http://127.0.0.1:8080                                   | 127.0.0.1:8080
        http://localhost                                        | localhost:80
        http://[::1]:9                                          | [::1]:9
        ",
    ) {
        let connection = service(&format!("--api-url {url}")).connection();
        assert_eq!(connection.cloud, cloud, "{url}");
    }
}

#[test]
fn a_token_comes_from_the_variable_or_from_a_file() {
    let from_variable = service("").connection();
    let SignIn::Token(SecretSource::Environment(token, name)) = &from_variable.sign_in else {
        panic!("{:?}", from_variable.sign_in);
    };
    assert_eq!(name, "MDE_CANCEL_TOKEN");
    assert_eq!(token.expose_secret(), MARKER);
    // What was typed beats the variable.
    let from_file = service("--token-file t").connection();
    assert!(matches!(from_file.sign_in, SignIn::Token(SecretSource::File(path)) if path == *"t"));
    let from_named_file = typing("run -y a").variable("MDE_CANCEL_TOKEN_FILE", "t");
    let SignIn::Token(SecretSource::File(path)) = from_named_file.connection().sign_in else {
        panic!("no file");
    };
    assert_eq!(path, PathBuf::from("t"));
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
fn more_is_said_by_each_v_and_quiet_hides_the_bars_unless_they_were_asked_for() {
    use mde_cancel::cli::ProgressMode;
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
    let CommandSettings::Quota(quota) = typed.resolve().unwrap().command else {
        panic!("no quota");
    };
    assert_eq!(quota.scope.tenant_id, None);
}
