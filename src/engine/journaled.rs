//! A run that is planned as a whole: its input is journaled to the end, and looked over, before anything is sent.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::input::{InputError, OpenInput};
use crate::model::{ActionId, FollowUp, MachineAction, Outcome, ReportRow, RunId};
use crate::store::{InputMark, NewRow, Phase, Reader, Record, RunKey, Store, StoreError};

use super::core::StopReason;
use super::later_actions::{LaterActions, MachineChange};
use super::pages::Pages;
use super::plan::Planner;
use super::plan_summary::{PlanLine, PlanSummary, Verdict};
use super::reads::{Reads, ReadsError};
use super::runner::{Before, Beyond, EngineError, Fed, Intake, read_inputs};

/// Chunks of rows that are journaled in one transaction at most: about a thousand rows of a file.
const BATCH: usize = 16;

/// How the journaling of an input ended.
#[derive(Debug)]
pub enum Journaled {
    /// Every row is in the journal.
    Whole,
    /// Somebody wished to stop; the journal holds what had been read.
    Stopped(StopReason),
    /// The input could not be read to its end; the journal holds the rows before.
    Broken(InputError),
}

/// Reads an input to its end and journals every row; sends nothing.
///
/// # Errors
/// Returns why the journal cannot be written, or the input not be read.
pub async fn journal(
    intake: Intake,
    planner: &mut Planner,
    store: &Store,
    run: RunKey,
    clock: &Arc<dyn Clock>,
    stop: &mut mpsc::Receiver<StopReason>,
) -> Result<Journaled, EngineError> {
    let Intake::Read { inputs, beyond } = intake else {
        return Ok(Journaled::Whole);
    };
    let mut checkpoint = inputs.first().and_then(OpenInput::checkpoint);
    let mut fed = read_inputs(inputs).map_err(EngineError::Thread)?;
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            Some(reason) = stop.recv() => return Ok(Journaled::Stopped(reason)),
            _ = fed.recv_many(&mut batch, BATCH) => {}
        }
        if batch.is_empty() {
            return Err(EngineError::Reading);
        }
        let now = clock.now();
        let mut rows = Vec::new();
        let mut end = None;
        for fed in batch.drain(..) {
            match fed {
                Fed::Rows(chunk) => {
                    let read = chunk.rows.into_iter();
                    rows.extend(read.map(|row| planner.plan(row, now.wall)));
                    checkpoint = chunk.checkpoint;
                }
                Fed::End(error) => end = Some(error.map_or(Journaled::Whole, Journaled::Broken)),
            }
        }
        let mark = InputMark {
            rows_read: u64::from(planner.last().0),
            position: checkpoint.and_then(|at| serde_json::to_string(&at).ok()),
            complete: matches!(end, Some(Journaled::Whole)) && beyond == Beyond::Nothing,
        };
        store.append_rows(run, rows, mark).await?;
        if let Some(end) = end {
            return Ok(end);
        }
    }
}

/// Adds what the journal holds of a run to an empty summary, and says what a core must know of it before it goes on.
pub fn look_over(
    store: &Store,
    run: RunId,
    mut summary: PlanSummary,
) -> Result<(PlanSummary, Before), StoreError> {
    let rows = store.reader()?.report_rows(run)?;
    let key = rows.run().key;
    for row in rows {
        summary.add(&line(&row?));
    }
    Ok((summary, recall(&store.reader()?, key)?))
}

/// Says what a core must know of a run that the journal holds already.
pub fn recall(reader: &Reader, run: RunKey) -> Result<Before, StoreError> {
    let mut before = Before::default();
    for count in reader.lane_counts(run)? {
        let share = before.shares.entry(count.lane).or_default();
        share.rows += count.rows;
        share.last = share.last.max(count.last);
        before.rows += count.rows;
        before.last = before.last.max(count.last);
        if let Some(outcome) = count.outcome {
            *share.settled.entry(outcome).or_default() += count.rows;
            *before.settled.entry(outcome).or_default() += count.rows;
        }
    }
    Ok(before)
}

