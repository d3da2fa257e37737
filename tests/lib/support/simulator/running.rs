//! A running simulation: what happens next, and what each effect of the core leads to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use jiff::SignedDuration;
use mde_cancel::engine::core::{CallTicket, Core, Effect, Event, ReadQuery, StopReason};
use mde_cancel::model::{
    ActionType, CancelReply, LaneId, Moment, Operation, ReadReply, ReplyKind, Request, RowContext,
    RowNumber, Uptime,
};
use mde_cancel::store::{CallId, LoadFrom, Record, RowPhase, SlotAnswer, SlotPurpose, SlotRequest};

use super::journal::Journal;
use super::machines::{WAVE, machine_of, row_of_machine};
use super::service::{Call, Service};
use super::{End, Fault, History, ProcessEnd, SignIn, Simulation, id_of, is_send, row_of, wall_at};

/// How long the journal takes to look up rows.
const LOOKUP: Duration = Duration::from_millis(3);

/// How long a sign-in takes, except for the first token, which is ready.
const SIGN_IN: Duration = Duration::from_millis(200);

const TIMEOUT: Duration = Duration::from_secs(30);

/// How often the core ticks. The real runner ticks every second; this is often enough here.
const LOOK: Duration = Duration::from_secs(60);

/// More steps than any run takes; past them it loops.
const MOST_STEPS: usize = 2_000_000;

/// More processes than deaths explain; past them, something stops each one.
const MOST_PROCESSES: usize = 120;

pub(super) struct Running {
    sim: Simulation,
    now: Duration,
    journal: Journal,
    service: Service,
    process: Process,
    agenda: BinaryHeap<Reverse<(Duration, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    numbers: u64,
    /// When the journal's writer is done with its queue.
    writer_free: Duration,
    /// Rows whose cancel may arrive after its process gave it up, so that the row may be settled first.
    late: BTreeSet<RowNumber>,
    /// Rows whose successful answer died with a process.
    unheard: BTreeSet<RowNumber>,
    steps: usize,
    history: History,
}

/// State that dies with a process.
struct Process {
    core: Core,
    granted: BTreeMap<CallTicket, CallId>,
    is_stopping: bool,
    /// Effects run, and writes done.
    effects: u32,
    /// Rows whose cancel was answered successfully.
    answered: BTreeSet<RowNumber>,
    /// When each lane's token expires.
    token_ends: BTreeMap<LaneId, Duration>,
    /// Calls on the wire whose answer is awaited.
    open: usize,
    /// Rows in the core's memory.
    loaded: BTreeSet<RowNumber>,
}

enum Happening {
    Event(Box<Event>),
    /// A token is ready; it expires then.
    Token(LaneId, Option<Duration>),
    /// The journal's writer reaches these records.
    Write(Vec<Record>),
    SlotRequest(LaneId, CallTicket, Box<SlotRequest>),
    Load(LaneId, LoadFrom, usize),
    /// The journal gets more rows of the input.
    Append,
    Arrival(Call),
}

impl Running {
    pub(super) fn of(sim: Simulation) -> Self {
        let longest = sim.windows.longest_hold();
        let longest = longest.max(sim.read_windows.longest_hold());
        Self {
            process: Process::new(sim.core(0, |_| None)),
            journal: Journal::new(longest),
            sim,
            now: Duration::ZERO,
            service: Service::default(),
            agenda: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            numbers: 0,
            writer_free: Duration::ZERO,
            late: BTreeSet::new(),
            unheard: BTreeSet::new(),
            steps: 0,
            history: History::default(),
        }
    }

    pub(super) fn run(mut self) -> History {
        loop {
            self.begin();
            let is_alive = self.live();
            let is_stopped = self.process.core.stop_reason().is_some();
            let is_over = self.now > self.sim.until || !(is_stopped && self.sim.resumes);
            if is_alive && is_over {
                break;
            }
            self.bury();
            assert!(
                self.history.processes < MOST_PROCESSES,
                "the run never ends: {:?}, {:?}",
                self.process.core.stop_reason(),
                self.process.core.view()
            );
        }
        let core = &self.process.core;
        self.history.elapsed = self.now;
        self.history.finished = core.is_done();
        self.history.stop = core.stop_reason();
        self.history.stops = core.stops();
        self.history.tally = core.tally();
        self.history.wasted = self.service.wasted;
        self.history.throttled = self.service.throttled;
        if self.history.finished && self.history.stop.is_none() {
            assert_eq!(self.journal.rows.len(), self.sim.rows as usize);
            for (row, kept) in &self.journal.rows {
                assert!(kept.outcome.is_some(), "row {row} is lost: {:?}", kept.row);
            }
        }
        self.history
    }

