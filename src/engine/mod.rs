//! The run: a synchronous core that decides, and a shell that performs.
//!
//! `core` holds every decision and no handle. `shell` owns the handles (journal, clock, service, input) and turns
//! effects into events; it decides nothing. Observers are told what is durable and can neither fail nor slow a run.

mod lane_names;
mod rules;

pub mod core;

mod permissions;
mod plan;
mod plan_id;

mod plan_summary;
mod planned_row;
mod skips;

mod feed;
mod observer;

mod read_handles;

mod executor;
mod reads;

mod later_actions;
mod pages;
mod survey;

mod shell;

mod journaled;
mod tenant;

pub use executor::{LaneHandles, LaneWay};
pub use feed::{Fed, read_inputs};
pub use journaled::{Journaled, journal, look_over, recall};
pub use lane_names::{LaneName, LaneNames};
pub use later_actions::{LaterActions, MachineChange};
pub use observer::{Observer, RunView};
pub use pages::{FIRST_PAGE, Pages};
pub use permissions::{NeededPermission, Permissions};
pub use plan::Planner;
pub use plan_id::{PlanHash, PlanId};
pub use plan_summary::{NameCounts, PlanCell, PlanLine, PlanSummary, Verdict};
pub use planned_row::PlannedRow;
pub use read_handles::ReadHandles;
pub use reads::{Reads, ReadsError, ReadsSettings};
pub use rules::{Precheck, RELEASED_SINCE, Rules, is_excluded};
pub use shell::{Before, Beyond, EngineError, Intake, LaneShare, RunEnd, RunParts, execute};
pub use skips::Skips;
pub use survey::{Survey, SurveyError};
pub use tenant::{Selected, SelectionJournal};
