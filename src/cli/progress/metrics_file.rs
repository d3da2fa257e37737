//! Writes a run's metrics to a file for Prometheus.
//!
//! A separate thread writes the file. It takes the newest metrics and drops those that arrive while it writes, so a
//! slow disk never delays a cancel. Only the last write, after the run, is awaited.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::engine::RunView;
use crate::engine::core::{RunEvent, WaitCause};
use crate::model::{Moment, Outcome, RunId, RunStatus, Uptime};
use crate::quota::Window;
use crate::report::{Metrics, Waited, write_metrics};

use super::status_messages::total;

/// How often the file is written; node_exporter is usually scraped every 15 s.
const EVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(in crate::cli) struct MetricsObserver {
    metrics: Metrics,
    /// When the last view came, and what the run waited for.
    seen: Option<(Uptime, Option<Waited>)>,
    written: Option<Uptime>,
    /// Holds one text: newer metrics replace older ones.
    texts: SyncSender<String>,
    thread: JoinHandle<()>,
}

impl MetricsObserver {
    /// Starts to count from `now`.
    pub(in crate::cli) fn start(path: PathBuf, run: RunId, sandbox: bool, now: Moment) -> Self {
        let (texts, receiver) = mpsc::sync_channel(1);
        Self {
            metrics: Metrics {
                run,
                sandbox,
                standing: RunStatus::Running,
                started_at: now.wall,
                ended_at: None,
                exit_code: None,
                written_at: now.wall,
                rows: 0,
                outcomes: BTreeMap::new(),
                follow_ups: 0,
                cancels: BTreeMap::new(),
                reads: 0,
                throttled: 0,
                retries: 0,
                quota: Vec::new(),
                waited: BTreeMap::new(),
            },
            seen: None,
            written: None,
            texts,
            thread: std::thread::spawn(move || write_all(&path, &receiver)),
        }
    }

    /// Sets the journal's counts: rows by outcome, and machines with follow-ups.
    pub(in crate::cli) fn counted(&mut self, outcomes: &BTreeMap<Outcome, u64>, machines: u64) {
        self.metrics.outcomes.clone_from(outcomes);
        self.metrics.follow_ups = machines;
    }

    /// Writes the last metrics; returns once they are in the file.
    pub(in crate::cli) fn finish(mut self, now: Moment, standing: RunStatus, exit_code: u8) {
        self.pass(now, None);
        self.metrics.standing = standing;
        self.metrics.exit_code = Some(exit_code);
        self.metrics.ended_at = Some(now.wall);
        self.metrics.written_at = now.wall;
        // If the thread has ended, it has logged why.
        self.texts.send(self.metrics.render()).ok();
        drop(self.texts);
        self.thread.join().ok();
    }

    /// Adds the time since the last view to the wait of that view.
    fn pass(&mut self, now: Moment, waits: Option<Waited>) {
        if let Some((since, Some(cause))) = self.seen {
            *self.metrics.waited.entry(cause).or_default() += now.uptime.since(since);
        }
        self.seen = Some((now.uptime, waits));
    }

    pub(super) fn happened(&mut self, event: &RunEvent) {
        if let RunEvent::Replied { http_status, .. } = event {
            *self.metrics.cancels.entry(*http_status).or_default() += 1;
        }
    }

    pub(super) fn looked(&mut self, view: &RunView) {
        let tally = total(view);
        // A lane's wait counts for the run only if no other lane sends.
        let causes: Option<Vec<_>> = view.lanes.iter().map(|lane| lane.waiting).collect();
        let cause = causes.and_then(|causes| causes.into_iter().map(|it| it.cause).next());
        self.pass(view.now, cause.and_then(waited));
        let metrics = &mut self.metrics;
        metrics.written_at = view.now.wall;
        metrics.rows = tally.rows;
        let all = Outcome::ALL.into_iter();
        metrics.outcomes = all.map(|outcome| (outcome, tally.of(outcome))).collect();
        metrics.follow_ups = tally.follow_ups;
        metrics.reads = tally.reads;
        metrics.throttled = tally.throttled;
        metrics.retries = tally.retries;
        metrics.quota = quota(view);
        let is_due = self
            .written
            .is_none_or(|written| view.now.uptime.since(written) >= EVERY);
        if is_due {
            self.written = Some(view.now.uptime);
            self.texts.try_send(self.metrics.render()).ok();
        }
    }
}

fn waited(cause: WaitCause) -> Option<Waited> {
    match cause {
        WaitCause::Window => Some(Waited::Quota),
        WaitCause::Cooldown => Some(Waited::Cooldown),
        WaitCause::Outage => Some(Waited::Outage),
        WaitCause::Retry | WaitCause::Missing => Some(Waited::Retry),
        WaitCause::Reads | WaitCause::ReadCooldown | WaitCause::SlowReads => Some(Waited::Reads),
        WaitCause::Effect => Some(Waited::Verify),
        // Pacing isn't a wait.
        WaitCause::Pace => None,
    }
}

/// Sums the windows of all lanes, because a sample may appear only once.
fn quota(view: &RunView) -> Vec<(Window, u32)> {
    let mut sums: Vec<(Window, u32)> = Vec::new();
    for usage in view.usage.iter().flatten() {
        match sums.iter_mut().find(|(window, _)| *window == usage.window) {
            Some((_, used)) => *used += usage.taken,
            None => sums.push((usage.window, usage.taken)),
        }
    }
    sums
}

fn write_all(path: &Path, texts: &Receiver<String>) {
    let mut is_told = false;
    for text in texts {
        if let Err(error) = write_metrics(path, &text)
            && !is_told
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the metrics file is not written"
            );
            is_told = true;
        }
    }
}
