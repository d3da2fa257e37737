//! What is written and what is read back, as plain values. Nothing here touches the file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::model::{
    ActionId, ActionStatus, BootId, FollowUp, LaneId, MachineAction, Moment, Operation, Outcome,
    RowContext, RowNumber, RunId, Settlement, Source, Standing, Uptime,
};
use crate::quota::{Calls, KeptPace, Usage, Window, Windows};

use super::busy_wait;

/// Who writes: one per opened store. Alive or dead is told by a lock on the id, the rest is text for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// A new id for each start of the program.
    pub id: Uuid,
    pub pid: u32,
    pub host: String,
    /// The boot whose uptimes this process shows.
    pub boot: BootId,
}

/// How far an unsettled row has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
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
    pub number: RowNumber,
    pub lane: LaneId,
    pub source: Source,
    /// The id, or the text of a cell that holds none; such a row must bring its settlement.
    pub id: Result<ActionId, String>,
    pub context: RowContext,
    /// The last word, where there is one already (invalid, duplicate, held back).
    pub settlement: Option<Settlement>,
}

/// One unsettled row as the queue hands it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedRow {
    pub number: RowNumber,
    pub id: ActionId,
    /// What the input told, with the service's word in its place where a record was seen.
    pub context: RowContext,
    pub attempts: u32,
    pub phase: Phase,
    pub first_sent_at: Option<Timestamp>,
    pub comment_sent: Option<String>,
    /// The status seen before the first sending.
    pub status_before: Option<ActionStatus>,
    /// The newest status seen.
    pub action_status: Option<ActionStatus>,
    /// When its state was last read before it was sent.
    pub checked_at: Option<Timestamp>,
    /// The action that answers ours, or does the same.
    pub response_action: Option<ActionId>,
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
    pub run: RunKey,
    pub row: RowNumber,
    pub number: u32,
    /// The class of the reply, in a word.
    pub class: String,
    /// The HTTP status, where one was read.
    pub http_status: Option<u16>,
    pub error_code: Option<String>,
    pub correlation_id: Option<String>,
    /// How far the row has come by it.
    pub phase: Phase,
}

/// One fact for the journal or the ledger.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// The reply to a call was read, or the call was given up.
    Replied {
        call: CallId,
        at: Moment,
        /// From when the period counts: `at`, or later by a grace where the call may still be delivered.
        ended: Uptime,
        /// What it means for its row; `None` for a read.
        row: Option<AttemptReply>,
    },
    /// No byte of the call left: its slot is free at once, and it is no attempt.
    Withdrawn { call: CallId },
    /// A lane came to its end. Its rows that were never sent say why; with no reason, that it was not their turn.
    LaneStopped {
        run: RunKey,
        lane: LaneId,
        /// Why, where it is more than that somebody wished so.
        reason: Option<String>,
    },
    /// Something was learned about an unsettled row.
    Noted {
        run: RunKey,
        row: RowNumber,
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
        run: RunKey,
        row: RowNumber,
        /// The last word and what led to it.
        settlement: Settlement,
    },
    /// An unsettled row is left for later; says why, for reports.
    Deferred {
        run: RunKey,
        row: RowNumber,
        reason: String,
    },
    /// What a settled row's machine still needs was looked at again.
    FollowedUp {
        run: RunKey,
        row: RowNumber,
        follow_up: Option<FollowUp>,
        /// Why that has changed, for the reason in the report.
        note: String,
    },
    /// The service told a scope to wait. Only ever moved later.
    Cooldown {
        scope: ScopeKey,
        /// Until when, on the clock of this boot.
        until: Uptime,
        /// The same by wall clock, for other boots.
        wall: Timestamp,
        cause: String,
    },
    /// The service named an allowance for a scope. It counts for 24 hours from the last time that it was named.
    Limit {
        scope: ScopeKey,
        /// The allowance; one of the same period is replaced.
        window: Window,
        at: Timestamp,
    },
    /// The pace of a scope was learned, changed or, with none, lifted. It counts for 24 hours.
    Pace {
        scope: ScopeKey,
        pace: Option<KeptPace>,
        at: Timestamp,
    },
    /// Limits, pace and cooldown of a scope are forgotten: somebody knows better.
    ScopeReset { scope: ScopeKey },
    /// A run is confirmed, so that from now on its rows are in the way of runs that are confirmed later.
    RunConfirmed { run: RunKey, at: Timestamp },
    /// What a run is to keep to was settled anew; no field of it may hold a secret.
    RunSettings { run: RunKey, settings: String },
    /// A run goes on again, stopped, or finished.
    RunState {
        run: RunKey,
        state: RunState,
        exit: Option<u8>,
        reason: Option<String>,
        at: Timestamp,
    },
}

impl Record {
    /// Returns whether it is about calls and their scopes, and not about a run.
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
            patience: busy_wait::OPENING,
            fail_at_commit: None,
        }
    }
}

/// Where the state file of a folder stands.
pub fn state_file(dir: &Path) -> PathBuf {
    dir.join("state.db")
}

