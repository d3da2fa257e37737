//! One line or record of the input, as read: nothing decided yet.

use std::fmt;
use std::sync::Arc;

use super::action::ActionType;
use super::action_id::ActionId;

/// The position of a row in its run, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowNumber(pub u32);

impl fmt::Display for RowNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a row came from: `file:line`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file as the user named it, or `stdin`.
    pub file: Arc<str>,
    /// The line on which the row starts, from 1.
    pub line: u64,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What the input tells about an action besides its id. A status is left out on purpose: it is never trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowContext {
    /// The comment to send with this row's cancel.
    pub comment: Option<String>,
    /// The tenant id or profile name.
    pub tenant: Option<String>,
    /// The action's type, which never changes and so may satisfy a guard.
    pub action_type: Option<ActionType>,
    /// The machine, for the report.
    pub machine_id: Option<String>,
    /// The machine's name, for the report.
    pub computer_dns_name: Option<String>,
    /// Who asked for the action, for the report.
    pub requestor: Option<String>,
}

/// One row as intake hands it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRow {
    /// Where it stands.
    pub source: Source,
    /// The id, or why the row cannot be used, in words for the report.
    pub id: Result<ActionId, String>,
    /// What stood in the id cell, bounded, for a report on a bad row.
    pub id_text: String,
    /// What else the row told.
    pub context: RowContext,
    /// Why the row must not be sent although its id is sound: settled in an earlier run, or not a `send` row of a
    /// frozen plan.
    pub skipped: Option<String>,
}
