//! What each event does to a row: one pure and total function.
//!
//! It changes what the row knows, and returns where the row goes. The lane puts it there; nothing else decides about rows.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::{ActionStatus, MachineAction, Moment, Outcome, RunId, Uptime};
use crate::retry::{CancelVerdict, Fate, RetrySettings, longest_backoff, wait_of, watch_pause};

use super::event::CallToken;
use super::reasons;
use super::row::{
    AnswerCounts, Applied, Checked, LastResponse, Missed, ReadFaults, Reread, RereadReason, Row,
    RowState,
};
use super::settings::CoreSettings;
use crate::engine::rules::Precheck;

/// A cancel that finds nothing while a read does is sent once more, for the service's halves may disagree for a
/// moment; not for ever.
const FOUND_AFTER_404: u32 = 2;

/// So often a row of which no byte left keeps its turn.
const KEEPS_ITS_TURN: u32 = 2;

/// Something that happened to a row. What does not fit its state changes nothing.
#[derive(Clone, Debug)]
pub(super) enum RowEvent {
    /// The journal handed it out; names the other run that is working on its action.
    Loaded {
        conflict: Option<RunId>,
        permission: Permission,
    },
    /// It may be sent by this call.
    Turn {
        call: CallToken,
        permission: Permission,
        reads_are_slow: bool,
    },
    /// It is known whether its type is denied.
    TypeDecided,
    /// It may no longer be sent: its type is denied.
    TypeDenied,
    /// This read is to bring its record.
    Reading(CallToken),
    /// Its call got no slot, did not leave, or brought nothing about it.
    CallDropped,
    /// Another run has sent a cancel for its action and not settled it.
    Conflict(RunId),
    /// Its cancel left.
    Sent(Timestamp),
    Answered(CancelVerdict, LastResponse),
    /// Its record was read.
    Found(Box<MachineAction>),
    /// A read lacked it; a complete one proves that the service does not know it.
    Missing {
        is_proven: bool,
    },
    /// Its record cannot be read: others' can, or none may.
    Unreadable,
    /// A read brought no proper answer; the next one is due then.
    ReadFailed {
        due: Uptime,
        is_alone: bool,
        /// Whether the service answers no cancels either.
        cancels_are_down: bool,
    },
}

/// Whether a row's type may be cancelled with this token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    Open,
    InQuestion,
    Denied,
}

/// Where a row goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    To(RowState),
    /// It has its last word, with the reason for the report.
    Done(Outcome, String),
    /// It has failed, for the service refused its cancel for good.
    Refused(String),
    /// It stays unsettled in the journal, and is loaded again in a later pass or by whoever resumes the run.
    Defer(Deferral),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deferral {
    Conflict(RunId),
    DeniedType,
    /// A plan has what it wanted to know of it, or leaves that to the run.
    Planned,
    /// A plan did not find it: lists lag, so one look proves nothing.
    MissingOnce,
}

/// What a transition may depend on beside the row and the event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions<'run> {
    pub(super) now: Moment,
    pub(super) settings: &'run CoreSettings,
    /// Whether cancels may be sent. Else states are read for a plan.
    pub(super) is_armed: bool,
    pub(super) may_read: bool,
    pub(super) answers: AnswerCounts,
    /// Whether all other rows have had their share of faults, so that none can tell this one's from the service's.
    pub(super) is_alone: bool,
    /// Drawn from 0 to 1.
    pub(super) chance: f64,
}

