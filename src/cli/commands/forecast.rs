//! When a plan's cancels will have left, by the windows and by what the ledger holds of them already.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::Moment;
use crate::domain::Scope;
use crate::quota::Calls;
use crate::quota::Windows;
use crate::quota::milestones;
use crate::store::Store;
use crate::store::StoreError;

/// What the forecast takes one call to last; only the last round trip of each window shows.
const ROUND_TRIP: Duration = Duration::from_millis(150);

/// What has been spent of an allowance, as far as it says when the next calls may leave.
pub(super) struct Spent {
    windows: Windows,
    calls: Calls,
    /// Until when the service asked for a pause.
    pause_until: Option<Timestamp>,
}

impl Spent {
    /// Takes an allowance as untouched.
    pub(super) fn nothing(windows: &Windows) -> Self {
        Self {
            windows: windows.clone(),
            calls: Calls::new(),
            pause_until: None,
        }
    }

    /// Looks up what the ledger holds of a scope; does not enter one that it does not know.
    pub(super) async fn read(
        store: &Store,
        scope: &Scope,
        windows: &Windows,
        now: Moment,
    ) -> Result<Self, StoreError> {
        let known = store.scopes().await?;
        let Some((key, _)) = known.into_iter().find(|(_, known)| known == scope) else {
            return Ok(Self::nothing(windows));
        };
        let record = store.scope(scope, now).await?;
        let mut windows = windows.clone();
        for adopted in record.adopted.as_slice() {
            windows.adopt(adopted.limit, adopted.period);
        }
        let used = store.usage(key, Arc::new(windows.clone()), now).await?;
        Ok(Self {
            windows,
            calls: used.calls,
            pause_until: record.cooldown.map(|cooldown| cooldown.wall),
        })
    }

    /// Returns how many of `count` calls will have left by when.
    pub(super) fn milestones(&self, count: u64, now: Moment) -> Vec<(u64, Timestamp)> {
        let start = match self.pause_until {
            Some(until) => now.uptime_at(until).max(now.uptime),
            None => now.uptime,
        };
        milestones(start, &self.windows, &self.calls, count, ROUND_TRIP)
            .into_iter()
            .map(|milestone| (milestone.calls, now.wall_at(milestone.at)))
            .collect()
    }
}
