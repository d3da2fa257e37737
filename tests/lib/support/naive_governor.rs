//! What the usual settings of governor let through: the proof that the models and the oracle can fail.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, FakeRelativeClock};
use governor::{Quota, RateLimiter};

/// Returns when `count` calls leave under `per_minute(100)` and `per_hour(1500)`, their bursts left as they come.
pub(crate) fn naive_governor(count: usize) -> Vec<Duration> {
    let clock = FakeRelativeClock::default();
    let limiters = [
        Quota::per_minute(NonZeroU32::new(100).unwrap()),
        Quota::per_hour(NonZeroU32::new(1500).unwrap()),
    ]
    .map(|quota| RateLimiter::direct_with_clock(quota, clock.clone()));
    (0..count)
        .map(|_| {
            for limiter in &limiters {
                while let Err(refused) = limiter.check() {
                    clock.advance(refused.wait_time_from(clock.now()));
                }
            }
            Duration::from_nanos(clock.now().as_u64())
        })
        .collect()
}
