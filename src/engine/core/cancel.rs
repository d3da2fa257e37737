//! What the answer to a cancel does to its row, its gate and its lane.

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{
    CancelReply, Destination, Moment, Outcome, Reply, ReplyKind, RowNumber, Throttle, Uptime,
};
use crate::quota::Window;
use crate::retry::{
    CancelVerdict, Fate, MAX_STRANGE_404S, RecordVerdict, RereadReason, backoff, judge_cancel,
    judge_record, judge_throttle, probe_pause, wait_of,
};
use crate::store::{AttemptReply, Record, RunKey};

use super::event::{CallToken, RunEvent, StopReason};
use super::lane::{CallKind, InFlight, Lane, Reading};
use super::reasons;
use super::row::Row;

/// So many identical refusals without a success stop the run.
const SAME_REFUSALS: u32 = 10;

/// If so many ids are all unknown, without one exception, the run as a whole is wrong.
const ALL_ALIKE: u32 = 100;

/// So often a row of which no byte left keeps its turn.
const KEEPS_ITS_TURN: u32 = 2;

impl Lane {
    /// A cancel came back.
    pub(super) fn replied(&mut self, now: Moment, call_token: CallToken, reply: &CancelReply) {
        let Some(flight) = self.calls.remove(&call_token) else {
            return;
        };
        let (CallKind::Cancel(number), Some(call)) = (&flight.kind, flight.call) else {
            return;
        };
        let number = *number;
        let is_current = self.cancel.breaker.is_present(flight.generation);
        self.on_response(now, &flight, reply);
        let verdict = judge_cancel(reply);
        if verdict == CancelVerdict::NoAttempt {
            self.records.push(Record::Withdrawn { call });
            self.never_left(now, number);
            return;
        }
        let ended = self.end_of(now, &reply.kind);
        let row = self.rows.get_mut(&number).map(|row| {
            take_in(row, reply, &verdict);
            answer_of(self.settings.run, number, row, reply)
        });
        if let Some(answer) = &row
            && let Some(held) = self.rows.get(&number)
        {
            self.tell.push(RunEvent::Replied {
                row: number,
                id: held.id,
                attempt: held.attempts,
                http_status: reply.http_status,
                what: held.last_words.clone(),
                correlation_id: answer.correlation_id.clone(),
            });
        }
        self.records.push(Record::Replied {
            call,
            at: now,
            ended,
            row,
        });
        self.apply(now, number, &flight, is_current, verdict);
    }

    /// No byte of a cancel left: its slot is free, and it was no attempt.
    fn never_left(&mut self, now: Moment, number: RowNumber) {
        self.cancel.slot_returned();
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        row.attempts = row.attempts.saturating_sub(1);
        self.tally.cancels = self.tally.cancels.saturating_sub(1);
        if row.attempts == 0 {
            row.first_sent_at = None;
        } else {
            self.tally.retries = self.tally.retries.saturating_sub(1);
        }
        row.never_left = row.never_left.saturating_add(1);
        if row.never_left <= KEEPS_ITS_TURN {
            self.queue.push_head(number);
        } else {
            // It may be this row's own fault: others get their turn.
            let wait = backoff(&self.settings.retry, row.never_left, &mut self.rng);
            self.queue.push_retry(now.uptime.after(wait), number);
        }
    }

    /// Returns from when the call's period counts.
    pub(super) fn end_of<T>(&self, now: Moment, kind: &ReplyKind<T>) -> Uptime {
        if matches!(kind, ReplyKind::TimedOut) {
            now.uptime.after(self.settings.retry.timeout_grace)
        } else {
            now.uptime
        }
    }

    /// Takes in what any answer says about the service, before anything is said about a row.
    pub(super) fn on_response<T>(&mut self, now: Moment, flight: &InFlight, reply: &Reply<T>) {
        let (proper, kind) = (reply.is_proper(), &reply.kind);
        self.gate(flight.destination)
            .ended(flight.generation, proper);
        self.note_pace(now, flight.destination);
        let was_answered = self.answered;
        self.answered |= reply.is_response();
        let is_cancel = flight.destination == Destination::Cancel;
        if proper {
            self.proper_answers += 1;
            self.cancel_answers += u64::from(is_cancel);
            self.token_doubted = false;
            let breaker = &mut self.gate(flight.destination).breaker;
            if breaker.answered(flight.generation) && (is_cancel || !self.are_reads_down()) {
                self.tell.push(RunEvent::Up { reads: !is_cancel });
            }
            return;
        }
        if matches!(kind, ReplyKind::Throttled(_) | ReplyKind::Unauthorized) {
            let breaker = &mut self.gate(flight.destination).breaker;
            breaker.told_nothing(flight.generation);
            return;
        }
        let what = reasons::of_fault(reply);
        let mut retry = self.settings.retry;
        if !self.answered {
            // Nobody waits for long for a service that was never heard, so it is tried often.
            retry.probe_cap = retry.probe_cap.min(self.settings.reach_timeout / 6);
        }
        let gate = match flight.destination {
            Destination::Cancel => &mut self.cancel,
            Destination::Get => &mut self.get,
            Destination::List => &mut self.list,
        };
        let pause = |probes| probe_pause(&retry, probes, &mut self.rng);
        if let Some(until) = gate.breaker.failed(now.uptime, flight.generation, pause) {
            self.tell.push(RunEvent::Down {
                reads: !is_cancel,
                until,
                what: what.clone(),
            });
        }
        self.last_fault = what;
        match kind {
            ReplyKind::NoSuchHost(host) if !was_answered => {
                self.stop(StopReason::Unreachable(reasons::of_unknown_host(host)));
            }
            ReplyKind::NoSuchAddress(address) if self.proper_answers == 0 => {
                self.strange_404s += 1;
                if self.strange_404s >= MAX_STRANGE_404S {
                    self.stop(StopReason::NoSuchAddress(address.clone()));
                }
            }
            _ => {}
        }
    }

