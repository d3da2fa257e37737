//! The embedded imitation of the service: for the first run, for demos and for tests.
//!
//! It speaks the service's own wire (MDE facts) with types, a filter parser and a quota count of its own: nothing of
//! the client's is shared, so a mistake in the one shows in the other. What the service's documents leave open is a
//! setting here. It never decides what a client should do, and it must never be reachable from elsewhere than the
//! caller's listener.
//!
//! A call is stamped, counted against the quotas, met by the script of mishaps, worked on and logged in one step under
//! one lock ([`Sandbox`]); only then is it delayed, spoilt or answered. So what happened to an action does not depend
//! on whether its caller stayed for the answer.

mod call;
mod dice;
mod time;

mod field;
mod span;

mod fault;
mod filter;
mod record;

mod mix;
mod rule;
mod wire;

mod script;
mod settings;

mod allowance;
mod query;
mod token;

mod answer;
mod line;
mod log;
mod sign_in;

mod actions;

mod state;

mod server;

mod routes;

mod serve;

pub use allowance::WorstCount;
pub use call::CallKind;
pub use fault::{Fault, FaultKind, Tells, Work};
pub use line::Severed;
pub use log::{CallEnd, LoggedCall};
pub use mix::Mix;
pub use record::{CancelEffect, Cancellation, Change, Record, Status};
pub use rule::{Faults, InvalidFaults, Rule, Turn};
pub use serve::serve;
pub use server::Sandbox;
pub use settings::{
    CallMemory, CancelSettings, FinalAnswer, ListSettings, QuotaSettings, RefusedCalls,
    RetryAfterForm, SandboxSettings, Sharing, TokenCheck, TokenSettings,
};
pub use span::{InvalidLatency, Latency};
pub use state::SavedSandbox;
pub use time::SandboxClock;
