//! A folder for the program, and a sandbox for its calls.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

use mde_cancel::sandbox::{CallKind, LoggedCall, Sandbox, SandboxSettings};

use super::{Done, LiveSandbox, done, nth_id, program};

/// Contains the program's state and files.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.at(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.at(name)).unwrap()
    }

    pub(crate) fn write_ids(&self, name: &str, numbers: impl IntoIterator<Item = usize>) {
        let ids: Vec<_> = numbers.into_iter().map(|n| nth_id(n).to_string()).collect();
        self.write(name, ids.join("\n"));
    }

    /// The names of all entries except the state.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name != "state").collect();
        names.sort();
        names
    }

    /// The cells of one column of a CSV file.
    pub(crate) fn column(&self, file: &str, name: &str) -> Vec<String> {
        let mut rows = csv::Reader::from_path(self.at(file)).unwrap();
        let header = rows.headers().unwrap().clone();
        let at = header.iter().position(|cell| cell == name).unwrap();
        let rows = rows.records().map(Result::unwrap);
        rows.map(|row| row[at].to_owned()).collect()
    }

    /// The program with words separated by spaces.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = program(self.path());
        command.args(words.split_whitespace());
        command
    }

    pub(crate) fn run(&self, words: &str) -> Done {
        done(&mut self.command(words))
    }

    /// The runs of the journal, newest first.
    pub(crate) fn runs(&self) -> serde_json::Value {
        let listed = self.run("runs --format json").exits(0);
        serde_json::from_str(&listed.stdout).unwrap()
    }

    /// The id of the newest run.
    pub(crate) fn run_id(&self) -> String {
        self.runs()[0]["run"].as_str().unwrap().to_owned()
    }
}

/// A folder, and a sandbox in this process for the program's calls.
pub(crate) struct Place {
    pub(crate) live: LiveSandbox,
    pub(crate) folder: Folder,
}

impl Deref for Place {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.folder
    }
}

impl Place {
    /// The sandbox has no quota, delay or actions, except for what `change` sets.
    pub(crate) fn with(change: impl FnOnce(&mut SandboxSettings)) -> Self {
        Self {
            live: LiveSandbox::start(change),
            folder: Folder::new(),
        }
    }

    pub(crate) fn sandbox(&self) -> &Sandbox {
        &self.live.sandbox
    }

    /// The program with words separated by spaces, and a token that any sandbox accepts unless it is strict.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = self.folder.command(words);
        command
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
}

pub(crate) fn write_ids(path: &Path, count: usize) {
    let ids: Vec<_> = (1..=count).map(|n| nth_id(n).to_string()).collect();
    std::fs::write(path, ids.join("\n")).unwrap();
}
