//! The quota rule against models of the service (never more than it allows) and against the oracle (never later than
//! necessary).

use std::time::Duration;

use mde_cancel::model::Uptime;
use mde_cancel::quota::{Calls, Pace, Window, Windows, forecast, milestones};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::support::{
    Allowance, Departure, FixedWindows, Journey, RollingWindows, TokenBuckets, VirtualLoop,
    allowances, any_pace, any_story, any_windows, best_departures, first_refused, most_in_any,
    naive_governor, proptest_config, t_opt,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The sizes for which the design promises times.
const SIZES: [usize; 5] = [100, 1000, 1500, 5000, 10_000];

/// Returns the design's formula for the end of `count` calls, plus the thousandth that slots are held longer.
fn formula(count: usize) -> Duration {
    let before = u32::try_from(count).unwrap() - 1;
    (HOUR * (before / 1500) + MINUTE * ((before % 1500) / 100)) * 1001 / 1000
}

/// A deterministic, even spread of 64 bits.
fn scramble(call: usize) -> u64 {
    let mut bits = (call as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits ^ (bits >> 27)
}

/// 50 to 150 ms, as in the design's table.
fn quick(call: usize) -> Duration {
    Duration::from_millis(50 + scramble(call) % 101)
}

/// Like [`quick`], but three in a hundred take 2 to 20 s.
fn with_stragglers(call: usize) -> Duration {
    let bits = scramble(call);
    if bits >> 32 & 0x3FF < 31 {
        Duration::from_millis(2000 + bits % 18_001)
    } else {
        quick(call)
    }
}

fn last_reply(departures: &[Departure]) -> Duration {
    departures.iter().map(|call| call.ended).max().unwrap()
}

fn arrivals(journeys: &[Journey]) -> Vec<Duration> {
    let mut landed: Vec<_> = journeys.iter().filter_map(|call| call.landed).collect();
    landed.sort_unstable();
    landed
}

#[test]
fn without_latency_the_rule_ends_when_the_formula_says() {
    let windows = Windows::documented();
    for count in SIZES {
        let run = VirtualLoop::new(&windows, Calls::new(), None).run(count, |_| Duration::ZERO);
        assert_eq!(last_reply(&run), formula(count), "{count}");
        let best = t_opt(count, &windows, |_| Duration::ZERO, None, usize::MAX);
        assert_eq!(best, formula(count), "{count}");
    }
}

#[test]
fn with_latency_pace_and_workers_every_call_leaves_when_the_oracle_says() {
    let windows = Windows::documented();
    let pace = Pace::parse("50/s").unwrap();
    for latency in [quick, with_stragglers] {
        for count in SIZES {
            let run = VirtualLoop::new(&windows, Calls::new(), pace)
                .concurrency(16)
                .run(count, latency);
            let best = best_departures(count, &windows, latency, pace, 16);
            assert_eq!(last_reply(&run), last_reply(&best), "{count}");
            assert!(run == best, "{count}");
        }
    }
}

#[test]
fn latency_and_pace_cost_at_most_a_fiftieth_over_the_formula() {
    let windows = Windows::documented();
    let pace = Pace::parse("50/s").unwrap();
    for count in [1000, 1500, 5000, 10_000] {
        let best = t_opt(count, &windows, quick, pace, 16);
        let plain = formula(count) * 1000 / 1001;
        assert!(best > plain && best <= plain * 51 / 50, "{count}: {best:?}");
    }
    let first_hundred = t_opt(100, &windows, quick, pace, 16);
    assert!(first_hundred <= Duration::from_secs(3), "{first_hundred:?}");
}

#[test]
fn a_long_run_with_stragglers_never_exceeds_an_allowance_and_uses_it_up() {
    let windows = Windows::documented();
    let run = VirtualLoop::new(&windows, Calls::new(), None)
        .concurrency(16)
        .run(5000, with_stragglers);
    // Calls land early, late, or in turn.
    let landings: [fn(usize, &Departure) -> Duration; 3] = [
        |_, call| call.sent,
        |_, call| call.ended,
        |number, call| {
            if number % 2 == 0 {
                call.sent
            } else {
                call.ended
            }
        },
    ];
    for landing in landings {
        let mut landed: Vec<_> = run.iter().enumerate().map(|(n, c)| landing(n, c)).collect();
        landed.sort_unstable();
        let allowances = allowances(&windows);
        let mut server = RollingWindows::new(&allowances);
        assert_eq!(first_refused(&mut server, &landed), None);
        let mut server = TokenBuckets::new(&allowances);
        assert_eq!(first_refused(&mut server, &landed), None);
        assert!(most_in_any(MINUTE, &landed) >= 95);
        assert!(most_in_any(HOUR, &landed) >= 1490);
    }
}

#[test]
fn usual_governor_settings_break_the_quota_and_the_models_say_so() {
    let calls = naive_governor(5000);
    assert_eq!(most_in_any(MINUTE, &calls), 199);
    assert_eq!(most_in_any(HOUR, &calls), 2999);
    let allowances = allowances(&Windows::documented());
    assert!(first_refused(&mut RollingWindows::new(&allowances), &calls).is_some());
    let unshifted: Vec<_> = allowances.iter().map(|a| (*a, Duration::ZERO)).collect();
    assert!(first_refused(&mut FixedWindows::new(&unshifted), &calls).is_some());
    // Governor is itself a bucket with this burst, so the bucket accepts it. It beats the oracle, which no honest
    // limiter can.
    assert_eq!(
        first_refused(&mut TokenBuckets::new(&allowances), &calls),
        None
    );
    assert!(*calls.last().unwrap() < formula(5000));
}

#[test]
fn slots_counted_from_sending_exceed_the_quota_and_the_models_notice() {
    // One call lands late and the next at once, a period after the first was sent: too close for the service.
    let windows = Windows::new(vec![Window::parse("1/1s").unwrap()]);
    let landed = [Duration::from_millis(900), Duration::from_millis(1001)];
    let mut server = RollingWindows::new(&allowances(&windows));
    assert_eq!(first_refused(&mut server, &landed), Some(landed[1]));
    let honest = VirtualLoop::new(&windows, Calls::new(), None).run(2, |call| {
        Duration::from_millis(if call == 0 { 900 } else { 0 })
    });
    assert_eq!(honest[1].sent, Duration::from_millis(1901));
}

#[test]
fn milestones_of_the_designs_example_agree_with_the_run() {
    let windows = Windows::documented();
    let round_trip = Duration::from_millis(100);
    let run = VirtualLoop::new(&windows, Calls::new(), None).run(5000, |_| round_trip);
    let start = Uptime::from_nanos(0);
    let found = milestones(start, &windows, None, &Calls::new(), 5000, round_trip);
    let said: Vec<_> = found.iter().map(|m| (m.calls, m.at.since(start))).collect();
    assert_eq!(
        said,
        [100, 1500, 5000].map(|calls| (calls, run[usize::try_from(calls).unwrap() - 1].sent))
    );
}

proptest! {
    #![proptest_config(proptest_config(400))]

    #[test]
    fn no_model_of_the_service_ever_sees_its_allowance_exceeded(
        story in any_story(),
        phases in vec(vec(any::<u16>(), 4), 4),
    ) {
        let landed = arrivals(&story.play());
        let exact = allowances(&story.windows);
        prop_assert_eq!(first_refused(&mut RollingWindows::new(&exact), &landed), None);
        prop_assert_eq!(first_refused(&mut TokenBuckets::new(&exact), &landed), None);
        for phase in phases {
            let shifted: Vec<_> = exact
                .iter()
                .zip(phase)
                .map(|(window, phase)| (*window, window.period * u32::from(phase) / 65_536))
                .collect();
            prop_assert_eq!(first_refused(&mut FixedWindows::new(&shifted), &landed), None);
        }
        // A service whose clock is slow by nine in ten thousand counts over longer periods.
        let slow: Vec<_> = exact
            .iter()
            .map(|window| Allowance {
                calls: window.calls,
                period: window.period * 10_009 / 10_000,
            })
            .collect();
        prop_assert_eq!(first_refused(&mut RollingWindows::new(&slow), &landed), None);
    }

    #[test]
    fn no_slot_is_left_unused_while_work_waits(story in any_story()) {
        let journeys = story.play();
        for (number, call) in journeys.iter().enumerate() {
            let before = &journeys[..number];
            let full = |window: &Window, at| {
                let taken = before.iter().filter(|other| other.holds(window, at)).count();
                taken >= window.limit.get() as usize
            };
            let windows = story.windows.as_slice();
            prop_assert!(!windows.iter().any(|window| full(window, call.sent)));
            // Slots in use change only when one comes free, so checking then is enough.
            let frees = before
                .iter()
                .flat_map(|other| windows.iter().map(|window| other.free_at(window)));
            for at in frees.chain([call.waited_from]) {
                if call.waited_from <= at && at < call.sent {
                    prop_assert!(
                        windows.iter().any(|window| full(window, at)),
                        "call {number} could have left at {at:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_loop_is_as_fast_as_the_oracle_under_any_windows(
        windows in any_windows(),
        latencies in vec(0..3000_u64, 1..80),
        pace in any_pace(),
        concurrency in 1..20_usize,
    ) {
        let latency = |call: usize| Duration::from_millis(latencies[call]);
        let count = latencies.len();
        let run = VirtualLoop::new(&windows, Calls::new(), pace)
            .concurrency(concurrency)
            .run(count, latency);
        prop_assert_eq!(&run, &best_departures(count, &windows, latency, pace, concurrency));
    }

    #[test]
    fn a_forecast_is_what_then_happens(
        windows in any_windows(),
        spent in vec(0..8000_i64, 0..30),
        in_flight in 0..6_usize,
        count in 1..60_usize,
        (round_trip, pace) in (0..500_u64, any_pace()),
    ) {
        let now = Uptime::from_nanos(0);
        let round_trip = Duration::from_millis(round_trip);
        // Ended up to 5 s ago, or given up and counted as ended up to 3 s from now.
        let mut calls = Calls::new();
        for millis in spent {
            calls.record_end(Uptime::from_nanos((millis - 5000) * 1_000_000));
        }
        let mut all_ended = calls.clone();
        for _ in 0..in_flight {
            calls.send();
            all_ended.record_end(now);
        }
        let run = VirtualLoop::new(&windows, all_ended, pace).run(count, |_| round_trip);
        let sent = |calls: u64| run[usize::try_from(calls).unwrap() - 1].sent;
        let remaining = count as u64;
        let said = forecast(now, &windows, pace, &calls, remaining, round_trip);
        prop_assert_eq!(said.since(now), sent(remaining));
        let found = milestones(now, &windows, pace, &calls, remaining, round_trip);
        prop_assert!(found.is_sorted_by(|one, next| one.calls < next.calls));
        prop_assert_eq!(found.last().map(|last| last.calls), Some(remaining));
        for milestone in found {
            prop_assert_eq!(milestone.at.since(now), sent(milestone.calls));
        }
    }
}
