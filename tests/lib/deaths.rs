//! Thousands of made-up runs in virtual time, whose processes die between any two effects and whose wall clocks are set: no
//! window is exceeded, no row is lost or settled twice, nothing leaves that was not written down.

use std::num::NonZeroU32;
use std::time::Duration;

use mde_cancel::engine::Precheck;
use mde_cancel::quota::{Pace, Window, Windows};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::support::{End, GRACE, Schedule, Seen, play, proptest_config};

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
    // Seconds in a debug build.
    let config = proptest_config(3_000);
    let played = TestRunner::new(config).run(&any_schedule(), |schedule| {
        let seen = play(schedule);
        prop_assert_eq!(seen.exceeded, Vec::<String>::new());
        Ok(())
    });
    if let Err(failed) = played {
        panic!("{failed}");
    }
}

fn assert_all_is_well(schedule: Schedule) {
    let seen = play(schedule);
    assert_eq!(seen.exceeded, Vec::<String>::new());
}

/// Reads are made first; nothing else is special.
fn schedule(seed: u64, rows: u32, limit: u32, seconds: u64, mishaps: u32) -> Schedule {
    Schedule {
        seed,
        rows,
        windows: Windows::new(vec![Window {
            limit: NonZeroU32::new(limit).unwrap(),
            period: Duration::from_secs(seconds),
        }]),
        pace: None,
        concurrency: 6,
        readable: true,
        triage: Precheck::ReadFirst,
        verify_for: None,
        mishaps,
        ends: Vec::new(),
        steps: Vec::new(),
        grace_of_ledger: GRACE,
    }
}

#[test]
fn one_call_in_36_seconds_is_kept_to_while_calls_go_wrong() {
    assert_all_is_well(Schedule {
        pace: Pace::parse("3/s").unwrap(),
        concurrency: 2,
        ..schedule(7_885_630_604_687_689_246, 29, 1, 36, 12)
    });
}

#[test]
fn a_process_that_dies_with_calls_in_flight_leaves_their_slots_taken() {
    assert_all_is_well(Schedule {
        pace: Pace::parse("50/s").unwrap(),
        concurrency: 3,
        ends: vec![(78, End::Death, Duration::ZERO)],
        ..schedule(2_643_488_651_203_286_543, 21, 5, 26, 58)
    });
}

#[test]
fn six_processes_that_die_one_after_the_other_break_no_window() {
    let ends = [2, 62, 8, 44, 7].map(|effects| (effects, End::Death, Duration::ZERO));
    assert_all_is_well(Schedule {
        ends: [
            &ends[..],
            &[(66, End::Death, Duration::from_millis(34_206))],
        ]
        .concat(),
        ..schedule(13_353_379_213_411_431_202, 26, 2, 41, 58)
    });
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
