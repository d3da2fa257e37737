//! One line of a report, shared by the store that reads it and the writers that print it.

use jiff::Timestamp;

use super::outcome::Outcome;

/// One row with its outcome and all that is known, in the report's column order.
///
/// Texts that came from the input or the service are as received; each writer defuses them for its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRow {
    /// The GUID, or what stood in the id cell of a bad row.
    pub action_id: String,
    /// The last word.
    pub outcome: Outcome,
    /// Why.
    pub reason: String,
    /// The newest status seen.
    pub action_status: Option<String>,
    /// The action's type.
    pub action_type: Option<String>,
    /// The machine.
    pub machine_id: Option<String>,
    /// Its name.
    pub computer_dns_name: Option<String>,
    /// What the machine still needs.
    pub follow_up: Option<String>,
    /// How often the cancel was sent, 429s included.
    pub attempts: u32,
    /// The status of the last reply.
    pub http_status: Option<u16>,
    /// The error code of the last reply.
    pub error_code: Option<String>,
    /// The correlation id of the last reply.
    pub correlation_id: Option<String>,
    /// The row's own comment.
    pub comment: Option<String>,
    /// When the first attempt was sent.
    pub first_sent_at: Option<Timestamp>,
    /// When the row was settled.
    pub settled_at: Option<Timestamp>,
    /// The tenant.
    pub tenant: Option<String>,
    /// `file:line`.
    pub source: String,
    /// The run.
    pub run_id: String,
    /// The status seen before the first sending.
    pub status_before: Option<String>,
    /// Who asked for the action.
    pub requestor: Option<String>,
    /// What they wrote.
    pub requestor_comment: Option<String>,
    /// Where they asked.
    pub request_source: Option<String>,
    /// The action's own scope, for example `Full`.
    pub action_scope: Option<String>,
    /// When the action was asked for.
    pub created_at: Option<Timestamp>,
    /// When its state was first read.
    pub checked_at: Option<Timestamp>,
    /// The comment that went out.
    pub comment_sent: Option<String>,
}

impl ReportRow {
    /// The column names, in order. New ones are added only at the end.
    pub const COLUMNS: [&'static str; 26] = [
        "action_id",
        "outcome",
        "reason",
        "action_status",
        "action_type",
        "machine_id",
        "computer_dns_name",
        "follow_up",
        "attempts",
        "http_status",
        "error_code",
        "correlation_id",
        "comment",
        "first_sent_at",
        "settled_at",
        "tenant",
        "source",
        "run_id",
        "status_before",
        "requestor",
        "requestor_comment",
        "request_source",
        "action_scope",
        "created_at",
        "checked_at",
        "comment_sent",
    ];
}
