//! Where the reading of a file stands, and what the file was like: enough to take it up again after a crash, or to
//! see that it is another one now.

use std::fs::Metadata;
use std::io::Read;
use std::time::SystemTime;
use std::{fmt, io};

use sha2::{Digest as _, Sha256};

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

    /// Returns how many bytes lie before the place, those of what was decoded where the file is.
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
    use std::path::Path;

    use super::super::{BookmarkUse, Input, InputSettings, OpenInput, open};
    use super::*;

    const A: &str = "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";
    const B: &str = "0a1b2c3d-0000-4000-8000-00000000000b";

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

    fn open_one(path: &Path, bookmarks: BookmarkUse) -> OpenInput {
        let settings = InputSettings {
            bookmarks,
            ..InputSettings::default()
        };
        let mut inputs = open(&[Input::File(path.to_owned())], &settings).unwrap();
        inputs.remove(0)
    }

    fn marked(path: &Path) -> OpenInput {
        open_one(path, BookmarkUse::Kept)
    }

    #[test]
    fn reading_goes_on_at_every_bookmark_as_if_it_had_never_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("input");
        for text in [
            format!("\u{FEFF}id,comment\r\n{A},\"a\r\nb\"\r\n\r\n{B},é\r\nx,y\r\n{A},"),
            format!("{A},1\n# c\n{B},2\n{A},3\n"),
            format!("# c\n{A}\n\n{B}\nx\n{A}"),
            format!("{{\"id\":\"{A}\"}}\n\n{{\"id\":\"{B}\"}}\nx\n"),
            format!("[\"{A}\",\n {{\"id\":\"{B}\"}} , 1,\"{A}\"]\n"),
            format!(
                "{{\"count\":2,\"value\":[{{\"id\":\"{A}\"}},{{\"id\":\"{B}\"}},0],\"next\":[1]}}"
            ),
        ] {
            read_on_at_every_bookmark(&path, text.as_bytes());
            read_on_at_every_bookmark(&path, &wide(&text));
        }
    }

    fn read_on_at_every_bookmark(path: &Path, bytes: &[u8]) {
        std::fs::write(path, bytes).unwrap();
        let whole: Vec<_> = marked(path).map(Result::unwrap).collect();
        assert!(whole.len() >= 3);
        for stop in 1..=whole.len() {
            let mut input = marked(path);
            let read = input.by_ref().take(stop).count();
            let text = input.bookmark().unwrap().to_string();
            let bookmark = Bookmark::parse(&text).unwrap();
            let mut again = marked(path);
            again.resume(&bookmark).unwrap();
            assert_eq!(again.bookmark(), Some(bookmark));
            let rest: Vec<_> = again.map(Result::unwrap).collect();
            assert_eq!(rest, whole[read..], "after {stop} rows");
        }
    }

    #[test]
    fn another_file_is_not_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("input.csv");
        let text = format!("id,type\n{A},x\n{B},x\n");
        std::fs::write(&path, &text).unwrap();
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let mut input = marked(&path);
        input.next().unwrap().unwrap();
        let bookmark = input.bookmark().unwrap();
        let resumed = |text: &str, time| {
            std::fs::write(&path, text).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(time).unwrap();
            let mut input = marked(&path);
            match input.resume(&bookmark) {
                Ok(()) => "resumed".to_owned(),
                Err(error) => error.to_string().rsplit(": ").next().unwrap().to_owned(),
            }
        };
        assert_eq!(resumed(&text, time), "resumed");
        let later = time + std::time::Duration::from_secs(2);
        assert_eq!(resumed(&text, later), "it was written to since");
        assert_eq!(resumed(&text.replace(A, B), time), "its text is another");
        assert_eq!(
            resumed(&format!("{text}\n"), time),
            "it had 86 bytes and has 87"
        );
    }

    #[test]
    fn another_file_is_not_read_on_to_either() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("input");
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(9);
        let write = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(time).unwrap();
        };
        for (text, other) in [
            (
                wide(&format!("id\n{A}\n{A}\n{A}\n")),
                wide(&format!("id\n{A}\n{B}\n{A}\n")),
            ),
            (
                format!("[\"{A}\",\"{A}\",\"{A}\"]").into_bytes(),
                format!("[\"{A}\",\"{B}\",\"{A}\"]").into_bytes(),
            ),
        ] {
            write(&text);
            let mut input = marked(&path);
            assert_eq!(input.by_ref().take(2).count(), 2);
            let bookmark = input.bookmark().unwrap();
            write(&other);
            let refused = marked(&path).resume(&bookmark).unwrap_err();
            assert!(
                refused.to_string().ends_with("its text is another"),
                "{refused}"
            );
        }
    }

    #[test]
    fn only_where_it_is_asked_for_is_there_a_bookmark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("input");
        std::fs::write(&path, format!("id\n{A}\n{B}\n")).unwrap();
        for (bookmarks, expected) in [(BookmarkUse::Kept, true), (BookmarkUse::None, false)] {
            let mut input = open_one(&path, bookmarks);
            input.next().unwrap().unwrap();
            assert_eq!(input.bookmark().is_some(), expected);
        }
    }

    /// Returns a text as Windows likes to write it.
    fn wide(text: &str) -> Vec<u8> {
        let text = text.trim_start_matches('\u{FEFF}');
        let words = std::iter::once(0xFEFF).chain(text.encode_utf16());
        words.flat_map(u16::to_le_bytes).collect()
    }
}
