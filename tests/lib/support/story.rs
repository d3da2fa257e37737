//! Generated histories of calls: when there is work, how long calls take, when they land and how they end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;
use std::time::Duration;

use mde_cancel::model::Uptime;
use mde_cancel::quota::{Calls, Decision, Pace, Window, Windows, decide};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallEffect {
    /// Its reply is read one latency after sending.
    Answered,
    /// No byte leaves; known one latency after sending.
    Withdrawn,
    /// Given up one latency after sending; may land up to this grace later.
    GivenUp(Duration),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    /// Time from the previous call's work to this one's.
    gap: Duration,
    latency: Duration,
    /// When it lands, from sending (0) to the last possible moment (255).
    lands: u8,
    fate: CallEffect,
}

#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) windows: Windows,
    pub(crate) calls: Vec<Planned>,
}

/// How one call went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Journey {
    /// From here on, only the rule kept it from leaving.
    pub(crate) waited_from: Duration,
    pub(crate) sent: Duration,
    pub(crate) landed: Option<Duration>,
    /// Its periods count from here; after a withdrawal, none does.
    pub(crate) ended: Duration,
    pub(crate) withdrawn: bool,
}

impl Journey {
    /// Returns when the call's slot of `window` comes free.
    pub(crate) fn free_at(&self, window: &Window) -> Duration {
        if self.withdrawn {
            self.ended
        } else {
            self.ended + window.period + window.period / 1000
        }
    }

    pub(crate) fn holds(&self, window: &Window, at: Duration) -> bool {
        self.sent <= at && at < self.free_at(window)
    }
}

impl Story {
    /// Makes each call as early as [`decide`] allows, and checks each decision.
    pub(crate) fn play(&self) -> Vec<Journey> {
        let mut stage = Stage::default();
        let mut journeys: Vec<Journey> = Vec::with_capacity(self.calls.len());
        let mut ready = Duration::ZERO;
        for (number, planned) in self.calls.iter().enumerate() {
            ready += planned.gap;
            let waited_from = journeys
                .last()
                .map_or(ready, |before| before.sent.max(ready));
            stage.now = waited_from;
            let mut refusals = 0;
            while let Some(until) = stage.refusal(&self.windows, &self.calls) {
                stage.now = until;
                refusals += 1;
                // A window with a call in flight is asked again every period: 3 s of latency, 1 ms each.
                assert!(refusals < 10_000, "the call would never leave");
            }
            journeys.push(planned.journey(waited_from, stage.now));
            stage.calls.send();
            stage
                .in_flight
                .push(Reverse((stage.now + planned.latency, number)));
        }
        journeys
    }
}

impl Planned {
    fn journey(&self, waited_from: Duration, sent: Duration) -> Journey {
        let grace = match self.fate {
            CallEffect::GivenUp(grace) => grace,
            CallEffect::Answered | CallEffect::Withdrawn => Duration::ZERO,
        };
        let span = self.latency + grace;
        Journey {
            waited_from,
            sent,
            landed: (self.fate != CallEffect::Withdrawn)
                .then(|| sent + span * u32::from(self.lands) / 255),
            ended: sent + span,
            withdrawn: self.fate == CallEffect::Withdrawn,
        }
    }
}

#[derive(Default)]
struct Stage {
    now: Duration,
    calls: Calls,
    in_flight: BinaryHeap<Reverse<(Duration, usize)>>,
}

impl Stage {
    /// Returns when to ask again, if no call may leave now.
    fn refusal(&mut self, windows: &Windows, planned: &[Planned]) -> Option<Duration> {
        while let Some(Reverse((at, number))) = self.in_flight.peek().copied() {
            if at > self.now {
                break;
            }
            self.in_flight.pop();
            match planned[number].fate {
                CallEffect::Answered => self.calls.end(uptime(at)),
                CallEffect::Withdrawn => self.calls.withdraw(),
                CallEffect::GivenUp(grace) => self.calls.end(uptime(at + grace)),
            }
        }
        let now = uptime(self.now);
        let decision = decide(now, windows, &self.calls);
        self.calls.prune(now, windows.longest_hold());
        assert_eq!(
            decide(now, windows, &self.calls),
            decision,
            "pruning changes nothing"
        );
        let Decision::NotBefore(until) = decision else {
            return None;
        };
        self.check_that_it_is_the_earliest(windows, until);
        let until = until.since(Uptime::from_nanos(0));
        let reply = self.in_flight.peek().map(|Reverse((at, _))| *at);
        Some(reply.map_or(until, |at| at.min(until)))
    }

    /// Checks that `until` is the earliest moment for a call, to the nanosecond, if all calls in flight ended now.
    fn check_that_it_is_the_earliest(&self, windows: &Windows, until: Uptime) {
        let now = uptime(self.now);
        assert!(until > now);
        let mut luckiest = self.calls.clone();
        (0..self.calls.in_flight()).for_each(|_| luckiest.end(now));
        assert_eq!(decide(until, windows, &luckiest), Decision::SlotRequest);
        let just_before = until.before(Duration::from_nanos(1));
        assert_eq!(
            decide(just_before, windows, &luckiest),
            Decision::NotBefore(until)
        );
    }
}

fn uptime(since_boot: Duration) -> Uptime {
    Uptime::from_nanos(0).after(since_boot)
}

/// Often whole milliseconds, so that events coincide, and now and then odd nanoseconds.
fn any_span(longest_millis: u64) -> impl Strategy<Value = Duration> {
    (0..=longest_millis, prop_oneof![4 => Just(0), 1 => 0..3_u64])
        .prop_map(|(millis, nanos)| Duration::from_nanos(millis * 1_000_000 + nanos))
}

/// One to four windows, small enough for a short story to fill them.
pub(crate) fn any_windows() -> impl Strategy<Value = Windows> {
    let window = (1..=8_u32, 1..=2000_u64, any::<bool>()).prop_map(|(limit, millis, odd)| Window {
        limit: NonZeroU32::new(limit).unwrap(),
        period: Duration::from_nanos(millis * 1_000_000 + u64::from(odd)),
    });
    vec(window, 1..=4).prop_map(Windows::new)
}

pub(crate) fn any_pace() -> impl Strategy<Value = Option<Pace>> {
    proptest::option::of((1..=50_u32, 1..=1000_u64).prop_map(|(limit, millis)| {
        Pace::new(Window {
            limit: NonZeroU32::new(limit).unwrap(),
            period: Duration::from_millis(millis),
        })
    }))
}

pub(crate) fn any_story() -> impl Strategy<Value = Story> {
    let fate = prop_oneof![
        6 => Just(CallEffect::Answered),
        1 => Just(CallEffect::Withdrawn),
        1 => any_span(5000).prop_map(CallEffect::GivenUp),
    ];
    let gap = prop_oneof![4 => Just(Duration::ZERO), 1 => any_span(1500)];
    let latency = prop_oneof![3 => any_span(200), 1 => any_span(3000)];
    let lands = prop_oneof![Just(0), Just(255), any::<u8>()];
    let planned = (gap, latency, lands, fate).prop_map(|(gap, latency, lands, fate)| Planned {
        gap,
        latency,
        lands,
        fate,
    });
    (any_windows(), vec(planned, 1..60)).prop_map(|(windows, calls)| Story { windows, calls })
}
