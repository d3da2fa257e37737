//! `report`: writes a run's reports from the journal, even while it runs. The end of a run and `resume` write theirs
//! the same way. All targets are checked before anything is sent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::cli::args::{OutputPaths, ReportArgs};
use crate::cli::failure::{Failure, RunExit};
use crate::cli::hint::{ForwardedFlags, NextCommand};
use crate::cli::journaled_config::RunConfig;
use crate::clock::{Clock as _, SystemClock};
use crate::model::{FollowUp, Outcome, RunId, RunStatus};
use crate::platform;
use crate::quota::Windows;
use crate::report::{
    AcceptedPolicy, CommandHint, FileKind, ReportFormat, ReportSummary, ReportTarget, SUMMARY_ROWS,
    TargetError, Timeline, TimelineBuilder, WriteResult, write_follow_ups, write_report,
};
use crate::store::{Reader, ReportRows, RunRecord, StoreError};

use super::check_follow_ups::from_journal;
use super::find_run::{self, RunEntry};
use super::prepared_run::PreparedRun;
use super::sandbox::SANDBOX_CLOUD;

#[derive(Clone, Debug, Default)]
pub(super) struct Outputs {
    pub(super) reports: Vec<(ReportFormat, ReportTarget)>,
    /// Where to list the machines that still need work.
    pub(super) follow_up: Option<ReportTarget>,
    pub(super) metrics_file: Option<PathBuf>,
    /// Notes about outputs written beside files that aren't ours or that can't be replaced.
    pub(super) notes: Vec<String>,
}

impl Outputs {
    /// Checks that every file can be written. A file that isn't an earlier output of ours, or that another program has open,
    /// is kept, and ours goes beside it.
    pub(super) fn prove(paths: &OutputPaths, run: RunId) -> Result<Self, Failure> {
        let mut outputs = Self::default();
        for path in &paths.reports {
            let format = ReportFormat::from_path(path).map_err(Failure::refused)?;
            let target = outputs.target(path, FileKind::Report(format), run)?;
            outputs.reports.push((format, target));
        }
        if let Some(path) = &paths.follow_up {
            outputs.follow_up = Some(outputs.target(path, FileKind::FollowUps, run)?);
        }
        if let Some(path) = &paths.metrics_file {
            let target = outputs.target(path, FileKind::Metrics, run)?;
            outputs.metrics_file = target.path().map(Path::to_owned);
        }
        for note in &outputs.notes {
            tracing::warn!("{note}");
        }
        Ok(outputs)
    }

    fn target(&mut self, path: &Path, kind: FileKind, run: RunId) -> Result<ReportTarget, Failure> {
        let target = check_writable(path)?;
        let Some(place) = target.path() else {
            return Ok(target);
        };
        let is_held = platform::is_held_open(place);
        if !is_held && kind.may_replace(place) {
            return Ok(target);
        }
        let beside = beside(path, run);
        let what = match kind {
            FileKind::Report(_) => "report",
            FileKind::FollowUps => "follow-up list",
            FileKind::Metrics => "metrics file",
        };
        let (why, hint) = if is_held {
            let why = "is open in another program".to_owned();
            (why, "name another file, or close it there")
        } else {
            let why = format!("is not a {what} of mde-cancel");
            (why, "name another file, or move it away")
        };
        if kind == FileKind::Metrics || !kind.may_replace(&beside) {
            let error = anyhow::anyhow!("{} {why}", path.display());
            return Err(Failure::refused(error).hint(hint));
        }
        self.notes.push(format!(
            "{} {why} and is kept; the {what} is {}",
            path.display(),
            beside.display()
        ));
        check_writable(&beside)
    }
}

fn check_writable(path: &Path) -> Result<ReportTarget, Failure> {
    ReportTarget::check_writable(path).map_err(|error| match error {
        TargetError::Unwritable { .. } => Failure::refused(error)
            .hint("name a file in a folder that exists and that you may write to"),
        error => Failure::refused(error),
    })
}

/// Returns a path beside `path` with the run's id in its name.
fn beside(path: &Path, run: RunId) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{run}"));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name)
}

