//! Whatever the service or the address answers, a run ends, waits as told or stops for a named reason, and reports
//! nothing that no record said. Whole runs in virtual time, against a service that answers anything.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use mde_cancel::engine::core::StopReason;
use mde_cancel::engine::{Precheck, SkipRules};
use mde_cancel::model::Outcome::{Cancelled, NotFound};
use mde_cancel::model::{
    ActionId, ActionStatus, ActionType, CancelReply, MachineAction, Outcome, ReadPage, ReadReply,
    Reply, ReplyKind, RetryAfter, ServiceError, Throttle,
};
use mde_cancel::quota::Windows;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::api::{any_answer, replies_to};
use crate::support::{History, Simulation, always, id_of, proptest_config, reply, row_of, secs};

/// What the service may answer about any action; the id is filled in later.
#[derive(Clone, Debug)]
struct Saying {
    kind: ReplyKind<Option<MachineAction>>,
    http_status: Option<u16>,
    error: Option<ServiceError>,
}

fn any_wait() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..5_u64).prop_map(Duration::from_secs),
        (0..200_000_u64).prop_map(Duration::from_secs),
        Just(Duration::MAX),
        Just(Duration::from_secs(u64::MAX)),
        any::<u64>().prop_map(Duration::from_nanos),
    ]
}

/// Around the start of the simulations in the middle of January 2027, and at the ends of time.
fn any_instant() -> impl Strategy<Value = Timestamp> {
    let near = (-100_000_i64..400_000).prop_map(|seconds| 1_800_000_000 + seconds);
    prop_oneof![
        near.prop_map(|seconds| Timestamp::from_second(seconds).unwrap()),
        select(vec![Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH]),
    ]
}

fn any_retry_after() -> impl Strategy<Value = Option<RetryAfter>> {
    option::of(prop_oneof![
        any_wait().prop_map(RetryAfter::Wait),
        any_instant().prop_map(RetryAfter::At)
    ])
}

fn any_throttle() -> impl Strategy<Value = Throttle> {
    let period = any_wait().prop_filter("a period is longer than nothing", |wait| !wait.is_zero());
    let allowance = (prop_oneof![1..200_u32, 1..=u32::MAX], period);
    (
        any_retry_after(),
        option::of(any_wait()),
        option::of(allowance),
    )
        .prop_map(|(retry_after, body_wait, allowance)| Throttle {
            retry_after,
            body_wait,
            allowance,
        })
}

fn any_record() -> impl Strategy<Value = MachineAction> {
    let status = select(vec![
        "Pending",
        "InProgress",
        "Succeeded",
        "Failed",
        "TimeOut",
        "Cancelled",
        "Cancelled",
        "",
        "\u{1b}[2J",
    ]);
    let types = select(vec![
        "Isolate",
        "Unisolate",
        "LiveResponse",
        "Unknown",
        "odd \u{202e}",
    ]);
    let comment = select(vec!["by the simulation", "by somebody else", ""]);
    (
        option::weighted(0.9, status),
        option::of(types),
        option::of(comment),
        option::of(any_instant()),
        option::of(any_instant()),
        any::<bool>(),
    )
        .prop_map(
            |(status, types, comment, cancelled_at, created_at, command_completed)| MachineAction {
                status: status.map(ActionStatus::parse),
                action_type: types.map(ActionType::parse),
                cancellation_comment: comment.map(str::to_owned),
                cancelled_at,
                created_at,
                command_completed,
                ..MachineAction::bare(ActionId::from_bytes([1; 16]).unwrap())
            },
        )
}

fn any_saying() -> impl Strategy<Value = Saying> {
    let kind = prop_oneof![
        3 => option::of(any_record()).prop_map(ReplyKind::Answer),
        1 => Just(ReplyKind::InvalidBody),
        2 => any_throttle().prop_map(ReplyKind::Throttled),
        1 => Just(ReplyKind::Unauthorized),
        1 => Just(ReplyKind::Forbidden),
        1 => Just(ReplyKind::NotFound),
        1 => Just(ReplyKind::Refused),
        1 => any_retry_after().prop_map(ReplyKind::NotApplied),
        1 => any_retry_after().prop_map(ReplyKind::ServerFault),
        1 => Just(ReplyKind::Redirected),
        1 => Just(ReplyKind::TimedOut),
        1 => Just(ReplyKind::Broken("reset".to_owned())),
        1 => Just(ReplyKind::NotSent("no such host".to_owned())),
        1 => Just(ReplyKind::NoSuchHost("api.contoso.example".to_owned())),
        1 => Just(ReplyKind::NoSuchAddress("https://api.contoso.example/".to_owned())),
    ];
    let word = select(vec!["", "BadRequest", "Forbidden", "429"]);
    let error = (word, word_of_service(), option::of(word_of_service())).prop_map(
        |(code, message, correlation_id)| ServiceError {
            code: code.to_owned(),
            message,
            correlation_id,
        },
    );
    (kind, option::of(100..1000_u16), option::of(error)).prop_map(|(kind, http_status, error)| {
        Saying {
            kind,
            http_status,
            error,
        }
    })
}

