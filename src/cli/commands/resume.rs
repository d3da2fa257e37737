//! `resume`: goes on with a run that stopped or crashed, from the journal alone.
//!
//! Rows whose fate is unknown are looked at first, retries, cooldowns and the ledger stand where they stood, and the
//! final report covers the whole run. The run's settings are kept; how to sign in is given anew, and must lead to the
//! same tenant, app and cloud.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::anyhow;
use jiff::Timestamp;

use crate::cli::again::Again;
use crate::cli::consent::PlanOrigin;
use crate::cli::consent::StdinUse;
use crate::cli::consent::Terminal;
use crate::cli::failure::Failure;
use crate::cli::failure::FailureKind;
use crate::cli::failure::RunExit;
use crate::cli::progress::Progress;
use crate::cli::settings::Consent;
use crate::cli::settings::ResumeSettings;
use crate::cli::text::Count;
use crate::cli::text::Span;
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
use crate::report::ReportFormat;
use crate::report::ReportTarget;
use crate::report::write_follow_ups;
use crate::store::RunState;

use super::carry::Carrying;
use super::carry::StopWishes;
use super::carry::carry_out;
use super::carry::open_store;
use super::carry::prove_follow_up;
use super::carry::prove_targets;
use super::carry::say;
use super::carry::say_sandbox;
use super::carry::state;
use super::carry::stopped_early;
use super::carry::usage;
use super::choosing::is_selection;
use super::ending::Look;
use super::follow_up::needs;
use super::follow_up::unlooked;
use super::order::Order;
use super::past;
use super::past::PastRun;
use super::planned::Plan;
use super::planned::Refused;
use super::planned::Terms;
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
    again: &Again,
) -> Result<RunExit, Failure> {
    let mut stop = StopWishes::listen(progress).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let past = match &settings.run {
        Some(text) => past::named(&settings.state_dir, text)?,
        None => past::unfinished(&settings.state_dir, clock.now().wall)?,
    };
    let begun = &past.record.begun;
    let targets = prove_targets(&report_paths(&past, settings.reports), &[])?;
    let follow_up = prove_follow_up(settings.follow_up.as_deref(), &[], &targets)?;
    let metrics = prove_metrics(&settings.output)?;
    if past.record.state == RunState::Finished {
        let now = clock.now().wall;
        return finished(&past, (&targets, follow_up.as_ref()), (progress, now));
    }
    let terminal = if past.is_sandbox || settings.consent != Consent::Ask {
        None
    } else {
        Some(Terminal::find(StdinUse::Free, look.error_paint)?)
    };
    let (mut order, intake) = Order::recall(&begun.settings).map_err(usage)?;
    order.triage = settings.triage.unwrap_or(order.triage);
    let store = open_store(&past.state_dir, order.retry().fate_grace, &*clock)?;
    let inputs = inputs_of(&past);
    if is_selection(&inputs) && !past.record.intake.complete {
        return Err(never_agreed(&past));
    }
    let service = tokio::select! {
        biased;
        Some(reason) = stop.wishes().recv() => return Ok(stopped_early(progress, &reason)),
        service = reach(&past, &order, (&inputs, &intake), settings.connection) => service?,
    };
    // Taken before its rows are looked at: nobody else writes to it from here on.
    store
        .reopen_run(past.record.key, clock.now().wall)
        .await
        .map_err(state)?;
    let (mut before, mut planner) = recall_rows(&past, &order)?;
    let origin = if is_selection(&inputs) {
        PlanOrigin::Tenant
    } else {
        PlanOrigin::Input
    };
    let (mut intake, lost) = take_up(&past, inputs, &intake);
    if terminal.is_some() || order.max_actions.is_some() {
        let plan = Plan {
            id: begun.id,
            run: past.record.key,
            store: &store,
            clock: &clock,
            service: &service,
            order: &order,
            origin,
            about: about(&past, lost.as_ref(), clock.now().wall),
        };
        let terms = Terms {
            terminal,
            max_actions: order.max_actions,
        };
        let reading = (intake, planner);
        before = plan.agree(reading, terms, &mut stop, Refused::Keep).await?;
        // All of it is in the journal, and nothing is added to what was agreed to.
        (intake, planner) = (Intake::Nothing, Planner::new(Arc::default()));
    }
    if past.is_sandbox {
        say_sandbox(progress, order.time_scale);
    }
    say(progress, &going_on(&past, &before, clock.now().wall));
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
        follow_up,
        metrics,
        again: again.clone(),
        stop,
        stop_after: settings.stop_after,
        lost,
        order,
    };
    carry_out(carrying, progress, look).await
}