    /// Starts a process with what the journal holds.
    fn begin(&mut self) {
        let grace = self.sim.ledger_grace.unwrap_or(self.sim.grace);
        self.journal.end_calls_of_dead(uptime(self.now), grace);
        let journal = &self.journal;
        let core = self
            .sim
            .core(self.history.processes, |scope| journal.cooldown(scope));
        self.process = Process::new(core);
        self.history.processes += 1;
        self.writer_free = self.now;
        for lane in (0..self.sim.lanes).map(LaneId) {
            let rows = self.journal.rows.iter();
            let rows = rows
                .filter(|(_, kept)| kept.lane == lane)
                .map(|(row, _)| *row);
            let (count, Some(last)) = (rows.clone().count(), rows.clone().next_back()) else {
                continue;
            };
            self.step(Event::Appended {
                lane,
                last,
                count: count as u64,
                settled: self.journal.settled(lane),
            });
        }
        self.read_on();
    }

    /// Reads a few more rows, or reports the end of the input.
    fn read_on(&mut self) {
        if self.journal.last() == self.sim.rows {
            self.step(Event::InputEnded);
        } else {
            let at = self.now + self.sim.row_every + (self.sim.journal_pause)();
            self.later(at, Happening::Append);
        }
    }

    /// Runs a process until its run ends or stops, or it dies. Returns whether it didn't die.
    fn live(&mut self) -> bool {
        while !self.process.core.is_done() && self.now <= self.sim.until {
            if self.is_dead() {
                return false;
            }
            self.steps += 1;
            let view = || self.process.core.view();
            assert!(self.steps < MOST_STEPS, "no end: {:?}", view());
            let wake = self.process.core.next_wake().map(since_boot);
            let wake = wake.map(|wake| wake.min(self.now + LOOK));
            let next = self.agenda.peek().map(|Reverse((at, _))| *at);
            match (next, wake) {
                (Some(next), wake) if wake.is_none_or(|wake| next <= wake) => self.happen(),
                (_, Some(wake)) => {
                    assert!(
                        wake >= self.now,
                        "the core asks to be woken at {wake:?}, but it is {:?}: {:?}",
                        self.now,
                        view()
                    );
                    self.now = wake;
                    self.step(Event::Tick);
                }
                (_, None) => panic!("nothing will ever happen again: {:?}", view()),
            }
        }
        // The writer finishes its queue before a process exits.
        let is_write = |happening: &Happening| matches!(happening, Happening::Write(_));
        while !self.is_dead() && self.happenings.values().any(is_write) {
            self.happen();
        }
        !self.is_dead()
    }

    fn planned_end(&self) -> Option<ProcessEnd> {
        self.sim.ends.get(self.history.processes - 1).copied()
    }

    /// Returns whether the process has died; its remaining effects aren't run.
    fn is_dead(&self) -> bool {
        self.is_at_planned(End::Death)
    }

    fn is_at_planned(&self, end: End) -> bool {
        let planned = self.planned_end().filter(|planned| planned.end == end);
        planned.is_some_and(|planned| self.process.effects >= planned.effects)
    }

    /// Drops what died with a process. Its calls may still arrive, up to one grace after it gave them up.
    fn bury(&mut self) {
        let answered = std::mem::take(&mut self.process.answered).into_iter();
        let lost: Vec<_> = answered
            .filter(|row| self.journal.rows[row].row.phase == RowPhase::Sent)
            .collect();
        assert!(
            lost.len() <= self.sim.concurrency * usize::from(self.sim.lanes),
            "more answers are lost than calls were under way: {lost:?}"
        );
        self.unheard.extend(lost);
        let mut happenings = std::mem::take(&mut self.happenings);
        for Reverse((at, number)) in std::mem::take(&mut self.agenda).into_vec() {
            let Some(Happening::Arrival(mut call)) = happenings.remove(&number) else {
                continue;
            };
            let is_open = call.token.take().is_some() && call.reply_at > self.now;
            let at = if is_open {
                self.now + self.sim.grace.mul_f64(call.part)
            } else {
                at
            };
            if is_send(call.destination) {
                self.late.insert(call.rows[0]);
            }
            self.later(at, Happening::Arrival(call));
        }
        let down = self.planned_end().map_or(Duration::ZERO, |end| end.down);
        let up = self.now + down;
        while let Some(Reverse((at, _))) = self.agenda.peek().copied() {
            if at > up {
                break;
            }
            self.happen();
        }
        self.now = up;
    }

