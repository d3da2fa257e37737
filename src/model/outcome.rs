//! The last word on a row.

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::action::MachineAction;
use super::follow_up::FollowUp;

/// The last word on one row; exactly one per row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The service's record says Cancelled, by us.
    Cancelled,
    /// The service said 200, but its record was not seen to turn Cancelled.
    Accepted,
    /// Cancelled before any byte of ours left, or by somebody else first.
    AlreadyCancelled,
    /// Succeeded, Failed or TimeOut in the first record seen.
    AlreadyFinal,
    /// Accepted while open; a later reading shows it ended otherwise.
    TooLate,
    /// The release Succeeded.
    Released,
    /// Somebody else had released the machine.
    AlreadyReleased,
    /// 404, confirmed where reading is permitted.
    NotFound,
    /// 403, with the permission the service asks for.
    Forbidden,
    /// Not sent on purpose; the reason says why.
    Skipped,
    Invalid,
    /// The same tenant and id stand earlier in this run, or unsettled in another live one.
    Duplicate,
    /// Not applied, and trying again does not help.
    Failed,
    /// The fate of at least one attempt is unknown and could not be re-read.
    Unknown,
    NotAttempted,
}

impl Outcome {
    /// Every outcome, in the order in which summaries list them.
    pub const ALL: [Outcome; 15] = [
        Outcome::Cancelled,
        Outcome::Accepted,
        Outcome::AlreadyCancelled,
        Outcome::AlreadyFinal,
        Outcome::TooLate,
        Outcome::Released,
        Outcome::AlreadyReleased,
        Outcome::NotFound,
        Outcome::Forbidden,
        Outcome::Skipped,
        Outcome::Invalid,
        Outcome::Duplicate,
        Outcome::Failed,
        Outcome::Unknown,
        Outcome::NotAttempted,
    ];

    /// Returns the word used in reports, state and summaries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Accepted => "accepted",
            Self::AlreadyCancelled => "already_cancelled",
            Self::AlreadyFinal => "already_final",
            Self::TooLate => "too_late",
            Self::Released => "released",
            Self::AlreadyReleased => "already_released",
            Self::NotFound => "not_found",
            Self::Forbidden => "forbidden",
            Self::Skipped => "skipped",
            Self::Invalid => "invalid",
            Self::Duplicate => "duplicate",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::NotAttempted => "not_attempted",
        }
    }

    /// Returns the same for people.
    pub fn words(self) -> String {
        self.as_str().replace('_', " ")
    }

    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
            .or_else(|| (text == "held_back").then_some(Self::Skipped)) // state files before schema 5
    }

    /// Returns whether a row that ended so leaves something to do, so that the run exits 3.
    ///
    /// `accepted` counts only where verification was wanted; the caller knows that.
    pub fn leaves_work(self) -> bool {
        matches!(
            self,
            Self::Failed
                | Self::NotFound
                | Self::Forbidden
                | Self::Invalid
                | Self::Unknown
                | Self::Accepted
        )
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A row's outcome with everything that led to it and is worth keeping.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    pub outcome: Outcome,
    /// Why, in words for the report; empty where the outcome says it all.
    pub reason: String,
    /// The newest record seen, if any.
    pub record: Option<MachineAction>,
    pub follow_up: Option<FollowUp>,
    /// When it was settled, by the wall clock.
    pub settled_at: Timestamp,
}

/// How a run stands, for lists and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A live process executes it.
    Running,
    /// It stopped and can be resumed.
    Stopped,
    /// Its process died; it can be resumed.
    Crashed,
    /// Every row is settled.
    Finished,
}

impl Standing {
    /// Returns the word for lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
            Self::Finished => "finished",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_reads_back_from_its_word() {
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::parse(outcome.as_str()), Some(outcome));
        }
        assert_eq!(Outcome::parse("done"), None);
    }
}
