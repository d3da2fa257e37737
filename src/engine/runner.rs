//! The performing half of a run: one task that owns the core and every handle.
//!
//! It waits for whatever comes first (an effect's end, a row, a wish to stop, time), gives it to the core, and performs
//! what the core wants. An error of the journal ends it at once: no byte leaves that is not written down.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::input::{InputCheckpoint, InputChunk, InputError, OpenInput};
use crate::model::{LaneId, Moment, Outcome, RowNumber, Uptime};
use crate::quota::{Usage, forecast};
use crate::store::{InputMark, NewRow, Pending, Record, RunKey, ScopeUse, Store, StoreError};

use super::core::{Core, Effect, Event, LaneView, RunEvent, StopReason, Tally};
use super::effects::{EffectOutput, LaneWay, RunningEffect, run_effect};
use super::plan::Planner;

/// Chunks of rows that are journaled in one transaction at most: about a thousand rows of a file.
const BATCH: usize = 16;

/// How often the eyes are shown something while calls are on the wire: often enough to look alive.
const VIEW_EVERY: Duration = Duration::from_millis(500);

/// How often while none is: a countdown goes by the second, and each look wakes the writer and locks the file.
const VIEW_WAITING: Duration = Duration::from_secs(1);

/// Of so many lanes the eyes are shown the windows: those with the most rows left, which end last. More fit on no screen.
const LANES_LOOKED_AT: usize = 8;

/// What the forecast takes one call to last; only the last round trip of each window shows.
const ROUND_TRIP: Duration = Duration::from_millis(150);

/// Everything that a run is made of.
pub struct RunParts {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    /// The run, in the journal.
    pub run: RunKey,
    pub core: Core,
    /// One per lane of the core, in its order.
    pub lanes: Vec<LaneWay>,
    pub intake: Intake,
    pub planner: Planner,
    /// What the journal holds of the run already; nothing for a new one.
    pub before: Before,
}

/// What a run still has to read.
pub enum Intake {
    Read {
        /// Opened, and set to where reading goes on.
        inputs: Vec<OpenInput>,
        beyond: Beyond,
    },
    /// Nothing: all was read, or the rest cannot be had any more.
    Nothing,
}

/// What lies behind the inputs that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// Nothing: with the last of them the input has been read.
    Nothing,
    /// Something that cannot be had any more, so that the input is never whole.
    Lost,
}

/// What the journal holds of a run that is resumed.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// The highest row number.
    pub last: RowNumber,
    pub rows: u64,
    /// Those that have their last word.
    pub settled: BTreeMap<Outcome, u64>,
    /// The same by lane, where there are several; else all of it is the one lane's.
    pub shares: BTreeMap<LaneId, LaneShare>,
}

/// What the journal holds of one lane.
#[derive(Clone, Debug, Default)]
pub struct LaneShare {
    /// The highest row number.
    pub last: RowNumber,
    pub rows: u64,
    /// Those that have their last word.
    pub settled: BTreeMap<Outcome, u64>,
}

impl LaneShare {
    /// Counts a row in.
    fn count(&mut self, row: &NewRow) {
        self.last = row.number;
        self.rows += 1;
        if let Some(settlement) = &row.settlement {
            *self.settled.entry(settlement.outcome).or_default() += 1;
        }
    }

    fn unsettled(&self) -> u64 {
        self.rows - self.settled.values().sum::<u64>()
    }

