//! A world in motion: the agenda of what happens next, and the models that answer the core.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use jiff::Timestamp;
use mde_cancel::engine::core::{CallToken, Core, Effect, Event, Tally};
use mde_cancel::model::{
    ActionId, ActionStatus, CancelReply, LaneId, MachineAction, Moment, Outcome, ReadReply,
    ReplyKind, RetryAfter, RowNumber, Throttle, Uptime,
};
use mde_cancel::quota::{Calls, Decision, decide};
use mde_cancel::store::{
    CallId, LoadFrom, Phase, Purpose, QueuedRow, Record, ScopeKey, Take, Taken,
};

use super::super::model_server::ModelServer;
use super::super::{History, RollingWindows, allowances, load, queued};
use super::{Fault, World, id_of, reply, row_of};

const LANE: LaneId = LaneId(0);
const CANCELS: ScopeKey = ScopeKey(1);

/// How long the journal takes to look rows up.
const JOURNAL: Duration = Duration::from_millis(3);

/// How long a sign-in takes once the first token is there; the first one is at hand.
const SIGN_IN: Duration = Duration::from_millis(200);

/// How long a call to a silent service lasts.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The shell looks at the core every second; so often will do here.
const LOOK: Duration = Duration::from_secs(60);

/// So many steps are more than any run takes: past them it turns on the spot.
const MOST_STEPS: usize = 2_000_000;

pub(super) struct Running {
    world: World,
    core: Core,
    now: Duration,
    server: RollingWindows,
    agenda: BinaryHeap<Reverse<(Duration, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    numbers: u64,
    ledger: BTreeMap<ScopeKey, Calls>,
    calls: Vec<ScopeKey>,
    rows: BTreeMap<RowNumber, QueuedRow>,
    /// How far the journal says that each unsettled row has come.
    phases: BTreeMap<RowNumber, Phase>,
    statuses: BTreeMap<ActionId, ActionStatus>,
    posted: usize,
    /// When the token at hand ends, and the one that is on its way.
    token_ends: Option<Duration>,
    next_token_ends: Option<Duration>,
    history: History,
}

enum Happening {
    Event(Box<Event>),
    /// The journal looks rows up a moment after it was asked, when there may be more of them.
    Load(LoadFrom, usize),
    /// A row is read.
    Row(RowNumber),
    Arrival(CallToken, ActionId, Duration),
}

impl Running {
    pub(super) fn of(world: World, core: Core) -> Self {
        Self {
            core,
            now: Duration::ZERO,
            server: RollingWindows::new(&allowances(&world.windows)),
            agenda: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            numbers: 0,
            ledger: BTreeMap::new(),
            calls: Vec::new(),
            rows: BTreeMap::new(),
            phases: BTreeMap::new(),
            statuses: BTreeMap::new(),
            posted: 0,
            token_ends: None,
            next_token_ends: None,
            history: History {
                elapsed: Duration::ZERO,
                outcomes: BTreeMap::new(),
                arrivals: Vec::new(),
                throttled: 0,
                slots_in_outage: 0,
                finished: false,
                stop: None,
                tally: Tally::default(),
                posts: Vec::new(),
                reads: Vec::new(),
                wasted: 0,
                tokens: 0,
                with_ended_token: 0,
                cooldowns: Vec::new(),
                reasons: BTreeMap::new(),
                deferred: BTreeMap::new(),
            },
            world,
        }
    }

    /// Runs to the end.
    pub(super) fn run(mut self) -> History {
        self.play();
        self.history
    }

    fn play(&mut self) {
        if self.world.row_every.is_zero() {
            self.append(RowNumber(1), RowNumber(self.world.rows));
        } else {
            self.later(self.now, Happening::Row(RowNumber(1)));
        }
        let mut steps = 0;
        while !self.core.is_done() {
            if self.now > self.world.until {
                break;
            }
            steps += 1;
            assert!(steps < MOST_STEPS, "no end: {:?}", self.core.view());
            let wake = self.core.next_wake().map(since_boot);
            let wake = wake.map(|wake| wake.min(self.now + LOOK));
            let next = self.agenda.peek().map(|Reverse((at, _))| *at);
            match (next, wake) {
                (Some(next), wake) if wake.is_none_or(|wake| next <= wake) => self.happen(),
                (_, Some(wake)) => {
                    assert!(
                        wake >= self.now,
                        "the core asks to be woken at {wake:?}, but it is {:?}: {:?}",
                        self.now,
                        self.core.view()
                    );
                    self.now = wake;
                    self.step(Event::Tick);
                }
                (_, None) => panic!("nothing will ever happen again: {:?}", self.core.view()),
            }
        }
        self.history.elapsed = self.now;
        self.history.finished = self.core.is_done();
        self.history.stop = self.core.stop_reason();
        self.history.tally = self.core.tally();
        self.history.arrivals.sort();
    }

    fn moment(&self) -> Moment {
        let start = Moment {
            uptime: Uptime::from_nanos(0),
            wall: Timestamp::from_second(1_800_000_000).unwrap(),
        };
        start.after(self.now)
    }

