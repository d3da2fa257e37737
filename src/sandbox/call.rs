//! One call as the imitation names it, before anything is decided about it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a call asks for; each kind has an allowance of its own, sign-ins have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallKind {
    /// A cancel.
    Cancel,
    /// One action.
    Get,
    /// A list of actions.
    List,
    /// One machine.
    Machine,
    /// A sign-in.
    Token,
}

impl CallKind {
    pub(super) const ALL: [CallKind; 5] = [
        Self::Cancel,
        Self::Get,
        Self::List,
        Self::Machine,
        Self::Token,
    ];

    /// Returns the word used in fault scripts and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Get => "get",
            Self::List => "list",
            Self::Machine => "machine",
            Self::Token => "token",
        }
    }

    /// Reads that word back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for CallKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
