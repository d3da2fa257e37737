//! The circuit breaker of one scope: tells an outage from a bad row, and lets calls come back gradually.
//!
//! A transient fault alone proves nothing about a row. After a few in a row without a proper answer, calls pause and
//! single probes leave, so an outage costs time and hardly any quota. After an outage or a cooldown, calls leave in
//! rounds of 1, 2, 4 and so on; the next round starts once all calls of the last got a proper answer. Rejected: a width
//! that grows with each good answer, because the third call would leave before the second has proved anything.

use std::time::Duration;

use crate::model::Uptime;

/// Transient faults in a row that count as an outage.
const FAULTS: u32 = 5;

#[derive(Debug)]
pub(super) struct Breaker {
    /// Rounds end once they would be this wide.
    bound: usize,
    /// Incremented each time calls pause or slow down again. A call keeps the value it left with; answers to older
    /// calls say nothing new.
    generation: u32,
    faults_in_row: u32,
    state: BreakerState,
}

#[derive(Clone, Copy, Debug)]
enum BreakerState {
    Closed,
    /// The service is down. One probe may leave at `until`; `probes` counts the pauses so far.
    Open {
        until: Uptime,
        probes: u32,
        /// When the probe on the wire left.
        probing: Option<Uptime>,
    },
    /// A round of `width` calls: `out` are on the wire, `good` got a proper answer.
    HalfOpen {
        width: usize,
        out: usize,
        good: usize,
        probes: u32,
    },
}

