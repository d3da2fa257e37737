//! What differs between Linux, macOS and Windows: folders, file modes, locks' text, and stop signals.
//!
//! Linux is proven by CI; the others are written for, not compiled by us.

use std::ffi::OsStr;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::path::PathBuf;

/// Returns the folder in which a user's programs keep state, for example `~/.local/state/mde-cancel`.
pub fn default_state_dir() -> Option<PathBuf> {
    use etcetera::BaseStrategy as _;
    let base = etcetera::choose_base_strategy().ok()?;
    let root = base.state_dir().unwrap_or_else(|| base.data_dir());
    Some(root.join("mde-cancel"))
}

/// Returns the folder in which a user's programs keep their configuration, for example `~/.config/mde-cancel`.
pub fn default_config_dir() -> Option<PathBuf> {
    use etcetera::BaseStrategy as _;
    let base = etcetera::choose_base_strategy().ok()?;
    Some(base.config_dir().join("mde-cancel"))
}

/// Creates `dir` and its parents; what is made new is open to its owner only (0700).
///
/// # Errors
/// Returns the system's error where a folder can neither be found nor made.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(dir)
}

/// Creates or opens a file for reading and writing that only its owner may touch (0600); what is in it stays.
///
/// # Errors
/// Returns the system's error.
pub fn open_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    open_private(options, path)
}

/// Creates a file that only its owner may touch (0600), or opens it, for writing at its end: what several processes
/// write then never overlaps.
///
/// # Errors
/// Returns the system's error.
pub fn append_private_file(path: &Path) -> io::Result<File> {
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

/// Returns whether anybody but the owner may read `path`; always false where the platform has no such modes.
///
/// # Errors
/// Returns the system's error where the file cannot be looked at.
pub fn is_readable_by_others(path: &Path) -> io::Result<bool> {
    readable_by_others(path, std::env::var_os("CREDENTIALS_DIRECTORY").as_deref())
}

/// Judges a file by its mode, but what systemd handed to this service: it lets the service in by an access list, whose
/// mask stands where the group's rights do, and lets nobody else into the folder.
fn readable_by_others(path: &Path, credentials: Option<&OsStr>) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let mode = std::fs::metadata(path)?.mode();
        let is_handed_over = credentials
            .is_some_and(|folder| !folder.is_empty() && path.parent() == Some(Path::new(folder)));
        let others = if is_handed_over { 0o004 } else { 0o044 };
        Ok(mode & others != 0)
    }
    #[cfg(not(unix))]
    {
        // No systemd hands anything over there.
        let _ = credentials;
        std::fs::metadata(path).map(|_| false)
    }
}

/// How far a path is its owner's alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// Nobody else may do anything with it, or the platform has no such modes.
    OwnersAlone,
    /// Others may do something with it, and it is ours: we may change that.
    OpenAndOurs {
        /// The permission bits.
        mode: u32,
    },
    /// Others may do something with it, and it is somebody else's, or meant to be shared (sticky, as `/tmp` is).
    OpenAndShared {
        /// The permission bits.
        mode: u32,
    },
}

/// Looks who may do something with `path`.
///
/// # Errors
/// Returns the system's error where it cannot be looked at.
pub fn privacy(path: &Path) -> io::Result<Privacy> {
    let found = std::fs::metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let mode = found.mode() & 0o7777;
        let is_open = mode & 0o077 != 0;
        let is_sticky = mode & 0o1000 != 0;
        let is_ours = found.uid() == rustix::process::geteuid().as_raw();
        Ok(match (is_open, is_ours && !is_sticky) {
            (false, _) => Privacy::OwnersAlone,
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
///
/// # Errors
/// Returns the system's error where that is not for us to change.
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

/// Which file a path leads to, whatever it is called. Where the platform does not tell, every file looks alike; there, a
/// file that is open cannot be removed either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    number: u64,
}

/// Tells which file `path` leads to, without opening it.
///
/// # Errors
/// Returns the system's error, above all where there is no such file.
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
        drop(found);
        Ok(FileIdentity {
            device: 0,
            number: 0,
        })
    }
}

/// Names the other processes of this machine that hold a lock for writing on one of `paths`, for messages only: empty
/// where the platform does not tell.
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
        drop(paths.iter());
        Vec::new()
    }
}

