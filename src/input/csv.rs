//! Reads CSV with any delimiter.
//!
//! Uses `csv_core`, the parser of the csv crate, because it can skip an overlong record without buffering it. A quoted
//! cell is never mistaken for rows, regardless of its length, and a row whose cells may be under the wrong names is
//! never used.

use std::borrow::Cow;
use std::ops::ControlFlow;

use csv_core::ReadRecordResult;

use crate::model::{ActionId, InvalidActionId, decode};

use super::decode::{MAX_ROW, TextSource};
use super::header::{self, Columns};
use super::input_error::InputError;
use super::lines::{self, LineEnd, find_line_end};
use super::row::{self, ParsedRow};
use super::{InputFormat, InputSettings};
use super::{RowSink, detect};

/// The possible delimiters; the first wins a tie.
pub(super) const DELIMITERS: [u8; 4] = *b",;\t|";

/// Longer records are dropped, as those with too many bytes.
const MAX_CELLS: usize = 16 * 1024;

/// Initial buffer sizes.
const FIRST_CELLS: usize = 64;
const FIRST_BYTES: usize = 4096;

/// Reads the records below the header; without a header, all records, using their only column of GUIDs.
pub(super) fn read(
    source: &mut TextSource,
    settings: &InputSettings,
    sink: &mut RowSink<'_>,
) -> Result<(), InputError> {
    let id_column = settings.id_column.as_deref();
    let fixed = (settings.format == InputFormat::Tsv).then_some(b'\t');
    let Some(delimiter) = find_delimiter(source, id_column, fixed)? else {
        return Ok(());
    };
    let mut records = Records::new(delimiter);
    let Some((line, first)) = records.next(source)? else {
        return Ok(());
    };
    let mut rows = CsvRows {
        columns: Columns::default(),
        names: records.shown(),
        id_column,
        is_table: delimiter == b'|',
    };
    if let Some(name) = rows.names.first_mut()
        && let Some(bare) = name.strip_prefix('#')
    {
        *name = bare.to_owned();
    }
    match (first, guid_column(&rows.names)) {
        (RecordKind::Whole, Ok(Some(at))) if id_column.is_none() => {
            rows.columns = Columns::only_id(at);
            rows.names.clear();
            records.skip_comments = true;
            if let Some(row) = rows.row(&records, RecordKind::Whole, line)
                && sink(line, row) == ControlFlow::Break(())
            {
                return Ok(());
            }
        }
        (RecordKind::Whole, Err(())) if id_column.is_none() => {
            return Err(InputError::SeveralIdColumns {
                name: source.name().to_string(),
                seen: row::list(&rows.names),
            });
        }
        (RecordKind::Whole, _) if let Some(found) = Columns::read(&rows.names, id_column) => {
            rows.columns = found;
        }
        _ => return Err(detect::no_ids(source.name(), id_column, &rows.names)),
    }
    while let Some((line, record)) = records.next(source)? {
        if let Some(row) = rows.row(&records, record, line)
            && sink(line, row) == ControlFlow::Break(())
        {
            break;
        }
    }
    Ok(())
}

/// Returns the only GUID cell, if any; fails if there are several.
fn guid_column(cells: &[String]) -> Result<Option<usize>, ()> {
    let find = |is_meant: &dyn Fn(&str) -> bool| {
        let found = cells.iter().enumerate();
        found
            .filter(|(_, cell)| is_guid(cell) && is_meant(cell))
            .map(|(at, _)| at)
            .collect::<Vec<_>>()
    };
    // Without hyphens, 32 hexadecimal digits may also be a hash.
    let hyphened = find(&|cell| cell.contains('-'));
    let found = match hyphened.len() {
        0 => find(&|_| true),
        _ => hyphened,
    };
    match *found {
        [] => Ok(None),
        [at] => Ok(Some(at)),
        _ => Err(()),
    }
}

pub(super) fn is_guid(cell: &str) -> bool {
    matches!(ActionId::parse(cell), Ok(_) | Err(InvalidActionId::Nil))
}

/// Skips comments, rules and `sep=` before the first record, and returns the delimiter; `None` at the end.
fn find_delimiter(
    source: &mut TextSource,
    id_column: Option<&str>,
    fixed: Option<u8>,
) -> Result<Option<u8>, InputError> {
    let mut named = None;
    while detect::skip_comments(source)?.is_some() {
        let line = match find_line_end(source)? {
            LineEnd::At(end) => &source.available()[..end],
            // Too long for a header; the error that follows shows its beginning.
            LineEnd::TooFar => return Ok(Some(DELIMITERS[0])),
            LineEnd::Ended => break,
        };
        if is_rule(line) {
            lines::drop_line(source)?;
            continue;
        }
        let Some(delimiter) = separator_line(line) else {
            let chosen = fixed.or(named);
            return Ok(Some(
                chosen.unwrap_or_else(|| best_delimiter(line, id_column)),
            ));
        };
        named = Some(delimiter);
        lines::drop_line(source)?;
    }
    Ok(None)
}

