//! Carries a run out, whether it is new or resumed: gates from the ledger, core, shell, ending.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::try_join_all;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::cli::failure::{Failure, FailureKind, RunExit};
use crate::cli::hint::{ForwardedFlags, Hint, NextCommand};
use crate::cli::meter::{Both, Meter};
use crate::cli::progress::Progress;
use crate::cli::text::visible;
use crate::cli::watch::Watch;
use crate::clock::Clock;
use crate::engine::core::{
    CommentRule, Core, CoreSettings, GateSettings, LaneSettings, StopReason,
};
use crate::engine::{Before, Intake, Planner, Reads, ReadsSettings, RunParts, execute};
use crate::model::{Destination, LaneId, RunId, Scope, Uptime};
use crate::platform::{self, StopSignals};
use crate::quota::{Pace, Windows};
use crate::store::{Process, RunKey, Store, StoreError, StoreOptions};

use super::ending::{Ending, Look};
use super::follow_up::{LeftToDo, follow_up};
use super::lanes::{Lane, Lanes};
use super::outputs::Outputs;
use super::service::Service;
use crate::cli::run_config::RunConfig;

/// How many reads may be under way: they are few, and each may bring a hundred records.
const READS_AT_ONCE: usize = 2;

/// How long the second signal waits until the terminal has taken what is left to say.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long a host that never answered is waited for.
pub(super) const REACH_TIMEOUT: Duration = Duration::from_secs(60);

/// A run that is ready to go.
pub(super) struct Carrying {
    pub(super) id: RunId,
    pub(super) run: RunKey,
    pub(super) config: RunConfig,
    pub(super) is_sandbox: bool,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lanes: Lanes,
    pub(super) intake: Intake,
    pub(super) planner: Planner,
    pub(super) before: Before,
    pub(super) outputs: Outputs,
    pub(super) flags: ForwardedFlags,
    pub(super) stop: StopWishes,
    pub(super) stop_after: Option<Duration>,
    /// What of the input never reached us, in words; the run cannot end well then.
    pub(super) lost: Option<String>,
}

/// Runs to the end, or to a stop, and concludes.
pub(super) async fn carry_out(
    carrying: Carrying,
    progress: &Progress,
    look: Look,
) -> Result<RunExit, Failure> {
    let Carrying {
        id,
        run,
        config,
        store,
        clock,
        mut stop,
        ..
    } = carrying;
    let started = clock.now();
    let Lanes {
        all: lanes,
        names,
        service,
    } = carrying.lanes;
    let token_ends = lanes.iter().filter_map(|lane| lane.identity.token_ends);
    let token_ends = token_ends.min();
    // All at once, so that the ledger answers them together.
    let gates = lanes
        .iter()
        .map(|lane| gates(&config, lane, (&store, &*clock)));
    let gates = try_join_all(gates).await.map_err(state)?;
    let ways: Vec<_> = lanes.into_iter().map(|lane| lane.way).collect();
    let core = core_settings(&config, run, id);
    let late_reads: Vec<_> = gates.iter().map(|lane| late_reads(&config, lane)).collect();
    let parts = RunParts {
        store: store.clone(),
        clock: Arc::clone(&clock),
        run,
        core: Core::new(core, gates).with_most_in_flight(config.total_concurrency as usize),
        lanes: ways.clone(),
        intake: carrying.intake,
        before: carrying.before,
        planner: carrying.planner,
    };
    if let Some(after) = carrying.stop_after {
        stop.bound(started.uptime.after(after), Arc::clone(&clock));
    }
    let mut watch = Watch::new(progress, id.to_string(), carrying.is_sandbox)
        .with_token_until(token_ends)
        .with_lanes(Arc::clone(&names));
    let service = service.filter(Service::is_sandbox).map(Arc::new);
    let keeper = service
        .as_ref()
        .map(|service| tokio::spawn(keep(Arc::clone(service), Arc::clone(&clock))));
    let known = (id, carrying.is_sandbox);
    let metrics = carrying.outputs.metrics_file.clone();
    let mut meter = metrics.map(|path| Meter::start(path, known, started));
    let mut eyes = Both {
        first: &mut watch,
        second: meter.as_mut(),
    };
    let end = execute(parts, &mut stop.wishes, &mut eyes).await;
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
                (&store, run, id),
                (&names, reads),
                !config.exclude.is_empty(),
                &*clock,
                &mut stop.wishes,
            )
            .await
        }
        Err(_) => Ok(LeftToDo::default()),
    };
    progress.finish();
    if let (Some(keeper), Some(service)) = (keeper, service) {
        keeper.abort();
        if matches!(&end, Ok(end) if end.stop.is_none()) {
            service.forget();
        } else {
            service.put_away();
        }
    }
    let ending = Ending {
        id,
        run,
        is_sandbox: carrying.is_sandbox,
        config,
        lanes: names,
        outputs: carrying.outputs,
        flags: carrying.flags,
        lost: carrying.lost,
        elapsed: clock.now().uptime.since(started.uptime),
        at: clock.now().wall,
        look,
    };
    let meter = meter.map(|meter| (meter, clock.now()));
    ending.conclude(&store, end, (left_to_do, meter)).await
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
                "the service named this smaller allowance in an earlier run, and it is kept; `mde-cancel quota` shows it"
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

