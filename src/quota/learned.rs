//! The pace that a service taught us: it refused calls although every window had a slot for them.
//!
//! Such a service counts otherwise than our windows, or gives a part of the allowance to somebody else. It tells neither
//! how it counts nor what is left, so the pace is found: first the refusing window's own rate, evenly spread, which is
//! what counters that bear no second burst let through; then, where that is refused as well, less and less, and back up
//! by halves between what was borne and what was refused. Beyond that it grows in steps that double as long as they are
//! borne. Each way up costs a refusal or two where it leads too far, so the next one waits twice as long.
//!
//! Each process learns for itself and leaves its last word in the state: two on one scope are refused until both have
//! found their part. The windows bound the sum all the while.

use std::num::NonZeroU32;
use std::time::Duration;

use super::pace::Pace;
use super::window::{Window, Windows};

/// A window's own rate, in the unit of shares.
const WHOLE: u32 = 1000;

/// The first pace: a little less than the window's own rate, for at exactly that rate a counter that is full stays full.
const FIRST: u32 = 950;

/// The slowest pace. A service that bears less than this is kept to by its cooldowns, and refusals that fall by chance
/// must not bring a run to a stand.
const SLOWEST: u32 = 200;

/// How much faster the first step of a way up is, in thousandths of the pace.
const STEP: u32 = 50;

/// The search between what was borne and what was refused ends where they lie nearer than this part of the latter, for
/// the next refusal would cost more than the pace gains.
const CLOSE: u32 = 10;

/// How many calls' worth of time passes unused after a refusal: a counter that is full leaves room for as many then.
const REST: u32 = 4;
const LONGEST_REST: Duration = Duration::from_secs(60);

/// How many periods in a row must be clean before a faster pace is tried, at first and at most.
const PATIENCE: u32 = 4;
const MOST_PATIENCE: u32 = 64;

/// What the state keeps of a learned pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptPace {
    /// The window whose calls are spread.
    pub window: Window,
    /// How much of the window's rate, in thousandths.
    pub share: u32,
    /// How many clean periods a faster pace waits for.
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
pub struct LearnedPace {
    kept: Option<KeptPace>,
    /// What the next one that is learned begins with, for the last one was lifted too early.
    patience: u32,
    /// Calls that were not refused since the pace changed, or since the last refusal.
    clean: u64,
    /// A share that was borne for a period.
    borne: Option<u32>,
    /// A faster one that was refused.
    refused: Option<u32>,
    /// The last step of a way up that was borne so far; zero where none is gone.
    step: u32,
}

impl LearnedPace {
    /// Begins with what an earlier run has learned, where it has.
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

    /// Returns what is learned at present; `None` where calls may leave as the windows allow.
    pub fn kept(&self) -> Option<KeptPace> {
        self.kept
    }

    /// The service refused a call for which every window had a slot; `window` is the one that it counts by, as far as
    /// can be told. Calls of one burst are one refusal. Returns whether the pace changed.
    pub fn refused(&mut self, window: Window) -> bool {
        let clean = std::mem::take(&mut self.clean);
        let Some(kept) = &mut self.kept else {
            self.patience = doubled(self.patience);
            (self.borne, self.refused, self.step) = (None, None, 0);
            self.kept = Some(KeptPace {
                window,
                share: FIRST,
                patience: self.patience,
            });
            return true;
        };
        // Refused again without a good reply between: that was too short a wait, which says nothing of the pace.
        if clean == 0 {
            return false;
        }
        let before = *kept;
        (self.refused, self.step) = (Some(kept.share), 0);
        match self.borne.take() {
            Some(borne) if borne < kept.share => {
                kept.share = borne;
                kept.patience = doubled(kept.patience);
                self.borne = Some(borne);
            }
            // What was borne for a period was not for long: the service saves up a few calls.
            Some(_) => kept.share = kept.share * 9 / 10,
            None => kept.share = kept.share * 3 / 4,
        }
        kept.share = kept.share.max(SLOWEST);
        *kept != before
    }

    /// Returns for how long nothing should leave after a refusal, whatever the service says.
    pub fn rest(&self) -> Duration {
        self.kept.map_or(Duration::ZERO, |kept| {
            let rest = kept.pace().interval().saturating_mul(REST);
            rest.min(LONGEST_REST)
        })
    }

