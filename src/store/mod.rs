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

mod processes;
mod twins;
mod waiters;

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
pub use figures::AnswerCounts;
pub use figures::TypeCounts;
pub use handle::Store;
pub use reader::Reader;
pub use reader::ReportRows;
pub use records::AttemptReply;
pub use records::NewRow;
pub use records::Phase;
pub use records::Process;
pub use records::QueuedRow;
pub use records::Record;
pub use records::StoreOptions;
pub use records::state_file;
pub use run_hold::RunHold;
pub use run_record::Appended;
pub use run_record::Holder;
pub use run_record::IntakeMark;
pub use run_record::LaneCount;
pub use run_record::NewRun;
pub use run_record::RunRecord;
pub use run_record::RunState;
pub use slots::CallId;
pub use slots::Cooldown;
pub use slots::Purpose;
pub use slots::RunKey;
pub use slots::ScopeKey;
pub use slots::ScopeRecord;
pub use slots::ScopeUse;
pub use slots::Take;
pub use slots::Taken;
pub use thread::Pending;

pub use crate::domain::Standing;