/// The wishes to stop, from the moment at which this process listens for them.
pub(super) struct StopWishes {
    wishes: mpsc::Receiver<StopReason>,
    sender: mpsc::Sender<StopReason>,
    /// What is printed when the second signal ends the process.
    last_words: Arc<OnceLock<String>>,
}

impl StopWishes {
    /// Takes the signals over: the first one stops the run, the second one ends the process.
    ///
    /// They are waited for on a thread of their own: the run's thread is busy while a long report is written, and a
    /// second signal must be heard then, too.
    pub(super) async fn listen(progress: &Progress) -> Result<Self, Failure> {
        let fault = |error: io::Error| Failure::new(FailureKind::Fault, error);
        // One for the signals, one for the bound on time.
        let (sender, wishes) = mpsc::channel(2);
        let (told, listening) = oneshot::channel();
        let asked = sender.clone();
        let last_words = Arc::new(OnceLock::new());
        let words = Arc::clone(&last_words);
        let progress = progress.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || match listen() {
                Ok((runtime, signals)) => {
                    // Where nobody waits for this any more, the run is over.
                    told.send(Ok(())).ok();
                    runtime.block_on(watch_signals(signals, asked, progress, words));
                }
                Err(error) => drop(told.send(Err(error))),
            })
            .map_err(fault)?;
        listening
            .await
            .map_err(|error| Failure::new(FailureKind::Fault, error))?
            .map_err(fault)?;
        Ok(Self {
            wishes,
            sender,
            last_words,
        })
    }

    /// Names the run that a second signal would leave, and how it is continued.
    pub(super) fn name_run(&self, run: RunId, flags: &ForwardedFlags) {
        let why = format!("run {run} was left at once; to continue");
        let hint = Hint::Command(why, NextCommand::Resume(run));
        // Only the first name counts, and there is but one.
        self.last_words.set(hint.render(flags)).ok();
    }

    /// Returns where the wishes come.
    pub(super) fn wishes(&mut self) -> &mut mpsc::Receiver<StopReason> {
        &mut self.wishes
    }

    /// Adds the wish to stop at `until`.
    fn bound(&self, until: Uptime, clock: Arc<dyn Clock>) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            clock.sleep_until(until).await;
            let reason = StopReason::Asked("--stop-after".to_owned());
            sender.send(reason).await.ok();
        });
    }
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
    wishes: mpsc::Sender<StopReason>,
    progress: Progress,
    last_words: Arc<OnceLock<String>>,
) {
    let first = signals.next().await;
    // A closed channel means that the run has just ended by itself.
    wishes.send(StopReason::Asked(first.to_owned())).await.ok();
    signals.next().await;
    let (told, waited_for) = std::sync::mpsc::channel();
    // On a thread of its own: a terminal that was stopped with Ctrl-S takes nothing, and must not hold up the end.
    std::thread::spawn(move || {
        progress.finish();
        if let Some(words) = last_words.get() {
            say(&progress, &visible(words));
        }
        told.send(()).ok();
    });
    waited_for.recv_timeout(LAST_WORDS).ok();
    leave_at_once();
}

#[expect(
    clippy::exit,
    reason = "the second signal asks for just that; the journal is whole at every instant"
)]
fn leave_at_once() -> ! {
    std::process::exit(i32::from(RunExit::Interrupted.code()))
}

pub(super) fn usage(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(FailureKind::Usage, error)
}

pub(super) fn state(error: StoreError) -> Failure {
    Failure::from(error)
}
