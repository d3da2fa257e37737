//! A run's lanes, and the one function that every event passes through.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::{LaneId, Moment, Uptime};
use crate::quota::{SavedRate, Windows};
use crate::store::ScopeKey;

use super::event::{Effect, Event, StopReason, Waiting};
use super::lane::Lane;
use super::settings::{CoreSettings, LaneSettings, Tally};

pub struct Core {
    settings: Arc<CoreSettings>,
    lanes: Vec<Lane>,
    permits: Permits,
}

/// Bounds the calls of all lanes together. A call has a permit from the request for a slot until its answer.
struct Permits {
    total: usize,
    used: usize,
    /// Lanes that found no permit, in order.
    waiting: VecDeque<usize>,
}

/// A lane as the progress display sees it.
#[derive(Clone, Debug)]
pub struct LaneView {
    pub tally: Tally,
    /// Cancels on the wire.
    pub in_flight: usize,
    /// Why no call leaves.
    pub waiting: Option<Waiting>,
    pub learned: Option<SavedRate>,
}

impl Core {
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

    /// Bounds the calls of all lanes together; the default is each lane's own bound alone.
    #[must_use]
    pub fn with_most_in_flight(mut self, most: usize) -> Self {
        self.permits.total = most.max(1);
        self
    }

    /// Makes the core send nothing. It reads the states of rows for a plan, or pages on request.
    #[must_use]
    pub fn disarmed(mut self) -> Self {
        for lane in &mut self.lanes {
            lane.is_armed = false;
        }
        self
    }

    /// Handles one event and returns what to do, in order.
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        let one = event.lane();
        let is_tick = matches!(event, Event::Tick);
        let is_for_all = self.lanes.len() == 1 || (one.is_none() && !is_tick);
        // Lanes whose wake-up time has come are served too.
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

    /// Stops the run if too many rows of all lanes failed.
    fn bound_failures(&mut self) {
        let Some(most) = self.settings.max_failures else {
            return;
        };
        let failures = self.lanes.iter().map(|lane| lane.stop_rules.failures).sum();
        let ended = self.lanes.iter().map(|lane| lane.stop_rules.ended).sum();
        if most.are_passed(failures, ended) {
            let reason = format!("{failures} of {ended} rows that were sent failed");
            self.stop_all(&StopReason::TooManyFailures(reason));
        }
    }

    /// Lets a lane act, with at most `most` new calls.
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

    /// Serves lanes that found no permit, in order, while permits are free.
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

    /// Returns when [`Core::step`] must be called again at the latest.
    pub fn next_wake(&self) -> Option<Uptime> {
        self.lanes.iter().filter_map(|lane| lane.wake).min()
    }

    /// Returns whether nothing is left to do or to wait for, besides effects already returned.
    pub fn is_done(&self) -> bool {
        self.lanes
            .iter()
            .all(|lane| lane.is_finished() || (lane.stop.is_some() && lane.is_drained()))
    }

    /// Returns whether no new attempt can leave.
    pub fn is_stopping(&self) -> bool {
        self.lanes.iter().all(|lane| lane.stop.is_some())
    }

    /// Returns the gravest of the lanes' reasons for ending early.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.stops()
            .into_iter()
            .map(|(_, reason)| reason)
            .max_by_key(StopReason::gravity)
    }

    /// Returns why lanes ended before their rows were settled.
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

    /// Panics if a lane's indexes disagree with its rows; for simulators.
    #[doc(hidden)]
    pub fn check(&self) {
        self.lanes.iter().for_each(Lane::check_indexes);
    }

    pub fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for lane in &self.lanes {
            sum.add(&lane.tally);
        }
        sum
    }

    /// Returns each lane's scope for cancels or releases, with its current windows.
    pub fn cancel_scopes(&self) -> Vec<(ScopeKey, Arc<Windows>)> {
        self.lanes
            .iter()
            .map(|lane| (lane.gates.send.scope, Arc::clone(&lane.gates.send.windows)))
            .collect()
    }

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
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::api::{ListQuery, MAX_TOP};
    use crate::engine::core::GateSettings;
    use crate::retry::RetrySettings;
    use crate::store::RunKey;

    const HOUR: u64 = 3600;

    fn at(seconds: u64) -> Moment {
        let passed = Duration::from_secs(seconds);
        Moment {
            uptime: Uptime::from_nanos(0).after(passed),
            wall: Timestamp::UNIX_EPOCH + passed,
        }
    }

    /// A core that is asked for a page, and whose ledger never answers.
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
        let gates = LaneSettings {
            send: gate(1),
            get: gate(2),
            list: gate(3),
        };
        let mut core = Core::new(settings, vec![gates]).disarmed();
        let (lane, expires_at) = (LaneId(0), None);
        let query = ListQuery {
            filter: None,
            top: MAX_TOP,
            skip: 0,
        };
        core.step(at(0), Event::Request { lane, query });
        core.step(at(0), Event::TokenReady { lane, expires_at });
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
