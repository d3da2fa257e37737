//! Why the service cannot be called, and how the program ends over it.

use std::borrow::Cow;

use crate::api::ApiError;
use crate::auth::AuthError;
use crate::cli::failure::{Failure, FailureKind};

/// Why the service cannot be called.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServiceError {
    /// The credential.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The address or the client.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The embedded sandbox.
    #[error(transparent)]
    Sandbox(#[from] anyhow::Error),
}

impl ServiceError {
    /// Returns what to do about it, as an imperative without a period.
    pub(super) fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Auth(error) => error.hint(),
            Self::Api(ApiError::CaFile(error)) => error.hint().map(Cow::from),
            Self::Api(_) | Self::Sandbox(_) => None,
        }
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        let kind = match error {
            ServiceError::Auth(_) => FailureKind::SignIn,
            ServiceError::Api(_) => FailureKind::Usage,
            ServiceError::Sandbox(_) => FailureKind::Fault,
        };
        let hint = error.hint().map(Cow::into_owned);
        let failure = match error {
            ServiceError::Auth(error) => Self::new(kind, error),
            ServiceError::Api(error) => Self::new(kind, error),
            ServiceError::Sandbox(error) => Self::new(kind, error),
        };
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}
