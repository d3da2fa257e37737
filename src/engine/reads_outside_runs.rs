//! Reads outside a run: lists, selections from the tenant, and follow-up checks.
//!
//! A disarmed core with one lane and no rows makes the decisions, so that slots, cooldowns, retries and tokens work as
//! in a run. Its client can only read, so nothing here can send a cancel.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::api::ListQuery;
use crate::clock::Clock;
use crate::model::{LaneId, Moment, ReadPage, Uptime};
use crate::retry::RetrySettings;
use crate::store::{RunKey, Store, StoreError};

use super::core::{
    Core, CoreSettings, Event, GateSettings, LaneSettings, RunEvent, StopReason, WaitCause,
};
use super::perform_effects::{Handles, ReadClients};
use super::plan::Planner;
use super::runner::{EngineError, Observer, RunView, Runner};

/// Waits longer than this are logged, so that they don't look like a hang.
const SAID: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct ReadsSettings {
    /// The gate for lists.
    pub gate: GateSettings,
    pub retry: RetrySettings,
    /// How long to go on without a proper answer.
    pub patience: Duration,
    /// Seeds the random number generator.
    pub seed: u64,
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadsError {
    /// The service refused the request for good.
    #[error("the service refused the read: {0}")]
    Refused(String),
    #[error(transparent)]
    Stopped(#[from] StopReason),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<StoreError> for ReadsError {
    fn from(error: StoreError) -> Self {
        Self::Engine(error.into())
    }
}

/// Reads pages of the tenant's actions, one call at a time.
pub struct Reads(Runner<ReadLog>);

impl Reads {
    pub fn new(
        handles: Arc<ReadClients>,
        store: Store,
        clock: Arc<dyn Clock>,
        settings: ReadsSettings,
    ) -> Self {
        let run = RunKey(0);
        let (retry, patience) = (settings.retry, settings.patience);
        let core = CoreSettings::to_read(run, retry, Arc::default(), patience, settings.seed);
        let lane = LaneSettings {
            send: settings.gate.clone(),
            get: settings.gate.clone(),
            list: settings.gate,
        };
        let handles = Handles {
            store,
            scratch: None,
            run,
            lanes: vec![Ok(handles)],
            senders: Vec::new(),
        };
        Self(Runner::new(
            Core::new(core, vec![lane]).disarmed(),
            handles,
            clock,
            Planner::new(Arc::default()),
            ReadLog::default(),
        ))
    }

    /// Returns the number of calls sent.
    pub fn calls(&self) -> u64 {
        self.0.core.tally().reads
    }

    /// Reads one page of the tenant's actions.
    ///
    /// # Errors
    /// [`ReadsError::Refused`] if the service doesn't accept the filter.
    ///
    /// # Cancel safety
    /// If this is dropped, a call on the wire keeps its slot until the process ends, and no other page can be read.
    pub async fn page(&mut self, query: &ListQuery) -> Result<ReadPage, ReadsError> {
        self.0.step(Event::Request {
            lane: LaneId(0),
            query: query.clone(),
        });
        // Nothing sends a stop: the caller drops the future instead.
        let (_, mut stop) = mpsc::channel(1);
        self.0.serve(&mut stop).await?;
        match (self.0.page.take(), self.0.core.stop_reason()) {
            (Some(page), _) => page.map_err(ReadsError::Refused),
            (None, Some(reason)) => Err(reason.into()),
            (None, None) => Err(StopReason::GaveUp("no page came".to_owned()).into()),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct ReadLog {
    said: Option<Uptime>,
}

impl Observer for ReadLog {
    fn happened(&mut self, _: Moment, _: LaneId, event: &RunEvent) {
        match event {
            RunEvent::Throttled {
                hint_ignored: true, ..
            } => tracing::warn!("ignoring a Retry-After of more than 24 hours"),
            RunEvent::Adopted { window, .. } => {
                tracing::warn!(%window, "the service reports a lower limit for reads; keeping to it");
            }
            RunEvent::Down { what, .. } => {
                tracing::warn!(
                    "reads fail ({what}); sending one at a time until the service answers"
                );
            }
            _ => {}
        }
    }

    fn looked(&mut self, view: &RunView) {
        let waits = view.lanes.iter().filter_map(|lane| lane.waiting);
        let longest = waits.max_by_key(|waiting| waiting.until);
        let now = view.now.uptime;
        let Some(waiting) = longest.filter(|waiting| waiting.until.since(now) >= SAID) else {
            return;
        };
        let why = match waiting.cause {
            WaitCause::Reads => "the allowance for reads is used up",
            WaitCause::ReadCooldown => "the service told reads to wait",
            WaitCause::Retry => "a read failed; it is tried again",
            _ => return,
        };
        if self.said < Some(waiting.until) {
            self.said = Some(waiting.until);
            let until = view.now.wall_at(waiting.until);
            tracing::warn!(until = %format_args!("{until:.0}"), "{why}");
        }
    }
}
