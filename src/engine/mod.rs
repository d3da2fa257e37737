//! The run: a synchronous core that decides, and a shell that performs.
//!
//! `core` holds every decision and no handle. `shell` owns the handles (journal, clock, service, input) and turns
//! effects into events; it decides nothing. Observers are told what is durable and can neither fail nor slow a run.

mod rules;

pub mod core;

mod plan;

mod feed;
mod observer;

mod read_handles;

mod executor;
mod reads;

mod pages;

mod shell;

mod tenant;

pub use executor::LaneHandles;
pub use feed::Place;
pub use observer::Observer;
pub use observer::RunView;
pub use pages::FIRST_PAGE;
pub use pages::Pages;
pub use plan::Planner;
pub use read_handles::ReadHandles;
pub use reads::Reads;
pub use reads::ReadsError;
pub use reads::ReadsSettings;
pub use rules::Rules;
pub use rules::Triage;
pub use shell::Before;
pub use shell::EngineError;
pub use shell::Intake;
pub use shell::RunEnd;
pub use shell::RunParts;
pub use shell::execute;
pub use tenant::Selected;
pub use tenant::SelectionJournal;
