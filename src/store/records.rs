//! What is written and what is read back, as plain values. Nothing here touches the file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::model::{
    ActionId, ActionStatus, BootId, FollowUp, LaneId, MachineAction, Moment, RowContext, RowNumber,
    RunId, Settlement, Source, Uptime,
};
use crate::quota::{KeptPace, Window};

use super::patience;
use super::run_record::RunState;
use super::slots::{CallId, RunKey, ScopeKey};

/// Who writes: one per opened store. Alive or dead is told by a lock on the id, the rest is text for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// A new id for each start of the program.
    pub id: Uuid,
    /// The system's number for it.
    pub pid: u32,
    /// The machine's name.
    pub host: String,
    /// The boot whose uptimes this process shows.
    pub boot: BootId,
}

/// How far an unsettled row has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Never sent.
    Fresh,
    /// An attempt is in flight, or was when its process died.
    Sent,
    /// Sent, and surely not applied: it may go again.
    Again,
    /// The fate of an attempt is not known.
    Unknown,
    /// The service said 200, and its record was still open.
    Accepted,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 5] = [
        Phase::Fresh,
        Phase::Sent,
        Phase::Again,
        Phase::Unknown,
        Phase::Accepted,
    ];

    /// Returns the word that stands in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Sent => "sent",
            Self::Again => "again",
            Self::Unknown => "unknown",
            Self::Accepted => "accepted",
        }
    }

    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }
}

/// One row on its way into the file.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRow {
    /// Its place in the run.
    pub number: RowNumber,
    /// Whose share it belongs to.
    pub lane: LaneId,
    /// Where it stands in the input.
    pub source: Source,
    /// The id, or the text of a cell that holds none; such a row must bring its settlement.
    pub id: Result<ActionId, String>,
    /// What else the input told.
    pub context: RowContext,
    /// The last word, where there is one already (invalid, duplicate, held back).
    pub settlement: Option<Settlement>,
}

/// One unsettled row as the queue hands it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedRow {
    /// Its place in the run.
    pub number: RowNumber,
    /// The action.
    pub id: ActionId,
    /// What the input told, with the service's word in its place where a record was seen.
    pub context: RowContext,
    /// How often it was sent.
    pub attempts: u32,
    /// How far it has come.
    pub phase: Phase,
    /// When the first attempt was sent.
    pub first_sent_at: Option<Timestamp>,
    /// The comment that went out.
    pub comment_sent: Option<String>,
    /// The status seen before the first sending.
    pub status_before: Option<ActionStatus>,
    /// The newest status seen.
    pub action_status: Option<ActionStatus>,
    /// When its state was last read before it was sent.
    pub checked_at: Option<Timestamp>,
    /// The other run that is working on the action.
    pub in_progress: Option<RunId>,
}

impl QueuedRow {
    /// Returns whether a record of it was seen open.
    pub fn was_seen_open(&self) -> bool {
        let is_open =
            |status: &Option<ActionStatus>| status.as_ref().is_some_and(ActionStatus::is_open);
        is_open(&self.status_before) || is_open(&self.action_status)
    }
}

/// What an attempt came back with, for its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptReply {
    /// The run.
    pub run: RunKey,
    /// The row.
    pub row: RowNumber,
    /// Which attempt.
    pub number: u32,
    /// The class of the reply, in a word.
    pub class: String,
    /// The HTTP status, where one was read.
    pub http_status: Option<u16>,
    /// The service's error code.
    pub error_code: Option<String>,
    /// The GUID to quote to support.
    pub correlation_id: Option<String>,
    /// How far the row has come by it.
    pub phase: Phase,
}

