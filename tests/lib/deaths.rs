//! Thousands of generated runs whose processes die between any two effects, whose calls fail and whose wall clocks are
//! set: no window is exceeded, no row is lost or settled twice, and nothing leaves before it is journaled.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mde_cancel::engine::Precheck;
use mde_cancel::model::{ActionStatus, Operation, Outcome, RetryAfter, RowNumber};
use mde_cancel::quota::{Pace, Window, Windows};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::support::{
    End, Fault, History, Latency, OtherAction, ProcessEnd, Simulation, WALL_START, machine_of,
    proptest_config,
};

#[derive(Clone, Debug)]
struct Schedule {
    operation: Operation,
    seed: u64,
    rows: u32,
    windows: Windows,
    pace: Option<Pace>,
    concurrency: usize,
    readable: bool,
    precheck: Precheck,
    verify_for: Option<Duration>,
    /// Percentage of calls that fail.
    faults: u32,
    lanes: u16,
    most_in_flight: usize,
    ends: Vec<ProcessEnd>,
    wall_steps: Vec<(Duration, i64)>,
}

impl Schedule {
    fn simulation(&self) -> Simulation {
        let rng = |nth| SmallRng::seed_from_u64(self.seed.wrapping_mul(8).wrapping_add(nth));
        let mut sim = match self.operation {
            Operation::Cancel => Simulation::of(self.rows),
            Operation::Release => self.releases(&mut rng(7)),
        };
        sim.rows_at_once = rng(0).random_range(1..=8);
        sim.lanes = self.lanes;
        sim.most_in_flight = self.most_in_flight;
        sim.windows = self.windows.clone();
        sim.read_windows = self.windows.clone();
        sim.pace = self.pace;
        sim.concurrency = self.concurrency;
        sim.refuses_final = rng(1).random();
        if self.operation == Operation::Cancel {
            sim.readable = self.readable;
            sim.rules.precheck = self.precheck;
            sim.verify_for = self.verify_for;
        }
        sim.grace = Duration::from_secs(20);
        sim.seed = self.seed;
        sim.latency = any_latency(rng(2));
        sim.read_latency = any_latency(rng(3));
        let mut pauses = rng(4);
        sim.journal_pause = Box::new(move || Duration::from_micros(pauses.random_range(0..20_000)));
        let (mut faults, percent) = (rng(5), self.faults);
        sim.fault = Box::new(move |_, _, now| {
            (faults.random_range(0..100) < percent).then(|| any_fault(&mut faults, now))
        });
        let states = any_states(&mut rng(6), self.rows);
        sim.state_of = Box::new(move |row, _| states[row.0 as usize - 1].clone());
        sim.ends.clone_from(&self.ends);
        sim.resumes = true;
        sim.wall_steps.clone_from(&self.wall_steps);
        sim
    }

    /// Other people release some of the machines or isolate them again, and some are excluded.
    fn releases(&self, rng: &mut SmallRng) -> Simulation {
        let mut sim = Simulation::releases(self.rows);
        let share = rng.random_range(0..80);
        let mut others = BTreeMap::new();
        for row in (1..=self.rows).map(RowNumber) {
            let second = rng.random_range(0..400);
            let other = match rng.random_range(0..6) {
                _ if rng.random_range(0..100) >= share => continue,
                0 => OtherAction::Isolates(-7200),
                1 => OtherAction::Isolates(-60),
                2 => OtherAction::Releases(-60),
                3 => OtherAction::Isolates(second),
                4 => OtherAction::Releases(second),
                _ => {
                    sim.rules.exclude.add(&machine_of(row));
                    continue;
                }
            };
            others.insert(row, other);
        }
        sim.others = Box::new(move |row| others.get(&row).copied());
        sim
    }
}

fn any_latency(mut rng: SmallRng) -> Latency {
    Box::new(move |_| {
        let millis = match rng.random_range(0..10) {
            0 => rng.random_range(1_000..25_000),
            _ => rng.random_range(5..800),
        };
        (Duration::from_millis(millis), rng.random_range(0.0..=1.0))
    })
}

