//! What the answer to a read does: each row in doubt is settled, sent again, or looked at once more.

use std::collections::HashMap;

use crate::model::{
    ActionId, Destination, MachineAction, Moment, Outcome, ReadPage, ReadReply, ReplyKind,
    RowNumber, Uptime,
};
use crate::retry::{Absence, RecordVerdict, RereadReason, backoff, judge_absence, judge_record};
use crate::store::Record;

use super::event::{CallToken, RunEvent};
use super::lane::{CallKind, Lane, MAX_BATCH, Reading};
use super::reasons;
use super::row::{Missed, ReadFault};

/// A cancel that finds nothing while a read does is sent once more, for the service's halves may disagree for a
/// moment; not for ever.
const NOT_FOUND_BUT_OPEN: u32 = 2;

/// So many batches of a size that was cut down are followed by one of twice the size.
const GOOD_BATCHES: u32 = 8;

impl Lane {
    /// A read came back.
    pub(super) fn read(&mut self, now: Moment, call_token: CallToken, reply: ReadReply) {
        let Some(mut flight) = self.calls.remove(&call_token) else {
            return;
        };
        let Some(call) = flight.call else { return };
        let is_current = {
            let breaker = &self.gate(flight.destination).breaker;
            breaker.is_present(flight.generation)
        };
        self.on_response(now, &flight, &reply);
        if reply.is_proper() {
            self.read_answers += 1;
            let others = self.calls.values();
            let mut others = others.filter(|other| other.destination != Destination::Cancel);
            self.reads_since = others
                .any(|other| other.call.is_some())
                .then_some(now.uptime);
        }
        let (rows, is_page) = match &mut flight.kind {
            CallKind::Reread(rows) => (std::mem::take(rows), false),
            CallKind::Page => (Vec::new(), true),
            CallKind::Cancel(_) => return,
        };
        if let ReplyKind::NeverLeft(_) | ReplyKind::NoSuchHost(_) = reply.kind {
            self.tally.reads = self.tally.reads.saturating_sub(1);
            self.records.push(Record::Withdrawn { call });
            self.gate(flight.destination).slot_returned();
            self.reread_soon(now, rows);
            if is_page {
                self.page_read(now, &flight, reply, is_current);
            }
            return;
        }
        self.records.push(Record::Replied {
            call,
            at: now,
            ended: self.end_of(now, &reply.kind),
            row: None,
        });
        if is_page {
            return self.page_read(now, &flight, reply, is_current);
        }
        let what = reasons::of_reply(&reply);
        match reply.kind {
            ReplyKind::Answer(page) => {
                self.reading = Reading::Permitted;
                self.found(now, rows, page);
            }
            ReplyKind::NotFound | ReplyKind::NoSuchAddress(_) | ReplyKind::Refused
                if rows.len() > 1 =>
            {
                // The service does not take a filter of this length: halves, down to single reads.
                self.shorten_batch(rows.len());
                self.reread_soon(now, rows);
            }
            ReplyKind::NotFound => {
                self.reading = Reading::Permitted;
                for row in rows {
                    self.missing(now, row);
                }
            }
            ReplyKind::Refused => {
                for row in rows {
                    self.resolve_unreadable(now, row);
                }
            }
            ReplyKind::Forbidden => self.reading_forbidden(now, rows, what),
            ReplyKind::Throttled(throttle) => {
                self.throttled(now, flight.destination, throttle, is_current);
                self.reread_soon(now, rows);
            }
            ReplyKind::Unauthorized => {
                self.reread_soon(now, rows);
                self.refused_token(&flight, &what);
            }
            _ => self.reads_failed(now, rows),
        }
    }

    /// A batch was taken. After some of its size a longer one is tried: it may have been one id that was not taken.
    fn good_batch(&mut self, size: usize) {
        if size < self.batch || self.batch >= MAX_BATCH {
            return;
        }
        self.good_batches += 1;
        if self.good_batches >= GOOD_BATCHES {
            self.batch = (self.batch * 2).min(MAX_BATCH);
            self.good_batches = 0;
        }
    }

    /// A batch was too long, or its answer had nothing to do with it.
    fn shorten_batch(&mut self, size: usize) {
        self.batch = (size / 2).max(1);
        self.good_batches = 0;
    }

