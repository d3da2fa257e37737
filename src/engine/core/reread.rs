//! Which records are read next, and in what batches.
//!
//! Records are read before cancels leave, only just ahead of them, so that states are young when they are used. What is due
//! for another reason goes first, and takes along what is due soon.

use std::time::Duration;

use crate::model::{Destination, Moment, RowNumber, Uptime};

use super::event::{Effect, RunEvent, Waiting};
use super::gate::{GateWait, WaitCause};
use super::lane::Lane;
use super::row::{Missed, Reread, RereadReason, RowState};
use super::transition::{RowEvent, soon};

/// Ids in one batch read at most.
const MAX_BATCH: usize = 100;

/// So many batches of a size that was cut down are followed by one of twice the size.
const GOOD_BATCHES: u32 = 8;

/// Reads that have brought no proper answer for so long hold up no row that may go without its record.
const SLOW: Duration = Duration::from_secs(5);

/// A batch that is not full waits so long for more rows of a stream.
const LINGER: Duration = Duration::from_millis(250);

/// So many rows whose state is known, or is being read, are kept ready: about a minute's worth.
const AHEAD: usize = 128;

/// How a lane's reads go.
#[derive(Debug)]
pub(super) struct ReadBatches {
    /// At most so many ids in one batch read.
    pub(super) size: usize,
    /// Batches of this size that were taken since the size was last changed.
    good: u32,
    /// Pages of so many records are known to be given out.
    pub(super) known_page: usize,
    /// Since when rows wait for a batch of prechecks; the first batch never waits.
    filling_since: Option<Uptime>,
    has_read_one: bool,
    /// Since when reads that left have brought no proper answer.
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
    /// A batch was taken. After some of its size a longer one is tried: it may have been one id that was not taken.
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

    /// A batch was too long, or its answer had nothing to do with it.
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

    /// Reads what is due, or the next prechecks. Returns whether another read may follow.
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

    /// Returns the next rows whose read is due by `soon`. Rows that have shared faulty reads while others were answered
    /// share ever smaller ones, until the one that is at fault stands alone.
    fn next_rereads(&self, soon: Uptime, mut most: usize) -> Vec<RowNumber> {
        let mut rows = Vec::new();
        for &(due, number) in &self.indexes.rereads {
            // One call asks for one kind of thing.
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

    /// Returns whether a read is due, and says what the next one is for where it is due later.
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

    /// Says where `count` records are to be read: one by its address, several by a filter, and one so, too, where the
    /// allowance for the other is taken. What became of a machine is always asked of the list.
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

    /// Returns whether prechecks are to be read now: cancels will soon need them, and there is no use in waiting for more
    /// ids in the batch.
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
        // While a type is in question its rows hold up the loading of others.
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

    /// Looks whether reads have become slow, so that rows that may go without their record do.
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
        if self.batches.are_slow && self.waiting.is_none() && self.unread_len() > 0 {
            self.waiting = Some(Waiting {
                cause: WaitCause::SlowReads,
                until: now.uptime,
            });
        }
    }
}
