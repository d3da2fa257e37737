//! Reads lines: plain lists of ids, and the line splitting that other formats share.

use std::ops::ControlFlow;

use crate::model::ActionId;

use super::RowSink;
use super::decode::{MAX_ROW, TextSource};
use super::input_error::InputError;
use super::row::ParsedRow;

/// How much of an overlong line is shown, in bytes.
const HEAD: usize = 400;

/// The reason of a row that is longer than [`MAX_ROW`].
pub(super) const TOO_LONG: &str = "line too long (more than 1 MiB)";

pub(super) enum LineEnd {
    /// The number of available bytes before the line end.
    At(usize),
    /// InputCut [`MAX_ROW`]; nothing is consumed.
    TooFar,
    /// There is no further line.
    Ended,
}

/// Finds the end of the next line, reading no more than needed.
pub(super) fn find_line_end(source: &mut TextSource) -> Result<LineEnd, InputError> {
    let mut seen = 0;
    loop {
        let unseen = &source.available()[seen..];
        let end = unseen.iter().position(|byte| is_line_end(*byte));
        seen += end.unwrap_or(unseen.len());
        if seen > MAX_ROW {
            return Ok(LineEnd::TooFar);
        }
        if end.is_some() {
            return Ok(LineEnd::At(seen));
        }
        if !source.fill()? {
            return Ok(match seen {
                0 => LineEnd::Ended,
                _ => LineEnd::At(seen),
            });
        }
    }
}

fn is_line_end(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

/// Emits all lines as rows; `read` returns `None` for a line to skip.
pub(super) fn read(
    source: &mut TextSource,
    read: impl Fn(&str) -> Option<ParsedRow>,
    sink: &mut RowSink<'_>,
) -> Result<(), InputError> {
    while let Some(line) = next_line(source)? {
        let row = if line.is_too_long {
            Some(ParsedRow::bad(TOO_LONG, &line.text))
        } else {
            read(&line.text)
        };
        if let Some(row) = row
            && sink(line.number, row) == ControlFlow::Break(())
        {
            break;
        }
    }
    Ok(())
}

pub(super) struct TextLine {
    pub(super) number: u64,
    /// Only the beginning of an overlong line.
    pub(super) text: String,
    pub(super) is_too_long: bool,
}

pub(super) fn next_line(source: &mut TextSource) -> Result<Option<TextLine>, InputError> {
    let number = source.line();
    let end = find_line_end(source)?;
    let text = match end {
        LineEnd::Ended => return Ok(None),
        LineEnd::TooFar => drop_line(source)?,
        LineEnd::At(end) => {
            let text = text(&source.available()[..end]);
            source.consume(end + 1);
            text
        }
    };
    Ok(Some(TextLine {
        number,
        text,
        is_too_long: matches!(end, LineEnd::TooFar),
    }))
}

/// Skips the rest of a line without buffering it, and returns its beginning.
pub(super) fn drop_line(source: &mut TextSource) -> Result<String, InputError> {
    let available = source.available();
    let head = text(&available[..available.len().min(HEAD)]);
    loop {
        let available = source.available();
        if let Some(at) = available.iter().position(|byte| is_line_end(*byte)) {
            source.consume(at + 1);
            return Ok(head);
        }
        source.consume(available.len());
        if !source.fill()? {
            return Ok(head);
        }
    }
}

/// Converts bytes of a [`TextSource`]; they are UTF-8, except where truncated.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns `None` for a blank line or a comment.
pub(super) fn plain_row(line: &str) -> Option<ParsedRow> {
    let text = bare(line);
    (!text.is_empty()).then(|| ParsedRow::of_id(text))
}

/// Removes a comment: from a `#` at the start or after a blank.
pub(super) fn without_comment(line: &str) -> &str {
    let line = line.trim();
    let comment = line.match_indices('#').map(|(at, _)| at).find(|at| {
        line[..*at]
            .chars()
            .next_back()
            .is_none_or(char::is_whitespace)
    });
    line[..comment.unwrap_or(line.len())].trim()
}

/// Strips what surrounds an id in a list copied from code or a ticket: a bullet, quotes, commas.
fn bare(line: &str) -> &str {
    let line = without_comment(line);
    let bare = line
        .trim_start_matches(['-', '*', '•', ' '])
        .trim_matches(['"', '\'', '`', ',', ';', ' ', '\t']);
    // Show the original text if it is not an id.
    if ActionId::parse(bare).is_ok() {
        bare
    } else {
        line
    }
}

/// Returns whether a first line looks like one of a plain list: an id, or a malformed one.
pub(super) fn is_plain_id(line: &str) -> bool {
    let line = without_comment(line);
    let like_an_id = line.len() >= 8
        && line.contains('-')
        && line.contains(|letter: char| letter.is_ascii_digit())
        && line
            .chars()
            .all(|letter| letter.is_ascii_hexdigit() || matches!(letter, '-' | '{' | '}'));
    like_an_id || ActionId::parse(line).is_ok()
}

/// Returns whether a line is an id, possibly with quotes and so on around it.
pub(super) fn is_wrapped_id(line: &str) -> bool {
    ActionId::parse(bare(line)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";

    #[test]
    fn comments_and_blanks_are_no_rows() {
        for line in [
            "",
            "  \t",
            "# all of it",
            "  # all of it",
            "\u{b}# \0",
            "\u{a0}",
        ] {
            assert!(plain_row(line).is_none(), "{line:?}");
        }
        let row = plain_row(&format!(" {A}\t# server 7")).unwrap();
        assert!(row.id.is_ok());
        let row = plain_row("7f3c2a10#1").unwrap();
        assert_eq!(row.id_text, "7f3c2a10#1");
        assert_eq!(row.id.unwrap_err(), "the id is not a GUID");
    }

    #[test]
    fn a_broken_id_begins_a_list_and_a_word_does_not() {
        for line in [
            "7f3c2a10-5b1e-4a77",
            "{7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2",
            "7f3c2a10-1 # x",
        ] {
            assert!(is_plain_id(line), "{line}");
        }
        for line in [
            "hello",
            "ApprovalID",
            "deadbeef",
            "../../machines/1/offboard",
            "2026-02-03T10",
        ] {
            assert!(!is_plain_id(line), "{line}");
        }
    }
}
