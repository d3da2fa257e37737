//! The simulator: the real `Core` in virtual time, against models of the journal and the service.
//!
//! Make a [`Simulation`] with [`Simulation::of`], replace the fields that matter, [`Simulation::run`] it and check the
//! [`History`]. By default there is one lane of open actions under the documented quota, and a service that never
//! fails. To script more:
//! - `state_of`, `type_of`, `true_type_of`: what the service and the input know about each row.
//! - `fault`: what goes wrong with a call; [`outage`] makes one. The model tracks what such a call changed.
//! - `cancel_answer`, `read_answer`: exact answers, which the model doesn't interpret.
//! - `operation`, `others`: machines are released, which other people release or isolate meanwhile.
//! - `lanes`, `most_in_flight`, `sign_in`: several tenants. Rows are dealt to the lanes in turn.
//! - `ends`, `resumes`, `wall_steps`: processes that die or stop between any two effects, others that resume from the
//!   same journal, and clocks that are set.
//!
//! Every run is judged row by row: no row is lost or ends twice, nothing leaves without its slot on disk or after a
//! stop, no window of the quota is exceeded by the service's own clock, and each outcome matches the service at that
//! moment. Tests judge outcomes that follow from exact answers.
//!
//! The journal is a model because these tests play thousands of runs, and each commit of a real file takes as long as a
//! whole run here. `tests/lib/store` tests the real one, `tests/lib/runner.rs` both together.

mod journal;
mod machines;
mod running;
mod service;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_cancel::engine::core::{
    CommentRule, Core, CoreSettings, GateSettings, LaneSettings, MaxFailures, StopReason, Tally,
};
use mde_cancel::engine::{Precheck, SkipRules};
use mde_cancel::model::{
    ActionId, ActionStatus, ActionType, CancelReply, Destination, LaneId, Moment, Operation,
    Outcome, ReadReply, Reply, ReplyKind, RetryAfter, RowNumber, RunId, Uptime,
};
use mde_cancel::quota::{Pace, Windows};
use mde_cancel::retry::RetrySettings;
use mde_cancel::store::{RunKey, ScopeKey};

pub(crate) use machines::machine_of;
use running::Running;

/// The wall clock at the start of a simulation, in Unix seconds.
pub(crate) const WALL_START: i64 = 1_800_000_000;

/// How long the n-th call takes, and the fraction of that before it arrives.
pub(crate) type Latency = Box<dyn FnMut(usize) -> (Duration, f64)>;

/// A script: what happens at a time, or `None` for the usual.
type At<What, Answer> = Box<dyn FnMut(What, Duration) -> Option<Answer>>;

type ReadAnswer = Box<dyn FnMut(&[ActionId], Duration) -> Option<ReadReply>>;

/// The fault of a call, by its lane, destination and time of leaving.
pub(crate) type FaultOf = Box<dyn FnMut(LaneId, Destination, Duration) -> Option<Fault>>;

/// A run and its service.
pub(crate) struct Simulation {
    pub(crate) operation: Operation,
    /// In all lanes together.
    pub(crate) rows: u32,
    /// `rows_at_once` rows are read every `row_every`.
    pub(crate) rows_at_once: u32,
    pub(crate) row_every: Duration,
    pub(crate) lanes: u16,
    pub(crate) most_in_flight: usize,
    pub(crate) windows: Windows,
    /// For single reads and for lists.
    pub(crate) read_windows: Windows,
    pub(crate) pace: Option<Pace>,
    pub(crate) concurrency: usize,
    pub(crate) rules: SkipRules,
    pub(crate) verify_for: Option<Duration>,
    pub(crate) max_failures: Option<MaxFailures>,
    /// How late a call that was given up may arrive.
    pub(crate) grace: Duration,
    pub(crate) seed: u64,

