//! The effect of each event on a row: one pure, total function.
//!
//! [`transition`] updates what the row knows and returns where it goes. The lane moves it there; nothing else decides
//! about rows.

use std::time::Duration;

use crate::model::{ActionStatus, MachineAction, MachineHistory, Moment, Outcome, RunId, Uptime};
use crate::retry::{CallEffect, RetrySettings, SendVerdict, longest_backoff, wait_of, watch_pause};

use super::event::CallTicket;
use super::reasons;
use super::row::{
    Applied, Checked, LastResponse, Missed, ProperAnswers, ReadFaults, Reread, RereadReason, Row,
    RowState,
};
use super::settings::CoreSettings;
use crate::engine::skip_rules::Precheck;

/// A row fails after this many 404s although reads find its action. Parts of the service may briefly disagree, so the
/// first 404 is retried.
const FOUND_AFTER_404: u32 = 2;

/// How many times in a row a call may fail to leave before its row loses its turn.
const KEEPS_ITS_TURN: u32 = 2;

/// Something that happened to a row. An event that doesn't fit the row's state changes nothing.
#[derive(Clone, Debug)]
pub(super) enum RowEvent {
    /// Loaded from the journal; names another run that is working on its action.
    Loaded(Option<RunId>),
    /// This call may send it.
    Turn(CallTicket),
    /// The core now knows whether its type is denied.
    TypeDecided,
    /// This call reads its record.
    Reading(CallTicket),
    /// Its call got no slot, did not leave, or brought no news of it.
    CallDropped,
    /// Another run has sent a cancel for its action and not settled it.
    Conflict(RunId),
    Sent,
    Answered(SendVerdict, LastResponse),
    /// Its record was read, or the record of the action that our call created.
    Found(Box<MachineAction>),
    /// The actions of its machine were read.
    History(Box<MachineHistory>),
    /// A complete read without it: the service doesn't know it.
    Missing,
    /// A read without it that proves nothing.
    Unclear,
    /// Its record can't be read, or no record can.
    Unreadable,
    /// A read of this many rows got no proper answer; the next one is due at this time.
    ReadFailed(usize, Uptime),
}

/// Whether this token may cancel the row's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    Open,
    InQuestion,
    Denied,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    To(RowState),
    /// Settled, with the reason for the report.
    Done(Outcome, String),
    /// Failed: the service refused its cancel for good.
    FailedForGood(String),
    /// Stays unsettled in the journal. A later pass or a resume loads it again.
    Defer(Deferral),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deferral {
    Conflict(RunId),
    DeniedType,
    /// The plan knows enough about it, or leaves it to the run.
    Planned,
    /// The plan did not find it. Lists lag, so one read proves nothing.
    MissingOnce,
}

/// Everything besides row and event that a transition depends on.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and all combinations occur"
)]
pub(super) struct Conditions<'run> {
    pub(super) now: Moment,
    pub(super) settings: &'run CoreSettings,
    /// Whether cancels may be sent; otherwise the core reads states for a plan.
    pub(super) is_armed: bool,
    pub(super) may_read: bool,
    pub(super) reads_are_slow: bool,
    /// The circuit breaker for cancels is open.
    pub(super) cancels_are_down: bool,
    pub(super) permission: Permission,
    pub(super) answers: ProperAnswers,
    /// No other row can show whether a fault is this row's or the service's: all others have used up theirs.
    pub(super) is_alone: bool,
    /// Random, from 0 to 1.
    pub(super) chance: f64,
}

impl Conditions<'_> {
    fn max_attempts(&self) -> u32 {
        self.settings.retry.max_attempts
    }

    fn may_send_unread(&self) -> bool {
        self.settings.operation.may_send_unread()
    }

    fn after(&self, wait: Duration) -> Uptime {
        self.now.uptime.after(wait)
    }

    fn backoff(&self, faults: u32) -> Uptime {
        self.after(longest_backoff(&self.settings.retry, faults).mul_f64(self.chance))
    }
}

pub(super) fn transition(row: &mut Row, event: RowEvent, on: &Conditions<'_>) -> Next {
    match (row.state, event) {
        (RowState::Held, RowEvent::Loaded(_)) if !on.is_armed => into_plan(row, on),
        (RowState::Held, RowEvent::Loaded(Some(run)))
        | (RowState::Sending(_), RowEvent::Conflict(run)) => Next::Defer(Deferral::Conflict(run)),
        (RowState::Held, RowEvent::Loaded(None)) => on_loaded(row, on),
        (RowState::Sending(_), RowEvent::TypeDecided) => Next::To(row.state),
        (_, RowEvent::TypeDecided) if is_denied(row, on) => Next::Defer(Deferral::DeniedType),
        (RowState::Held, RowEvent::TypeDecided) | (RowState::Sending(_), RowEvent::CallDropped) => {
            REQUEUED
        }
        (_, RowEvent::Turn(call)) if may_go(row, on) => on_turn(row, call, on),
        (RowState::Sending(_), RowEvent::Sent) => {
            row.attempts += 1;
            row.first_sent_at.get_or_insert(on.now.wall);
            Next::To(row.state)
        }
        (RowState::Sending(_), RowEvent::Answered(answer, last)) => {
            on_answer(row, answer, last, on)
        }
        (RowState::Reread(was), event) => match event {
            RowEvent::Reading(call) => Next::To(RowState::Reread(Reread {
                call: Some(call),
                ..was
            })),
            RowEvent::CallDropped => again(was, on.now.uptime),
            RowEvent::Found(record) => on_found(row, was, record, on),
            RowEvent::History(history) => on_history(row, was, *history, on),
            RowEvent::Missing => on_missing(row, was, on),
            RowEvent::Unclear => on_unclear(was, on),
            RowEvent::Unreadable => unreadable(row, was, on),
            RowEvent::ReadFailed(rows, due) => on_read_failed(row, was, rows, due, on),
            _ => Next::To(row.state),
        },
        (state, _) => Next::To(state),
    }
}

