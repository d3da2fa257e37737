//! Forecasts when the waiting calls will be sent, for display.
//!
//! The forecast ignores retries and every pace but the given one. It assumes that calls in flight end now and that
//! every later call takes the same time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Uptime;

use super::admission::Calls;
use super::window::{Pace, Window, Windows};

/// How many calls are sent by a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForecastPoint {
    pub calls: u64,
    pub at: Uptime,
}

/// Returns when the last of `remaining` calls can be sent; `now` if there are none. Each call takes `round_trip`, and
/// calls keep `pace`, if any.
pub fn forecast(
    now: Uptime,
    windows: &Windows,
    pace: Option<Pace>,
    calls: &Calls,
    remaining: u64,
    round_trip: Duration,
) -> Uptime {
    if windows.is_empty() {
        return now;
    }
    let mut schedule = Schedule::new(now, windows, pace, calls, round_trip);
    for _ in 0..remaining {
        schedule.next_call();
        // Reached the end of time: further calls change nothing.
        if schedule.at == Uptime::MAX {
            break;
        }
    }
    schedule.at
}

/// Returns how many calls are sent before each window first delays one, and when the last call is sent: "100 now, 1500
/// by 03:14, all by 04:15". The last milestone counts all calls; without calls there is none. A window that is faster
/// than `pace` delays none.
pub fn milestones(
    now: Uptime,
    windows: &Windows,
    pace: Option<Pace>,
    calls: &Calls,
    remaining: u64,
    round_trip: Duration,
) -> Vec<ForecastPoint> {
    let mut found: Vec<ForecastPoint> = Vec::new();
    let mut schedule = Schedule::new(now, windows, pace, calls, round_trip);
    for sent in 0..remaining {
        if windows.is_empty() || schedule.at == Uptime::MAX {
            break;
        }
        let before = ForecastPoint {
            calls: sent,
            at: schedule.at,
        };
        if schedule.next_call() && sent > 0 {
            found.push(before);
        }
    }
    if remaining > 0 {
        found.push(ForecastPoint {
            calls: remaining,
            at: schedule.at,
        });
    }
    found
}

/// Simulates the calls, each sent as early as possible.
struct Schedule {
    at: Uptime,
    /// The pace allows no call before this.
    paced_until: Uptime,
    /// The minimum time between two calls.
    interval: Duration,
    round_trip: Duration,
    slots: Vec<Slots>,
}

impl Schedule {
    fn new(
        now: Uptime,
        windows: &Windows,
        pace: Option<Pace>,
        calls: &Calls,
        round_trip: Duration,
    ) -> Self {
        Self {
            at: now,
            paced_until: now,
            interval: pace.as_ref().map_or(Duration::ZERO, Pace::interval),
            round_trip,
            slots: windows
                .as_slice()
                .iter()
                .map(|window| Slots::new(now, window, calls))
                .collect(),
        }
    }

    /// Sends the next call. Returns whether a window delayed a call for the first time.
    fn next_call(&mut self) -> bool {
        let earliest = self
            .slots
            .iter()
            .filter_map(Slots::free_at)
            .max()
            .map_or(self.paced_until, |free| free.max(self.paced_until));
        let mut waited_anew = false;
        for slots in &mut self.slots {
            if earliest > self.at && slots.free_at() == Some(earliest) {
                waited_anew |= !slots.made_wait;
                slots.made_wait = true;
            }
            slots.take(earliest.after(self.round_trip));
        }
        self.at = earliest;
        self.paced_until = earliest.after(self.interval);
        waited_anew
    }
}

/// The slots of one window.
struct Slots {
    limit: usize,
    hold: Duration,
    /// The latest ends, earliest first; at most `limit`, because older ones no longer matter.
    ends: VecDeque<Uptime>,
    made_wait: bool,
}

impl Slots {
    fn new(now: Uptime, window: &Window, calls: &Calls) -> Self {
        let mut slots = Self {
            limit: window.limit.get() as usize,
            hold: window.hold(),
            ends: VecDeque::new(),
            made_wait: false,
        };
        for end in calls.holding(now, slots.hold) {
            slots.take(end);
        }
        for _ in 0..slots.limit.min(calls.in_flight() as usize) {
            slots.take(now);
        }
        slots
    }

    /// Returns when a slot becomes free; `None` if one is free.
    fn free_at(&self) -> Option<Uptime> {
        if self.ends.len() < self.limit {
            return None;
        }
        self.ends.front().map(|end| end.after(self.hold))
    }

    fn take(&mut self, end: Uptime) {
        // Almost always the last position; only abandoned calls end later than now, by their grace.
        let place = self.ends.partition_point(|&earlier| earlier <= end);
        self.ends.insert(place, end);
        if self.ends.len() > self.limit {
            self.ends.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Uptime {
        Uptime::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_used_up_hour_gives_no_milestone_of_nothing() {
        let mut calls = Calls::new();
        (0..1500).for_each(|_| calls.record_end(at(0)));
        let found = milestones(
            at(600_000),
            &Windows::documented(),
            None,
            &calls,
            150,
            Duration::ZERO,
        );
        let hour = 3_603_600;
        assert_eq!(
            found.iter().map(|m| (m.calls, m.at)).collect::<Vec<_>>(),
            [(100, at(hour)), (150, at(hour + 60_060))]
        );
    }

    #[test]
    fn without_windows_all_leave_now() {
        let none = Windows::none();
        let far = forecast(at(3), &none, None, &Calls::new(), u64::MAX, Duration::ZERO);
        assert_eq!(far, at(3));
        let found = milestones(at(3), &none, None, &Calls::new(), u64::MAX, Duration::ZERO);
        assert_eq!(
            found,
            [ForecastPoint {
                calls: u64::MAX,
                at: at(3)
            }]
        );
    }

    #[test]
    fn the_end_of_time_ends_the_forecast() {
        let windows = Windows::new(vec![Window::parse("1/24h").unwrap()]);
        let forever = forecast(
            at(0),
            &windows,
            None,
            &Calls::new(),
            u64::MAX,
            Duration::from_secs(u64::MAX),
        );
        assert_eq!(forever, Uptime::MAX);
    }
}