/// One fact for the journal or the ledger.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// The reply to a call was read, or the call was given up.
    Replied {
        /// Which call.
        call: CallId,
        /// When.
        at: Moment,
        /// From when the period counts: `at`, or later by a grace where the call may still be delivered.
        ended: Uptime,
        /// What it means for its row; `None` for a read.
        row: Option<AttemptReply>,
    },
    /// No byte of the call left: its slot is free at once, and it is no attempt.
    Withdrawn {
        /// Which call.
        call: CallId,
    },
    /// A lane came to its end. Its rows that were never sent say why; with no reason, that it was not their turn.
    LaneStopped {
        /// The run.
        run: RunKey,
        /// Which lane.
        lane: LaneId,
        /// Why, where it is more than that somebody wished so.
        reason: Option<String>,
    },
    /// Something was learned about an unsettled row.
    Noted {
        /// The run.
        run: RunKey,
        /// The row.
        row: RowNumber,
        /// How far it has come.
        phase: Phase,
        /// The service's record, where one was seen.
        record: Option<MachineAction>,
        /// The status before the first sending, where this reading tells it.
        status_before: Option<ActionStatus>,
        /// When its state was read; the first one stays.
        checked_at: Option<Timestamp>,
    },
    /// The last word on a row; a second one is refused.
    Settled {
        /// The run.
        run: RunKey,
        /// The row.
        row: RowNumber,
        /// The last word and what led to it.
        settlement: Settlement,
    },
    /// An unsettled row is left for later; says why, for reports.
    Deferred {
        /// The run.
        run: RunKey,
        /// The row.
        row: RowNumber,
        /// Why.
        reason: String,
    },
    /// What a settled row's machine still needs was looked at again.
    FollowedUp {
        /// The run.
        run: RunKey,
        /// The row.
        row: RowNumber,
        /// What it still needs.
        follow_up: Option<FollowUp>,
        /// Why that has changed, for the reason in the report.
        note: String,
    },
    /// The service told a scope to wait. Only ever moved later.
    Cooldown {
        /// Which scope.
        scope: ScopeKey,
        /// Until when, on the clock of this boot.
        until: Uptime,
        /// The same by wall clock, for other boots.
        wall: Timestamp,
        /// Why.
        cause: String,
    },
    /// The service named an allowance for a scope. It counts for 24 hours from the last time that it was named.
    Limit {
        /// Which scope.
        scope: ScopeKey,
        /// The allowance; one of the same period is replaced.
        window: Window,
        /// When.
        at: Timestamp,
    },
    /// The pace of a scope was learned, changed or, with none, lifted. It counts for 24 hours.
    Pace {
        /// Which scope.
        scope: ScopeKey,
        /// The pace.
        pace: Option<KeptPace>,
        /// When.
        at: Timestamp,
    },
    /// Limits, pace and cooldown of a scope are forgotten: somebody knows better.
    ScopeReset {
        /// Which scope.
        scope: ScopeKey,
    },
    /// A run is confirmed, so that from now on its rows are in the way of runs that are confirmed later.
    RunConfirmed {
        /// Which run.
        run: RunKey,
        /// When.
        at: Timestamp,
    },
    /// What a run is to keep to was settled anew; no field of it may hold a secret.
    RunSettings {
        /// Which run.
        run: RunKey,
        /// Its resolved settings as JSON.
        settings: String,
    },
    /// A run goes on again, stopped, or finished.
    RunState {
        /// Which run.
        run: RunKey,
        /// What became of it.
        state: RunState,
        /// What the program says on leaving.
        exit: Option<u8>,
        /// Why it stopped.
        reason: Option<String>,
        /// When.
        at: Timestamp,
    },
}

/// How to open a store, beyond where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// How long the calls of a dead process may still be delivered.
    pub grace: Duration,
    /// How long opening waits for whoever holds the file.
    pub patience: Duration,
    /// Which commit of the writer fails, from 1: an injected fault, for tests.
    pub fail_at_commit: Option<u64>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            // A kernel delivered a request 10 s after its socket was closed; two minutes is the default of
            // --timeout-grace.
            grace: Duration::from_secs(120),
            patience: patience::OPENING,
            fail_at_commit: None,
        }
    }
}

/// Where the state file of a folder stands.
pub fn state_file(dir: &Path) -> PathBuf {
    dir.join("state.db")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_read_back_from_their_words() {
        for phase in Phase::ALL {
            assert_eq!(Phase::parse(phase.as_str()), Some(phase));
        }
        assert_eq!(Phase::parse("queued"), None);
    }
}