const READY: Next = Next::To(RowState::Ready { requeued: false });

const REQUEUED: Next = Next::To(RowState::Ready { requeued: true });

fn is_denied(row: &Row, on: &Conditions<'_>) -> bool {
    on.permission == Permission::Denied && row.attempts == 0
}

/// A plan reads the states of unsent rows. Rows sent before are left to the run.
fn into_plan(row: &Row, on: &Conditions<'_>) -> Next {
    if row.attempts == 0 && row.applied == Applied::No && needs_reading(row, on) {
        precheck(row, on)
    } else {
        Next::Defer(Deferral::Planned)
    }
}

fn on_loaded(row: &Row, on: &Conditions<'_>) -> Next {
    match row.applied {
        _ if is_denied(row, on) => Next::Defer(Deferral::DeniedType),
        Applied::Unknown => reread(RereadReason::UnknownResult, on.now.uptime),
        Applied::Accepted => {
            // The first read is due at once. Without `verify_for` it is also the last.
            let reads = u32::from(on.settings.verify_for.is_none());
            let until = on.after(on.settings.verify_for.unwrap_or_default());
            reread(RereadReason::Verify { until, reads }, on.now.uptime)
        }
        Applied::No | Applied::OpenSince if needs_reading(row, on) => precheck(row, on),
        Applied::No | Applied::OpenSince => READY,
    }
}

fn may_go(row: &Row, on: &Conditions<'_>) -> bool {
    let may_go = match row.state {
        RowState::Ready { .. } => true,
        RowState::RetryAt(due) => due <= on.now.uptime,
        RowState::Reread(reread) => {
            on.reads_are_slow && reread.reason == RereadReason::Precheck { may_skip: true }
        }
        RowState::Held | RowState::Sending(_) => false,
    };
    may_go && on.is_armed
}

fn on_turn(row: &Row, call: CallTicket, on: &Conditions<'_>) -> Next {
    if on.permission == Permission::InQuestion {
        Next::To(RowState::Held)
    } else if is_denied(row, on) {
        Next::Defer(Deferral::DeniedType)
    } else if is_used_up(row, on) || must_be_known(row, on) {
        route(row, on.now.uptime, on)
    } else if row.attempts == 0
        && let Some(outcome) = row.outcome_by_record(on.settings.operation)
    {
        by_record(row, outcome, on)
    } else if needs_reading(row, on) && !(on.reads_are_slow && may_skip(row, on)) {
        precheck(row, on)
    } else {
        Next::To(RowState::Sending(call))
    }
}

fn on_answer(row: &mut Row, answer: SendVerdict, last: LastResponse, on: &Conditions<'_>) -> Next {
    if let SendVerdict::NoAttempt = answer {
        row.attempts = row.attempts.saturating_sub(1);
        if row.attempts == 0 {
            row.first_sent_at = None;
        }
        row.not_sent = row.not_sent.saturating_add(1);
        return if row.not_sent <= KEEPS_ITS_TURN {
            REQUEUED
        } else {
            // The row itself may be at fault: let others go first.
            Next::To(RowState::RetryAt(on.backoff(row.not_sent)))
        };
    }
    row.not_sent = 0;
    row.last = last;
    match answer {
        SendVerdict::Done(record) => {
            row.applied = Applied::Accepted;
            row.see(record);
            let outcome = row.outcome_by_record(on.settings.operation);
            by_record(row, outcome.unwrap_or(Outcome::Accepted), on)
        }
        SendVerdict::Accepted(record) => {
            row.applied = Applied::Accepted;
            if let Some(record) = record {
                row.see(record);
            }
            accepted(row, on)
        }
        SendVerdict::AlreadyEnded(record) => {
            row.applied = Applied::Accepted;
            row.see(record);
            reread_first(row, RereadReason::FinalCancelAnswer, on.now.uptime, on)
        }
        SendVerdict::NotFound => {
            let due = on.after(on.settings.retry.missing_again);
            reread_first(row, RereadReason::NotFound, due, on)
        }
        SendVerdict::Refused => {
            let reason = RereadReason::Refused { forbidden: false };
            reread_first(row, reason, on.now.uptime, on)
        }
        SendVerdict::Forbidden if row.applied == Applied::Unknown => {
            let reason = RereadReason::Refused { forbidden: true };
            reread_first(row, reason, on.now.uptime, on)
        }
        SendVerdict::Forbidden => refused(row, true),
        SendVerdict::Fault(fate, hint) => {
            if fate == CallEffect::Unknown {
                row.applied = Applied::Unknown;
            }
            row.faults.add(on.answers.cancels);
            let asked = hint.map(|hint| wait_of(on.now, hint));
            let asked = asked.filter(|&wait| wait <= on.settings.retry.hint_bound);
            let due = on.backoff(row.faults.raw);
            route(row, due.max(on.after(asked.unwrap_or_default())), on)
        }
        SendVerdict::Throttled(_) | SendVerdict::SignInAgain | SendVerdict::NoAttempt => REQUEUED,
    }
}

