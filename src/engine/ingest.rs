//! Writes rows to the journal, from an input or from the tenant, and reads what the journal has of a run.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::input::{InputCheckpoint, InputChunk, InputError, OpenInput};
use crate::model::{InputRow, LaneId, MachineAction, Outcome, RowNumber, RunId};
use crate::store::{
    InputProgress, NewRow, Pending, Reader, Record, RowPhase, RunKey, Store, StoreError,
};

use super::core::Event;
use super::list_paging::ActionPager;
use super::machine_histories::{MachineChange, OtherActions};
use super::plan::Planner;
use super::plan_summary::{PlanLine, PlanSummary};
use super::reads_outside_runs::{Reads, ReadsError};

/// The input that a run still has to read.
pub enum RemainingInput {
    Read {
        /// Opened at the position to continue from.
        inputs: Vec<OpenInput>,
        beyond: InputCut,
    },
    /// Everything has been read, or the rest is lost.
    Nothing,
}

/// What follows the inputs that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputCut {
    /// Nothing: they complete the input.
    Nothing,
    /// Something that is lost, so that the input is never complete.
    Lost,
}

/// A run's counts in the journal, by lane.
pub type RunCounts = BTreeMap<LaneId, LaneCounts>;

#[derive(Clone, Debug, Default)]
pub struct LaneCounts {
    /// The highest row number.
    pub last: RowNumber,
    pub rows: u64,
    /// Settled rows, by outcome.
    pub settled: BTreeMap<Outcome, u64>,
}

impl LaneCounts {
    fn count(&mut self, row: &NewRow) {
        self.last = row.number;
        self.rows += 1;
        if let Some(settlement) = &row.settlement {
            *self.settled.entry(settlement.outcome).or_default() += 1;
        }
    }

    pub fn unsettled(&self) -> u64 {
        self.rows - self.settled.values().sum::<u64>()
    }

    pub(super) fn told(self, lane: LaneId) -> Event {
        Event::Appended {
            lane,
            last: self.last,
            count: self.rows,
            settled: self.settled,
        }
    }
}

/// Reads a run's counts from the journal, for its core.
pub fn recall(reader: &Reader, run: RunKey) -> Result<RunCounts, StoreError> {
    let mut before = RunCounts::default();
    for count in reader.lane_counts(run)? {
        let share = before.entry(count.lane).or_default();
        share.rows += count.rows;
        share.last = share.last.max(count.last);
        if let Some(outcome) = count.outcome {
            *share.settled.entry(outcome).or_default() += count.rows;
        }
    }
    Ok(before)
}

/// Adds a run's journaled rows to an empty summary, and reads its counts.
pub fn summarize_journaled(
    store: &Store,
    run: RunId,
    mut summary: PlanSummary,
) -> Result<(PlanSummary, RunCounts), StoreError> {
    let rows = store.reader()?.report_rows(run)?;
    let key = rows.run().key;
    for row in rows {
        summary.add(&PlanLine::of(&row?));
    }
    Ok((summary, recall(&store.reader()?, key)?))
}

/// Rows being written to the journal, and what to tell the core afterwards.
pub(super) struct Appending {
    pub(super) pending: Pending<()>,
    pub(super) shares: BTreeMap<LaneId, LaneCounts>,
}

pub struct Ingest {
    pub(super) journal: Store,
    pub(super) run: RunKey,
    pub(super) planner: Planner,
    /// Position behind the last row, if the input has positions.
    checkpoint: Option<InputCheckpoint>,
    beyond: InputCut,
}

pub struct Selected {
    pub to_send: u64,
    /// Whether the selection was read to its end.
    pub is_whole: bool,
}

impl Ingest {
    pub fn new(journal: Store, run: RunKey, planner: Planner) -> Self {
        Self {
            journal,
            run,
            planner,
            checkpoint: None,
            beyond: InputCut::Nothing,
        }
    }

