//! Decodes an input to UTF-8 and counts lines.
//!
//! Byte order marks are dropped and UTF-16 is decoded. Bytes that are not UTF-8 are read as Windows-1252, which
//! spreadsheets often write, and a lone UTF-16 surrogate becomes U+FFFD. Neither can produce an id or a known type, and
//! comments stay readable. The first such line is reported in a warning.
//!
//! Each step reads at most once, so that everything a slow pipe has delivered is used at once. Only unconsumed text is
//! kept.

use std::io::{self, Read};
use std::sync::Arc;

use super::binary_signatures;
use super::input_error::InputError;

/// The size of a read, in bytes.
const BLOCK: usize = 64 * 1024;

/// Longer rows are dropped, in bytes.
pub(super) const MAX_ROW: usize = 1024 * 1024;

/// Bytes needed to detect a byte order mark or a binary file. No row is shorter.
const SIGNATURE: usize = 8;

/// Windows-1252 at 0x80 to 0x9F; the other bytes equal their code points.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8D}', 'Ž', '\u{8F}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9D}', 'ž', 'Ÿ',
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Unknown,
    Utf8,
    Utf16Le,
    Utf16Be,
}

/// Decoded text of an input, read on demand.
pub(super) struct TextSource {
    name: Arc<str>,
    read: Box<dyn Read + Send>,
    block: Vec<u8>,
    encoding: Encoding,
    /// Undecoded bytes.
    raw: Vec<u8>,
    text: Vec<u8>,
    start: usize,
    ended: bool,
    line: u64,
    repaired: Option<u64>,
}