fn word_of_service() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[ -~]{0,30}", "\\PC{0,30}"]
}

impl Saying {
    fn to_cancel(&self, id: ActionId) -> CancelReply {
        let kind = match &self.kind {
            ReplyKind::Answer(Some(record)) => ReplyKind::Answer(Some(MachineAction {
                id,
                ..record.clone()
            })),
            other => other.clone(),
        };
        Reply {
            kind,
            http_status: self.http_status,
            error: self.error.clone(),
        }
    }

    /// A list lacks some of the ids, counts one record too many, or says that there is more.
    fn to_read(&self, ids: &[ActionId], dice: &mut SmallRng) -> ReadReply {
        let kind = match &self.kind {
            ReplyKind::Answer(None) => ReplyKind::Answer(ReadPage::from_iter([])),
            ReplyKind::Answer(Some(record)) => {
                let found = ids.iter().filter(|_| dice.random_bool(0.7));
                let records = found.map(|&id| MachineAction {
                    id,
                    ..record.clone()
                });
                let records: Vec<_> = records.collect();
                ReplyKind::Answer(ReadPage {
                    listed: records.len() + dice.random_range(0..=1),
                    records,
                    is_whole: dice.random_bool(0.7),
                })
            }
            other => without_answer(other.clone()),
        };
        Reply {
            kind,
            http_status: self.http_status,
            error: self.error.clone(),
        }
    }
}

/// Turns the reply to a cancel into the same reply to a read.
fn without_answer(kind: ReplyKind<Option<MachineAction>>) -> ReplyKind<ReadPage> {
    match kind {
        ReplyKind::Answer(record) => ReplyKind::Answer(record.into_iter().collect()),
        ReplyKind::InvalidBody => ReplyKind::InvalidBody,
        ReplyKind::Throttled(throttle) => ReplyKind::Throttled(throttle),
        ReplyKind::Unauthorized => ReplyKind::Unauthorized,
        ReplyKind::Forbidden => ReplyKind::Forbidden,
        ReplyKind::NotFound => ReplyKind::NotFound,
        ReplyKind::Refused => ReplyKind::Refused,
        ReplyKind::NotApplied(wait) => ReplyKind::NotApplied(wait),
        ReplyKind::ServerFault(wait) => ReplyKind::ServerFault(wait),
        ReplyKind::Redirected => ReplyKind::Redirected,
        ReplyKind::TimedOut => ReplyKind::TimedOut,
        ReplyKind::Broken(what) => ReplyKind::Broken(what),
        ReplyKind::NotSent(what) => ReplyKind::NotSent(what),
        ReplyKind::NoSuchHost(host) => ReplyKind::NoSuchHost(host),
        ReplyKind::NoSuchAddress(address) => ReplyKind::NoSuchAddress(address),
    }
}

/// One run and all answers to it.
#[derive(Clone, Debug)]
struct Conversation {
    seed: u64,
    rows: u32,
    sayings: Vec<Saying>,
    /// Percentages of cancels and of reads that get one of `sayings`.
    odd: (u32, u32),
    /// Only a few rows get them.
    few: bool,
    precheck: Precheck,
    verify: bool,
    small_windows: bool,
    latency: u64,
}

fn any_conversation(saying: impl Strategy<Value = Saying>) -> impl Strategy<Value = Conversation> {
    let share = || prop_oneof![Just(0), Just(100), 0..=100_u32];
    let precheck = prop_oneof![Just(Precheck::Skip), Just(Precheck::ReadFirst)];
    (
        (any::<u64>(), 1..=12_u32, vec(saying, 1..=5)),
        (share(), share()),
        (any::<bool>(), precheck, any::<bool>()),
        (
            any::<bool>(),
            prop_oneof![Just(0), Just(100), 0..40_000_u64],
        ),
    )
        .prop_map(
            |((seed, rows, sayings), odd, (few, precheck, verify), (small_windows, latency))| {
                Conversation {
                    seed,
                    rows,
                    sayings,
                    odd,
                    few,
                    precheck,
                    verify,
                    small_windows,
                    latency,
                }
            },
        )
}

