//! Which call leaves next, and what the ledger's answer does to it.

use std::sync::Arc;

use crate::domain::Destination;
use crate::domain::Moment;
use crate::domain::RowNumber;
use crate::retry::Doubt;
use crate::store::Purpose;
use crate::store::Record;
use crate::store::Take;
use crate::store::Taken;

use super::event::Effect;
use super::event::StopReason;
use super::event::Ticket;
use super::gate::Wait;
use super::gate::WaitCause;
use super::lane::Errand;
use super::lane::Flight;
use super::lane::Lane;
use super::lane::Reading;
use super::lane::TokenState;
use super::outage::Passage;

impl Lane {
    /// Lets everything leave that may leave now, and notes when to look again.
    pub(super) fn pump(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.wake = None;
        self.waiting = None;
        if self.stop.is_some() {
            return;
        }
        self.load_more(out);
        if self.rows.is_empty() {
            return;
        }
        if self.token != TokenState::Ready {
            if self.token == TokenState::Absent {
                self.token = TokenState::Asked;
                out.push(Effect::Token {
                    lane: self.id,
                    refresh: self.token_number > 0,
                });
            }
            return;
        }
        self.pump_looks(now, out);
        self.pump_cancels(now, out);
        // Rows that were settled unsent made room.
        self.flush(out);
        self.load_more(out);
    }

    fn pump_cancels(&mut self, now: Moment, out: &mut Vec<Effect>) {
        while let Some(due) = self.queue.next_due(now.uptime) {
            if due > now.uptime {
                self.note_wait(Wait {
                    until: Some(due),
                    cause: WaitCause::Retry,
                });
                return;
            }
            let probe = match self.passage(now) {
                Ok(probe) => probe,
                Err(wait) => return self.note_wait(wait),
            };
            if let Err(wait) = self.cancel.look(now.uptime) {
                return self.note_wait(wait);
            }
            let Some(row) = self.pop_sendable(now) else {
                continue;
            };
            if let Err(wait) = self.cancel.ask(now.uptime) {
                self.queue.push_head(row);
                return self.note_wait(wait);
            }
            let Some(held) = self.rows.get(&row) else {
                continue;
            };
            let purpose = Purpose::Cancel {
                run: self.settings.run,
                row,
                number: held.attempts + 1,
                comment: Arc::clone(&held.comment),
            };
            self.ask_ledger(
                now,
                Destination::Cancel,
                Errand::Cancel(row),
                (purpose, probe),
                out,
            );
        }
    }

    fn pump_looks(&mut self, now: Moment, out: &mut Vec<Effect>) {
        while let Some(&(due, _)) = self.looks.first() {
            if due > now.uptime {
                return self.note_wait(Wait {
                    until: Some(due),
                    cause: WaitCause::Retry,
                });
            }
            let probe = match self.passage(now) {
                Ok(probe) => probe,
                Err(wait) => return self.note_wait(wait),
            };
            let several = self.batch > 1
                && self
                    .looks
                    .iter()
                    .nth(1)
                    .is_some_and(|&(due, _)| due <= now.uptime);
            let single_open = self.get.look(now.uptime).is_ok();
            let destination = if several || (!single_open && self.batch > 1) {
                Destination::List
            } else {
                Destination::Get
            };
            if let Err(wait) = self.gate(destination).ask(now.uptime) {
                return self.note_wait(wait);
            }
            let most = if destination == Destination::List {
                self.batch
            } else {
                1
            };
            let mut rows = Vec::new();
            while rows.len() < most {
                match self.looks.first() {
                    Some(&(due, _)) if due <= now.uptime => {}
                    _ => break,
                }
                rows.extend(self.looks.pop_first().map(|(_, row)| row));
            }
            self.ask_ledger(
                now,
                destination,
                Errand::Look(rows),
                (Purpose::Read, probe),
                out,
            );
        }
    }

    /// Says whether a call may leave as far as outages go, and whether it would be the probe.
    fn passage(&self, now: Moment) -> Result<bool, Wait> {
        match self.outage.passage(now.uptime) {
            Passage::Open => Ok(false),
            Passage::Probe => Ok(true),
            Passage::Wait(until) => Err(Wait {
                until,
                cause: WaitCause::Outage,
            }),
        }
    }

    /// Takes the next row out that is still worth sending; settles those that are not.
    fn pop_sendable(&mut self, now: Moment) -> Option<RowNumber> {
        loop {
            let row = self.queue.pop(now.uptime, self.settings.retry.patience)?;
            let Some(held) = self.rows.get(&row) else {
                continue;
            };
            let closed = self
                .types
                .get(&held.action_type)
                .is_some_and(|record| record.closed);
            if closed && held.attempts == 0 {
                self.settle_closed_type(now, row);
                continue;
            }
            if self.is_used_up(row) {
                self.route(now, row, now.uptime);
                continue;
            }
            return Some(row);
        }
    }

