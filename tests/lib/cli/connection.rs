//! The service's address, the credential, and what each of them needs.

use std::path::PathBuf;

use mde_cancel::cli::args::CredentialMethod;
use mde_cancel::cli::settings::{SecretSource, SignIn};
use secrecy::ExposeSecret as _;

use super::{MARKER, Typing, service, typing};
use crate::support::table;

const APP: &str = "11111111-2222-3333-4444-555555555555";

/// A run with tenant and app, but without a credential.
fn app() -> Typing {
    typing("run --yes a.csv")
        .variable("AZURE_TENANT_ID", "contoso.example")
        .variable("AZURE_CLIENT_ID", APP)
}

#[test]
fn auto_picks_the_first_credential_with_complete_settings() {
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
    let name = if cfg!(windows) { "az.cmd" } else { "az" };
    std::fs::write(folder.path().join(name), "").unwrap();
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
    // A typed file selects the credential and beats a variable that selects another.
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
    let bare = |means: &str| typing(&format!("run --yes a.csv {means}"));
    let with_secret = || bare("").variable("AZURE_CLIENT_SECRET", MARKER);
    let with_tenant = || with_secret().variable("AZURE_TENANT_ID", "a.b");
    let of_app = |means: &str| app().words(means);
    let no_tenant = "a tenant: use --tenant-id or set AZURE_TENANT_ID";
    for (typed, method, lack) in [
        (with_secret(), "client-secret", no_tenant),
        (
            with_tenant(),
            "client-secret",
            "an app: use --client-id or set AZURE_CLIENT_ID",
        ),
        (
            of_app("--credential=client-secret"),
            "client-secret",
            "a secret: set AZURE_CLIENT_SECRET or use --client-secret-file",
        ),
        (
            of_app("--credential=certificate"),
            "certificate",
            "a PEM file with certificate and key: use --client-certificate-file or set AZURE_CLIENT_CERTIFICATE_PATH",
        ),
        (
            of_app("--credential=workload-identity"),
            "workload-identity",
            "a federated token: use --federated-token-file or set AZURE_FEDERATED_TOKEN_FILE",
        ),
        (
            of_app("--credential=token"),
            "token",
            "a token: set MDE_CANCEL_TOKEN or use --token-file",
        ),
        (bare("--credential=device-code"), "device-code", no_tenant),
    ] {
        let text = format!("error: signing in by {method} needs {lack}\n");
        assert_eq!(typed.complaint(), (2, text));
    }
}

#[test]
fn each_cloud_has_its_login_service_and_its_audience_and_both_can_be_set() {
    for [flags, login, scope] in table(
        "
                         | https://login.microsoftonline.com/ | https://api.securitycenter.microsoft.com/.default
        --region uk      | https://login.microsoftonline.com/ | https://api.securitycenter.microsoft.com/.default
        --cloud gcc      | https://login.microsoftonline.com/ | https://api-gcc.securitycenter.microsoft.us/.default
        --cloud gcc-high | https://login.microsoftonline.us/  | https://api-gov.securitycenter.microsoft.us/.default
        --cloud dod      | https://login.microsoftonline.us/  | https://api-gov.securitycenter.microsoft.us/.default
        --api-url https://api-gov.securitycenter.microsoft.us | https://login.microsoftonline.us/ | https://api-gov.securitycenter.microsoft.us/.default
        --api-url https://gateway.example --cloud gcc-high    | https://login.microsoftonline.us/ | https://api-gov.securitycenter.microsoft.us/.default
        --login-url http://127.0.0.1:9 --api-scope api://x    | http://127.0.0.1:9/               | api://x/.default
        ",
    ) {
        let connection = service(flags).connection();
        assert_eq!(connection.login_url.as_str(), login, "{flags}");
        assert_eq!(connection.api_scope, scope, "{flags}");
    }
    let bare_host = service("").variable("AZURE_AUTHORITY_HOST", "login.microsoftonline.us");
    let login = bare_host.connection().login_url;
    assert_eq!(login.as_str(), "https://login.microsoftonline.us/");
    for [flags, text] in table(
        "
        --login-url http://login.example                  | --login-url: plain http is accepted for loopback addresses only
        --login-url https://u:s3cr3t-marker@login.example | --login-url must not have a user name
        --api-scope a?b                                   | a scope is the service's address or id
        ",
    ) {
        let complaint = service(flags).complaint().1;
        assert!(complaint.contains(text), "{complaint}");
        assert!(!complaint.contains(MARKER), "{complaint}");
    }
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
    // The flag beats the variable.
    let from_file = service("--token-file t").connection();
    assert!(matches!(from_file.sign_in, SignIn::Token(SecretSource::File(path)) if path == *"t"));
    let from_named_file = typing("run -y a").variable("MDE_CANCEL_TOKEN_FILE", "t");
    let SignIn::Token(SecretSource::File(path)) = from_named_file.connection().sign_in else {
        panic!("no file");
    };
    assert_eq!(path, PathBuf::from("t"));
}