    fn told(self, lane: LaneId) -> Event {
        Event::Appended {
            lane,
            last: self.last,
            count: self.rows,
            settled: self.settled,
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct RunEnd {
    pub tally: Tally,
    /// Why it stopped, where rows may be left: the gravest of its lanes' reasons.
    pub stop: Option<StopReason>,
    /// Why each lane that stopped did so.
    pub stops: Vec<(LaneId, StopReason)>,
    /// Why the input could not be read to its end.
    pub intake: Option<InputError>,
}

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The journal or the ledger.
    #[error("the run stopped because its journal cannot be written")]
    Store(#[from] StoreError),
    /// The thread that reads the input ended without a word.
    #[error("reading the input broke off")]
    Reading,
    /// Rows that the journal counts and never handed out.
    #[error(
        "the journal counts {missing} rows of the run that it does not hand out: it is damaged"
    )]
    RowsMissing { missing: u64 },
    /// No thread for reading the input.
    #[error("no thread can be started to read the input")]
    Thread(#[source] std::io::Error),
}

/// Runs to the end, or to a stop.
///
/// # Errors
/// Returns why the run cannot go on; what was journaled stays.
pub async fn execute(
    parts: RunParts,
    stop: &mut mpsc::Receiver<StopReason>,
    observer: &mut dyn Observer,
) -> Result<RunEnd, EngineError> {
    // From here on other runs leave its rows alone.
    let confirmed = Record::RunConfirmed {
        run: parts.run,
        at: parts.clock.now().wall,
    };
    parts.store.write(vec![confirmed]).await?;
    let (mut beyond, mut checkpoint) = (Beyond::Nothing, None);
    let (is_stream, rows) = match parts.intake {
        Intake::Read {
            inputs,
            beyond: behind,
        } => {
            beyond = behind;
            checkpoint = inputs.first().and_then(OpenInput::checkpoint);
            let is_stream = inputs.iter().any(OpenInput::is_stream);
            let rows = read_inputs(inputs).map_err(EngineError::Thread)?;
            (is_stream, Some(rows))
        }
        Intake::Nothing => (false, None),
    };
    let mut runner = Runner {
        is_stream,
        beyond,
        checkpoint,
        rows,
        store: parts.store,
        clock: parts.clock,
        run: parts.run,
        core: parts.core,
        lanes: parts.lanes,
        planner: parts.planner,
        work: FuturesUnordered::new(),
        reads: FuturesUnordered::new(),
        appending: None,
        intake: None,
        observer,
        used: BTreeMap::new(),
        asked: None,
    };
    let lanes = runner.lanes.len();
    let elsewhere = parts.before.shares.iter();
    let elsewhere = elsewhere.filter(|(lane, _)| usize::from(lane.0) >= lanes);
    let mut missing: u64 = elsewhere.map(|(_, share)| share.unsettled()).sum();
    runner.begin(parts.before);
    runner.serve(stop).await?;
    let tally = runner.core.tally();
    if runner.core.stop_reason().is_none() {
        missing += tally.rows - tally.settled();
    }
    // Nothing is left unsettled without a reason, so this must not look like success.
    if missing > 0 {
        return Err(EngineError::RowsMissing { missing });
    }
    Ok(RunEnd {
        tally,
        stop: runner.core.stop_reason(),
        stops: runner.core.stops(),
        intake: runner.intake,
    })
}

/// Rows on their way into the journal, and what to tell the core once they are there.
struct Appending {
    pending: Pending<()>,
    shares: BTreeMap<LaneId, LaneShare>,
    /// Whether they are the last.
    is_end: bool,
    /// Whether the reading thread ended without a word.
    is_broken_off: bool,
}

/// What the ledger is asked for the display, and of which lanes.
struct UsageRequest {
    pending: Pending<Vec<ScopeUse>>,
    places: Vec<usize>,
}

struct Runner<'run> {
    /// `None` once the input has ended, or nobody waits for more of it.
    rows: Option<mpsc::Receiver<Fed>>,
    /// Whether the input's end is somebody else's to decide.
    is_stream: bool,
    beyond: Beyond,
    /// Behind the last row that was taken in, where there is one.
    checkpoint: Option<InputCheckpoint>,
    store: Store,
    clock: Arc<dyn Clock>,
    run: RunKey,
    core: Core,
    lanes: Vec<LaneWay>,
    planner: Planner,
    work: FuturesUnordered<RunningEffect>,
    /// Reads and sign-ins. The end does not wait for those that the core no longer waits for.
    reads: FuturesUnordered<RunningEffect>,
    /// One at a time: what is read faster than it can be written waits in the channel.
    appending: Option<Appending>,
    intake: Option<InputError>,
    observer: &'run mut dyn Observer,
    /// How far the busiest lanes' windows are used, as the ledger last said.
    used: BTreeMap<usize, ScopeUse>,
    /// The loop never waits for this: the display shows what was said last.
    asked: Option<UsageRequest>,
}

impl Runner<'_> {
    /// Tells the core what the journal holds already.
    fn begin(&mut self, before: Before) {
        let mut shares = before.shares;
        if shares.is_empty() && before.rows > 0 {
            let share = LaneShare {
                last: before.last,
                rows: before.rows,
                settled: before.settled,
            };
            shares.insert(LaneId(0), share);
        }
        for (lane, share) in shares {
            self.step(share.told(lane));
        }
        if self.rows.is_none() {
            self.step(Event::InputEnded);
        }
    }

