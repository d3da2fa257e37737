//! Finds where JSON values end, without understanding them: whoever gets a complete value parses it.
//!
//! A string is never looked into, so what stands in a comment can never become a row.

use super::column_name;

/// Keys of a list inside an object: OData's, and that of our own JSON report.
const LIST_KEYS: &[&[u8]] = &[b"value", b"rows"];

/// How deep in brackets and strings the scan stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// Starts inside one bracket.
    pub(super) fn inside() -> Self {
        Self {
            depth: 1,
            ..Self::default()
        }
    }

    /// Goes over one byte and returns whether it closed the outermost bracket or string.
    pub(super) fn step(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_string = false;
                    return self.depth == 0;
                }
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

/// Finds the end of one value that starts at the first byte.
#[derive(Clone, Debug)]
pub(super) enum ValueScan {
    /// An object, a list or a string: ends with its closing byte.
    Closed(Nesting),
    /// Anything else: ends before the next byte that cannot be part of it.
    Bare,
}

impl ValueScan {
    /// Starts at a value's first byte.
    pub(super) fn starting_with(byte: u8) -> Self {
        match byte {
            b'{' | b'[' | b'"' => Self::Closed(Nesting::default()),
            _ => Self::Bare,
        }
    }

    /// Goes over `bytes` from `from` on and returns where the value ends, if it does.
    pub(super) fn find_end(&mut self, bytes: &[u8], from: usize) -> Option<usize> {
        match self {
            Self::Closed(nesting) => bytes[from..]
                .iter()
                .position(|byte| nesting.step(*byte))
                .map(|at| from + at + 1),
            // The first byte always belongs to the value, so that every value takes at least one.
            Self::Bare => {
                let from = from.max(1);
                bytes.get(from..).and_then(|rest| {
                    rest.iter()
                        .position(|byte| ends_bare(*byte))
                        .map(|at| from + at)
                })
            }
        }
    }
}

/// Returns whether a byte cannot be part of a number or word.
pub(super) fn ends_bare(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b',' | b'{' | b'}' | b'[' | b']' | b'"')
}

/// What an object at the top turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TopObject {
    /// An envelope, whose list begins after so many bytes.
    Envelope(usize),
    /// A record, which ends after so many bytes.
    Record(usize),
}

/// A line end inside an object, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InnerLineEnd {
    /// Between two tokens, after which a printer breaks lines.
    Layout,
    /// Inside a string, or where no printer breaks a line: the object is broken.
    Break,
}

/// Tells an envelope from a record while the bytes come.
#[derive(Debug, Default)]
pub(super) struct ObjectScan {
    nesting: Nesting,
    at: usize,
    /// Where the string begins that is being read, or the last one read at the object's own level.
    string: (usize, usize),
    after_colon: bool,
    has_id: bool,
    last_token: u8,
    line_end: Option<InnerLineEnd>,
}

impl ObjectScan {
    /// Goes on over `bytes`, which begin with the object's first byte; `None` as long as it is open.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Option<TopObject> {
        while let Some(&byte) = bytes.get(self.at) {
            if byte == b'\n' && self.line_end.is_none() {
                self.line_end = Some(self.judge_line_end());
            }
            if self.nesting.depth == 1 && !self.nesting.in_string && self.opens_list(byte, bytes) {
                return Some(TopObject::Envelope(self.at + 1));
            }
            let was_in_string = self.nesting.in_string;
            let closed = self.nesting.step(byte);
            if self.nesting.depth == 1 {
                match (was_in_string, self.nesting.in_string) {
                    (false, true) => self.string = (self.at + 1, self.at + 1),
                    (true, false) => self.string.1 = self.at,
                    _ => {}
                }
            }
            if !byte.is_ascii_whitespace() {
                self.last_token = byte;
            }
            self.at += 1;
            if closed {
                return Some(TopObject::Record(self.at));
            }
        }
        None
    }

    /// Looks at a byte between the object's own keys and values, and returns whether it opens an envelope's list.
    fn opens_list(&mut self, byte: u8, bytes: &[u8]) -> bool {
        let key = bytes.get(self.string.0..self.string.1).unwrap_or_default();
        match byte {
            b':' => {
                self.after_colon = true;
                self.has_id |= std::str::from_utf8(key).is_ok_and(column_name::names_an_id);
            }
            b'[' if self.after_colon => {
                self.after_colon = false;
                return !self.has_id && LIST_KEYS.contains(&key);
            }
            _ if byte.is_ascii_whitespace() => {}
            _ => self.after_colon = false,
        }
        false
    }

    fn judge_line_end(&self) -> InnerLineEnd {
        if !self.nesting.in_string && matches!(self.last_token, b'{' | b'[' | b',' | b':') {
            InnerLineEnd::Layout
        } else {
            InnerLineEnd::Break
        }
    }

    /// Returns what the first line end inside the object says, if one was seen.
    pub(super) fn line_end(&self) -> Option<InnerLineEnd> {
        self.line_end
    }

    /// Returns how far the scan has come, and how to go on from there without telling envelopes.
    pub(super) fn into_value_scan(self) -> (usize, ValueScan) {
        (self.at, ValueScan::Closed(self.nesting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Option<TopObject> {
        // A byte at a time must come to the same as all at once.
        let mut slow = ObjectScan::default();
        let stepwise = (0..=text.len()).find_map(|end| slow.advance(&text.as_bytes()[..end]));
        assert_eq!(ObjectScan::default().advance(text.as_bytes()), stepwise);
        stepwise
    }

    #[test]
    fn an_envelope_is_known_by_its_list_and_a_record_by_its_end() {
        for (text, expected) in [
            (r#"{"value":[1]}"#, Some(TopObject::Envelope(10))),
            (
                r#"{"@odata.context":"x{[\"","@odata.count":3,"value" : [ "#,
                Some(TopObject::Envelope(54)),
            ),
            (r#"{"a":{"value":[1]}}"#, Some(TopObject::Record(19))),
            (r#"{"value":"["}"#, Some(TopObject::Record(13))),
            (r#"{"id":"x","value":[1]}"#, Some(TopObject::Record(22))),
            (r#"{"a":"value","b":[1]}"#, Some(TopObject::Record(21))),
            (r#"{"a":["#, None),
        ] {
            assert_eq!(scan(text), expected, "{text}");
        }
    }

    #[test]
    fn line_ends_inside_tell_printing_from_damage() {
        for (text, expected) in [
            ("{\n \"a\":1}", Some(InnerLineEnd::Layout)),
            ("{\"a\":1,\r\n", Some(InnerLineEnd::Layout)),
            ("{\"a\":1\n,", Some(InnerLineEnd::Break)),
            ("{\"a\":\"x\n", Some(InnerLineEnd::Break)),
            ("{\"a\":\"x", None),
        ] {
            let mut scan = ObjectScan::default();
            scan.advance(text.as_bytes());
            assert_eq!(scan.line_end(), expected, "{text:?}");
        }
    }

    #[test]
    fn values_end_where_they_should() {
        for (text, expected) in [
            (r#""a\"b" "#, Some(6)),
            ("[[1],{}],", Some(8)),
            ("12,", Some(2)),
            ("}]", Some(1)),
            ("tru", None),
            (r#"{"a":"}"#, None),
        ] {
            let mut scan = ValueScan::starting_with(text.as_bytes()[0]);
            assert_eq!(scan.find_end(text.as_bytes(), 0), expected, "{text}");
        }
    }
}
