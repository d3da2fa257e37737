//! An input that was opened, whose header fits, and whose rows come one at a time.

use std::fs::File;
use std::io;
use std::io::{Read, Seek as _};
use std::sync::Arc;

use crate::model::{InputRow, Source};

use super::bookmark::{Bookmark, FileStamp};
use super::byte_source::ByteSource;
use super::columns::RowReading;
use super::delimited::DelimitedRows;
use super::input_error::InputError;
use super::json_record::JsonRows;
use super::json_stream::JsonStream;
use super::settings::{BookmarkUse, Input, InputFormat, InputSettings};
use super::sniff::Layout;
use super::{cells, lines, sniff};

/// The name of standard input in sources and messages.
const STDIN: &str = "stdin";

/// How the rows are read.
enum Rows {
    /// The first line was not looked at yet: a stream that must not be waited for.
    Unbegun,
    Delimited(Box<DelimitedRows>),
    Json(JsonStream),
    JsonLines(JsonRows),
    Lines,
    Done,
}

/// An input whose rows can be read. Every row comes once, good or bad; after an error nothing comes any more.
pub struct OpenInput {
    name: Arc<str>,
    settings: InputSettings,
    source: ByteSource,
    rows: Rows,
    /// The first row, where it had to be read to know the columns.
    first: Option<(u64, RowReading)>,
    file: Option<(Arc<File>, FileStamp)>,
}

/// Opens every input and checks its header before anything is sent.
///
/// Standard input is not waited for: its header is checked when the first row is asked for. An input that is not a
/// regular file, such as a named pipe, is waited for here until its first line is there.
///
/// # Errors
/// Returns why the first of them that cannot be used cannot.
pub fn open(inputs: &[Input], settings: &InputSettings) -> Result<Vec<OpenInput>, InputError> {
    let stdin = inputs.iter().filter(|input| **input == Input::Stdin);
    if stdin.count() > 1 {
        return Err(InputError::StdinTwice);
    }
    inputs
        .iter()
        .map(|input| match input {
            Input::Stdin => Ok(OpenInput::from_reader(
                STDIN,
                Box::new(io::stdin()),
                settings,
            )),
            Input::File(path) => {
                let name = path.to_string_lossy();
                OpenInput::from_file(&name, File::open(path), settings)
            }
        })
        .collect()
}

impl OpenInput {
    /// Wraps a stream, from which nothing is read before the first row is asked for.
    pub fn from_reader(name: &str, reader: Box<dyn Read + Send>, settings: &InputSettings) -> Self {
        Self {
            name: Arc::from(name),
            settings: settings.clone(),
            source: ByteSource::new(reader),
            rows: Rows::Unbegun,
            first: None,
            file: None,
        }
    }

    /// Takes a file over and looks at its first line.
    fn from_file(
        name: &str,
        file: io::Result<File>,
        settings: &InputSettings,
    ) -> Result<Self, InputError> {
        let broken = |source| InputError::Open {
            name: name.to_owned(),
            source,
        };
        let file = Arc::new(file.map_err(broken)?);
        let metadata = file.metadata().map_err(broken)?;
        if metadata.is_dir() {
            return Err(InputError::Directory {
                name: name.to_owned(),
            });
        }
        let mut input = Self::from_reader(name, Box::new(Arc::clone(&file)), settings);
        if metadata.is_file() {
            if settings.bookmarks == BookmarkUse::Kept {
                input.source.keep_digest();
            }
            input.file = Some((file, FileStamp::of(&metadata)));
        }
        input.begin()?;
        Ok(input)
    }

    /// Returns the file as the user named it, or `stdin`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether this is no regular file, so that nobody knows when its end will come.
    pub fn is_stream(&self) -> bool {
        self.file.is_none()
    }

    /// Returns the place behind the last row that was handed out, where the reading can be taken up there: in a
    /// regular file, opened with [`BookmarkUse::Kept`].
    pub fn bookmark(&self) -> Option<Bookmark> {
        let (_, stamp) = self.file.as_ref()?;
        if self.first.is_some() {
            return None;
        }
        Some(Bookmark {
            offset: self.source.offset(),
            line: self.source.line(),
            stamp: *stamp,
            digest: self.source.digest()?,
        })
    }

    /// Goes on at a bookmark of an earlier reading, instead of at the first row.
    ///
    /// # Errors
    /// Returns an error where this is not the file that was marked, or cannot be read.
    pub fn resume(&mut self, bookmark: &Bookmark) -> Result<(), InputError> {
        let changed = |what: String| InputError::Changed {
            name: self.name.to_string(),
            what,
        };
        let broken = |source| InputError::Read {
            name: self.name.to_string(),
            line: bookmark.line,
            source,
        };
        let Some((file, stamp)) = self.file.as_ref() else {
            return Err(changed("it is no regular file any more".to_owned()));
        };
        if let Some(what) = bookmark.stamp_differs(*stamp) {
            return Err(changed(what));
        }
        // The row that was looked at in opening lies before every bookmark.
        self.first = None;
        if self.source.is_decoded() || matches!(self.rows, Rows::Json(_)) {
            return self.read_on_to(bookmark);
        }
        let mut file = &**file;
        file.rewind().map_err(broken)?;
        let Some(digest) = bookmark.read_up_to(&mut file).map_err(broken)? else {
            return Err(changed("its text is another".to_owned()));
        };
        self.source.go_on_at(bookmark.offset, bookmark.line, digest);
        Ok(())
    }

