//! A token that somebody else got: from the environment, or from a file that they may write anew.
//!
//! It never refreshes one itself, and reads a file only if its owner alone can.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};

use super::secret_file::read_private;
use super::token::{AuthError, Token};

/// How messages name such a file.
const TOKEN_FILE: &str = "token file";

/// A ready token and where it came from.
#[derive(Debug)]
pub struct ReadyToken {
    place: Place,
    // std Mutex: nothing awaits while it is held.
    held: Mutex<Token>,
}

/// Where a ready token stands.
#[derive(Debug)]
enum Place {
    /// In a value that cannot change, by the name under which the user knows it.
    Value(String),
    /// In a file that may be written anew.
    File(PathBuf),
}

impl ReadyToken {
    /// Takes a value, which stood in `origin`, for example `MDE_CANCEL_TOKEN`.
    ///
    /// # Errors
    /// Returns why it holds no token.
    pub fn from_value(value: &SecretString, origin: &str) -> Result<Self, AuthError> {
        let token = Token::parse(value.expose_secret(), origin)?;
        Ok(Self {
            place: Place::Value(origin.to_owned()),
            held: Mutex::new(token),
        })
    }

    /// Reads a token file.
    ///
    /// # Errors
    /// Returns why it cannot be used.
    pub fn from_file(path: &Path) -> Result<Self, AuthError> {
        Ok(Self {
            held: Mutex::new(read_file(path)?),
            place: Place::File(path.to_owned()),
        })
    }

    /// Returns whether a newer token may come: from a file, never from a value.
    pub(super) fn is_renewable(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    /// Returns the token as it was last read.
    pub(super) fn held(&self) -> Token {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads the token again: a file may hold a newer one meanwhile, a value never does.
    ///
    /// # Cancel safety
    /// Safe: the token held so far stays.
    pub(super) async fn refresh(&self) -> Result<Token, AuthError> {
        let path = match &self.place {
            Place::Value(origin) => {
                return Err(AuthError::CannotRefresh {
                    origin: origin.clone(),
                });
            }
            Place::File(path) => path.clone(),
        };
        // A file may lie on a network drive that hangs, and that must not hold up the other calls.
        let lost = path.clone();
        let token = tokio::task::spawn_blocking(move || read_file(&path))
            .await
            .map_err(|error| AuthError::Unreadable {
                what: TOKEN_FILE,
                path: lost,
                source: std::io::Error::other(error),
            })??;
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = token.clone();
        Ok(token)
    }
}

fn read_file(path: &Path) -> Result<Token, AuthError> {
    let text = read_private(path, TOKEN_FILE)?;
    let origin = format!("the token file {}", path.display());
    Token::parse(text.expose_secret(), &origin)
}
