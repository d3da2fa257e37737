//! Opens the state file: checks that it is ours and private, and configures SQLite.
//!
//! A file of a newer version or another program is refused before anything is written to it. Only SQLite opens the
//! file: closing a second descriptor would drop SQLite's locks.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, MAIN_DB, OpenFlags, TransactionBehavior};

use crate::platform;
use crate::platform::{FileIdentity, Privacy};

use super::busy_wait::{BUSY_SLICE, BusyWait};
use super::error::{StoreError, StoreFault};
use super::locks::{HeldLock, Locks};
use super::{busy_wait, record_types, schema};

/// The state file, opened for writing.
pub(super) struct OpenFile {
    pub(super) conn: Connection,
    pub(super) anchor: FileGuard,
    pub(super) lock: HeldLock,
    /// Whether no other process had it open.
    pub(super) is_alone: bool,
}

#[derive(Debug)]
pub(super) struct Folder {
    pub(super) file: PathBuf,
    pub(super) locks: Locks,
}

impl Folder {
    /// Creates the folder, or checks an existing one.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        platform::create_private_dir(dir).map_err(|error| StoreError::folder(dir, error))?;
        close_to_others(dir)?;
        if let Some(kind) = platform::unreliable_file_system(dir) {
            return Err(StoreError::UnreliableFileSystem {
                path: dir.to_owned(),
                kind,
            });
        }
        Ok(Self {
            file: record_types::state_file(dir),
            locks: Locks::open(dir)?,
        })
    }

    /// Opens the file for writing and acquires the process lock `name`. Creates or migrates the file if necessary.
    pub(super) fn open_file(
        &self,
        name: &str,
        patience: &mut BusyWait,
    ) -> Result<OpenFile, StoreError> {
        let opening = self.locks.wait_to_open(patience)?;
        let is_alone = self.locks.sweep(&opening);
        // SQLite would create the file with the umask's mode; the WAL copies the file's mode. Nobody has the file open
        // yet, so closing this descriptor drops no lock.
        if !self.file.exists() {
            platform::open_private_file(&self.file)
                .map_err(|error| StoreError::folder(&self.file, error))?;
        }
        let found = open_to_read(&self.file, patience)?;
        let is_older = is_older(&found).map_err(|fault| fault.at(&self.file))?;
        if is_older && !is_alone {
            // The other process doesn't know the new tables.
            return Err(StoreError::held(self.file.clone()));
        }
        drop(found);
        let (conn, anchor) = loop {
            match self.connect() {
                Err(fault) if patience.bears(&fault, &self.file) => {}
                opened => break opened.map_err(|fault| fault.at(&self.file))?,
            }
        };
        let lock = self.locks.hold(name)?;
        drop(opening);
        Ok(OpenFile {
            conn,
            anchor,
            lock,
            is_alone,
        })
    }

    fn connect(&self) -> Result<(Connection, FileGuard), StoreFault> {
        let meant = FileGuard::of_file(&self.file)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut conn = Connection::open_with_flags(&self.file, flags)?;
        conn.busy_timeout(BUSY_SLICE)?;
        if conn.is_readonly(MAIN_DB)? {
            return Err(StoreFault::ReadOnly);
        }
        let mode: String =
            conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            return Err(StoreFault::Unknown {
                what: "write-ahead log, but journal mode",
                key: mode,
            });
        }
        // With NORMAL, a power failure may lose the last commits. A lost "sent" is an attempt that we don't know of.
        conn.pragma_update(None, "synchronous", "full")?;
        conn.set_prepared_statement_cache_capacity(64);
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        schema::migrate(&transaction)?;
        transaction.commit()?;
        // Checked before and after, to be sure that SQLite opened this file.
        meant.check()?;
        let anchor = FileGuard::of_all(&self.file)?;
        Ok((conn, anchor))
    }
}

/// Makes sure that only the owner can access the state folder.
///
/// An open folder of our own is closed, but only if it contains nothing except state: somebody may have named a home
/// folder or a shared one by mistake.
fn close_to_others(dir: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::folder(dir, error);
    match platform::privacy(dir).map_err(failed)? {
        Privacy::Private => Ok(()),
        Privacy::OtherUsers => Err(StoreError::OtherUsers {
            path: dir.to_owned(),
        }),
        Privacy::OpenAndOurs { mode } if holds_state_alone(dir).map_err(failed)? => {
            platform::make_private(dir).map_err(failed)?;
            let file = record_types::state_file(dir);
            for file in [side(&file, "-wal"), side(&file, "-shm"), file] {
                if file.exists() {
                    platform::make_private(&file)
                        .map_err(|error| StoreError::folder(&file, error))?;
                }
            }
            tracing::warn!(
                folder = %dir.display(), mode = format!("{mode:04o}"),
                "the state folder was open to other users; now it is yours alone"
            );
            Ok(())
        }
        open @ (Privacy::OpenAndOurs { mode } | Privacy::OpenAndShared { mode }) => {
            Err(StoreError::OpenToOthers {
                path: dir.to_owned(),
                mode,
                is_ours: matches!(open, Privacy::OpenAndOurs { .. }),
            })
        }
    }
}

