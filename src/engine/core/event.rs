//! The core's input and output: plain values without handles.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::ListQuery;
use crate::model::{
    ActionId, CancelReply, Destination, LaneId, Outcome, ReadPage, ReadReply, Request, RowNumber,
    Uptime,
};
use crate::quota::{SavedRate, Window};
use crate::store::{LoadFrom, QueuedRow, Record, SlotAnswer, SlotRequest};

use super::scope_gate::WaitCause;

/// Identifies a call from the request for a slot until its answer is processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallTicket(pub u64);

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large ones are the frequent ones, and each is moved once"
)]
pub enum Event {
    /// The journal has new rows.
    Appended {
        lane: LaneId,
        /// The highest row number.
        last: RowNumber,
        count: u64,
        /// Rows settled while they were read, by outcome.
        settled: BTreeMap<Outcome, u64>,
    },
    /// The input ended, or reading was given up.
    InputEnded,
    /// Rows from the journal, in order. Fewer than requested means that it has no more yet.
    Loaded {
        lane: LaneId,
        rows: Vec<QueuedRow>,
    },
    TokenReady {
        lane: LaneId,
        /// `None` if the expiry is unknown or the token can't be renewed.
        expires_at: Option<Timestamp>,
    },
    /// The sign-in failed, but may succeed later.
    TokenUnavailable {
        lane: LaneId,
        reason: String,
    },
    /// The sign-in failed for good; `reason` says why and what to do.
    TokenRefused {
        lane: LaneId,
        reason: String,
    },
    SlotAnswer {
        lane: LaneId,
        call_token: CallTicket,
        taken: SlotAnswer,
    },
    /// A cancel ended, with or without an answer.
    Replied {
        lane: LaneId,
        call_token: CallTicket,
        reply: CancelReply,
    },
    /// A read ended, with or without an answer.
    Read {
        lane: LaneId,
        call_token: CallTicket,
        reply: ReadReply,
    },
    /// Asks a lane without rows for a page of the tenant's actions; one at a time.
    Request {
        lane: LaneId,
        query: ListQuery,
    },
    Stop(StopReason),
    Tick,
}

