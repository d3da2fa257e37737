//! By which means a run signs in, and with what.
//!
//! One means is chosen before anything is sent, and no other is tried after it failed: a run must never act as somebody
//! else because a secret had expired. What `--credential auto` takes: the one whose file a flag names; else the first, in
//! the order of [`AUTO`], of which a setting is there. Whatever else that means needs must then be there, too.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use secrecy::SecretString;

use crate::cli::args::connection::{CredentialChoice, SignInArgs};
use crate::cli::args::value;
use crate::cli::args::value::InvalidValue;

use super::config_key::{SECRET_VARIABLE, TOKEN_VARIABLE};
use super::error::SettingsError;
use super::surroundings::Surroundings;

/// The variable that may hold a token; there is no flag for one.
const TOKEN: &str = "MDE_CANCEL_TOKEN";

/// The variable that may hold a client secret; there is no flag for one.
const CLIENT_SECRET: &str = "AZURE_CLIENT_SECRET";

/// What `auto` looks for, in this order. A person is asked only where that was said: nobody sits before a timer.
const AUTO: [CredentialChoice; 6] = [
    CredentialChoice::Token,
    CredentialChoice::ClientSecret,
    CredentialChoice::Certificate,
    CredentialChoice::WorkloadIdentity,
    CredentialChoice::ManagedIdentity,
    CredentialChoice::AzureCli,
];

/// The means of signing in, with what it needs of its own.
#[derive(Clone, Debug)]
pub enum SignIn {
    /// A ready token.
    Token(TokenOrigin),
    /// An app, by its secret.
    ClientSecret(TokenOrigin),
    /// An app, by the certificate in this file.
    Certificate(PathBuf),
    /// An app, by the federated token in this file.
    WorkloadIdentity(PathBuf),
    /// The machine.
    ManagedIdentity,
    /// Whoever is logged in to the Azure CLI.
    AzureCli,
    /// A person, by a code.
    DeviceCode,
}

/// Where a ready token or a secret comes from.
#[derive(Clone, Debug)]
pub enum TokenOrigin {
    /// An environment variable, and its name.
    Environment(SecretString, String),
    /// A file, read again when it is needed again.
    File(PathBuf),
}

/// How a means came to be chosen, for `doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The means.
    pub means: CredentialChoice,
    /// What chose it.
    pub because: String,
    /// The means that `auto` looked at before, and why it went on.
    pub passed_over: Vec<(CredentialChoice, &'static str)>,
}

impl SignIn {
    /// Chooses the means and gathers what it needs.
    pub(super) fn resolve(
        typed: &SignInArgs,
        around: &Surroundings<'_>,
    ) -> Result<(Self, Choice), SettingsError> {
        let choice = choose(typed, around)?;
        let path = |variable: &'static str, read: ReadPath, what| {
            let means = choice.means.as_str();
            let text = around
                .raw(variable)
                .ok_or(SettingsError::Incomplete { means, what })?;
            read_path(&text, variable, read)
        };
        let sign_in = match choice.means {
            CredentialChoice::Token => Self::Token(token(typed, around)?),
            CredentialChoice::ClientSecret => Self::ClientSecret(client_secret(typed, around)?),
            CredentialChoice::Certificate => Self::Certificate(path(
                "AZURE_CLIENT_CERTIFICATE_PATH",
                value::certificate_path,
                "a PEM file with certificate and key: set AZURE_CLIENT_CERTIFICATE_PATH",
            )?),
            CredentialChoice::WorkloadIdentity => Self::WorkloadIdentity(path(
                "AZURE_FEDERATED_TOKEN_FILE",
                value::token_path,
                "a federated token: set AZURE_FEDERATED_TOKEN_FILE",
            )?),
            CredentialChoice::ManagedIdentity => Self::ManagedIdentity,
            CredentialChoice::AzureCli => Self::AzureCli,
            CredentialChoice::DeviceCode => Self::DeviceCode,
            CredentialChoice::Auto => return Err(SettingsError::NoToken),
        };
        Ok((sign_in, choice))
    }
}

fn choose(typed: &SignInArgs, around: &Surroundings<'_>) -> Result<Choice, SettingsError> {
    let chosen = |means, because: &str| Choice {
        means,
        because: because.to_owned(),
        passed_over: Vec::new(),
    };
    let asked = around.layered_word(
        typed.credential,
        "MDE_CANCEL_CREDENTIAL",
        CredentialChoice::WORDS,
    )?;
    let files = [
        (&typed.token_file, CredentialChoice::Token, "--token-file"),
        (
            &typed.client_secret_file,
            CredentialChoice::ClientSecret,
            "--client-secret-file",
        ),
    ];
    let file = files.into_iter().find(|(file, ..)| file.is_some());
    match (asked, file) {
        (Some(means), _) if typed.credential.is_some() && means != CredentialChoice::Auto => {
            return Ok(chosen(means, "--credential"));
        }
        (_, Some((_, means, flag))) => return Ok(chosen(means, flag)),
        (Some(means), None) if means != CredentialChoice::Auto => {
            return Ok(chosen(means, "MDE_CANCEL_CREDENTIAL or the config file"));
        }
        _ => {}
    }
    let mut passed_over = Vec::new();
    for means in AUTO {
        match presence(means, around) {
            Ok(because) => {
                return Ok(Choice {
                    means,
                    because: because.to_owned(),
                    passed_over,
                });
            }
            Err(why_not) => passed_over.push((means, why_not)),
        }
    }
    Err(SettingsError::NoToken)
}

