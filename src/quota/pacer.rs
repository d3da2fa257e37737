//! Spreads calls evenly, with the `governor` crate, which only this file uses.
//!
//! The pacer does not enforce quotas; [`decide`](super::admission()) does. It keeps a permitted burst from being sent at
//! once, and applies the adapted rate. It never waits and reads no clock: each check sets governor's clock to the
//! caller's time.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::model::Uptime;

use super::adaptive_rate::{AdaptiveRate, SavedRate};
use super::window::{Pace, Window, Windows};

/// How many calls may be sent back to back. More would let calls reach the service together, which a pace must prevent.
const BURST: NonZeroU32 = NonZeroU32::MIN;

/// The latest clock reading and the longest interval for governor, which adds them without an overflow check. The
/// reading spans the whole range of [`Uptime`] from the boot.
const LATEST: Duration = Duration::from_nanos(u64::MAX / 2);
const LONGEST: Duration = Duration::from_nanos(u64::MAX / 4);

/// A clock for governor that shows the last stored time.
#[derive(Debug, Default)]
struct ShownClock(AtomicU64);

impl Clock for ShownClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        // Relaxed: only the pacer accesses it, within a single `&mut` call.
        Nanos::from(self.0.load(Ordering::Relaxed))
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, ShownClock, NoOpMiddleware<Nanos>>;

/// A limiter; its clock is zero at `zero`.
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

/// Spaces calls by the slower of the normal pace and the adapted rate; without either, calls pass at once.
///
/// A successful check uses up an interval even if the call is not sent. Check again after another wait; an unused check
/// costs at most one interval.
#[derive(Debug)]
pub struct Pacer {
    normal: Option<Pace>,
    learned: AdaptiveRate,
    /// Whether the adapted rate changed since [`Pacer::has_learned`].
    is_new: bool,
    /// Created by the first check, which knows the time.
    paced: Option<Paced>,
    last_left: Option<Uptime>,
}

impl Pacer {
    /// Creates a pacer whose first call may be sent at once. `learned` is the stored rate of an earlier run.
    pub fn new(normal: Option<Pace>, learned: Option<SavedRate>) -> Self {
        Self {
            normal,
            learned: AdaptiveRate::new(learned),
            is_new: false,
            paced: None,
            last_left: None,
        }
    }

    /// Returns the current pace. It also separates the next call from the last one after a change, so that a change
    /// never lets two calls pass at once.
    pub fn pace(&self) -> Option<Pace> {
        let learned = self.learned.kept().map(|kept| kept.pace());
        let both = self.normal.into_iter().chain(learned);
        both.max_by_key(Pace::interval)
    }

    pub fn learned(&self) -> Option<SavedRate> {
        self.learned.kept()
    }

    /// Returns whether the adapted rate changed since the last call of this method.
    pub fn has_learned(&mut self) -> bool {
        std::mem::take(&mut self.is_new)
    }

    /// Records a 429 although each of `windows` had a free slot; `counted` is the window that the service named.
    ///
    /// The shortest window sets the pace, because a service that refuses a burst counts over a short time. If it names
    /// a longer window, another client used that one up: the cooldown handles it, and pacing at its rate would slow
    /// down every short run of the day.
    pub fn refused(&mut self, windows: &Windows, counted: Option<Window>) {
        let shortest = windows.as_slice().iter();
        let Some(&window) = shortest.min_by_key(|window| window.period) else {
            return;
        };
        if counted.is_none_or(|counted| counted.period <= window.period) {
            self.is_new |= self.learned.refused(window);
        }
    }

    /// Records an answered call at the current pace.
    pub fn passed(&mut self) {
        self.is_new |= self.learned.passed();
    }

    /// Returns the minimum pause after a refusal.
    pub fn rest(&self) -> Duration {
        self.learned.rest()
    }

    /// Admits one call at `now`, or returns the earliest instant for the next one.
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

    /// Switches to `pace`, counting from the last admitted call.
    fn restart(&mut self, pace: Option<Pace>, now: Uptime) {
        self.paced = pace.and_then(|pace| {
            let paced = Paced::start(pace, self.last_left.unwrap_or(now))?;
            if let Some(last) = self.last_left {
                // Account for the last call, which a new limiter doesn't know.
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

    /// Sends `count` calls as early as possible, and returns when the last one was sent.
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