/// Returns whether a line is a table rule: `|---|---|` or `+----+`.
fn is_rule(line: &[u8]) -> bool {
    line.windows(3).any(|dashes| dashes == b"---")
        && line
            .iter()
            .all(|byte| matches!(byte, b'|' | b'-' | b'+' | b':' | b' ' | b'\t'))
}

/// Parses Excel's `sep=;`, which may be quoted.
fn separator_line(line: &[u8]) -> Option<u8> {
    let text = line
        .strip_prefix(b"\"")
        .map_or(line, |rest| rest.strip_suffix(b"\"").unwrap_or(rest));
    let (name, value) = text.split_at_checked(4)?;
    match value {
        // With a line feed or a quote as the delimiter, there would be no lines or no quotes.
        [byte] if name.eq_ignore_ascii_case(b"sep=") && byte.is_ascii() && *byte != b'"' => {
            Some(*byte)
        }
        _ => None,
    }
}

/// Returns the delimiter that reveals an id or an id column in the first line; among several, the one with the most
/// cells.
fn best_delimiter(line: &[u8], id_column: Option<&str>) -> u8 {
    let mut best = ((false, 0), DELIMITERS[0]);
    for delimiter in DELIMITERS {
        let cells = split(line, delimiter);
        let fits = Columns::read(&cells, id_column).is_some()
            || (id_column.is_none() && cells.iter().any(|cell| is_guid(cell)));
        if (fits, cells.len()) > best.0 {
            best = ((fits, cells.len()), delimiter);
        }
    }
    best.1
}

/// Splits a line into cells, without a leading `#`.
pub(super) fn split(line: &[u8], delimiter: u8) -> Vec<String> {
    let line = line.strip_prefix(b"#").unwrap_or(line);
    let mut parser = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
    let mut text = vec![0; line.len() + 1];
    let mut ends = vec![0; line.len() + 2];
    let (result, _, _, mut cells) = parser.read_record(line, &mut text, &mut ends);
    if result == ReadRecordResult::InputEmpty {
        let (_, _, _, last) = parser.read_record(&[], &mut text, &mut ends[cells..]);
        cells += last;
    }
    cut(&text, &ends[..cells])
}

fn cut(text: &[u8], ends: &[usize]) -> Vec<String> {
    let mut start = 0;
    ends.iter()
        .map(|end| {
            let cell = lines::text(&text[start..*end]);
            start = *end;
            cell
        })
        .collect()
}

/// How to read the rows.
struct CsvRows<'settings> {
    columns: Columns,
    /// The header. If empty, rows may have any number of cells.
    names: Vec<String>,
    id_column: Option<&'settings str>,
    /// Whether rules may occur between rows.
    is_table: bool,
}

impl CsvRows<'_> {
    /// Parses the current record. Returns `None` for blank records, rules and headers; a different header in the middle
    /// of the input changes the columns.
    fn row(&mut self, records: &Records, record: RecordKind, line: u64) -> Option<ParsedRow> {
        let text = match record {
            RecordKind::Whole => std::str::from_utf8(records.bytes()).ok()?,
            RecordKind::Dropped => return Some(self.unusable(records, lines::TOO_LONG)),
            RecordKind::Unclosed => {
                let reason = format!(
                    "a quote opens here and never closes: everything from line {line} to the end was read as one row"
                );
                return Some(self.unusable(records, &reason));
            }
        };
        if text.trim().is_empty() || (self.is_table && is_rule(text.as_bytes())) {
            return None;
        }
        let cell = |at| {
            let (start, end) = records.span(at)?;
            text.get(start..end)
        };
        let row = if self.columns.origin.is_ours() {
            let cells: Vec<Cow<'_, str>> =
                (0..records.cells).filter_map(cell).map(decode).collect();
            self.columns.row(|at| cells.get(at).map(|cell| &**cell))
        } else {
            self.columns.row(cell)
        };
        if row.id.is_err() && self.is_header(&records.shown()) {
            return None;
        }
        // A surplus delimiter shifts cells under wrong names. Blank cells at the end are harmless.
        let width = self.names.len();
        let is_wide =
            (width..records.cells).any(|at| cell(at).is_some_and(|extra| !extra.trim().is_empty()));
        if width > 0 && is_wide {
            let reason = format!("the row has {} cells and the header {width}", records.cells);
            return Some(self.unusable(records, &reason));
        }
        Some(row)
    }

    /// Returns whether a record repeats the header or is that of an appended file, whose columns then apply.
    fn is_header(&mut self, cells: &[String]) -> bool {
        if self.names.is_empty() || cells.iter().any(|cell| is_guid(cell)) {
            return false;
        }
        let is_same = self
            .names
            .iter()
            .zip(cells)
            .all(|(name, cell)| name.trim() == cell.trim());
        if is_same && cells.len() >= self.names.len() {
            return true;
        }
        let Some(found) = Columns::read(cells, self.id_column) else {
            return false;
        };
        // A single known word is not a header.
        let known = cells.iter().filter(|cell| header::knows_any(&[cell]));
        if known.count() < cells.len().min(2) {
            return false;
        }
        self.columns = found;
        self.names = cells.to_vec();
        true
    }

    /// Builds a bad row from the current record, showing its id cell if there is one.
    fn unusable(&self, records: &Records, reason: &str) -> ParsedRow {
        let cells = records.shown();
        let shown = self
            .columns
            .row(|at| cells.get(at).map(String::as_str))
            .id_text;
        if shown.is_empty() {
            ParsedRow::bad(reason, &cells.concat())
        } else {
            ParsedRow::bad(reason, &shown)
        }
    }
}

