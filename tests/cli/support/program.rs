//! The program as every test starts it.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

/// The program in `folder`, where it keeps its state. It gets an empty environment and no input.
pub(crate) fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mde-cancel"));
    command
        .current_dir(folder)
        .env_clear()
        .env("MDE_CANCEL_STATE_DIR", folder.join("state"))
        .stdin(Stdio::null());
    // Windows opens no socket without it.
    if let Some(root) = std::env::var_os("SystemRoot") {
        command.env("SystemRoot", root);
    }
    command
}

/// A finished process.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Both outputs, stdout first.
    pub(crate) fn told(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.told());
        self
    }
}

/// Runs a command to its end.
pub(crate) fn done(command: &mut Command) -> Done {
    Done::of(command.output().unwrap())
}

/// Starts a command whose output [`finish`] reads.
pub(crate) fn start(command: &mut Command) -> Child {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits for a process to end.
pub(crate) fn finish(child: Child) -> Done {
    Done::of(child.wait_with_output().unwrap())
}

/// Ends it as SIGTERM does; kills it on Windows, where a test can't send a signal.
pub(crate) fn stop(child: Child) {
    #[cfg(unix)]
    {
        let process = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        finish(child).exits(4);
    }
    #[cfg(not(unix))]
    kill(child);
}

pub(crate) fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits for `what`. A machine that takes longer than two minutes is stuck, not slow.
pub(crate) fn wait_for(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed().as_secs() < 120, "it never came");
        // Not at full speed: the program needs the processor, too.
        std::thread::park_timeout(std::time::Duration::from_millis(1));
    }
}