/// Writes the reports of the run that is named, or of the newest.
pub fn report(args: &ReportArgs, state_dir: &Path) -> Result<(), Failure> {
    let run = match &args.run {
        Some(text) => find_run::named(state_dir, text)?,
        None => find_run::newest(state_dir)?,
    };
    let outputs = Outputs::prove(&args.outputs(), run.record.begun.id)?;
    write_all(&run, &outputs, SystemClock::new().now().wall)
}

const RENEWED_EVERY: Duration = Duration::from_secs(30);

/// How many times longer than the last write the pause is, so that large pages cost the run little.
const PAUSE_FACTOR: u32 = 20;

/// The HTML reports of a live run.
pub(super) struct LivePages {
    task: JoinHandle<()>,
    /// Dropped at the end of the run.
    ended: oneshot::Sender<()>,
}

impl LivePages {
    /// Stops renewing and waits for a write in progress, so that it doesn't replace the final report.
    pub(super) async fn end(self) {
        drop(self.ended);
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the live report page stopped");
        }
    }
}

impl PreparedRun {
    /// Writes the HTML reports now, and renews them until the run ends. A separate thread writes them over a read-only
    /// connection.
    pub(super) fn renew_pages(&self) -> Option<LivePages> {
        let reports = self.outputs.reports.iter();
        let pages = reports.filter(|(format, _)| *format == ReportFormat::Html);
        let pages: Vec<_> = pages.map(|(_, target)| target.clone()).collect();
        if pages.is_empty() {
            return None;
        }
        let (store, id, clock) = (self.store.clone(), self.id, Arc::clone(&self.clock));
        let shortest = RENEWED_EVERY / self.config.time_scale;
        let (ended, mut end) = oneshot::channel();
        let task = tokio::spawn(async move {
            let (mut every, mut has_failed) = (shortest, false);
            loop {
                let begun = clock.now();
                let (store, pages) = (store.clone(), pages.clone());
                let write = move || {
                    pages.iter().try_for_each(|page| {
                        let rows = store.reader()?.report_rows(id)?;
                        let summary = |rows: &ReportRows| {
                            Ok(ReportSummary {
                                refresh_interval: Some(every),
                                ..summarize(rows, begun.wall)?
                            })
                        };
                        write_report(ReportFormat::Html, page, rows, summary)
                            .map_err(|error| Failure::new(RunExit::Fault, error))
                            .map(drop)
                    })
                };
                if let Ok(Err(failure)) = tokio::task::spawn_blocking(write).await
                    && !std::mem::replace(&mut has_failed, true)
                {
                    let error = format!("{:#}", failure.error);
                    tracing::warn!(error, "the page that shows the run cannot be renewed");
                }
                let took = clock.now().uptime.since(begun.uptime);
                every = shortest.max(took * PAUSE_FACTOR);
                tokio::select! {
                    _ = &mut end => return,
                    () = clock.sleep_until(begun.uptime.after(every)) => {}
                }
            }
        });
        Some(LivePages { task, ended })
    }
}

/// Writes one report. Returns whether all of it arrived.
pub(super) fn write_one(
    reader: Reader,
    id: RunId,
    format: ReportFormat,
    target: &ReportTarget,
    now: Timestamp,
) -> Result<WriteResult, Failure> {
    let rows = reader.report_rows(id)?;
    write_report(format, target, rows, |rows| summarize(rows, now))
        .map_err(|error| Failure::new(RunExit::Fault, error))
}

/// Writes the reports and the follow-up list of a run that isn't executed here. The list isn't checked again.
pub(super) fn write_all(run: &RunEntry, outputs: &Outputs, now: Timestamp) -> Result<(), Failure> {
    let id = run.record.begun.id;
    for (format, target) in &outputs.reports {
        write_one(run.reader()?, id, *format, target, now)?;
    }
    let Some(target) = &outputs.follow_up else {
        return Ok(());
    };
    let machines = from_journal(run.reader()?.report_rows(id)?)?;
    write_follow_ups(target, &machines).map_err(|error| Failure::new(RunExit::Fault, error))
}