/// Reads records into its buffers.
struct Records {
    parser: csv_core::Reader,
    text: Vec<u8>,
    /// The end of each cell in `text`.
    ends: Vec<usize>,
    cells: usize,
    /// Whether lines starting with `#` are skipped, as in lists without a header.
    skip_comments: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RecordKind {
    /// A complete record.
    Whole,
    /// The record was too long; the buffers contain its beginning.
    Dropped,
    /// The input ended within quotes.
    Unclosed,
}

impl Records {
    fn new(delimiter: u8) -> Self {
        Self {
            parser: csv_core::ReaderBuilder::new().delimiter(delimiter).build(),
            text: vec![0; FIRST_BYTES],
            ends: vec![0; FIRST_CELLS],
            cells: 0,
            skip_comments: false,
        }
    }

    /// Reads the next record and returns its first line.
    fn next(&mut self, source: &mut TextSource) -> Result<Option<(u64, RecordKind)>, InputError> {
        self.find_start(source)?;
        let line = source.line();
        let record = self.read(source)?;
        Ok(record.map(|record| (line, record)))
    }

    /// Skips line ends and comments before the next record.
    fn find_start(&mut self, source: &mut TextSource) -> Result<(), InputError> {
        loop {
            let available = source.available();
            let first = available
                .iter()
                .position(|byte| !matches!(byte, b'\n' | b'\r'));
            let Some(at) = first else {
                source.consume(available.len());
                if !source.fill()? {
                    return Ok(());
                }
                continue;
            };
            let is_comment = available[at] == b'#';
            source.consume(at);
            if !is_comment || !self.skip_comments {
                return Ok(());
            }
            lines::drop_line(source)?;
        }
    }

    fn read(&mut self, source: &mut TextSource) -> Result<Option<RecordKind>, InputError> {
        let (mut length, mut text, mut cells) = (0, 0, 0);
        // The kept bytes and cells of a dropped record.
        let mut kept: Option<(usize, usize)> = None;
        loop {
            let ended = source.available().is_empty() && !source.fill()?;
            if ended && length == 0 {
                return Ok(None);
            }
            // An extra line end at the end is harmless, and shows whether a quote is still open.
            let input = if ended { b"\n" } else { source.available() };
            let (result, taken, written, closed) =
                self.parser
                    .read_record(input, &mut self.text[text..], &mut self.ends[cells..]);
            source.consume(taken);
            length += taken;
            text += written;
            cells += closed;
            let has_room = match result {
                ReadRecordResult::OutputFull => grow(&mut self.text, MAX_ROW),
                ReadRecordResult::OutputEndsFull => grow(&mut self.ends, MAX_CELLS),
                _ => true,
            };
            if kept.is_none() && (length > MAX_ROW || !has_room) {
                kept = Some(self.beginning(text, cells));
            }
            match (result, kept) {
                (ReadRecordResult::Record, None) => {
                    self.cells = cells;
                    return Ok(Some(RecordKind::Whole));
                }
                (ReadRecordResult::Record, Some((text, cells))) => {
                    self.close_last_cell(text, cells);
                    return Ok(Some(RecordKind::Dropped));
                }
                (ReadRecordResult::InputEmpty, kept) if ended => {
                    let (text, cells) = kept.unwrap_or((text, cells));
                    self.close_last_cell(text, cells);
                    return Ok(Some(RecordKind::Unclosed));
                }
                // Overwrite everything after the kept beginning.
                (_, Some(beginning)) => (text, cells) = beginning,
                (_, None) => {}
            }
        }
    }

