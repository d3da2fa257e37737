//! The journal and the ledger: one SQLite file, written by one thread.
//!
//! The store keeps runs, rows, attempts and outcomes, and the calls that count against the quota windows. It decides
//! nothing about actions, except that it runs [`crate::quota::decide`] in the transaction that takes the slot. Rules
//! get the time as an argument. No secret enters its API.
//!
//! Invariants: a success means that the data is on disk; after a failed commit, the store fails for good; no other
//! process can come between a decision and its slot; two live processes never hold the same run.
//!
//! SQLite in WAL mode with full sync, because one transaction covers journal and slot, several processes can share the
//! file, and reports are queries. Rejected: a log file (no sharing), a key-value store (locks its file to one process).

mod busy_wait;
mod call_ledger;
mod conflicts;
mod database_file;
mod error;
mod locks;
mod quota_scopes;
mod reader;
mod record_types;
mod report_rows;
mod row_journal;
mod runs;
mod schema;
mod sql_types;
mod store_handle;
mod writer;

pub use error::StoreError;
pub use reader::{AnswerCounts, Reader, ReportRows, TypeCounts};
pub use record_types::{
    AttemptReply, CallId, Cooldown, Holder, InputProgress, LaneCount, NewRow, NewRun, Process,
    QueuedRow, Record, RowPhase, RunKey, RunRecord, RunState, ScopeKey, ScopeRecord, ScopeUse,
    SlotAnswer, SlotPurpose, SlotRequest, StoreOptions, state_file,
};
pub use row_journal::LoadFrom;
pub use store_handle::{RunHold, Store};
pub use writer::Pending;

pub use crate::model::RunStatus;