    async fn serve(&mut self, stop: &mut mpsc::Receiver<StopReason>) -> Result<(), EngineError> {
        let clock = Arc::clone(&self.clock);
        let mut next_view = clock.now().uptime;
        let mut batch = Vec::new();
        let mut may_stop = true;
        while !self.is_done() {
            // A stop still lets files be read to their end, so that the report holds every row. Of a stream it takes
            // what has reached us.
            if self.is_stream && self.core.is_stopping() {
                self.rows.iter_mut().for_each(mpsc::Receiver::close);
            }
            let wake = self.core.next_wake().unwrap_or(Uptime::MAX).min(next_view);
            tokio::select! {
                biased;
                reason = stop.recv(), if may_stop => match reason {
                    Some(reason) => self.stop(reason),
                    None => may_stop = false,
                },
                Some(performed) = self.work.next() => self.performed(performed?),
                Some(performed) = self.reads.next() => self.performed(performed?),
                done = appended(&mut self.appending) => self.appended(done?)?,
                () = receive(&mut self.rows, &mut batch), if self.appending.is_none() => {
                    self.received(&mut batch);
                }
                used = used(&mut self.asked) => {
                    self.used = used?;
                    self.show();
                }
                () = clock.sleep_until(wake) => self.step(Event::Tick),
            }
            if clock.now().uptime >= next_view {
                if self.asked.is_some() {
                    // The state file is busy.
                    self.show();
                } else {
                    self.ask_for_use();
                }
                let is_waiting = self.core.view().iter().all(|lane| lane.in_flight == 0);
                let pause = if is_waiting { VIEW_WAITING } else { VIEW_EVERY };
                next_view = clock.now().uptime.after(pause);
            }
        }
        self.ask_for_use();
        self.used = used(&mut self.asked).await?;
        self.show();
        Ok(())
    }

