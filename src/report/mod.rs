//! Writes reports, lists, plans and metrics, with one file per format.
//!
//! Rows are streamed from an iterator, so memory stays constant for any run. A target is checked before the first call,
//! and files are replaced atomically: an old report remains until the new one is complete and on disk.

mod csv;
mod follow_ups;
mod format;
mod html;
mod html_chart;
mod json;
mod list;
mod markdown;
mod metrics;
mod output;
mod summary;
mod timeline;

pub use csv::{PlanWriter, RowsError, write_csv};
pub use follow_ups::{FOLLOW_UP_COLUMNS, write_follow_ups};
pub use format::{Delivery, ReportFormat, UnknownFormat, write_report};
pub use html::write_html;
pub use json::{write_json, write_jsonl};
pub use list::{ActionGroup, ActionListWriter, ListSummary, ListingFormat, write_isolated};
pub use markdown::write_markdown;
pub use metrics::{Metrics, Waited, write_metrics};
pub use output::{FileKind, OutputError, ReportTarget, TargetError};
pub use summary::{
    AcceptedPolicy, ActionItem, CommandHint, ReportSummary, SUMMARY_ROWS, Severity, left, meaning,
};
pub use timeline::{Timeline, TimelineBuilder};
