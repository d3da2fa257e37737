//! Thousands of made-up runs in virtual time, whose processes die between any two effects and whose wall clocks are set: no
//! window is exceeded, no row is lost or settled twice, nothing leaves that was not written down.
//!
//! `PROPTEST_CASES=20000 cargo test deaths` tries more of them.

use std::num::NonZeroU32;
use std::time::Duration;

use mde_cancel::engine::Precheck;
use mde_cancel::quota::{Pace, Window, Windows};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{End, GRACE, Schedule, Seen, play};

/// One or two windows that a few dozen calls fill.
fn any_windows() -> impl Strategy<Value = Windows> {
    let window = (1..=12_u32, 1..=90_u64).prop_map(|(limit, seconds)| Window {
        limit: NonZeroU32::new(limit).unwrap(),
        period: Duration::from_secs(seconds),
    });
    vec(window, 1..=2).prop_map(Windows::new)
}

fn any_end() -> impl Strategy<Value = (u32, End, Duration)> {
    let end = prop_oneof![5 => Just(End::Death), 1 => Just(End::Stop)];
    let down = prop_oneof![3 => 0..200_u64, 1 => 0..90_000_u64];
    let effects = prop_oneof![2 => 0..12_u32, 3 => 0..80_u32, 1 => 0..400_u32];
    (effects, end, down)
        .prop_map(|(effects, end, down)| (effects, end, Duration::from_millis(down)))
}

/// Clocks are set by seconds, as by a time service, or by hours and years, as by an operator or an empty battery; never
/// to before 1970, when others cancelled some actions: whose doing a cancel is, is told by comparing two clocks.
fn any_step() -> impl Strategy<Value = (Duration, i64)> {
    let seconds = prop_oneof![-3..3_i64, -20_000..20_000_i64, Just(-500_000_000)];
    (0..900_000_u64, seconds).prop_map(|(at, seconds)| (Duration::from_millis(at), seconds))
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    let pace = prop_oneof![Just(None), Just(Some("50/s")), Just(Some("3/s"))];
    let pace = pace.prop_map(|text| text.and_then(|text| Pace::parse(text).unwrap()));
    let mishaps = prop_oneof![Just(0), 0..60_u32];
    (
        (any::<u64>(), 1..=40_u32, any_windows()),
        (pace, 1..=8_usize, (0..3, any::<bool>()), mishaps),
        (vec(any_end(), 0..=8), vec(any_step(), 0..=3)),
    )
        .prop_map(
            |(
                (seed, rows, windows),
                (pace, concurrency, (reading, verify), mishaps),
                (ends, steps),
            )| {
                Schedule {
                    seed,
                    rows,
                    windows,
                    pace,
                    concurrency,
                    readable: reading > 0,
                    // Without leave to read, triage is the end of the run.
                    triage: if reading == 2 {
                        Precheck::ReadFirst
                    } else {
                        Precheck::Skip
                    },
                    verify_for: verify.then_some(Duration::from_secs(60)),
                    mishaps,
                    ends,
                    steps,
                    grace_of_ledger: GRACE,
                }
            },
        )
}

#[test]
fn processes_that_die_anywhere_lose_no_row_and_break_no_quota() {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let config = Config {
        // Seconds in a debug build.
        cases: asked.and_then(|cases| cases.parse().ok()).unwrap_or(3_000),
        // So that the seed of a failure is kept, and tried first from then on.
        source_file: Some(file!()),
        ..Config::default()
    };
    let played = TestRunner::new(config).run(&any_schedule(), |schedule| {
        let seen = play(schedule);
        prop_assert_eq!(seen.exceeded, Vec::<String>::new());
        Ok(())
    });
    if let Err(failed) = played {
        panic!("{failed}");
    }
}

/// Plays the same few hundred schedules each time, changed by `change`, and adds up what was seen.
fn play_some(change: impl Fn(&mut Schedule)) -> Seen {
    let mut runner = TestRunner::deterministic();
    let mut sum = Seen::default();
    for _ in 0..300 {
        let mut schedule = any_schedule().new_tree(&mut runner).unwrap().current();
        change(&mut schedule);
        let seen = play(schedule);
        sum.processes += seen.processes;
        sum.cancels += seen.cancels;
        sum.reads += seen.reads;
        sum.repeated += seen.repeated;
        sum.exceeded.extend(seen.exceeded);
    }
    sum
}

#[test]
fn the_schedules_are_as_bad_as_they_are_meant_to_be() {
    let seen = play_some(|_| {});
    assert!(seen.processes > 600, "{seen:?}");
    assert!(seen.cancels > 3_000 && seen.reads > 300, "{seen:?}");
    assert!(seen.repeated > 20, "{seen:?}");
    assert!(seen.exceeded.is_empty(), "{seen:?}");
}

#[test]
fn a_ledger_that_gives_the_dead_no_grace_is_caught() {
    let seen = play_some(|schedule| schedule.grace_of_ledger = Duration::ZERO);
    assert!(!seen.exceeded.is_empty());
}
