//! How a run stands, shared by the store that knows it and the reports that say it.

use std::fmt;

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
