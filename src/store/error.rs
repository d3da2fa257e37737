//! Why the state cannot be used. Owns the one error type of this module and the reading of SQLite's codes; it never
//! holds a row's text, only names of files, runs and rows.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::model::RunId;
use crate::platform;

use super::types::Holder;

/// Why the state cannot be used; the causes are shared, for one failed commit answers many requests.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The writer has ended, so nothing was written.
    #[error("the writer of the state file has ended")]
    Closed,
    /// Bytes that this program did not write so.
    #[error("state file {path} is damaged")]
    Damaged {
        path: PathBuf,
        /// What SQLite or the reader of a cell says.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// Anything else that SQLite reports.
    #[error("state file {path} cannot be used")]
    Failed {
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// The folder, or a file that must be made in it.
    #[error("state folder {path} cannot be used")]
    Folder {
        path: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// A database, but somebody else's.
    #[error("{path} is the database of another program")]
    Foreign { path: PathBuf },
    /// No room is left for another record.
    #[error("the disk under state file {path} is full")]
    Full {
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// Somebody holds a lock that should be free soon, and did not let go.
    #[error("state file {path} is held by {holders}")]
    Held {
        path: PathBuf,
        /// By whom, where the platform tells.
        holders: String,
    },
    /// The disk or the file system failed.
    #[error("state file {path} cannot be read or written")]
    Io {
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// There is no state yet.
    #[error("there is no state file {path}")]
    Missing { path: PathBuf },
    /// Locks and shared memory cannot be trusted there.
    #[error("state folder {path} is on {kind}, where file locks and quota counts are not reliable")]
    UnreliableFileSystem {
        path: PathBuf,
        /// For example `NFS`.
        kind: &'static str,
    },
    /// Written by a newer version of this program; left as it is.
    #[error(
        "state file {path} has schema version {found}, and this program knows {known} at the most"
    )]
    NewerSchema {
        path: PathBuf,
        found: i64,
        /// The newest version known.
        known: i64,
    },
    /// Whoever owns the folder can look into it and change it, whatever its mode.
    #[error("state folder {path} belongs to another user")]
    SomebodyElses { path: PathBuf },
    /// Others may look into the folder or change it, and it is not for us to end that.
    #[error("state folder {path} is open to other users (mode {mode:04o})")]
    OpenToOthers {
        path: PathBuf,
        mode: u32,
        /// Whether it is for us to close it.
        is_ours: bool,
    },
    /// The file may be read but not written.
    #[error("state file {path} is read-only")]
    ReadOnly { path: PathBuf },
    /// Whoever looks for the file, or for the log beside it, finds none or another one.
    #[error("state file {path} was removed or replaced while it was in use")]
    Replaced { path: PathBuf },
    /// A record speaks of a row that is settled or does not exist, so two writers disagree about the run.
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

/// What goes wrong below the place that knows the file's path.
#[derive(Debug)]
pub(super) enum StoreFault {
    Sqlite(rusqlite::Error),
    ReadOnly,
    Replaced,
    RowNotOpen { run: i64, row: u32 },
    RunHeld { run: RunId, holder: Holder },
    Unknown { what: &'static str, key: String },
}

// Nothing is lost by this conversion: there is one file, and its path is added by `StoreFault::at`.
impl From<rusqlite::Error> for StoreFault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl StoreFault {
    /// Adds the path.
    pub(super) fn at(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Sqlite(error) => StoreError::from_sqlite(path, error),
            Self::ReadOnly => StoreError::ReadOnly { path },
            Self::Replaced => StoreError::Replaced { path },
            Self::RowNotOpen { run, row } => StoreError::RowNotOpen { path, run, row },
            Self::RunHeld { run, holder } => StoreError::RunHeld { run, holder },
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

/// Names who holds `file`, for messages. It may be the database: whoever writes to one in WAL mode locks the file of its
/// shared memory.
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