impl Conditions<'_> {
    fn max_attempts(&self) -> u32 {
        self.settings.retry.max_attempts
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
        (RowState::Held, RowEvent::Loaded { .. }) if !on.is_armed => into_plan(row, on),
        (
            RowState::Held,
            RowEvent::Loaded {
                conflict: Some(run),
                ..
            },
        )
        | (RowState::Sending(_), RowEvent::Conflict(run)) => Next::Defer(Deferral::Conflict(run)),
        (RowState::Held, RowEvent::Loaded { permission, .. }) => on_loaded(row, permission, on),
        (
            RowState::Ready { .. } | RowState::RetryAt(_) | RowState::Reread(_),
            RowEvent::Turn {
                call,
                permission,
                reads_are_slow,
            },
        ) => on_turn(row, call, permission, reads_are_slow, on),
        (RowState::Held, RowEvent::TypeDecided) => Next::To(RowState::Ready { requeued: true }),
        (state, RowEvent::TypeDenied) if row.attempts == 0 && !is_sending(state) => {
            Next::Defer(Deferral::DeniedType)
        }
        (RowState::Reread(reread), RowEvent::Reading(call)) => Next::To(RowState::Reread(Reread {
            call: Some(call),
            ..reread
        })),
        (RowState::Sending(_), RowEvent::CallDropped) => {
            Next::To(RowState::Ready { requeued: true })
        }
        (RowState::Reread(reread), RowEvent::CallDropped) => again(reread, on.now.uptime),
        (RowState::Sending(_), RowEvent::Sent(at)) => {
            row.attempts += 1;
            row.first_sent_at.get_or_insert(at);
            Next::To(row.state)
        }
        (RowState::Sending(_), RowEvent::Answered(answer, last)) => {
            on_answer(row, answer, last, on)
        }
        (RowState::Reread(reread), RowEvent::Found(record)) => on_found(row, reread, record, on),
        (RowState::Reread(reread), RowEvent::Missing { is_proven }) => {
            on_missing(row, reread, is_proven, on)
        }
        (RowState::Reread(reread), RowEvent::Unreadable) => unreadable(row, reread, on),
        (
            RowState::Reread(reread),
            RowEvent::ReadFailed {
                due,
                is_alone,
                cancels_are_down,
            },
        ) => on_read_failed(row, reread, due, is_alone, cancels_are_down, on),
        (state, _) => Next::To(state),
    }
}

fn is_sending(state: RowState) -> bool {
    matches!(state, RowState::Sending(_))
}

/// Takes a row into a plan if its state is wanted. What was sent before is the run's to read.
fn into_plan(row: &Row, on: &Conditions<'_>) -> Next {
    if row.attempts == 0 && row.applied == Applied::No && needs_reading(row, on) {
        precheck(row, on)
    } else {
        Next::Defer(Deferral::Planned)
    }
}

fn on_loaded(row: &Row, permission: Permission, on: &Conditions<'_>) -> Next {
    match row.applied {
        _ if permission == Permission::Denied && row.attempts == 0 => {
            Next::Defer(Deferral::DeniedType)
        }
        Applied::Unknown => reread(RereadReason::UnknownResult, on.now.uptime),
        Applied::Accepted => {
            // The first read is due at once; where none is to follow, it is the last one.
            let reads = u32::from(on.settings.verify_for.is_none());
            let until = on.after(on.settings.verify_for.unwrap_or_default());
            reread(RereadReason::Verify { until, reads }, on.now.uptime)
        }
        Applied::No | Applied::OpenSince if needs_reading(row, on) => precheck(row, on),
        Applied::No | Applied::OpenSince => Next::To(RowState::Ready { requeued: false }),
    }
}

fn on_turn(
    row: &Row,
    call: CallToken,
    permission: Permission,
    reads_are_slow: bool,
    on: &Conditions<'_>,
) -> Next {
    let may_go = match row.state {
        RowState::Reread(Reread {
            reason: RereadReason::Precheck { may_skip },
            ..
        }) => may_skip && reads_are_slow,
        RowState::RetryAt(due) => due <= on.now.uptime,
        RowState::Ready { .. } => true,
        RowState::Held | RowState::Sending(_) | RowState::Reread(_) => false,
    };
    if !may_go || !on.is_armed {
        return Next::To(row.state);
    }
    match permission {
        Permission::InQuestion => return Next::To(RowState::Held),
        Permission::Denied if row.attempts == 0 => return Next::Defer(Deferral::DeniedType),
        Permission::Denied | Permission::Open => {}
    }
    if is_used_up(row, on) {
        return route(row, on.now.uptime, on);
    }
    if row.attempts == 0
        && let Some(outcome) = row.outcome_by_record()
    {
        return by_record(row, outcome);
    }
    if needs_reading(row, on) && !(reads_are_slow && may_skip(row, on)) {
        return precheck(row, on);
    }
    Next::To(RowState::Sending(call))
}

