//! An open input that is read in chunks, and can be resumed after a checkpoint.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::model::{InputRow, Source};

use super::decode::TextSource;
use super::input_error::InputError;
use super::{Input, InputFormat, InputSettings, csv, detect, json, lines};

/// The name of standard input in sources and messages.
const STDIN: &str = "stdin";

/// The rows per chunk of a file.
const CHUNK: usize = 64;

#[derive(Debug)]
pub struct InputChunk {
    pub rows: Vec<InputRow>,
    /// The position after these rows; only for files, if checkpoints are enabled.
    pub checkpoint: Option<InputCheckpoint>,
}

pub struct OpenInput {
    name: Arc<str>,
    settings: InputSettings,
    /// Its position in the run's list.
    position: usize,
    bytes: Bytes,
    /// The rows to skip.
    skipped: RowHash,
    warning: Option<String>,
}

enum Bytes {
    /// A regular file, which can be read again.
    File(File),
    /// Anything else; `None` once it is read.
    Stream(Option<Box<dyn Read + Send>>),
}

/// Opens every input and checks the headers of regular files.
///
/// Doesn't wait for streams, such as standard input or a named pipe; their headers are checked when they are read.
pub fn open(inputs: &[Input], settings: &InputSettings) -> Result<Vec<OpenInput>, InputError> {
    open_from(0, inputs, settings)
}

/// Opens inputs whose first is number `first` in the run's list.
pub fn open_from(
    first: usize,
    inputs: &[Input],
    settings: &InputSettings,
) -> Result<Vec<OpenInput>, InputError> {
    let stdin = inputs.iter().filter(|input| **input == Input::Stdin);
    if stdin.count() > 1 {
        return Err(InputError::StdinTwice);
    }
    let opened = inputs.iter().zip(first..).map(|(input, position)| {
        let mut input = match input {
            Input::Stdin => OpenInput::from_reader(STDIN, Box::new(io::stdin()), settings),
            Input::File(path) => {
                OpenInput::from_file(&path.to_string_lossy(), File::open(path), settings)?
            }
        };
        input.position = position;
        Ok(input)
    });
    opened.collect()
}

impl OpenInput {
    /// Reads nothing yet.
    pub fn from_reader(name: &str, reader: Box<dyn Read + Send>, settings: &InputSettings) -> Self {
        Self::new(name, Bytes::Stream(Some(reader)), settings)
    }

    fn new(name: &str, bytes: Bytes, settings: &InputSettings) -> Self {
        Self {
            name: Arc::from(name),
            settings: settings.clone(),
            position: 0,
            bytes,
            skipped: RowHash::new(),
            warning: None,
        }
    }

    fn from_file(
        name: &str,
        file: io::Result<File>,
        settings: &InputSettings,
    ) -> Result<Self, InputError> {
        let broken = |source| InputError::Open {
            name: name.to_owned(),
            source,
        };
        let folder = || InputError::Directory {
            name: name.to_owned(),
        };
        // Windows reports a folder as a permission error.
        let is_folder = Path::new(name).is_dir();
        let file = file.map_err(|source| if is_folder { folder() } else { broken(source) })?;
        let metadata = file.metadata().map_err(broken)?;
        if metadata.is_dir() {
            return Err(folder());
        }
        if !metadata.is_file() {
            return Ok(Self::from_reader(name, Box::new(file), settings));
        }
        let mut input = Self::new(name, Bytes::File(file), settings);
        input.read_rows(&mut |_| ControlFlow::Break(()))?;
        Ok(input)
    }

    /// Returns the file as the user named it, or `stdin`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether this is not a regular file, so that its end is unknown.
    pub fn is_stream(&self) -> bool {
        matches!(self.bytes, Bytes::Stream(_))
    }

    /// Returns a warning about the input, after reading.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Returns the checkpoint after the skipped rows.
    pub fn checkpoint(&self) -> Option<InputCheckpoint> {
        (self.settings.checkpoints && !self.is_stream())
            .then(|| self.skipped.checkpoint(self.position))
    }

    /// Skips the rows before a checkpoint, after verifying that they are the same.
    pub fn resume(&mut self, from: &InputCheckpoint) -> Result<(), InputError> {
        self.skip(from.rows)?;
        if self.skipped.checkpoint(from.input).hash == from.hash {
            return Ok(());
        }
        Err(InputError::Changed {
            name: self.name.to_string(),
        })
    }

