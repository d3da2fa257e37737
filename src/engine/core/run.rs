//! One run: its lanes, and the one function through which everything goes.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::{LaneId, Moment, Uptime};
use crate::quota::{KeptPace, Windows};
use crate::store::ScopeKey;

use super::event::{Effect, Event, StopReason, Waiting};
use super::lane::Lane;
use super::settings::{CoreSettings, LaneSettings, Tally};

/// The deciding half of a run.
pub struct Core {
    settings: Arc<CoreSettings>,
    lanes: Vec<Lane>,
    permits: Permits,
}

/// What bounds the calls of all lanes together. A call has a permit from the question to the ledger until its answer.
struct Permits {
    total: usize,
    used: usize,
    /// Lanes that would open a call, in the order in which they found no permit.
    waiting: VecDeque<usize>,
}

/// What the progress display may know of one lane.
#[derive(Clone, Debug)]
pub struct LaneView {
    pub tally: Tally,
    /// Cancels on the wire.
    pub in_flight: usize,
    /// Why nothing leaves, while nothing does.
    pub waiting: Option<Waiting>,
    pub learned: Option<KeptPace>,
}

impl Core {
    /// Makes the core of a run with these lanes, in order.
    pub fn new(settings: CoreSettings, lanes: Vec<LaneSettings>) -> Self {
        let settings = Arc::new(settings);
        let lanes = (0..)
            .zip(lanes)
            .map(|(number, lane)| Lane::new(LaneId(number), Arc::clone(&settings), lane))
            .collect();
        Self {
            settings,
            lanes,
            permits: Permits {
                total: usize::MAX,
                used: 0,
                waiting: VecDeque::new(),
            },
        }
    }

    /// Bounds the calls that all lanes together have under way; without it only each lane's own bound holds.
    #[must_use]
    pub fn with_most_in_flight(mut self, most: usize) -> Self {
        self.permits.total = most.max(1);
        self
    }

    /// Lets it send nothing: it reads the states of rows for a plan, or pages for whoever requests them.
    #[must_use]
    pub fn disarmed(mut self) -> Self {
        for lane in &mut self.lanes {
            lane.is_armed = false;
        }
        self
    }