fn on_found(row: &mut Row, was: Reread, record: Box<MachineAction>, on: &Conditions<'_>) -> Next {
    let rules = &on.settings.rules;
    row.checked = Checked::At(on.now.uptime);
    row.see(record);
    let Some(record) = row.record.as_deref() else {
        return Next::To(row.state);
    };
    let rejected = rules.reject(&row.context, record);
    let rejected_open = || rules.reject_open(record);
    // The rules were checked before a watched release was sent.
    if row.applied == Applied::No
        && row.attempts == 0
        && let Some(reason) = rejected
    {
        return Next::Done(Outcome::Skipped, reason);
    }
    if let Some(outcome) = row.outcome_by_record(on.settings.operation) {
        return by_record(row, outcome, on);
    }
    let rejected = rejected.or_else(rejected_open);
    still_open(row, was, rejected, on)
}

/// The machine's actions show whether it is released or about to be, and who else wants it isolated.
fn on_history(row: &mut Row, was: Reread, history: MachineHistory, on: &Conditions<'_>) -> Next {
    row.checked = Checked::At(on.now.uptime);
    let rejected = on.settings.rules.reject(&row.context, &history.action);
    let rejected = rejected.or_else(|| history.objection());
    if row.attempts == 0
        && row.applied == Applied::No
        && let Some(reason) = rejected
    {
        return Next::Done(Outcome::Skipped, reason);
    }
    if let Some(release) = history.release {
        row.see(Box::new(release));
        row.applied = Applied::Accepted;
        return match (row.outcome_by_record(on.settings.operation), was.reason) {
            (Some(outcome), _) => by_record(row, outcome, on),
            (None, _) if !on.is_armed => Next::Defer(Deferral::Planned),
            (None, RereadReason::Verify { until, reads }) => verify(row, until, reads, on),
            (None, _) => accepted(row, on),
        };
    }
    // Lists lag: right after a release was sent, a list without it proves nothing.
    let may_be_unlisted = !matches!(was.reason, RereadReason::Precheck { .. });
    if may_be_unlisted && row.applied == Applied::Unknown && was.missed != Missed::Proven {
        return read_later(was, Missed::Proven, on);
    }
    still_open(row, was, rejected, on)
}

/// The record shows no effect of ours: send the row, or keep watching.
fn still_open(row: &mut Row, was: Reread, rejected: Option<String>, on: &Conditions<'_>) -> Next {
    // No attempt was applied so far.
    let was_unknown = row.applied == Applied::Unknown;
    if was_unknown {
        row.applied = Applied::OpenSince;
    }
    let may_send = matches!(
        was.reason,
        RereadReason::Precheck { .. } | RereadReason::NotFound | RereadReason::UnknownResult
    );
    if may_send && let Some(reason) = rejected {
        return match row.attempts {
            0 => Next::Done(Outcome::Skipped, reason),
            // The record's type or machine may have changed since.
            _ if was_unknown => Next::Done(Outcome::Failed, reasons::of_rejected_now(&reason)),
            _ => Next::Done(Outcome::Skipped, reasons::of_rejected_now(&reason)),
        };
    }
    match was.reason {
        RereadReason::Precheck { .. } if !on.is_armed => Next::Defer(Deferral::Planned),
        RereadReason::Precheck { .. } => READY,
        RereadReason::Verify { until, reads } => verify(row, until, reads, on),
        RereadReason::FinalCancelAnswer => accepted(row, on),
        RereadReason::NotFound => {
            row.found_after_404 += 1;
            if row.found_after_404 < FOUND_AFTER_404 {
                return Next::To(RowState::RetryAt(on.now.uptime));
            }
            refused(row, false)
        }
        RereadReason::Refused { forbidden } => refused(row, forbidden),
        // The service is up and answers for this action, so the faults are the row's own.
        RereadReason::FaultCheck => give_up(row, on),
        RereadReason::UnknownResult => route(row, on.backoff(row.faults.raw), on),
    }
}

