//! Reads action ids from files and streams. Every record becomes a row, good or bad.
//!
//! A bad row is data and never stops reading; an [`InputError`] means that the whole input, or the rest of it, cannot
//! be used. Few rows are in memory at a time.
//!
//! `decode` produces UTF-8, `detect` finds the format, and a reader per format (`csv`, `json`, `lines`) passes each row
//! to a callback. `header` defines the meaning of columns and keys, and `row` that of cells.

mod binary_signatures;
mod csv;
mod decode;
mod detect;
mod earlier_reports;
mod exclusions;
mod header;
mod input_error;
mod json;
mod lines;
mod open_input;
mod row;

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::path::PathBuf;

pub use earlier_reports::is_skipped_by_earlier_report;
pub use exclusions::{ExclusionFileError, read_exclusion_file};
pub use input_error::InputError;
pub use open_input::{InputCheckpoint, InputChunk, OpenInput, open, open_from};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    File(PathBuf),
    Stdin,
}

impl Input {
    /// `-` is standard input.
    pub fn parse(argument: &OsStr) -> Self {
        if argument == "-" {
            Self::Stdin
        } else {
            Self::File(PathBuf::from(argument))
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputFormat {
    /// Detected from the first line.
    #[default]
    Auto,
    /// Separated by `,`, `;`, tab or `|`, detected from the first line.
    Csv,
    /// Separated by tabs.
    Tsv,
    /// One JSON object or string per line.
    Jsonl,
    /// JSON lists, envelopes around lists, or a sequence of values.
    Json,
    /// One id per line; `#` starts a comment.
    Lines,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputSettings {
    /// The column with the id, if the user named one.
    pub id_column: Option<String>,
    pub format: InputFormat,
    /// Whether chunks need checkpoints, to resume reading after a crash.
    pub checkpoints: bool,
}

/// Receives each row with its line; returns whether to continue.
type RowSink<'s> = dyn FnMut(u64, row::ParsedRow) -> ControlFlow<()> + 's;
