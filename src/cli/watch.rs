//! The eyes of a run on this terminal: what happened goes to the log, what can be seen goes to the bars.

use std::sync::Arc;

use jiff::Timestamp;

use crate::engine::core::{RunEvent, StopReason};
use crate::engine::{LaneNames, Observer, RunView};
use crate::model::{LaneId, Moment};

use super::progress::Progress;
use super::stop_reason::describe_stop;
use super::watch_view::{Seen, busiest_first, progress_view};

/// Shows a run on the terminal and in the log.
pub(super) struct Watch<'run> {
    progress: &'run Progress,
    run: String,
    sandbox: bool,
    /// When the token ends, where no newer one can be had then; nothing once that was said.
    token_ends: Option<Timestamp>,
    lanes: Arc<LaneNames>,
    seen: Vec<Seen>,
    /// Whether it was said that somebody wishes to stop.
    told_stop: bool,
}

impl<'run> Watch<'run> {
    /// Watches a run, against the imitation or not.
    pub(super) fn new(progress: &'run Progress, run: String, sandbox: bool) -> Self {
        Self {
            progress,
            run,
            sandbox,
            token_ends: None,
            lanes: Arc::default(),
            seen: Vec::new(),
            told_stop: false,
        }
    }

    /// Warns once the forecast reaches beyond the end of a token that cannot be renewed.
    pub(super) fn with_token_until(self, token_ends: Option<Timestamp>) -> Self {
        Self { token_ends, ..self }
    }

    /// Names the lanes where there are several.
    pub(super) fn with_lanes(self, lanes: Arc<LaneNames>) -> Self {
        Self { lanes, ..self }
    }

    fn seen_of(&mut self, lane: LaneId) -> &mut Seen {
        let place = usize::from(lane.0);
        if self.seen.len() <= place {
            self.seen.resize(place + 1, Seen::default());
        }
        &mut self.seen[place]
    }

    fn mind_token(&mut self, view: &RunView) {
        let (Some(end), Some(finish)) = (self.token_ends, view.finish) else {
            return;
        };
        let finish = view.now.wall_at(finish);
        if finish > end {
            self.token_ends = None;
            tracing::warn!(
                run = self.run.as_str(),
                "the token expires at {end:.0} and can't be renewed, but the run ends about {finish:.0}: it will stop then, and \
                 can be resumed with a new token"
            );
        }
    }
}