impl TextSource {
    /// Reads nothing yet. `name` is for errors.
    pub(super) fn new(name: Arc<str>, read: Box<dyn Read + Send>) -> Self {
        Self {
            name,
            read,
            block: vec![0; BLOCK],
            encoding: Encoding::Unknown,
            raw: Vec::new(),
            text: Vec::new(),
            start: 0,
            ended: false,
            line: 1,
            repaired: None,
        }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns the decoded, unconsumed text.
    pub(super) fn available(&self) -> &[u8] {
        &self.text[self.start..]
    }

    /// Returns the line of the next unconsumed byte, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Returns the first line with invalid bytes.
    pub(super) fn repaired(&self) -> Option<u64> {
        self.repaired
    }

    /// Describes how invalid bytes were read.
    pub(super) fn warning(&self) -> Option<String> {
        let (name, line) = (&self.name, self.repaired?);
        Some(match self.encoding {
            Encoding::Utf16Le | Encoding::Utf16Be => format!(
                "{name}: line {line} holds half of a UTF-16 character; it is read as \u{FFFD}"
            ),
            Encoding::Utf8 | Encoding::Unknown => format!(
                "{name}: line {line} is not UTF-8; such characters are read as Windows-1252, so check comments and names"
            ),
        })
    }

    pub(super) fn consume(&mut self, count: usize) {
        let end = self.text.len().min(self.start + count);
        self.line += count_lines(&self.text[self.start..end]);
        self.start = end;
    }

    /// Makes at least one more byte available; returns false at the end.
    pub(super) fn fill(&mut self) -> Result<bool, InputError> {
        if self.encoding == Encoding::Unknown {
            self.begin()?;
        }
        let before = self.available().len();
        loop {
            self.decode();
            if self.available().len() > before {
                return Ok(true);
            }
            if self.ended {
                return Ok(false);
            }
            self.read_block()?;
        }
    }

    /// Detects the encoding from the first bytes.
    fn begin(&mut self) -> Result<(), InputError> {
        while self.raw.len() < SIGNATURE && !self.ended {
            self.read_block()?;
        }
        if let Some(what) = binary_signatures::recognize(&self.raw) {
            return Err(InputError::BinaryFile {
                name: self.name.to_string(),
                what,
            });
        }
        let (encoding, mark) = match *self.raw {
            [0xEF, 0xBB, 0xBF, ..] => (Encoding::Utf8, 3),
            [0xFF, 0xFE, ..] => (Encoding::Utf16Le, 2),
            [0xFE, 0xFF, ..] => (Encoding::Utf16Be, 2),
            // Some exporters omit the mark.
            [1..=0x7F, 0, 1..=0x7F, 0, ..] => (Encoding::Utf16Le, 0),
            [0, 1..=0x7F, 0, 1..=0x7F, ..] => (Encoding::Utf16Be, 0),
            _ => (Encoding::Utf8, 0),
        };
        self.encoding = encoding;
        self.raw.drain(..mark);
        Ok(())
    }

    /// Reads once, retrying if a signal interrupts the call.
    fn read_block(&mut self) -> Result<(), InputError> {
        let count = loop {
            match self.read.read(&mut self.block) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(InputError::Read {
                        name: self.name.to_string(),
                        line: self.line,
                        source,
                    });
                }
                Ok(count) => break count,
            }
        };
        self.raw.extend_from_slice(&self.block[..count]);
        self.ended = count == 0;
        Ok(())
    }

    /// Decodes all complete characters.
    fn decode(&mut self) {
        if self.start > 0 {
            self.text.drain(..self.start);
            self.start = 0;
        }
        let taken = match self.encoding {
            Encoding::Utf16Le => self.decode_utf16(u16::from_le_bytes),
            Encoding::Utf16Be => self.decode_utf16(u16::from_be_bytes),
            Encoding::Utf8 | Encoding::Unknown => self.decode_utf8(),
        };
        self.raw.drain(..taken);
    }

    fn decode_utf8(&mut self) -> usize {
        // The fast path, for almost all blocks.
        let sound = match std::str::from_utf8(&self.raw) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() && !self.ended => error.valid_up_to(),
            Err(_) => 0,
        };
        if sound > 0 {
            self.text.extend_from_slice(&self.raw[..sound]);
            return sound;
        }
        let mut taken = 0;
        for chunk in self.raw.utf8_chunks() {
            self.text.extend_from_slice(chunk.valid().as_bytes());
            taken += chunk.valid().len();
            let bad = chunk.invalid();
            let is_cut_off = taken + bad.len() == self.raw.len() && is_beginning(bad);
            if bad.is_empty() || (is_cut_off && !self.ended) {
                break;
            }
            self.repaired
                .get_or_insert_with(|| self.line + count_lines(&self.text));
            for byte in bad {
                let letter = match byte {
                    0x80..=0x9F => WINDOWS_1252[usize::from(byte - 0x80)],
                    _ => char::from(*byte),
                };
                let mut room = [0; 4];
                self.text
                    .extend_from_slice(letter.encode_utf8(&mut room).as_bytes());
            }
            taken += bad.len();
        }
        taken
    }

    fn decode_utf16(&mut self, unit: fn([u8; 2]) -> u16) -> usize {
        let mut taken = 0;
        while taken < self.raw.len() {
            let (letter, length) = match self.raw[taken..] {
                [a, b, c, d, ..] => first_char([unit([a, b]), unit([c, d])]),
                [a, b, ..] => match first_char([unit([a, b])]) {
                    // The other surrogate may follow.
                    (None, _) if !self.ended => break,
                    found => found,
                },
                [_] if self.ended => (None, 1),
                _ => break,
            };
            if letter.is_none() {
                self.repaired
                    .get_or_insert_with(|| self.line + count_lines(&self.text));
            }
            let letter = letter.unwrap_or(char::REPLACEMENT_CHARACTER);
            let mut room = [0; 4];
            self.text
                .extend_from_slice(letter.encode_utf8(&mut room).as_bytes());
            taken += length;
        }
        taken
    }
}

/// Returns the first character, if valid, and its length in bytes.
fn first_char<const N: usize>(units: [u16; N]) -> (Option<char>, usize) {
    match char::decode_utf16(units).next() {
        Some(Ok(letter)) => (Some(letter), 2 * letter.len_utf16()),
        Some(Err(_)) | None => (None, 2),
    }
}

