//! The runner: one task that owns the core and every handle.
//!
//! It waits for the next event (a finished effect, rows, a request to stop, a timer), passes it to the core, and starts
//! the effects that the core returns. A journal error ends the run at once: no byte leaves that isn't journaled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{FuturesOrdered, FuturesUnordered};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::input::{InputError, OpenInput};
use crate::model::{LaneId, Moment, ReadPage, Uptime};
use crate::quota::{Usage, forecast};
use crate::store::{Record, RunKey, ScopeUse, Store, StoreError};

use super::core::{Core, Effect, Event, LaneView, RunEvent, StopReason, Tally};
use super::ingest::{Appending, Ingest, InputMessage, RemainingInput, RunCounts};
use super::perform_effects::{
    EffectOutput, Handles, LaneClients, ReadClients, Rest, RunningEffect,
};
use super::plan::Planner;
use super::reads_outside_runs::ReadLog;

/// The most chunks journaled in one transaction: about a thousand rows of a file.
const BATCH: usize = 16;

/// How often the display is updated while calls are on the wire.
const VIEW_EVERY: Duration = Duration::from_millis(500);

/// How often otherwise. A countdown needs seconds, and every update wakes the writer.
const VIEW_WAITING: Duration = Duration::from_secs(1);

/// The display shows the windows of this many lanes: those with the most rows left, which end last. No screen fits
/// more.
const LANES_LOOKED_AT: usize = 8;

/// Duration of a call in the forecast; only the last round trip of each window matters.
const ROUND_TRIP: Duration = Duration::from_millis(150);

/// Everything a run needs. With clients that only read, it makes a plan.
pub struct RunParts<C = LaneClients> {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub run: RunKey,
    pub core: Core,
    /// For each lane of the core, in order: its clients, or why there are none, for the report.
    pub lanes: Vec<Result<Arc<C>, Arc<str>>>,
    pub intake: RemainingInput,
    pub planner: Planner,
    /// The run's counts in the journal; empty for a new run.
    pub before: RunCounts,
}

#[derive(Debug)]
pub struct RunEnd {
    pub tally: Tally,
    /// Why it stopped early: the gravest of its lanes' reasons.
    pub stop: Option<StopReason>,
    pub stops: Vec<(LaneId, StopReason)>,
    /// Why the input couldn't be read to its end.
    pub intake: Option<InputError>,
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The journal or the ledger failed.
    #[error("the run stopped because its journal cannot be written")]
    Store(#[from] StoreError),
    /// The thread that reads the input died.
    #[error("the input reader crashed")]
    Reading,
    /// Rows that the journal counts but doesn't return.
    #[error(
        "the journal counts {missing} rows of the run that it does not hand out: it is damaged"
    )]
    RowsMissing { missing: u64 },
    #[error("no thread can be started to read the input")]
    Thread(#[source] std::io::Error),
}