    /// Reads the rows before a bookmark once more, where nobody can begin in the middle: in UTF-16, whose bytes are not
    /// those that were counted, and in a JSON document, whose rows depend on what they stand in.
    fn read_on_to(&mut self, bookmark: &Bookmark) -> Result<(), InputError> {
        while self.source.offset() < bookmark.offset {
            if self.next().transpose()?.is_none() {
                break;
            }
        }
        let is_there = self.source.offset() == bookmark.offset
            && self.source.digest() == Some(bookmark.digest);
        if is_there {
            return Ok(());
        }
        Err(InputError::Changed {
            name: self.name.to_string(),
            what: "its text is another".to_owned(),
        })
    }

    /// Looks at the first line and makes ready to read rows.
    fn begin(&mut self) -> Result<(), InputError> {
        let text = sniff::find_text(&mut self.source);
        let Some(first) = text.map_err(|source| self.broken(source))? else {
            self.rows = Rows::Done;
            // An empty stream is nothing to do; an empty file is an export that failed.
            return match self.file {
                Some(_) => Err(InputError::Empty {
                    name: self.name.to_string(),
                }),
                None => Ok(()),
            };
        };
        let layout = match self.settings.format {
            InputFormat::Csv | InputFormat::Tsv => Layout::Delimited,
            InputFormat::Jsonl => Layout::JsonLines,
            InputFormat::Json => Layout::Json,
            InputFormat::Lines => Layout::Lines,
            InputFormat::Auto if self.is_named_json_lines() => Layout::JsonLines,
            InputFormat::Auto => {
                let layout = sniff::layout(&mut self.source, first);
                match layout.map_err(|source| self.broken(source))? {
                    None => {
                        self.rows = Rows::Done;
                        return Ok(());
                    }
                    // A column is asked for, so there must be a header.
                    Some(Layout::Lines) if self.settings.id_column.is_some() => Layout::Delimited,
                    Some(layout) => layout,
                }
            }
        };
        match layout {
            Layout::Delimited => self.begin_delimited(),
            Layout::Lines => self.begin_lines(),
            Layout::Json => {
                let rows = JsonRows::new(self.settings.id_column.clone());
                self.rows = Rows::Json(JsonStream::new(rows));
                self.begin_json()
            }
            Layout::JsonLines => {
                self.rows = Rows::JsonLines(JsonRows::new(self.settings.id_column.clone()));
                self.begin_json()
            }
        }
    }

    fn is_named_json_lines(&self) -> bool {
        let name = self.name.to_ascii_lowercase();
        self.file.is_some() && [".jsonl", ".ndjson"].iter().any(|end| name.ends_with(end))
    }

    fn begin_delimited(&mut self) -> Result<(), InputError> {
        let fixed = (self.settings.format == InputFormat::Tsv).then_some(b'\t');
        let id_column = self.settings.id_column.as_deref();
        self.rows = match sniff::open_delimited(&mut self.source, &self.name, id_column, fixed)? {
            Some(opened) => {
                self.first = opened.first;
                Rows::Delimited(Box::new(opened.rows))
            }
            None => Rows::Done,
        };
        Ok(())
    }

    fn begin_lines(&mut self) -> Result<(), InputError> {
        self.rows = Rows::Lines;
        match &self.settings.id_column {
            Some(column) => Err(InputError::NamedColumnMissing {
                name: self.name.to_string(),
                column: column.clone(),
                seen: "plain lines".to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Reads the first row, for the keys of its record are this input's header.
    fn begin_json(&mut self) -> Result<(), InputError> {
        self.first = self.read_row().map_err(|source| self.broken(source))?;
        let keys = match &self.rows {
            Rows::Json(stream) => stream.useless_keys(),
            Rows::JsonLines(rows) => rows.useless_keys(),
            _ => None,
        };
        let Some(keys) = keys else {
            return Ok(());
        };
        let (name, seen) = (self.name.to_string(), cells::list(keys));
        Err(match self.settings.id_column.clone() {
            Some(column) => InputError::NamedColumnMissing { name, column, seen },
            None => InputError::NoIdColumn { name, seen },
        })
    }

    fn broken(&self, source: io::Error) -> InputError {
        InputError::Read {
            name: self.name.to_string(),
            line: self.source.line(),
            source,
        }
    }

    /// Reads the next row and the line on which it starts.
    fn read_row(&mut self) -> io::Result<Option<(u64, RowReading)>> {
        match &mut self.rows {
            Rows::Unbegun | Rows::Done => Ok(None),
            Rows::Delimited(rows) => rows.next(&mut self.source),
            Rows::Json(stream) => stream.next(&mut self.source),
            Rows::JsonLines(rows) => lines::next_row(&mut self.source, |bytes| {
                let blank = bytes.iter().all(u8::is_ascii_whitespace);
                (!blank).then(|| rows.row(bytes))
            }),
            Rows::Lines => lines::next_row(&mut self.source, lines::plain_row),
        }
    }

    fn next_reading(&mut self) -> Result<Option<(u64, RowReading)>, InputError> {
        if matches!(self.rows, Rows::Unbegun) {
            self.begin()?;
        }
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.read_row().map_err(|source| self.broken(source)),
        }
    }
}

impl Iterator for OpenInput {
    type Item = Result<InputRow, InputError>;

    /// Reads the next row, and waits for no byte behind its line end.
    fn next(&mut self) -> Option<Self::Item> {
        match self.next_reading() {
            Ok(Some((line, reading))) => Some(Ok(InputRow {
                source: Source {
                    file: Arc::clone(&self.name),
                    line,
                },
                id: reading.id,
                id_text: reading.id_text,
                context: reading.context,
                skipped: reading.skipped,
            })),
            Ok(None) => {
                self.rows = Rows::Done;
                None
            }
            Err(error) => {
                self.rows = Rows::Done;
                self.first = None;
                Some(Err(error))
            }
        }
    }
}
