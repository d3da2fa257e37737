//! Tests of the library. None starts a process, so that no child inherits another test's locks.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should stop there"
)]

mod support;

mod api;
mod architecture;
mod auth;
mod cli;
mod compat;
mod deaths;
mod fault_matrix;
mod hard_cases;
mod input;
mod lanes;
mod learned_pace;
mod precheck;
mod quota;
mod reads;
mod replies;
mod report;
mod runner;
mod sandbox;
mod simulation;
mod store;
mod verify;
