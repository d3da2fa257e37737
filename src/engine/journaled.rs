//! A run that is planned as a whole: its input is journaled to the end, and looked over, before anything is sent.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::input::{InputError, OpenInput};
use crate::model::{ActionId, FollowUp, Outcome, ReportRow, RunId};
use crate::store::{InputMark, Reader, RunKey, Store, StoreError};

use super::core::StopReason;
use super::feed::{Fed, read_inputs};
use super::plan::Planner;
use super::plan_summary::{PlanLine, PlanSummary, Verdict};
use super::shell::{Before, Beyond, EngineError, Intake};

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
    (store, run): (&Store, RunKey),
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
///
/// # Errors
/// Returns why the journal cannot be read.
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
///
/// # Errors
/// Returns why the journal cannot be read.
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
