//! The words of the house as types: no I/O, no async, no policy.
//!
//! Read from low to high; each file imports only earlier ones.

mod action_id;
mod duration;
mod figures;
mod moment;
mod redact;
mod text;

mod action;
mod scope;

mod follow_up;

mod outcome;
mod reply;
mod row;

mod facts;

mod exclusions;
mod selection;

mod report_row;
mod sending;
mod standing;

pub use action::{ActionStatus, ActionType, MachineAction};
pub use action_id::{ActionId, InvalidActionId};
pub use duration::parse_duration;
pub use exclusions::{ExclusionList, ExclusionMatches};
pub use facts::Facts;
pub use figures::{Count, Number, Span, window_name};
pub use follow_up::{FollowUp, FollowUpRow, LaterActivity};
pub use moment::{BootId, Moment, Uptime};
pub use outcome::{Outcome, Settlement};
pub use redact::Redactor;
pub use reply::{
    CancelReply, ReadPage, ReadReply, Reply, ReplyKind, RetryAfter, ServiceError, Throttle,
};
pub use report_row::ReportRow;
pub use row::{InputRow, RowContext, RowNumber, Source};
pub use scope::{Destination, LaneId, RunId, SEVERAL, Scope, UNNAMED};
pub use selection::{Criterion, Mismatch, Selection, shortened};
pub use sending::Sending;
pub use standing::Standing;
pub use text::{LISTED_BY, brief, decode, encode, folded, is_hidden, visible};
