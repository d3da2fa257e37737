//! Plain values that the store writes and reads.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::model::{
    ActionId, ActionStatus, BootId, FollowUp, LaneId, MachineAction, Moment, Operation, Outcome,
    RowContext, RowNumber, RunId, RunStatus, Settlement, Source, Uptime,
};
use crate::quota::{Calls, SavedRate, Usage, Window, Windows};

use super::busy_wait;

/// An opened store. A lock on the id shows whether the process is alive; the other fields are for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// A new id for each start of the program.
    pub id: Uuid,
    pub pid: u32,
    pub host: String,
    /// The boot that this process's uptimes refer to.
    pub boot: BootId,
}

/// The progress of an unsettled row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowPhase {
    Fresh,
    /// An attempt is in flight, or was when its process died.
    Sent,
    /// Sent and not applied; may be sent again.
    Again,
    /// An attempt may have been applied.
    Unknown,
    /// The service answered 200, and the record was still open.
    Accepted,
}

impl RowPhase {
    pub const ALL: [RowPhase; 5] = [
        RowPhase::Fresh,
        RowPhase::Sent,
        RowPhase::Again,
        RowPhase::Unknown,
        RowPhase::Accepted,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Sent => "sent",
            Self::Again => "again",
            Self::Unknown => "unknown",
            Self::Accepted => "accepted",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct NewRow {
    pub number: RowNumber,
    pub lane: LaneId,
    pub source: Source,
    /// The id, or the text of an invalid cell; such a row must come with a settlement.
    pub id: Result<ActionId, String>,
    pub context: RowContext,
    /// For rows settled as they are read (invalid, duplicate, skipped).
    pub settlement: Option<Settlement>,
}

/// One unsettled row, as loaded from the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedRow {
    pub number: RowNumber,
    pub id: ActionId,
    /// From the input, overridden by the service's record once it was read.
    pub context: RowContext,
    pub attempts: u32,
    pub phase: RowPhase,
    pub first_sent_at: Option<Timestamp>,
    pub comment_sent: Option<String>,
    /// The status before the first attempt.
    pub status_before: Option<ActionStatus>,
    pub action_status: Option<ActionStatus>,
    /// When the state was last read before an attempt.
    pub checked_at: Option<Timestamp>,
    /// The action that our call created, or one that does the same.
    pub response_action: Option<ActionId>,
    /// The other run that is working on the action.
    pub in_progress: Option<RunId>,
}

impl QueuedRow {
    /// Returns a row of which nothing is known but what the input says.
    pub fn fresh(number: RowNumber, id: ActionId, context: RowContext) -> Self {
        Self {
            number,
            id,
            context,
            attempts: 0,
            phase: RowPhase::Fresh,
            first_sent_at: None,
            comment_sent: None,
            status_before: None,
            action_status: None,
            checked_at: None,
            response_action: None,
            in_progress: None,
        }
    }

    pub fn was_seen_open(&self) -> bool {
        let is_open =
            |status: &Option<ActionStatus>| status.as_ref().is_some_and(ActionStatus::is_open);
        is_open(&self.status_before) || is_open(&self.action_status)
    }
}

/// The answer to an attempt, for its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptReply {
    pub run: RunKey,
    pub row: RowNumber,
    pub number: u32,
    /// The class of the reply.
    pub class: String,
    pub http_status: Option<u16>,
    pub error_code: Option<String>,
    pub correlation_id: Option<String>,
    /// The row's new phase.
    pub phase: RowPhase,
}

