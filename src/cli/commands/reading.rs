//! Reads of the commands themselves, outside a run: through the same ledger as everybody's.

use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

use crate::cli::failure::Failure;
use crate::cli::failure::FailureKind;
use crate::clock::Clock;
use crate::domain::KeepList;
use crate::domain::Scope;
use crate::engine::ReadHandles;
use crate::engine::Reads;
use crate::engine::ReadsError;
use crate::engine::ReadsSettings;
use crate::intake::read_keep_file;
use crate::quota::Windows;
use crate::retry::RetrySettings;
use crate::store::Store;

use super::carry::REACH_TIMEOUT;
use super::carry::gate;
use super::carry::state;
use super::carry::usage;

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

/// Says how a command ends that cannot read.
pub(super) fn unread(error: ReadsError) -> Failure {
    let kind = match &error {
        ReadsError::Forbidden { .. } | ReadsError::SignIn(_) | ReadsError::TokenRefused { .. } => {
            FailureKind::SignIn
        }
        ReadsError::GaveUp { .. } => FailureKind::Reach,
        ReadsError::Refused { .. } => FailureKind::Usage,
        ReadsError::Store(_) => FailureKind::State,
    };
    let is_refused = matches!(error, ReadsError::Refused { .. });
    let failure = Failure::new(kind, error);
    if is_refused {
        failure.hint("look at the selection: the service does not take it")
    } else {
        failure
    }
}

/// Reads the files that name what must be left alone.
pub(super) fn read_keep(files: &[PathBuf]) -> Result<KeepList, Failure> {
    let mut keep = KeepList::default();
    for file in files {
        for word in read_keep_file(file).map_err(usage)? {
            keep.add(&word);
        }
    }
    Ok(keep)
}