    fn are_reads_down(&self) -> bool {
        self.get.breaker.is_open() || self.list.breaker.is_open()
    }

    fn apply(
        &mut self,
        now: Moment,
        number: RowNumber,
        flight: &InFlight,
        is_current: bool,
        verdict: CancelVerdict,
    ) {
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
                self.accepted(now, number);
            }
            CancelVerdict::RereadFirst(doubt, record) => {
                self.reread_first(now, number, doubt, record);
            }
            CancelVerdict::Fault(_, wait) => {
                let cancel_answers = self.cancel_answers;
                let Some(row) = self.rows.get_mut(&number) else {
                    return;
                };
                row.faults.push(cancel_answers);
                let own = backoff(
                    &self.settings.retry,
                    as_count(row.faults.len()),
                    &mut self.rng,
                );
                let asked = wait
                    .map(|hint| wait_of(now, hint))
                    .filter(|&wait| wait <= self.settings.retry.hint_bound)
                    .unwrap_or_default();
                self.route(now, number, now.uptime.after(own.max(asked)));
            }
            CancelVerdict::Throttled(throttle) => {
                self.throttled(now, flight.destination, throttle, is_current);
                self.queue.push_head(number);
            }
            CancelVerdict::SignInAgain => self.sign_in_again(number, flight),
            CancelVerdict::Forbidden => self.forbidden(now, number),
            CancelVerdict::NoAttempt => self.queue.push_head(number),
        }
    }

    fn sign_in_again(&mut self, number: RowNumber, flight: &InFlight) {
        self.queue.push_head(number);
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        let what = row.last_words.clone();
        if row.refused_tokens.0 != flight.token {
            row.refused_tokens = (flight.token, row.refused_tokens.1 + 1);
        }
        if row.refused_tokens.1 >= 2 {
            // Others may get through: but one more refresh for each of their answers would never end.
            self.stop(StopReason::SignIn(format!(
                "the service refused two tokens for one action (401): {what}"
            )));
            return;
        }
        self.refused_token(flight, &what);
    }

    fn good_cancel(&mut self, number: RowNumber) {
        self.found_any = true;
        self.refusal = (String::new(), 0);
        if let Some(row) = self.rows.get(&number) {
            self.type_answered(row.action_type.clone());
        }
    }

    fn reread_first(
        &mut self,
        now: Moment,
        number: RowNumber,
        doubt: RereadReason,
        record: Option<Box<crate::model::MachineAction>>,
    ) {
        self.found_any |= doubt != RereadReason::NotFound;
        let again = self.settings.retry.missing_again;
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        let action_type = row.action_type.clone();
        row.reread = Some(doubt);
        if let Some(record) = record {
            row.was_accepted = true;
            row.see(record);
        }
        self.type_answered(action_type);
        if self.reading == Reading::Forbidden {
            self.resolve_unreadable(now, number);
            return;
        }
        let due = if doubt == RereadReason::NotFound {
            now.uptime.after(again)
        } else {
            now.uptime
        };
        self.rereads.insert((due, number));
    }

    fn forbidden(&mut self, now: Moment, number: RowNumber) {
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        self.found_any = true;
        row.was_forbidden = true;
        let why = row.last_words.clone();
        let in_doubt = row.fate_unknown;
        if in_doubt {
            row.reread = Some(RereadReason::Refused);
        }
        self.type_refused(now, number, why);
        match (in_doubt, self.reading) {
            (false, _) => self.settle_refused(now, number),
            (true, Reading::Forbidden) => self.resolve_unreadable(now, number),
            (true, _) => drop(self.rereads.insert((now.uptime, number))),
        }
    }

    /// Counts a row that the service does not know; if the first hundred all are, tenant or column are wrong.
    pub(super) fn count_missing(&mut self) {
        self.missing += 1;
        if !self.found_any && self.missing >= ALL_ALIKE {
            self.stop(StopReason::AllMissing);
        }
    }

    /// Counts a refusal that retrying cannot mend; so many of one kind without a success stop the run.
    pub(super) fn count_refusal(&mut self, what: &str, words: String) {
        if self.refusal.0 == what {
            self.refusal.1 += 1;
        } else {
            self.refusal = (what.to_owned(), 1);
        }
        if self.refusal.1 >= SAME_REFUSALS {
            self.stop(StopReason::SameRefusal(words));
        }
    }

    /// The service said 429: everything of that scope waits.
    pub(super) fn throttled(
        &mut self,
        now: Moment,
        destination: Destination,
        throttle: Throttle,
        is_current: bool,
    ) {
        self.tally.throttled += 1;
        let gate = self.gate(destination);
        // The calls of one burst are refused together: that is one refusal.
        if is_current || gate.throttles == 0 {
            gate.throttles = gate.throttles.saturating_add(1);
        }
        let unexpected = !std::mem::replace(&mut gate.throttle_told, true);
        let (throttles, scope) = (gate.throttles, gate.scope);
        let own = backoff(&self.settings.retry, throttles, &mut self.rng);
        let counted = adoptable(&throttle);
        let limit_ignored = throttle.allowance.is_some() && counted.is_none();
        let believed = Throttle {
            allowance: throttle.allowance.filter(|_| !limit_ignored),
            ..throttle
        };
        let verdict = judge_throttle(now, &believed, own, &self.settings.retry);
        let wait = verdict.until.since(now.uptime);
        if self.is_armed && wait > self.settings.give_up_after {
            let until = now.wall_at(verdict.until);
            self.stop(StopReason::GaveUp(format!(
                "the service asks to wait until {until:.0}, which is longer than --give-up-after; go on then"
            )));
        }
        let is_adopted = counted.is_some_and(|window| self.adopt(destination, window, now.wall));
        let gate = self.gate(destination);
        // A smaller allowance explains the refusal, and the windows keep to it from now on.
        if is_current && !is_adopted {
            gate.learn_pace(counted);
        }
        let until = verdict.until.max(now.uptime.after(gate.pacer.rest()));
        if gate.cool_down(until) {
            self.records.push(Record::Cooldown {
                scope,
                until,
                wall: now.wall_at(until),
                cause: reasons::of_throttle(&throttle),
            });
        }
        self.tell.push(RunEvent::Throttled {
            destination,
            until,
            unexpected,
            hint_ignored: verdict.hint_ignored,
            limit_ignored,
        });
        self.note_pace(now, destination);
    }

    /// Takes an allowance over where it is smaller than ours. It is written down in any case, for the service has just
    /// confirmed it. Returns whether it is smaller.
    fn adopt(&mut self, destination: Destination, window: Window, at: Timestamp) -> bool {
        let gate = self.gate(destination);
        let scope = gate.scope;
        let mut windows = (*gate.windows).clone();
        let is_smaller = windows.adopt(window.limit, window.period);
        gate.windows = Arc::new(windows);
        self.records.push(Record::Limit { scope, window, at });
        if is_smaller {
            self.tell.push(RunEvent::Adopted {
                destination,
                window,
            });
        }
        is_smaller
    }

    /// Writes the learned pace down where it has changed, and tells of it.
    fn note_pace(&mut self, now: Moment, destination: Destination) {
        let gate = self.gate(destination);
        if !gate.pacer.has_learned() {
            return;
        }
        let (scope, pace) = (gate.scope, gate.pacer.learned());
        self.records.push(Record::Pace {
            scope,
            pace,
            at: now.wall,
        });
        self.tell.push(RunEvent::Paced { destination, pace });
    }
}

