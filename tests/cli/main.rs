//! Tests that start the real program: one file for each command or topic.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should stop there"
)]

mod support;

mod approved_plan;
mod binary;
mod consent;
mod crash;
mod docs;
mod doctor;
mod list;
mod outputs;
mod policy;
mod preview;
mod reference;
mod release;
mod resume;
mod run_endings;
mod sign_in;
mod signals;
mod slots;
mod tenants;
mod two_runs;
