//! Default folders for state and config, and detection of unreliable file systems.

use std::path::{Path, PathBuf};

/// For example `~/.local/state/mde-cancel`.
pub fn default_state_dir() -> Option<PathBuf> {
    use etcetera::BaseStrategy as _;
    let base = etcetera::choose_base_strategy().ok()?;
    // On Windows the data folder may be on a file server; the cache folder is `%LOCALAPPDATA%`.
    let root = base.state_dir().unwrap_or_else(|| base.cache_dir());
    Some(root.join("mde-cancel"))
}

/// For example `~/.config/mde-cancel`.
pub fn default_config_dir() -> Option<PathBuf> {
    use etcetera::BaseStrategy as _;
    let base = etcetera::choose_base_strategy().ok()?;
    Some(base.config_dir().join("mde-cancel"))
}

/// Names the file system of `dir` if locks and shared memory are unreliable on it, because other machines may write to
/// it or its server defines what a lock means. Linux only.
pub fn unreliable_file_system(dir: &Path) -> Option<&'static str> {
    #[cfg(target_os = "linux")]
    {
        // Magic numbers from statfs(2).
        let kind = rustix::fs::statfs(dir).ok()?.f_type;
        match u32::try_from(kind & 0xFFFF_FFFF).ok()? {
            0x6969 => Some("NFS"),
            0x517B => Some("SMB"),
            0xFE53_4D42 => Some("SMB2"),
            0xFF53_4D42 => Some("CIFS"),
            0x0102_1997 => Some("9P"),
            0x5346_414F => Some("AFS"),
            0x0BD0_0BD0 => Some("Lustre"),
            0x00C3_6400 => Some("Ceph"),
            0x1983_0326 => Some("BeeGFS"),
            0x4750_4653 => Some("GPFS"),
            // Also virtiofs, sshfs, rclone, s3fs, gcsfuse and NTFS-3G.
            0x6573_5546 => Some("FUSE"),
            0x786F_4256 => Some("a VirtualBox shared folder"),
            0xBACB_ACBC => Some("a VMware shared folder"),
            0x7C7C_6673 => Some("a Parallels shared folder"),
            _ => None,
        }
    }
    #[cfg(windows)]
    {
        // Follows a drive letter to its share.
        let place = dir.canonicalize().ok()?;
        is_on_share(&place).then_some("a network share")
    }
    #[cfg(target_os = "macos")]
    {
        // Of statfs(2): its data is on this machine.
        const MNT_LOCAL: u32 = 0x1000;
        let found = rustix::fs::statfs(dir).ok()?;
        (found.f_flags & MNT_LOCAL == 0).then_some("a network file system")
    }
    #[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
    {
        std::fs::metadata(dir).ok().and(None)
    }
}

#[cfg(windows)]
fn is_on_share(path: &Path) -> bool {
    use std::path::{Component, Prefix};
    let Some(Component::Prefix(prefix)) = path.components().next() else {
        return false;
    };
    matches!(prefix.kind(), Prefix::UNC(..) | Prefix::VerbatimUNC(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_is_on_a_reliable_file_system() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(unreliable_file_system(dir.path()), None);
    }

    #[cfg(windows)]
    #[test]
    fn a_share_is_told_from_a_disk() {
        for (path, expected) in [
            (r"\\server\share\state", true),
            (r"\\?\UNC\server\share\state", true),
            (r"\\?\C:\state", false),
            (r"C:\state", false),
            ("state", false),
        ] {
            assert_eq!(is_on_share(Path::new(path)), expected, "{path}");
        }
    }
}