fn on_answer(
    row: &mut Row,
    answer: CancelVerdict,
    last: LastResponse,
    on: &Conditions<'_>,
) -> Next {
    if let CancelVerdict::NoAttempt = answer {
        row.attempts = row.attempts.saturating_sub(1);
        if row.attempts == 0 {
            row.first_sent_at = None;
        }
        row.not_sent = row.not_sent.saturating_add(1);
        return Next::To(if row.not_sent <= KEEPS_ITS_TURN {
            RowState::Ready { requeued: true }
        } else {
            // It may be this row's own fault: others get their turn.
            RowState::RetryAt(on.backoff(row.not_sent))
        });
    }
    row.not_sent = 0;
    row.last = last;
    match answer {
        CancelVerdict::Cancelled(record) => {
            row.applied = Applied::Accepted;
            row.see(record);
            by_record(row, row.outcome_by_record().unwrap_or(Outcome::Cancelled))
        }
        CancelVerdict::Accepted(record) => {
            row.applied = Applied::Accepted;
            if let Some(record) = record {
                row.see(record);
            }
            accepted(row, on)
        }
        CancelVerdict::CalledFinal(record) => {
            row.applied = Applied::Accepted;
            row.see(record);
            reread_first(row, RereadReason::FinalAnswer, on.now.uptime, on)
        }
        CancelVerdict::NotFound => {
            let due = on.after(on.settings.retry.missing_again);
            reread_first(row, RereadReason::NotFound, due, on)
        }
        CancelVerdict::Refused => {
            let reason = RereadReason::Refused { forbidden: false };
            reread_first(row, reason, on.now.uptime, on)
        }
        CancelVerdict::Forbidden if row.applied == Applied::Unknown => {
            let reason = RereadReason::Refused { forbidden: true };
            reread_first(row, reason, on.now.uptime, on)
        }
        CancelVerdict::Forbidden => refused(row, true),
        CancelVerdict::Fault(fate, hint) => {
            if fate == Fate::Unknown {
                row.applied = Applied::Unknown;
            }
            row.faults.add(on.answers.cancels);
            let asked = hint.map(|hint| wait_of(on.now, hint));
            let asked = asked.filter(|&wait| wait <= on.settings.retry.hint_bound);
            let due = on.backoff(row.faults.raw);
            route(row, due.max(on.after(asked.unwrap_or_default())), on)
        }
        CancelVerdict::Throttled(_) | CancelVerdict::SignInAgain | CancelVerdict::NoAttempt => {
            Next::To(RowState::Ready { requeued: true })
        }
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
    if row.attempts == 0
        && let Some(reason) = rejected
    {
        return Next::Done(Outcome::Skipped, reason);
    }
    if let Some(outcome) = row.outcome_by_record() {
        return by_record(row, outcome);
    }
    let rejected = rejected.or_else(rejected_open);
    // The record is open, so nothing that left was applied so far.
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
            // Its record may have another type or machine by now.
            _ if was_unknown => Next::Done(Outcome::Failed, reasons::of_rejected_now(&reason)),
            _ => Next::Done(Outcome::Skipped, reasons::of_rejected_now(&reason)),
        };
    }
    match was.reason {
        RereadReason::Precheck { .. } if !on.is_armed => Next::Defer(Deferral::Planned),
        RereadReason::Precheck { .. } => Next::To(RowState::Ready { requeued: false }),
        RereadReason::Verify { until, reads } => verify(row, until, reads, on),
        RereadReason::FinalAnswer => accepted(row, on),
        RereadReason::NotFound => {
            row.found_after_404 += 1;
            if row.found_after_404 < FOUND_AFTER_404 {
                return Next::To(RowState::RetryAt(on.now.uptime));
            }
            refused(row, false)
        }
        RereadReason::Refused { forbidden } => refused(row, forbidden),
        // The service is up and answers about this very action: its faults are its own.
        RereadReason::FaultCheck => give_up(row, on),
        RereadReason::UnknownResult => route(row, on.backoff(row.faults.raw), on),
    }
}

