//! The final result of a row, and the state of a run.

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::action::MachineAction;
use super::follow_up::FollowUp;

/// The final result of a row; each row gets exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Our cancel took effect: the record says Cancelled.
    Cancelled,
    /// The service answered 200, but the record was not seen to become Cancelled.
    Accepted,
    /// Cancelled before we sent anything, or by another client first.
    AlreadyCancelled,
    /// The first record seen already showed Succeeded, Failed or TimeOut.
    AlreadyFinal,
    /// The cancel was accepted, but a later read shows that the action ended otherwise.
    TooLate,
    /// Our release Succeeded.
    Released,
    /// Another client released the machine.
    AlreadyReleased,
    /// 404, confirmed by a read if reading is permitted.
    NotFound,
    /// 403; the reason names the missing permission.
    Forbidden,
    /// Deliberately not sent; the reason says why.
    Skipped,
    Invalid,
    /// The same tenant and id appear earlier in this run, or unsettled in another live run.
    Duplicate,
    /// Not applied, and a retry does not help.
    Failed,
    /// At least one attempt may have been applied, and the record could not be read again.
    Unknown,
    NotAttempted,
}

impl Outcome {
    /// Every outcome, in the order of summaries.
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

    /// Returns the name with blanks, for people.
    pub fn words(self) -> String {
        self.as_str().replace('_', " ")
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
            .or_else(|| (text == "held_back").then_some(Self::Skipped)) // state files before schema 5
    }

    /// Returns whether this outcome leaves work to do, so that the run exits with code 3.
    ///
    /// The caller must ignore [`Outcome::Accepted`] if verification was not requested.
    pub fn needs_attention(self) -> bool {
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

/// A row's outcome and the facts behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    pub outcome: Outcome,
    /// The reason for the report; empty if the outcome says it all.
    pub reason: String,
    /// The newest record seen.
    pub record: Option<MachineAction>,
    pub follow_up: Option<FollowUp>,
    pub settled_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStatus {
    /// A live process executes it.
    Running,
    /// Stopped; can be resumed.
    Stopped,
    /// Its process died; can be resumed.
    Crashed,
    /// Every row is settled.
    Finished,
}

impl RunStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
            Self::Finished => "finished",
        }
    }
}

impl fmt::Display for RunStatus {
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
