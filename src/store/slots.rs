//! What is asked of the ledger and what it answers, as plain values. Nothing here touches the file.

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{Moment, RowNumber, RunId, Uptime};
use crate::quota::{Calls, KeptPace, Usage, Windows};

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
    /// What the service counts it by.
    pub scope: ScopeKey,
    /// The windows in force.
    pub windows: Arc<Windows>,
    /// Both clocks, read just before.
    pub now: Moment,
    /// What the call is for.
    pub purpose: Purpose,
}

/// What a call is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An attempt to cancel.
    Cancel {
        /// The run.
        run: RunKey,
        /// The row.
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
    /// The same by wall clock.
    pub wall: Timestamp,
    /// Why.
    pub cause: String,
}

/// What the file knows about one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeRecord {
    /// Its key.
    pub key: ScopeKey,
    /// The cooldown that still lasts.
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
    /// The scope's cooldown and adopted allowances.
    pub scope: ScopeRecord,
}