fn line(row: &ReportRow) -> PlanLine<'_> {
    let verdict = match row.outcome {
        outcome if row.settled_at.is_some() => Verdict::Settled(outcome),
        // Only looked at again, never sent again.
        Outcome::Accepted => Verdict::Settled(Outcome::Accepted),
        _ => Verdict::Send,
    };
    PlanLine {
        id: ActionId::parse(&row.action_id).ok(),
        verdict,
        reason: &row.reason,
        source: &row.source,
        tenant: row.tenant.as_deref(),
        comment: row.comment.as_deref(),
        action_type: row.action_type.as_deref(),
        status: row.action_status.as_deref(),
        requestor: row.requestor.as_deref(),
        request_source: row.request_source.as_deref(),
        machine_id: row.machine_id.as_deref(),
        computer_dns_name: row.computer_dns_name.as_deref(),
        created_at: row.created_at,
        follow_up: row.follow_up.as_deref().and_then(FollowUp::parse),
        is_checked: row.checked_at.is_some(),
    }
}

/// How the reading of a selection ended.
#[derive(Debug)]
pub enum Selected {
    /// Every row is in the journal.
    Whole(Before),
    /// Somebody wished to stop; the journal holds what had been read.
    Stopped(StopReason),
    /// More of what was read would be sent than may be; the rest was not read.
    TooMany { count: u64 },
}

/// Where the rows of a selection go.
pub struct SelectionJournal<'run> {
    pub store: &'run Store,
    pub run: RunKey,
    pub planner: Planner,
    pub clock: &'run dyn Clock,
    pub max_actions: Option<u64>,
}

impl SelectionJournal<'_> {
    /// Reads a selection to its end and journals every row, newest first; sends nothing.
    ///
    /// # Errors
    /// Returns why it cannot be read, or not be written down; what was journaled before stays.
    pub async fn fill(
        mut self,
        mut pages: Pages,
        reads: &mut Reads,
        stop: &mut mpsc::Receiver<StopReason>,
    ) -> Result<Selected, ReadsError> {
        let mut before = Before::default();
        loop {
            let page = tokio::select! {
                biased;
                Some(reason) = stop.recv() => return Ok(Selected::Stopped(reason)),
                page = pages.next(reads) => page?,
            };
            let is_end = page.is_none();
            let count = before.rows - before.settled.values().sum::<u64>();
            if !is_end && self.max_actions.is_some_and(|most| count > most) {
                return Ok(Selected::TooMany { count });
            }
            let page = page.unwrap_or_default();
            let changes: Vec<_> = page.iter().filter_map(MachineChange::of).collect();
            let later = tokio::select! {
                biased;
                Some(reason) = stop.recv() => return Ok(Selected::Stopped(reason)),
                later = LaterActions::read(reads, &changes) => later?,
            };
            self.take(page, &later, is_end, &mut before).await?;
            if is_end {
                return Ok(Selected::Whole(before));
            }
        }
    }

    /// Journals the actions of a page, and what their records tell.
    async fn take(
        &mut self,
        page: Vec<MachineAction>,
        later: &LaterActions,
        is_end: bool,
        before: &mut Before,
    ) -> Result<(), ReadsError> {
        let now = self.clock.now().wall;
        let planned = page
            .iter()
            .map(|action| self.planner.plan_found(action, later, now));
        let rows: Vec<NewRow> = planned.collect();
        let mark = InputMark {
            rows_read: u64::from(self.planner.last().0),
            position: None,
            complete: is_end,
        };
        let mut notes = Vec::new();
        for (row, action) in rows.iter().zip(page) {
            match &row.settlement {
                Some(settlement) => *before.settled.entry(settlement.outcome).or_default() += 1,
                None => notes.push((row.number, action)),
            }
        }
        before.rows += rows.len() as u64;
        before.last = self.planner.last();
        self.store.append_rows(self.run, rows, mark).await?;
        let notes = notes.into_iter().map(|(row, action)| Record::Noted {
            run: self.run,
            row,
            phase: Phase::Fresh,
            status_before: action.status.clone(),
            record: Some(action),
            checked_at: Some(now),
        });
        // Two transactions: a row that a crash leaves without its record is read as any other.
        self.store.write(notes.collect()).await?;
        Ok(())
    }
}
