//! Telling a permission that is missing from a row that is refused alone.
//!
//! Ten 403s in a row of one action type, whatever succeeded before: the token may be an old one, so a new one is asked
//! for; the rows may be of one device group, so up to five from all over the remainder are sent. If those are refused,
//! too, the type is denied, and the rest of it stays in the journal unsent. Where every type is denied, or the service
//! says that the token holds no role at all, the lane stops.
//!
//! Rows without a type are one type. An answer that comes late may open a denied type again.

use std::collections::BTreeSet;

use crate::model::{ActionType, Moment, RowNumber};
use crate::store::LoadFrom;

use super::event::{Effect, RunEvent, StopReason};
use super::lane::{Lane, Loading};
use super::reasons;

/// So many 403s in a row put a type in question.
const IN_A_ROW: u32 = 10;

/// So many rows from elsewhere decide.
const SAMPLE: usize = 5;

/// How the service answers cancels of one type.
#[derive(Debug)]
pub(super) struct TypeRecord {
    status: TypeStatus,
    /// What the last 403 said.
    why: String,
    /// Rows of it that were left unsent in this pass.
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
    /// How many it had that can be sent; nothing while it is asked.
    size: Option<usize>,
    /// Those that were not answered yet.
    rows: BTreeSet<RowNumber>,
    refused: u32,
}

