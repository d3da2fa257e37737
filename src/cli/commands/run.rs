//! `run`: ids in, cancels out under both quotas, report written.
//!
//! Everything that can be refused is refused before the first call: inputs are opened and their headers checked,
//! report targets proved writable, the journal opened, the token looked at.

use std::sync::Arc;

use uuid::Uuid;

use crate::cli::failure::{Failure, RunExit};
use crate::cli::hint::ForwardedFlags;
use crate::cli::progress::Progress;
use crate::cli::prompt::{PlanOrigin, StdinUse, Terminal};
use crate::cli::run_config::RunConfig;
use crate::cli::settings::{RunSettings, Target, default_outputs};
use crate::cli::terminal::OutputStyle;
use crate::clock::{Clock, SystemClock};
use crate::engine::{Beyond, Intake, LaneShares, Planner};
use crate::input::{Input, open};
use crate::model::RunId;
use crate::platform;
use crate::store::NewRun;

use super::confirm_plan::{Confirmation, OnDecline};
use super::prepared_run::{PreparedRun, filter};
use super::prepared_run::{open_store, say_sandbox, stopped_early, usage};
use super::reports::Outputs;
use super::selection::{input_name, origin, read_exclusions};
use super::signals::Shutdown;
use super::tenants::Lanes;

/// Runs to the end, or to a stop.
pub async fn run(
    settings: RunSettings,
    progress: &Progress,
    style: OutputStyle,
    flags: &ForwardedFlags,
) -> Result<RunExit, Failure> {
    // First of all, so that a signal never meets a run without an ending.
    let mut stop = Shutdown::listen(progress).await?;
    let terminal = terminal(&settings, style)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let id = RunId::new(Uuid::now_v7());
    let typed = &settings.args.plan.selection;
    let exclude = read_exclusions(&typed.exclude_from)?;
    let mut config = RunConfig::new(&settings, clock.now().wall, exclude);
    let filter = filter(typed.filter.clone(), &config.selection);
    let is_sandbox = matches!(settings.target, Target::Sandbox);
    config.outputs = config.outputs.or(default_outputs(id, is_sandbox));
    let outputs = Outputs::prove(&config.outputs, id)?;
    let inputs = open(&settings.inputs, &config.input_settings()).map_err(usage)?;
    let store = open_store(&settings.state_dir, config.retry().timeout_grace, &*clock)?;
    let lanes = tokio::select! {
        biased;
        // A sign-in may wait for a person, or for a login service that is down.
        Some(reason) = stop.reasons().recv() => return Ok(stopped_early(progress, &reason)),
        lanes = reach(&settings, &config, id) => lanes?,
    };
    config.tenants = lanes.kept();
    if is_sandbox {
        say_sandbox(progress, config.time_scale);
    }
    let names = input_names(&settings.inputs, filter.text().as_deref());
    let stored = config.to_json();
    let [tenant, app, cloud] = lanes.parties();
    let new_run = NewRun {
        id,
        created: clock.now().wall,
        settings: stored.clone(),
        inputs: serde_json::Value::from(names).to_string(),
        tenant,
        app,
        cloud,
        host: platform::host_name(),
        user: platform::user_name(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let key = store.create_run(new_run).await?;
    stop.name_run(id, flags);
    let planner = Planner::new(Arc::new(config.rules())).for_lanes(Arc::clone(&lanes.names));
    let plan = &settings.args.plan;
    // Exclusions that match nothing are to be seen before anything is sent.
    let is_asked = terminal.is_some();
    let is_planned = is_asked
        || settings.args.max_actions.is_some()
        || settings.args.approved.is_some()
        || !plan.selection.exclude_from.is_empty();
    let confirmation = is_planned.then(|| Confirmation {
        terminal,
        origin: if settings.inputs.is_empty() {
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
        is_sandbox,
        released: None,
        store,
        clock,
        lanes,
        intake: Intake::Nothing,
        planner,
        before: LaneShares::default(),
        outputs,
        stop_after: settings.args.send.stop_after,
        lost: None,
        flags: flags.clone(),
        progress: progress.clone(),
        style,
    };
    if !is_asked {
        run.limit_time(&stop);
    }
    if settings.inputs.is_empty() {
        run.collect_from_tenant(filter, &mut stop).await?;
    } else {
        run.intake = Intake::Read {
            inputs,
            beyond: Beyond::Nothing,
        };
    }
    if let Some(confirmation) = confirmation {
        run.confirm(confirmation, &mut stop).await?;
    }
    Box::pin(run.execute(stop)).await
}

/// Returns who is asked; nobody where somebody agreed before. Whoever cannot be asked is refused here, before anything is
/// opened.
fn terminal(settings: &RunSettings, style: OutputStyle) -> Result<Option<Terminal>, Failure> {
    let stdin = if settings.inputs.contains(&Input::Stdin) {
        StdinUse::Ids
    } else {
        StdinUse::Free
    };
    if settings.asks() {
        return Ok(Some(Terminal::find(stdin, style.error_color)?));
    }
    Ok(None)
}

async fn reach(settings: &RunSettings, config: &RunConfig, id: RunId) -> Result<Lanes, Failure> {
    match &settings.target {
        Target::Sandbox => Lanes::sandbox(&settings.inputs, config, id, &settings.state_dir).await,
        Target::Service(connection) => Lanes::single(connection, config.timeout).await,
        Target::Tenants(tenants) => Lanes::several(tenants, config.timeout).await,
    }
}

/// Names what is read, for the journal.
fn input_names(inputs: &[Input], filter: Option<&str>) -> Vec<String> {
    if inputs.is_empty() {
        return vec![input_name(filter)];
    }
    inputs
        .iter()
        .map(|input| match input {
            Input::Stdin => "-".to_owned(),
            // Absolute, for a resume from another folder.
            Input::File(path) => std::path::absolute(path)
                .unwrap_or_else(|_| path.clone())
                .display()
                .to_string(),
        })
        .collect()
}
