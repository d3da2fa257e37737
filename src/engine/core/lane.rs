//! One tenant's share of a run: its rows, its gates and what it knows about the service.
//!
//! [`transition`] decides where a row goes, and [`Lane::apply`] moves it there. Nothing else changes a row's state or
//! the indexes.

use std::collections::HashMap;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::model::{Destination, FollowUp, LaneId, Moment, Outcome, RowNumber, Uptime};
use crate::store::{CallId, Record};

use super::denied_types::DeniedTypes;
use super::event::{CallTicket, Effect, Event, RunEvent, StopReason, Waiting};
use super::load_rows::Loading;
use super::reasons;
use super::row::Row;
use super::row_indexes::Indexes;
use super::scope_gate::{GateWait, Gates};
use super::settings::{CoreSettings, LaneSettings, Tally};
use super::single_page::PageReads;
use super::status_reads::ReadBatches;
use super::stop_rules::{ServiceContact, StopRules};
use super::token_renewal::LaneToken;
use super::transition::{Conditions, Deferral, Next, RowEvent, transition};

/// A call from the request for a slot until its answer is processed.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) destination: Destination,
    /// The row to cancel, or the rows to read.
    pub(super) rows: Vec<RowNumber>,
    pub(super) call: Option<CallId>,
    pub(super) token: u32,
    /// The breaker's generation when it left.
    pub(super) generation: u32,
}

pub(super) struct Lane {
    pub(super) id: LaneId,
    pub(super) settings: Arc<CoreSettings>,
    /// Whether cancels may be sent; otherwise the lane reads states for a plan.
    pub(super) is_armed: bool,
    pub(super) rng: SmallRng,
    pub(super) gates: Gates,
    pub(super) token: LaneToken,
    /// Whether the token may read records, as far as is known.
    pub(super) may_read: bool,
    pub(super) rows: HashMap<RowNumber, Row>,
    pub(super) indexes: Indexes,
    pub(super) calls: HashMap<CallTicket, InFlight>,
    last_call: u64,
    pub(super) loading: Loading,
    pub(super) batches: ReadBatches,
    pub(super) pages: PageReads,
    pub(super) types: DeniedTypes,
    pub(super) heard: ServiceContact,
    pub(super) stop_rules: StopRules,
    pub(super) tally: Tally,
    pub(super) stop: Option<StopReason>,
    pub(super) stopping_since: Option<Uptime>,
    pub(super) waiting: Option<Waiting>,
    pub(super) wake: Option<Uptime>,
    /// New calls that the lane may still start in this turn.
    pub(super) permits: usize,
    /// Whether it needed one more.
    pub(super) lacks_permit: bool,
    /// Collected while one event is handled, written in one transaction.
    pub(super) records: Vec<Record>,
    pub(super) tell: Vec<RunEvent>,
}

impl Lane {
    pub(super) fn new(id: LaneId, settings: Arc<CoreSettings>, lane: LaneSettings) -> Self {
        let rng = SmallRng::seed_from_u64(settings.seed.wrapping_add(u64::from(id.0)));
        Self {
            id,
            is_armed: true,
            rng,
            gates: Gates::new(lane),
            token: LaneToken::default(),
            may_read: true,
            rows: HashMap::new(),
            indexes: Indexes::default(),
            calls: HashMap::new(),
            last_call: 0,
            loading: Loading::default(),
            batches: ReadBatches::default(),
            pages: PageReads::default(),
            types: DeniedTypes::new(settings.operation),
            settings,
            heard: ServiceContact::default(),
            stop_rules: StopRules::default(),
            tally: Tally::default(),
            stop: None,
            stopping_since: None,
            waiting: None,
            wake: None,
            permits: 0,
            lacks_permit: false,
            records: Vec::new(),
            tell: Vec::new(),
        }
    }