fn any_fault(rng: &mut SmallRng, now: Duration) -> Fault {
    let done = rng.random();
    match rng.random_range(0..20) {
        0..3 => Fault::Unavailable,
        3..6 => Fault::ServerError(done),
        6..10 => Fault::Reset(done),
        10..12 => Fault::InvalidBody,
        12 => Fault::Redirected,
        13 => Fault::Throttled(RetryAfter::Wait(Duration::from_secs(8))),
        14 => {
            let wall = Timestamp::from_second(WALL_START + 8).unwrap();
            let now = SignedDuration::try_from(now).unwrap();
            Fault::Throttled(RetryAfter::At(wall.checked_add(now).unwrap()))
        }
        15 => Fault::Unauthorized,
        16..18 => Fault::Silent(done),
        _ => Fault::NoName,
    }
}

/// Most actions are open; some are final or cancelled by others, and a few ids are unknown.
fn any_states(rng: &mut SmallRng, rows: u32) -> Vec<Option<ActionStatus>> {
    let mut any_state = || match rng.random_range(0..20) {
        0 => None,
        1 => Some(ActionStatus::Succeeded),
        2 => Some(ActionStatus::Failed),
        3 => Some(ActionStatus::Cancelled),
        4 | 5 => Some(ActionStatus::InProgress),
        _ => Some(ActionStatus::Pending),
    };
    (0..rows).map(|_| any_state()).collect()
}

/// One or two windows that a few dozen calls fill.
fn any_windows() -> impl Strategy<Value = Windows> {
    let window = (1..=12_u32, 1..=90_u64).prop_map(|(limit, seconds)| window(limit, seconds));
    vec(window, 1..=2).prop_map(Windows::new)
}

fn window(limit: u32, seconds: u64) -> Window {
    Window {
        limit: NonZeroU32::new(limit).unwrap(),
        period: Duration::from_secs(seconds),
    }
}

fn any_end() -> impl Strategy<Value = ProcessEnd> {
    let end = prop_oneof![5 => Just(End::Death), 1 => Just(End::Stop)];
    let down = prop_oneof![3 => 0..200_u64, 1 => 0..90_000_u64];
    let effects = prop_oneof![2 => 0..12_u32, 3 => 0..80_u32, 1 => 0..400_u32];
    (effects, end, down).prop_map(|(effects, end, down)| ProcessEnd {
        effects,
        end,
        down: Duration::from_millis(down),
    })
}

/// Clocks are set by seconds, as by a time service, or by hours and years, as by an operator or an empty battery. Never
/// to before 1970, when others cancelled some actions: the core compares two clocks to tell whose cancel it was.
fn any_step() -> impl Strategy<Value = (Duration, i64)> {
    let seconds = prop_oneof![-3..3_i64, -20_000..20_000_i64, Just(-500_000_000)];
    (0..900_000_u64, seconds).prop_map(|(at, seconds)| (Duration::from_millis(at), seconds))
}

fn any_schedule(operation: Operation) -> impl Strategy<Value = Schedule> {
    let pace = prop_oneof![Just(None), Just(Some("50/s")), Just(Some("3/s"))];
    let pace = pace.prop_map(|text| text.and_then(|text| Pace::parse(text).unwrap()));
    let faults = prop_oneof![Just(0), 0..60_u32];
    (
        (any::<u64>(), 1..=40_u32, any_windows()),
        (pace, 1..=8_usize, (0..3, any::<bool>()), faults),
        (prop_oneof![Just(1), 1..=3_u16], 1..=12_usize),
        (vec(any_end(), 0..=8), vec(any_step(), 0..=3)),
    )
        .prop_map(
            move |(
                (seed, rows, windows),
                (pace, concurrency, (reading, verify), faults),
                (lanes, most_in_flight),
                (ends, wall_steps),
            )| {
                Schedule {
                    operation,
                    seed,
                    rows,
                    windows,
                    pace,
                    concurrency,
                    readable: reading > 0,
                    // Without permission to read, a precheck ends the run.
                    precheck: if reading == 2 {
                        Precheck::ReadFirst
                    } else {
                        Precheck::Skip
                    },
                    verify_for: verify.then_some(Duration::from_secs(60)),
                    faults,
                    lanes,
                    most_in_flight,
                    ends,
                    wall_steps,
                }
            },
        )
}

/// Plays `cases` schedules; the simulator judges each.
fn play_all(operation: Operation, cases: u32) {
    let schedules = any_schedule(operation);
    let played = TestRunner::new(proptest_config(cases)).run(&schedules, |schedule| {
        let history = schedule.simulation().run_with_any_quota();
        prop_assert_eq!(history.throttled, 0);
        Ok(())
    });
    if let Err(failed) = played {
        panic!("{failed}");
    }
}

