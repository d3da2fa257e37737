//! `run`: ids in, cancels out under both quotas, report written.
//!
//! Everything that can be refused is refused before the first call: inputs are opened and their headers checked,
//! report targets proved writable, the journal opened, the token looked at.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use uuid::Uuid;

use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::domain::ActionType;
use crate::domain::Destination;
use crate::domain::RunId;
use crate::engine::EngineError;
use crate::engine::Planner;
use crate::engine::RunEnd;
use crate::engine::RunParts;
use crate::engine::core::CommentRule;
use crate::engine::core::Core;
use crate::engine::core::CoreSettings;
use crate::engine::core::GateSettings;
use crate::engine::core::LaneSettings;
use crate::engine::core::StopReason;
use crate::engine::execute;
use crate::intake::Input;
use crate::intake::IntakeSettings;
use crate::intake::open;
use crate::platform;
use crate::quota::Pace;
use crate::quota::Windows;
use crate::retry::RetrySettings;
use crate::store::NewRun;
use crate::store::Process;
use crate::store::RunKey;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::StoreOptions;

use crate::cli::failure::Failure;
use crate::cli::progress::Progress;
use crate::cli::watch::Watch;

use super::ending::Ending;
use super::service::Service;

/// How many reads may be under way: they are few, and each may bring a hundred records.
const READS_AT_ONCE: usize = 2;

/// How long a host that never answered is waited for.
const REACH_TIMEOUT: Duration = Duration::from_secs(60);

/// Everything that `run` was told, resolved.
pub(in crate::cli) struct RunOrder {
    pub(in crate::cli) inputs: Vec<Input>,
    pub(in crate::cli) intake: IntakeSettings,
    pub(in crate::cli) comment: Option<String>,
    pub(in crate::cli) include_types: Vec<ActionType>,
    /// Empty for the default report.
    pub(in crate::cli) reports: Vec<PathBuf>,
    pub(in crate::cli) windows: Windows,
    pub(in crate::cli) read_windows: Windows,
    pub(in crate::cli) pace: Option<Pace>,
    pub(in crate::cli) concurrency: usize,
    pub(in crate::cli) retry: RetrySettings,
    pub(in crate::cli) timeout: Duration,
    pub(in crate::cli) verification: Verification,
    pub(in crate::cli) state_dir: PathBuf,
    pub(in crate::cli) way: Way,
    /// The settings as the journal keeps them; no secret is among them.
    pub(in crate::cli) kept: serde_json::Value,
}

/// Where the calls go.
pub(in crate::cli) enum Way {
    /// An embedded sandbox, whose periods and our waits are divided by this factor.
    Sandbox(u32),
    /// A service.
    Service {
        base: url::Url,
        token: crate::auth::ReadyToken,
        identity: Identity,
    },
}

/// Whether `accepted` is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Verification {
    Wanted,
    NotWanted,
}

/// Runs to the end, or to a stop.
pub(in crate::cli) async fn run(
    order: RunOrder,
    progress: &Progress,
    look: Look,
) -> Result<RunExit, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let id = RunId::new(Uuid::now_v7());
    let is_sandbox = matches!(order.way, Way::Sandbox(_));
    let targets = prove_targets(&order.reports, id, is_sandbox)?;
    let inputs = open(&order.inputs, &order.intake).map_err(|error| Failure::usage(error))?;
    let store = open_store(&order, &*clock)?;
    let service = reach(&order, id).await?;
    let started = clock.now();
    let new_run = describe(&order, &service, id, started.wall);
    let run = store.create_run(new_run).await.map_err(Failure::state)?;
    let lane = gates(&order, &service, (&store, &*clock)).await.map_err(Failure::state)?;
    let core = CoreSettings {
        run,
        retry: order.retry,
        comment: CommentRule {
            always: order.comment.as_deref().map(Arc::from),
            otherwise: Arc::from(format!("cancelled by mde-cancel run {id}")),
        },
        reach_timeout: REACH_TIMEOUT,
        seed: Uuid::new_v4().as_u64_pair().0,
    };
    let parts = RunParts {
        store: store.clone(),
        clock: Arc::clone(&clock),
        run,
        core: Core::new(core, vec![lane]),
        lanes: vec![Arc::clone(&service.lane)],
        inputs,
        planner: Planner::new(order.include_types.clone()),
    };
    let mut stop = stop_signals(progress)?;
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
        verification: order.verification,
        targets,
        elapsed: clock.now().uptime.since(started.uptime),
        at: clock.now().wall,
        look,
    };
    ending.conclude(&store, end).await
}

