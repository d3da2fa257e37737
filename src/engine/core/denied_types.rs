//! Tells a missing permission from a row that is refused alone.
//!
//! Ten 403s in a row for one action type put the type in question. The token may be old, so the lane gets a new one.
//! The rows may belong to one device group, so it then sends up to five rows from across the rest. If none of them gets
//! through, the type is denied, and its other rows stay unsent in the journal. The lane stops when every type is denied
//! or the service says that the token has no role at all.
//!
//! Rows without a type count as one type. A late answer may reopen a denied type.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ActionType, Moment, Operation, RowNumber};

use super::event::{RunEvent, StopReason};
use super::lane::Lane;
use super::reasons;
use super::row::Row;
use super::transition::{Permission, RowEvent};

/// 403s in a row that put a type in question.
const IN_A_ROW: u32 = 10;

/// Rows from elsewhere that decide.
const SAMPLE: usize = 5;

/// The types that this token may cancel, as far as the service has shown.
#[derive(Debug, Default)]
pub(super) struct DeniedTypes {
    operation: Operation,
    types: BTreeMap<Option<ActionType>, TypeRecord>,
    /// Rows of unknown type deferred in this pass because every type is denied.
    deferred_unknown: u64,
    /// The token that the last refresh after 403s ended with.
    refreshed: Option<u32>,
}

/// How the service answers cancels of one type.
#[derive(Debug, Default)]
struct TypeRecord {
    status: TypeStatus,
    /// The last 403's text.
    why: String,
    /// Rows deferred in this pass.
    deferred: u64,
}

#[derive(Debug)]
enum TypeStatus {
    Open {
        refused_in_row: u32,
    },
    /// A new token is on its way.
    Refreshing,
    /// Rows from elsewhere are tried.
    Sampling(Sample),
    Denied,
}

#[derive(Debug, Default)]
struct Sample {
    /// Whether the journal was asked for rows.
    is_asked: bool,
    /// Rows of the sample that can be sent; `None` until the journal answers.
    size: Option<usize>,
    /// Rows without an answer yet.
    rows: BTreeSet<RowNumber>,
    refused: u32,
}

impl Default for TypeStatus {
    fn default() -> Self {
        Self::Open { refused_in_row: 0 }
    }
}

impl TypeRecord {
    fn is_denied(&self) -> bool {
        matches!(self.status, TypeStatus::Denied)
    }

    fn sample(&mut self) -> Option<&mut Sample> {
        match &mut self.status {
            TypeStatus::Sampling(sample) => Some(sample),
            _ => None,
        }
    }
}

impl DeniedTypes {
    pub(super) fn new(operation: Operation) -> Self {
        Self {
            operation,
            ..Self::default()
        }
    }

    /// Returns whether a row's type may be sent. Once every type is denied, unknown types are too.
    pub(super) fn permission(&self, number: RowNumber, row: &Row) -> Permission {
        let status = self
            .types
            .get(&row.action_type)
            .map(|record| &record.status);
        match status {
            None if row.action_type.is_none() && self.are_all_denied() => Permission::Denied,
            None | Some(TypeStatus::Open { .. }) => Permission::Open,
            Some(TypeStatus::Denied) => Permission::Denied,
            Some(TypeStatus::Sampling(sample)) if sample.rows.contains(&number) => Permission::Open,
            Some(TypeStatus::Refreshing | TypeStatus::Sampling(_)) => Permission::InQuestion,
        }
    }

    /// Counts a deferred row and returns the reason.
    #[expect(clippy::ref_option, reason = "it is a key of the map as it is")]
    pub(super) fn defer(&mut self, action_type: &Option<ActionType>) -> String {
        let why = if let Some(record) = self.types.get_mut(action_type) {
            record.deferred += 1;
            reasons::of_denied(self.operation, action_type.as_ref(), &record.why)
        } else {
            self.deferred_unknown += 1;
            self.why_denied().unwrap_or_default()
        };
        format!("not sent: {why}")
    }

    /// Returns a type in question that needs a sample, and how many rows.
    pub(super) fn take_sample(&mut self) -> Option<(Option<ActionType>, usize)> {
        self.types.iter_mut().find_map(|(key, record)| {
            let sample = record.sample()?;
            let is_asked = std::mem::replace(&mut sample.is_asked, true);
            (!is_asked).then(|| (key.clone(), SAMPLE))
        })
    }

    /// A sign-in ended, with or without a new token.
    pub(super) fn refresh_ended(&mut self, token: u32) {
        for record in self.types.values_mut() {
            if matches!(record.status, TypeStatus::Refreshing) {
                record.status = TypeStatus::Sampling(Sample::default());
                self.refreshed = Some(token);
            }
        }
    }

    /// Returns whether every type tried so far is denied.
    pub(super) fn are_all_denied(&self) -> bool {
        !self.types.is_empty() && self.types.values().all(TypeRecord::is_denied)
    }

    /// Returns why the first denied type is denied.
    pub(super) fn why_denied(&self) -> Option<String> {
        let mut denied = self.types.iter().filter(|(_, record)| record.is_denied());
        let (key, record) = denied.next()?;
        Some(reasons::of_denied(
            self.operation,
            key.as_ref(),
            &record.why,
        ))
    }

