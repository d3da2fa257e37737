//! What the bars show of a run: how far it is, what it waits for, and when it will have ended.

use std::collections::BTreeMap;

use crate::engine::RunView;
use crate::engine::core::{LaneView as EngineLane, RunEvent, Tally, WaitCause};
use crate::model::{Outcome, Uptime};
use crate::quota::Usage;

use super::progress_view::{LaneView, ProgressView, Waiting, WindowView};
use super::text::window_name;

/// What is shown while the service is down, whether until a known time or not.
const DOWN: &str = "the service gives no proper answer; pausing";

/// What was told and holds until something else is told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) cancels_down: bool,
    pub(super) reads_down: bool,
    pub(super) stopping: bool,
}

impl Seen {
    pub(super) fn note(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Down { reads: true, .. } => self.reads_down = true,
            RunEvent::Down { reads: false, .. } => self.cancels_down = true,
            RunEvent::Up { reads: true } => self.reads_down = false,
            RunEvent::Up { reads: false } => self.cancels_down = false,
            RunEvent::Stopping(_) => self.stopping = true,
            _ => {}
        }
    }
}

/// Puts the lanes with the most rows left first; those that have none any more, or have stopped, are not shown.
pub(super) fn busiest_first(view: &RunView, seen: &[Seen], lanes: Vec<LaneView>) -> Vec<LaneView> {
    let left = |(place, lane): (usize, &EngineLane)| {
        if of_lane(seen, place).stopping && lane.in_flight == 0 {
            return 0;
        }
        lane.tally.rows.saturating_sub(lane.tally.settled())
    };
    let left = view.lanes.iter().enumerate().map(left);
    let mut lanes: Vec<_> = left.zip(lanes).collect();
    lanes.retain(|(left, _)| *left > 0);
    lanes.sort_by_key(|(left, _)| std::cmp::Reverse(*left));
    lanes.into_iter().map(|(_, lane)| lane).collect()
}

/// Returns what the bars show of a run.
pub(super) fn progress_view(view: &RunView, sandbox: bool, seen: &[Seen]) -> ProgressView {
    let mut tally = Tally::default();
    for lane in &view.lanes {
        tally.add(&lane.tally);
    }
    let outcomes: BTreeMap<Outcome, u64> = Outcome::ALL
        .into_iter()
        .map(|outcome| (outcome, tally.of(outcome)))
        .filter(|&(_, count)| count > 0)
        .collect();
    let lanes = view
        .lanes
        .iter()
        .zip(&view.usage)
        .enumerate()
        .map(|(place, (lane, usage))| LaneView {
            name: String::new(),
            windows: usage.iter().map(window_view).collect(),
            in_flight: u32::try_from(lane.in_flight).unwrap_or(u32::MAX),
            waiting: waiting(view, (lane, usage), of_lane(seen, place)),
        });
    ProgressView {
        sandbox,
        total: view.input_ended.then_some(tally.rows),
        done: tally.settled(),
        outcomes,
        lanes: lanes.collect(),
        finish: finish(view, seen).map(|finish| view.now.wall_at(finish)),
    }
}

fn of_lane(seen: &[Seen], place: usize) -> Seen {
    seen.get(place).copied().unwrap_or_default()
}

/// Returns when the run will have ended, where the quota alone decides: nobody knows when a service that is down comes
/// back, or what it allows after a pause.
fn finish(view: &RunView, seen: &[Seen]) -> Option<Uptime> {
    let is_bounded = view.usage.iter().any(|windows| !windows.is_empty());
    let going = || {
        let all = (0..view.lanes.len()).map(|place| of_lane(seen, place));
        all.filter(|seen| !seen.stopping)
    };
    let is_down = going().any(|seen| seen.cancels_down || seen.reads_down);
    if !is_bounded || is_down || going().next().is_none() {
        return None;
    }
    let mut finish = view.finish?;
    for waiting in view.lanes.iter().filter_map(|lane| lane.waiting) {
        match waiting.cause {
            WaitCause::Cooldown
            | WaitCause::Outage
            | WaitCause::ReadCooldown
            | WaitCause::SlowReads => return None,
            // A later try is part of the run.
            WaitCause::Window
            | WaitCause::Pace
            | WaitCause::Retry
            | WaitCause::Reads
            | WaitCause::Missing
            | WaitCause::Effect => {
                finish = finish.max(waiting.until);
            }
        }
    }
    Some(finish)
}

fn waiting(
    view: &RunView,
    (lane, usage): (&EngineLane, &Vec<Usage>),
    seen: Seen,
) -> Option<Waiting> {
    let endless = |why: &str| Waiting {
        why: why.to_owned(),
        until: None,
    };
    if seen.stopping {
        return (lane.in_flight > 0).then(|| endless("stopping: waiting for answers on their way"));
    }
    let Some(waiting) = lane.waiting else {
        // While the one call is under way that tries the service, nobody knows until when.
        return seen.cancels_down.then(|| endless(DOWN));
    };
    // Nobody knows when reads that hang will come back.
    let is_open = waiting.cause == WaitCause::SlowReads;
    Some(Waiting {
        why: why(waiting.cause, usage)?,
        until: (!is_open).then(|| view.now.wall_at(waiting.until)),
    })
}

fn window_view(usage: &Usage) -> WindowView {
    WindowView {
        name: window_name(usage.window.period),
        used: u64::from(usage.taken),
        limit: u64::from(usage.window.limit.get()),
    }
}