    /// Reads the machine's clocks.
    fn moment(&self) -> Moment {
        let steps = self.sim.wall_steps.iter();
        let ahead: i64 = steps
            .filter(|(at, _)| *at <= self.now)
            .map(|(_, seconds)| seconds)
            .sum();
        Moment {
            uptime: uptime(self.now),
            wall: wall_at(self.now)
                .checked_add(SignedDuration::from_secs(ahead))
                .unwrap(),
        }
    }

    fn later(&mut self, at: Duration, happening: Happening) {
        self.numbers += 1;
        self.agenda.push(Reverse((at, self.numbers)));
        self.happenings.insert(self.numbers, happening);
    }

    /// Queues work for the writer, which does one thing after the other.
    fn ask(&mut self, happening: Happening) {
        let pause = (self.sim.journal_pause)();
        self.writer_free = self.writer_free.max(self.now) + pause;
        self.later(self.writer_free, happening);
    }

    fn step(&mut self, event: Event) {
        let effects = self.process.core.step(self.moment(), event);
        // The check costs as much as there are rows in memory.
        if self.steps < 2_000 || self.steps.is_multiple_of(16) {
            self.process.core.check();
        }
        for effect in effects {
            if self.is_dead() {
                return;
            }
            self.process.effects += 1;
            self.perform(effect);
        }
        if self.is_at_planned(End::Stop) && !std::mem::replace(&mut self.process.is_stopping, true)
        {
            self.step(Event::Stop(StopReason::Asked("the schedule".to_owned())));
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Load { lane, from, limit } => {
                let at = self.now + LOOKUP + (self.sim.journal_pause)();
                self.later(at, Happening::Load(lane, from, limit));
            }
            Effect::SlotRequest {
                lane,
                call_token,
                take,
            } => self.ask(Happening::SlotRequest(lane, call_token, Box::new(take))),
            Effect::Write { records, .. } => self.ask(Happening::Write(records)),
            Effect::Post {
                lane,
                call_token,
                request,
                comment,
            } => {
                let row = match request {
                    Request::Cancel(id) => row_of(id),
                    Request::Unisolate(machine) => row_of_machine(&machine.to_lowercase()),
                    Request::Unrestrict(_) => panic!("nothing is restricted"),
                };
                assert_eq!(lane, self.sim.lane_of(row), "row {row} is another tenant's");
                assert!(
                    !self.process.answered.contains(&row),
                    "row {row} is sent again although it was answered well"
                );
                self.history.repeated += usize::from(self.unheard.remove(&row));
                if self.sim.operation == Operation::Release {
                    self.service
                        .machines
                        .check_release(&self.sim, row, self.now);
                }
                let destination = self.sim.operation.destination();
                let mut call = Call::new(lane, call_token, destination, vec![row]);
                call.comment = comment;
                self.send(call);
            }
            Effect::Read {
                lane,
                call_token,
                destination,
                query,
            } => {
                let (rows, of_machines): (Vec<_>, _) = match query {
                    ReadQuery::Actions(ids) => (ids.into_iter().map(row_of).collect(), false),
                    ReadQuery::Machines(machines) => {
                        (machines.iter().map(|it| row_of_machine(it)).collect(), true)
                    }
                };
                assert!(!rows.is_empty(), "a read of nothing");
                let mut call = Call::new(lane, call_token, destination, rows);
                call.of_machines = of_machines;
                self.send(call);
            }
            Effect::Token { lane, .. } => self.sign_in(lane),
            Effect::ReadPage { .. } | Effect::Respond { .. } | Effect::Tell { .. } => {}
        }
    }

