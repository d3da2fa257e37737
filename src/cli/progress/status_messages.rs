//! What progress shows of a run: rows done, waits, and the expected end.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::cli::format_time::{Number, window_name};
use crate::engine::core::{LaneView, RunEvent, Tally, WaitCause};
use crate::engine::{LaneNames, RunView};
use crate::model::{LaneId, Outcome, Uptime};
use crate::quota::Usage;

/// Lanes shown; more would fill the screen.
pub(super) const LANES_SHOWN: usize = 4;

/// Cancels without an answer for this long are shown as hanging.
const HANGING: Duration = Duration::from_secs(5);

/// Shown while the service is down, with or without a known time.
const DOWN: &str = "service failing; trying again";

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ProgressView {
    pub(super) is_sandbox: bool,
    /// `None` while the input is still being read.
    pub(super) total: Option<u64>,
    pub(super) done: u64,
    pub(super) outcomes: BTreeMap<Outcome, u64>,
    pub(super) lanes: Vec<LaneProgress>,
    /// The expected end of the run.
    pub(super) finish: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LaneProgress {
    /// The tenant's name, if there are several.
    pub(super) name: Option<String>,
    /// The quota windows, shortest first.
    pub(super) windows: Vec<Usage>,
    /// Cancels in flight, and how long ago the last answer came; `None` while answers come.
    pub(super) hanging: Option<(usize, Duration)>,
    pub(super) waiting: Option<WaitReason>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WaitReason {
    /// For example `waiting for quota (100/minute)`.
    pub(super) why: Cow<'static, str>,
    /// The word before the time: `until`, or `at` for a new attempt.
    pub(super) word: &'static str,
    pub(super) until: Option<Timestamp>,
}

/// A lane's state, as the last events left it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LaneStatus {
    pub(super) cancels_down: bool,
    pub(super) reads_down: bool,
    pub(super) stopping: bool,
    /// When a cancel was last answered, or none was in flight.
    heard: Option<Uptime>,
}

impl LaneStatus {
    pub(super) fn note(&mut self, now: Uptime, event: &RunEvent) {
        match event {
            RunEvent::Replied { .. } => self.heard = Some(now),
            RunEvent::Down { reads: true, .. } => self.reads_down = true,
            RunEvent::Down { reads: false, .. } => self.cancels_down = true,
            RunEvent::Up { reads: true } => self.reads_down = false,
            RunEvent::Up { reads: false } => self.cancels_down = false,
            RunEvent::Stopping(_) => self.stopping = true,
            _ => {}
        }
    }

    pub(super) fn look(&mut self, now: Uptime, lane: &LaneView) {
        if lane.in_flight == 0 || self.heard.is_none() {
            self.heard = Some(now);
        }
    }

    fn hanging(self, now: Uptime, lane: &LaneView) -> Option<(usize, Duration)> {
        let since = now.since(self.heard?);
        (lane.in_flight > 0 && since >= HANGING).then_some((lane.in_flight, since))
    }
}

pub(super) fn total(view: &RunView) -> Tally {
    let mut total = Tally::default();
    for lane in &view.lanes {
        total.add(&lane.tally);
    }
    total
}

impl ProgressView {
    /// `statuses` are in the order of the lanes, and may lack the last ones.
    pub(super) fn of(
        view: &RunView,
        names: &LaneNames,
        statuses: &[LaneStatus],
        is_sandbox: bool,
    ) -> Self {
        let tally = total(view);
        let outcomes = Outcome::ALL.map(|outcome| (outcome, tally.of(outcome)));
        Self {
            is_sandbox,
            total: view.input_ended.then_some(tally.rows),
            done: tally.settled(),
            outcomes: outcomes
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .collect(),
            lanes: lanes(view, names, statuses),
            finish: finish(view, statuses).map(|finish| view.now.wall_at(finish)),
        }
    }

    /// Returns what the lanes wait for, without the times, which change constantly.
    pub(super) fn reasons(&self) -> Vec<&str> {
        let shown = self.lanes.iter().take(LANES_SHOWN);
        let waiting = shown.filter_map(|lane| lane.waiting.as_ref());
        waiting.map(|waiting| waiting.why.as_ref()).collect()
    }
}

fn status(statuses: &[LaneStatus], lane: LaneId) -> LaneStatus {
    let status = statuses.get(usize::from(lane.0));
    status.copied().unwrap_or_default()
}

/// Returns the only lane, or of several those with rows left, the most rows first.
fn lanes(view: &RunView, names: &LaneNames, statuses: &[LaneStatus]) -> Vec<LaneProgress> {
    let are_several = names.are_several();
    let mut lanes = Vec::new();
    let all = view.lanes.iter().zip(&view.usage);
    for (number, (lane, usage)) in (0..).map(LaneId).zip(all) {
        let status = status(statuses, number);
        let is_over = status.stopping && lane.in_flight == 0;
        let left = lane.tally.rows.saturating_sub(lane.tally.settled());
        if are_several && (is_over || left == 0) {
            continue;
        }
        let name = are_several.then(|| names.shown(number).unwrap_or("-").to_owned());
        let progress = LaneProgress {
            name,
            windows: usage.clone(),
            hanging: status.hanging(view.now.uptime, lane),
            waiting: waiting(view, lane, usage, status),
        };
        lanes.push((left, progress));
    }
    lanes.sort_by_key(|(left, _)| std::cmp::Reverse(*left));
    lanes.into_iter().map(|(_, lane)| lane).collect()
}

/// Returns the expected end of the run if only the quota decides. The end is unknown while the service is down, hangs
/// or pauses the scope.
fn finish(view: &RunView, statuses: &[LaneStatus]) -> Option<Uptime> {
    let is_bounded = view.usage.iter().any(|windows| !windows.is_empty());
    let going = || {
        let all = (0..).map(LaneId).zip(&view.lanes);
        let all = all.map(|(lane, _)| status(statuses, lane));
        all.filter(|status| !status.stopping)
    };
    let is_down = going().any(|status| status.cancels_down || status.reads_down);
    let now = view.now.uptime;
    let mut lanes = (0..).map(LaneId).zip(&view.lanes);
    let hangs = lanes.any(|(id, lane)| status(statuses, id).hanging(now, lane).is_some());
    if !is_bounded || is_down || hangs || going().next().is_none() {
        return None;
    }
    let mut finish = view.finish?;
    for waiting in view.lanes.iter().filter_map(|lane| lane.waiting) {
        match waiting.cause {
            WaitCause::Cooldown
            | WaitCause::Outage
            | WaitCause::ReadCooldown
            | WaitCause::SlowReads => return None,
            // A later attempt is part of the run.
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
    lane: &LaneView,
    usage: &[Usage],
    status: LaneStatus,
) -> Option<WaitReason> {
    let endless = |why: &'static str| WaitReason {
        why: why.into(),
        word: "",
        until: None,
    };
    if status.stopping {
        return (lane.in_flight > 0).then(|| endless("stopping: waiting for answers on their way"));
    }
    let Some(waiting) = lane.waiting else {
        // While a probe is in flight, the time of the next one is unknown.
        return status.cancels_down.then(|| endless(DOWN));
    };
    let (why, word) = match waiting.cause {
        // Pacing isn't worth showing.
        WaitCause::Pace => return None,
        WaitCause::Window => {
            let full = usage.iter().filter(|usage| usage.free_at.is_some());
            let window = full.max_by_key(|usage| usage.free_at)?.window;
            let limit = Number(window.limit.get().into());
            let why = format!("waiting for quota ({limit}/{})", window_name(window.period));
            (why.into(), "until")
        }
        WaitCause::Cooldown => ("paused by the service (429)".into(), "until"),
        WaitCause::Outage => (DOWN.into(), "at"),
        WaitCause::Retry => ("retrying some rows".into(), "at"),
        WaitCause::Reads => ("waiting for read quota".into(), "until"),
        WaitCause::ReadCooldown => ("service paused reads (429)".into(), "until"),
        // The time is unknown.
        WaitCause::SlowReads => {
            return Some(endless("no answer to reads; rows wait for their status"));
        }
        WaitCause::Missing => ("checking unknown ids again".into(), "at"),
        WaitCause::Effect => ("checking accepted calls".into(), "at"),
    };
    let until = Some(view.now.wall_at(waiting.until));
    Some(WaitReason { why, word, until })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::engine::core::{StopReason, Waiting};
    use crate::model::Moment;

    use super::*;

    fn second(second: u64) -> Uptime {
        Uptime::from_nanos(0).after(Duration::from_secs(second))
    }

    fn wall(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).unwrap()
    }

    /// A view at second 100 of a run whose last cancel may leave at second 150.
    fn view(waiting: Option<(WaitCause, u64)>) -> RunView {
        RunView {
            now: Moment {
                uptime: second(100),
                wall: wall(100),
            },
            input_ended: true,
            lanes: vec![LaneView {
                tally: Tally::default(),
                in_flight: 1,
                learned: None,
                waiting: waiting.map(|(cause, until)| Waiting {
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

    fn told(events: &[RunEvent]) -> Vec<LaneStatus> {
        let mut status = LaneStatus::default();
        for event in events {
            status.note(second(0), event);
        }
        vec![status]
    }

    fn shown(view: &RunView, statuses: &[LaneStatus]) -> ProgressView {
        ProgressView::of(view, &LaneNames::default(), statuses, false)
    }

    fn why_of(view: &RunView, statuses: &[LaneStatus]) -> Option<String> {
        let waiting = shown(view, statuses).lanes[0].waiting.clone();
        waiting.map(|waiting| waiting.why.into_owned())
    }

    #[test]
    fn the_end_is_never_earlier_than_what_is_waited_for() {
        for (waiting, finish) in [
            (None, 150),
            (Some((WaitCause::Window, 120)), 150),
            (Some((WaitCause::Retry, 170)), 170),
        ] {
            let view = shown(&view(waiting), &[]);
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
            let view = shown(&view(Some((cause, 120))), &[]);
            assert_eq!(view.finish, None, "{cause:?}");
        }
        // The same holds while a probe is in flight.
        let hanging = view(Some((WaitCause::SlowReads, 100)));
        let hanging = shown(&hanging, &[]);
        let waiting = hanging.lanes[0].waiting.as_ref().unwrap();
        assert!(waiting.until.is_none() && waiting.why.contains("wait for their status"));
        for reads in [true, false] {
            let during = shown(&view(None), &told(&[down(reads)]));
            assert_eq!(during.finish, None);
            let after = told(&[down(reads), RunEvent::Up { reads }]);
            assert!(shown(&view(None), &after).finish.is_some());
        }
        let mut unbounded = view(None);
        unbounded.usage = vec![Vec::new()];
        assert_eq!(shown(&unbounded, &[]).finish, None);
    }

    #[test]
    fn what_is_waited_for_is_named_and_stays_the_same_while_the_service_is_tried() {
        for (cause, why) in [
            (WaitCause::Window, "waiting for quota (100/minute)"),
            (WaitCause::Cooldown, "paused by the service (429)"),
            (WaitCause::Outage, DOWN),
            (WaitCause::Retry, "retrying some rows"),
        ] {
            let view = view(Some((cause, 120)));
            assert_eq!(why_of(&view, &[]).as_deref(), Some(why));
        }
        let pace = view(Some((WaitCause::Pace, 120)));
        assert_eq!(why_of(&pace, &[]), None);
        let tried = why_of(&view(None), &told(&[down(false)]));
        assert_eq!(tried.as_deref(), Some(DOWN));
    }

    #[test]
    fn calls_that_have_no_answer_for_a_while_are_told_of() {
        let hanging = |heard, in_flight| {
            let mut view = view(None);
            view.lanes[0].in_flight = 0;
            let mut status = LaneStatus::default();
            status.look(second(heard), &view.lanes[0]);
            view.lanes[0].in_flight = in_flight;
            status.look(second(100), &view.lanes[0]);
            let shown = shown(&view, &[status]);
            assert_eq!(shown.finish.is_some(), shown.lanes[0].hanging.is_none());
            shown.lanes[0].hanging
        };
        assert_eq!(hanging(96, 3), None);
        assert_eq!(hanging(95, 3), Some((3, Duration::from_secs(5))));
        assert_eq!(hanging(95, 0), None);
        // Calls in flight at the first view have just left.
        let mut status = LaneStatus::default();
        status.look(second(100), &view(None).lanes[0]);
        assert_eq!(shown(&view(None), &[status]).lanes[0].hanging, None);
    }

    #[test]
    fn a_run_that_stops_waits_for_answers_only() {
        let stop = RunEvent::Stopping(StopReason::Asked("Ctrl-C".to_owned()));
        let statuses = told(&[down(false), stop]);
        let mut view = view(None);
        assert!(why_of(&view, &statuses).unwrap().starts_with("stopping"));
        assert_eq!(shown(&view, &statuses).finish, None);
        view.lanes[0].in_flight = 0;
        assert_eq!(why_of(&view, &statuses), None);
    }
}
