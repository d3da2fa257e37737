//! The half of a lane's way to its tenant that can read and nothing else.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use crate::api::{ListQuery, Reader};
use crate::auth::{AuthError, Credential, Freshness};
use crate::model::{ActionId, Destination, ReadReply, Reply, ReplyKind};

/// A call that leaves so shortly before the token's end may arrive behind it.
const LAST_MOMENT: SignedDuration = SignedDuration::from_millis(200);

/// A reader with a way to a token. Whoever holds nothing else cannot send a cancel.
#[derive(Debug)]
pub struct ReadHandles {
    reader: Reader,
    credential: Credential,
    // std Mutex: nothing awaits while it is held.
    token: Mutex<Option<Held>>,
}

/// The token at hand.
#[derive(Clone, Debug)]
struct Held {
    secret: SecretString,
    /// When it ends, where that is known and a newer one can be had then.
    ends: Option<Timestamp>,
}

impl ReadHandles {
    /// Binds the reading half of the service's client and a way to a token.
    pub fn new(reader: Reader, credential: Credential) -> Self {
        Self {
            reader,
            credential,
            token: Mutex::new(None),
        }
    }

    /// Returns the token at hand, where there is one.
    pub(super) fn held_token(&self) -> Option<SecretString> {
        self.held().map(|held| held.secret)
    }

    /// Returns whether the token at hand has ended, or will have when a call that leaves now arrives.
    pub(super) fn is_token_over(&self, now: Timestamp) -> bool {
        let end = self.held().and_then(|held| held.ends);
        end.is_some_and(|end| end.duration_since(now) <= LAST_MOMENT)
    }

    fn held(&self) -> Option<Held> {
        self.token
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Gets a token, and keeps it for the calls to come. Returns when it ends, where that is known and a newer one can
    /// be had then; one that cannot be renewed is carried until the service refuses it.
    pub(super) async fn sign_in(
        &self,
        freshness: Freshness,
    ) -> Result<Option<Timestamp>, AuthError> {
        let token = self.credential.token(freshness).await?;
        let ends = token.expires_at.filter(|_| self.credential.is_renewable());
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(Held {
            secret: token.secret,
            ends,
        });
        Ok(ends)
    }

    /// Looks at the records of these actions, with one call.
    pub(super) async fn look(&self, destination: Destination, ids: &[ActionId]) -> ReadReply {
        match (self.held_token(), destination, ids) {
            (None, ..) => never_left(),
            (Some(token), Destination::Get, &[id]) => self.reader.action(&token, id).await,
            (Some(token), ..) => self.reader.actions(&token, ids).await,
        }
    }

    /// Reads one page of the tenant's actions.
    pub(super) async fn page(&self, query: &ListQuery) -> ReadReply {
        match self.held_token() {
            None => never_left(),
            Some(token) => self.reader.list(&token, query).await,
        }
    }
}

/// A call for which no token is held; one is asked for before any call, so this is a fault of ours that must still not
/// be taken for an answer.
pub(super) fn never_left<T>() -> Reply<T> {
    Reply {
        kind: ReplyKind::NeverLeft("no token is held".to_owned()),
        http_status: None,
        error: None,
    }
}
