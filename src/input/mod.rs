//! Reads ids from files and streams and hands on rows: every record becomes a row, good or bad.
//!
//! A bad row is data and never stops the reading; an [`InputError`] means that an input as a whole cannot be used, or no
//! further. The module decides nothing about rows but what they themselves say, and holds few of them in memory.
//!
//! `decode` makes UTF-8 text of any encoding, `detect` tells the format, and one reader a format (`csv`, `json`, `lines`)
//! gives each row to a function as it comes. What a header or a key means is written down once, in `header`; what the
//! cells of a row say, in `row`.

mod csv;
mod decode;
mod detect;
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

pub use exclusions::{ExclusionFileError, read_exclusion_file};
pub use input_error::InputError;
pub use open_input::{InputCheckpoint, InputChunk, OpenInput, open, open_from};
pub use row::is_skipped_by_file;

/// One input as named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl Input {
    /// Reads an argument: `-` is standard input, all else a path.
    pub fn parse(argument: &OsStr) -> Self {
        if argument == "-" {
            Self::Stdin
        } else {
            Self::File(PathBuf::from(argument))
        }
    }
}

/// How an input is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputFormat {
    /// The first line tells.
    #[default]
    Auto,
    /// Cells between `,`, `;`, tab or `|`, whichever the first line uses.
    Csv,
    /// Cells between tabs.
    Tsv,
    /// One JSON object or string a line.
    Jsonl,
    /// JSON lists, envelopes around lists, or values one after the other.
    Json,
    /// One id a line; `#` begins a comment.
    Lines,
}

/// How all inputs of a run are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputSettings {
    /// The column that holds the id, where the user names one.
    pub id_column: Option<String>,
    /// How the inputs are written.
    pub format: InputFormat,
    /// Whether the reading may have to go on after a crash, so that chunks come with checkpoints.
    pub checkpoints: bool,
}

/// Takes rows with their line, and says whether more are wanted.
type RowSink<'s> = dyn FnMut(u64, row::ParsedRow) -> ControlFlow<()> + 's;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_single_dash_is_standard_input() {
        assert_eq!(Input::parse(OsStr::new("-")), Input::Stdin);
        for path in ["--", "./-", "a.csv", ""] {
            assert_eq!(
                Input::parse(OsStr::new(path)),
                Input::File(PathBuf::from(path))
            );
        }
    }
}
