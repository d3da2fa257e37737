//! The imitation's own count of calls against its quotas: an exact rolling log, stamped on arrival.
//!
//! It shares no rule with the client's quota code, only the words for a window, so that a fault in that code shows
//! here as a 429. It also remembers the worst it has seen, refused calls included, for tests to judge.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::model::Uptime;
use crate::quota::Window;

use super::call::CallKind;
use super::settings::{QuotaSettings, RefusedCalls, Sharing};

/// The most calls that ever arrived within one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorstCount {
    /// The endpoint.
    pub kind: CallKind,
    /// Tenant and app, as `tenant/app`.
    pub party: String,
    /// The window.
    pub window: Window,
    /// The calls, refused ones included.
    pub count: usize,
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QuotaRefusal {
    /// The window that frees last.
    pub(super) window: Window,
    /// How long until it has room.
    pub(super) wait: Duration,
}

#[derive(Default)]
struct Tally {
    /// Arrivals that take room, earliest first.
    counted: VecDeque<Uptime>,
    /// All arrivals, earliest first.
    arrived: VecDeque<Uptime>,
    /// One per window.
    worst: Vec<usize>,
}

/// All counts.
#[derive(Default)]
pub(super) struct Allowances {
    by_party: HashMap<Arc<str>, HashMap<CallKind, Tally>>,
    /// How many calls were refused for a quota's sake.
    pub(super) refused: u64,
}

/// The arrivals that one party has made at one endpoint, for storing.
pub(super) type Arrivals = (CallKind, Arc<str>, Vec<Uptime>);

impl Allowances {
    /// Counts a call of `party` that arrives `now`.
    pub(super) fn arrive(
        &mut self,
        kind: CallKind,
        party: &Arc<str>,
        now: Uptime,
        settings: &QuotaSettings,
    ) -> Result<(), QuotaRefusal> {
        let kind = shared(kind, settings);
        let windows = settings.windows(kind);
        if windows.is_empty() {
            return Ok(());
        }
        let tallies = match self.by_party.get_mut(party) {
            Some(tallies) => tallies,
            None => self.by_party.entry(party.clone()).or_default(),
        };
        let result = tallies
            .entry(kind)
            .or_default()
            .arrive(now, windows, settings.refused_calls);
        self.refused += u64::from(result.is_err());
        result
    }

    /// Returns the worst of every window of every party, in no order.
    pub(super) fn worst(&self, settings: &QuotaSettings) -> Vec<WorstCount> {
        let mut all = Vec::new();
        for (party, tallies) in &self.by_party {
            for (&kind, tally) in tallies {
                for (window, &count) in settings.windows(kind).iter().zip(&tally.worst) {
                    all.push(WorstCount {
                        kind,
                        party: party.to_string(),
                        window: *window,
                        count,
                    });
                }
            }
        }
        all
    }

    /// Returns the calls that take room, for storing.
    pub(super) fn counted(&self) -> Vec<Arrivals> {
        let mut all = Vec::new();
        for (party, tallies) in &self.by_party {
            for (&kind, tally) in tallies {
                all.push((kind, party.clone(), tally.counted.iter().copied().collect()));
            }
        }
        all
    }

    /// Takes stored calls up again.
    pub(super) fn recount(&mut self, (kind, party, mut arrivals): Arrivals) {
        arrivals.sort_unstable();
        let tally = self
            .by_party
            .entry(party)
            .or_default()
            .entry(kind)
            .or_default();
        tally.counted = arrivals.into();
    }
}

/// Returns the endpoint under which calls of `kind` are counted.
fn shared(kind: CallKind, settings: &QuotaSettings) -> CallKind {
    match (settings.sharing, kind) {
        (Sharing::GetWithCancel, CallKind::Get) => CallKind::Cancel,
        _ => kind,
    }
}

impl Tally {
    fn arrive(
        &mut self,
        now: Uptime,
        windows: &[Window],
        refused_calls: RefusedCalls,
    ) -> Result<(), QuotaRefusal> {
        let longest = windows
            .iter()
            .map(|window| window.period)
            .max()
            .unwrap_or_default();
        for log in [&mut self.counted, &mut self.arrived] {
            let old = log.len() - within(log, now, longest);
            drop(log.drain(..old));
        }
        self.arrived.push_back(now);
        self.worst.resize(windows.len(), 0);
        for (window, worst) in windows.iter().zip(&mut self.worst) {
            *worst = (*worst).max(within(&self.arrived, now, window.period));
        }
        let refusal = windows
            .iter()
            .filter_map(|window| self.full(now, *window))
            .max_by_key(|refusal| refusal.wait);
        if refusal.is_none() || refused_calls == RefusedCalls::Counted {
            self.counted.push_back(now);
        }
        refusal.map_or(Ok(()), Err)
    }