/// It takes two reads without the row to settle it, because parts of the service may briefly disagree.
fn on_missing(row: &mut Row, was: Reread, on: &Conditions<'_>) -> Next {
    if !on.is_armed {
        return Next::Defer(Deferral::MissingOnce);
    }
    let is_second = was.missed == Missed::Proven || was.reason == RereadReason::NotFound;
    if !is_second {
        return read_later(was, Missed::Proven, on);
    }
    let missed = Missed::Proven;
    let was = Reread { missed, ..was };
    let was_seen =
        row.applied == Applied::Accepted || row.record.is_some() || must_be_known(row, on);
    match was.reason {
        _ if !was_seen => {
            let reason = reasons::of_missing(on.settings.operation, row.context.tenant.as_deref());
            Next::Done(Outcome::NotFound, reason)
        }
        RereadReason::NotFound => {
            Next::Done(Outcome::NotFound, reasons::of_vanished(&row.last.text))
        }
        _ if row.attempts == 0 => Next::Done(Outcome::NotFound, reasons::VANISHED.to_owned()),
        // The service answered about it before, so a list without it proves nothing.
        _ => unreadable(row, was, on),
    }
}

/// An inconclusive read isn't an answer, so the next read needs no pause. If that one is inconclusive too, wait: the loop
/// would never end.
fn on_unclear(was: Reread, on: &Conditions<'_>) -> Next {
    let missed = Missed::Unclear;
    match was.missed {
        Missed::Never => again(Reread { missed, ..was }, on.now.uptime),
        Missed::Unclear | Missed::Proven => read_later(was, missed, on),
    }
}

/// Schedules another read of a missed row. It is late enough to be independent even if the read joins an earlier batch.
/// A plan doesn't wait.
fn read_later(was: Reread, missed: Missed, on: &Conditions<'_>) -> Next {
    if !on.is_armed {
        return again(was, on.now.uptime);
    }
    let retry = &on.settings.retry;
    let pause = on.settings.operation.pause_before_second_look(retry);
    let due = soon(retry, on.now.uptime).after(pause);
    let missed = was.missed.max(missed);
    again(Reread { missed, ..was }, due)
}

/// Decides from what is known, without another read.
fn unreadable(row: &mut Row, was: Reread, on: &Conditions<'_>) -> Next {
    match was.reason {
        RereadReason::Precheck { .. } if !on.is_armed => Next::Defer(Deferral::Planned),
        RereadReason::Precheck { may_skip }
            if may_skip || (row.attempts > 0 && on.may_send_unread()) =>
        {
            row.checked = Checked::Unreadable;
            READY
        }
        RereadReason::Precheck { .. } => {
            let reason = reasons::of_not_read(on.settings.operation);
            Next::Done(Outcome::Failed, reason.to_owned())
        }
        RereadReason::Verify { .. } => stays_accepted(row, was.missed, on),
        RereadReason::Refused { .. } if row.applied == Applied::Unknown => give_up(row, on),
        RereadReason::Refused { forbidden } => refused(row, forbidden),
        RereadReason::NotFound => {
            Next::Done(Outcome::NotFound, reasons::of_unconfirmed(&row.last.text))
        }
        RereadReason::FinalCancelAnswer => match row.outcome_by_record(on.settings.operation) {
            Some(outcome) => by_record(row, outcome, on),
            None => stays_accepted(row, was.missed, on),
        },
        RereadReason::UnknownResult | RereadReason::FaultCheck => {
            // Send it again without another read.
            row.checked = Checked::Unreadable;
            route(row, on.backoff(row.faults.raw), on)
        }
    }
}

fn on_read_failed(
    row: &mut Row,
    mut was: Reread,
    rows: usize,
    due: Uptime,
    on: &Conditions<'_>,
) -> Next {
    was.faults.add(on.answers);
    let counted = match was.reason {
        // An accepted cancel is watched until its time is up, however many reads fail.
        RereadReason::Verify { until, .. } if until > on.now.uptime => {
            return again(was, due.min(until));
        }
        // The row can't go on without a read, so only reads count, and only single ones: another row of a batch may be
        // at fault.
        RereadReason::Precheck { .. } if rows > 1 => 0,
        RereadReason::Precheck { .. } => was.faults.by_reads.counted(on.answers.reads),
        _ => was.faults.by_any.counted(on.answers.all),
    };
    let may_send = matches!(
        was.reason,
        RereadReason::UnknownResult | RereadReason::FaultCheck
    ) && !must_be_known(row, on);
    if counted >= on.max_attempts() {
        unreadable(row, was, on)
    } else if may_send && was.faults.by_any.raw >= on.max_attempts() && !on.cancels_are_down {
        // The row or the service may be at fault. A cancel may show which, and a second one has no further effect.
        Next::To(RowState::RetryAt(due))
    } else {
        again(was, due)
    }
}

/// Routes a row: read it, send it again from `due` on, or give up.
fn route(row: &Row, due: Uptime, on: &Conditions<'_>) -> Next {
    if row.applied == Applied::Unknown && is_readable(row, on) {
        reread(RereadReason::UnknownResult, on.now.uptime)
    } else if is_used_up(row, on) || must_be_known(row, on) {
        give_up(row, on)
    } else if row.faults.raw >= on.max_attempts() && on.is_alone && is_readable(row, on) {
        reread(RereadReason::FaultCheck, due)
    } else {
        Next::To(RowState::RetryAt(due))
    }
}

/// Returns whether an earlier call may have been applied, so that no other may leave.
fn must_be_known(row: &Row, on: &Conditions<'_>) -> bool {
    row.applied == Applied::Unknown && !on.may_send_unread()
}

