//! A world in virtual time whose processes die between any two effects, and are followed by others on the same journal.
//!
//! The real core decides. The journal is a model with one writer: what was asked of it is done in order and a moment
//! later, and what was not done when the process died is lost. The service is a model with dice: calls arrive late, twice
//! or never, and what a dead process sent may still arrive one grace after it. Judged by the service's own stamps.

mod journal;
mod service;
mod wire;

mod process;
mod verdict;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mde_cancel::engine::core::{CallToken, Effect, Event, StopReason};
use mde_cancel::model::{LaneId, Moment, RowNumber, Uptime};
use mde_cancel::store::{LoadFrom, Phase, Record, Take, Taken};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::{id_of, queued};
use journal::Journal;
use process::Process;
use service::Service;
use wire::{Call, What};

pub(crate) use process::{End, Schedule, Seen};
pub(crate) use wire::GRACE;

const LANE: LaneId = LaneId(0);

/// More processes than this do not come for deaths alone: something stops each of them.
const MOST_PROCESSES: usize = 120;

enum Happening {
    Event(Box<Event>),
    /// The journal's writer comes to this.
    Write(Errand),
    /// A call reaches the service.
    Arrival(Call),
}

enum Errand {
    Take(CallToken, Box<Take>),
    Records(Vec<Record>),
    Load(LoadFrom, usize),
    Append(RowNumber),
}

struct World {
    schedule: Schedule,
    dice: SmallRng,
    now: Duration,
    journal: Journal,
    service: Service,
    process: Process,
    agenda: BinaryHeap<Reverse<(Duration, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    numbers: u64,
    /// When the writer is done with all that was asked of it.
    writer_free: Duration,
    /// Rows whose cancel may arrive after its process took it for lost, so that the row's last word may come before it.
    late: BTreeSet<RowNumber>,
    /// Rows whose good answer died with a process.
    unheard: BTreeSet<RowNumber>,
    seen: Seen,
}

/// Plays a schedule to the end of its run, and checks all on the way.
pub(crate) fn play(schedule: Schedule) -> Seen {
    let mut dice = SmallRng::seed_from_u64(schedule.seed);
    let ids = (1..=schedule.rows).map(|row| id_of(RowNumber(row)));
    let service = Service::new(ids, &mut dice, schedule.readable);
    let journal = Journal::default();
    let mut world = World {
        process: Process::new(&schedule, &journal, 0),
        schedule,
        dice,
        now: Duration::ZERO,
        journal,
        service,
        agenda: BinaryHeap::new(),
        happenings: BTreeMap::new(),
        numbers: 0,
        writer_free: Duration::ZERO,
        late: BTreeSet::new(),
        unheard: BTreeSet::new(),
        seen: Seen::default(),
    };
    world.run();
    world.judge();
    world.seen
}

impl World {
    fn run(&mut self) {
        loop {
            self.begin();
            let ended = self.live();
            if ended && self.process.core.stop_reason().is_none() {
                return;
            }
            self.bury();
            assert!(
                self.seen.processes < MOST_PROCESSES,
                "the run never ends: {:?}, {:?}",
                self.process.core.stop_reason(),
                self.process.core.view()
            );
        }
    }

    /// Tells a new process what the journal holds.
    fn begin(&mut self) {
        self.seen.processes += 1;
        let grace = self.schedule.grace_of_ledger;
        self.journal.end_calls_of_dead(uptime(self.now), grace);
        let number = u64::try_from(self.seen.processes).unwrap();
        self.process = Process::new(&self.schedule, &self.journal, number);
        self.writer_free = self.now;
        if let Some((&last, _)) = self.journal.rows.last_key_value() {
            self.step(Event::Appended {
                lane: LANE,
                last,
                count: u64::from(last.0),
                settled: self.journal.settled(),
            });
        }
        self.read_on();
    }

