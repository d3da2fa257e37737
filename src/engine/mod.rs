//! The run: a synchronous core that decides, and a runner that performs.
//!
//! `core` holds every decision and no handle. `runner` owns the handles (journal, clock, service, input) and turns
//! effects into events; it decides nothing. Observers are told what is durable and can neither fail nor slow a run.
//!
//! A lane is one tenant's share of a run. A scope is what the service counts by: one tenant, app and kind of call. The ledger
//! counts the calls of each scope; the journal keeps the rows.
//!
//! # A row's way
//!
//! ```text
//! journal ─ load ─► precheck ──────────► ready ─► ledger ─► on the wire ─► answered
//!                   read before it        ▲        │ slot and "sent"         │
//!                   is sent, and again    │        │ in one commit           │
//!                   after 5 minutes       │        ▼                         │
//!                                         ├── no slot, cooldown, stop        │
//!                                         ├── 401, 429, no byte left ────────┤
//!                                         ├── retry after a backoff ◄────────┤ fault that surely changed nothing
//!                                         │                                  │
//!                                      reread ◄──────────────────────────────┤ accepted (verify), fault of unknown
//!                                         │    one queue, with a reason      │ result, 400, 404, 409
//!                                         ▼                                  ▼
//!                                      settled ◄─────────────────────── the answer is the last word
//! ```
//!
//! A row that cannot be sent now (another run works on its action, its type is forbidden) leaves memory unsettled and is loaded
//! again in a later pass, or by whoever resumes the run.
//!
//! # Plans and reads outside a run
//!
//! A plan is made by the same core and runner, disarmed and with clients that only read: the input is journaled, states are read,
//! and what would be sent stays in the journal until a new core, armed, loads it. Lists, selections and follow-up checks request
//! pages from a disarmed core without rows. So every call passes the same gates and is tried again by the same rules.
//!
//! # What happens
//!
//! - **429**: the scope cools down for all processes, for as long as the service asks. The row keeps its turn and is not blamed.
//!   Afterwards calls leave in rounds of 1, 2, 4, and so on. A smaller limit that the answer names is adopted; else the rate
//!   adapts.
//! - **Time-out, reset, 5xx but 503**: the result of the call is unknown. Its record is read, and only then the row is settled or
//!   sent again. After a time-out the slot is also held for a grace, because the call may still arrive.
//! - **503, 408, a redirect**: the call changed nothing. The row is sent again after a backoff.
//! - **Five faults in a row**, of either kind: the gate's breaker opens; one probe at a time, then rounds of 2, 4, 8.
//! - **Ctrl-C**: no new attempt. Cancels on the wire are waited for and journaled; reads are given up after two seconds. The
//!   second Ctrl-C ends the process.
//! - **Crash**: the journal holds "sent" for every call that may have left. The next process ends these calls in the ledger, with
//!   a grace, once the dead one's lock is free; a resume reads the records of the rows that they were for. Where reading is
//!   forbidden, such a row is sent again.
//! - **A write that fails**: the run ends before another byte leaves.

pub mod core;
mod effects;
mod ingest;
mod lane_names;
mod later_actions;
mod pages;
mod permissions;
mod plan;
mod plan_summary;
mod runner;
mod skip_rules;
mod tenant_reads;

pub use effects::{LaneHandles, LaneWay, ReadHandles};
pub use ingest::{
    Beyond, Fed, Ingest, Intake, LaneShare, LaneShares, Selected, look_over, read_inputs, recall,
};
pub use lane_names::{LaneName, LaneNames};
pub use later_actions::{LaterActions, MachineChange};
pub use pages::{FIRST_PAGE, Pages};
pub use permissions::{NeededPermission, Permissions};
pub use plan::Planner;
pub use plan_summary::{
    NameCounts, PlanCell, PlanHash, PlanId, PlanLine, PlanSummary, Skips, Verdict,
};
pub use runner::{EngineError, Observer, PlanEnd, RunEnd, RunParts, RunView, execute, plan};
pub use skip_rules::{Precheck, RELEASED_SINCE, SkipRules, is_excluded};
pub use tenant_reads::{Reads, ReadsError, ReadsSettings};
