//! Report targets: standard output, or a file that is replaced atomically.
//!
//! The report is written to a temporary file in the same folder, synced to disk, and renamed. On error the temporary
//! file is deleted and an old report remains. Before the run, the folder is checked by creating and deleting such a
//! file, because file modes don't show read-only mounts, quotas or access lists. Keeping an empty file during the run
//! instead would leave litter after a crash.

use std::error::Error;
use std::fs::{File, Metadata};
use std::io;
use std::io::{BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::platform;
use crate::platform::Owner;

use super::csv::RowsError;
use super::format::ReportFormat;

/// The size of the write buffer, in bytes.
const BUFFER: usize = 64 * 1024;

/// How much of a file is read to recognize it, in bytes.
const HEAD: u64 = 16 * 1024;

/// The checked target of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportTarget {
    /// A path with links resolved.
    File(PathBuf),
    /// `-`.
    Stdout,
}

/// Why a report cannot be written to its path.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("report {} is a folder; name a file in it", .path.display())]
    Folder { path: PathBuf },
    #[error("report {} is a link that cannot be followed", .path.display())]
    Link { path: PathBuf, source: io::Error },
    #[error("report {}: the link {} belongs to another user", .path.display(), .link.display())]
    ForeignLink { path: PathBuf, link: PathBuf },
    #[error("report path `{}` does not name a file", .path.display())]
    NoName { path: PathBuf },
    #[error("report {} is not a regular file; use `-` for standard output", .path.display())]
    NotRegular { path: PathBuf },
    #[error("report {} exists and is read-only", .path.display())]
    ReadOnly { path: PathBuf },
    #[error("report {} cannot be replaced: another program has it open", .path.display())]
    HeldOpen { path: PathBuf },
    #[error("report {} cannot be put in place", .path.display())]
    Replace { path: PathBuf, source: io::Error },
    #[error("report {} cannot be written: cannot create a file in folder {}", .path.display(), .folder.display())]
    Unwritable {
        path: PathBuf,
        folder: PathBuf,
        source: io::Error,
    },
}

impl ReportTarget {
    /// Checks that a report can be written to `path`, and leaves no trace; `-` is standard output.
    pub fn check_writable(path: &Path) -> Result<Self, TargetError> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        let place = resolve(path)?;
        let folder = folder_of(&place);
        let file = temporary_file(folder, true).map_err(|source| TargetError::Unwritable {
            path: path.to_owned(),
            folder: folder.to_owned(),
            source,
        })?;
        drop(file);
        Ok(Self::File(place))
    }

    /// Returns the path; `None` for standard output.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Stdout => None,
        }
    }
}

/// Resolves links, so that the target is replaced and not the link. Rejects paths that must not be replaced.
fn resolve(path: &Path) -> Result<PathBuf, TargetError> {
    let owned = || path.to_owned();
    // A trailing separator means a folder, but `file_name` ignores it.
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
    if let Some(link) = platform::foreign_link(path) {
        return Err(TargetError::ForeignLink {
            path: owned(),
            link,
        });
    }
    // If the path cannot be inspected, the write check reports its folder.
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

/// The kind of a file that we write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Report(ReportFormat),
    FollowUps,
    Metrics,
}

impl FileKind {
    /// Returns whether `path` may be replaced: it doesn't exist, is empty, or is an older file of this kind.
    pub fn may_replace(self, path: &Path) -> bool {
        let read = File::open(path).and_then(|file| {
            let mut head = Vec::new();
            file.take(HEAD).read_to_end(&mut head)?;
            Ok(head)
        });
        match read {
            Ok(head) => head.is_empty() || self.is_begun_by(&String::from_utf8_lossy(&head)),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Returns whether `head` is the beginning of a file of this kind.
    fn is_begun_by(self, head: &str) -> bool {
        let head = head.trim_start_matches('\u{feff}');
        match self {
            Self::Report(ReportFormat::Csv) => head.starts_with("action_id,outcome,reason,"),
            Self::Report(ReportFormat::JsonLines) => {
                head.starts_with("{\"action_id\":") && head.contains("\"outcome\":")
            }
            Self::Report(ReportFormat::Json) => head
                .trim_start_matches(['{', '\n'])
                .starts_with("\"summary\": {\"schema_version\":"),
            Self::Report(ReportFormat::Html) => {
                head.contains("<meta name=\"generator\" content=\"mde-cancel ")
            }
            Self::Report(ReportFormat::Markdown) => {
                head.contains("| outcome |") && head.contains("mde-cancel ")
            }
            Self::FollowUps => head.starts_with("machine_id,computer_dns_name,follow_up,"),
            Self::Metrics => head.starts_with("# HELP mde_cancel_"),
        }
    }
}

/// Why there is no new file. An older one is untouched.
#[derive(Debug, thiserror::Error)]
pub enum OutputError<E: Error + 'static> {
    #[error("{name} was not written")]
    Rows { name: String, source: RowsError<E> },
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("the follow-up list cannot go to standard output; name a file with --follow-up")]
    Stdout,
}

