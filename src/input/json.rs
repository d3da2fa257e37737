//! Streams rows from JSON: lists, envelopes around lists at any depth, and sequences of objects.
//!
//! An object with an id is a row, and the names of its nested objects are dotted (`result.id`). Lists in objects
//! without an id are searched. All rows must come from lists with the same path; an id elsewhere becomes a bad row that
//! names both paths. Tables of `columns` and `rows` are read as written by Log Analytics and Kusto.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};
use std::mem;
use std::ops::ControlFlow;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::model::folded;

use super::decode::{MAX_ROW, TextSource};
use super::header::{self, Columns, Use};
use super::input_error::InputError;
use super::lines::{self, TextLine};
use super::row::{self, ParsedRow};
use super::{RowSink, detect};

/// The most bytes between two tokens, which limits every buffered string.
const MAX_TOKEN: usize = MAX_ROW;

/// Limits for distinct names; further or longer ones are ignored.
const MAX_NAMES: usize = 4096;
const MAX_NAME: usize = 512;

/// The name of a string that is itself an id.
const BARE: usize = usize::MAX;

/// The longest text kept, in bytes; longer than any cell.
const MAX_TEXT: usize = 20_000;

/// Rows held until their enclosing object ends: if an id follows the list, that object is the row instead.
const HELD: usize = 64;

/// Reads all documents of an input.
pub(super) fn read_documents(
    source: &mut TextSource,
    id_column: Option<&str>,
    sink: &mut RowSink<'_>,
) -> Result<(), InputError> {
    let name = source.name().clone();
    let progress = ReadProgress::default();
    let mut bytes = Counted {
        source,
        progress: &progress,
        block: Vec::new(),
        at: 0,
    };
    let mut reader = JsonReader::new(id_column, sink, &progress);
    while let Some(first) = bytes.find_document()? {
        let parsed = match first {
            b'{' | b'[' | b'"' => {
                reader.read(&mut serde_json::Deserializer::from_reader(&mut bytes))
            }
            _ => Err("expected a JSON object, list or string".to_owned()),
        };
        if reader.is_stopped {
            return Ok(());
        }
        if let Err(what) = parsed {
            // Use the rows read so far.
            reader.open = 0;
            reader.flush();
            return Err(progress.fault.take().unwrap_or(InputError::Json {
                name: name.to_string(),
                line: progress.line.get() + 1,
                what,
            }));
        }
    }
    if reader.rows == 0 && reader.is_useless {
        return Err(detect::no_ids(&name, id_column, &reader.names));
    }
    // A list of numbers has no rows, but is not empty.
    reader.list.get_or_insert_default();
    reader.flush();
    Ok(())
}

/// Reads JSON Lines. An invalid line becomes a bad row and doesn't affect the others.
pub(super) fn read_lines(
    source: &mut TextSource,
    id_column: Option<&str>,
    sink: &mut RowSink<'_>,
) -> Result<(), InputError> {
    let name = source.name().clone();
    let progress = ReadProgress::default();
    let mut reader = JsonReader::new(id_column, sink, &progress);
    let mut is_first = true;
    while let Some(TextLine {
        number: line,
        text,
        is_too_long,
    }) = lines::next_line(source)?
    {
        if text.trim().is_empty() {
            continue;
        }
        progress.line.set(line - 1);
        reader.is_useless = false;
        // Hold the rows until the line proves valid.
        reader.open = 1;
        let mut json = serde_json::Deserializer::from_str(&text);
        let parsed = if is_too_long {
            Ok(())
        } else {
            reader.read(&mut json)
        };
        reader.open = 0;
        if is_too_long {
            reader.emit(line, ParsedRow::bad(lines::TOO_LONG, &text));
        } else if let Err(what) = parsed.and_then(|()| json.end().map_err(|error| told(&error))) {
            reader.emit(
                line,
                ParsedRow::bad(format!("not valid JSON: {what}"), &text),
            );
        } else if reader.held.iter().any(HeldRow::has_id) {
            reader.flush();
        } else if reader.is_useless {
            if is_first {
                return Err(detect::no_ids(&name, id_column, &reader.names));
            }
            let names = row::list(&reader.names);
            let reason = format!("no key holds an action id; keys: {names}");
            reader.emit(line, ParsedRow::bad(reason, &text));
        } else if !reader.held.is_empty() {
            let reason = "neither a JSON object nor a string";
            reader.emit(line, ParsedRow::bad(reason, &text));
        }
        reader.held.clear();
        is_first = false;
        if reader.is_stopped {
            break;
        }
    }
    Ok(())
}

