//! Which call leaves next, and what the ledger's answer does to it.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Destination, Moment, RowNumber, Uptime};
use crate::retry::RereadReason;
use crate::store::{Purpose, Record, Take, Taken};

use super::event::{CallToken, Effect};
use super::gate::{GateWait, WaitCause};
use super::lane::{CallKind, InFlight, Lane, Reading};
use super::row::Missed;

impl Lane {
    /// Lets everything leave that may leave now, and notes when to look again.
    pub(super) fn poll(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.wake = None;
        self.waiting = None;
        if self.stop.is_some() {
            return self.drain(now, out);
        }
        self.load_more(out);
        if self.rows.is_empty() && self.pages.request.is_none() {
            return;
        }
        if !self.has_token(now, out) {
            return;
        }
        self.look_at_types();
        if self.is_armed {
            self.watch_reads(now);
        } else {
            self.pump_page(now, out);
        }
        if let (Some(first), false) = (self.first_call, self.answered) {
            self.wake_at(first.after(self.settings.reach_timeout));
        }
        if self.is_armed {
            self.pump_sends(now, out);
        }
        // After the cancels, for their turn may show that a row is to be looked at instead, and nothing else would wake us
        // for it.
        self.pump_rereads(now, out);
        self.pump_prechecks(now, out);
        self.note_slow_reads(now);
        self.look_at_types();
        // Rows that were settled unsent made room.
        self.flush(out);
        self.load_more(out);
    }

    fn pump_sends(&mut self, now: Moment, out: &mut Vec<Effect>) {
        while let Some(due) = self.queue.next_due(now.uptime) {
            if due > now.uptime {
                self.note_wait(GateWait {
                    until: Some(due),
                    cause: WaitCause::Retry,
                });
                return;
            }
            if let Err(wait) = self.cancel.look(now.uptime) {
                return self.note_wait(wait);
            }
            if !self.share.has_room() {
                return;
            }
            let Some(row) = self.pop_sendable(now) else {
                continue;
            };
            let generation = match self.cancel.ask(now.uptime) {
                Ok(generation) => generation,
                Err(wait) => {
                    self.queue.push_head(row);
                    return self.note_wait(wait);
                }
            };
            let Some(held) = self.rows.get(&row) else {
                continue;
            };
            let purpose = Purpose::Cancel {
                run: self.settings.run,
                row,
                number: held.attempts + 1,
                comment: Arc::clone(&held.comment),
            };
            let flight = self.flight(Destination::Cancel, CallKind::Cancel(row), generation);
            self.ask_ledger(now, flight, purpose, out);
        }
    }

    fn pump_rereads(&mut self, now: Moment, out: &mut Vec<Effect>) {
        while let Some(&(due, _)) = self.rereads.first() {
            if due > now.uptime {
                let cause = self.reread_cause();
                return self.note_wait(GateWait {
                    until: Some(due),
                    cause,
                });
            }
            let soon = self.soon(now);
            let count = self
                .rereads
                .iter()
                .take(2)
                .filter(|&&(due, _)| due <= soon)
                .count();
            let destination = self.reading_place(now, count);
            if !self.share.has_room() {
                return;
            }
            let generation = match self.gate(destination).ask(now.uptime) {
                Ok(generation) => generation,
                Err(wait) => return self.note_read_wait(wait),
            };
            let rows = self.take_rereads(soon, self.most_at(destination));
            let flight = self.flight(destination, CallKind::Reread(rows), generation);
            self.ask_ledger(now, flight, Purpose::Read, out);
        }
    }

    /// Looks that are due by then go along with one that is due now, so that many become few reads.
    pub(super) fn soon(&self, now: Moment) -> Uptime {
        now.uptime.after(self.settings.retry.missing_again / 6)
    }

    /// Takes out up to `most` rows whose look is due by `soon`. Rows that have shared faulty reads while others were
    /// answered share ever smaller ones, until the one that is at fault stands alone.
    fn take_rereads(&mut self, soon: Uptime, mut most: usize) -> Vec<RowNumber> {
        let mut rows = Vec::new();
        while let Some(&(due, number)) = self.rereads.first() {
            let faults = self
                .rows
                .get(&number)
                .map_or(0, |row| row.faults_of_its_own(self.read_answers));
            most = most.min(self.batch.checked_shr(faults).unwrap_or(0).max(1));
            if due > soon || rows.len() >= most {
                break;
            }
            self.rereads.pop_first();
            rows.push(number);
        }
        rows
    }

    /// Says what the next look that is due later is for.
    fn reread_cause(&self) -> WaitCause {
        let next = self.rereads.first().and_then(|(_, row)| self.rows.get(row));
        match next.and_then(|row| row.reread) {
            Some(RereadReason::Verify) => WaitCause::Effect,
            Some(RereadReason::Precheck) if next.is_some_and(|row| row.missed != Missed::Never) => {
                WaitCause::Missing
            }
            _ => WaitCause::Retry,
        }
    }

