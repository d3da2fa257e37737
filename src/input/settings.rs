//! What the user names: where to read, and how.

use std::ffi::OsStr;
use std::path::PathBuf;

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
