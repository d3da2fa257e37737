//! One run: its lanes, and the one function through which everything goes.

use std::sync::Arc;

use crate::domain::LaneId;
use crate::domain::Moment;
use crate::domain::Uptime;

use crate::quota::Windows;
use crate::store::ScopeKey;

use super::event::Effect;
use super::event::Event;
use super::event::StopReason;
use super::event::Waiting;
use super::lane::Lane;
use super::settings::CoreSettings;
use super::settings::LaneSettings;
use super::tally::Tally;

/// The deciding half of a run.
pub struct Core {
    lanes: Vec<Lane>,
}

/// What the progress display may know of one lane.
#[derive(Clone, Debug)]
pub struct LaneView {
    /// What was counted so far.
    pub tally: Tally,
    /// Cancels on the wire.
    pub in_flight: usize,
    /// Why nothing leaves, while nothing does.
    pub waiting: Option<Waiting>,
}

impl Core {
    /// Makes the core of a run with these lanes, in order.
    pub fn new(settings: CoreSettings, lanes: Vec<LaneSettings>) -> Self {
        let settings = Arc::new(settings);
        let lanes = (0..)
            .zip(lanes)
            .map(|(number, lane)| Lane::new(LaneId(number), Arc::clone(&settings), lane))
            .collect();
        Self { lanes }
    }

    /// Takes in one event and returns what to do, in order.
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        for lane in &mut self.lanes {
            lane.pass_time(now.uptime);
        }
        match event {
            Event::InputEnded => self.lanes.iter_mut().for_each(Lane::input_ended),
            Event::Stop(reason) => {
                for lane in &mut self.lanes {
                    lane.stop(reason.clone());
                }
            }
            Event::Tick => {}
            Event::Appended {
                lane,
                last,
                count,
                settled,
            } => {
                self.with(lane, |lane| lane.appended(last, count, &settled));
            }
            Event::Loaded { lane, rows } => self.with(lane, |lane| lane.loaded(now, rows)),
            Event::TokenReady { lane, expires_at } => {
                self.with(lane, |lane| lane.token_ready(now, expires_at));
            }
            Event::TokenUnavailable { lane, reason } => {
                self.with(lane, |lane| lane.token_unavailable(now, reason));
            }
            Event::TokenRefused { lane, reason } => {
                self.with(lane, |lane| lane.token_refused(now, reason));
            }
            Event::Taken {
                lane,
                ticket,
                taken,
            } => {
                self.with(lane, |lane| lane.taken(now, ticket, taken, &mut out));
            }
            Event::Replied {
                lane,
                ticket,
                reply,
            } => {
                self.with(lane, |lane| lane.replied(now, ticket, &reply));
            }
            Event::Read {
                lane,
                ticket,
                reply,
            } => self.with(lane, |lane| lane.read(now, ticket, reply)),
        }
        for lane in &mut self.lanes {
            lane.flush(&mut out);
            lane.pump(now, &mut out);
        }
        out
    }

    fn with(&mut self, lane: LaneId, act: impl FnOnce(&mut Lane)) {
        if let Some(lane) = self.lanes.get_mut(usize::from(lane.0)) {
            act(lane);
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

    /// Returns why the run ended before all rows were settled, or although they were all forbidden.
    pub fn stop_reason(&self) -> Option<StopReason> {
        if let Some(reason) = self.lanes.iter().find_map(|lane| lane.stop.clone()) {
            return Some(reason);
        }
        self.lanes
            .iter()
            .any(|lane| lane.is_finished() && lane.is_all_forbidden())
            .then_some(StopReason::AllForbidden)
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
            .map(|lane| (lane.cancel.scope, Arc::clone(&lane.cancel.windows)))
            .collect()
    }

    /// Returns what the display may know of each lane.
    pub fn view(&self) -> Vec<LaneView> {
        self.lanes
            .iter()
            .map(|lane| LaneView {
                tally: lane.tally.clone(),
                in_flight: lane.cancel.in_flight(),
                waiting: lane.waiting,
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
    use crate::domain::ActionId;
    use crate::domain::RowContext;
    use crate::domain::RowNumber;
    use crate::engine::core::CommentRule;
    use crate::engine::core::GateSettings;
    use crate::retry::RetrySettings;
    use crate::store::Phase;
    use crate::store::QueuedRow;
    use crate::store::RunKey;

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
        };
        let settings = CoreSettings {
            run: RunKey(1),
            retry: RetrySettings::default(),
            comment: CommentRule {
                always: None,
                otherwise: Arc::from("x"),
            },
            rules: Arc::default(),
            verify_for: None,
            reach_timeout: Duration::from_secs(60),
            give_up_after: Duration::from_secs(HOUR),
            max_failures: None,
            seed: 1,
        };
        let lane = LaneSettings {
            cancel: gate(1),
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
            triaged_at: None,
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
