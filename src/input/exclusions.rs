//! Reads exclusion files: one id or name per line, in any encoding of inputs.
//!
//! Unclear lines are errors: a malformed id must not pass as the name of a machine that doesn't exist. An empty file is
//! an error too, because it would exclude nothing.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::model::ActionId;

use super::decode::TextSource;
use super::input_error::InputError;
use super::lines::{next_line, without_comment};

/// In bytes; a DNS name has at most 253.
const LONGEST: usize = 255;

#[derive(Debug, thiserror::Error)]
pub enum ExclusionFileError {
    #[error("cannot open the exclusion list {name}")]
    Open {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("the exclusion list cannot be used")]
    Read(#[from] InputError),
    #[error("the exclusion list {name} names nothing, so it would keep nothing")]
    Empty { name: String },
    #[error(
        "{name}:{line}: {what}; the exclusion list holds one action id, machine id or DNS name a line"
    )]
    Line {
        name: String,
        line: u64,
        what: String,
    },
}

/// Returns the entries of the file.
pub fn read_exclusion_file(path: &Path) -> Result<Vec<String>, ExclusionFileError> {
    let name = path.to_string_lossy().into_owned();
    let file = File::open(path).map_err(|source| ExclusionFileError::Open {
        name: name.clone(),
        source,
    })?;
    let mut source = TextSource::new(Arc::from(name.as_str()), Box::new(file));
    let mut words = Vec::new();
    while let Some(line) = next_line(&mut source)? {
        let bad_at = |line, what: &str| ExclusionFileError::Line {
            name: name.clone(),
            line,
            what: what.to_owned(),
        };
        let bad = |what: &str| bad_at(line.number, what);
        if let Some(line) = source.repaired() {
            return Err(bad_at(line, "the line is not UTF-8"));
        }
        if line.is_too_long {
            return Err(bad("the line is too long"));
        }
        let word = bare(&line.text);
        if word.is_empty() {
            continue;
        }
        check(word).map_err(bad)?;
        words.push(word.to_owned());
    }
    if words.is_empty() {
        return Err(ExclusionFileError::Empty { name });
    }
    Ok(words)
}

/// Removes comment, blanks and quotes.
fn bare(line: &str) -> &str {
    let word = without_comment(line);
    let quoted = word
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    quoted.map_or(word, str::trim)
}

fn check(word: &str) -> Result<(), &'static str> {
    if ActionId::parse(word).is_ok() {
        return Ok(());
    }
    if word.len() > LONGEST {
        return Err("the word is too long");
    }
    let is_of_a_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '-' | '_');
    if !word.chars().all(is_of_a_name) {
        return Err("it must be a single word");
    }
    let digits = word.chars().filter(char::is_ascii_hexdigit).count();
    let dashes = word.matches('-').count();
    let is_like_an_id = digits >= 28 && digits + dashes == word.len();
    if is_like_an_id && digits != 40 {
        return Err("it looks like an id but is none");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keep.txt");
        std::fs::write(&path, bytes).unwrap();
        let at = format!("{}", folder.path().display());
        let told =
            |error: ExclusionFileError| error.to_string().replace(&at, "").replace('\\', "/");
        read_exclusion_file(&path).map_err(told)
    }

    #[test]
    fn ids_and_names_are_read_one_a_line_in_any_encoding() {
        let text = "# servers\r\n\r\n{7F3C2A10-5B1E-4A77-9A3D-0C5BE0A1D9F2}\r\n\"dc-01.corp.example.\" # first\r\n\
                    0123456789abcdef0123456789abcdef01234567\r\ncafe-db-01";
        let expected = [
            "{7F3C2A10-5B1E-4A77-9A3D-0C5BE0A1D9F2}",
            "dc-01.corp.example.",
            "0123456789abcdef0123456789abcdef01234567",
            "cafe-db-01",
        ];
        assert_eq!(read(text.as_bytes()).unwrap(), expected);
        let wide: Vec<u8> = [0xFF, 0xFE]
            .into_iter()
            .chain(text.encode_utf16().flat_map(u16::to_le_bytes))
            .collect();
        assert_eq!(read(&wide).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_told_is_refused_with_its_line() {
        let one_a_line = "the exclusion list holds one action id, machine id or DNS name a line";
        for (text, what) in [
            (
                "dc-01\ndc-02, dc-03\n",
                "/keep.txt:2: it must be a single word",
            ),
            (
                "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f\n",
                "/keep.txt:1: it looks like an id but is none",
            ),
            (
                "0123456789abcdef0123456789abcdef0123456",
                "/keep.txt:1: it looks like an id but is none",
            ),
            ("ab\0c", "/keep.txt:1: it must be a single word"),
        ] {
            assert_eq!(
                read(text.as_bytes()).unwrap_err(),
                format!("{what}; {one_a_line}")
            );
        }
        assert_eq!(
            read(b"# nothing\n").unwrap_err(),
            "the exclusion list /keep.txt names nothing, so it would keep nothing"
        );
        assert!(read_exclusion_file(Path::new("no such file")).is_err());
    }
}
