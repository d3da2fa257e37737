//! Reads of the commands themselves, outside a run: through the same ledger as everybody's.

use std::sync::Arc;

use uuid::Uuid;

use crate::cli::failure::Failure;
use crate::clock::Clock;
use crate::domain::Scope;
use crate::engine::ReadHandles;
use crate::engine::Reads;
use crate::engine::ReadsSettings;
use crate::quota::Windows;
use crate::retry::RetrySettings;
use crate::store::Store;

use super::carry::REACH_TIMEOUT;
use super::carry::gate;
use super::carry::state;

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