    /// Starts to read the inputs.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(super) fn begin(
        &mut self,
        inputs: Vec<OpenInput>,
        beyond: InputCut,
    ) -> io::Result<mpsc::Receiver<InputMessage>> {
        self.checkpoint = inputs.first().and_then(OpenInput::checkpoint);
        self.beyond = beyond;
        read_inputs(inputs)
    }

    /// Appends rows of an input; `is_whole` with the last ones.
    pub(super) fn append_read(
        &mut self,
        chunks: Vec<InputChunk>,
        is_whole: bool,
        now: Timestamp,
    ) -> Appending {
        let mut rows = Vec::new();
        for chunk in chunks {
            let read = chunk.rows.into_iter();
            rows.extend(read.map(|row| self.planner.plan(row, now)));
            self.checkpoint = chunk.checkpoint;
        }
        let is_whole = is_whole && self.beyond == InputCut::Nothing;
        self.append(rows, Vec::new(), is_whole)
    }

    /// Appends rows and records in one transaction.
    fn append(&self, rows: Vec<NewRow>, records: Vec<Record>, complete: bool) -> Appending {
        let mut shares: BTreeMap<LaneId, LaneCounts> = BTreeMap::new();
        for row in &rows {
            shares.entry(row.lane).or_default().count(row);
        }
        let mark = InputProgress {
            rows_read: u64::from(self.planner.last().0),
            position: self
                .checkpoint
                .and_then(|at| serde_json::to_string(&at).ok()),
            complete,
        };
        Appending {
            pending: (self.journal).append_read_rows(self.run, rows, mark, records),
            shares,
        }
    }

    /// Journals the machines to release, with the actions to undo. Returns the counts for the core.
    pub async fn append_machines(
        &mut self,
        rows: Vec<(InputRow, MachineAction)>,
        now: Timestamp,
    ) -> Result<RunCounts, StoreError> {
        let (mut planned, mut records) = (Vec::new(), Vec::new());
        for (row, known) in rows {
            let row = self.planner.plan(row, now);
            if row.settlement.is_none() {
                records.push(Record::Noted {
                    run: self.run,
                    row: row.number,
                    phase: RowPhase::Fresh,
                    record: Some(known),
                    status_before: None,
                    checked_at: None,
                });
            }
            planned.push(row);
        }
        let appending = self.append(planned, records, true);
        appending.pending.await?;
        Ok(appending.shares)
    }

    /// Reads a selection and journals every row, newest first. Stops early once it has more than `most` rows to send.
    ///
    /// # Errors
    /// If reading or journaling fails; rows journaled before stay.
    pub async fn select(
        &mut self,
        mut pages: ActionPager,
        reads: &mut Reads,
        clock: &dyn Clock,
        most: Option<u64>,
    ) -> Result<Selected, ReadsError> {
        let mut to_send = 0;
        loop {
            let page = pages.next(reads).await?;
            let is_whole = page.is_none();
            if is_whole || most.is_some_and(|most| to_send > most) {
                self.append(Vec::new(), Vec::new(), is_whole)
                    .pending
                    .await?;
                return Ok(Selected { to_send, is_whole });
            }
            let page = page.unwrap_or_default();
            let changes: Vec<_> = page.iter().filter_map(MachineChange::of).collect();
            let others = OtherActions::read(reads, changes, Duration::ZERO).await?;
            let now = clock.now().wall;
            let (mut rows, mut records) = (Vec::new(), Vec::new());
            for action in page {
                let mut row = self.planner.plan_found(&action, &others, now);
                let (run, number) = (self.run, row.number);
                records.push(Record::Noted {
                    run,
                    row: number,
                    phase: RowPhase::Fresh,
                    status_before: action.status.clone(),
                    record: Some(action),
                    checked_at: Some(now),
                });
                match row.settlement.take() {
                    Some(settlement) => records.push(Record::Settled {
                        run,
                        row: number,
                        settlement,
                    }),
                    None => to_send += 1,
                }
                rows.push(row);
            }
            self.append(rows, records, false).pending.await?;
        }
    }
}

/// Chunks that may wait between the reading thread and the journal: enough to keep both busy, and a bound on memory.
const WAITING: usize = 32;

/// What the reading thread sends.
pub enum InputMessage {
    Rows(InputChunk),
    /// The inputs ended or failed. A channel that closes without this means that the thread died.
    End(Option<InputError>),
}

/// Starts the thread that reads the inputs.
///
/// # Errors
/// If no thread can be started.
pub fn read_inputs(inputs: Vec<OpenInput>) -> io::Result<mpsc::Receiver<InputMessage>> {
    let (fed, receiver) = mpsc::channel(WAITING);
    std::thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            for mut input in inputs {
                let read = input.read(&mut |chunk| match fed
                    .blocking_send(InputMessage::Rows(chunk))
                {
                    Ok(()) => ControlFlow::Continue(()),
                    // The receiver is gone.
                    Err(_) => ControlFlow::Break(()),
                });
                if let Some(warning) = input.warning() {
                    tracing::warn!("{warning}");
                }
                if let Err(error) = read {
                    fed.blocking_send(InputMessage::End(Some(error))).ok();
                    return;
                }
                if fed.is_closed() {
                    return;
                }
            }
            fed.blocking_send(InputMessage::End(None)).ok();
        })?;
    Ok(receiver)
}