    fn found(&mut self, now: Moment, rows: Vec<RowNumber>, page: ReadPage) {
        let (asked, found) = (rows.len(), page.records.len());
        let absence = judge_absence(&page, asked, self.known_page);
        if found == asked {
            self.known_page = self.known_page.max(asked);
        }
        if absence == Absence::Unrelated {
            self.shorten_batch(asked);
            if asked == 1 {
                return self.reads_failed(now, rows);
            }
        } else {
            self.good_batch(asked);
        }
        let mut by_id: HashMap<ActionId, MachineAction> = page
            .records
            .into_iter()
            .map(|record| (record.id, record))
            .collect();
        let (mut again, is_armed) = (Vec::new(), self.is_armed);
        for number in rows {
            let Some(row) = self.rows.get_mut(&number) else {
                continue;
            };
            if let Some(record) = by_id.remove(&row.id) {
                self.found_any = true;
                row.read_faults.clear();
                row.is_unreadable = false;
                row.missed = Missed::Never;
                row.state_at = Some(now.uptime);
                row.see(Box::new(record));
                self.resolve_record(now, number);
                continue;
            }
            match absence {
                Absence::Proven => self.missing(now, number),
                Absence::Unclear if is_armed => {
                    row.missed = row.missed.max(Missed::Unclear);
                    self.reread_later(now, number);
                }
                // A plan doesn't wait, but asks for these alone.
                Absence::Unclear | Absence::Cut | Absence::Unrelated => again.push(number),
            }
        }
        self.reread_soon(now, again);
    }

    /// Looks for a row's action again, late enough to be another word of the service's even if it goes along with
    /// others that are due a little later.
    fn reread_later(&mut self, now: Moment, number: RowNumber) {
        let due = self.soon(now).after(self.settings.retry.missing_again);
        self.rereads.insert((due, number));
    }

    /// A row's record was read.
    pub(super) fn resolve_record(&mut self, now: Moment, number: RowNumber) {
        if self.settle_if_rejected(now, number) {
            return;
        }
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        let Some(record) = &row.record else { return };
        if let RecordVerdict::Settle(outcome) = judge_record(record, &row.history()) {
            if row.reread == Some(RereadReason::Precheck) {
                self.note_state(now, number);
            }
            self.settle_seen(now, number, outcome);
            return;
        }
        let doubt = row.reread.take();
        // The record is open, so nothing that left was applied so far.
        let was_unknown = std::mem::replace(&mut row.fate_unknown, false);
        let faults = u32::try_from(row.faults.len()).unwrap_or(u32::MAX);
        if doubt == Some(RereadReason::NotFound) {
            row.not_found_but_open += 1;
        }
        let is_refused = row.not_found_but_open >= NOT_FOUND_BUT_OPEN;
        if was_unknown || doubt == Some(RereadReason::FaultCheck) {
            self.note_phase(number);
        }
        let may_send = matches!(
            doubt,
            Some(RereadReason::Precheck | RereadReason::NotFound | RereadReason::UnknownResult)
                | None
        );
        if may_send && let Some(reason) = self.rejected_meanwhile(number) {
            self.note_state(now, number);
            return if was_unknown {
                self.settle(now, number, Outcome::Failed, reason);
            } else {
                self.settle(now, number, Outcome::Skipped, reason);
            };
        }
        match doubt {
            Some(RereadReason::Precheck) => self.prechecked(now, number),
            Some(RereadReason::Verify) => self.watch_again(now, number),
            Some(RereadReason::FinalAnswer) => self.accepted(now, number),
            Some(RereadReason::NotFound) if !is_refused => {
                self.queue.push_retry(now.uptime, number);
            }
            Some(RereadReason::Refused | RereadReason::NotFound) => {
                self.settle_refused(now, number);
            }
            // The service is up and answers about this very action: its faults are its own.
            Some(RereadReason::FaultCheck) => self.give_up(now, number),
            Some(RereadReason::UnknownResult) | None => {
                let wait = backoff(&self.settings.retry, faults, &mut self.rng);
                self.route(now, number, now.uptime.after(wait));
            }
        }
    }

    /// The service does not know the row's action. Two such words settle it: they may come from halves of the service
    /// that disagree for a moment.
    fn missing(&mut self, now: Moment, number: RowNumber) {
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        let is_first = row.missed != Missed::Proven && row.reread != Some(RereadReason::NotFound);
        row.missed = Missed::Proven;
        let was_seen = row.was_accepted || row.record.is_some();
        if is_first && !self.is_armed {
            self.defer(number, reasons::MISSING_ONCE.to_owned());
            self.count_missing();
        } else if is_first {
            self.reread_later(now, number);
        } else if was_seen && row.attempts == 0 {
            let reason = "the service knew this id a while ago, but two more looks did not find it";
            self.settle(now, number, Outcome::NotFound, reason.to_owned());
        } else if was_seen && row.reread == Some(RereadReason::NotFound) {
            let reason = format!(
                "{}; the service knew this id a while ago, but another look did not find it",
                row.last_words
            );
            self.settle(now, number, Outcome::NotFound, reason);
        } else if was_seen {
            // The service answered about it before; a list that lacks it proves nothing.
            self.resolve_unreadable(now, number);
        } else {
            let reason = reasons::of_missing(row.context.tenant.as_deref());
            self.settle(now, number, Outcome::NotFound, reason);
            self.count_missing();
        }
    }

