//! Tells from its first line how an input is written, and finds the column of ids, or says why there is none.
//!
//! Never asks for more bytes than the first line of data needs; the answer depends on the bytes alone, never on how
//! they happened to arrive.

use std::io;

use csv_core::ReadRecordResult;

use super::byte_source::{ByteSource, Filled, MAX_ROW};
use super::columns::{Columns, RowReading};
use super::delimited::{Comments, DelimitedRows, Record, Records};
use super::input_error::InputError;
use super::json_scan::{InnerLineEnd, ObjectScan, TopObject};
use super::lines::LineEnd;
use super::{cells, column_name, lines};

/// What may stand between cells; an earlier one wins where two do equally well.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// How an input turned out to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Cells between delimiters.
    Delimited,
    /// A JSON document.
    Json,
    /// One JSON value a line.
    JsonLines,
    /// One id a line.
    Lines,
}

/// A delimited input whose columns are known.
pub(super) struct Opened {
    /// The rows from here on.
    pub(super) rows: DelimitedRows,
    /// Without a header: the first row, which was read to find the column, and its line.
    pub(super) first: Option<(u64, RowReading)>,
}

/// Goes over blank lines to the first byte that means something; `None` where there is none.
///
/// # Errors
/// Returns the reader's error.
pub(super) fn find_text(source: &mut ByteSource) -> io::Result<Option<u8>> {
    loop {
        let available = source.available();
        let text = available
            .iter()
            .position(|byte| !byte.is_ascii_whitespace());
        let blank = &available[..text.unwrap_or(available.len())];
        // Blanks on the line of the text stay: a tab there is an empty first cell.
        let whole_lines = blank
            .iter()
            .rposition(|byte| matches!(byte, b'\n' | b'\r'))
            .map_or(0, |at| at + 1);
        if let Some(at) = text {
            let byte = available[at];
            source.consume(whole_lines);
            return Ok(Some(byte));
        }
        // A line of nothing but blanks longer than any row is no line to keep.
        source.consume(if available.len() > MAX_ROW {
            available.len()
        } else {
            whole_lines
        });
        if source.fill()? == Filled::Ended {
            source.consume(source.available().len());
            return Ok(None);
        }
    }
}

/// Goes over blank lines and comments to the first line that means something, and returns its first byte of text.
///
/// # Errors
/// Returns the reader's error.
fn skip_comments(source: &mut ByteSource) -> io::Result<Option<u8>> {
    loop {
        let Some(first) = find_text(source)? else {
            return Ok(None);
        };
        let line = match lines::find_line_end(source)? {
            LineEnd::At(end) => &source.available()[..end],
            LineEnd::TooFar | LineEnd::Ended => source.available(),
        };
        if !is_comment(line) {
            return Ok(Some(first));
        }
        lines::drop_line(source)?;
    }
}

/// Tells the layout of an input whose first byte of text is `first`; `None` where it holds nothing but comments.
///
/// # Errors
/// Returns the reader's error.
pub(super) fn layout(source: &mut ByteSource, first: u8) -> io::Result<Option<Layout>> {
    // No line end is waited for where the first byte tells: a document may stand on one line.
    let mut first = first;
    if matches!(first, b'#' | b'"') {
        match skip_comments(source)? {
            Some(byte) => first = byte,
            None => return Ok(None),
        }
    }
    match first {
        b'[' => return Ok(Some(Layout::Json)),
        b'{' => {
            if let Some(json) = json_layout(source)? {
                return Ok(Some(json));
            }
        }
        _ => {}
    }
    Ok(Some(match lines::find_line_end(source)? {
        LineEnd::At(end) if is_plain(&source.available()[..end]) => Layout::Lines,
        _ => Layout::Delimited,
    }))
}

fn is_plain(line: &[u8]) -> bool {
    std::str::from_utf8(line).is_ok_and(lines::is_plain_id)
}

/// Tells JSON lines from a document by the first line; `None` where a brace begins no JSON.
fn json_layout(source: &mut ByteSource) -> io::Result<Option<Layout>> {
    let mut scan = ObjectScan::default();
    let indent = source
        .available()
        .iter()
        .position(|byte| *byte == b'{')
        .unwrap_or(0);
    loop {
        let object = &source.available()[indent..];
        let second = object[1..].iter().find(|byte| !byte.is_ascii_whitespace());
        if second.is_some_and(|byte| !matches!(byte, b'"' | b'}')) {
            return Ok(None);
        }
        // Blanks behind the brace tell nothing: what comes after them may be no JSON.
        let is_open = second.is_none() && source.available().len() <= MAX_ROW;
        if is_open && source.fill()? == Filled::More {
            continue;
        }
        let object = &source.available()[indent..];
        let found = scan.advance(object);
        match (scan.line_end(), found) {
            (Some(InnerLineEnd::Layout), _) | (_, Some(TopObject::Envelope(_))) => {
                return Ok(Some(Layout::Json));
            }
            (Some(InnerLineEnd::Break), _) => return Ok(Some(Layout::JsonLines)),
            (None, Some(TopObject::Record(end))) => {
                let behind = object[end..]
                    .iter()
                    .find(|byte| !matches!(byte, b' ' | b'\t' | b'\r'));
                match behind {
                    Some(b'\n') => return Ok(Some(Layout::JsonLines)),
                    Some(_) => return Ok(Some(Layout::Json)),
                    None => {}
                }
                if source.fill()? == Filled::Ended {
                    return Ok(Some(Layout::JsonLines));
                }
                // The scan has ended; only what stands behind the object is still open.
                scan = ObjectScan::default();
            }
            (None, None) => {
                if source.available().len() > MAX_ROW || source.fill()? == Filled::Ended {
                    return Ok(Some(Layout::Json));
                }
            }
        }
    }
}

