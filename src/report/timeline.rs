//! The use of the quota windows over the course of a run, built from its attempts.
//!
//! A timeline has a fixed number of columns, independent of the length of the run. Slots are counted as in the ledger:
//! taken when the call is sent, and free one period plus 0.1 % after its response or, if we gave up, after its grace.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::Sending;
use crate::quota::{Window, Windows};

/// The number of columns: about as many as a screen can show.
pub(super) const COLUMNS: usize = 480;

/// Shorter gaps come from pacing and are not waits.
const LEAST_WAIT: Duration = Duration::from_millis(250);

/// A wait that is shorter than 1/200 of the timeline is too narrow to see.
const LEAST_SHARE: u32 = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitedFor {
    /// This window, by position in the list, was full.
    Window(usize),
    /// The last response was a 429.
    Cooldown,
    /// Not in the journal: calls in flight, a pause of the service, or a stop of the run.
    Other,
}

/// A visible wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendGap {
    pub cause: WaitedFor,
    /// The first column, from 0 to [`COLUMNS`].
    pub from: usize,
    /// The last column.
    pub to: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowUse {
    pub window: Window,
    /// The most slots taken at once, per column.
    pub peaks: Vec<u32>,
    /// The total time that the run waited for it.
    pub waited: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    pub start: Timestamp,
    pub end: Timestamp,
    pub windows: Vec<WindowUse>,
    /// Calls sent by the run, per column.
    pub sent: Vec<u32>,
    /// Those answered by 429, per column.
    pub throttled: Vec<u32>,
    /// Only visible ones.
    pub waits: Vec<SendGap>,
    /// The total time that the run waited after a 429.
    pub cooled_down: Duration,
    /// The number of calls of other runs that are counted in the same windows.
    pub foreign: u64,
}

#[derive(Debug)]
pub struct TimelineBuilder {
    line: Timeline,
    /// When the taken slots of each window become free, earliest first.
    taken: Vec<BinaryHeap<Reverse<Timestamp>>>,
    /// The column up to which the peaks are complete.
    column: usize,
    last: Option<Sending>,
    /// The window that was full after the run's last call.
    full: Option<usize>,
    /// The extra time that an abandoned call keeps its slots.
    grace: Duration,
}

impl TimelineBuilder {
    /// Abandoned calls keep their slots for `grace` longer.
    pub fn new(windows: &Windows, grace: Duration, start: Timestamp, end: Timestamp) -> Self {
        let windows: Vec<_> = windows
            .as_slice()
            .iter()
            .map(|&window| WindowUse {
                window,
                peaks: vec![0; COLUMNS],
                waited: Duration::ZERO,
            })
            .collect();
        Self {
            taken: vec![BinaryHeap::new(); windows.len()],
            line: Timeline {
                start,
                end: end.max(start),
                windows,
                sent: vec![0; COLUMNS],
                throttled: vec![0; COLUMNS],
                waits: Vec::new(),
                cooled_down: Duration::ZERO,
                foreign: 0,
            },
            column: 0,
            last: None,
            full: None,
            grace,
        }
    }

    /// Returns the earliest time of relevant attempts: slots taken before the start may still be taken.
    pub fn matters_from(&self) -> Timestamp {
        let windows = self.line.windows.iter();
        let reach = windows
            .map(|used| used.window.hold())
            .max()
            .unwrap_or_default();
        earlier(self.line.start, reach + self.grace)
    }