    pub(crate) latency: Latency,
    pub(crate) read_latency: Latency,
    /// How long each journal operation takes.
    pub(crate) journal_pause: Box<dyn FnMut() -> Duration>,
    pub(crate) fault: FaultOf,
    /// Exact answers instead of the usual ones.
    pub(crate) cancel_answer: At<ActionId, CancelReply>,
    pub(crate) read_answer: ReadAnswer,
    /// The service's status of a row's action, apart from our cancels; `None` if it doesn't know the action.
    pub(crate) state_of: At<RowNumber, ActionStatus>,
    /// Whether cancels of ended actions are refused, and not answered with the record.
    pub(crate) refuses_final: bool,
    pub(crate) readable: bool,
    /// The service's type of a row's action, and the input's.
    pub(crate) true_type_of: fn(RowNumber) -> Option<ActionType>,
    pub(crate) type_of: fn(RowNumber) -> Option<ActionType>,
    pub(crate) sign_in: Box<dyn FnMut(LaneId, Duration) -> SignIn>,
    /// What somebody else does to a row's machine, where machines are released.
    pub(crate) others: Box<dyn Fn(RowNumber) -> Option<OtherAction>>,

    /// The other run that has a row when it is loaded, and when it is about to be sent.
    pub(crate) in_progress: At<RowNumber, RunId>,
    pub(crate) sent_elsewhere: At<RowNumber, RunId>,

    /// How each process ends before its run does.
    pub(crate) ends: Vec<ProcessEnd>,
    /// Whether a stopped run is resumed until it ends.
    pub(crate) resumes: bool,
    /// When the wall clock is set, and by how many seconds.
    pub(crate) wall_steps: Vec<(Duration, i64)>,
    /// The grace that the ledger gives calls of a dead process, if it isn't `grace`.
    pub(crate) ledger_grace: Option<Duration>,
    /// When the simulation ends, finished or not.
    pub(crate) until: Duration,
}

/// What goes wrong with a call. The flag says whether the service does the work anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// 503.
    Unavailable,
    /// 500.
    ServerError(bool),
    /// The connection ends without an answer.
    Reset(bool),
    /// 200 with half a record; the work is done.
    InvalidBody,
    /// A captive portal.
    Redirected,
    /// 429 although the quota has room.
    Throttled(RetryAfter),
    /// 401.
    Unauthorized,
    /// No answer; the call arrives late.
    Silent(bool),
    /// No byte leaves.
    NoName,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum SignIn {
    /// A token and its lifetime, if known.
    Token(Option<Duration>),
    Unavailable,
    Refused,
}

/// What somebody else does to a machine, in the n-th second of the run or, below zero, before it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OtherAction {
    Isolates(i64),
    Releases(i64),
}

/// How a process ends before its run does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessEnd {
    /// After this many effects and writes.
    pub(crate) effects: u32,
    pub(crate) end: End,
    /// How long until the next process starts.
    pub(crate) down: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// At once, in mid-step.
    Death,
    /// Told to stop, it drains.
    Stop,
}

#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) elapsed: Duration,
    /// Whether the run reached its end.
    pub(crate) finished: bool,
    pub(crate) stop: Option<StopReason>,
    /// Lanes that stopped, and why.
    pub(crate) stops: Vec<(LaneId, StopReason)>,
    pub(crate) tally: Tally,
    pub(crate) outcomes: BTreeMap<RowNumber, Outcome>,
    pub(crate) reasons: BTreeMap<RowNumber, String>,
    pub(crate) settled_at: BTreeMap<RowNumber, Duration>,
    /// Deferred rows, and why.
    pub(crate) deferred: BTreeMap<RowNumber, String>,
    /// When each cancel or release left, and for which action.
    pub(crate) posts: Vec<(Duration, ActionId)>,
    /// When each read left.
    pub(crate) reads: Vec<Duration>,
    /// When each of them reached the service, in order.
    pub(crate) arrivals: Vec<Duration>,
    /// Most calls on the wire at once.
    pub(crate) most_open: usize,
    /// Most unsettled rows in the core's memory.
    pub(crate) most_loaded: usize,
    /// Cancels that reached the service with a fault.
    pub(crate) faulted: usize,
    /// Cancels that reached an ended action.
    pub(crate) wasted: usize,
    /// Calls over the quota.
    pub(crate) throttled: usize,
    pub(crate) tokens: usize,
    /// Calls whose token ends before their answer.
    pub(crate) with_ended_token: usize,
    /// How long each cooldown was when set.
    pub(crate) cooldowns: Vec<Duration>,
    pub(crate) processes: usize,
    /// Cancels sent again because their successful answer died with a process.
    pub(crate) repeated: usize,
}

