//! The effect of an answer on its rows, its gate and its lane.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{
    CancelReply, Destination, MachineAction, Moment, ReadPage, ReadReply, Reply, ReplyKind,
    RowNumber, Throttle, Uptime,
};
use crate::quota::Window;
use crate::retry::{
    Absence, MAX_UNEXPLAINED_404S, SendVerdict, backoff, judge_throttle, probe_pause,
};
use crate::store::{AttemptReply, Record};

use super::event::{CallTicket, RunEvent, StopReason};
use super::lane::{InFlight, Lane};
use super::operation::Subject;
use super::reasons;
use super::row::{LastResponse, Reread, Row, RowState};
use super::transition::{Next, RowEvent};

impl Lane {
    pub(super) fn replied(&mut self, now: Moment, call_token: CallTicket, reply: &CancelReply) {
        let Some(flight) = self.calls.remove(&call_token) else {
            return;
        };
        let (Some(&number), Some(call)) = (flight.rows.first(), flight.call) else {
            return;
        };
        let is_current = self.gates.send.breaker.is_present(flight.generation);
        self.on_response(now, &flight, reply);
        let answer = self.settings.operation.judge(reply);
        let last = LastResponse {
            text: reasons::of_reply(reply),
            kind: reasons::reply_kind(reply),
        };
        if answer == SendVerdict::NoAttempt {
            self.records.push(Record::Withdrawn { call });
            self.gates.send.slot_returned();
            self.advance(now, number, RowEvent::Answered(answer, last));
            self.tally.cancels = self.tally.cancels.saturating_sub(1);
            if self.rows.get(&number).is_some_and(|row| row.attempts > 0) {
                self.tally.retries = self.tally.retries.saturating_sub(1);
            }
            return;
        }
        let error = reply.error.clone().unwrap_or_default();
        if let Some(row) = self.rows.get(&number) {
            self.tell.push(RunEvent::Replied {
                row: number,
                id: row.id,
                attempt: row.attempts,
                http_status: reply.http_status,
                what: last.text.clone(),
                correlation_id: error.correlation_id.clone(),
            });
        }
        self.on_cancel_answer(now, number, &flight, is_current, &answer, &last.text);
        let next = self.decide(now, number, RowEvent::Answered(answer, last));
        let row = self.rows.get(&number).map(|row| AttemptReply {
            run: self.settings.run,
            row: number,
            number: row.attempts,
            class: reasons::class(&reply.kind).to_owned(),
            http_status: reply.http_status,
            error_code: (!error.code.is_empty()).then_some(error.code),
            correlation_id: error.correlation_id,
            phase: row.phase(),
        });
        self.records.push(Record::Replied {
            call,
            at: now,
            ended: self.end_of(now, &reply.kind),
            row,
        });
        let Some(next) = next else { return };
        if enters_verify(&next) {
            self.note(now, number, false);
        }
        self.apply(now, number, next);
    }

    /// Applies what an answer to a cancel says about other rows.
    fn on_cancel_answer(
        &mut self,
        now: Moment,
        number: RowNumber,
        flight: &InFlight,
        is_current: bool,
        answer: &SendVerdict,
        last: &str,
    ) {
        match answer {
            SendVerdict::Done(_) | SendVerdict::Accepted(_) => {
                self.heard.found_any = true;
                self.stop_rules.accepted();
                self.type_answered(number);
            }
            SendVerdict::AlreadyEnded(_) | SendVerdict::Refused => {
                self.heard.found_any = true;
                self.type_answered(number);
            }
            SendVerdict::NotFound => self.type_answered(number),
            SendVerdict::Forbidden => {
                self.heard.found_any = true;
                self.type_refused(now, number, last);
            }
            SendVerdict::Throttled(throttle) => {
                self.throttled(now, flight.destination, *throttle, is_current);
            }
            SendVerdict::SignInAgain => self.sign_in_again(number, flight, last),
            SendVerdict::Fault(..) | SendVerdict::NoAttempt => {}
        }
    }

