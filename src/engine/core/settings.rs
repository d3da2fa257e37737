//! Settings and counters of a run's core.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::skip_rules::SkipRules;
use crate::model::{Operation, Outcome};
use crate::retry::RetrySettings;
use crate::store::RunKey;

use super::scope_gate::GateSettings;

/// The comment sent with each call.
#[derive(Clone, Debug)]
pub struct CommentRule {
    /// From the command line; overrides the row's own.
    pub always: Option<Arc<str>>,
    /// For rows without one.
    pub otherwise: Arc<str>,
}

impl CommentRule {
    pub fn for_row(&self, own: Option<&str>) -> Arc<str> {
        match (&self.always, own) {
            (Some(always), _) => Arc::clone(always),
            (None, Some(own)) => Arc::from(own),
            (None, None) => Arc::clone(&self.otherwise),
        }
    }
}

/// How many rows may fail (`failed`, `unknown`, `not_found`, `forbidden`) before the run stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxFailures {
    Count(u64),
    /// Per cent of the rows that were sent and ended; checked from `SAMPLE` ended rows on.
    Percent(u8),
}

impl MaxFailures {
    const SAMPLE: u64 = 50;

    pub fn are_passed(self, failures: u64, ended: u64) -> bool {
        match self {
            Self::Count(most) => failures > most,
            Self::Percent(most) => {
                ended >= Self::SAMPLE && failures * 100 > ended * u64::from(most)
            }
        }
    }
}

#[derive(Clone, Debug)]
pub struct CoreSettings {
    pub run: RunKey,
    pub operation: Operation,
    pub retry: RetrySettings,
    pub comment: CommentRule,
    pub rules: Arc<SkipRules>,
    /// How long to watch an accepted cancel until its record confirms it; `None` settles it as accepted.
    pub verify_for: Option<Duration>,
    /// How long to wait for a service that has never answered.
    pub reach_timeout: Duration,
    /// How long the run may go on without any row ending. Waiting for quota doesn't count.
    pub give_up_after: Duration,
    pub max_failures: Option<MaxFailures>,
    /// Seeds the random number generator.
    pub seed: u64,
}

impl CoreSettings {
    /// Settings for a core that only reads and gives up after `patience` without a proper answer.
    pub fn to_read(
        run: RunKey,
        retry: RetrySettings,
        rules: Arc<SkipRules>,
        patience: Duration,
        seed: u64,
    ) -> Self {
        Self {
            run,
            operation: Operation::Cancel,
            retry,
            comment: CommentRule {
                always: None,
                otherwise: Arc::from(""),
            },
            rules,
            verify_for: None,
            reach_timeout: patience,
            give_up_after: patience,
            max_failures: None,
            seed,
        }
    }
}

#[derive(Clone, Debug)]
pub struct LaneSettings {
    /// For cancels or releases.
    pub send: GateSettings,
    pub get: GateSettings,
    /// For batch reads and lists.
    pub list: GateSettings,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    outcomes: BTreeMap<Outcome, u64>,
    /// Rows read so far, in any state.
    pub rows: u64,
    /// Cancels sent, including those answered by 429.
    pub cancels: u64,
    pub reads: u64,
    /// Calls of any kind answered by 429.
    pub throttled: u64,
    /// Cancels for rows that had been sent before.
    pub retries: u64,
    /// Settled rows whose machine still needs manual action.
    pub follow_ups: u64,
}

impl Tally {
    /// Counts `count` settled rows.
    pub(super) fn settle(&mut self, outcome: Outcome, count: u64) {
        *self.outcomes.entry(outcome).or_default() += count;
    }

    pub fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or_default()
    }

    pub fn settled(&self) -> u64 {
        self.outcomes.values().sum()
    }

    pub fn add(&mut self, other: &Tally) {
        for (&outcome, &count) in &other.outcomes {
            self.settle(outcome, count);
        }
        self.rows += other.rows;
        self.cancels += other.cancels;
        self.reads += other.reads;
        self.throttled += other.throttled;
        self.retries += other.retries;
        self.follow_ups += other.follow_ups;
    }
}
