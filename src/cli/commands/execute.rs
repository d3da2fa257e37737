//! Executes a run, whether it is new or resumed: gates from the ledger, core, runner, end.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use uuid::Uuid;

use crate::cli::failure::{Failure, FailureKind, RunExit};
use crate::cli::progress::{MetricsObserver, Progress, TeeObserver, TerminalObserver};
use crate::cli::run_config::RunConfig;
use crate::clock::Clock;
use crate::engine::core::{
    CommentRule, Core, CoreSettings, GateSettings, LaneSettings, StopReason,
};
use crate::engine::{Intake, Planner, Reads, ReadsSettings, RunParts, execute};
use crate::model::{Destination, LaneId, RunId, Scope};
use crate::platform;
use crate::quota::{Pace, Windows};
use crate::store::{Process, RunKey, Store, StoreError, StoreOptions};

use super::follow_up::{LeftToDo, follow_up};
use super::lanes::Lane;
use super::prepared_run::PreparedRun;
use super::service::Service;
use super::shutdown::Shutdown;

/// How many reads may be under way: they are few, and each may bring a hundred records.
const READS_AT_ONCE: usize = 2;

/// How long a host that never answered is waited for.
pub(super) const REACH_TIMEOUT: Duration = Duration::from_secs(60);

impl PreparedRun {
    /// Runs to the end, or to a stop, and finishes.
    pub(super) async fn execute(mut self, mut stop: Shutdown) -> Result<RunExit, Failure> {
        let (store, clock) = (self.store.clone(), Arc::clone(&self.clock));
        let started = clock.now();
        let lanes = &self.lanes.all;
        let token_ends = lanes.iter().filter_map(|lane| lane.identity.token_ends);
        let token_ends = token_ends.min();
        // All at once, so that the ledger answers them together.
        let gates = lanes
            .iter()
            .map(|lane| gates(&self.config, lane, (&store, &*clock)));
        let gates = try_join_all(gates).await.map_err(state)?;
        let ways: Vec<_> = lanes.iter().map(|lane| lane.way.clone()).collect();
        let late_reads: Vec<_> = gates
            .iter()
            .map(|lane| late_reads(&self.config, lane))
            .collect();
        let core = Core::new(core_settings(&self.config, self.key, self.id), gates);
        let parts = RunParts {
            store: store.clone(),
            clock: Arc::clone(&clock),
            run: self.key,
            core: core.with_most_in_flight(self.config.total_concurrency as usize),
            lanes: ways.clone(),
            intake: std::mem::replace(&mut self.intake, Intake::Nothing),
            before: std::mem::take(&mut self.before),
            planner: std::mem::replace(&mut self.planner, Planner::new(Arc::default())),
        };
        if let Some(after) = self.stop_after {
            stop.stop_at(started.uptime.after(after), Arc::clone(&clock));
        }
        let mut terminal = TerminalObserver::new(
            self.progress.clone(),
            self.id.to_string(),
            self.is_sandbox,
            token_ends,
            Arc::clone(&self.lanes.names),
        );
        let service = self.lanes.service.take();
        let service = service.filter(Service::is_sandbox).map(Arc::new);
        let keeper = service
            .as_ref()
            .map(|service| tokio::spawn(keep(Arc::clone(service), Arc::clone(&clock))));
        let metrics = self.outputs.metrics_file.clone();
        let mut metrics =
            metrics.map(|path| MetricsObserver::start(path, self.id, self.is_sandbox, started));
        let mut observer = TeeObserver {
            first: &mut terminal,
            second: metrics.as_mut(),
        };
        let end = execute(parts, stop.reasons(), &mut observer).await;
        let left_to_do = match &end {
            Ok(end) => {
                let is_whole = end.stop.is_none() && end.intake.is_none();
                let reads = |lane: LaneId| {
                    let place = usize::from(lane.0);
                    let way = ways.get(place).and_then(|way| way.as_ref().ok());
                    let handles = way.filter(|_| is_whole).map(|way| way.reads())?;
                    let settings = late_reads.get(place)?.clone();
                    let clock = Arc::clone(&clock);
                    Some(Reads::new(handles, store.clone(), clock, settings))
                };
                follow_up(
                    (&store, self.key, self.id),
                    (&self.lanes.names, reads),
                    !self.config.exclude.is_empty(),
                    &*clock,
                    stop.reasons(),
                )
                .await
            }
            Err(_) => Ok(LeftToDo::default()),
        };
        self.progress.finish();
        if let (Some(keeper), Some(service)) = (keeper, service) {
            keeper.abort();
            if matches!(&end, Ok(end) if end.stop.is_none()) {
                service.forget();
            } else {
                service.put_away();
            }
        }
        self.finish(started, end, left_to_do, metrics).await
    }
}