    /// Adds an attempt, in order of time.
    pub fn push(&mut self, sending: Sending) {
        self.advance(sending.sent_at);
        if sending.is_own {
            self.note_wait(&sending);
        } else {
            self.line.foreign += 1;
        }
        let column = self.column_of(sending.sent_at);
        let is_before = sending.sent_at < self.line.start;
        for (used, taken) in self.line.windows.iter_mut().zip(&mut self.taken) {
            let answered = sending.replied_at.unwrap_or(sending.sent_at);
            let grace = if sending.is_given_up {
                self.grace
            } else {
                Duration::ZERO
            };
            taken.push(Reverse(later(answered, used.window.hold() + grace)));
            if !is_before {
                let peak = &mut used.peaks[column];
                *peak = (*peak).max(u32::try_from(taken.len()).unwrap_or(u32::MAX));
            }
        }
        if sending.is_own {
            self.line.sent[column] += 1;
            self.line.throttled[column] += u32::from(sending.http_status == Some(429));
            let windows = self.line.windows.iter().zip(&self.taken).enumerate();
            // The longest of several full windows causes the wait.
            self.full = windows
                .filter(|(_, (used, taken))| taken.len() >= used.window.limit.get() as usize)
                .max_by_key(|(_, (used, _))| used.window.period)
                .map(|(place, _)| place);
            self.last = Some(sending);
        }
    }

    pub fn finish(mut self) -> Timeline {
        self.advance(self.line.end);
        self.line
    }

    /// Advances to `to`: frees slots and updates the peaks of the passed columns.
    fn advance(&mut self, to: Timestamp) {
        if to < self.line.start {
            for taken in &mut self.taken {
                give_back(taken, to);
            }
            return;
        }
        let column = self.column_of(to);
        for passed in self.column..=column {
            let begins = self.begin_of(passed).min(to);
            for (used, taken) in self.line.windows.iter_mut().zip(&mut self.taken) {
                give_back(taken, begins);
                let peak = &mut used.peaks[passed];
                *peak = (*peak).max(u32::try_from(taken.len()).unwrap_or(u32::MAX));
            }
        }
        for taken in &mut self.taken {
            give_back(taken, to);
        }
        self.column = column;
    }

    fn note_wait(&mut self, next: &Sending) {
        let Some(last) = self.last else {
            return;
        };
        let waited = between(last.sent_at, next.sent_at);
        if waited < LEAST_WAIT {
            return;
        }
        let cause = match (last.http_status, self.full) {
            (Some(429), _) => WaitedFor::Cooldown,
            (_, Some(window)) => WaitedFor::Window(window),
            _ => WaitedFor::Other,
        };
        match cause {
            WaitedFor::Window(place) => self.line.windows[place].waited += waited,
            WaitedFor::Cooldown => self.line.cooled_down += waited,
            WaitedFor::Other => {}
        }
        if waited * LEAST_SHARE >= between(self.line.start, self.line.end) {
            let wait = SendGap {
                cause,
                from: self.column_of(last.sent_at),
                to: self.column_of(next.sent_at),
            };
            self.line.waits.push(wait);
        }
    }

    fn column_of(&self, at: Timestamp) -> usize {
        let whole = between(self.line.start, self.line.end).as_micros().max(1);
        let passed = between(self.line.start, at).as_micros();
        let column = passed * COLUMNS as u128 / whole;
        usize::try_from(column)
            .unwrap_or(usize::MAX)
            .min(COLUMNS - 1)
    }

    fn begin_of(&self, column: usize) -> Timestamp {
        let whole = between(self.line.start, self.line.end);
        let columns = u32::try_from(COLUMNS).unwrap_or(u32::MAX);
        let column = u32::try_from(column).unwrap_or(u32::MAX);
        later(self.line.start, whole / columns * column)
    }
}

fn give_back(taken: &mut BinaryHeap<Reverse<Timestamp>>, by: Timestamp) {
    while taken.peek().is_some_and(|Reverse(free)| *free <= by) {
        taken.pop();
    }
}

