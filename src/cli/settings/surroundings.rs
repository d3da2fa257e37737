//! The layers below the flags: the environment, as an argument, and the folder that the platform offers.
//!
//! A flag beats a variable, which beats the default; an empty variable counts as none. What arms the tool (`--yes`,
//! `--include-type`, `--no-triage`) and what decides which world a run touches (`--sandbox`) have no variable, so
//! nothing here may ever be asked for one.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cli::args::value::InvalidValue;
use crate::platform;

use super::error::SettingsError;

/// What settings look at besides what was typed.
pub struct Surroundings<'process> {
    /// Reads an environment variable.
    pub environment: &'process dyn Fn(&str) -> Option<OsString>,
    /// The platform's folder for state, where it names one.
    pub default_state_dir: Option<PathBuf>,
}

impl Surroundings<'static> {
    /// Returns those of this process.
    pub fn of_process() -> Self {
        Self {
            environment: &|name| std::env::var_os(name),
            default_state_dir: platform::default_state_dir(),
        }
    }
}

impl Surroundings<'_> {
    /// Returns a variable's value; an empty one counts as none.
    pub(super) fn raw(&self, name: &'static str) -> Option<OsString> {
        (self.environment)(name).filter(|value| !value.is_empty())
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
            Err(source) => Err(SettingsError::EnvironmentValue {
                name,
                value,
                source,
            }),
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