/// A journal or ledger entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A call was answered or given up.
    Replied {
        call: CallId,
        at: Moment,
        /// When the windows start to count the call: `at`, or later by a grace period if the call may still arrive.
        ended: Uptime,
        /// `None` for a read.
        row: Option<AttemptReply>,
    },
    /// The call never left: its slot is free, and it doesn't count as an attempt.
    Withdrawn { call: CallId },
    /// A lane ended; its unsent rows get the reason.
    LaneStopped {
        run: RunKey,
        lane: LaneId,
        /// `None`: it simply was not their turn.
        reason: Option<String>,
    },
    /// New information about an unsettled row.
    Noted {
        run: RunKey,
        row: RowNumber,
        phase: RowPhase,
        record: Option<MachineAction>,
        /// The status before the first attempt, if this read shows it.
        status_before: Option<ActionStatus>,
        /// When the state was read.
        checked_at: Option<Timestamp>,
    },
    /// Settles a row; settling it twice is an error.
    Settled {
        run: RunKey,
        row: RowNumber,
        settlement: Settlement,
    },
    /// An unsettled row is deferred; gives the reason for reports.
    Deferred {
        run: RunKey,
        row: RowNumber,
        reason: String,
    },
    /// The follow-up of a settled row was checked again.
    FollowedUp {
        run: RunKey,
        row: RowNumber,
        follow_up: Option<FollowUp>,
        /// Why it changed, for the reason in the report.
        note: String,
    },
    /// The service asked a scope to wait. Only ever moved later.
    Cooldown {
        scope: ScopeKey,
        /// As an uptime of this boot.
        until: Uptime,
        /// The same by wall clock, for other boots.
        wall: Timestamp,
        cause: String,
    },
    /// The service named a limit for a scope. It is valid for 24 hours after the service last named it.
    Limit {
        scope: ScopeKey,
        /// Replaces a limit of the same period.
        window: Window,
        at: Timestamp,
    },
    /// A scope's learned rate changed, or was lifted (`None`). It is valid for 24 hours.
    Pace {
        scope: ScopeKey,
        pace: Option<SavedRate>,
        at: Timestamp,
    },
    /// The user reset a scope's limits, learned rate and cooldown.
    ScopeReset { scope: ScopeKey },
    /// A run is confirmed; from now on its rows block runs confirmed later.
    RunConfirmed { run: RunKey, at: Timestamp },
    /// A run's new settings; no field may contain a secret.
    RunSettings { run: RunKey, settings: String },
    RunState {
        run: RunKey,
        state: RunState,
        exit: Option<u8>,
        reason: Option<String>,
        at: Timestamp,
    },
}

impl Record {
    /// Returns whether it concerns calls and scopes, not a run.
    pub fn is_about_calls(&self) -> bool {
        match self {
            Self::Withdrawn { .. }
            | Self::Cooldown { .. }
            | Self::Limit { .. }
            | Self::Pace { .. }
            | Self::ScopeReset { .. } => true,
            Self::Replied { row, .. } => row.is_none(),
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// How long the calls of a dead process may still be delivered.
    pub grace: Duration,
    /// How long opening waits for another process.
    pub patience: Duration,
    /// Makes this commit of the writer fail, counted from 1; for tests.
    pub fail_at_commit: Option<u64>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            // A kernel has delivered a request 10 s after its socket was closed. Two minutes is the default of
            // --timeout-grace.
            grace: Duration::from_secs(120),
            patience: busy_wait::OPENING,
            fail_at_commit: None,
        }
    }
}

pub fn state_file(dir: &Path) -> PathBuf {
    dir.join("state.db")
}

/// A run's key in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey(pub i64);

/// A scope's key in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeKey(pub i64);

/// A call's key in the file; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub i64);