impl Observer for Watch<'_> {
    fn happened(&mut self, now: Moment, lane: LaneId, event: &RunEvent) {
        self.seen_of(lane).note(event);
        let seen = *self.seen_of(lane);
        let told_stop = self.told_stop;
        self.told_stop |= matches!(event, RunEvent::Stopping(StopReason::Asked(_)));
        let run = self.run.as_str();
        let tenant = self.lanes.shown(lane).filter(|_| self.lanes.are_several());
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
                tracing::debug!(run, tenant, row = row.0, action = %id, attempt, status = http_status, correlation_id, "{what}");
            }
            RunEvent::Settled {
                row,
                id,
                outcome,
                reason,
            } if outcome.leaves_work() => {
                tracing::info!(run, tenant, row = row.0, action = %id, outcome = %outcome, "{reason}");
            }
            RunEvent::Settled {
                row,
                id,
                outcome,
                reason,
            } => {
                tracing::debug!(run, tenant, row = row.0, action = %id, outcome = %outcome, "{reason}");
            }
            RunEvent::Throttled { .. } => throttled((run, tenant), now, event),
            RunEvent::Adopted {
                destination,
                window,
            } => {
                tracing::warn!(run, tenant, destination = %destination, window = %window, "the service names a lower limit, which is kept from now on");
            }
            RunEvent::Paced { destination, pace } => match pace {
                // The way from there on is told to those who ask for more.
                Some(pace) if pace.is_first() => {
                    tracing::warn!(run, tenant, destination = %destination, pace = %pace.as_rate(), "the service refuses bursts within the limit, so calls are spread evenly");
                }
                Some(pace) => {
                    tracing::info!(run, tenant, destination = %destination, pace = %pace.as_rate(), "calls are spread at another rate");
                }
                None => {
                    tracing::info!(run, tenant, destination = %destination, "calls are sent as the limit permits again");
                }
            },
            RunEvent::Down { reads, until, what } => {
                let text = down_text(*reads, what, seen);
                if seen.stopping {
                    tracing::warn!(run, tenant, "{text}");
                } else {
                    let wait = until.since(now.uptime).as_secs_f64();
                    tracing::warn!(run, tenant, wait, "{text}");
                }
            }
            RunEvent::Up { reads } => {
                tracing::warn!(run, tenant, "{} are answered again", kind(*reads));
            }
            RunEvent::ReadingForbidden { what } => {
                tracing::warn!(
                    run,
                    tenant,
                    "this token may not read actions; grant Machine.Read.All so that unknown results can be looked up ({what})"
                );
            }
            RunEvent::ReadsSlow { go, wait } => {
                tracing::warn!(
                    run,
                    tenant,
                    rows_that_go = go,
                    rows_that_wait = wait,
                    "no answer to reads for 5 s: rows whose type the input gives are sent unchecked, the others wait"
                );
            }
            RunEvent::TypeForbidden { action_type } => {
                tracing::warn!(
                    run,
                    tenant,
                    "ten cancels of {action_type} were forbidden; no more of that type are sent"
                );
            }
            RunEvent::Stopping(StopReason::Asked(_)) if told_stop => {}
            RunEvent::Stopping(reason) => stopping((run, tenant), reason),
        }
    }

    fn looked(&mut self, view: &RunView) {
        self.mind_token(view);
        let mut shown = progress_view(view, self.sandbox, &self.seen);
        if self.lanes.are_several() {
            for (number, lane) in (0..).map(LaneId).zip(&mut shown.lanes) {
                self.lanes
                    .shown(number)
                    .unwrap_or("-")
                    .clone_into(&mut lane.name);
            }
            shown.lanes = busiest_first(view, &self.seen, shown.lanes);
        }
        self.progress.update(&shown);
    }
}

fn throttled((run, tenant): (&str, Option<&str>), now: Moment, event: &RunEvent) {
    let RunEvent::Throttled {
        destination,
        until,
        unexpected,
        hint_ignored,
        limit_ignored,
    } = event
    else {
        return;
    };
    let wait = until.since(now.uptime).as_secs_f64();
    if *unexpected {
        tracing::warn!(
            run, tenant, destination = %destination, wait,
            "throttled (429) with quota left: another client shares this quota, or its limit is lower"
        );
    } else {
        tracing::info!(run, tenant, destination = %destination, wait, "throttled (429)");
    }
    if *hint_ignored {
        tracing::warn!(run, tenant, "a Retry-After of over 24 hours is ignored");
    }
    if *limit_ignored {
        tracing::warn!(
            run, tenant, destination = %destination,
            "the limit named in a 429 is ignored: it is below a tenth of the documented one, or for more than an hour"
        );
    }
}

fn stopping((run, tenant): (&str, Option<&str>), reason: &StopReason) {
    match reason {
        StopReason::Asked(what) => tracing::warn!(
            run,
            "{what}: no new cancels; waiting for calls in flight (again to leave at once)"
        ),
        reason if tenant.is_some() => {
            tracing::warn!(
                run,
                tenant,
                "no more rows of this tenant are sent: {}",
                describe_stop(reason)
            );
        }
        reason => tracing::debug!(run, "stopping: {}", describe_stop(reason)),
    }
}

fn down_text(reads: bool, what: &str, seen: Seen) -> String {
    let kind = kind(reads);
    if seen.stopping {
        format!("{kind} get no proper answer ({what})")
    } else {
        format!("{kind} get no proper answer ({what}); trying one call at a time")
    }
}

fn kind(reads: bool) -> &'static str {
    if reads { "reads" } else { "cancels" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_further_tries_once_the_run_stops() {
        let mut seen = Seen::default();
        seen.note(&RunEvent::Stopping(StopReason::Asked("Ctrl-C".to_owned())));
        assert_eq!(
            down_text(false, "503", Seen::default()),
            "cancels get no proper answer (503); trying one call at a time"
        );
        assert_eq!(
            down_text(true, "no answer in time", seen),
            "reads get no proper answer (no answer in time)"
        );
    }
}