    /// Reads a few more rows, or tells that there are none.
    fn read_on(&mut self) {
        let last = self
            .journal
            .rows
            .last_key_value()
            .map_or(0, |(row, _)| row.0);
        if last == self.schedule.rows {
            self.step(Event::InputEnded);
        } else {
            let chunk = self.dice.random_range(1..=8);
            let through = RowNumber((last + chunk).min(self.schedule.rows));
            self.ask(Errand::Append(through));
        }
    }

    /// Lets a process live until its run ends or stops, or it dies. Returns whether it came to its own end.
    fn live(&mut self) -> bool {
        while !self.process.core.is_done() {
            if self.is_dead() {
                return false;
            }
            let wake = self.process.core.next_wake().map(since_boot);
            let next = self.agenda.peek().map(|Reverse((at, _))| *at);
            match (next, wake) {
                (Some(next), wake) if wake.is_none_or(|wake| next <= wake) => self.happen(),
                (_, Some(wake)) => {
                    self.now = self.now.max(wake);
                    self.step(Event::Tick);
                }
                (_, None) => panic!(
                    "nothing will ever happen again: {:?}",
                    self.process.core.view()
                ),
            }
        }
        // What the writer still has is written before a process leaves.
        let is_write = |happening: &Happening| matches!(happening, Happening::Write(_));
        while !self.is_dead() && self.happenings.values().any(is_write) {
            self.happen();
        }
        !self.is_dead()
    }

    fn planned_end(&self) -> Option<(u32, End, Duration)> {
        self.schedule.ends.get(self.seen.processes - 1).copied()
    }

    /// Returns whether the process has died; what it wants done is not done any more.
    fn is_dead(&self) -> bool {
        matches!(self.planned_end(), Some((effects, End::Death, _)) if self.process.effects >= effects)
    }

    /// Forgets what died with a process; what it sent may still arrive, up to one grace after it was given up.
    fn bury(&mut self) {
        let answered = std::mem::take(&mut self.process.answered).into_iter();
        let lost: Vec<_> = answered
            .filter(|row| self.journal.rows[row].row.phase == Phase::Sent)
            .collect();
        assert!(
            lost.len() <= self.schedule.concurrency,
            "more answers are lost than calls were under way: {lost:?}"
        );
        self.unheard.extend(lost);
        let mut happenings = std::mem::take(&mut self.happenings);
        for Reverse((at, number)) in std::mem::take(&mut self.agenda).into_vec() {
            let Some(Happening::Arrival(mut call)) = happenings.remove(&number) else {
                continue;
            };
            let at = if call.waits.take().is_some() && call.reply_at > self.now {
                self.between(self.now, self.now + GRACE)
            } else {
                at
            };
            if let What::Cancel(row, _) = call.what {
                self.late.insert(row);
            }
            self.later(at, Happening::Arrival(call));
        }
        let down = self
            .planned_end()
            .map_or(Duration::ZERO, |(_, _, down)| down);
        let up = self.now + down;
        while let Some(Reverse((at, _))) = self.agenda.peek().copied() {
            if at > up {
                break;
            }
            self.happen();
        }
        self.now = up;
    }

    fn between(&mut self, from: Duration, to: Duration) -> Duration {
        from + (to.saturating_sub(from)).mul_f64(self.dice.random_range(0.0..=1.0))
    }

    /// Looks at the machine's clocks.
    fn moment(&self) -> Moment {
        let steps = self.schedule.steps.iter();
        let ahead: i64 = steps
            .filter(|(at, _)| *at <= self.now)
            .map(|(_, seconds)| seconds)
            .sum();
        let true_now = self.true_moment();
        Moment {
            wall: true_now
                .wall
                .checked_add(SignedDuration::from_secs(ahead))
                .unwrap(),
            ..true_now
        }
    }

    /// Looks at a clock that nobody sets: the service's.
    fn true_moment(&self) -> Moment {
        let start = Moment {
            uptime: Uptime::from_nanos(0),
            wall: Timestamp::from_second(1_800_000_000).unwrap(),
        };
        start.after(self.now)
    }

