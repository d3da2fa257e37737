//! The decision itself: may a call leave now, and if not, when at the earliest.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Uptime;

use super::window::{Window, Windows};

/// Whether a call may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Every window has a free slot.
    Take,
    /// No call may leave before this instant; ask again then, and earlier only where a call in flight is withdrawn. It
    /// may have to wait longer, where calls that are in flight now end late.
    NotBefore(Uptime),
}

/// Decides whether a call may leave at `now`.
pub fn decide(now: Uptime, windows: &Windows, calls: &Calls) -> Decision {
    let earliest = windows
        .as_slice()
        .iter()
        .filter_map(|window| first_free(now, window, calls))
        .max();
    match earliest {
        None => Decision::Take,
        Some(instant) => Decision::NotBefore(instant),
    }
}

/// Returns when `window` has a free slot at the earliest; `None` where it has one now.
fn first_free(now: Uptime, window: &Window, calls: &Calls) -> Option<Uptime> {
    let hold = window.hold();
    let limit = window.limit.get() as usize;
    let in_flight = calls.in_flight() as usize;
    let mut holding = calls.holding(now, hold);
    let taken = in_flight + holding.len();
    // How many slots must come free before the next call may have one.
    let excess = (taken + 1)
        .checked_sub(limit)
        .filter(|&excess| excess > 0)?;
    // Slots come free in the order of their calls' ends. A call in flight ends now at the earliest, which is after those
    // that ended and before those that we gave up, for their grace lies ahead.
    let ended = calls.ended_by(now, hold);
    let end = if excess <= ended {
        holding.nth(excess - 1)
    } else if excess <= ended + in_flight {
        Some(now)
    } else {
        holding.nth(excess - 1 - in_flight)
    };
    end.map(|end| end.after(hold))
}

/// How far one window is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub window: Window,
    /// Slots taken, calls in flight included.
    pub taken: u32,
    /// When the next slot comes free at the earliest; `None` where one is free.
    pub free_at: Option<Uptime>,
    /// When the last slot that is held now comes free at the earliest; zero where none is held.
    pub all_free_in: Duration,
}

/// Says how far each window is used at `now`.
pub fn usage(now: Uptime, windows: &Windows, calls: &Calls) -> Vec<Usage> {
    windows
        .as_slice()
        .iter()
        .map(|window| {
            let hold = window.hold();
            let holding = calls.holding(now, hold);
            let taken = calls
                .in_flight()
                .saturating_add(u32::try_from(holding.len()).unwrap_or(u32::MAX));
            let in_flight_until = (calls.in_flight() > 0).then_some(now);
            let all_free_in = holding
                .last()
                .max(in_flight_until)
                .map_or(Duration::ZERO, |end| end.after(hold).since(now));
            Usage {
                window: *window,
                taken,
                free_at: first_free(now, window, calls),
                all_free_in,
            }
        })
        .collect()
}

/// The calls of one scope: how many are in flight, and when the others ended.
///
/// An end is the instant from which the period counts: the reading of the reply, or for a call that we gave up the
/// giving up and the grace, which may lie ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    in_flight: u32,
    /// In order of time, earliest first.
    ended: VecDeque<Uptime>,
}

impl Calls {
    /// Nothing spent yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a call that was just sent.
    pub fn send(&mut self) {
        self.in_flight = self.in_flight.saturating_add(1);
    }

