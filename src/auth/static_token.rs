//! A token from outside: a fixed value, or a file that another program may rewrite.
//!
//! It cannot renew a token itself, only read the file again. A file must be private.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::clock::{Clock, SystemClock};

use super::secret_file::read_private;
use super::token::{AuthError, Token};

const TOKEN_FILE: &str = "token file";

/// Tolerance for clock differences: a token that expired less than this ago is tried again.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct StaticToken {
    place: TokenOrigin,
    // std Mutex: no `.await` while locked.
    held: Mutex<Token>,
    /// The scope that the token should be for.
    scope: String,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
enum TokenOrigin {
    /// A fixed value, with the name that the user knows.
    Value(String),
    /// A file that may be rewritten.
    File(PathBuf),
}

impl StaticToken {
    /// `origin` is for example `MDE_CANCEL_TOKEN`.
    pub fn from_value(value: &SecretString, origin: &str) -> Result<Self, AuthError> {
        let token = Token::parse(value.expose_secret(), origin)?;
        Ok(Self::new(TokenOrigin::Value(origin.to_owned()), token))
    }

    pub fn from_file(path: &Path) -> Result<Self, AuthError> {
        let token = read_file(path)?;
        Ok(Self::new(TokenOrigin::File(path.to_owned()), token))
    }

    /// Sets the expected scope and the clock for expiry, to explain a rejected token.
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

    pub(super) fn is_renewable(&self) -> bool {
        matches!(self.place, TokenOrigin::File(_))
    }

    /// Returns the token as last read.
    pub(super) fn held(&self) -> Token {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads the file again; fails for a fixed value. Cancel safe: the last token stays.
    pub(super) async fn refresh(&self) -> Result<Token, AuthError> {
        let held = self.held();
        let now = self.clock.now().wall;
        let path = match &self.place {
            TokenOrigin::Value(name) => {
                return Err(held.refused(format!("the access token in {name}"), &self.scope, now));
            }
            TokenOrigin::File(path) => path.clone(),
        };
        // Reading from a hanging network drive must not block other calls.
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
                AuthError::Expired { ago, .. } => ago.0 >= CLOCK_TOLERANCE,
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

fn read_file(path: &Path) -> Result<Token, AuthError> {
    let text = read_private(path, TOKEN_FILE)?;
    let origin = format!("the token file {}", path.display());
    Token::parse(text.expose_secret(), &origin)
}
