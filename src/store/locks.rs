//! Tells which processes are alive: each one holds an OS lock on `locks/<its id>` until it ends.
//!
//! Pids and heartbeats don't work: a suspended process is alive, and in every container the first pid is 1. A lock file
//! that is free or missing belongs to a dead process. Lock files are created, locked and removed under another lock,
//! `opening`, so that no process finds a new file that isn't locked yet.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::platform;

use super::busy_wait::BusyWait;
use super::error::StoreError;

/// The lock for opening the state file, and for creating and removing lock files.
const OPENING: &str = "opening";

#[derive(Clone, Debug)]
pub(super) struct Locks {
    dir: PathBuf,
}

/// A lock, held until dropped.
#[derive(Debug)]
pub(super) struct HeldLock {
    _file: File,
    path: PathBuf,
}

impl Locks {
    pub(super) fn open(state: &Path) -> Result<Self, StoreError> {
        let dir = state.join("locks");
        platform::create_private_dir(&dir).map_err(|error| StoreError::folder(&dir, error))?;
        Ok(Self { dir })
    }

    /// The lock folder of a state file, without creating it.
    pub(super) fn beside(file: &Path) -> Self {
        Self {
            dir: file.with_file_name("locks"),
        }
    }

    /// Waits for the lock that guards creating and migrating a state file. This takes milliseconds; the switch to WAL
    /// needs exclusive access.
    pub(super) fn wait_to_open(&self, patience: &mut BusyWait) -> Result<HeldLock, StoreError> {
        let path = self.dir.join(OPENING);
        let file =
            platform::open_private_file(&path).map_err(|error| StoreError::folder(&path, error))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(HeldLock { _file: file, path }),
                Err(TryLockError::WouldBlock) if patience.wait(&path) => {}
                Err(TryLockError::WouldBlock) => return Err(StoreError::held(path)),
                Err(TryLockError::Error(error)) => return Err(StoreError::folder(&path, error)),
            }
        }
    }

    /// Acquires the lock of `name`, which must be free.
    pub(super) fn hold(&self, name: &str) -> Result<HeldLock, StoreError> {
        let path = self.dir.join(name);
        let file =
            platform::open_private_file(&path).map_err(|error| StoreError::folder(&path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(HeldLock { _file: file, path }),
            Err(TryLockError::WouldBlock) => Err(StoreError::held(path)),
            Err(TryLockError::Error(error)) => Err(StoreError::folder(&path, error)),
        }
    }

    /// Returns whether no process holds the lock of `name`; `false` if the system can't say.
    pub(super) fn is_free(&self, name: &str) -> bool {
        let path = self.dir.join(name);
        match OpenOptions::new().read(true).write(true).open(path) {
            // A shared lock, so that two checks at once don't mistake each other for the holder.
            Ok(file) => file.try_lock_shared().is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Removes the lock files of dead processes. Returns whether no live process is left.
    pub(super) fn sweep(&self, _opening: &HeldLock) -> bool {
        let mut is_alone = true;
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name == OPENING {
                continue;
            }
            if self.is_free(&name.to_string_lossy()) {
                // A leftover file does no harm.
                drop(std::fs::remove_file(entry.path()));
            } else {
                is_alone = false;
            }
        }
        is_alone
    }
}

impl HeldLock {
    /// Releases the lock and removes its file.
    pub(super) fn remove(self) {
        // A leftover file does no harm.
        drop(std::fs::remove_file(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_dead_processes_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let locks = Locks::open(dir.path()).unwrap();
        let opening = locks.wait_to_open(&mut BusyWait::endless()).unwrap();
        drop(locks.hold("dead").unwrap());
        assert!(locks.sweep(&opening));
        let live = locks.hold("live").unwrap();
        drop(locks.hold("dead").unwrap());
        assert!(!locks.sweep(&opening));
        let exists = |name: &str| dir.path().join("locks").join(name).exists();
        assert!(exists("live") && !exists("dead") && exists("opening"));
        drop(live);
    }
}
