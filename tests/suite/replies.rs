//! Whatever the service answers, a run comes to its end or stops for a reason that it names, and says of no row what no
//! record said: whole runs in virtual time, against a service that answers anything.
//!
//! `PROPTEST_CASES=20000 cargo test replies` tries more of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use mde_cancel::domain::ActionId;
use mde_cancel::domain::ActionStatus;
use mde_cancel::domain::ActionType;
use mde_cancel::domain::CancelReply;
use mde_cancel::domain::MachineAction;
use mde_cancel::domain::Outcome;
use mde_cancel::domain::ReadReply;
use mde_cancel::domain::Reply;
use mde_cancel::domain::ReplyKind;
use mde_cancel::domain::RetryAfter;
use mde_cancel::domain::ServiceError;
use mde_cancel::domain::Throttle;
use mde_cancel::engine::Rules;
use mde_cancel::engine::Triage;
use mde_cancel::engine::core::StopReason;
use mde_cancel::quota::Windows;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prelude::prop_oneof;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::Config;
use proptest::test_runner::TestRunner;
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use crate::api::any_answer;
use crate::api::replies_to;
use crate::support::History;
use crate::support::World;
use crate::support::id_of;

/// What the service may say of any action; the id is put in where it is said.
#[derive(Clone, Debug)]
struct Saying {
    kind: ReplyKind<Option<MachineAction>>,
    http_status: Option<u16>,
    error: Option<ServiceError>,
}

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
    triage: Triage,
    verify: bool,
    small_windows: bool,
    latency: u64,
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

/// The worlds begin in the middle of January 2027; these lie around that, and at the ends of time.
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
        1 => Just(ReplyKind::Garbled),
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
        1 => Just(ReplyKind::NeverLeft("no such host".to_owned())),
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

fn any_conversation(saying: impl Strategy<Value = Saying>) -> impl Strategy<Value = Conversation> {
    let share = || prop_oneof![Just(0), Just(100), 0..=100_u32];
    let triage = prop_oneof![Just(Triage::Skip), Just(Triage::ReadFirst)];
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
    forbidden: bool,
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

    fn world(&self, said: &Everything) -> World {
        let mut world = World::of(self.rows);
        if self.small_windows {
            world.windows = Windows::new(vec!["3/10s".parse().unwrap(), "9/1m".parse().unwrap()]);
        }
        world.rules = Rules {
            triage: self.triage,
            ..Rules::default()
        };
        world.until = Duration::from_secs(12 * 3600);
        world.verify_for = self.verify.then_some(Duration::from_secs(120));
        let latency = Duration::from_millis(self.latency);
        world.latency = Box::new(move |_| (latency, 0.5));
        world.read_latency = latency;
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

    /// A list lacks some of the ids, or holds some twice.
    fn to_read(&self, ids: &[ActionId], dice: &mut SmallRng) -> ReadReply {
        let kind = match &self.kind {
            ReplyKind::Answer(None) => ReplyKind::Answer(Vec::new()),
            ReplyKind::Answer(Some(record)) => {
                let times = ids.iter().map(|&id| (id, dice.random_range(0..=2)));
                let records = times.flat_map(|(id, times)| {
                    (0..times).map(move |_| MachineAction {
                        id,
                        ..record.clone()
                    })
                });
                ReplyKind::Answer(records.collect())
            }
            other => other.clone().without_answer(),
        };
        Reply {
            kind,
            http_status: self.http_status,
            error: self.error.clone(),
        }
    }
}

trait WithoutAnswer {
    fn without_answer(self) -> ReplyKind<Vec<MachineAction>>;
}

impl WithoutAnswer for ReplyKind<Option<MachineAction>> {
    fn without_answer(self) -> ReplyKind<Vec<MachineAction>> {
        match self {
            Self::Answer(record) => ReplyKind::Answer(record.into_iter().collect()),
            Self::Garbled => ReplyKind::Garbled,
            Self::Throttled(throttle) => ReplyKind::Throttled(throttle),
            Self::Unauthorized => ReplyKind::Unauthorized,
            Self::Forbidden => ReplyKind::Forbidden,
            Self::NotFound => ReplyKind::NotFound,
            Self::Refused => ReplyKind::Refused,
            Self::NotApplied(wait) => ReplyKind::NotApplied(wait),
            Self::ServerFault(wait) => ReplyKind::ServerFault(wait),
            Self::Redirected => ReplyKind::Redirected,
            Self::TimedOut => ReplyKind::TimedOut,
            Self::Broken(what) => ReplyKind::Broken(what),
            Self::NeverLeft(what) => ReplyKind::NeverLeft(what),
        }
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
            ReplyKind::Forbidden => self.forbidden = true,
            _ => {}
        }
    }

    fn hear_read(&mut self, id: ActionId, reply: &ReadReply) {
        match &reply.kind {
            ReplyKind::Answer(records) => {
                let mut own = records.iter().filter(|record| record.id == id).peekable();
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
            Outcome::Failed | Outcome::Unknown | Outcome::Forbidden | Outcome::HeldBack => true,
            Outcome::Invalid | Outcome::Duplicate | Outcome::NotAttempted => false,
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
        | StopReason::GaveUp(what)
        | StopReason::TooManyFailures(what)
        | StopReason::SameRefusal(what) => !what.is_empty(),
        StopReason::AllMissing | StopReason::AllForbidden => true,
        StopReason::Asked(_) => false,
    });
    if !named {
        wrong.push(format!("stopped without a word: {:?}", history.stop));
    }
    for (row, outcome) in &history.outcomes {
        let heard = said.get(&id_of(*row));
        let is_true = heard.map_or_else(
            || matches!(outcome, Outcome::HeldBack | Outcome::Forbidden),
            |heard| heard.bears_out(*outcome),
        );
        if !is_true {
            wrong.push(format!("row {row} is {outcome}, and heard {heard:?}"));
        }
    }
    (history, wrong)
}

fn config(cases: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok();
    Config {
        cases: asked.and_then(|cases| cases.parse().ok()).unwrap_or(cases),
        source_file: Some(file!()),
        ..Config::default()
    }
}

#[test]
fn whatever_is_answered_a_run_ends_and_says_nothing_that_no_record_said() {
    let played = TestRunner::new(config(1_500)).run(&any_conversation(any_saying()), |talk| {
        let (_, wrong) = play(&talk);
        proptest::prop_assert_eq!(wrong, Vec::<String>::new());
        Ok(())
    });
    if let Err(failed) = played {
        panic!("{failed}");
    }
}

#[test]
fn what_the_client_makes_of_hostile_bytes_ends_a_run_as_truly() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(config(150));
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
        if let ReplyKind::Answer(records) = read.kind {
            sayings.push(Saying {
                kind: ReplyKind::Answer(records.into_iter().next()),
                http_status: read.http_status,
                error: read.error,
            });
        }
    }
    let played = runner.run(&any_conversation(select(sayings)), |talk| {
        let (_, wrong) = play(&talk);
        proptest::prop_assert_eq!(wrong, Vec::<String>::new());
        Ok(())
    });
    if let Err(failed) = played {
        panic!("{failed}");
    }
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
    for outcome in [
        Outcome::Cancelled,
        Outcome::Accepted,
        Outcome::AlreadyCancelled,
        Outcome::AlreadyFinal,
        Outcome::TooLate,
        Outcome::NotFound,
        Outcome::Forbidden,
        Outcome::HeldBack,
        Outcome::Failed,
        Outcome::Unknown,
    ] {
        assert!(outcomes.contains(&outcome), "{outcome}: {outcomes:?}");
    }
    assert!(stops.len() >= 5, "{stops:?}");
}
