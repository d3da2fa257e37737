//! The vocabulary of the crate as plain types: actions, outcomes, replies, rows, quota scopes and times.
//!
//! No I/O, no async, no policy. Each file imports only files that come before it here.

mod action;
mod action_id;
mod clean_text;
mod exclusions;
mod follow_up;
mod machine_history;
mod number_format;
mod operation;
mod outcome;
mod quota_scope;
mod redact;
mod reply_kind;
mod report_row;
mod selection;
mod time;
mod unsettled_row;

pub use action::{ActionFacts, ActionStatus, ActionType, MachineAction};
pub use action_id::{ActionId, InvalidActionId};
pub use clean_text::{LISTED_BY, decode, encode, folded, is_hidden, truncate_line, visible};
pub use exclusions::{EXCLUDED_BY, ExclusionList, ExclusionMatches};
pub use follow_up::{FollowUp, FollowUpRow};
pub use machine_history::{IsolatedMachine, LaterActivity, MachineHistory, ReleaseTarget};
pub use number_format::{Count, Number, Span, times, window_name};
pub use operation::{Operation, Request};
pub use outcome::{Outcome, RunStatus, Settlement};
pub use quota_scope::{Destination, LaneId, RunId, SEVERAL, Scope, UNNAMED};
pub use redact::Redactor;
pub use reply_kind::{
    CancelReply, ReadPage, ReadReply, Reply, ReplyKind, RetryAfter, ServiceError, Throttle,
};
pub use report_row::{InputRow, ReportRow, RowContext, RowNumber, Sending, Source};
pub use selection::{Criterion, Mismatch, Selection, shortened};
pub use time::{BootId, Moment, Uptime, parse_duration};
pub use unsettled_row::UnsettledRow;
