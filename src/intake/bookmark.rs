//! Where the reading of a file stands, and what the file was like: enough to take it up again after a crash, or to
//! see that it is another one now.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::io::Read;
use std::time::SystemTime;

use sha2::Digest as _;
use sha2::Sha256;

/// The word that begins a written bookmark, so that a later layout can be told from this one.
const LAYOUT: &str = "v1";

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    size: u64,
    /// Nanoseconds since 1970; zero where the file system tells no time, or an earlier one.
    modified: u128,
}

impl FileStamp {
    /// Reads the stamp of an open file.
    pub(super) fn of(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok();
        Self {
            size: metadata.len(),
            modified: modified
                .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
                .map_or(0, |age| age.as_nanos()),
        }
    }
}

/// A place between two rows of a file. Its text form, by `Display` and [`Bookmark::parse`], is for storing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bookmark {
    pub(super) offset: u64,
    pub(super) line: u64,
    pub(super) stamp: FileStamp,
    /// Of all bytes before `offset`.
    pub(super) digest: [u8; 32],
}

impl Bookmark {
    /// Reads a stored bookmark back; `None` where the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        if words.next()? != LAYOUT {
            return None;
        }
        let offset = words.next()?.parse().ok()?;
        let line = words.next()?.parse().ok()?;
        let size = words.next()?.parse().ok()?;
        let modified = words.next()?.parse().ok()?;
        let hex = words.next()?;
        if words.next().is_some() || hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        let mut digest = [0; 32];
        for (at, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self {
            offset,
            line,
            stamp: FileStamp { size, modified },
            digest,
        })
    }

    /// Returns how many bytes of the file lie before the place.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Says in what a file differs from the one that was marked; `None` where it does not as far as stamps tell.
    pub(super) fn stamp_differs(&self, now: FileStamp) -> Option<String> {
        if now.size != self.stamp.size {
            return Some(format!(
                "it had {} bytes and has {}",
                self.stamp.size, now.size
            ));
        }
        (now.modified != self.stamp.modified).then(|| "it was written to since".to_owned())
    }

    /// Reads a file up to the place; returns the digest to go on with, or `None` where its bytes are others now.
    ///
    /// # Errors
    /// Returns the reader's error.
    pub(super) fn read_up_to(&self, file: &mut dyn Read) -> io::Result<Option<Sha256>> {
        let mut digest = Sha256::new();
        let mut file = file.take(self.offset);
        let mut block = vec![0; 64 * 1024];
        loop {
            match file.read(&mut block) {
                Ok(0) => break,
                Ok(count) => digest.update(&block[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let same = <[u8; 32]>::from(digest.clone().finalize()) == self.digest;
        Ok(same.then_some(digest))
    }
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{LAYOUT} {} {} {} {} ",
            self.offset, self.line, self.stamp.size, self.stamp.modified
        )?;
        self.digest
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bookmark_reads_back_from_its_text_and_nothing_else_does() {
        let mark = Bookmark {
            offset: 4711,
            line: 42,
            stamp: FileStamp {
                size: 9000,
                modified: 1_771_234_567_123_456_789,
            },
            digest: [0xA5; 32],
        };
        let text = mark.to_string();
        assert_eq!(Bookmark::parse(&text), Some(mark));
        for broken in [
            "",
            "v2 1 1 1 1 00",
            &text[..text.len() - 1],
            &text.replace("a5", "é"),
            &format!("{text} 1"),
        ] {
            assert_eq!(Bookmark::parse(broken), None, "{broken}");
        }
    }
}