/// Writes the output of `fill` to a temporary file next to `path`, and renames it once it is complete and synced.
pub(super) fn replace<T, E: Error + 'static>(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<T, RowsError<E>>,
) -> Result<T, OutputError<E>> {
    let folder = folder_of(path);
    // Check again: a run takes hours.
    if let Some(link) = platform::foreign_link(path) {
        return Err(TargetError::ForeignLink {
            path: path.to_owned(),
            link,
        }
        .into());
    }
    // Keep the permissions of our older report. Until they are set, the new file is private.
    let earlier = path.metadata().ok();
    let earlier = earlier.filter(|found| platform::owner(found) == Owner::Us);
    let mut temporary =
        temporary_file(folder, earlier.is_some()).map_err(|source| TargetError::Unwritable {
            path: path.to_owned(),
            folder: folder.to_owned(),
            source,
        })?;
    let filled = {
        let mut out = BufWriter::with_capacity(BUFFER, temporary.as_file_mut());
        let filled = fill(&mut out).and_then(|filled| {
            out.flush()?;
            Ok(filled)
        });
        filled.map_err(|source| OutputError::Rows {
            name: path.display().to_string(),
            source,
        })?
    };
    put_at(temporary, path, earlier).map_err(|source| {
        let path = path.to_owned();
        if platform::is_held_open(&path) {
            TargetError::HeldOpen { path }
        } else {
            TargetError::Replace { path, source }
        }
    })?;
    Ok(filled)
}

/// Creates a file that is deleted unless it is persisted.
fn temporary_file(folder: &Path, is_private: bool) -> io::Result<NamedTempFile> {
    // A fixed short name: that of the report may already have the maximum length.
    let mut builder = tempfile::Builder::new();
    builder.prefix(".mde-cancel-").suffix(".tmp").rand_bytes(16);
    #[cfg(unix)]
    if !is_private {
        use std::os::unix::fs::PermissionsExt as _;
        // As for any new file; the umask applies.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let _ = is_private;
    builder.tempfile_in(folder)
}

fn put_at(temporary: NamedTempFile, path: &Path, earlier: Option<Metadata>) -> io::Result<()> {
    if let Some(earlier) = earlier {
        temporary.as_file().set_permissions(earlier.permissions())?;
    }
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    sync_folder(folder_of(path))
}

/// Syncs the new name to disk, if the platform supports it.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Unsupported by some network and FUSE file systems; the rename is done anyway.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_report_that_only_its_owner_reads_is_never_open_to_others_while_it_is_replaced() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        let modes_while_written = || {
            let mut modes = Vec::new();
            replace::<_, io::Error>(&path, |out| {
                out.write_all(b"x").map_err(RowsError::Write)?;
                for entry in std::fs::read_dir(folder.path()).unwrap() {
                    let mode = entry.unwrap().metadata().unwrap().permissions().mode();
                    modes.push(mode & 0o777);
                }
                Ok(())
            })
            .unwrap();
            (modes, path.metadata().unwrap().permissions().mode() & 0o777)
        };
        let (_, fresh) = modes_while_written();
        let probe = folder.path().join("probe");
        std::fs::write(&probe, "").unwrap();
        let usual = probe.metadata().unwrap().permissions().mode() & 0o777;
        std::fs::remove_file(&probe).unwrap();
        assert_eq!(fresh, usual, "a new report has the mode of any new file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(modes_while_written(), (vec![0o600, 0o600], 0o600));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(modes_while_written().1, 0o640);
    }

    #[test]
    fn only_nothing_and_earlier_files_of_ours_may_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let csv = FileKind::Report(ReportFormat::Csv);
        assert!(csv.may_replace(&path));
        for (text, kind, expected) in [
            ("", csv, true),
            ("action_id,outcome,reason,x\n", csv, true),
            ("\u{feff}action_id,outcome,reason,x\n", csv, true),
            ("id,action_id,outcome,reason,x\n", csv, false),
            ("notes", csv, false),
            ("notes", FileKind::FollowUps, false),
            (
                "# notes on mde-cancel\n",
                FileKind::Report(ReportFormat::Markdown),
                false,
            ),
            (
                "{\"action_id\":1}\n",
                FileKind::Report(ReportFormat::JsonLines),
                false,
            ),
            (
                "{\"summary\": 1}\n",
                FileKind::Report(ReportFormat::Json),
                false,
            ),
            ("# HELP node_load1\n", FileKind::Metrics, false),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(kind.may_replace(&path), expected, "{kind:?} {text}");
        }
    }
}
