//! The core: `step(now, event)` returns the effects to perform. It is synchronous, does no I/O and reads no clock.
//!
//! So a simulation can drive the hard cases in virtual time, with models of the service and the store. The runner
//! performs the same effects on the real ones.
//!
//! Every attempt takes the same steps: ask the ledger (`SlotRequest` commits the slot and the journal's "sent" together),
//! check stop, breaker and cooldown again, `Post`, wait for the reply, `Write` ("replied" in ledger and journal), tell
//! the observers.
//!
//! An answer passes four modules: `api` classifies it (`ReplyKind`), [`crate::retry`] interprets it (`SendVerdict`),
//! `responses` updates the gate and the lane, and `transition` decides where the row goes (`Next`). `Lane::apply` alone
//! moves rows and updates the indexes. `loading` brings rows in, `dispatch` and `reread` choose the next call, and
//! `stop_rules` stops a lane.

mod breaker;
mod denied_types;
mod dispatch;
mod event;
mod lane;
mod load_rows;
mod operation;
pub(in crate::engine) mod reasons;
mod responses;
mod row;
mod row_indexes;
mod run;
mod scope_gate;
mod settings;
mod single_page;
mod status_reads;
mod stop_rules;
mod token_renewal;
mod transition;

pub use event::{CallTicket, Effect, Event, ReadQuery, RunEvent, StopReason, Waiting};
pub use run::{Core, LaneView};
pub use scope_gate::{GateSettings, WaitCause};
pub use settings::{CommentRule, CoreSettings, LaneSettings, MaxFailures, Tally};