/// Collects what a report says besides its rows, at the same instant as the rows.
fn summarize(rows: &ReportRows, now: Timestamp) -> Result<ReportSummary, StoreError> {
    let (reader, run) = (rows.reader(), rows.run());
    let settings: Map<String, Value> =
        serde_json::from_str(&run.begun.settings).unwrap_or_default();
    let config = RunConfig::from_json(&run.begun.settings).ok();
    let standing = run.standing();
    let begun = &run.begun;
    Ok(ReportSummary {
        run: begun.id,
        written_at: now,
        refresh_interval: None,
        operation: run.operation,
        is_sandbox: begun.cloud == SANDBOX_CLOUD,
        user: begun.user.clone(),
        host: begun.host.clone(),
        tenant: begun.tenant.clone(),
        app: begun.app.clone(),
        cloud: begun.cloud.clone(),
        version: begun.version.clone(),
        standing,
        stop_reason: run.reason.clone(),
        exit_code: run.exit_code,
        begun_at: begun.created,
        // While the run is live, an earlier end doesn't count.
        ended_at: run.ended_at.filter(|_| standing != RunStatus::Running),
        rows_read: run.intake.rows_read,
        input_complete: run.intake.complete,
        inputs: serde_json::from_str(&run.begun.inputs).unwrap_or_default(),
        outcomes: reader.outcome_counts(run.key)?,
        accepted: match &config {
            Some(config) if config.verify.is_none() => AcceptedPolicy::IsEnough,
            _ => AcceptedPolicy::IsLeft,
        },
        final_statuses: reader.status_counts(run.key, Outcome::AlreadyFinal)?,
        action_types: reader.type_counts(run.key)?,
        follow_ups: follow_ups(&reader.follow_up_counts(run.key)?),
        follow_up_rows: reader.follow_up_rows(run, SUMMARY_ROWS)?,
        excluded_rows: reader.excluded_rows(run, SUMMARY_ROWS)?,
        commands: commands(reader, run),
        answers: reader.answer_counts(run.key)?,
        timeline: timeline(reader, run, config.as_ref())?,
        settings,
    })
}

/// Returns the commands that deal with machines that still need work.
fn commands(reader: &Reader, run: &RunRecord) -> Vec<CommandHint> {
    let mut dir = reader.folder();
    if run.begun.cloud == SANDBOX_CLOUD {
        // Runs in the sandbox's folder are found through its parent.
        dir = dir.parent().unwrap_or(dir);
    }
    let list = NextCommand::FollowUp(run.begun.id, "machines.csv".into());
    let list = CommandHint {
        why: "To list the machines, and what each of them needs".to_owned(),
        line: list.render(&ForwardedFlags::of_state(dir)),
    };
    match reader.has_follow_ups(run.key) {
        Ok(true) => vec![list],
        _ => Vec::new(),
    }
}

fn timeline(
    reader: &Reader,
    run: &RunRecord,
    config: Option<&RunConfig>,
) -> Result<Option<Timeline>, StoreError> {
    let Some((start, end)) = reader.sending_span(run.key)? else {
        return Ok(None);
    };
    // Scaled to the run's clock.
    let windows = config.map(|config| config.quota.scaled_down(config.time_scale));
    let grace = config
        .map(|config| config.timeout_grace)
        .unwrap_or_default();
    let mut builder =
        TimelineBuilder::new(&windows.unwrap_or_else(Windows::none), grace, start, end);
    let from = builder.matters_from();
    reader.sendings(run.key, from, end, |sending| builder.push(sending))?;
    Ok(Some(builder.finish()))
}

/// Sorts what machines need, gravest first.
pub(super) fn follow_ups(needs: &BTreeMap<String, u64>) -> Vec<(FollowUp, u64)> {
    FollowUp::ALL
        .into_iter()
        .filter_map(|kind| needs.get(kind.as_str()).map(|&count| (kind, count)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_comes_with_a_hint() {
        let paths = OutputPaths {
            reports: vec!["/no/such/folder/report.csv".into()],
            ..OutputPaths::default()
        };
        let run = RunId::new(uuid::Uuid::from_u128(7));
        assert_eq!(Outputs::prove(&paths, run).unwrap_err().hints.len(), 1);
    }
}
