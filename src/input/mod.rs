//! Reads ids from files and streams and hands on rows: every line becomes a row, good or bad.
//!
//! A bad row is data and never stops the reading; an [`InputError`] means that an input as a whole cannot be used. The
//! module decides nothing about rows but what they themselves say, and holds no more than one of them in memory.
//!
//! Bytes come through a byte source (byte order marks, UTF-16, short reads) to one reader a format; what a header or a
//! key means is written down once, in the columns. The CSV reader drives `csv_core`, the parser inside the csv crate,
//! for it alone lets a row of unbounded length be dropped without being held, and tells how many bytes a row took.

mod bookmark;
mod byte_source;
mod cells;
mod column_name;
mod input_error;
mod standing;

mod columns;

mod lines;

mod delimited;
mod json_record;
mod json_scan;
mod json_stream;

mod sniff;

mod settings;

mod exclusion_file;

mod open_input;

pub use bookmark::Bookmark;
pub use exclusion_file::{KeepFileError, read_keep_file};
pub use input_error::InputError;
pub use open_input::{OpenInput, open};
pub use settings::{BookmarkUse, Input, InputFormat, InputSettings};
