//! Reads files that hold a secret: only if nobody but their owner can.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use secrecy::SecretString;

use crate::platform;

use super::token::{AuthError, MAX_TOKEN};

/// Reads the whole file, up to the bound on tokens and one byte more, so that whoever parses it sees that it is longer.
pub(super) fn read_private(path: &Path, what: &'static str) -> Result<SecretString, AuthError> {
    let is_open =
        platform::is_readable_by_others(path).map_err(|source| unreadable(path, what, source))?;
    if is_open {
        return Err(AuthError::ReadableByOthers {
            what,
            path: path.to_owned(),
        });
    }
    read_any(path, what)
}

/// Reads a file whose modes are somebody else's affair.
pub(super) fn read_any(path: &Path, what: &'static str) -> Result<SecretString, AuthError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_TOKEN as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| unreadable(path, what, source))?;
    // What is no text is no secret either; the parser says so, naming the file.
    Ok(SecretString::from(String::from_utf8_lossy(&bytes).as_ref()))
}

fn unreadable(path: &Path, what: &'static str, source: std::io::Error) -> AuthError {
    AuthError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    }
}
