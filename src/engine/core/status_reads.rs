//! Picks the records to read next, and batches them.
//!
//! Prechecks run just ahead of the cancels, so that states are fresh when they are used. Reads for other reasons go
//! first, and take along those that are due soon.

use std::time::Duration;

use crate::engine::skip_rules::SkipRules;
use crate::model::{ActionFacts, Destination, Moment, RowContext, RowNumber, Uptime};

use super::event::{Effect, RunEvent, Waiting};
use super::lane::Lane;
use super::row::{Missed, Reread, RereadReason, RowState};
use super::scope_gate::{GateWait, WaitCause};
use super::transition::{RowEvent, soon};

const MAX_BATCH: usize = 100;

/// After this many batches of a reduced size, the size doubles.
const GOOD_BATCHES: u32 = 8;

/// Once reads have had no proper answer for this long, rows that may skip their precheck are sent.
const SLOW: Duration = Duration::from_secs(5);

/// How long an incomplete batch waits for more rows of a stream.
const LINGER: Duration = Duration::from_millis(250);

/// Rows kept ready or being read: about a minute's worth.
const AHEAD: usize = 128;

impl SkipRules {
    /// Returns whether a row may be sent without a read if reads are slow: the input gives a known, selected and
    /// unprotected type, and no other rule needs the record.
    pub fn may_skip_precheck(&self, context: &RowContext) -> bool {
        let facts = ActionFacts::of_input(context);
        self.exclude.is_empty()
            && self.selection.is_by_type_alone()
            && self.selection.mismatch(&facts).is_none()
            && self.protected(facts.action_type).is_none()
    }
}

#[derive(Debug)]
pub(super) struct ReadBatches {
    /// The most ids in one batch read.
    pub(super) size: usize,
    /// Batches accepted since the size last changed.
    good: u32,
    /// The service is known to return pages of this many records.
    pub(super) known_page: usize,
    /// Since when prechecks wait for their batch to fill; the first batch never waits.
    filling_since: Option<Uptime>,
    has_read_one: bool,
    /// Since when reads on the wire have had no proper answer.
    pub(super) unanswered_since: Option<Uptime>,
    pub(super) are_slow: bool,
}

impl Default for ReadBatches {
    fn default() -> Self {
        Self {
            size: MAX_BATCH,
            good: 0,
            known_page: 0,
            filling_since: None,
            has_read_one: false,
            unanswered_since: None,
            are_slow: false,
        }
    }
}

impl ReadBatches {
    /// A batch was accepted. After some of them a longer one is tried: a single id may have been the problem.
    pub(super) fn taken(&mut self, size: usize) {
        if size < self.size || self.size >= MAX_BATCH {
            return;
        }
        self.good += 1;
        if self.good >= GOOD_BATCHES {
            self.size = (self.size * 2).min(MAX_BATCH);
            self.good = 0;
        }
    }

    /// A batch was too long, or its answer was unrelated.
    pub(super) fn shorten(&mut self, size: usize) {
        self.size = (size / 2).max(1);
        self.good = 0;
    }
}

impl Lane {
    pub(super) fn dispatch_reads(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.note_filling(now);
        while self.is_reread_due(now) && self.open_read(now, true, out) {}
        while self.is_precheck_due(now) && self.open_read(now, false, out) {}
    }

    /// Sends one read of due rows or of prechecks. Returns whether another may follow.
    fn open_read(&mut self, now: Moment, is_due: bool, out: &mut Vec<Effect>) -> bool {
        let soon = soon(&self.settings.retry, now.uptime);
        let count = if is_due {
            let rereads = self.indexes.rereads.iter().take(2);
            rereads.filter(|&&(due, _)| due <= soon).count()
        } else {
            self.indexes.prechecks.len()
        };
        let destination = self.reading_place(now, is_due, count);
        if !self.has_permit() {
            return false;
        }
        let generation = match self.gates.of(destination).ask(now.uptime) {
            Ok(generation) => generation,
            Err(wait) => {
                self.note_read_wait(wait);
                return false;
            }
        };
        let most = match destination {
            Destination::List => self.batches.size,
            _ => 1,
        };
        let rows: Vec<_> = if is_due {
            self.next_rereads(soon, most)
        } else {
            let prechecks = self.indexes.prechecks.iter();
            prechecks.take(most).copied().collect()
        };
        let call = self.new_call();
        for &number in &rows {
            self.advance(now, number, RowEvent::Reading(call));
        }
        if !is_due {
            self.batches.has_read_one = true;
            self.batches.filling_since = None;
            self.note_filling(now);
        }
        self.ask_ledger(now, call, destination, rows, generation, out);
        true
    }

    fn note_filling(&mut self, now: Moment) {
        if self.indexes.prechecks.is_empty() {
            self.batches.filling_since = None;
        } else {
            self.batches.filling_since.get_or_insert(now.uptime);
        }
    }

