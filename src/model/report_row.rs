//! A row of the report and a row of the input.
//!
//! The store reads report rows and the writers print them; [`ReportRow`] defines their columns once for all formats.

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
        /// A row with its outcome and everything known about it, in column order.
        ///
        /// Texts from the input or the service are raw; each writer escapes them for its format.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        pub struct ReportRow {
            $($(#[$doc])* pub $column: $kind,)*
        }

        impl ReportRow {
            pub const COLUMNS: &[&str] = &[$(stringify!($column)),*];

            /// Returns the CSV cells in column order.
            pub fn cells(&self) -> impl Iterator<Item = Cow<'_, str>> {
                [$(self.$column.cell()),*].into_iter()
            }
        }
    };
}

// Append new columns at the end.
report_row! {
    /// The GUID, or the id cell of an invalid row.
    action_id: String,
    outcome: Outcome,
    reason: String,
    /// The newest status seen.
    action_status: Option<String>,
    action_type: Option<String>,
    machine_id: Option<String>,
    computer_dns_name: Option<String>,
    follow_up: Option<String>,
    /// How often the request was sent, including attempts that were throttled (429).
    attempts: u32,
    http_status: Option<u16>,
    /// From the last reply.
    error_code: Option<String>,
    /// From the last reply.
    correlation_id: Option<String>,
    comment: Option<String>,
    first_sent_at: Option<Timestamp>,
    settled_at: Option<Timestamp>,
    tenant: Option<String>,
    /// `file:line`.
    source: String,
    run_id: String,
    /// The status seen before the first attempt.
    status_before: Option<String>,
    requestor: Option<String>,
    requestor_comment: Option<String>,
    /// For example `Portal` or `PublicApi`.
    request_source: Option<String>,
    /// The scope of the action itself, for example `Full`.
    action_scope: Option<String>,
    created_at: Option<Timestamp>,
    checked_at: Option<Timestamp>,
    comment_sent: Option<String>,
    /// Who cancelled an `already_cancelled` action, with their comment.
    cancelled_by: Option<String>,
    /// The id of the confirmed plan.
    plan: Option<String>,
}

impl ReportRow {
    /// Returns a row in which only the outcome is known.
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

/// An attempt from the journal, for the chart of quota use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    pub sent_at: Timestamp,
    /// When the response was read or we gave up; `None` if neither happened.
    pub replied_at: Option<Timestamp>,
    /// Whether we gave up: the request may have reached the service even later.
    pub is_given_up: bool,
    pub http_status: Option<u16>,
    /// Whether the attempt belongs to the shown run, not to another one that shares its quota.
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file as the user named it, or `stdin`.
    pub file: Arc<str>,
    /// The first line of the row, from 1.
    pub line: u64,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What the input says about an action besides its id. There is no status, because an input's status is never trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowContext {
    /// The comment to send for this row.
    pub comment: Option<String>,
    pub tenant: Option<String>,
    /// Types never change, so protection may rely on it.
    pub action_type: Option<ActionType>,
    pub machine_id: Option<String>,
    pub computer_dns_name: Option<String>,
    pub requestor: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRow {
    pub source: Source,
    /// The id, or why the row is invalid, worded for the report.
    pub id: Result<ActionId, String>,
    /// The text of the id cell, truncated, to report an invalid row.
    pub id_text: String,
    pub context: RowContext,
    /// Why a row with a valid id must not be sent: settled in an earlier run, or not a `send` row of a frozen plan.
    pub skipped: Option<String>,
}
