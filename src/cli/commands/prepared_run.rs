//! A run between its command line and its end: prepare, confirm, execute, finish.
//!
//! `run` and `resume` differ only in how they prepare it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;

use crate::api::Filter;
use crate::cli::consent::Refusal;
use crate::cli::failure::{Failure, RunExit};
use crate::cli::hint::ForwardedFlags;
use crate::cli::progress::Progress;
use crate::cli::run_config::RunConfig;
use crate::cli::terminal::OutputStyle;
use crate::clock::Clock;
use crate::engine::{
    Ingest, Intake, LaneHandles, LaneShares, Pages, Planner, Reads, Selected, recall,
};
use crate::model::{Destination, RunId, Selection};
use crate::store::{RunKey, Store};

use super::confirm_plan::stopped_planning;
use super::lanes::{LaneSetup, Lanes};
use super::reading::{reads, unread};
use super::reports::Outputs;
use super::shutdown::Shutdown;

/// A run that is in the journal and signed in.
pub(super) struct PreparedRun {
    pub(super) id: RunId,
    pub(super) key: RunKey,
    pub(super) config: RunConfig,
    /// The configuration as the journal keeps it.
    pub(super) stored: String,
    pub(super) is_sandbox: bool,
    /// The run whose machines this one releases.
    pub(super) released: Option<RunId>,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lanes: Lanes,
    pub(super) intake: Intake,
    pub(super) planner: Planner,
    pub(super) before: LaneShares,
    pub(super) outputs: Outputs,
    pub(super) stop_after: Option<Duration>,
    /// What of the input never reached us, in words; the run cannot end well then.
    pub(super) lost: Option<String>,
    pub(super) flags: ForwardedFlags,
    pub(super) progress: Progress,
    pub(super) style: OutputStyle,
}

/// Returns what the tenant is asked with: the filter that was typed, or the one that says the selection.
pub(super) fn filter(typed: Option<String>, selection: &Selection) -> Filter {
    typed.map_or_else(|| Filter::of(selection), Filter::typed)
}

impl PreparedRun {
    /// Starts the time of `--stop-after`, once.
    pub(super) fn limit_time(&mut self, stop: &Shutdown) {
        if let Some(after) = self.stop_after.take() {
            stop.stop_at(
                self.clock.now().uptime.after(after),
                Arc::clone(&self.clock),
            );
        }
    }

    /// Finds the rows of a selection from the tenant and journals them to the last; where that can't be done, the run never
    /// was.
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

    /// Takes the run out of the journal.
    pub(super) async fn forget(&self) -> Result<(), Failure> {
        // A run that is held cannot be removed.
        let held = self.store.hold_run(self.key, self.clock.now().wall);
        drop(held.await?);
        self.store.remove_run(self.key).await.map_err(Failure::from)
    }

    /// Makes reads of one tenant.
    pub(super) async fn reads(
        &self,
        way: &LaneHandles,
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

    async fn select(&self, filter: Filter, stop: &mut Shutdown) -> Result<LaneShares, Failure> {
        let unselected = |why: &str| Failure::new(RunExit::Unreachable, anyhow!("{why}"));
        // Several tenants are never selected from.
        let lane = self.lanes.all.first();
        let lane = lane.ok_or_else(|| unselected("there is no tenant"))?;
        let way = lane.way.as_ref().map_err(|why| unselected(why))?;
        let mut reads = self.reads(way, lane).await?;
        let planner = Planner::new(Arc::new(self.config.rules()));
        let mut ingest = Ingest::new(self.store.clone(), self.key, planner);
        // Nothing is sent before the last page is there, so the first need not be small.
        let pages = Pages::new(filter, crate::api::MAX_TOP);
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
