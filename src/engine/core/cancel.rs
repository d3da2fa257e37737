//! What the answer to a cancel does to its row, its gate and its lane.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::CancelReply;
use crate::domain::Destination;
use crate::domain::Moment;
use crate::domain::Outcome;
use crate::domain::ReplyKind;
use crate::domain::RowNumber;
use crate::domain::Throttle;
use crate::domain::Uptime;
use crate::quota::Window;
use crate::retry::CancelVerdict;
use crate::retry::Doubt;
use crate::retry::Fate;
use crate::retry::RecordVerdict;
use crate::retry::backoff;
use crate::retry::judge_cancel;
use crate::retry::judge_record;
use crate::retry::judge_throttle;
use crate::retry::wait_of;
use crate::store::AttemptReply;
use crate::store::Record;

use super::event::RunEvent;
use super::event::StopReason;
use super::event::Ticket;
use super::lane::Errand;
use super::lane::Flight;
use super::lane::Lane;
use super::lane::Reading;
use super::words;

/// So many identical refusals without a success stop the run.
const SAME_REFUSALS: u32 = 10;

/// So many 403s without a success of their type settle the rest of that type unsent.
const FORBIDDEN_OF_A_TYPE: u32 = 10;

/// If so many first answers are all 404, the tenant or the column is wrong.
const ALL_MISSING: u32 = 100;

impl Lane {
    /// A cancel came back.
    pub(super) fn replied(&mut self, now: Moment, ticket: Ticket, reply: &CancelReply) {
        let Some(flight) = self.flights.remove(&ticket) else {
            return;
        };
        let (Errand::Cancel(number), Some(call)) = (&flight.errand, flight.call) else {
            return;
        };
        let number = *number;
        self.hear(now, &flight, reply.is_proper(), &reply.kind);
        let verdict = judge_cancel(reply);
        let what = words::of_reply(reply);
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        if verdict == CancelVerdict::NoAttempt {
            row.attempts = row.attempts.saturating_sub(1);
            if row.attempts == 0 {
                row.first_sent_at = None;
            }
            self.tally.cancels = self.tally.cancels.saturating_sub(1);
            self.records.push(Record::Withdrawn { call });
            self.cancel.slot_returned();
            self.queue.push_head(number);
            return;
        }
        row.last_words.clone_from(&what);
        if let CancelVerdict::Fault(Fate::Unknown, _) = verdict {
            row.fate_unknown = true;
        }
        if let CancelVerdict::Accepted(_) | CancelVerdict::Cancelled(_) = verdict {
            row.was_accepted = true;
        }
        let error = reply.error.clone().unwrap_or_default();
        let answer = AttemptReply {
            run: self.settings.run,
            row: number,
            number: row.attempts,
            class: words::class(&reply.kind).to_owned(),
            http_status: reply.http_status,
            error_code: (!error.code.is_empty()).then(|| error.code.clone()),
            correlation_id: error.correlation_id.clone(),
            phase: row.phase(),
        };
        self.tell.push(RunEvent::Replied {
            row: number,
            id: row.id,
            attempt: row.attempts,
            http_status: reply.http_status,
            what,
            correlation_id: error.correlation_id,
        });
        let ended = self.end_of(now, &reply.kind);
        self.records.push(Record::Replied {
            call,
            at: now,
            ended,
            row: Some(answer),
        });
        self.obey(now, number, &flight, verdict);
    }

    /// Returns from when the call's period counts.
    pub(super) fn end_of<T>(&self, now: Moment, kind: &ReplyKind<T>) -> Uptime {
        if matches!(kind, ReplyKind::TimedOut) {
            now.uptime.after(self.settings.retry.fate_grace)
        } else {
            now.uptime
        }
    }

