//! Spreads calls evenly: the only file that names governor.
//!
//! The pacer guarantees no quota, for [`decide`](super::decide()) does that; it keeps a burst that the windows allow
//! from leaving in one instant, and holds a rate that the service taught us. It never waits and never reads a clock:
//! governor is shown the caller's time before each question, and is never asked to sleep.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::model::Uptime;

use super::adaptive_rate::{AdaptiveRate, KeptPace};
use super::window::{Pace, Window, Windows};

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

/// Lets calls leave one interval apart, or at will where it has no pace: the slower one of the pace that is normal and of
/// the one that the service's refusals taught.
///
/// A call that may leave has taken its place in the spread, whether it then leaves or not. Ask again where a wait came
/// between; a place taken in vain costs one interval at most.
#[derive(Debug)]
pub struct Pacer {
    normal: Option<Pace>,
    learned: AdaptiveRate,
    /// Whether the learned pace changed since that was last asked.
    is_new: bool,
    /// Made at the first question, for only then is it known what time it is.
    paced: Option<Paced>,
    last_left: Option<Uptime>,
}

impl Pacer {
    /// Returns a pacer whose first call may leave at once. `learned` is what an earlier run was taught.
    pub fn new(normal: Option<Pace>, learned: Option<KeptPace>) -> Self {
        Self {
            normal,
            learned: AdaptiveRate::new(learned),
            is_new: false,
            paced: None,
            last_left: None,
        }
    }

    /// Returns the pace that is kept now. The next call leaves one interval of it after the last one, also where it has
    /// just changed, so that a change is never a way to send two at once.
    pub fn pace(&self) -> Option<Pace> {
        let learned = self.learned.kept().map(|kept| kept.pace());
        let both = self.normal.into_iter().chain(learned);
        both.max_by_key(Pace::interval)
    }

    /// Returns what is learned at present.
    pub fn learned(&self) -> Option<KeptPace> {
        self.learned.kept()
    }

    /// Returns whether what is learned changed since this was last asked.
    pub fn has_learned(&mut self) -> bool {
        std::mem::take(&mut self.is_new)
    }

    /// The service refused a call although every one of `windows` had a slot for it; `counted` is the window that it named.
    ///
    /// What is spread is the shortest one, for what refuses a burst counts over a short time. Where a longer one is named,
    /// somebody else used it up: the cooldown waits for it, and a pace of its rate would hold up every short run of the
    /// day.
    pub fn refused(&mut self, windows: &Windows, counted: Option<Window>) {
        let shortest = windows.as_slice().iter();
        let Some(&window) = shortest.min_by_key(|window| window.period) else {
            return;
        };
        if counted.is_none_or(|counted| counted.period <= window.period) {
            self.is_new |= self.learned.refused(window);
        }
    }

    /// The service answered a call that left at the present pace.
    pub fn passed(&mut self) {
        self.is_new |= self.learned.passed();
    }

    /// Returns for how long nothing should leave after a refusal, whatever the service says.
    pub fn rest(&self) -> Duration {
        self.learned.rest()
    }

    /// Lets one call leave at `now`.
    ///
    /// # Errors
    /// Returns the earliest instant at which a call may leave.
    pub fn check(&mut self, now: Uptime) -> Result<(), Uptime> {
        let pace = self.pace();
        if self.paced.as_ref().map(|paced| paced.pace) != pace {
            self.restart(pace, now);
        }
        if let Some(paced) = &self.paced {
            paced.check(now)?;
        }
        self.last_left = Some(now);
        Ok(())
    }

    /// Begins to keep `pace`, counting from the last call that left.
    fn restart(&mut self, pace: Option<Pace>, now: Uptime) {
        self.paced = pace.and_then(|pace| {
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
        let mut pacer = Pacer::new(pace("50/s"), None);
        assert_eq!(last_of(&mut pacer, 100, at(5000)), at(5000 + 99 * 20));
    }

    #[test]
    fn an_idle_hour_saves_up_no_burst() {
        let mut pacer = Pacer::new(pace("50/s"), None);
        last_of(&mut pacer, 3, at(0));
        assert_eq!(last_of(&mut pacer, 2, at(3_600_000)), at(3_600_020));
    }

    #[test]
    fn without_a_pace_all_leave_at_once() {
        let mut pacer = Pacer::new(None, None);
        assert_eq!(last_of(&mut pacer, 10_000, at(7)), at(7));
    }

    #[test]
    fn a_changed_pace_counts_from_the_call_that_left_last() {
        let windows = Windows::documented();
        let mut pacer = Pacer::new(pace("50/s"), None);
        last_of(&mut pacer, 3, at(0));
        pacer.refused(&windows, None);
        assert!(pacer.has_learned() && !pacer.has_learned());
        let slow = at(40).after(pacer.learned().unwrap().pace().interval());
        assert_eq!(pacer.check(at(41)), Err(slow));
        assert_eq!(pacer.check(slow), Ok(()));
        while pacer.learned().is_some() {
            pacer.passed();
        }
        assert!(pacer.has_learned());
        assert_eq!(pacer.pace(), pace("50/s"));
        let next = slow.after(Duration::from_millis(20));
        assert_eq!(pacer.check(slow), Err(next));
        assert_eq!(pacer.check(next), Ok(()));
    }

    #[test]
    fn the_slower_pace_is_kept_and_without_windows_nothing_is_learned() {
        let mut slow = Pacer::new(pace("1/s"), None);
        slow.refused(&Windows::documented(), None);
        assert_eq!(slow.pace(), pace("1/s"));
        let mut endless = Pacer::new(None, None);
        endless.refused(&Windows::none(), None);
        assert_eq!((endless.pace(), endless.has_learned()), (None, false));
    }

    #[test]
    fn a_longer_window_that_is_named_teaches_nothing() {
        let windows = Windows::documented();
        let mut pacer = Pacer::new(None, None);
        pacer.refused(&windows, Some("1500/1h".parse().unwrap()));
        assert_eq!(pacer.learned(), None);
        pacer.refused(&windows, Some("100/1m".parse().unwrap()));
        assert!(pacer.learned().is_some());
    }

    #[test]
    fn no_instant_is_too_early_or_too_late() {
        let endless = Pace::new(crate::quota::Window {
            limit: NonZeroU32::MIN,
            period: Duration::MAX,
        });
        for kept in [pace("1/24h"), pace("4294967295/1ms"), Some(endless)] {
            for start in [Uptime::MIN, at(-1), at(0)] {
                let mut pacer = Pacer::new(kept, None);
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
