//! `run`: ids in, cancels out under both quotas, report written.
//!
//! Everything that can be refused is refused before the first call: inputs are opened and their headers checked,
//! report targets proved writable, the journal opened, the token looked at.

use std::sync::Arc;

use uuid::Uuid;

use crate::cli::consent::{PlanOrigin, StdinUse, Terminal};
use crate::cli::failure::{Failure, RunExit};
use crate::cli::hint::ForwardedFlags;
use crate::cli::progress::Progress;
use crate::cli::settings::{Consent, RunSettings, World};
use crate::clock::{Clock, SystemClock};
use crate::engine::{Before, Beyond, Intake, Planner};
use crate::input::{Input, open};
use crate::model::RunId;
use crate::platform;
use crate::store::NewRun;

use super::carry::{
    Carrying, StopWishes, carry_out, open_store, say_sandbox, state, stopped_early, usage,
};
use super::choosing::{input_name, origin, read_exclusions};
use super::ending::Look;
use super::lanes::Lanes;
use super::order::Order;
use super::outputs::Outputs;
use super::planned::{Plan, Refused, Terms};
use super::select::{Selecting, filter};
use super::service::Service;

/// Runs to the end, or to a stop.
///
/// # Errors
/// Returns what kept the run from starting, or from being concluded.
pub async fn run(
    settings: RunSettings,
    progress: &Progress,
    look: Look,
    flags: &ForwardedFlags,
) -> Result<RunExit, Failure> {
    // First of all, so that a signal never meets a run without an ending.
    let mut stop = StopWishes::listen(progress).await?;
    let terms = terms(&settings, look)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let id = RunId::new(Uuid::now_v7());
    let keep = read_exclusions(&settings.selection.exclude_from)?;
    let selection = settings.selection.selection(clock.now().wall);
    let mut order = Order::of(&settings, (selection, keep));
    let filter = filter(settings.selection.filter.clone(), &order.selection);
    order.outputs = settings.output_paths(id);
    let outputs = Outputs::prove(&order.outputs, id)?;
    let inputs = open(&settings.inputs, &settings.intake).map_err(usage)?;
    let store = open_store(&settings.state_dir, order.retry().timeout_grace, &*clock)?;
    let lanes = tokio::select! {
        biased;
        // A sign-in may wait for a person, or for a login service that is down.
        Some(reason) = stop.wishes().recv() => return Ok(stopped_early(progress, &reason)),
        lanes = reach(&settings, id) => lanes?,
    };
    order.lanes = lanes.kept();
    let is_sandbox = matches!(settings.world, World::Sandbox { .. });
    if is_sandbox {
        say_sandbox(progress, order.time_scale);
    }
    let names = input_names(&settings.inputs, filter.text().as_deref());
    let kept = order.keep(&settings.intake);
    let new_run = describe((kept.clone(), &names), &lanes, id, clock.now().wall);
    let run = store.create_run(new_run).await.map_err(state)?;
    stop.name_run(id, flags);
    let mut planner = Planner::new(Arc::new(order.rules())).for_lanes(Arc::clone(&lanes.names));
    let (mut intake, mut before) = if settings.inputs.is_empty() {
        let selecting = Selecting {
            store: &store,
            clock: &clock,
            run,
            order: &order,
            lanes: &lanes,
            filter: filter.clone(),
        };
        (Intake::Nothing, selecting.fill(&mut stop).await?)
    } else {
        let reading = Intake::Read {
            inputs,
            beyond: Beyond::Nothing,
        };
        (reading, Before::default())
    };
    if let Some(terms) = terms {
        let plan = Plan {
            id,
            run,
            store: &store,
            clock: &clock,
            lanes: &lanes,
            order: &order,
            kept: &kept,
            origin: if settings.inputs.is_empty() {
                PlanOrigin::Tenant
            } else {
                PlanOrigin::Input
            },
            about: vec![origin(
                &settings.inputs,
                &settings.selection,
                clock.now().wall,
            )],
            notes: settings.selection.notes(),
            progress,
        };
        let reading = (intake, planner);
        before = plan
            .agree(reading, terms, &mut stop, Refused::Forget)
            .await?;
        // All of it is in the journal, and nothing is added to what was agreed to.
        (intake, planner) = (Intake::Nothing, Planner::new(Arc::default()));
    }
    let carrying = Carrying {
        id,
        run,
        is_sandbox,
        store,
        clock,
        lanes,
        intake,
        planner,
        before,
        outputs,
        flags: flags.clone(),
        stop,
        stop_after: settings.stop_after,
        lost: None,
        order,
    };
    carry_out(carrying, progress, look).await
}

/// Returns what it takes to go on, where the run is planned as a whole. Whoever cannot be asked is refused here, before
/// anything is opened.
fn terms(settings: &RunSettings, look: Look) -> Result<Option<Terms>, Failure> {
    let stdin = if settings.inputs.contains(&Input::Stdin) {
        StdinUse::Ids
    } else {
        StdinUse::Free
    };
    let terminal = match settings.consent {
        Consent::Ask => Some(Terminal::find(stdin, look.error_paint)?),
        Consent::Given | Consent::NotNeeded => None,
    };
    // Exclusions that match nothing are to be seen before anything is sent.
    let is_planned = terminal.is_some()
        || settings.max_actions.is_some()
        || !settings.selection.exclude_from.is_empty();
    Ok(is_planned.then_some(Terms {
        terminal,
        max_actions: settings.max_actions,
    }))
}

async fn reach(order: &RunSettings, id: RunId) -> Result<Lanes, Failure> {
    let (service, profile) = match &order.world {
        World::Sandbox { time_scale } => {
            let scale = (*time_scale, order.pace.timeout);
            let inputs = (order.inputs.as_slice(), &order.intake);
            let service = Service::embedded(inputs, id, &order.state_dir, scale).await;
            (service, None)
        }
        World::Service(connection) => {
            let service = Service::real(connection, order.pace.timeout).await;
            (service, connection.profile.clone())
        }
        World::Tenants(tenants) => return Lanes::several(tenants, order.pace.timeout).await,
    };
    Ok(Lanes::one(service?, profile))
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

fn describe(
    (settings, inputs): (String, &[String]),
    lanes: &Lanes,
    id: RunId,
    created: jiff::Timestamp,
) -> NewRun {
    let [tenant, app, cloud] = lanes.parties();
    NewRun {
        id,
        created,
        settings,
        inputs: serde_json::Value::from(inputs).to_string(),
        tenant,
        app,
        cloud,
        host: platform::host_name(),
        user: platform::user_name(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
