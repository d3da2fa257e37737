//! A run whose rows come from the tenant: they are journaled to the last, each with its record, before anything is sent.
//!
//! The record that named an action is its first reading, so it is not read a second time while it is young, unless another
//! run has dealt with the action since.

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::model::MachineAction;
use crate::store::{InputMark, NewRow, Phase, Record, RunKey, Store};

use super::core::StopReason;
use super::later_actions::{LaterActions, MachineChange};
use super::pages::Pages;
use super::plan::Planner;
use super::reads::{Reads, ReadsError};
use super::shell::Before;

/// How the reading of a selection ended.
#[derive(Debug)]
pub enum Selected {
    /// Every row is in the journal.
    Whole(Before),
    /// Somebody wished to stop; the journal holds what had been read.
    Stopped(StopReason),
    /// More of what was read would be sent than may be; the rest was not read.
    TooMany {
        /// How many of what was read.
        count: u64,
    },
}

/// Where the rows of a selection go.
pub struct SelectionJournal<'run> {
    /// The journal.
    pub store: &'run Store,
    /// The run in it.
    pub run: RunKey,
    /// Sorts what was found.
    pub planner: Planner,
    /// Time.
    pub clock: &'run dyn Clock,
    /// How many may be sent.
    pub max_actions: Option<u64>,
}

impl SelectionJournal<'_> {
    /// Reads a selection to its end and journals every row, newest first; sends nothing.
    ///
    /// # Errors
    /// Returns why it cannot be read, or not be written down; what was journaled before stays.
    pub async fn fill(
        mut self,
        (mut pages, reads): (Pages, &mut Reads),
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
