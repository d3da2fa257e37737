//! What the answer to a read does: each row in doubt is settled, sent again, or looked at once more.

use std::collections::HashMap;

use crate::domain::ActionId;
use crate::domain::MachineAction;
use crate::domain::Moment;
use crate::domain::Outcome;
use crate::domain::ReadReply;
use crate::domain::ReplyKind;
use crate::domain::RowNumber;
use crate::retry::Doubt;
use crate::retry::RecordVerdict;
use crate::retry::backoff;
use crate::retry::judge_record;
use crate::store::Record;

use super::event::RunEvent;
use super::event::Ticket;
use super::lane::Errand;
use super::lane::Lane;
use super::lane::Reading;
use super::words;

/// A cancel that finds nothing while a read does is sent once more, for the service's halves may disagree for a
/// moment; not for ever.
const NOT_FOUND_BUT_OPEN: u32 = 2;

impl Lane {
    /// A read came back.
    pub(super) fn read(&mut self, now: Moment, ticket: Ticket, reply: ReadReply) {
        let Some(mut flight) = self.flights.remove(&ticket) else {
            return;
        };
        let Some(call) = flight.call else { return };
        self.hear(now, &flight, reply.is_proper(), &reply.kind);
        let Errand::Look(rows) = &mut flight.errand else {
            return;
        };
        let rows = std::mem::take(rows);
        if let ReplyKind::NeverLeft(_) = reply.kind {
            self.tally.reads = self.tally.reads.saturating_sub(1);
            self.records.push(Record::Withdrawn { call });
            self.gate(flight.destination).slot_returned();
            self.looks
                .extend(rows.into_iter().map(|row| (now.uptime, row)));
            return;
        }
        self.records.push(Record::Replied {
            call,
            at: now,
            ended: self.end_of(now, &reply.kind),
            row: None,
        });
        let what = words::of_reply(&reply);
        match reply.kind {
            ReplyKind::Answer(records) => {
                self.reading = Reading::Permitted;
                self.found(now, rows, records);
            }
            ReplyKind::NotFound | ReplyKind::Refused if rows.len() > 1 => {
                // The service does not take a filter of this length: halves, down to single reads.
                self.batch = (rows.len() / 2).max(1);
                self.looks
                    .extend(rows.into_iter().map(|row| (now.uptime, row)));
            }
            ReplyKind::NotFound => {
                self.reading = Reading::Permitted;
                for row in rows {
                    self.resolve_missing(now, row);
                }
            }
            ReplyKind::Refused => {
                for row in rows {
                    self.resolve_unreadable(now, row);
                }
            }
            ReplyKind::Forbidden => self.reading_forbidden(now, rows, what),
            ReplyKind::Throttled(throttle) => {
                self.throttled(now, flight.destination, throttle);
                self.looks
                    .extend(rows.into_iter().map(|row| (now.uptime, row)));
            }
            ReplyKind::Unauthorized => {
                self.looks
                    .extend(rows.into_iter().map(|row| (now.uptime, row)));
                self.refused_token(&flight, &what);
            }
            _ => {
                for row in rows {
                    self.read_failed(now, row);
                }
            }
        }
    }

    fn found(&mut self, now: Moment, rows: Vec<RowNumber>, records: Vec<MachineAction>) {
        let mut by_id: HashMap<ActionId, MachineAction> = records
            .into_iter()
            .map(|record| (record.id, record))
            .collect();
        for number in rows {
            let Some(row) = self.rows.get_mut(&number) else {
                continue;
            };
            match by_id.remove(&row.id) {
                Some(record) => {
                    self.found_any = true;
                    row.read_faults = 0;
                    row.see(Box::new(record));
                    self.resolve_record(now, number);
                }
                None => self.resolve_missing(now, number),
            }
        }
    }

