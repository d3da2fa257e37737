//! What `config show` shows: each setting, what it resolves to, and which layer said so.
//!
//! Secrets are not among them; of a variable that holds one only its name is known here. A setting that cannot be used is
//! refused before anything is shown, as it would be by a run.

use clap::Parser as _;

use crate::cli::args::cloud::{Cloud, Region};
use crate::cli::args::config::ConfigShowArgs;
use crate::cli::args::connection::{CredentialChoice, ScopeArgs, SignInArgs};
use crate::cli::args::value::Veiled;
use crate::cli::args::{Cli, Command, CommonArgs, RunArgs};

use super::config_key::{KEYS, Key, Kind, is_secret_itself};
use super::connection::ConnectionSettings;
use super::error::SettingsError;
use super::run::RunSettings;
use super::surroundings::Surroundings;

/// One setting as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownSetting {
    /// Its name, as in the config file.
    pub key: &'static str,
    /// What it resolves to; in words where the default is no value.
    pub value: String,
    /// Which layer said so.
    pub origin: String,
}

/// All settings as `config show` shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigShowSettings {
    /// In the order of the documentation.
    pub settings: Vec<ShownSetting>,
    /// Secrets that stand in variables, by the variable's name.
    pub secrets: Vec<&'static str>,
}

impl ConfigShowSettings {
    pub(super) fn resolve(
        typed: ConfigShowArgs,
        common: &CommonArgs,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        let scope = &typed.connection.scope;
        let is_typed = scope.cloud.is_some() || scope.region.is_some() || scope.api_url.is_some();
        // Of an address of which any part was typed, variables and the config file say nothing.
        let overruled = |key: &str| is_typed && ["region", "api-url"].contains(&key);
        let flags = typed_values(&typed.connection.scope, &typed.connection.sign_in, common);
        // Whatever a run would refuse must not be shown either: an address may hold a password. Without anything to
        // sign in with there is still a configuration to be shown.
        match ConnectionSettings::resolve(typed.connection, around) {
            Ok(_) | Err(SettingsError::NoToken | SettingsError::Incomplete { .. }) => {}
            Err(error) => return Err(error),
        }
        let run = anything().map(|run| RunSettings::resolve(run, common, &[], around));
        match run.transpose() {
            Ok(_) | Err(SettingsError::NoStateDir) => {}
            Err(error) => return Err(error),
        }
        let shown = |key: &'static Key| {
            let flag = flags.iter().find(|(name, _)| *name == key.name);
            let other = around.raw(key.variable).filter(|_| !overruled(key.name));
            let (value, origin) = match (flag, other) {
                (Some((name, value)), _) => (value.clone(), format!("--{name}")),
                (None, Some(value)) => {
                    let origin = match (&around.config, around.variable(key.variable)) {
                        (Some(config), None) => config.place_of(key.variable),
                        _ => key.variable.to_owned(),
                    };
                    (value.to_string_lossy().into_owned(), origin)
                }
                (None, None) => (key.default.to_owned(), "default".to_owned()),
            };
            ShownSetting {
                key: key.name,
                value: harmless(key.name, value),
                origin,
            }
        };
        let settings = KEYS
            .iter()
            .filter(|key| key.kind != Kind::SecretVariable || around.raw(key.variable).is_some())
            .map(shown)
            .collect();
        let secrets = ["AZURE_CLIENT_SECRET", "MDE_CANCEL_TOKEN"]
            .into_iter()
            .filter(|name| around.variable(name).is_some())
            .collect();
        Ok(Self { settings, secrets })
    }
}

/// Returns a run that sends nothing anywhere and leaves each setting to variables and the config file.
fn anything() -> Option<RunArgs> {
    let words = ["mde-cancel", "run", "--sandbox", "-"];
    match Cli::try_parse_from(words).ok()?.command {
        Command::Run(run) => Some(*run),
        _ => None,
    }
}

/// Takes out what may be a secret that was written where its file should be named, or into an address.
fn harmless(key: &str, text: String) -> String {
    if is_secret_itself(key, text.as_ref()) {
        return "[not shown: it looks like the secret itself]".to_owned();
    }
    if ["api-url", "login-url"].contains(&key) && text.contains(['@', '?', '#']) {
        return "[not shown: an address holds no user name, password, query or fragment]"
            .to_owned();
    }
    text
}

/// Returns what was typed, by the names of the flags.
fn typed_values(
    scope: &ScopeArgs,
    sign_in: &SignInArgs,
    common: &CommonArgs,
) -> Vec<(&'static str, String)> {
    let path =
        |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let veiled = |text: &Option<Veiled>| {
        text.as_ref()
            .map(|text| text.expose().to_string_lossy().into_owned())
    };
    let word = |word: Option<&'static str>| word.map(str::to_owned);
    let color = common
        .color
        .map(|color| format!("{color:?}").to_ascii_lowercase());
    let progress = common
        .progress
        .map(|mode| format!("{mode:?}").to_ascii_lowercase());
    let log_format = common
        .log_format
        .map(|format| format!("{format:?}").to_ascii_lowercase());
    [
        ("tenant-id", scope.tenant_id.clone()),
        ("client-id", scope.client_id.clone()),
        ("cloud", word(scope.cloud.map(Cloud::as_str))),
        ("region", word(scope.region.map(Region::as_str))),
        ("api-url", veiled(&scope.api_url)),
        (
            "credential",
            word(sign_in.credential.map(CredentialChoice::as_str)),
        ),
        ("client-secret-file", veiled(&sign_in.client_secret_file)),
        ("token-file", veiled(&sign_in.token_file)),
        ("login-url", veiled(&sign_in.login_url)),
        ("api-scope", sign_in.api_scope.clone()),
        ("ca-file", path(&sign_in.ca_file)),
        ("state-dir", path(&common.state_dir)),
        ("log-file", path(&common.log_file)),
        ("log-format", log_format),
        ("progress", progress),
        ("color", color),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.map(|value| (name, value)))
    .collect()
}
