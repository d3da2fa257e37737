//! Reads ids from files and streams and hands on rows: every record becomes a row, good or bad.
//!
//! A bad row is data and never stops the reading; an [`InputError`] means that an input as a whole cannot be used, or no
//! further. The module decides nothing about rows but what they themselves say, and holds few of them in memory.
//!
//! `source` makes UTF-8 text of any encoding, `detect` tells the format, and one reader a format (`csv`, `json`, `lines`)
//! gives each row to a function as it comes. What a header or a key means is written down once, in `header`; what the
//! cells of a row say, in `row`.

mod checkpoint;
mod csv;
mod detect;
mod exclusions;
mod header;
mod input_error;
mod json;
mod lines;
mod open_input;
mod row;
mod settings;
mod source;

pub use checkpoint::InputCheckpoint;
pub use exclusions::{KeepFileError, read_keep_file};
pub use input_error::InputError;
pub use open_input::{InputChunk, OpenInput, open, open_from};
pub use settings::{Input, InputFormat, InputSettings};

/// Takes rows with their line, and says whether more are wanted.
type RowSink<'s> = dyn FnMut(u64, row::ParsedRow) -> std::ops::ControlFlow<()> + 's;
