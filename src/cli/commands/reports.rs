//! Writes the reports of one run from the journal: what the ending, `resume` and `report` share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::cli::failure::{Failure, FailureKind};
use crate::cli::place::is_one_place;
use crate::cli::settings::Output;
use crate::model::{FollowUp, Outcome, RunId, Standing};
use crate::quota::{Window, Windows};
use crate::report::{
    Accepted, Course, Delivery, FOLLOW_UP_ROWS, ReportFormat, ReportSummary, ReportTarget, Setting,
    Timeline, TimelineBuilder, World, write_report,
};
use crate::store::{Reader, ReportRows, RunRecord, StoreError};

use super::service::SANDBOX_CLOUD;

/// Writes one report of the run `id`, and tells whether all of it arrived.
pub(super) fn write_one(
    reader: Reader,
    id: RunId,
    (format, target): (ReportFormat, &ReportTarget),
    now: Timestamp,
) -> Result<Delivery, Failure> {
    let rows = reader.report_rows(id).map_err(state)?;
    write_report(format, target, rows, |rows| summarize(rows, now))
        .map_err(|error| Failure::new(FailureKind::Report, error))
}

/// Proves that the run's figures can be written, and that nothing else of the run stands in that place or is to; standard
/// output is no place for them, for the summary goes there.
pub(super) fn prove_metrics(
    output: &Output,
    inputs: &[PathBuf],
    (reports, follow_up): (&[(ReportFormat, ReportTarget)], Option<&ReportTarget>),
) -> Result<Option<PathBuf>, Failure> {
    let Some(path) = &output.metrics_file else {
        return Ok(None);
    };
    let usage = |error: anyhow::Error| Failure::new(FailureKind::Usage, error);
    let path = match ReportTarget::prove(path) {
        Ok(ReportTarget::File(path)) => path,
        Ok(ReportTarget::Stdout) => {
            return Err(usage(anyhow!("--metrics-file needs the name of a file")));
        }
        Err(error) => {
            let error = anyhow!(error).context("--metrics-file cannot be used");
            return Err(usage(error));
        }
    };
    let targets = reports.iter().map(|(_, target)| target).chain(follow_up);
    let mut taken = targets
        .filter_map(ReportTarget::path)
        .chain(inputs.iter().map(PathBuf::as_path));
    if taken.any(|other| is_one_place(other, &path)) {
        let error = anyhow!(
            "the metrics file {} would replace a report, the follow-up list or an input",
            path.display()
        );
        return Err(usage(error).hint("name another file with --metrics-file"));
    }
    Ok(Some(path))
}

/// Gathers what a report says of a run besides its rows, at the same instant as they.
fn summarize(rows: &ReportRows, now: Timestamp) -> Result<ReportSummary, StoreError> {
    let (reader, run) = (rows.reader(), rows.run());
    let settings: Map<String, Value> =
        serde_json::from_str(&run.begun.settings).unwrap_or_default();
    let standing = run.standing();
    let course = Course {
        standing,
        stop_reason: run.reason.clone(),
        exit_code: run.exit_code,
        begun_at: run.begun.created,
        // While it goes on, what it ended with before it was taken up again means nothing.
        ended_at: run.ended_at.filter(|_| standing != Standing::Running),
        rows_read: run.intake.rows_read,
        input_complete: run.intake.complete,
    };
    Ok(ReportSummary {
        run: run.begun.id,
        written_at: now,
        setting: setting(run),
        course,
        inputs: serde_json::from_str(&run.begun.inputs).unwrap_or_default(),
        outcomes: reader.outcome_counts(run.key)?,
        accepted: match settings.get("no_verify").and_then(Value::as_bool) {
            Some(true) => Accepted::IsEnough,
            _ => Accepted::IsLeft,
        },
        final_statuses: reader.status_counts(run.key, Outcome::AlreadyFinal)?,
        action_types: reader.type_counts(run.key)?,
        follow_ups: follow_ups(&reader.follow_up_counts(run.key)?),
        follow_up_rows: reader.follow_up_rows(run, FOLLOW_UP_ROWS)?,
        answers: reader.answer_counts(run.key)?,
        timeline: timeline(reader, run, &settings)?,
        settings,
    })
}

fn setting(run: &RunRecord) -> Setting {
    let begun = &run.begun;
    Setting {
        world: if begun.cloud == SANDBOX_CLOUD {
            World::Sandbox
        } else {
            World::Service
        },
        user: begun.user.clone(),
        host: begun.host.clone(),
        tenant: begun.tenant.clone(),
        app: begun.app.clone(),
        cloud: begun.cloud.clone(),
        version: begun.version.clone(),
    }
}

fn timeline(
    reader: &Reader,
    run: &RunRecord,
    settings: &Map<String, Value>,
) -> Result<Option<Timeline>, StoreError> {
    let Some(span) = reader.sending_span(run.key)? else {
        return Ok(None);
    };
    let grace = settings.get("fate_grace_ms").and_then(Value::as_u64);
    let grace = Duration::from_millis(grace.unwrap_or_default());
    let mut builder = TimelineBuilder::new(&windows(settings), grace, span);
    let span = (builder.matters_from(), span.1);
    reader.sendings(run.key, span, |sending| builder.push(sending))?;
    Ok(Some(builder.finish()))
}

/// Returns the windows to which a run kept, on its own clock.
fn windows(settings: &Map<String, Value>) -> Windows {
    let texts = settings.get("quota").and_then(Value::as_array);
    let windows = texts.into_iter().flatten().filter_map(Value::as_str);
    let windows = windows
        .filter_map(|text| Window::parse(text).ok())
        .collect();
    let scale = settings.get("time_scale").and_then(Value::as_u64);
    let scale = scale.and_then(|scale| u32::try_from(scale).ok());
    Windows::new(windows).scaled_down(scale.unwrap_or(1).max(1))
}

/// Sorts what machines need by weight, the gravest first.
pub(super) fn follow_ups(needs: &BTreeMap<String, u64>) -> Vec<(FollowUp, u64)> {
    FollowUp::ALL
        .into_iter()
        .filter_map(|kind| needs.get(kind.as_str()).map(|&count| (kind, count)))
        .collect()
}

pub(super) fn state(error: StoreError) -> Failure {
    Failure::new(FailureKind::State, error)
}