/// Two words of the service settle a row that it does not know: they may come from halves of it that disagree for a moment.
fn on_missing(row: &mut Row, was: Reread, is_proven: bool, on: &Conditions<'_>) -> Next {
    if !on.is_armed {
        // A plan does not wait.
        return if is_proven {
            Next::Defer(Deferral::MissingOnce)
        } else {
            again(was, on.now.uptime)
        };
    }
    let is_second = was.missed == Missed::Proven || was.reason == RereadReason::NotFound;
    let missed = if is_proven {
        Missed::Proven
    } else {
        was.missed.max(Missed::Unclear)
    };
    let was = Reread { missed, ..was };
    if !is_proven || !is_second {
        // Late enough to be another word even where it goes along with reads that are due a little later.
        let due = soon(&on.settings.retry, on.now.uptime).after(on.settings.retry.missing_again);
        return again(was, due);
    }
    let was_seen = row.applied == Applied::Accepted || row.record.is_some();
    match was.reason {
        _ if !was_seen => {
            let reason = reasons::of_missing(row.context.tenant.as_deref());
            Next::Done(Outcome::NotFound, reason)
        }
        RereadReason::NotFound => {
            Next::Done(Outcome::NotFound, reasons::of_vanished(&row.last.text))
        }
        _ if row.attempts == 0 => Next::Done(Outcome::NotFound, reasons::VANISHED.to_owned()),
        // The service answered about it before; a list that lacks it proves nothing.
        _ => unreadable(row, was, on),
    }
}

/// Decides by what the cancel's answers said.
fn unreadable(row: &mut Row, was: Reread, on: &Conditions<'_>) -> Next {
    match was.reason {
        RereadReason::Precheck { .. } if !on.is_armed => Next::Defer(Deferral::Planned),
        RereadReason::Precheck { may_skip } if may_skip || row.attempts > 0 => {
            row.checked = Checked::Unreadable;
            Next::To(RowState::Ready { requeued: false })
        }
        RereadReason::Precheck { .. } => Next::Done(Outcome::Failed, reasons::NOT_READ.to_owned()),
        RereadReason::Verify { .. } => stays_accepted(row, was.missed),
        RereadReason::Refused { .. } if row.applied == Applied::Unknown => give_up(row, on),
        RereadReason::Refused { forbidden } => refused(row, forbidden),
        RereadReason::NotFound => {
            Next::Done(Outcome::NotFound, reasons::of_unconfirmed(&row.last.text))
        }
        RereadReason::FinalAnswer => match row.outcome_by_record() {
            Some(outcome) => by_record(row, outcome),
            None => stays_accepted(row, was.missed),
        },
        RereadReason::UnknownResult | RereadReason::FaultCheck => {
            // It is sent again and not read again.
            row.checked = Checked::Unreadable;
            route(row, on.backoff(row.faults.raw), on)
        }
    }
}

fn on_read_failed(
    row: &mut Row,
    mut was: Reread,
    due: Uptime,
    is_alone: bool,
    cancels_are_down: bool,
    on: &Conditions<'_>,
) -> Next {
    was.faults.add(on.answers);
    let counted = match was.reason {
        // An accepted cancel has its time, however many reads of its record fail in it.
        RereadReason::Verify { until, .. } if until > on.now.uptime => {
            return again(was, due.min(until));
        }
        // Nothing else can be done with it, so only reads tell; and another of its batch may be at fault.
        RereadReason::Precheck { .. } if !is_alone => 0,
        RereadReason::Precheck { .. } => was.faults.by_reads.counted(on.answers.reads),
        _ => was.faults.by_any.counted(on.answers.all),
    };
    let may_send = matches!(
        was.reason,
        RereadReason::UnknownResult | RereadReason::FaultCheck
    );
    if counted >= on.max_attempts() {
        unreadable(row, was, on)
    } else if may_send && was.faults.by_any.raw >= on.max_attempts() && !cancels_are_down {
        // Nothing tells whether the row or the service is at fault. A cancel may: sent twice, it has no further effect.
        Next::To(RowState::RetryAt(due))
    } else {
        again(was, due)
    }
}