    /// The service answered a call of the present pace. Returns whether the pace changed.
    pub fn passed(&mut self) -> bool {
        let Some(kept) = &mut self.kept else {
            return false;
        };
        self.clean += 1;
        let period = u64::from(kept.calls());
        if self.clean < period {
            return false;
        }
        self.borne = Some(kept.share);
        let sought = self
            .refused
            .filter(|refused| refused.saturating_sub(kept.share) > refused / CLOSE);
        let patience = match (sought, self.step) {
            (None, 0) => kept.patience,
            (None, _) if kept.share == FIRST => kept.patience,
            _ => 1,
        };
        if self.clean < period.saturating_mul(u64::from(patience)) {
            return false;
        }
        if let Some(refused) = sought {
            kept.share = u32::midpoint(kept.share, refused);
        } else if kept.share < FIRST {
            self.refused = None;
            self.step = (self.step * 2).clamp(STEP, WHOLE);
            let grown = kept.share + kept.share * self.step / WHOLE;
            kept.share = grown.clamp(SLOWEST, FIRST);
        } else {
            self.patience = kept.patience;
            self.kept = None;
        }
        self.clean = 0;
        true
    }
}

fn doubled(patience: u32) -> u32 {
    patience.saturating_mul(2).clamp(PATIENCE, MOST_PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute() -> Window {
        Window::parse("100/1m").unwrap()
    }

    /// Answers `calls` well; returns how often the pace changed.
    fn answered(learned: &mut LearnedPace, calls: u32) -> usize {
        (0..calls).filter(|_| learned.passed()).count()
    }

    fn share(learned: &LearnedPace) -> Option<u32> {
        learned.kept().map(|kept| kept.share)
    }

    #[test]
    fn nothing_is_learned_where_nothing_is_refused() {
        let mut learned = LearnedPace::new(None);
        assert_eq!(answered(&mut learned, 10_000), 0);
        assert_eq!(learned.kept(), None);
    }

    #[test]
    fn the_first_refusal_spreads_the_window_evenly() {
        let mut learned = LearnedPace::new(None);
        assert!(learned.refused(minute()));
        let kept = learned.kept().unwrap();
        assert_eq!(kept.as_rate().to_string(), "95/1m");
        assert_eq!(kept.pace().interval(), Duration::from_nanos(631_578_948));
    }

    #[test]
    fn a_refused_probe_says_nothing_of_the_pace() {
        let mut learned = LearnedPace::new(None);
        learned.refused(minute());
        assert!(!learned.refused(minute()));
        assert_eq!(share(&learned), Some(FIRST));
    }

    #[test]
    fn a_pace_that_is_refused_is_halved_towards_from_below() {
        let mut learned = LearnedPace::new(None);
        learned.refused(minute());
        let mut seen = Vec::new();
        // The service bears 60 a minute and saves up nothing.
        for _ in 0..2_000 {
            let refuses = share(&learned).unwrap() > 600;
            let changed = if refuses {
                learned.passed();
                learned.refused(minute())
            } else {
                learned.passed()
            };
            if changed {
                seen.extend(share(&learned));
            }
        }
        assert_eq!(seen[..5], [712, 534, 623, 534, 578]);
        assert!(
            seen[5..].iter().all(|share| (534..=640).contains(share)),
            "{seen:?}"
        );
    }

    #[test]
    fn a_way_up_that_is_borne_goes_on_in_ever_larger_steps() {
        let mut learned = LearnedPace::new(Some(KeptPace {
            window: minute(),
            share: 400,
            patience: 8,
        }));
        let mut seen = Vec::new();
        for _ in 0..2_000 {
            if learned.passed() {
                seen.push(share(&learned));
            }
        }
        let paces = [420, 462, 554, 775, 950].map(Some);
        assert_eq!(seen[..5], paces);
        assert_eq!(seen[5..], [None]);
    }

    #[test]
    fn clean_periods_lift_it_and_a_lift_that_was_refused_waits_twice_as_long() {
        let mut learned = LearnedPace::new(None);
        for periods in [4, 8, 16, 32, 64, 64] {
            assert!(learned.refused(minute()));
            assert_eq!(answered(&mut learned, 95 * periods - 1), 0);
            assert!(learned.passed());
            assert_eq!(learned.kept(), None);
        }
    }

    #[test]
    fn refusals_by_chance_do_not_bring_it_to_a_stand() {
        let mut learned = LearnedPace::new(None);
        learned.refused(minute());
        for _ in 0..100 {
            learned.passed();
            learned.refused(minute());
        }
        assert_eq!(share(&learned), Some(SLOWEST));
        assert!(!learned.refused(minute()));
    }

    #[test]
    fn what_was_kept_goes_on_where_it_stood() {
        let kept = KeptPace {
            window: minute(),
            share: 600,
            patience: 8,
        };
        let mut learned = LearnedPace::new(Some(kept));
        assert_eq!(answered(&mut learned, 60 * 8 - 1), 0);
        assert!(learned.passed());
        assert_eq!(share(&learned), Some(630));
    }

    #[test]
    fn no_kept_text_makes_an_absurd_pace() {
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
            let mut learned = LearnedPace::new(Some(kept));
            learned.passed();
            learned.refused(minute());
        }
    }
}
