//! Reads by commands, outside a run, through the same ledger; and hints for reads or runs that stopped.

use std::sync::Arc;

use uuid::Uuid;

use crate::cli::failure::{Failure, RunExit};
use crate::clock::Clock;
use crate::engine::core::StopReason;
use crate::engine::{EngineError, ReadClients, Reads, ReadsError, ReadsSettings};
use crate::model::Scope;
use crate::quota::Windows;
use crate::retry::RetrySettings;
use crate::store::Store;

use super::prepared_run::{REACH_TIMEOUT, gate};

/// Creates reads of one tenant; `windows` are its limits for lists.
pub(super) async fn reads(
    handles: Arc<ReadClients>,
    scope: &Scope,
    store: &Store,
    clock: &Arc<dyn Clock>,
    windows: Windows,
    retry: RetrySettings,
) -> Result<Reads, Failure> {
    let gate = gate(store, &**clock, scope, windows, None, 1).await;
    let settings = ReadsSettings {
        gate: gate?,
        retry,
        patience: REACH_TIMEOUT,
        seed: Uuid::new_v4().as_u64_pair().0,
    };
    let (store, clock) = (store.clone(), Arc::clone(clock));
    Ok(Reads::new(handles, store, clock, settings))
}

/// The failure of a command that can't read what it should find.
pub(super) fn unread(error: ReadsError) -> Failure {
    let reason = match error {
        ReadsError::Stopped(reason) => reason,
        ReadsError::Engine(error) => return engine(error),
        ReadsError::Refused(_) => {
            let hint = "change the selection: the service refuses it";
            return Failure::refused(error).hint(hint);
        }
    };
    // A failed sign-in's hint follows its reason.
    if let StopReason::SignIn(why) = &reason
        && let Some((why, hint)) = why.rsplit_once("; ")
    {
        let reason = StopReason::SignIn(why.to_owned());
        return Failure::new(RunExit::Unreachable, reason).hint(hint);
    }
    let hint = fix(&reason).unwrap_or("check --api-url, the network and the proxy");
    Failure::new(RunExit::Unreachable, reason).hint(hint)
}

/// The failure of a command that can't read the states of planned rows.
pub(super) fn unchecked(reason: StopReason) -> Failure {
    let is_forbidden = matches!(reason, StopReason::ReadingForbidden(_));
    let failure = unread(reason.into());
    if is_forbidden {
        failure.hint("or send without these reads: --no-precheck")
    } else {
        failure
    }
}

/// The failure of a command whose journal or input can't be used.
pub(super) fn engine(error: EngineError) -> Failure {
    match error {
        EngineError::Store(error) => error.into(),
        EngineError::RowsMissing { .. } => Failure::new(RunExit::State, error),
        EngineError::Reading | EngineError::Thread(_) => Failure::new(RunExit::Fault, error),
    }
}

/// Returns how to fix the reason that stopped a run, if possible.
pub(super) fn fix(reason: &StopReason) -> Option<&'static str> {
    Some(match reason {
        StopReason::Asked(_) | StopReason::GaveUp(_) | StopReason::LeftForLater(_) => return None,
        StopReason::TooManyFailures(_) => {
            "see the reasons in the report (--max-failures sets the limit)"
        }
        StopReason::SignIn(_) => "fix what the reason above names",
        StopReason::Unreachable(_) => "check --api-url, the network and the proxy",
        StopReason::NoSuchAddress(_) => "check --api-url: another server answers there",
        StopReason::AllMissing => "check --tenant-id, --id-column, and where the ids came from",
        StopReason::ReadingForbidden(_) => {
            "grant Machine.Read.All (application) or Machine.Read (delegated), then get a new token"
        }
        StopReason::AllForbidden(_) => "grant the permission that is named, then get a new token",
        StopReason::SameRefusal(_) => "see the answer above; the same call will be refused again",
    })
}
