//! Gateways that count differently from our windows, and the rate that their refusals teach, in virtual time.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what these tests are read for"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "seconds and calls of a few hours"
)]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use mde_cancel::model::Outcome::Cancelled;
use mde_cancel::model::{ReplyKind, RetryAfter, Throttle};

use crate::support::{Simulation, reply};

const MINUTE: f64 = 60.0;

/// Fewer than the hour allows, even with refused calls; the hour isn't the subject here.
const ROWS: u32 = 1400;

/// How a gateway decides whether to let a call through.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Counter {
    /// Calls a minute, counted as this minute's plus a weighted share of the last one's, refused calls included.
    TwoBuckets(f64),
    /// A leaky bucket: its leak a minute, and its capacity.
    Leaky(f64, f64),
    /// Calls in each minute of the clock.
    Fixed(f64),
    /// Calls in any minute, without refused ones; twice as many from the tenth minute on.
    Shared(usize),
    /// Calls in any minute, without refused ones.
    Rolling(usize),
}

#[derive(Debug)]
struct Gateway {
    counter: Counter,
    hint: Option<Duration>,
    /// The current minute, its calls, and those of the minute before.
    minute: (u64, f64, f64),
    level: (f64, f64),
    passed: Vec<f64>,
    refused: Vec<f64>,
}