    fn append(&mut self, first: RowNumber, last: RowNumber) {
        for number in (first.0..=last.0).map(RowNumber) {
            let mut row = queued(number, id_of(number));
            row.context.action_type = (self.world.type_of)(number);
            self.rows.insert(number, row);
        }
        self.step(Event::Appended {
            lane: LANE,
            last,
            count: u64::from(last.0 - first.0 + 1),
            settled: BTreeMap::new(),
        });
        if last.0 == self.world.rows {
            self.step(Event::InputEnded);
        }
    }

    fn step(&mut self, event: Event) {
        let effects = self.core.step(self.moment(), event);
        self.core.check();
        for effect in effects {
            self.perform(effect);
        }
    }

    fn later(&mut self, at: Duration, happening: Happening) {
        self.numbers += 1;
        self.agenda.push(Reverse((at, self.numbers)));
        self.happenings.insert(self.numbers, happening);
    }

    fn happen(&mut self) {
        let Reverse((at, number)) = self.agenda.pop().unwrap();
        self.now = at;
        match self.happenings.remove(&number).unwrap() {
            Happening::Event(event) => {
                if matches!(*event, Event::TokenReady { .. }) {
                    self.token_ends = self.next_token_ends;
                }
                self.step(*event);
            }
            Happening::Load(from, limit) => {
                let mut rows = load(self.rows.values(), &from, limit);
                for row in &mut rows {
                    row.in_progress = (self.world.in_progress)(row.number, self.now);
                }
                self.step(Event::Loaded { lane: LANE, rows });
            }
            Happening::Row(row) => {
                self.append(row, row);
                if row.0 < self.world.rows {
                    let next = self.now + self.world.row_every;
                    self.later(next, Happening::Row(RowNumber(row.0 + 1)));
                }
            }
            Happening::Arrival(call_token, id, reply_at) => {
                let reply = self.serve(id);
                let event = Event::Replied {
                    lane: LANE,
                    call_token,
                    reply,
                };
                self.later(reply_at, Happening::Event(Box::new(event)));
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        let now = self.now;
        match effect {
            Effect::Load { from, limit, .. } => {
                self.later(now + JOURNAL, Happening::Load(from, limit));
            }
            Effect::Take {
                lane,
                call_token,
                take,
            } => {
                let taken = self.take(&take);
                self.later(
                    now,
                    Happening::Event(Box::new(Event::Taken {
                        lane,
                        call_token,
                        taken,
                    })),
                );
            }
            Effect::Post {
                lane,
                call_token,
                id,
                ..
            } => {
                let (latency, part) = (self.world.latency)(self.posted);
                self.posted += 1;
                self.history.posts.push((now, id));
                let has_ended = self.token_ends.is_some_and(|end| now + latency >= end);
                self.history.with_ended_token += usize::from(has_ended);
                match self.fault() {
                    Some(Fault::NoName) => {
                        let reply = reply(ReplyKind::NeverLeft("no such host".to_owned()), None);
                        self.later(
                            now,
                            Happening::Event(Box::new(Event::Replied {
                                lane,
                                call_token,
                                reply,
                            })),
                        );
                    }
                    Some(Fault::Silent) => {
                        self.later(
                            now + latency,
                            Happening::Arrival(call_token, id, now + TIMEOUT),
                        );
                    }
                    _ => {
                        let arrives = now + latency.mul_f64(part);
                        self.later(arrives, Happening::Arrival(call_token, id, now + latency));
                    }
                }
            }
            Effect::Read {
                lane,
                call_token,
                ids,
                ..
            } => {
                assert!(!ids.is_empty(), "a read of nothing");
                self.history.reads.push(now);
                let reply = match (self.world.read_answer)(&ids, now) {
                    Some(reply) => reply,
                    None => self.read(&ids),
                };
                self.later(
                    now + self.world.read_latency,
                    Happening::Event(Box::new(Event::Read {
                        lane,
                        call_token,
                        reply,
                    })),
                );
            }
            Effect::Write { records, .. } => {
                for record in records {
                    self.write(record);
                }
            }
            Effect::Token { lane, .. } => {
                self.history.tokens += 1;
                let wait = if self.history.tokens == 1 {
                    Duration::ZERO
                } else {
                    SIGN_IN
                };
                let is_down = self.world.no_sign_in.as_ref();
                let event = if is_down.is_some_and(|when| when.contains(&now)) {
                    let reason = "nobody answers".to_owned();
                    Event::TokenUnavailable { lane, reason }
                } else {
                    self.next_token_ends = self.world.token_life.map(|life| now + life);
                    let life = self.world.token_life;
                    let wall = life.map(|life| self.moment().after(life).wall);
                    Event::TokenReady {
                        lane,
                        expires_at: wall,
                    }
                };
                self.later(now + wait, Happening::Event(Box::new(event)));
            }
            Effect::ReadPage { .. } | Effect::Respond { .. } | Effect::Tell { .. } => {}
        }
    }

    fn take(&mut self, take: &Take) -> Taken {
        let calls = self.ledger.entry(take.scope).or_default();
        if let Decision::NotBefore(until) = decide(take.now.uptime, &take.windows, calls) {
            return Taken::NotBefore(until);
        }
        if let Purpose::Cancel { row, number: 1, .. } = take.purpose
            && let Some(other) = (self.world.sent_elsewhere)(row, self.now)
        {
            return Taken::InProgress(other);
        }
        calls.send();
        self.calls.push(take.scope);
        Taken::Go(CallId(i64::try_from(self.calls.len()).unwrap() - 1))
    }

    fn fault(&self) -> Option<Fault> {
        let (when, fault) = self.world.outage.as_ref()?;
        when.contains(&self.now).then_some(*fault)
    }

    fn serve(&mut self, id: ActionId) -> CancelReply {
        self.history.arrivals.push(self.now);
        if let Some(fault) = self.fault() {
            self.history.slots_in_outage += 1;
            return match fault {
                Fault::Silent => reply(ReplyKind::TimedOut, None),
                _ => reply(ReplyKind::NotApplied(None), Some(503)),
            };
        }
        if let Some(reply) = (self.world.cancel_answer)(id, self.now) {
            return reply;
        }
        if !self.server.admits(self.now) {
            self.history.throttled += 1;
            let throttle = Throttle {
                retry_after: Some(RetryAfter::Wait(Duration::from_secs(60))),
                ..Throttle::default()
            };
            return reply(ReplyKind::Throttled(throttle), Some(429));
        }
        match self.state(id) {
            None => return reply(ReplyKind::NotFound, Some(404)),
            Some(status) if !status.is_open() => {
                self.history.wasted += 1;
                return reply(ReplyKind::Refused, Some(400));
            }
            Some(_) => {}
        }
        self.statuses.insert(id, ActionStatus::Cancelled);
        let record = MachineAction {
            status: Some(ActionStatus::Cancelled),
            cancellation_comment: Some("by the simulation".to_owned()),
            ..MachineAction::bare(id)
        };
        reply(ReplyKind::Answer(Some(record)), Some(200))
    }

    fn read(&mut self, ids: &[ActionId]) -> ReadReply {
        if self.fault().is_some() {
            return reply(ReplyKind::NotApplied(None), Some(503));
        }
        if !self.world.readable {
            return reply(ReplyKind::Forbidden, Some(403));
        }
        let known: Vec<_> = ids
            .iter()
            .filter_map(|&id| self.state(id).map(|status| (id, status)))
            .collect();
        let records = known.into_iter().map(|(id, status)| MachineAction {
            status: Some(status),
            action_type: (self.world.true_type_of)(row_of(id)),
            cancellation_comment: self
                .statuses
                .get(&id)
                .map(|_| "by the simulation".to_owned()),
            ..MachineAction::bare(id)
        });
        reply(ReplyKind::Answer(records.collect()), Some(200))
    }

    /// Returns the service's word on an action, our own cancel before everything.
    fn state(&mut self, id: ActionId) -> Option<ActionStatus> {
        let ours = self.statuses.get(&id).cloned();
        ours.or_else(|| (self.world.state_of)(row_of(id), self.now))
    }

    fn write(&mut self, record: Record) {
        match record {
            Record::Replied {
                call, ended, row, ..
            } => {
                if let Some(reply) = row {
                    self.phases.insert(reply.row, reply.phase);
                }
                let scope = self.calls[usize::try_from(call.0).unwrap()];
                self.ledger.entry(scope).or_default().end(ended);
                if scope == CANCELS {
                    let longest = self.world.windows.longest_hold();
                    let now = self.moment().uptime;
                    self.ledger.entry(scope).or_default().prune(now, longest);
                }
            }
            Record::Withdrawn { call } => {
                let scope = self.calls[usize::try_from(call.0).unwrap()];
                self.ledger.entry(scope).or_default().withdraw();
            }
            Record::Noted { row, phase, .. } => drop(self.phases.insert(row, phase)),
            Record::Settled {
                row, settlement, ..
            } => {
                let phase = self.phases.remove(&row);
                assert!(
                    settlement.outcome != Outcome::Failed || phase != Some(Phase::Unknown),
                    "row {row} failed although what became of a cancel is unknown"
                );
                self.history.reasons.insert(row, settlement.reason);
                let before = self.history.outcomes.insert(row, settlement.outcome);
                assert_eq!(before, None, "row {row} was settled twice");
                self.history.deferred.remove(&row);
                self.rows.remove(&row);
            }
            Record::Deferred { row, reason, .. } => {
                self.history.deferred.insert(row, reason);
            }
            Record::Cooldown { until, .. } => {
                self.history
                    .cooldowns
                    .push(since_boot(until).saturating_sub(self.now));
            }
            _ => {}
        }
    }
}

fn since_boot(uptime: Uptime) -> Duration {
    uptime.since(Uptime::from_nanos(0))
}
