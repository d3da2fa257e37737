//! The core in virtual time, against the best possible under the quota rule.
//!
//! `cargo test simulation -- --nocapture` prints the table.
#![expect(
    clippy::print_stdout,
    reason = "the table is for people who want to see the figures"
)]

use std::time::Duration;

use mde_cancel::model::Outcome;
use mde_cancel::quota::Windows;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::support::{Fault, Simulation, always, most_in_any, outage, t_opt};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Random latencies of up to two seconds, the same for the run and for the oracle.
fn random_latency(seed: u64) -> impl FnMut(usize) -> (Duration, f64) {
    let mut dice = SmallRng::seed_from_u64(seed);
    let mut drawn: Vec<(Duration, f64)> = Vec::new();
    move |call| {
        while drawn.len() <= call {
            let latency = Duration::from_millis(dice.random_range(20..2000));
            drawn.push((latency, dice.random_range(0.0..=1.0)));
        }
        drawn[call]
    }
}

#[test]
fn every_size_ends_within_one_percent_of_the_best_and_draws_no_429() {
    for rows in [100, 1_000, 1_500, 5_000] {
        let mut world = Simulation::of(rows);
        world.latency = Box::new(random_latency(u64::from(rows)));
        let (windows, pace, concurrency) = (world.windows.clone(), world.pace, world.concurrency);
        let history = world.run();
        let mut trace = random_latency(u64::from(rows));
        let best = t_opt(
            rows as usize,
            &windows,
            |call| trace(call).0,
            pace,
            concurrency,
        );
        let ratio = history.elapsed.as_secs_f64() / best.as_secs_f64();
        let (minute, hour) = (
            most_in_any(MINUTE, &history.arrivals),
            most_in_any(HOUR, &history.arrivals),
        );
        println!(
            "{rows:>6} rows: {:>9.1} s, T_opt {:>9.1} s, ratio {ratio:.4}, at most {minute} a minute and {hour} an hour",
            history.elapsed.as_secs_f64(),
            best.as_secs_f64(),
        );
        assert!((0.999..=1.01).contains(&ratio), "{rows}: {ratio}");
        assert_eq!(history.throttled, 0);
        assert!(minute <= 100 && hour <= 1500, "{rows}: {minute} {hour}");
        assert_eq!(history.outcomes.len(), rows as usize);
        assert!(
            history
                .outcomes
                .values()
                .all(|&outcome| outcome == Outcome::Cancelled)
        );
        assert_eq!(history.arrivals.len(), rows as usize, "one cancel a row");
    }
}

#[test]
fn a_thousand_releases_end_within_one_percent_of_the_best_and_draw_no_429() {
    let history = Simulation::releases(1_000).run();
    assert_eq!(history.counts()[&Outcome::Released], 1_000);
    assert_eq!(history.posts.len(), 1_000, "one release a machine");
    let (last, best) = (history.arrivals.last().unwrap(), 9 * MINUTE);
    assert!(*last <= best + best / 100, "{last:?}");
}

#[test]
fn an_outage_of_ten_minutes_fails_no_row_and_spends_few_slots() {
    for fault in [
        Fault::Unavailable,
        Fault::ServerError(false),
        Fault::Reset(false),
        Fault::Redirected,
        Fault::NoName,
        Fault::Silent(false),
    ] {
        for readable in [true, false] {
            let down = Duration::from_secs(125)..Duration::from_secs(725);
            let mut world = Simulation::of(500);
            world.latency = always(Duration::from_millis(100));
            world.fault = outage(down.clone(), fault);
            world.readable = readable;
            let history = world.run();
            let after: Vec<_> = history
                .arrivals
                .iter()
                .filter(|&&at| at >= down.end)
                .collect();
            let first_after = after[0].saturating_sub(down.end);
            println!(
                "{fault:?}, readable {readable}: {} slots, first after {:.1} s, end {:.1} s",
                history.faulted,
                first_after.as_secs_f64(),
                history.elapsed.as_secs_f64(),
            );
            assert!(
                history
                    .outcomes
                    .values()
                    .all(|&outcome| outcome == Outcome::Cancelled),
                "{fault:?}: an outage costs time, not rows"
            );
            // If the service is silent, all of a lane's concurrent calls hang before the run can notice.
            let most = if matches!(fault, Fault::Silent(_)) {
                40
            } else {
                30
            };
            let slots = history.faulted;
            assert!(slots <= most, "{fault:?}: {slots}");
            assert_eq!(history.throttled, 0);
            // At full speed, the first minute after the outage uses most of a minute's quota.
            let soon = after
                .iter()
                .filter(|&&&at| at < down.end + Duration::from_secs(60))
                .count();
            assert!(
                soon >= 50,
                "{fault:?}: only {soon} in the first minute after"
            );
        }
    }
}

#[test]
fn rows_that_trickle_in_are_sent_once_each_and_as_they_come() {
    for micros in [1, 700, 50_000] {
        let mut world = Simulation::of(600);
        world.windows = Windows::none();
        world.pace = None;
        world.trickle(Duration::from_micros(micros));
        let read_by = world.row_every * 600;
        let history = world.run();
        assert_eq!(history.arrivals.len(), 600, "one cancel a row");
        assert_eq!(history.outcomes.len(), 600);
        assert!(history.elapsed <= read_by + Duration::from_millis(20));
    }
}

#[test]
fn without_windows_nothing_waits() {
    let mut world = Simulation::of(2_000);
    world.windows = Windows::none();
    world.pace = None;
    world.latency = always(Duration::from_millis(160));
    let history = world.run();
    let best = Duration::from_millis(160) * (2_000 / 16);
    assert!(
        history.elapsed <= best + Duration::from_millis(20),
        "{:?}",
        history.elapsed
    );
}
