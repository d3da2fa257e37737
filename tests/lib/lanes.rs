//! Several lanes in one core: what befalls one is its own matter, and all of them share one bound.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_cancel::engine::core::{
    CommentRule, Core, CoreSettings, Effect, Event, GateSettings, LaneSettings, StopReason,
};
use mde_cancel::model::{
    CancelReply, LaneId, Moment, Outcome, Reply, ReplyKind, RowNumber, Uptime,
};
use mde_cancel::quota::Windows;
use mde_cancel::retry::RetrySettings;
use mde_cancel::store::{CallId, LoadFrom, RunKey, ScopeKey, Taken};

use super::support::{nth_id, queued};

/// Rows of each lane.
const EACH: u32 = 40;

/// How one lane's service behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    Good,
    /// No token is handed out.
    Refusing,
    /// No byte ever arrives.
    Gone,
}

struct Play {
    core: Core,
    services: Vec<Service>,
    now: Duration,
    todo: VecDeque<Effect>,
    calls: i64,
    open: usize,
    most_open: usize,
    cancelled: Vec<u32>,
}

fn gate(scope: i64) -> GateSettings {
    GateSettings {
        scope: ScopeKey(scope),
        windows: Arc::new(Windows::none()),
        pace: None,
        concurrency: 16,
        cooldown: None,
        learned: None,
    }
}

impl Play {
    fn of(services: &[Service], most: usize) -> Self {
        let settings = CoreSettings {
            run: RunKey(1),
            retry: RetrySettings::default(),
            comment: CommentRule {
                always: None,
                otherwise: Arc::from("by the test"),
            },
            rules: Arc::default(),
            verify_for: None,
            reach_timeout: Duration::from_secs(60),
            give_up_after: Duration::from_secs(5400),
            max_failures: None,
            seed: 1,
        };
        let lanes = (0..).zip(services).map(|(number, _)| LaneSettings {
            cancel: gate(3 * number),
            get: gate(3 * number + 1),
            list: gate(3 * number + 2),
        });
        let core = Core::new(settings, lanes.collect()).with_most_in_flight(most);
        let mut play = Self {
            core,
            services: services.to_vec(),
            now: Duration::ZERO,
            todo: VecDeque::new(),
            calls: 0,
            open: 0,
            most_open: 0,
            cancelled: vec![0; services.len()],
        };
        for number in 0..services.len() {
            play.step(Event::Appended {
                lane: lane(number),
                last: RowNumber(EACH),
                count: u64::from(EACH),
                settled: std::collections::BTreeMap::new(),
            });
        }
        play.step(Event::InputEnded);
        play
    }

    fn moment(&self) -> Moment {
        let nanos = i64::try_from(self.now.as_nanos()).unwrap();
        Moment {
            uptime: Uptime::from_nanos(nanos),
            wall: Timestamp::from_nanosecond(i128::from(nanos)).unwrap(),
        }
    }

    fn step(&mut self, event: Event) {
        let now = self.moment();
        let effects = self.core.step(now, event);
        self.todo.extend(effects);
    }

    /// Performs everything that can be performed, and lets time pass, until nothing is left or `until` has come.
    fn play(&mut self, until: Duration) {
        loop {
            while let Some(effect) = self.todo.pop_front() {
                self.perform(&effect);
            }
            let wake = self.core.next_wake();
            let Some(wake) = wake.filter(|_| !self.core.is_done()) else {
                return;
            };
            self.now = wake.since(Uptime::from_nanos(0)).max(self.now);
            if self.now >= until {
                return;
            }
            self.step(Event::Tick);
        }
    }

