//! Which means of signing in is chosen, what it needs, and where it goes in each cloud.

use std::path::PathBuf;

use mde_cancel::cli::args::CredentialMethod;
use mde_cancel::cli::settings::{SecretSource, SignIn};

use super::{MARKER, Typing, service, typing};

const APP: &str = "11111111-2222-3333-4444-555555555555";

/// Types a run with tenant and app named, and nothing to sign in with.
fn app() -> Typing {
    typing("run --yes a.csv")
        .variable("AZURE_TENANT_ID", "contoso.example")
        .variable("AZURE_CLIENT_ID", APP)
}

#[test]
fn auto_takes_the_first_means_whose_settings_are_there() {
    let all = [
        ("MDE_CANCEL_TOKEN", CredentialMethod::Token),
        ("AZURE_CLIENT_SECRET", CredentialMethod::ClientSecret),
        (
            "AZURE_CLIENT_CERTIFICATE_PATH",
            CredentialMethod::Certificate,
        ),
        (
            "AZURE_FEDERATED_TOKEN_FILE",
            CredentialMethod::WorkloadIdentity,
        ),
        ("IDENTITY_ENDPOINT", CredentialMethod::ManagedIdentity),
    ];
    for first in 0..all.len() {
        let mut typed = app();
        for (name, _) in &all[first..] {
            typed = typed.variable(name, "x");
        }
        let choice = typed.connection().choice;
        assert_eq!(choice.method, all[first].1);
        assert_eq!(choice.reason, all[first].0);
        let skipped: Vec<_> = choice.skipped.iter().map(|(method, _)| *method).collect();
        let before: Vec<_> = all[..first].iter().map(|(_, method)| *method).collect();
        assert_eq!(skipped, before);
    }
}

#[cfg(unix)]
#[test]
fn the_azure_cli_is_taken_last_and_only_where_it_is_installed() {
    let folder = tempfile::tempdir().unwrap();
    let path = || folder.path().as_os_str().to_owned();
    let complaint = typing("run --yes a.csv")
        .variable("PATH", path())
        .complaint();
    assert!(
        complaint.1.contains("nothing to sign in with"),
        "{complaint:?}"
    );
    std::fs::write(folder.path().join("az"), "").unwrap();
    let choice = typing("run --yes a.csv")
        .variable("PATH", path())
        .connection()
        .choice;
    assert_eq!(choice.method, CredentialMethod::AzureCli);
    assert_eq!(choice.reason, "az is on PATH");
    assert_eq!(choice.skipped.len(), 5);
}

#[test]
fn a_means_that_was_named_is_taken_whatever_else_is_there() {
    let typed = |means: &str| {
        app()
            .variable("MDE_CANCEL_TOKEN", MARKER)
            .word("--credential")
            .word(means)
    };
    assert!(matches!(
        typed("device-code").connection().sign_in,
        SignIn::DeviceCode
    ));
    assert!(matches!(
        typed("azure-cli").connection().sign_in,
        SignIn::AzureCli
    ));
    let by_variable = app()
        .variable("MDE_CANCEL_TOKEN", MARKER)
        .variable("MDE_CANCEL_CREDENTIAL", "managed-identity");
    assert!(matches!(
        by_variable.connection().sign_in,
        SignIn::ManagedIdentity
    ));
    // A file that was typed says which means is wanted, and beats a variable that says otherwise.
    let by_file = app()
        .variable("MDE_CANCEL_TOKEN", MARKER)
        .variable("MDE_CANCEL_CREDENTIAL", "token")
        .word("--client-secret-file")
        .word("s");
    let SignIn::ClientSecret(SecretSource::File(path)) = by_file.connection().sign_in else {
        panic!("no secret file");
    };
    assert_eq!(path, PathBuf::from("s"));
}

