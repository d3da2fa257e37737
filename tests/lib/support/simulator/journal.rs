//! A model of the state file: rows, calls and cooldowns, and what a process finds after a dead one.
//!
//! It keeps the rules of the real one: no second outcome, no attempt on a settled row, no end of a call that isn't in
//! flight. Breaking a rule fails the test, as it would end a real run.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use mde_cancel::model::{LaneId, Outcome, RowContext, RowNumber, Settlement, Uptime};
use mde_cancel::quota::{Calls, Decision, decide};
use mde_cancel::store::{
    AttemptReply, CallId, LoadFrom, QueuedRow, Record, RowPhase, ScopeKey, SlotAnswer, SlotPurpose,
    SlotRequest,
};

use super::id_of;

pub(super) struct Journal {
    pub(super) rows: BTreeMap<RowNumber, Kept>,
    calls: Vec<Call>,
    ledger: BTreeMap<ScopeKey, Calls>,
    cooldowns: BTreeMap<ScopeKey, Uptime>,
    /// Ended calls are forgotten after this.
    longest_hold: Duration,
}

pub(super) struct Kept {
    pub(super) row: QueuedRow,
    pub(super) lane: LaneId,
    pub(super) outcome: Option<Outcome>,
    /// The phase before the attempt in flight.
    before: RowPhase,
}

enum Call {
    InFlight {
        scope: ScopeKey,
        attempt: Option<RowNumber>,
    },
    Over,
}

impl Journal {
    pub(super) fn new(longest_hold: Duration) -> Self {
        Self {
            rows: BTreeMap::new(),
            calls: Vec::new(),
            ledger: BTreeMap::new(),
            cooldowns: BTreeMap::new(),
            longest_hold,
        }
    }

    pub(super) fn append(&mut self, lane: LaneId, number: RowNumber, context: RowContext) {
        let kept = Kept {
            row: QueuedRow::fresh(number, id_of(number), context),
            lane,
            outcome: None,
            before: RowPhase::Fresh,
        };
        let before = self.rows.insert(number, kept);
        assert!(before.is_none(), "row {number} was read twice");
    }

    pub(super) fn last(&self) -> u32 {
        self.rows.last_key_value().map_or(0, |(row, _)| row.0)
    }

    pub(super) fn settled(&self, lane: LaneId) -> BTreeMap<Outcome, u64> {
        let mut counts = BTreeMap::new();
        let rows = self.rows.values().filter(|kept| kept.lane == lane);
        for outcome in rows.filter_map(|kept| kept.outcome) {
            *counts.entry(outcome).or_default() += 1;
        }
        counts
    }

    pub(super) fn load(&self, lane: LaneId, from: &LoadFrom, limit: usize) -> Vec<QueuedRow> {
        let after = match from {
            LoadFrom::After(after) => *after,
            LoadFrom::Sample(_) => RowNumber(0),
        };
        let rows = self.rows.range(RowNumber(after.0 + 1)..);
        let unsettled = rows
            .map(|(_, kept)| kept)
            .filter(|kept| kept.lane == lane && kept.outcome.is_none())
            .map(|kept| &kept.row);
        let LoadFrom::Sample(action_type) = from else {
            return unsettled.take(limit).cloned().collect();
        };
        let is_meant = |row: &&QueuedRow| {
            let known = &row.context.action_type;
            row.attempts == 0 && (known == action_type || known.is_none())
        };
        let rows: Vec<_> = unsettled.filter(is_meant).collect();
        let step = rows.len().div_ceil(limit).max(1);
        let rows = rows.into_iter().skip(step / 2).step_by(step);
        rows.take(limit).cloned().collect()
    }

    pub(super) fn cooldown(&self, scope: ScopeKey) -> Option<Uptime> {
        self.cooldowns.get(&scope).copied()
    }

    /// Ends the calls of dead processes a grace from now, because they may still arrive.
    pub(super) fn end_calls_of_dead(&mut self, now: Uptime, grace: Duration) {
        for call in &mut self.calls {
            if let Call::InFlight { scope, .. } = call {
                let calls = self.ledger.get_mut(scope).unwrap();
                calls.end(now.after(grace));
                *call = Call::Over;
            }
        }
    }

    pub(super) fn is_in_flight(&self, call: CallId) -> bool {
        matches!(self.calls[place(call)], Call::InFlight { .. })
    }

