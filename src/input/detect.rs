//! Detects the format of an input from its first line.
//!
//! Reads no further than the first line of data. The result depends on the bytes only, never on how they are split into reads.

use crate::model::InvalidActionId;

use super::InputFormat;
use super::csv::{self, DELIMITERS};
use super::decode::{MAX_ROW, TextSource};
use super::input_error::InputError;
use super::lines::{self, LineEnd, find_line_end};
use super::{header, row};

/// Returns `None` if the input contains nothing but comments.
pub(super) fn format(
    source: &mut TextSource,
    id_column: Option<&str>,
) -> Result<Option<InputFormat>, InputError> {
    let Some(mut first) = find_text(source)? else {
        return Ok(None);
    };
    // Don't wait for a line end if the first byte decides: a JSON document may be a single line.
    if matches!(first, b'#' | b'"') {
        match skip_comments(source)? {
            Some(byte) => first = byte,
            None => return Ok(None),
        }
    }
    if first == b'[' {
        return Ok(Some(InputFormat::Json));
    }
    let end = find_line_end(source)?;
    let line = match end {
        LineEnd::At(end) => &source.available()[..end],
        LineEnd::TooFar | LineEnd::Ended => source.available(),
    };
    if first == b'{' {
        let inside = line.trim_ascii_start().get(1..).unwrap_or_default();
        match inside.trim_ascii_start().first() {
            // A GUID in braces.
            Some(byte) if !matches!(byte, b'"' | b'}') => {}
            _ if matches!(end, LineEnd::At(_)) && is_json(line) => {
                return Ok(Some(InputFormat::Jsonl));
            }
            _ => return Ok(Some(InputFormat::Json)),
        }
    }
    let line = lines::text(line);
    let is_list = lines::is_plain_id(&line)
        || (lines::is_wrapped_id(&line)
            && !DELIMITERS.iter().any(|delimiter| {
                let cells = csv::split(line.as_bytes(), *delimiter);
                cells.iter().any(|cell| csv::is_guid(cell))
            }));
    // An `id_column` needs a header.
    Ok(Some(if is_list && id_column.is_none() {
        InputFormat::Lines
    } else {
        InputFormat::Csv
    }))
}

fn is_json(line: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

/// Skips blank lines and returns the first other byte; `None` at the end.
pub(super) fn find_text(source: &mut TextSource) -> Result<Option<u8>, InputError> {
    loop {
        let available = source.available();
        let text = available
            .iter()
            .position(|byte| !byte.is_ascii_whitespace());
        let blank = &available[..text.unwrap_or(available.len())];
        // Keep blanks before the text: a leading tab is an empty first cell.
        let whole_lines = blank
            .iter()
            .rposition(|byte| matches!(byte, b'\n' | b'\r'))
            .map_or(0, |at| at + 1);
        if let Some(at) = text {
            let byte = available[at];
            source.consume(whole_lines);
            return Ok(Some(byte));
        }
        // A blank line that is longer than any row needs no buffering.
        source.consume(if available.len() > MAX_ROW {
            available.len()
        } else {
            whole_lines
        });
        if !source.fill()? {
            source.consume(source.available().len());
            return Ok(None);
        }
    }
}

/// Skips blank lines and comments, and returns the first byte of text on the next line.
pub(super) fn skip_comments(source: &mut TextSource) -> Result<Option<u8>, InputError> {
    loop {
        let Some(first) = find_text(source)? else {
            return Ok(None);
        };
        let line = match find_line_end(source)? {
            LineEnd::At(end) => &source.available()[..end],
            LineEnd::TooFar | LineEnd::Ended => source.available(),
        };
        if !is_comment(line) {
            return Ok(Some(first));
        }
        lines::drop_line(source)?;
    }
}

/// Returns whether a line before the header is a comment, such as PowerShell's `#TYPE`. A header whose first column is
/// `#`, or that is commented out, is not.
fn is_comment(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    match line.strip_prefix(b"#") {
        None => line.starts_with(b"\"#TYPE "),
        Some(behind) if behind.first().is_some_and(|byte| DELIMITERS.contains(byte)) => false,
        Some(behind) => !DELIMITERS.iter().any(|delimiter| {
            let cells = csv::split(behind, *delimiter);
            cells.len() > 1 && header::knows_any(&cells)
        }),
    }
}

/// Builds the error for an input without ids, or without the requested column.
pub(super) fn no_ids<N: AsRef<str>>(
    name: &str,
    id_column: Option<&str>,
    names: &[N],
) -> InputError {
    let (name, seen) = (name.to_owned(), row::list(names));
    let is_machine =
        |cell: &N| crate::model::ActionId::parse(cell.as_ref()) == Err(InvalidActionId::MachineId);
    match id_column {
        Some(column) => InputError::NamedColumnMissing {
            name,
            column: column.to_owned(),
            seen,
        },
        None if header::names_machines(names) || names.iter().any(is_machine) => {
            InputError::OnlyMachineIds { name, seen }
        }
        None => InputError::NoIdColumn { name, seen },
    }
}