#[test]
fn a_means_without_what_it_needs_is_refused_by_name_and_nothing_else_is_tried() {
    let bare = || typing("run --yes a.csv");
    for (typed, text) in [
        (
            bare().variable("AZURE_CLIENT_SECRET", MARKER),
            "signing in by client-secret needs a tenant: use --tenant-id or set AZURE_TENANT_ID",
        ),
        (
            bare()
                .variable("AZURE_CLIENT_SECRET", MARKER)
                .variable("AZURE_TENANT_ID", "a.b"),
            "signing in by client-secret needs an app: use --client-id or set AZURE_CLIENT_ID",
        ),
        (
            app().word("--credential=client-secret"),
            "signing in by client-secret needs a secret: set AZURE_CLIENT_SECRET or use --client-secret-file",
        ),
        (
            app().word("--credential=certificate"),
            "signing in by certificate needs a PEM file with certificate and key: use --client-certificate-file or set AZURE_CLIENT_CERTIFICATE_PATH",
        ),
        (
            app().word("--credential=workload-identity"),
            "signing in by workload-identity needs a federated token: use --federated-token-file or set AZURE_FEDERATED_TOKEN_FILE",
        ),
        (
            app().word("--credential=token"),
            "signing in by token needs a token: set MDE_CANCEL_TOKEN or use --token-file",
        ),
        (
            bare().word("--credential=device-code"),
            "signing in by device-code needs a tenant: use --tenant-id or set AZURE_TENANT_ID",
        ),
    ] {
        let (code, complaint) = typed.complaint();
        assert_eq!((code, complaint), (2, format!("error: {text}\n")));
    }
}

#[test]
fn a_secret_where_its_file_should_be_named_is_refused_unseen() {
    let secret = format!("abc8Q~{MARKER}-0123456789-012345678");
    let typed = app().word("--client-secret-file").word(&secret);
    let (code, complaint) = typed.complaint();
    assert_eq!(code, 2);
    assert!(complaint.contains("holds the secret itself"), "{complaint}");
    assert!(!complaint.contains(MARKER), "{complaint}");
}

#[test]
fn each_cloud_has_its_login_service_and_its_audience_and_both_can_be_set() {
    let commercial = "https://api.securitycenter.microsoft.com/.default";
    let gov = "https://api-gov.securitycenter.microsoft.us/.default";
    for (flags, login, scope) in [
        ("", "https://login.microsoftonline.com/", commercial),
        (
            "--region uk",
            "https://login.microsoftonline.com/",
            commercial,
        ),
        (
            "--cloud gcc",
            "https://login.microsoftonline.com/",
            "https://api-gcc.securitycenter.microsoft.us/.default",
        ),
        ("--cloud gcc-high", "https://login.microsoftonline.us/", gov),
        ("--cloud dod", "https://login.microsoftonline.us/", gov),
        (
            "--api-url https://api-gov.securitycenter.microsoft.us",
            "https://login.microsoftonline.us/",
            gov,
        ),
        (
            "--api-url https://gateway.example --cloud gcc-high",
            "https://login.microsoftonline.us/",
            gov,
        ),
        (
            "--login-url http://127.0.0.1:9 --api-scope api://x",
            "http://127.0.0.1:9/",
            "api://x/.default",
        ),
    ] {
        let connection = service(flags).connection();
        assert_eq!(connection.login_url.as_str(), login, "{flags}");
        assert_eq!(connection.api_scope, scope, "{flags}");
    }
    let bare_host = service("").variable("AZURE_AUTHORITY_HOST", "login.microsoftonline.us");
    assert_eq!(
        bare_host.connection().login_url.as_str(),
        "https://login.microsoftonline.us/"
    );
    for (flags, text) in [
        (
            "--login-url http://login.example",
            "--login-url: plain http is accepted for loopback addresses only",
        ),
        (
            "--login-url https://u:s3cr3t-marker@login.example",
            "--login-url must not have a user name",
        ),
        ("--api-scope a?b", "a scope is the service's address or id"),
    ] {
        let complaint = service(flags).complaint().1;
        assert!(
            complaint.contains(text) && !complaint.contains(MARKER),
            "{complaint}"
        );
    }
}
