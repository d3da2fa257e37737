//! The rate that a service taught us: it refused calls although every window had a slot for them.
//!
//! Such a service counts otherwise than our windows, or gives a part of the allowance to somebody else. It tells neither how
//! it counts nor what is left, so the rate is found by additive increase and multiplicative decrease: at first the refusing
//! window's own rate, evenly spread, which is what counters that bear no second burst let through; a sixth less with each
//! further refusal, and three hundredths of the window more with each clean period. Where the whole rate is borne for a while, calls
//! are spread no more; each time that proves wrong it takes twice as long.
//!
//! Each process adapts by itself and leaves its last word in the state: two on one scope are refused until both have found their
//! part. The windows bound the sum all the while.

use std::num::NonZeroU32;
use std::time::Duration;

use super::window::{Pace, Window, Windows};

/// How long the store keeps an adapted rate, and an allowance that a 429 named. A nightly sweep need not draw a 429 each
/// time, and one that was lifted again, or misread, slows nobody down for good.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// A window's own rate, in the unit of shares.
const WHOLE: u32 = 1000;

/// The first share: a little less than the window's own rate, for at exactly that rate a counter that is full stays full.
const FIRST: u32 = 950;

/// The slowest share. A service that bears less than this is kept to by its cooldowns, and refusals that fall by chance must
/// not bring a run to a stand.
const SLOWEST: u32 = 200;

/// How much a clean period adds.
const STEP: u32 = 30;

/// How many calls' worth of time passes unused after a refusal: a counter that is full leaves room for as many then.
const REST: u32 = 4;
const LONGEST_REST: Duration = Duration::from_secs(60);

/// How many clean periods in a row lift it, at first and at most.
const PATIENCE: u32 = 4;
const MOST_PATIENCE: u32 = 64;

/// What the state keeps of an adapted rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptPace {
    pub window: Window,
    /// How much of the window's rate, in thousandths.
    pub share: u32,
    /// How many clean periods it takes until calls are spread no more.
    pub patience: u32,
}

impl KeptPace {
    /// Returns the even rate that it stands for.
    pub fn pace(&self) -> Pace {
        let period = self.window.period.as_nanos() * u128::from(WHOLE)
            / u128::from(self.share.clamp(1, WHOLE));
        Pace::new(Window {
            limit: self.window.limit,
            period: Duration::from_nanos(u64::try_from(period).unwrap_or(u64::MAX)),
        })
    }

    /// Returns whether it is of a window that is among these: else it says nothing of them.
    pub fn is_of(&self, windows: &Windows) -> bool {
        let mut windows = windows.as_slice().iter();
        windows.any(|window| window.period == self.window.period)
    }

    /// Returns how many calls a period it lets leave, rounded down.
    pub fn calls(&self) -> u32 {
        let calls = u64::from(self.window.limit.get()) * u64::from(self.share.min(WHOLE))
            / u64::from(WHOLE);
        u32::try_from(calls).unwrap_or(u32::MAX).max(1)
    }

    /// Returns whether this is what a first refusal teaches.
    pub fn is_first(&self) -> bool {
        self.share == FIRST
    }

    /// Returns the rate as people write it, for example `95/1m`.
    pub fn as_rate(&self) -> Window {
        Window {
            limit: NonZeroU32::new(self.calls()).unwrap_or(NonZeroU32::MIN),
            period: self.window.period,
        }
    }
}

/// How fast a scope's calls may follow each other, as far as its refusals told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdaptiveRate {
    kept: Option<KeptPace>,
    /// What the next one begins with, for the last one was lifted too early.
    patience: u32,
    /// Calls that were not refused since the last refusal or step.
    clean: u64,
}

impl AdaptiveRate {
    /// Begins with what an earlier run was taught, where it was.
    pub fn new(kept: Option<KeptPace>) -> Self {
        let kept = kept.map(|kept| KeptPace {
            share: kept.share.clamp(SLOWEST, FIRST),
            patience: kept.patience.clamp(PATIENCE, MOST_PATIENCE),
            ..kept
        });
        Self {
            kept,
            ..Self::default()
        }
    }

    /// Returns what is kept at present; `None` where calls may leave as the windows allow.
    pub fn kept(&self) -> Option<KeptPace> {
        self.kept
    }

    /// The service refused a call for which every window had a slot; `window` is the one that it counts by, as far as can be
    /// told. Calls of one burst are one refusal. Returns whether the rate changed.
    pub fn refused(&mut self, window: Window) -> bool {
        let clean = std::mem::take(&mut self.clean);
        let Some(kept) = &mut self.kept else {
            self.patience = self
                .patience
                .saturating_mul(2)
                .clamp(PATIENCE, MOST_PATIENCE);
            self.kept = Some(KeptPace {
                window,
                share: FIRST,
                patience: self.patience,
            });
            return true;
        };
        // Refused again without a good answer between: that was too short a wait, which says nothing of the rate.
        if clean == 0 || kept.share == SLOWEST {
            return false;
        }
        kept.share = (kept.share * 5 / 6).max(SLOWEST);
        true
    }

    /// Returns for how long nothing should leave after a refusal, whatever the service says.
    pub fn rest(&self) -> Duration {
        self.kept.map_or(Duration::ZERO, |kept| {
            let rest = kept.pace().interval().saturating_mul(REST);
            rest.min(LONGEST_REST)
        })
    }

    /// The service answered a call of the present rate. Returns whether the rate changed.
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
        AdaptiveRate::new(Some(KeptPace {
            window: minute(),
            share,
            patience: 8,
        }))
    }

    /// Answers `calls` well; returns how often the rate changed.
    fn answered(rate: &mut AdaptiveRate, calls: u32) -> usize {
        (0..calls).filter(|_| rate.passed()).count()
    }

    fn share(rate: &AdaptiveRate) -> Option<u32> {
        rate.kept().map(|kept| kept.share)
    }

    #[test]
    fn nothing_is_learned_where_nothing_is_refused() {
        let mut rate = AdaptiveRate::new(None);
        assert_eq!(answered(&mut rate, 10_000), 0);
        assert_eq!(rate.kept(), None);
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
            let kept = KeptPace {
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
