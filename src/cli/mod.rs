//! The command line, its settings, and everything that is printed.
//!
//! Ordered from low to high; each file imports only earlier ones.

mod text;

mod terminal;

mod table;

mod plan_text;

mod progress;

mod logging;

mod values;

pub mod args;

pub mod hint;

mod summary;

pub mod settings;

mod run_config;

pub mod failure;

mod prompt;

pub mod commands;

mod entry;

pub use entry::main;
pub use logging::LogFormat;
pub use progress::{Progress, ProgressMode};
pub use terminal::{Color, ColorMode, print, stdout_width};
pub use text::{Count, Number, Span, local_zone, visible, window_name};
