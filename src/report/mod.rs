//! Writes what happened: one file per format, whole or not at all.
//!
//! Rows come in as an iterator and go out one by one, so that memory stays flat however long the run was. A target is
//! proved writable before the first call, and an old report stays as it was until the new one is whole and on disk.
//!
//! Read from low to high; each file imports only earlier ones.

mod words;

mod timeline;

mod summary;

mod csv;
mod list_summary;
mod listing;
mod plan;
mod target;

mod follow_ups;
mod json;
mod markdown;
mod metrics;

mod chart;

mod html;

mod format;

pub use csv::{RowsError, write_csv};
pub use follow_ups::{FOLLOW_UP_COLUMNS, FollowUpsError, write_follow_ups};
pub use format::{Delivery, ReportError, ReportFormat, UnknownFormat, write_report};
pub use html::write_html;
pub use json::{write_json, write_jsonl};
pub use list_summary::{ActionGroup, ListSummary};
pub use listing::{Listing, ListingFormat};
pub use markdown::write_markdown;
pub use metrics::{Metrics, Waited, write_metrics};
pub use plan::PlanWriter;
pub use summary::{CommandHint, Course, ReportSummary, SUMMARY_ROWS, Setting, World};
pub use target::{FileKind, ReportTarget, TargetError};
pub use timeline::{Timeline, TimelineBuilder};
pub use words::{Accepted, Left, Weight, left, meaning};