impl Gateway {
    fn new(counter: Counter, hint: Option<Duration>) -> Self {
        Self {
            counter,
            hint,
            minute: (0, 0.0, 0.0),
            level: (0.0, 0.0),
            passed: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn admits(&mut self, now: f64) -> bool {
        let minute = (now / MINUTE) as u64;
        let (counted, this, last) = &mut self.minute;
        if minute != *counted {
            *last = if minute == *counted + 1 { *this } else { 0.0 };
            (*counted, *this) = (minute, 0.0);
        }
        match self.counter {
            Counter::TwoBuckets(limit) => {
                *this += 1.0;
                let left = 1.0 - (now % MINUTE) / MINUTE;
                *this + *last * left <= limit
            }
            Counter::Fixed(limit) => {
                let passes = *this < limit;
                *this += f64::from(u8::from(passes));
                passes
            }
            Counter::Leaky(rate, burst) => {
                let (level, at) = &mut self.level;
                *level = (*level - (now - *at) * rate / MINUTE).max(0.0);
                *at = now;
                let passes = *level <= burst;
                *level += f64::from(u8::from(passes));
                passes
            }
            Counter::Rolling(limit) | Counter::Shared(limit) => {
                let is_shared = matches!(self.counter, Counter::Shared(_));
                let limit = limit * (1 + usize::from(is_shared && minute >= 10));
                let young = self.passed.iter().rev();
                young.take_while(|&&at| now - at < MINUTE).count() < limit
            }
        }
    }

    /// Returns the answer if the call is refused.
    fn judge(&mut self, now: Duration) -> Option<Throttle> {
        let now = now.as_secs_f64();
        if self.admits(now) {
            self.passed.push(now);
            return None;
        }
        self.refused.push(now);
        Some(Throttle {
            retry_after: self.hint.map(RetryAfter::Wait),
            ..Throttle::default()
        })
    }

    /// Returns the share of refused calls and the passed calls a minute, from one minute after the first refusal.
    fn after_the_first(&self) -> (f64, f64) {
        let Some(first) = self.refused.first() else {
            return (0.0, f64::INFINITY);
        };
        let start = first + MINUTE;
        let late = |all: &[f64]| all.iter().filter(|&&at| at >= start).count() as f64;
        let (passed, refused) = (late(&self.passed), late(&self.refused));
        let minutes = (self.passed.last().unwrap() - start) / MINUTE;
        (refused / (passed + refused), passed / minutes)
    }
}

/// Sends every row through such a gateway. Returns the gateway and the time until all rows ended.
fn through(counter: Counter, hint: Option<Duration>) -> (Gateway, Duration) {
    let gateway = Rc::new(RefCell::new(Gateway::new(counter, hint)));
    let mut world = Simulation::of(ROWS);
    world.latency = Box::new(|number| (Duration::from_millis(50 + number as u64 % 100), 0.5));
    let judge = Rc::clone(&gateway);
    world.cancel_answer = Box::new(move |_, now| {
        let throttle = judge.borrow_mut().judge(now)?;
        Some(reply(ReplyKind::Throttled(throttle), Some(429)))
    });
    let history = world.run();
    assert_eq!(history.stop, None, "{counter:?}");
    assert_eq!(history.counts()[&Cancelled], ROWS as usize, "{counter:?}");
    let gateway = gateway.replace(Gateway::new(counter, None));
    (gateway, history.elapsed)
}

#[test]
fn the_rate_of_gateways_without_a_second_burst_is_learned_in_a_minute() {
    // The second number is the most a minute that the gateway or our own window lets through.
    let gateways = [
        (Counter::TwoBuckets(100.0), 100.0),
        (Counter::TwoBuckets(60.0), 60.0),
        (Counter::Leaky(100.0, 20.0), 100.0),
        (Counter::Leaky(60.0, 20.0), 60.0),
        (Counter::Leaky(60.0, 0.0), 60.0),
        (Counter::Leaky(30.0, 5.0), 30.0),
        (Counter::Fixed(60.0), 60.0),
        (Counter::Rolling(60), 60.0),
    ];
    for (counter, best) in gateways {
        let hints = [None, Some(Duration::from_secs(5))];
        // A wait that is named changes little; two kinds of gateway show it.
        let is_told = [Counter::TwoBuckets(60.0), Counter::Rolling(60)].contains(&counter);
        for hint in &hints[..=usize::from(is_told)] {
            let (gateway, elapsed) = through(counter, *hint);
            let (refused, passed) = gateway.after_the_first();
            println!(
                "{counter:?} {hint:?}: {} refused, {:.2} % after the first minute, {:.3} of the best, {elapsed:.0?}",
                gateway.refused.len(),
                refused * 100.0,
                passed / best,
            );
            assert!(passed / best >= 0.85, "{counter:?} {hint:?}");
            assert!(refused <= 0.02, "{counter:?} {hint:?}");
        }
    }
}

#[test]
fn an_hour_that_others_used_up_is_waited_for_and_slows_nothing_down_afterwards() {
    let mut world = Simulation::of(ROWS);
    let half_past = Duration::from_secs(1800);
    world.cancel_answer = Box::new(move |_, now| {
        let wait = half_past.checked_sub(now)?;
        let throttle = Throttle {
            body_wait: Some(wait + Duration::from_secs(1)),
            allowance: Some((1500, Duration::from_secs(3600))),
            ..Throttle::default()
        };
        Some(reply(ReplyKind::Throttled(throttle), Some(429)))
    });
    let history = world.run();
    assert_eq!(history.counts()[&Cancelled], ROWS as usize);
    let bound = half_past + Duration::from_secs(14 * 60);
    assert!(history.elapsed < bound, "{:?}", history.elapsed);
}

#[test]
fn quota_that_others_free_is_used_again() {
    let (gateway, elapsed) = through(Counter::Shared(50), Some(Duration::from_secs(5)));
    let (refused, _) = gateway.after_the_first();
    println!("{} refused, {elapsed:.0?}", gateway.refused.len());
    assert!(refused <= 0.02, "{refused}");
    // Ten minutes at 50, a ramp, and the rest at 95 a minute. At 50 throughout it would take 28 minutes.
    assert!(elapsed < Duration::from_secs(25 * 60), "{elapsed:?}");
}

#[test]
fn a_gateway_that_allows_every_burst_teaches_no_rate() {
    let (gateway, elapsed) = through(Counter::Leaky(100.0, 99.0), None);
    assert_eq!(gateway.refused, [0.0; 0]);
    assert!(elapsed < Duration::from_secs(13 * 60 + 10), "{elapsed:?}");
}
