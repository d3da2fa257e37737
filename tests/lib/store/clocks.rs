//! The real file while clocks are set, machines reboot and processes die: no window is exceeded by the service's own
//! time, and nobody is locked out for longer than the rule allows.
//!
//! Left out, because the design names it as a limit: a machine that reboots *and* whose clock is set forward.

use std::num::NonZeroU32;

use jiff::SignedDuration;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::TestRunner;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::support::most_in_any;

/// How late a call may arrive after its process died.
const GRACE: Duration = Duration::from_secs(10);

/// What happens after some calls.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// The wall clock is set by this many seconds.
    Step(i64),
    /// The process dies with calls in flight, and another starts this many milliseconds later.
    Death(u64),
    /// Like `Death`, for the machine; its clock may have lost this many seconds.
    Reboot(u64, i64),
}

#[derive(Clone, Debug)]
struct Story {
    seed: u64,
    windows: Vec<(u32, u64)>,
    turns: Vec<(u32, Turn)>,
}

fn any_story() -> impl Strategy<Value = Story> {
    let seconds = || {
        prop_oneof![
            Just(0),
            -5..5_i64,
            -100_000..100_000_i64,
            Just(-900_000_000)
        ]
    };
    let down = || prop_oneof![0..2_000_u64, 0..100_000_u64];
    let turn = prop_oneof![
        2 => seconds().prop_map(Turn::Step),
        2 => down().prop_map(Turn::Death),
        1 => (down(), seconds()).prop_map(|(down, lost)| Turn::Reboot(down, lost.abs())),
    ];
    let window = (1..=5_u32, 1..=40_u64);
    (
        any::<u64>(),
        vec(window, 1..=2),
        vec((1..=6_u32, turn), 1..=7),
    )
        .prop_map(|(seed, windows, turns)| Story {
            seed,
            windows,
            turns,
        })
}

/// A machine; times are by the service's clock.
struct Machine {
    now: Duration,
    booted: Duration,
    boots: u32,
    /// How many seconds its wall clock is ahead, and the least that it ever was.
    ahead: i64,
    least: i64,
    /// How late the file expects calls of the dead; [`GRACE`] if it is right.
    grace: Duration,
    dice: SmallRng,
    /// When each call was sent and is answered.
    under_way: Vec<(Duration, Duration, CallId)>,
    arrivals: Vec<Duration>,
    longest: Duration,
}

impl Machine {
    fn moment(&self) -> Moment {
        let wall = Timestamp::from_second(1_770_000_000 + self.ahead).unwrap();
        let since = SignedDuration::try_from(self.now).unwrap();
        Moment {
            uptime: Uptime::from_nanos(0).after(self.now.saturating_sub(self.booted)),
            wall: wall.checked_add(since).unwrap(),
        }
    }

    fn open(&self, folder: &Path) -> Store {
        let options = StoreOptions {
            grace: self.grace,
            ..StoreOptions::default()
        };
        let process = process(&format!("boot {}", self.boots));
        Store::open_with(folder, process, self.moment(), options).unwrap()
    }

    /// Lets answers arrive until `until`.
    fn pass(&mut self, store: &Store, until: Duration) {
        self.under_way
            .sort_unstable_by_key(|(_, answered, _)| *answered);
        while let Some(&(sent, answered, call)) = self.under_way.first() {
            if answered > until {
                break;
            }
            self.under_way.remove(0);
            self.now = self.now.max(answered);
            self.arrive(sent, answered);
            block_on(store.write(vec![ended(call, self.moment())])).unwrap();
        }
        self.now = until;
    }

    fn arrive(&mut self, from: Duration, to: Duration) {
        let part = self.dice.random_range(0.0..=1.0);
        self.arrivals
            .push(from + to.saturating_sub(from).mul_f64(part));
    }

