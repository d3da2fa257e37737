//! The send rate after the service throttled calls although our windows had free slots.
//!
//! Such a service counts differently than our windows, or another client uses a part of the quota. The rate is found by
//! additive increase, multiplicative decrease: the first refusal spreads calls evenly at almost the window's rate, each
//! further one cuts the share to 5/6, and each clean period adds 3 % of the window. After several clean periods at the
//! first rate calls are no longer spread; each time that proves wrong, the number of periods doubles.
//!
//! Each process adapts on its own and stores its last rate. Two processes on a scope are throttled until both have
//! found their part; the windows bound the sum.

use std::num::NonZeroU32;
use std::time::Duration;

use super::window::{Pace, Window, Windows};

/// How long the store keeps an adapted rate and a quota named by a 429: a nightly run starts at the known rate, while a
/// misread or lifted one expires.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// The share for the window's full rate.
const WHOLE: u32 = 1000;

/// The share after the first refusal. Slightly below the full rate, because at exactly that rate a full counter stays
/// full.
const FIRST: u32 = 950;

/// The lowest share. Below it, cooldowns do the work, and random refusals must not stall a run.
const SLOWEST: u32 = 200;

/// Added to the share after a clean period.
const STEP: u32 = 30;

/// The pause after a refusal, in intervals between calls: a full counter frees that many slots meanwhile.
const REST: u32 = 4;
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Clean periods until calls are no longer spread: the initial and the largest number.
const PATIENCE: u32 = 4;
const MOST_PATIENCE: u32 = 64;

/// An adapted rate as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedRate {
    pub window: Window,
    /// The share of the window's rate, in thousandths.
    pub share: u32,
    /// Clean periods until calls are no longer spread.
    pub patience: u32,
}

impl SavedRate {
    pub fn pace(&self) -> Pace {
        let period = self.window.period.as_nanos() * u128::from(WHOLE)
            / u128::from(self.share.clamp(1, WHOLE));
        Pace::new(Window {
            limit: self.window.limit,
            period: Duration::from_nanos(u64::try_from(period).unwrap_or(u64::MAX)),
        })
    }

    /// Returns whether the rate's period is that of one of `windows`; otherwise the rate does not apply to them.
    pub fn is_of(&self, windows: &Windows) -> bool {
        let mut windows = windows.as_slice().iter();
        windows.any(|window| window.period == self.window.period)
    }

    /// Returns the calls per period, rounded down; at least 1.
    pub fn calls(&self) -> u32 {
        let calls = u64::from(self.window.limit.get()) * u64::from(self.share.min(WHOLE))
            / u64::from(WHOLE);
        u32::try_from(calls).unwrap_or(u32::MAX).max(1)
    }

    /// Returns whether this is the rate after the first refusal.
    pub fn is_first(&self) -> bool {
        self.share == FIRST
    }

    /// Returns the rate for display, for example `95/1m`.
    pub fn as_rate(&self) -> Window {
        Window {
            limit: NonZeroU32::new(self.calls()).unwrap_or(NonZeroU32::MIN),
            period: self.window.period,
        }
    }
}

/// Adapts the rate of a scope to the service's refusals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdaptiveRate {
    kept: Option<SavedRate>,
    /// Carried over to the next adapted rate, because the last one was lifted too early.
    patience: u32,
    /// Calls answered since the last refusal or step.
    clean: u64,
}

impl AdaptiveRate {
    /// Starts from the stored rate of an earlier run.
    pub fn new(kept: Option<SavedRate>) -> Self {
        let kept = kept.map(|kept| SavedRate {
            share: kept.share.clamp(SLOWEST, FIRST),
            patience: kept.patience.clamp(PATIENCE, MOST_PATIENCE),
            ..kept
        });
        Self {
            kept,
            ..Self::default()
        }
    }

    /// Returns the current rate; `None` if only the windows limit calls.
    pub fn kept(&self) -> Option<SavedRate> {
        self.kept
    }