impl Simulation {
    pub(crate) fn of(rows: u32) -> Self {
        Self {
            operation: Operation::Cancel,
            rows,
            rows_at_once: rows,
            row_every: Duration::ZERO,
            lanes: 1,
            most_in_flight: usize::MAX,
            windows: Windows::documented(),
            read_windows: Windows::half_of_documented(),
            pace: Pace::parse("50/s").unwrap(),
            concurrency: 16,
            rules: SkipRules::default(),
            verify_for: None,
            max_failures: None,
            grace: RetrySettings::default().timeout_grace,
            seed: 7,
            latency: always(Duration::ZERO),
            read_latency: always(Duration::ZERO),
            journal_pause: Box::new(|| Duration::ZERO),
            fault: Box::new(|_, _, _| None),
            cancel_answer: Box::new(|_, _| None),
            read_answer: Box::new(|_, _| None),
            state_of: Box::new(|_, _| Some(ActionStatus::Pending)),
            refuses_final: true,
            readable: true,
            true_type_of: |_| Some(ActionType::Isolate),
            type_of: |_| None,
            sign_in: Box::new(|_, _| SignIn::Token(None)),
            others: Box::new(|_| None),
            in_progress: Box::new(|_, _| None),
            sent_elsewhere: Box::new(|_, _| None),
            ends: Vec::new(),
            resumes: false,
            wall_steps: Vec::new(),
            ledger_grace: None,
            until: Duration::from_secs(48 * 3600),
        }
    }

    /// Like [`Simulation::of`], but each call takes 100 ms.
    pub(crate) fn slow(rows: u32) -> Self {
        let mut sim = Self::of(rows);
        sim.latency = always(millis(100));
        sim.read_latency = always(millis(100));
        sim
    }

    /// Like [`Simulation::slow`], and states are read first.
    pub(crate) fn prechecked(rows: u32) -> Self {
        let mut sim = Self::slow(rows);
        sim.rules.precheck = Precheck::ReadFirst;
        sim
    }

    /// Releases `rows` machines that were isolated by mistake.
    pub(crate) fn releases(rows: u32) -> Self {
        let mut sim = Self::prechecked(rows);
        sim.operation = Operation::Release;
        sim.verify_for = Some(secs(120));
        sim
    }

    /// Makes rows arrive one by one.
    pub(crate) fn trickle(&mut self, every: Duration) {
        self.rows_at_once = 1;
        self.row_every = every;
    }

    /// Runs to the end and asserts that the quota was kept.
    pub(crate) fn run(self) -> History {
        let history = self.run_with_any_quota();
        assert_eq!(history.throttled, 0, "calls over the quota");
        history
    }

    /// Runs to the end, with the quota kept or not.
    pub(crate) fn run_with_any_quota(self) -> History {
        Running::of(self).run()
    }

    fn lane_of(&self, row: RowNumber) -> LaneId {
        let nth = (row.0 - 1) % u32::from(self.lanes);
        LaneId(u16::try_from(nth).unwrap())
    }

    fn windows_of(&self, destination: Destination) -> &Windows {
        match destination {
            Destination::Cancel | Destination::Release => &self.windows,
            _ => &self.read_windows,
        }
    }

    /// Makes the core of the n-th process, with the cooldowns that it finds.
    fn core(&self, nth: usize, cooldown: impl Fn(ScopeKey) -> Option<Uptime>) -> Core {
        let gate = |lane: LaneId, destination, concurrency| {
            let scope = scope_of(lane, destination);
            GateSettings {
                scope,
                windows: Arc::new(self.windows_of(destination).clone()),
                pace: self.pace,
                concurrency,
                cooldown: cooldown(scope),
                learned: None,
            }
        };
        let lanes = (0..self.lanes).map(LaneId).map(|lane| LaneSettings {
            send: gate(lane, Destination::Cancel, self.concurrency),
            get: gate(lane, Destination::Get, 2),
            list: gate(lane, Destination::List, 2),
        });
        let settings = CoreSettings {
            operation: self.operation,
            run: RunKey(1),
            retry: RetrySettings {
                timeout_grace: self.grace,
                ..RetrySettings::default()
            },
            comment: CommentRule {
                always: None,
                otherwise: Arc::from("by the simulation"),
            },
            rules: Arc::new(self.rules.clone()),
            verify_for: self.verify_for,
            reach_timeout: Duration::from_secs(60),
            give_up_after: Duration::from_secs(90 * 60),
            max_failures: self.max_failures,
            seed: self.seed.wrapping_add(nth as u64),
        };
        Core::new(settings, lanes.collect()).with_most_in_flight(self.most_in_flight)
    }
}

