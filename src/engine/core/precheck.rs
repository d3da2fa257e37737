//! Precheck: a row's record is read before its cancel leaves, in batches only just ahead of the cancels.
//!
//! Lazily, so that states are young when they are used: what lies further behind in the journal is read when its turn
//! comes near. A state that has grown old while the quota held everything back is read again.

use std::time::Duration;

use crate::model::{Moment, Outcome, RowNumber};
use crate::retry::{RecordVerdict, RereadReason, judge_record};
use crate::store::{Purpose, Record};

use super::event::{Effect, RunEvent, StopReason, Waiting};
use super::gate::{GateWait, WaitCause};
use super::lane::{CallKind, Lane};
use super::row::Missed;
use crate::engine::rules::Precheck;

/// Reads that have brought no proper answer for so long hold up no row that may go without its record.
const SLOW: Duration = Duration::from_secs(5);

/// A batch that is not full waits so long for more rows of a stream.
const LINGER: Duration = Duration::from_millis(250);

/// So many rows whose state is known, or is being read, are kept ready: about a minute's worth.
const AHEAD: usize = 128;

/// So many ids that are all missing are looked for again before any other is.
pub(super) const ALL_MISSING: usize = 100;

impl Lane {
    /// Queues a row that came from the journal, or sees to it that its record is read first.
    pub(super) fn admit(&mut self, now: Moment, number: RowNumber) {
        if self.needs_reading(now, number) {
            self.read_first(now, number);
            if self.may_go_unread(number) {
                self.queue.push_fresh(number);
            }
        } else {
            self.queue.push_fresh(number);
        }
    }

    /// Marks a row whose record must be read before it is sent.
    fn read_first(&mut self, now: Moment, number: RowNumber) {
        if let Some(row) = self.rows.get_mut(&number) {
            row.reread = Some(RereadReason::Precheck);
            self.unread.insert(number);
            self.unread_since.get_or_insert(now.uptime);
        }
    }

    /// Returns whether a row must not be sent before its record was read, which it is seen to. Where it may go as it is,
    /// nothing waits for its record any more.
    pub(super) fn is_held_for_reading(&mut self, now: Moment, number: RowNumber) -> bool {
        if !self.needs_reading(now, number) {
            return false;
        }
        if !self.may_go_unread(number) {
            self.read_first(now, number);
            return true;
        }
        // An answer that is on its way must not be taken for one to a question that comes up later.
        if let Some(row) = self.rows.get_mut(&number) {
            row.reread = None;
        }
        self.unread.remove(&number);
        self.rereads.retain(|&(_, row)| row != number);
        for flight in self.calls.values_mut() {
            if let CallKind::Reread(rows) = &mut flight.kind {
                rows.retain(|&row| row != number);
            }
        }
        false
    }

    /// Returns whether a row's state is unknown or too old, and reading it is wanted.
    pub(super) fn needs_reading(&self, now: Moment, number: RowNumber) -> bool {
        let Some(row) = self.rows.get(&number) else {
            return false;
        };
        let is_young = row
            .state_at
            .is_some_and(|at| now.uptime.since(at) < self.settings.retry.stale_after);
        self.settings.rules.precheck == Precheck::ReadFirst && !row.is_unreadable && !is_young
    }

    /// Returns whether reads are so slow that a row goes without, and whether it may.
    fn may_go_unread(&self, number: RowNumber) -> bool {
        let rules = &self.settings.rules;
        self.reads_are_slow
            && self
                .rows
                .get(&number)
                .is_some_and(|row| row.state_at.is_some() || rules.may_skip_precheck(&row.context))
    }

