//! A run between command line and end: prepare, confirm, execute, finish.
//!
//! `run`, `release` and `resume` differ only in how they prepare it.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use futures::future::try_join_all;
use uuid::Uuid;

use crate::api::Filter;
use crate::cli::confirmation::Refusal;
use crate::cli::failure::{Failure, RunExit};
use crate::cli::hint::ForwardedFlags;
use crate::cli::journaled_config::RunConfig;
use crate::cli::progress::{MetricsObserver, Progress, TerminalObserver};
use crate::cli::terminal::OutputStyle;
use crate::clock::Clock;
use crate::engine::core::{
    CommentRule, Core, CoreSettings, GateSettings, LaneSettings, StopReason,
};
use crate::engine::{
    ActionPager, Ingest, LaneClients, Planner, Reads, RemainingInput, RunCounts, RunParts,
    Selected, execute, recall,
};
use crate::model::{Destination, Operation, RunId, Scope, Selection};
use crate::platform;
use crate::quota::{Pace, Windows};
use crate::store::{Process, RunKey, Store, StoreError, StoreOptions};

use super::check_follow_ups::FollowUps;
use super::plan_run::stopped_planning;
use super::reports::Outputs;
use super::sandbox::EmbeddedSandbox;
use super::service_reads::{reads, unread};
use super::sign_in_tenants::{LaneSetup, Lanes};
use super::signals::Shutdown;

/// Few, because each read may return a hundred records.
pub(super) const READS_AT_ONCE: usize = 2;

/// How long to wait for a host that never answered.
pub(super) const REACH_TIMEOUT: Duration = Duration::from_secs(60);

/// A run that is journaled and signed in.
pub(super) struct PreparedRun {
    pub(super) id: RunId,
    pub(super) key: RunKey,
    pub(super) config: RunConfig,
    /// The configuration as stored in the journal.
    pub(super) stored: String,
    pub(super) is_sandbox: bool,
    /// The run whose machines this one releases.
    pub(super) released: Option<RunId>,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lanes: Lanes,
    pub(super) intake: RemainingInput,
    pub(super) planner: Planner,
    pub(super) before: RunCounts,
    pub(super) outputs: Outputs,
    pub(super) stop_after: Option<Duration>,
    /// The part of the input that can't be read, in words. The run can't succeed then.
    pub(super) lost: Option<String>,
    pub(super) flags: ForwardedFlags,
    pub(super) progress: Progress,
    pub(super) style: OutputStyle,
}

/// Returns the typed filter, or the selection's.
pub(super) fn filter(typed: Option<String>, selection: &Selection) -> Filter {
    typed.map_or_else(|| Filter::of(selection), Filter::typed)
}

impl PreparedRun {
    /// Starts the timer of `--stop-after`, once.
    pub(super) fn limit_time(&mut self, stop: &Shutdown) {
        if let Some(after) = self.stop_after.take() {
            stop.stop_at(
                self.clock.now().uptime.after(after),
                Arc::clone(&self.clock),
            );
        }
    }

    /// Finds and journals the rows of a selection from the tenant. If that fails, the run leaves the journal.
    pub(super) async fn collect_from_tenant(
        &mut self,
        filter: Filter,
        stop: &mut Shutdown,
    ) -> Result<(), Failure> {
        match self.select(filter, stop).await {
            Ok(before) => {
                self.before = before;
                Ok(())
            }
            Err(failure) => {
                self.forget().await?;
                Err(failure)
            }
        }
    }

    /// Removes the run from the journal.
    pub(super) async fn forget(&self) -> Result<(), Failure> {
        // A held run can't be removed.
        let held = self.store.hold_run(self.key, self.clock.now().wall);
        drop(held.await?);
        self.store.remove_run(self.key).await.map_err(Failure::from)
    }