    /// Records a 429 although every window had a free slot. `window` is the one that the service presumably counts.
    /// Several refusals of one burst count once. Returns whether the rate changed.
    pub fn refused(&mut self, window: Window) -> bool {
        let clean = std::mem::take(&mut self.clean);
        let Some(kept) = &mut self.kept else {
            self.patience = self
                .patience
                .saturating_mul(2)
                .clamp(PATIENCE, MOST_PATIENCE);
            self.kept = Some(SavedRate {
                window,
                share: FIRST,
                patience: self.patience,
            });
            return true;
        };
        // No call passed since the last refusal: the pause was too short, which says nothing about the rate.
        if clean == 0 || kept.share == SLOWEST {
            return false;
        }
        kept.share = (kept.share * 5 / 6).max(SLOWEST);
        true
    }

    /// Returns the minimum pause after a refusal.
    pub fn rest(&self) -> Duration {
        self.kept.map_or(Duration::ZERO, |kept| {
            let rest = kept.pace().interval().saturating_mul(REST);
            rest.min(LONGEST_REST)
        })
    }

    /// Records an answered call at the current rate. Returns whether the rate changed.
    pub fn passed(&mut self) -> bool {
        let Some(kept) = &mut self.kept else {
            return false;
        };
        self.clean += 1;
        let is_whole = kept.share >= FIRST;
        let periods = if is_whole { kept.patience } else { 1 };
        if self.clean < u64::from(kept.calls()) * u64::from(periods) {
            return false;
        }
        self.clean = 0;
        if is_whole {
            self.patience = kept.patience;
            self.kept = None;
        } else {
            kept.share = (kept.share + STEP).min(FIRST);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute() -> Window {
        Window::parse("100/1m").unwrap()
    }

    fn kept(share: u32) -> AdaptiveRate {
        AdaptiveRate::new(Some(SavedRate {
            window: minute(),
            share,
            patience: 8,
        }))
    }

    /// Answers `calls` calls and returns how often the rate changed.
    fn answered(rate: &mut AdaptiveRate, calls: u32) -> usize {
        (0..calls).filter(|_| rate.passed()).count()
    }

    fn share(rate: &AdaptiveRate) -> Option<u32> {
        rate.kept().map(|kept| kept.share)
    }

    #[test]
    fn the_first_refusal_spreads_the_window_evenly_and_a_second_one_at_once_says_nothing() {
        let mut rate = AdaptiveRate::new(None);
        assert!(rate.refused(minute()));
        let kept = rate.kept().unwrap();
        assert_eq!(kept.as_rate().to_string(), "95/1m");
        assert_eq!(kept.pace().interval(), Duration::from_nanos(631_578_948));
        assert!(!rate.refused(minute()));
    }

    #[test]
    fn a_refusal_takes_a_sixth_and_a_clean_period_gives_a_little_back() {
        let mut rate = kept(900);
        rate.passed();
        assert!(rate.refused(minute()));
        assert_eq!(share(&rate), Some(750));
        assert_eq!(answered(&mut rate, 74), 0);
        assert!(rate.passed());
        assert_eq!(share(&rate), Some(780));
        for _ in 0..100 {
            rate.passed();
            rate.refused(minute());
        }
        assert_eq!(share(&rate), Some(SLOWEST));
    }

    #[test]
    fn clean_periods_lift_it_and_a_lift_that_was_refused_waits_twice_as_long() {
        let mut rate = AdaptiveRate::new(None);
        for periods in [4, 8, 16, 32, 64, 64] {
            assert!(rate.refused(minute()));
            assert_eq!(answered(&mut rate, 95 * periods - 1), 0);
            assert!(rate.passed());
            assert_eq!(rate.kept(), None);
        }
    }

    #[test]
    fn no_kept_text_makes_an_absurd_rate() {
        for (share, limit) in [(0, 1), (u32::MAX, u32::MAX)] {
            let kept = SavedRate {
                window: Window {
                    limit: NonZeroU32::new(limit).unwrap(),
                    period: Duration::MAX,
                },
                share,
                patience: u32::MAX,
            };
            assert!(kept.pace().interval() > Duration::ZERO);
            let mut rate = AdaptiveRate::new(Some(kept));
            rate.passed();
            rate.refused(minute());
        }
    }
}
