//! One unsettled row as the core holds it: what was tried, what was seen, and what is in doubt.

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{
    ActionId, ActionStatus, ActionType, FollowUp, MachineAction, Outcome, RowContext, Settlement,
    Uptime,
};
use crate::retry::{History, RereadReason};
use crate::store::{Phase, QueuedRow};

/// What the lane had heard when a read of a row failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadFault {
    /// Proper answers of any kind.
    pub(super) answers: u64,
    /// Those to reads.
    pub(super) read_answers: u64,
}

/// What reads that lacked an id say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Missed {
    Never,
    Unclear,
    Proven,
}

/// A row that waits, is under way, or is in doubt.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and all combinations occur"
)]
pub(super) struct Row {
    pub(super) id: ActionId,
    /// From the input or, better, from a record.
    pub(super) action_type: Option<ActionType>,
    pub(super) context: RowContext,
    /// When its record was last read, where it was.
    pub(super) state_at: Option<Uptime>,
    /// Until when an accepted cancel is watched, and how often it was looked at.
    pub(super) watch: Option<(Uptime, u32)>,
    pub(super) comment: Arc<str>,
    /// Sendings so far, 429s included.
    pub(super) attempts: u32,
    pub(super) first_sent_at: Option<Timestamp>,
    /// The newest record seen.
    pub(super) record: Option<Box<MachineAction>>,
    pub(super) was_accepted: bool,
    pub(super) was_open: bool,
    pub(super) was_in_progress: bool,
    /// Whether the fate of an attempt is unknown and no record was read since.
    pub(super) fate_unknown: bool,
    /// Whether it ever was: a call whose fate is unknown may be worked on after a record was read.
    pub(super) fate_was_unknown: bool,
    pub(super) was_forbidden: bool,
    /// Why the record must be looked at, while it must.
    pub(super) reread: Option<RereadReason>,
    /// For each transient fault of its cancels, how many cancels of the lane had been answered properly by then.
    pub(super) faults: Vec<u64>,
    /// The transient faults of its reads since the last record.
    pub(super) read_faults: Vec<ReadFault>,
    /// Whether its record cannot be read although others can.
    pub(super) is_unreadable: bool,
    /// Tries since the last answer of which no byte left.
    pub(super) never_left: u32,
    /// The last token that was not taken for it, and how many there were.
    pub(super) refused_tokens: (u32, u32),
    /// What tells refusals of one kind from others: status and code.
    pub(super) refusal: String,
    /// How often a cancel was answered by 404 although the action could be read.
    pub(super) not_found_but_open: u32,
    /// Whether reads since the last record have missed the id.
    pub(super) missed: Missed,
    /// The last reply that was no acceptance, in words for the report.
    pub(super) last_words: String,
}

impl Row {
    pub(super) fn new(queued: QueuedRow, comment: Arc<str>) -> Self {
        Self {
            id: queued.id,
            action_type: queued.context.action_type.clone(),
            was_open: queued.was_seen_open(),
            was_in_progress: queued.status_before == Some(ActionStatus::InProgress)
                || queued.action_status == Some(ActionStatus::InProgress),
            context: queued.context,
            state_at: None,
            watch: None,
            comment,
            attempts: queued.attempts,
            first_sent_at: queued.first_sent_at,
            record: None,
            was_accepted: queued.phase == Phase::Accepted,
            fate_unknown: matches!(queued.phase, Phase::Unknown | Phase::Sent),
            fate_was_unknown: matches!(queued.phase, Phase::Unknown | Phase::Sent),
            was_forbidden: false,
            reread: None,
            faults: Vec::new(),
            read_faults: Vec::new(),
            is_unreadable: false,
            never_left: 0,
            refused_tokens: (0, 0),
            refusal: String::new(),
            not_found_but_open: 0,
            missed: Missed::Never,
            last_words: String::new(),
        }
    }

    /// Returns how many faults of its cancels count against the row: those after which another cancel of the lane got a
    /// proper answer, so that the service was up. Faults with no proper answer between them are one: the service was down
    /// meanwhile.
    pub(super) fn counted_faults(&self, cancel_answers: u64) -> u32 {
        count_before(self.faults.iter().copied(), cancel_answers)
    }

    /// Returns how many faults of its reads count: those after which anything of the lane got a proper answer.
    pub(super) fn counted_read_faults(&self, proper_answers: u64) -> u32 {
        let marks = self.read_faults.iter().map(|fault| fault.answers);
        count_before(marks, proper_answers)
    }

    /// Returns how many faults of its reads are its own or its batch's: those after which another read got a proper
    /// answer.
    pub(super) fn faults_of_its_own(&self, read_answers: u64) -> u32 {
        let marks = self.read_faults.iter().map(|fault| fault.read_answers);
        count_before(marks, read_answers)
    }

    /// Takes in a record that was read or came with an answer.
    pub(super) fn see(&mut self, record: Box<MachineAction>) {
        match &record.status {
            Some(status) if status.is_open() => {
                self.was_open = true;
                self.was_in_progress |= *status == ActionStatus::InProgress;
            }
            _ => {}
        }
        if record.action_type.is_some() {
            self.action_type.clone_from(&record.action_type);
        }
        self.record = Some(record);
    }

    /// Returns what a verdict on a record needs to know.
    pub(super) fn history(&self) -> History<'_> {
        History {
            comment_sent: (self.attempts > 0).then_some(&*self.comment),
            first_sent_at: self.first_sent_at,
            was_accepted: self.was_accepted,
            fate_unknown: self.fate_was_unknown,
            was_open: self.was_open,
        }
    }

    /// Returns the phase to journal while the row is unsettled and nothing of it is on the wire.
    pub(super) fn phase(&self) -> Phase {
        if self.was_accepted {
            Phase::Accepted
        } else if self.fate_unknown {
            Phase::Unknown
        } else if self.attempts > 0 {
            Phase::Again
        } else {
            Phase::Fresh
        }
    }

    /// Makes the last word on this row.
    pub(super) fn settle(&self, outcome: Outcome, reason: String, at: Timestamp) -> Settlement {
        let status = self
            .record
            .as_ref()
            .and_then(|record| record.status.as_ref());
        let follow_up = match (&self.action_type, status) {
            // Nobody is asked to act on what isn't to be touched.
            _ if outcome == Outcome::Skipped => None,
            (Some(action_type), Some(status)) => {
                FollowUp::needed(action_type, status, self.was_in_progress)
            }
            _ => None,
        };
        Settlement {
            outcome,
            reason,
            record: self.record.as_deref().cloned(),
            follow_up,
            settled_at: at,
        }
    }
}

/// Counts the different marks below `answers`; they never fall.
fn count_before(marks: impl Iterator<Item = u64>, answers: u64) -> u32 {
    let mut count = 0;
    let mut last = None;
    for mark in marks.take_while(|&mark| mark < answers) {
        count += u32::from(last != Some(mark));
        last = Some(mark);
    }
    count
}