fn is_readable(row: &Row, on: &Conditions<'_>) -> bool {
    on.may_read && row.checked != Checked::Unreadable
}

fn is_used_up(row: &Row, on: &Conditions<'_>) -> bool {
    let most = on.max_attempts();
    // If nothing can be read and no other row is left to compare with, every fault counts.
    let all_count = on.is_alone && !is_readable(row, on);
    row.faults.counted(on.answers.cancels) >= most || (all_count && row.faults.raw >= most)
}

/// Returns whether a row must be read before it is sent: its state is unknown or stale.
fn needs_reading(row: &Row, on: &Conditions<'_>) -> bool {
    on.settings.rules.precheck == Precheck::ReadFirst
        && match row.checked {
            Checked::Never => true,
            Checked::At(at) => {
                let stale_after = on.settings.operation.stale_after(&on.settings.retry);
                on.now.uptime.since(at) >= stale_after
            }
            Checked::Unreadable => !on.may_send_unread(),
        }
}

fn may_skip(row: &Row, on: &Conditions<'_>) -> bool {
    on.may_send_unread()
        && (matches!(row.checked, Checked::At(_))
            || on.settings.rules.may_skip_precheck(&row.context))
}

fn precheck(row: &Row, on: &Conditions<'_>) -> Next {
    let may_skip = may_skip(row, on);
    let reason = RereadReason::Precheck { may_skip };
    Next::To(RowState::Reread(Reread::in_order(reason)))
}

fn reread(reason: RereadReason, due: Uptime) -> Next {
    Next::To(RowState::Reread(Reread::at(reason, due)))
}

/// Reads the record before the answer counts, unless reading is forbidden.
fn reread_first(row: &mut Row, reason: RereadReason, due: Uptime, on: &Conditions<'_>) -> Next {
    if on.may_read {
        reread(reason, due)
    } else {
        unreadable(row, Reread::at(reason, due), on)
    }
}

/// Schedules another read for the same reason. A precheck without faults or misses keeps its place in input order.
fn again(was: Reread, due: Uptime) -> Next {
    let is_in_order = matches!(was.reason, RereadReason::Precheck { .. });
    let is_in_order =
        is_in_order && was.missed == Missed::Never && was.faults == ReadFaults::default();
    Next::To(RowState::Reread(Reread {
        due: (!is_in_order).then_some(due),
        call: None,
        ..was
    }))
}

/// Reads due by this time join a read that is due now, to save calls.
pub(super) fn soon(retry: &RetrySettings, now: Uptime) -> Uptime {
    now.after(retry.missing_again / 6)
}

/// The service accepted the cancel, and its record is still open.
fn accepted(row: &Row, on: &Conditions<'_>) -> Next {
    match on.settings.verify_for {
        Some(verify_for) if on.may_read => verify(row, on.after(verify_for), 0, on),
        _ => stays_accepted(row, Missed::Never, on),
    }
}

/// Schedules the next read of an open record; the last one is due when the time is up.
fn verify(row: &Row, until: Uptime, reads: u32, on: &Conditions<'_>) -> Next {
    // A read that joined an earlier one comes a little early and is still the last.
    if reads > 0 && soon(&on.settings.retry, on.now.uptime) >= until {
        return stays_accepted(row, Missed::Never, on);
    }
    let due = on.after(watch_pause(&on.settings.retry, reads));
    let reads = reads + 1;
    reread(RereadReason::Verify { until, reads }, due.min(until))
}

fn by_record(row: &Row, outcome: Outcome, on: &Conditions<'_>) -> Next {
    Next::Done(
        outcome,
        reasons::of_record(on.settings.operation, row, outcome),
    )
}

fn stays_accepted(row: &Row, missed: Missed, on: &Conditions<'_>) -> Next {
    let is_gone = missed == Missed::Proven;
    Next::Done(
        Outcome::Accepted,
        reasons::of_accepted(
            on.settings.operation,
            row.status().map(ActionStatus::as_str),
            is_gone,
        ),
    )
}

fn refused(row: &Row, forbidden: bool) -> Next {
    if forbidden {
        Next::Done(Outcome::Forbidden, reasons::of_forbidden(row))
    } else {
        Next::FailedForGood(reasons::of_refusal(row))
    }
}

