//! Reads of the commands themselves, outside a run: through the same ledger as everybody's.

use std::sync::Arc;

use uuid::Uuid;

use crate::cli::failure::{Failure, FailureKind};
use crate::clock::Clock;
use crate::engine::{ReadHandles, Reads, ReadsError, ReadsSettings, SurveyError};
use crate::model::Scope;
use crate::quota::Windows;
use crate::retry::RetrySettings;
use crate::store::Store;

use super::execute::{REACH_TIMEOUT, gate, state};

/// Makes reads of a way to the service; `windows` is what it allows for lists.
pub(super) async fn reads(
    (handles, scope): (Arc<ReadHandles>, &Scope),
    (store, clock): (&Store, &Arc<dyn Clock>),
    windows: Windows,
    retry: RetrySettings,
) -> Result<Reads, Failure> {
    let gate = gate(store, &**clock, scope, windows, None, 1).await;
    let settings = ReadsSettings {
        gate: gate.map_err(state)?,
        retry,
        patience: REACH_TIMEOUT,
        seed: Uuid::new_v4().as_u64_pair().0,
    };
    Ok(Reads::new(
        handles,
        store.clone(),
        Arc::clone(clock),
        settings,
    ))
}

/// Says how a command ends that cannot read what it was to find.
pub(super) fn unread(error: ReadsError) -> Failure {
    if let ReadsError::SignIn(source) = &error
        && let Some(hint) = source.hint()
    {
        return Failure::new(FailureKind::SignIn, error).hint(hint);
    }
    let (kind, hint) = match &error {
        ReadsError::Forbidden { .. } => (FailureKind::SignIn, "then get a new token"),
        ReadsError::SignIn(_) | ReadsError::TokenRefused { .. } => (
            FailureKind::SignIn,
            "get a new token and set MDE_CANCEL_TOKEN or the --token-file",
        ),
        ReadsError::GaveUp { .. }
        | ReadsError::NoSuchHost { .. }
        | ReadsError::NoSuchAddress { .. } => (
            FailureKind::Reach,
            "check --api-url, the network and the proxy",
        ),
        ReadsError::Refused { .. } => (
            FailureKind::Usage,
            "change the selection: the service refuses it",
        ),
        ReadsError::Store(_) => return Failure::new(FailureKind::State, error),
    };
    Failure::new(kind, error).hint(hint)
}

/// Says how a command ends that cannot read the states of planned rows.
pub(super) fn unsurveyed(error: SurveyError) -> Failure {
    match error {
        SurveyError::AllMissing => Failure::new(FailureKind::Reach, error)
            .hint("check --tenant-id, --id-column, and where the ids came from"),
        SurveyError::Reads(error @ ReadsError::Refused { .. }) => {
            Failure::new(FailureKind::Reach, error)
                .hint("check --api-url, the network and the proxy")
        }
        SurveyError::Reads(error @ ReadsError::Forbidden { .. }) => {
            unread(error).hint("or send without these reads: --no-precheck")
        }
        SurveyError::Reads(error) => unread(error),
    }
}