    fn appended(&mut self, done: Appending) -> Result<(), EngineError> {
        for (lane, share) in done.shares {
            self.step(share.told(lane));
        }
        if done.is_end {
            self.step(Event::InputEnded);
        }
        if done.is_broken_off {
            return Err(EngineError::Reading);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.core.is_done()
            && self.work.is_empty()
            && self.rows.is_none()
            && self.appending.is_none()
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }

    fn stop(&mut self, reason: StopReason) {
        self.step(Event::Stop(reason));
    }

    fn step(&mut self, event: Event) {
        let now = self.now();
        for effect in self.core.step(now, event) {
            match effect {
                Effect::Tell { lane, event } => self.observer.happened(now, lane, &event),
                effect => {
                    let works = match effect {
                        Effect::Read { .. } | Effect::Token { .. } => &self.reads,
                        _ => &self.work,
                    };
                    works.push(run_effect(effect, &self.store, self.run, &self.lanes));
                }
            }
        }
    }

    fn performed(&mut self, performed: EffectOutput) {
        match performed {
            EffectOutput::Event(event) => self.step(event),
            EffectOutput::Written(lane, events) => {
                let now = self.now();
                for event in &events {
                    self.observer.happened(now, lane, event);
                }
            }
        }
    }

    /// Takes in what the reading thread handed on.
    fn received(&mut self, batch: &mut Vec<Fed>) {
        let now = self.now();
        let mut rows = Vec::new();
        // Nothing at all means that the channel closed without an end: by us, or because the thread broke off.
        let mut is_end = batch.is_empty();
        let was_given_up = is_end && self.is_stream && self.core.is_stopping();
        let mut is_broken = is_end;
        for fed in batch.drain(..) {
            match fed {
                Fed::Rows(chunk) => {
                    let read = chunk.rows.into_iter();
                    rows.extend(read.map(|row| self.planner.plan(row, now.wall)));
                    self.checkpoint = chunk.checkpoint;
                }
                Fed::End(error) => {
                    is_end = true;
                    is_broken = error.is_some();
                    self.intake = error;
                }
            }
        }
        let mut shares: BTreeMap<LaneId, LaneShare> = BTreeMap::new();
        for row in &rows {
            shares.entry(row.lane).or_default().count(row);
        }
        let mark = InputMark {
            rows_read: u64::from(self.planner.last().0),
            position: self
                .checkpoint
                .and_then(|at| serde_json::to_string(&at).ok()),
            complete: is_end && !is_broken && self.beyond == Beyond::Nothing,
        };
        if is_end {
            self.rows = None;
        }
        self.appending = Some(Appending {
            shares,
            pending: self.store.append_rows(self.run, rows, mark),
            is_end,
            is_broken_off: is_broken && self.intake.is_none() && !was_given_up,
        });
    }

    /// Returns how many rows a lane has left.
    fn left(lane: &LaneView) -> u64 {
        lane.tally.rows.saturating_sub(lane.tally.settled())
    }

    /// Asks the ledger how far the busiest lanes' windows are used: in one job, for each wakes the writer.
    fn ask_for_use(&mut self) {
        let lanes = self.core.view();
        let scopes = self.core.cancel_scopes();
        let stopped = self.core.stops();
        let is_going = |place: &usize| {
            stopped
                .iter()
                .all(|(lane, _)| usize::from(lane.0) != *place)
        };
        let mut places: Vec<_> = (0..lanes.len()).filter(is_going).collect();
        places.sort_by_key(|&place| std::cmp::Reverse(Self::left(&lanes[place])));
        places.truncate(LANES_LOOKED_AT);
        let asked = places.iter().map(|&place| scopes[place].clone()).collect();
        let pending = self.store.usages(asked, self.now());
        self.asked = Some(UsageRequest { pending, places });
    }

    /// Shows the eyes how things stand.
    fn show(&mut self) {
        let now = self.now();
        let lanes = self.core.view();
        let scopes = self.core.cancel_scopes();
        let input_ended = self.rows.is_none();
        let mut usage = vec![Vec::new(); lanes.len()];
        let mut finish = None;
        for (&place, used) in &self.used {
            let left = Self::left(&lanes[place]);
            if input_ended && left > 0 {
                let pace = lanes[place].learned.map(|kept| kept.pace());
                let windows = &scopes[place].1;
                let last = forecast(now.uptime, windows, pace, &used.calls, left, ROUND_TRIP);
                finish = finish.max(Some(last));
            }
            usage[place].clone_from(&used.windows);
        }
        let view = RunView {
            now,
            input_ended,
            lanes,
            usage,
            finish,
        };
        self.observer.looked(&view);
    }
}

/// Waits for what the reading thread hands on; none at all means that it broke off.
async fn receive(rows: &mut Option<mpsc::Receiver<Fed>>, batch: &mut Vec<Fed>) {
    match rows {
        Some(rows) => drop(rows.recv_many(batch, BATCH).await),
        None => std::future::pending().await,
    }
}

/// Waits until the rows that are being appended are on disk.
async fn appended(appending: &mut Option<Appending>) -> Result<Appending, StoreError> {
    let Some(waiting) = appending else {
        return std::future::pending().await;
    };
    (&mut waiting.pending).await?;
    match appending.take() {
        Some(done) => Ok(done),
        None => std::future::pending().await,
    }
}

/// Waits for the ledger's answer, where it was asked.
async fn used(asked: &mut Option<UsageRequest>) -> Result<BTreeMap<usize, ScopeUse>, StoreError> {
    let Some(waiting) = asked else {
        return std::future::pending().await;
    };
    let used = (&mut waiting.pending).await?;
    let places = asked.take().map(|asked| asked.places).unwrap_or_default();
    Ok(places.into_iter().zip(used).collect())
}

/// Chunks that may wait between the reader and the journal: enough that neither waits for the other, and a bound on
/// memory.
const WAITING: usize = 32;

/// What the reading thread hands on.
pub enum Fed {
    /// Rows, good or bad.
    Rows(InputChunk),
    /// The inputs ended, or could not be read any further. A channel that closes without this means that the thread
    /// broke off.
    End(Option<InputError>),
}

/// Begins to read.
///
/// # Errors
/// Returns the system's error where no thread can be started.
pub fn read_inputs(inputs: Vec<OpenInput>) -> io::Result<mpsc::Receiver<Fed>> {
    let (fed, receiver) = mpsc::channel(WAITING);
    std::thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            for mut input in inputs {
                let read = input.read(&mut |chunk| match fed.blocking_send(Fed::Rows(chunk)) {
                    Ok(()) => ControlFlow::Continue(()),
                    // Nobody wants more.
                    Err(_) => ControlFlow::Break(()),
                });
                if let Some(warning) = input.warning() {
                    tracing::warn!("{warning}");
                }
                if let Err(error) = read {
                    fed.blocking_send(Fed::End(Some(error))).ok();
                    return;
                }
                if fed.is_closed() {
                    return;
                }
            }
            fed.blocking_send(Fed::End(None)).ok();
        })?;
    Ok(receiver)
}

/// What can be seen of a run at one moment.
#[derive(Clone, Debug)]
pub struct RunView {
    pub now: Moment,
    /// Whether the input was read to its end, so that the number of rows is known.
    pub input_ended: bool,
    pub lanes: Vec<LaneView>,
    /// How far each lane's windows for cancels are used; nothing of lanes that have little left where others have more.
    pub usage: Vec<Vec<Usage>>,
    /// When the last cancel may leave at the earliest, where that can be told.
    pub finish: Option<Uptime>,
}

/// Watches a run. Neither call may fail or wait: a run goes on whether anybody sees it or not.
pub trait Observer {
    /// Something happened in a lane; where it is about a row, the journal holds it already.
    fn happened(&mut self, now: Moment, lane: LaneId, event: &RunEvent);

    /// Some time has passed.
    fn looked(&mut self, view: &RunView);
}
