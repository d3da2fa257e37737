//! `run`: ids in, cancels out under both quotas, report written.
//!
//! Everything that can be refused is refused before the first call: inputs are opened and their headers checked,
//! report targets proved writable, the journal opened, the token looked at.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::cli::failure::Failure;
use crate::cli::failure::FailureKind;
use crate::cli::failure::RunExit;
use crate::cli::progress::Progress;
use crate::cli::settings::RunSettings;
use crate::cli::settings::Verify;
use crate::cli::settings::World;
use crate::cli::watch::Watch;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::domain::ActionType;
use crate::domain::Destination;
use crate::domain::RunId;
use crate::engine::Planner;
use crate::engine::RunParts;
use crate::engine::core::CommentRule;
use crate::engine::core::Core;
use crate::engine::core::CoreSettings;
use crate::engine::core::GateSettings;
use crate::engine::core::LaneSettings;
use crate::engine::core::StopReason;
use crate::engine::execute;
use crate::intake::Input;
use crate::intake::open;
use crate::platform;
use crate::platform::StopSignals;
use crate::quota::Windows;
use crate::report::ReportFormat;
use crate::report::ReportTarget;
use crate::retry::RetrySettings;
use crate::store::NewRun;
use crate::store::Process;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::StoreOptions;

use super::ending::Ending;
use super::ending::Look;
use super::service::Service;
use super::service::ServiceError;

/// How many reads may be under way: they are few, and each may bring a hundred records.
const READS_AT_ONCE: usize = 2;

/// How long a host that never answered is waited for.
const REACH_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs to the end, or to a stop.
///
/// # Errors
/// Returns what kept the run from starting, or from being concluded.
pub async fn run(order: RunSettings, progress: &Progress, look: Look) -> Result<RunExit, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let id = RunId::new(Uuid::now_v7());
    let is_sandbox = matches!(order.world, World::Sandbox { .. });
    let targets = prove_targets(&order.report_paths(id))?;
    let inputs = open(&order.inputs, &order.intake).map_err(usage)?;
    let scale = match order.world {
        World::Sandbox { time_scale } => time_scale,
        World::Service(_) => 1,
    };
    let retry = RetrySettings {
        max_attempts: order.max_attempts,
        fate_grace: order.fate_grace,
        ..RetrySettings::default()
    }
    .scaled_down(scale);
    let store = open_store(&order.state_dir, retry.fate_grace, &*clock)?;
    let service = reach(&order, id).await?;
    let started = clock.now();
    let new_run = describe(&order, &service, id, started.wall);
    let run = store.create_run(new_run).await.map_err(state)?;
    let lane = gates(&order, &service, (&store, &*clock, scale))
        .await
        .map_err(state)?;
    let core = CoreSettings {
        run,
        retry,
        comment: CommentRule {
            always: order.comment.as_deref().map(Arc::from),
            otherwise: Arc::from(format!("cancelled by mde-cancel run {id}")),
        },
        reach_timeout: REACH_TIMEOUT / scale,
        seed: Uuid::new_v4().as_u64_pair().0,
    };
    let parts = RunParts {
        store: store.clone(),
        clock: Arc::clone(&clock),
        run,
        core: Core::new(core, vec![lane]),
        lanes: vec![Arc::clone(&service.lane)],
        inputs,
        planner: Planner::new(order.include_types),
    };
    let mut stop = stop_signals(progress).await?;
    let mut watch = Watch {
        progress,
        run: id.to_string(),
        sandbox: is_sandbox,
    };
    let end = execute(parts, &mut stop, &mut watch).await;
    progress.finish();
    let ending = Ending {
        id,
        run,
        is_sandbox,
        verify: order.verify,
        targets,
        elapsed: clock.now().uptime.since(started.uptime),
        at: clock.now().wall,
        look,
    };
    ending.conclude(&store, end).await
}

fn prove_targets(paths: &[PathBuf]) -> Result<Vec<(ReportFormat, ReportTarget)>, Failure> {
    let mut targets: Vec<(ReportFormat, ReportTarget)> = Vec::new();
    for path in paths {
        let format = ReportFormat::from_path(path).map_err(usage)?;
        let target = ReportTarget::prove(path).map_err(usage)?;
        if !targets.iter().any(|(_, other)| *other == target) {
            targets.push((format, target));
        }
    }
    Ok(targets)
}

fn open_store(state_dir: &Path, grace: Duration, clock: &dyn Clock) -> Result<Store, Failure> {
    let process = Process {
        id: Uuid::new_v4(),
        pid: std::process::id(),
        host: platform::host_name(),
        boot: clock.boot(),
    };
    let options = StoreOptions {
        grace,
        fail_at_commit: None,
    };
    Store::open_with(state_dir, process, clock.now(), options).map_err(state)
}

