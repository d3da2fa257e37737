//! Flag over environment over config file over default; profiles; and what a file or a variable may never set.

use std::path::PathBuf;

use mde_cancel::cli::args::Command;
use mde_cancel::cli::settings::{ConfigFile, SecretSource, Settings, ShownSetting, SignIn};

use super::{MARKER, Typing, service, typing};
use crate::support::{table, write_config};
use mde_cancel::cli::hint::ForwardedFlags;

/// Every variable that `run` reads, with a value of its own and the matching flag.
pub(super) fn variables() -> Vec<[&'static str; 3]> {
    table(
        "
        AZURE_AUTHORITY_HOST          | https://login.example/               | --login-url
        AZURE_CLIENT_ID               | 11111111-2222-3333-4444-555555555555 | --client-id
        AZURE_CLIENT_CERTIFICATE_PATH | app.pem                              | --client-certificate-file
        AZURE_FEDERATED_TOKEN_FILE    | federated                            | --federated-token-file
        AZURE_TENANT_ID               | contoso.example                      | --tenant-id
        MDE_CANCEL_API_SCOPE          | https://audience.example/.default    | --api-scope
        MDE_CANCEL_API_URL            | https://gateway.example/             | --api-url
        MDE_CANCEL_CA_FILE            | ca.pem                               | --ca-file
        MDE_CANCEL_CLIENT_SECRET_FILE | secret.txt                           | --client-secret-file
        MDE_CANCEL_CLOUD              | gcc                                  | --cloud
        MDE_CANCEL_COLOR              | never                                | --color
        MDE_CANCEL_COMMENT            | why                                  | --comment
        MDE_CANCEL_CREDENTIAL         | azure-cli                            | --credential
        MDE_CANCEL_FOLLOW_UP          | todo.csv                             | --follow-up
        MDE_CANCEL_MAX_FAILURES       | 7%                                   | --max-failures
        MDE_CANCEL_STOP_AFTER         | 2h                                   | --stop-after
        MDE_CANCEL_INPUT_FORMAT       | jsonl                                | --input-format
        MDE_CANCEL_LOG                | off                                  | --log-filter
        MDE_CANCEL_LOG_FILE           | log.txt                              | --log-file
        MDE_CANCEL_LOG_FORMAT         | json                                 | --log-format
        MDE_CANCEL_PROGRESS           | never                                | --progress
        MDE_CANCEL_QUOTA              | 3/1m,30/1h                           | --quota
        MDE_CANCEL_READ_QUOTA         | none                                 | --read-quota
        MDE_CANCEL_REGION             | eu                                   | --region
        MDE_CANCEL_METRICS_FILE       | run.prom                             | --metrics-file
        MDE_CANCEL_REPORT             | r.csv                                | --report
        MDE_CANCEL_STATE_DIR          | there                                | --state-dir
        MDE_CANCEL_TOKEN_FILE         | token.txt                            | --token-file
        MDE_CANCEL_VERIFY_TIMEOUT     | 3m                                   | --verify-timeout
        ",
    )
}

/// Variables that name a credential file. A token set beside them would win or be refused.
const FILES: [&str; 4] = [
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_FEDERATED_TOKEN_FILE",
    "MDE_CANCEL_TOKEN_FILE",
    "MDE_CANCEL_CLIENT_SECRET_FILE",
];

/// Variables and flags that need an app.
pub(super) const OF_APP: [&str; 6] = [
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_FEDERATED_TOKEN_FILE",
    "MDE_CANCEL_CLIENT_SECRET_FILE",
    "--client-certificate-file",
    "--federated-token-file",
    "--client-secret-file",
];

/// Shows everything except the reason for the credential choice, which names the layer.
fn shown(settings: &Settings) -> String {
    let text = format!("{settings:?}");
    match text.split_once("choice: CredentialChoice {") {
        None => text,
        Some((before, rest)) => format!("{before}{}", rest.split_once(" }").unwrap().1),
    }
}

