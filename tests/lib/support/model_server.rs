//! Three ways in which a service may count calls. The real service's way isn't documented, so our calls must satisfy
//! all of them.
//!
//! Times count from the server's start. Refused calls count, because a real service may well count them.

use std::collections::VecDeque;
use std::time::Duration;

use mde_cancel::quota::Windows;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    pub(crate) calls: u32,
    pub(crate) period: Duration,
}

pub(crate) fn allowances(windows: &Windows) -> Vec<Allowance> {
    windows
        .as_slice()
        .iter()
        .map(|window| Allowance {
            calls: window.limit.get(),
            period: window.period,
        })
        .collect()
}

pub(crate) trait ModelServer {
    /// Counts a call. `at` never decreases. Returns whether the call fits.
    fn admits(&mut self, at: Duration) -> bool;
}

/// Returns the first of the sorted `arrivals` that `server` refuses.
pub(crate) fn first_refused(
    server: &mut impl ModelServer,
    arrivals: &[Duration],
) -> Option<Duration> {
    arrivals.iter().copied().find(|at| !server.admits(*at))
}

/// Counts over every span of one period, both ends included: the strictest reading possible.
pub(crate) struct RollingWindows(Vec<(Allowance, VecDeque<Duration>)>);

impl RollingWindows {
    pub(crate) fn new(allowances: &[Allowance]) -> Self {
        Self(
            allowances
                .iter()
                .map(|allowance| (*allowance, VecDeque::new()))
                .collect(),
        )
    }
}

impl ModelServer for RollingWindows {
    fn admits(&mut self, at: Duration) -> bool {
        let mut fits = true;
        for (allowance, seen) in &mut self.0 {
            while seen
                .front()
                .is_some_and(|first| *first + allowance.period < at)
            {
                seen.pop_front();
            }
            seen.push_back(at);
            fits &= seen.len() <= allowance.calls as usize;
        }
        fits
    }
}

/// Counts from one tick of its clock to the next.
pub(crate) struct FixedWindows(Vec<Fixed>);

struct Fixed {
    allowance: Allowance,
    phase: Duration,
    /// The tick that the count belongs to.
    tick: u128,
    seen: u32,
}

impl FixedWindows {
    /// Each window first ticks `phase` after the start; a phase is shorter than its window's period.
    pub(crate) fn new(allowances: &[(Allowance, Duration)]) -> Self {
        Self(
            allowances
                .iter()
                .map(|&(allowance, phase)| Fixed {
                    allowance,
                    phase,
                    tick: 0,
                    seen: 0,
                })
                .collect(),
        )
    }
}

impl ModelServer for FixedWindows {
    fn admits(&mut self, at: Duration) -> bool {
        let mut fits = true;
        for window in &mut self.0 {
            let period = window.allowance.period;
            let tick = (at + period).abs_diff(window.phase).as_nanos() / period.as_nanos();
            if tick != window.tick {
                window.tick = tick;
                window.seen = 0;
            }
            window.seen += 1;
            fits &= window.seen <= window.allowance.calls;
        }
        fits
    }
}

/// Buckets that start full and refill continuously.
pub(crate) struct TokenBuckets(Vec<Bucket>);

struct Bucket {
    allowance: Allowance,
    /// In tokens times nanoseconds of the period, so that nothing is rounded.
    level: u128,
    last: Duration,
}

impl TokenBuckets {
    pub(crate) fn new(allowances: &[Allowance]) -> Self {
        Self(
            allowances
                .iter()
                .map(|allowance| Bucket {
                    allowance: *allowance,
                    level: u128::from(allowance.calls) * allowance.period.as_nanos(),
                    last: Duration::ZERO,
                })
                .collect(),
        )
    }
}

impl ModelServer for TokenBuckets {
    fn admits(&mut self, at: Duration) -> bool {
        let mut fits = true;
        for bucket in &mut self.0 {
            let token = bucket.allowance.period.as_nanos();
            let calls = u128::from(bucket.allowance.calls);
            let refill = at.abs_diff(bucket.last).as_nanos() * calls;
            let level = (bucket.level + refill).min(calls * token);
            bucket.last = at;
            fits &= level >= token;
            bucket.level = level.saturating_sub(token);
        }
        fits
    }
}

fn millis(all: &[u64]) -> Vec<Duration> {
    all.iter().copied().map(Duration::from_millis).collect()
}

const TWO_A_SECOND: Allowance = Allowance {
    calls: 2,
    period: Duration::from_secs(1),
};

#[test]
fn a_rolling_window_counts_over_any_second() {
    let refused = |arrivals: &[u64]| {
        first_refused(&mut RollingWindows::new(&[TWO_A_SECOND]), &millis(arrivals))
    };
    assert_eq!(refused(&[900, 950, 1901, 1951]), None);
    assert_eq!(
        refused(&[900, 950, 1900]),
        Some(Duration::from_millis(1900))
    );
}

#[test]
fn a_fixed_window_forgets_at_its_tick_and_not_before() {
    let refused = |phase, arrivals: &[u64]| {
        first_refused(
            &mut FixedWindows::new(&[(TWO_A_SECOND, Duration::from_millis(phase))]),
            &millis(arrivals),
        )
    };
    assert_eq!(refused(0, &[900, 950, 1000, 1001]), None);
    assert_eq!(
        refused(1, &[900, 950, 1000]),
        Some(Duration::from_millis(1000))
    );
    assert_eq!(refused(1, &[0, 0, 1, 1]), None);
}

#[test]
fn a_bucket_gives_its_burst_and_then_its_rate() {
    let refused = |arrivals: &[u64]| {
        first_refused(&mut TokenBuckets::new(&[TWO_A_SECOND]), &millis(arrivals))
    };
    assert_eq!(refused(&[0, 0, 500, 1000, 1500]), None);
    assert_eq!(refused(&[0, 0, 499]), Some(Duration::from_millis(499)));
    assert_eq!(
        refused(&[5000, 5000, 5000]),
        Some(Duration::from_millis(5000))
    );
}
