//! What the commands about past runs are to do: `resume`, `runs`, `report`.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::args::CommonArgs;
use crate::cli::args::ReportCommandArgs;
use crate::cli::args::ResumeArgs;
use crate::cli::args::RunsArgs;
use crate::cli::args::TableFormat;
use crate::report::ReportFormat;

use super::common;
use super::connection::ConnectionSettings;
use super::error::SettingsError;
use super::output::Output;
use super::surroundings::Surroundings;

/// What `resume` is to do.
#[derive(Clone, Debug)]
pub struct ResumeSettings {
    /// The run's id or the beginning of it; the one unfinished run of the last 24 hours where there is none.
    pub run: Option<String>,
    /// Where its reports go; empty for the default.
    pub reports: Vec<PathBuf>,
    /// What is written beside them.
    pub output: Output,
    /// When to stop cleanly.
    pub stop_after: Option<Duration>,
    /// Where it is sent, or why that cannot be told; a sandbox run needs none.
    pub connection: Result<ConnectionSettings, SettingsError>,
    /// Where the journal lies.
    pub state_dir: PathBuf,
}

impl ResumeSettings {
    pub(super) fn resolve(
        typed: ResumeArgs,
        common: &CommonArgs,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        let reports = typed.report.reports;
        for path in &reports {
            ReportFormat::from_path(path)?;
        }
        if !typed.yes {
            return Err(SettingsError::Consent);
        }
        Ok(Self {
            run: typed.run,
            reports,
            output: Output::resolve(typed.report.output, around),
            stop_after: typed.stop_after,
            connection: ConnectionSettings::resolve(typed.connection, around),
            state_dir: common::state_dir(common, around)?,
        })
    }
}

/// What `runs` is to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunsSettings {
    /// How it is printed.
    pub format: TableFormat,
    /// Where the journal lies.
    pub state_dir: PathBuf,
}

impl RunsSettings {
    pub(super) fn resolve(
        typed: &RunsArgs,
        common: &CommonArgs,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            format: typed.format,
            state_dir: common::state_dir(common, around)?,
        })
    }
}

/// What `report` is to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportSettings {
    /// The run's id or the beginning of it; the newest where there is none.
    pub run: Option<String>,
    /// Where it goes.
    pub reports: Vec<PathBuf>,
    /// Where the journal lies.
    pub state_dir: PathBuf,
}

impl ReportSettings {
    pub(super) fn resolve(
        typed: ReportCommandArgs,
        common: &CommonArgs,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        let reports = if typed.reports.is_empty() {
            vec![PathBuf::from("-")]
        } else {
            typed.reports
        };
        for path in &reports {
            ReportFormat::from_path(path)?;
        }
        Ok(Self {
            run: typed.run,
            reports,
            state_dir: common::state_dir(common, around)?,
        })
    }
}
