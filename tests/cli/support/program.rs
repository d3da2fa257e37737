//! The program, as every test starts it.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

/// The program in `folder`: it keeps its state there, sees nothing of the caller's environment, and has no input.
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

/// How it ended.
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

    /// Both outputs, results first.
    pub(crate) fn told(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Asserts how it ended.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.told());
        self
    }
}

/// Runs it to its end.
pub(crate) fn done(command: &mut Command) -> Done {
    Done::of(command.output().unwrap())
}

/// Starts it; its output is read by [`finish`].
pub(crate) fn start(command: &mut Command) -> Child {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits for its end.
pub(crate) fn finish(child: Child) -> Done {
    Done::of(child.wait_with_output().unwrap())
}

pub(crate) fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits until something is so; a machine that takes longer than two minutes isn't slow but stuck.
pub(crate) fn wait_for(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed().as_secs() < 120, "it never came");
        // Not at full speed: the program needs the processor, too.
        std::thread::park_timeout(std::time::Duration::from_millis(1));
    }
}
