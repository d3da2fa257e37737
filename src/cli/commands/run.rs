//! `run`: ids in, cancels out under both quotas, report written.
//!
//! Everything that can be refused is refused before the first call: inputs are opened and their headers checked, report
//! targets checked, the journal opened, the token read.

use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use crate::cli::args::RunArgs;
use crate::cli::confirmation::{PlanOrigin, StdinUse, Terminal};
use crate::cli::failure::{Failure, RunExit};
use crate::cli::hint::ForwardedFlags;
use crate::cli::journaled_config::RunConfig;
use crate::cli::progress::Progress;
use crate::cli::settings::{ConnectionSettings, Context, default_outputs};
use crate::cli::terminal::OutputStyle;
use crate::clock::{Clock, SystemClock};
use crate::engine::{InputCut, Planner, RemainingInput, RunCounts};
use crate::input::{Input, open};
use crate::model::RunId;

use super::plan_run::{Confirmation, OnDecline};
use super::prepared_run::{PreparedRun, filter};
use super::prepared_run::{open_store, say_sandbox, stopped_early};
use super::reports::Outputs;
use super::selection::{input_name, origin, read_exclusions};
use super::sign_in_tenants::Lanes;
use super::signals::Shutdown;

pub async fn run(
    args: RunArgs,
    context: Context,
    progress: &Progress,
    style: OutputStyle,
    flags: &ForwardedFlags,
) -> Result<RunExit, Failure> {
    // First, so that a signal never kills a run in the middle.
    let mut stop = Shutdown::listen(progress).await?;
    let terminal = terminal(&args, style)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let id = RunId::new(Uuid::now_v7());
    let plan = &args.plan;
    let exclude = read_exclusions(&plan.selection.exclude_from)?;
    let mut config = RunConfig::new(&args, clock.now().wall, exclude);
    let filter = filter(plan.selection.filter.clone(), &config.selection);
    config.outputs = config.outputs.or(default_outputs(id, args.sandbox));
    let outputs = Outputs::prove(&config.outputs, id)?;
    let inputs = open(&plan.input.inputs, &config.input_settings()).map_err(Failure::refused)?;
    let mut state_dir = context.state_dir()?;
    if args.sandbox {
        state_dir.push("sandbox");
    }
    let store = open_store(&state_dir, config.retry().timeout_grace, &*clock)?;
    let lanes = tokio::select! {
        biased;
        // A sign-in may wait for a person, or for a login service that is down.
        Some(reason) = stop.reasons().recv() => return Ok(stopped_early(progress, &reason)),
        lanes = sign_in(&args, &config, id, context.connections?, &state_dir) => lanes?,
    };
    config.tenants = lanes.kept();
    if args.sandbox {
        say_sandbox(progress, config.time_scale);
    }
    let names = input_names(&plan.input.inputs, filter.text().as_deref());
    let stored = config.to_json();
    let new_run = lanes.new_run(id, clock.now().wall, stored.clone(), names);
    let key = store.create_run(new_run).await?;
    stop.name_run(id, flags);
    let planner = Planner::new(Arc::new(config.rules())).for_lanes(Arc::clone(&lanes.names));
    // Exclusions that match nothing are to be seen before anything is sent.
    let is_asked = terminal.is_some();
    let is_planned = is_asked
        || args.max_actions.is_some()
        || args.approved.is_some()
        || !plan.selection.exclude_from.is_empty();
    let confirmation = is_planned.then(|| Confirmation {
        terminal,
        origin: if inputs.is_empty() {
            PlanOrigin::Tenant
        } else {
            PlanOrigin::Input
        },
        about: vec![origin(plan, &config.selection, clock.now().wall)],
        notes: plan.notes(),
        on_decline: OnDecline::Forget,
    });
    let mut run = PreparedRun {
        id,
        key,
        config,
        stored,
        is_sandbox: args.sandbox,
        released: None,
        store,
        clock,
        lanes,
        intake: RemainingInput::Nothing,
        planner,
        before: RunCounts::default(),
        outputs,
        stop_after: args.send.stop_after,
        lost: None,
        flags: flags.clone(),
        progress: progress.clone(),
        style,
    };
    if !is_asked {
        run.limit_time(&stop);
    }
    if inputs.is_empty() {
        run.collect_from_tenant(filter, &mut stop).await?;
    } else {
        run.intake = RemainingInput::Read {
            inputs,
            beyond: InputCut::Nothing,
        };
    }
    if let Some(confirmation) = confirmation {
        run.confirm(confirmation, &mut stop).await?;
    }
    Box::pin(run.execute(stop)).await
}

/// Returns who is asked; nobody where somebody agreed before. Whoever cannot be asked is refused here, before anything is
/// opened.
fn terminal(args: &RunArgs, style: OutputStyle) -> Result<Option<Terminal>, Failure> {
    let stdin = if args.plan.input.inputs.contains(&Input::Stdin) {
        StdinUse::Ids
    } else {
        StdinUse::Free
    };
    if args.asks() {
        return Ok(Some(Terminal::find(stdin, style.error_color)?));
    }
    Ok(None)
}

async fn sign_in(
    args: &RunArgs,
    config: &RunConfig,
    id: RunId,
    tenants: Vec<ConnectionSettings>,
    state_dir: &Path,
) -> Result<Lanes, Failure> {
    match tenants.as_slice() {
        _ if args.sandbox => Lanes::sandbox(&args.plan.input.inputs, config, id, state_dir).await,
        [tenant] => Lanes::single(tenant, config.timeout).await,
        tenants => Lanes::several(tenants, config.timeout).await,
    }
}

/// Names the inputs for the journal.
fn input_names(inputs: &[Input], filter: Option<&str>) -> Vec<String> {
    if inputs.is_empty() {
        return vec![input_name(filter)];
    }
    inputs
        .iter()
        .map(|input| match input {
            Input::Stdin => "-".to_owned(),
            // Absolute, so that a resume works from another folder.
            Input::File(path) => std::path::absolute(path)
                .unwrap_or_else(|_| path.clone())
                .display()
                .to_string(),
        })
        .collect()
}
