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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextStep {
    Wait,
    Warn,
    GiveUp,
}

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
        match self.next_step(since.elapsed()) {
            NextStep::GiveUp => return false,
            NextStep::Warn => tracing::warn!(
                file = %file.display(),
                "the state file is busy: waiting for {}; nothing is sent meanwhile",
                holders(file)
            ),
            NextStep::Wait => {}
        }
        std::thread::sleep(PAUSE);
        true
    }

    fn next_step(&mut self, waited: Duration) -> NextStep {
        if self.most.is_some_and(|most| waited >= most) {
            NextStep::GiveUp
        } else if !self.warned && waited >= WARN_AFTER {
            self.warned = true;
            NextStep::Warn
        } else {
            NextStep::Wait
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

#[cfg(test)]
mod tests {
    use super::NextStep::*;
    use super::*;

    #[test]
    fn one_warning_comes_after_two_seconds_and_the_end_after_the_bound() {
        let waits = [0, 1_999, 2_000, 2_001, 29_999, 30_000, 31_000].map(Duration::from_millis);
        let steps = |mut patience: BusyWait| waits.map(|waited| patience.next_step(waited));
        assert_eq!(
            steps(BusyWait::of(OPENING)),
            [Wait, Wait, Warn, Wait, Wait, GiveUp, GiveUp]
        );
        assert_eq!(
            steps(BusyWait::endless()),
            [Wait, Wait, Warn, Wait, Wait, Wait, Wait]
        );
    }

    #[test]
    fn only_a_busy_file_is_waited_for_and_not_beyond_the_bound() {
        let fault = |code| {
            StoreFault::Sqlite(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(code),
                None,
            ))
        };
        let file = Path::new("state.db");
        let busy = fault(rusqlite::ffi::SQLITE_BUSY);
        assert!(BusyWait::endless().bears(&busy, file));
        assert!(!BusyWait::of(Duration::ZERO).bears(&busy, file));
        for other in [fault(rusqlite::ffi::SQLITE_FULL), StoreFault::ReadOnly] {
            assert!(!BusyWait::endless().bears(&other, file));
        }
    }
}
