//! What the core must know before the first event.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::skip_rules::SkipRules;
use crate::model::{Operation, Outcome};
use crate::retry::RetrySettings;
use crate::store::RunKey;

use super::gate::GateSettings;

/// What goes out with each call.
#[derive(Clone, Debug)]
pub struct CommentRule {
    /// Given on the command line: beats a row's own.
    pub always: Option<Arc<str>>,
    /// For rows that have none.
    pub otherwise: Arc<str>,
}

impl CommentRule {
    /// Returns the comment for a row whose own is `own`.
    pub fn for_row(&self, own: Option<&str>) -> Arc<str> {
        match (&self.always, own) {
            (Some(always), _) => Arc::clone(always),
            (None, Some(own)) => Arc::from(own),
            (None, None) => Arc::clone(&self.otherwise),
        }
    }
}

/// How many rows may end badly (`failed`, `unknown`, `not_found`, `forbidden`) before the run stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxFailures {
    /// So many and no more.
    Count(u64),
    /// So many in a hundred of those that were sent and ended, once there are enough to judge by.
    Percent(u8),
}

impl MaxFailures {
    /// Fewer ended rows than this say nothing about a share.
    const SAMPLE: u64 = 50;

    /// Returns whether `failures` of `ended` rows are too many.
    pub fn are_passed(self, failures: u64, ended: u64) -> bool {
        match self {
            Self::Count(most) => failures > most,
            Self::Percent(most) => {
                ended >= Self::SAMPLE && failures * 100 > ended * u64::from(most)
            }
        }
    }
}

/// What one run's core must know.
#[derive(Clone, Debug)]
pub struct CoreSettings {
    /// The run, in the journal.
    pub run: RunKey,
    pub operation: Operation,
    pub retry: RetrySettings,
    pub comment: CommentRule,
    /// What must not be sent, and whether states are read first.
    pub rules: Arc<SkipRules>,
    /// For how long an accepted cancel is watched until its record says so; `None` takes the acceptance for the last
    /// word.
    pub verify_for: Option<Duration>,
    /// How long a service that never answered at all is waited for.
    pub reach_timeout: Duration,
    /// How long the run may go on without any row ending, not counting time in which the quota holds everything back.
    pub give_up_after: Duration,
    pub max_failures: Option<MaxFailures>,
    /// The seed of all chance.
    pub seed: u64,
}

impl CoreSettings {
    /// Makes those of a core that only reads, and gives up after `patience` without a proper answer.
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

/// What one lane's part of the core must know.
#[derive(Clone, Debug)]
pub struct LaneSettings {
    /// The gate of what the operation sends.
    pub send: GateSettings,
    pub get: GateSettings,
    /// The gate of batch reads and lists.
    pub list: GateSettings,
}

/// What has been counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    outcomes: BTreeMap<Outcome, u64>,
    /// Rows read so far, whatever became of them.
    pub rows: u64,
    /// Cancels sent, those answered by 429 included.
    pub cancels: u64,
    pub reads: u64,
    /// Calls of either kind that were answered by 429.
    pub throttled: u64,
    /// Cancels sent for rows that had been sent before.
    pub retries: u64,
    /// Settled rows whose machine still needs a hand.
    pub follow_ups: u64,
}

impl Tally {
    /// Counts the last words of several rows.
    pub(super) fn settle(&mut self, outcome: Outcome, count: u64) {
        *self.outcomes.entry(outcome).or_default() += count;
    }

    /// Returns how many rows ended so.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or_default()
    }

    /// Returns how many rows have their last word.
    pub fn settled(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Adds another lane's counts.
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
