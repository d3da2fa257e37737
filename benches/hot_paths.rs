//! What every call pays for: the quota rule on full windows, and the forecast that a preview shows.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that meets the unexpected should stop there"
)]

use std::time::Duration;

use divan::Bencher;
use divan::black_box;

use mde_cancel::domain::Uptime;
use mde_cancel::quota::Calls;
use mde_cancel::quota::Decision;
use mde_cancel::quota::Windows;
use mde_cancel::quota::decide;
use mde_cancel::quota::forecast;
use mde_cancel::quota::milestones;

/// How many calls the documented hour holds.
const HOUR: i64 = 1500;

fn main() {
    divan::main();
}

fn at(millis: i64) -> Uptime {
    Uptime::from_nanos(millis * 1_000_000)
}

/// A used-up hour: 1500 calls, one every two seconds.
fn full_hour() -> Calls {
    let mut calls = Calls::new();
    (0..HOUR).for_each(|call| calls.record_end(at(2000 * call)));
    calls
}

#[divan::bench]
fn decide_on_a_full_hour(bencher: Bencher<'_, '_>) {
    let calls = full_hour();
    let windows = Windows::documented();
    let now = at(2000 * HOUR);
    assert_ne!(decide(now, &windows, &calls), Decision::Take);
    bencher.bench_local(|| decide(black_box(now), &windows, &calls));
}

#[divan::bench]
fn send_and_end_on_a_full_hour(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(full_hour).bench_local_refs(|calls| {
        calls.send();
        calls.end(black_box(at(2000 * HOUR)));
    });
}

#[divan::bench]
fn end_amid_the_others(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(full_hour)
        .bench_local_refs(|calls| calls.record_end(black_box(at(1000 * HOUR))));
}

#[divan::bench]
fn prune_half_an_hour(bencher: Bencher<'_, '_>) {
    let hold = Windows::documented().longest_hold();
    let now = at(1000 * HOUR).after(hold);
    bencher
        .with_inputs(full_hour)
        .bench_local_refs(|calls| calls.prune(black_box(now), hold));
}

#[divan::bench(args = [10_000, 100_000])]
fn forecast_from_a_full_hour(bencher: Bencher<'_, '_>, remaining: u64) {
    let calls = full_hour();
    let windows = Windows::documented();
    let now = at(2000 * HOUR);
    let round_trip = Duration::from_millis(100);
    bencher.bench_local(|| forecast(now, &windows, &calls, black_box(remaining), round_trip));
}

#[divan::bench(args = [10_000])]
fn milestones_from_empty(bencher: Bencher<'_, '_>, remaining: u64) {
    let calls = Calls::new();
    let windows = Windows::documented();
    let round_trip = Duration::from_millis(100);
    bencher.bench_local(|| {
        let found = milestones(at(0), &windows, &calls, black_box(remaining), round_trip);
        found.last().unwrap().at
    });
}
