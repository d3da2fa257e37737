//! The run: a synchronous core makes every decision, and a runner carries them out.
//!
//! The core does no I/O. The runner owns the handles (journal, clock, clients, input), performs the core's effects and
//! feeds their results back as events. Observers see an event about a row only once the journal has it; they can't fail
//! or slow down a run.
//!
//! A lane is one tenant's share of a run. A scope is what the service counts calls by: tenant, app and kind of call.
//! The ledger counts the calls of each scope, the journal stores the rows.
//!
//! # The life of a row
//!
//! ```text
//! journal ─ load ─► precheck ──────────► ready ─► ledger ─► on the wire ─► answered
//!                   read the state        ▲        │ slot and "sent"         │
//!                   before sending;       │        │ in one commit           │
//!                   stale after 5 min     │        ▼                         │
//!                                         ├── no slot, cooldown, stop        │
//!                                         ├── 401, 429, not sent ◄───────────┤
//!                                         ├── retry after a backoff ◄────────┤ fault, not applied
//!                                         │                                  │
//!                                      reread ◄──────────────────────────────┤ accepted (verify), result unknown,
//!                                         │    one queue, with a reason      │ 400, 404, 409
//!                                         ▼                                  ▼
//!                                      settled ◄──────────────────────────── final answer
//! ```
//!
//! A row that can't be sent now (another run works on its action, or its type is forbidden) leaves memory unsettled. A
//! later pass, or a resume, loads it again.
//!
//! # Plans and reads outside a run
//!
//! The same core and runner make a plan: disarmed, and with clients that can only read. They journal the input and read
//! states; rows to send stay in the journal until an armed core loads them. Lists, selections and follow-up checks
//! request pages from a disarmed core without rows. So every call passes the same gates and follows the same retry
//! rules.
//!
//! # What happens on
//!
//! - **429**: the scope cools down in all processes, for as long as the service asks. The row keeps its turn and its
//!   attempt doesn't count as a fault. Afterwards calls leave in rounds of 1, 2, 4 and so on. If the answer names a
//!   smaller limit, the run adopts it; otherwise the rate adapts.
//! - **Timeout, reset, 5xx except 503**: the result is unknown. The row's record is read before the row is settled or
//!   sent again. After a timeout the slot stays taken for a grace period, because the call may still arrive.
//! - **503, 408, a redirect**: the call changed nothing. The row is sent again after a backoff.
//! - **Five faults in a row**, of either kind: the gate's circuit breaker opens. It sends one probe at a time, then
//!   rounds of 1, 2, 4, 8.
//! - **Ctrl-C**: no new attempt leaves. The run waits for cancels on the wire and journals their answers; it gives up
//!   reads after two seconds. A second Ctrl-C ends the process.
//! - **Crash**: the journal has "sent" for every call that may have left. Once the dead process's lock is free, the
//!   next process ends these calls in the ledger, with a grace period. A resume reads the records of their rows. Where
//!   reading is forbidden, a cancel is sent again, and a release stays unknown.
//! - **A failed write**: the run ends before another byte leaves.

pub mod core;
mod ingest;
mod lane_names;
mod list_paging;
mod machine_histories;
mod perform_effects;
mod permissions;
mod plan;
mod plan_summary;
mod reads_outside_runs;
mod runner;
mod skip_rules;

pub use ingest::{
    Ingest, InputCut, InputMessage, LaneCounts, RemainingInput, RunCounts, Selected, read_inputs,
    recall, summarize_journaled,
};
pub use lane_names::{LaneName, LaneNames};
pub use list_paging::{ActionPager, FIRST_PAGE};
pub use machine_histories::{MachineChange, OtherActions};
pub use perform_effects::{LaneClientResult, LaneClients, ReadClients};
pub use permissions::{NeededPermission, Permissions};
pub use plan::Planner;
pub use plan_summary::{
    NameCounts, PlanCell, PlanHash, PlanId, PlanLine, PlanSummary, Skips, Verdict,
};
pub use reads_outside_runs::{Reads, ReadsError, ReadsSettings};
pub use runner::{EngineError, Observer, PlanEnd, RunEnd, RunParts, RunView, execute, plan};
pub use skip_rules::{Precheck, RELEASED_SINCE, SkipRules, is_excluded};
