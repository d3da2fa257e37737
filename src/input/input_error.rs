//! Errors of an input as a whole.

use std::io;

/// Why an input cannot be used, or not beyond some line. Bad rows are not errors; they are returned as rows.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("{name} does not begin with the rows that were read before")]
    Changed { name: String },
    #[error("{name} is a folder, not a file of action ids")]
    Directory { name: String },
    #[error("{name} is empty")]
    Empty { name: String },
    #[error("{name} is not valid JSON from line {line} on: {what}")]
    Json {
        name: String,
        line: u64,
        what: String,
    },
    #[error("{name} has no column {column:?}; seen: {seen}")]
    NamedColumnMissing {
        name: String,
        column: String,
        seen: String,
    },
    #[error("{name} has no column of action ids; seen: {seen}")]
    NoIdColumn { name: String, seen: String },
    #[error("{name} is {what}")]
    BinaryFile { name: String, what: &'static str },
    #[error(
        "{name} has machine ids and no action ids; select the actions of these machines with --machine-id; seen: {seen}"
    )]
    OnlyMachineIds { name: String, seen: String },
    #[error("cannot open {name}")]
    Open {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot read {name} from line {line} on")]
    Read {
        name: String,
        line: u64,
        #[source]
        source: io::Error,
    },
    #[error("{name} has no header and more than one column of GUIDs; seen: {seen}")]
    SeveralIdColumns { name: String, seen: String },
    #[error("standard input is named more than once")]
    StdinTwice,
}