    fn full(&self, now: Uptime, window: Window) -> Option<QuotaRefusal> {
        let taken = within(&self.counted, now, window.period);
        let limit = window.limit.get() as usize;
        let surplus = taken.checked_sub(limit)?;
        // Room comes when the surplus and one more have left the window.
        let leaver = self.counted.get(self.counted.len() - taken + surplus)?;
        Some(QuotaRefusal {
            window,
            wait: leaver.after(window.period).since(now),
        })
    }
}

/// Returns how many of `log` arrived less than `period` ago.
fn within(log: &VecDeque<Uptime>, now: Uptime, period: Duration) -> usize {
    log.len() - log.partition_point(|arrival| now.since(*arrival) >= period)
}

/// Prints a period as the service does: `00:01:00`, with fractions of a second and days only where there are any.
pub(super) fn period_text(period: Duration) -> String {
    let seconds = period.as_secs();
    let days = match seconds / 86_400 {
        0 => String::new(),
        days => format!("{days}."),
    };
    let ticks = match period.subsec_nanos() / 100 {
        0 => String::new(),
        ticks => format!(".{ticks:07}"),
    };
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{days}{hours:02}:{minutes:02}:{:02}{ticks}", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Windows;

    fn at(millis: i64) -> Uptime {
        Uptime::from_nanos(millis * 1_000_000)
    }

    fn settings(windows: &[&str], refused_calls: RefusedCalls) -> QuotaSettings {
        let windows = windows
            .iter()
            .map(|text| Window::parse(text).unwrap())
            .collect();
        QuotaSettings {
            refused_calls,
            ..QuotaSettings::same_for_all(Windows::new(windows))
        }
    }

    fn waits(settings: &QuotaSettings, arrivals: &[i64]) -> Vec<Option<u128>> {
        let mut allowances = Allowances::default();
        let party: Arc<str> = "t/a".into();
        arrivals
            .iter()
            .map(|&millis| {
                allowances
                    .arrive(CallKind::Cancel, &party, at(millis), settings)
                    .err()
                    .map(|refusal| refusal.wait.as_millis())
            })
            .collect()
    }

    #[test]
    fn a_window_rolls_with_each_arrival() {
        let settings = settings(&["2/1s"], RefusedCalls::Free);
        assert_eq!(
            waits(&settings, &[0, 400, 999, 1000, 1001, 1400]),
            [None, None, Some(1), None, Some(399), None]
        );
    }

    #[test]
    fn refused_calls_take_room_where_the_settings_say_so() {
        let settings = settings(&["2/1s"], RefusedCalls::Counted);
        assert_eq!(
            waits(&settings, &[0, 400, 999, 1000, 1399, 2399]),
            [None, None, Some(1), Some(400), Some(600), None]
        );
    }

    #[test]
    fn the_window_that_frees_last_is_named() {
        let settings = settings(&["1/1s", "2/10s"], RefusedCalls::Free);
        assert_eq!(waits(&settings, &[0, 2000, 2500]), [None, None, Some(7500)]);
    }

    #[test]
    fn parties_and_endpoints_are_counted_apart_unless_shared() {
        let mut settings = settings(&["1/1s"], RefusedCalls::Free);
        let parties: [Arc<str>; 2] = ["t/a".into(), "t/b".into()];
        for (sharing, expected) in [(Sharing::Separate, 0), (Sharing::GetWithCancel, 2)] {
            settings.sharing = sharing;
            let mut allowances = Allowances::default();
            for party in &parties {
                for kind in [CallKind::Cancel, CallKind::Get, CallKind::List] {
                    let _refused = allowances.arrive(kind, party, at(0), &settings);
                }
            }
            assert_eq!(allowances.refused, expected, "{sharing:?}");
        }
    }

    #[test]
    fn the_worst_counts_refused_arrivals_too() {
        let settings = settings(&["2/1s"], RefusedCalls::Free);
        let mut allowances = Allowances::default();
        for millis in [0, 10, 20, 30, 5000] {
            let _refused = allowances.arrive(CallKind::List, &"t/a".into(), at(millis), &settings);
        }
        let worst = allowances.worst(&settings);
        assert_eq!((worst[0].kind, worst[0].count), (CallKind::List, 4));
        assert_eq!(allowances.refused, 2);
    }

    #[test]
    fn periods_print_as_the_service_prints_them() {
        for (millis, text) in [
            (60_000, "00:01:00"),
            (3_600_000, "01:00:00"),
            (600, "00:00:00.6000000"),
            (86_400_000, "1.00:00:00"),
        ] {
            assert_eq!(period_text(Duration::from_millis(millis)), text);
        }
    }
}