    /// Limits the bytes and cells of a dropped record to those worth showing.
    fn beginning(&self, text: usize, cells: usize) -> (usize, usize) {
        let shown = self.ends[..cells]
            .iter()
            .take(FIRST_CELLS / 2)
            .take_while(|end| **end <= FIRST_BYTES / 2)
            .count();
        (text.min(FIRST_BYTES / 2), shown)
    }

    /// Ends the cell after the first `cells`, whose end was not read.
    fn close_last_cell(&mut self, text: usize, cells: usize) {
        let cells = cells.min(self.ends.len() - 1);
        self.ends[cells] = text;
        self.cells = cells + 1;
    }

    /// Returns the current record's cells, concatenated.
    fn bytes(&self) -> &[u8] {
        let end = self.ends[..self.cells].last().copied().unwrap_or(0);
        &self.text[..end]
    }

    /// Returns the current record's cells for display.
    fn shown(&self) -> Vec<String> {
        cut(&self.text, &self.ends[..self.cells])
    }

    /// Returns the range of the cell at `at`.
    fn span(&self, at: usize) -> Option<(usize, usize)> {
        let ends = &self.ends[..self.cells];
        let start = match at.checked_sub(1) {
            Some(before) => *ends.get(before)?,
            None => 0,
        };
        Some((start, *ends.get(at)?))
    }
}

/// Doubles a buffer up to `most` elements; returns false if it is full.
fn grow<T: Clone + Default>(buffer: &mut Vec<T>, most: usize) -> bool {
    let grows = buffer.len() < most;
    if grows {
        buffer.resize(buffer.len() * 2, T::default());
    }
    grows
}
#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    /// Reads all records with their kinds and cells.
    fn read(text: &str) -> Vec<(RecordKind, Vec<String>)> {
        let text = io::Cursor::new(text.to_owned());
        let mut source = TextSource::new(Arc::from("x"), Box::new(text));
        let mut records = Records::new(b',');
        let mut all = Vec::new();
        while let Some((_, record)) = records.next(&mut source).unwrap() {
            all.push((record, records.shown()));
        }
        all
    }

    #[test]
    fn the_last_record_needs_no_line_end_and_an_open_quote_is_known_as_such() {
        for (text, expected) in [
            ("a,b", Some(RecordKind::Whole)),
            ("a,b\r\n", Some(RecordKind::Whole)),
            ("a,", Some(RecordKind::Whole)),
            ("a,\"b\"", Some(RecordKind::Whole)),
            ("a,\"b\"x", Some(RecordKind::Whole)),
            ("a,b\"", Some(RecordKind::Whole)),
            ("\"", Some(RecordKind::Unclosed)),
            ("\"a\n", Some(RecordKind::Unclosed)),
            ("a,\"b\nc", Some(RecordKind::Unclosed)),
            ("a,\"b\"\"", Some(RecordKind::Unclosed)),
            ("\r\n\n", None),
        ] {
            let read = read(text);
            assert_eq!(
                read.first().map(|(record, _)| *record),
                expected,
                "{text:?}"
            );
            assert!(read.len() <= 1, "{text:?}");
        }
    }

    #[test]
    fn of_a_dropped_record_the_first_cells_stay_for_the_report() {
        let long = "y".repeat(MAX_ROW);
        for text in [
            format!("a,b,{long}\nc\n"),
            format!("a,b,\"{long}\n\"\nc\n"),
            format!("a,b{}\nc\n", ",".repeat(2 * MAX_CELLS)),
        ] {
            let read = read(&text);
            assert_eq!(read.len(), 2);
            assert_eq!(read[0].0, RecordKind::Dropped);
            assert_eq!(read[0].1[..2], ["a", "b"]);
            assert_eq!(read[1], (RecordKind::Whole, vec!["c".to_owned()]));
        }
        let unclosed = read(&format!("a,\"{long}"));
        assert_eq!(unclosed[0].0, RecordKind::Unclosed);
        assert_eq!(unclosed[0].1[0], "a");
    }

    #[test]
    fn a_record_may_be_as_long_as_a_row_and_no_longer() {
        for (length, expected) in [
            (MAX_ROW - 1, RecordKind::Whole),
            (MAX_ROW, RecordKind::Dropped),
        ] {
            // Including the line end.
            let read = read(&format!("{}\nx", "y".repeat(length)));
            assert_eq!(read[0].0, expected, "{length}");
        }
    }
}