/// Sends a row where it belongs now: to be read, to be sent again from `due` on, or to its last word.
fn route(row: &Row, due: Uptime, on: &Conditions<'_>) -> Next {
    if row.applied == Applied::Unknown && is_readable(row, on) {
        reread(RereadReason::UnknownResult, on.now.uptime)
    } else if is_used_up(row, on) {
        give_up(row, on)
    } else if row.faults.raw >= on.max_attempts() && on.is_alone && is_readable(row, on) {
        reread(RereadReason::FaultCheck, due)
    } else {
        Next::To(RowState::RetryAt(due))
    }
}

fn is_readable(row: &Row, on: &Conditions<'_>) -> bool {
    on.may_read && row.checked != Checked::Unreadable
}

fn is_used_up(row: &Row, on: &Conditions<'_>) -> bool {
    let most = on.max_attempts();
    // Where nothing can be read and no other row is left to tell, every fault counts.
    let all_count = on.is_alone && !is_readable(row, on);
    row.faults.counted(on.answers.cancels) >= most || (all_count && row.faults.raw >= most)
}

/// Returns whether a row's state is unknown or too old, and reading it is wanted.
fn needs_reading(row: &Row, on: &Conditions<'_>) -> bool {
    on.settings.rules.precheck == Precheck::ReadFirst
        && match row.checked {
            Checked::Never => true,
            Checked::At(at) => on.now.uptime.since(at) >= on.settings.retry.stale_after,
            Checked::Unreadable => false,
        }
}

fn may_skip(row: &Row, on: &Conditions<'_>) -> bool {
    matches!(row.checked, Checked::At(_)) || on.settings.rules.may_skip_precheck(&row.context)
}

fn precheck(row: &Row, on: &Conditions<'_>) -> Next {
    let may_skip = may_skip(row, on);
    let reason = RereadReason::Precheck { may_skip };
    Next::To(RowState::Reread(Reread::in_order(reason)))
}

fn reread(reason: RereadReason, due: Uptime) -> Next {
    Next::To(RowState::Reread(Reread::at(reason, due)))
}

/// Reads the record before the answer counts, unless none may be read.
fn reread_first(row: &mut Row, reason: RereadReason, due: Uptime, on: &Conditions<'_>) -> Next {
    if on.may_read {
        reread(reason, due)
    } else {
        unreadable(row, Reread::at(reason, due), on)
    }
}

/// Reads for the same reason again. A precheck that met nothing odd keeps its place in input order.
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

/// Reads that are due by then go along with one that is due now, so that many become few.
pub(super) fn soon(retry: &RetrySettings, now: Uptime) -> Uptime {
    now.after(retry.missing_again / 6)
}

/// The service took a cancel, and its record is open as far as it was seen.
fn accepted(row: &Row, on: &Conditions<'_>) -> Next {
    match on.settings.verify_for {
        Some(verify_for) if on.may_read => verify(row, on.after(verify_for), 0, on),
        _ => stays_accepted(row, Missed::Never),
    }
}

/// Plans the next read of a record that is still open; the last one is due just when time is up.
fn verify(row: &Row, until: Uptime, reads: u32, on: &Conditions<'_>) -> Next {
    // A read that goes along with another's comes a little early, and is the last one all the same.
    if reads > 0 && soon(&on.settings.retry, on.now.uptime) >= until {
        return stays_accepted(row, Missed::Never);
    }
    let due = on.after(watch_pause(&on.settings.retry, reads));
    let reads = reads + 1;
    reread(RereadReason::Verify { until, reads }, due.min(until))
}