    /// Takes in what any answer says about the service, before anything is said about a row.
    pub(super) fn hear<T>(
        &mut self,
        now: Moment,
        flight: &Flight,
        proper: bool,
        kind: &ReplyKind<T>,
    ) {
        self.gate(flight.destination)
            .ended(flight.generation, proper);
        if !matches!(
            kind,
            ReplyKind::NeverLeft(_) | ReplyKind::TimedOut | ReplyKind::Redirected
        ) {
            self.answered = true;
        }
        if proper {
            self.proper_answers += 1;
            self.token_doubted = false;
            if self.outage.proper() {
                for destination in [Destination::Cancel, Destination::Get, Destination::List] {
                    self.gate(destination).start_slowly();
                }
                self.tell.push(RunEvent::Up);
            }
            return;
        }
        if matches!(kind, ReplyKind::Throttled(_) | ReplyKind::Unauthorized) {
            if flight.probe {
                self.outage.probe_tells_nothing();
            }
            return;
        }
        let what = words::class(kind).to_owned();
        if let Some(until) = self
            .outage
            .fault(now.uptime, &self.settings.retry, &mut self.dice)
        {
            self.tell.push(RunEvent::Down {
                until,
                what: what.clone(),
            });
        }
        let since = *self.silent_since.get_or_insert(now.uptime);
        if !self.answered && now.uptime.since(since) >= self.settings.reach_timeout {
            let detail = match kind {
                ReplyKind::NeverLeft(detail) => detail.clone(),
                _ => what,
            };
            self.stop(StopReason::Unreachable(detail));
        }
    }

    fn obey(&mut self, now: Moment, number: RowNumber, flight: &Flight, verdict: CancelVerdict) {
        match verdict {
            CancelVerdict::Cancelled(record) => {
                self.good_cancel(number);
                let Some(row) = self.rows.get_mut(&number) else {
                    return;
                };
                row.see(record);
                let outcome = match row
                    .record
                    .as_ref()
                    .map(|record| judge_record(record, &row.history()))
                {
                    Some(RecordVerdict::Settle(outcome)) => outcome,
                    _ => Outcome::Cancelled,
                };
                self.settle_seen(now, number, outcome);
            }
            CancelVerdict::Accepted(record) => {
                self.good_cancel(number);
                if let (Some(row), Some(record)) = (self.rows.get_mut(&number), record) {
                    row.see(record);
                }
                self.settle_accepted(now, number);
            }
            CancelVerdict::LookFirst(doubt, record) => self.doubt(now, number, doubt, record),
            CancelVerdict::Fault(_, wait) => {
                let proper_answers = self.proper_answers;
                let Some(row) = self.rows.get_mut(&number) else {
                    return;
                };
                row.faults.push(proper_answers);
                let own = backoff(
                    &self.settings.retry,
                    as_count(row.faults.len()),
                    &mut self.dice,
                );
                let asked = wait
                    .map(|hint| wait_of(now, hint))
                    .filter(|&wait| wait <= self.settings.retry.hint_bound)
                    .unwrap_or_default();
                self.route(now, number, now.uptime.after(own.max(asked)));
            }
            CancelVerdict::Throttled(throttle) => {
                self.throttled(now, flight.destination, throttle);
                self.queue.push_head(number);
            }
            CancelVerdict::SignInAgain => {
                let what = self
                    .rows
                    .get(&number)
                    .map(|row| row.last_words.clone())
                    .unwrap_or_default();
                self.queue.push_head(number);
                self.refused_token(flight, &what);
            }
            CancelVerdict::Forbidden => self.forbidden(now, number),
            CancelVerdict::NoAttempt => self.queue.push_head(number),
        }
    }

    fn good_cancel(&mut self, number: RowNumber) {
        self.found_any = true;
        self.refusal = (String::new(), 0);
        if let Some(row) = self.rows.get(&number) {
            self.types
                .entry(row.action_type.clone())
                .or_default()
                .allowed = true;
        }
    }

