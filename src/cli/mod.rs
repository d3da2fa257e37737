//! The command line, its settings, and everything that is printed.
//!
//! Ordered from low to high; each file imports only earlier ones.

mod format_time;

mod terminal;

mod table;

mod plan_text;

mod progress;

mod logging;

mod flag_values;

pub mod args;

pub mod hint;

mod summary;

pub mod settings;

mod journaled_config;

pub mod failure;

mod confirmation;

pub mod commands;

mod entry;

pub use entry::main;
pub use format_time::{Count, Number, Span, local_zone, visible, window_name};
pub use logging::LogFormat;
pub use progress::{Progress, ProgressMode};
pub use terminal::{Color, ColorMode, print, stdout_width};