/// Resolves a run with one variable set and `flags` typed.
fn resolved(variable: Option<(&'static str, &str)>, flags: &[&str]) -> Settings {
    let mut typed = typing("run --yes a.csv");
    // Two tokens would be refused.
    if variable.is_none_or(|(name, _)| !FILES.contains(&name)) {
        typed = typed.variable("MDE_CANCEL_TOKEN", MARKER);
    }
    let mut words = flags.iter().copied().chain(variable.map(|(name, _)| name));
    if words.any(|word| OF_APP.contains(&word)) {
        typed = typed
            .variable("AZURE_TENANT_ID", "contoso.example")
            .variable("AZURE_CLIENT_ID", "11111111-2222-3333-4444-555555555555");
    }
    if let Some((name, value)) = variable {
        typed = typed.variable(name, value);
    }
    for flag in flags {
        typed = typed.word(*flag);
    }
    typed.resolve().unwrap()
}

#[test]
fn a_variable_says_what_its_flag_says_and_an_empty_one_says_nothing() {
    let nothing = shown(&resolved(None, &[]));
    for [name, value, flag] in variables() {
        let by_variable = shown(&resolved(Some((name, value)), &[]));
        assert_eq!(
            by_variable,
            shown(&resolved(None, &[flag, value])),
            "{name}"
        );
        assert_ne!(by_variable, nothing, "{name}");
        if !FILES.contains(&name) {
            assert_eq!(shown(&resolved(Some((name, "")), &[])), nothing, "{name}");
        }
    }
}

#[test]
fn a_flag_beats_its_variable() {
    for [name, value, flag] in variables() {
        let other = match flag {
            "--api-scope" | "--api-url" | "--login-url" => "https://other.example",
            "--credential" => "managed-identity",
            "--client-id" => "22222222-2222-3333-4444-555555555555",
            "--cloud" => "dod",
            "--color" | "--progress" => "always",
            "--stop-after" | "--verify-timeout" => "9s",
            "--input-format" => "csv",
            "--log-format" => "text",
            "--max-failures" => "9",
            "--quota" | "--read-quota" => "9/s",
            "--region" => "uk",
            _ => "other.csv",
        };
        assert_eq!(
            shown(&resolved(Some((name, value)), &[flag, other])),
            shown(&resolved(None, &[flag, other])),
            "{name}"
        );
    }
}

#[test]
fn a_typed_cloud_or_region_is_not_bent_by_an_address_in_a_variable() {
    for flags in [["--cloud", "gcc"], ["--region", "uk"]] {
        for variable in [
            ("MDE_CANCEL_API_URL", "https://x.example"),
            ("MDE_CANCEL_REGION", "eu"),
        ] {
            assert_eq!(
                shown(&resolved(Some(variable), &flags)),
                shown(&resolved(None, &flags)),
                "{flags:?} {variable:?}"
            );
        }
    }
}

#[test]
fn yes_and_no_in_a_variable_are_read_as_people_write_them() {
    let quiet = shown(&resolved(None, &["--no-verify"]));
    for word in ["1", "true", "YES", "on"] {
        assert_eq!(
            shown(&resolved(Some(("MDE_CANCEL_NO_VERIFY", word)), &[])),
            quiet
        );
    }
    let nothing = shown(&resolved(None, &[]));
    for word in ["0", "false", "no", "off", ""] {
        assert_eq!(
            shown(&resolved(Some(("MDE_CANCEL_NO_VERIFY", word)), &[])),
            nothing
        );
    }
}

#[test]
fn no_variable_confirms_tunes_or_redirects_a_run() {
    let nothing = shown(&resolved(None, &[]));
    for [name, value] in table(
        "
        MDE_CANCEL_ALLOW_PROTECTED   | Unisolate
        MDE_CANCEL_ALLOW_PROTECTEDS  | Unisolate
        MDE_CANCEL_NO_PRECHECK       | 1
        MDE_CANCEL_SANDBOX           | 1
        MDE_CANCEL_TYPE              | Isolate
        MDE_CANCEL_STATUS            | Pending
        MDE_CANCEL_FILTER            | type eq 'Isolate'
        MDE_CANCEL_EXCLUDE_FROM      | keep.txt
        MDE_CANCEL_MAX_ACTIONS       | 1000000
        MDE_CANCEL_ID_COLUMN         | Key
        MDE_CANCEL_CONCURRENCY       | 3
        MDE_CANCEL_TOTAL_CONCURRENCY | 3
        MDE_CANCEL_RATE              | 3/s
        MDE_CANCEL_MAX_ATTEMPTS      | 3
        MDE_CANCEL_TIMEOUT           | 3s
        MDE_CANCEL_TIMEOUT_GRACE     | 3s
        MDE_CANCEL_GIVE_UP_AFTER     | 10m
        ",
    ) {
        let with_it = shown(&resolved(Some((name, value)), &[]));
        assert_eq!(with_it, nothing, "{name}");
    }
    let unarmed = typing("run a.csv")
        .variable("MDE_CANCEL_TOKEN", MARKER)
        .variable("MDE_CANCEL_YES", "1")
        .variable("MDE_CANCEL_MAX_ACTIONS", "1")
        .run();
    assert_eq!(
        (unarmed.args.asks(), unarmed.args.max_actions),
        (true, None)
    );
    let without_input = typing("run --yes").variable("MDE_CANCEL_INPUT", "a.csv");
    assert!(without_input.resolve().is_err());
}

#[test]
fn the_log_filter_and_the_state_folder_of_a_sandbox_come_from_variables_too() {
    let settings = typing("run --sandbox a.csv")
        .variable("MDE_CANCEL_LOG", "warn,mde_cancel::store=trace")
        .variable("MDE_CANCEL_STATE_DIR", "there")
        .resolve()
        .unwrap();
    let filter = settings.common.log_filter.as_deref();
    assert_eq!(filter, Some("warn,mde_cancel::store=trace"));
    let state_dir = settings.context.state_dir;
    assert_eq!(state_dir, Some(PathBuf::from("there")));
}

/// A config file in a folder of its own.
struct File {
    folder: tempfile::TempDir,
}

impl File {
    fn of(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = Self { folder };
        write_config(&file.path(), text);
        file
    }

    #[cfg(unix)]
    fn set_mode(&self, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(self.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mde-cancel.toml")
    }

    fn fault(&self) -> (String, Option<String>) {
        let failure = ConfigFile::load(&self.path()).unwrap_err();
        let path = self.path().display().to_string();
        let hint = failure.hints.first();
        (
            failure.error.to_string().replace(&path, "FILE"),
            hint.map(|hint| hint.render(&ForwardedFlags::default())),
        )
    }
}

#[test]
fn flag_beats_variable_beats_profile_beats_the_top_of_the_file_beats_the_default() {
    let file =
        File::of("stop-after = \"5s\"\ncomment = \"top\"\n[profile.p]\nstop-after = \"6s\"\n");
    let settings = |flags: &str, variable: &str| {
        let run = typing(&format!("run --yes a.csv --token-file t {flags}"))
            .config(file.path())
            .variable("MDE_CANCEL_STOP_AFTER", variable)
            .run();
        let comment = run.args.plan.comment.unwrap_or_default();
        (
            run.args.send.stop_after.unwrap_or_default().as_secs(),
            comment,
        )
    };
    let top = |seconds| (seconds, "top".to_owned());
    assert_eq!(settings("", ""), top(5));
    assert_eq!(settings("--profile p", ""), top(6));
    assert_eq!(settings("--profile p", "7s"), top(7));
    assert_eq!(settings("--profile p --stop-after 8s", "7s"), top(8));
    assert_eq!(service("").run().args.send.stop_after, None);
}

#[test]
fn lists_numbers_and_yes_are_written_as_toml_has_them() {
    let file = File::of("quota = [\"3/1m\", \"30/1h\"]\nmax-failures = 3\nno-verify = true\n");
    let run = service("").config(file.path()).run();
    assert_eq!(run.args.plan.quota.cancels().to_string(), "3/1m, 30/1h");
    assert_eq!(
        format!("{:?}", run.args.send.max_failures),
        "Some(Count(3))"
    );
    assert!(run.args.send.no_verify);
}

#[test]
fn paths_are_meant_from_the_files_folder_and_secrets_are_named_by_file_or_variable() {
    let file = File::of(
        "tenant-id = \"contoso.example\"\nclient-id = \"11111111-2222-3333-4444-555555555555\"\n\
         [profile.file]\nclient-secret-file = \"contoso.secret\"\n\
         [profile.variable]\nclient-secret-env = \"CONTOSO_SECRET\"\n\
         [profile.token]\ntoken-env = \"CONTOSO_TOKEN\"\n",
    );
    let sign_in = |profile: &str| {
        typing("run --yes a.csv --profile")
            .word(profile)
            .config(file.path())
            .variable("CONTOSO_SECRET", MARKER)
            .variable("CONTOSO_TOKEN", MARKER)
            .connection()
            .sign_in
    };
    let SignIn::ClientSecret(SecretSource::File(path)) = sign_in("file") else {
        panic!("no file");
    };
    assert_eq!(path, file.folder.path().join("contoso.secret"));
    let SignIn::ClientSecret(SecretSource::Environment(_, name)) = sign_in("variable") else {
        panic!("no variable");
    };
    assert_eq!(name, "CONTOSO_SECRET");
    let SignIn::Token(SecretSource::Environment(_, name)) = sign_in("token") else {
        panic!("no token");
    };
    assert_eq!(name, "CONTOSO_TOKEN");
}

#[test]
fn every_path_of_the_file_counts_from_its_folder() {
    let file = File::of(
        "report = \"r.csv\"\nfollow-up = \"sub/f.csv\"\nmetrics-file = \"m.prom\"\nlog-file = \"l\"\n\
         state-dir = \"st\"\nca-file = \"ca.pem\"\n",
    );
    let at = |name: &str| file.folder.path().join(name);
    let settings = service("").config(file.path()).resolve().unwrap();
    assert_eq!(settings.common.log_file, Some(at("l")));
    assert_eq!(settings.context.state_dir, Some(at("st")));
    let Command::Run(run) = settings.command else {
        panic!("no run");
    };
    let outputs = run.send.output;
    assert_eq!(outputs.reports, [at("r.csv")]);
    assert_eq!(outputs.follow_up, Some(at("sub/f.csv")));
    assert_eq!(outputs.metrics_file, Some(at("m.prom")));
    let stdout = File::of("report = \"-\"\n");
    let run = service("").config(stdout.path()).run();
    assert_eq!(run.args.send.output.reports, [PathBuf::from("-")]);
}

#[test]
fn a_selection_that_nobody_is_asked_about_takes_its_tenant_from_a_typed_profile_alone() {
    let token = "token-env = \"CONTOSO_TOKEN\"\n";
    let file = File::of(&format!(
        "[profile.p]\ntenant-id = \"contoso.example\"\n{token}"
    ));
    let top = File::of(&format!(
        "tenant-id = \"contoso.example\"\n[profile.p]\n{token}"
    ));
    let select = "run --yes --type Isolate --max-actions 5";
    let typed = |words: &str, file: &File| {
        typing(&format!("{select} {words}"))
            .config(file.path())
            .variable("CONTOSO_TOKEN", MARKER)
    };
    assert!(typed("--profile p", &file).resolve().is_ok());
    // Left over from another tenant, and ignored.
    let left_over = typed("--profile p", &file).variable("AZURE_TENANT_ID", "other.example");
    assert!(left_over.resolve().is_ok());
    for refused in [
        typed("", &file).variable("MDE_CANCEL_PROFILE", "p"),
        typed("--profile p", &top),
    ] {
        let complaint = refused.complaint().1;
        assert!(complaint.contains("or with a --profile"), "{complaint}");
    }
}

#[test]
fn what_must_not_or_cannot_stand_there_is_refused_with_what_helps() {
    for [text, told, hint] in table(
        "
        tenant_id = 'x'                  | unknown setting `tenant_id`               | did you mean `tenant-id`?
        xyzzy = 1                        | unknown setting `xyzzy`                   | -
        yes = true                       | `yes` can't be set in a file              | type --yes where you want it
        allow-protected = 'Unisolate'    | `allow-protected` can't be set in a file  | type --allow-protected where you want it
        timeout = '5s'                   | `timeout` can't be set in a file          | type --timeout where you want it
        no-precheck = true               | `no-precheck` can't be set in a file      | type --no-precheck where you want it
        profile.p.id-column = 'Key'      | `id-column` can't be set in a file        | type --id-column where you want it
        profile.p.type = 'Isolate'       | `type` can't be set in a file             | type --type where you want it
        client-secret = 's3cr3t-marker'  | `client-secret`: a secret can't be written here | name a file that only you can read with client-secret-file, or a variable with client-secret-env
        profile.p.token = 's3cr3t-marker' | `token`: a secret can't be written here  | name a file that only you can read with token-file, or a variable with token-env
        token-env = 's3cr3t-marker'      | `token-env` has no usable value           | -
        stop-after = 1.5                 | `stop-after` has no usable value          | -
        stop-after = ' '                 | `stop-after` has no usable value          | -
        profile = 1                      | `profile` is not a table                  | -
        profile.p = 1                    | `profile.p` is not a table                | -
        ",
    ) {
        let (complaint, help) = File::of(text).fault();
        assert_eq!(complaint, format!("FILE: {told}"), "{text}");
        assert_eq!(help.as_deref().unwrap_or("-"), hint, "{text}");
    }
    let broken = File::of("stop-after = \"5s\"\nclient-secret = s3cr3t-marker\n")
        .fault()
        .0;
    assert!(broken.starts_with("FILE: not TOML: line 2: "), "{broken}");
    assert!(!broken.contains(MARKER), "{broken}");
    let two = File::of("[profile.a]\n[profile.b]\n");
    let complaint = service("--profile c").config(two.path()).complaint().1;
    let path = two.path().display().to_string();
    assert_eq!(
        complaint.replace(&path, "FILE"),
        "error: FILE: there is no profile c\nhint: it has: a, b\n"
    );
}

#[test]
fn a_value_that_cannot_be_read_is_told_with_key_profile_and_file() {
    let file = File::of("[profile.p]\nstop-after = \"fast\"\n");
    let (code, complaint) = service("--profile p").config(file.path()).complaint();
    let place = format!("stop-after of profile p in {}", file.path().display());
    assert_eq!(
        (code, complaint),
        (
            2,
            format!(
                "error: `fast` in {place} cannot be used: expected a duration such as 30s, 1h30m, 7d or 2w\n"
            )
        )
    );
}

#[test]
fn a_file_that_was_named_must_be_there_and_one_that_was_not_need_not() {
    let nowhere = PathBuf::from("no-such-folder/mde-cancel.toml");
    assert!(service("").config(&nowhere).resolve().is_ok());
    let (code, complaint) = service("--config no-such-folder/x.toml").complaint();
    assert_eq!(code, 2);
    assert!(
        complaint.starts_with("error: no-such-folder/x.toml: cannot be read: "),
        "{complaint}"
    );
    let (_, complaint) = service("--profile p").config(&nowhere).complaint();
    assert!(complaint.contains("there is no profile p"), "{complaint}");
}

/// Returns the keys of the redacted settings.
fn secrets(shown: &[ShownSetting]) -> Vec<&str> {
    let secrets = shown.iter().filter(|shown| shown.value == "[redacted]");
    secrets.map(|shown| shown.key.as_str()).collect()
}

fn config_show(typed: Typing) -> Vec<ShownSetting> {
    typed.resolve().unwrap().shown
}

/// Returns a setting's value and origin.
fn shown_of<'a>(shown: &'a [ShownSetting], key: &str) -> (&'a str, &'a str) {
    let found = shown.iter().find(|shown| shown.key == key);
    let found = found.unwrap_or_else(|| panic!("{key} is not shown"));
    (&found.value, &found.origin)
}

#[test]
fn config_show_names_the_layer_of_each_setting_and_shows_no_secret() {
    let file = File::of("stop-after = \"5s\"\n[profile.p]\ntenant-id = \"contoso.example\"\n");
    let typed = typing("config show --profile p --cloud gcc")
        .config(file.path())
        .variable("MDE_CANCEL_MAX_FAILURES", "3")
        .variable("MDE_CANCEL_TOKEN", MARKER)
        .variable("MDE_CANCEL_TOKEN_FILE", format!("eyJ0.{MARKER}.x"))
        .variable("MDE_CANCEL_CREDENTIAL", "azure-cli");
    let shown = config_show(typed);
    let path = file.path().display().to_string();
    for (key, value, origin) in [
        ("cloud", "gcc", "--cloud"),
        ("max-failures", "3", "MDE_CANCEL_MAX_FAILURES"),
        ("stop-after", "5s", "stop-after in FILE"),
        (
            "tenant-id",
            "contoso.example",
            "tenant-id of profile p in FILE",
        ),
        ("verify-timeout", "2m", "default"),
    ] {
        let origin = origin.replace("FILE", &path);
        assert_eq!(shown_of(&shown, key), (value, &*origin));
    }
    assert_eq!(secrets(&shown), [""; 0], "a profile reads none of them");
    let bare = config_show(typing("config show").variable("MDE_CANCEL_TOKEN", MARKER));
    assert_eq!(secrets(&bare), ["MDE_CANCEL_TOKEN"]);
    assert!(!format!("{shown:?} {bare:?}").contains(MARKER));
}

#[test]
fn a_secret_in_place_of_its_file_is_refused_unshown_in_the_config_file_and_in_a_variable() {
    let token = format!("eyJ0.{MARKER}.x");
    let secret = format!("abc~{MARKER:x<36}");
    let key = format!("-----BEGIN PRIVATE KEY-----\\n{MARKER}");
    for (setting, variable, text) in [
        ("token-file", "MDE_CANCEL_TOKEN_FILE", &token),
        (
            "client-secret-file",
            "MDE_CANCEL_CLIENT_SECRET_FILE",
            &secret,
        ),
        ("federated-token-file", "AZURE_FEDERATED_TOKEN_FILE", &token),
        (
            "client-certificate-file",
            "AZURE_CLIENT_CERTIFICATE_PATH",
            &key,
        ),
    ] {
        let file = File::of(&format!("{setting} = \"{text}\"\n"));
        for command in ["config show", "run --yes a.csv"] {
            let (code, complaint) = typing(command).config(file.path()).complaint();
            assert_eq!(code, 2, "{complaint}");
            assert!(!complaint.contains(MARKER), "{complaint}");
            assert!(complaint.contains("the secret itself"), "{complaint}");
        }
        let typed = || {
            typing(
                "run --yes --tenant-id a.example --client-id 11111111-2222-3333-4444-555555555555 a.csv",
            )
        };
        let (code, complaint) = typed().variable(variable, text).complaint();
        assert_eq!(code, 2, "{complaint}");
        assert!(!complaint.contains(MARKER), "{complaint}");
        let shown = typing("config show").variable(variable, text).resolve();
        assert!(!format!("{:?}", shown.ok()).contains(MARKER), "{setting}");
    }
}

#[test]
fn an_address_that_holds_more_than_a_place_is_never_shown() {
    for (name, text) in [
        (
            "AZURE_AUTHORITY_HOST",
            format!("https://x.example/?sig={MARKER}"),
        ),
        ("AZURE_AUTHORITY_HOST", format!("a:{MARKER}@x.example")),
        (
            "MDE_CANCEL_API_URL",
            format!("https://a:{MARKER}@x.example"),
        ),
    ] {
        for command in ["config show", "config show --cloud gcc"] {
            let shown = typing(command).variable(name, &text).resolve();
            assert!(!format!("{:?}", shown.ok()).contains(MARKER), "{name}");
        }
    }
}

#[test]
fn where_any_part_of_the_address_is_typed_variables_say_nothing_of_it() {
    let typed =
        typing("config show --cloud gcc").variable("MDE_CANCEL_API_URL", "https://x.example");
    let shown = config_show(typed);
    assert_eq!(shown_of(&shown, "api-url"), ("the cloud's", "default"));
}

#[test]
fn completions_and_the_manual_need_no_config_file() {
    let broken = File::of("no such = thing");
    for command in ["completions bash", "man"] {
        assert!(
            typing(command).config(broken.path()).resolve().is_ok(),
            "{command}"
        );
    }
}

#[test]
fn past_runs_are_shown_in_spite_of_a_broken_file_that_nobody_named() {
    let broken = File::of("no such = thing");
    for command in ["runs", "report"] {
        let settings = typing(command).config(broken.path()).resolve().unwrap();
        let told = settings.left_out.unwrap().error.to_string();
        assert!(told.contains("not TOML"), "{command}: {told}");
    }
    let named = broken.path().display().to_string();
    for command in [
        "runs rm 0198",
        "quota",
        "resume",
        "doctor",
        "runs --profile p",
        &format!("runs --config {named}"),
    ] {
        let (code, complaint) = typing(command).config(broken.path()).complaint();
        assert_eq!(code, 2, "{command}: {complaint}");
    }
    let by_variable = typing("runs").variable("MDE_CANCEL_CONFIG", &named);
    assert_eq!(by_variable.complaint().0, 2);
}

#[test]
fn config_show_refuses_what_a_run_would_refuse() {
    for line in [
        "stop-after = \"5\"",
        "quota = [\"none\", \"1/1m\"]",
        "report = \"r.pdf\"",
        "max-failures = \"101%\"",
        "input-format = \"xlsx\"",
        "verify-timeout = \"soon\"",
        "log-format = \"xml\"",
    ] {
        let file = File::of(line);
        let complaint = |words| typing(words).config(file.path()).complaint();
        let of_run = complaint("run --sandbox a.csv");
        assert_eq!(of_run.0, 2, "{line}");
        assert_eq!(complaint("config show"), of_run, "{line}");
    }
    let without_state = typing("config show").without_state_dir();
    assert!(without_state.resolve().is_ok());
}

#[test]
fn the_shown_defaults_are_the_documented_ones() {
    use clap::CommandFactory as _;
    let shown = config_show(typing("config show"));
    let mut root = mde_cancel::cli::args::Cli::command();
    root.build();
    let run = root.find_subcommand("run").unwrap();
    let mut compared = 0;
    for setting in &shown {
        let flag = run
            .get_arguments()
            .find(|flag| flag.get_long() == Some(&setting.key));
        let Some(documented) = flag.and_then(super::help::documented_default) else {
            continue;
        };
        assert_eq!(setting.value, documented, "{}", setting.key);
        compared += 1;
    }
    assert!(compared >= 8, "{compared}");
}

/// Every variable that sets who signs in and where, with a value for another tenant.
fn stray_variables() -> Vec<[&'static str; 2]> {
    table(
        "
        AZURE_AUTHORITY_HOST          | https://login.fabrikam.example/
        AZURE_CLIENT_CERTIFICATE_PATH | fabrikam.pem
        AZURE_CLIENT_ID               | 22222222-2222-3333-4444-555555555555
        AZURE_CLIENT_SECRET           | fabrikam-secret
        AZURE_FEDERATED_TOKEN_FILE    | fabrikam.token
        AZURE_TENANT_ID               | fabrikam.example
        MDE_CANCEL_API_SCOPE          | https://fabrikam.example/.default
        MDE_CANCEL_API_URL            | https://fabrikam.example/
        MDE_CANCEL_CLIENT_SECRET_FILE | fabrikam.secret
        MDE_CANCEL_CLOUD              | gcc
        MDE_CANCEL_CREDENTIAL         | azure-cli
        MDE_CANCEL_REGION             | eu
        MDE_CANCEL_TOKEN              | fabrikam-token
        MDE_CANCEL_TOKEN_FILE         | fabrikam.token
        ",
    )
}

#[test]
fn with_a_profile_no_variable_says_who_signs_in_or_where() {
    let app = "client-id = \"11111111-2222-3333-4444-555555555555\"\n";
    for (profile, flags) in [
        (
            format!("tenant-id = \"contoso.example\"\n{app}client-secret-env = \"CONTOSO\"\n"),
            "",
        ),
        (
            "token-env = \"CONTOSO\"\n".to_owned(),
            "--tenant-id contoso.example",
        ),
        (
            "tenant-id = \"contoso.example\"\n".to_owned(),
            "--token-file contoso.token",
        ),
    ] {
        let file = File::of(&format!("[profile.contoso]\n{profile}"));
        let typed = |words: &str| {
            typing(&format!("{words} {flags}"))
                .config(file.path())
                .variable("CONTOSO", MARKER)
        };
        let words = "run --yes a.csv --profile contoso";
        let plain = format!("{:?}", typed(words).connection());
        for [name, value] in stray_variables() {
            let settings = typed(words).variable(name, value);
            assert_eq!(settings.clone().resolve().unwrap().ignored, [name]);
            assert_eq!(format!("{:?}", settings.connection()), plain, "{name}");
        }
        let by_variable = typed("run --yes a.csv")
            .variable("MDE_CANCEL_PROFILE", "contoso")
            .variable("AZURE_TENANT_ID", "fabrikam.example");
        assert_eq!(
            by_variable.clone().resolve().unwrap().ignored,
            ["AZURE_TENANT_ID"]
        );
        assert_eq!(
            by_variable.connection().tenant.as_deref(),
            Some("contoso.example")
        );
    }
    let none = service("").variable("AZURE_TENANT_ID", "fabrikam.example");
    assert_eq!(none.clone().resolve().unwrap().ignored, Vec::<&str>::new());
    assert_eq!(
        none.connection().tenant.as_deref(),
        Some("fabrikam.example")
    );
}

#[test]
fn what_a_profile_lacks_is_asked_for_with_the_variables_that_were_not_read() {
    let file = File::of("[profile.contoso]\ntenant-id = \"contoso.example\"\n");
    let typed = typing("run --yes a.csv --profile contoso")
        .config(file.path())
        .variable("AZURE_CLIENT_SECRET", MARKER)
        .variable("AZURE_CLIENT_ID", "11111111-2222-3333-4444-555555555555");
    let (code, complaint) = typed.complaint();
    assert_eq!(
        (code, complaint.as_str()),
        (
            2,
            "error: there is nothing to sign in with\n\
             hint: with --profile, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET are not read: write what is needed into the profile\n"
        )
    );
}

#[test]
fn every_variable_of_a_connection_is_among_those_that_a_profile_silences() {
    use clap::{Args as _, Command};
    let group = mde_cancel::cli::args::ConnectionArgs::augment_args(Command::new(""));
    let mut named = 0;
    for flag in group.get_arguments() {
        let help = flag
            .get_long_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let Some((_, text_behind)) = help.rsplit_once("[env: ") else {
            continue;
        };
        let name = text_behind.split(']').next().unwrap();
        // The authorities to trust depend on the machine's network, not on the tenant.
        if name != "MDE_CANCEL_CA_FILE" {
            let stray = stray_variables();
            assert!(stray.iter().any(|[known, _]| *known == name), "{name}");
            named += 1;
        }
    }
    assert_eq!(named, 12);
}

#[test]
fn names_that_could_mean_two_profiles_are_refused_at_the_start() {
    let contoso = "tenant-id = \"contoso.example\"\n";
    for (text, told) in [
        (
            "[profile.a]\n[profile.A]\n".to_owned(),
            "the name of profile",
        ),
        (
            format!("[profile.a]\n{contoso}[profile.\"Contoso.Example\"]\n"),
            "the name of profile Contoso.Example could mean profile a, too",
        ),
        (
            "[profile.ALL]\n".to_owned(),
            "no profile can be called `all`",
        ),
    ] {
        let complaint = File::of(&text).fault().0;
        assert!(complaint.contains(told), "{text}: {complaint}");
    }
    // A profile named like its own tenant, and two profiles of one tenant that are used one at a time.
    for text in [
        format!("[profile.\"contoso.example\"]\n{contoso}"),
        format!("[profile.a]\n{contoso}[profile.b]\n{contoso}"),
    ] {
        assert!(ConfigFile::load(&File::of(&text).path()).is_ok(), "{text}");
    }
    let none = service("--profile all")
        .config(File::of("").path())
        .complaint();
    assert_eq!(none.0, 2);
    assert!(
        none.1
            .starts_with("error: the config file has no profile\n"),
        "{}",
        none.1
    );
}

#[cfg(unix)]
#[test]
fn a_config_file_that_others_can_change_is_refused() {
    let file = File::of("api-url = \"https://collector.example\"\n");
    for (mode, told) in [
        (0o600, None),
        (0o644, None),
        (0o602, Some("can be changed by others")),
        (0o620, Some("can be changed by others")),
        (0o666, Some("can be changed by others")),
    ] {
        file.set_mode(mode);
        let loaded = ConfigFile::load(&file.path()).map_err(|failure| failure.error.to_string());
        match told {
            None => assert!(loaded.is_ok(), "{mode:o}: {loaded:?}"),
            Some(told) => assert!(loaded.unwrap_err().ends_with(told), "{mode:o}"),
        }
    }
    file.set_mode(0o644);
    let (code, complaint) = {
        file.set_mode(0o664);
        service("").config(file.path()).complaint()
    };
    assert_eq!(code, 2);
    assert!(complaint.contains("chmod go-w"), "{complaint}");
    file.set_mode(0o644);
    let link = file.folder.path().join("link.toml");
    std::os::unix::fs::symlink(file.path(), &link).unwrap();
    assert!(ConfigFile::load(&link).is_ok());
    // Only root can give files away.
    if std::os::unix::fs::lchown(&link, Some(65_534), None).is_ok() {
        let told = ConfigFile::load(&link).unwrap_err().error.to_string();
        assert!(told.contains("link.toml belongs to another user"), "{told}");
        std::os::unix::fs::chown(file.path(), Some(65_534), None).unwrap();
        let told = ConfigFile::load(&file.path())
            .unwrap_err()
            .error
            .to_string();
        assert!(
            told.contains("belongs to another user (uid 65534)"),
            "{told}"
        );
    }
}