    fn sign_in_again(&mut self, number: RowNumber, flight: &InFlight, what: &str) {
        let row = self.rows.get_mut(&number);
        let before = row.and_then(|row| row.refused_token.replace(flight.token));
        if before.is_some_and(|before| before != flight.token) {
            // Other calls may succeed, but a refresh after each of their answers would never end.
            self.stop(StopReason::SignIn(format!(
                "the service refused two tokens for one action (401): {what}"
            )));
        } else {
            self.refused_token(flight, what);
        }
    }

    /// Returns when the quota windows start to count the call. A call that timed out may still arrive within the grace
    /// period.
    fn end_of<T>(&self, now: Moment, kind: &ReplyKind<T>) -> Uptime {
        if matches!(kind, ReplyKind::TimedOut) {
            now.uptime.after(self.settings.retry.timeout_grace)
        } else {
            now.uptime
        }
    }

    /// Applies what any answer says about the service, before it is applied to rows.
    pub(super) fn on_response<T>(&mut self, now: Moment, flight: &InFlight, reply: &Reply<T>) {
        let (proper, kind) = (reply.is_proper(), &reply.kind);
        self.gates
            .of(flight.destination)
            .ended(flight.generation, proper);
        self.note_pace(now, flight.destination);
        let was_answered = self.heard.anything;
        self.heard.anything |= reply.is_response();
        let is_cancel = !flight.destination.is_read();
        if proper {
            self.heard.answers.all += 1;
            self.heard.answers.cancels += u64::from(is_cancel);
            self.heard.answers.reads += u64::from(!is_cancel);
            self.token.is_doubted = false;
            let breaker = &mut self.gates.of(flight.destination).breaker;
            if breaker.answered(flight.generation) && (is_cancel || !self.are_reads_down()) {
                self.tell.push(RunEvent::Up { reads: !is_cancel });
            }
            return;
        }
        if matches!(kind, ReplyKind::Throttled(_) | ReplyKind::Unauthorized) {
            let breaker = &mut self.gates.of(flight.destination).breaker;
            breaker.told_nothing(flight.generation);
            return;
        }
        let what = reasons::of_fault(reply);
        let mut retry = self.settings.retry;
        if !self.heard.anything {
            // A run waits only briefly for a service that has never answered, so it probes often.
            retry.probe_cap = retry.probe_cap.min(self.settings.reach_timeout / 6);
        }
        let gate = self.gates.of(flight.destination);
        let pause = |probes| probe_pause(&retry, probes, &mut self.rng);
        if let Some(until) = gate.breaker.failed(now.uptime, flight.generation, pause) {
            self.tell.push(RunEvent::Down {
                reads: !is_cancel,
                until,
                what: what.clone(),
            });
        }
        self.heard.last_fault = what;
        match kind {
            ReplyKind::NoSuchHost(host) if !was_answered => {
                self.stop(StopReason::Unreachable(reasons::of_unknown_host(host)));
            }
            ReplyKind::NoSuchAddress(address) if self.heard.answers.all == 0 => {
                self.heard.strange_404s += 1;
                if self.heard.strange_404s >= MAX_UNEXPLAINED_404S {
                    self.stop(StopReason::NoSuchAddress(address.clone()));
                }
            }
            _ => {}
        }
    }

    fn are_reads_down(&self) -> bool {
        self.gates.get.breaker.is_open() || self.gates.list.breaker.is_open()
    }