    /// Returns the next rows whose read is due by `soon`. Rows whose reads failed while others were answered share ever
    /// smaller batches, until the faulty row is alone.
    fn next_rereads(&self, soon: Uptime, mut most: usize) -> Vec<RowNumber> {
        let mut rows = Vec::new();
        for &(due, number) in &self.indexes.rereads {
            // One call reads subjects of one kind.
            if let Some(&first) = rows.first()
                && self.reads_machine(first) != self.reads_machine(number)
            {
                continue;
            }
            let faults = self.reread(number).map_or(0, |reread| {
                reread.faults.by_reads.counted(self.heard.answers.reads)
            });
            most = most.min(self.batches.size.checked_shr(faults).unwrap_or(0).max(1));
            if due > soon || rows.len() >= most {
                break;
            }
            rows.push(number);
        }
        rows
    }

    fn reads_machine(&self, number: RowNumber) -> bool {
        let row = self.rows.get(&number);
        row.is_some_and(|row| self.settings.operation.subject(row).is_machine())
    }

    fn reread(&self, number: RowNumber) -> Option<Reread> {
        match self.rows.get(&number)?.state {
            RowState::Reread(reread) => Some(reread),
            _ => None,
        }
    }

    /// Returns whether a read is due; otherwise notes what the next one is for.
    fn is_reread_due(&mut self, now: Moment) -> bool {
        let Some(&(due, number)) = self.indexes.rereads.first() else {
            return false;
        };
        if due <= now.uptime {
            return true;
        }
        let reread = self.reread(number);
        let is_missed = reread.is_some_and(|reread| reread.missed != Missed::Never);
        let cause = match reread.map(|reread| reread.reason) {
            Some(RereadReason::Verify { .. }) => WaitCause::Effect,
            Some(RereadReason::Precheck { .. }) if is_missed => WaitCause::Missing,
            _ => WaitCause::Retry,
        };
        let until = Some(due);
        self.note_wait(GateWait { until, cause });
        false
    }

    /// Returns where to read `count` records: one by its address, several with a filter. One record also goes to the
    /// list if the quota for addresses is used up. A machine's actions always come from the list.
    fn reading_place(&self, now: Moment, is_due: bool, count: usize) -> Destination {
        let is_single_open = self.gates.get.look(now.uptime).is_ok();
        let first = if is_due {
            self.indexes.rereads.first().map(|&(_, number)| number)
        } else {
            self.indexes.prechecks.first().copied()
        };
        let is_machine = first.is_some_and(|number| self.reads_machine(number));
        if is_machine || (self.batches.size > 1 && (count > 1 || !is_single_open)) {
            Destination::List
        } else {
            Destination::Get
        }
    }

    /// Returns whether prechecks are due: cancels will soon need them, and waiting wouldn't fill the batch.
    fn is_precheck_due(&mut self, now: Moment) -> bool {
        let waiting = self.indexes.prechecks.len();
        if waiting == 0 || self.waits_for_missing() || self.pages.request.is_some() {
            return false;
        }
        if !self.batches.are_slow && self.ready_or_being_read() >= AHEAD {
            return false;
        }
        if waiting >= self.batches.size || !self.batches.has_read_one {
            return true;
        }
        // While a type is in question, its rows hold up the loading of others.
        if self.loading.is_asked() || (self.may_load_more() && self.indexes.held.is_empty()) {
            return false;
        }
        let since = self.batches.filling_since.unwrap_or(now.uptime);
        let closes = since.after(LINGER);
        if self.loading.is_input_ended() || closes <= now.uptime {
            return true;
        }
        self.wake_at(closes);
        false
    }

    fn ready_or_being_read(&self) -> usize {
        let reads = self.calls.values();
        let reads = reads.filter(|flight| flight.destination.is_read());
        self.indexes.fresh_len() + reads.map(|flight| flight.rows.len()).sum::<usize>()
    }

    /// Updates whether reads are slow, so that rows may skip their precheck.
    pub(super) fn watch_reads(&mut self, now: Moment) {
        let since = self.batches.unanswered_since;
        let are_slow = since.is_some_and(|since| now.uptime.since(since) >= SLOW);
        let were_slow = std::mem::replace(&mut self.batches.are_slow, are_slow);
        if let (Some(since), false) = (since, are_slow) {
            self.wake_at(since.after(SLOW));
        }
        if !are_slow || were_slow {
            return;
        }
        let unread = self.unread_len();
        if unread > 0 {
            let go = self.indexes.skippable_len();
            self.tell.push(RunEvent::ReadsSlow {
                go,
                wait: unread - go,
            });
        }
    }

    fn unread_len(&self) -> usize {
        let rows = self.rows.values();
        rows.filter(|row| row.state.is_precheck()).count()
    }

    /// Notes what reads wait for, with causes of their own.
    pub(super) fn note_read_wait(&mut self, wait: GateWait) {
        let cause = match wait.cause {
            WaitCause::Window | WaitCause::Pace => WaitCause::Reads,
            WaitCause::Cooldown => WaitCause::ReadCooldown,
            WaitCause::Outage => WaitCause::SlowReads,
            other => other,
        };
        self.note_wait(GateWait { cause, ..wait });
    }

    /// Notes that rows wait for slow reads, if the lane waits for nothing else.
    pub(super) fn note_slow_reads(&mut self, now: Moment) {
        if self.batches.are_slow && self.waiting.is_none() && self.unread_len() > 0 {
            self.waiting = Some(Waiting {
                cause: WaitCause::SlowReads,
                until: now.uptime,
            });
        }
    }
}
