//! The run: a synchronous core that decides, and a shell that performs.
//!
//! `core` holds every decision and no handle. `shell` owns the handles (journal, clock, service, input) and turns
//! effects into events; it decides nothing. Observers are told what is durable and can neither fail nor slow a run.

mod lane_names;
mod rules;

pub mod core;

mod permissions;
mod plan;
mod plan_digest;

mod plan_summary;
mod planned_row;

mod feed;
mod observer;

mod read_handles;

mod executor;
mod reads;

mod aftermath;
mod pages;
mod survey;

mod shell;

mod journaled;
mod tenant;

pub use aftermath::Aftermath;
pub use aftermath::Need;
pub use executor::LaneHandles;
pub use executor::LaneWay;
pub use feed::Place;
pub use journaled::Journaled;
pub use journaled::journal;
pub use journaled::look_over;
pub use journaled::recall;
pub use lane_names::LaneName;
pub use lane_names::LaneNames;
pub use observer::Observer;
pub use observer::RunView;
pub use pages::FIRST_PAGE;
pub use pages::Pages;
pub use permissions::NeededPermission;
pub use permissions::Permissions;
pub use plan::Planner;
pub use plan_digest::PlanDigest;
pub use plan_summary::NameCounts;
pub use plan_summary::PlanCell;
pub use plan_summary::PlanLine;
pub use plan_summary::PlanReason;
pub use plan_summary::PlanSummary;
pub use plan_summary::Verdict;
pub use planned_row::PlannedRow;
pub use read_handles::ReadHandles;
pub use reads::Reads;
pub use reads::ReadsError;
pub use reads::ReadsSettings;
pub use rules::Rules;
pub use rules::Triage;
pub use shell::Before;
pub use shell::Beyond;
pub use shell::EngineError;
pub use shell::Intake;
pub use shell::LaneShare;
pub use shell::RunEnd;
pub use shell::RunParts;
pub use shell::execute;
pub use survey::Survey;
pub use survey::SurveyError;
pub use tenant::Selected;
pub use tenant::SelectionJournal;
