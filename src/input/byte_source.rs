//! The bytes of one input as UTF-8: byte order marks taken off, UTF-16 decoded, lines and offsets counted.
//!
//! What is no UTF-16 becomes a byte that is no UTF-8 either, so that one check finds both and no row is repaired; a U+FFFD
//! that really stands there stays what it is.
//!
//! Never asks its input for more than one read at a time, so whatever a slow pipe has delivered can be used at once.
//! Holds what was not consumed yet, and nothing else.

use std::io;
use std::io::Read;

use sha2::{Digest as _, Sha256};

/// What one read asks for: large enough that system calls do not show, small enough for a processor's cache.
const BLOCK: usize = 64 * 1024;

/// The longest row that is looked at; a longer one is dropped unread, whatever it holds.
pub(super) const MAX_ROW: usize = 1024 * 1024;

/// The least room a read is given, so that a decoder never lacks it for one character.
const LEAST_ROOM: usize = 1024;

/// Stands for UTF-16 that is none: a byte that no UTF-8 text holds.
const NO_TEXT: u8 = 0xFF;

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// At least one byte more.
    More,
    /// The input has ended; nothing was added.
    Ended,
}

/// How the input's bytes are written.
enum Encoding {
    /// Nothing was read yet.
    Unknown,
    /// UTF-8, passed on unchecked: whoever looks at a row checks it.
    Utf8,
    /// UTF-16, decoded on the way.
    Utf16(Box<Utf16>),
}

/// The unread bytes of one input.
pub(super) struct ByteSource {
    read: Box<dyn Read + Send>,
    encoding: Encoding,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    line: u64,
    offset: u64,
    digest: Option<Sha256>,
}

impl ByteSource {
    /// Wraps a reader, from which nothing is read yet.
    pub(super) fn new(read: Box<dyn Read + Send>) -> Self {
        Self {
            read,
            encoding: Encoding::Unknown,
            buffer: vec![0; BLOCK],
            start: 0,
            end: 0,
            ended: false,
            line: 1,
            offset: 0,
            digest: None,
        }
    }

    /// Computes from here on a digest of all that is consumed. To be called before the first read.
    pub(super) fn keep_digest(&mut self) {
        self.digest = Some(Sha256::new());
    }

    /// Goes on at `offset`, to which the reader was moved; `digest` is that of everything before.
    pub(super) fn go_on_at(&mut self, offset: u64, line: u64, digest: Sha256) {
        self.encoding = Encoding::Utf8;
        self.start = 0;
        self.end = 0;
        self.ended = false;
        self.offset = offset;
        self.line = line;
        self.digest = Some(digest);
    }

