//! Picks the next call to send, and handles the ledger's answer.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Destination, Moment, RowNumber};
use crate::store::{Record, SlotAnswer, SlotPurpose, SlotRequest};

use super::event::{CallTicket, Effect, StopReason};
use super::lane::{InFlight, Lane};
use super::row::RowState;
use super::scope_gate::{GateWait, WaitCause};
use super::transition::{Permission, RowEvent};

/// How long a stopping lane waits for reads on the wire. Most answer well within it.
const READS_DRAIN: Duration = Duration::from_secs(2);

impl Lane {
    /// Sends everything that may leave now, and sets the next wake-up.
    pub(super) fn poll(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.wake = None;
        self.waiting = None;
        if self.stop.is_some() {
            return self.drain(now, out);
        }
        self.load_more(out);
        let is_idle = self.rows.is_empty() && self.pages.request.is_none();
        if is_idle || !self.has_token(now, out) {
            return;
        }
        self.release_held(now);
        if self.is_armed {
            self.watch_reads(now);
        } else {
            self.dispatch_page(now, out);
        }
        if let (Some(first), false) = (self.heard.first_call, self.heard.anything) {
            self.wake_at(first.after(self.settings.reach_timeout));
        }
        if self.is_armed {
            self.dispatch_sends(now, out);
        }
        // Reads come after cancels: a row's turn may show that it must be read first, and nothing else would wake the
        // lane for that.
        self.dispatch_reads(now, out);
        self.note_slow_reads(now);
        self.release_held(now);
        // Rows settled unsent made room.
        self.flush(out);
        self.load_more(out);
    }

    /// Frees the rows whose types are no longer in question.
    fn release_held(&mut self, now: Moment) {
        let held: Vec<_> = self.indexes.held.iter().copied().collect();
        for number in held {
            if self.permission(number) != Permission::InQuestion {
                self.advance(now, number, RowEvent::TypeDecided);
            }
        }
    }

    fn dispatch_sends(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let are_slow = self.batches.are_slow;
        while let Some(due) = self.indexes.next_send_due(now.uptime, are_slow) {
            if due > now.uptime {
                return self.note_wait(GateWait {
                    until: Some(due),
                    cause: WaitCause::Retry,
                });
            }
            if let Err(wait) = self.gates.send.look(now.uptime) {
                return self.note_wait(wait);
            }
            if !self.has_permit() {
                return;
            }
            let call = self.new_call();
            let Some(number) = self.next_sendable(now, call) else {
                continue;
            };
            let generation = match self.gates.send.ask(now.uptime) {
                Ok(generation) => generation,
                Err(wait) => {
                    self.advance(now, number, RowEvent::CallDropped);
                    return self.note_wait(wait);
                }
            };
            self.ask_ledger(
                now,
                call,
                self.settings.operation.destination(),
                vec![number],
                generation,
                out,
            );
        }
    }

    /// Gives rows their turn until one can be sent.
    fn next_sendable(&mut self, now: Moment, call: CallTicket) -> Option<RowNumber> {
        let patience = self.settings.retry.patience;
        let reads_are_slow = self.batches.are_slow;
        loop {
            let number = self
                .indexes
                .next_to_send(now.uptime, patience, reads_are_slow)?;
            self.advance(now, number, RowEvent::Turn(call));
            if self.is_sending(number) {
                return Some(number);
            }
        }
    }

    pub(super) fn is_sending(&self, number: RowNumber) -> bool {
        let row = self.rows.get(&number);
        row.is_some_and(|row| matches!(row.state, RowState::Sending(_)))
    }

    /// Returns whether another call may start, and remembers a refusal.
    pub(super) fn has_permit(&mut self) -> bool {
        self.lacks_permit |= self.permits == 0;
        self.permits > 0
    }

    /// Requests a slot for a call that has passed its gate.
    pub(super) fn ask_ledger(
        &mut self,
        now: Moment,
        call_token: CallTicket,
        destination: Destination,
        rows: Vec<RowNumber>,
        generation: u32,
        out: &mut Vec<Effect>,
    ) {
        let row = rows.first().and_then(|row| self.rows.get(row));
        let purpose = match (destination, row) {
            (Destination::Cancel | Destination::Release, Some(row)) => SlotPurpose::Send {
                run: self.settings.run,
                row: rows[0],
                number: row.attempts + 1,
                comment: Arc::clone(&row.comment),
            },
            _ => SlotPurpose::Read,
        };
        self.permits = self.permits.saturating_sub(1);
        let gate = self.gates.of(destination);
        let take = SlotRequest {
            scope: gate.scope,
            windows: Arc::clone(&gate.windows),
            now,
            purpose,
        };
        let flight = InFlight {
            destination,
            rows,
            call: None,
            token: self.token.number,
            generation,
        };
        self.calls.insert(call_token, flight);
        out.push(Effect::SlotRequest {
            lane: self.id,
            call_token,
            take,
        });
    }

