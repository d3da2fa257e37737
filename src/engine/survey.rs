//! Reads the states of planned rows before anything is sent, and sorts the rows by them: for a plan that is printed, and
//! for one that somebody is asked about.
//!
//! The verdict on a record is the one that a run comes to, by the same rules. Nothing here can send a cancel.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{ListQuery, MAX_TOP};
use crate::clock::Clock;
use crate::model::{ActionId, LaneId, MachineAction, Outcome, RowNumber, Settlement};
use crate::store::{LoadFrom, Phase, QueuedRow, Record, RunKey, Store};

use super::later_actions::{LaterActions, MachineChange};
use super::pages::Pages;
use super::plan::{Planner, follow_up, judge};
use super::plan_summary::Verdict;
use super::planned_row::PlannedRow;
use super::reads::{Reads, ReadsError};
use super::rules::Rules;

/// Ids that are read at once, and how many of the first must be known for the rest to be worth a look.
const BATCH: usize = 100;

/// From so many rows on, one look at all that is open in the tenant comes first.
const MANY: usize = 1_000;

/// What is open in a tenant.
const OPEN: &str = "status eq 'Pending' or status eq 'InProgress'";

/// Why rows are not read any further.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The service knows none of the first ids.
    #[error("the service knows none of the first {BATCH} ids: wrong tenant, or the wrong column")]
    AllMissing,
    /// They cannot be read.
    #[error(transparent)]
    Reads(#[from] ReadsError),
}

/// Reads and sorts rows, a batch at a time.
pub struct Survey {
    reads: Reads,
    rules: Arc<Rules>,
    lane: LaneId,
    has_found_any: bool,
}

impl Survey {
    /// Makes one that keeps to these rules.
    pub fn new(reads: Reads, rules: Arc<Rules>) -> Self {
        Self {
            reads,
            rules,
            lane: LaneId(0),
            has_found_any: false,
        }
    }

    /// Reads the rows of another lane than the first.
    #[must_use]
    pub fn of_lane(self, lane: LaneId) -> Self {
        Self { lane, ..self }
    }

    /// Returns how many calls it took so far.
    pub fn calls(&self) -> u64 {
        self.reads.calls()
    }

    /// Reads the states of those rows that would be sent, and says what becomes of each.
    ///
    /// What the service does not know is looked for once. A run looks again half a minute later, for a list may lag
    /// behind.
    ///
    /// # Errors
    /// Returns why the rows cannot be read; they are then as they were.
    pub async fn sort(
        &mut self,
        rows: &mut [PlannedRow],
        now: Timestamp,
    ) -> Result<(), SurveyError> {
        let ids: Vec<_> = rows.iter().filter_map(PlannedRow::to_send).collect();
        let mut records = self.read(&ids).await?;
        for row in rows {
            let Some(id) = row.to_send() else { continue };
            let found = records.remove(&id);
            let (verdict, reason) = match &found {
                None => (
                    Verdict::Settled(Outcome::NotFound),
                    "the service does not know it; a run looks once more before it says so"
                        .to_owned(),
                ),
                Some(record) => match judge(&self.rules, row.context(), record) {
                    Some((outcome, reason)) => (Verdict::Settled(outcome), reason),
                    None => (Verdict::Send, String::new()),
                },
            };
            row.read(found, verdict, reason, now);
        }
        Ok(())
    }

    /// Reads the next page of a selection from the tenant, and says what becomes of each of its actions; `None` at the
    /// end.
    pub async fn select(
        &mut self,
        pages: &mut Pages,
        planner: &mut Planner,
        now: Timestamp,
    ) -> Result<Option<Vec<PlannedRow>>, ReadsError> {
        let Some(page) = pages.next(&mut self.reads).await? else {
            return Ok(None);
        };
        let changes: Vec<_> = page.iter().filter_map(MachineChange::of).collect();
        let later = LaterActions::read(&mut self.reads, &changes).await?;
        let found = page.into_iter().map(|record| {
            let row = planner.plan_found(&record, &later, now);
            PlannedRow::found(row, record, now)
        });
        Ok(Some(found.collect()))
    }

    /// Reads the states of a run's rows and journals what they say, until all are read or `patience` is over. Returns
    /// whether all are.
    ///
    /// Rows that the service does not know are left to the run, which looks again later.
    ///
    /// # Errors
    /// Returns why the rows cannot be read, or the journal not be written.
    pub async fn journal(
        &mut self,
        store: &Store,
        run: RunKey,
        clock: &dyn Clock,
        patience: Option<Duration>,
    ) -> Result<bool, SurveyError> {
        let read = self.read_all(store, run, clock);
        let Some(patience) = patience else {
            return read.await.map(|()| true);
        };
        let until = clock.now().uptime.after(patience);
        tokio::select! {
            biased;
            () = clock.sleep_until(until) => Ok(false),
            read = read => read.map(|()| true),
        }
    }