    fn ask_ledger(
        &mut self,
        now: Moment,
        destination: Destination,
        errand: Errand,
        (purpose, probe): (Purpose, bool),
        out: &mut Vec<Effect>,
    ) {
        if probe {
            self.outage.probe_leaves();
        }
        let ticket = self.new_ticket();
        let gate = self.gate(destination);
        let take = Take {
            scope: gate.scope,
            windows: Arc::clone(&gate.windows),
            now,
            purpose,
        };
        let flight = Flight {
            errand,
            destination,
            call: None,
            probe,
            token: self.token_number,
            generation: 0,
        };
        self.flights.insert(ticket, flight);
        out.push(Effect::Take {
            lane: self.id,
            ticket,
            take,
        });
    }

    /// The ledger answered.
    pub(super) fn taken(
        &mut self,
        now: Moment,
        ticket: Ticket,
        taken: Taken,
        out: &mut Vec<Effect>,
    ) {
        let Some(mut flight) = self.flights.remove(&ticket) else {
            return;
        };
        match taken {
            Taken::NotBefore(until) => {
                self.gate(flight.destination).refused(until);
                self.put_back(now, flight);
            }
            Taken::Go(call) => {
                // The look again at stop, outage and cooldown, after the transaction and before the bytes.
                let blocked = self.stop.is_some()
                    || self.token != TokenState::Ready
                    || (self.outage.is_down() && !flight.probe);
                let gate = self.gate(flight.destination);
                let generation = if blocked {
                    gate.unasked();
                    None
                } else {
                    gate.granted(now.uptime)
                };
                let Some(generation) = generation else {
                    gate.slot_returned();
                    self.records.push(Record::Withdrawn { call });
                    self.put_back(now, flight);
                    return;
                };
                flight.call = Some(call);
                flight.generation = generation;
                flight.token = self.token_number;
                self.leave(now, ticket, flight, out);
            }
        }
    }

    fn leave(&mut self, now: Moment, ticket: Ticket, flight: Flight, out: &mut Vec<Effect>) {
        let lane = self.id;
        match &flight.errand {
            Errand::Cancel(number) => {
                let Some(row) = self.rows.get_mut(number) else {
                    return;
                };
                row.attempts += 1;
                row.first_sent_at.get_or_insert(now.wall);
                self.tally.cancels += 1;
                self.tally.retries += u64::from(row.attempts > 1);
                let comment = Arc::clone(&row.comment);
                out.push(Effect::Post {
                    lane,
                    ticket,
                    id: row.id,
                    comment,
                });
            }
            Errand::Look(rows) => {
                self.tally.reads += 1;
                let ids = rows
                    .iter()
                    .filter_map(|row| self.rows.get(row))
                    .map(|row| row.id)
                    .collect();
                out.push(Effect::Read {
                    lane,
                    ticket,
                    destination: flight.destination,
                    ids,
                });
            }
        }
        self.flights.insert(ticket, flight);
    }

    /// Puts the rows of a call that did not leave back where they were.
    pub(super) fn put_back(&mut self, now: Moment, flight: Flight) {
        if flight.probe {
            self.outage.probe_tells_nothing();
        }
        match flight.errand {
            Errand::Cancel(row) => self.queue.push_head(row),
            Errand::Look(rows) => self
                .looks
                .extend(rows.into_iter().map(|row| (now.uptime, row))),
        }
    }

    pub(super) fn token_ready(&mut self) {
        self.token = TokenState::Ready;
        self.token_number += 1;
    }

    pub(super) fn token_refused(&mut self, reason: String) {
        self.token = TokenState::Absent;
        self.stop(StopReason::SignIn(reason));
    }

    /// The service did not take the token of `flight`: one refresh for all, and a second refusal ends the lane.
    pub(super) fn refused_token(&mut self, flight: &Flight, what: &str) {
        if flight.token != self.token_number {
            // An older token's refusal; a newer one is at work already.
            return;
        }
        if self.token_doubted {
            self.stop(StopReason::SignIn(format!(
                "the service refused a fresh token, too (401): {what}"
            )));
            return;
        }
        self.token_doubted = true;
        self.token = TokenState::Absent;
    }

    /// Sends a row where it belongs now: to be looked at, to be sent again from `due` on, or to its last word.
    pub(super) fn route(&mut self, now: Moment, number: RowNumber, due: crate::domain::Uptime) {
        let used_up = self.is_used_up(number);
        let readable = self.reading != Reading::Forbidden;
        let bound = self.settings.retry.max_attempts as usize;
        let alone = self.is_last_row();
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        let unreadable = row.read_faults >= self.settings.retry.max_attempts;
        if row.fate_unknown && readable && !unreadable {
            row.doubt = Some(Doubt::Fate);
            self.looks.insert((now.uptime, number));
        } else if used_up {
            self.give_up(now, number);
        } else if row.faults.len() >= bound && alone && readable && !unreadable {
            // No other row can tell this one's faults from the service's; a read of it can.
            row.doubt = Some(Doubt::Evidence);
            self.looks.insert((due, number));
        } else {
            self.queue.push_retry(due, number);
        }
    }

    pub(super) fn is_used_up(&self, number: RowNumber) -> bool {
        let alone = self.reading == Reading::Forbidden && self.is_last_row();
        self.rows.get(&number).is_some_and(|row| {
            let unreadable = row.read_faults >= self.settings.retry.max_attempts;
            let counted = row.counted_faults(
                self.proper_answers,
                alone || (unreadable && self.is_last_row()),
            );
            counted >= self.settings.retry.max_attempts
        })
    }
}
