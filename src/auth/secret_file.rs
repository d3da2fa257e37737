//! Reads secret files, after checking that only their owner can access them.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use secrecy::SecretString;

use crate::platform::{Exposure, exposure};

use super::token::{AuthError, MAX_TOKEN};

/// Reads up to [`MAX_TOKEN`] bytes and one more, so that the parser can detect a longer file.
pub(super) fn read_private(path: &Path, what: &'static str) -> Result<SecretString, AuthError> {
    read(path, what, |_| true)
}

/// Reads a federated token. Others may read it, because its issuer sets the mode, but not change it.
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
    // Check the open file: the path may name another one a moment later.
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
    // Invalid UTF-8 is no valid secret; the parser reports it with the file's name.
    Ok(SecretString::from(String::from_utf8_lossy(&bytes).as_ref()))
}
