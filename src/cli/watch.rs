//! The eyes of a run on this terminal: what happened goes to the log, what can be seen goes to the bars.

use std::collections::BTreeMap;

use crate::domain::Moment;
use crate::domain::Outcome;
use crate::engine::Observer;
use crate::engine::RunView;
use crate::engine::core::RunEvent;
use crate::engine::core::StopReason;
use crate::engine::core::Tally;
use crate::engine::core::WaitCause;
use crate::quota::Usage;

use super::progress::Progress;
use super::progress_view::LaneView;
use super::progress_view::ProgressView;
use super::progress_view::Waiting;
use super::progress_view::WindowView;
use super::text::Span;
use super::text::window_name;

/// Shows a run on the terminal and in the log.
pub(super) struct Watch<'run> {
    pub(super) progress: &'run Progress,
    pub(super) run: String,
    pub(super) sandbox: bool,
}

impl Observer for Watch<'_> {
    fn happened(&mut self, now: Moment, event: &RunEvent) {
        let run = self.run.as_str();
        match event {
            RunEvent::Replied {
                row,
                id,
                attempt,
                http_status,
                what,
                correlation_id,
            } => {
                let correlation_id = correlation_id.as_deref();
                tracing::debug!(run, row = row.0, action = %id, attempt, status = http_status, correlation_id, "{what}");
            }
            RunEvent::Settled {
                row,
                id,
                outcome,
                reason,
            } if outcome.leaves_work() => {
                tracing::info!(run, row = row.0, action = %id, outcome = %outcome, "{reason}");
            }
            RunEvent::Settled {
                row,
                id,
                outcome,
                reason,
            } => tracing::debug!(run, row = row.0, action = %id, outcome = %outcome, "{reason}"),
            RunEvent::Throttled {
                destination,
                until,
                unforeseen,
                hint_ignored,
            } => {
                let wait = Span(until.since(now.uptime));
                if *unforeseen {
                    tracing::warn!(
                        run, destination = %destination, %wait,
                        "the service said 429 although our ledger had room: somebody else uses this quota, or its limit is lower"
                    );
                } else {
                    tracing::info!(run, destination = %destination, %wait, "the service said 429");
                }
                if let Some(hint) = hint_ignored {
                    tracing::warn!(
                        run,
                        hint = hint.as_secs(),
                        "a Retry-After of over 24 hours is ignored"
                    );
                }
            }
            RunEvent::Adopted {
                destination,
                window,
            } => {
                tracing::warn!(run, destination = %destination, window = %window, "the service names a smaller allowance, which is kept from now on");
            }
            RunEvent::Down { reads, until, what } => {
                let kind = kind(*reads);
                let wait = Span(until.since(now.uptime));
                tracing::warn!(
                    run,
                    %wait,
                    "{kind} get no proper answer ({what}); one call at a time probes the service"
                );
            }
            RunEvent::Up { reads } => tracing::warn!(run, "{} are answered again", kind(*reads)),
            RunEvent::ReadingForbidden { what } => {
                tracing::warn!(
                    run,
                    "records may not be read with this token; grant Machine.Read.All to have doubts cleared ({what})"
                );
            }
            RunEvent::TypeForbidden { action_type } => {
                tracing::warn!(
                    run,
                    "ten cancels of {action_type} were forbidden; the rest of that type is not sent"
                );
            }
            RunEvent::Stopping(StopReason::Asked(what)) => {
                tracing::warn!(
                    run,
                    "{what}: no new cancel leaves; waiting for those on the wire (again to leave at once)"
                );
            }
            RunEvent::Stopping(reason) => tracing::debug!(run, "stopping: {reason:?}"),
        }
    }

    fn looked(&mut self, view: &RunView) {
        self.progress.update(&progress_view(view, self.sandbox));
    }
}

fn progress_view(view: &RunView, sandbox: bool) -> ProgressView {
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
        .map(|(lane, usage)| LaneView {
            name: String::new(),
            windows: usage.iter().map(window_view).collect(),
            in_flight: u32::try_from(lane.in_flight).unwrap_or(u32::MAX),
            waiting: lane.waiting.and_then(|waiting| {
                let why = why(waiting.cause, usage)?;
                let until = view.now.wall_at(waiting.until);
                Some(Waiting {
                    why,
                    until: Some(until),
                })
            }),
        });
    ProgressView {
        sandbox,
        total: view.input_ended.then_some(tally.rows),
        done: tally.settled(),
        outcomes,
        lanes: lanes.collect(),
        finish: view.finish.map(|finish| view.now.wall_at(finish)),
    }
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
        WaitCause::Cooldown => Some("the service, which asked for a pause (429)".to_owned()),
        WaitCause::Outage => Some("the service, which seems to be down; the next probe".to_owned()),
        WaitCause::Retry => Some("the next try of a row".to_owned()),
        WaitCause::Window => {
            let full = usage.iter().filter(|usage| usage.free_at.is_some());
            let last = full.max_by_key(|usage| usage.free_at)?;
            Some(format!("the {} window", window_name(last.window.period)))
        }
    }
}

fn kind(reads: bool) -> &'static str {
    if reads { "reads" } else { "cancels" }
}
