//! What became of a world in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use mde_cancel::engine::core::{StopReason, Tally};
use mde_cancel::model::{ActionId, Outcome, RowNumber};

/// What became of it.
pub(crate) struct History {
    pub(crate) elapsed: Duration,
    pub(crate) outcomes: BTreeMap<RowNumber, Outcome>,
    /// When each cancel reached the service, in order of time.
    pub(crate) arrivals: Vec<Duration>,
    pub(crate) throttled: u64,
    /// Cancels that reached the service during the outage.
    pub(crate) slots_in_outage: usize,
    /// Whether the run came to its end.
    pub(crate) finished: bool,
    pub(crate) stop: Option<StopReason>,
    pub(crate) tally: Tally,
    /// When each cancel left, and for which action.
    pub(crate) posts: Vec<(Duration, ActionId)>,
    /// When each read left.
    pub(crate) reads: Vec<Duration>,
    /// Cancels that reached an action that had ended.
    pub(crate) wasted: usize,
    /// How often a token was asked for.
    pub(crate) tokens: usize,
    /// Calls that left with a token that had ended.
    pub(crate) with_ended_token: usize,
    /// How long each cooldown was when it was set.
    pub(crate) cooldowns: Vec<Duration>,
    pub(crate) reasons: BTreeMap<RowNumber, String>,
    /// Rows that were left for later, and why.
    pub(crate) deferred: BTreeMap<RowNumber, String>,
}

impl History {
    pub(crate) fn counts(&self) -> BTreeMap<Outcome, usize> {
        let mut counts = BTreeMap::new();
        for outcome in self.outcomes.values() {
            *counts.entry(*outcome).or_default() += 1;
        }
        counts
    }
}