/// Returns zero if `to` is before `from`.
pub(super) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_795_430_000_000 + millis).unwrap()
    }

    fn sending(millis: i64, http_status: u16) -> Sending {
        Sending {
            sent_at: at(millis),
            replied_at: Some(at(millis + 100)),
            is_given_up: false,
            http_status: Some(http_status),
            is_own: true,
        }
    }

    fn windows(texts: &[&str]) -> Windows {
        Windows::new(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn gathered(windows: &Windows, seconds: i64, sendings: &[Sending]) -> Timeline {
        let mut builder =
            TimelineBuilder::new(windows, Duration::from_secs(20), at(0), at(seconds * 1000));
        for &sending in sendings {
            builder.push(sending);
        }
        builder.finish()
    }

    #[test]
    fn a_window_is_never_shown_fuller_than_it_was_and_empties_by_itself() {
        let sendings: Vec<_> = (0..10).map(|n| sending(n * 20, 200)).collect();
        let line = gathered(&windows(&["10/1m"]), 120, &sendings);
        let used = &line.windows[0];
        assert_eq!(used.peaks.iter().max(), Some(&10));
        assert_eq!(used.peaks[COLUMNS / 4], 10);
        assert_eq!(used.peaks[COLUMNS - 1], 0);
        assert_eq!(line.sent.iter().sum::<u32>(), 10);
    }

    #[test]
    fn what_we_gave_up_holds_its_slot_for_the_grace_too() {
        let given_up = Sending {
            is_given_up: true,
            ..sending(0, 200)
        };
        for (sending, is_free) in [(sending(0, 200), true), (given_up, false)] {
            let line = gathered(&windows(&["10/1m"]), 120, &[sending]);
            let peaks = &line.windows[0].peaks;
            // 70 s and 90 s after the attempt.
            assert_eq!(peaks[COLUMNS * 7 / 12], u32::from(!is_free));
            assert_eq!(peaks[COLUMNS * 9 / 12], 0);
        }
    }

    #[test]
    fn a_wait_is_laid_to_the_longest_full_window() {
        let mut sendings: Vec<_> = (0..10).map(|n| sending(n * 20, 200)).collect();
        sendings.extend((0..10).map(|n| sending(60_400 + n * 20, 200)));
        sendings.push(sending(3_600_400, 200));
        let line = gathered(&windows(&["10/1m", "20/1h"]), 3700, &sendings);
        let causes: Vec<_> = line.waits.iter().map(|wait| wait.cause).collect();
        assert_eq!(causes, [WaitedFor::Window(0), WaitedFor::Window(1)]);
        assert_eq!(line.windows[0].waited.as_secs(), 60);
        assert_eq!(line.windows[1].waited.as_secs(), 3539);
    }

    #[test]
    fn a_429_explains_the_wait_after_it_and_is_counted_where_it_was_sent() {
        let line = gathered(
            &windows(&["100/1m"]),
            10,
            &[sending(0, 200), sending(20, 429), sending(5000, 200)],
        );
        assert_eq!(line.waits.len(), 1);
        assert_eq!(line.waits[0].cause, WaitedFor::Cooldown);
        assert_eq!(line.cooled_down, Duration::from_millis(4980));
        assert_eq!(line.throttled[0], 1);
        assert_eq!(line.throttled.iter().sum::<u32>(), 1);
    }

    #[test]
    fn others_take_slots_and_are_no_waits_of_ours() {
        let foreign = Sending {
            is_own: false,
            ..sending(-5000, 200)
        };
        let line = gathered(&windows(&["2/1m"]), 10, &[foreign, sending(0, 200)]);
        assert_eq!((line.windows[0].peaks[0], line.foreign), (2, 1));
        assert_eq!(line.sent.iter().sum::<u32>(), 1);
        assert!(line.waits.is_empty());
    }

    #[test]
    fn a_run_of_no_length_and_one_without_windows_have_a_time_line_too() {
        let line = gathered(&windows(&["5/1m"]), 0, &[sending(0, 200)]);
        assert_eq!(line.windows[0].peaks.iter().max(), Some(&1));
        let line = gathered(&Windows::none(), 5, &[sending(0, 200), sending(4000, 200)]);
        assert!(line.windows.is_empty());
        assert_eq!(line.waits[0].cause, WaitedFor::Other);
    }
}
