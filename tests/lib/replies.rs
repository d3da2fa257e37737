//! Whatever the service answers, a run comes to its end, waits as it is told or stops for a reason that it names, and says
//! of no row what no record said: whole runs in virtual time, against a service that answers anything.
//!

mod saying;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use mde_cancel::engine::core::StopReason;
use mde_cancel::engine::{Precheck, SkipRules};
use mde_cancel::model::{ActionId, CancelReply, Outcome, ReadReply, ReplyKind};
use mde_cancel::quota::Windows;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::api::{any_answer, replies_to};
use crate::support::{History, Simulation, always, id_of, proptest_config};
use saying::{Saying, any_saying};

/// One run and all that is said to it.
#[derive(Clone, Debug)]
struct Conversation {
    seed: u64,
    rows: u32,
    sayings: Vec<Saying>,
    /// Of a hundred cancels, and of a hundred reads, so many are answered with one of these.
    odd: (u32, u32),
    /// A few rows alone are answered oddly, where this is set.
    few: bool,
    triage: Precheck,
    verify: bool,
    small_windows: bool,
    latency: u64,
}

fn any_conversation(saying: impl Strategy<Value = Saying>) -> impl Strategy<Value = Conversation> {
    let share = || prop_oneof![Just(0), Just(100), 0..=100_u32];
    let triage = prop_oneof![Just(Precheck::Skip), Just(Precheck::ReadFirst)];
    (
        (any::<u64>(), 1..=12_u32, vec(saying, 1..=5)),
        (share(), share()),
        (any::<bool>(), triage, any::<bool>()),
        (
            any::<bool>(),
            prop_oneof![Just(0), Just(100), 0..40_000_u64],
        ),
    )
        .prop_map(
            |((seed, rows, sayings), odd, (few, triage, verify), (small_windows, latency))| {
                Conversation {
                    seed,
                    rows,
                    sayings,
                    odd,
                    few,
                    triage,
                    verify,
                    small_windows,
                    latency,
                }
            },
        )
}

/// What was said of each action: the statuses of its records, and whether any answer did without it.
#[derive(Debug, Default)]
struct Said {
    statuses: BTreeSet<String>,
    missing: bool,
    accepted: bool,
}

type Everything = Rc<RefCell<BTreeMap<ActionId, Said>>>;

impl Conversation {
    /// Returns what is said now, where it is not the usual.
    fn draw(&self, dice: &mut SmallRng, percent: u32, id: ActionId) -> Option<Saying> {
        let is_meant = !self.few || id.as_bytes()[15].is_multiple_of(3);
        let is_odd = is_meant && dice.random_range(0..100) < percent;
        is_odd.then(|| self.sayings[dice.random_range(0..self.sayings.len())].clone())
    }

    fn world(&self, said: &Everything) -> Simulation {
        let mut world = Simulation::of(self.rows);
        if self.small_windows {
            world.windows = Windows::new(vec!["3/10s".parse().unwrap(), "9/1m".parse().unwrap()]);
        }
        world.rules = SkipRules {
            precheck: self.triage,
            ..SkipRules::default()
        };
        world.until = Duration::from_secs(12 * 3600);
        world.verify_for = self.verify.then_some(Duration::from_secs(120));
        let latency = Duration::from_millis(self.latency);
        world.latency = always(latency);
        world.read_latency = always(latency);
        let mut dice = SmallRng::seed_from_u64(self.seed);
        let (talk, all) = (self.clone(), Rc::clone(said));
        world.cancel_answer = Box::new(move |id, _| {
            let mut all = all.borrow_mut();
            let heard = all.entry(id).or_default();
            let Some(saying) = talk.draw(&mut dice, talk.odd.0, id) else {
                // The usual service cancels it.
                heard.statuses.insert("Cancelled".to_owned());
                return None;
            };
            let reply = saying.to_cancel(id);
            heard.hear_cancel(&reply);
            Some(reply)
        });
        let mut dice = SmallRng::seed_from_u64(self.seed ^ 1);
        let (talk, all) = (self.clone(), Rc::clone(said));
        world.read_answer = Box::new(move |ids, _| {
            let mut all = all.borrow_mut();
            let saying = talk.draw(&mut dice, talk.odd.1, ids[0])?;
            let reply = saying.to_read(ids, &mut dice);
            for &id in ids {
                all.entry(id).or_default().hear_read(id, &reply);
            }
            Some(reply)
        });
        world
    }
}

impl Said {
    fn hear_cancel(&mut self, reply: &CancelReply) {
        match &reply.kind {
            ReplyKind::Answer(record) => {
                self.accepted = true;
                let status = record.as_ref().and_then(|record| record.status.as_ref());
                self.statuses.extend(status.map(ToString::to_string));
            }
            ReplyKind::NotFound => self.missing = true,
            _ => {}
        }
    }

    fn hear_read(&mut self, id: ActionId, reply: &ReadReply) {
        match &reply.kind {
            ReplyKind::Answer(page) => {
                let mut own = page
                    .records
                    .iter()
                    .filter(|record| record.id == id)
                    .peekable();
                self.missing |= own.peek().is_none();
                let statuses = own.filter_map(|record| record.status.as_ref());
                self.statuses.extend(statuses.map(ToString::to_string));
            }
            ReplyKind::NotFound => self.missing = true,
            _ => {}
        }
    }

