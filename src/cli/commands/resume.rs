//! `resume`: goes on with a run that stopped or crashed, from the journal alone.
//!
//! Rows whose fate is unknown are looked at first, retries, cooldowns and the ledger stand where they stood, and the
//! final report covers the whole run. The run's settings are kept; how to sign in is given anew, and must lead to the
//! same tenant, app and cloud.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use anyhow::anyhow;

use crate::cli::failure::Failure;
use crate::cli::failure::RunExit;
use crate::cli::progress::Progress;
use crate::cli::settings::ResumeSettings;
use crate::cli::text::Count;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::domain::ActionId;
use crate::domain::Outcome;
use crate::domain::RowNumber;
use crate::engine::Before;
use crate::engine::Intake;
use crate::engine::Place;
use crate::engine::Planner;
use crate::intake::Bookmark;
use crate::intake::Input;
use crate::intake::IntakeSettings;
use crate::intake::open;
use crate::store::RunState;

use super::carry::Carrying;
use super::carry::StopWishes;
use super::carry::carry_out;
use super::carry::open_store;
use super::carry::prove_targets;
use super::carry::say;
use super::carry::say_sandbox;
use super::carry::state;
use super::carry::usage;
use super::ending::Look;
use super::order::Order;
use super::past;
use super::past::PastRun;
use super::reports::prove_metrics;
use super::reports::write_one;
use super::service::Service;

/// Goes on with a run.
///
/// # Errors
/// Returns what kept it from going on.
pub async fn resume(
    settings: ResumeSettings,
    progress: &Progress,
    look: Look,
) -> Result<RunExit, Failure> {
    let stop = StopWishes::listen(progress).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let past = match &settings.run {
        Some(text) => past::named(&settings.state_dir, text)?,
        None => past::unfinished(&settings.state_dir, clock.now().wall)?,
    };
    let begun = &past.record.begun;
    let mark = if past.is_sandbox { "SANDBOX-" } else { "" };
    let default = [PathBuf::from(format!(
        "./mde-cancel-{mark}{}.csv",
        begun.id
    ))];
    let paths = if settings.reports.is_empty() {
        &default[..]
    } else {
        &settings.reports
    };
    let targets = prove_targets(paths, &[])?;
    let metrics = prove_metrics(&settings.output)?;
    if past.record.state == RunState::Finished {
        return finished(&past, &targets, (progress, clock.now().wall));
    }
    let (order, intake) = Order::recall(&begun.settings).map_err(usage)?;
    let store = open_store(&past.state_dir, order.retry().fate_grace, &*clock)?;
    let inputs = inputs_of(&past);
    let service = reach(&past, &order, (&inputs, &intake), settings.connection).await?;
    // Taken before its rows are looked at: nobody else writes to it from here on.
    store
        .reopen_run(past.record.key, clock.now().wall)
        .await
        .map_err(state)?;
    let (before, planner) = recall_rows(&past, &order)?;
    let (intake, lost) = take_up(&past, inputs, &intake);
    if past.is_sandbox {
        say_sandbox(progress, order.time_scale);
    }
    let settled: u64 = before.settled.values().sum();
    let left = Count::new(before.rows.saturating_sub(settled), "row");
    let line = format!(
        "going on with run {}, begun {:.0}, tenant {}: {left} left",
        begun.id, begun.created, begun.tenant
    );
    say(progress, &line);
    let carrying = Carrying {
        id: begun.id,
        run: past.record.key,
        is_sandbox: past.is_sandbox,
        store,
        clock,
        service,
        intake,
        planner,
        before,
        targets,
        metrics,
        stop,
        stop_after: settings.stop_after,
        lost,
        order,
    };
    carry_out(carrying, progress, look).await
}

/// A finished run: says so, writes its reports again, and ends as it ended.
fn finished(
    past: &PastRun,
    targets: &[(crate::report::ReportFormat, crate::report::ReportTarget)],
    (progress, now): (&Progress, jiff::Timestamp),
) -> Result<RunExit, Failure> {
    let id = past.record.begun.id;
    for (format, target) in targets {
        write_one(past.reader()?, id, (*format, target), now)?;
    }
    say(
        progress,
        &format!("run {id} is finished; its reports are written again"),
    );
    Ok(match past.record.exit_code {
        Some(0) | None => RunExit::Done,
        Some(_) => RunExit::LeftOver,
    })
}