fn give_up(row: &Row, on: &Conditions<'_>) -> Next {
    let outcome = if row.applied == Applied::Unknown {
        Outcome::Unknown
    } else {
        Outcome::Failed
    };
    Next::Done(
        outcome,
        reasons::of_giving_up(on.settings.operation, row, on.may_read),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::super::row::{FaultCount, SeenOpen};
    use super::*;
    use crate::engine::skip_rules::SkipRules;
    use crate::model::{ActionId, ActionType, Operation, RowContext, Throttle};
    use crate::store::RunKey;

    const CALL: CallTicket = CallTicket(1);
    const NOW: Uptime = Uptime::from_nanos(1_000_000_000_000);
    const VERIFY_FOR: Option<Duration> = Some(Duration::from_secs(120));
    const STATUSES: [&str; 6] = [
        "Pending",
        "InProgress",
        "Cancelled",
        "Succeeded",
        "TimeOut",
        "Odd",
    ];

    fn settings(
        operation: Operation,
        precheck: Precheck,
        verify_for: Option<Duration>,
    ) -> CoreSettings {
        let rules = SkipRules {
            precheck,
            ..SkipRules::default()
        };
        let (retry, hour) = (RetrySettings::default(), Duration::from_secs(3600));
        CoreSettings {
            operation,
            verify_for,
            ..CoreSettings::to_read(RunKey(1), retry, Arc::new(rules), hour, 1)
        }
    }

    fn conditions(settings: &CoreSettings) -> Vec<Conditions<'_>> {
        let permissions = [Permission::Open, Permission::InQuestion, Permission::Denied];
        // The usual conditions, then one of them changed at a time.
        let all = (0..6).flat_map(|other| permissions.map(|permission| (other, permission)));
        let all = all.map(|(other, permission)| Conditions {
            now: Moment {
                uptime: NOW,
                wall: Timestamp::UNIX_EPOCH,
            },
            settings,
            is_armed: other != 1,
            may_read: other != 2,
            reads_are_slow: other == 3,
            cancels_are_down: other == 4,
            permission,
            answers: ProperAnswers {
                all: 9,
                cancels: 9,
                reads: 9,
            },
            is_alone: other == 5,
            chance: 0.5,
        });
        all.collect()
    }

    fn record(status: &str) -> Box<MachineAction> {
        Box::new(MachineAction {
            status: Some(ActionStatus::parse(status)),
            action_type: Some(ActionType::Isolate),
            ..MachineAction::bare(ActionId::from_bytes([1; 16]).unwrap())
        })
    }

    fn states() -> Vec<RowState> {
        let until = NOW.after(Duration::from_secs(60));
        let reasons = [
            RereadReason::Precheck { may_skip: true },
            RereadReason::Precheck { may_skip: false },
            RereadReason::Verify { until, reads: 0 },
            RereadReason::Verify {
                until: NOW,
                reads: 9,
            },
            RereadReason::UnknownResult,
            RereadReason::FaultCheck,
            RereadReason::FinalCancelAnswer,
            RereadReason::NotFound,
            RereadReason::Refused { forbidden: false },
            RereadReason::Refused { forbidden: true },
        ];
        let missed = [Missed::Never, Missed::Unclear, Missed::Proven];
        let rereads = reasons.into_iter().flat_map(|reason| {
            let at = Reread::at(reason, NOW);
            missed.map(|missed| RowState::Reread(Reread { missed, ..at }))
        });
        let others = [
            RowState::Ready { requeued: false },
            RowState::Ready { requeued: true },
            RowState::Held,
            RowState::Sending(CALL),
            RowState::RetryAt(NOW),
        ];
        others.into_iter().chain(rereads).collect()
    }

    fn events() -> Vec<RowEvent> {
        let run = RunId::new(uuid::Uuid::from_u128(7));
        let mut answers = vec![
            SendVerdict::Accepted(None),
            SendVerdict::NotFound,
            SendVerdict::Refused,
            SendVerdict::Forbidden,
            SendVerdict::NoAttempt,
            SendVerdict::SignInAgain,
            SendVerdict::Throttled(Throttle::default()),
            SendVerdict::Fault(CallEffect::Unknown, None),
            SendVerdict::Fault(CallEffect::NotApplied, None),
        ];
        answers.extend(STATUSES.map(|status| match status {
            "Cancelled" => SendVerdict::Done(record(status)),
            "Succeeded" | "TimeOut" => SendVerdict::AlreadyEnded(record(status)),
            _ => SendVerdict::Accepted(Some(record(status))),
        }));
        let answers = answers.into_iter();
        let answers = answers.map(|answer| RowEvent::Answered(answer, LastResponse::default()));
        let others = [
            RowEvent::Loaded(None),
            RowEvent::Loaded(Some(run)),
            RowEvent::Turn(CALL),
            RowEvent::TypeDecided,
            RowEvent::Reading(CALL),
            RowEvent::CallDropped,
            RowEvent::Conflict(run),
            RowEvent::Sent,
            RowEvent::Missing,
            RowEvent::Unclear,
            RowEvent::Unreadable,
            RowEvent::ReadFailed(1, NOW),
            RowEvent::ReadFailed(2, NOW),
        ];
        let found = STATUSES.map(|status| RowEvent::Found(record(status)));
        others.into_iter().chain(found).chain(answers).collect()
    }

    /// Every possible combination of facts for a row in this state.
    fn rows(state: RowState) -> Vec<Row> {
        let mut used_up = FaultCount::default();
        (0..9).for_each(|answers| used_up.add(answers));
        let row = Row {
            id: ActionId::from_bytes([1; 16]).unwrap(),
            action_type: Some(ActionType::Isolate),
            context: RowContext::default(),
            comment: Arc::from("x"),
            response_action: None,
            attempts: 0,
            first_sent_at: None,
            record: None,
            applied: Applied::No,
            seen: SeenOpen::Pending,
            checked: Checked::Never,
            faults: FaultCount::default(),
            not_sent: 2,
            refused_token: None,
            found_after_404: 1,
            last: LastResponse::default(),
            state,
        };
        let mut rows = Vec::new();
        for applied in [
            Applied::No,
            Applied::Unknown,
            Applied::OpenSince,
            Applied::Accepted,
        ] {
            for status in [None, Some("Pending"), Some("Cancelled"), Some("Succeeded")] {
                for checked in [Checked::Never, Checked::At(NOW), Checked::Unreadable] {
                    for (attempts, faults) in [(0, row.faults), (1, row.faults), (9, used_up)] {
                        rows.push(Row {
                            attempts,
                            first_sent_at: (attempts > 0).then_some(Timestamp::UNIX_EPOCH),
                            record: status.map(record),
                            applied,
                            checked,
                            faults,
                            ..row.clone()
                        });
                    }
                }
            }
        }
        rows.retain(is_possible);
        rows
    }

    /// A cancel that never left has no result, and only accepted ones are watched.
    fn is_possible(row: &Row) -> bool {
        let is_watched =
            row.state.is_verify() || row.state.reread() == Some(RereadReason::FinalCancelAnswer);
        let may_be_unsent = row.state.is_precheck() || row.state.reread().is_none();
        (row.attempts > 0 || (row.applied == Applied::No && may_be_unsent))
            && is_watched == (row.applied == Applied::Accepted)
    }

    /// Returns whether the facts justify where a row goes.
    fn is_borne_out(
        before: &Row,
        event: &RowEvent,
        on: &Conditions<'_>,
        after: &Row,
        next: &Next,
    ) -> bool {
        let is_cancelled = after.status() == Some(&ActionStatus::Cancelled);
        let is_final = after.status().is_some_and(ActionStatus::is_final);
        let reason = before.state.reread();
        let answer = match event {
            RowEvent::Answered(answer, _) => Some(answer),
            _ => None,
        };
        match next {
            Next::To(RowState::Sending(_)) => {
                matches!(before.state, RowState::Sending(_))
                    || (on.is_armed
                        && before.applied != Applied::Accepted
                        && matches!(event, RowEvent::Turn(_))
                        && match on.permission {
                            Permission::Open => true,
                            Permission::InQuestion => false,
                            Permission::Denied => before.attempts > 0,
                        })
            }
            Next::To(_) | Next::Defer(Deferral::Conflict(_)) => true,
            Next::Defer(Deferral::DeniedType) => before.attempts == 0,
            Next::Defer(Deferral::Planned | Deferral::MissingOnce) => !on.is_armed,
            Next::FailedForGood(_) => after.applied != Applied::Unknown,
            Next::Done(outcome, _) => match outcome {
                Outcome::Cancelled | Outcome::AlreadyCancelled => is_cancelled,
                Outcome::AlreadyFinal => is_final && !is_cancelled,
                Outcome::TooLate => is_final && !is_cancelled && after.applied == Applied::Accepted,
                Outcome::Accepted => after.applied == Applied::Accepted,
                Outcome::Failed => after.applied != Applied::Unknown,
                Outcome::Unknown => after.applied == Applied::Unknown,
                Outcome::NotFound => {
                    matches!(event, RowEvent::Missing)
                        || reason == Some(RereadReason::NotFound)
                        || answer == Some(&SendVerdict::NotFound)
                }
                Outcome::Forbidden => {
                    reason == Some(RereadReason::Refused { forbidden: true })
                        || answer == Some(&SendVerdict::Forbidden)
                }
                _ => false,
            },
        }
    }

    #[test]
    fn whatever_happens_in_whatever_state_no_row_says_or_does_what_nothing_bears_out() {
        let settings = [
            settings(Operation::Cancel, Precheck::ReadFirst, VERIFY_FOR),
            settings(Operation::Cancel, Precheck::Skip, None),
        ];
        let conditions: Vec<_> = settings.iter().flat_map(conditions).collect();
        let events = events();
        let mut kinds = std::collections::BTreeSet::new();
        for before in states().into_iter().flat_map(rows) {
            for event in &events {
                for on in &conditions {
                    let mut after = before.clone();
                    let next = transition(&mut after, event.clone(), on);
                    assert_eq!(after.state, before.state, "the lane alone changes it");
                    let is_good = is_borne_out(&before, event, on, &after, &next);
                    assert!(is_good, "{before:#?}\n{event:?} {on:?}\n{next:?}");
                    if let Next::Done(outcome, _) = next {
                        kinds.insert(outcome);
                    }
                }
            }
        }
        // All outcomes except those of rows that are never sent, and `skipped`: no rule rejects here.
        assert_eq!(kinds.len(), 9, "{kinds:?}");
    }

    fn release() -> ActionId {
        ActionId::from_bytes([2; 16]).unwrap()
    }

    /// The actions of a machine to release: the status of the newest release, and who isolated it again.
    fn history(status: Option<&str>, again: Option<&str>) -> RowEvent {
        let release = status.map(|status| MachineAction {
            status: Some(ActionStatus::parse(status)),
            action_type: Some(ActionType::Unisolate),
            ..MachineAction::bare(release())
        });
        RowEvent::History(Box::new(MachineHistory {
            action: *record("Succeeded"),
            release,
            again: again.map(|by| MachineAction {
                requestor: Some(by.to_owned()),
                ..*record("Succeeded")
            }),
            before: None,
        }))
    }

    /// Every possible combination of facts for a row of a release.
    fn rows_to_release(state: RowState) -> Vec<Row> {
        let mut all = Vec::new();
        for row in rows(state) {
            // Somebody else's release is watched without a call of ours.
            let watched = Row {
                attempts: 0,
                first_sent_at: None,
                applied: Applied::Accepted,
                ..row.clone()
            };
            if state.is_watched() {
                all.push(watched);
            }
            all.push(row);
        }
        // No call leaves while a result is unknown, so no answer meets such a row.
        let reason = state.reread();
        let may_be_unknown = match state {
            RowState::Sending(_) => false,
            _ => reason.is_none_or(|reason| reason == RereadReason::UnknownResult),
        };
        all.retain(|row| row.applied != Applied::Unknown || may_be_unknown);
        for row in &mut all {
            row.record = None;
            row.action_type = Some(ActionType::Unisolate);
            row.response_action = (row.applied == Applied::Accepted).then_some(release());
        }
        all
    }

    /// Returns whether the facts justify where a row of a release goes.
    fn is_release_borne_out(before: &Row, event: &RowEvent, after: &Row, next: &Next) -> bool {
        let objects = matches!(event, RowEvent::History(it) if it.objection().is_some());
        let status = after.status();
        match next {
            // No call leaves while a result is unknown or somebody wants the machine isolated.
            Next::To(RowState::Sending(_)) => {
                matches!(before.state, RowState::Sending(_))
                    || (before.checked == Checked::At(NOW)
                        && !matches!(before.applied, Applied::Unknown | Applied::Accepted))
            }
            Next::To(state) if *state == before.state => true,
            Next::To(RowState::RetryAt(_)) => !objects && after.applied != Applied::Unknown,
            Next::Done(outcome, _) => match outcome {
                Outcome::Released => status == Some(&ActionStatus::Succeeded) && after.attempts > 0,
                Outcome::AlreadyReleased => status == Some(&ActionStatus::Succeeded),
                Outcome::Skipped => objects,
                Outcome::Failed | Outcome::NotFound => after.applied != Applied::Unknown,
                Outcome::Accepted => after.applied == Applied::Accepted,
                Outcome::Unknown => after.applied == Applied::Unknown,
                Outcome::Forbidden => true,
                _ => false,
            },
            _ => true,
        }
    }

    #[test]
    fn no_release_leaves_while_a_result_is_unknown_or_somebody_objects() {
        let settings = settings(Operation::Release, Precheck::ReadFirst, VERIFY_FOR);
        let conditions = conditions(&settings);
        let mut events = events();
        events.retain(|event| !matches!(event, RowEvent::Found(_)));
        for status in [None, Some("Pending"), Some("Succeeded"), Some("Failed")] {
            events.extend([None, Some("ana")].map(|again| history(status, again)));
            let found = status.map(|status| MachineAction {
                status: Some(ActionStatus::parse(status)),
                ..MachineAction::bare(release())
            });
            events.extend(found.map(|record| RowEvent::Found(Box::new(record))));
        }
        for before in states().into_iter().flat_map(rows_to_release) {
            for event in &events {
                let is_watched = before.state.is_watched();
                if matches!(event, RowEvent::Found(_)) && !is_watched {
                    continue;
                }
                for on in &conditions {
                    let mut after = before.clone();
                    let next = transition(&mut after, event.clone(), on);
                    let is_good = is_release_borne_out(&before, event, &after, &next);
                    assert!(is_good, "{before:#?}\n{event:?} {on:?}\n{next:?}");
                }
            }
        }
    }

    #[test]
    fn an_unknown_release_is_looked_for_twice_before_it_leaves_again() {
        let settings = settings(Operation::Release, Precheck::ReadFirst, VERIFY_FOR);
        let on = conditions(&settings)[0];
        let rows = rows_to_release(RowState::Sending(CALL));
        let is_first = |row: &&Row| row.attempts == 1 && row.checked == Checked::At(NOW);
        let mut row = rows.iter().find(is_first).unwrap().clone();
        let lost = SendVerdict::Fault(CallEffect::Unknown, None);
        let next = transition(
            &mut row,
            RowEvent::Answered(lost, LastResponse::default()),
            &on,
        );
        let Next::To(RowState::Reread(first)) = next else {
            panic!("{next:?}");
        };
        row.state = RowState::Reread(first);
        let next = transition(&mut row, history(None, None), &on);
        let Next::To(RowState::Reread(second)) = next else {
            panic!("{next:?}");
        };
        assert_eq!(second.reason, RereadReason::UnknownResult);
        // A call that we gave up may still be delivered after two minutes.
        assert!(second.due.unwrap().since(NOW) >= Duration::from_secs(120));
        row.state = RowState::Reread(second);
        let mut found = row.clone();
        let next = transition(&mut found, history(Some("Pending"), None), &on);
        assert!(
            matches!(next, Next::To(state) if state.is_verify()),
            "{next:?}"
        );
        let next = transition(&mut row, history(None, None), &on);
        assert!(matches!(next, Next::To(RowState::RetryAt(_))), "{next:?}");
    }
}
