//! The embedded sandbox: an imitation of the service for the first run, demos and tests.
//!
//! It implements the documented API (MDE) with its own types, filter parser and quota count. It shares none of them
//! with the client, so that a mistake in one shows in the other. Undocumented behavior is a setting. It never decides
//! what a client should do, and is reachable only through the caller's listener.

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
pub use http_server::{Aborted, serve};
pub use response::Body;
pub use running_sandbox::{Sandbox, SavedSandbox};
pub use settings::{
    CancelSettings, FinalCancelAnswer, InvalidLatency, Latency, SandboxClock, SandboxRelease,
    SandboxSettings, TokenSettings, parse_quota,
};
