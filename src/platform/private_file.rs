//! Files and folders that are their owner's alone, as far as the platform has modes.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// How many links are followed before a path counts as endless.
const MAX_LINKS: u32 = 40;

/// Creates `dir` and its parents; what is made new is open to its owner only (0700). A link of somebody else is not followed.
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

/// Creates or opens a file for reading and writing that only its owner may touch (0600); what is in it stays. A link is
/// not followed.
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

/// Creates a file that only its owner may touch (0600), or opens it, for writing at its end: what several processes
/// write then never overlaps. A link of somebody else is not followed.
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

/// Why a file is no place for a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Its owner is neither this process's user nor root.
    Foreign(u32),
    Writable,
    Readable,
}

impl Exposure {
    /// Returns what to do about it, as an imperative without a period.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Foreign(_) => "copy it to a file of your own, or run as its owner",
            Self::Writable => "make it private (chmod 600), and check what is in it",
            Self::Readable => "make it private (chmod 600)",
        }
    }

    /// Returns what to do about a file that others may read, and not change.
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

/// Returns the worst exposure of `file`, which was opened from `path`; always `None` where the platform has no modes.
pub fn exposure(file: &File, path: &Path) -> io::Result<Option<Exposure>> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    exposure_beside(file, path, credentials.as_deref())
}

/// What systemd hands to a service lies in `credentials`, whose folder lets nobody else in: there, an access list lets
/// the service read the file, and its mask shows as the group's rights.
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
        // No systemd hands anything over there.
        drop((found, path, credentials));
        Ok(None)
    }
}

/// Who owns a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This process's user, or the platform has no owners.
    Us,
    /// The superuser.
    Root,
    /// Somebody else, by number.
    Other(u32),
}

/// Returns who owns a file.
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

/// Returns the first link on the way to a file that belongs to somebody else: who can plant it decides where the file is.
pub fn foreign_link(path: &Path) -> Option<PathBuf> {
    foreign_link_within(path, MAX_LINKS)
}

/// Fails where somebody else's link decides where the file is.
pub fn refuse_foreign_link(path: &Path) -> io::Result<()> {
    match foreign_link(path) {
        None => Ok(()),
        Some(link) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("the link {} belongs to somebody else", link.display()),
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

/// How far a path is its owner's alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// Nobody else may do anything with it, or the platform has no such modes.
    OwnersAlone,
    /// Nobody but its owner may do anything with it, and that is somebody else.
    SomebodyElses,
    /// Others may do something with it, and it is ours: we may change that.
    OpenAndOurs { mode: u32 },
    /// Others may do something with it, and it is somebody else's, or meant to be shared (sticky, as `/tmp` is).
    OpenAndShared { mode: u32 },
}

/// Looks who may do something with `path`.
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
            (false, _) if is_ours => Privacy::OwnersAlone,
            (false, _) => Privacy::SomebodyElses,
            (true, true) => Privacy::OpenAndOurs { mode },
            (true, false) => Privacy::OpenAndShared { mode },
        })
    }
    #[cfg(not(unix))]
    {
        drop(found);
        Ok(Privacy::OwnersAlone)
    }
}

/// Takes from everybody but the owner what they may do with `path`; what the owner may do stays.
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
        assert_eq!(set(0o700), Privacy::OwnersAlone);
        assert_eq!(set(0o1777), Privacy::OpenAndShared { mode: 0o1777 });
        for mode in [0o755, 0o770, 0o711, 0o702] {
            assert_eq!(set(mode), Privacy::OpenAndOurs { mode });
            make_private(dir.path()).unwrap();
            assert_eq!(privacy(dir.path()).unwrap(), Privacy::OwnersAlone);
        }
    }
}
