//! What the commands about past runs are to do: `resume`, `runs`, `report`.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::args::{CommonArgs, RemoveArgs, ReportCommandArgs, ResumeArgs, TableFormat};
use crate::engine::Precheck;

use super::common;
use super::connection::ConnectionSettings;
use super::error::SettingsError;
use super::outputs::{NamedFile, OutputPaths};
use super::run::Consent;
use super::surroundings::Surroundings;
use super::tenants::Profiles;

/// What `resume` is to do.
#[derive(Clone, Debug)]
pub struct ResumeSettings {
    /// The run's id or the beginning of it; the one unfinished run of the last 24 hours where there is none.
    pub run: Option<String>,
    /// Whether somebody is to be asked; nobody is about a sandbox run.
    pub consent: Consent,
    /// Where it writes, as typed; what isn't is as the run was begun.
    pub outputs: OutputPaths,
    /// Whether to show what is left and send nothing.
    pub dry_run: bool,
    /// Whether the run's own word holds, or what is left goes out unread.
    pub triage: Option<Precheck>,
    /// When to stop cleanly.
    pub stop_after: Option<Duration>,
    /// Where it is sent, or why that cannot be told; a sandbox run needs none.
    pub connection: Result<ConnectionSettings, SettingsError>,
    /// The profiles of the config file, for a run of several tenants.
    pub profiles: Profiles,
    /// Where the journal lies.
    pub state_dir: PathBuf,
    /// What no output may overwrite.
    pub kept: Vec<NamedFile>,
}

impl ResumeSettings {
    pub(super) fn resolve(
        typed: ResumeArgs,
        common: &CommonArgs,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            run: typed.run,
            consent: Consent::of(typed.yes),
            dry_run: typed.dry_run,
            // Neither the environment nor the config file is asked: what isn't typed is as the run was begun.
            outputs: OutputPaths {
                reports: typed.reports,
                follow_up: typed.follow_up,
                metrics_file: typed.metrics_file,
            }
            .checked()?,
            triage: typed.no_precheck.then_some(Precheck::Skip),
            stop_after: typed.stop_after,
            profiles: Profiles::resolve(&typed.connection, around),
            connection: ConnectionSettings::resolve(typed.connection, around),
            state_dir: common::state_dir(common, around)?,
            kept: Vec::new(),
        })
    }
}

/// What `runs` is to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunsSettings {
    /// The one run that is shown; all where there is none.
    pub run: Option<String>,
    /// How it is printed.
    pub format: TableFormat,
    /// Where the journal lies.
    pub state_dir: PathBuf,
}

impl RunsSettings {
    pub(super) fn resolve(
        run: Option<String>,
        format: TableFormat,
        common: &CommonArgs,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            run,
            format,
            state_dir: common::state_dir(common, around)?,
        })
    }
}

/// What `runs rm` is to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveSettings {
    /// Which runs.
    pub wanted: Wanted,
    /// Whether somebody agreed beforehand.
    pub consent: BeforeRemoval,
    /// Where the journal lies.
    pub state_dir: PathBuf,
}

/// Which runs are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those whose ids begin so.
    Named(Vec<String>),
    /// Those that were last worked on longer ago than this, and that nobody executes.
    OlderThan(Duration),
}

/// What comes before a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeforeRemoval {
    /// Whoever sits at the terminal is asked.
    Ask,
    /// Nothing: `--yes` was typed.
    Nothing,
}

impl RemoveSettings {
    pub(super) fn resolve(
        typed: RemoveArgs,
        common: &CommonArgs,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            wanted: match typed.older_than {
                Some(age) => Wanted::OlderThan(age),
                None => Wanted::Named(typed.runs),
            },
            consent: if typed.yes {
                BeforeRemoval::Nothing
            } else {
                BeforeRemoval::Ask
            },
            state_dir: common::state_dir(common, around)?,
        })
    }
}

/// What `report` is to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportSettings {
    /// The run's id or the beginning of it; the newest where there is none.
    pub run: Option<String>,
    /// Where it is written.
    pub outputs: OutputPaths,
    /// Where the journal lies.
    pub state_dir: PathBuf,
}

impl ReportSettings {
    pub(super) fn resolve(
        typed: ReportCommandArgs,
        common: &CommonArgs,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        let mut outputs = OutputPaths {
            reports: typed.reports,
            follow_up: typed.follow_up,
            metrics_file: None,
        }
        .checked()?;
        if outputs == OutputPaths::default() {
            outputs.reports.push(PathBuf::from("-"));
        }
        Ok(Self {
            run: typed.run,
            outputs,
            state_dir: common::state_dir(common, around)?,
        })
    }
}