/// Runs until all rows are settled, or to a stop.
///
/// # Errors
/// If the run can't go on; what was journaled stays.
pub async fn execute(
    parts: RunParts,
    stop: &mut mpsc::Receiver<StopReason>,
    observer: &mut dyn Observer,
) -> Result<RunEnd, EngineError> {
    // From here on, other runs leave its rows alone.
    let confirmed = Record::RunConfirmed {
        run: parts.run,
        at: parts.clock.now().wall,
    };
    parts.store.write(vec![confirmed]).await?;
    let lanes = parts.lanes.iter();
    let readers = lanes.map(|way| way.as_ref().map(|handles| handles.reads()));
    let handles = Handles {
        store: parts.store,
        scratch: None,
        run: parts.run,
        lanes: readers.map(|way| way.map_err(Arc::clone)).collect(),
        senders: parts.lanes,
    };
    let mut runner = Runner::new(parts.core, handles, parts.clock, parts.planner, observer);
    let lanes = runner.handles.lanes.len();
    let elsewhere = parts.before.iter();
    let elsewhere = elsewhere.filter(|(lane, _)| usize::from(lane.0) >= lanes);
    let mut missing: u64 = elsewhere.map(|(_, share)| share.unsettled()).sum();
    runner.begin(parts.intake, parts.before)?;
    runner.serve(stop).await?;
    let tally = runner.core.tally();
    if runner.core.stop_reason().is_none() {
        missing += tally.rows - tally.settled();
    }
    // Rows left unsettled without a reason must not look like success.
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

#[derive(Debug)]
pub struct PlanEnd {
    /// Calls made.
    pub reads: u64,
    /// Why lanes stopped, except for reaching the deadline.
    pub stops: Vec<(LaneId, StopReason)>,
    /// Why the input couldn't be read to its end.
    pub intake: Option<InputError>,
}

/// Journals the rest of an input and the states of its rows, until all are read or `patience` has passed since the end
/// of the input. A preview's rows go to `scratch`. Nothing here can send.
///
/// # Errors
/// If the journal fails or the input can't be read.
pub async fn plan(
    parts: RunParts<ReadClients>,
    scratch: Option<Store>,
    patience: Option<Duration>,
    stop: &mut mpsc::Receiver<StopReason>,
) -> Result<PlanEnd, EngineError> {
    let handles = Handles {
        store: parts.store,
        scratch,
        run: parts.run,
        lanes: parts.lanes,
        senders: Vec::new(),
    };
    let core = parts.core.disarmed();
    let log = ReadLog::default();
    let mut runner = Runner::new(core, handles, parts.clock, parts.planner, log);
    runner.patience = patience;
    runner.begin(parts.intake, parts.before)?;
    runner.serve(stop).await?;
    let mut stops = runner.core.stops();
    stops.retain(|(_, reason)| !matches!(reason, StopReason::LeftForLater(_)));
    Ok(PlanEnd {
        reads: runner.core.tally().reads,
        stops,
        intake: runner.intake,
    })
}

/// Performs a core's effects.
pub(super) struct Runner<O> {
    /// `None` once the input has ended or was given up.
    rows: Option<mpsc::Receiver<InputMessage>>,
    /// Whether a stop gives up the rest of the input: for a stream, which may never end, and for a plan.
    may_give_up_input: bool,
    ingest: Ingest,
    handles: Handles,
    clock: Arc<dyn Clock>,
    pub(super) core: Core,
    work: FuturesUnordered<RunningEffect>,
    /// In order, so that observers get events in the order in which the core told them.
    writes: FuturesOrdered<RunningEffect>,
    /// Reads and sign-ins. The run ends without those that the core no longer awaits.
    reads: FuturesUnordered<RunningEffect>,
    /// Whether rows of the input are being written. One write at a time; rows read meanwhile wait in the channel.
    is_appending: bool,
    intake: Option<InputError>,
    /// How long a plan waits for states after the end of its input.
    patience: Option<Duration>,
    deadline: Uptime,
    /// The requested page, or the service's refusal.
    pub(super) page: Option<Result<ReadPage, String>>,
    observer: O,
    /// The window usage of the busiest lanes, as of the ledger's last answer.
    used: BTreeMap<usize, ScopeUse>,
    /// Whether the ledger was asked for more. The loop never waits for that; until then the display shows the last answer.
    is_asking: bool,
}

impl<O: Observer> Runner<O> {
    pub(super) fn new(
        core: Core,
        handles: Handles,
        clock: Arc<dyn Clock>,
        planner: Planner,
        observer: O,
    ) -> Self {
        Self {
            rows: None,
            may_give_up_input: false,
            ingest: Ingest::new(handles.journal().clone(), handles.run, planner),
            handles,
            clock,
            core,
            work: FuturesUnordered::new(),
            writes: FuturesOrdered::new(),
            reads: FuturesUnordered::new(),
            is_appending: false,
            intake: None,
            patience: None,
            deadline: Uptime::MAX,
            page: None,
            observer,
            used: BTreeMap::new(),
            is_asking: false,
        }
    }

    /// Tells the core the run's counts, and starts to read the rest of the input.
    fn begin(&mut self, intake: RemainingInput, before: RunCounts) -> Result<(), EngineError> {
        if let RemainingInput::Read { inputs, beyond } = intake {
            self.may_give_up_input = !self.may_send() || inputs.iter().any(OpenInput::is_stream);
            let rows = self.ingest.begin(inputs, beyond);
            self.rows = Some(rows.map_err(EngineError::Thread)?);
        }
        for (lane, share) in before {
            self.step(share.told(lane));
        }
        if self.rows.is_none() {
            self.input_ended();
        }
        Ok(())
    }

    fn may_send(&self) -> bool {
        !self.handles.senders.is_empty()
    }

    fn input_ended(&mut self) {
        if let Some(patience) = self.patience {
            self.deadline = self.now().uptime.after(patience);
        }
        self.step(Event::InputEnded);
    }

    pub(super) async fn serve(
        &mut self,
        stop: &mut mpsc::Receiver<StopReason>,
    ) -> Result<(), EngineError> {
        let clock = Arc::clone(&self.clock);
        let mut next_view = clock.now().uptime;
        let mut batch = Vec::new();
        let mut may_stop = true;
        while !self.is_done() {
            // After a stop, files are still read to their end, so that the report has every row. Of a stream, only the
            // rows received so far.
            if self.may_give_up_input && self.core.is_stopping() {
                self.rows.iter_mut().for_each(mpsc::Receiver::close);
            }
            let wake = self.core.next_wake().unwrap_or(Uptime::MAX);
            let wake = wake.min(next_view).min(self.deadline);
            tokio::select! {
                biased;
                reason = stop.recv(), if may_stop => match reason {
                    Some(reason) => self.stop(reason),
                    None => may_stop = false,
                },
                Some(performed) = self.work.next() => self.performed(performed?)?,
                Some(performed) = self.writes.next() => self.performed(performed?)?,
                Some(performed) = self.reads.next() => self.performed(performed?)?,
                () = receive(&mut self.rows, &mut batch), if !self.is_appending => {
                    self.received(&mut batch);
                }
                () = clock.sleep_until(wake) => self.step(Event::Tick),
            }
            if clock.now().uptime >= self.deadline {
                self.deadline = Uptime::MAX;
                let why = "the time limit for reading statuses is reached";
                self.stop(StopReason::LeftForLater(why.to_owned()));
            }
            if clock.now().uptime >= next_view {
                if self.is_asking || !self.may_send() {
                    // The last request is still open, or nothing is sent.
                    self.show();
                } else {
                    self.is_asking = true;
                    self.reads.push(self.window_use());
                }
                let is_waiting = self.core.view().iter().all(|lane| lane.in_flight == 0);
                let pause = if is_waiting { VIEW_WAITING } else { VIEW_EVERY };
                next_view = clock.now().uptime.after(pause);
            }
        }
        if self.may_send() {
            let used = self.window_use().await?;
            self.performed(used)?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        (self.page.is_some() || self.core.is_done())
            && self.work.is_empty()
            && self.writes.is_empty()
            && self.rows.is_none()
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }

    fn stop(&mut self, reason: StopReason) {
        self.step(Event::Stop(reason));
    }

    pub(super) fn step(&mut self, event: Event) {
        let now = self.now();
        for effect in self.core.step(now, event) {
            match effect {
                Effect::Tell { lane, event } => self.observer.happened(now, lane, &event),
                effect @ Effect::Write { .. } => {
                    let written = self.handles.run_effect(effect);
                    self.writes.push_back(written);
                }
                effect @ (Effect::Read { .. } | Effect::ReadPage { .. } | Effect::Token { .. }) => {
                    self.reads.push(self.handles.run_effect(effect));
                }
                effect => self.work.push(self.handles.run_effect(effect)),
            }
        }
    }

    fn performed(&mut self, performed: EffectOutput) -> Result<(), EngineError> {
        match performed {
            EffectOutput::Event(event) => self.step(event),
            EffectOutput::Page(page) => self.page = Some(page),
            EffectOutput::Written(lane, events) => {
                let now = self.now();
                for event in &events {
                    self.observer.happened(now, lane, event);
                }
            }
            EffectOutput::Appended { shares, rest } => {
                self.is_appending = false;
                for (lane, share) in shares {
                    self.step(share.told(lane));
                }
                if rest != Rest::More {
                    self.input_ended();
                }
                if rest == Rest::BrokenOff {
                    return Err(EngineError::Reading);
                }
            }
            EffectOutput::Used(used) => {
                self.is_asking = false;
                self.used = used;
                self.show();
            }
        }
        Ok(())
    }

    /// Handles a batch from the reading thread.
    fn received(&mut self, batch: &mut Vec<InputMessage>) {
        let mut chunks = Vec::new();
        // An empty batch means that the channel closed without an end: we closed it, or the thread died.
        let mut is_end = batch.is_empty();
        let was_given_up = is_end && self.may_give_up_input && self.core.is_stopping();
        let mut is_broken = is_end;
        for fed in batch.drain(..) {
            match fed {
                InputMessage::Rows(chunk) => chunks.push(chunk),
                InputMessage::End(error) => {
                    is_end = true;
                    is_broken = error.is_some();
                    self.intake = error;
                }
            }
        }
        if is_end {
            self.rows = None;
        }
        let now = self.now().wall;
        let rest = if is_broken && self.intake.is_none() && !was_given_up {
            Rest::BrokenOff
        } else if is_end {
            Rest::Nothing
        } else {
            Rest::More
        };
        let Appending { pending, shares } =
            self.ingest.append_read(chunks, is_end && !is_broken, now);
        self.is_appending = true;
        self.work.push(Box::pin(async move {
            pending.await?;
            Ok(EffectOutput::Appended { shares, rest })
        }));
    }

    fn left(lane: &LaneView) -> u64 {
        lane.tally.rows.saturating_sub(lane.tally.settled())
    }

    /// Asks the ledger for the window usage of the busiest lanes: in one job, because each wakes the writer.
    fn window_use(&self) -> RunningEffect {
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
        let used = self.handles.store.usages(asked, self.now());
        Box::pin(async move {
            let used = used.await?;
            Ok(EffectOutput::Used(places.into_iter().zip(used).collect()))
        })
    }

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

/// Waits for the next batch of the reading thread; an empty one means that the channel closed.
async fn receive(rows: &mut Option<mpsc::Receiver<InputMessage>>, batch: &mut Vec<InputMessage>) {
    match rows {
        Some(rows) => drop(rows.recv_many(batch, BATCH).await),
        None => std::future::pending().await,
    }
}

/// A run at one moment, for the display.
#[derive(Clone, Debug)]
pub struct RunView {
    pub now: Moment,
    /// Whether the input has ended, so that the number of rows is final.
    pub input_ended: bool,
    pub lanes: Vec<LaneView>,
    /// Window usage of each lane's cancels; empty for lanes beyond the busiest.
    pub usage: Vec<Vec<Usage>>,
    /// The earliest time at which the last cancel can leave, if known.
    pub finish: Option<Uptime>,
}

/// Observes a run. No method may fail or block.
pub trait Observer {
    /// Something happened in a lane. If it concerns a row, the journal has it.
    fn happened(&mut self, now: Moment, lane: LaneId, event: &RunEvent);

    /// Called from time to time for the display.
    fn looked(&mut self, view: &RunView);
}

impl<T: Observer + ?Sized> Observer for &mut T {
    fn happened(&mut self, now: Moment, lane: LaneId, event: &RunEvent) {
        (**self).happened(now, lane, event);
    }

    fn looked(&mut self, view: &RunView) {
        (**self).looked(view);
    }
}