    /// A row's record was read.
    fn resolve_record(&mut self, now: Moment, number: RowNumber) {
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        let Some(record) = &row.record else { return };
        if let RecordVerdict::Settle(outcome) = judge_record(record, &row.history()) {
            self.settle_seen(now, number, outcome);
            return;
        }
        let doubt = row.doubt.take();
        match doubt {
            Some(Doubt::Refused) => self.settle_refused(now, number),
            Some(Doubt::FinalAnswer) => self.settle_accepted(now, number),
            Some(Doubt::Missing) => {
                row.not_found_but_open += 1;
                if row.not_found_but_open >= NOT_FOUND_BUT_OPEN {
                    self.settle_refused(now, number);
                } else {
                    self.queue.push_retry(now.uptime, number);
                }
            }
            Some(Doubt::Fate | Doubt::Evidence) | None => {
                // The record is open, so whatever left was not applied.
                row.fate_unknown = false;
                let faults = u32::try_from(row.faults.len()).unwrap_or(u32::MAX);
                let wait = backoff(&self.settings.retry, faults, &mut self.dice);
                self.note_phase(number);
                self.route(now, number, now.uptime.after(wait));
            }
        }
    }

    /// A read did not find the row's action.
    fn resolve_missing(&mut self, now: Moment, number: RowNumber) {
        let again = self.settings.retry.missing_again;
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        let missed_before = std::mem::replace(&mut row.was_missing, true);
        if missed_before || row.doubt == Some(Doubt::Missing) {
            let reason =
                "the service does not know this id, and a second look did not find it either"
                    .to_owned();
            self.settle(now, number, Outcome::NotFound, reason);
        } else {
            self.looks.insert((now.uptime.after(again), number));
        }
    }

    /// A row's record cannot be read; decides by what the cancel's answers said.
    pub(super) fn resolve_unreadable(&mut self, now: Moment, number: RowNumber) {
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        let doubt = row.doubt.take();
        match doubt {
            Some(Doubt::Refused) if row.fate_unknown => self.give_up(now, number),
            Some(Doubt::Refused) => self.settle_refused(now, number),
            Some(Doubt::Missing) => {
                let reason = format!(
                    "unconfirmed: {}; its record could not be read",
                    row.last_words
                );
                self.settle(now, number, Outcome::NotFound, reason);
            }
            Some(Doubt::FinalAnswer) => {
                let verdict = row
                    .record
                    .as_ref()
                    .map(|record| judge_record(record, &row.history()));
                match verdict {
                    Some(RecordVerdict::Settle(outcome)) => self.settle_seen(now, number, outcome),
                    _ => self.settle_accepted(now, number),
                }
            }
            Some(Doubt::Fate | Doubt::Evidence) | None => {
                let faults = u32::try_from(row.faults.len()).unwrap_or(u32::MAX);
                // Marked as unreadable, so that it is sent again and not looked at again.
                row.read_faults = row.read_faults.max(self.settings.retry.max_attempts);
                let wait = backoff(&self.settings.retry, faults, &mut self.dice);
                self.route(now, number, now.uptime.after(wait));
            }
        }
    }

    fn read_failed(&mut self, now: Moment, number: RowNumber) {
        let down = self.outage.is_down();
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        // While the service is down a failed read says nothing about this row.
        row.read_faults += u32::from(!down);
        if row.read_faults >= self.settings.retry.max_attempts {
            self.resolve_unreadable(now, number);
            return;
        }
        let wait = backoff(&self.settings.retry, row.read_faults.max(1), &mut self.dice);
        self.looks.insert((now.uptime.after(wait), number));
    }

    fn reading_forbidden(&mut self, now: Moment, rows: Vec<RowNumber>, what: String) {
        if self.reading != Reading::Forbidden {
            self.reading = Reading::Forbidden;
            self.tell.push(RunEvent::ReadingForbidden { what });
        }
        let waiting = std::mem::take(&mut self.looks);
        for number in rows
            .into_iter()
            .chain(waiting.into_iter().map(|(_, row)| row))
        {
            self.resolve_unreadable(now, number);
        }
    }
}
