//! Spreads calls evenly: the only file that names governor.
//!
//! The pacer guarantees no quota, for [`decide`](super::decide()) does that; it keeps a burst that the windows allow
//! from leaving in one instant, and holds a rate that the service taught us. It never waits and never reads a clock:
//! governor is shown the caller's time before each question, and is never asked to sleep.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use governor::Quota;
use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::InMemoryState;
use governor::state::NotKeyed;

use crate::domain::Uptime;

use super::pace::Pace;

/// How many calls may leave back to back. One: a larger burst would let calls of one instant reach the service
/// together, which is what a pace is there to prevent.
const BURST: NonZeroU32 = NonZeroU32::MIN;

/// The latest reading that governor is shown, and the longest interval it is given: it adds the two without looking for
/// overflow. The reading reaches from the boot to the end of [`Uptime`].
const LATEST: Duration = Duration::from_nanos(u64::MAX / 2);
const LONGEST: Duration = Duration::from_nanos(u64::MAX / 4);

/// Governor's clock: it shows what was last written to it.
#[derive(Debug, Default)]
struct ShownClock(AtomicU64);

impl Clock for ShownClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        // Relaxed: the pacer is the only owner, and writes and reads it in one `&mut` call.
        Nanos::from(self.0.load(Ordering::Relaxed))
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, ShownClock, NoOpMiddleware<Nanos>>;

/// A limiter, and the instant that its clock calls zero.
#[derive(Debug)]
struct Paced {
    pace: Pace,
    zero: Uptime,
    limiter: Limiter,
}

impl Paced {
    fn start(pace: Pace, zero: Uptime) -> Option<Self> {
        let interval = pace.interval().clamp(Duration::from_nanos(1), LONGEST);
        let quota = Quota::with_period(interval)?.allow_burst(BURST);
        Some(Self {
            pace,
            zero,
            limiter: RateLimiter::direct_with_clock(quota, ShownClock::default()),
        })
    }

    fn check(&self, now: Uptime) -> Result<(), Uptime> {
        let shown = u64::try_from(now.since(self.zero).min(LATEST).as_nanos()).unwrap_or(u64::MAX);
        self.limiter.clock().0.store(shown, Ordering::Relaxed);
        self.limiter.check().map_err(|refused| {
            self.zero
                .after(Duration::from_nanos(refused.earliest_possible().as_u64()))
        })
    }
}

/// Lets calls leave one interval apart, or at will where it has no pace.
///
/// A call that may leave has taken its place in the spread, whether it then leaves or not. Ask again where a wait came
/// between; a place taken in vain costs one interval at most.
#[derive(Debug)]
pub struct Pacer {
    pace: Option<Pace>,
    /// Made at the first question, for only then is it known what time it is.
    paced: Option<Paced>,
    last_left: Option<Uptime>,
}

impl Pacer {
    /// Returns a pacer whose first call may leave at once.
    pub fn new(pace: Option<Pace>) -> Self {
        Self {
            pace,
            paced: None,
            last_left: None,
        }
    }

    /// Returns the pace that is kept now.
    pub fn pace(&self) -> Option<Pace> {
        self.pace
    }

    /// Changes the pace. The next call leaves one interval of the new pace after the last one, so that a change is
    /// never a way to send two at once.
    pub fn set_pace(&mut self, pace: Option<Pace>) {
        self.pace = pace;
    }

    /// Lets one call leave at `now`.
    ///
    /// # Errors
    /// Returns the earliest instant at which a call may leave.
    pub fn check(&mut self, now: Uptime) -> Result<(), Uptime> {
        if self.paced.as_ref().map(|paced| paced.pace) != self.pace {
            self.restart(now);
        }
        if let Some(paced) = &self.paced {
            paced.check(now)?;
        }
        self.last_left = Some(now);
        Ok(())
    }

    /// Begins to keep the present pace, counting from the last call that left.
    fn restart(&mut self, now: Uptime) {
        self.paced = self.pace.and_then(|pace| {
            let paced = Paced::start(pace, self.last_left.unwrap_or(now))?;
            if let Some(last) = self.last_left {
                // That call has left already, but a fresh limiter would not refuse another one.
                paced.check(last).ok()?;
            }
            Some(paced)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Uptime {
        Uptime::from_nanos(millis * 1_000_000)
    }

    fn pace(text: &str) -> Option<Pace> {
        Pace::parse(text).unwrap()
    }

    /// Sends `count` calls as early as the pacer lets them leave, and returns when the last one left.
    fn last_of(pacer: &mut Pacer, count: u32, start: Uptime) -> Uptime {
        let mut now = start;
        for _ in 0..count {
            while let Err(until) = pacer.check(now) {
                assert!(until > now);
                now = until;
            }
        }
        now
    }

    #[test]
    fn a_hundred_calls_at_fifty_a_second_leave_over_two_seconds() {
        let mut pacer = Pacer::new(pace("50/s"));
        assert_eq!(last_of(&mut pacer, 100, at(5000)), at(5000 + 99 * 20));
    }

    #[test]
    fn an_idle_hour_saves_up_no_burst() {
        let mut pacer = Pacer::new(pace("50/s"));
        last_of(&mut pacer, 3, at(0));
        assert_eq!(last_of(&mut pacer, 2, at(3_600_000)), at(3_600_020));
    }

    #[test]
    fn without_a_pace_all_leave_at_once() {
        let mut pacer = Pacer::new(None);
        assert_eq!(last_of(&mut pacer, 10_000, at(7)), at(7));
    }

    #[test]
    fn a_changed_pace_counts_from_the_call_that_left_last() {
        let mut pacer = Pacer::new(pace("50/s"));
        last_of(&mut pacer, 3, at(0));
        pacer.set_pace(pace("45/1m"));
        let slow = at(40).after(Duration::from_nanos(1_333_333_334));
        assert_eq!(pacer.check(at(41)), Err(slow));
        assert_eq!(pacer.check(slow), Ok(()));
        pacer.set_pace(pace("50/s"));
        assert_eq!(
            pacer.check(slow),
            Err(slow.after(Duration::from_millis(20)))
        );
        pacer.set_pace(None);
        assert_eq!(pacer.check(slow), Ok(()));
        pacer.set_pace(pace("50/s"));
        assert!(pacer.check(slow).is_err());
        assert_eq!(pacer.pace(), pace("50/s"));
    }

    #[test]
    fn no_instant_is_too_early_or_too_late() {
        let endless = Pace::new(crate::quota::Window {
            limit: NonZeroU32::MIN,
            period: Duration::MAX,
        });
        for kept in [pace("1/24h"), pace("4294967295/1ms"), Some(endless)] {
            for start in [Uptime::MIN, at(-1), at(0)] {
                let mut pacer = Pacer::new(kept);
                assert_eq!(pacer.check(start), Ok(()));
                for now in [start, at(1), Uptime::MAX, at(3), Uptime::MIN] {
                    if let Err(until) = pacer.check(now) {
                        assert!(until > now || start == Uptime::MIN || now == Uptime::MAX);
                    }
                }
            }
        }
    }
}
