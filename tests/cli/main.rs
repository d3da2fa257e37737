//! Tests that start the real program: one file for each command or matter.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should stop there"
)]

mod support;

mod address;
mod afterwards;
mod binary;
mod consent;
mod crash;
mod docs;
mod follow_ups;
mod list;
mod outputs;
mod policy;
mod preview;
mod proxy;
mod reference;
mod resume;
mod run_endings;
mod shell;
mod sign_in;
mod signals;
mod slots;
mod tenants;
mod two_runs;
