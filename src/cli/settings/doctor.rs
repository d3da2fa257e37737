//! What `doctor` looks at.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::args::config::DoctorArgs;
use crate::cli::args::{CommonArgs, TableFormat};
use crate::quota::Windows;

use super::allowance::Allowance;
use super::common;
use super::connection::ConnectionSettings;
use super::error::SettingsError;
use super::run::CALL_TIMEOUT;
use super::surroundings::Surroundings;

/// What `doctor` looks at.
#[derive(Clone, Debug)]
pub struct DoctorSettings {
    /// Where calls would go, or why that cannot be told.
    pub connection: Result<ConnectionSettings, SettingsError>,
    /// Where the journal would lie, or why that cannot be told.
    pub state_dir: Result<PathBuf, SettingsError>,
    /// How long one call may take.
    pub timeout: Duration,
    /// What the service allows; the one read is counted.
    pub allowance: Allowance,
    /// Which config file was read, and which profile of it.
    pub config: Option<(PathBuf, Option<String>)>,
    pub format: TableFormat,
}

impl DoctorSettings {
    pub(super) fn resolve(
        typed: DoctorArgs,
        common: &CommonArgs,
        around: &Surroundings<'_>,
    ) -> Self {
        let config = around.config.as_ref().map(|config| {
            let profile = config.profile().map(str::to_owned);
            (config.path().to_owned(), profile)
        });
        Self {
            connection: ConnectionSettings::resolve(typed.connection, around),
            state_dir: common::state_dir(common, around),
            timeout: CALL_TIMEOUT,
            // It has no flag for them, so no variable may set them either.
            allowance: Allowance {
                cancel: Windows::documented(),
                read: Windows::half_of_documented(),
            },
            config,
            format: typed.format,
        }
    }
}
