//! Last words, and the reasons that stand beside them in the report.

use crate::model::{ActionStatus, ActionType, Moment, Outcome, RowNumber};
use crate::retry::{RereadReason, watch_pause};
use crate::store::Record;

use super::event::RunEvent;
use super::lane::{Lane, Reading};
use super::reasons;
use super::row::Missed;

impl Lane {
    /// Settles a row; every last word goes through here.
    pub(super) fn settle(
        &mut self,
        now: Moment,
        number: RowNumber,
        outcome: Outcome,
        reason: String,
    ) {
        let Some(row) = self.rows.remove(&number) else {
            return;
        };
        let settlement = row.settle(outcome, reason.clone(), now.wall);
        self.tally.settle(outcome);
        self.moved();
        self.leaves_sample(number);
        if row.attempts > 0 {
            self.ended += 1;
            self.count_failure(outcome);
        }
        self.tally.follow_ups += u64::from(settlement.follow_up.is_some());
        self.records.push(Record::Settled {
            run: self.settings.run,
            row: number,
            settlement,
        });
        self.tell.push(RunEvent::Settled {
            row: number,
            id: row.id,
            outcome,
            reason,
        });
    }

    fn count_failure(&mut self, outcome: Outcome) {
        self.failures += u64::from(matches!(
            outcome,
            Outcome::Failed | Outcome::Unknown | Outcome::NotFound | Outcome::Forbidden
        ));
    }

    /// Settles a row by the record that was seen.
    pub(super) fn settle_seen(&mut self, now: Moment, number: RowNumber, outcome: Outcome) {
        let Some(row) = self.rows.get(&number) else {
            return;
        };
        let status = row
            .record
            .as_ref()
            .and_then(|record| record.status.as_ref())
            .map(ActionStatus::as_str);
        let status = status.unwrap_or("unknown");
        let mut reason = match outcome {
            Outcome::AlreadyCancelled => reasons::of_cancellation(row.record.as_deref()),
            Outcome::AlreadyFinal if row.attempts > 0 && row.was_open => format!(
                "it was still open when its state was first read, and then ended as {status}, not by a cancel"
            ),
            Outcome::AlreadyFinal if row.attempts > 0 => {
                format!("the action had ended as {status} when its record was first seen")
            }
            Outcome::AlreadyFinal => format!("the action had ended as {status}"),
            Outcome::TooLate => {
                format!("the cancel was accepted, but the action ended as {status}")
            }
            _ => String::new(),
        };
        if row
            .record
            .as_ref()
            .is_some_and(|record| record.command_completed)
            && outcome == Outcome::Cancelled
        {
            "the record says Cancelled, but its live-response command had completed"
                .clone_into(&mut reason);
        }
        self.settle(now, number, outcome, reason);
    }

    /// Settles a row whose cancel was accepted and whose record was not seen to turn Cancelled.
    pub(super) fn settle_accepted(&mut self, now: Moment, number: RowNumber) {
        let Some(row) = self.rows.get(&number) else {
            return;
        };
        let status = row
            .record
            .as_ref()
            .and_then(|record| record.status.as_ref());
        let reason = match status {
            _ if row.missed == Missed::Proven => {
                "the service took the cancel, and its record was not found any more".to_owned()
            }
            Some(status) => format!("the service took the cancel; its record still said {status}"),
            None => "the service took the cancel and sent no record back".to_owned(),
        };
        self.settle(now, number, Outcome::Accepted, reason);
    }

    /// Settles a row whose cancel the service refused for good.
    pub(super) fn settle_refused(&mut self, now: Moment, number: RowNumber) {
        let Some(row) = self.rows.get(&number) else {
            return;
        };
        let status = row
            .record
            .as_ref()
            .and_then(|record| record.status.as_ref());
        let mut reason = row.last_words.clone();
        if row.was_forbidden {
            if let Some(permission) = row.action_type.as_ref().and_then(ActionType::permission) {
                reason.push_str("; cancelling this type needs ");
                reason.push_str(permission);
            }
            self.settle(now, number, Outcome::Forbidden, reason);
            return;
        }
        let (what, words) = (row.refusal.clone(), row.last_words.clone());
        match status {
            Some(status) => {
                reason.push_str("; the action is still ");
                reason.push_str(status.as_str());
            }
            None => reason.push_str("; its record could not be read"),
        }
        self.settle(now, number, Outcome::Failed, reason);
        self.count_refusal(&what, words);
    }

    /// Settles a row whose attempts are used up.
    pub(super) fn give_up(&mut self, now: Moment, number: RowNumber) {
        let Some(row) = self.rows.get(&number) else {
            return;
        };
        let sent = reasons::times(row.attempts);
        let last = &row.last_words;
        if row.fate_unknown {
            let why = if self.reading == Reading::Forbidden {
                "reading is not permitted, so nobody could look"
            } else {
                "its record could not be read"
            };
            let reason = format!(
                "sent {sent}, last answer: {last}; whether a cancel was applied is unknown: {why}"
            );
            self.settle(now, number, Outcome::Unknown, reason);
        } else {
            let reason = if row.fate_was_unknown {
                format!(
                    "sent {sent}, and the record was open when it was last read; last answer: {last}"
                )
            } else {
                format!("sent {sent}, never applied; last answer: {last}")
            };
            self.settle(now, number, Outcome::Failed, reason);
        }
    }

    /// Journals the phase of a row that waits.
    pub(super) fn note_phase(&mut self, number: RowNumber) {
        let Some(row) = self.rows.get(&number) else {
            return;
        };
        self.records.push(Record::Noted {
            run: self.settings.run,
            row: number,
            phase: row.phase(),
            record: row.record.as_deref().cloned(),
            status_before: None,
            checked_at: None,
        });
    }
}

impl Lane {
    /// The service took a cancel, and its record is open as far as it was seen.
    pub(super) fn accepted(&mut self, now: Moment, number: RowNumber) {
        let Some(verify_for) = self.settings.verify_for else {
            return self.settle_accepted(now, number);
        };
        if self.reading == Reading::Forbidden {
            return self.settle_accepted(now, number);
        }
        if let Some(row) = self.rows.get_mut(&number) {
            row.was_accepted = true;
            row.watch = Some((now.uptime.after(verify_for), 0));
        }
        self.note_phase(number);
        self.watch_again(now, number);
    }

    /// Plans the next look at a record that is still open; the last one is due just when time is up.
    pub(super) fn watch_again(&mut self, now: Moment, number: RowNumber) {
        let watch = self.rows.get(&number).and_then(|row| row.watch);
        // A look that goes along with another's comes a little early, and is the last one all the same.
        let Some((until, looks)) =
            watch.filter(|&(until, looks)| looks == 0 || self.soon(now) < until)
        else {
            return self.settle_accepted(now, number);
        };
        if let Some(row) = self.rows.get_mut(&number) {
            row.reread = Some(RereadReason::Verify);
            row.watch = Some((until, looks + 1));
        }
        let next = now.uptime.after(watch_pause(&self.settings.retry, looks));
        self.rereads.insert((next.min(until), number));
    }
}