    /// Skips up to `rows` rows and returns how many.
    pub fn skip(&mut self, rows: u64) -> Result<u64, InputError> {
        let mut skipped = RowHash::new();
        if rows > 0 {
            self.read_rows(&mut |row| {
                skipped.add(&row);
                if skipped.rows < rows {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
        }
        self.skipped = skipped;
        Ok(self.skipped.rows)
    }

    /// Emits the remaining rows in chunks until `sink` breaks. Never waits for bytes after the line end of a stream's
    /// row.
    pub fn read(
        &mut self,
        sink: &mut dyn FnMut(InputChunk) -> ControlFlow<()>,
    ) -> Result<(), InputError> {
        let (most, position) = (if self.is_stream() { 1 } else { CHUNK }, self.position);
        let is_marked = self.checkpoint().is_some();
        let skipped = self.skipped.rows;
        let mut hash = self.skipped.clone();
        let mut rows = Vec::new();
        let mut seen = 0;
        let mut emit = |rows: &mut Vec<InputRow>, hash: &RowHash| {
            sink(InputChunk {
                rows: std::mem::take(rows),
                checkpoint: is_marked.then(|| hash.checkpoint(position)),
            })
        };
        let result = self.read_rows(&mut |row| {
            seen += 1;
            if seen <= skipped {
                return ControlFlow::Continue(());
            }
            if is_marked {
                hash.add(&row);
            }
            rows.push(row);
            if rows.len() < most {
                return ControlFlow::Continue(());
            }
            emit(&mut rows, &hash)
        });
        // After a break, no rows are left.
        if !rows.is_empty() && emit(&mut rows, &hash).is_break() {
            return Ok(());
        }
        result
    }

    fn read_rows(
        &mut self,
        sink: &mut dyn FnMut(InputRow) -> ControlFlow<()>,
    ) -> Result<(), InputError> {
        let reader: Box<dyn Read + Send> = match &mut self.bytes {
            Bytes::File(file) => Box::new(again(file).map_err(|source| InputError::Read {
                name: self.name.to_string(),
                line: 1,
                source,
            })?),
            Bytes::Stream(reader) => match reader.take() {
                Some(reader) => reader,
                None => return Ok(()),
            },
        };
        let mut source = TextSource::new(Arc::clone(&self.name), reader);
        let name = &self.name;
        let result = self.read_text(&mut source, &mut |line, row| {
            sink(InputRow {
                source: Source {
                    file: Arc::clone(name),
                    line,
                },
                id: row.id,
                id_text: row.id_text,
                context: row.context,
                skipped: row.skipped,
            })
        });
        self.warning = source.warning();
        result
    }

    fn read_text(
        &self,
        source: &mut TextSource,
        sink: &mut super::RowSink<'_>,
    ) -> Result<(), InputError> {
        if detect::find_text(source)?.is_none() {
            // An empty stream means nothing to do; an empty file is a failed export.
            return match self.bytes {
                Bytes::File(_) => Err(InputError::Empty {
                    name: self.name.to_string(),
                }),
                Bytes::Stream(_) => Ok(()),
            };
        }
        let id_column = self.settings.id_column.as_deref();
        let format = match self.settings.format {
            InputFormat::Auto if self.is_named_json_lines() => InputFormat::Jsonl,
            InputFormat::Auto => match detect::format(source, id_column)? {
                Some(format) => format,
                None => return Ok(()),
            },
            format => format,
        };
        match format {
            InputFormat::Auto | InputFormat::Csv | InputFormat::Tsv => {
                csv::read(source, &self.settings, sink)
            }
            InputFormat::Json => json::read_documents(source, id_column, sink),
            InputFormat::Jsonl => json::read_lines(source, id_column, sink),
            InputFormat::Lines if id_column.is_some() => {
                Err(detect::no_ids(&self.name, id_column, &["plain lines"]))
            }
            InputFormat::Lines => lines::read(source, lines::plain_row, sink),
        }
    }

    fn is_named_json_lines(&self) -> bool {
        let name = self.name.to_ascii_lowercase();
        !self.is_stream() && [".jsonl", ".ndjson"].iter().any(|end| name.ends_with(end))
    }
}

/// Returns a handle at the start of the file.
fn again(file: &File) -> io::Result<File> {
    let mut again = file.try_clone()?;
    again.rewind()?;
    Ok(again)
}

/// How many rows of an input are stored. Reading resumes after them if the input still starts with the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputCheckpoint {
    /// The position of the input in the run's list.
    pub input: usize,
    /// The number of rows.
    pub rows: u64,
    /// The hash of their ids, types and comments.
    pub hash: u128,
}

#[derive(Clone)]
struct RowHash {
    rows: u64,
    digest: Context,
}

impl RowHash {
    fn new() -> Self {
        Self {
            rows: 0,
            digest: Context::new(&SHA256),
        }
    }

    fn add(&mut self, row: &InputRow) {
        self.rows += 1;
        let id = row.id.as_ref().map_or(&[][..], |id| id.as_bytes());
        let action_type = row.context.action_type.as_ref().map(ToString::to_string);
        for text in [
            id,
            row.id_text.as_bytes(),
            action_type.as_deref().unwrap_or_default().as_bytes(),
            row.context
                .comment
                .as_deref()
                .unwrap_or_default()
                .as_bytes(),
        ] {
            self.digest.update(&(text.len() as u64).to_le_bytes());
            self.digest.update(text);
        }
    }

    fn checkpoint(&self, input: usize) -> InputCheckpoint {
        let digest = self.digest.clone().finish();
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest.as_ref()[..16]);
        InputCheckpoint {
            input,
            rows: self.rows,
            hash: u128::from_le_bytes(hash),
        }
    }
}