/// Returns where the reports go: what was named, or where a new run's would.
fn report_paths(past: &PastRun, named: Vec<PathBuf>) -> Vec<PathBuf> {
    if !named.is_empty() {
        return named;
    }
    let mark = if past.is_sandbox { "SANDBOX-" } else { "" };
    let name = format!("./mde-cancel-{mark}{}.csv", past.record.begun.id);
    vec![PathBuf::from(name)]
}

fn going_on(past: &PastRun, before: &Before, now: Timestamp) -> String {
    let begun = &past.record.begun;
    let settled: u64 = before.settled.values().sum();
    let left = Count::new(before.rows.saturating_sub(settled), "row");
    format!(
        "going on with run {}, begun {:.0} ({} ago), tenant {}: {left} left",
        begun.id,
        begun.created,
        past::age(begun.created, now),
        begun.tenant
    )
}

/// Says which run it is that somebody is asked about.
fn about(past: &PastRun, lost: Option<&String>, now: Timestamp) -> Vec<(&'static str, String)> {
    let begun = &past.record.begun;
    let age = Duration::try_from(now.duration_since(begun.created)).unwrap_or_default();
    let mut about = vec![
        ("run", begun.id.to_string()),
        ("begun", format!("{} ago", Span(age))),
    ];
    about.extend(lost.map(|lost| ("missing", lost.clone())));
    about
}

/// A selection from the tenant that was not read to its end: nobody has looked at it, and no bound was held against it.
fn never_agreed(past: &PastRun) -> Failure {
    let error = anyhow!(
        "run {} broke off while its selection was read from the tenant, so nothing of it was agreed to or sent",
        past.record.begun.id
    );
    Failure::new(FailureKind::Refused, error).hint("give the command again with which it was begun")
}

/// A finished run: says so, writes its reports again, and ends as it ended.
fn finished(
    past: &PastRun,
    (targets, follow_up): (&[(ReportFormat, ReportTarget)], Option<&ReportTarget>),
    (progress, now): (&Progress, Timestamp),
) -> Result<RunExit, Failure> {
    let id = past.record.begun.id;
    for (format, target) in targets {
        write_one(past.reader()?, id, (*format, target), now)?;
    }
    if let Some(target) = follow_up {
        let needs = needs(past.reader()?.report_rows(id).map_err(state)?).map_err(state)?;
        write_follow_ups(target, &unlooked(needs))
            .map_err(|error| Failure::new(FailureKind::Report, error))?;
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
    let asked = [
        &service.identity.cloud,
        &service.identity.tenant,
        &service.identity.app,
    ];
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
    let reopened = if mark.rows_read == 0 && mark.position.is_none() && are_files(&inputs) {
        begin_anew(&inputs, settings)
    } else {
        reopen(mark.position.as_deref(), inputs, settings)
    };
    match reopened {
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

/// Returns whether nothing that was read and not journaled is lost: it can all be read again.
fn are_files(inputs: &[Input]) -> bool {
    let is_file = |input: &Input| match input {
        // Asked of the system, not by opening it: a pipe that nobody writes to would block.
        Input::File(path) => std::fs::metadata(path).is_ok_and(|found| found.is_file()),
        Input::Stdin => false,
    };
    !inputs.is_empty() && inputs.iter().all(is_file)
}

/// Reads inputs of which no row was journaled.
fn begin_anew(inputs: &[Input], settings: &IntakeSettings) -> anyhow::Result<Intake> {
    Ok(Intake::Read {
        inputs: open(inputs, settings)?,
        first: 0,
    })
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
