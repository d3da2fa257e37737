//! One unsettled row as the core holds it: its state, what was tried and what was seen.

use std::sync::Arc;

use jiff::Timestamp;

use crate::engine::skip_rules::SkipRules;
use crate::model::{
    ActionId, ActionStatus, ActionType, FollowUp, MachineAction, Operation, Outcome, RowContext,
    Settlement, Uptime,
};
use crate::retry::{OwnAttempts, RecordVerdict};
use crate::store::{Phase, QueuedRow};

use super::event::CallToken;

/// Where a row is. Whatever the lane keeps beside it is an index of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowState {
    /// It may be sent; one that had its turn and got no slot goes first.
    Ready { requeued: bool },
    /// It waits until it is known whether its type is denied.
    Held,
    /// Its cancel is at the ledger or on the wire.
    Sending(CallToken),
    /// Nothing is decided before its record was read.
    Reread(Reread),
    /// It may be sent again from then on.
    RetryAt(Uptime),
}

impl RowState {
    /// Returns the call that is under way for the row. The answer to any other call tells nothing about it.
    pub(super) fn call(self) -> Option<CallToken> {
        match self {
            Self::Sending(call) => Some(call),
            Self::Reread(reread) => reread.call,
            Self::Ready { .. } | Self::Held | Self::RetryAt(_) => None,
        }
    }

    /// Returns why the row's record is read, where it is.
    pub(super) fn reread(self) -> Option<RereadReason> {
        match self {
            Self::Reread(reread) => Some(reread.reason),
            _ => None,
        }
    }

    pub(super) fn is_precheck(self) -> bool {
        matches!(self.reread(), Some(RereadReason::Precheck { .. }))
    }

    /// Returns whether something of ours is known to the service by its id, and what becomes of it is read.
    pub(super) fn is_watched(self) -> bool {
        let reason = self.reread();
        self.is_verify() || reason == Some(RereadReason::FinalAnswer)
    }

    pub(super) fn is_verify(self) -> bool {
        matches!(self.reread(), Some(RereadReason::Verify { .. }))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reread {
    pub(super) reason: RereadReason,
    /// When it is read; `None` in input order, as soon as a batch is full.
    pub(super) due: Option<Uptime>,
    pub(super) missed: Missed,
    pub(super) faults: ReadFaults,
    /// The read that is under way.
    pub(super) call: Option<CallToken>,
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
    /// Its state was not read yet, or too long ago. `may_skip` lets it go without while reads are slow.
    Precheck { may_skip: bool },
    /// The service accepted the cancel while the action was open; watched until then, after so many reads.
    Verify { until: Uptime, reads: u32 },
    /// Nobody knows whether an attempt was applied.
    UnknownResult,
    /// The row's faults may be the service's: an answer to a read tells which.
    FaultCheck,
    /// The service accepted the cancel and called the action final in the same answer.
    FinalAnswer,
    /// The service did not find the action (404).
    NotFound,
    /// The service refused the cancel (400, 409 or another 4xx; 403 after an unknown result).
    Refused { forbidden: bool },
}

/// What reads that lacked an id say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Missed {
    Never,
    Unclear,
    Proven,
}

/// Whether a cancel of ours was applied, as far as anybody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    No,
    Unknown,
    /// Its result was unknown, and the record was open when it was read afterwards.
    OpenSince,
    Accepted,
}

/// How far the action was ever seen to be, while it was open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SeenOpen {
    No,
    Pending,
    InProgress,
}

/// Whether the record was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    Never,
    At(Uptime),
    /// It cannot be read although others can: the row does without.
    Unreadable,
}

/// How many proper answers the lane has had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ProperAnswers {
    pub(super) all: u64,
    pub(super) cancels: u64,
    pub(super) reads: u64,
}

/// The transient faults of one row's calls. Those with no proper answer between them are one: the service was down meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FaultCount {
    pub(super) raw: u32,
    /// Those of them that an answer parts from the one before.
    distinct: u32,
    /// How many answers there had been at the last one.
    answers: u64,
}

impl FaultCount {
    pub(super) fn add(&mut self, answers: u64) {
        self.distinct += u32::from(self.raw == 0 || answers > self.answers);
        self.raw = self.raw.saturating_add(1);
        self.answers = answers;
    }

    /// Returns how many count against the row: those after which there was an answer, so that the service was up.
    pub(super) fn counted(self, answers: u64) -> u32 {
        self.distinct - u32::from(self.raw > 0 && answers <= self.answers)
    }
}

/// The faults of a row's reads, told apart by answers of any kind and by those to reads.
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

/// The last response to a call for the row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LastResponse {
    /// In words, for the report.
    pub(super) text: String,
    /// Status and code, which tell refusals of one kind from others.
    pub(super) kind: String,
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: ActionId,
    /// From the input or, better, from a record.
    pub(super) action_type: Option<ActionType>,
    pub(super) context: RowContext,
    pub(super) comment: Arc<str>,
    /// The action that answers ours, or does the same: the release of a machine.
    pub(super) response_action: Option<ActionId>,
    /// Sendings so far, 429s included.
    pub(super) attempts: u32,
    pub(super) first_sent_at: Option<Timestamp>,
    /// The newest record seen.
    pub(super) record: Option<Box<MachineAction>>,
    pub(super) applied: Applied,
    pub(super) seen: SeenOpen,
    pub(super) checked: Checked,
    /// The transient faults of its cancels.
    pub(super) faults: FaultCount,
    /// Tries since the last answer of which no byte left.
    pub(super) not_sent: u32,
    /// The last token that was not taken for it.
    pub(super) refused_token: Option<u32>,
    /// How often a cancel was answered by 404 although the action could be read.
    pub(super) found_after_404: u32,
    pub(super) last: LastResponse,
    /// Changed by [`super::lane::Lane::apply`] alone.
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
                Phase::Fresh | Phase::Again => Applied::No,
                Phase::Sent | Phase::Unknown => Applied::Unknown,
                Phase::Accepted => Applied::Accepted,
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

    /// Takes in a record that was read or came with an answer.
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

    /// Returns how the newest record settles the row, where it does.
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

    /// Says why the action wasn't to be cancelled, where its cancel was accepted before the record told.
    pub(super) fn regret(&self, outcome: Outcome, rules: &SkipRules) -> Option<String> {
        let was_ours = matches!(outcome, Outcome::Cancelled | Outcome::Accepted);
        let record = self.record.as_deref().filter(|it| it.id == self.id)?;
        rules.regret(&self.context, record).filter(|_| was_ours)
    }

    /// Returns the phase to journal while the row is unsettled and nothing of it is on the wire.
    pub(super) fn phase(&self) -> Phase {
        match self.applied {
            Applied::Accepted => Phase::Accepted,
            Applied::Unknown => Phase::Unknown,
            Applied::No | Applied::OpenSince if self.attempts > 0 => Phase::Again,
            Applied::No | Applied::OpenSince => Phase::Fresh,
        }
    }

    /// Returns what the journal keeps of the newest record. Of another action than the row's, who asked for it and when is not
    /// the row's.
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

    /// Makes the last word on this row.
    pub(super) fn settlement(&self, outcome: Outcome, reason: String, at: Timestamp) -> Settlement {
        let was_in_progress = self.seen == SeenOpen::InProgress;
        let follow_up = match (&self.action_type, self.status()) {
            // Nobody is asked to act on what isn't to be touched.
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
