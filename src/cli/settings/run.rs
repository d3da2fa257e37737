//! What a run is to do, resolved: its inputs, whom it calls, and how fast.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::args::CommonArgs;
use crate::cli::args::PaceArgs;
use crate::cli::args::ReportArgs;
use crate::cli::args::RunArgs;
use crate::cli::args::value;
use crate::cli::args::value::PaceChoice;
use crate::domain::ActionType;
use crate::domain::RunId;
use crate::engine::Triage;
use crate::engine::core::MaxFailures;
use crate::intake::BookmarkUse;
use crate::intake::Input;
use crate::intake::IntakeSettings;
use crate::quota::Pace;
use crate::report::ReportFormat;

use super::allowance::Allowance;
use super::common;
use super::connection::ConnectionSettings;
use super::error::SettingsError;
use super::output::Output;
use super::surroundings::Surroundings;

/// By how much the sandbox's periods and waits are shorter: the hour window then rolls in six minutes, which is short
/// enough to watch, and the minute window in six seconds, which is long enough to see.
pub const SANDBOX_SCALE: u32 = 10;

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// What is read, in this order; never empty, and standard input at most once.
    pub inputs: Vec<Input>,
    /// How it is read.
    pub intake: IntakeSettings,
    /// The comment that beats a row's own.
    pub comment: Option<String>,
    /// The guarded types that are cancelled all the same.
    pub include_types: Vec<ActionType>,
    /// Whether states are read before anything is sent.
    pub triage: Triage,
    /// Whether accepted actions are read again.
    pub verify: Verify,
    /// Why no question is asked.
    pub consent: Consent,
    /// Where reports go; [`RunSettings::report_paths`] knows the default.
    pub reports: Vec<PathBuf>,
    /// What is written beside them.
    pub output: Output,
    /// What the service allows.
    pub allowance: Allowance,
    /// What bursts are spread to; none at all spreads nothing.
    pub pace: Option<Pace>,
    /// How many calls are under way at most.
    pub concurrency: u32,
    /// How many attempts a row gets that count against it.
    pub max_attempts: u32,
    /// How long one call may take.
    pub timeout: Duration,
    /// How long a call that was given up counts as arriving.
    pub fate_grace: Duration,
    /// When to stop cleanly, from the start.
    pub stop_after: Option<Duration>,
    /// How long the run may go on without any row ending.
    pub give_up_after: Duration,
    /// How many rows may end badly.
    pub max_failures: Option<MaxFailures>,
    /// Whom the run calls.
    pub world: World,
    /// Where journal and ledger lie; a sandbox has a folder of its own in the one that was named.
    pub state_dir: PathBuf,
}

/// Whom a run calls.
#[derive(Clone, Debug)]
pub enum World {
    /// The service.
    Service(ConnectionSettings),
    /// An embedded sandbox. Nothing in these settings is scaled yet.
    Sandbox {
        /// By how much every quota period and every wait is to be shortened.
        time_scale: u32,
    },
}

/// Whether accepted actions are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Until their record says Cancelled, or time is up.
    ReadAgain,
    /// They are not.
    Skip,
}

/// Why no question is asked. There is no variant for somebody who did not agree: such a run has no settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// `--yes` was typed.
    Given,
    /// Nothing real can happen in a sandbox.
    NotNeeded,
}

