//! A folder for the program, and a sandbox that it calls.

use std::path::{Path, PathBuf};
use std::process::Command;

use mde_cancel::sandbox::{CallKind, LoggedCall, Sandbox, SandboxSettings};

use super::{Done, LiveSandbox, done, nth_id, program};

pub(crate) struct Place {
    pub(crate) live: LiveSandbox,
    pub(crate) folder: tempfile::TempDir,
}

impl Place {
    /// The sandbox has no quota, no delay and no action but for what `change` sets.
    pub(crate) fn with(change: impl FnOnce(&mut SandboxSettings)) -> Self {
        Self {
            live: LiveSandbox::start(change),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn sandbox(&self) -> &Sandbox {
        &self.live.sandbox
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.at(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.at(name)).unwrap()
    }

    /// The program with words parted by blanks, and a token that any sandbox takes that isn't strict.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = program(self.folder.path());
        command
            .args(words.split_whitespace())
            .env("MDE_CANCEL_API_URL", &self.live.url)
            .env("MDE_CANCEL_TOKEN", "any-word-that-is-long-enough")
            .env("MDE_CANCEL_READ_QUOTA", "none");
        command
    }

    pub(crate) fn run(&self, words: &str) -> Done {
        done(&mut self.command(words))
    }

    pub(crate) fn calls(&self, kind: CallKind) -> Vec<LoggedCall> {
        let log = self.sandbox().log().into_iter();
        log.filter(|call| call.kind == kind).collect()
    }

    pub(crate) fn cancels(&self) -> usize {
        self.live.calls(CallKind::Cancel)
    }

    /// The cells of one column of a CSV file.
    pub(crate) fn column(&self, file: &str, name: &str) -> Vec<String> {
        let mut rows = csv::Reader::from_path(self.at(file)).unwrap();
        let header = rows.headers().unwrap().clone();
        let at = header.iter().position(|cell| cell == name).unwrap();
        let rows = rows.records().map(Result::unwrap);
        rows.map(|row| row[at].to_owned()).collect()
    }
}

/// Writes a plain list of so many ids.
pub(crate) fn write_ids(path: &Path, count: usize) {
    let ids: Vec<_> = (1..=count).map(|n| nth_id(n).to_string()).collect();
    std::fs::write(path, ids.join("\n")).unwrap();
}
