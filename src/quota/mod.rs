//! The quota rule: how many calls the windows allow, and when the next one may be sent.
//!
//! Pure: time is an argument, nothing here waits or writes. The store runs [`decide`] in the transaction that takes the
//! slot, and the engine waits until the returned instant.
//!
//! A call takes a slot in every window from sending until one period after its reply was read. It reaches the service
//! in between, so rolling windows, fixed windows and token buckets with a burst of the limit are all respected at any
//! latency. GCRA does not work here: with a burst it lets nearly twice the quota through, without one it takes four
//! times as long.

mod adaptive_rate;
mod admission;
mod forecast;
mod pacer;
mod window;

pub use adaptive_rate::{AdaptiveRate, KEPT_FOR, SavedRate};
pub use admission::{Calls, Decision, Usage, decide, usage};
pub use forecast::{ForecastPoint, forecast, milestones};
pub use pacer::Pacer;
pub use window::{InvalidPace, InvalidWindow, Pace, Window, Windows};