    /// Takes in one event and returns what to do, in order.
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        let one = event.lane();
        let is_tick = matches!(event, Event::Tick);
        let is_for_all = self.lanes.len() == 1 || (one.is_none() && !is_tick);
        // Those for which time has changed something are served along with it.
        let concerns = |lane: &Lane| {
            is_for_all || one == Some(lane.id) || lane.wake.is_some_and(|wake| wake <= now.uptime)
        };
        for lane in &mut self.lanes {
            if is_tick || concerns(lane) {
                lane.pass_time(now.uptime);
            }
        }
        self.take_in(now, event, &mut out);
        self.bound_failures();
        for place in 0..self.lanes.len() {
            let lane = &self.lanes[place];
            if concerns(lane) || !lane.tell.is_empty() {
                let others_came_first = !self.permits.waiting.is_empty();
                let most = if others_came_first { 0 } else { usize::MAX };
                self.serve(place, now, most, &mut out);
            }
        }
        self.serve_waiting(now, &mut out);
        out
    }

    fn take_in(&mut self, now: Moment, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::InputEnded => self.lanes.iter_mut().for_each(Lane::input_ended),
            Event::Stop(reason) => self.stop_all(&reason),
            _ => {
                let lane = event.lane().map(|lane| usize::from(lane.0));
                if let Some(lane) = lane.and_then(|place| self.lanes.get_mut(place)) {
                    let before = lane.calls.len();
                    lane.on_event(now, event, out);
                    self.permits.used = self.permits.used - before + lane.calls.len();
                }
            }
        }
    }

    fn stop_all(&mut self, reason: &StopReason) {
        for lane in &mut self.lanes {
            lane.stop(reason.clone());
        }
    }

    /// Stops the run where too many of its rows have ended badly, whichever lanes they belong to.
    fn bound_failures(&mut self) {
        let Some(most) = self.settings.max_failures else {
            return;
        };
        let failures = self.lanes.iter().map(|lane| lane.stop_rules.failures).sum();
        let ended = self.lanes.iter().map(|lane| lane.stop_rules.ended).sum();
        if most.are_passed(failures, ended) {
            let reason = format!("{failures} of {ended} rows that were sent ended badly");
            self.stop_all(&StopReason::TooManyFailures(reason));
        }
    }

    /// Lets one lane do what it may, and open at most `most` calls.
    fn serve(&mut self, place: usize, now: Moment, most: usize, out: &mut Vec<Effect>) {
        let permits = &mut self.permits;
        let lane = &mut self.lanes[place];
        let before = lane.calls.len();
        lane.flush(out);
        lane.permits = permits.total.saturating_sub(permits.used).min(most);
        lane.lacks_permit = false;
        lane.poll(now, out);
        permits.used = permits.used - before + lane.calls.len();
        if lane.lacks_permit && !permits.waiting.contains(&place) {
            permits.waiting.push_back(place);
        }
    }

    /// Lets lanes that found no permit open calls, each in its turn, as long as there are some.
    fn serve_waiting(&mut self, now: Moment, out: &mut Vec<Effect>) {
        for turns in (1..=self.permits.waiting.len()).rev() {
            let free = self.permits.total.saturating_sub(self.permits.used);
            if free == 0 {
                return;
            }
            let Some(place) = self.permits.waiting.pop_front() else {
                return;
            };
            self.serve(place, now, (free / turns).max(1), out);
        }
    }

    /// Returns when to call [`Core::step`] again at the latest, where time alone changes something.
    pub fn next_wake(&self) -> Option<Uptime> {
        self.lanes.iter().filter_map(|lane| lane.wake).min()
    }

    /// Returns whether nothing is left to do or to wait for, effects that were handed out apart.
    pub fn is_done(&self) -> bool {
        self.lanes
            .iter()
            .all(|lane| lane.is_finished() || (lane.stop.is_some() && lane.is_drained()))
    }

    /// Returns whether no new attempt will ever leave: all lanes have stopped.
    pub fn is_stopping(&self) -> bool {
        self.lanes.iter().all(|lane| lane.stop.is_some())
    }

    /// Returns why the run ended before all rows were settled, or although they were all forbidden: the gravest of its
    /// lanes' reasons.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.stops()
            .into_iter()
            .map(|(_, reason)| reason)
            .max_by_key(StopReason::gravity)
    }

    /// Returns why each lane that ended before its rows were settled did so.
    pub fn stops(&self) -> Vec<(LaneId, StopReason)> {
        let stop = |lane: &Lane| {
            let is_done = lane.stop.is_none() && lane.is_finished();
            let denied = || {
                lane.types
                    .are_all_denied()
                    .then(|| lane.types.why_denied())
                    .flatten()
            };
            let left = || match denied() {
                Some(why) => Some(StopReason::AllForbidden(why)),
                None => lane.say_deferred().map(StopReason::LeftForLater),
            };
            lane.stop.clone().or_else(|| is_done.then(left).flatten())
        };
        let stops = self.lanes.iter();
        stops
            .filter_map(|lane| Some((lane.id, stop(lane)?)))
            .collect()
    }

    /// Panics where what a lane keeps about its rows disagrees with them: for simulators.
    #[doc(hidden)]
    pub fn check(&self) {
        self.lanes.iter().for_each(Lane::check_indexes);
    }

    /// Returns all lanes' counts added up.
    pub fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for lane in &self.lanes {
            sum.add(&lane.tally);
        }
        sum
    }

    /// Returns each lane's scope for cancels with the windows in force.
    pub fn cancel_scopes(&self) -> Vec<(ScopeKey, Arc<Windows>)> {
        self.lanes
            .iter()
            .map(|lane| (lane.gates.send.scope, Arc::clone(&lane.gates.send.windows)))
            .collect()
    }

    /// Returns what the display may know of each lane.
    pub fn view(&self) -> Vec<LaneView> {
        self.lanes
            .iter()
            .map(|lane| LaneView {
                tally: lane.tally.clone(),
                in_flight: lane.gates.send.in_flight(),
                waiting: lane.waiting,
                learned: lane.gates.send.pacer.learned(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::engine::core::GateSettings;
    use crate::model::{ActionId, RowContext, RowNumber};
    use crate::retry::RetrySettings;
    use crate::store::{Phase, QueuedRow, RunKey};

    const HOUR: u64 = 3600;

    fn at(seconds: u64) -> Moment {
        let passed = Duration::from_secs(seconds);
        Moment {
            uptime: Uptime::from_nanos(0).after(passed),
            wall: Timestamp::UNIX_EPOCH + passed,
        }
    }

    /// Makes the core of a run with one row, whose journal never answers.
    fn stuck() -> Core {
        let gate = |scope| GateSettings {
            scope: ScopeKey(scope),
            windows: Arc::new(Windows::none()),
            pace: None,
            concurrency: 1,
            cooldown: None,
            learned: None,
        };
        let hour = Duration::from_secs(HOUR);
        let settings =
            CoreSettings::to_read(RunKey(1), RetrySettings::default(), Arc::default(), hour, 1);
        let lane = LaneSettings {
            send: gate(1),
            get: gate(2),
            list: gate(3),
        };
        let mut core = Core::new(settings, vec![lane]);
        let lane = LaneId(0);
        let appended = Event::Appended {
            lane,
            last: RowNumber(1),
            count: 1,
            settled: BTreeMap::new(),
        };
        let row = QueuedRow {
            number: RowNumber(1),
            id: ActionId::from_bytes([1; 16]).unwrap(),
            context: RowContext::default(),
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
        let rows = vec![row];
        for event in [
            appended,
            Event::TokenReady {
                lane,
                expires_at: None,
            },
            Event::Loaded { lane, rows },
        ] {
            core.step(at(0), event);
        }
        core
    }

    #[test]
    fn time_in_which_the_machine_slept_is_none_in_which_nothing_ended() {
        let mut core = stuck();
        for asleep in 1..=9 {
            core.step(at(asleep * 24 * HOUR), Event::Tick);
        }
        assert_eq!(core.stop_reason(), None);
        let mut now = 9 * 24 * HOUR;
        while core.stop_reason().is_none() {
            now += 1;
            core.step(at(now), Event::Tick);
        }
        assert!(matches!(core.stop_reason(), Some(StopReason::GaveUp(_))));
        assert_eq!(now, 9 * 24 * HOUR + HOUR - 9 * 60);
    }
}