    /// A row's record cannot be read; decides by what the cancel's answers said.
    pub(super) fn resolve_unreadable(&mut self, now: Moment, number: RowNumber) {
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        let doubt = row.reread.take();
        match doubt {
            Some(RereadReason::Precheck) => self.unread_for_good(now, number),
            Some(RereadReason::Verify) => self.settle_accepted(now, number),
            Some(RereadReason::Refused) if row.fate_unknown => self.give_up(now, number),
            Some(RereadReason::Refused) => self.settle_refused(now, number),
            Some(RereadReason::NotFound) => {
                let reason = format!(
                    "unconfirmed: {}; its record could not be read",
                    row.last_words
                );
                self.settle(now, number, Outcome::NotFound, reason);
                self.count_missing();
            }
            Some(RereadReason::FinalAnswer) => {
                let verdict = row
                    .record
                    .as_ref()
                    .map(|record| judge_record(record, &row.history()));
                match verdict {
                    Some(RecordVerdict::Settle(outcome)) => self.settle_seen(now, number, outcome),
                    _ => self.settle_accepted(now, number),
                }
            }
            Some(RereadReason::UnknownResult | RereadReason::FaultCheck) | None => {
                let faults = u32::try_from(row.faults.len()).unwrap_or(u32::MAX);
                // Marked, so that it is sent again and not looked at again.
                row.is_unreadable = true;
                let wait = backoff(&self.settings.retry, faults, &mut self.rng);
                self.route(now, number, now.uptime.after(wait));
            }
        }
    }

    /// A read of these rows brought no proper answer.
    fn reads_failed(&mut self, now: Moment, rows: Vec<RowNumber>) {
        let fault = ReadFault {
            answers: self.proper_answers,
            read_answers: self.read_answers,
        };
        let faults = rows.iter().filter_map(|number| {
            let row = self.rows.get_mut(number)?;
            row.read_faults.push(fault);
            Some(row.read_faults.len())
        });
        let tries = u32::try_from(faults.max().unwrap_or(0)).unwrap_or(u32::MAX);
        // One wait for all, so that they stay together.
        let wait = backoff(&self.settings.retry, tries, &mut self.rng);
        let is_alone = rows.len() == 1;
        for number in rows {
            self.read_failed(now, number, now.uptime.after(wait), is_alone);
        }
    }

    fn read_failed(&mut self, now: Moment, number: RowNumber, due: Uptime, is_alone: bool) {
        let bound = self.settings.retry.max_attempts;
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        let is_unread = row.reread == Some(RereadReason::Precheck);
        let counted = if is_unread {
            // Nothing else can be done with it, so only reads tell; and it may be another of its batch that is at fault.
            u32::from(is_alone) * row.faults_of_its_own(self.read_answers)
        } else {
            row.counted_read_faults(self.proper_answers)
        };
        // An accepted cancel has its time, however many reads of its record fail in it.
        let watched = row.watch.map(|(until, _)| until);
        let watched =
            watched.filter(|&until| row.reread == Some(RereadReason::Verify) && until > now.uptime);
        if let Some(until) = watched {
            self.rereads.insert((due.min(until), number));
            return;
        }
        if counted >= bound {
            self.resolve_unreadable(now, number);
            return;
        }
        let tries = u32::try_from(row.read_faults.len()).unwrap_or(u32::MAX);
        let may_send = matches!(
            row.reread,
            Some(RereadReason::UnknownResult | RereadReason::FaultCheck)
        );
        if tries >= bound && may_send && !self.read_outage_hides_all() {
            // Nothing tells whether the row or the service is at fault. A cancel may: sent twice, it has no further
            // effect.
            if let Some(row) = self.rows.get_mut(&number) {
                row.read_faults.clear();
                row.reread = None;
            }
            self.queue.push_retry(due, number);
        } else {
            self.rereads.insert((due, number));
        }
    }

    /// Returns whether cancels are down, too, so that another one would tell nothing either.
    fn read_outage_hides_all(&self) -> bool {
        self.cancel.breaker.is_open()
    }

    fn reading_forbidden(&mut self, now: Moment, rows: Vec<RowNumber>, what: String) {
        if self.reading != Reading::Forbidden {
            self.reading = Reading::Forbidden;
            self.tell
                .push(RunEvent::ReadingForbidden { what: what.clone() });
        }
        let is_unread = |number: &RowNumber| {
            let row = self.rows.get(number);
            row.is_some_and(|row| row.reread == Some(RereadReason::Precheck))
        };
        let waiting = std::mem::take(&mut self.rereads);
        let (unread, rows): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .chain(waiting.into_iter().map(|(_, row)| row))
            .partition(is_unread);
        // Among those that wait are ids to be looked for again: nobody else would remember them.
        if !unread.is_empty() || !self.unread.is_empty() {
            self.stop_for_reading(what);
        }
        for number in rows {
            self.resolve_unreadable(now, number);
        }
    }
}
