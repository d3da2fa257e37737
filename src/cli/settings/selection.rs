//! Which actions are meant, and which must be left alone, resolved as far as nobody looks at a clock or a file.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::cli::args::selection::{SelectionArgs, When};
use crate::engine::Precheck;
use crate::model::{ActionStatus, ActionType, Selection};

use super::error::SettingsError;

/// Which actions are meant. Nothing of it comes from the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectionSettings {
    types: Vec<ActionType>,
    statuses: Vec<ActionStatus>,
    with_succeeded: bool,
    /// Whether nothing says from when on what has Succeeded is of interest.
    leaves_out_succeeded: bool,
    requestors: Vec<String>,
    machine_ids: Vec<String>,
    since: Option<When>,
    until: Option<When>,
    /// The tenant is asked with this in place of all the above.
    pub filter: Option<String>,
    /// Files that name what must be left alone.
    pub exclude_from: Vec<PathBuf>,
}

impl SelectionSettings {
    pub(super) fn resolve(typed: SelectionArgs) -> Result<Self, SettingsError> {
        let is_empty_span = match (typed.since, typed.until) {
            (Some(When::At(since)), Some(When::At(until))) => since > until,
            (Some(When::Ago(since)), Some(When::Ago(until))) => since < until,
            _ => false,
        };
        if is_empty_span {
            return Err(SettingsError::EmptySpan);
        }
        Ok(Self {
            types: typed.types,
            statuses: typed.statuses,
            with_succeeded: false,
            leaves_out_succeeded: false,
            requestors: typed.requestors,
            machine_ids: typed.machine_ids,
            since: typed.since,
            until: typed.until,
            filter: typed.filter,
            exclude_from: typed.exclude_from,
        })
    }

    /// Checks what narrows an input: no filter, and nothing that only a record tells where none is read.
    pub(super) fn check_with_input(&self, triage: Precheck) -> Result<(), SettingsError> {
        if self.filter.is_some() {
            return Err(SettingsError::FilterWithInput);
        }
        self.check_triage(triage)
    }

    /// Checks that a run without an input says what it means.
    pub(super) fn must_be_narrow(&self) -> Result<(), SettingsError> {
        if self.filter.is_none() && self.types.is_empty() {
            return Err(SettingsError::NothingSelected);
        }
        Ok(())
    }

    /// Makes a selection from the tenant of it. Without a status it means what is open, and in the span of `--since` also
    /// what has Succeeded of the types that leave a machine changed, so that a wrong wave is seen whole.
    pub(super) fn without_input(mut self, triage: Precheck) -> Result<Self, SettingsError> {
        if triage == Precheck::Skip {
            return Err(SettingsError::SelectionUnread);
        }
        if self.filter.is_none() && self.statuses.is_empty() {
            self.statuses = vec![ActionStatus::Pending, ActionStatus::InProgress];
            self.with_succeeded = self.since.is_some();
            self.leaves_out_succeeded = !self.with_succeeded && self.may_have_changed_machines();
        }
        Ok(self)
    }

    fn may_have_changed_machines(&self) -> bool {
        self.types.is_empty() || self.types.iter().any(ActionType::changes_machine)
    }

    /// Returns what a plan says about a selection.
    pub fn notes(&self) -> Vec<String> {
        if !self.leaves_out_succeeded {
            return Vec::new();
        }
        vec![
            "actions that have Succeeded are left out; add --since, such as --since 2h, to include those of that time and \
             see which machines are still isolated or restricted"
                .to_owned(),
        ]
    }

    fn check_triage(&self, triage: Precheck) -> Result<(), SettingsError> {
        let needs_record =
            !self.statuses.is_empty() || self.since.is_some() || self.until.is_some();
        if needs_record && triage == Precheck::Skip {
            return Err(SettingsError::SelectionUnread);
        }
        Ok(())
    }

    /// Returns what is meant by a command that began at `now`.
    pub fn selection(&self, now: Timestamp) -> Selection {
        Selection {
            types: self.types.clone(),
            statuses: self.statuses.clone(),
            with_succeeded: self.with_succeeded,
            requestors: self.requestors.clone(),
            machine_ids: self.machine_ids.clone(),
            since: self.since.map(|when| when.at(now)),
            until: self.until.map(|when| when.at(now)),
        }
    }
}