    /// Says where `count` records are to be read: one by its address, several by a filter, and one so, too, where the
    /// allowance for the other is taken.
    pub(super) fn reading_place(&self, now: Moment, count: usize) -> Destination {
        let single_open = self.get.look(now.uptime).is_ok();
        if self.batch > 1 && (count > 1 || !single_open) {
            Destination::List
        } else {
            Destination::Get
        }
    }

    /// Returns how many ids one read there may ask for.
    pub(super) fn most_at(&self, destination: Destination) -> usize {
        match destination {
            Destination::List => self.batch,
            _ => 1,
        }
    }

    /// Makes ready a call that its gate has let ask.
    pub(super) fn flight(
        &self,
        destination: Destination,
        kind: CallKind,
        generation: u32,
    ) -> InFlight {
        InFlight {
            kind,
            destination,
            call: None,
            token: self.token_number,
            generation,
        }
    }

    /// Takes the next row out that is still worth sending; settles those that are not.
    fn pop_sendable(&mut self, now: Moment) -> Option<RowNumber> {
        loop {
            let number = self.queue.pop(now.uptime, self.settings.retry.patience)?;
            if !self.rows.contains_key(&number) {
                continue;
            }
            if self.is_type_in_question(number) {
                self.in_question.push(number);
            } else if self.defer_if_denied(number) {
                // It stays in the journal.
            } else if self.is_used_up(number) {
                self.route(now, number, now.uptime);
            } else if !self.settle_if_seen_final(now, number)
                && !self.is_held_for_reading(now, number)
            {
                return Some(number);
            }
        }
    }

    /// Lets rows go whose types are in question no more.
    fn look_at_types(&mut self) {
        for number in std::mem::take(&mut self.in_question) {
            if self.is_type_in_question(number) {
                self.in_question.push(number);
            } else if self.rows.contains_key(&number) {
                self.queue.push_head(number);
            }
        }
    }

    pub(super) fn ask_ledger(
        &mut self,
        now: Moment,
        flight: InFlight,
        purpose: Purpose,
        out: &mut Vec<Effect>,
    ) {
        let call_token = self.new_ticket();
        self.share.take();
        let gate = self.gate(flight.destination);
        let take = Take {
            scope: gate.scope,
            windows: Arc::clone(&gate.windows),
            now,
            purpose,
        };
        self.calls.insert(call_token, flight);
        out.push(Effect::Take {
            lane: self.id,
            call_token,
            take,
        });
    }

    /// The ledger answered.
    pub(super) fn taken(
        &mut self,
        now: Moment,
        call_token: CallToken,
        taken: Taken,
        out: &mut Vec<Effect>,
    ) {
        let Some(mut flight) = self.calls.remove(&call_token) else {
            return;
        };
        match taken {
            Taken::NotBefore(until) => {
                self.gate(flight.destination).refused(until);
                self.put_back(now, flight);
            }
            Taken::CoolingDown(until) => {
                // Told to another process, or noted by an answer that came after this question: the scope is the same.
                let gate = self.gate(flight.destination);
                gate.unasked();
                gate.cool_down(until);
                self.put_back(now, flight);
            }
            Taken::InProgress(run) => {
                self.gate(flight.destination).unasked();
                match flight.kind {
                    CallKind::Cancel(row) => self.defer_in_progress(row, run),
                    CallKind::Reread(_) | CallKind::Page => self.put_back(now, flight),
                }
            }
            Taken::Go(call) => {
                // The look again at stop, outage and cooldown, after the transaction and before the bytes.
                // Rows that went without their record left the read that was to bring it, and some have ended since.
                let is_moot = match &mut flight.kind {
                    CallKind::Reread(rows) => {
                        rows.retain(|row| self.rows.contains_key(row));
                        rows.is_empty()
                    }
                    CallKind::Cancel(row) => self.is_type_in_question(*row),
                    CallKind::Page => false,
                };
                let blocked = is_moot || self.stop.is_some() || !self.is_token_usable(now.uptime);
                let gate = self.gate(flight.destination);
                let may_leave = if blocked {
                    gate.unasked();
                    false
                } else {
                    gate.granted(now.uptime, flight.generation)
                };
                if !may_leave {
                    gate.slot_returned();
                    self.records.push(Record::Withdrawn { call });
                    self.put_back(now, flight);
                    return;
                }
                flight.call = Some(call);
                flight.token = self.token_number;
                self.send(now, call_token, flight, out);
            }
        }
    }