/// Returns whether `bytes` may be a truncated UTF-8 character.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[expect(
    clippy::naive_bytecount,
    reason = "a small part of the reading, and not worth a library"
)]
fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Delivers its bytes in reads of `step` bytes.
    struct Trickle {
        bytes: Vec<u8>,
        at: usize,
        step: usize,
    }

    impl Read for Trickle {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let count = self.step.min(self.bytes.len() - self.at).min(room.len());
            room[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
            self.at += count;
            Ok(count)
        }
    }

    fn source(read: impl Read + Send + 'static) -> TextSource {
        TextSource::new(Arc::from("x"), Box::new(read))
    }

    /// Returns the text and the first line with invalid bytes.
    fn read_all(bytes: &[u8], step: usize) -> (String, Option<u64>) {
        let mut source = source(Trickle {
            bytes: bytes.to_vec(),
            at: 0,
            step,
        });
        let mut all = Vec::new();
        while source.fill().unwrap() {
            all.extend_from_slice(source.available());
            source.consume(source.available().len());
        }
        // The end is final.
        assert!(!source.fill().unwrap());
        (String::from_utf8(all).unwrap(), source.repaired())
    }

    fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    }

    #[test]
    fn every_encoding_becomes_the_same_text_however_short_the_reads() {
        let text = "id;Größe\r\n𝄞;ж\r\n".repeat(2000);
        let marked = format!("\u{FEFF}{text}");
        for step in [1, 2, 3, 7, 4096, usize::MAX] {
            for bytes in [
                text.clone().into_bytes(),
                marked.clone().into_bytes(),
                utf16(&marked, u16::to_le_bytes),
                utf16(&marked, u16::to_be_bytes),
                utf16(&text, u16::to_le_bytes),
                utf16(&text, u16::to_be_bytes),
            ] {
                assert_eq!(
                    read_all(&bytes, step),
                    (text.clone(), None),
                    "reads of {step}"
                );
            }
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_windows_1252() {
        for (bytes, text, line) in [
            (
                &b"a\nPr\xFCfung l\xE4uft\n\x80"[..],
                "a\nPrüfung läuft\n€",
                2,
            ),
            (b"\xC3\xA9 \xC3", "é Ã", 1),
            (b"\xE2\x82x\xF0\x9F\x92", "â‚xðŸ’", 1),
            (b"\xEF\xBB", "ï»", 1),
            (b"\xED\xA0\x80", "í\u{A0}€", 1),
        ] {
            for step in [1, 2, 3, usize::MAX] {
                let expected = (text.to_owned(), Some(line));
                assert_eq!(read_all(bytes, step), expected, "{bytes:?} by {step}");
            }
        }
    }

    #[test]
    fn half_a_utf_16_character_is_shown_as_such() {
        let (high, low) = (0xD834, 0xDD1E);
        let units = [
            0xFEFF,
            high,
            u16::from(b'a'),
            low,
            10,
            u16::from(b'b'),
            high,
        ];
        let bytes: Vec<u8> = units.into_iter().flat_map(u16::to_be_bytes).collect();
        for step in [1, 2, 3, 99] {
            let text = "\u{FFFD}a\u{FFFD}\nb\u{FFFD}".to_owned();
            assert_eq!(read_all(&bytes, step), (text, Some(1)));
        }
        assert_eq!(
            read_all(b"\xFF\xFEa\0b", 1),
            ("a\u{FFFD}".to_owned(), Some(1))
        );
        assert_eq!(read_all(b"\xFF\xFE", 1), (String::new(), None));
    }

    /// This takes an hour if each invalid byte rescans all earlier ones.
    #[test]
    fn a_file_full_of_bytes_that_are_not_text_is_read_as_fast_as_any_other() {
        let (text, line) = read_all(&vec![0xFC; 1 << 20], usize::MAX);
        assert_eq!((text.chars().count(), line), (1 << 20, Some(1)));
        let (text, line) = read_all(
            &[vec![0xFE, 0xFF], vec![0xD8; 1 << 20]].concat(),
            usize::MAX,
        );
        assert_eq!((text.chars().count(), line), (1 << 19, Some(1)));
    }

    #[test]
    fn lines_count_what_was_consumed() {
        let mut source = source(&b"\xEF\xBB\xBFa\nb\nc"[..]);
        source.fill().unwrap();
        source.consume(4);
        assert_eq!(source.line(), 3);
        source.consume(99);
        assert_eq!(source.line(), 3);
    }

    #[test]
    fn an_interrupted_read_is_made_again_and_another_fault_is_told() {
        struct Faulty(u8);
        impl Read for Faulty {
            fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                match self.0 {
                    1 => Err(io::ErrorKind::Interrupted.into()),
                    2 => {
                        room[..9].copy_from_slice(b"nine byte");
                        Ok(9)
                    }
                    _ => Err(io::ErrorKind::BrokenPipe.into()),
                }
            }
        }
        let mut source = source(Faulty(0));
        assert!(source.fill().unwrap());
        let error = source.fill().unwrap_err();
        assert_eq!(error.to_string(), "cannot read x from line 1 on");
    }
}