/// A request for a slot.
#[derive(Clone, Debug)]
pub struct SlotRequest {
    pub scope: ScopeKey,
    pub windows: Arc<Windows>,
    /// Read just before.
    pub now: Moment,
    pub purpose: SlotPurpose,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotPurpose {
    /// An attempt of a row.
    Send {
        run: RunKey,
        row: RowNumber,
        /// 1 is the first attempt.
        number: u32,
        comment: Arc<str>,
    },
    /// Belongs to no row.
    Read,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotAnswer {
    /// The slot is taken and the attempt journaled, both on disk: the call may leave.
    Go(CallId),
    /// No slot is free and nothing was journaled. Ask again at this time.
    NotBefore(Uptime),
    /// This run has sent a cancel for the action and not settled it. Nothing was taken or journaled.
    InProgress(RunId),
    /// The service asked some process on this scope to wait; nothing was taken. Start slowly afterwards.
    CoolingDown(Uptime),
}

/// A wait that the service asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooldown {
    /// As an uptime of the current boot.
    pub until: Uptime,
    pub wall: Timestamp,
    pub cause: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeRecord {
    pub key: ScopeKey,
    pub cooldown: Option<Cooldown>,
    /// The limits that the service named in the last 24 hours.
    pub adopted: Windows,
    /// The rate learned in the last 24 hours.
    pub pace: Option<SavedRate>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeUse {
    /// One entry per window.
    pub windows: Vec<Usage>,
    /// For forecasts.
    pub calls: Calls,
    pub scope: ScopeRecord,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Running, or its process died.
    Going,
    /// Can be resumed.
    Stopped,
    /// Every row is settled.
    Finished,
}

impl RunState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Going => "going",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Going, Self::Stopped, Self::Finished]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A new run. No field may contain a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    pub id: RunId,
    pub created: Timestamp,
    pub settings: String,
    pub inputs: String,
    /// `-` if unknown.
    pub tenant: String,
    /// `-` if unknown.
    pub app: String,
    /// The cloud's name, or host and port.
    pub cloud: String,
    pub host: String,
    pub user: String,
    pub version: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    pub key: RunKey,
    pub begun: NewRun,
    pub intake: InputProgress,
    pub state: RunState,
    /// Why it stopped.
    pub reason: Option<String>,
    pub exit_code: Option<u8>,
    pub ended_at: Option<Timestamp>,
    /// When a process last acquired it.
    pub held_at: Option<Timestamp>,
    pub holder: Option<Holder>,
    /// The id of the confirmed plan.
    pub plan: Option<String>,
    /// Whether it was confirmed since it was last opened; otherwise it is planned.
    pub is_confirmed: bool,
    pub operation: Operation,
}

impl RunRecord {
    pub fn is_live(&self) -> bool {
        self.holder.is_some()
    }

    pub fn standing(&self) -> RunStatus {
        match self.state {
            RunState::Finished => RunStatus::Finished,
            RunState::Stopped => RunStatus::Stopped,
            RunState::Going if self.is_live() => RunStatus::Running,
            RunState::Going => RunStatus::Crashed,
        }
    }

    /// Returns the last known time of work: the end, the last acquisition, or the creation.
    pub fn last_seen(&self) -> Timestamp {
        self.begun
            .created
            .max(self.held_at.unwrap_or(Timestamp::MIN))
            .max(self.ended_at.unwrap_or(Timestamp::MIN))
    }
}

/// A live process that holds a run, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    pub host: String,
    /// Since when it holds the run.
    pub since: Timestamp,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pid {} on {} since {:.0}",
            self.pid, self.host, self.since
        )
    }
}

/// How far the input was read; committed together with the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputProgress {
    pub rows_read: u64,
    /// Where to continue, in the input's own format; `None` if it can't.
    pub position: Option<String>,
    /// Whether the input was read to its end.
    pub complete: bool,
}

/// A lane's rows with one outcome, or unsettled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneCount {
    pub lane: LaneId,
    /// `None` for unsettled rows.
    pub outcome: Option<Outcome>,
    pub rows: u64,
    /// The highest row number.
    pub last: RowNumber,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_reads_as_people_say_it() {
        let holder = Holder {
            pid: 123,
            host: "jump-host".to_owned(),
            since: "2026-03-01T12:00:00.123456Z".parse().unwrap(),
        };
        assert_eq!(
            holder.to_string(),
            "pid 123 on jump-host since 2026-03-01T12:00:00Z"
        );
    }
}
