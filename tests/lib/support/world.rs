//! A world in virtual time: the real core, a model of the store and a model of the service.
//!
//! The model service judges arrivals with a server of its own; the model store uses the house's quota rule, which is
//! what is under test. Nothing here waits.

mod running;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use mde_cancel::engine::SkipRules;
use mde_cancel::engine::core::{
    CommentRule, Core, CoreSettings, GateSettings, LaneSettings, MaxFailures,
};
use mde_cancel::model::{
    ActionId, ActionStatus, ActionType, CancelReply, ReadReply, Reply, ReplyKind, RowNumber, RunId,
};
use mde_cancel::quota::{Pace, Windows};
use mde_cancel::retry::RetrySettings;
use mde_cancel::store::{RunKey, ScopeKey};

use super::History;

use running::Running;

type CancelAnswer = Box<dyn FnMut(ActionId, Duration) -> Option<CancelReply>>;
type StateOf = Box<dyn FnMut(RowNumber, Duration) -> Option<ActionStatus>>;
type InProgress = Box<dyn FnMut(RowNumber, Duration) -> Option<RunId>>;
type ReadAnswer = Box<dyn FnMut(&[ActionId], Duration) -> Option<ReadReply>>;

/// What the world is like.
pub(crate) struct World {
    pub(crate) rows: u32,
    pub(crate) windows: Windows,
    pub(crate) pace: Option<Pace>,
    pub(crate) concurrency: usize,
    /// How long the n-th cancel takes, and which part of that passes before it arrives.
    pub(crate) latency: Box<dyn FnMut(usize) -> (Duration, f64)>,
    /// When the service answers nothing but this.
    pub(crate) outage: Option<(Range<Duration>, Fault)>,
    /// Whether records may be read.
    pub(crate) readable: bool,
    /// What one cancel is answered at a time, in place of the usual; nothing leaves it at that.
    pub(crate) cancel_answer: CancelAnswer,
    /// The same for reads.
    pub(crate) read_answer: ReadAnswer,
    /// In which state the service has a row's action at a time, our own cancels apart; none where it does not know it.
    pub(crate) state_of: StateOf,
    /// How long a read takes.
    pub(crate) read_latency: Duration,
    /// The other run that has a row when it is loaded, and when it is about to be sent.
    pub(crate) in_progress: InProgress,
    pub(crate) sent_elsewhere: InProgress,
    pub(crate) rules: SkipRules,
    pub(crate) verify_for: Option<Duration>,
    /// What the service says of a row's type.
    pub(crate) true_type_of: fn(RowNumber) -> Option<ActionType>,
    /// What the input says of a row's type.
    pub(crate) type_of: fn(RowNumber) -> Option<ActionType>,
    /// How many rows may end badly.
    pub(crate) max_failures: Option<MaxFailures>,
    /// How long each token lives, to the service.
    pub(crate) token_life: Option<Duration>,
    /// When the login service answers nothing.
    pub(crate) no_sign_in: Option<Range<Duration>>,
    /// When the world ends, finished or not.
    pub(crate) until: Duration,
    /// How long after one row the next one is read; all are there at once where it is zero.
    pub(crate) row_every: Duration,
}

/// What a service that is down answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Unavailable,
    NoName,
    Silent,
}

pub(crate) fn id_of(row: RowNumber) -> ActionId {
    ActionId::parse(&format!("00000000-0000-4000-8000-{:012x}", row.0)).unwrap()
}

pub(crate) fn row_of(id: ActionId) -> RowNumber {
    let text = id.to_string();
    RowNumber(u32::from_str_radix(&text[28..], 16).unwrap())
}

impl World {
    pub(crate) fn of(rows: u32) -> Self {
        Self {
            rows,
            windows: Windows::documented(),
            pace: Pace::parse("50/s").unwrap(),
            concurrency: 16,
            latency: Box::new(|_| (Duration::ZERO, 0.5)),
            outage: None,
            readable: true,
            cancel_answer: Box::new(|_, _| None),
            read_answer: Box::new(|_, _| None),
            state_of: Box::new(|_, _| Some(ActionStatus::Pending)),
            read_latency: Duration::ZERO,
            in_progress: Box::new(|_, _| None),
            sent_elsewhere: Box::new(|_, _| None),
            rules: SkipRules::default(),
            verify_for: None,
            true_type_of: |_| Some(ActionType::Isolate),
            type_of: |_| None,
            max_failures: None,
            token_life: None,
            no_sign_in: None,
            until: Duration::from_secs(48 * 3600),
            row_every: Duration::ZERO,
        }
    }

    /// Runs to the end.
    pub(crate) fn run(self) -> History {
        let gate = |scope, windows: &Windows, concurrency| GateSettings {
            scope: ScopeKey(scope),
            windows: Arc::new(windows.clone()),
            pace: self.pace,
            concurrency,
            cooldown: None,
            learned: None,
        };
        let lane = LaneSettings {
            cancel: gate(1, &self.windows, self.concurrency),
            get: gate(2, &Windows::half_of_documented(), 2),
            list: gate(3, &Windows::half_of_documented(), 2),
        };
        let settings = CoreSettings {
            run: RunKey(1),
            retry: RetrySettings::default(),
            comment: CommentRule {
                always: None,
                otherwise: Arc::from("by the simulation"),
            },
            rules: Arc::new(self.rules.clone()),
            verify_for: self.verify_for,
            reach_timeout: Duration::from_secs(60),
            give_up_after: Duration::from_secs(90 * 60),
            max_failures: self.max_failures,
            seed: 7,
        };
        Running::of(self, Core::new(settings, vec![lane])).run()
    }
}

pub(crate) fn reply<T>(kind: ReplyKind<T>, http_status: Option<u16>) -> Reply<T> {
    Reply {
        kind,
        http_status,
        error: None,
    }
}
