//! When calls leave, in virtual time: at best under the quota rule, by our own rule in a minimal loop, and by usual
//! settings of governor, which prove that the models and the oracle can fail.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, FakeRelativeClock};
use governor::{Quota, RateLimiter};
use mde_cancel::model::Uptime;
use mde_cancel::quota::{Calls, Decision, Pace, Pacer, Windows, decide};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Departure {
    pub(crate) sent: Duration,
    pub(crate) ended: Duration,
}

/// Returns T_opt: when the last of `count` replies is read at the earliest, if only the rule costs time.
///
/// The calls leave in order, with nothing spent before; `latency` gives how long each one takes.
pub(crate) fn t_opt(
    count: usize,
    windows: &Windows,
    latency: impl FnMut(usize) -> Duration,
    pace: Option<Pace>,
    concurrency: usize,
) -> Duration {
    best_departures(count, windows, latency, pace, concurrency)
        .into_iter()
        .map(|departure| departure.ended)
        .max()
        .unwrap_or_default()
}

/// Returns the departures behind [`t_opt`].
///
/// A window is a set of slots, each taken until one hold after the reply; a worker is a slot taken until the reply. No
/// call can leave earlier without taking a slot that isn't free, and no call gains by another's leaving later.
pub(crate) fn best_departures(
    count: usize,
    windows: &Windows,
    mut latency: impl FnMut(usize) -> Duration,
    pace: Option<Pace>,
    concurrency: usize,
) -> Vec<Departure> {
    let mut resources: Vec<Slots> = windows
        .as_slice()
        .iter()
        .map(|window| Slots {
            limit: window.limit.get() as usize,
            hold: nanos(window.period.as_nanos() * 1001 / 1000),
            free_from: Vec::new(),
        })
        .collect();
    resources.push(Slots {
        limit: concurrency,
        hold: Duration::ZERO,
        free_from: Vec::new(),
    });
    let interval = pace.map_or(Duration::ZERO, |pace| pace.interval());
    let mut departures: Vec<Departure> = Vec::with_capacity(count);
    for call in 0..count {
        let paced = departures
            .last()
            .map_or(Duration::ZERO, |before| before.sent + interval);
        let sent = resources
            .iter()
            .filter_map(Slots::earliest)
            .fold(paced, Duration::max);
        let ended = sent + latency(call);
        for slots in &mut resources {
            slots.take(ended);
        }
        departures.push(Departure { sent, ended });
    }
    departures
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(nanos.try_into().unwrap())
}

struct Slots {
    limit: usize,
    hold: Duration,
    /// When each slot ever taken comes free, earliest first; at most `limit`.
    free_from: Vec<Duration>,
}

impl Slots {
    fn earliest(&self) -> Option<Duration> {
        (self.free_from.len() == self.limit).then(|| self.free_from[0])
    }

    fn take(&mut self, ended: Duration) {
        if self.free_from.len() == self.limit {
            self.free_from.remove(0);
        }
        let free = ended + self.hold;
        let place = self.free_from.partition_point(|other| *other <= free);
        self.free_from.insert(place, free);
    }
}

/// Sends as early as [`decide`] and the [`Pacer`] allow.
pub(crate) struct VirtualLoop {
    now: Uptime,
    windows: Windows,
    calls: Calls,
    pacer: Pacer,
    concurrency: usize,
    in_flight: BinaryHeap<Reverse<Uptime>>,
}

impl VirtualLoop {
    /// Starts at boot with `calls` already spent, none in flight.
    pub(crate) fn new(windows: &Windows, calls: Calls, pace: Option<Pace>) -> Self {
        assert_eq!(calls.in_flight(), 0);
        Self {
            now: Uptime::from_nanos(0),
            windows: windows.clone(),
            calls,
            pacer: Pacer::new(pace, None),
            concurrency: usize::MAX,
            in_flight: BinaryHeap::new(),
        }
    }

    pub(crate) fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    pub(crate) fn run(
        mut self,
        count: usize,
        mut latency: impl FnMut(usize) -> Duration,
    ) -> Vec<Departure> {
        (0..count)
            .map(|call| {
                while let Err(until) = self.may_leave() {
                    let reply = self.in_flight.peek().map(|Reverse(at)| *at);
                    let next = reply.map_or(until, |at| at.min(until));
                    assert!(next > self.now, "the loop would turn for ever");
                    self.now = next;
                }
                let ended = self.now.after(latency(call));
                self.calls.send();
                self.in_flight.push(Reverse(ended));
                Departure {
                    sent: since_boot(self.now),
                    ended: since_boot(ended),
                }
            })
            .collect()
    }

    /// Returns whether a call may leave now, or else when to ask again at the latest.
    fn may_leave(&mut self) -> Result<(), Uptime> {
        while let Some(Reverse(at)) = self.in_flight.peek().copied() {
            if at > self.now {
                break;
            }
            self.in_flight.pop();
            self.calls.end(at);
        }
        self.calls.prune(self.now, self.windows.longest_hold());
        if self.in_flight.len() >= self.concurrency {
            return Err(Uptime::MAX);
        }
        match decide(self.now, &self.windows, &self.calls) {
            Decision::SlotRequest => self.pacer.check(self.now),
            Decision::NotBefore(until) => Err(until),
        }
    }
}

fn since_boot(at: Uptime) -> Duration {
    at.since(Uptime::from_nanos(0))
}

/// Returns when `count` calls leave under `per_minute(100)` and `per_hour(1500)` with their default bursts.
pub(crate) fn naive_governor(count: usize) -> Vec<Duration> {
    let clock = FakeRelativeClock::default();
    let limiters = [
        Quota::per_minute(NonZeroU32::new(100).unwrap()),
        Quota::per_hour(NonZeroU32::new(1500).unwrap()),
    ]
    .map(|quota| RateLimiter::direct_with_clock(quota, clock.clone()));
    (0..count)
        .map(|_| {
            for limiter in &limiters {
                while let Err(refused) = limiter.check() {
                    clock.advance(refused.wait_time_from(clock.now()));
                }
            }
            Duration::from_nanos(clock.now().as_u64())
        })
        .collect()
}

#[test]
fn a_worked_example_comes_out_as_on_paper() {
    let windows = Windows::new(vec!["2/1s".parse().unwrap()]);
    let latencies = [300, 100, 50, 0].map(Duration::from_millis);
    let sent = |pace: &str, concurrency| {
        best_departures(
            4,
            &windows,
            |call| latencies[call],
            Pace::parse(pace).unwrap(),
            concurrency,
        )
        .into_iter()
        .map(|departure| departure.sent.as_millis())
        .collect::<Vec<_>>()
    };
    assert_eq!(sent("none", 9), [0, 0, 1101, 1301]);
    assert_eq!(sent("none", 1), [0, 300, 1301, 1401]);
    assert_eq!(sent("20/s", 9), [0, 50, 1151, 1301]);
    assert_eq!(
        t_opt(4, &windows, |call| latencies[call], None, 9),
        Duration::from_millis(1301)
    );
}