    /// Creates reads of one tenant.
    pub(super) async fn reads(
        &self,
        way: &LaneClients,
        lane: &LaneSetup,
    ) -> Result<Reads, Failure> {
        let scope = lane.identity.scope(Destination::List);
        let windows = self.config.read_quota.scaled_down(self.config.time_scale);
        let retry = self.config.retry();
        reads(
            way.reads(),
            &scope,
            &self.store,
            &self.clock,
            windows,
            retry,
        )
        .await
    }

    async fn select(&self, filter: Filter, stop: &mut Shutdown) -> Result<RunCounts, Failure> {
        let unselected = |why: &str| Failure::new(RunExit::Unreachable, anyhow!("{why}"));
        // A selection has only one tenant.
        let lane = self.lanes.all.first();
        let lane = lane.ok_or_else(|| unselected("there is no tenant"))?;
        let way = lane.way.as_ref().map_err(|why| unselected(why))?;
        let mut reads = self.reads(way, lane).await?;
        let planner = Planner::new(Arc::new(self.config.rules()));
        let mut ingest = Ingest::new(self.store.clone(), self.key, planner);
        // The first page needn't be small, because nothing is sent before the last one.
        let pages = ActionPager::new(filter, crate::api::MAX_TOP);
        let selected = tokio::select! {
            biased;
            Some(reason) = stop.reasons().recv() => {
                return Err(stopped_planning(&reason));
            }
            selected = ingest.select(pages, &mut reads, &*self.clock, self.config.max_actions) => selected,
        };
        let Selected { to_send, is_whole } = selected.map_err(unread)?;
        if let (Some(most), false) = (self.config.max_actions, is_whole) {
            return Err(Refusal::TooManySelected {
                count: to_send,
                most,
            }
            .into());
        }
        let reader = self.store.reader()?;
        recall(&reader, self.key).map_err(Failure::from)
    }
}

impl PreparedRun {
    /// Runs to the end or to a stop, and finishes.
    pub(super) async fn execute(mut self, mut stop: Shutdown) -> Result<RunExit, Failure> {
        let clock = Arc::clone(&self.clock);
        let started = clock.now();
        let lanes = &self.lanes.all;
        let token_ends = lanes.iter().filter_map(|lane| lane.identity.token_ends);
        let token_ends = token_ends.min();
        let core = core_settings(&self.config, self.key, self.id);
        let parts = RunParts {
            store: self.store.clone(),
            clock: Arc::clone(&clock),
            run: self.key,
            core: self.core(core).await?,
            lanes: lanes.iter().map(|lane| lane.way.clone()).collect(),
            intake: std::mem::replace(&mut self.intake, RemainingInput::Nothing),
            before: std::mem::take(&mut self.before),
            planner: std::mem::replace(&mut self.planner, Planner::new(Arc::default())),
        };
        self.limit_time(&stop);
        let sandbox = self.lanes.sandbox.take().map(Arc::new);
        let saving = sandbox
            .as_ref()
            .map(|sandbox| tokio::spawn(save_each_second(Arc::clone(sandbox), Arc::clone(&clock))));
        let metrics = self.outputs.metrics_file.clone();
        let metrics =
            metrics.map(|path| MetricsObserver::start(path, self.id, self.is_sandbox, started));
        let mut observer = TerminalObserver::new(
            self.progress.clone(),
            self.id.to_string(),
            self.is_sandbox,
            token_ends,
            Arc::clone(&self.lanes.names),
            metrics,
        );
        let pages = self.renew_pages();
        let end = execute(parts, stop.reasons(), &mut observer).await;
        let machines = match &end {
            Ok(end) => {
                let is_whole = end.stop.is_none() && end.intake.is_none();
                self.follow_up(is_whole, stop.reasons()).await
            }
            Err(_) => Ok(FollowUps::default()),
        };
        if let Some(pages) = pages {
            pages.end().await;
        }
        self.progress.finish();
        if let (Some(saving), Some(sandbox)) = (saving, sandbox) {
            saving.abort();
            // Its machines may still be released.
            let is_over = self.released.is_none()
                && matches!(&machines, Ok(machines) if machines.rows.is_empty());
            if is_over && matches!(&end, Ok(end) if end.stop.is_none()) {
                sandbox.delete_snapshot();
            } else {
                sandbox.save_snapshot();
            }
        }
        self.finish(started, end, machines, observer.metrics).await
    }

