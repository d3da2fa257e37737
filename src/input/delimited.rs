//! CSV and its relatives: rows of cells with quotes, whatever the delimiter.
//!
//! Invariant: a quoted cell is never taken for rows, however long it is and wherever it ends; and a row whose cells
//! may stand under the wrong names is never used.

use std::io;

use csv_core::ReadRecordResult;

use crate::model::decode;

use super::byte_source::{ByteSource, Filled, MAX_ROW};
use super::columns::{Columns, RowReading};
use super::lines;

/// Rows with more cells than this are dropped like rows that are too long.
const MAX_CELLS: usize = 16 * 1024;

/// How many cells and bytes of a row there is room for at first.
const FIRST_CELLS: usize = 64;
const FIRST_BYTES: usize = 4096;

/// Reads the records of one input.
pub(super) struct Records {
    parser: csv_core::Reader,
    text: Vec<u8>,
    /// Where each cell of the current record ends in `text`.
    ends: Vec<usize>,
    cells: usize,
    comments: Comments,
}

/// Whether lines that begin with `#` are rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comments {
    /// They are passed over: lists without a header.
    Skipped,
    /// They are rows like any other.
    Kept,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A record that is now in the buffers.
    Whole,
    /// A record that was too long; its beginning is in the buffer.
    Dropped,
    /// A quote was opened and the input ended before it was closed.
    Unclosed,
    /// The end.
    Ended,
}

impl Records {
    /// Reads records whose cells stand between `delimiter`s.
    pub(super) fn new(delimiter: u8) -> Self {
        Self {
            parser: csv_core::ReaderBuilder::new().delimiter(delimiter).build(),
            text: vec![0; FIRST_BYTES],
            ends: vec![0; FIRST_CELLS],
            cells: 0,
            comments: Comments::Kept,
        }
    }

    /// Says what a line that begins with `#` is.
    pub(super) fn set_comments(&mut self, comments: Comments) {
        self.comments = comments;
    }

    /// Goes over line ends and comments, to the line on which the next record starts.
    ///
    /// # Errors
    /// Returns the reader's error.
    pub(super) fn find_start(&mut self, source: &mut ByteSource) -> io::Result<()> {
        loop {
            let available = source.available();
            let first = available
                .iter()
                .position(|byte| !matches!(byte, b'\n' | b'\r'));
            let Some(at) = first else {
                source.consume(available.len());
                if source.fill()? == Filled::Ended {
                    return Ok(());
                }
                continue;
            };
            let comment = available[at] == b'#';
            source.consume(at);
            if !comment || self.comments == Comments::Kept {
                return Ok(());
            }
            lines::drop_line(source)?;
        }
    }

