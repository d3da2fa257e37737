//! Private files and folders: creating them, and checking who else can access or redirect them.
//!
//! Windows has no file modes, so there the checks report nothing.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Longer chains of links count as endless.
const MAX_LINKS: u32 = 40;

/// Creates `dir` and its missing parents with mode 0700. Refuses links of other users.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    refuse_foreign_link(dir)?;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(dir)
}

/// Opens or creates a file for reading and writing, with mode 0600 if new. Keeps its content and refuses links.
pub fn open_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let no_link = rustix::fs::OFlags::NOFOLLOW.bits();
        options.custom_flags(no_link.cast_signed());
    }
    open_private(options, path)
}

/// Opens or creates a file for appending, with mode 0600 if new, so that writes of several processes never overlap.
/// Refuses links of other users.
pub fn append_private_file(path: &Path) -> io::Result<File> {
    refuse_foreign_link(path)?;
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    open_private(options, path)
}

#[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has modes to set"))]
fn open_private(mut options: OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

/// Why a file is unsafe for secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Owned by neither this user nor root.
    Foreign(u32),
    Writable,
    Readable,
}

impl Exposure {
    /// Returns the fix, as an imperative without a period.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Foreign(_) => "copy it to a file of your own, or run as its owner",
            Self::Writable => "make it private (chmod 600), and check what is in it",
            Self::Readable => "make it private (chmod 600)",
        }
    }

    /// As [`Exposure::hint`], for a file that others may read but not change.
    pub fn public_hint(self) -> &'static str {
        match self {
            Self::Writable => "check its content, then make it writable for you only (chmod go-w)",
            other => other.hint(),
        }
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(uid) => write!(f, "belongs to another user (uid {uid})"),
            Self::Writable => f.write_str("can be changed by others"),
            Self::Readable => f.write_str("can be read by others"),
        }
    }
}

/// Returns the worst exposure of `file`, opened from `path`; always `None` on Windows.
pub fn exposure(file: &File, path: &Path) -> io::Result<Option<Exposure>> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    exposure_beside(file, path, credentials.as_deref())
}

/// Ignores the group's rights for files in `credentials`, the folder in which systemd passes secrets to a service. The
/// folder is private, and the access list for the service shows in the group's mode bits.
fn exposure_beside(
    file: &File,
    path: &Path,
    credentials: Option<&OsStr>,
) -> io::Result<Option<Exposure>> {
    let found = file.metadata()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let is_handed_over = credentials
            .is_some_and(|folder| !folder.is_empty() && path.parent() == Some(Path::new(folder)));
        let mode = found.mode() & if is_handed_over { 0o007 } else { 0o077 };
        Ok(if let Owner::Other(uid) = owner(&found) {
            Some(Exposure::Foreign(uid))
        } else if mode & 0o022 != 0 {
            Some(Exposure::Writable)
        } else if mode & 0o044 != 0 {
            Some(Exposure::Readable)
        } else {
            None
        })
    }
    #[cfg(not(unix))]
    {
        // systemd exists only on Unix.
        let _ = (found, path, credentials);
        Ok(None)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This process's user; also on platforms without owners.
    Us,
    Root,
    /// By user id.
    Other(u32),
}

pub fn owner(found: &Metadata) -> Owner {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        owner_among(found.uid(), rustix::process::geteuid().as_raw())
    }
    #[cfg(not(unix))]
    {
        let _ = found;
        Owner::Us
    }
}

#[cfg(unix)]
fn owner_among(uid: u32, us: u32) -> Owner {
    match uid {
        uid if uid == us => Owner::Us,
        0 => Owner::Root,
        uid => Owner::Other(uid),
    }
}

/// Returns the first link in `path` that another user owns: its owner decides which file the path names.
pub fn foreign_link(path: &Path) -> Option<PathBuf> {
    foreign_link_within(path, MAX_LINKS)
}

pub fn refuse_foreign_link(path: &Path) -> io::Result<()> {
    match foreign_link(path) {
        None => Ok(()),
        Some(link) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("the link {} belongs to another user", link.display()),
        )),
    }
}

