//! The core: `step(now, event)` returns the effects to perform. Synchronous, holding no handle, reading no clock.
//!
//! That is what makes the hard cases testable: a simulation drives it in virtual time with a model of the service and
//! a model of the store. The runner performs the same effects on the real ones.
//!
//! Order of every attempt: ask the ledger (`Take`: the slot and the journal's "sent" are one transaction) → look again
//! at stop, breaker and cooldown → `Post` → the reply → `Write` (ledger and journal "replied") → observers.
//!
//! Whatever happens to a row is an event: `transition` says where the row goes, and `Lane::apply` puts it there and keeps
//! the indexes. An answer passes four places: `api` names it (`ReplyKind`), [`crate::retry`] says what it means (`SendVerdict`),
//! `responses` tells the gate and the lane, and `transition` says where the row goes (`Next`). `loading` brings rows, `dispatch` and `reread` choose the next call, `responses` takes in what came back, and
//! `stop_rules` says when a lane stops.

mod breaker;
mod denied_types;
mod dispatch;
mod event;
mod gate;
mod indexes;
mod lane;
mod loading;
mod operation;
mod page_request;
pub(in crate::engine) mod reasons;
mod reread;
mod responses;
mod row;
mod run;
mod settings;
mod stop_rules;
mod token;
mod transition;

pub use event::{CallToken, Effect, Event, ReadQuery, RunEvent, StopReason, Waiting};
pub use gate::{GateSettings, WaitCause};
pub use run::{Core, LaneView};
pub use settings::{CommentRule, CoreSettings, LaneSettings, MaxFailures, Tally};