    /// Creates a core with what the ledger knows about the lanes' scopes.
    pub(super) async fn core(&self, settings: CoreSettings) -> Result<Core, StoreError> {
        let lanes = self.lanes.all.iter();
        // All at once, so that the ledger answers them together.
        let lanes = try_join_all(lanes.map(|lane| self.lane_settings(lane))).await?;
        let most = self.config.total_concurrency as usize;
        Ok(Core::new(settings, lanes).with_most_in_flight(most))
    }

    /// Looks up a lane's three scopes in the ledger.
    async fn lane_settings(&self, lane: &LaneSetup) -> Result<LaneSettings, StoreError> {
        let config = &self.config;
        let gate = async |destination, windows: &Windows, concurrency| {
            let windows = windows.scaled_down(config.time_scale);
            let scope = lane.identity.scope(destination);
            let (store, clock) = (&self.store, &*self.clock);
            gate(store, clock, &scope, windows, config.rate, concurrency).await
        };
        let (sends, reads) = (&config.quota, &config.read_quota);
        Ok(LaneSettings {
            send: gate(
                config.operation.destination(),
                sends,
                config.concurrency as usize,
            )
            .await?,
            get: gate(Destination::Get, reads, READS_AT_ONCE).await?,
            list: gate(Destination::List, reads, READS_AT_ONCE).await?,
        })
    }
}

pub(super) fn core_settings(config: &RunConfig, run: RunKey, id: RunId) -> CoreSettings {
    CoreSettings {
        run,
        operation: config.operation,
        retry: config.retry(),
        comment: CommentRule {
            always: config.comment.as_deref().map(Arc::from),
            otherwise: Arc::from(match config.operation {
                Operation::Cancel => format!("cancelled by mde-cancel run {id}"),
                Operation::Release => format!("released by mde-cancel run {id}"),
            }),
        },
        rules: Arc::new(config.rules()),
        verify_for: config.verify_for(),
        reach_timeout: REACH_TIMEOUT / config.time_scale,
        give_up_after: config.give_up_after / config.time_scale,
        max_failures: config.max_failures,
        seed: Uuid::new_v4().as_u64_pair().0,
    }
}

/// Saves the embedded sandbox every second, because it dies with a killed process.
async fn save_each_second(sandbox: Arc<EmbeddedSandbox>, clock: Arc<dyn Clock>) {
    loop {
        sandbox.save_snapshot();
        let next = clock.now().uptime.after(Duration::from_secs(1));
        clock.sleep_until(next).await;
    }
}

/// Says that this is a sandbox, and how much faster its time runs.
pub(super) fn say_sandbox(progress: &Progress, time_scale: u32) {
    say(
        progress,
        &format!("SANDBOX: no tenant; periods and waits are {time_scale} times shorter"),
    );
}

/// Reports a signal during sign-in.
pub(super) fn stopped_early(progress: &Progress, reason: &StopReason) -> RunExit {
    if let StopReason::Asked(signal) = reason {
        say(
            progress,
            &format!("stopped by {signal} while signing in; nothing was sent"),
        );
    }
    RunExit::Stopped
}

/// Prints a line on standard error, above the progress bars. Write errors are ignored.
pub(super) fn say(progress: &Progress, line: &str) {
    progress.suspend(|| writeln!(std::io::stderr().lock(), "{line}").unwrap_or_default());
}

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
    Store::open_with(state_dir, process, clock.now(), options).map_err(Failure::from)
}

/// Looks up a scope in the ledger, with what an earlier run left: a cooldown, a smaller limit, or a learned rate.
pub(super) async fn gate(
    store: &Store,
    clock: &dyn Clock,
    scope: &Scope,
    mut windows: Windows,
    pace: Option<Pace>,
    concurrency: usize,
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
