//! Where a report goes: a file that is replaced whole or not at all, or standard output.
//!
//! The bytes go to a temporary file in the same folder, are forced to disk, and only then take the report's name. An
//! earlier report stays untouched until that moment, and a temporary file never outlives a fault. The folder is
//! proved writable by making such a file and taking it away again, for modes tell too little (read-only mounts, quotas,
//! access lists); an empty file that is kept for hours instead would be litter after a crash.

use std::error::Error;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::csv::RowsError;

/// How many bytes are gathered before the system is asked to write them.
const BUFFER: usize = 64 * 1024;

/// A place for one report, proved writable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportTarget {
    /// A file, by its path with links followed.
    File(PathBuf),
    /// Standard output, named `-`.
    Stdout,
}

/// Why a report cannot go where it was asked to go.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// A folder stands where the file should.
    #[error("report {} is a folder; name a file in it", .path.display())]
    Folder {
        /// The path as given.
        path: PathBuf,
    },
    /// A link leads nowhere, or it cannot be followed.
    #[error("report {} is a link that cannot be followed", .path.display())]
    Link {
        /// The path as given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path does not end in a name.
    #[error("report path `{}` does not name a file", .path.display())]
    NoName {
        /// The path as given.
        path: PathBuf,
    },
    /// Neither a file nor a folder; to replace a device or a pipe would do harm.
    #[error("report {} is not a regular file; use `-` for standard output", .path.display())]
    NotRegular {
        /// The path as given.
        path: PathBuf,
    },
    /// Somebody protected the earlier report.
    #[error("report {} exists and is read-only", .path.display())]
    ReadOnly {
        /// The path as given.
        path: PathBuf,
    },
    /// The new report could not take its name; an earlier one is untouched.
    #[error("report {} cannot be put in place", .path.display())]
    Replace {
        /// The path as given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No file can be made in the folder.
    #[error("report {} cannot be written: no file can be made in folder {}", .path.display(), .folder.display())]
    Unwritable {
        /// The path as given.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ReportTarget {
    /// Proves that a report can be written to `path`, and leaves no trace there; `-` is standard output.
    ///
    /// # Errors
    /// Returns what stands in the way.
    pub fn prove(path: &Path) -> Result<Self, TargetError> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        let place = resolve(path)?;
        let folder = folder_of(&place);
        let file = TemporaryFile::create(folder).map_err(|source| TargetError::Unwritable {
            path: path.to_owned(),
            folder: folder.to_owned(),
            source,
        })?;
        drop(file);
        Ok(Self::File(place))
    }

    /// Returns the file's path; none for standard output.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Stdout => None,
        }
    }
}

/// Follows links, so that the file they lead to is replaced and not the link, and refuses what must not be replaced.
fn resolve(path: &Path) -> Result<PathBuf, TargetError> {
    let owned = || path.to_owned();
    // `file_name` overlooks a trailing separator, which means a folder.
    let text = path.as_os_str().as_encoded_bytes();
    if path.file_name().is_none()
        || text
            .last()
            .is_some_and(|&last| std::path::is_separator(last.into()))
    {
        return Err(if path.is_dir() {
            TargetError::Folder { path: owned() }
        } else {
            TargetError::NoName { path: owned() }
        });
    }
    // A path at which nothing can be looked at is left to the proof, which names the folder.
    let Ok(seen) = path.symlink_metadata() else {
        return Ok(owned());
    };
    let place = if seen.is_symlink() {
        path.canonicalize().map_err(|source| TargetError::Link {
            path: owned(),
            source,
        })?
    } else {
        owned()
    };
    match place.metadata() {
        Ok(found) if found.is_dir() => Err(TargetError::Folder { path: owned() }),
        Ok(found) if !found.is_file() => Err(TargetError::NotRegular { path: owned() }),
        Ok(found) if found.permissions().readonly() => Err(TargetError::ReadOnly { path: owned() }),
        _ => Ok(place),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Why a file was not replaced.
#[derive(Debug)]
pub(super) enum ReplaceError<E: Error + 'static> {
    /// What was to stand in it could not be had or written.
    Fill(RowsError<E>),
    /// It could not be made, or could not take its name.
    Target(TargetError),
}

/// Writes what `fill` gives to a file beside `path` and gives it that name once it is whole and on disk.
pub(super) fn replace<T, E: Error + 'static>(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<T, RowsError<E>>,
) -> Result<T, ReplaceError<E>> {
    let folder = folder_of(path);
    let mut temporary = TemporaryFile::create(folder).map_err(|source| {
        ReplaceError::Target(TargetError::Unwritable {
            path: path.to_owned(),
            folder: folder.to_owned(),
            source,
        })
    })?;
    let filled = {
        let mut out = BufWriter::with_capacity(BUFFER, &mut temporary.file);
        let filled = fill(&mut out).map_err(ReplaceError::Fill)?;
        out.flush()
            .map_err(|error| ReplaceError::Fill(RowsError::Write(error)))?;
        filled
    };
    // The reader of an earlier report keeps the access they had.
    let permissions = path.metadata().ok().map(|earlier| earlier.permissions());
    temporary.put_at(path, permissions).map_err(|source| {
        ReplaceError::Target(TargetError::Replace {
            path: path.to_owned(),
            source,
        })
    })?;
    Ok(filled)
}

/// A file that vanishes unless it is put in its place.
struct TemporaryFile {
    file: File,
    path: PathBuf,
    placed: bool,
}

impl TemporaryFile {
    fn create(folder: &Path) -> io::Result<Self> {
        // Short and of its own: a report's name may already be as long as the file system allows.
        let path = folder.join(format!(".mde-cancel-{}.tmp", uuid::Uuid::new_v4()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Self {
            file,
            path,
            placed: false,
        })
    }

    fn put_at(mut self, path: &Path, permissions: Option<Permissions>) -> io::Result<()> {
        if let Some(permissions) = permissions {
            self.file.set_permissions(permissions)?;
        }
        self.file.sync_all()?;
        std::fs::rename(&self.path, path)?;
        self.placed = true;
        sync_folder(folder_of(path))
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.placed {
            // Nothing more can be done about a file that cannot be removed, and the first fault is the one to tell.
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Forces the new name to disk, where the platform can.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network and user-space file systems have no such call; the name is in place all the same.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}

#[cfg(not(unix))]
fn sync_folder(folder: &Path) -> io::Result<()> {
    folder.metadata().map(|_| ())
}
