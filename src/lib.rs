//! Cancels Microsoft Defender for Endpoint machine actions in bulk.
//!
//! Modules are on floors; a module only names modules on a lower one, and `tests/lib/architecture.rs` proves it:
//!
//! | floor | modules | what is there |
//! |---|---|---|
//! | 0 | [`model`] | the words as types; no I/O, no async |
//! | 1 | [`clock`], [`platform`], [`quota`], [`retry`] | rules; time and chance are arguments |
//! | 2 | [`input`], [`api`], [`auth`], [`store`], [`report`], [`sandbox`] | adapters; each is the only one that uses its libraries |
//! | 3 | [`engine`] | the synchronous core that decides, and the runner that performs |
//! | 4 | [`cli`] | arguments, settings, commands, everything printed |
//!
//! Data walks one way: input → store → engine → store → report.

#![cfg_attr(
    test,
    expect(
        clippy::unwrap_used,
        reason = "a test that meets the unexpected should stop there"
    )
)]

pub mod model;

pub mod clock;
pub mod platform;
pub mod quota;
pub mod retry;

pub mod api;
pub mod auth;
pub mod input;
pub mod report;
pub mod sandbox;
pub mod store;

pub mod engine;

pub mod cli;

// For the unit tests, which cannot see those beside the suite.
#[cfg(test)]
#[path = "../tests/lib/support/proptest_config.rs"]
mod proptest_config;
