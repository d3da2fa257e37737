//! One unsettled row in memory: its state, its attempts, and the records seen.

use std::sync::Arc;

use jiff::Timestamp;

use crate::engine::skip_rules::SkipRules;
use crate::model::{
    ActionId, ActionStatus, ActionType, FollowUp, MachineAction, Operation, Outcome, RowContext,
    Settlement, Uptime,
};
use crate::retry::{OwnAttempts, RecordVerdict};
use crate::store::{QueuedRow, RowPhase};

use super::event::CallTicket;

/// A row's state; the lane's indexes follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowState {
    /// `requeued` rows had their turn and got no slot; they go first.
    Ready { requeued: bool },
    /// Waits until the core knows whether its type is denied.
    Held,
    /// Its cancel is at the ledger or on the wire.
    Sending(CallTicket),
    /// Its record is read before anything is decided.
    Reread(Reread),
    /// May be sent again from this time on.
    RetryAt(Uptime),
}

impl RowState {
    /// Returns the call in progress for the row. Answers to any other call don't concern it.
    pub(super) fn call(self) -> Option<CallTicket> {
        match self {
            Self::Sending(call) => Some(call),
            Self::Reread(reread) => reread.call,
            Self::Ready { .. } | Self::Held | Self::RetryAt(_) => None,
        }
    }

    pub(super) fn reread(self) -> Option<RereadReason> {
        match self {
            Self::Reread(reread) => Some(reread.reason),
            _ => None,
        }
    }

    pub(super) fn is_precheck(self) -> bool {
        matches!(self.reread(), Some(RereadReason::Precheck { .. }))
    }

    /// Returns whether the row's record is read to see the effect of an accepted call.
    pub(super) fn is_watched(self) -> bool {
        let reason = self.reread();
        self.is_verify() || reason == Some(RereadReason::FinalCancelAnswer)
    }

    pub(super) fn is_verify(self) -> bool {
        matches!(self.reread(), Some(RereadReason::Verify { .. }))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reread {
    pub(super) reason: RereadReason,
    /// `None`: in input order, as soon as a batch is full.
    pub(super) due: Option<Uptime>,
    pub(super) missed: Missed,
    pub(super) faults: ReadFaults,
    pub(super) call: Option<CallTicket>,
}

impl Reread {
    pub(super) fn at(reason: RereadReason, due: Uptime) -> Self {
        Self {
            due: Some(due),
            ..Self::in_order(reason)
        }
    }

    pub(super) fn in_order(reason: RereadReason) -> Self {
        Self {
            reason,
            due: None,
            missed: Missed::Never,
            faults: ReadFaults::default(),
            call: None,
        }
    }
}

/// Why a row's record is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RereadReason {
    /// Its state is unread or stale. With `may_skip` the row doesn't wait for it while reads are slow.
    Precheck { may_skip: bool },
    /// The service accepted the cancel of an open action; watch it until `until`. `reads` counts reads so far.
    Verify { until: Uptime, reads: u32 },
    /// An attempt may have been applied.
    UnknownResult,
    /// The faults may be the row's or the service's; an answer to a read tells which.
    FaultCheck,
    /// The service accepted the cancel and said in the same answer that the action is final.
    FinalCancelAnswer,
    /// 404.
    NotFound,
    /// 400, 409 or another 4xx; `forbidden`: 403 after an unknown result.
    Refused { forbidden: bool },
}

/// Whether reads that should have shown the row prove that it doesn't exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Missed {
    Never,
    Unclear,
    Proven,
}

/// Whether the service applied one of our calls, as far as we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    No,
    Unknown,
    /// The result was unknown, and a later read found the record open.
    OpenSince,
    Accepted,
}

/// The furthest open status seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SeenOpen {
    No,
    Pending,
    InProgress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    Never,
    At(Uptime),
    /// Its record can't be read although others' can; go on without it.
    Unreadable,
}

/// How many proper answers the lane got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ProperAnswers {
    pub(super) all: u64,
    pub(super) cancels: u64,
    pub(super) reads: u64,
}

/// Transient faults of one row's calls. Faults with no proper answer between them count once: the service was down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FaultCount {
    pub(super) raw: u32,
    distinct: u32,
    /// Proper answers at the time of the last fault.
    answers: u64,
}

impl FaultCount {
    pub(super) fn add(&mut self, answers: u64) {
        self.distinct += u32::from(self.raw == 0 || answers > self.answers);
        self.raw = self.raw.saturating_add(1);
        self.answers = answers;
    }

    /// Returns the faults that count against the row: those followed by a proper answer, which shows that the service
    /// was up.
    pub(super) fn counted(self, answers: u64) -> u32 {
        self.distinct - u32::from(self.raw > 0 && answers <= self.answers)
    }
}

/// Faults of a row's reads, counted against answers of any kind and against answers to reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReadFaults {
    pub(super) by_any: FaultCount,
    pub(super) by_reads: FaultCount,
}

impl ReadFaults {
    pub(super) fn add(&mut self, answers: ProperAnswers) {
        self.by_any.add(answers.all);
        self.by_reads.add(answers.reads);
    }
}