/// The file's short name for one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey(pub i64);

/// The file's short name for one scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeKey(pub i64);

/// The file's short name for one call; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub i64);

/// The wish to send one call now.
#[derive(Clone, Debug)]
pub struct Take {
    pub scope: ScopeKey,
    pub windows: Arc<Windows>,
    /// Both clocks, read just before.
    pub now: Moment,
    pub purpose: Purpose,
}

/// What a call is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An attempt of a row.
    Send {
        run: RunKey,
        row: RowNumber,
        /// Which attempt it is; 1 is the first.
        number: u32,
        /// The comment that goes out with it.
        comment: Arc<str>,
    },
    /// A read; it belongs to no row.
    Read,
}

/// The answer to a [`Take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The slot is taken and the attempt journaled, both on disk: the bytes may leave.
    Go(CallId),
    /// No slot is free; none was taken, and nothing was journaled. Ask again then.
    NotBefore(Uptime),
    /// This run has sent a cancel for the action, and has not settled it; no slot was taken, and nothing was journaled.
    InProgress(RunId),
    /// The service told the scope to wait until then, whoever of us heard it; no slot was taken. Begin slowly afterwards.
    CoolingDown(Uptime),
}

/// A wait that the service asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooldown {
    /// Until when, on the clock of the asking process.
    pub until: Uptime,
    pub wall: Timestamp,
    pub cause: String,
}

/// What the file knows about one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeRecord {
    pub key: ScopeKey,
    pub cooldown: Option<Cooldown>,
    /// The allowances that the service named in the last 24 hours; none where it did not.
    pub adopted: Windows,
    /// The pace that the service's refusals taught in the last 24 hours.
    pub pace: Option<KeptPace>,
}

/// How far a scope's windows are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeUse {
    /// One entry a window.
    pub windows: Vec<Usage>,
    /// The calls themselves, for forecasts.
    pub calls: Calls,
    pub scope: ScopeRecord,
}

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It goes on, or its process died.
    Going,
    /// It stopped and can be resumed.
    Stopped,
    /// Every row is settled.
    Finished,
}

impl RunState {
    /// Returns the word that stands in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Going => "going",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
        }
    }

    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Going, Self::Stopped, Self::Finished]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A run as it begins. No field may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    pub id: RunId,
    pub created: Timestamp,
    pub settings: String,
    pub inputs: String,
    /// The tenant, or `-`.
    pub tenant: String,
    /// The app, or `-`.
    pub app: String,
    /// The cloud's name, or host and port.
    pub cloud: String,
    pub host: String,
    pub user: String,
    pub version: String,
}

/// A run as the file knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    pub key: RunKey,
    pub begun: NewRun,
    pub intake: InputMark,
    /// Whether it goes on.
    pub state: RunState,
    /// Why it stopped, where it did.
    pub reason: Option<String>,
    pub exit_code: Option<u8>,
    pub ended_at: Option<Timestamp>,
    /// When a process last took it up.
    pub held_at: Option<Timestamp>,
    pub holder: Option<Holder>,
    /// The id of the plan that was agreed to.
    pub plan: Option<String>,
    /// Whether it was, since it last began; else it is planned.
    pub is_confirmed: bool,
    pub operation: Operation,
}

impl RunRecord {
    /// Returns whether a live process holds it.
    pub fn is_live(&self) -> bool {
        self.holder.is_some()
    }

    /// Says how it stands.
    pub fn standing(&self) -> Standing {
        match self.state {
            RunState::Finished => Standing::Finished,
            RunState::Stopped => Standing::Stopped,
            RunState::Going if self.is_live() => Standing::Running,
            RunState::Going => Standing::Crashed,
        }
    }

    /// Returns the latest instant at which it is known to have been worked on: its end, its taking up, or its beginning.
    pub fn last_seen(&self) -> Timestamp {
        self.begun
            .created
            .max(self.held_at.unwrap_or(Timestamp::MIN))
            .max(self.ended_at.unwrap_or(Timestamp::MIN))
    }
}

/// A live process that holds a run; text for messages.
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

/// How far the input was read; written in one transaction with the rows that were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputMark {
    /// How many rows were read in all.
    pub rows_read: u64,
    /// Where to go on, in the reader's own words; `None` where that is not possible.
    pub position: Option<String>,
    /// Whether the input was read to its end.
    pub complete: bool,
}

/// How many of a lane's rows have one last word, or none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneCount {
    pub lane: LaneId,
    /// The word; nothing while there is none.
    pub outcome: Option<Outcome>,
    pub rows: u64,
    /// The highest number among them.
    pub last: RowNumber,
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

#[cfg(test)]
mod run_record_tests {
    use super::*;

    #[test]
    fn run_states_read_back_from_their_words() {
        for state in [RunState::Going, RunState::Stopped, RunState::Finished] {
            assert_eq!(RunState::parse(state.as_str()), Some(state));
        }
        assert_eq!(RunState::parse(""), None);
    }

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
