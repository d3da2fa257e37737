//! Everything that a service can be heard to say of an action, classified, made up at random.

use std::time::Duration;

use jiff::Timestamp;
use mde_cancel::model::{
    ActionId, ActionStatus, ActionType, CancelReply, MachineAction, ReadPage, ReadReply, Reply,
    ReplyKind, RetryAfter, ServiceError, Throttle,
};
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use rand::Rng as _;
use rand::rngs::SmallRng;

/// What the service may say of any action; the id is put in where it is said.
#[derive(Clone, Debug)]
pub(super) struct Saying {
    pub(super) kind: ReplyKind<Option<MachineAction>>,
    pub(super) http_status: Option<u16>,
    pub(super) error: Option<ServiceError>,
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

pub(super) fn any_saying() -> impl Strategy<Value = Saying> {
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
    pub(super) fn to_cancel(&self, id: ActionId) -> CancelReply {
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

    /// A list lacks some of the ids, holds others, or says that there is more of it.
    pub(super) fn to_read(&self, ids: &[ActionId], dice: &mut SmallRng) -> ReadReply {
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

/// Says of a read what is said of a cancel.
fn without_answer(kind: ReplyKind<Option<MachineAction>>) -> ReplyKind<ReadPage> {
    match kind {
        ReplyKind::Answer(record) => ReplyKind::Answer(record.into_iter().collect()),
        ReplyKind::Garbled => ReplyKind::Garbled,
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
        ReplyKind::NeverLeft(what) => ReplyKind::NeverLeft(what),
        ReplyKind::NoSuchHost(host) => ReplyKind::NoSuchHost(host),
        ReplyKind::NoSuchAddress(address) => ReplyKind::NoSuchAddress(address),
    }
}