/// Drops the position, which is relative to the document.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    if error.is_eof() {
        "it ends before it is complete".to_owned()
    } else {
        what.to_owned()
    }
}

/// The reader's position, shared by the parser, which owns the bytes, and its visitors.
#[derive(Default)]
struct ReadProgress {
    line: Cell<u64>,
    since_token: Cell<usize>,
    fault: Cell<Option<InputError>>,
}

/// Feeds bytes to the parser, which reads one at a time.
struct Counted<'s> {
    source: &'s mut TextSource,
    progress: &'s ReadProgress,
    block: Vec<u8>,
    at: usize,
}

impl Counted<'_> {
    #[inline]
    fn peek(&mut self) -> Result<Option<u8>, InputError> {
        if self.at == self.block.len() {
            if self.source.available().is_empty() {
                self.source.fill()?;
            }
            self.block.clear();
            self.block.extend_from_slice(self.source.available());
            self.source.consume(self.block.len());
            self.at = 0;
        }
        Ok(self.block.get(self.at).copied())
    }

    #[inline]
    fn step(&mut self, byte: u8) {
        self.at += 1;
        if byte == b'\n' {
            self.progress.line.set(self.progress.line.get() + 1);
        }
    }

    /// Skips blanks and commas between documents.
    fn find_document(&mut self) -> Result<Option<u8>, InputError> {
        while let Some(byte) = self.peek()? {
            if !byte.is_ascii_whitespace() && byte != b',' {
                self.progress.since_token.set(0);
                return Ok(Some(byte));
            }
            self.step(byte);
        }
        Ok(None)
    }
}

impl Read for Counted<'_> {
    #[inline]
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let byte = match self.peek() {
            Ok(Some(byte)) => byte,
            Ok(None) => return Ok(0),
            Err(fault) => {
                self.progress.fault.set(Some(fault));
                return Err(io::ErrorKind::Other.into());
            }
        };
        let since = self.progress.since_token.get() + 1;
        self.progress.since_token.set(since);
        if since > MAX_TOKEN {
            return Err(io::Error::other("a value is longer than 1 MiB"));
        }
        let Some(place) = room.first_mut() else {
            return Ok(0);
        };
        *place = byte;
        self.step(byte);
        Ok(1)
    }
}

/// An object or list element that may be a row.
#[derive(Default)]
struct Candidate {
    line: u64,
    /// The texts of known names, by number of the name.
    cells: Vec<(usize, String)>,
    /// The most relevant use of its members.
    most: Option<Use>,
    has_list: bool,
}

/// A complete candidate.
struct HeldRow {
    path: String,
    row: Candidate,
}

impl HeldRow {
    fn has_id(&self) -> bool {
        self.row.most >= Some(Use::RequestId)
    }
}

struct JsonReader<'s, 'r> {
    id_column: Option<&'s str>,
    sink: &'s mut RowSink<'r>,
    progress: &'s ReadProgress,
    /// All names seen. Objects tend to repeat the order of their keys, so `next_name` is tried first.
    names: Vec<String>,
    uses: Vec<Use>,
    next_name: usize,
    /// `.key.key`; the names of the current candidate start at `base`.
    path: String,
    base: usize,
    /// The columns of a table.
    columns: Vec<usize>,
    /// The path of the rows.
    list: Option<String>,
    held: Vec<HeldRow>,
    /// The number of incomplete candidates.
    open: usize,
    /// The columns of the last row; in most inputs all rows have the same.
    known: Option<(Vec<usize>, Columns)>,
    rows: u64,
    /// Whether an object had no id where one was expected.
    is_useless: bool,
    is_stopped: bool,
}

