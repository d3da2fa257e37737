//! What goes into the core and what comes out of it. Values only: no handle, no clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::ListQuery;
use crate::model::{
    ActionId, CancelReply, Destination, LaneId, Outcome, ReadPage, ReadReply, Request, RowNumber,
    Uptime,
};
use crate::quota::{KeptPace, Window};
use crate::store::{LoadFrom, QueuedRow, Record, Take, Taken};

use super::gate::WaitCause;

/// Names one call from the question to the ledger until its answer is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallToken(pub u64);

/// Something that happened outside the core.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large ones are the frequent ones, and each is moved once"
)]
pub enum Event {
    /// Rows are in the journal up to `last`; `settled` are the outcomes of those that need no sending.
    Appended {
        lane: LaneId,
        /// The highest number among them.
        last: RowNumber,
        count: u64,
        /// The outcomes of those that were settled as they were read.
        settled: BTreeMap<Outcome, u64>,
    },
    /// The input was read to its end, or reading was given up; nothing more is appended.
    InputEnded,
    /// The journal handed out rows, in order; fewer than asked for where there are no more yet.
    Loaded {
        lane: LaneId,
        rows: Vec<QueuedRow>,
    },
    TokenReady {
        lane: LaneId,
        /// When it ends, where that is known and a newer one can be had then.
        expires_at: Option<Timestamp>,
    },
    /// No token could be had; a little later it may.
    TokenUnavailable {
        lane: LaneId,
        reason: String,
    },
    /// No token can be had; says why and what to do.
    TokenRefused {
        lane: LaneId,
        reason: String,
    },
    Taken {
        lane: LaneId,
        call_token: CallToken,
        taken: Taken,
    },
    /// A cancel was answered, or ended without an answer.
    Replied {
        lane: LaneId,
        call_token: CallToken,
        reply: CancelReply,
    },
    /// A read was answered, or ended without an answer.
    Read {
        lane: LaneId,
        call_token: CallToken,
        reply: ReadReply,
    },
    /// Somebody wants a page of the tenant's actions from a lane without rows; one at a time.
    Request {
        lane: LaneId,
        query: ListQuery,
    },
    Stop(StopReason),
    Tick,
}

impl Event {
    /// Returns the lane that it concerns, where it is one.
    pub(super) fn lane(&self) -> Option<LaneId> {
        match self {
            Self::InputEnded | Self::Stop(_) | Self::Tick => None,
            Self::Appended { lane, .. }
            | Self::Loaded { lane, .. }
            | Self::TokenReady { lane, .. }
            | Self::TokenUnavailable { lane, .. }
            | Self::TokenRefused { lane, .. }
            | Self::Taken { lane, .. }
            | Self::Replied { lane, .. }
            | Self::Read { lane, .. }
            | Self::Request { lane, .. } => Some(*lane),
        }
    }
}

/// Which records a read is to bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadQuery {
    Actions(Vec<ActionId>),
    /// Everything that isolated, restricted or released these machines.
    Machines(Vec<String>),
}

/// Something the core wants done outside.
#[derive(Debug)]
pub enum Effect {
    /// Look through the journal for unsettled rows.
    Load {
        lane: LaneId,
        from: LoadFrom,
        /// At most so many.
        limit: usize,
    },
    /// Ask the ledger for a slot; for a cancel the same transaction journals the attempt.
    Take {
        lane: LaneId,
        call_token: CallToken,
        take: Take,
    },
    /// Send one row's call. Its slot is taken and its attempt is journaled.
    Post {
        lane: LaneId,
        call_token: CallToken,
        request: Request,
        comment: Arc<str>,
    },
    /// Read records: one by its own address, several by a filter.
    Read {
        lane: LaneId,
        call_token: CallToken,
        /// Where the slot was taken: the address of one record, or the list.
        destination: Destination,
        query: ReadQuery,
    },
    /// Read a page of the tenant's actions.
    ReadPage {
        lane: LaneId,
        call_token: CallToken,
        query: ListQuery,
    },
    /// Give a page to whoever requested it, or say why the service refused to.
    Respond {
        lane: LaneId,
        page: Result<ReadPage, String>,
    },
    /// Journal records as one transaction, and tell the observers once it is committed.
    Write {
        /// Whose rows they are about, for the observers.
        lane: LaneId,
        records: Vec<Record>,
        tell: Vec<RunEvent>,
    },
    /// Tell the observers at once.
    Tell { lane: LaneId, event: RunEvent },
    /// Get a token; `refresh` where the service no longer takes the one we have.
    Token {
        lane: LaneId,
        /// Whether the present one is of no use.
        refresh: bool,
    },
}