    /// The service answered 429: the whole scope cools down.
    pub(super) fn throttled(
        &mut self,
        now: Moment,
        destination: Destination,
        throttle: Throttle,
        is_current: bool,
    ) {
        self.tally.throttled += 1;
        let gate = self.gates.of(destination);
        // Calls of one burst are refused together and count as one refusal.
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
                "the service asks to wait until {until:.0}, which is longer than --give-up-after; resume after that"
            )));
        }
        let is_adopted = counted.is_some_and(|window| self.adopt(destination, window, now.wall));
        let gate = self.gates.of(destination);
        // A smaller limit explains the refusal; from now on the windows keep to it.
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

    /// Adopts a limit if it is smaller than ours, and returns whether it is. Records it in either case: the service has
    /// just confirmed it.
    fn adopt(&mut self, destination: Destination, window: Window, at: Timestamp) -> bool {
        let gate = self.gates.of(destination);
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

    /// Records the learned rate if it has changed.
    fn note_pace(&mut self, now: Moment, destination: Destination) {
        let gate = self.gates.of(destination);
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

impl Lane {
    pub(super) fn read(&mut self, now: Moment, call_token: CallTicket, reply: ReadReply) {
        let Some(flight) = self.calls.remove(&call_token) else {
            return;
        };
        let Some(call) = flight.call else { return };
        let gate = self.gates.of(flight.destination);
        let is_current = gate.breaker.is_present(flight.generation);
        self.on_response(now, &flight, &reply);
        if reply.is_proper() {
            let mut others = self.calls.values();
            let is_another =
                others.any(|other| other.destination.is_read() && other.call.is_some());
            self.batches.unanswered_since = is_another.then_some(now.uptime);
        }
        let asked = flight.rows.len();
        let rows = self.rows_of(call_token, &flight.rows);
        if let ReplyKind::NotSent(_) | ReplyKind::NoSuchHost(_) = reply.kind {
            self.tally.reads = self.tally.reads.saturating_sub(1);
            self.records.push(Record::Withdrawn { call });
            self.gates.of(flight.destination).slot_returned();
            if self.pages.is_read_by(call_token) {
                return self.page_read(now, &flight, reply, is_current);
            }
            return self.drop_call(now, call_token, &rows);
        }
        self.records.push(Record::Replied {
            call,
            at: now,
            ended: self.end_of(now, &reply.kind),
            row: None,
        });
        if self.pages.is_read_by(call_token) {
            return self.page_read(now, &flight, reply, is_current);
        }
        let what = reasons::of_reply(&reply);
        let event = match reply.kind {
            ReplyKind::Answer(page) => {
                self.may_read = true;
                return self.on_page(now, asked, rows, page);
            }
            ReplyKind::NotFound | ReplyKind::NoSuchAddress(_) | ReplyKind::Refused if asked > 1 => {
                // The service doesn't accept a filter of this length: halve it, down to single reads.
                self.batches.shorten(asked);
                RowEvent::CallDropped
            }
            ReplyKind::NotFound => {
                self.may_read = true;
                RowEvent::Missing
            }
            ReplyKind::Refused => RowEvent::Unreadable,
            ReplyKind::Forbidden => return self.reading_forbidden(now, call_token, &rows, what),
            ReplyKind::Throttled(throttle) => {
                self.throttled(now, flight.destination, throttle, is_current);
                RowEvent::CallDropped
            }
            ReplyKind::Unauthorized => {
                self.refused_token(&flight, &what);
                RowEvent::CallDropped
            }
            ReplyKind::InvalidBody
            | ReplyKind::NoSuchAddress(_)
            | ReplyKind::NotApplied(_)
            | ReplyKind::ServerFault(_)
            | ReplyKind::Redirected
            | ReplyKind::TimedOut
            | ReplyKind::Broken(_)
            | ReplyKind::NotSent(_)
            | ReplyKind::NoSuchHost(_) => return self.reads_failed(now, asked, rows),
        };
        for number in rows {
            self.advance(now, number, event.clone());
        }
    }

    fn on_page(&mut self, now: Moment, asked: usize, rows: Vec<RowNumber>, page: ReadPage) {
        let found = page.records.len();
        let operation = self.settings.operation;
        let of = |number: &RowNumber| self.rows.get(number).map(|row| operation.subject(row));
        let Some(subject) = rows.first().and_then(of) else {
            return;
        };
        let absence = subject.absence(&page, asked, self.batches.known_page);
        if found == asked {
            self.batches.known_page = self.batches.known_page.max(asked);
        }
        if absence == Absence::Unrelated {
            self.batches.shorten(asked);
            if asked == 1 {
                return self.reads_failed(now, asked, rows);
            }
        } else {
            self.batches.taken(asked);
        }
        let mut told: HashMap<Subject, Vec<MachineAction>> = HashMap::new();
        for record in page.records {
            if let Some(subject) = subject.of(&record) {
                told.entry(subject).or_default().push(record);
            }
        }
        let is_part = subject.is_machine() && absence != Absence::Proven;
        for number in rows {
            let Some(row) = self.rows.get(&number) else {
                continue;
            };
            let records = told.get(&operation.subject(row)).filter(|_| !is_part);
            let event =
                records.and_then(|told| operation.on_records(row, &self.settings.rules, told));
            match (event, absence) {
                (Some(event), _) => self.found(now, number, event),
                (None, Absence::Proven) => self.advance(now, number, RowEvent::Missing),
                (None, Absence::Unclear) => self.advance(now, number, RowEvent::Unclear),
                (None, Absence::Cut | Absence::Unrelated) => {
                    self.advance(now, number, RowEvent::CallDropped);
                }
            }
        }
    }

    pub(super) fn found(&mut self, now: Moment, number: RowNumber, event: RowEvent) {
        self.heard.found_any = true;
        let Some(row) = self.rows.get(&number) else {
            return;
        };
        let (state, phase) = (row.state, row.phase());
        let Some(next) = self.decide(now, number, event) else {
            return;
        };
        let phase_now = self.rows.get(&number).map(Row::phase);
        let has_news = phase_now != Some(phase) || (enters_verify(&next) && !state.is_verify());
        if state.is_precheck() || has_news {
            self.note(now, number, state.is_precheck());
        }
        self.apply(now, number, next);
    }

    /// A read of `asked` rows got no proper answer; `rows` still wait for it.
    fn reads_failed(&mut self, now: Moment, asked: usize, rows: Vec<RowNumber>) {
        let faults = |number| match self.rows.get(number)?.state {
            RowState::Reread(Reread { faults, .. }) => Some(faults.by_any.raw),
            _ => None,
        };
        let tries = rows.iter().filter_map(faults).max().unwrap_or(0) + 1;
        // One backoff for all rows keeps them in one batch.
        let wait = backoff(&self.settings.retry, tries, &mut self.rng);
        let due = now.uptime.after(wait);
        for number in rows {
            self.advance(now, number, RowEvent::ReadFailed(asked, due));
        }
    }

    /// The token may not read any record: rows to precheck stop the lane, other rows go on without a read.
    fn reading_forbidden(
        &mut self,
        now: Moment,
        call_token: CallTicket,
        rows: &[RowNumber],
        what: String,
    ) {
        if std::mem::replace(&mut self.may_read, false) {
            self.tell
                .push(RunEvent::ReadingForbidden { what: what.clone() });
        }
        self.drop_call(now, call_token, rows);
        let due: Vec<_> = self.indexes.rereads.iter().map(|&(_, row)| row).collect();
        let is_precheck = |number: &RowNumber| {
            let row = self.rows.get(number);
            row.is_some_and(|row| row.state.is_precheck())
        };
        let (prechecks, rows): (Vec<_>, Vec<_>) = due.into_iter().partition(is_precheck);
        if !prechecks.is_empty() || !self.indexes.prechecks.is_empty() {
            self.stop(StopReason::ReadingForbidden(what));
        }
        for number in rows {
            self.advance(now, number, RowEvent::Unreadable);
        }
    }
}

fn enters_verify(next: &Next) -> bool {
    matches!(next, Next::To(state) if state.is_verify())
}

/// Returns the limit that a 429 names, if it is plausible.
fn adoptable(throttle: &Throttle) -> Option<Window> {
    let (limit, period) = throttle.allowance?;
    Window::named(limit, period)
}