    fn send(
        &mut self,
        now: Moment,
        call_token: CallToken,
        flight: InFlight,
        out: &mut Vec<Effect>,
    ) {
        let lane = self.id;
        self.first_call.get_or_insert(now.uptime);
        match &flight.kind {
            CallKind::Cancel(number) => {
                let Some(row) = self.rows.get_mut(number) else {
                    // Every row at the ledger is held; should one be gone, its slot must not be.
                    self.records
                        .extend(flight.call.map(|call| Record::Withdrawn { call }));
                    self.cancel.ended(flight.generation, false);
                    self.cancel.breaker.told_nothing(flight.generation);
                    return;
                };
                row.attempts += 1;
                row.first_sent_at.get_or_insert(now.wall);
                self.tally.cancels += 1;
                self.tally.retries += u64::from(row.attempts > 1);
                let comment = Arc::clone(&row.comment);
                out.push(Effect::Post {
                    lane,
                    call_token,
                    id: row.id,
                    comment,
                });
            }
            CallKind::Reread(rows) => {
                self.tally.reads += 1;
                self.reads_since.get_or_insert(now.uptime);
                let ids = rows
                    .iter()
                    .filter_map(|row| self.rows.get(row))
                    .map(|row| row.id)
                    .collect();
                out.push(Effect::Read {
                    lane,
                    call_token,
                    destination: flight.destination,
                    ids,
                });
            }
            CallKind::Page => {
                self.tally.reads += 1;
                out.extend((self.page_query()).map(|query| Effect::ReadPage {
                    lane,
                    call_token,
                    query,
                }));
            }
        }
        self.calls.insert(call_token, flight);
    }

    /// Puts the rows of a call that did not leave back where they were.
    pub(super) fn put_back(&mut self, now: Moment, flight: InFlight) {
        let breaker = &mut self.gate(flight.destination).breaker;
        breaker.told_nothing(flight.generation);
        match flight.kind {
            CallKind::Cancel(row) => self.queue.push_head(row),
            CallKind::Reread(rows) => self.reread_soon(now, rows),
            CallKind::Page => self.set_page_under_way(false),
        }
    }

    /// Lets rows wait for the next read.
    pub(super) fn reread_soon(&mut self, now: Moment, rows: Vec<RowNumber>) {
        for number in rows {
            let is_unread = self.rows.get(&number).is_some_and(|row| {
                row.reread == Some(RereadReason::Precheck) && row.missed == Missed::Never
            });
            if is_unread {
                self.unread.insert(number);
            } else {
                self.rereads.insert((now.uptime, number));
            }
        }
    }

    /// Sends a row where it belongs now: to be looked at, to be sent again from `due` on, or to its last word.
    pub(super) fn route(&mut self, now: Moment, number: RowNumber, due: Uptime) {
        let used_up = self.is_used_up(number);
        let may_read = self.reading != Reading::Forbidden;
        let bound = self.settings.retry.max_attempts as usize;
        let nobody_else = self.nobody_else_can_tell();
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        let is_readable = may_read && !row.is_unreadable;
        if row.fate_unknown && is_readable {
            row.reread = Some(RereadReason::UnknownResult);
            self.rereads.insert((now.uptime, number));
        } else if used_up {
            self.give_up(now, number);
        } else if row.faults.len() >= bound && nobody_else && is_readable {
            // No other row can tell this one's faults from the service's; a read of it can.
            row.reread = Some(RereadReason::FaultCheck);
            self.rereads.insert((due, number));
        } else {
            self.queue.push_retry(due, number);
        }
    }

    pub(super) fn is_used_up(&self, number: RowNumber) -> bool {
        let bound = self.settings.retry.max_attempts;
        let Some(row) = self.rows.get(&number) else {
            return false;
        };
        if row.counted_faults(self.cancel_answers) >= bound {
            return true;
        }
        // Where nothing can be read and no other row is left to tell, every fault counts.
        let unreadable = self.reading == Reading::Forbidden || row.is_unreadable;
        unreadable && row.faults.len() >= bound as usize && self.nobody_else_can_tell()
    }
}

/// So long a lane that stops waits for reads that are on the wire: most answer well within it, and a person who has
/// asked to stop waits no longer.
const READS_DRAIN: Duration = Duration::from_secs(2);

impl Lane {
    /// Gives up reads that hold up the end of a lane that stops. Their rows stay as the journal has them.
    ///
    /// Each has left and may still arrive, so its slot is held as one of a call that we ended.
    pub(super) fn drain(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let since = *self.stopping_since.get_or_insert(now.uptime);
        let (cancels, reads): (Vec<_>, Vec<_>) = self
            .calls
            .iter()
            .partition(|(_, flight)| flight.destination == Destination::Cancel);
        // As long as a cancel is waited for, reads hold up nothing.
        if !cancels.is_empty() || reads.is_empty() {
            return;
        }
        let left = reads
            .into_iter()
            .filter(|(_, flight)| flight.call.is_some());
        let left: Vec<_> = left.map(|(&call_token, _)| call_token).collect();
        // Somebody waits at a plan, and nothing was sent.
        let ends = if self.is_armed {
            since.after(READS_DRAIN)
        } else {
            since
        };
        if now.uptime < ends {
            return self.wake_at(ends);
        }
        let ended = now.uptime.after(self.settings.retry.timeout_grace);
        for call_token in left {
            let Some(flight) = self.calls.remove(&call_token) else {
                continue;
            };
            self.gate(flight.destination)
                .ended(flight.generation, false);
            self.records.extend(flight.call.map(|call| Record::Replied {
                call,
                at: now,
                ended,
                row: None,
            }));
            self.put_back(now, flight);
        }
        self.flush(out);
    }
}
