//! Decides whether a call may be sent now, and if not, the earliest time to ask again.
//!
//! [`Calls`] counts the calls of a scope: those in flight and the end times of the others. A call takes a slot in every
//! window until the window's hold time after its end.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Uptime;

use super::window::{Window, Windows};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    SlotRequest,
    /// No call may be sent before this instant. It can get later if calls in flight end late, and earlier only if one
    /// is withdrawn.
    NotBefore(Uptime),
}

pub fn decide(now: Uptime, windows: &Windows, calls: &Calls) -> Decision {
    let earliest = windows
        .as_slice()
        .iter()
        .filter_map(|window| first_free(now, window, calls))
        .max();
    match earliest {
        None => Decision::SlotRequest,
        Some(instant) => Decision::NotBefore(instant),
    }
}

/// Returns when `window` has a free slot; `None` if it has one now.
fn first_free(now: Uptime, window: &Window, calls: &Calls) -> Option<Uptime> {
    let hold = window.hold();
    let limit = window.limit.get() as usize;
    let in_flight = calls.in_flight() as usize;
    let mut holding = calls.holding(now, hold);
    let taken = in_flight + holding.len();
    // How many slots must free up before the next call gets one.
    let excess = (taken + 1)
        .checked_sub(limit)
        .filter(|&excess| excess > 0)?;
    // Slots free up in the order of the ends of their calls. Calls in flight end now at the earliest: after the ended
    // calls, and before the abandoned ones, whose grace is still running.
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

/// The usage of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub window: Window,
    /// Includes calls in flight.
    pub taken: u32,
    /// The earliest time of a free slot; `None` if one is free now.
    pub free_at: Option<Uptime>,
    /// The time from now until every slot is free, at the earliest; zero if none is taken.
    pub all_free_in: Duration,
}

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

/// The calls of one scope.
///
/// A call ends when its reply is read. An abandoned call ends after its grace, which may be in the future.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    in_flight: u32,
    /// Earliest first.
    ended: VecDeque<Uptime>,
}

impl Calls {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn send(&mut self) {
        self.in_flight = self.in_flight.saturating_add(1);
    }

    /// Ends one call in flight at `at`.
    pub fn end(&mut self, at: Uptime) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.record_end(at);
    }

    /// Frees the slot of a call in flight of which no byte was sent.
    pub fn withdraw(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Adds an ended call that was never counted as in flight, from the ledger.
    pub fn record_end(&mut self, at: Uptime) {
        let place = self.ended.partition_point(|&earlier| earlier <= at);
        self.ended.insert(place, at);
    }

    /// Removes calls whose slots are free even in a window with the hold time `longest_hold`.
    pub fn prune(&mut self, now: Uptime, longest_hold: Duration) {
        let free = self
            .ended
            .partition_point(|at| at.after(longest_hold) <= now);
        drop(self.ended.drain(..free));
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Returns the ends of calls that take a slot at `now` in a window with this hold time, earliest first.
    pub(super) fn holding(
        &self,
        now: Uptime,
        hold: Duration,
    ) -> impl ExactSizeIterator<Item = Uptime> + '_ {
        let free = self.ended.partition_point(|at| at.after(hold) <= now);
        self.ended.range(free..).copied()
    }

    /// Returns how many of [`holding`](Self::holding) ended by `now`; the others are abandoned calls within their
    /// grace.
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
        assert_eq!(decide(at(0), &windows, &calls), Decision::SlotRequest);
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
        assert_eq!(decide(at(1301), &windows, &calls), Decision::SlotRequest);
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
        assert_eq!(decide(at(1501), &windows, &calls), Decision::SlotRequest);
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
