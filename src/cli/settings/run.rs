//! What a run is to do, resolved: its inputs, whom it calls, and how fast.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::args::{
    CommonArgs, ConnectionArgs, ConsentArgs, InputArgs, PaceArgs, RunArgs, value,
};
use crate::engine::Precheck;
use crate::engine::core::MaxFailures;
use crate::input::{Input, InputSettings};
use crate::model::{ActionType, RunId};

use super::allowance::Allowance;
use super::connection::ConnectionSettings;
use super::error::SettingsError;
use super::outputs::OutputPaths;
use super::selection::SelectionSettings;
use super::surroundings::Surroundings;
use super::{common, tenants};

/// By how much the sandbox's periods and waits are shorter: the hour window then rolls in six minutes, which is short
/// enough to watch, and the minute window in six seconds, which is long enough to see.
pub const SANDBOX_SCALE: u32 = 10;

/// How long one call may take where no flag says it.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an accepted cancel is watched.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(120);

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// What is read, in this order, and standard input at most once; empty for a selection from the tenant.
    pub inputs: Vec<Input>,
    /// How it is read.
    pub intake: InputSettings,
    /// What of it is meant.
    pub selection: SelectionSettings,
    /// The comment that beats a row's own.
    pub comment: Option<String>,
    /// The protected types that are cancelled all the same.
    pub include_types: Vec<ActionType>,
    /// Whether states are read before anything is sent.
    pub triage: Precheck,
    /// Whether accepted actions are read again.
    pub verify: Verify,
    /// Whether somebody is to be asked.
    pub consent: Consent,
    /// More actions than this are not cancelled.
    pub max_actions: Option<u64>,
    /// Where it writes; [`RunSettings::output_paths`] knows the default.
    pub outputs: OutputPaths,
    /// What the service allows.
    pub allowance: Allowance,
    /// How calls are sent.
    pub pace: PaceArgs,
    /// When to stop cleanly, from the start.
    pub stop_after: Option<Duration>,
    /// How many rows may end badly.
    pub max_failures: Option<MaxFailures>,
    /// Whom the run calls.
    pub world: World,
    /// Where journal and ledger lie; a sandbox has a folder of its own in the one that was named.
    pub state_dir: PathBuf,
}

/// Whom a run calls.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one in a process, and it stays where it is"
)]
pub enum World {
    /// The service.
    Service(ConnectionSettings),
    /// The service, in several tenants; each comes from a profile.
    Tenants(Vec<ConnectionSettings>),
    /// An embedded sandbox. Nothing in these settings is scaled yet.
    Sandbox {
        /// By how much every quota period and every wait is to be shortened.
        time_scale: u32,
    },
}

impl World {
    /// Returns the connections that it may use.
    pub fn connections(&self) -> &[ConnectionSettings] {
        match self {
            Self::Service(connection) => std::slice::from_ref(connection),
            Self::Tenants(connections) => connections,
            Self::Sandbox { .. } => &[],
        }
    }
}

/// Whether accepted actions are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Until their record says Cancelled, or so much time has passed.
    ReadAgain(Duration),
    /// They are not.
    Skip,
}

/// Whether somebody is to be asked before anything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Nobody agreed yet: whoever sits at the terminal is asked.
    Ask,
    /// `--yes` was typed.
    Given,
    /// Nothing real can happen in a sandbox.
    NotNeeded,
}

impl Consent {
    pub(super) fn of(yes: bool) -> Self {
        if yes { Self::Given } else { Self::Ask }
    }
}