    /// The ledger answered the request for a slot.
    pub(super) fn taken(
        &mut self,
        now: Moment,
        call_token: CallTicket,
        taken: SlotAnswer,
        out: &mut Vec<Effect>,
    ) {
        let Some(mut flight) = self.calls.remove(&call_token) else {
            return;
        };
        // Rows that skipped their precheck no longer wait for this read, and some have ended since.
        flight.rows = self.rows_of(call_token, &flight.rows);
        let is_send = !flight.destination.is_read();
        let in_question = |&number| is_send && self.permission(number) == Permission::InQuestion;
        let is_left = flight.rows.is_empty() && !self.pages.is_read_by(call_token);
        let is_moot = is_left || flight.rows.iter().any(in_question);
        let gate = self.gates.of(flight.destination);
        match taken {
            SlotAnswer::NotBefore(until) => gate.no_slot(until),
            SlotAnswer::CoolingDown(until) => {
                // Another process or a later answer set the cooldown. It applies to the whole scope.
                gate.unasked();
                gate.cool_down(until);
            }
            SlotAnswer::InProgress(run) => {
                gate.unasked();
                for &number in &flight.rows {
                    self.advance(now, number, RowEvent::Conflict(run));
                }
            }
            // Check stop, outage and cooldown once more, after the commit and before any byte leaves.
            SlotAnswer::Go(call) => {
                let is_blocked =
                    is_moot || self.stop.is_some() || !self.token.is_usable(now.uptime);
                if is_blocked {
                    gate.unasked();
                } else if gate.granted(now.uptime, flight.generation) {
                    flight.call = Some(call);
                    flight.token = self.token.number;
                    return self.send(now, call_token, flight, out);
                }
                gate.slot_returned();
                self.records.push(Record::Withdrawn { call });
            }
        }
        self.put_back(now, call_token, &flight);
    }

    fn send(
        &mut self,
        now: Moment,
        call_token: CallTicket,
        flight: InFlight,
        out: &mut Vec<Effect>,
    ) {
        let lane = self.id;
        self.heard.first_call.get_or_insert(now.uptime);
        if !flight.destination.is_read() {
            for &number in &flight.rows {
                self.advance(now, number, RowEvent::Sent);
                let Some(row) = self.rows.get(&number) else {
                    continue;
                };
                self.tally.cancels += 1;
                self.tally.retries += u64::from(row.attempts > 1);
                out.push(Effect::Post {
                    lane,
                    call_token,
                    request: self.settings.operation.request(row),
                    comment: Arc::clone(&row.comment),
                });
            }
        } else if self.pages.is_read_by(call_token) {
            self.tally.reads += 1;
            out.extend((self.pages.query()).map(|query| Effect::ReadPage {
                lane,
                call_token,
                query,
            }));
        } else {
            self.tally.reads += 1;
            self.batches.unanswered_since.get_or_insert(now.uptime);
            let rows = flight.rows.iter().filter_map(|row| self.rows.get(row));
            out.push(Effect::Read {
                lane,
                call_token,
                destination: flight.destination,
                query: self.settings.operation.read_query(rows),
            });
        }
        self.calls.insert(call_token, flight);
    }

    /// Puts back the rows of a call that did not leave or was given up.
    fn put_back(&mut self, now: Moment, call_token: CallTicket, flight: &InFlight) {
        let gate = self.gates.of(flight.destination);
        gate.breaker.told_nothing(flight.generation);
        self.drop_call(now, call_token, &flight.rows);
    }

    /// Lets the rows wait for another call.
    pub(super) fn drop_call(&mut self, now: Moment, call_token: CallTicket, rows: &[RowNumber]) {
        self.pages.drop_call(call_token);
        for number in self.rows_of(call_token, rows) {
            self.advance(now, number, RowEvent::CallDropped);
        }
    }

    /// Gives up reads that delay the end of a stopping lane; their rows stay as journaled. The calls may still arrive,
    /// so their slots stay taken for the grace period.
    fn drain(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let since = *self.stopping_since.get_or_insert(now.uptime);
        let mut calls = self.calls.values();
        // While a cancel is on the wire, reads delay nothing.
        if self.calls.is_empty() || calls.any(|flight| !flight.destination.is_read()) {
            return;
        }
        // A plan's deadline is over: don't wait any longer.
        let ends = match self.stop {
            Some(StopReason::LeftForLater(_)) => since,
            _ => since.after(READS_DRAIN),
        };
        if now.uptime < ends {
            return self.wake_at(ends);
        }
        let left = self.calls.extract_if(|_, flight| flight.call.is_some());
        let ended = now.uptime.after(self.settings.retry.timeout_grace);
        for (call_token, flight) in left.collect::<Vec<_>>() {
            let gate = self.gates.of(flight.destination);
            gate.ended(flight.generation, false);
            self.records.extend(flight.call.map(|call| Record::Replied {
                call,
                at: now,
                ended,
                row: None,
            }));
            self.put_back(now, call_token, &flight);
        }
        self.flush(out);
    }
}
