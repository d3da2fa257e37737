//! `release`: releases the machines that a run found isolated or restricted.
//!
//! It is a run like any other, but its rows are machines from an earlier run's journal. Each machine's actions are read
//! before anything is sent to it, so a plan can only shrink.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use jiff::Timestamp;
use uuid::Uuid;

use crate::cli::args::ReleaseArgs;
use crate::cli::confirmation::{PlanOrigin, StdinUse, Terminal};
use crate::cli::failure::{Failure, RunExit};
use crate::cli::hint::{ForwardedFlags, Hint, NextCommand};
use crate::cli::journaled_config::RunConfig;
use crate::cli::progress::Progress;
use crate::cli::settings::{Context, default_outputs};
use crate::cli::terminal::OutputStyle;
use crate::clock::{Clock, SystemClock};
use crate::engine::{Ingest, PlanId, Planner, RemainingInput};
use crate::model::{
    ActionFacts, ActionId, ActionStatus, ActionType, ExclusionList, FollowUp, InputRow,
    MachineAction, Number, ReportRow, RowContext, RunId, Selection, Source,
};
use crate::store::RunRecord;

use super::find_run::{self, RunEntry};
use super::plan_run::{Confirmation, OnDecline};
use super::prepared_run::PreparedRun;
use super::prepared_run::{open_store, say_sandbox, stopped_early};
use super::reports::Outputs;
use super::resume::{ResumeChoices, go_on, reach};
use super::selection::read_exclusions;
use super::signals::Shutdown;

/// How the journal names the input of a release.
const MACHINES_OF: &str = "machines of run ";

/// Requestors that a refusal names.
const REQUESTORS_NAMED: usize = 5;

pub async fn release(
    args: ReleaseArgs,
    context: Context,
    progress: &Progress,
    style: OutputStyle,
    flags: &ForwardedFlags,
) -> Result<RunExit, Failure> {
    let state_dir = context.state_dir()?;
    let past = find_run::cancelling(&state_dir, &args.run)?;
    let released = past.record.begun.id;
    if args.sandbox && !past.is_sandbox {
        let error =
            anyhow!("run {released} is no sandbox run, so --sandbox can't release its machines");
        return Err(Failure::refused(error).hint("leave out --sandbox"));
    }
    if let Some(plan) = args.plan {
        let planned = planned(&state_dir, released, plan)?;
        let choices = ResumeChoices {
            yes: args.yes,
            no_precheck: false,
            stop_after: args.send.stop_after,
            outputs: args.send.output,
        };
        return Box::pin(go_on(planned, choices, context, progress, style, flags)).await;
    }
    let mut stop = Shutdown::listen(progress).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let is_asked = !past.is_sandbox && !args.dry_run;
    let terminal = is_asked.then(|| Terminal::find(StdinUse::Free, style.error_color));
    let terminal = terminal.transpose().map_err(|refusal| {
        let dry_run = NextCommand::ReleaseDryRun(released);
        Failure::refused(refusal).hint(Hint::Command(
            "to make a plan that can be sent with --yes".to_owned(),
            dry_run,
        ))
    })?;
    let old = RunConfig::from_json(&past.record.begun.settings).map_err(Failure::refused)?;
    let id = RunId::new(Uuid::now_v7());
    let exclude = merged(&old.exclude, read_exclusions(&args.exclude_from)?);
    let mut config = RunConfig::to_release(&args, exclude, past.is_sandbox);
    let machines = machines(&past)?;
    check_requestors(released, &machines, &config.selection)?;
    config.outputs = config.outputs.or(default_outputs(id, past.is_sandbox));
    config.tenants.clone_from(&old.tenants);
    let outputs = Outputs::prove(&config.outputs, id)?;
    let store = open_store(&past.state_dir, config.retry().timeout_grace, &*clock)?;
    let lanes = tokio::select! {
        biased;
        Some(reason) = stop.reasons().recv() => return Ok(stopped_early(progress, &reason)),
        lanes = reach(&past, &config, context) => lanes?,
    };
    config.tenants = lanes.kept();
    if past.is_sandbox {
        say_sandbox(progress, config.time_scale);
    }
    let stored = config.to_json();
    let inputs = vec![format!("{MACHINES_OF}{released}")];
    let new_run = lanes.new_run(id, clock.now().wall, stored.clone(), inputs);
    let key = store.create_run(new_run).await?;
    stop.name_run(id, flags);
    let planner = Planner::new(Arc::new(config.rules())).for_lanes(Arc::clone(&lanes.names));
    let mut ingest = Ingest::new(store.clone(), key, planner);
    let rows = rows(released, machines, &config.selection);
    let before = ingest.append_machines(rows, clock.now().wall).await?;
    let mut run = PreparedRun {
        id,
        key,
        config,
        stored,
        is_sandbox: past.is_sandbox,
        released: Some(released),
        store,
        clock,
        lanes,
        intake: RemainingInput::Nothing,
        planner: Planner::new(Arc::default()),
        before,
        outputs,
        stop_after: args.send.stop_after,
        lost: None,
        flags: flags.clone(),
        progress: progress.clone(),
        style,
    };
    let about = vec![("machines of", format!("run {released}"))];
    if args.dry_run {
        return run.print_plan(released, args.format, &mut stop).await;
    }
    let confirmation = Confirmation {
        terminal,
        origin: PlanOrigin::Journal,
        about,
        notes: Vec::new(),
        on_decline: OnDecline::Forget,
    };
    run.confirm(confirmation, &mut stop).await?;
    Box::pin(run.execute(stop)).await
}