#[test]
fn processes_that_die_anywhere_lose_no_row_and_break_no_quota() {
    play_all(Operation::Cancel, 800);
}

#[test]
fn processes_that_die_anywhere_release_no_machine_twice_or_against_somebodys_will() {
    play_all(Operation::Release, 300);
}

/// Cases that once exceeded a window, with ten seeds each.
#[test]
fn a_tight_window_is_kept_to_while_calls_go_wrong_and_processes_die() {
    let death = |effects, millis| ProcessEnd {
        effects,
        end: End::Death,
        down: Duration::from_millis(millis),
    };
    let one_after_the_other = [(2, 0), (62, 0), (8, 0), (44, 0), (7, 0), (66, 34_206)];
    let one_after_the_other = one_after_the_other.map(|(effects, down)| death(effects, down));
    for (rows, windows, pace, concurrency, faults, ends) in [
        (29, window(1, 36), "3/s", 2, 12, vec![]),
        (21, window(5, 26), "50/s", 3, 58, vec![death(78, 0)]),
        (26, window(2, 41), "none", 6, 58, one_after_the_other.into()),
        (38, window(5, 59), "none", 8, 46, vec![]),
    ] {
        for seed in 0..10 {
            let schedule = Schedule {
                operation: Operation::Cancel,
                seed,
                rows,
                windows: Windows::new(vec![windows]),
                pace: Pace::parse(pace).unwrap(),
                concurrency,
                readable: true,
                precheck: Precheck::ReadFirst,
                verify_for: None,
                faults,
                lanes: 1,
                most_in_flight: usize::MAX,
                ends: ends.clone(),
                wall_steps: Vec::new(),
            };
            schedule.simulation().run();
        }
    }
}

/// Plays the same few hundred schedules each time.
fn play_some(
    operation: Operation,
    change: impl Fn(&mut Simulation),
) -> impl Iterator<Item = History> {
    let mut runner = TestRunner::deterministic();
    (0..300).map(move |_| {
        let schedules = any_schedule(operation);
        let schedule = schedules.new_tree(&mut runner).unwrap().current();
        let mut sim = schedule.simulation();
        change(&mut sim);
        sim.run_with_any_quota()
    })
}

#[test]
fn the_schedules_are_as_bad_as_they_are_meant_to_be() {
    let histories: Vec<_> = play_some(Operation::Cancel, |_| {}).collect();
    let sum = |count: fn(&History) -> usize| histories.iter().map(count).sum::<usize>();
    assert_eq!(sum(|history| history.throttled), 0);
    let processes = sum(|history| history.processes);
    assert!(processes > 600, "{processes}");
    let (cancels, reads) = (
        sum(|history| history.arrivals.len()),
        sum(|history| history.reads.len()),
    );
    assert!(cancels > 3_000 && reads > 300, "{cancels} {reads}");
    let repeated = sum(|history| history.repeated);
    assert!(repeated > 20, "{repeated}");
}

#[test]
fn the_schedules_of_releases_are_as_bad_as_they_are_meant_to_be() {
    let histories: Vec<_> = play_some(Operation::Release, |_| {}).take(150).collect();
    let sum = |count: fn(&History) -> usize| histories.iter().map(count).sum::<usize>();
    let counts = [
        Outcome::Released,
        Outcome::AlreadyReleased,
        Outcome::Skipped,
    ]
    .map(|outcome| {
        let counts = histories.iter().map(History::counts);
        counts
            .filter_map(|counts| counts.get(&outcome).copied())
            .sum::<usize>()
    });
    let again = sum(|history| history.posts.len()) - counts[0];
    let processes = sum(|history| history.processes);
    let repeated = sum(|history| history.repeated);
    let seen = (counts, again, processes);
    assert!(counts.iter().all(|count| *count > 100), "{seen:?}");
    assert!(again > 100 && processes > 300, "{seen:?}");
    // An answer that died with its process is looked for, and the release isn't sent again.
    assert_eq!(repeated, 0);
}

#[test]
fn a_ledger_that_gives_the_dead_no_grace_is_caught() {
    let mut histories = play_some(Operation::Cancel, |sim| {
        sim.ledger_grace = Some(Duration::ZERO);
    });
    assert!(histories.any(|history| history.throttled > 0));
}
