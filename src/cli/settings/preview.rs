//! What a preview is to show, resolved. Nothing in it can arm anything: a preview sends no cancel.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::args::{CommonArgs, PlanFormat, PreviewArgs, RunArgs, value};
use crate::engine::Precheck;
use crate::input::{Input, InputSettings};
use crate::model::ActionType;

use super::allowance::Allowance;
use super::connection::ConnectionSettings;
use super::error::SettingsError;
use super::selection::SelectionSettings;
use super::surroundings::Surroundings;
use super::{common, run};

/// What a preview is to show.
#[derive(Clone, Debug)]
pub struct PreviewSettings {
    /// What is read, in this order, and standard input at most once; where nothing is, the tenant is asked.
    pub inputs: Vec<Input>,
    /// What of it is meant.
    pub selection: SelectionSettings,
    /// How it is read.
    pub intake: InputSettings,
    /// The comment that beats a row's own.
    pub comment: Option<String>,
    /// The protected types that would be cancelled all the same.
    pub include_types: Vec<ActionType>,
    /// Whether states are read.
    pub triage: Precheck,
    /// How the plan is printed.
    pub format: PlanFormat,
    /// A plan of more cancels than this is refused once it was printed.
    pub max_actions: Option<u64>,
    /// Whether the embedded sandbox is asked, and not the service.
    pub sandbox: bool,
    /// What the service allows.
    pub allowance: Allowance,
    /// How long one call may take.
    pub timeout: Duration,
    /// Where calls would go; none is needed where no states are read.
    pub connection: Option<ConnectionSettings>,
    /// Where journal and ledger lie, where that can be told.
    pub state_dir: Option<PathBuf>,
}

impl PreviewSettings {
    pub(super) fn resolve(
        typed: PreviewArgs,
        common: &CommonArgs,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        let connection = ConnectionSettings::resolve(typed.connection.clone(), around);
        Self::resolve_with(Some(connection), typed, common, around)
    }

    /// Resolves it with this connection; none is the embedded sandbox.
    fn resolve_with(
        connection: Option<Result<ConnectionSettings, SettingsError>>,
        typed: PreviewArgs,
        common: &CommonArgs,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        let sandbox = connection.is_none();
        let triage = if typed.no_precheck {
            Precheck::Skip
        } else {
            Precheck::ReadFirst
        };
        let connection = match connection {
            Some(Err(SettingsError::NoToken | SettingsError::Incomplete { .. }))
                if triage == Precheck::Skip =>
            {
                None
            }
            Some(Err(SettingsError::NoToken)) => return Err(SettingsError::NoTokenToPreview),
            connection => connection.transpose()?,
        };
        let inputs = run::inputs(&typed.input)?;
        if sandbox && inputs.is_empty() {
            return Err(SettingsError::SandboxWithoutInput);
        }
        let mut selection = SelectionSettings::resolve(typed.selection)?;
        if inputs.is_empty() {
            selection = selection.without_input(triage)?;
        } else {
            selection.check_with_input(triage)?;
        }
        let mut include_types = typed.include_types;
        include_types.sort();
        include_types.dedup();
        Ok(Self {
            inputs,
            selection,
            comment: around.layered(typed.comment, "MDE_CANCEL_COMMENT", value::comment)?,
            intake: run::intake(typed.input, around, false)?,
            include_types,
            triage,
            format: typed.format,
            max_actions: None,
            sandbox,
            allowance: Allowance::resolve(typed.allowance, around)?,
            timeout: run::CALL_TIMEOUT,
            connection,
            state_dir: match (triage, common::state_dir(common, around)) {
                (_, Ok(dir)) if sandbox => Some(dir.join("sandbox")),
                (Precheck::ReadFirst, dir) => Some(dir?),
                (Precheck::Skip, dir) => dir.ok(),
            },
        })
    }

    /// Resolves `run --dry-run`: what that run would send.
    pub(super) fn of_run(
        typed: RunArgs,
        common: &CommonArgs,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        let preview = PreviewArgs {
            input: typed.input,
            selection: typed.selection,
            comment: typed.consent.comment,
            include_types: typed.consent.include_types,
            no_precheck: typed.consent.no_precheck,
            format: PlanFormat::Table,
            allowance: typed.allowance,
            connection: typed.connection,
        };
        let connection = || ConnectionSettings::resolve(preview.connection.clone(), around);
        let connection = (!typed.sandbox).then(connection);
        let settings = Self::resolve_with(connection, preview, common, around)?;
        Ok(Self {
            max_actions: typed.max_actions,
            ..settings
        })
    }

    /// Returns by what quota periods and waits are divided.
    pub fn time_scale(&self) -> u32 {
        if self.sandbox { run::SANDBOX_SCALE } else { 1 }
    }
}