    fn sign_in(&mut self, lane: LaneId) {
        self.history.tokens += 1;
        let is_at_hand = self.history.tokens <= usize::from(self.sim.lanes);
        let at = self.now + if is_at_hand { Duration::ZERO } else { SIGN_IN };
        let happening = match (self.sim.sign_in)(lane, self.now) {
            SignIn::Token(life) => Happening::Token(lane, life.map(|life| self.now + life)),
            SignIn::Unavailable => Happening::Event(Box::new(Event::TokenUnavailable {
                lane,
                reason: "nobody answers".to_owned(),
            })),
            SignIn::Refused => Happening::Event(Box::new(Event::TokenRefused {
                lane,
                reason: "wrong secret".to_owned(),
            })),
        };
        self.later(at, happening);
    }

    /// Puts a call on the wire.
    fn send(&mut self, mut call: Call) {
        let (token, lane, destination) = (call.token.unwrap(), call.lane, call.destination);
        self.assert_granted(token);
        let now = self.now;
        let (latency, part) = if is_send(destination) {
            self.history.posts.push((now, id_of(call.rows[0])));
            (self.sim.latency)(self.history.posts.len() - 1)
        } else {
            self.history.reads.push(now);
            (self.sim.read_latency)(self.history.reads.len() - 1)
        };
        let token_ends = self.process.token_ends.get(&lane);
        let has_ended = token_ends.is_some_and(|end| now + latency >= *end);
        self.history.with_ended_token += usize::from(has_ended);
        self.process.open += 1;
        self.history.most_open = self.history.most_open.max(self.process.open);
        let fault = (self.sim.fault)(lane, destination, now);
        let (arrives, reply_at) = match fault {
            Some(Fault::NoName) => (now, now),
            Some(Fault::Silent(_)) => {
                let longest = TIMEOUT + self.sim.grace;
                (now + longest.mul_f64(part), now + TIMEOUT)
            }
            _ => (now + latency.mul_f64(part), now + latency),
        };
        (call.fault, call.part, call.reply_at) = (fault, part, reply_at);
        if let Some(fault @ (Fault::NoName | Fault::Silent(_))) = fault {
            // The answer doesn't depend on the service.
            let event = if is_send(destination) {
                replied(&call, token, fault.reply())
            } else {
                read(&call, token, fault.reply())
            };
            self.later(reply_at, Happening::Event(Box::new(event)));
            if is_send(destination) && fault != Fault::NoName {
                self.late.insert(call.rows[0]);
            }
        }
        if fault != Some(Fault::NoName) {
            self.later(arrives, Happening::Arrival(call));
        }
    }

    /// Asserts that a call may leave: its slot is on disk, and the run isn't stopping.
    fn assert_granted(&mut self, token: CallTicket) {
        let Some(call) = self.process.granted.remove(&token) else {
            panic!("{token:?} leaves, and no slot was taken for it");
        };
        assert!(
            self.journal.is_in_flight(call),
            "{call:?} leaves after its end"
        );
        assert!(!self.process.is_stopping, "{call:?} leaves after the stop");
    }

    fn happen(&mut self) {
        let Reverse((at, number)) = self.agenda.pop().unwrap();
        self.now = at;
        match self.happenings.remove(&number).unwrap() {
            Happening::Event(event) => {
                let is_answer = matches!(*event, Event::Replied { .. } | Event::Read { .. });
                self.process.open -= usize::from(is_answer);
                self.step(*event);
            }
            Happening::Token(lane, ends) => {
                let moment = self.moment();
                let expires_at = ends.map(|end| moment.after(end.saturating_sub(at)).wall);
                if let Some(end) = ends {
                    self.process.token_ends.insert(lane, end);
                }
                self.step(Event::TokenReady { lane, expires_at });
            }
            Happening::SlotRequest(lane, call_token, take) => {
                self.process.effects += 1;
                let taken = self.take(&take);
                if let SlotAnswer::Go(call) = taken {
                    self.process.granted.insert(call_token, call);
                }
                self.step(Event::SlotAnswer {
                    lane,
                    call_token,
                    taken,
                });
            }
            Happening::Write(records) => {
                self.process.effects += 1;
                for record in &records {
                    self.write(record);
                }
            }
            Happening::Load(lane, from, limit) => {
                let mut rows = self.journal.load(lane, &from, limit);
                for row in &mut rows {
                    row.in_progress = (self.sim.in_progress)(row.number, at);
                }
                self.process
                    .loaded
                    .extend(rows.iter().map(|row| row.number));
                let loaded = self.process.loaded.len();
                self.history.most_loaded = self.history.most_loaded.max(loaded);
                self.step(Event::Loaded { lane, rows });
            }
            Happening::Append => {
                self.process.effects += 1;
                self.append();
            }
            Happening::Arrival(call) => self.arrive(&call),
        }
    }

