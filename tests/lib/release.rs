//! Releases in virtual time: the real core, a journal that outlives its processes, and a service whose lists lag, whose
//! answers get lost, and whose other users isolate and release machines meanwhile. The service's actions decide what is
//! right.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_cancel::engine::core::{
    CallToken, CommentRule, Core, CoreSettings, Effect, Event, GateSettings, LaneSettings,
    ReadQuery,
};
use mde_cancel::engine::{Precheck, SkipRules};
use mde_cancel::model::{
    ActionId, ActionStatus, ActionType, CancelReply, ExclusionList, LaneId, MachineAction, Moment,
    Operation, Outcome, ReadReply, Reply, ReplyKind, Request, RowContext, RowNumber, ServiceError,
    Uptime,
};
use mde_cancel::quota::{Calls, Decision, Windows, decide};
use mde_cancel::retry::RetrySettings;
use mde_cancel::store::{
    CallId, LoadFrom, Phase, Purpose, QueuedRow, Record, RunKey, ScopeKey, Take, Taken,
};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::support::{RollingWindows, allowances, first_refused};

const LANE: LaneId = LaneId(0);
const RELEASES: ScopeKey = ScopeKey(1);
const COMMENT: &str = "by the simulation";

/// How late a call may arrive after its process gave it up or died.
const GRACE: Duration = Duration::from_secs(20);
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long lists lack a new action, and how long a machine takes to be released.
const LAG: Duration = Duration::from_secs(15);
const TAKES: Duration = Duration::from_secs(25);

struct Plan {
    seed: u64,
    rows: u32,
    windows: Windows,
    /// Percentage of calls that fail.
    faults: u32,
    /// Percentage of machines that are excluded, or that another user isolates or releases.
    others: u32,
    /// How long each process lives.
    deaths: Vec<Duration>,
}

