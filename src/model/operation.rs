//! The two kinds of run: cancel actions, or release machines.

use std::fmt;

use super::action_id::ActionId;
use super::quota_scope::Destination;

/// What a run does to every row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operation {
    #[default]
    Cancel,
    /// Releases machines from isolation or restriction.
    Release,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Release => "release",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Cancel, Self::Release]
            .into_iter()
            .find(|operation| operation.as_str() == text)
    }

    /// Returns the quota destination. Both release calls share one quota, so that neither can exceed its own.
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

/// The call to send for one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Cancel(ActionId),
    /// By machine id.
    Unisolate(String),
    /// By machine id.
    Unrestrict(String),
}
