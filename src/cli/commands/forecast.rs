//! When a plan's cancels will have left, by the windows, by what the ledger holds of them already, and by a pace that was
//! learned.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{Moment, Scope};
use crate::quota::{Calls, Pace, Windows, milestones};
use crate::store::{Store, StoreError};

/// What the forecast takes one call to last; only the last round trip of each window shows.
const ROUND_TRIP: Duration = Duration::from_millis(150);

/// What has been spent of an allowance, as far as it says when the next calls may leave.
pub(super) struct Spent {
    windows: Windows,
    calls: Calls,
    /// Until when the service asked for a pause.
    pause_until: Option<Timestamp>,
    /// How the service's refusals taught us to spread calls.
    pace: Option<Pace>,
}

impl Spent {
    pub(super) fn nothing(windows: &Windows) -> Self {
        Self {
            windows: windows.clone(),
            calls: Calls::new(),
            pause_until: None,
            pace: None,
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
        let learned = record.pace.filter(|pace| pace.is_of(&windows));
        Ok(Self {
            windows,
            calls: used.calls,
            pause_until: record.cooldown.map(|cooldown| cooldown.wall),
            pace: learned.map(|kept| kept.pace()),
        })
    }

    /// Returns how many of `count` calls will have left by when.
    pub(super) fn milestones(&self, count: u64, now: Moment) -> Vec<(u64, Timestamp)> {
        let start = match self.pause_until {
            Some(until) => now.uptime_at(until).max(now.uptime),
            None => now.uptime,
        };
        milestones(
            start,
            &self.windows,
            self.pace,
            &self.calls,
            count,
            ROUND_TRIP,
        )
        .into_iter()
        .map(|milestone| (milestone.calls, now.wall_at(milestone.at)))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::commands::execute::open_store;
    use crate::clock::{Clock as _, SystemClock};
    use crate::model::Destination;
    use crate::quota::KeptPace;
    use crate::store::Record;

    use super::*;

    #[tokio::test]
    async fn a_learned_pace_tells_when_all_will_have_left_unless_its_window_is_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let clock = SystemClock::new();
        let store = open_store(folder.path(), Duration::ZERO, &clock).unwrap();
        let now = clock.now();
        let scope = Scope {
            cloud: "commercial".to_owned(),
            tenant: "-".to_owned(),
            app: "-".to_owned(),
            destination: Destination::Cancel,
        };
        let learned = KeptPace {
            window: "100/1m".parse().unwrap(),
            share: 500,
            patience: 4,
        };
        let record = Record::Pace {
            scope: store.scope(&scope, now).await.unwrap().key,
            pace: Some(learned),
            at: now.wall,
        };
        store.write(vec![record]).await.unwrap();
        for (window, seconds) in [("100/1m", 108), ("100/30s", 0)] {
            let windows = Windows::new(vec![window.parse().unwrap()]);
            let spent = Spent::read(&store, &scope, &windows, now).await.unwrap();
            let found = spent.milestones(91, now);
            let waits = |(calls, at): &(u64, Timestamp)| (*calls, at.duration_since(now.wall));
            let found: Vec<_> = found.iter().map(waits).collect();
            assert_eq!(found, [(91, jiff::SignedDuration::from_secs(seconds))]);
        }
    }
}
