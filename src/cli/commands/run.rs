//! `run`: ids in, cancels out under both quotas, report written.
//!
//! Everything that can be refused is refused before the first call: inputs are opened and their headers checked,
//! report targets proved writable, the journal opened, the token looked at.

use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

use crate::cli::failure::Failure;
use crate::cli::failure::RunExit;
use crate::cli::progress::Progress;
use crate::cli::settings::RunSettings;
use crate::cli::settings::World;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::domain::RunId;
use crate::engine::Before;
use crate::engine::Intake;
use crate::engine::Planner;
use crate::intake::Input;
use crate::intake::open;
use crate::platform;
use crate::store::NewRun;

use super::carry::Carrying;
use super::carry::StopWishes;
use super::carry::carry_out;
use super::carry::open_store;
use super::carry::prove_targets;
use super::carry::say_sandbox;
use super::carry::state;
use super::carry::usage;
use super::ending::Look;
use super::order::Order;
use super::reports::prove_metrics;
use super::service::Service;

/// Runs to the end, or to a stop.
///
/// # Errors
/// Returns what kept the run from starting, or from being concluded.
pub async fn run(
    settings: RunSettings,
    progress: &Progress,
    look: Look,
) -> Result<RunExit, Failure> {
    // First of all, so that a signal never meets a run without an ending.
    let stop = StopWishes::listen(progress).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let id = RunId::new(Uuid::now_v7());
    let order = Order::of(&settings);
    let targets = prove_targets(&settings.report_paths(id), &files(&settings.inputs))?;
    let metrics = prove_metrics(&settings.output)?;
    let inputs = open(&settings.inputs, &settings.intake).map_err(usage)?;
    let store = open_store(&settings.state_dir, order.retry().fate_grace, &*clock)?;
    let service = reach(&settings, id).await?;
    let is_sandbox = matches!(settings.world, World::Sandbox { .. });
    if is_sandbox {
        say_sandbox(progress, order.time_scale);
    }
    let new_run = describe(&settings, &service, id, clock.now().wall);
    let run = store.create_run(new_run).await.map_err(state)?;
    let carrying = Carrying {
        id,
        run,
        is_sandbox,
        store,
        clock,
        service,
        intake: Intake::Read { inputs, first: 0 },
        planner: Planner::new(Arc::new(order.rules())),
        before: Before::default(),
        targets,
        metrics,
        stop,
        stop_after: settings.stop_after,
        lost: None,
        order,
    };
    carry_out(carrying, progress, look).await
}

/// Returns the files among inputs.
fn files(inputs: &[Input]) -> Vec<PathBuf> {
    let file = |input: &Input| match input {
        Input::File(path) => Some(path.clone()),
        Input::Stdin => None,
    };
    inputs.iter().filter_map(file).collect()
}

async fn reach(order: &RunSettings, id: RunId) -> Result<Service, Failure> {
    let service = match &order.world {
        World::Sandbox { time_scale } => {
            let scale = (*time_scale, order.timeout);
            Service::embedded((&order.inputs, &order.intake), id, &order.state_dir, scale).await
        }
        World::Service(connection) => Service::real(connection, order.timeout).await,
    };
    service.map_err(Failure::from)
}

fn describe(order: &RunSettings, service: &Service, id: RunId, created: jiff::Timestamp) -> NewRun {
    let inputs: Vec<String> = order
        .inputs
        .iter()
        .map(|input| match input {
            Input::Stdin => "-".to_owned(),
            // Absolute, for a resume from another folder.
            Input::File(path) => std::path::absolute(path)
                .unwrap_or_else(|_| path.clone())
                .display()
                .to_string(),
        })
        .collect();
    NewRun {
        id,
        created,
        settings: Order::of(order).keep(&order.intake),
        inputs: serde_json::Value::from(inputs).to_string(),
        tenant: service.tenant.clone(),
        app: service.app.clone(),
        cloud: service.cloud.clone(),
        host: platform::host_name(),
        user: platform::user_name(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