impl RunSettings {
    pub(super) fn resolve(
        typed: RunArgs,
        common: &CommonArgs,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        let inputs = inputs(&typed)?;
        let id_column =
            around.layered(typed.input.id_column, "MDE_CANCEL_ID_COLUMN", value::words)?;
        let format = around.layered(
            typed.input.input_format,
            "MDE_CANCEL_INPUT_FORMAT",
            value::input_format,
        )?;
        let typed_no_verify = typed.consent.no_verify.then_some(true);
        let no_verify =
            around.layered(typed_no_verify, "MDE_CANCEL_NO_VERIFY", value::yes_or_no)?;
        let pace = around.layered(typed.pace.pace, "MDE_CANCEL_PACE", PaceChoice::parse)?;
        let comment =
            around.layered(typed.consent.comment, "MDE_CANCEL_COMMENT", value::comment)?;
        let (concurrency, max_attempts) = bounds(&typed.pace, around)?;
        let (timeout, fate_grace) = waits(&typed.pace, around)?;
        let mut include_types = typed.consent.include_types;
        include_types.sort();
        include_types.dedup();
        let mut settings = Self {
            inputs,
            intake: IntakeSettings {
                id_column,
                format: format.unwrap_or_default(),
                bookmarks: BookmarkUse::Kept,
            },
            comment,
            include_types,
            triage: if typed.consent.no_triage {
                Triage::Skip
            } else {
                Triage::ReadFirst
            },
            verify: match no_verify {
                Some(true) => Verify::Skip,
                _ => Verify::ReadAgain,
            },
            consent: Consent::NotNeeded,
            output: Output::resolve(typed.report.output.clone(), around),
            reports: reports(typed.report, around)?,
            allowance: Allowance::resolve(typed.allowance, around)?,
            pace: match pace {
                Some(PaceChoice(pace)) => pace,
                None => default_pace(),
            },
            concurrency,
            max_attempts,
            timeout,
            fate_grace,
            stop_after: around.layered(
                typed.bounds.stop_after,
                "MDE_CANCEL_STOP_AFTER",
                value::bound,
            )?,
            give_up_after: around
                .layered(
                    typed.bounds.give_up_after,
                    "MDE_CANCEL_GIVE_UP_AFTER",
                    value::bound,
                )?
                .unwrap_or(Duration::from_secs(90 * 60)),
            max_failures: around.layered(
                typed.bounds.max_failures,
                "MDE_CANCEL_MAX_FAILURES",
                value::max_failures,
            )?,
            world: World::Sandbox {
                time_scale: SANDBOX_SCALE,
            },
            state_dir: common::state_dir(common, around)?,
        };
        if typed.sandbox {
            settings.state_dir.push("sandbox");
            return Ok(settings);
        }
        settings.world = World::Service(ConnectionSettings::resolve(typed.connection, around)?);
        // Last, so that whoever adds --yes at this point sees no other complaint.
        if !typed.consent.yes {
            return Err(SettingsError::Consent);
        }
        settings.consent = Consent::Given;
        Ok(settings)
    }

    /// Returns where the reports of a run go: what was named, or one CSV file in the current folder, whose name says so
    /// where nothing of it is real.
    pub fn report_paths(&self, run: RunId) -> Vec<PathBuf> {
        if !self.reports.is_empty() {
            return self.reports.clone();
        }
        let mark = match self.world {
            World::Service(_) => "",
            World::Sandbox { .. } => "SANDBOX-",
        };
        vec![Path::new(".").join(format!("mde-cancel-{mark}{run}.csv"))]
    }
}

fn inputs(typed: &RunArgs) -> Result<Vec<Input>, SettingsError> {
    let inputs: Vec<_> = typed
        .input
        .inputs
        .iter()
        .map(|path| Input::parse(path.as_os_str()))
        .collect();
    if inputs
        .iter()
        .filter(|&input| *input == Input::Stdin)
        .count()
        > 1
    {
        return Err(SettingsError::StdinTwice);
    }
    Ok(inputs)
}

fn reports(typed: ReportArgs, around: &Surroundings<'_>) -> Result<Vec<PathBuf>, SettingsError> {
    let mut paths = typed.reports;
    if paths.is_empty() {
        paths.extend(around.raw("MDE_CANCEL_REPORT").map(PathBuf::from));
    }
    for (position, path) in paths.iter().enumerate() {
        ReportFormat::from_path(path)?;
        if paths[..position].contains(path) {
            return Err(SettingsError::ReportTwice { path: path.clone() });
        }
    }
    Ok(paths)
}

fn bounds(typed: &PaceArgs, around: &Surroundings<'_>) -> Result<(u32, u32), SettingsError> {
    let concurrency = around.layered(
        typed.concurrency,
        "MDE_CANCEL_CONCURRENCY",
        value::concurrency,
    )?;
    let max_attempts = around.layered(
        typed.max_attempts,
        "MDE_CANCEL_MAX_ATTEMPTS",
        value::attempts,
    )?;
    Ok((concurrency.unwrap_or(16), max_attempts.unwrap_or(6)))
}

fn waits(
    typed: &PaceArgs,
    around: &Surroundings<'_>,
) -> Result<(Duration, Duration), SettingsError> {
    let timeout = around.layered(typed.timeout, "MDE_CANCEL_TIMEOUT", value::timeout)?;
    let fate_grace = around.layered(typed.fate_grace, "MDE_CANCEL_FATE_GRACE", value::grace)?;
    Ok((
        timeout.unwrap_or(Duration::from_secs(30)),
        fate_grace.unwrap_or(Duration::from_secs(120)),
    ))
}

/// Fifty a second spreads the first hundred cancels over two seconds, which no front door takes for an attack.
fn default_pace() -> Option<Pace> {
    // The text is a constant that a test reads; a mistake in it would cost the spreading, never the quota.
    Pace::parse("50/s").ok().flatten()
}