    pub(super) fn take(&mut self, take: &SlotRequest) -> SlotAnswer {
        let now = take.now.uptime;
        if let Some(until) = self.cooldown(take.scope).filter(|until| *until > now) {
            return SlotAnswer::CoolingDown(until);
        }
        let calls = self.ledger.entry(take.scope).or_default();
        calls.prune(now, self.longest_hold);
        if let Decision::NotBefore(until) = decide(now, &take.windows, calls) {
            return SlotAnswer::NotBefore(until);
        }
        calls.send();
        let attempt = match &take.purpose {
            SlotPurpose::Send {
                row,
                number,
                comment,
                ..
            } => {
                self.begin_attempt(*row, *number, comment, take.now.wall);
                Some(*row)
            }
            SlotPurpose::Read => None,
        };
        self.calls.push(Call::InFlight {
            scope: take.scope,
            attempt,
        });
        SlotAnswer::Go(CallId(i64::try_from(self.calls.len()).unwrap() - 1))
    }

    fn begin_attempt(&mut self, row: RowNumber, number: u32, comment: &str, wall: Timestamp) {
        let kept = self.open_row(row);
        kept.before = kept.row.phase;
        kept.row.attempts += 1;
        assert_eq!(
            kept.row.attempts, number,
            "row {row} counts its attempts otherwise"
        );
        kept.row.phase = RowPhase::Sent;
        kept.row.first_sent_at.get_or_insert(wall);
        kept.row.comment_sent = Some(comment.to_owned());
    }

    fn open_row(&mut self, row: RowNumber) -> &mut Kept {
        let kept = self.rows.get_mut(&row).unwrap();
        assert_eq!(kept.outcome, None, "row {row} is settled");
        kept
    }

    /// Writes one record. Returns the row that it settles, if any.
    pub(super) fn write<'record>(
        &mut self,
        record: &'record Record,
        now: Uptime,
    ) -> Option<(RowNumber, &'record Settlement)> {
        match record {
            Record::Replied {
                call, ended, row, ..
            } => {
                let (scope, _) = self.end(*call);
                self.ledger.get_mut(&scope).unwrap().end(*ended);
                if let Some(AttemptReply { row, phase, .. }) = row {
                    self.rows.get_mut(row).unwrap().row.phase = *phase;
                }
            }
            Record::Withdrawn { call } => {
                let (scope, attempt) = self.end(*call);
                self.ledger.get_mut(&scope).unwrap().withdraw();
                if let Some(row) = attempt {
                    self.strike_attempt(row);
                }
            }
            Record::Noted {
                row,
                phase,
                record,
                status_before,
                checked_at,
                ..
            } => {
                let kept = self.open_row(*row);
                kept.row.phase = *phase;
                if let Some(status) = record.as_ref().and_then(|record| record.status.clone()) {
                    kept.row.action_status = Some(status);
                }
                if status_before.is_some() {
                    kept.row.status_before.clone_from(status_before);
                }
                kept.row.checked_at = checked_at.or(kept.row.checked_at);
                let found = record.as_ref().map(|record| record.id);
                let other = found.filter(|id| *id != kept.row.id);
                kept.row.response_action = other.or(kept.row.response_action);
            }
            Record::Settled {
                row, settlement, ..
            } => {
                let kept = self.open_row(*row);
                kept.outcome = Some(settlement.outcome);
                assert!(
                    settlement.outcome != Outcome::Failed || kept.row.phase != RowPhase::Unknown,
                    "row {row} failed although what became of a cancel is unknown"
                );
                return Some((*row, settlement));
            }
            Record::Cooldown { scope, until, .. } => {
                let kept = self.cooldowns.entry(*scope).or_insert(now);
                *kept = (*kept).max(*until);
            }
            // Only for reports, or never read back in a simulation.
            Record::Limit { .. }
            | Record::ScopeReset { .. }
            | Record::Pace { .. }
            | Record::RunSettings { .. }
            | Record::RunConfirmed { .. }
            | Record::Deferred { .. }
            | Record::RunState { .. }
            | Record::FollowedUp { .. }
            | Record::LaneStopped { .. } => {}
        }
        None
    }

    fn end(&mut self, call: CallId) -> (ScopeKey, Option<RowNumber>) {
        match std::mem::replace(&mut self.calls[place(call)], Call::Over) {
            Call::InFlight { scope, attempt } => (scope, attempt),
            Call::Over => panic!("{call:?} ended twice"),
        }
    }

    fn strike_attempt(&mut self, row: RowNumber) {
        let kept = self.open_row(row);
        kept.row.attempts -= 1;
        kept.row.phase = kept.before;
        if kept.row.attempts == 0 {
            kept.row.first_sent_at = None;
            kept.row.comment_sent = None;
        }
    }
}

fn place(call: CallId) -> usize {
    usize::try_from(call.0).unwrap()
}