    fn doubt(
        &mut self,
        now: Moment,
        number: RowNumber,
        doubt: Doubt,
        record: Option<Box<crate::domain::MachineAction>>,
    ) {
        let first_answer = self.rows.get(&number).is_some_and(|row| row.attempts <= 1);
        if doubt == Doubt::Missing {
            self.missing += u32::from(first_answer);
            if !self.found_any && self.missing >= ALL_MISSING {
                self.stop(StopReason::AllMissing);
            }
        } else {
            self.found_any = true;
        }
        let again = self.settings.retry.missing_again;
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        row.doubt = Some(doubt);
        if let Some(record) = record {
            row.was_accepted = true;
            row.see(record);
        }
        if self.reading == Reading::Forbidden {
            self.resolve_unreadable(now, number);
            return;
        }
        let due = if doubt == Doubt::Missing {
            now.uptime.after(again)
        } else {
            now.uptime
        };
        self.looks.insert((due, number));
    }

    fn forbidden(&mut self, now: Moment, number: RowNumber) {
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        self.found_any = true;
        row.was_forbidden = true;
        let of_type = self.types.entry(row.action_type.clone()).or_default();
        of_type.forbidden += 1;
        if !of_type.allowed && !of_type.closed && of_type.forbidden >= FORBIDDEN_OF_A_TYPE {
            of_type.closed = true;
            self.tell.push(RunEvent::TypeForbidden {
                action_type: words::of_type(row.action_type.as_ref()).to_owned(),
            });
        }
        if row.fate_unknown && self.reading != Reading::Forbidden {
            row.doubt = Some(Doubt::Refused);
            self.looks.insert((now.uptime, number));
        } else {
            self.settle_refused(now, number);
        }
    }

    /// Counts a refusal that retrying cannot mend; so many of one kind without a success stop the run.
    pub(super) fn count_refusal(&mut self, what: &str) {
        if self.refusal.0 == what {
            self.refusal.1 += 1;
        } else {
            self.refusal = (what.to_owned(), 1);
        }
        if self.refusal.1 >= SAME_REFUSALS {
            self.stop(StopReason::SameRefusal(what.to_owned()));
        }
    }

    /// The service said 429: everything of that scope waits.
    pub(super) fn throttled(&mut self, now: Moment, destination: Destination, throttle: Throttle) {
        self.tally.throttled += 1;
        let gate = self.gate(destination);
        gate.throttles = gate.throttles.saturating_add(1);
        let unforeseen = !std::mem::replace(&mut gate.throttle_told, true);
        let (throttles, scope) = (gate.throttles, gate.scope);
        let own = backoff(&self.settings.retry, throttles, &mut self.dice);
        let verdict = judge_throttle(now, &throttle, own, &self.settings.retry);
        if self.gate(destination).cool_down(verdict.until) {
            self.records.push(Record::Cooldown {
                scope,
                until: verdict.until,
                wall: now.wall_at(verdict.until),
                cause: words::of_throttle(&throttle),
            });
        }
        if let Some(window) = adoptable(&throttle) {
            self.adopt(destination, window);
        }
        self.tell.push(RunEvent::Throttled {
            destination,
            until: verdict.until,
            unforeseen,
            hint_ignored: verdict.hint_ignored,
        });
    }

    fn adopt(&mut self, destination: Destination, window: Window) {
        let gate = self.gate(destination);
        let mut windows = (*gate.windows).clone();
        if windows.adopt(window.limit, window.period) {
            gate.windows = Arc::new(windows);
            let (scope, windows) = (gate.scope, (*gate.windows).clone());
            self.records.push(Record::Limits { scope, windows });
            self.tell.push(RunEvent::Adopted {
                destination,
                window,
            });
        }
    }
}

/// Returns the allowance that a 429 names, where it can be one.
fn adoptable(throttle: &Throttle) -> Option<Window> {
    let (limit, period) = throttle.allowance?;
    let limit = NonZeroU32::new(limit)?;
    (period >= Duration::from_millis(1) && period <= Duration::from_secs(24 * 3600))
        .then_some(Window { limit, period })
}

fn as_count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