/// Returns how a lane reads what became of machines, once its run is over.
fn late_reads(config: &RunConfig, lane: &LaneSettings) -> ReadsSettings {
    ReadsSettings {
        gate: lane.list.clone(),
        retry: config.retry(),
        patience: REACH_TIMEOUT / config.time_scale,
        seed: Uuid::new_v4().as_u64_pair().0,
    }
}

/// Returns what the core must know.
fn core_settings(config: &RunConfig, run: RunKey, id: RunId) -> CoreSettings {
    CoreSettings {
        run,
        retry: config.retry(),
        comment: CommentRule {
            always: config.comment.as_deref().map(Arc::from),
            otherwise: Arc::from(format!("cancelled by mde-cancel run {id}")),
        },
        rules: Arc::new(config.rules()),
        verify_for: config.verify_for(),
        reach_timeout: REACH_TIMEOUT / config.time_scale,
        give_up_after: config.give_up_after / config.time_scale,
        max_failures: config.max_failures,
        seed: Uuid::new_v4().as_u64_pair().0,
    }
}

/// Puts the embedded sandbox's state away every second: a process that is killed takes its sandbox with it.
async fn keep(service: Arc<Service>, clock: Arc<dyn Clock>) {
    loop {
        service.put_away();
        clock
            .sleep_until(clock.now().uptime.after(Duration::from_secs(1)))
            .await;
    }
}

/// Says that nothing real is touched, and how fast time runs.
pub(super) fn say_sandbox(progress: &Progress, time_scale: u32) {
    say(
        progress,
        &format!("SANDBOX: no tenant; periods and waits are {time_scale} times shorter"),
    );
}

/// Ends what a signal met while it was signing in.
pub(super) fn stopped_early(progress: &Progress, reason: &StopReason) -> RunExit {
    if let StopReason::Asked(signal) = reason {
        say(
            progress,
            &format!("stopped by {signal} while signing in; nothing was sent"),
        );
    }
    RunExit::Stopped
}

/// Prints a line on standard error, above the bars; where nobody reads it, nobody misses it.
pub(super) fn say(progress: &Progress, line: &str) {
    progress.suspend(|| writeln!(std::io::stderr().lock(), "{line}").unwrap_or_default());
}

/// Opens the state folder as this process.
pub(super) fn open_store(
    state_dir: &Path,
    grace: Duration,
    clock: &dyn Clock,
) -> Result<Store, Failure> {
    let process = Process {
        id: Uuid::new_v4(),
        pid: std::process::id(),
        host: platform::host_name(),
        boot: clock.boot(),
    };
    let options = StoreOptions {
        grace,
        ..StoreOptions::default()
    };
    Store::open_with(state_dir, process, clock.now(), options).map_err(state)
}

/// Looks the three scopes up in the ledger.
async fn gates(
    config: &RunConfig,
    lane: &Lane,
    (store, clock): (&Store, &dyn Clock),
) -> Result<LaneSettings, StoreError> {
    let gate = async |destination, windows: &Windows, concurrency| {
        let windows = windows.scaled_down(config.time_scale);
        let scope = lane.scope(destination);
        gate((store, clock), &scope, windows, (config.rate, concurrency)).await
    };
    Ok(LaneSettings {
        cancel: gate(
            Destination::Cancel,
            &config.quota,
            config.concurrency as usize,
        )
        .await?,
        get: gate(Destination::Get, &config.read_quota, READS_AT_ONCE).await?,
        list: gate(Destination::List, &config.read_quota, READS_AT_ONCE).await?,
    })
}

/// Looks a scope up in the ledger, with what an earlier run left there: a cooldown, a smaller allowance,
/// or a learned pace.
pub(super) async fn gate(
    (store, clock): (&Store, &dyn Clock),
    scope: &Scope,
    mut windows: Windows,
    (pace, concurrency): (Option<Pace>, usize),
) -> Result<GateSettings, StoreError> {
    let known = store.scope(scope, clock.now()).await?;
    for adopted in known.adopted.as_slice() {
        if windows.adopt(adopted.limit, adopted.period) {
            tracing::warn!(
                destination = %scope.destination, window = %adopted,
                "the service named this lower limit in an earlier run, and it is kept; `mde-cancel quota` shows it"
            );
        }
    }
    let learned = known.pace.filter(|pace| pace.is_of(&windows));
    if let Some(pace) = &learned {
        tracing::warn!(
            destination = %scope.destination, pace = %pace.as_rate(),
            "the service refused bursts in an earlier run, so calls are spread evenly; `mde-cancel quota` shows it"
        );
    }
    Ok(GateSettings {
        scope: known.key,
        learned,
        windows: Arc::new(windows),
        pace,
        concurrency,
        cooldown: known.cooldown.map(|cooldown| cooldown.until),
    })
}

pub(super) fn usage(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(FailureKind::Usage, error)
}

pub(super) fn state(error: StoreError) -> Failure {
    Failure::from(error)
}