    /// Returns whether deferred rows may be sent now.
    pub(super) fn may_send_deferred(&self) -> bool {
        let mut types = self.types.values();
        types.any(|record| record.deferred > 0 && !record.is_denied())
            || (self.deferred_unknown > 0 && !self.are_all_denied())
    }

    /// Returns one line for each type with deferred rows.
    pub(super) fn say_deferred(&self) -> impl Iterator<Item = String> {
        let denied = self.types.iter().filter(|(_, record)| record.deferred > 0);
        denied.map(|(key, record)| {
            let why = reasons::of_denied(self.operation, key.as_ref(), &record.why);
            format!("{} not sent: {why}", reasons::rows(record.deferred))
        })
    }

    /// Resets the counts of deferred rows, which are loaded again.
    pub(super) fn begin_pass(&mut self) {
        self.deferred_unknown = 0;
        self.types
            .values_mut()
            .for_each(|record| record.deferred = 0);
    }
}

impl Lane {
    pub(super) fn permission(&self, number: RowNumber) -> Permission {
        let row = self.rows.get(&number);
        row.map_or(Permission::Open, |row| self.types.permission(number, row))
    }

    /// A row's cancel got 403.
    pub(super) fn type_refused(&mut self, now: Moment, number: RowNumber, why: &str) {
        let Some(row) = self.rows.get(&number) else {
            return;
        };
        let types = &mut self.types;
        let record = types.types.entry(row.action_type.clone()).or_default();
        why.clone_into(&mut record.why);
        match &mut record.status {
            TypeStatus::Open { refused_in_row } => {
                *refused_in_row += 1;
                if *refused_in_row < IN_A_ROW {
                    return;
                }
                record.status = if types.refreshed == Some(self.token.number) {
                    TypeStatus::Sampling(Sample::default())
                } else {
                    self.token.renew_at(now.uptime);
                    TypeStatus::Refreshing
                };
            }
            TypeStatus::Sampling(sample) => {
                sample.refused += u32::from(sample.rows.remove(&number));
                self.judge_samples(now);
            }
            TypeStatus::Refreshing | TypeStatus::Denied => {}
        }
    }

    /// A row's cancel got an answer other than 403.
    pub(super) fn type_answered(&mut self, number: RowNumber) {
        if let Some(row) = self.rows.get(&number) {
            let types = &mut self.types.types;
            types.entry(row.action_type.clone()).or_default().status = TypeStatus::default();
        }
    }

    /// The journal returned a sample; `rows` can be sent.
    #[expect(clippy::ref_option, reason = "it is a key of the map as it is")]
    pub(super) fn sampled(
        &mut self,
        now: Moment,
        action_type: &Option<ActionType>,
        rows: BTreeSet<RowNumber>,
    ) {
        let record = self.types.types.get_mut(action_type);
        if let Some(sample) = record.and_then(TypeRecord::sample) {
            sample.size = Some(rows.len());
            sample.rows = rows;
            self.judge_samples(now);
        }
    }

    /// A row leaves memory; the rest of its sample decides.
    pub(super) fn leaves_sample(&mut self, now: Moment, number: RowNumber) {
        let types = self.types.types.values_mut();
        let mut samples = types.filter_map(TypeRecord::sample);
        if samples.any(|sample| sample.rows.remove(&number)) {
            self.judge_samples(now);
        }
    }

    /// Decides types whose samples are answered. Takes a new sample if no row of the last one was refused.
    fn judge_samples(&mut self, now: Moment) {
        let mut denied = Vec::new();
        for (key, record) in &mut self.types.types {
            let Some(sample) = record.sample() else {
                continue;
            };
            if sample.size.is_none() || !sample.rows.is_empty() {
                continue;
            }
            if sample.refused == 0 && sample.size != Some(0) {
                *sample = Sample::default();
                continue;
            }
            record.status = TypeStatus::Denied;
            denied.push((key.clone(), record.why.clone()));
        }
        if denied.is_empty() {
            return;
        }
        for (key, why) in denied {
            let action_type = reasons::of_type(key.as_ref()).to_owned();
            self.tell.push(RunEvent::TypeForbidden { action_type });
            if names_no_role(&why) {
                let reason = reasons::of_denied(self.settings.operation, key.as_ref(), &why);
                self.stop(StopReason::AllForbidden(reason));
            }
        }
        let rows: Vec<_> = self.rows.keys().copied().collect();
        for number in rows {
            if self.permission(number) == Permission::Denied {
                self.advance(now, number, RowEvent::TypeDecided);
            }
        }
    }
}

/// Returns whether a 403 says that the token has no role at all.
fn names_no_role(why: &str) -> bool {
    let lower = why.to_ascii_lowercase();
    lower
        .rsplit_once("application roles:")
        .is_some_and(|(_, roles)| roles.trim_matches([' ', '.']).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_without_roles_is_told_from_one_that_lacks_a_role() {
        for (text, expected) in [
            (
                "403 Forbidden Missing application roles. API required roles: Machine.Isolate, application roles: .",
                true,
            ),
            (
                "403 Missing application roles. API required roles: Machine.Isolate, application roles: Machine.Scan.",
                false,
            ),
            ("403 Missing application roles.", false),
            ("403", false),
        ] {
            assert_eq!(names_no_role(text), expected, "{text}");
        }
    }
}