/// Reads the text of `/proc/locks`: who holds a lock for writing on a file with one of these numbers. The device is left
/// out: what a file system shows there and what its files say differs with some of them.
#[cfg(target_os = "linux")]
fn pids_that_lock(table: &str, files: &[u64]) -> Vec<u32> {
    let mut pids: Vec<u32> = table
        .lines()
        .filter_map(|line| {
            // `1: POSIX  ADVISORY  WRITE 4242 fe:01:131077 120 120`; who waits has `->` for its kind.
            let words: Vec<_> = line.split_whitespace().collect();
            let [_, kind, _, "WRITE", pid, place, ..] = words.as_slice() else {
                return None;
            };
            let number = place.rsplit(':').next()?.parse().ok()?;
            let holds = *kind != "->" && files.contains(&number);
            // A lock of another container shows with no process.
            pid.parse().ok().filter(|pid| holds && *pid > 0)
        })
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Returns whether a write to standard output failed because its reader left: a pipe that nobody reads, a terminal that
/// was closed.
pub fn has_reader_left(error: &io::Error) -> bool {
    #[cfg(unix)]
    if is_hung_up(error, io::stdout()) {
        return true;
    }
    error.kind() == io::ErrorKind::BrokenPipe
}

/// Returns whether `error` says that a terminal is gone; the same error of a file is a failing disk.
#[cfg(unix)]
fn is_hung_up(error: &io::Error, output: impl std::os::fd::AsFd) -> bool {
    use rustix::fs::FileType;
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
        && rustix::fs::fstat(output)
            .is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_char_device())
}

/// Names the network file system that `dir` lies on, where it lies on one: SQLite's locks and WAL cannot be trusted
/// there.
pub fn network_file_system(dir: &Path) -> Option<&'static str> {
    #[cfg(target_os = "linux")]
    {
        // Magic numbers of statfs(2).
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
            _ => None,
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        std::fs::metadata(dir).ok().and(None)
    }
}

/// Opens the terminal that this process was started from, for reading, whatever standard input is.
///
/// # Errors
/// Returns the system's error where there is none.
pub fn terminal_input() -> io::Result<File> {
    let name = if cfg!(windows) { "CONIN$" } else { "/dev/tty" };
    OpenOptions::new().read(true).open(name)
}

/// Opens the terminal that this process was started from, for writing, whatever standard error is.
///
/// # Errors
/// Returns the system's error where there is none.
pub fn terminal_output() -> io::Result<File> {
    let name = if cfg!(windows) { "CONOUT$" } else { "/dev/tty" };
    OpenOptions::new().write(true).open(name)
}

/// Returns this machine's name, for messages and reports only.
pub fn host_name() -> String {
    #[cfg(unix)]
    {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    }
    #[cfg(not(unix))]
    {
        std::env::var("COMPUTERNAME").unwrap_or_else(|_| "-".to_owned())
    }
}

/// Returns the name of the user who runs this, for messages and reports only.
pub fn user_name() -> String {
    ["USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_else(|| {
            #[cfg(unix)]
            {
                format!("uid {}", rustix::process::getuid().as_raw())
            }
            #[cfg(not(unix))]
            {
                "-".to_owned()
            }
        })
}

/// Waits for the next wish to stop: Ctrl-C, SIGTERM or SIGHUP (a closed terminal); Ctrl-C, Ctrl-Break or a closed
/// console on Windows. Says which.
///
/// A signal that the parent set to be ignored (`nohup`, `trap '' INT`, a script's background job) stays ignored where the
/// platform tells which: on Linux.
#[derive(Debug)]
pub struct StopSignals {
    #[cfg(unix)]
    interrupt: Option<tokio::signal::unix::Signal>,
    #[cfg(unix)]
    terminate: Option<tokio::signal::unix::Signal>,
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
    #[cfg(windows)]
    ctrl_c: tokio::signal::windows::CtrlC,
    #[cfg(windows)]
    ctrl_break: tokio::signal::windows::CtrlBreak,
    #[cfg(windows)]
    close: tokio::signal::windows::CtrlClose,
}

impl StopSignals {
    /// Takes the signals over from their default, which would end the process at once.
    ///
    /// # Errors
    /// Returns the system's error where a handler cannot be set.
    pub fn listen() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::SignalKind;
            let ignored = ignored_signals();
            Ok(Self {
                interrupt: unless_ignored(SignalKind::interrupt(), ignored)?,
                terminate: unless_ignored(SignalKind::terminate(), ignored)?,
                hangup: unless_ignored(SignalKind::hangup(), ignored)?,
            })
        }
        #[cfg(windows)]
        {
            Ok(Self {
                ctrl_c: tokio::signal::windows::ctrl_c()?,
                ctrl_break: tokio::signal::windows::ctrl_break()?,
                close: tokio::signal::windows::ctrl_close()?,
            })
        }
    }

    /// Waits for the next one and returns its name.
    ///
    /// # Cancel safety
    /// Safe: a signal that arrives while nobody waits is kept.
    pub async fn next(&mut self) -> &'static str {
        #[cfg(unix)]
        {
            tokio::select! {
                () = arrival(&mut self.interrupt) => "Ctrl-C",
                () = arrival(&mut self.terminate) => "SIGTERM",
                () = arrival(&mut self.hangup) => "SIGHUP",
            }
        }
        #[cfg(windows)]
        {
            tokio::select! {
                _ = self.ctrl_c.recv() => "Ctrl-C",
                _ = self.ctrl_break.recv() => "Ctrl-Break",
                _ = self.close.recv() => "the closed console",
            }
        }
    }
}