    pub(super) fn on_event(&mut self, now: Moment, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Appended {
                last,
                count,
                settled,
                ..
            } => self.appended(last, count, &settled),
            Event::Loaded { rows, .. } => self.loaded(now, rows),
            Event::TokenReady { expires_at, .. } => self.token_ready(now, expires_at),
            Event::TokenUnavailable { reason, .. } => self.token_unavailable(now, reason),
            Event::TokenRefused { reason, .. } => self.token_refused(now, reason),
            Event::SlotAnswer {
                call_token, taken, ..
            } => self.taken(now, call_token, taken, out),
            Event::Replied {
                call_token, reply, ..
            } => self.replied(now, call_token, &reply),
            Event::Read {
                call_token, reply, ..
            } => self.read(now, call_token, reply),
            Event::Request { query, .. } => self.request_page(query),
            Event::InputEnded | Event::Stop(_) | Event::Tick => {}
        }
    }

    /// Applies an event to a row.
    pub(super) fn advance(&mut self, now: Moment, number: RowNumber, event: RowEvent) {
        if let Some(next) = self.decide(now, number, event) {
            self.apply(now, number, next);
        }
    }

    /// Decides where an event sends a row, for callers that journal something first.
    pub(super) fn decide(
        &mut self,
        now: Moment,
        number: RowNumber,
        event: RowEvent,
    ) -> Option<Next> {
        let is_alone = self.is_alone(number);
        let row = self.rows.get_mut(&number)?;
        let on = Conditions {
            now,
            settings: &self.settings,
            is_armed: self.is_armed,
            may_read: self.may_read,
            reads_are_slow: self.batches.are_slow,
            cancels_are_down: self.gates.send.breaker.is_open(),
            permission: self.types.permission(number, row),
            answers: self.heard.answers,
            is_alone,
            chance: self.rng.random_range(0.0..=1.0),
        };
        Some(transition(row, event, &on))
    }

    /// Returns whether no other row can show if this row's faults are the service's: all others have used up theirs.
    fn is_alone(&self, number: RowNumber) -> bool {
        let most = self.settings.retry.max_attempts;
        let row = self.rows.get(&number);
        // Plus one: the fault being judged isn't counted yet.
        row.is_some_and(|row| row.faults.raw + 1 >= most)
            && !self.loading.has_more()
            && self
                .rows
                .iter()
                .all(|(&other, row)| other == number || row.faults.raw >= most)
    }

    pub(super) fn apply(&mut self, now: Moment, number: RowNumber, next: Next) {
        let Some(row) = self.rows.get_mut(&number) else {
            return;
        };
        self.indexes.remove(number, row.state);
        match next {
            Next::To(state) => {
                row.state = state;
                self.indexes.insert(number, state);
            }
            Next::Done(outcome, reason) => self.settle(now, number, outcome, reason),
            Next::FailedForGood(reason) => {
                let last = row.last.clone();
                self.settle(now, number, Outcome::Failed, reason);
                self.count_refusal(&last);
            }
            Next::Defer(why) => self.defer(now, number, why),
        }
    }

    fn settle(&mut self, now: Moment, number: RowNumber, outcome: Outcome, reason: String) {
        let Some(row) = self.rows.remove(&number) else {
            return;
        };
        let mut settlement = row.settlement(outcome, reason, now.wall);
        if let Some(why) = row.regret(outcome, &self.settings.rules) {
            settlement.follow_up = Some(FollowUp::ManualRequestAgain);
            settlement.reason = reasons::of_regret(&settlement.reason, &why);
        }
        let reason = settlement.reason.clone();
        self.tally.settle(outcome, 1);
        self.tally.follow_ups += u64::from(settlement.follow_up.is_some());
        self.records.push(Record::Settled {
            run: self.settings.run,
            row: number,
            settlement,
        });
        self.tell.push(RunEvent::Settled {
            row: number,
            id: row.id,
            outcome,
            reason,
        });
        self.leaves_sample(now, number);
        self.count_end(&row, outcome);
    }

    /// Leaves a row unsettled in the journal.
    fn defer(&mut self, now: Moment, number: RowNumber, why: Deferral) {
        let Some(row) = self.rows.remove(&number) else {
            return;
        };
        let reason = match why {
            Deferral::Conflict(run) => {
                self.loading.conflict(run);
                reasons::of_in_progress(run)
            }
            Deferral::DeniedType => self.types.defer(&row.action_type),
            Deferral::MissingOnce => {
                self.count_missing();
                reasons::MISSING_ONCE.to_owned()
            }
            Deferral::Planned => String::new(),
        };
        if !reason.is_empty() {
            self.records.push(Record::Deferred {
                run: self.settings.run,
                row: number,
                reason,
            });
        }
        self.stop_rules.moved();
        self.leaves_sample(now, number);
    }

    /// Journals what is known of an unsettled row; `is_checked` if it was read before it is sent.
    pub(super) fn note(&mut self, now: Moment, number: RowNumber, is_checked: bool) {
        let Some(row) = self.rows.get(&number) else {
            return;
        };
        let is_first = is_checked && row.attempts == 0;
        self.records.push(Record::Noted {
            run: self.settings.run,
            row: number,
            phase: row.phase(),
            record: row.record_to_keep(),
            status_before: row.status().filter(|_| is_first).cloned(),
            checked_at: is_checked.then_some(now.wall),
        });
    }

    /// Returns the call's rows that still wait for it.
    pub(super) fn rows_of(&self, call: CallTicket, rows: &[RowNumber]) -> Vec<RowNumber> {
        let waits = |number: &&RowNumber| {
            let row = self.rows.get(number);
            row.is_some_and(|row| row.state.call() == Some(call))
        };
        rows.iter().filter(waits).copied().collect()
    }

    pub(super) fn new_call(&mut self) -> CallTicket {
        self.last_call += 1;
        CallTicket(self.last_call)
    }

    /// Returns whether no row is left in memory, in the journal or to come.
    pub(super) fn is_finished(&self) -> bool {
        self.is_through() && !self.is_pass_due()
    }

    /// Returns whether no call is open and no rows are being loaded.
    pub(super) fn is_drained(&self) -> bool {
        self.calls.is_empty() && !self.loading.is_asked()
    }

    /// Hands over the records and events of the last step.
    pub(super) fn flush(&mut self, out: &mut Vec<Effect>) {
        let lane = self.id;
        let records = std::mem::take(&mut self.records);
        let tell = std::mem::take(&mut self.tell);
        out.extend((self.pages.response.take()).map(|page| Effect::Respond { lane, page }));
        if records.is_empty() {
            out.extend(tell.into_iter().map(|event| Effect::Tell { lane, event }));
        } else {
            out.push(Effect::Write {
                lane,
                records,
                tell,
            });
        }
    }

    /// Notes a wait, and wakes the lane at its end.
    pub(super) fn note_wait(&mut self, wait: GateWait) {
        if let Some(until) = wait.until {
            self.wake_at(until);
            self.waiting.get_or_insert(Waiting {
                cause: wait.cause,
                until,
            });
        }
    }

    pub(super) fn wake_at(&mut self, at: Uptime) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Stops the lane: no new call leaves; calls on the wire are awaited.
    pub(super) fn stop(&mut self, reason: StopReason) {
        if self.stop.is_none() {
            self.tell.push(RunEvent::Stopping(reason.clone()));
            self.stop = Some(reason);
        }
    }

    /// Panics if the indexes differ from ones rebuilt from the rows; for simulators.
    pub(super) fn check_indexes(&self) {
        let mut indexes = Indexes::default();
        for (&number, row) in &self.rows {
            indexes.insert(number, row.state);
            if let Some(call) = row.state.call() {
                let flight = self.calls.get(&call);
                let has_row = flight.is_some_and(|flight| flight.rows.contains(&number));
                assert!(has_row, "row {number} waits for a call that is over");
            }
        }
        assert_eq!(indexes, self.indexes);
    }
}