async fn reach(order: &RunSettings, id: RunId) -> Result<Service, Failure> {
    let service = match &order.world {
        World::Sandbox { time_scale } => {
            let scale = (*time_scale, order.timeout);
            Service::embedded(&order.inputs, &order.intake, id, scale).await
        }
        World::Service(connection) => Service::real(connection, order.timeout).await,
    };
    service.map_err(|error| match error {
        ServiceError::Auth(error) => Failure::new(FailureKind::SignIn, error),
        ServiceError::Api(error) => Failure::new(FailureKind::Usage, error),
        ServiceError::Sandbox(error) => Failure::new(FailureKind::Fault, error),
    })
}

fn describe(order: &RunSettings, service: &Service, id: RunId, created: jiff::Timestamp) -> NewRun {
    let inputs: Vec<String> = order
        .inputs
        .iter()
        .map(|input| match input {
            Input::Stdin => "-".to_owned(),
            Input::File(path) => path.display().to_string(),
        })
        .collect();
    NewRun {
        id,
        created,
        settings: kept(order).to_string(),
        inputs: serde_json::Value::from(inputs).to_string(),
        tenant: service.tenant.clone(),
        app: service.app.clone(),
        cloud: service.cloud.clone(),
        host: platform::host_name(),
        user: platform::user_name(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Returns the settings as the journal keeps them, for a resume and for the report; no secret is among them.
fn kept(order: &RunSettings) -> serde_json::Value {
    let types: Vec<_> = order.include_types.iter().map(ActionType::as_str).collect();
    serde_json::json!({
        "comment": order.comment,
        "include_types": types,
        "quota": order.allowance.cancel.to_string(),
        "read_quota": order.allowance.read.to_string(),
        "pace": order.pace.map(|pace| pace.to_string()),
        "concurrency": order.concurrency,
        "max_attempts": order.max_attempts,
        "timeout_ms": millis(order.timeout),
        "fate_grace_ms": millis(order.fate_grace),
        "no_verify": order.verify == Verify::Skip,
        "sandbox": matches!(order.world, World::Sandbox { .. }),
    })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Looks the three scopes up in the ledger, with what an earlier run left there: a cooldown, or a smaller allowance.
async fn gates(
    order: &RunSettings,
    service: &Service,
    (store, clock, scale): (&Store, &dyn Clock, u32),
) -> Result<LaneSettings, StoreError> {
    let gate = async |destination, windows: &Windows, concurrency| {
        let known = store
            .scope(&service.scope(destination), clock.now())
            .await?;
        let mut windows = windows.scaled_down(scale);
        for adopted in known.adopted.as_slice() {
            windows.adopt(adopted.limit, adopted.period);
        }
        Ok::<_, StoreError>(GateSettings {
            scope: known.key,
            windows: Arc::new(windows),
            pace: order.pace,
            concurrency,
            cooldown: known.cooldown.map(|cooldown| cooldown.until),
        })
    };
    Ok(LaneSettings {
        cancel: gate(
            Destination::Cancel,
            &order.allowance.cancel,
            order.concurrency as usize,
        )
        .await?,
        get: gate(Destination::Get, &order.allowance.read, READS_AT_ONCE).await?,
        list: gate(Destination::List, &order.allowance.read, READS_AT_ONCE).await?,
    })
}

/// The first signal stops the run, the second one ends the process.
///
/// They are waited for on a thread of their own: the run's thread is busy while a long report is written, and a second
/// signal must be heard then, too.
async fn stop_signals(progress: &Progress) -> Result<mpsc::Receiver<StopReason>, Failure> {
    let (sender, receiver) = mpsc::channel(1);
    let (told, listening) = oneshot::channel();
    let progress = progress.clone();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || match listen() {
            Ok((runtime, signals)) => {
                // Where nobody waits for this any more, the run is over.
                told.send(Ok(())).ok();
                runtime.block_on(watch_signals(signals, sender, &progress));
            }
            Err(error) => drop(told.send(Err(error))),
        })
        .map_err(fault)?;
    listening.await.map_err(fault)?.map_err(fault)?;
    Ok(receiver)
}

/// Takes the signals over, in a runtime that does nothing else.
fn listen() -> io::Result<(Runtime, StopSignals)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let signals = StopSignals::listen()?;
    drop(entered);
    Ok((runtime, signals))
}

async fn watch_signals(
    mut signals: StopSignals,
    sender: mpsc::Sender<StopReason>,
    progress: &Progress,
) {
    let first = signals.next().await;
    // A closed channel means that the run has just ended by itself.
    sender.send(StopReason::Asked(first.to_owned())).await.ok();
    signals.next().await;
    progress.finish();
    leave_at_once();
}

#[expect(
    clippy::exit,
    reason = "the second signal asks for just that; the journal is whole at every instant"
)]
fn leave_at_once() -> ! {
    std::process::exit(i32::from(RunExit::Interrupted.code()))
}

fn usage(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(FailureKind::Usage, error)
}

fn state(error: StoreError) -> Failure {
    Failure::new(FailureKind::State, error)
}

fn fault(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(FailureKind::Fault, error)
}
