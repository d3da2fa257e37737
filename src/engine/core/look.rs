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
        let is_news = self.gate(flight.destination).is_present(flight.generation);
        self.hear(now, &flight, &reply);
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
                self.throttled(now, flight.destination, (throttle, is_news));
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
                    row.read_faults.clear();
                    row.is_unreadable = false;
                    row.was_missing = false;
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
                // The record is open, so nothing that left was applied so far.
                row.fate_unknown = false;
                let faults = u32::try_from(row.faults.len()).unwrap_or(u32::MAX);
                let wait = backoff(&self.settings.retry, faults, &mut self.dice);
                let is_proven = doubt == Some(Doubt::Evidence);
                self.note_phase(number);
                if is_proven {
                    // The service is up and answers about this very action: its faults are its own.
                    self.give_up(now, number);
                    return;
                }
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
        let was_seen = row.was_accepted || row.record.is_some();
        if !missed_before && row.doubt != Some(Doubt::Missing) {
            self.looks.insert((now.uptime.after(again), number));
        } else if was_seen {
            // The service answered about it before; a list that lacks it proves nothing.
            self.resolve_unreadable(now, number);
        } else {
            let reason =
                "the service does not know this id, and a second look did not find it either";
            self.settle(now, number, Outcome::NotFound, reason.to_owned());
            self.count_missing();
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
                self.count_missing();
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
                // Marked, so that it is sent again and not looked at again.
                row.is_unreadable = true;
                let wait = backoff(&self.settings.retry, faults, &mut self.dice);
                self.route(now, number, now.uptime.after(wait));
            }
        }
    }

    fn read_failed(&mut self, now: Moment, number: RowNumber) {
        let bound = self.settings.retry.max_attempts;
        let proper_answers = self.proper_answers;
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        row.read_faults.push(proper_answers);
        let tries = u32::try_from(row.read_faults.len()).unwrap_or(u32::MAX);
        if row.counted_read_faults(proper_answers) >= bound {
            self.resolve_unreadable(now, number);
            return;
        }
        let wait = backoff(&self.settings.retry, tries, &mut self.dice);
        let due = now.uptime.after(wait);
        let may_send = matches!(row.doubt, Some(Doubt::Fate | Doubt::Evidence));
        if tries >= bound && may_send && !self.read_outage_hides_all() {
            // Nothing tells whether the row or the service is at fault. A cancel may: sent twice, it has no further
            // effect.
            if let Some(row) = self.rows.get_mut(&number) {
                row.read_faults.clear();
                row.doubt = None;
            }
            self.queue.push_retry(due, number);
        } else {
            self.looks.insert((due, number));
        }
    }

    /// Returns whether cancels are down, too, so that another one would tell nothing either.
    fn read_outage_hides_all(&self) -> bool {
        self.outage.is_down()
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
