//! The calls that may still hold a slot in some window of one scope.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Uptime;

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
