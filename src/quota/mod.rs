//! The quota rule: how many calls the service's windows allow, and when the next one may leave.
//!
//! Pure: time is an argument, nothing here waits or writes. The store runs [`decide`] inside the transaction that
//! takes the slot, and the engine waits for the instant it names.
//!
//! A call holds a slot in every window from the moment it is sent until one period after its reply was read. Its
//! arrival at the service lies somewhere between, so a rolling window, a fixed window and a token bucket whose burst is
//! the allowance all stay within bounds, whatever the latency. GCRA cannot be that rule: with a burst it lets nearly
//! twice the allowance through, without one it needs four times as long.

mod adaptive_rate;
mod decide;
mod forecast;
mod pacer;
mod window;

pub use adaptive_rate::{AdaptiveRate, KEPT_FOR, KeptPace};
pub use decide::{Calls, Decision, Usage, decide, usage};
pub use forecast::{Milestone, forecast, milestones};
pub use pacer::Pacer;
pub use window::{InvalidPace, InvalidWindow, Pace, Window, Windows};