impl History {
    pub(crate) fn counts(&self) -> BTreeMap<Outcome, usize> {
        let mut counts = BTreeMap::new();
        for outcome in self.outcomes.values() {
            *counts.entry(*outcome).or_default() += 1;
        }
        counts
    }

    /// Returns the name of the stop reason, or `none`.
    pub(crate) fn stop_name(&self) -> String {
        let stop = self.stop.as_ref().map(|stop| format!("{stop:?}"));
        let name = stop.unwrap_or_else(|| "none".to_owned());
        name.split('(').next().unwrap().to_owned()
    }
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Fault {
    /// Returns what the caller gets.
    fn reply<T>(self) -> Reply<T> {
        let (kind, status) = match self {
            Self::Unavailable => (ReplyKind::NotApplied(None), Some(503)),
            Self::ServerError(_) => (ReplyKind::ServerFault(None), Some(500)),
            Self::Reset(_) => (ReplyKind::Broken("reset".to_owned()), None),
            Self::InvalidBody => (ReplyKind::InvalidBody, Some(200)),
            Self::Redirected => (ReplyKind::Redirected, Some(302)),
            Self::Throttled(wait) => return throttled(wait),
            Self::Unauthorized => (ReplyKind::Unauthorized, Some(401)),
            Self::Silent(_) => (ReplyKind::TimedOut, None),
            Self::NoName => (ReplyKind::NotSent("no such host".to_owned()), None),
        };
        reply(kind, status)
    }

    fn is_worked_on(self) -> bool {
        match self {
            Self::InvalidBody => true,
            Self::ServerError(done) | Self::Reset(done) | Self::Silent(done) => done,
            _ => false,
        }
    }
}

/// Each call takes `latency`, and arrives halfway.
pub(crate) fn always(latency: Duration) -> Latency {
    Box::new(move |_| (latency, 0.5))
}

/// Every call of every lane meets `fault` during that time.
pub(crate) fn outage(during: Range<Duration>, fault: Fault) -> FaultOf {
    Box::new(move |_, _, now| during.contains(&now).then_some(fault))
}

pub(crate) fn id_of(row: RowNumber) -> ActionId {
    super::nth_id(row.0 as usize)
}

pub(crate) fn row_of(id: ActionId) -> RowNumber {
    let text = id.to_string();
    RowNumber(u32::from_str_radix(&text[28..], 16).unwrap())
}

pub(crate) fn reply<T>(kind: ReplyKind<T>, http_status: Option<u16>) -> Reply<T> {
    Reply {
        kind,
        http_status,
        error: None,
    }
}

pub(crate) fn throttled<T>(wait: RetryAfter) -> Reply<T> {
    let throttle = mde_cancel::model::Throttle {
        retry_after: Some(wait),
        ..mde_cancel::model::Throttle::default()
    };
    reply(ReplyKind::Throttled(throttle), Some(429))
}

/// Looks at a clock that nobody sets: the service's.
fn wall_at(now: Duration) -> Timestamp {
    let start = Moment {
        uptime: Uptime::from_nanos(0),
        wall: Timestamp::from_second(WALL_START).unwrap(),
    };
    start.after(now).wall
}

fn is_send(destination: Destination) -> bool {
    matches!(destination, Destination::Cancel | Destination::Release)
}

fn scope_of(lane: LaneId, destination: Destination) -> ScopeKey {
    let nth = match destination {
        Destination::Cancel | Destination::Release => 1,
        Destination::Get => 2,
        Destination::List => 3,
    };
    ScopeKey(3 * i64::from(lane.0) + nth)
}