    /// Reads the next record into the buffers.
    ///
    /// # Errors
    /// Returns the reader's error.
    pub(super) fn read(&mut self, source: &mut ByteSource) -> io::Result<Record> {
        let (mut length, mut text, mut cells) = (0, 0, 0);
        // Of a record that is dropped, the beginning: so many bytes and cells.
        let mut kept: Option<(usize, usize)> = None;
        loop {
            let ended = source.available().is_empty() && source.fill()? == Filled::Ended;
            if ended && length == 0 {
                return Ok(Record::Ended);
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
                    return Ok(Record::Whole);
                }
                (ReadRecordResult::Record, Some((text, cells))) => {
                    self.close_last_cell(text, cells);
                    return Ok(Record::Dropped);
                }
                (ReadRecordResult::InputEmpty, kept) if ended => {
                    let (text, cells) = kept.unwrap_or((text, cells));
                    self.close_last_cell(text, cells);
                    return Ok(Record::Unclosed);
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
    pub(super) fn shown(&self) -> Vec<String> {
        let mut start = 0;
        self.ends[..self.cells]
            .iter()
            .map(|end| {
                let cell = String::from_utf8_lossy(&self.text[start..*end]).into_owned();
                start = *end;
                cell
            })
            .collect()
    }

    /// Returns whether no cell of the current record holds anything.
    fn is_blank(&self) -> bool {
        self.bytes().iter().all(u8::is_ascii_whitespace)
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

/// The rows of one input, under a header or by the one column that holds ids.
pub(super) struct DelimitedRows {
    records: Records,
    columns: Columns,
    /// How many cells the header has; without one, rows may have any number.
    width: Option<usize>,
}

impl DelimitedRows {
    /// Reads rows whose columns are known; the header, if any, was read before.
    pub(super) fn new(records: Records, columns: Columns, width: Option<usize>) -> Self {
        Self {
            records,
            columns,
            width,
        }
    }

    /// Reads the next row and the line on which it starts; rows in which every cell is blank are passed over.
    ///
    /// # Errors
    /// Returns the reader's error.
    pub(super) fn next(
        &mut self,
        source: &mut ByteSource,
    ) -> io::Result<Option<(u64, RowReading)>> {
        loop {
            self.records.find_start(source)?;
            let line = source.line();
            let row = match self.records.read(source)? {
                Record::Ended => return Ok(None),
                Record::Whole if self.records.is_blank() => continue,
                Record::Whole => self.current(),
                Record::Dropped => self.unusable(lines::TOO_LONG),
                Record::Unclosed => self.unusable(&format!(
                    "a quote opens here and never closes: everything from line {line} to the end was read as one row"
                )),
            };
            return Ok(Some((line, row)));
        }
    }

    /// Reads the record that is in the buffers.
    pub(super) fn current(&self) -> RowReading {
        let records = &self.records;
        let bytes = records.bytes();
        let whole = std::str::from_utf8(bytes).ok().filter(|text| {
            // Two halves of a character in neighbouring cells make sound text only when put together.
            text.is_ascii()
                || records.ends[..records.cells]
                    .iter()
                    .all(|end| text.is_char_boundary(*end))
        });
        let Some(text) = whole else {
            return self.unusable(lines::NO_TEXT);
        };
        if bytes.contains(&0) {
            return self.unusable(lines::HOLDS_NUL);
        }
        let cell = |at| {
            let (start, end) = records.span(at)?;
            text.get(start..end)
        };
        match self.width {
            // A delimiter too many moves what follows under the wrong names; blank cells at the end move nothing.
            Some(width)
                if (width..records.cells)
                    .any(|at| cell(at).is_some_and(|extra| !extra.trim().is_empty())) =>
            {
                self.unusable(&format!(
                    "the row has {} cells and the header {width}",
                    records.cells
                ))
            }
            _ if self.columns.is_ours() => {
                let cells: Vec<_> = (0..records.cells).filter_map(cell).map(decode).collect();
                self.columns.row(|at| cells.get(at).map(|cell| &**cell))
            }
            _ => self.columns.row(cell),
        }
    }

    /// Makes a bad row of the current record that shows its id cell as far as there is one.
    fn unusable(&self, reason: &str) -> RowReading {
        let shown = self.records.shown();
        let row = self.columns.row(|at| shown.get(at).map(String::as_str));
        RowReading {
            id_text: if row.id_text.is_empty() {
                lines::bad_row("", &shown.concat()).id_text
            } else {
                row.id_text
            },
            ..lines::bad_row(reason, "")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads all records and writes down what each was, with its cells.
    fn read(text: &str) -> Vec<(Record, Vec<String>)> {
        let mut source = ByteSource::new(Box::new(io::Cursor::new(text.to_owned())));
        let mut records = Records::new(b',');
        let mut all = Vec::new();
        loop {
            records.find_start(&mut source).unwrap();
            match records.read(&mut source).unwrap() {
                Record::Ended => return all,
                record => all.push((record, records.shown())),
            }
        }
    }

    #[test]
    fn the_last_record_needs_no_line_end_and_an_open_quote_is_known_as_such() {
        for (text, expected) in [
            ("a,b", Some(Record::Whole)),
            ("a,b\r\n", Some(Record::Whole)),
            ("a,", Some(Record::Whole)),
            ("a,\"b\"", Some(Record::Whole)),
            ("a,\"b\"x", Some(Record::Whole)),
            ("a,b\"", Some(Record::Whole)),
            ("\"", Some(Record::Unclosed)),
            ("\"a\n", Some(Record::Unclosed)),
            ("a,\"b\nc", Some(Record::Unclosed)),
            ("a,\"b\"\"", Some(Record::Unclosed)),
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
            assert_eq!(read[0].0, Record::Dropped);
            assert_eq!(read[0].1[..2], ["a", "b"]);
            assert_eq!(read[1], (Record::Whole, vec!["c".to_owned()]));
        }
        let unclosed = read(&format!("a,\"{long}"));
        assert_eq!(unclosed[0].0, Record::Unclosed);
        assert_eq!(unclosed[0].1[0], "a");
    }

    #[test]
    fn a_record_may_be_as_long_as_a_row_and_no_longer() {
        for (length, expected) in [(MAX_ROW - 1, Record::Whole), (MAX_ROW, Record::Dropped)] {
            // With its line end.
            let read = read(&format!("{}\nx", "y".repeat(length)));
            assert_eq!(read[0].0, expected, "{length}");
        }
    }
}
