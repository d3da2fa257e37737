//! A token that somebody else got: from the environment, or from a file that they may write anew.
//!
//! It never refreshes one itself, and reads a file only if its owner alone can.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::clock::{Clock, SystemClock};

use super::secret_file::read_private;
use super::token::{AuthError, Token};

/// How messages name such a file.
const TOKEN_FILE: &str = "token file";

/// A token that ended less than this ago is tried again: the service's word counts, not our clock's.
const CERTAIN: Duration = Duration::from_secs(2);

/// A static token and where it came from.
pub struct StaticToken {
    place: TokenOrigin,
    // std Mutex: nothing awaits while it is held.
    held: Mutex<Token>,
    /// What the token should be for.
    scope: String,
    clock: Arc<dyn Clock>,
}

/// Where a static token is.
#[derive(Debug)]
enum TokenOrigin {
    /// In a value that cannot change, by the name under which the user knows it.
    Value(String),
    /// In a file that may be written anew.
    File(PathBuf),
}

impl StaticToken {
    /// Takes a value from `origin`, for example `MDE_CANCEL_TOKEN`.
    pub fn from_value(value: &SecretString, origin: &str) -> Result<Self, AuthError> {
        let token = Token::parse(value.expose_secret(), origin)?;
        Ok(Self::new(TokenOrigin::Value(origin.to_owned()), token))
    }

    /// Reads a token file.
    pub fn from_file(path: &Path) -> Result<Self, AuthError> {
        let token = read_file(path)?;
        Ok(Self::new(TokenOrigin::File(path.to_owned()), token))
    }

    /// Says what the token should be for, and by which clock it ends: a refusal can then be explained.
    #[must_use]
    pub fn expected_for(self, scope: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            scope: scope.to_owned(),
            clock,
            ..self
        }
    }

    fn new(place: TokenOrigin, token: Token) -> Self {
        Self {
            place,
            held: Mutex::new(token),
            scope: String::new(),
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Returns whether a newer token may come: from a file, never from a value.
    pub(super) fn is_renewable(&self) -> bool {
        matches!(self.place, TokenOrigin::File(_))
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
        let held = self.held();
        let now = self.clock.now().wall;
        let path = match &self.place {
            TokenOrigin::Value(name) => {
                return Err(held.refused(format!("the access token in {name}"), &self.scope, now));
            }
            TokenOrigin::File(path) => path.clone(),
        };
        // A file may lie on a network drive that hangs, and that must not hold up the other calls.
        let read = path.clone();
        let token = tokio::task::spawn_blocking(move || read_file(&read))
            .await
            .map_err(|error| AuthError::Unreadable {
                what: TOKEN_FILE,
                path: path.clone(),
                source: std::io::Error::other(error),
            })??;
        if token.secret.expose_secret() == held.secret.expose_secret() {
            let origin = format!("the access token in {}", path.display());
            let error = held.refused(origin, &self.scope, now);
            let is_useless = match &error {
                AuthError::WrongAudience { .. } => true,
                AuthError::Expired { ago, .. } => ago.0 >= CERTAIN,
                _ => false,
            };
            if is_useless {
                return Err(error);
            }
        }
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = token.clone();
        Ok(token)
    }
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticToken")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

fn read_file(path: &Path) -> Result<Token, AuthError> {
    let text = read_private(path, TOKEN_FILE)?;
    let origin = format!("the token file {}", path.display());
    Token::parse(text.expose_secret(), &origin)
}
