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
    let gate = gate((store, &**clock), scope, windows, (None, 1)).await;
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

/// Says how a command ends that cannot read the states of planned rows.
pub(super) fn unsurveyed(error: SurveyError) -> Failure {
    let (kind, hint) = match error {
        SurveyError::AllMissing => (
            FailureKind::Reach,
            "look at --tenant-id and --id-column, and at where the ids came from",
        ),
        SurveyError::Reads(ReadsError::Store(error)) => return state(error),
        SurveyError::Reads(ReadsError::SignIn(ref source)) if let Some(hint) = source.hint() => {
            return Failure::new(FailureKind::SignIn, error).hint(hint);
        }
        SurveyError::Reads(ReadsError::SignIn(_) | ReadsError::TokenRefused { .. }) => (
            FailureKind::SignIn,
            "put a fresh token into MDE_CANCEL_TOKEN or the file of --token-file",
        ),
        SurveyError::Reads(ReadsError::Forbidden { .. }) => (
            FailureKind::SignIn,
            "get a new token after that, for grants show only in new ones; or go on with --no-precheck, which knows no states",
        ),
        SurveyError::Reads(
            ReadsError::GaveUp { .. }
            | ReadsError::Refused { .. }
            | ReadsError::NoSuchHost { .. }
            | ReadsError::NoSuchAddress { .. },
        ) => (
            FailureKind::Reach,
            "check --api-url, the network and the proxy",
        ),
    };
    Failure::new(kind, error).hint(hint)
}