/// The last response to one of the row's calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LastResponse {
    /// For the report.
    pub(super) text: String,
    /// Status and code, to recognize identical refusals.
    pub(super) kind: String,
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: ActionId,
    /// From the record if there is one, otherwise from the input.
    pub(super) action_type: Option<ActionType>,
    pub(super) context: RowContext,
    pub(super) comment: Arc<str>,
    /// The action that our call created, or one that does the same: the release of a machine.
    pub(super) response_action: Option<ActionId>,
    /// Calls sent so far, including those answered by 429.
    pub(super) attempts: u32,
    pub(super) first_sent_at: Option<Timestamp>,
    pub(super) record: Option<Box<MachineAction>>,
    pub(super) applied: Applied,
    pub(super) seen: SeenOpen,
    pub(super) checked: Checked,
    /// Transient faults of its cancels.
    pub(super) faults: FaultCount,
    /// Calls in a row that failed before a byte left.
    pub(super) not_sent: u32,
    /// The last token that a 401 refused for this row.
    pub(super) refused_token: Option<u32>,
    /// How many times a cancel got 404 although the action could be read.
    pub(super) found_after_404: u32,
    pub(super) last: LastResponse,
    /// Only [`super::lane::Lane::apply`] changes it.
    pub(super) state: RowState,
}

impl Row {
    pub(super) fn new(queued: QueuedRow, comment: Arc<str>, checked: Checked) -> Self {
        let was_in_progress =
            |status: &Option<ActionStatus>| *status == Some(ActionStatus::InProgress);
        let seen =
            if was_in_progress(&queued.status_before) || was_in_progress(&queued.action_status) {
                SeenOpen::InProgress
            } else if queued.was_seen_open() {
                SeenOpen::Pending
            } else {
                SeenOpen::No
            };
        Self {
            id: queued.id,
            action_type: queued.context.action_type.clone(),
            context: queued.context,
            comment,
            response_action: queued.response_action,
            attempts: queued.attempts,
            first_sent_at: queued.first_sent_at,
            record: None,
            applied: match queued.phase {
                RowPhase::Fresh | RowPhase::Again => Applied::No,
                RowPhase::Sent | RowPhase::Unknown => Applied::Unknown,
                RowPhase::Accepted => Applied::Accepted,
            },
            seen,
            checked,
            faults: FaultCount::default(),
            not_sent: 0,
            refused_token: None,
            found_after_404: 0,
            last: LastResponse::default(),
            state: RowState::Held,
        }
    }

    /// Stores a record that was read or came with an answer.
    pub(super) fn see(&mut self, record: Box<MachineAction>) {
        if record.id != self.id {
            self.response_action = Some(record.id);
        }
        self.seen = self.seen.max(match &record.status {
            Some(ActionStatus::InProgress) => SeenOpen::InProgress,
            Some(status) if status.is_open() => SeenOpen::Pending,
            _ => SeenOpen::No,
        });
        if record.action_type.is_some() {
            self.action_type.clone_from(&record.action_type);
        }
        self.record = Some(record);
    }

    pub(super) fn status(&self) -> Option<&ActionStatus> {
        self.record.as_ref()?.status.as_ref()
    }

    /// Returns the outcome if the newest record settles the row.
    pub(super) fn outcome_by_record(&self, operation: Operation) -> Option<Outcome> {
        let history = OwnAttempts {
            comment_sent: (self.attempts > 0).then_some(&*self.comment),
            first_sent_at: self.first_sent_at,
            was_accepted: self.applied == Applied::Accepted,
            fate_unknown: matches!(self.applied, Applied::Unknown | Applied::OpenSince),
            was_open: self.seen != SeenOpen::No,
        };
        match operation.judge_record(self.record.as_ref()?, &history) {
            RecordVerdict::Settle(outcome) => Some(outcome),
            RecordVerdict::Open => None,
        }
    }

    /// Returns why the action should not have been cancelled, if its record came only after the cancel was accepted.
    pub(super) fn regret(&self, outcome: Outcome, rules: &SkipRules) -> Option<String> {
        let was_ours = matches!(outcome, Outcome::Cancelled | Outcome::Accepted);
        let record = self.record.as_deref().filter(|it| it.id == self.id)?;
        rules.regret(&self.context, record).filter(|_| was_ours)
    }

    /// Returns the phase to journal while the row is unsettled and has no call on the wire.
    pub(super) fn phase(&self) -> RowPhase {
        match self.applied {
            Applied::Accepted => RowPhase::Accepted,
            Applied::Unknown => RowPhase::Unknown,
            Applied::No | Applied::OpenSince if self.attempts > 0 => RowPhase::Again,
            Applied::No | Applied::OpenSince => RowPhase::Fresh,
        }
    }

    /// Returns what to journal of the newest record. If it is another action's (a release), its requestor and dates are
    /// left out: they aren't the row's.
    pub(super) fn record_to_keep(&self) -> Option<MachineAction> {
        let record = self.record.as_deref()?;
        if record.id == self.id {
            return Some(record.clone());
        }
        Some(MachineAction {
            status: record.status.clone(),
            action_type: record.action_type.clone(),
            ..MachineAction::bare(record.id)
        })
    }

    pub(super) fn settlement(&self, outcome: Outcome, reason: String, at: Timestamp) -> Settlement {
        let was_in_progress = self.seen == SeenOpen::InProgress;
        let follow_up = match (&self.action_type, self.status()) {
            // Nobody needs to act on a skipped machine.
            _ if outcome == Outcome::Skipped => None,
            (Some(action_type), Some(status)) => {
                FollowUp::needed(action_type, status, was_in_progress)
            }
            _ => None,
        };
        Settlement {
            outcome,
            reason,
            record: self.record_to_keep(),
            follow_up,
            settled_at: at,
        }
    }
}