    async fn read_all(
        &mut self,
        store: &Store,
        run: RunKey,
        clock: &dyn Clock,
    ) -> Result<(), SurveyError> {
        let mut after = RowNumber(0);
        let first = self.unread(store, run, &mut after, MANY, clock).await?;
        if first.len() == MANY {
            self.read_open(store, run, clock).await?;
        }
        after = RowNumber(0);
        loop {
            let rows = self.unread(store, run, &mut after, BATCH, clock).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
            let records = self.read(&ids).await?;
            self.note(store, run, &rows, &records, clock).await?;
        }
    }

    /// Reads the tenant's open actions with one call: where the plan holds many of them, that saves a call for each
    /// hundred.
    async fn read_open(
        &mut self,
        store: &Store,
        run: RunKey,
        clock: &dyn Clock,
    ) -> Result<(), SurveyError> {
        let query = ListQuery {
            filter: Some(OPEN.to_owned()),
            top: MAX_TOP,
            skip: 0,
        };
        let open = match self.reads.page(&query).await {
            Ok(page) => page.records,
            // A service that does not take this filter takes ids.
            Err(ReadsError::Refused { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let open: HashMap<_, _> = open.into_iter().map(|record| (record.id, record)).collect();
        let mut after = RowNumber(0);
        loop {
            let rows = self.unread(store, run, &mut after, MANY, clock).await?;
            if rows.is_empty() {
                return Ok(());
            }
            self.has_found_any |= rows.iter().any(|row| open.contains_key(&row.id));
            self.note(store, run, &rows, &open, clock).await?;
        }
    }

    /// Takes the next `most` rows behind `after` whose state nobody knows yet.
    ///
    /// What was sent before is looked at by the run, which knows what to make of it; what a list has just told needs no
    /// second look.
    async fn unread(
        &self,
        store: &Store,
        run: RunKey,
        after: &mut RowNumber,
        most: usize,
        clock: &dyn Clock,
    ) -> Result<Vec<QueuedRow>, SurveyError> {
        let now = clock.now();
        let stale_after = self.reads.stale_after();
        let is_young =
            |at: Timestamp| at <= now.wall && now.uptime.since(now.uptime_at(at)) < stale_after;
        let mut unread = Vec::new();
        while unread.len() < most {
            let rows =
                store.load_rows(run, self.lane, LoadFrom::After(*after), most - unread.len());
            let rows = rows.await.map_err(ReadsError::Store)?;
            let Some(last) = rows.last() else { break };
            *after = last.number;
            unread.extend(rows.into_iter().filter(|row| {
                let is_fresh = row.attempts == 0 && row.phase == Phase::Fresh;
                is_fresh && !row.checked_at.is_some_and(is_young)
            }));
        }
        Ok(unread)
    }

    /// Journals what records say about rows.
    async fn note(
        &self,
        store: &Store,
        run: RunKey,
        rows: &[QueuedRow],
        records: &HashMap<ActionId, MachineAction>,
        clock: &dyn Clock,
    ) -> Result<(), SurveyError> {
        let now = clock.now().wall;
        let told = rows
            .iter()
            .filter_map(|row| Some((row, records.get(&row.id)?)));
        let journaled: Vec<_> = told
            .flat_map(|(row, record)| self.notes(run, row, record, now))
            .collect();
        Ok(store.write(journaled).await.map_err(ReadsError::Store)?)
    }

    /// Returns what the journal is told about a row whose record was read.
    fn notes(
        &self,
        run: RunKey,
        row: &QueuedRow,
        record: &MachineAction,
        now: Timestamp,
    ) -> impl Iterator<Item = Record> + use<> {
        let noted = Record::Noted {
            run,
            row: row.number,
            phase: row.phase,
            record: Some(record.clone()),
            status_before: record.status.clone(),
            checked_at: Some(now),
        };
        let settled = judge(&self.rules, &row.context, record);
        let settled = settled.map(|(outcome, reason)| Record::Settled {
            run,
            row: row.number,
            settlement: Settlement {
                follow_up: follow_up(outcome, record),
                outcome,
                reason,
                record: Some(record.clone()),
                settled_at: now,
            },
        });
        std::iter::once(noted).chain(settled)
    }

    async fn read(
        &mut self,
        ids: &[ActionId],
    ) -> Result<HashMap<ActionId, MachineAction>, SurveyError> {
        let records = self.reads.by_ids(ids).await?;
        let records: HashMap<_, _> = records
            .into_iter()
            .map(|record| (record.id, record))
            .collect();
        self.has_found_any |= !records.is_empty();
        if ids.len() >= BATCH && !self.has_found_any {
            return Err(SurveyError::AllMissing);
        }
        Ok(records)
    }
}
