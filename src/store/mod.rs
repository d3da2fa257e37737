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

mod slots;

mod run_record;

mod error;

mod patience;

mod records;
mod schema;

mod words;

mod locks;

mod calls;
mod file;
mod runs;
mod scopes;

mod holds;

mod conflicts;

mod ledger;

mod journal;
mod queue;
mod report;

mod figures;

mod desk;
mod reader;

mod writer;

mod thread;

mod handle;

mod run_hold;

pub use error::StoreError;
pub use figures::{AnswerCounts, TypeCounts};
pub use handle::Store;
pub use queue::LoadFrom;
pub use reader::{Reader, ReportRows};
pub use records::{
    AttemptReply, NewRow, Phase, Process, QueuedRow, Record, StoreOptions, state_file,
};
pub use run_hold::RunHold;
pub use run_record::{Holder, InputMark, LaneCount, NewRun, RunRecord, RunState};
pub use slots::{CallId, Cooldown, Purpose, RunKey, ScopeKey, ScopeRecord, ScopeUse, Take, Taken};
pub use thread::Pending;

pub use crate::model::Standing;