fn prove_targets(
    reports: &[PathBuf],
    id: RunId,
    is_sandbox: bool,
) -> Result<Vec<(ReportFormat, ReportTarget)>, Failure> {
    let mark = if is_sandbox { "SANDBOX-" } else { "" };
    let default = [PathBuf::from(format!("mde-cancel-{mark}{id}.csv"))];
    let paths = if reports.is_empty() { &default } else { reports };
    let mut targets: Vec<(ReportFormat, ReportTarget)> = Vec::new();
    for path in paths {
        let format = ReportFormat::from_path(path).map_err(Failure::usage)?;
        let target = ReportTarget::prove(path).map_err(Failure::usage)?;
        if !targets.iter().any(|(_, other)| *other == target) {
            targets.push((format, target));
        }
    }
    Ok(targets)
}

fn open_store(order: &RunOrder, clock: &dyn Clock) -> Result<Store, Failure> {
    let process = Process {
        id: Uuid::new_v4(),
        pid: std::process::id(),
        host: platform::host_name(),
        boot: clock.boot(),
    };
    let options = StoreOptions {
        grace: order.retry.fate_grace,
        fail_at_commit: None,
    };
    Store::open_with(&order.state_dir, process, clock.now(), options).map_err(Failure::state)
}

async fn reach(order: &RunOrder, id: RunId) -> Result<Service, Failure> {
    match &order.way {
        Way::Sandbox(factor) => {
            let scale = (*factor, order.timeout);
            Service::embedded(&order.inputs, &order.intake, id, scale).await
        }
        Way::Service { base, token, identity } => {
            Service::real(base.clone(), token.clone(), identity, order.timeout).await
        }
    }
    .map_err(Failure::reach)
}

fn describe(order: &RunOrder, service: &Service, id: RunId, created: jiff::Timestamp) -> NewRun {
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
        settings: order.kept.to_string(),
        inputs: serde_json::Value::from(inputs).to_string(),
        tenant: service.tenant.clone(),
        app: service.app.clone(),
        cloud: service.cloud.clone(),
        host: platform::host_name(),
        user: platform::user_name(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Looks the three scopes up in the ledger, with what an earlier run left there: a cooldown, or a smaller allowance.
async fn gates(
    order: &RunOrder,
    service: &Service,
    (store, clock): (&Store, &dyn Clock),
) -> Result<LaneSettings, StoreError> {
    let gate = async |destination, windows: &Windows, concurrency| {
        let known = store.scope(&service.scope(destination), clock.now()).await?;
        let mut windows = windows.clone();
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
        cancel: gate(Destination::Cancel, &order.windows, order.concurrency).await?,
        get: gate(Destination::Get, &order.read_windows, READS_AT_ONCE).await?,
        list: gate(Destination::List, &order.read_windows, READS_AT_ONCE).await?,
    })
}

/// The first signal stops the run, the second one ends the process.
fn stop_signals(progress: &Progress) -> Result<mpsc::Receiver<StopReason>, Failure> {
    let mut signals = platform::StopSignals::listen().map_err(Failure::fault)?;
    let (sender, receiver) = mpsc::channel(1);
    let progress = progress.clone();
    tokio::spawn(async move {
        let first = signals.next().await;
        // A closed channel means that the run has just ended by itself.
        sender.send(StopReason::Asked(first.to_owned())).await.ok();
        signals.next().await;
        progress.finish();
        leave_at_once();
    });
    Ok(receiver)
}

#[expect(
    clippy::exit,
    reason = "the second signal asks for just that; the journal is whole at every instant"
)]
fn leave_at_once() -> ! {
    std::process::exit(i32::from(RunExit::SECOND_SIGNAL))
}