/// Returns whether a folder is empty or contains only state.
fn holds_state_alone(dir: &Path) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let is_state = name.starts_with("state.db")
            || name.starts_with("imitation-")
            || name == "locks"
            || name == "sandbox";
        if !is_state {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Names a file that SQLite keeps beside the database.
fn side(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The files that the open connection writes to: database, write-ahead log and shared memory. If one is removed or
/// replaced, SQLite would go on writing to a file that nobody can find.
#[derive(Debug)]
pub(super) struct FileGuard {
    files: Vec<(PathBuf, FileIdentity)>,
}

impl FileGuard {
    fn of_file(file: &Path) -> Result<Self, StoreFault> {
        Self::of([file.to_owned()])
    }

    /// SQLite creates the other two with the first transaction, and keeps all three while they are open.
    fn of_all(file: &Path) -> Result<Self, StoreFault> {
        Self::of([file.to_owned(), side(file, "-wal"), side(file, "-shm")])
    }

    fn of<const N: usize>(files: [PathBuf; N]) -> Result<Self, StoreFault> {
        let files = files
            .into_iter()
            .map(|file| {
                let identity = platform::file_identity(&file).map_err(|_| StoreFault::Replaced)?;
                Ok((file, identity))
            })
            .collect::<Result<_, StoreFault>>()?;
        Ok(Self { files })
    }

    /// Checks that all files are still in place, without opening them; takes a few microseconds.
    pub(super) fn check(&self) -> Result<(), StoreFault> {
        let stays = self.files.iter().all(|(file, identity)| {
            platform::file_identity(file).is_ok_and(|found| found == *identity)
        });
        if stays {
            Ok(())
        } else {
            Err(StoreFault::Replaced)
        }
    }
}

/// Opens the file read-only. Fails if this version can't read it.
pub(super) fn open_to_read(file: &Path, patience: &mut BusyWait) -> Result<Connection, StoreError> {
    if !file.exists() {
        return Err(StoreError::Missing {
            path: file.to_owned(),
        });
    }
    let look = || -> Result<(Connection, Header), StoreFault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(file, flags)?;
        conn.busy_timeout(BUSY_SLICE)?;
        conn.set_prepared_statement_cache_capacity(64);
        let header = Header::read(&conn)?;
        conn.busy_timeout(busy_wait::OPENING)?;
        Ok((conn, header))
    };
    let (conn, header) = loop {
        match look() {
            Err(fault) if patience.bears(&fault, file) => {}
            Err(StoreFault::Sqlite(error)) if is_half_made(&error) => {
                take_back(file).map_err(|fault| fault.at(file))?;
            }
            looked => break looked.map_err(|fault| fault.at(file))?,
        }
    };
    let is_foreign = header.tables > 0 && header.application != schema::APPLICATION;
    // We never create views or triggers, and a foreign one could return anything or run forever.
    if is_foreign || header.has_code {
        return Err(StoreError::Foreign {
            path: file.to_owned(),
        });
    }
    if header.version > schema::VERSION {
        return Err(StoreError::NewerSchema {
            path: file.to_owned(),
            found: header.version,
            known: schema::VERSION,
        });
    }
    Ok(conn)
}

/// Returns whether a process died while it created the file, before the switch to WAL. The unfinished transaction must
/// be rolled back, which a read-only connection can't do.
fn is_half_made(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::SqliteFailure(failure, _)
            if failure.extended_code == rusqlite::ffi::SQLITE_READONLY_ROLLBACK
    )
}

/// Lets SQLite roll back a dead process's transaction, which it does on the first read.
fn take_back(file: &Path) -> Result<(), StoreFault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags)?;
    conn.busy_timeout(busy_wait::OPENING)?;
    if conn.is_readonly(MAIN_DB)? {
        return Err(StoreFault::ReadOnly);
    }
    Header::read(&conn).map(drop)
}

/// Returns whether an older version wrote the file, or it is still empty.
pub(super) fn is_older(conn: &Connection) -> Result<bool, StoreFault> {
    Ok(Header::read(conn)?.version < schema::VERSION)
}

struct Header {
    application: i64,
    version: i64,
    tables: i64,
    /// Whether it has views or triggers.
    has_code: bool,
}

impl Header {
    fn read(conn: &Connection) -> Result<Self, StoreFault> {
        // One snapshot, because another process creates all of this in one transaction.
        let snapshot = conn.unchecked_transaction()?;
        let pragma = |name: &str| snapshot.pragma_query_value(None, name, |row| row.get(0));
        let tables = "SELECT count(*) FROM sqlite_schema";
        let code = "SELECT count(*) > 0 FROM sqlite_schema WHERE type IN ('view', 'trigger')";
        let header = Self {
            tables: snapshot.query_row(tables, [], |row| row.get(0))?,
            has_code: snapshot.query_row(code, [], |row| row.get(0))?,
            application: pragma("application_id")?,
            version: pragma("user_version")?,
        };
        snapshot.finish()?;
        Ok(header)
    }
}
