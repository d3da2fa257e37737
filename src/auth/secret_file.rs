//! Reads files that hold a secret: only if nobody but their owner can touch them.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use secrecy::SecretString;

use crate::platform::{Exposure, exposure};

use super::token::{AuthError, MAX_TOKEN};

/// Reads the whole file, up to the bound on tokens and one byte more, so that whoever parses it sees that it is longer.
pub(super) fn read_private(path: &Path, what: &'static str) -> Result<SecretString, AuthError> {
    read(path, what, |_| true)
}

/// Reads a federated token. Its issuer sets the modes, and lets others read it; nobody else may change it.
pub(super) fn read_federated(path: &Path) -> Result<SecretString, AuthError> {
    read(path, "federated token file", |found| {
        found != Exposure::Readable
    })
}

fn read(
    path: &Path,
    what: &'static str,
    is_refused: impl Fn(Exposure) -> bool,
) -> Result<SecretString, AuthError> {
    let unreadable = |source| AuthError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    };
    // What is checked is what is read: the path may lead to another file a moment later.
    let file = File::open(path).map_err(unreadable)?;
    let found = exposure(&file, path).map_err(unreadable)?;
    if let Some(exposure) = found.filter(|found| is_refused(*found)) {
        return Err(AuthError::Exposed {
            what,
            path: path.to_owned(),
            exposure,
        });
    }
    let mut bytes = Vec::new();
    file.take(MAX_TOKEN as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    // What is no text is no secret either; the parser says so, naming the file.
    Ok(SecretString::from(String::from_utf8_lossy(&bytes).as_ref()))
}