    /// Looks whether reads have become slow, and lets the rows go that may.
    pub(super) fn watch_reads(&mut self, now: Moment) {
        let waited = self.reads_since.map(|since| now.uptime.since(since));
        let is_slow = waited.is_some_and(|waited| waited >= SLOW);
        let was_slow = std::mem::replace(&mut self.reads_are_slow, is_slow);
        if let (Some(since), false) = (self.reads_since, is_slow) {
            self.wake_at(since.after(SLOW));
        }
        if !is_slow || was_slow {
            return;
        }
        let unread: Vec<_> = self
            .rows
            .iter()
            .filter(|(_, row)| row.reread == Some(RereadReason::Precheck))
            .map(|(&number, _)| number)
            .collect();
        let (go, wait): (Vec<_>, Vec<_>) = unread
            .into_iter()
            .partition(|&number| self.may_go_unread(number));
        if go.is_empty() && wait.is_empty() {
            return;
        }
        self.tell.push(RunEvent::ReadsSlow {
            go: go.len(),
            wait: wait.len(),
        });
        for number in go {
            self.queue.push_fresh(number);
        }
    }

    /// Reads the records that are wanted next.
    pub(super) fn pump_prechecks(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let waits_for_page = self.pages.request.is_some();
        while !self.unread.is_empty() && !self.waits_for_missing() && !waits_for_page {
            let ready = self.queue.fresh_len() + self.being_read();
            if ready >= AHEAD && !self.reads_are_slow {
                return;
            }
            if !self.is_batch_complete(now) {
                return;
            }
            let destination = self.reading_place(now, self.unread.len());
            if !self.share.has_room() {
                return;
            }
            let generation = match self.gate(destination).ask(now.uptime) {
                Ok(generation) => generation,
                Err(wait) => return self.note_read_wait(wait),
            };
            let most = self.most_at(destination);
            let rows = std::iter::from_fn(|| self.unread.pop_first());
            let rows = rows.take(most).collect();
            self.unread_since = (!self.unread.is_empty()).then_some(now.uptime);
            self.has_read_a_batch = true;
            let flight = self.flight(destination, CallKind::Reread(rows), generation);
            self.ask_ledger(now, flight, Purpose::Read, out);
        }
    }

    /// Returns whether there is no use in waiting for more ids before they are asked for. The first batch never waits.
    fn is_batch_complete(&mut self, now: Moment) -> bool {
        if self.unread.len() >= self.batch || !self.has_read_a_batch {
            return true;
        }
        // While a type is in question its rows hold up the loading of others.
        if self.is_loading() || (self.may_load_more() && self.in_question.is_empty()) {
            return false;
        }
        let since = self.unread_since.unwrap_or(now.uptime);
        let closes = since.after(LINGER);
        if self.is_input_ended() || closes <= now.uptime {
            return true;
        }
        self.wake_at(closes);
        false
    }

    /// Returns whether the first ids were all missing, so that it is to be seen first whether they stay so.
    fn waits_for_missing(&self) -> bool {
        let missing = || {
            let rows = self.rows.values();
            rows.filter(|row| row.missed == Missed::Proven).count()
        };
        !self.found_any && missing() >= ALL_MISSING
    }

    /// Returns how many rows' records are being read.
    fn being_read(&self) -> usize {
        let looks = self.calls.values().map(|flight| match &flight.kind {
            CallKind::Reread(rows) => rows.len(),
            CallKind::Cancel(_) | CallKind::Page => 0,
        });
        looks.sum()
    }

    /// Says what reads wait for, in words that cannot be taken for the wait of cancels.
    pub(super) fn note_read_wait(&mut self, wait: GateWait) {
        let cause = match wait.cause {
            WaitCause::Window | WaitCause::Pace => WaitCause::Reads,
            WaitCause::Cooldown => WaitCause::ReadCooldown,
            WaitCause::Outage => WaitCause::SlowReads,
            other => other,
        };
        self.note_wait(GateWait { cause, ..wait });
    }