async fn reach(
    past: &PastRun,
    order: &Order,
    reading: (&[Input], &IntakeSettings),
    connection: Result<
        crate::cli::settings::ConnectionSettings,
        crate::cli::settings::SettingsError,
    >,
) -> Result<Service, Failure> {
    let begun = &past.record.begun;
    if past.is_sandbox {
        let scale = (order.time_scale, order.timeout);
        return Ok(Service::embedded(reading, begun.id, &past.state_dir, scale).await?);
    }
    let service = Service::real(&connection?, order.timeout).await?;
    let asked = [&service.cloud, &service.tenant, &service.app];
    let was = [&begun.cloud, &begun.tenant, &begun.app];
    for ((name, asked), was) in ["cloud", "tenant", "app"].into_iter().zip(asked).zip(was) {
        if asked != was {
            let error = anyhow!(
                "run {} was begun for {name} {was}, and this would go to {asked}",
                begun.id
            );
            return Err(usage(error).hint("give the connection flags with which it was begun"));
        }
    }
    Ok(service)
}

fn inputs_of(past: &PastRun) -> Vec<Input> {
    let names: Vec<String> = serde_json::from_str(&past.record.begun.inputs).unwrap_or_default();
    names
        .iter()
        .map(|name| Input::parse(name.as_ref()))
        .collect()
}

/// Reads back what the journal holds: which ids are known, and how many rows have their last word.
fn recall_rows(past: &PastRun, order: &Order) -> Result<(Before, Planner), Failure> {
    let rows = past
        .reader()?
        .report_rows(past.record.begun.id)
        .map_err(state)?;
    let mut known = Vec::new();
    let mut settled: BTreeMap<Outcome, u64> = BTreeMap::new();
    let mut last = RowNumber(0);
    for row in rows {
        let row = row.map_err(state)?;
        last = RowNumber(last.0.saturating_add(1));
        let is_sendable = !matches!(
            row.outcome,
            Outcome::Invalid | Outcome::Duplicate | Outcome::HeldBack
        );
        if let (true, Ok(id)) = (is_sendable, ActionId::parse(&row.action_id)) {
            known.push((id, last));
        }
        if row.settled_at.is_some() {
            *settled.entry(row.outcome).or_default() += 1;
        }
    }
    let before = Before {
        last,
        rows: u64::from(last.0),
        settled,
    };
    Ok((
        before,
        Planner::resume(Arc::new(order.rules()), known, last),
    ))
}

/// Takes the reading up where it was broken off, or says what cannot be had any more.
fn take_up(
    past: &PastRun,
    inputs: Vec<Input>,
    settings: &IntakeSettings,
) -> (Intake, Option<String>) {
    let mark = &past.record.intake;
    if mark.complete {
        return (Intake::Nothing, None);
    }
    match reopen(mark.position.as_deref(), inputs, settings) {
        Ok(intake) => (intake, None),
        Err(error) => {
            let read = Count::new(mark.rows_read, "row");
            let lost = format!(
                "{read} of the input had been read, and the rest never reached us ({error:#})"
            );
            (Intake::Nothing, Some(lost))
        }
    }
}

fn reopen(
    position: Option<&str>,
    inputs: Vec<Input>,
    settings: &IntakeSettings,
) -> anyhow::Result<Intake> {
    let position = position.context("its place was not noted, as for a pipe")?;
    let place: Place = serde_json::from_str(position).context("its place cannot be read")?;
    let bookmark = Bookmark::parse(&place.bookmark).context("its place cannot be read")?;
    let rest: Vec<_> = inputs.into_iter().skip(place.input).collect();
    let mut inputs = open(&rest, settings)?;
    inputs
        .first_mut()
        .context("it is not named")?
        .resume(&bookmark)?;
    Ok(Intake::Read {
        inputs,
        first: place.input,
    })
}
