//! Flag over environment over default, and what the environment must never decide.

use std::path::PathBuf;

use mde_cancel::cli::settings::{CommandSettings, Settings};

use super::{MARKER, typing};

/// Every variable that a run reads, with a value of its own and how the flag would say it.
pub(super) const VARIABLES: [(&str, &str, &str); 29] = [
    (
        "AZURE_AUTHORITY_HOST",
        "https://login.example/",
        "--login-url",
    ),
    (
        "AZURE_CLIENT_ID",
        "11111111-2222-3333-4444-555555555555",
        "--client-id",
    ),
    (
        "AZURE_CLIENT_CERTIFICATE_PATH",
        "app.pem",
        "--client-certificate-file",
    ),
    (
        "AZURE_FEDERATED_TOKEN_FILE",
        "federated",
        "--federated-token-file",
    ),
    ("AZURE_TENANT_ID", "contoso.example", "--tenant-id"),
    (
        "MDE_CANCEL_API_SCOPE",
        "https://audience.example/.default",
        "--api-scope",
    ),
    (
        "MDE_CANCEL_API_URL",
        "https://gateway.example/",
        "--api-url",
    ),
    ("MDE_CANCEL_CA_FILE", "ca.pem", "--ca-file"),
    (
        "MDE_CANCEL_CLIENT_SECRET_FILE",
        "secret.txt",
        "--client-secret-file",
    ),
    ("MDE_CANCEL_CLOUD", "gcc", "--cloud"),
    ("MDE_CANCEL_COLOR", "never", "--color"),
    ("MDE_CANCEL_COMMENT", "why", "--comment"),
    ("MDE_CANCEL_CREDENTIAL", "azure-cli", "--credential"),
    ("MDE_CANCEL_FOLLOW_UP", "todo.csv", "--follow-up"),
    ("MDE_CANCEL_MAX_FAILURES", "7%", "--max-failures"),
    ("MDE_CANCEL_STOP_AFTER", "2h", "--stop-after"),
    ("MDE_CANCEL_INPUT_FORMAT", "jsonl", "--input-format"),
    ("MDE_CANCEL_LOG", "off", "--log-filter"),
    ("MDE_CANCEL_LOG_FILE", "log.txt", "--log-file"),
    ("MDE_CANCEL_LOG_FORMAT", "json", "--log-format"),
    ("MDE_CANCEL_PROGRESS", "never", "--progress"),
    ("MDE_CANCEL_QUOTA", "3/1m,30/1h", "--quota"),
    ("MDE_CANCEL_READ_QUOTA", "none", "--read-quota"),
    ("MDE_CANCEL_REGION", "eu", "--region"),
    ("MDE_CANCEL_METRICS_FILE", "run.prom", "--metrics-file"),
    ("MDE_CANCEL_REPORT", "r.csv", "--report"),
    ("MDE_CANCEL_STATE_DIR", "there", "--state-dir"),
    ("MDE_CANCEL_TOKEN_FILE", "token.txt", "--token-file"),
    ("MDE_CANCEL_VERIFY_TIMEOUT", "3m", "--verify-timeout"),
];

/// Variables that name a file for a secret: a token beside them would be taken, or refused, in its place.
const FILES: [&str; 4] = [
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_FEDERATED_TOKEN_FILE",
    "MDE_CANCEL_TOKEN_FILE",
    "MDE_CANCEL_CLIENT_SECRET_FILE",
];

/// What is nothing without its app.
pub(super) const OF_APP: [&str; 6] = [
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_FEDERATED_TOKEN_FILE",
    "MDE_CANCEL_CLIENT_SECRET_FILE",
    "--client-certificate-file",
    "--federated-token-file",
    "--client-secret-file",
];

/// Shows all but how the credential came to be chosen, which names the layer.
fn shown(settings: &Settings) -> String {
    let text = format!("{settings:?}");
    match text.split_once("choice: CredentialChoice {") {
        None => text,
        Some((before, rest)) => format!("{before}{}", rest.split_once(" }").unwrap().1),
    }
}

/// Returns a run's settings with one variable set and with `flags` typed.
fn resolved(variable: Option<(&'static str, &str)>, flags: &[&str]) -> Settings {
    let mut typed = typing("run --yes a.csv");
    // Two tokens at once would be refused.
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
    for (name, value, flag) in VARIABLES {
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
    for (name, value, flag) in VARIABLES {
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
fn no_variable_arms_a_run_tunes_it_or_decides_which_world_it_touches() {
    let nothing = shown(&resolved(None, &[]));
    for (name, value) in [
        ("MDE_CANCEL_ALLOW_PROTECTED", "Unisolate"),
        ("MDE_CANCEL_ALLOW_PROTECTEDS", "Unisolate"),
        ("MDE_CANCEL_NO_PRECHECK", "1"),
        ("MDE_CANCEL_SANDBOX", "1"),
        ("MDE_CANCEL_TYPE", "Isolate"),
        ("MDE_CANCEL_STATUS", "Pending"),
        ("MDE_CANCEL_FILTER", "type eq 'Isolate'"),
        ("MDE_CANCEL_EXCLUDE_FROM", "keep.txt"),
        ("MDE_CANCEL_MAX_ACTIONS", "1000000"),
        ("MDE_CANCEL_ID_COLUMN", "Key"),
        ("MDE_CANCEL_CONCURRENCY", "3"),
        ("MDE_CANCEL_TOTAL_CONCURRENCY", "3"),
        ("MDE_CANCEL_RATE", "3/s"),
        ("MDE_CANCEL_MAX_ATTEMPTS", "3"),
        ("MDE_CANCEL_TIMEOUT", "3s"),
        ("MDE_CANCEL_TIMEOUT_GRACE", "3s"),
        ("MDE_CANCEL_GIVE_UP_AFTER", "10m"),
    ] {
        assert_eq!(
            shown(&resolved(Some((name, value)), &[])),
            nothing,
            "{name}"
        );
    }
    let unarmed = typing("run a.csv")
        .variable("MDE_CANCEL_TOKEN", MARKER)
        .variable("MDE_CANCEL_YES", "1")
        .variable("MDE_CANCEL_MAX_ACTIONS", "1")
        .run();
    assert_eq!((unarmed.asks(), unarmed.args.max_actions), (true, None));
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
    let CommandSettings::Run(run) = settings.command else {
        panic!("no run");
    };
    assert_eq!(run.state_dir, PathBuf::from("there").join("sandbox"));
}