    /// Says that rows wait for reads that are on the wire and slow, where nothing else is waited for.
    pub(super) fn note_slow_reads(&mut self, now: Moment) {
        let waits = || {
            let mut rows = self.rows.values();
            rows.any(|row| row.reread == Some(RereadReason::Precheck))
        };
        if self.reads_are_slow && self.waiting.is_none() && waits() {
            self.waiting = Some(Waiting {
                cause: WaitCause::SlowReads,
                until: now.uptime,
            });
        }
    }

    /// A record was read that says nothing against a cancel: the rules have the last word.
    pub(super) fn prechecked(&mut self, now: Moment, number: RowNumber) {
        let held = self.held_by_rules(number);
        self.note_state(now, number);
        match held {
            Some(reason) => self.settle(now, number, Outcome::Skipped, reason),
            None if self.is_armed => self.queue.push_fresh(number),
            None => self.leave_to_run(number),
        }
    }

    /// Says why a row that was sent before must not be sent again: its record may have another type or machine by now.
    pub(super) fn rejected_meanwhile(&self, number: RowNumber) -> Option<String> {
        let row = self.rows.get(&number).filter(|row| row.attempts > 0)?;
        let (rules, record) = (&self.settings.rules, row.record.as_deref()?);
        let reason = rules.reject(&row.context, record);
        let reason = reason.or_else(|| rules.reject_open(record))?;
        Some(format!("not sent again: {reason}"))
    }

    fn held_by_rules(&self, number: RowNumber) -> Option<String> {
        let row = self.rows.get(&number)?;
        self.settings.rules.reject_open(row.record.as_deref()?)
    }

    /// Settles a row that was never sent and whose action isn't touched, whatever its state.
    pub(super) fn settle_if_rejected(&mut self, now: Moment, number: RowNumber) -> bool {
        let Some(row) = self.rows.get(&number) else {
            return false;
        };
        let (0, Some(record)) = (row.attempts, &row.record) else {
            return false;
        };
        let Some(reason) = self.settings.rules.reject(&row.context, record) else {
            return false;
        };
        self.note_state(now, number);
        self.settle(now, number, Outcome::Skipped, reason);
        true
    }

    /// Journals the state of a row that was read before it is sent.
    pub(super) fn note_state(&mut self, now: Moment, number: RowNumber) {
        let Some(row) = self.rows.get(&number) else {
            return;
        };
        let record = row.record.as_deref();
        self.records.push(Record::Noted {
            run: self.settings.run,
            row: number,
            phase: row.phase(),
            status_before: record
                .filter(|_| row.attempts == 0)
                .and_then(|record| record.status.clone()),
            record: record.cloned(),
            checked_at: Some(now.wall),
        });
    }

    /// Settles an unsent row whose record, seen after it had been queued, leaves nothing to cancel.
    pub(super) fn settle_if_seen_final(&mut self, now: Moment, number: RowNumber) -> bool {
        let Some(row) = self.rows.get(&number) else {
            return false;
        };
        let (0, Some(record)) = (row.attempts, &row.record) else {
            return false;
        };
        match judge_record(record, &row.history()) {
            RecordVerdict::Settle(outcome) => {
                self.settle_seen(now, number, outcome);
                true
            }
            RecordVerdict::Open => false,
        }
    }

    /// A row's record could be read neither alone nor with others, though others' could.
    pub(super) fn unread_for_good(&mut self, now: Moment, number: RowNumber) {
        if !self.is_armed {
            return self.leave_to_run(number);
        }
        let rules = &self.settings.rules;
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        row.reread = None;
        if row.state_at.is_some() || row.attempts > 0 || rules.may_skip_precheck(&row.context) {
            row.is_unreadable = true;
            self.queue.push_fresh(number);
            return;
        }
        let reason = "not sent: its record cannot be read, although others can, and without it the guards cannot be \
                      asked; --no-precheck sends it as it is";
        self.settle(now, number, Outcome::Failed, reason.to_owned());
    }

    /// Reading is not permitted, and rows wait for it.
    pub(super) fn stop_for_reading(&mut self, what: String) {
        self.stop(StopReason::ReadingForbidden(what));
    }
}