/// Names what is waited for; the spreading of a burst is no news.
fn why(cause: WaitCause, usage: &[Usage]) -> Option<String> {
    match cause {
        WaitCause::Pace => None,
        WaitCause::Cooldown => Some("paused by the service (429)".to_owned()),
        WaitCause::Outage => Some(DOWN.to_owned()),
        WaitCause::Retry => Some("waiting for a row's next turn".to_owned()),
        WaitCause::Reads => Some("waiting for the allowance to read states".to_owned()),
        WaitCause::ReadCooldown => {
            Some("reads are paused by the service (429), and rows wait for their state".to_owned())
        }
        WaitCause::SlowReads => {
            Some("reads do not answer, and rows wait for their state".to_owned())
        }
        WaitCause::Missing => Some("looking once more for ids that were not found".to_owned()),
        WaitCause::Effect => Some("waiting for accepted cancels to take effect".to_owned()),
        WaitCause::Window => {
            let full = usage.iter().filter(|usage| usage.free_at.is_some());
            let last = full.max_by_key(|usage| usage.free_at)?;
            let name = window_name(last.window.period);
            Some(format!("waiting for the {name} window"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::engine::core::{StopReason, Waiting as EngineWaiting};
    use crate::model::Moment;

    use super::*;

    fn second(second: u64) -> Uptime {
        Uptime::from_nanos(0).after(Duration::from_secs(second))
    }

    fn wall(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).unwrap()
    }

    /// A look at second 100 of a run whose last cancel may leave at second 150.
    fn view(waiting: Option<(WaitCause, u64)>) -> RunView {
        RunView {
            now: Moment {
                uptime: second(100),
                wall: wall(100),
            },
            input_ended: true,
            lanes: vec![EngineLane {
                tally: Tally::default(),
                in_flight: 1,
                learned: None,
                waiting: waiting.map(|(cause, until)| EngineWaiting {
                    cause,
                    until: second(until),
                }),
            }],
            usage: vec![vec![Usage {
                window: "100/1m".parse().unwrap(),
                taken: 100,
                free_at: Some(second(120)),
                all_free_in: Duration::from_secs(60),
            }]],
            finish: Some(second(150)),
        }
    }

    fn down(reads: bool) -> RunEvent {
        RunEvent::Down {
            reads,
            until: second(101),
            what: "503".to_owned(),
        }
    }

    fn seen(events: &[RunEvent]) -> Vec<Seen> {
        let mut seen = Seen::default();
        for event in events {
            seen.note(event);
        }
        vec![seen]
    }

    fn why_of(view: &RunView, seen: &[Seen]) -> Option<String> {
        let waiting = progress_view(view, false, seen).lanes[0].waiting.clone();
        waiting.map(|waiting| waiting.why)
    }

    #[test]
    fn the_end_is_never_earlier_than_what_is_waited_for() {
        for (waiting, finish) in [
            (None, 150),
            (Some((WaitCause::Window, 120)), 150),
            (Some((WaitCause::Retry, 170)), 170),
        ] {
            let view = progress_view(&view(waiting), false, &[]);
            assert_eq!(view.finish, Some(wall(finish)));
        }
    }

    #[test]
    fn nothing_is_said_of_the_end_while_the_service_decides() {
        for cause in [
            WaitCause::Cooldown,
            WaitCause::Outage,
            WaitCause::ReadCooldown,
            WaitCause::SlowReads,
        ] {
            let view = progress_view(&view(Some((cause, 120))), false, &[]);
            assert_eq!(view.finish, None, "{cause:?}");
        }
        // Also while the one call is under way that tries it.
        let hanging = view(Some((WaitCause::SlowReads, 100)));
        let hanging = progress_view(&hanging, false, &[]);
        let waiting = hanging.lanes[0].waiting.as_ref().unwrap();
        assert!(waiting.until.is_none() && waiting.why.contains("wait for their state"));
        for reads in [true, false] {
            let during = progress_view(&view(None), false, &seen(&[down(reads)]));
            assert_eq!(during.finish, None);
            let after = seen(&[down(reads), RunEvent::Up { reads }]);
            assert!(progress_view(&view(None), false, &after).finish.is_some());
        }
        let mut unbounded = view(None);
        unbounded.usage = vec![Vec::new()];
        assert_eq!(progress_view(&unbounded, false, &[]).finish, None);
    }

    #[test]
    fn what_is_waited_for_is_named_and_stays_the_same_while_the_service_is_tried() {
        for (cause, why) in [
            (WaitCause::Window, "waiting for the minute window"),
            (WaitCause::Cooldown, "paused by the service (429)"),
            (WaitCause::Outage, DOWN),
            (WaitCause::Retry, "waiting for a row's next turn"),
        ] {
            let view = view(Some((cause, 120)));
            assert_eq!(why_of(&view, &[]).as_deref(), Some(why));
        }
        let pace = view(Some((WaitCause::Pace, 120)));
        assert_eq!(why_of(&pace, &[]), None);
        let tried = why_of(&view(None), &seen(&[down(false)]));
        assert_eq!(tried.as_deref(), Some(DOWN));
    }

    #[test]
    fn a_run_that_stops_waits_for_answers_only() {
        let stop = RunEvent::Stopping(StopReason::Asked("Ctrl-C".to_owned()));
        let seen = seen(&[down(false), stop]);
        let mut view = view(None);
        assert!(why_of(&view, &seen).unwrap().starts_with("stopping"));
        assert_eq!(progress_view(&view, false, &seen).finish, None);
        view.lanes[0].in_flight = 0;
        assert_eq!(why_of(&view, &seen), None);
    }
}
