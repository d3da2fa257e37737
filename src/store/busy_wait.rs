//! Waits for a state file that another process has locked. A long wait logs who holds the lock.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::ErrorCode;

use super::error::{StoreFault, holders};

/// How long opening waits. The longest transaction takes well under a second.
pub(super) const OPENING: Duration = Duration::from_secs(30);

/// SQLite's own busy timeout, after which we look.
pub(super) const BUSY_SLICE: Duration = Duration::from_millis(250);

/// The pause after a "busy" that came without waiting.
const PAUSE: Duration = Duration::from_millis(5);

const WARN_AFTER: Duration = Duration::from_secs(2);

/// One wait, timed from the first refusal.
#[derive(Debug)]
pub(super) struct BusyWait {
    /// `None`: no limit.
    most: Option<Duration>,
    since: Option<Instant>,
    warned: bool,
}

impl BusyWait {
    pub(super) fn endless() -> Self {
        Self {
            most: None,
            since: None,
            warned: false,
        }
    }

    pub(super) fn of(most: Duration) -> Self {
        Self {
            most: Some(most),
            ..Self::endless()
        }
    }

    /// Waits a little if `fault` says that `file` is busy. Returns whether to try again.
    pub(super) fn bears(&mut self, fault: &StoreFault, file: &Path) -> bool {
        matches!(fault, StoreFault::Sqlite(error) if is_busy(error)) && self.wait(file)
    }

    /// Waits a little for the holder of `file`. Returns whether to try again.
    pub(super) fn wait(&mut self, file: &Path) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        let waited = since.elapsed();
        if self.most.is_some_and(|most| waited >= most) {
            return false;
        }
        if waited >= WARN_AFTER && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                file = %file.display(),
                "the state file is busy: waiting for {}; nothing is sent meanwhile",
                holders(file)
            );
        }
        std::thread::sleep(PAUSE);
        true
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}
