//! Cancels Microsoft Defender for Endpoint machine actions in bulk.
//!
//! The house stands on floors; a module names only modules on a strictly lower one, and `tests/lib/architecture.rs`
//! proves it. Read from the ground up:
//!
//! | floor | modules | what lives there |
//! |---|---|---|
//! | 0 | [`model`] | the words as types; no I/O, no async |
//! | 1 | [`clock`], [`platform`], [`quota`], [`retry`] | pure rules; time and dice are arguments |
//! | 2 | [`input`], [`api`], [`auth`], [`store`], [`report`], [`sandbox`] | adapters, each the only home of its library |
//! | 3 | [`engine`] | the synchronous core that decides, and the shell that performs |
//! | 4 | [`cli`] | what was typed, what it means, what is printed |
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
