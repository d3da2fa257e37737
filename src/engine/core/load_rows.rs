//! Loads rows from the journal.
//!
//! Rows deferred because another run works on them, or because their type is denied, are loaded again in another pass
//! once everything else is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{ActionType, Moment, Outcome, RowNumber, RunId};
use crate::store::{LoadFrom, QueuedRow};

use crate::engine::skip_rules::Precheck;

use super::event::Effect;
use super::lane::Lane;
use super::reasons;
use super::row::{Checked, Row, RowState};
use super::transition::RowEvent;

/// Rows kept ready in memory, so that a free slot finds one. The rest stay in the journal.
const LOOKAHEAD: usize = 256;

/// The most rows in memory; more are loaded as rows settle.
const MOST_ROWS: usize = 20_000;

#[derive(Debug, Default)]
pub(super) struct Loading {
    appended: RowNumber,
    /// The last row loaded in this pass.
    loaded: RowNumber,
    asked: Option<Asked>,
    input_ended: bool,
    /// Passes completed.
    pass: u32,
    /// Rows deferred in this pass because another run works on them, by run.
    conflicts: BTreeMap<RunId, u64>,
}

#[derive(Debug)]
enum Asked {
    /// The next rows, up to this number.
    Through(RowNumber),
    /// Rows of a type in question.
    Sample(Option<ActionType>),
}

impl Loading {
    pub(super) fn has_more(&self) -> bool {
        self.loaded < self.appended
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    pub(super) fn is_input_ended(&self) -> bool {
        self.input_ended
    }

    pub(super) fn conflict(&mut self, run: RunId) {
        *self.conflicts.entry(run).or_default() += 1;
    }
}

impl Lane {
    pub(super) fn appended(
        &mut self,
        last: RowNumber,
        count: u64,
        settled: &BTreeMap<Outcome, u64>,
    ) {
        // A plan that reads no states has nothing to load.
        if self.is_armed || self.settings.rules.precheck == Precheck::ReadFirst {
            self.loading.appended = self.loading.appended.max(last);
        }
        self.tally.rows += count;
        for (&outcome, &count) in settled {
            self.tally.settle(outcome, count);
        }
    }

    pub(super) fn input_ended(&mut self) {
        self.loading.input_ended = true;
    }

    pub(super) fn loaded(&mut self, now: Moment, queued: Vec<QueuedRow>) {
        let last = queued.last().map(|row| row.number);
        let numbers: BTreeSet<_> = queued.iter().map(|row| row.number).collect();
        let is_short = queued.len() < LOOKAHEAD;
        for row in queued {
            if !self.rows.contains_key(&row.number) {
                self.take_in(now, row);
            }
        }
        match self.loading.asked.take() {
            Some(Asked::Sample(action_type)) => {
                let is_free = |number: &RowNumber| {
                    let row = self.rows.get(number);
                    row.is_some_and(|row| !matches!(row.state, RowState::Sending(_)))
                };
                let rows = numbers.into_iter().filter(is_free).collect();
                self.sampled(now, &action_type, rows);
            }
            Some(Asked::Through(through)) => {
                let last = last.unwrap_or(self.loading.loaded);
                // The journal may have grown between request and answer.
                self.loading.loaded = if is_short { through.max(last) } else { last };
                self.see_open(now);
            }
            None => {}
        }
    }

    fn take_in(&mut self, now: Moment, queued: QueuedRow) {
        let (number, conflict) = (queued.number, queued.in_progress);
        // An attempt reuses the comment of the first one, so that the record tells our cancel from others'.
        let comment = match &queued.comment_sent {
            Some(sent) => Arc::from(sent.as_str()),
            None => self
                .settings
                .comment
                .for_row(queued.context.comment.as_deref()),
        };
        // In a later pass, states are stale: another run worked on the action.
        let checked_at = queued
            .checked_at
            .filter(|&at| at <= now.wall && self.loading.pass == 0);
        let checked = checked_at.map_or(Checked::Never, |at| Checked::At(now.uptime_at(at)));
        let row = Row::new(queued, comment, checked);
        self.indexes.insert(number, row.state);
        self.rows.insert(number, row);
        self.advance(now, number, RowEvent::Loaded(conflict));
    }

    pub(super) fn load_more(&mut self, out: &mut Vec<Effect>) {
        if self.is_pass_due() {
            self.loading.pass += 1;
            self.loading.loaded = RowNumber(0);
            self.loading.conflicts.clear();
            self.types.begin_pass();
        }
        if self.loading.is_asked() {
            return;
        }
        let (asked, from, limit) = if let Some((action_type, limit)) = self.types.take_sample() {
            let from = LoadFrom::Sample(action_type.clone());
            (Asked::Sample(action_type), from, limit)
        } else if self.wants_more() {
            let from = LoadFrom::After(self.loading.loaded);
            (Asked::Through(self.loading.appended), from, LOOKAHEAD)
        } else {
            return;
        };
        self.loading.asked = Some(asked);
        out.push(Effect::Load {
            lane: self.id,
            from,
            limit,
        });
    }

    /// Returns whether everything else is done, and deferred rows are worth another pass.
    pub(super) fn is_pass_due(&self) -> bool {
        let conflicts = self.loading.pass == 0 && !self.loading.conflicts.is_empty();
        (conflicts || self.types.may_send_deferred()) && self.is_through()
    }

    /// Returns whether this pass has no rows left.
    pub(super) fn is_through(&self) -> bool {
        self.loading.input_ended
            && !self.loading.has_more()
            && self.rows.is_empty()
            && self.is_drained()
    }

    /// Returns how many rows are deferred, and why.
    pub(super) fn say_deferred(&self) -> Option<String> {
        let runs = self.loading.conflicts.iter();
        let mut parts: Vec<_> = runs
            .map(|(run, &count)| format!("{} in progress in run {run}", reasons::rows(count)))
            .collect();
        parts.extend(self.types.say_deferred());
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn wants_more(&self) -> bool {
        let indexes = &self.indexes;
        let mut ready = indexes.fresh_len() + indexes.prechecks.len() + indexes.held.len();
        if self.batches.are_slow {
            ready += indexes.skippable_len();
        }
        ready < LOOKAHEAD / 2 && self.may_load_more()
    }

    pub(super) fn may_load_more(&self) -> bool {
        // A plan waits for the whole input, so that it reads as few pages as possible.
        let is_time = self.is_armed || self.loading.input_ended;
        is_time && self.rows.len() < MOST_ROWS && self.loading.has_more()
    }
}
