//! Counts of one lane, for the summary, the display and the exit code.

use crate::model::Outcome;

/// What has been counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    outcomes: [u64; Outcome::ALL.len()],
    /// Rows read so far, whatever became of them.
    pub rows: u64,
    /// Cancels sent, those answered by 429 included.
    pub cancels: u64,
    /// Reads sent.
    pub reads: u64,
    /// Calls of either kind that were answered by 429.
    pub throttled: u64,
    /// Cancels sent for rows that had been sent before.
    pub retries: u64,
    /// Settled rows whose machine still needs a hand.
    pub follow_ups: u64,
}

impl Tally {
    /// Counts a last word.
    pub(super) fn settle(&mut self, outcome: Outcome) {
        self.settle_many(outcome, 1);
    }

    /// Counts the last words of several rows.
    pub(super) fn settle_many(&mut self, outcome: Outcome, count: u64) {
        if let Some(place) = Outcome::ALL.iter().position(|&one| one == outcome) {
            self.outcomes[place] += count;
        }
    }

    /// Returns how many rows ended so.
    pub fn of(&self, outcome: Outcome) -> u64 {
        Outcome::ALL
            .iter()
            .position(|&one| one == outcome)
            .map_or(0, |place| self.outcomes[place])
    }

    /// Returns how many rows have their last word.
    pub fn settled(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Adds another lane's counts.
    pub fn add(&mut self, other: &Tally) {
        for (mine, theirs) in self.outcomes.iter_mut().zip(other.outcomes) {
            *mine += theirs;
        }
        self.rows += other.rows;
        self.cancels += other.cancels;
        self.reads += other.reads;
        self.throttled += other.throttled;
        self.retries += other.retries;
        self.follow_ups += other.follow_ups;
    }
}