    fn perform(&mut self, effect: &Effect) {
        match *effect {
            Effect::Load {
                lane,
                from: LoadFrom::After(after),
                limit,
            } => {
                let numbers = (after.0 + 1..=EACH).take(limit);
                let rows = numbers
                    .map(|row| queued(RowNumber(row), nth_id(row as usize)))
                    .collect();
                self.step(Event::Loaded { lane, rows });
            }
            Effect::Token { lane, .. } if self.service(lane) == Service::Refusing => {
                let reason = "wrong secret".to_owned();
                self.step(Event::TokenRefused { lane, reason });
            }
            Effect::Token { lane, .. } => self.step(Event::TokenReady {
                lane,
                expires_at: None,
            }),
            Effect::Take {
                lane, call_token, ..
            } => {
                self.calls += 1;
                let taken = Taken::Go(CallId(self.calls));
                self.step(Event::Taken {
                    lane,
                    call_token,
                    taken,
                });
            }
            Effect::Post {
                lane, call_token, ..
            } => {
                self.open += 1;
                self.most_open = self.most_open.max(self.open);
                self.open -= 1;
                let reply = self.reply(lane);
                self.step(Event::Replied {
                    lane,
                    call_token,
                    reply,
                });
            }
            Effect::Load { .. } | Effect::Read { .. } | Effect::ReadPage { .. } => {
                panic!("nothing is to be read")
            }
            Effect::Write { .. } | Effect::Tell { .. } | Effect::Respond { .. } => {}
        }
    }

    fn service(&self, lane: LaneId) -> Service {
        self.services[usize::from(lane.0)]
    }

    fn reply(&mut self, lane: LaneId) -> CancelReply {
        let kind = if self.service(lane) == Service::Gone {
            ReplyKind::NeverLeft("connection refused".to_owned())
        } else {
            self.cancelled[usize::from(lane.0)] += 1;
            ReplyKind::Answer(None)
        };
        Reply {
            kind,
            http_status: None,
            error: None,
        }
    }

    fn stops(&self) -> Vec<(u16, StopReason)> {
        let stops = self.core.stops().into_iter();
        stops.map(|(lane, reason)| (lane.0, reason)).collect()
    }
}

fn lane(number: usize) -> LaneId {
    LaneId(u16::try_from(number).unwrap())
}

#[test]
fn a_lane_that_cannot_sign_in_and_one_whose_service_is_gone_stop_alone() {
    use Service::{Gone, Good, Refusing};
    let mut play = Play::of(&[Good, Refusing, Gone, Good], 256);
    play.play(Duration::from_secs(600));
    assert!(play.core.is_done());
    assert_eq!(play.cancelled, [EACH, 0, 0, EACH]);
    let stops = play.stops();
    assert_eq!(stops.len(), 2, "{stops:?}");
    assert!(matches!(&stops[0], (1, StopReason::SignIn(_))), "{stops:?}");
    assert!(
        matches!(&stops[1], (2, StopReason::Unreachable(_))),
        "{stops:?}"
    );
    assert_eq!(play.core.tally().of(Outcome::Accepted), 2 * u64::from(EACH));
}

#[test]
fn a_wish_to_stop_stops_every_lane_and_a_graver_reason_of_one_is_the_runs() {
    let mut play = Play::of(&[Service::Good, Service::Refusing, Service::Good], 256);
    // Only the sign-ins have been answered.
    for _ in 0..8 {
        if let Some(effect) = play.todo.pop_front() {
            match effect {
                Effect::Post { .. } | Effect::Take { .. } => play.todo.push_back(effect),
                effect => play.perform(&effect),
            }
        }
    }
    play.step(Event::Stop(StopReason::Asked("Ctrl-C".to_owned())));
    play.play(Duration::from_secs(60));
    assert!(play.core.is_stopping() && play.core.is_done());
    assert_eq!(play.stops().len(), 3);
    assert!(matches!(
        play.core.stop_reason(),
        Some(StopReason::SignIn(_))
    ));
}

#[test]
fn all_lanes_together_open_no_more_calls_than_their_bound_and_each_gets_its_turn() {
    let mut play = Play::of(&[Service::Good; 10], 8);
    let mut waiting: VecDeque<Effect> = VecDeque::new();
    let mut first_ended = None;
    loop {
        while let Some(effect) = play.todo.pop_front() {
            match effect {
                Effect::Post { .. } => waiting.push_back(effect),
                effect => play.perform(&effect),
            }
            assert!(waiting.len() <= 8, "{}", waiting.len());
        }
        let Some(post) = waiting.pop_front() else {
            break;
        };
        play.perform(&post);
        if first_ended.is_none() && play.cancelled.contains(&EACH) {
            first_ended = play.cancelled.iter().min().copied();
        }
    }
    assert!(play.core.is_done());
    assert_eq!(play.cancelled, [EACH; 10]);
    // Nobody is through before the others have come near.
    assert!(
        first_ended.is_some_and(|least| least >= EACH / 2),
        "{first_ended:?}"
    );
}