impl Default for TypeRecord {
    fn default() -> Self {
        Self {
            status: TypeStatus::Open { refused_in_row: 0 },
            why: String::new(),
            deferred: 0,
        }
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

impl Lane {
    /// The service refused a row's cancel with 403.
    pub(super) fn type_refused(&mut self, now: Moment, number: RowNumber, why: String) {
        let Some(row) = self.rows.get(&number) else {
            return;
        };
        let record = self.types.entry(row.action_type.clone()).or_default();
        record.why = why;
        match &mut record.status {
            TypeStatus::Open { refused_in_row } => {
                *refused_in_row += 1;
                if *refused_in_row < IN_A_ROW {
                    return;
                }
                record.status = if self.refreshed_after_403 == Some(self.token_number) {
                    TypeStatus::Sampling(Sample::default())
                } else {
                    self.expiry.renew_at = Some(now.uptime);
                    self.expiry.again_at = None;
                    TypeStatus::Refreshing
                };
            }
            TypeStatus::Sampling(sample) => {
                if sample.rows.remove(&number) {
                    sample.refused += 1;
                }
                self.judge_samples();
            }
            TypeStatus::Refreshing | TypeStatus::Denied => {}
        }
    }

    /// The service answered a row's cancel in another way than with 403.
    pub(super) fn type_answered(&mut self, action_type: Option<ActionType>) {
        self.types.entry(action_type).or_default().status = TypeStatus::Open { refused_in_row: 0 };
    }

    /// A sign-in has ended, with a new token or without one.
    pub(super) fn refresh_ended(&mut self) {
        for record in self.types.values_mut() {
            if matches!(record.status, TypeStatus::Refreshing) {
                record.status = TypeStatus::Sampling(Sample::default());
                self.refreshed_after_403 = Some(self.token_number);
            }
        }
    }

    /// Asks the journal for rows of a type in question.
    pub(super) fn load_sample(&mut self, out: &mut Vec<Effect>) {
        if self.is_loading() {
            return;
        }
        let mut types = self.types.iter_mut();
        let wanted = types.find_map(|(key, record)| {
            let sample = record.sample()?;
            (!std::mem::replace(&mut sample.is_asked, true)).then(|| key.clone())
        });
        if let Some(action_type) = wanted {
            out.push(Effect::Load {
                lane: self.id,
                from: LoadFrom::Sample(action_type.clone()),
                limit: SAMPLE,
            });
            self.loading = Some(Loading::Sample(action_type));
        }
    }

    /// The journal handed out a sample, of which these rows can be sent.
    #[expect(clippy::ref_option, reason = "it is a key of the map as it is")]
    pub(super) fn sampled(&mut self, action_type: &Option<ActionType>, rows: BTreeSet<RowNumber>) {
        if let Some(sample) = self.types.get_mut(action_type).and_then(TypeRecord::sample) {
            sample.size = Some(rows.len());
            sample.rows = rows;
            self.judge_samples();
        }
    }

    /// A row leaves memory; what it was sampled for is decided by the others.
    pub(super) fn leaves_sample(&mut self, number: RowNumber) {
        let mut samples = self.types.values_mut().filter_map(TypeRecord::sample);
        if samples.any(|sample| sample.rows.remove(&number)) {
            self.judge_samples();
        }
    }

    /// Decides about types whose samples are answered. Rows that could not be sent say nothing, and others are taken.
    fn judge_samples(&mut self) {
        let mut denied = Vec::new();
        for (key, record) in &mut self.types {
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
                let reason = reasons::of_denied(key.as_ref(), &why);
                self.stop(StopReason::AllForbidden(reason));
            }
        }
        self.defer_denied();
    }

    /// Leaves the unsent rows of denied types for later.
    fn defer_denied(&mut self) {
        let unsent = self.rows.keys().copied().collect::<Vec<_>>();
        for number in unsent {
            if !self.is_under_way(number) {
                self.defer_if_denied(number);
            }
        }
        let rows = &self.rows;
        self.rereads.retain(|(_, number)| rows.contains_key(number));
        self.in_question.retain(|number| rows.contains_key(number));
        self.queue.retain(|number| rows.contains_key(&number));
    }

    /// Leaves a row for later that was never sent and is of a denied type, or of a type that nobody knows where every
    /// other is denied. Returns whether it was.
    pub(super) fn defer_if_denied(&mut self, number: RowNumber) -> bool {
        let are_all_denied = self.are_all_denied();
        let Some(row) = self.rows.get(&number).filter(|row| row.attempts == 0) else {
            return false;
        };
        let key = row.action_type.clone();
        let reason = match self.types.get_mut(&key) {
            Some(record) if record.is_denied() => {
                record.deferred += 1;
                reasons::of_denied(key.as_ref(), &record.why)
            }
            None if key.is_none() && are_all_denied => {
                self.deferred_unknown += 1;
                self.why_denied().unwrap_or_default()
            }
            _ => return false,
        };
        self.defer(number, format!("not sent: {reason}"));
        true
    }

    /// Returns whether a row waits until it is known whether its type is denied.
    pub(super) fn is_type_in_question(&self, number: RowNumber) -> bool {
        let record = self.rows.get(&number).map(|row| &row.action_type);
        let record = record.and_then(|key| self.types.get(key));
        record.is_some_and(|record| match &record.status {
            TypeStatus::Open { .. } | TypeStatus::Denied => false,
            TypeStatus::Refreshing => true,
            TypeStatus::Sampling(sample) => !sample.rows.contains(&number),
        })
    }

    /// Returns whether every type that was tried is denied.
    pub(super) fn are_all_denied(&self) -> bool {
        !self.types.is_empty() && self.types.values().all(TypeRecord::is_denied)
    }

    /// Says why types are denied: the first of them.
    pub(super) fn why_denied(&self) -> Option<String> {
        let mut denied = self.types.iter().filter(|(_, record)| record.is_denied());
        let (key, record) = denied.next()?;
        Some(reasons::of_denied(key.as_ref(), &record.why))
    }

    /// Returns whether rows were left for later that may be sent now.
    pub(super) fn may_send_deferred(&self) -> bool {
        let mut types = self.types.values();
        types.any(|record| record.deferred > 0 && !record.is_denied())
            || (self.deferred_unknown > 0 && !self.are_all_denied())
    }

    /// Says how many rows of which types were left for later.
    pub(super) fn say_denied(&self) -> Vec<String> {
        let denied = self.types.iter().filter(|(_, record)| record.deferred > 0);
        denied
            .map(|(key, record)| {
                let why = reasons::of_denied(key.as_ref(), &record.why);
                format!("{} not sent: {why}", reasons::rows(record.deferred))
            })
            .collect()
    }

    /// Forgets how many rows were left for later, for they are loaded again.
    pub(super) fn forget_denied(&mut self) {
        self.deferred_unknown = 0;
        self.types
            .values_mut()
            .for_each(|record| record.deferred = 0);
    }
}

/// Returns whether a 403 says that the token holds no role at all.
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