/// Opens a delimited input: goes over `sep=`, `#TYPE` and comments, chooses the delimiter, reads the header.
///
/// Returns `None` where nothing but comments is there.
///
/// # Errors
/// Returns why no column may be taken for the id.
pub(super) fn open_delimited(
    source: &mut ByteSource,
    name: &str,
    id_column: Option<&str>,
    fixed: Option<u8>,
) -> Result<Option<Opened>, InputError> {
    let broken = |line, source| InputError::Read {
        name: name.to_owned(),
        line,
        source,
    };
    let Some(delimiter) =
        find_delimiter(source, id_column, fixed).map_err(|error| broken(source.line(), error))?
    else {
        return Ok(None);
    };
    let mut records = Records::new(delimiter);
    let line = source.line();
    let record = records
        .find_start(source)
        .and_then(|()| records.read(source))
        .map_err(|error| broken(line, error))?;
    let seen = records.shown();
    let guids: Vec<_> = (0..seen.len())
        .filter(|at| column_name::holds_a_guid(&seen[*at]))
        .collect();
    match (record, id_column, guids.as_slice()) {
        (Record::Ended, ..) => Ok(None),
        (Record::Whole, Some(column), _) => match Columns::read(&seen, id_column) {
            Some(found) => Ok(Some(under_header(records, found, seen.len()))),
            None => Err(InputError::NamedColumnMissing {
                name: name.to_owned(),
                column: column.to_owned(),
                seen: cells::list(&seen),
            }),
        },
        (Record::Whole, None, [at]) => Ok(Some(without_header(records, *at, line))),
        (Record::Whole, None, [_, _, ..]) => Err(InputError::SeveralIdColumns {
            name: name.to_owned(),
            seen: cells::list(&seen),
        }),
        (Record::Whole, None, []) if let Some(found) = Columns::read(&seen, None) => {
            Ok(Some(under_header(records, found, seen.len())))
        }
        _ => Err(InputError::NoIdColumn {
            name: name.to_owned(),
            seen: cells::list(&seen),
        }),
    }
}

fn under_header(records: Records, columns: Columns, width: usize) -> Opened {
    Opened {
        rows: DelimitedRows::new(records, columns, Some(width)),
        first: None,
    }
}

fn without_header(mut records: Records, at: usize, line: u64) -> Opened {
    records.set_comments(Comments::Skipped);
    let rows = DelimitedRows::new(records, Columns::only_id(at), None);
    let first = Some((line, rows.current()));
    Opened { rows, first }
}

/// Goes over what may stand before the first record and returns the delimiter; `None` at the end.
fn find_delimiter(
    source: &mut ByteSource,
    id_column: Option<&str>,
    fixed: Option<u8>,
) -> io::Result<Option<u8>> {
    let mut named = None;
    while skip_comments(source)?.is_some() {
        let line = match lines::find_line_end(source)? {
            LineEnd::At(end) => &source.available()[..end],
            // Too long to be a header: the error that follows shows how it begins.
            LineEnd::TooFar => return Ok(Some(DELIMITERS[0])),
            LineEnd::Ended => break,
        };
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

/// Returns whether a line before the header is a comment, such as PowerShell's `#TYPE`; a first column named `#` is not.
fn is_comment(line: &[u8]) -> bool {
    match line.trim_ascii_start() {
        [b'#', second, ..] => !DELIMITERS.contains(second),
        [b'#'] => true,
        line => line.starts_with(b"\"#TYPE "),
    }
}

/// Chooses the delimiter that makes cells of the first line of which one is an id or names one; of these the one that
/// makes most.
fn best_delimiter(line: &[u8], id_column: Option<&str>) -> u8 {
    let mut best = ((false, 0), DELIMITERS[0]);
    for delimiter in DELIMITERS {
        let cells = split(line, delimiter);
        let fits = match id_column {
            Some(_) => Columns::read(&cells, id_column).is_some(),
            None => cells
                .iter()
                .any(|cell| column_name::holds_a_guid(cell) || column_name::names_an_id(cell)),
        };
        if (fits, cells.len()) > best.0 {
            best = ((fits, cells.len()), delimiter);
        }
    }
    best.1
}

/// Splits one line into cells.
fn split(line: &[u8], delimiter: u8) -> Vec<String> {
    let mut parser = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
    let mut text = vec![0; line.len() + 1];
    let mut ends = vec![0; line.len() + 2];
    let (result, _, _, mut cells) = parser.read_record(line, &mut text, &mut ends);
    if result == ReadRecordResult::InputEmpty {
        let (_, _, _, last) = parser.read_record(&[], &mut text, &mut ends[cells..]);
        cells += last;
    }
    let mut start = 0;
    ends[..cells]
        .iter()
        .map(|end| {
            let cell = String::from_utf8_lossy(&text[start..*end]).into_owned();
            start = *end;
            cell
        })
        .collect()
}