pub(super) fn released_by(record: &RunRecord) -> Option<RunId> {
    let names: Vec<String> = serde_json::from_str(&record.begun.inputs).ok()?;
    RunId::parse(names.first()?.strip_prefix(MACHINES_OF)?).ok()
}

/// Finds the plan that `--dry-run` has journaled under this id and nobody has sent yet.
fn planned(state_dir: &Path, released: RunId, plan: PlanId) -> Result<RunEntry, Failure> {
    let runs = find_run::list_runs(state_dir)?.runs;
    let plan = plan.to_string();
    let mut found = runs.into_iter().filter(|run| {
        run.record.plan.as_deref() == Some(&plan) && released_by(&run.record) == Some(released)
    });
    let Some(run) = found.next() else {
        let error = anyhow!("there is no plan {plan} to release machines of run {released} here");
        let again = NextCommand::ReleaseDryRun(released);
        return Err(Failure::refused(error).hint(Hint::Command("to make a plan".to_owned(), again)));
    };
    let id = run.record.begun.id;
    if run.record.is_confirmed && !run.is_finished() {
        let error = anyhow!("plan {plan} is being sent, or was, by run {id}");
        let resume = NextCommand::Resume(id);
        return Err(
            Failure::refused(error).hint(Hint::Command("to continue it".to_owned(), resume))
        );
    }
    Ok(run)
}

struct MachineToRelease {
    /// The newest action that isolated or restricted it.
    action: ActionId,
    created_at: Option<Timestamp>,
    context: RowContext,
}

/// Lists the machines in a run's journal that a release helps, once for each need.
fn machines(past: &RunEntry) -> Result<Vec<MachineToRelease>, Failure> {
    let mut machines: Vec<MachineToRelease> = Vec::new();
    let mut places: HashMap<(Option<String>, String, Option<ActionType>), usize> = HashMap::new();
    for row in past.reader()?.report_rows(past.record.begun.id)? {
        let row = row?;
        let Some(machine) = machine(row) else {
            continue;
        };
        let id = machine.context.machine_id.clone().unwrap_or_default();
        let release = machine.context.action_type.clone();
        let key = (machine.context.tenant.clone(), id.to_lowercase(), release);
        match places.get(&key) {
            Some(&place) if machines[place].created_at >= machine.created_at => {}
            Some(&place) => machines[place] = machine,
            None => {
                places.insert(key, machines.len());
                machines.push(machine);
            }
        }
    }
    if machines.is_empty() {
        let error = anyhow!(
            "nothing to release: run {} found no machine isolated or restricted",
            past.record.begun.id
        );
        return Err(Failure::refused(error));
    }
    Ok(machines)
}

