//! One line of a report, shared by the store that reads it and the writers that print it.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;

use super::outcome::Outcome;
use super::text::encode;

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
    /// The last word.
    outcome: Outcome,
    /// Why.
    reason: String,
    /// The newest status seen.
    action_status: Option<String>,
    /// The action's type.
    action_type: Option<String>,
    /// The machine.
    machine_id: Option<String>,
    /// Its name.
    computer_dns_name: Option<String>,
    /// What the machine still needs.
    follow_up: Option<String>,
    /// How often the cancel was sent, 429s included.
    attempts: u32,
    /// The status of the last reply.
    http_status: Option<u16>,
    /// The error code of the last reply.
    error_code: Option<String>,
    /// The correlation id of the last reply.
    correlation_id: Option<String>,
    /// The row's own comment.
    comment: Option<String>,
    /// When the first attempt was sent.
    first_sent_at: Option<Timestamp>,
    /// When the row was settled.
    settled_at: Option<Timestamp>,
    /// The tenant.
    tenant: Option<String>,
    /// `file:line`.
    source: String,
    /// The run.
    run_id: String,
    /// The status seen before the first sending.
    status_before: Option<String>,
    /// Who asked for the action.
    requestor: Option<String>,
    /// What they wrote.
    requestor_comment: Option<String>,
    /// Where they asked.
    request_source: Option<String>,
    /// The action's own scope, for example `Full`.
    action_scope: Option<String>,
    /// When the action was asked for.
    created_at: Option<Timestamp>,
    /// When its state was first read.
    checked_at: Option<Timestamp>,
    /// The comment that went out.
    comment_sent: Option<String>,
    /// Who cancelled an already_cancelled action, and with which comment.
    cancelled_by: Option<String>,
    /// The id of the plan that was agreed to.
    plan: Option<String>,
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
