//! The run: a synchronous core that decides, and a shell that performs.
//!
//! `core` holds every decision and no handle. `shell` owns the handles (journal, clock, service, input) and turns
//! effects into events; it decides nothing. Observers are told what is durable and can neither fail nor slow a run.

pub mod core;
mod executor;
mod journaled;
mod lane_names;
mod later_actions;
mod pages;
mod permissions;
mod plan;
mod plan_summary;
mod planned_row;
mod reads;
mod rules;
mod shell;
mod survey;

pub use executor::{LaneHandles, LaneWay, ReadHandles};
pub use journaled::{Journaled, Selected, SelectionJournal, journal, look_over, recall};
pub use lane_names::{LaneName, LaneNames};
pub use later_actions::{LaterActions, MachineChange};
pub use pages::{FIRST_PAGE, Pages};
pub use permissions::{NeededPermission, Permissions};
pub use plan::Planner;
pub use plan_summary::{
    NameCounts, PlanCell, PlanHash, PlanId, PlanLine, PlanSummary, Skips, Verdict,
};
pub use planned_row::PlannedRow;
pub use reads::{Reads, ReadsError, ReadsSettings};
pub use rules::{Precheck, RELEASED_SINCE, Rules, is_excluded};
pub use shell::{
    Before, Beyond, EngineError, Fed, Intake, LaneShare, Observer, RunEnd, RunParts, RunView,
    execute, read_inputs,
};
pub use survey::{Survey, SurveyError};
