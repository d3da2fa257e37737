//! When waiting calls will leave by the rule, for milestones that people read.
//!
//! A forecast, not a promise: it knows no retries, and of paces only the one it is given; it believes that every call in
//! flight ends now and that every later one takes the same time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Uptime;

use super::decide::Calls;
use super::window::{Pace, Window, Windows};

/// How many calls will have left by when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Milestone {
    pub calls: u64,
    pub at: Uptime,
}

/// Returns when the last of `remaining` calls may leave, each of which takes `round_trip`; `now` where there are none.
/// Within the windows they follow each other at `pace` where there is one.
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
        // Nothing comes after the end of time, so the count need not be finished.
        if schedule.at == Uptime::MAX {
            break;
        }
    }
    schedule.at
}

/// Returns how many calls leave before each window first makes one wait, and when the last of all leaves: "100 now, 1500
/// by 03:14, all by 04:15". The last milestone is always all of them; none remaining gives none. At a `pace` that is slower
/// than a window, that window makes none wait.
pub fn milestones(
    now: Uptime,
    windows: &Windows,
    pace: Option<Pace>,
    calls: &Calls,
    remaining: u64,
    round_trip: Duration,
) -> Vec<Milestone> {
    let mut found: Vec<Milestone> = Vec::new();
    let mut schedule = Schedule::new(now, windows, pace, calls, round_trip);
    for sent in 0..remaining {
        if windows.is_empty() || schedule.at == Uptime::MAX {
            break;
        }
        let before = Milestone {
            calls: sent,
            at: schedule.at,
        };
        if schedule.next_call() && sent > 0 {
            found.push(before);
        }
    }
    if remaining > 0 {
        found.push(Milestone {
            calls: remaining,
            at: schedule.at,
        });
    }
    found
}

/// The calls as they leave one after the other, each as early as it may.
struct Schedule {
    at: Uptime,
    /// Before this the pace lets none leave.
    paced_until: Uptime,
    /// The time between two calls, at the least.
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

    /// Lets the next call leave. Returns whether it waited for a window that made no call wait before.
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
    /// The latest ends, earliest first, at most `limit` of them: an earlier one no longer decides anything.
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

    /// Returns when a slot comes free; `None` where one is.
    fn free_at(&self) -> Option<Uptime> {
        if self.ends.len() < self.limit {
            return None;
        }
        self.ends.front().map(|end| end.after(self.hold))
    }

    fn take(&mut self, end: Uptime) {
        // Nearly always the last place. A call that we gave up ends later than now, though, by its grace.
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

    fn from_empty(count: u64) -> Uptime {
        forecast(
            at(0),
            &Windows::documented(),
            None,
            &Calls::new(),
            count,
            Duration::ZERO,
        )
    }

    #[test]
    fn from_empty_it_is_the_formula_of_the_quota() {
        for count in [1, 100, 101, 1000, 1500, 1501, 3000, 3001, 5000, 10_000] {
            let before = i64::try_from(count).unwrap() - 1;
            let seconds = 3600 * (before / 1500) + 60 * ((before % 1500) / 100);
            assert_eq!(from_empty(count), at(seconds * 1001), "{count}");
        }
        assert_eq!(from_empty(0), at(0));
    }

    #[test]
    fn milestones_name_what_each_window_lets_through_first() {
        let all = |count| {
            milestones(
                at(0),
                &Windows::documented(),
                None,
                &Calls::new(),
                count,
                Duration::ZERO,
            )
            .into_iter()
            .map(|milestone| (milestone.calls, milestone.at))
            .collect::<Vec<_>>()
        };
        assert_eq!(all(0), []);
        assert_eq!(all(60), [(60, at(0))]);
        assert_eq!(all(101), [(100, at(0)), (101, at(60_060))]);
        assert_eq!(
            all(5000),
            [(100, at(0)), (1500, at(840_840)), (5000, from_empty(5000))]
        );
    }

    #[test]
    fn a_pace_below_a_window_takes_its_place() {
        let windows = Windows::documented();
        let pace = Pace::parse("50/1m").unwrap();
        let found = milestones(at(0), &windows, pace, &Calls::new(), 1600, Duration::ZERO);
        let found: Vec<_> = found.iter().map(|m| (m.calls, m.at)).collect();
        // Half an hour at 50 a minute, and the rest as the first ones' hour is over, one every 1.2 s.
        let all = at(3_603_600 + 99 * 1200);
        assert_eq!(found, [(1500, at(1499 * 1200)), (1600, all)]);
        let last = forecast(at(0), &windows, pace, &Calls::new(), 1600, Duration::ZERO);
        assert_eq!(last, all);
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
            [Milestone {
                calls: u64::MAX,
                at: at(3)
            }]
        );
    }

    #[test]
    fn a_call_in_flight_counts_as_ended_now_and_one_given_up_as_ended_when_its_grace_is_over() {
        let windows = Windows::new(vec![Window::parse("2/1s").unwrap()]);
        let mut calls = Calls::new();
        calls.send();
        calls.record_end(at(120_000));
        let leave = |count| {
            forecast(
                at(0),
                &windows,
                None,
                &calls,
                count,
                Duration::from_millis(100),
            )
        };
        assert_eq!(leave(1), at(1001));
        assert_eq!(leave(2), at(1001 + 100 + 1001));
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