impl<'s, 'r> JsonReader<'s, 'r> {
    fn new(
        id_column: Option<&'s str>,
        sink: &'s mut RowSink<'r>,
        progress: &'s ReadProgress,
    ) -> Self {
        Self {
            id_column,
            sink,
            progress,
            names: Vec::new(),
            uses: Vec::new(),
            next_name: 0,
            path: String::new(),
            base: 0,
            columns: Vec::new(),
            list: None,
            held: Vec::new(),
            open: 0,
            known: None,
            rows: 0,
            is_useless: false,
            is_stopped: false,
        }
    }

    fn read<'de, D>(&mut self, json: D) -> Result<(), String>
    where
        D: Deserializer<'de, Error = serde_json::Error>,
    {
        self.path.clear();
        self.base = 0;
        Node(self, ValuePlace::Document)
            .deserialize(json)
            .map_err(|error| told(&error))
    }

    fn emit(&mut self, line: u64, row: ParsedRow) {
        self.rows += 1;
        self.is_stopped |= (self.sink)(line, row) == ControlFlow::Break(());
    }

    fn candidate(&self) -> Candidate {
        Candidate {
            line: self.progress.line.get() + 1,
            ..Candidate::default()
        }
    }

    /// Returns the number of a name, or [`MAX_NAMES`] for an ignored one.
    fn number(&mut self, name: &str) -> usize {
        let is_at = |at: &usize| self.names.get(*at).is_some_and(|known| known == name);
        let known = [self.next_name, 0].into_iter().find(is_at);
        let known = known.or_else(|| self.names.iter().position(|known| known == name));
        let at = known.unwrap_or_else(|| {
            if self.names.len() == MAX_NAMES || name.len() > MAX_NAME {
                return MAX_NAMES;
            }
            self.uses.push(header::use_of(name, self.id_column));
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        self.next_name = at + 1;
        at
    }

    fn add_cell(&self, row: &mut Candidate, name: usize, text: &str) {
        let used = self.uses.get(name).copied().unwrap_or(Use::Nothing);
        row.most = row.most.max(Some(used));
        if used != Use::Nothing {
            row.cells.push((name, kept(text)));
        }
    }

    fn members<'de, A: MapAccess<'de>>(
        &mut self,
        row: &mut Candidate,
        mut map: A,
    ) -> Result<(), A::Error> {
        let start = self.path.len();
        while map.next_key_seed(KeySeed(self))?.is_some() {
            let path = mem::take(&mut self.path);
            let name = self.number(path.get(self.base + 1..).unwrap_or_default());
            self.path = path;
            map.next_value_seed(Node(self, ValuePlace::Member(row, name)))?;
            self.path.truncate(start);
        }
        Ok(())
    }

    /// Completes a candidate that encloses the held rows from `first_inside` on.
    fn close<E: Error>(&mut self, row: Candidate, first_inside: usize) -> Result<(), E> {
        self.progress.since_token.set(0);
        let has_rows_inside = self.held.iter().skip(first_inside).any(HeldRow::has_id);
        let is_row = match row.most {
            Some(Use::Id) => true,
            Some(Use::RequestId) => !has_rows_inside,
            _ => false,
        };
        if is_row {
            self.held.truncate(first_inside);
        } else if !row.has_list {
            self.is_useless |= row.most.is_some();
        }
        if is_row || !row.has_list {
            let path = self.path.clone();
            self.held.push(HeldRow { path, row });
        }
        if self.open == 0 || self.held.len() > HELD {
            self.flush();
        }
        if self.is_stopped {
            Err(E::custom("stopped"))
        } else {
            Ok(())
        }
    }

    /// Emits the held rows.
    fn flush(&mut self) {
        if self.list.is_none() {
            let first = self.held.iter().find(|held| held.has_id());
            self.list = first.map(|held| held.path.clone());
        }
        let Some(list) = self.list.take() else {
            // Their list may still have rows.
            self.held.truncate(HELD);
            return;
        };
        for held in mem::take(&mut self.held) {
            if self.is_stopped || (held.path != list && !held.has_id()) {
                continue;
            }
            let (line, row) = (held.row.line, self.parse(&held, &list));
            self.emit(line, row);
        }
        self.list = Some(list);
    }

    fn parse(&mut self, held: &HeldRow, list: &str) -> ParsedRow {
        let cells = &held.row.cells;
        if held.path != list {
            let place = |path: &str| match path {
                "" => "the document itself".to_owned(),
                path => format!("`{}`", path.trim_start_matches('.')),
            };
            return ParsedRow::bad(
                format!(
                    "ids come from {}, and this one from {}",
                    place(list),
                    place(&held.path)
                ),
                cells.first().map_or("", |(_, text)| text),
            );
        }
        match &**cells {
            _ if !held.has_id() => {
                return ParsedRow::bad("neither an object with an action id nor a string", "");
            }
            [(BARE, id)] => return ParsedRow::of_id(id),
            _ => {}
        }
        let is_known = self.known.as_ref().is_some_and(|(names, _)| {
            names.len() == cells.len()
                && names
                    .iter()
                    .zip(cells)
                    .all(|(name, (cell, _))| name == cell)
        });
        if !is_known {
            let numbers: Vec<_> = cells.iter().map(|(name, _)| *name).collect();
            let names: Vec<_> = numbers.iter().map(|name| &self.names[*name]).collect();
            let columns = Columns::read(&names, self.id_column).unwrap_or_default();
            self.known = Some((numbers, columns));
        }
        match &self.known {
            Some((_, columns)) => columns.row(|at| cells.get(at).map(|(_, text)| text.as_str())),
            None => ParsedRow::bad("no id", ""),
        }
    }
}

fn kept(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

/// The position of a value.
enum ValuePlace<'c> {
    Document,
    /// In a searched list. `are_ids` says whether its strings may be ids; names of objects start at `base` of the path.
    Element {
        are_ids: bool,
        base: usize,
    },
    /// In the `rows` of a table.
    TableRow,
    /// Under a name of a candidate.
    Member(&'c mut Candidate, usize),
}

/// Reads the value at a position.
struct Node<'n, 's, 'r, 'c>(&'n mut JsonReader<'s, 'r>, ValuePlace<'c>);

impl<'de> DeserializeSeed<'de> for Node<'_, '_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

macro_rules! scalars {
    ($($visit:ident: $kind:ty),*) => {$(
        fn $visit<E: Error>(self, value: $kind) -> Result<(), E> {
            self.other(&value.to_string())
        }
    )*};
}

impl Node<'_, '_, '_, '_> {
    /// Handles a value that is no object, list or string.
    fn other<E: Error>(self, text: &str) -> Result<(), E> {
        let Node(reader, place) = self;
        reader.progress.since_token.set(0);
        match place {
            ValuePlace::Member(row, name) => {
                reader.add_cell(row, name, text);
                Ok(())
            }
            // Not a possible row.
            ValuePlace::Document | ValuePlace::Element { .. } | ValuePlace::TableRow => {
                let (row, inside) = (reader.candidate(), reader.held.len());
                reader.close(row, inside)
            }
        }
    }
}

impl<'de> Visitor<'de> for Node<'_, '_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        // Keep the name, so that rows with and without a value have the same columns.
        self.other("")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let Node(reader, place) = self;
        if !matches!(
            place,
            ValuePlace::Document | ValuePlace::Element { are_ids: true, .. }
        ) {
            return Node(reader, place).other(text);
        }
        let (mut row, inside) = (reader.candidate(), reader.held.len());
        row.cells.push((BARE, kept(text)));
        row.most = Some(Use::Id);
        reader.close(row, inside)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Node(reader, place) = self;
        reader.progress.since_token.set(0);
        if let ValuePlace::Member(row, name) = place {
            // An object as a type is an unknown type.
            reader.add_cell(row, name, "(object)");
            return reader.members(row, map);
        }
        let base = match place {
            ValuePlace::Element { base, .. } => base,
            _ => reader.path.len(),
        };
        let (mut row, inside) = (reader.candidate(), reader.held.len());
        let base = mem::replace(&mut reader.base, base);
        reader.open += 1;
        reader.members(&mut row, map)?;
        reader.open -= 1;
        reader.base = base;
        reader.close(row, inside)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Node(reader, place) = self;
        reader.progress.since_token.set(0);
        match place {
            ValuePlace::Document => {
                let place = || ValuePlace::Element {
                    are_ids: true,
                    base: 0,
                };
                while list.next_element_seed(Node(reader, place()))?.is_some() {}
                Ok(())
            }
            ValuePlace::TableRow => {
                let (mut row, inside) = (reader.candidate(), reader.held.len());
                for at in 0.. {
                    let name = reader.columns.get(at).copied().unwrap_or(MAX_NAMES);
                    let cell = Node(reader, ValuePlace::Member(&mut row, name));
                    if list.next_element_seed(cell)?.is_none() {
                        break;
                    }
                }
                reader.close(row, inside)
            }
            ValuePlace::Element { .. } => {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Node(reader, place).other("")
            }
            ValuePlace::Member(row, name) => {
                reader.add_cell(row, name, "(list)");
                row.has_list = true;
                let key = reader.path.rsplit('.').next().unwrap_or_default();
                let key = folded(key);
                if row.most == Some(Use::Id) {
                    while list.next_element::<IgnoredAny>()?.is_some() {}
                } else if matches!(key.as_str(), "columns" | "fields") {
                    reader.columns.clear();
                    while let Some(column) = list.next_element::<Column>()? {
                        let number = match column {
                            Column::Bare(name) | Column::Named { name } => reader.number(&name),
                            Column::Other(_) => MAX_NAMES,
                        };
                        if reader.columns.len() < MAX_NAMES {
                            reader.columns.push(number);
                        }
                        reader.progress.since_token.set(0);
                    }
                } else if key == "rows" && !reader.columns.is_empty() {
                    let used = |name: &usize| reader.uses.get(*name).copied();
                    if reader.columns.iter().filter_map(used).max() < Some(Use::RequestId) {
                        reader.is_useless = true;
                        while list.next_element::<IgnoredAny>()?.is_some() {}
                    }
                    while list
                        .next_element_seed(Node(reader, ValuePlace::TableRow))?
                        .is_some()
                    {}
                } else {
                    // The key of `Machine: [{ID: …}]` says whose ids they are.
                    let is_owner = header::is_owner(&key) && reader.id_column.is_none();
                    let key_at = reader.path.rfind('.').filter(|_| is_owner);
                    let base = key_at.unwrap_or(reader.path.len());
                    let are_ids = header::names_ids(&key);
                    let place = || ValuePlace::Element { are_ids, base };
                    while list.next_element_seed(Node(reader, place()))?.is_some() {}
                }
                Ok(())
            }
        }
    }
}

/// A column of a table.
#[derive(Deserialize)]
#[serde(untagged)]
enum Column {
    Bare(String),
    Named {
        #[serde(alias = "Name", alias = "ColumnName", alias = "columnName")]
        name: String,
    },
    Other(IgnoredAny),
}

/// Appends a key to the path.
struct KeySeed<'n, 's, 'r>(&'n mut JsonReader<'s, 'r>);

impl<'de> DeserializeSeed<'de> for KeySeed<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<(), E> {
        let KeySeed(reader) = self;
        reader.progress.since_token.set(0);
        reader.path.push('.');
        // Longer names are ignored.
        reader
            .path
            .push_str(&key[..key.floor_char_boundary(MAX_NAME)]);
        Ok(())
    }
}