    /// Returns whether something that was said bears this last word out.
    fn bears_out(&self, outcome: Outcome) -> bool {
        let said = |status: &str| self.statuses.contains(status);
        match outcome {
            Outcome::Cancelled | Outcome::AlreadyCancelled => said("Cancelled"),
            Outcome::AlreadyFinal | Outcome::TooLate => {
                said("Succeeded") || said("Failed") || said("TimeOut")
            }
            Outcome::NotFound => self.missing,
            Outcome::Accepted => self.accepted || said("Cancelled"),
            Outcome::Failed | Outcome::Unknown | Outcome::Forbidden | Outcome::Skipped => true,
            Outcome::Released
            | Outcome::AlreadyReleased
            | Outcome::Invalid
            | Outcome::Duplicate
            | Outcome::NotAttempted => false,
        }
    }
}

/// Plays a conversation and says what is wrong with its end.
fn play(talk: &Conversation) -> (History, Vec<String>) {
    let said: Everything = Rc::default();
    let history = talk.world(&said).run();
    let said = said.borrow();
    let mut wrong = Vec::new();
    // Who is told 429 again and again waits for as long as it takes, and makes few calls meanwhile.
    let waits = history.tally.throttled > 0 && history.posts.len() + history.reads.len() < 6_000;
    if !history.finished && !waits {
        wrong.push(format!("no end after {:?}", history.elapsed));
    }
    if history.finished && history.stop.is_none() && history.outcomes.len() != talk.rows as usize {
        wrong.push(format!("{} rows ended", history.outcomes.len()));
    }
    let named = history.stop.as_ref().is_none_or(|stop| match stop {
        StopReason::SignIn(what)
        | StopReason::ReadingForbidden(what)
        | StopReason::Unreachable(what)
        | StopReason::NoSuchAddress(what)
        | StopReason::AllForbidden(what)
        | StopReason::LeftForLater(what)
        | StopReason::GaveUp(what)
        | StopReason::TooManyFailures(what)
        | StopReason::SameRefusal(what) => !what.is_empty(),
        StopReason::AllMissing => true,
        StopReason::Asked(_) => false,
    });
    if !named {
        wrong.push(format!("stopped without a word: {:?}", history.stop));
    }
    for (row, outcome) in &history.outcomes {
        let heard = said.get(&id_of(*row));
        let is_true = heard.map_or_else(
            || matches!(outcome, Outcome::Skipped | Outcome::Forbidden),
            |heard| heard.bears_out(*outcome),
        );
        if !is_true {
            wrong.push(format!("row {row} is {outcome}, and heard {heard:?}"));
        }
    }
    (history, wrong)
}

/// Plays conversations, and fails with the shortest one that ends wrongly.
fn all_go_well(runner: &mut TestRunner, talks: &impl Strategy<Value = Conversation>) {
    let played = runner.run(talks, |talk| {
        let (_, wrong) = play(&talk);
        proptest::prop_assert_eq!(wrong, Vec::<String>::new());
        Ok(())
    });
    if let Err(failed) = played {
        panic!("{failed}");
    }
}

#[test]
fn whatever_is_answered_a_run_ends_and_says_nothing_that_no_record_said() {
    all_go_well(
        &mut TestRunner::new(proptest_config(1_500)),
        &any_conversation(any_saying()),
    );
}

#[test]
fn redirects_and_garbled_answers_to_nearly_all_calls_end_a_run_truly() {
    let saying = |kind| Saying {
        kind,
        http_status: None,
        error: None,
    };
    let (_, wrong) = play(&Conversation {
        seed: 13_465_256_128_378_738_204,
        rows: 4,
        sayings: vec![saying(ReplyKind::Redirected), saying(ReplyKind::Garbled)],
        odd: (96, 8),
        few: false,
        triage: Precheck::ReadFirst,
        verify: false,
        small_windows: false,
        latency: 5001,
    });
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn what_the_client_makes_of_hostile_bytes_ends_a_run_as_truly() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(proptest_config(150));
    let mut sayings = Vec::new();
    for _ in 0..60 {
        let bytes = any_answer().new_tree(&mut runner).unwrap().current();
        let (reply, read) = runtime.block_on(replies_to(&bytes));
        sayings.push(Saying {
            kind: reply.kind,
            http_status: reply.http_status,
            error: reply.error,
        });
        // What a read makes of them is said to cancels, too, for the two differ in little.
        if let ReplyKind::Answer(page) = read.kind {
            sayings.push(Saying {
                kind: ReplyKind::Answer(page.records.into_iter().next()),
                http_status: read.http_status,
                error: read.error,
            });
        }
    }
    all_go_well(&mut runner, &any_conversation(select(sayings)));
}

#[test]
fn the_conversations_are_as_odd_as_they_are_meant_to_be() {
    let mut runner = TestRunner::deterministic();
    let mut outcomes = BTreeSet::new();
    let mut stops = BTreeSet::new();
    for _ in 0..600 {
        let strategy = any_conversation(any_saying());
        let talk = strategy.new_tree(&mut runner).unwrap().current();
        let (history, _) = play(&talk);
        outcomes.extend(history.outcomes.values().copied());
        let stop = history.stop.map(|stop| format!("{stop:?}"));
        stops.extend(stop.map(|stop| stop.split('(').next().unwrap().to_owned()));
    }
    // Those come to rows that are never sent, or to another operation.
    let unsent = [
        Outcome::Invalid,
        Outcome::Duplicate,
        Outcome::NotAttempted,
        Outcome::Released,
        Outcome::AlreadyReleased,
    ];
    for outcome in Outcome::ALL {
        if unsent.contains(&outcome) {
            continue;
        }
        assert!(outcomes.contains(&outcome), "{outcome}: {outcomes:?}");
    }
    assert!(stops.len() >= 5, "{stops:?}");
}
