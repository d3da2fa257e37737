//! What was typed, what it means, and all that is printed.
//!
//! Read from low to high; each file imports only earlier ones.

mod text;

mod place;

mod terminal;

mod plan_text;

mod plan_json;

mod summary;

mod progress_line;

mod progress_view;

mod progress_screen;

mod progress;

mod log_line;

mod logging;

mod watch_view;

mod watch;

mod meter;

pub mod args;

pub mod settings;

pub mod failure;

mod again;

mod consent;

pub mod commands;

mod entry;

pub use entry::main;
pub use logging::LogFormat;
pub use logging::LogSettings;
pub use logging::LoggingError;
pub use logging::Verbosity;
pub use logging::start_logging;
pub use progress::Progress;
pub use progress::ProgressMode;
pub use progress::ProgressWriter;
pub use progress_view::LaneView;
pub use progress_view::ProgressView;
pub use progress_view::Waiting;
pub use progress_view::WindowView;
pub use summary::Accepted;
pub use summary::NextStep;
pub use summary::Summary;
pub use terminal::ColorMode;
pub use terminal::Paint;
pub use terminal::print;
pub use terminal::stdout_width;
pub use text::ClockTime;
pub use text::Count;
pub use text::Number;
pub use text::Span;
pub use text::local_zone;
pub use text::visible;
pub use text::window_name;