    fn later(&mut self, at: Duration, happening: Happening) {
        self.numbers += 1;
        self.agenda.push(Reverse((at, self.numbers)));
        self.happenings.insert(self.numbers, happening);
    }

    /// Gives the writer something to do; it does one thing after the other.
    fn ask(&mut self, errand: Errand) {
        let pause = Duration::from_micros(self.dice.random_range(0..20_000));
        self.writer_free = self.writer_free.max(self.now) + pause;
        self.later(self.writer_free, Happening::Write(errand));
    }

    fn step(&mut self, event: Event) {
        let effects = self.process.core.step(self.moment(), event);
        self.process.core.check();
        for effect in effects {
            if self.is_dead() {
                return;
            }
            self.process.effects += 1;
            self.perform(effect);
        }
        if let Some((effects, End::Stop, _)) = self.planned_end()
            && self.process.effects >= effects
            && !std::mem::replace(&mut self.process.stopping, true)
        {
            self.step(Event::Stop(StopReason::Asked("the schedule".to_owned())));
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Load { from, limit, .. } => self.ask(Errand::Load(from, limit)),
            Effect::Take {
                call_token, take, ..
            } => self.ask(Errand::Take(call_token, Box::new(take))),
            Effect::Write { records, .. } => self.ask(Errand::Records(records)),
            Effect::Post {
                call_token,
                id,
                comment,
                ..
            } => self.post(call_token, id, comment),
            Effect::Read {
                call_token,
                destination,
                ids,
                ..
            } => self.send_read(call_token, destination, ids),
            Effect::Token { .. } => {
                let at = self.now + Duration::from_millis(self.dice.random_range(0..300));
                self.later(
                    at,
                    Happening::Event(Box::new(Event::TokenReady {
                        lane: LANE,
                        expires_at: None,
                    })),
                );
            }
            Effect::ReadPage { .. } | Effect::Respond { .. } | Effect::Tell { .. } => {}
        }
    }

    fn happen(&mut self) {
        let Reverse((at, number)) = self.agenda.pop().unwrap();
        self.now = at;
        match self.happenings.remove(&number).unwrap() {
            Happening::Event(event) => self.step(*event),
            Happening::Write(errand) => {
                self.process.effects += 1;
                self.write(errand);
            }
            Happening::Arrival(call) => self.arrive(&call),
        }
    }

    fn write(&mut self, errand: Errand) {
        match errand {
            Errand::Take(call_token, take) => {
                let taken = self.journal.take(&take);
                if let Taken::Go(call) = taken {
                    self.process.granted.insert(call_token, call);
                }
                self.step(Event::Taken {
                    lane: LANE,
                    call_token,
                    taken,
                });
            }
            Errand::Records(records) => {
                let now = self.moment();
                for record in &records {
                    if let Some((row, outcome)) = self.journal.write(record, now) {
                        self.judge_row(row, outcome);
                    }
                }
            }
            Errand::Load(from, limit) => {
                let rows = self.journal.load(&from, limit);
                self.step(Event::Loaded { lane: LANE, rows });
            }
            Errand::Append(last) => {
                let first = self
                    .journal
                    .rows
                    .last_key_value()
                    .map_or(1, |(row, _)| row.0 + 1);
                (first..=last.0)
                    .map(RowNumber)
                    .for_each(|row| self.journal.append(queued(row, id_of(row))));
                self.step(Event::Appended {
                    lane: LANE,
                    last,
                    count: u64::from(last.0 + 1 - first),
                    settled: BTreeMap::new(),
                });
                self.read_on();
            }
        }
    }
}

fn uptime(since_boot: Duration) -> Uptime {
    Uptime::from_nanos(0).after(since_boot)
}

fn since_boot(uptime: Uptime) -> Duration {
    uptime.since(Uptime::from_nanos(0))
}