impl Breaker {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            bound,
            generation: 0,
            faults_in_row: 0,
            state: BreakerState::Closed,
        }
    }

    /// Returns whether a call may leave.
    ///
    /// # Errors
    /// Returns when one may, or `None` if an answer on its way decides.
    pub(super) fn admit(&self, now: Uptime) -> Result<(), Option<Uptime>> {
        match self.state {
            BreakerState::Open { until, probing, .. } => match probing {
                Some(_) => Err(None),
                None if until > now => Err(Some(until)),
                None => Ok(()),
            },
            BreakerState::HalfOpen {
                width, out, good, ..
            } if out + good >= width => Err(None),
            BreakerState::Closed | BreakerState::HalfOpen { .. } => Ok(()),
        }
    }

    /// A call is about to leave. Returns its generation.
    pub(super) fn leaves(&mut self, now: Uptime) -> u32 {
        match &mut self.state {
            BreakerState::Closed => {}
            BreakerState::Open { probing, .. } => *probing = Some(now),
            BreakerState::HalfOpen { out, .. } => *out += 1,
        }
        self.generation
    }

    /// A call did not leave, or its answer says nothing about the service: another may take its place.
    pub(super) fn told_nothing(&mut self, generation: u32) {
        if generation != self.generation {
            return;
        }
        match &mut self.state {
            BreakerState::Closed => {}
            BreakerState::Open { probing, .. } => *probing = None,
            BreakerState::HalfOpen { out, .. } => *out = out.saturating_sub(1),
        }
    }

    /// Returns whether the answer ended an outage.
    pub(super) fn answered(&mut self, generation: u32) -> bool {
        self.faults_in_row = 0;
        let is_present = self.is_present(generation);
        match &mut self.state {
            BreakerState::Open { .. } => {
                self.half_open(0);
                return true;
            }
            BreakerState::HalfOpen {
                width, out, good, ..
            } if is_present => {
                *out = out.saturating_sub(1);
                *good += 1;
                if *good >= *width {
                    (*width, *good) = (*width * 2, 0);
                    if *width >= self.bound {
                        self.state = BreakerState::Closed;
                    }
                }
            }
            BreakerState::Closed | BreakerState::HalfOpen { .. } => {}
        }
        false
    }

    /// A call ended with a transient fault; `pause` returns the wait before the next probe. Returns until when calls
    /// pause, if the fault starts or extends a pause.
    pub(super) fn failed(
        &mut self,
        now: Uptime,
        generation: u32,
        pause: impl FnOnce(u32) -> Duration,
    ) -> Option<Uptime> {
        // Calls that left before the pause also come back with faults.
        if !self.is_present(generation) {
            return None;
        }
        let (probes, from) = match self.state {
            BreakerState::Closed => {
                self.faults_in_row += 1;
                if self.faults_in_row < FAULTS {
                    return None;
                }
                (0, now)
            }
            // Counted from when the probe left, so that a probe that hangs doesn't lengthen the pause.
            BreakerState::Open {
                probes, probing, ..
            } => (probes, probing?),
            BreakerState::HalfOpen { probes, .. } => (probes, now),
        };
        if !matches!(self.state, BreakerState::Open { .. }) {
            self.generation = self.generation.wrapping_add(1);
        }
        let until = from.after(pause(probes)).max(now);
        self.state = BreakerState::Open {
            until,
            probes: probes.saturating_add(1),
            probing: None,
        };
        Some(until)
    }

    /// The service asked for a cooldown; afterwards a round of one call starts.
    pub(super) fn cooled_down(&mut self) {
        match &mut self.state {
            BreakerState::Open { probing, .. } => *probing = None,
            BreakerState::HalfOpen { probes, .. } => {
                let probes = *probes;
                self.half_open(probes);
            }
            BreakerState::Closed => self.half_open(0),
        }
    }

    fn half_open(&mut self, probes: u32) {
        self.generation = self.generation.wrapping_add(1);
        self.state = BreakerState::HalfOpen {
            width: 1,
            out: 0,
            good: 0,
            probes,
        };
        if self.bound <= 1 {
            self.state = BreakerState::Closed;
        }
    }

    /// Returns whether a call's answer says something new.
    pub(super) fn is_present(&self, generation: u32) -> bool {
        generation == self.generation
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, BreakerState::Open { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Uptime {
        Uptime::from_nanos(seconds * 1_000_000_000)
    }

    fn fail(breaker: &mut Breaker, now: Uptime, generation: u32) -> Option<Uptime> {
        breaker.failed(now, generation, |_| Duration::from_secs(1))
    }

    /// Opens the breaker at `now`; returns the generation of the calls before.
    fn open(breaker: &mut Breaker, now: Uptime) -> u32 {
        let before = breaker.leaves(now);
        let pauses: Vec<_> = (0..16).filter_map(|_| fail(breaker, now, before)).collect();
        assert_eq!(pauses, [now.after(Duration::from_secs(1))]);
        before
    }

    /// Sends every call that may leave and answers all; returns how many left.
    fn one_good_round(breaker: &mut Breaker, now: Uptime) -> usize {
        let mut left = Vec::new();
        while left.len() < 100 && breaker.admit(now).is_ok() {
            left.push(breaker.leaves(now));
        }
        for call in &left {
            breaker.answered(*call);
        }
        left.len()
    }

    #[test]
    fn after_an_outage_rounds_double_until_the_bound_and_then_nothing_is_held_back() {
        let mut breaker = Breaker::new(16);
        open(&mut breaker, at(0));
        assert_eq!(breaker.admit(at(0)), Err(Some(at(1))));
        let probe = breaker.leaves(at(1));
        assert_eq!(breaker.admit(at(1)), Err(None));
        assert!(breaker.answered(probe));
        let rounds: Vec<_> = (0..5)
            .map(|_| one_good_round(&mut breaker, at(1)))
            .collect();
        assert_eq!(rounds, [1, 2, 4, 8, 100]);
    }

    #[test]
    fn only_the_probe_lengthens_a_pause_and_any_proper_answer_ends_it() {
        let mut breaker = Breaker::new(16);
        let before = open(&mut breaker, at(0));
        let probe = breaker.leaves(at(2));
        assert_eq!(fail(&mut breaker, at(2), before), None);
        assert_eq!(breaker.admit(at(2)), Err(None), "the probe is still out");
        breaker.told_nothing(probe);
        assert_eq!(breaker.admit(at(2)), Ok(()));
        let probe = breaker.leaves(at(2));
        assert_eq!(fail(&mut breaker, at(9), probe), Some(at(9)));
        assert!(breaker.answered(before));
        assert!(!breaker.answered(before));
        assert_eq!(fail(&mut breaker, at(9), before), None, "a late fault");
        assert_eq!(one_good_round(&mut breaker, at(9)), 1);
    }

    #[test]
    fn a_round_lets_no_other_call_leave_until_all_of_it_came_back() {
        let mut breaker = Breaker::new(16);
        breaker.cooled_down();
        one_good_round(&mut breaker, at(0));
        let calls = [breaker.leaves(at(0)), breaker.leaves(at(0))];
        breaker.answered(calls[0]);
        assert_eq!(breaker.admit(at(0)), Err(None));
        breaker.told_nothing(calls[1]);
        assert_eq!(breaker.admit(at(0)), Ok(()));
        let call = breaker.leaves(at(0));
        assert!(
            fail(&mut breaker, at(0), call).is_some(),
            "a fault in a round opens it again"
        );
        assert!(breaker.is_open());
    }

    #[test]
    fn a_proper_answer_between_faults_keeps_calls_going() {
        let mut breaker = Breaker::new(16);
        for round in 0..100 {
            let call = breaker.leaves(at(round));
            assert_eq!(fail(&mut breaker, at(round), call), None);
            if round % 4 == 3 {
                assert!(!breaker.answered(call));
            }
        }
    }
}
