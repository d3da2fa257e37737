//! What a run does to the rows of its plan.

use std::fmt;

use super::action_id::ActionId;
use super::scope::Destination;

/// What a run does. All its rows are of one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operation {
    /// Cancels actions.
    #[default]
    Cancel,
    /// Releases machines from what actions did to them.
    Release,
}

impl Operation {
    /// Returns the word used in state, plans and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Release => "release",
        }
    }

    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Cancel, Self::Release]
            .into_iter()
            .find(|operation| operation.as_str() == text)
    }

    /// Returns where its calls go. The two ways to release share one allowance, so that neither can exceed its own.
    pub fn destination(self) -> Destination {
        match self {
            Self::Cancel => Destination::Cancel,
            Self::Release => Destination::Release,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is sent for one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Cancel(ActionId),
    /// Gives a machine its network back.
    Unisolate(String),
    /// Lets a machine run any code again.
    Unrestrict(String),
}