enum Thing {
    Event(Box<Event>),
    Arrival(Box<Call>),
    /// Another user isolates or releases a machine.
    Other(u32, &'static str),
}

struct Call {
    request: Result<Request, ReadQuery>,
    fault: Fault,
    reply_at: Duration,
    /// `None` once the process is dead.
    waits: Option<CallToken>,
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Unavailable,
    /// The answer is lost; the flag says whether the service did the work.
    Lost(bool),
    /// No answer in time; the service does the work late or never.
    Silent,
}

struct Kept {
    row: QueuedRow,
    outcome: Option<(Outcome, String)>,
}

struct World {
    plan: Plan,
    dice: SmallRng,
    now: Duration,
    core: Core,
    processes: u64,
    things: BTreeMap<(Duration, u64), Thing>,
    number: u64,
    rows: BTreeMap<RowNumber, Kept>,
    ledger: BTreeMap<ScopeKey, Calls>,
    /// Each call's scope and row, `None` once it is over.
    calls: Vec<Option<(ScopeKey, Option<RowNumber>)>>,
    /// By machine.
    actions: BTreeMap<String, Vec<MachineAction>>,
    /// When each release reached the service.
    arrivals: Vec<Duration>,
    sent: u32,
    excluded: ExclusionList,
}

fn machine_of(row: u32) -> String {
    format!("{row:040x}")
}

fn id_of(kind: u8, number: u64) -> ActionId {
    let mut bytes = [kind; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    ActionId::from_bytes(bytes).unwrap()
}

fn reply<T>(kind: ReplyKind<T>, http_status: Option<u16>) -> Reply<T> {
    Reply {
        kind,
        http_status,
        error: None,
    }
}

fn uptime(since_boot: Duration) -> Uptime {
    Uptime::from_nanos(0).after(since_boot)
}

fn core(plan: &Plan, process: u64, exclude: &ExclusionList) -> Core {
    let gate = |scope, windows: &Windows, concurrency| GateSettings {
        scope: ScopeKey(scope),
        windows: Arc::new(windows.clone()),
        pace: None,
        concurrency,
        cooldown: None,
        learned: None,
    };
    let reads = Windows::half_of_documented();
    let lane = LaneSettings {
        send: gate(RELEASES.0, &plan.windows, 16),
        get: gate(2, &reads, 2),
        list: gate(3, &reads, 2),
    };
    let settings = CoreSettings {
        run: RunKey(1),
        operation: Operation::Release,
        retry: RetrySettings {
            timeout_grace: GRACE,
            ..RetrySettings::default()
        },
        comment: CommentRule {
            always: None,
            otherwise: Arc::from(COMMENT),
        },
        rules: Arc::new(SkipRules {
            precheck: Precheck::ReadFirst,
            exclude: exclude.clone(),
            ..SkipRules::default()
        }),
        verify_for: Some(Duration::from_secs(120)),
        reach_timeout: Duration::from_secs(60),
        give_up_after: Duration::from_secs(90 * 60),
        max_failures: None,
        seed: plan.seed.wrapping_add(process),
    };
    Core::new(settings, vec![lane])
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut dice = SmallRng::seed_from_u64(plan.seed);
        let mut excluded = ExclusionList::default();
        let (mut rows, mut actions) = (BTreeMap::new(), BTreeMap::new());
        let mut things = BTreeMap::new();
        for number in 1..=plan.rows {
            let context = RowContext {
                action_type: Some(ActionType::Unisolate),
                machine_id: Some(machine_of(number).to_uppercase()),
                requestor: Some("soc-bot".to_owned()),
                ..RowContext::default()
            };
            let row = QueuedRow {
                number: RowNumber(number),
                id: id_of(1, number.into()),
                context,
                attempts: 0,
                phase: Phase::Fresh,
                first_sent_at: None,
                comment_sent: None,
                status_before: None,
                action_status: None,
                checked_at: None,
                response_action: None,
                in_progress: None,
            };
            rows.insert(RowNumber(number), Kept { row, outcome: None });
            let wave = action(1, number.into(), "Isolate", "soc-bot", number, -3600);
            let mut history = vec![wave];
            if dice.random_range(0..100) < plan.others {
                let when = Duration::from_secs(dice.random_range(0..400));
                match dice.random_range(0..6) {
                    0 => history.push(action(2, number.into(), "Isolate", "ana", number, -7200)),
                    1 => history.push(action(2, number.into(), "Isolate", "ana", number, -60)),
                    2 => history.push(action(2, number.into(), "Unisolate", "bob", number, -60)),
                    3 => excluded.add(&machine_of(number)),
                    4 => {
                        drop(things.insert((when, number.into()), Thing::Other(number, "Isolate")));
                    }
                    _ => drop(
                        things.insert((when, number.into()), Thing::Other(number, "Unisolate")),
                    ),
                }
            }
            actions.insert(machine_of(number), history);
        }
        Self {
            core: core(&plan, 0, &excluded),
            arrivals: Vec::new(),
            number: plan.rows.into(),
            plan,
            dice,
            now: Duration::ZERO,
            processes: 0,
            things,
            rows,
            ledger: BTreeMap::new(),
            calls: Vec::new(),
            actions,
            sent: 0,
            excluded,
        }
    }

    fn run(mut self) -> Self {
        loop {
            self.begin();
            // A run that stops because nothing was ever answered gets a next process, as after a crash.
            if self.live() && self.core.stop_reason().is_none() {
                self.judge();
                return self;
            }
            // Calls of a dead process may still arrive.
            let things = std::mem::take(&mut self.things);
            for ((at, number), thing) in things {
                match thing {
                    Thing::Event(_) => {}
                    Thing::Arrival(mut call) => {
                        let late = GRACE.mul_f64(self.dice.random_range(0.0..1.0));
                        call.waits = None;
                        self.things
                            .insert((at.min(self.now + late), number), Thing::Arrival(call));
                    }
                    Thing::Other(..) => drop(self.things.insert((at, number), thing)),
                }
            }
            let up = self.now + Duration::from_secs(self.dice.random_range(0..40));
            while let Some(next) = self.things.first_entry().filter(|it| it.key().0 <= up) {
                let ((at, _), thing) = next.remove_entry();
                self.now = self.now.max(at);
                self.happen(thing);
            }
            self.now = up;
        }
    }

    /// Starts a process with what the journal holds.
    fn begin(&mut self) {
        for call in &mut self.calls {
            if let Some((scope, _)) = call.take() {
                self.ledger
                    .entry(scope)
                    .or_default()
                    .end(uptime(self.now + GRACE));
            }
        }
        self.processes += 1;
        assert!(self.processes < 50, "it never ends");
        self.core = core(&self.plan, self.processes, &self.excluded);
        let mut settled = BTreeMap::new();
        for (outcome, _) in self.rows.values().filter_map(|kept| kept.outcome.as_ref()) {
            *settled.entry(*outcome).or_default() += 1;
        }
        self.step(Event::Appended {
            lane: LANE,
            last: RowNumber(self.plan.rows),
            count: self.plan.rows.into(),
            settled,
        });
        self.step(Event::InputEnded);
    }

    /// Runs a process until its run ends or it dies. Returns whether the run ended.
    fn live(&mut self) -> bool {
        let place = usize::try_from(self.processes).unwrap() - 1;
        let dies = self.plan.deaths.get(place).map(|after| self.now + *after);
        while !self.core.is_done() {
            let wake = self.core.next_wake();
            let wake = wake.map(|wake| wake.since(Uptime::from_nanos(0)));
            let next = self.things.first_key_value().map(|((at, _), _)| *at);
            let at = [wake, next].into_iter().flatten().min().unwrap();
            if let Some(dies) = dies.filter(|dies| at >= *dies) {
                self.now = self.now.max(dies);
                return false;
            }
            self.now = self.now.max(at);
            assert!(self.now < Duration::from_secs(24 * 3600), "it never ends");
            if next.is_some_and(|next| next <= self.now) {
                let (_, thing) = self.things.pop_first().unwrap();
                self.happen(thing);
            } else {
                self.step(Event::Tick);
            }
        }
        true
    }

    fn later(&mut self, after: Duration, thing: Thing) {
        self.number += 1;
        self.things.insert((self.now + after, self.number), thing);
    }

    fn moment(&self) -> Moment {
        let start = Moment {
            uptime: Uptime::from_nanos(0),
            wall: Timestamp::from_second(1_800_000_000).unwrap(),
        };
        start.after(self.now)
    }

    fn step(&mut self, event: Event) {
        let effects = self.core.step(self.moment(), event);
        self.core.check();
        for effect in effects {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Load {
                from: LoadFrom::After(after),
                limit,
                lane,
            } => {
                let rows = self.rows.range(RowNumber(after.0 + 1)..);
                let unsettled = rows.filter(|(_, kept)| kept.outcome.is_none());
                let rows = unsettled
                    .map(|(_, kept)| kept.row.clone())
                    .take(limit)
                    .collect();
                self.later(
                    Duration::ZERO,
                    Thing::Event(Box::new(Event::Loaded { lane, rows })),
                );
            }
            Effect::Take {
                lane,
                call_token,
                take,
            } => {
                let taken = self.take(&take);
                let event = Event::Taken {
                    lane,
                    call_token,
                    taken,
                };
                self.later(Duration::ZERO, Thing::Event(Box::new(event)));
            }
            Effect::Post {
                call_token,
                request,
                ..
            } => {
                self.sent += 1;
                self.check_post(&request);
                self.send(Ok(request), call_token);
            }
            Effect::Read {
                call_token, query, ..
            } => self.send(Err(query), call_token),
            Effect::Write { records, .. } => records.into_iter().for_each(|it| self.write(it)),
            Effect::Token { lane, .. } => {
                let event = Event::TokenReady {
                    lane,
                    expires_at: None,
                };
                self.later(Duration::ZERO, Thing::Event(Box::new(event)));
            }
            Effect::Tell { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    /// Asserts that nothing leaves for an excluded machine, or for one that another user isolated long enough ago to be
    /// known.
    fn check_post(&self, request: &Request) {
        let Request::Unisolate(machine) = request else {
            panic!("{request:?}");
        };
        let machine = machine.to_lowercase();
        let old = self.moment().after(Duration::ZERO).wall;
        for other in &self.actions[&machine] {
            let age = old.duration_since(other.created_at.unwrap()).as_secs();
            let is_known = age > 60 + 30 + i64::try_from(LAG.as_secs()).unwrap();
            let by_ana = other.requestor.as_deref() == Some("ana");
            assert!(!(by_ana && is_known), "{machine} is sent to: {other:?}");
        }
        assert!(
            !self.excluded.lines().contains(&machine),
            "{machine} is excluded"
        );
    }

    fn send(&mut self, request: Result<Request, ReadQuery>, call_token: CallToken) {
        let is_good = self.dice.random_range(0..100) >= self.plan.faults;
        let fault = match self.dice.random_range(0..4) {
            _ if is_good => Fault::None,
            0 => Fault::Unavailable,
            1 => Fault::Lost(false),
            2 => Fault::Lost(true),
            _ => Fault::Silent,
        };
        let latency = Duration::from_millis(self.dice.random_range(20..150));
        let (arrives, reply_after) = match fault {
            Fault::Silent => (
                TIMEOUT + GRACE.mul_f64(self.dice.random_range(0.0..1.0)),
                TIMEOUT,
            ),
            _ => (latency / 2, latency),
        };
        if fault == Fault::Silent {
            let event = match &request {
                Ok(_) => Event::Replied {
                    lane: LANE,
                    call_token,
                    reply: reply(ReplyKind::TimedOut, None),
                },
                Err(_) => Event::Read {
                    lane: LANE,
                    call_token,
                    reply: reply(ReplyKind::TimedOut, None),
                },
            };
            self.later(TIMEOUT, Thing::Event(Box::new(event)));
        }
        let call = Call {
            request,
            fault,
            reply_at: self.now + reply_after,
            waits: Some(call_token),
        };
        self.later(arrives, Thing::Arrival(Box::new(call)));
    }

    fn happen(&mut self, thing: Thing) {
        match thing {
            Thing::Event(event) => self.step(*event),
            Thing::Arrival(call) => self.arrive(&call),
            Thing::Other(row, kind) => {
                let by = if kind == "Isolate" { "ana" } else { "bob" };
                let now = i64::try_from(self.now.as_secs()).unwrap();
                let other = action(3, row.into(), kind, by, row, now);
                self.actions.get_mut(&machine_of(row)).unwrap().push(other);
            }
        }
    }

    fn arrive(&mut self, call: &Call) {
        let is_done = !matches!(call.fault, Fault::Unavailable | Fault::Lost(false));
        let event = match &call.request {
            Ok(request) => {
                self.arrivals.push(self.now);
                let answer = is_done.then(|| self.release(request));
                call.waits.map(|call_token| Event::Replied {
                    lane: LANE,
                    call_token,
                    reply: lost(call.fault).or(answer).unwrap(),
                })
            }
            Err(query) => call.waits.map(|call_token| Event::Read {
                lane: LANE,
                call_token,
                reply: lost(call.fault).unwrap_or_else(|| self.read(query)),
            }),
        };
        if let Some(event) = event.filter(|_| call.fault != Fault::Silent) {
            let after = call.reply_at.saturating_sub(self.now);
            self.later(after, Thing::Event(Box::new(event)));
        }
    }

    fn release(&mut self, request: &Request) -> CancelReply {
        let Request::Unisolate(machine) = request else {
            panic!("{request:?}");
        };
        let wall = self.moment().wall;
        let actions = self.actions.get_mut(&machine.to_lowercase()).unwrap();
        for action in actions.iter_mut() {
            settle(action, wall);
        }
        if actions
            .iter()
            .any(|action| action.status == Some(ActionStatus::Pending))
        {
            return Reply {
                kind: ReplyKind::Refused,
                http_status: Some(400),
                error: Some(ServiceError {
                    code: "ActiveRequestAlreadyExists".to_owned(),
                    ..ServiceError::default()
                }),
            };
        }
        self.number += 1;
        let record = MachineAction {
            action_type: Some(ActionType::Unisolate),
            status: Some(ActionStatus::Pending),
            requestor: Some("app".to_owned()),
            requestor_comment: Some(COMMENT.to_owned()),
            machine_id: Some(machine.to_lowercase()),
            created_at: Some(wall),
            ..MachineAction::bare(id_of(9, self.number))
        };
        actions.push(record.clone());
        reply(ReplyKind::Answer(Some(record)), Some(201))
    }

    fn read(&mut self, query: &ReadQuery) -> ReadReply {
        let wall = self.moment().wall;
        for action in self.actions.values_mut().flatten() {
            settle(action, wall);
        }
        let is_listed = |action: &&MachineAction| {
            wall.duration_since(action.created_at.unwrap())
                .unsigned_abs()
                >= LAG
        };
        let all = self.actions.values().flatten();
        let found = match query {
            ReadQuery::Actions(ids) => all.filter(|it| ids.contains(&it.id)).cloned().collect(),
            ReadQuery::Machines(machines) => {
                let is_asked =
                    |it: &&MachineAction| machines.contains(it.machine_id.as_ref().unwrap());
                all.filter(is_asked).filter(is_listed).cloned().collect()
            }
        };
        reply(ReplyKind::Answer(found), Some(200))
    }

    fn take(&mut self, take: &Take) -> Taken {
        let calls = self.ledger.entry(take.scope).or_default();
        if let Decision::NotBefore(until) = decide(take.now.uptime, &take.windows, calls) {
            return Taken::NotBefore(until);
        }
        calls.send();
        let row = match &take.purpose {
            Purpose::Send {
                row,
                comment,
                number,
                ..
            } => {
                let kept = &mut self.rows.get_mut(row).unwrap().row;
                kept.attempts += 1;
                assert_eq!(kept.attempts, *number);
                kept.phase = Phase::Sent;
                kept.first_sent_at.get_or_insert(take.now.wall);
                kept.comment_sent = Some(comment.to_string());
                Some(*row)
            }
            Purpose::Read => None,
        };
        self.calls.push(Some((take.scope, row)));
        Taken::Go(CallId(i64::try_from(self.calls.len()).unwrap() - 1))
    }

    fn write(&mut self, record: Record) {
        let place = |call: CallId| usize::try_from(call.0).unwrap();
        match record {
            Record::Replied {
                call, ended, row, ..
            } => {
                let (scope, _) = self.calls[place(call)].take().unwrap();
                self.ledger.get_mut(&scope).unwrap().end(ended);
                if let Some(reply) = row {
                    self.rows.get_mut(&reply.row).unwrap().row.phase = reply.phase;
                }
            }
            Record::Withdrawn { call } => {
                let (scope, row) = self.calls[place(call)].take().unwrap();
                self.ledger.get_mut(&scope).unwrap().withdraw();
                if let Some(row) = row {
                    let kept = &mut self.rows.get_mut(&row).unwrap().row;
                    kept.attempts -= 1;
                    kept.phase = if kept.attempts == 0 {
                        Phase::Fresh
                    } else {
                        Phase::Again
                    };
                }
            }
            Record::Noted {
                row,
                phase,
                record,
                checked_at,
                ..
            } => {
                let kept = &mut self.rows.get_mut(&row).unwrap().row;
                kept.phase = phase;
                kept.checked_at = checked_at.or(kept.checked_at);
                let other = record.map(|record| record.id).filter(|id| *id != kept.id);
                kept.response_action = other.or(kept.response_action);
            }
            Record::Settled {
                row, settlement, ..
            } => {
                let kept = self.rows.get_mut(&row).unwrap();
                let before = kept
                    .outcome
                    .replace((settlement.outcome, settlement.reason));
                assert!(before.is_none(), "row {row} is settled twice");
            }
            _ => {}
        }
    }

    fn judge(&self) {
        for (row, kept) in &self.rows {
            let (outcome, reason) = kept.outcome.as_ref().unwrap();
            let actions = &self.actions[&machine_of(row.0)];
            let ours = actions
                .iter()
                .filter(|it| it.requestor_comment.as_deref() == Some(COMMENT));
            let ours: Vec<_> = ours.collect();
            assert!(ours.len() <= 1, "{row} is released twice: {actions:#?}");
            let has = |who: &str, kind: ActionType| {
                let mut all = actions.iter();
                all.any(|it| {
                    it.requestor.as_deref() == Some(who) && it.action_type == Some(kind.clone())
                })
            };
            let is_borne_out = match outcome {
                Outcome::Released => ours.len() == 1,
                Outcome::AlreadyReleased => has("bob", ActionType::Unisolate),
                Outcome::Skipped => {
                    self.excluded.lines().contains(&machine_of(row.0))
                        || has("ana", ActionType::Isolate)
                }
                Outcome::Failed | Outcome::Accepted | Outcome::Unknown => true,
                _ => false,
            };
            assert!(is_borne_out, "{row} {outcome} {reason}: {actions:#?}");
        }
        let mut server = RollingWindows::new(&allowances(&self.plan.windows));
        assert_eq!(first_refused(&mut server, &self.arrivals), None);
    }

    fn count(&self, wanted: Outcome) -> usize {
        let outcomes = self.rows.values().filter_map(|kept| kept.outcome.as_ref());
        outcomes.filter(|(outcome, _)| *outcome == wanted).count()
    }
}

fn lost<T>(fault: Fault) -> Option<Reply<T>> {
    match fault {
        Fault::Unavailable => Some(reply(ReplyKind::NotApplied(None), Some(503))),
        Fault::Lost(_) => Some(reply(ReplyKind::Broken("reset".to_owned()), None)),
        Fault::None | Fault::Silent => None,
    }
}

/// Completes a release once its machine had enough time.
fn settle(action: &mut MachineAction, wall: Timestamp) {
    let age = wall
        .duration_since(action.created_at.unwrap())
        .unsigned_abs();
    if action.status == Some(ActionStatus::Pending) && age >= TAKES {
        action.status = Some(ActionStatus::Succeeded);
    }
}

/// An action that Succeeded, this many seconds after the start.
fn action(kind: u8, number: u64, word: &str, by: &str, row: u32, second: i64) -> MachineAction {
    MachineAction {
        action_type: Some(ActionType::parse(word)),
        status: Some(ActionStatus::Succeeded),
        requestor: Some(by.to_owned()),
        requestor_comment: Some("by hand".to_owned()),
        machine_id: Some(machine_of(row)),
        created_at: Some(Timestamp::from_second(1_800_000_000 + second).unwrap()),
        ..MachineAction::bare(id_of(kind, number))
    }
}

#[test]
fn a_thousand_releases_end_within_one_percent_of_the_best_and_draw_no_429() {
    let world = World::new(Plan {
        seed: 1,
        rows: 1_000,
        windows: Windows::documented(),
        faults: 0,
        others: 0,
        deaths: Vec::new(),
    })
    .run();
    assert_eq!(world.count(Outcome::Released), 1_000);
    assert_eq!(world.sent, 1_000);
    let (last, best) = (world.arrivals.last().unwrap(), Duration::from_secs(9 * 60));
    assert!(*last <= best + best / 100, "{last:?}");
}

#[test]
fn whatever_goes_wrong_no_machine_is_released_twice_or_against_somebodys_will() {
    let (mut released, mut skipped, mut repeated, mut processes) = (0, 0, 0, 0);
    for seed in 0..400 {
        let mut dice = SmallRng::seed_from_u64(seed);
        let deaths = (0..dice.random_range(0..6))
            .map(|_| Duration::from_millis(dice.random_range(0..200_000)));
        let deaths = deaths.collect();
        let world = World::new(Plan {
            seed,
            rows: dice.random_range(1..30),
            windows: Windows::new(vec!["6/30s".parse().unwrap()]),
            faults: dice.random_range(0..50),
            others: dice.random_range(0..80),
            deaths,
        })
        .run();
        released += world.count(Outcome::Released);
        skipped += world.count(Outcome::Skipped);
        let rows = world.rows.values();
        repeated += rows.filter(|kept| kept.row.attempts > 1).count();
        processes += world.processes;
    }
    // Checks that the plans are as bad as intended.
    let seen = (released, skipped, repeated, processes);
    assert!(
        released > 1_000 && skipped > 500 && repeated > 200 && processes > 600,
        "{seen:?}"
    );
}