    /// Returns what was read and not consumed.
    pub(super) fn available(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Returns the line on which the next unconsumed byte stands, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Returns how many bytes were consumed: of the input, byte order mark included, or of what was made of it where it is
    /// decoded.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns whether offsets count bytes of something else than the input.
    pub(super) fn is_decoded(&self) -> bool {
        matches!(self.encoding, Encoding::Utf16(_))
    }

    /// Returns the digest of everything consumed, where one is kept.
    pub(super) fn digest(&self) -> Option<[u8; 32]> {
        self.digest
            .as_ref()
            .map(|digest| digest.clone().finalize().into())
    }

    /// Gives the first `count` available bytes up.
    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        let taken = &self.buffer[self.start..self.start + count];
        #[expect(
            clippy::naive_bytecount,
            reason = "a small part of the reading, and not worth a library"
        )]
        let lines = taken.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.line += lines;
        if let Some(digest) = &mut self.digest {
            digest.update(taken);
        }
        self.offset += count as u64;
        self.start += count;
    }

    /// Reads once, and a second time only where the first brought no whole character.
    ///
    /// # Errors
    /// Returns the reader's error.
    pub(super) fn fill(&mut self) -> io::Result<Filled> {
        if self.ended {
            return Ok(Filled::Ended);
        }
        self.make_room();
        if matches!(self.encoding, Encoding::Unknown) {
            return self.read_mark();
        }
        let room = &mut self.buffer[self.end..];
        let count = if let Encoding::Utf16(text) = &mut self.encoding {
            let (count, finished) = text.decode(&mut *self.read, room)?;
            self.ended = finished;
            count
        } else {
            let count = read_once(&mut *self.read, room)?;
            self.ended = count == 0;
            count
        };
        self.end += count;
        Ok(if count == 0 {
            Filled::Ended
        } else {
            Filled::More
        })
    }

    /// Moves the unconsumed bytes to the front where they stand in the way, and grows the buffer where they fill it.
    fn make_room(&mut self) {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.buffer.len() - self.end < LEAST_ROOM {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.buffer.len() - self.end < LEAST_ROOM {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
    }

    /// Reads until it is clear whether a byte order mark stands in front: one read, unless that ends inside a mark.
    fn read_mark(&mut self) -> io::Result<Filled> {
        loop {
            let count = read_once(&mut *self.read, &mut self.buffer[self.end..])?;
            self.end += count;
            let seen = &self.buffer[..self.end];
            let may_become_mark = matches!(seen, [0xEF | 0xFE | 0xFF] | [0xEF, 0xBB]);
            if count > 0 && may_become_mark {
                continue;
            }
            let (encoding, mark) = match seen {
                [0xEF, 0xBB, 0xBF, ..] => (Encoding::Utf8, 3),
                [0xFF, 0xFE, rest @ ..] => (Utf16::after_mark(u16::from_le_bytes, rest), self.end),
                [0xFE, 0xFF, rest @ ..] => (Utf16::after_mark(u16::from_be_bytes, rest), self.end),
                _ => (Encoding::Utf8, 0),
            };
            self.encoding = encoding;
            self.consume_mark(mark);
            if self.start < self.end {
                return Ok(Filled::More);
            }
            if count == 0 {
                self.ended = true;
                return Ok(Filled::Ended);
            }
            return self.fill();
        }
    }

    /// Gives a byte order mark up, which is part of the input but of no line.
    fn consume_mark(&mut self, length: usize) {
        if let Some(digest) = &mut self.digest {
            digest.update(&self.buffer[..length]);
        }
        self.offset += length as u64;
        self.start += length;
    }
}

/// Raw bytes of UTF-16 that have still to be decoded. By hand, for a library of encodings brings the tables of them all.
struct Utf16 {
    /// Makes a unit of two bytes.
    unit: fn([u8; 2]) -> u16,
    raw: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
}

impl Utf16 {
    /// Sets a decoder up; `rest` is what was read along with the mark.
    fn after_mark(unit: fn([u8; 2]) -> u16, rest: &[u8]) -> Encoding {
        let mut raw = rest.to_vec();
        raw.resize(BLOCK, 0);
        Encoding::Utf16(Box::new(Self {
            unit,
            raw,
            start: 0,
            end: rest.len(),
            ended: false,
        }))
    }

    /// Decodes into `room` until there is at least one byte of text, and says whether that was the last of it.
    fn decode(&mut self, read: &mut dyn Read, room: &mut [u8]) -> io::Result<(usize, bool)> {
        loop {
            let written = self.decode_held(room);
            let finished = self.ended && self.start == self.end;
            if written > 0 || finished {
                return Ok((written, finished));
            }
            // Less than one character is held: a byte, or half of a pair.
            self.raw.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let count = read_once(read, &mut self.raw[self.end..])?;
            self.end += count;
            self.ended = count == 0;
        }
    }

    /// Decodes what is held, as far as it is whole and there is room.
    fn decode_held(&mut self, room: &mut [u8]) -> usize {
        let mut written = 0;
        while let Some(place) = room.get_mut(written..written + char::MAX.len_utf8())
            && let Some((text, taken)) = self.next_text()
        {
            self.start += taken;
            if let Some(text) = text {
                written += text.encode_utf8(place).len();
            } else {
                place[0] = NO_TEXT;
                written += 1;
            }
        }
        written
    }

    /// Returns the next character, or none where there stands no text, and how many bytes it takes; nothing where it is
    /// not known yet.
    fn next_text(&self) -> Option<(Option<char>, usize)> {
        let decoded = match self.raw[self.start..self.end] {
            [a, b, c, d, ..] => {
                char::decode_utf16([(self.unit)([a, b]), (self.unit)([c, d])]).next()?
            }
            [a, b, ..] => {
                let unit = (self.unit)([a, b]);
                let text = char::decode_utf16([unit]).next()?;
                if text.is_err() && !self.ended {
                    return None;
                }
                text
            }
            [_] if self.ended => return Some((None, 1)),
            _ => return None,
        };
        Some(match decoded {
            Ok(text) => (Some(text), 2 * text.len_utf16()),
            Err(_) => (None, 2),
        })
    }
}

/// Reads once; a signal that interrupts the call is no reason to stop.
fn read_once(read: &mut dyn Read, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match read.read(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out the same bytes in reads of `step`.
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

    fn read_all(bytes: &[u8], step: usize) -> Vec<u8> {
        let mut source = ByteSource::new(Box::new(Trickle {
            bytes: bytes.to_vec(),
            at: 0,
            step,
        }));
        let mut all = Vec::new();
        while source.fill().unwrap() == Filled::More {
            all.extend_from_slice(source.available());
            source.consume(source.available().len());
        }
        // The end stays the end, also for a decoder that has finished.
        assert_eq!(source.fill().unwrap(), Filled::Ended);
        all
    }

    fn utf16(text: &str, mark: [u8; 2], order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        mark.into_iter()
            .chain(text.encode_utf16().flat_map(order))
            .collect()
    }

    #[test]
    fn marks_are_taken_off_and_utf_16_is_decoded_however_short_the_reads() {
        let text = "id;Größe\r\n𝄞;ж\r\n".repeat(5000);
        let mut marked = vec![0xEF, 0xBB, 0xBF];
        marked.extend_from_slice(text.as_bytes());
        for step in [1, 2, 3, 7, 4096, usize::MAX] {
            for bytes in [
                text.as_bytes().to_vec(),
                marked.clone(),
                utf16(&text, [0xFF, 0xFE], u16::to_le_bytes),
                utf16(&text, [0xFE, 0xFF], u16::to_be_bytes),
            ] {
                assert_eq!(read_all(&bytes, step), text.as_bytes(), "reads of {step}");
            }
        }
    }

    #[test]
    fn half_a_mark_is_no_mark_and_half_a_character_is_no_text() {
        assert_eq!(read_all(&[0xEF, 0xBB], 1), [0xEF, 0xBB]);
        assert_eq!(read_all(&[0xEF, b'a'], 1), [0xEF, b'a']);
        assert!(read_all(&[0xFF, 0xFE], 1).is_empty());
        assert_eq!(read_all(&[0xFF, 0xFE, b'a', 0, b'b'], 1), [b'a', NO_TEXT]);
        let (high, low) = (0xD834, 0xDD1E);
        let units = [0xFEFF, high, u16::from(b'a'), low, u16::from(b'b'), high];
        let bytes: Vec<u8> = units.into_iter().flat_map(u16::to_be_bytes).collect();
        for step in [1, 2, 3, 99] {
            assert_eq!(
                read_all(&bytes, step),
                [NO_TEXT, b'a', NO_TEXT, b'b', NO_TEXT]
            );
        }
    }

    #[test]
    fn lines_and_offsets_count_what_was_consumed_with_the_mark() {
        let mut source = ByteSource::new(Box::new(&b"\xEF\xBB\xBFa\nb\nc"[..]));
        source.fill().unwrap();
        source.consume(4);
        assert_eq!((source.line(), source.offset()), (3, 7));
        source.consume(99);
        assert_eq!((source.line(), source.offset()), (3, 8));
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
                        room[0] = b'x';
                        Ok(1)
                    }
                    _ => Err(io::ErrorKind::BrokenPipe.into()),
                }
            }
        }
        let mut source = ByteSource::new(Box::new(Faulty(0)));
        assert_eq!(source.fill().unwrap(), Filled::More);
        assert_eq!(source.fill().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