fn machine(row: ReportRow) -> Option<MachineToRelease> {
    let need = FollowUp::parse(row.follow_up.as_deref()?)?;
    let need = match need {
        // Whether somebody else still wants it so is looked at again.
        FollowUp::Keep => {
            let action_type = ActionType::parse(row.action_type.as_deref()?);
            FollowUp::needed(&action_type, &ActionStatus::Succeeded, false)?
        }
        need => need,
    };
    let release = need.release()?;
    let machine_id = Some(row.machine_id?);
    let action = ActionId::parse(&row.action_id).ok()?;
    Some(MachineToRelease {
        action,
        created_at: row.created_at,
        context: RowContext {
            comment: None,
            tenant: row.tenant,
            action_type: Some(release),
            machine_id,
            computer_dns_name: row.computer_dns_name,
            requestor: row.requestor,
        },
    })
}

/// Refuses machines of several requestors unless `--requestor` selects some.
fn check_requestors(
    released: RunId,
    machines: &[MachineToRelease],
    selection: &Selection,
) -> Result<(), Failure> {
    let mut requestors: BTreeMap<String, u64> = BTreeMap::new();
    for machine in machines {
        let name = machine.context.requestor.clone();
        *requestors.entry(name.unwrap_or_default()).or_default() += 1;
    }
    let distinct: BTreeSet<_> = requestors.keys().map(|name| name.to_lowercase()).collect();
    if distinct.len() < 2 || !selection.requestors.is_empty() {
        return Ok(());
    }
    let mut named: Vec<_> = requestors.into_iter().collect();
    named.sort_by_key(|(_, machines)| std::cmp::Reverse(*machines));
    let more = named.len().saturating_sub(REQUESTORS_NAMED);
    let named = named.iter().take(REQUESTORS_NAMED).map(|(name, machines)| {
        let name = if name.is_empty() { "unknown" } else { name };
        format!("{name} ({})", Number(*machines))
    });
    let mut named: Vec<_> = named.collect();
    if more > 0 {
        named.push(format!("{more} others"));
    }
    let error = anyhow!(
        "nothing was sent: the machines of run {released} were isolated or restricted by more than one requestor: {}",
        named.join(", ")
    );
    let hint = "say whose actions were the mistake with --requestor NAME";
    Err(Failure::refused(error).hint(hint))
}

/// Turns machines into rows, with what is known about their actions.
fn rows(
    released: RunId,
    machines: Vec<MachineToRelease>,
    selection: &Selection,
) -> Vec<(InputRow, MachineAction)> {
    let file: Arc<str> = Arc::from(format!("run {released}"));
    let rows = (1..).zip(machines).map(|(line, machine)| {
        let mismatch = selection.mismatch(&ActionFacts::of_input(&machine.context));
        let row = InputRow {
            source: Source {
                file: Arc::clone(&file),
                line,
            },
            id: Ok(machine.action),
            id_text: machine.action.to_string(),
            skipped: mismatch.map(|mismatch| mismatch.to_string()),
            context: machine.context,
        };
        let known = MachineAction {
            created_at: machine.created_at,
            ..MachineAction::bare(machine.action)
        };
        (row, known)
    });
    rows.collect()
}

/// Adds typed exclusions to those of the run.
fn merged(kept: &ExclusionList, typed: ExclusionList) -> ExclusionList {
    if kept.is_empty() {
        return typed;
    }
    let file = kept.file().filter(|_| typed.is_empty());
    let mut all = ExclusionList::default().named(file.map(str::to_owned));
    for line in kept.lines().iter().chain(typed.lines()) {
        all.add(line);
    }
    all
}
