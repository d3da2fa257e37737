//! Writes what happened: one file per format, whole or not at all.
//!
//! Rows come in as an iterator and go out one by one, so that memory stays flat however long the run was. A target is
//! proved writable before the first call, and an old report stays as it was until the new one is whole and on disk.
//!
//! Read from low to high; each file imports only earlier ones.

mod cell;

mod words;

mod timeline;

mod summary;

mod csv;
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

pub use cell::Breaks;
pub use cell::defuse;
pub use cell::visible;
pub use csv::RowsError;
pub use csv::write_csv;
pub use follow_ups::FOLLOW_UP_COLUMNS;
pub use follow_ups::FollowUpsError;
pub use follow_ups::write_follow_ups;
pub use format::Delivery;
pub use format::ReportError;
pub use format::ReportFormat;
pub use format::UnknownFormat;
pub use format::write_report;
pub use html::write_html;
pub use json::write_json;
pub use json::write_jsonl;
pub use listing::Listing;
pub use listing::ListingFormat;
pub use markdown::write_markdown;
pub use metrics::Metrics;
pub use metrics::Waited;
pub use metrics::write_metrics;
pub use plan::PlanWriter;
pub use summary::Course;
pub use summary::FOLLOW_UP_ROWS;
pub use summary::ReportSummary;
pub use summary::Setting;
pub use summary::World;
pub use target::ReportTarget;
pub use target::TargetError;
pub use timeline::Timeline;
pub use timeline::TimelineBuilder;
pub use words::Accepted;
pub use words::Left;
pub use words::Weight;
pub use words::left;
pub use words::meaning;
