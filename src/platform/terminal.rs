//! The terminal that started the process, and detection of closed outputs.

use std::fs::{File, OpenOptions};
use std::io;

/// Returns whether a write to standard output failed because its pipe or terminal was closed.
pub fn has_reader_left(error: &io::Error) -> bool {
    #[cfg(unix)]
    if is_hung_up(error, io::stdout()) {
        return true;
    }
    error.kind() == io::ErrorKind::BrokenPipe
}

/// Returns whether `error` means that a terminal is gone; for a file, EIO means a failing disk.
#[cfg(unix)]
fn is_hung_up(error: &io::Error, output: impl std::os::fd::AsFd) -> bool {
    use rustix::fs::FileType;
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
        && rustix::fs::fstat(output)
            .is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_char_device())
}

/// Opens the controlling terminal for reading, regardless of standard input.
pub fn terminal_input() -> io::Result<File> {
    let name = if cfg!(windows) { "CONIN$" } else { "/dev/tty" };
    OpenOptions::new().read(true).open(name)
}

/// Opens the controlling terminal for writing, regardless of standard error.
pub fn terminal_output() -> io::Result<File> {
    let name = if cfg!(windows) { "CONOUT$" } else { "/dev/tty" };
    OpenOptions::new().write(true).open(name)
}

/// Discards unread keystrokes, so that they can't answer a later prompt.
#[cfg(unix)]
pub fn discard_typed(input: impl std::os::fd::AsFd) -> io::Result<()> {
    use rustix::termios::{QueueSelector, isatty, tcflush};
    if isatty(&input) {
        tcflush(input, QueueSelector::IFlush)?;
    }
    Ok(())
}

/// Discards unread keystrokes if standard input is the console.
#[cfg(windows)]
pub fn discard_typed<T>(_input: T) -> io::Result<()> {
    // Leaked, because standard input stays open.
    winsafe::HSTD::GetStdHandle(winsafe::co::STD_HANDLE::INPUT)
        .and_then(|mut stdin| stdin.leak().FlushConsoleInputBuffer())
        .ok();
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

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
}