    /// Turns one call in flight into one that ended at `at`.
    pub fn end(&mut self, at: Uptime) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.record_end(at);
    }

    /// Gives the slot of one call in flight back at once: no byte of it left.
    pub fn withdraw(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Adds a call that ended at `at` and was not counted before: for reading a ledger back.
    pub fn record_end(&mut self, at: Uptime) {
        let place = self.ended.partition_point(|&earlier| earlier <= at);
        self.ended.insert(place, at);
    }

    /// Forgets calls whose slots are free in a window that holds them for `longest_hold`.
    pub fn prune(&mut self, now: Uptime, longest_hold: Duration) {
        let free = self
            .ended
            .partition_point(|at| at.after(longest_hold) <= now);
        drop(self.ended.drain(..free));
    }

    /// Returns how many calls are in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Returns the ends of calls whose slots are still taken at `now` in a window that holds them for `hold`,
    /// earliest first.
    pub(super) fn holding(
        &self,
        now: Uptime,
        hold: Duration,
    ) -> impl ExactSizeIterator<Item = Uptime> + '_ {
        let free = self.ended.partition_point(|at| at.after(hold) <= now);
        self.ended.range(free..).copied()
    }

    /// Returns how many of those [`holding`](Self::holding) had ended by `now`; the others were given up, and their grace
    /// is not over.
    pub(super) fn ended_by(&self, now: Uptime, hold: Duration) -> usize {
        let past = self.ended.partition_point(|&at| at <= now);
        let free = self.ended.partition_point(|at| at.after(hold) <= now);
        past.saturating_sub(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Uptime {
        Uptime::from_nanos(millis * 1_000_000)
    }

    fn windows(texts: &[&str]) -> Windows {
        Windows::new(
            texts
                .iter()
                .map(|text| Window::parse(text).unwrap())
                .collect(),
        )
    }

    #[test]
    fn a_slot_comes_free_one_hold_after_the_reply_was_read() {
        let windows = windows(&["2/1s"]);
        let mut calls = Calls::new();
        assert_eq!(decide(at(0), &windows, &calls), Decision::Take);
        calls.send();
        calls.send();
        assert_eq!(
            decide(at(0), &windows, &calls),
            Decision::NotBefore(at(1001))
        );
        calls.end(at(300));
        assert_eq!(
            decide(at(300), &windows, &calls),
            Decision::NotBefore(at(1301))
        );
        assert_eq!(
            decide(at(1300), &windows, &calls),
            Decision::NotBefore(at(1301))
        );
        assert_eq!(decide(at(1301), &windows, &calls), Decision::Take);
    }

    #[test]
    fn the_strictest_window_decides() {
        let windows = windows(&["2/1s", "3/10s"]);
        let mut calls = Calls::new();
        for millis in [0, 100, 2000] {
            calls.record_end(at(millis));
        }
        assert_eq!(
            decide(at(4000), &windows, &calls),
            Decision::NotBefore(at(10_010))
        );
    }

    #[test]
    fn an_adopted_smaller_allowance_waits_for_more_than_one_slot() {
        let mut calls = Calls::new();
        for millis in [0, 10, 20, 30] {
            calls.record_end(at(millis));
        }
        assert_eq!(
            decide(at(40), &windows(&["2/1s"]), &calls),
            Decision::NotBefore(at(1021))
        );
    }

    #[test]
    fn without_windows_every_call_may_leave() {
        let mut calls = Calls::new();
        (0..10_000).for_each(|_| calls.send());
        assert_eq!(decide(at(0), &Windows::none(), &calls), Decision::Take);
    }

    #[test]
    fn a_withdrawn_call_gives_its_slot_back_at_once() {
        let windows = windows(&["1/1h"]);
        let mut calls = Calls::new();
        calls.send();
        assert_ne!(decide(at(0), &windows, &calls), Decision::Take);
        calls.withdraw();
        assert_eq!(decide(at(0), &windows, &calls), Decision::Take);
    }

    #[test]
    fn a_call_in_flight_may_free_its_slot_before_one_that_was_given_up() {
        let windows = windows(&["2/1s"]);
        let mut calls = Calls::new();
        calls.send();
        calls.record_end(at(120_000));
        assert_eq!(
            decide(at(0), &windows, &calls),
            Decision::NotBefore(at(1001))
        );
        assert_eq!(
            usage(at(0), &windows, &calls)[0].all_free_in,
            Duration::from_millis(121_001)
        );
        calls.end(at(500));
        assert_eq!(decide(at(1501), &windows, &calls), Decision::Take);
    }

    #[test]
    fn usage_tells_what_is_taken_and_when_it_frees() {
        let windows = windows(&["2/1s", "100/1h"]);
        let mut calls = Calls::new();
        calls.record_end(at(0));
        calls.record_end(at(500));
        let used = usage(at(600), &windows, &calls);
        assert_eq!((used[0].taken, used[0].free_at), (2, Some(at(1001))));
        assert_eq!(used[0].all_free_in, Duration::from_millis(901));
        assert_eq!((used[1].taken, used[1].free_at), (2, None));
    }
}

#[cfg(test)]
mod calls_tests {
    use super::*;

    fn at(seconds: i64) -> Uptime {
        Uptime::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn ends_are_kept_in_order_whatever_order_they_come_in() {
        let mut calls = Calls::new();
        for seconds in [5, 1, 3, 3, 9, 0] {
            calls.record_end(at(seconds));
        }
        let ends: Vec<_> = calls.holding(at(9), Duration::from_secs(100)).collect();
        assert_eq!(ends, [0, 1, 3, 3, 5, 9].map(at));
    }

    #[test]
    fn pruning_drops_only_what_no_window_counts() {
        let mut calls = Calls::new();
        for seconds in 0..10 {
            calls.record_end(at(seconds));
        }
        calls.prune(at(65), Duration::from_secs(60));
        assert_eq!(calls.holding(at(65), Duration::from_secs(1000)).len(), 4);
    }
}
