//! Why an input as a whole cannot be used.

use std::io;

/// Why an input cannot be used, or no further. A bad row is none of these: it is handed on as a row.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A file is not the one that was read before.
    #[error("{name} does not begin with the rows that were read before")]
    Changed {
        /// The file as the user named it.
        name: String,
    },
    /// A folder stands where a file should.
    #[error("{name} is a folder, not a file of action ids")]
    Directory {
        /// The path as the user named it.
        name: String,
    },
    /// A file without any text, most likely of an export that failed.
    #[error("{name} is empty")]
    Empty {
        /// The file as the user named it.
        name: String,
    },
    /// A JSON document is broken. What follows cannot be told from it.
    #[error("{name} is not valid JSON from line {line} on: {what}")]
    Json {
        /// The input as the user named it.
        name: String,
        /// The line of the fault.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// The column that was asked for is not there.
    #[error("{name} has no column {column:?}; seen: {seen}")]
    NamedColumnMissing {
        /// The input as the user named it.
        name: String,
        /// The column that was asked for.
        column: String,
        /// What stands in its place.
        seen: String,
    },
    /// No column may be taken for the action id.
    #[error("{name} has no column of action ids; seen: {seen}")]
    NoIdColumn {
        /// The input as the user named it.
        name: String,
        /// What stands in its place.
        seen: String,
    },
    /// Bytes of another kind of file.
    #[error("{name} is {what}")]
    NoText {
        /// The input as the user named it.
        name: String,
        /// What it is, and the way out.
        what: &'static str,
    },
    /// Machines are named, and no actions.
    #[error(
        "{name} has machine ids and no action ids; select the actions of these machines with --machine-id; seen: {seen}"
    )]
    OnlyMachineIds {
        /// The input as the user named it.
        name: String,
        /// What stands in place of an action id.
        seen: String,
    },
    /// The file cannot be opened.
    #[error("cannot open {name}")]
    Open {
        /// The file as the user named it.
        name: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The input broke off.
    #[error("cannot read {name} from line {line} on")]
    Read {
        /// The input as the user named it.
        name: String,
        /// The line that was being read.
        line: u64,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// Without a header there is no telling which of several GUIDs is the action's.
    #[error("{name} has no header and more than one column of GUIDs; seen: {seen}")]
    SeveralIdColumns {
        /// The input as the user named it.
        name: String,
        /// The first line.
        seen: String,
    },
    /// Standard input can be read only once.
    #[error("standard input is named more than once")]
    StdinTwice,
}