impl RunSettings {
    pub(super) fn resolve(
        typed: RunArgs,
        common: &CommonArgs,
        profiles: &[String],
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        let inputs = inputs(&typed.input)?;
        let intake = intake(typed.input, around, true)?;
        let verify = verify(&typed.consent, around)?;
        let comment =
            around.layered(typed.consent.comment, "MDE_CANCEL_COMMENT", value::comment)?;
        let mut include_types = typed.consent.include_types;
        include_types.sort();
        include_types.dedup();
        let triage = if typed.consent.no_precheck {
            Precheck::Skip
        } else {
            Precheck::ReadFirst
        };
        let mut selection = SelectionSettings::resolve(typed.selection)?;
        let is_selected = inputs.is_empty();
        if is_selected {
            selection.must_be_narrow()?;
            selection = selection.without_input(triage)?;
        } else {
            selection.check_with_input(triage)?;
        }
        let names_tenant = typed.connection.scope.tenant_id.is_some()
            || around.is_of_typed_profile("AZURE_TENANT_ID");
        let mut settings = Self {
            selection,
            inputs,
            intake,
            comment,
            include_types,
            triage,
            verify,
            consent: Consent::NotNeeded,
            max_actions: typed.max_actions,
            outputs: OutputPaths::resolve(typed.report, around)?,
            allowance: Allowance::resolve(typed.allowance, around)?,
            pace: typed.pace,
            stop_after: around.layered(
                typed.bounds.stop_after,
                "MDE_CANCEL_STOP_AFTER",
                value::bound,
            )?,
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
        if typed.sandbox && is_selected {
            return Err(SettingsError::SandboxWithoutInput);
        }
        if typed.sandbox {
            settings.state_dir.push("sandbox");
            return Ok(settings);
        }
        if profiles.len() > 1 && is_selected {
            let what = "a selection from the tenant";
            return Err(SettingsError::SeveralProfiles { what });
        }
        settings.world = world(typed.connection, profiles, around)?;
        if is_selected && typed.consent.yes {
            check_unasked_selection(settings.max_actions, names_tenant)?;
        }
        settings.consent = Consent::of(typed.consent.yes);
        Ok(settings)
    }

    /// Returns where a run writes: what was named, and the default report where none was.
    pub fn output_paths(&self, run: RunId) -> OutputPaths {
        let is_sandbox = matches!(self.world, World::Sandbox { .. });
        self.outputs.clone().or(default_outputs(run, is_sandbox))
    }
}

/// Returns the service in the one tenant, or in each of several profiles'.
fn world(
    typed: ConnectionArgs,
    profiles: &[String],
    around: &Surroundings<'_>,
) -> Result<World, SettingsError> {
    if profiles.len() > 1 {
        return tenants::several(profiles, &typed, around).map(World::Tenants);
    }
    ConnectionSettings::resolve(typed, around).map(World::Service)
}

/// Checks a selection from the tenant that nobody is asked about: it must be bounded, and its tenant typed.
fn check_unasked_selection(
    max_actions: Option<u64>,
    names_tenant: bool,
) -> Result<(), SettingsError> {
    match max_actions {
        None => Err(SettingsError::UnboundedSelection),
        Some(_) if !names_tenant => Err(SettingsError::UnnamedTenant),
        Some(_) => Ok(()),
    }
}

/// Returns what is read; standard input can be named once only.
pub(super) fn inputs(typed: &InputArgs) -> Result<Vec<Input>, SettingsError> {
    let inputs: Vec<_> = typed
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

/// Returns how it is read.
pub(super) fn intake(
    typed: InputArgs,
    around: &Surroundings<'_>,
    checkpoints: bool,
) -> Result<InputSettings, SettingsError> {
    let format = around.layered(
        typed.input_format,
        "MDE_CANCEL_INPUT_FORMAT",
        value::input_format,
    )?;
    Ok(InputSettings {
        // Never from a file or a variable: who names the column says what is cancelled.
        id_column: typed.id_column,
        format: format.unwrap_or_default(),
        checkpoints,
    })
}

/// Returns where a run writes if nothing is named: a CSV report in the current folder, whose name says where nothing of it
/// is real.
pub fn default_outputs(run: RunId, is_sandbox: bool) -> OutputPaths {
    let mark = if is_sandbox { "SANDBOX-" } else { "" };
    let name = format!("mde-cancel-{mark}{run}.csv");
    OutputPaths {
        reports: vec![Path::new(".").join(name)],
        ..OutputPaths::default()
    }
}

fn verify(typed: &ConsentArgs, around: &Surroundings<'_>) -> Result<Verify, SettingsError> {
    // Who types how long they are watched wants them watched, whatever a variable says.
    let is_skipped = typed.no_verify.then_some(true);
    let is_skipped = is_skipped.or(typed.verify_timeout.map(|_| false));
    let is_skipped = around.layered(is_skipped, "MDE_CANCEL_NO_VERIFY", value::yes_or_no)?;
    let timeout = around.layered(
        typed.verify_timeout,
        "MDE_CANCEL_VERIFY_TIMEOUT",
        value::bound,
    )?;
    Ok(match is_skipped {
        Some(true) => Verify::Skip,
        _ => Verify::ReadAgain(timeout.unwrap_or(VERIFY_TIMEOUT)),
    })
}