fn foreign_link_within(path: &Path, links_left: u32) -> Option<PathBuf> {
    for part in path.ancestors().filter(|part| !part.as_os_str().is_empty()) {
        let Ok(found) = part.symlink_metadata() else {
            continue;
        };
        if !found.is_symlink() {
            continue;
        }
        if matches!(owner(&found), Owner::Other(_)) {
            return Some(part.to_owned());
        }
        let leads_to = std::fs::read_link(part).ok()?;
        let leads_to = part.parent().unwrap_or(Path::new("")).join(leads_to);
        let planted = foreign_link_within(&leads_to, links_left.checked_sub(1)?);
        if planted.is_some() {
            return planted;
        }
    }
    None
}

/// Who can access a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// Only this user, or the platform has no modes.
    Private,
    /// Only its owner, who is another user.
    OtherUsers,
    /// Others too, but it is ours, so we may change the mode.
    OpenAndOurs { mode: u32 },
    /// Others too, and it is another user's or meant to be shared (sticky, as `/tmp`).
    OpenAndShared { mode: u32 },
}

pub fn privacy(path: &Path) -> io::Result<Privacy> {
    let found = std::fs::metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let mode = found.mode() & 0o7777;
        let is_open = mode & 0o077 != 0;
        let is_sticky = mode & 0o1000 != 0;
        let is_ours = owner(&found) == Owner::Us;
        Ok(match (is_open, is_ours && !is_sticky) {
            (false, _) if is_ours => Privacy::Private,
            (false, _) => Privacy::OtherUsers,
            (true, true) => Privacy::OpenAndOurs { mode },
            (true, false) => Privacy::OpenAndShared { mode },
        })
    }
    #[cfg(not(unix))]
    {
        let _ = found;
        Ok(Privacy::Private)
    }
}

/// Removes the permissions of group and others.
pub fn make_private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path)?.permissions().mode();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o700))
    }
    #[cfg(not(unix))]
    {
        std::fs::metadata(path).map(drop)
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn private_files_and_folders_are_the_owners_alone() {
        use std::os::unix::fs::MetadataExt as _;
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        create_private_dir(&dir).unwrap();
        let file = dir.join("f");
        open_private_file(&file).unwrap();
        assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let opened = File::open(&file).unwrap();
        assert_eq!(exposure(&opened, &file).unwrap(), None);
    }

    #[test]
    fn what_systemd_hands_over_may_show_its_access_list_as_a_groups_right() {
        use std::fs::Permissions;
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("client-secret");
        std::fs::write(&file, "").unwrap();
        let here = Some(dir.path().as_os_str());
        let (none, readable) = (None, Some(Exposure::Readable));
        for (mode, handed_over, elsewhere) in [
            (0o400, none, none),
            (0o440, none, readable),
            (0o444, readable, readable),
            (0o420, none, Some(Exposure::Writable)),
            (0o602, Some(Exposure::Writable), Some(Exposure::Writable)),
        ] {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let opened = File::open(&file).unwrap();
            let found = |folder| exposure_beside(&opened, &file, folder).unwrap();
            assert_eq!(found(here), handed_over, "{mode:o}");
            for folder in [None, Some(OsStr::new("")), Some(OsStr::new("/elsewhere"))] {
                assert_eq!(found(folder), elsewhere, "{mode:o}");
            }
        }
    }

    #[test]
    fn what_is_open_to_others_is_told_and_made_private() {
        use std::fs::Permissions;
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let set = |mode| {
            std::fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            privacy(dir.path()).unwrap()
        };
        assert_eq!(set(0o700), Privacy::Private);
        assert_eq!(set(0o1777), Privacy::OpenAndShared { mode: 0o1777 });
        for mode in [0o755, 0o770, 0o711, 0o702] {
            assert_eq!(set(mode), Privacy::OpenAndOurs { mode });
            make_private(dir.path()).unwrap();
            assert_eq!(privacy(dir.path()).unwrap(), Privacy::Private);
        }
    }
}