/// Why a run stops before its rows are settled, or reads outside a run stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// Somebody asked for it; names the signal or the bound.
    #[error("by {0}")]
    Asked(String),
    /// No token can be had, or the service does not take it.
    #[error("sign-in: {0}")]
    SignIn(String),
    /// The first hundred ids were all unknown to the service.
    #[error("the tenant has none of the first 100 ids: wrong tenant or wrong column")]
    AllMissing,
    /// States are to be read before anything is sent, and this token may not read them; says what the service said.
    #[error("this token may not read actions: {0}")]
    ReadingForbidden(String),
    /// The API host never answered; says what failed last.
    #[error("the service can't be reached: {0}")]
    Unreachable(String),
    /// Nothing but 404s that are not the service's own came from this address.
    #[error("{0} answers 404, but not as the service does")]
    NoSuchAddress(String),
    /// No action type of the input may be cancelled with this token; says why.
    #[error("{0}")]
    AllForbidden(String),
    /// Nothing ended for so long; says since when and what was last heard, or when to go on.
    #[error("gave up: {0}")]
    GaveUp(String),
    /// More rows ended badly than `--max-failures` allows; says how many.
    #[error("too many failures: {0}")]
    TooManyFailures(String),
    /// The service refused cancel after cancel in the same way; gives the last answer.
    #[error("ten calls in a row were refused for the same reason: {0}")]
    SameRefusal(String),
    /// All was done that could be, and the rest is left for later; says why.
    #[error("{0}")]
    LeftForLater(String),
}

impl StopReason {
    /// Ranks reasons as exit codes do, so that of several lanes' reasons the run's is the gravest.
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

/// Something worth telling the people who watch. Told only once it is durable, where it is about a row.
#[derive(Clone, Debug, PartialEq)]
pub enum RunEvent {
    /// A cancel was answered, or ended without an answer.
    Replied {
        row: RowNumber,
        id: ActionId,
        attempt: u32,
        /// The HTTP status, where there was one.
        http_status: Option<u16>,
        /// What came back, in a word or two.
        what: String,
        correlation_id: Option<String>,
    },
    /// A row has its last word.
    Settled {
        row: RowNumber,
        id: ActionId,
        outcome: Outcome,
        reason: String,
    },
    Throttled {
        destination: Destination,
        /// Nothing leaves before this.
        until: Uptime,
        /// Whether this is the first time although our ledger had room.
        unexpected: bool,
        /// Whether a hint was too long to be believed.
        hint_ignored: bool,
        /// Whether it named a limit that cannot be believed.
        limit_ignored: bool,
    },
    /// The service named a smaller allowance than ours, and we keep to it.
    Adopted {
        destination: Destination,
        window: Window,
    },
    /// The service's refusals taught us a pace, or a learned one is lifted.
    Paced {
        destination: Destination,
        pace: Option<KeptPace>,
    },
    /// The service seems to be down; the next probe leaves then.
    Down {
        /// Whether it is reads that fail, not cancels.
        reads: bool,
        until: Uptime,
        what: String,
    },
    Up {
        /// Whether it is reads that failed.
        reads: bool,
    },
    /// Records may not be read with this token.
    ReadingForbidden { what: String },
    /// Reads have brought no proper answer for a while.
    ReadsSlow {
        /// So many rows go without: the input gives their type.
        go: usize,
        wait: usize,
    },
    /// So many cancels of a type were forbidden that the rest of it is not sent.
    TypeForbidden { action_type: String },
    /// No new attempt leaves from now on.
    Stopping(StopReason),
}

/// What a lane waits for, for the progress display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub cause: WaitCause,
    pub until: Uptime,
}
