//! Who is alive: each process holds an OS lock on `locks/<its id>` for its life.
//!
//! Never told by pid or heartbeat: a stopped process is alive, and the pid of every container's first process is 1. A file
//! that is free or gone is of a dead process. Files are made, locked and swept under one more lock, `opening`, so that nobody
//! takes one for free that is just being made.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::platform;

use super::busy_wait::BusyWait;
use super::error::StoreError;

/// The lock under which files are opened, made and swept.
const OPENING: &str = "opening";

/// The folder of the lock files.
#[derive(Clone, Debug)]
pub(super) struct Locks {
    dir: PathBuf,
}

/// A lock that lasts until this is dropped.
#[derive(Debug)]
pub(super) struct HeldLock {
    _file: File,
    path: PathBuf,
}

impl Locks {
    /// Opens the folder, or makes it.
    pub(super) fn open(state: &Path) -> Result<Self, StoreError> {
        let dir = state.join("locks");
        platform::create_private_dir(&dir).map_err(|error| StoreError::folder(&dir, error))?;
        Ok(Self { dir })
    }

    /// Names the folder that belongs to a state file, for looking only.
    pub(super) fn beside(file: &Path) -> Self {
        Self {
            dir: file.with_file_name("locks"),
        }
    }

    /// Waits for the lock under which a state file is made and brought up to date: milliseconds of work, and a switch
    /// to WAL that does not bear company.
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

    /// Takes the lock of `name`, which nobody else may hold.
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

    /// Returns whether nobody holds the lock of `name`. Where the system does not say, somebody may.
    pub(super) fn is_free(&self, name: &str) -> bool {
        let path = self.dir.join(name);
        match OpenOptions::new().read(true).write(true).open(path) {
            // Shared, so that two who look at once do not take each other for its holder.
            Ok(file) => file.try_lock_shared().is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Removes the files of dead processes. Returns whether no live one is left.
    pub(super) fn sweep(&self, _opening: &HeldLock) -> bool {
        let mut is_alone = true;
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name == OPENING {
                continue;
            }
            if self.is_free(&name.to_string_lossy()) {
                // One that stays costs nothing.
                drop(std::fs::remove_file(entry.path()));
            } else {
                is_alone = false;
            }
        }
        is_alone
    }
}

impl HeldLock {
    /// Lets go, and removes the file.
    pub(super) fn remove(self) {
        // As above.
        drop(std::fs::remove_file(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_free_when_its_holder_lets_go_and_when_its_file_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let locks = Locks::open(dir.path()).unwrap();
        assert!(locks.is_free("a"));
        let held = locks.hold("a").unwrap();
        assert!(!locks.is_free("a"));
        assert!(matches!(locks.hold("a"), Err(StoreError::Held { .. })));
        drop(held);
        assert!(locks.is_free("a"));
        locks.hold("a").unwrap().remove();
        assert!(!dir.path().join("locks/a").exists());
    }

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