/// Says by which setting a means shows that it is wanted, or why it seems not to be.
fn presence(
    means: CredentialChoice,
    around: &Surroundings<'_>,
) -> Result<&'static str, &'static str> {
    let by = |variables: &[&'static str]| {
        let found = variables.iter().find(|name| around.raw(name).is_some());
        found.copied()
    };
    match means {
        CredentialChoice::Token => by(&[TOKEN, "MDE_CANCEL_TOKEN_FILE", TOKEN_VARIABLE])
            .ok_or("neither MDE_CANCEL_TOKEN nor a token file is given"),
        CredentialChoice::ClientSecret => by(&[
            CLIENT_SECRET,
            "MDE_CANCEL_CLIENT_SECRET_FILE",
            SECRET_VARIABLE,
        ])
        .ok_or("neither AZURE_CLIENT_SECRET nor a secret file is given"),
        CredentialChoice::Certificate => {
            by(&["AZURE_CLIENT_CERTIFICATE_PATH"]).ok_or("AZURE_CLIENT_CERTIFICATE_PATH is not set")
        }
        CredentialChoice::WorkloadIdentity => {
            by(&["AZURE_FEDERATED_TOKEN_FILE"]).ok_or("AZURE_FEDERATED_TOKEN_FILE is not set")
        }
        // A virtual machine's has no setting; asking for it off Azure would only cost time.
        CredentialChoice::ManagedIdentity => by(&["IDENTITY_ENDPOINT"])
            .ok_or("IDENTITY_ENDPOINT is not set; on a virtual machine, ask for it by name"),
        CredentialChoice::AzureCli => on_path(around)
            .then_some("az is on PATH")
            .ok_or("az is not on PATH"),
        CredentialChoice::DeviceCode | CredentialChoice::Auto => Err("it is never chosen unasked"),
    }
}

fn on_path(around: &Surroundings<'_>) -> bool {
    let names: &[&str] = if cfg!(windows) {
        &["az.cmd", "az.exe"]
    } else {
        &["az"]
    };
    around.variable("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .any(|folder| names.iter().any(|name| folder.join(name).is_file()))
    })
}

fn token(typed: &SignInArgs, around: &Surroundings<'_>) -> Result<TokenOrigin, SettingsError> {
    if let Some(path) = &typed.token_file {
        return file(path.expose(), "--token-file", value::token_path);
    }
    let name = "MDE_CANCEL_TOKEN_FILE";
    if let (Some(_), Some(_)) = (around.variable(TOKEN), around.variable(name)) {
        return Err(SettingsError::TwoTokens);
    }
    let found = secret(around, (TOKEN, name, TOKEN_VARIABLE), value::token_path)?;
    found.ok_or(SettingsError::Incomplete {
        means: "token",
        what: "a token: set MDE_CANCEL_TOKEN, or name a file with --token-file",
    })
}

fn client_secret(
    typed: &SignInArgs,
    around: &Surroundings<'_>,
) -> Result<TokenOrigin, SettingsError> {
    if let Some(path) = &typed.client_secret_file {
        return file(path.expose(), "--client-secret-file", value::secret_path);
    }
    let names = (
        CLIENT_SECRET,
        "MDE_CANCEL_CLIENT_SECRET_FILE",
        SECRET_VARIABLE,
    );
    let found = secret(around, names, value::secret_path)?;
    found.ok_or(SettingsError::Incomplete {
        means: "client-secret",
        what: "a secret: set AZURE_CLIENT_SECRET, or name a file with --client-secret-file",
    })
}

type ReadPath = fn(&OsStr) -> Result<PathBuf, InvalidValue>;

/// Finds a secret: in its variable, in the file that a variable names, in the variable or the file that the config file
/// names.
fn secret(
    around: &Surroundings<'_>,
    (value, path, reference): (&'static str, &'static str, &'static str),
    read: ReadPath,
) -> Result<Option<TokenOrigin>, SettingsError> {
    let variable = |name: &str, text: OsString| match text.into_string() {
        Ok(text) => Ok(Some(TokenOrigin::Environment(
            SecretString::from(text),
            name.to_owned(),
        ))),
        Err(_) => Err(SettingsError::EnvironmentText { name: value }),
    };
    if let Some(text) = around.variable(value) {
        return variable(value, text);
    }
    if let Some(text) = around.variable(path) {
        return file(&text, path, read).map(Some);
    }
    if let Some(named) = around.text(reference)?
        && let Some(text) = around.named_variable(&named)
    {
        return variable(&named, text);
    }
    match around.raw(path) {
        Some(text) => file(&text, path, read).map(Some),
        None => Ok(None),
    }
}

fn file(text: &OsStr, origin: &'static str, read: ReadPath) -> Result<TokenOrigin, SettingsError> {
    read_path(text, origin, read).map(TokenOrigin::File)
}

fn read_path(text: &OsStr, origin: &'static str, read: ReadPath) -> Result<PathBuf, SettingsError> {
    read(text).map_err(|source| SettingsError::SecretFile { origin, source })
}
