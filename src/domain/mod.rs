//! The words of the house as types: no I/O, no async, no policy.
//!
//! Read from low to high; each file imports only earlier ones.

mod action_id;
mod figures;
mod fold;
mod moment;

mod action;
mod scope;

mod follow_up;

mod outcome;
mod reply;
mod row;

mod facts;

mod keep_list;
mod selection;

mod report_row;
mod sending;
mod standing;

pub use action::ActionStatus;
pub use action::ActionType;
pub use action::MachineAction;
pub use action_id::ActionId;
pub use action_id::InvalidActionId;
pub use facts::Facts;
pub use figures::Count;
pub use figures::Number;
pub use figures::Span;
pub use figures::window_name;
pub use fold::folded;
pub use follow_up::FollowUp;
pub use follow_up::FollowUpRow;
pub use follow_up::Since;
pub use keep_list::KeepList;
pub use moment::BootId;
pub use moment::Moment;
pub use moment::Uptime;
pub use outcome::Outcome;
pub use outcome::Settlement;
pub use reply::CancelReply;
pub use reply::ReadReply;
pub use reply::Reply;
pub use reply::ReplyKind;
pub use reply::RetryAfter;
pub use reply::ServiceError;
pub use reply::Throttle;
pub use report_row::ReportRow;
pub use row::InputRow;
pub use row::RowContext;
pub use row::RowNumber;
pub use row::Source;
pub use scope::Destination;
pub use scope::LaneId;
pub use scope::RunId;
pub use scope::SEVERAL;
pub use scope::Scope;
pub use selection::Selection;
pub use sending::Sending;
pub use standing::Standing;
