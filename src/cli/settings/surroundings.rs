//! The layers below the flags: the environment, as an argument, the config file, and the folders that the platform
//! offers.
//!
//! A flag beats a variable, which beats the config file, which beats the default; an empty variable counts as none. What arms the tool (`--yes`,
//! `--allow-protected`, `--no-precheck`) and what decides which world a run touches (`--sandbox`) have no variable, so
//! nothing here may ever be asked for one.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cli::args::value::InvalidValue;
use crate::platform;

use super::config_file::{CONFIG_FILE, ConfigLayer};
use super::error::SettingsError;

/// Variables that say who signs in, and where. With a profile none of them is read: one that was left over from another
/// tenant must not lead a run there.
pub(super) const IDENTITY: [&str; 14] = [
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_TENANT_ID",
    "MDE_CANCEL_API_SCOPE",
    "MDE_CANCEL_API_URL",
    "MDE_CANCEL_CLIENT_SECRET_FILE",
    "MDE_CANCEL_CLOUD",
    "MDE_CANCEL_CREDENTIAL",
    "MDE_CANCEL_REGION",
    "MDE_CANCEL_TOKEN",
    "MDE_CANCEL_TOKEN_FILE",
];

/// What settings look at besides what was typed.
pub struct Surroundings<'process> {
    /// Reads an environment variable.
    pub environment: &'process dyn Fn(&str) -> Option<OsString>,
    /// The platform's folder for state, where it names one.
    pub default_state_dir: Option<PathBuf>,
    /// Where the config file is looked for when none is named; it need not be there.
    pub default_config: Option<PathBuf>,
    /// What the config file says, once it was read.
    pub config: Option<ConfigLayer>,
}

impl Surroundings<'static> {
    /// Returns those of this process.
    pub fn of_process() -> Self {
        Self {
            environment: &|name| std::env::var_os(name),
            default_state_dir: platform::default_state_dir(),
            default_config: platform::default_config_dir().map(|dir| dir.join(CONFIG_FILE)),
            config: None,
        }
    }
}

impl Surroundings<'_> {
    /// Returns these with what the config file says below the environment.
    pub(super) fn with_config(&self, config: Option<ConfigLayer>) -> Surroundings<'_> {
        Surroundings {
            environment: self.environment,
            default_state_dir: self.default_state_dir.clone(),
            default_config: self.default_config.clone(),
            config,
        }
    }

    /// Returns a variable's value, else what the config file says in its place; an empty variable counts as none.
    pub(super) fn raw(&self, name: &'static str) -> Option<OsString> {
        self.variable(name)
            .or_else(|| self.config.as_ref()?.value_for(name).map(OsString::from))
    }

    /// Returns a variable's value; an empty one counts as none, and so does one of [`IDENTITY`] with a profile.
    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        let is_ignored = self.has_profile() && IDENTITY.contains(&name);
        self.named_variable(name).filter(|_| !is_ignored)
    }

    /// Returns the value of a variable that the settings name.
    pub(super) fn named_variable(&self, name: &str) -> Option<OsString> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }

    fn has_profile(&self) -> bool {
        let config = self.config.as_ref();
        config.is_some_and(|config| config.profile().is_some())
    }

    /// Names the variables that are set and not read with a profile.
    pub(super) fn ignored_with_profile(&self) -> Vec<&'static str> {
        let is_set = |name: &&str| self.named_variable(name).is_some();
        IDENTITY.into_iter().filter(is_set).collect()
    }

    /// Returns whether a profile that was typed says what `name` resolves to.
    pub(super) fn is_of_typed_profile(&self, name: &str) -> bool {
        let config = self.config.as_ref();
        self.variable(name).is_none()
            && config.is_some_and(|config| config.is_of_typed_profile(name))
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Option<String>, SettingsError> {
        self.raw(name)
            .map(|value| {
                value
                    .into_string()
                    .map_err(|_| SettingsError::EnvironmentText { name })
            })
            .transpose()
    }

    fn invalid(&self, name: &'static str, value: String, source: InvalidValue) -> SettingsError {
        match &self.config {
            Some(config) if self.variable(name).is_none() => SettingsError::ConfigValue {
                place: config.place_of(name),
                value,
                source,
            },
            _ => SettingsError::EnvironmentValue {
                name,
                value,
                source,
            },
        }
    }

    /// Returns what was typed, else what the variable says.
    pub(super) fn layered<T>(
        &self,
        typed: Option<T>,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, InvalidValue>,
    ) -> Result<Option<T>, SettingsError> {
        if typed.is_some() {
            return Ok(typed);
        }
        let Some(value) = self.text(name)? else {
            return Ok(None);
        };
        match parse(&value) {
            Ok(parsed) => Ok(Some(parsed)),
            Err(source) => Err(self.invalid(name, value, source)),
        }
    }

    /// Returns the list that was typed, else what the variable says, whose parts stand between commas. A list that was
    /// typed replaces the variable's and does not add to it.
    pub(super) fn layered_list<T>(
        &self,
        typed: Vec<T>,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Result<Vec<T>, SettingsError> {
        let typed = Some(typed).filter(|list| !list.is_empty());
        let all = |text: &str| text.split(',').map(&parse).collect();
        Ok(self.layered(typed, name, all)?.unwrap_or_default())
    }

    /// Returns one of an enumeration's words that was typed, else the one in the variable.
    pub(super) fn layered_word<T: clap::ValueEnum>(
        &self,
        typed: Option<T>,
        name: &'static str,
        words: &'static [&'static str],
    ) -> Result<Option<T>, SettingsError> {
        self.layered(typed, name, |text| {
            T::from_str(text.trim(), true).map_err(|_| InvalidValue::Choice(words))
        })
    }

    /// Returns the path that was typed, else the variable's. The parser lets no empty path through.
    pub(super) fn layered_path(
        &self,
        typed: Option<PathBuf>,
        name: &'static str,
    ) -> Option<PathBuf> {
        typed.or_else(|| self.raw(name).map(PathBuf::from))
    }
}
