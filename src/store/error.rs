//! The errors of the store, and the mapping of SQLite's codes. No error contains a row's text, only names of files,
//! runs and rows.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::model::RunId;
use crate::platform;

use super::record_types::{Holder, RunKey};

/// Why the state can't be used. Causes are shared, because one failed commit answers many requests.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The writer has ended; nothing was written.
    #[error("the writer of the state file has ended")]
    Closed,
    /// The file has content that this program doesn't write.
    #[error("state file {path} is damaged")]
    Damaged {
        path: PathBuf,
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// Any other SQLite error.
    #[error("state file {path} cannot be used")]
    Failed {
        path: PathBuf,
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// The folder, or a file to create in it, can't be used.
    #[error("state folder {path} cannot be used")]
    Folder {
        path: PathBuf,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("{path} is the database of another program")]
    Foreign { path: PathBuf },
    #[error("the disk under state file {path} is full")]
    Full {
        path: PathBuf,
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// A lock that should be free soon was not released.
    #[error("state file {path} is held by {holders}")]
    Held {
        path: PathBuf,
        /// Who holds it, if the platform reports it.
        holders: String,
    },
    #[error("state file {path} cannot be read or written")]
    Io {
        path: PathBuf,
        #[source]
        source: Arc<rusqlite::Error>,
    },
    #[error("there is no state file {path}")]
    Missing { path: PathBuf },
    /// File locks and shared memory are unreliable there.
    #[error("state folder {path} is on {kind}, where file locks and quota counts are not reliable")]
    UnreliableFileSystem {
        path: PathBuf,
        /// For example `NFS`.
        kind: &'static str,
    },
    /// A newer version of this program wrote the file; it stays untouched.
    #[error("state file {path} has schema version {found}; this program reads up to {known}")]
    NewerSchema {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    /// The folder's owner can read and change it, whatever its mode.
    #[error("state folder {path} belongs to another user")]
    OtherUsers { path: PathBuf },
    /// Other users can read or change the folder, and we may not close it.
    #[error("state folder {path} is open to other users (mode {mode:04o})")]
    OpenToOthers {
        path: PathBuf,
        mode: u32,
        /// Whether the folder belongs to the current user.
        is_ours: bool,
    },
    #[error("state file {path} is read-only")]
    ReadOnly { path: PathBuf },
    /// The file or its write-ahead log was removed or replaced.
    #[error("state file {path} was removed or replaced while it was in use")]
    Replaced { path: PathBuf },
    /// A record refers to a row that is settled or doesn't exist: two writers disagree about the run.
    #[error("row {row} of run {run} in {path} is settled already or does not exist")]
    RowNotOpen { path: PathBuf, run: i64, row: u32 },
    /// A live process executes the run, or is about to.
    #[error("run {run} is held by {holder}")]
    RunHeld { run: RunId, holder: Holder },
    /// No run, scope or call has this key.
    #[error("state file {path} holds no {what} {key}")]
    Unknown {
        path: PathBuf,
        /// `run`, `scope` or `call`.
        what: &'static str,
        key: String,
    },
}

/// A [`StoreError`] without the file's path.
#[derive(Debug)]
pub(super) enum StoreFault {
    Sqlite(rusqlite::Error),
    ReadOnly,
    Replaced,
    RowNotOpen {
        run: i64,
        row: u32,
    },
    RunHeld {
        run: RunId,
        holder: Holder,
    },
    /// The run that is to be held or removed is gone.
    NoRun(RunKey),
    Unknown {
        what: &'static str,
        key: String,
    },
}

// Safe as an implicit conversion: there is one file, and `StoreFault::at` adds its path.
impl From<rusqlite::Error> for StoreFault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl StoreFault {
    /// Returns whether nothing was written and the file is sound, so that the store stays usable.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::RunHeld { .. } | Self::NoRun(_))
    }

    pub(super) fn at(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Sqlite(error) => StoreError::from_sqlite(path, error),
            Self::ReadOnly => StoreError::ReadOnly { path },
            Self::Replaced => StoreError::Replaced { path },
            Self::RowNotOpen { run, row } => StoreError::RowNotOpen { path, run, row },
            Self::RunHeld { run, holder } => StoreError::RunHeld { run, holder },
            Self::NoRun(run) => StoreError::Unknown {
                path,
                what: "run",
                key: run.0.to_string(),
            },
            Self::Unknown { what, key } => StoreError::Unknown { path, what, key },
        }
    }
}

impl StoreError {
    pub(super) fn from_sqlite(path: PathBuf, error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        let source = Arc::new(error);
        match (&*source, source.sqlite_error_code()) {
            (_, Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
            | (
                E::FromSqlConversionFailure(..)
                | E::IntegralValueOutOfRange(..)
                | E::InvalidColumnType(..)
                | E::Utf8Error(..),
                _,
            ) => Self::Damaged { path, source },
            (_, Some(ErrorCode::DiskFull)) => Self::Full { path, source },
            (_, Some(ErrorCode::SystemIoFailure)) => Self::Io { path, source },
            (_, Some(ErrorCode::ReadOnly)) => Self::ReadOnly { path },
            (_, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => Self::held(path),
            _ => Self::Failed { path, source },
        }
    }

    pub(super) fn held(path: PathBuf) -> Self {
        let holders = holders(&path);
        Self::Held { path, holders }
    }

    pub(super) fn folder(path: &Path, error: io::Error) -> Self {
        Self::Folder {
            path: path.to_owned(),
            source: Arc::new(error),
        }
    }
}

/// Names the processes that lock `file`, for messages. For a database in WAL mode, they lock its shared-memory file.
pub(super) fn holders(file: &Path) -> String {
    let mut memory = file.as_os_str().to_owned();
    memory.push("-shm");
    let found = platform::lock_holders(&[file, Path::new(&memory)]);
    if found.is_empty() {
        "another process".to_owned()
    } else {
        found.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    fn read(code: i32) -> String {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        StoreFault::from(error)
            .at(Path::new("/s/state.db"))
            .to_string()
    }

    #[test]
    fn each_code_of_sqlite_says_what_is_the_matter_with_the_file() {
        for (code, text) in [
            (
                ffi::SQLITE_FULL,
                "the disk under state file /s/state.db is full",
            ),
            (
                ffi::SQLITE_IOERR_FSYNC,
                "state file /s/state.db cannot be read or written",
            ),
            (ffi::SQLITE_NOTADB, "state file /s/state.db is damaged"),
            (ffi::SQLITE_CORRUPT, "state file /s/state.db is damaged"),
            (
                ffi::SQLITE_READONLY_DBMOVED,
                "state file /s/state.db is read-only",
            ),
            (
                ffi::SQLITE_BUSY_RECOVERY,
                "state file /s/state.db is held by another process",
            ),
            (ffi::SQLITE_MISUSE, "state file /s/state.db cannot be used"),
        ] {
            assert_eq!(read(code), text);
        }
    }
}