/// What the service said about one action: the statuses of its records, and whether any answer lacked it.
#[derive(Debug, Default)]
struct Said {
    statuses: BTreeSet<String>,
    missing: bool,
    accepted: bool,
}

type Everything = Rc<RefCell<BTreeMap<ActionId, Said>>>;

impl Conversation {
    /// Returns a scripted answer, or `None` for the usual one.
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
            precheck: self.precheck,
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
                // The usual answer cancels it.
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

    /// Returns whether something said supports this outcome.
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

/// Plays a conversation. Also returns what is wrong with its end.
fn play(talk: &Conversation) -> (History, Vec<String>) {
    let said: Everything = Rc::default();
    let history = talk.world(&said).run();
    let said = said.borrow();
    let mut wrong = Vec::new();
    // A run that keeps getting 429 may wait very long, but makes few calls meanwhile.
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
        &mut TestRunner::new(proptest_config(500)),
        &any_conversation(any_saying()),
    );
}

#[test]
fn a_run_with_mostly_redirects_and_garbled_answers_ends_with_true_outcomes() {
    let saying = |kind| Saying {
        kind,
        http_status: None,
        error: None,
    };
    let (_, wrong) = play(&Conversation {
        seed: 13_465_256_128_378_738_204,
        rows: 4,
        sayings: vec![
            saying(ReplyKind::Redirected),
            saying(ReplyKind::InvalidBody),
        ],
        odd: (96, 8),
        few: false,
        precheck: Precheck::ReadFirst,
        verify: false,
        small_windows: false,
        latency: 5001,
    });
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_run_with_hostile_bytes_ends_with_true_outcomes() {
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
        // Cancels get the answers to reads, too, because the two differ little.
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
    for _ in 0..300 {
        let strategy = any_conversation(any_saying());
        let talk = strategy.new_tree(&mut runner).unwrap().current();
        let (history, _) = play(&talk);
        outcomes.extend(history.outcomes.values().copied());
        let stop = history.stop.map(|stop| format!("{stop:?}"));
        stops.extend(stop.map(|stop| stop.split('(').next().unwrap().to_owned()));
    }
    // These come to rows that are never sent, or to another operation.
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

fn calls(history: &History) -> usize {
    history.posts.len() + history.reads.len()
}

#[test]
fn a_host_that_does_not_exist_stops_the_run_at_once_and_is_named() {
    let host = || "api.contoso.example".to_owned();
    let mut sending = Simulation::slow(100);
    sending.cancel_answer = Box::new(move |_, _| Some(reply(ReplyKind::NoSuchHost(host()), None)));
    let mut reading = Simulation::prechecked(100);
    reading.read_answer = Box::new(move |_, _| Some(reply(ReplyKind::NoSuchHost(host()), None)));
    for history in [sending.run(), reading.run()] {
        let stop = StopReason::Unreachable(format!("the host name {} does not exist", host()));
        assert_eq!(history.stop, Some(stop));
        assert!(history.elapsed < secs(1), "{:?}", history.elapsed);
        assert!(history.outcomes.is_empty());
    }
}

#[test]
fn a_service_that_never_answers_is_given_up_a_minute_after_the_first_call() {
    let kinds: [ReplyKind<ReadPage>; 4] = [
        ReplyKind::TimedOut,
        ReplyKind::Broken("reset".to_owned()),
        ReplyKind::NotSent("refused".to_owned()),
        ReplyKind::Redirected,
    ];
    for kind in kinds {
        let mut world = Simulation::prechecked(100);
        // A call that hangs takes 30 s, a refused one no time.
        world.read_latency = always(secs(if kind == ReplyKind::TimedOut { 30 } else { 0 }));
        let answer = kind.clone();
        world.read_answer = Box::new(move |_, _| Some(reply(answer.clone(), None)));
        let history = world.run();
        let stop = &history.stop;
        assert!(matches!(stop, Some(StopReason::Unreachable(_))), "{stop:?}");
        let lasted = history.elapsed.as_secs();
        assert!((60..=63).contains(&lasted), "{kind:?}: {lasted} s");
    }
}

#[test]
fn what_ends_again_is_waited_out_and_costs_no_row() {
    let address = "https://api.contoso.example/api/machineactions".to_owned();
    for (kind, http_status, from, until) in [
        // The way isn't there yet.
        (ReplyKind::NotSent("refused".to_owned()), None, 0, 35),
        (
            ReplyKind::NoSuchHost("api.contoso.example".to_owned()),
            None,
            1,
            600,
        ),
        // 404s that aren't the service's own, among proper answers.
        (ReplyKind::NoSuchAddress(address), Some(404), 1, 300),
    ] {
        let mut world = Simulation::slow(150);
        let answer = kind.clone();
        world.cancel_answer = Box::new(move |_, now| {
            let is_out = secs(from) <= now && now < secs(until);
            is_out.then(|| reply(answer.clone(), http_status))
        });
        let history = world.run();
        assert_eq!(history.stop, None, "{kind:?}");
        assert_eq!(history.counts(), [(Cancelled, 150)].into(), "{kind:?}");
    }
}

#[test]
fn five_404s_that_are_not_the_services_own_stop_the_run_and_name_the_address() {
    let address = "https://api.contoso.example/wrong/api/machineactions";
    let mut sending = Simulation::slow(100);
    sending.cancel_answer = Box::new(move |_, _| {
        Some(reply(
            ReplyKind::NoSuchAddress(address.to_owned()),
            Some(404),
        ))
    });
    let mut reading = Simulation::prechecked(100);
    reading.read_answer = Box::new(move |_, _| {
        Some(reply(
            ReplyKind::NoSuchAddress(address.to_owned()),
            Some(404),
        ))
    });
    for history in [sending.run(), reading.run()] {
        assert_eq!(
            history.stop,
            Some(StopReason::NoSuchAddress(address.to_owned()))
        );
        assert!(history.outcomes.is_empty(), "{:?}", history.outcomes);
        assert!(calls(&history) <= 5 + 15, "{}", calls(&history));
    }
}

/// Answers reads with at most `bound` records, and says so if `is_told`. Every 40th row doesn't exist.
fn pages(bound: usize, is_told: bool) -> Simulation {
    let mut world = Simulation::prechecked(200);
    world.state_of = Box::new(|row, _| (row.0 % 40 != 0).then_some(ActionStatus::Pending));
    world.read_answer = Box::new(move |ids, now| {
        // No row is read after its cancel, so all are open.
        let exists = |id: &&_| !row_of(**id).0.is_multiple_of(40);
        let found = ids.iter().filter(exists).count();
        let records = ids
            .iter()
            .filter(exists)
            .take(bound)
            .map(|&id| MachineAction {
                status: Some(ActionStatus::Pending),
                action_type: Some(ActionType::Isolate),
                ..MachineAction::bare(id)
            });
        let mut page: ReadPage = records.collect();
        page.is_whole = !is_told || found <= bound;
        assert!(now < secs(24 * 3600), "it never ends");
        Some(reply(ReplyKind::Answer(page), Some(200)))
    });
    world
}

#[test]
fn a_page_that_ends_early_calls_no_action_unknown_whether_it_says_so_or_not() {
    for is_told in [true, false] {
        for bound in [1, 30, 99] {
            let history = pages(bound, is_told).run();
            assert_eq!(history.stop, None, "{bound} {is_told}");
            let counts = history.counts();
            assert_eq!(
                (counts[&Cancelled], counts[&NotFound]),
                (195, 5),
                "{bound} {is_told}"
            );
        }
    }
}

#[test]
fn an_answer_that_has_nothing_to_do_with_the_ids_is_followed_by_single_reads() {
    let mut world = Simulation::prechecked(20);
    world.read_answer = Box::new(|ids, _| {
        // Like a service that ignores the filter.
        (ids.len() > 1).then(|| {
            let page = ReadPage {
                listed: ids.len(),
                ..ReadPage::from_iter([])
            };
            reply(ReplyKind::Answer(page), Some(200))
        })
    });
    let history = world.run();
    assert_eq!(history.counts()[&Cancelled], 20);
}

#[test]
fn an_action_is_unknown_only_after_two_reads_half_a_minute_apart() {
    let mut world = Simulation::prechecked(1);
    world.state_of = Box::new(|_, _| None);
    let history = world.run();
    assert_eq!(history.counts()[&NotFound], 1);
    let [first, second] = history.reads[..] else {
        unreachable!("{:?}", history.reads)
    };
    assert!(second >= first + secs(30), "{:?}", history.reads);
}
