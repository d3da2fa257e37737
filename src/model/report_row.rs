//! One line of a report, shared by the store that reads it and the writers that print it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::action::ActionType;
use super::action_id::ActionId;
use super::clean_text::encode;
use super::outcome::Outcome;

/// Declares the row, its column names and its CSV cells from one list of columns.
macro_rules! report_row {
    ($($(#[$doc:meta])* $column:ident: $kind:ty,)*) => {
        /// One row with its outcome and all that is known, in the report's column order.
        ///
        /// Texts that came from the input or the service are as received; each writer makes them harmless for its format.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        pub struct ReportRow {
            $($(#[$doc])* pub $column: $kind,)*
        }

        impl ReportRow {
            /// The column names, in order.
            pub const COLUMNS: &[&str] = &[$(stringify!($column)),*];

            /// Returns the CSV cells, in the order of the columns.
            pub fn cells(&self) -> impl Iterator<Item = Cow<'_, str>> {
                [$(self.$column.cell()),*].into_iter()
            }
        }
    };
}

// New columns only at the end.
report_row! {
    /// The GUID, or what stood in the id cell of a bad row.
    action_id: String,
    outcome: Outcome,
    reason: String,
    /// The newest status seen.
    action_status: Option<String>,
    action_type: Option<String>,
    machine_id: Option<String>,
    computer_dns_name: Option<String>,
    follow_up: Option<String>,
    /// How often the cancel was sent, 429s included.
    attempts: u32,
    http_status: Option<u16>,
    /// The error code of the last reply.
    error_code: Option<String>,
    /// The correlation id of the last reply.
    correlation_id: Option<String>,
    comment: Option<String>,
    first_sent_at: Option<Timestamp>,
    settled_at: Option<Timestamp>,
    tenant: Option<String>,
    /// `file:line`.
    source: String,
    run_id: String,
    /// The status seen before the first sending.
    status_before: Option<String>,
    requestor: Option<String>,
    requestor_comment: Option<String>,
    /// Where they asked.
    request_source: Option<String>,
    /// The action's own scope, for example `Full`.
    action_scope: Option<String>,
    created_at: Option<Timestamp>,
    checked_at: Option<Timestamp>,
    comment_sent: Option<String>,
    /// Who cancelled an already_cancelled action, and with which comment.
    cancelled_by: Option<String>,
    /// The id of the plan that was agreed to.
    plan: Option<String>,
}

impl ReportRow {
    /// A row of which nothing but its outcome is known.
    pub fn bare(outcome: Outcome) -> Self {
        Self {
            action_id: String::new(),
            outcome,
            reason: String::new(),
            action_status: None,
            action_type: None,
            machine_id: None,
            computer_dns_name: None,
            follow_up: None,
            attempts: 0,
            http_status: None,
            error_code: None,
            correlation_id: None,
            comment: None,
            first_sent_at: None,
            settled_at: None,
            tenant: None,
            source: String::new(),
            run_id: String::new(),
            status_before: None,
            requestor: None,
            requestor_comment: None,
            request_source: None,
            action_scope: None,
            created_at: None,
            checked_at: None,
            comment_sent: None,
            cancelled_by: None,
            plan: None,
        }
    }
}

trait Cell {
    fn cell(&self) -> Cow<'_, str>;
}

impl Cell for String {
    fn cell(&self) -> Cow<'_, str> {
        encode(self)
    }
}

impl Cell for Outcome {
    fn cell(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.as_str())
    }
}

impl<C: Cell> Cell for Option<C> {
    fn cell(&self) -> Cow<'_, str> {
        self.as_ref().map_or(Cow::Borrowed(""), Cell::cell)
    }
}

macro_rules! cells_of_numbers {
    ($($kind:ty),*) => {$(
        impl Cell for $kind {
            fn cell(&self) -> Cow<'_, str> {
                Cow::Owned(self.to_string())
            }
        }
    )*};
}

cells_of_numbers!(u16, u32, Timestamp);

/// One attempt as the journal knows it, for whoever draws how the quota windows were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    pub sent_at: Timestamp,
    /// When its answer was read or it was given up; none where neither happened.
    pub replied_at: Option<Timestamp>,
    /// Whether we gave it up, so that it may have reached the service later still.
    pub is_given_up: bool,
    pub http_status: Option<u16>,
    /// Whether it belongs to the run that is looked at, and not to another one that shares its quota.
    pub is_own: bool,
}

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
    pub source: Source,
    /// The id, or why the row cannot be used, in words for the report.
    pub id: Result<ActionId, String>,
    /// What stood in the id cell, bounded, for a report on a bad row.
    pub id_text: String,
    pub context: RowContext,
    /// Why the row must not be sent although its id is sound: settled in an earlier run, or not a `send` row of a
    /// frozen plan.
    pub skipped: Option<String>,
}
