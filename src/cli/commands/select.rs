//! A run whose rows come from the tenant: they are found and journaled to the last before the first cancel leaves.

use std::sync::Arc;

use anyhow::anyhow;

use crate::api::Filter;
use crate::cli::consent::Refusal;
use crate::cli::failure::{Failure, FailureKind};
use crate::clock::Clock;
use crate::engine::core::StopReason;
use crate::engine::{Before, Pages, Planner, Selected, SelectionJournal};
use crate::model::{Destination, Selection};
use crate::store::{RunKey, Store};

use super::carry::{StopWishes, state};
use super::choosing::unread;
use super::lanes::Lanes;
use super::reading::reads;
use crate::cli::run_config::RunConfig;

/// A selection on its way into the journal.
pub(super) struct Selecting<'run> {
    pub(super) store: &'run Store,
    pub(super) clock: &'run Arc<dyn Clock>,
    pub(super) run: RunKey,
    pub(super) config: &'run RunConfig,
    pub(super) lanes: &'run Lanes,
    /// What the tenant is asked with.
    pub(super) filter: Filter,
}

/// Returns what the tenant is asked with: the filter that was typed, or the one that says the selection.
pub(super) fn filter(typed: Option<String>, selection: &Selection) -> Filter {
    typed.map_or_else(|| Filter::of(selection), Filter::typed)
}

impl Selecting<'_> {
    /// Journals what is selected and returns what the journal holds then; where that cannot be had, the run never was.
    pub(super) async fn fill(self, stop: &mut StopWishes) -> Result<Before, Failure> {
        match self.select(stop).await {
            Ok(before) => Ok(before),
            Err(failure) => {
                // A run that is held cannot be removed.
                let held = self.store.hold_run(self.run, self.clock.now().wall);
                drop(held.await.map_err(state)?);
                self.store.remove_run(self.run).await.map_err(state)?;
                Err(failure)
            }
        }
    }

    async fn select(&self, stop: &mut StopWishes) -> Result<Before, Failure> {
        // Several tenants are never selected from.
        let lane = self.lanes.all.first();
        let lane = lane.ok_or_else(|| unselected("there is no tenant"))?;
        let way = lane.way.as_ref().map_err(|why| unselected(why))?;
        let scope = lane.scope(Destination::List);
        let mut reads = reads(
            (way.reads(), &scope),
            (self.store, self.clock),
            self.config.read_quota.clone(),
            self.config.retry(),
        )
        .await?;
        let journal = SelectionJournal {
            store: self.store,
            run: self.run,
            planner: Planner::new(Arc::new(self.config.rules())),
            clock: &**self.clock,
            max_actions: self.config.max_actions,
        };
        // Nothing is sent before the last page is there, so the first need not be small.
        let pages = Pages::new(self.filter.clone(), crate::api::MAX_TOP);
        let selected = journal.fill(pages, &mut reads, stop.wishes());
        match selected.await.map_err(unread)? {
            Selected::Whole(before) => Ok(before),
            Selected::Stopped(reason) => Err(stopped(&reason)),
            Selected::TooMany { count } => {
                let most = self.config.max_actions.unwrap_or_default();
                Err(Refusal::TooManySelected { count, most }.into())
            }
        }
    }
}

fn unselected(why: &str) -> Failure {
    Failure::new(FailureKind::SignIn, anyhow!("{why}"))
}

fn stopped(reason: &StopReason) -> Failure {
    let why = match reason {
        StopReason::Asked(what) => what.as_str(),
        _ => "asked to stop",
    };
    let error = anyhow!("nothing was sent: stopped by {why} before the selection was read");
    Failure::new(FailureKind::Refused, error)
}
