//! Lines of text: plain lists of ids, and the line ends that JSON lines share with them.

use std::io;

use crate::model::ActionId;

use super::byte_source::{ByteSource, Filled, MAX_ROW};
use super::columns::{Columns, RowReading};

/// How much of a line that is too long is shown.
const HEAD: usize = 400;

/// The word on a row that is longer than [`MAX_ROW`].
pub(super) const TOO_LONG: &str = "line too long (more than 1 MiB)";

/// The word on a row that holds bytes no text has.
pub(super) const NO_TEXT: &str = "the row is not valid UTF-8 or UTF-16";

/// The word on a row with a NUL byte.
pub(super) const HOLDS_NUL: &str = "the row holds a NUL byte";

/// Where the next line ends.
pub(super) enum LineEnd {
    /// After so many available bytes, none of which ends a line.
    At(usize),
    /// Further on than any row may reach; nothing is consumed.
    TooFar,
    /// There is no line any more.
    Ended,
}

/// Finds the end of the next line and reads no further than it must.
///
/// # Errors
/// Returns the reader's error.
pub(super) fn find_line_end(source: &mut ByteSource) -> io::Result<LineEnd> {
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
        if source.fill()? == Filled::Ended {
            return Ok(if seen == 0 {
                LineEnd::Ended
            } else {
                LineEnd::At(seen)
            });
        }
    }
}

fn is_line_end(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

/// Reads lines until one is a row, and returns it with its line.
///
/// # Errors
/// Returns the reader's error.
pub(super) fn next_row(
    source: &mut ByteSource,
    mut read: impl FnMut(&[u8]) -> Option<RowReading>,
) -> io::Result<Option<(u64, RowReading)>> {
    loop {
        let line = source.line();
        let row = match find_line_end(source)? {
            LineEnd::Ended => return Ok(None),
            LineEnd::TooFar => Some(bad_row(TOO_LONG, &drop_line(source)?)),
            LineEnd::At(end) => {
                let row = read(&source.available()[..end]);
                // With its line end, so that a bookmark stands between two lines.
                source.consume(end + 1);
                row
            }
        };
        if let Some(row) = row {
            return Ok(Some((line, row)));
        }
    }
}

/// Gives a line up as it comes, and returns its beginning.
pub(super) fn drop_line(source: &mut ByteSource) -> io::Result<String> {
    let head = head(source.available());
    loop {
        let available = source.available();
        if let Some(at) = available.iter().position(|byte| is_line_end(*byte)) {
            source.consume(at + 1);
            return Ok(head);
        }
        source.consume(source.available().len());
        if source.fill()? == Filled::Ended {
            return Ok(head);
        }
    }
}

/// Returns the beginning of a row that is shown although it cannot be used.
pub(super) fn head(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(HEAD)]).into_owned()
}

/// Returns a row that cannot be used, with what there is to show of it.
pub(super) fn bad_row(reason: impl Into<String>, shown: &str) -> RowReading {
    RowReading {
        id: Err(reason.into()),
        ..Columns::only_id(0).row(|_| Some(shown))
    }
}

/// Returns the text of a row, or the row that says why there is none.
pub(super) fn checked(bytes: &[u8]) -> Result<&str, Box<RowReading>> {
    let fault = |reason| Err(Box::new(bad_row(reason, &head(bytes))));
    match std::str::from_utf8(bytes) {
        Ok(_) if bytes.contains(&0) => fault(HOLDS_NUL),
        Ok(text) => Ok(text),
        Err(_) => fault(NO_TEXT),
    }
}

/// Reads one plain line; `None` for a blank one and for a comment.
pub(super) fn plain_row(bytes: &[u8]) -> Option<RowReading> {
    let text = match checked(bytes) {
        Ok(text) => without_comment(text),
        Err(bad) => return Some(*bad),
    };
    (!text.is_empty()).then(|| Columns::only_id(0).row(|_| Some(text)))
}

/// Takes a comment off: a `#` at the start, or after a blank.
pub(super) fn without_comment(line: &str) -> &str {
    let comment = line
        .match_indices('#')
        .map(|(at, _)| at)
        .find(|at| *at == 0 || line[..*at].ends_with([' ', '\t']));
    line[..comment.unwrap_or(line.len())].trim()
}

/// Returns whether a first line looks like one of a plain list: an id, or what somebody made of one.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blanks_are_no_rows() {
        for line in ["", "  \t", "# all of it", "  # all of it"] {
            assert!(plain_row(line.as_bytes()).is_none(), "{line:?}");
        }
        let row = plain_row(b" 7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2\t# server 7").unwrap();
        assert!(row.id.is_ok());
        let row = plain_row(b"7f3c2a10#1").unwrap();
        assert_eq!(row.id_text, "7f3c2a10#1");
        assert_eq!(row.id.unwrap_err(), "the id is not a GUID");
    }

    #[test]
    fn what_is_no_text_is_shown_and_named() {
        let row = plain_row(b"7f3c\xFF").unwrap();
        assert_eq!(
            (row.id.unwrap_err(), row.id_text),
            (NO_TEXT.into(), "7f3c\u{FFFD}".into())
        );
        let row = plain_row(b"7f3c\0").unwrap();
        assert_eq!(row.id.unwrap_err(), HOLDS_NUL);
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
