//! CSV and its relatives: records of cells with quotes, whatever the delimiter.
//!
//! It drives `csv_core`, the parser inside the csv crate, for that one alone lets a record of any length be dropped
//! without being held. A quoted cell is never taken for rows, however long it is and wherever it ends, and a row whose
//! cells may stand under the wrong names is never used.

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

/// What may stand between cells; an earlier one wins where two do equally well.
pub(super) const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Records with more cells than this are dropped like those that are too long.
const MAX_CELLS: usize = 16 * 1024;

/// How many cells and bytes of a record there is room for at first.
const FIRST_CELLS: usize = 64;
const FIRST_BYTES: usize = 4096;

/// Reads all records below the header, or all records by the one column that holds GUIDs.
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

/// Finds the only cell that is a GUID; an error where there are several.
fn guid_column(cells: &[String]) -> Result<Option<usize>, ()> {
    let find = |is_meant: &dyn Fn(&str) -> bool| {
        let found = cells.iter().enumerate();
        found
            .filter(|(_, cell)| is_guid(cell) && is_meant(cell))
            .map(|(at, _)| at)
            .collect::<Vec<_>>()
    };
    // 32 digits alone may as well be a hash.
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

/// Goes over what may stand before the first record and returns the delimiter; `None` at the end.
fn find_delimiter(
    source: &mut TextSource,
    id_column: Option<&str>,
    fixed: Option<u8>,
) -> Result<Option<u8>, InputError> {
    let mut named = None;
    while detect::skip_comments(source)?.is_some() {
        let line = match find_line_end(source)? {
            LineEnd::At(end) => &source.available()[..end],
            // Too long to be a header: the error that follows shows how it begins.
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

/// Returns whether a line only draws a table: `|---|---|` or `+----+`.
fn is_rule(line: &[u8]) -> bool {
    line.windows(3).any(|dashes| dashes == b"---")
        && line
            .iter()
            .all(|byte| matches!(byte, b'|' | b'-' | b'+' | b':' | b' ' | b'\t'))
}

/// Reads Excel's `sep=;`, which may be quoted.
fn separator_line(line: &[u8]) -> Option<u8> {
    let text = line
        .strip_prefix(b"\"")
        .map_or(line, |rest| rest.strip_suffix(b"\"").unwrap_or(rest));
    let (name, value) = text.split_at_checked(4)?;
    match value {
        // A line feed or a quote between cells would leave no lines and no quotes.
        [byte] if name.eq_ignore_ascii_case(b"sep=") && byte.is_ascii() && *byte != b'"' => {
            Some(*byte)
        }
        _ => None,
    }
}

/// Chooses the delimiter that makes cells of the first line of which one is an id or names one; of these the one that
/// makes most.
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

/// Splits one line into cells; a `#` in front is not part of the first.
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

/// What is known of the rows that come.
struct CsvRows<'settings> {
    columns: Columns,
    /// The header; empty where there is none, and rows may have any number of cells.
    names: Vec<String>,
    id_column: Option<&'settings str>,
    /// Whether lines may be drawn between rows.
    is_table: bool,
}

impl CsvRows<'_> {
    /// Reads the record that is in the buffers; `None` for what is no row: blank cells, a line of a drawn table, and a
    /// header in mid-file, from which on other columns may be meant.
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
        // A delimiter too many moves what follows under the wrong names; blank cells at the end move nothing.
        let width = self.names.len();
        let is_wide =
            (width..records.cells).any(|at| cell(at).is_some_and(|extra| !extra.trim().is_empty()));
        if width > 0 && is_wide {
            let reason = format!("the row has {} cells and the header {width}", records.cells);
            return Some(self.unusable(records, &reason));
        }
        Some(row)
    }

    /// Looks whether a record repeats the header, or is that of another file which was put behind; then its columns
    /// count from here on.
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
        // A word in a cell is no header.
        let known = cells.iter().filter(|cell| header::knows_any(&[cell]));
        if known.count() < cells.len().min(2) {
            return false;
        }
        self.columns = found;
        self.names = cells.to_vec();
        true
    }

    /// Makes a bad row of the current record that shows its id cell as far as there is one.
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

/// Reads the records of one input into its buffers.
struct Records {
    parser: csv_core::Reader,
    text: Vec<u8>,
    /// Where each cell of the current record ends in `text`.
    ends: Vec<usize>,
    cells: usize,
    /// Whether lines that begin with `#` are passed over: in a list without a header.
    skip_comments: bool,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RecordKind {
    /// A record that is now in the buffers.
    Whole,
    /// A record that was too long; its beginning is in the buffers.
    Dropped,
    /// A quote was opened and the input ended before it was closed.
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

    /// Reads the next record, and returns the line on which it starts.
    fn next(&mut self, source: &mut TextSource) -> Result<Option<(u64, RecordKind)>, InputError> {
        self.find_start(source)?;
        let line = source.line();
        let record = self.read(source)?;
        Ok(record.map(|record| (line, record)))
    }

    /// Goes over line ends and comments, to the line on which the next record starts.
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
        // Of a record that is dropped, the beginning: so many bytes and cells.
        let mut kept: Option<(usize, usize)> = None;
        loop {
            let ended = source.available().is_empty() && !source.fill()?;
            if ended && length == 0 {
                return Ok(None);
            }
            // A line end behind the last line changes nothing, except that it shows whether a quote is still open.
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
                // What follows the beginning is written over itself.
                (_, Some(beginning)) => (text, cells) = beginning,
                (_, None) => {}
            }
        }
    }

    /// Returns how much of a record of so many bytes and cells is worth showing.
    fn beginning(&self, text: usize, cells: usize) -> (usize, usize) {
        let shown = self.ends[..cells]
            .iter()
            .take(FIRST_CELLS / 2)
            .take_while(|end| **end <= FIRST_BYTES / 2)
            .count();
        (text.min(FIRST_BYTES / 2), shown)
    }

    /// Ends the cell after the first `cells`, of a record that did not end there itself.
    fn close_last_cell(&mut self, text: usize, cells: usize) {
        let cells = cells.min(self.ends.len() - 1);
        self.ends[cells] = text;
        self.cells = cells + 1;
    }

    /// Returns the bytes of the current record, its cells one after the other.
    fn bytes(&self) -> &[u8] {
        let end = self.ends[..self.cells].last().copied().unwrap_or(0);
        &self.text[..end]
    }

    /// Returns the cells of the current record as they can be shown.
    fn shown(&self) -> Vec<String> {
        cut(&self.text, &self.ends[..self.cells])
    }

    /// Returns where the cell at `at` begins and ends.
    fn span(&self, at: usize) -> Option<(usize, usize)> {
        let ends = &self.ends[..self.cells];
        let start = match at.checked_sub(1) {
            Some(before) => *ends.get(before)?,
            None => 0,
        };
        Some((start, *ends.get(at)?))
    }
}

/// Doubles a buffer, unless it is as large as it may become; returns whether there is room again.
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

    /// Reads all records and writes down what each was, with its cells.
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
            // With its line end.
            let read = read(&format!("{}\nx", "y".repeat(length)));
            assert_eq!(read[0].0, expected, "{length}");
        }
    }
}
