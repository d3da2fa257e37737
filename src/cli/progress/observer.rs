//! Shows a run on the terminal: events go to the log, numbers to the bars.

use std::sync::Arc;

use jiff::Timestamp;

use crate::engine::core::{RunEvent, StopReason};
use crate::engine::{LaneNames, Observer, RunView};
use crate::model::{LaneId, Moment};

use super::status_messages::{LaneStatus, ProgressView};
use super::{MetricsObserver, Progress};

pub(in crate::cli) struct TerminalObserver {
    progress: Progress,
    run: String,
    is_sandbox: bool,
    /// When a token that can't be renewed expires; `None` once the warning was logged.
    token_ends: Option<Timestamp>,
    lanes: Arc<LaneNames>,
    statuses: Vec<LaneStatus>,
    /// Whether the user's stop was logged.
    told_stop: bool,
    /// Also gets every event.
    pub(in crate::cli) metrics: Option<MetricsObserver>,
}

impl TerminalObserver {
    pub(in crate::cli) fn new(
        progress: Progress,
        run: String,
        is_sandbox: bool,
        token_ends: Option<Timestamp>,
        lanes: Arc<LaneNames>,
        metrics: Option<MetricsObserver>,
    ) -> Self {
        Self {
            progress,
            run,
            is_sandbox,
            token_ends,
            lanes,
            statuses: Vec::new(),
            told_stop: false,
            metrics,
        }
    }

    fn status(&mut self, lane: usize) -> &mut LaneStatus {
        if self.statuses.len() <= lane {
            self.statuses.resize(lane + 1, LaneStatus::default());
        }
        &mut self.statuses[lane]
    }

    /// Warns once that the run will outlive a token that can't be renewed.
    fn check_token(&mut self, view: &RunView) {
        let finish = view.finish.map(|finish| view.now.wall_at(finish));
        if let (Some(end), Some(finish)) = (self.token_ends, finish)
            && finish > end
        {
            self.token_ends = None;
            tracing::warn!(
                run = self.run.as_str(),
                "the token expires at {end:.0} and can't be renewed, but the run ends about {finish:.0}: it will stop then, and \
                 can be resumed with a new token"
            );
        }
    }
}

impl Observer for TerminalObserver {
    fn happened(&mut self, now: Moment, lane: LaneId, event: &RunEvent) {
        if let Some(metrics) = &mut self.metrics {
            metrics.happened(event);
        }
        let status = self.status(lane.0.into());
        status.note(now.uptime, event);
        let is_stopping = status.stopping;
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
            } => {
                if outcome.needs_attention() {
                    tracing::info!(run, tenant, row = row.0, action = %id, %outcome, "{reason}");
                } else {
                    tracing::debug!(run, tenant, row = row.0, action = %id, %outcome, "{reason}");
                }
            }
            RunEvent::Throttled {
                destination,
                until,
                unexpected,
                hint_ignored,
                limit_ignored,
            } => {
                let wait = until.since(now.uptime).as_secs_f64();
                if *unexpected {
                    tracing::warn!(
                        run, tenant, %destination, wait,
                        "throttled (429) with quota left: another client shares this quota, or its limit is lower"
                    );
                } else {
                    tracing::info!(run, tenant, %destination, wait, "throttled (429)");
                }
                if *hint_ignored {
                    tracing::warn!(run, tenant, "ignoring a Retry-After of more than 24 hours");
                }
                if *limit_ignored {
                    tracing::warn!(
                        run, tenant, %destination,
                        "the limit named in a 429 is ignored: it is below a tenth of the documented one, or for more than an hour"
                    );
                }
            }
            RunEvent::Adopted {
                destination,
                window,
            } => {
                tracing::warn!(run, tenant, %destination, %window, "the service reports a lower limit; keeping to it");
            }
            RunEvent::Paced { destination, pace } => match pace {
                // Later changes of the rate are logged at info level.
                Some(pace) if pace.is_first() => {
                    tracing::warn!(run, tenant, %destination, pace = %pace.as_rate(), "the service refuses bursts within the limit, so calls are spread evenly");
                }
                Some(pace) => {
                    tracing::info!(run, tenant, %destination, pace = %pace.as_rate(), "the rate changed");
                }
                None => {
                    tracing::info!(run, tenant, %destination, "the rate limit is lifted");
                }
            },
            RunEvent::Down { reads, until, what } => {
                let kind = kind(*reads);
                if is_stopping {
                    tracing::warn!(run, tenant, "{kind} fail ({what})");
                } else {
                    let wait = until.since(now.uptime).as_secs_f64();
                    tracing::warn!(
                        run,
                        tenant,
                        wait,
                        "{kind} fail ({what}); sending one at a time until the service answers"
                    );
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
                    "ten calls of {action_type} were forbidden; no more of that type are sent"
                );
            }
            RunEvent::Stopping(StopReason::Asked(what)) => {
                if !std::mem::replace(&mut self.told_stop, true) {
                    tracing::warn!(
                        run,
                        "{what}: no new calls; waiting for calls in flight (again to leave at once)"
                    );
                }
            }
            RunEvent::Stopping(reason) => {
                let reason = reason.to_string();
                if tenant.is_some() {
                    tracing::warn!(
                        run,
                        tenant,
                        "no more rows of this tenant are sent: {reason}"
                    );
                } else {
                    tracing::debug!(run, "stopping: {reason}");
                }
            }
        }
    }

    fn looked(&mut self, view: &RunView) {
        if let Some(metrics) = &mut self.metrics {
            metrics.looked(view);
        }
        for (place, lane) in view.lanes.iter().enumerate() {
            self.status(place).look(view.now.uptime, lane);
        }
        self.check_token(view);
        let shown = ProgressView::of(view, &self.lanes, &self.statuses, self.is_sandbox);
        self.progress.update(&shown);
    }
}

fn kind(reads: bool) -> &'static str {
    if reads { "reads" } else { "cancels" }
}