    fn send(&mut self, store: &Store, scope: ScopeKey, windows: &Arc<Windows>) {
        for _ in 0..200 {
            match take(store, read_take(scope, windows, self.moment())) {
                SlotAnswer::Go(call) => {
                    let latency = Duration::from_millis(self.dice.random_range(0..3_000));
                    self.under_way.push((self.now, self.now + latency, call));
                    return;
                }
                SlotAnswer::NotBefore(until) => {
                    let wait = until.since(self.moment().uptime);
                    assert!(!wait.is_zero(), "asked again at once");
                    assert!(wait <= self.longest, "locked out for {wait:?}");
                    let answer = self
                        .under_way
                        .iter()
                        .map(|(_, answered, _)| *answered)
                        .min();
                    let until = self.now + wait;
                    let next = answer.map_or(until, |answer| answer.min(until));
                    self.pass(store, next);
                }
                SlotAnswer::CoolingDown(_) | SlotAnswer::InProgress(_) => panic!("nobody said so"),
            }
        }
        panic!("the call never leaves");
    }

    /// All calls in flight may still arrive within the grace.
    fn die(&mut self, down: u64) {
        for (sent, _, _) in std::mem::take(&mut self.under_way) {
            self.arrive(sent, self.now + GRACE);
        }
        self.now += Duration::from_millis(down);
    }
}

/// Returns which windows were exceeded, and how many calls were made.
fn play(tale: &Story, grace: Duration) -> (Vec<String>, usize) {
    let windows: Vec<_> = tale
        .windows
        .iter()
        .map(|&(limit, seconds)| Window {
            limit: NonZeroU32::new(limit).unwrap(),
            period: Duration::from_secs(seconds),
        })
        .collect();
    let windows = Arc::new(Windows::new(windows));
    let mut machine = Machine {
        now: Duration::ZERO,
        booted: Duration::ZERO,
        boots: 0,
        ahead: 0,
        least: 0,
        grace,
        dice: SmallRng::seed_from_u64(tale.seed),
        under_way: Vec::new(),
        arrivals: Vec::new(),
        longest: windows.longest_hold() + GRACE,
    };
    let folder = folder_in_memory();
    let mut store = machine.open(folder.path());
    let mut key = scope_at(&store, machine.moment()).unwrap();
    for &(calls, turn) in &tale.turns {
        (0..calls).for_each(|_| machine.send(&store, key, &windows));
        match turn {
            Turn::Step(seconds) => {
                // The limit that the design names, see above.
                let is_limit = machine.boots > 0 && seconds > 0;
                machine.ahead += if is_limit { 0 } else { seconds };
                machine.least = machine.least.min(machine.ahead);
                continue;
            }
            Turn::Death(down) => {
                drop(store);
                machine.die(down);
            }
            Turn::Reboot(down, lost) => {
                drop(store);
                machine.die(down);
                machine.boots += 1;
                machine.booted = machine.now;
                // Never further ahead than at any of its stamps.
                machine.least -= lost;
                machine.ahead = machine.least;
            }
        }
        store = machine.open(folder.path());
        key = scope_at(&store, machine.moment()).unwrap();
    }
    (0..3).for_each(|_| machine.send(&store, key, &windows));
    let end = machine.now + Duration::from_secs(60);
    machine.pass(&store, end);
    machine.arrivals.sort_unstable();
    let exceeded = windows.as_slice().iter().filter_map(|window| {
        let most = most_in_any(window.period, &machine.arrivals);
        (most > window.limit.get() as usize).then(|| format!("{most} calls in {window}"))
    });
    (exceeded.collect(), machine.arrivals.len())
}

#[test]
fn clocks_that_are_set_and_machines_that_start_anew_let_no_call_too_many_through() {
    // Takes a few seconds, because each call is a commit.
    let config = crate::support::proptest_config(24);
    let made = std::cell::Cell::new(0);
    let played = TestRunner::new(config).run(&any_story(), |story| {
        let (exceeded, count) = play(&story, GRACE);
        made.set(made.get() + count);
        proptest::prop_assert_eq!(exceeded, Vec::<String>::new());
        Ok(())
    });
    if let Err(failed) = played {
        panic!("{failed}");
    }
    assert!(made.get() > 200, "{} calls prove little", made.get());
}

#[test]
fn a_file_that_gives_the_dead_no_grace_is_caught() {
    let exceeded = (0..4).flat_map(|seed| {
        let story = Story {
            seed,
            windows: vec![(2, 5)],
            turns: vec![(2, Turn::Death(100)); 4],
        };
        play(&story, Duration::ZERO).0
    });
    assert!(exceeded.count() > 0);
}