    fn take(&mut self, take: &SlotRequest) -> SlotAnswer {
        if let SlotPurpose::Send { row, number: 1, .. } = take.purpose
            && let Some(other) = (self.sim.sent_elsewhere)(row, self.now)
        {
            return SlotAnswer::InProgress(other);
        }
        self.journal.take(take)
    }

    fn write(&mut self, record: &Record) {
        let now = self.now;
        match record {
            Record::Deferred { row, reason, .. } => {
                self.history.deferred.insert(*row, reason.clone());
                self.process.loaded.remove(row);
            }
            Record::Cooldown { until, .. } => {
                let wait = since_boot(*until).saturating_sub(now);
                self.history.cooldowns.push(wait);
            }
            _ => {}
        }
        let Some((row, settlement)) = self.journal.write(record, uptime(now)) else {
            return;
        };
        let is_late = self.late.contains(&row);
        self.service
            .judge(&mut self.sim, row, settlement.outcome, is_late, now);
        self.history.outcomes.insert(row, settlement.outcome);
        self.history.reasons.insert(row, settlement.reason.clone());
        self.history.settled_at.insert(row, now);
        self.history.deferred.remove(&row);
        self.process.loaded.remove(&row);
    }

    fn append(&mut self) {
        let first = self.journal.last() + 1;
        let last = self
            .sim
            .rows
            .min(self.journal.last() + self.sim.rows_at_once);
        let mut lanes: BTreeMap<LaneId, (RowNumber, u64)> = BTreeMap::new();
        for row in (first..=last).map(RowNumber) {
            let lane = self.sim.lane_of(row);
            let context = match self.sim.operation {
                Operation::Cancel => RowContext {
                    action_type: (self.sim.type_of)(row),
                    ..RowContext::default()
                },
                Operation::Release => RowContext {
                    action_type: Some(ActionType::Unisolate),
                    machine_id: Some(machine_of(row).to_uppercase()),
                    requestor: Some(WAVE.to_owned()),
                    ..RowContext::default()
                },
            };
            self.journal.append(lane, row, context);
            let (last, count) = lanes.entry(lane).or_insert((row, 0));
            *last = row;
            *count += 1;
        }
        for (lane, (last, count)) in lanes {
            self.step(Event::Appended {
                lane,
                last,
                count,
                settled: BTreeMap::new(),
            });
        }
        self.read_on();
    }

    /// Lets the service process a call, whether anyone waits for the answer or not.
    fn arrive(&mut self, call: &Call) {
        let now = self.now;
        // Not used if nobody waits.
        let token = call.token.unwrap_or(CallTicket(0));
        let event = if is_send(call.destination) {
            self.history.arrivals.push(now);
            self.history.faulted += usize::from(call.fault.is_some());
            let reply = self.service.send(&mut self.sim, call, now);
            if call.token.is_some() && matches!(reply.kind, ReplyKind::Answer(_)) {
                self.process.answered.insert(call.rows[0]);
            }
            replied(call, token, reply)
        } else {
            read(call, token, self.service.read(&mut self.sim, call, now))
        };
        if call.token.is_some() && !matches!(call.fault, Some(Fault::Silent(_))) {
            self.later(call.reply_at, Happening::Event(Box::new(event)));
        }
    }
}

impl Process {
    fn new(core: Core) -> Self {
        Self {
            core,
            granted: BTreeMap::new(),
            is_stopping: false,
            effects: 0,
            answered: BTreeSet::new(),
            token_ends: BTreeMap::new(),
            open: 0,
            loaded: BTreeSet::new(),
        }
    }
}

fn replied(call: &Call, call_token: CallTicket, reply: CancelReply) -> Event {
    Event::Replied {
        lane: call.lane,
        call_token,
        reply,
    }
}

fn read(call: &Call, call_token: CallTicket, reply: ReadReply) -> Event {
    Event::Read {
        lane: call.lane,
        call_token,
        reply,
    }
}

fn uptime(since_boot: Duration) -> Uptime {
    Uptime::from_nanos(0).after(since_boot)
}

fn since_boot(uptime: Uptime) -> Duration {
    uptime.since(Uptime::from_nanos(0))
}
