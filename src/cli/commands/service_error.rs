//! Why the service cannot be called, and how the program ends over it.

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
    Api(#[from] crate::api::ApiError),
    /// The embedded sandbox.
    #[error(transparent)]
    Sandbox(#[from] anyhow::Error),
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Auth(error) => {
                let mend = error.hint();
                let failure = Self::new(FailureKind::SignIn, error);
                match mend {
                    Some(mend) => failure.hint(mend),
                    None => failure,
                }
            }
            ServiceError::Api(error) => Self::new(FailureKind::Usage, error),
            ServiceError::Sandbox(error) => Self::new(FailureKind::Fault, error),
        }
    }
}
