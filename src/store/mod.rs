//! The journal and the ledger: one SQLite file, written by one thread.
//!
//! What is owned here: the durable record of runs, rows, attempts and outcomes, and of the calls spent against the
//! quota windows. It decides nothing about an action: it runs [`crate::quota::decide`] inside the transaction that
//! takes the slot, and otherwise writes what it is told. It never reads a clock for a rule, and nothing in its API
//! takes a secret.
//!
//! Invariants: an answer means that the disk holds it; a failed commit breaks the store for good; no other process can
//! come between a decision and its slot; two live processes never hold one run.
//!
//! Chosen: one file in SQLite's WAL mode with full sync, for one transaction covers intent and slot, several processes
//! share it, and reports are queries. Refused: a log of lines (no sharing), a key-value store (locks its file to one
//! process).

mod busy_wait;
mod conflicts;
mod error;
mod journal;
mod ledger;
mod locks;
mod quota_scopes;
mod reader;
mod report_rows;
mod runs;
mod schema;
mod sql_types;
mod state_file;
mod store_handle;
mod types;
mod writer;

pub use error::StoreError;
pub use journal::LoadFrom;
pub use reader::{AnswerCounts, Reader, ReportRows, TypeCounts};
pub use store_handle::{RunHold, Store};
pub use types::{
    AttemptReply, CallId, Cooldown, Holder, InputMark, LaneCount, NewRow, NewRun, Phase, Process,
    Purpose, QueuedRow, Record, RunKey, RunRecord, RunState, ScopeKey, ScopeRecord, ScopeUse,
    StoreOptions, Take, Taken, state_file,
};
pub use writer::Pending;

pub use crate::model::Standing;
