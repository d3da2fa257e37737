//! What a list is to show, resolved. Nothing in it can arm anything: a list sends no cancel.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::args::{AllowanceArgs, CommonArgs, ListArgs, ListFormat};
use crate::quota::Windows;

use super::allowance::Allowance;
use super::common;
use super::connection::ConnectionSettings;
use super::error::SettingsError;
use super::run::CALL_TIMEOUT;
use super::selection::SelectionSettings;
use super::surroundings::Surroundings;

/// What a list is to show.
#[derive(Clone, Debug)]
pub struct ListSettings {
    /// Which actions are meant.
    pub selection: SelectionSettings,
    /// Whether they are counted instead of listed.
    pub summary: bool,
    /// How they are printed; by the output's kind where nothing was typed.
    pub format: Option<ListFormat>,
    /// What the service allows.
    pub read_windows: Windows,
    /// How long one call may take.
    pub timeout: Duration,
    /// Where it is read.
    pub connection: ConnectionSettings,
    /// Where the ledger lies.
    pub state_dir: PathBuf,
}

impl ListSettings {
    pub(super) fn resolve(
        typed: ListArgs,
        common: &CommonArgs,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        let allowance = AllowanceArgs {
            quota: Vec::new(),
            read_quota: typed.read_quota,
        };
        Ok(Self {
            selection: SelectionSettings::resolve(typed.selection)?,
            summary: typed.summary,
            format: typed.format,
            read_windows: Allowance::resolve(allowance, around)?.read,
            timeout: CALL_TIMEOUT,
            connection: ConnectionSettings::resolve(typed.connection, around)?,
            state_dir: common::state_dir(common, around)?,
        })
    }
}
