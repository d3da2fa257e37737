//! Writes reports, lists, plans and metrics, with one file per format.
//!
//! Rows are streamed from an iterator, so memory stays constant for any run. A target is checked before the first call,
//! and files are replaced atomically: an old report remains until the new one is complete and on disk.

mod action_list;
mod csv;
mod follow_ups;
mod format;
mod html;
mod html_chart;
mod json;
mod markdown;
mod output;
mod prometheus;
mod summary;
mod timeline;

pub use action_list::{ActionGroup, ActionListWriter, ListSummary, ListingFormat, write_isolated};
pub use csv::{PlanWriter, RowsError, write_csv};
pub use follow_ups::{FOLLOW_UP_COLUMNS, write_follow_ups};
pub use format::{ReportFormat, UnknownFormat, WriteResult, write_report};
pub use html::write_html;
pub use json::{write_json, write_jsonl};
pub use markdown::write_markdown;
pub use output::{FileKind, OutputError, ReportTarget, TargetError};
pub use prometheus::{Metrics, Waited, write_metrics};
pub use summary::{
    AcceptedPolicy, ActionItem, CommandHint, ReportSummary, SUMMARY_ROWS, Severity, left, meaning,
};
pub use timeline::{Timeline, TimelineBuilder};
