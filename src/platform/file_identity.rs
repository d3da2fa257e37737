//! File identity, lock holders, and files that other programs have open.

use std::io;
use std::path::{Path, PathBuf};

/// Identifies a file regardless of its path. On Windows all files compare equal, but there an open file cannot be
/// removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    number: u64,
}

/// Doesn't open the file.
pub fn file_identity(path: &Path) -> io::Result<FileIdentity> {
    let found = std::fs::metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        Ok(FileIdentity {
            device: found.dev(),
            number: found.ino(),
        })
    }
    #[cfg(not(unix))]
    {
        let _ = found;
        Ok(FileIdentity {
            device: 0,
            number: 0,
        })
    }
}

/// Returns whether two paths name the same file, even if it doesn't exist yet.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    #[cfg(unix)]
    if let (Ok(one), Ok(other)) = (file_identity(one), file_identity(other)) {
        return one == other;
    }
    // Names that differ only in case are one file on some systems, and a likely typo on the others.
    let folded = |path: &Path| canonical(path).to_string_lossy().to_lowercase();
    folded(one) == folded(other)
}

/// Resolves links as far as the path exists.
fn canonical(path: &Path) -> PathBuf {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let beside = || Some(folder.canonicalize().ok()?.join(path.file_name()?));
    let there = path.canonicalize().ok();
    there
        .or_else(beside)
        .unwrap_or_else(|| path.components().collect())
}

/// Returns whether another program keeps a file from being replaced by having it open, as Excel does on Windows.
pub fn is_held_open(path: &Path) -> bool {
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt as _;
        // Replacing a file needs the right to delete it, which every program that has it open must share.
        const DELETE: u32 = 0x0001_0000;
        const SHARING_VIOLATION: i32 = 32;
        let opened = std::fs::OpenOptions::new().access_mode(DELETE).open(path);
        opened.is_err_and(|error| error.raw_os_error() == Some(SHARING_VIOLATION))
    }
    #[cfg(not(windows))]
    {
        let _ = path;
        false
    }
}

/// Names the other processes that hold a write lock on one of `paths`, for messages. Linux only; empty elsewhere.
pub fn lock_holders(paths: &[&Path]) -> Vec<String> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt as _;
        let files: Vec<u64> = paths
            .iter()
            .filter_map(|path| std::fs::metadata(path).ok())
            .map(|found| found.ino())
            .collect();
        let table = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        pids_that_lock(&table, &files)
            .into_iter()
            .filter(|pid| *pid != std::process::id())
            .map(|pid| {
                std::fs::read_to_string(format!("/proc/{pid}/comm")).map_or_else(
                    |_| format!("pid {pid}"),
                    |name| format!("pid {pid} ({})", name.trim()),
                )
            })
            .collect()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = paths;
        Vec::new()
    }
}

/// Parses `/proc/locks` for write locks on files with these inode numbers. Device numbers are ignored, because on some
/// file systems they differ from those of `stat`.
#[cfg(target_os = "linux")]
fn pids_that_lock(table: &str, files: &[u64]) -> Vec<u32> {
    let mut pids: Vec<u32> = table
        .lines()
        .filter_map(|line| {
            // `1: POSIX  ADVISORY  WRITE 4242 fe:01:131077 120 120`; the kind of a waiting process is `->`.
            let words: Vec<_> = line.split_whitespace().collect();
            let [_, kind, _, "WRITE", pid, place, ..] = words.as_slice() else {
                return None;
            };
            let number = place.rsplit(':').next()?.parse().ok()?;
            let holds = *kind != "->" && files.contains(&number);
            // A lock of a process in another container has no usable pid.
            pid.parse().ok().filter(|pid| holds && *pid > 0)
        })
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_file_keeps_its_identity_under_another_name_and_a_new_one_has_another() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = ["a", "b"].map(|name| dir.path().join(name));
        std::fs::write(&one, "").unwrap();
        let first = file_identity(&one).unwrap();
        std::fs::rename(&one, &other).unwrap();
        assert!(file_identity(&one).is_err());
        std::fs::write(&one, "").unwrap();
        assert_eq!(file_identity(&other).unwrap(), first);
        assert_ne!(file_identity(&one).unwrap(), first);
    }

    #[test]
    fn a_file_is_the_same_however_its_path_is_written() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let at = |name: &str| dir.path().join(name);
        for path in ["./a.csv", "sub/../a.csv", "A.CSV"] {
            assert!(is_same_file(&at("a.csv"), &at(path)), "{path}");
        }
        assert!(is_same_file(Path::new("a.csv"), Path::new("./a.csv")));
        for path in ["b.csv", "gone/a.csv", "sub/a.csv"] {
            assert!(!is_same_file(&at("a.csv"), &at(path)), "{path}");
        }
        std::fs::write(at("a.csv"), "").unwrap();
        assert!(is_same_file(&at("a.csv"), &at("sub/../a.csv")));
        std::fs::hard_link(at("a.csv"), at("hard.csv")).unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("a.csv"), at("link.csv")).unwrap();
            assert!(is_same_file(&at("a.csv"), &at("link.csv")));
            assert!(is_same_file(&at("hard.csv"), &at("link.csv")));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn holders_of_locks_are_found_and_those_who_wait_are_none() {
        let table = "1: POSIX  ADVISORY  WRITE 4242 fe:01:131077 120 120\n\
                     1: -> POSIX  ADVISORY  WRITE 4243 fe:01:131077 120 120\n\
                     2: POSIX  ADVISORY  READ 4244 fe:01:131077 123 123\n\
                     3: FLOCK  ADVISORY  WRITE 4245 fe:01:99 0 EOF\n\
                     4: POSIX  ADVISORY  WRITE 0 fe:01:131077 0 EOF\n\
                     5: POSIX  ADVISORY  WRITE 4242 fe:01:131077 0 EOF\n\
                     6: LEASE\n\n";
        assert_eq!(pids_that_lock(table, &[131_077]), [4242]);
        assert_eq!(pids_that_lock(table, &[99, 131_077]), [4242, 4245]);
        assert!(pids_that_lock(table, &[]).is_empty());
    }
}