/// Lets a write over the limit on file sizes (`ulimit -f`) fail as one to a full disk does, instead of ending the process
/// in the middle of it.
///
/// To be called inside a runtime, before anything is written.
///
/// # Errors
/// Returns the system's error where the signal cannot be taken over.
pub fn survive_file_size_limit() -> io::Result<()> {
    #[cfg(unix)]
    {
        let raw = rustix::process::Signal::XFSZ.as_raw();
        let kind = tokio::signal::unix::SignalKind::from_raw(raw);
        // What listens may go: the signal stays taken over as long as the process lives.
        tokio::signal::unix::signal(kind).map(drop)
    }
    #[cfg(not(unix))]
    Ok(())
}

/// Takes a signal over, unless its bit is set among the ignored ones.
#[cfg(unix)]
fn unless_ignored(
    kind: tokio::signal::unix::SignalKind,
    ignored: u128,
) -> io::Result<Option<tokio::signal::unix::Signal>> {
    let is_ignored = u32::try_from(kind.as_raw_value() - 1)
        .ok()
        .and_then(|bit| ignored.checked_shr(bit))
        .is_some_and(|bits| bits & 1 == 1);
    if is_ignored {
        return Ok(None);
    }
    tokio::signal::unix::signal(kind).map(Some)
}

/// Waits for a signal; for ever, where it is ignored.
#[cfg(unix)]
async fn arrival(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Returns the signals that this process ignores, the first as the lowest bit; none where the platform does not tell.
#[cfg(unix)]
fn ignored_signals() -> u128 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| ignored_in(&status))
        .unwrap_or(0)
}

/// Reads the mask of ignored signals in the text of `/proc/self/status`.
#[cfg(unix)]
fn ignored_in(status: &str) -> Option<u128> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u128::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn the_mask_of_ignored_signals_is_found_and_anything_else_ignores_none() {
        let status = "Name:\tx\nSigBlk:\t0000000000000007\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert_eq!(ignored_in(status), Some(0x1001));
        for odd in ["", "SigIgn:\n", "SigIgn:\txyz\n", "SigCgt:\t01\n"] {
            assert_eq!(ignored_in(odd), None, "{odd:?}");
        }
    }

    #[cfg(unix)]
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
        assert!(!is_readable_by_others(&file).unwrap());
        assert_eq!(network_file_system(&dir), None);
    }

    #[cfg(unix)]
    #[test]
    fn what_systemd_hands_over_may_show_its_access_list_as_a_groups_right() {
        use std::fs::Permissions;
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("client-secret");
        std::fs::write(&file, "").unwrap();
        let here = Some(dir.path().as_os_str());
        for (mode, handed_over, elsewhere) in [
            (0o400, false, false),
            (0o440, false, true),
            (0o444, true, true),
        ] {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert_eq!(readable_by_others(&file, here).unwrap(), handed_over);
            for folder in [None, Some(OsStr::new("")), Some(OsStr::new("/elsewhere"))] {
                assert_eq!(readable_by_others(&file, folder).unwrap(), elsewhere);
            }
        }
    }

    #[cfg(unix)]
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

    #[cfg(unix)]
    #[test]
    fn a_closed_terminal_is_no_failing_disk() {
        use rustix::io::Errno;
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("report")).unwrap();
        let device = File::open("/dev/null").unwrap();
        let error = |code: Errno| io::Error::from_raw_os_error(code.raw_os_error());
        assert!(is_hung_up(&error(Errno::IO), &device));
        assert!(!is_hung_up(&error(Errno::IO), &file));
        assert!(!is_hung_up(&error(Errno::NOSPC), &device));
        assert!(has_reader_left(&error(Errno::PIPE)));
        assert!(!has_reader_left(&error(Errno::NOSPC)));
    }

    #[test]
    fn names_for_messages_are_never_empty() {
        assert!(!host_name().is_empty());
        assert!(!user_name().is_empty());
    }
}