/// Takes in what a reply says about its row.
fn take_in(row: &mut Row, reply: &CancelReply, verdict: &CancelVerdict) {
    row.never_left = 0;
    row.last_words = reasons::of_reply(reply);
    row.refusal = reasons::refusal(reply);
    match verdict {
        CancelVerdict::Fault(Fate::Unknown, _) => {
            row.fate_unknown = true;
            row.fate_was_unknown = true;
        }
        CancelVerdict::Accepted(_) | CancelVerdict::Cancelled(_) => row.was_accepted = true,
        _ => {}
    }
}

/// Returns what the journal keeps of a reply.
fn answer_of(run: RunKey, number: RowNumber, row: &Row, reply: &CancelReply) -> AttemptReply {
    let error = reply.error.clone().unwrap_or_default();
    AttemptReply {
        run,
        row: number,
        number: row.attempts,
        class: reasons::class(&reply.kind).to_owned(),
        http_status: reply.http_status,
        error_code: (!error.code.is_empty()).then_some(error.code),
        correlation_id: error.correlation_id,
        phase: row.phase(),
    }
}

/// Returns the allowance that a 429 names, where it can be one.
fn adoptable(throttle: &Throttle) -> Option<Window> {
    let (limit, period) = throttle.allowance?;
    Window::named(limit, period)
}

fn as_count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
