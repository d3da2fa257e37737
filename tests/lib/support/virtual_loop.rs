//! The smallest loop that sends calls by the rule, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use mde_cancel::model::Uptime;
use mde_cancel::quota::{Calls, Decision, Pace, Pacer, Windows, decide};

use super::t_opt::Departure;

/// Sends as early as [`decide`] and the [`Pacer`] let it.
pub(crate) struct VirtualLoop {
    now: Uptime,
    windows: Windows,
    calls: Calls,
    pacer: Pacer,
    concurrency: usize,
    in_flight: BinaryHeap<Reverse<Uptime>>,
}

impl VirtualLoop {
    /// Starts at the boot with what `calls` says is spent, none of it in flight.
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

    /// Sends `count` calls and returns when each left and was answered.
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

    /// Says whether a call may leave now, and else when to ask again at the latest.
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
            Decision::Take => self.pacer.check(self.now),
            Decision::NotBefore(until) => Err(until),
        }
    }
}

fn since_boot(at: Uptime) -> Duration {
    at.since(Uptime::from_nanos(0))
}
