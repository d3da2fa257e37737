//! Stop signals, and the file-size signal that must not kill the process.

use std::io;

/// Receives stop signals: Ctrl-C, SIGTERM or SIGHUP (terminal closed) on Unix; Ctrl-C, Ctrl-Break or a closed console
/// on Windows.
///
/// On Linux, a signal that the parent process ignores (`nohup`, `trap '' INT`, background jobs of a script) stays
/// ignored.
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
    /// Replaces the default handlers, which would end the process.
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

    /// Waits for the next signal and returns its name. Cancel safe: a signal between two calls is not lost.
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

/// Makes a write over the file size limit (`ulimit -f`) fail like one to a full disk, instead of killing the process.
///
/// Call it in a runtime, before the first write.
pub fn survive_file_size_limit() -> io::Result<()> {
    #[cfg(unix)]
    {
        let raw = rustix::process::Signal::XFSZ.as_raw();
        let kind = tokio::signal::unix::SignalKind::from_raw(raw);
        // The handler stays installed after the listener is dropped.
        tokio::signal::unix::signal(kind).map(drop)
    }
    #[cfg(not(unix))]
    Ok(())
}

/// Installs a handler, unless the signal's bit is set in `ignored`.
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

/// Waits forever if the signal is ignored.
#[cfg(unix)]
async fn arrival(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Returns a mask of ignored signals; the lowest bit is signal 1. Zero if unknown.
#[cfg(unix)]
fn ignored_signals() -> u128 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| ignored_in(&status))
        .unwrap_or(0)
}

/// Parses the `SigIgn` mask of `/proc/self/status`.
#[cfg(unix)]
fn ignored_in(status: &str) -> Option<u128> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u128::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_found_and_anything_else_ignores_none() {
        let status = "Name:\tx\nSigBlk:\t0000000000000007\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert_eq!(ignored_in(status), Some(0x1001));
        for odd in ["", "SigIgn:\n", "SigIgn:\txyz\n", "SigCgt:\t01\n"] {
            assert_eq!(ignored_in(odd), None, "{odd:?}");
        }
    }
}