impl Event {
    pub(super) fn lane(&self) -> Option<LaneId> {
        match self {
            Self::InputEnded | Self::Stop(_) | Self::Tick => None,
            Self::Appended { lane, .. }
            | Self::Loaded { lane, .. }
            | Self::TokenReady { lane, .. }
            | Self::TokenUnavailable { lane, .. }
            | Self::TokenRefused { lane, .. }
            | Self::SlotAnswer { lane, .. }
            | Self::Replied { lane, .. }
            | Self::Read { lane, .. }
            | Self::Request { lane, .. } => Some(*lane),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadQuery {
    Actions(Vec<ActionId>),
    /// All isolations, restrictions and releases of these machines.
    Machines(Vec<String>),
}

/// Something for the runner to do.
#[derive(Debug)]
pub enum Effect {
    /// Read unsettled rows from the journal.
    Load {
        lane: LaneId,
        from: LoadFrom,
        limit: usize,
    },
    /// Ask the ledger for a slot. For a cancel, the same transaction journals the attempt.
    SlotRequest {
        lane: LaneId,
        call_token: CallTicket,
        take: SlotRequest,
    },
    /// Send one row's call. The ledger has its slot, the journal its attempt.
    Post {
        lane: LaneId,
        call_token: CallTicket,
        request: Request,
        comment: Arc<str>,
    },
    /// Read records: one by its address, or several with a filter.
    Read {
        lane: LaneId,
        call_token: CallTicket,
        /// The scope whose slot was taken.
        destination: Destination,
        query: ReadQuery,
    },
    ReadPage {
        lane: LaneId,
        call_token: CallTicket,
        query: ListQuery,
    },
    /// Hand over a requested page, or the service's refusal.
    Respond {
        lane: LaneId,
        page: Result<ReadPage, String>,
    },
    /// Journal records in one transaction, then tell the observers.
    Write {
        /// The lane of the rows, for the observers.
        lane: LaneId,
        records: Vec<Record>,
        tell: Vec<RunEvent>,
    },
    /// Tell the observers at once.
    Tell { lane: LaneId, event: RunEvent },
    Token {
        lane: LaneId,
        /// Whether the current token is refused or expired.
        refresh: bool,
    },
}

/// Why a run, or reads outside a run, stopped early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// The user asked for it; names the signal or the bound.
    #[error("by {0}")]
    Asked(String),
    /// No token can be had, or the service refuses it.
    #[error("sign-in: {0}")]
    SignIn(String),
    /// The service knows none of the first hundred ids.
    #[error("none of the first 100 ids exist in this tenant: check the tenant and the id column")]
    AllMissing,
    /// States must be read first, and this token may not read them; gives the service's answer.
    #[error("this token may not read actions: {0}")]
    ReadingForbidden(String),
    /// The API host never answered; gives the last failure.
    #[error("the service can't be reached: {0}")]
    Unreachable(String),
    /// The address answered only with 404s that aren't the service's own.
    #[error("{0} answers 404 without the service's error body")]
    NoSuchAddress(String),
    /// This token may not cancel any action type of the input; says why.
    #[error("{0}")]
    AllForbidden(String),
    /// No row ended for too long; gives the time and the last answer, or when to resume.
    #[error("gave up: {0}")]
    GaveUp(String),
    /// More rows failed than `--max-failures` allows.
    #[error("too many failures: {0}")]
    TooManyFailures(String),
    /// The service refused cancels in a row for the same reason; gives the last answer.
    #[error("ten calls in a row were refused for the same reason: {0}")]
    SameRefusal(String),
    /// Everything possible is done, and the rest is deferred; says why.
    #[error("{0}")]
    LeftForLater(String),
}

impl StopReason {
    /// Ranks reasons by exit code, so that a run reports the gravest of its lanes' reasons.
    pub(super) fn gravity(&self) -> u8 {
        match self {
            Self::SignIn(_)
            | Self::AllMissing
            | Self::ReadingForbidden(_)
            | Self::Unreachable(_)
            | Self::NoSuchAddress(_)
            | Self::AllForbidden(_) => 3,
            Self::GaveUp(_) | Self::TooManyFailures(_) | Self::SameRefusal(_) => 2,
            Self::Asked(_) => 1,
            Self::LeftForLater(_) => 0,
        }
    }
}

/// A message for observers. Events about rows are durable before they are told.
#[derive(Clone, Debug, PartialEq)]
pub enum RunEvent {
    /// A cancel ended, with or without an answer.
    Replied {
        row: RowNumber,
        id: ActionId,
        attempt: u32,
        http_status: Option<u16>,
        /// The answer in a few words.
        what: String,
        correlation_id: Option<String>,
    },
    Settled {
        row: RowNumber,
        id: ActionId,
        outcome: Outcome,
        reason: String,
    },
    Throttled {
        destination: Destination,
        /// No call leaves before this.
        until: Uptime,
        /// The first 429 of this scope although our ledger had room.
        unexpected: bool,
        /// The Retry-After was too long to believe.
        hint_ignored: bool,
        /// The limit that it named can't be right.
        limit_ignored: bool,
    },
    /// The service named a smaller limit than ours, and the run keeps to it.
    Adopted {
        destination: Destination,
        window: Window,
    },
    /// The rate adapted to 429s, or a learned rate was lifted.
    Paced {
        destination: Destination,
        pace: Option<SavedRate>,
    },
    /// The circuit breaker opened; the next probe leaves at `until`.
    Down {
        /// Reads fail, not cancels.
        reads: bool,
        until: Uptime,
        what: String,
    },
    Up {
        /// Reads failed, not cancels.
        reads: bool,
    },
    /// This token may not read records.
    ReadingForbidden { what: String },
    /// Reads have had no proper answer for a while.
    ReadsSlow {
        /// Rows sent without a read, because the input gives their type.
        go: usize,
        wait: usize,
    },
    /// The service refused enough cancels of a type that the rest aren't sent.
    TypeForbidden { action_type: String },
    /// From now on, no new attempt leaves.
    Stopping(StopReason),
}

/// What a lane waits for, for the progress display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub cause: WaitCause,
    pub until: Uptime,
}
