//! The embedded imitation of the service: for the first run, for demos and for tests.
//!
//! It speaks the service's own wire (MDE facts) with types, a filter parser and a quota count of its own: nothing of
//! the client's is shared, so a mistake in the one shows in the other. What the service's documents leave open is a
//! setting here. It never decides what a client should do, and it must never be reachable from elsewhere than the
//! caller's listener.

mod action_json;
mod actions;
mod call_log;
mod faults;
mod generate;
mod http_server;
mod oauth;
mod query;
mod random;
mod rate_limit;
mod response;
mod routes;
mod running_sandbox;
mod settings;

pub use actions::{CancelEffect, Cancellation, Change, MockAction, Status};
pub use call_log::{CallEnd, CallKind, LoggedCall};
pub use faults::{Faults, InvalidFaults};
pub use generate::Generator;
pub use http_server::{Severed, serve};
pub use response::Body;
pub use running_sandbox::{Sandbox, SavedSandbox};
pub use settings::{
    CancelSettings, FinalAnswer, InvalidLatency, Latency, SandboxClock, SandboxRelease,
    SandboxSettings, TokenSettings, parse_quota,
};