fn by_record(row: &Row, outcome: Outcome) -> Next {
    Next::Done(outcome, reasons::of_record(row, outcome))
}

/// Its cancel was accepted, and its record was not seen to turn Cancelled.
fn stays_accepted(row: &Row, missed: Missed) -> Next {
    let is_gone = missed == Missed::Proven;
    Next::Done(
        Outcome::Accepted,
        reasons::of_accepted(row.status().map(ActionStatus::as_str), is_gone),
    )
}

/// The service refused its cancel for good.
fn refused(row: &Row, forbidden: bool) -> Next {
    if forbidden {
        Next::Done(Outcome::Forbidden, reasons::of_forbidden(row))
    } else {
        Next::Refused(reasons::of_refusal(row))
    }
}

/// Its attempts are used up.
fn give_up(row: &Row, on: &Conditions<'_>) -> Next {
    let outcome = if row.applied == Applied::Unknown {
        Outcome::Unknown
    } else {
        Outcome::Failed
    };
    Next::Done(outcome, reasons::of_giving_up(row, on.may_read))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::core::CommentRule;
    use crate::engine::rules::Rules;
    use crate::model::{ActionId, ActionType, RowContext};
    use crate::store::RunKey;

    use super::super::row::{FaultCount, SeenOpen};

    const CALL: CallToken = CallToken(1);

    fn now() -> Moment {
        Moment {
            uptime: Uptime::from_nanos(1_000_000_000_000),
            wall: Timestamp::from_second(1_800_000_000).unwrap(),
        }
    }

    fn settings(precheck: Precheck, verify_for: Option<Duration>) -> CoreSettings {
        CoreSettings {
            run: RunKey(1),
            retry: RetrySettings::default(),
            comment: CommentRule {
                always: None,
                otherwise: Arc::from("x"),
            },
            rules: Arc::new(Rules {
                precheck,
                ..Rules::default()
            }),
            verify_for,
            reach_timeout: Duration::from_secs(60),
            give_up_after: Duration::from_secs(3600),
            max_failures: None,
            seed: 1,
        }
    }

    fn id() -> ActionId {
        ActionId::from_bytes([1; 16]).unwrap()
    }

    fn record(status: &str) -> Box<MachineAction> {
        Box::new(MachineAction {
            status: Some(ActionStatus::parse(status)),
            action_type: Some(ActionType::Isolate),
            ..MachineAction::bare(id())
        })
    }

    const STATUSES: [&str; 7] = [
        "Pending",
        "InProgress",
        "Cancelled",
        "Succeeded",
        "Failed",
        "TimeOut",
        "Odd",
    ];

    fn states() -> Vec<RowState> {
        let until = |seconds| now().uptime.after(Duration::from_secs(seconds));
        let reasons = [
            RereadReason::Precheck { may_skip: true },
            RereadReason::Precheck { may_skip: false },
            RereadReason::Verify {
                until: until(60),
                reads: 0,
            },
            RereadReason::Verify {
                until: until(0),
                reads: 9,
            },
            RereadReason::UnknownResult,
            RereadReason::FaultCheck,
            RereadReason::FinalAnswer,
            RereadReason::NotFound,
            RereadReason::Refused { forbidden: false },
            RereadReason::Refused { forbidden: true },
        ];
        let mut states = vec![
            RowState::Ready { requeued: false },
            RowState::Ready { requeued: true },
            RowState::Held,
            RowState::Sending(CALL),
            RowState::RetryAt(now().uptime),
        ];
        for reason in reasons {
            for missed in [Missed::Never, Missed::Unclear, Missed::Proven] {
                states.push(RowState::Reread(Reread {
                    missed,
                    ..Reread::at(reason, now().uptime)
                }));
            }
        }
        states
    }

    fn events() -> Vec<RowEvent> {
        let run = RunId::new(uuid::Uuid::from_u128(7));
        let mut events = vec![
            RowEvent::TypeDecided,
            RowEvent::TypeDenied,
            RowEvent::Reading(CALL),
            RowEvent::CallDropped,
            RowEvent::Conflict(run),
            RowEvent::Sent(now().wall),
            RowEvent::Missing { is_proven: true },
            RowEvent::Missing { is_proven: false },
            RowEvent::Unreadable,
        ];
        for permission in [Permission::Open, Permission::InQuestion, Permission::Denied] {
            for conflict in [None, Some(run)] {
                events.push(RowEvent::Loaded {
                    conflict,
                    permission,
                });
            }
            for reads_are_slow in [false, true] {
                events.push(RowEvent::Turn {
                    call: CALL,
                    permission,
                    reads_are_slow,
                });
            }
        }
        for (is_alone, cancels_are_down) in [(true, true), (true, false), (false, false)] {
            events.push(RowEvent::ReadFailed {
                due: now().uptime,
                is_alone,
                cancels_are_down,
            });
        }
        let mut answers = vec![
            CancelVerdict::Accepted(None),
            CancelVerdict::NotFound,
            CancelVerdict::Refused,
            CancelVerdict::Forbidden,
            CancelVerdict::NoAttempt,
            CancelVerdict::SignInAgain,
            CancelVerdict::Throttled(crate::model::Throttle::default()),
            CancelVerdict::Fault(Fate::Unknown, None),
            CancelVerdict::Fault(Fate::NotApplied, None),
        ];
        for status in STATUSES {
            events.push(RowEvent::Found(record(status)));
            answers.push(match record(status).status {
                Some(ActionStatus::Cancelled) => CancelVerdict::Cancelled(record(status)),
                Some(known) if known.is_final() => CancelVerdict::CalledFinal(record(status)),
                _ => CancelVerdict::Accepted(Some(record(status))),
            });
        }
        let answers = answers.into_iter();
        events.extend(answers.map(|answer| RowEvent::Answered(answer, LastResponse::default())));
        events
    }

    /// Every combination of facts that a row can have with this state.
    fn rows(state: RowState) -> Vec<Row> {
        let mut used_up = FaultCount::default();
        (0..9).for_each(|answers| used_up.add(answers));
        let checks = [
            Checked::Never,
            Checked::At(now().uptime),
            Checked::At(Uptime::MIN),
            Checked::Unreadable,
        ];
        let records = [None]
            .into_iter()
            .chain(STATUSES.map(|status| Some(record(status))));
        let records: Vec<_> = records.collect();
        let mut rows = Vec::new();
        for attempts in [0, 1] {
            for applied in [
                Applied::No,
                Applied::Unknown,
                Applied::OpenSince,
                Applied::Accepted,
            ] {
                for checked in checks {
                    for record in &records {
                        for faults in [FaultCount::default(), used_up] {
                            rows.push(Row {
                                id: id(),
                                action_type: Some(ActionType::Isolate),
                                context: RowContext::default(),
                                comment: Arc::from("x"),
                                attempts,
                                first_sent_at: (attempts > 0).then_some(now().wall),
                                record: record.clone(),
                                applied,
                                seen: SeenOpen::Pending,
                                checked,
                                faults,
                                not_sent: 2,
                                refused_token: None,
                                found_after_404: 1,
                                last: LastResponse::default(),
                                state,
                            });
                        }
                    }
                }
            }
        }
        rows.retain(is_possible);
        rows
    }

    /// Nothing can be known of a cancel that never left, and only an accepted one is watched.
    fn is_possible(row: &Row) -> bool {
        let is_of_accepted = match row.state {
            RowState::Reread(reread) => matches!(
                reread.reason,
                RereadReason::Verify { .. } | RereadReason::FinalAnswer
            ),
            _ => false,
        };
        let was_sent = row.attempts > 0;
        let may_be_unsent = row.state.is_precheck() || row.state.reread().is_none();
        (was_sent || (row.applied == Applied::No && may_be_unsent))
            && is_of_accepted == (row.applied == Applied::Accepted)
    }

    /// Says what is wrong with a step, if anything is.
    fn fault_of(before: &Row, event: &RowEvent, after: &Row, next: &Next) -> Option<&'static str> {
        let status = after.status();
        let is_cancelled = status == Some(&ActionStatus::Cancelled);
        let is_final = status.is_some_and(ActionStatus::is_final);
        let refused = matches!(event, RowEvent::Answered(CancelVerdict::Forbidden, _));
        let reason = before.state.reread();
        match next {
            Next::Done(Outcome::Cancelled | Outcome::AlreadyCancelled, _) if !is_cancelled => {
                Some("no record says Cancelled")
            }
            Next::Done(Outcome::AlreadyFinal | Outcome::TooLate, _)
                if !is_final || is_cancelled =>
            {
                Some("no record says that it ended")
            }
            Next::Done(Outcome::TooLate | Outcome::Accepted, _)
                if after.applied != Applied::Accepted =>
            {
                Some("no cancel was accepted")
            }
            Next::Done(Outcome::Failed, _) | Next::Refused(_)
                if after.applied == Applied::Unknown =>
            {
                Some("failed, and a cancel may have been applied")
            }
            Next::Done(Outcome::Unknown, _) if after.applied != Applied::Unknown => {
                Some("unknown, and nothing is")
            }
            Next::Done(Outcome::NotFound, _)
                if !matches!(event, RowEvent::Missing { is_proven: true })
                    && reason != Some(RereadReason::NotFound)
                    && !matches!(event, RowEvent::Answered(CancelVerdict::NotFound, _)) =>
            {
                Some("nothing says that it is missing")
            }
            Next::Done(Outcome::Forbidden, _)
                if !refused && reason != Some(RereadReason::Refused { forbidden: true }) =>
            {
                Some("no 403")
            }
            Next::To(RowState::Sending(_)) if !matches!(before.state, RowState::Sending(_)) => {
                match event {
                    _ if before.applied == Applied::Accepted => Some("sent after an acceptance"),
                    RowEvent::Turn {
                        permission: Permission::Open,
                        ..
                    } => None,
                    RowEvent::Turn {
                        permission: Permission::Denied,
                        ..
                    } if before.attempts > 0 => None,
                    _ => Some("sent although nothing let it"),
                }
            }
            Next::Defer(Deferral::DeniedType) if before.attempts > 0 => {
                Some("left for later after it was sent")
            }
            _ => None,
        }
    }

    #[test]
    fn whatever_happens_in_whatever_state_no_row_says_or_does_what_nothing_bears_out() {
        let all = [
            settings(Precheck::ReadFirst, Some(Duration::from_secs(120))),
            settings(Precheck::Skip, None),
        ];
        let mut conditions = Vec::new();
        for settings in &all {
            for (may_read, is_alone, is_armed) in [
                (true, true, true),
                (true, false, true),
                (false, true, true),
                (true, false, false),
            ] {
                conditions.push(Conditions {
                    now: now(),
                    settings,
                    is_armed,
                    may_read,
                    answers: AnswerCounts {
                        all: 9,
                        cancels: 9,
                        reads: 9,
                    },
                    is_alone,
                    chance: 0.5,
                });
            }
        }
        let events = events();
        let mut steps = 0;
        for before in states().into_iter().flat_map(rows) {
            for (event, on) in events
                .iter()
                .flat_map(|event| conditions.iter().map(move |on| (event, on)))
            {
                let mut after = before.clone();
                let next = transition(&mut after, event.clone(), on);
                assert_eq!(after.state, before.state, "the lane alone changes it");
                let fault = fault_of(&before, event, &after, &next);
                let is_new = !is_sending(before.state);
                let leaves = is_new && matches!(next, Next::To(RowState::Sending(_)));
                assert!(on.is_armed || !leaves, "a plan sends nothing");
                assert_eq!(fault, None, "{before:#?}\n{event:?} {on:?}\n{next:?}");
                steps += 1;
            }
        }
        assert!(steps > 100_000, "{steps}");
    }
}
