//! The program respects the shell that starts it: ignored signals stay ignored, and a limit on file sizes acts like a
//! full disk, not like a crash.
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mde_cancel::sandbox::{Faults, Status};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Folder, Place, done, wait_for};

/// A shell that runs `set_up`, then execs the binary.
fn shell(folder: &Path, set_up: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{set_up}; exec \"$0\" \"$@\""))
        .arg(env!("CARGO_BIN_EXE_mde-cancel"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A sandbox that listens, so its signal handlers are in place.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(folder: &Path, set_up: &str) -> Self {
        let mut child = shell(folder, set_up, &["sandbox", "--actions", "1"])
            .spawn()
            .unwrap();
        let mut greeting = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut greeting)
            .unwrap();
        let address = greeting.trim().rsplit('/').next().unwrap().to_owned();
        Self { child, address }
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn ignores(&self, signal: Signal) -> bool {
        mask_holds(self.child.id(), "SigIgn:", signal)
    }

    fn catches(&self, signal: Signal) -> bool {
        mask_holds(self.child.id(), "SigCgt:", signal)
    }

    fn answers(&self) -> bool {
        let mut line = TcpStream::connect(&self.address).unwrap();
        line.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        line.read_to_string(&mut answer).unwrap();
        answer.starts_with("HTTP/1.1 ")
    }

    fn exit(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
    }
}

/// Returns whether a signal mask of a process contains a signal.
fn mask_holds(process: u32, mask: &str, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(mask));
    let bits = u128::from_str_radix(line.unwrap().trim(), 16).unwrap();
    bits >> (signal.as_raw() - 1) & 1 == 1
}

#[test]
fn signals_that_the_parent_set_to_be_ignored_stay_ignored_and_the_others_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::start(folder.path(), "trap '' HUP INT");
    for ignored in [Signal::HUP, Signal::INT] {
        assert!(serving.ignores(ignored), "{ignored:?}");
        serving.send(ignored);
    }
    assert!(serving.answers());
    assert!(serving.catches(Signal::TERM));
    serving.send(Signal::TERM);
    assert_eq!(serving.exit(), Some(0));
}

#[test]
fn a_signal_that_is_not_ignored_exits_with_0() {
    let folder = tempfile::tempdir().unwrap();
    // A shell can't reset a signal that is already ignored, as under nohup.
    let own = std::process::id();
    let heard = [Signal::TERM, Signal::HUP, Signal::INT]
        .into_iter()
        .filter(|signal| !mask_holds(own, "SigIgn:", *signal));
    for signal in heard {
        let serving = Serving::start(folder.path(), ":");
        assert!(serving.catches(signal), "{signal:?}");
        serving.send(signal);
        assert_eq!(serving.exit(), Some(0), "{signal:?}");
    }
}

#[test]
fn the_file_size_limit_acts_like_a_full_disk() {
    let folder = Folder::new();
    folder.write_ids("ids.txt", 1..=300);
    // In units of 512 bytes: too little for the journal's first page, for its tables, and for the rows.
    for limit in [1, 40, 200] {
        let state = format!("state-{limit}");
        let arguments = ["run", "ids.txt", "--sandbox", "--state-dir", &state];
        let mut command = shell(folder.path(), &format!("ulimit -f {limit}"), &arguments);
        let told = done(&mut command).exits(6).stderr;
        assert!(told.contains("error: "), "{limit}: {told}");
        assert!(told.contains("state.db"), "{limit}: {told}");
    }
}

#[test]
fn the_second_signal_exits_at_once_and_prints_the_resume_command() {
    let place = Place::with(|settings| {
        settings.faults = Faults::parse("hang@on=cancel").unwrap();
    });
    place.live.isolates(1..=3, Status::Pending);
    place.write_ids("ids.txt", 1..=3);
    let url = &place.live.url;
    let words = format!("run ids.txt --yes --state-dir state --api-url {url}");
    let words: Vec<_> = words.split(' ').collect();
    let mut child = shell(place.path(), "export MDE_CANCEL_TOKEN=any-word", &words)
        .spawn()
        .unwrap();
    let process = Pid::from_child(&child);
    wait_for(|| place.cancels() > 0);
    kill_process(process, Signal::TERM).unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut heard = String::new();
    while !heard.contains("no new calls") {
        heard.clear();
        assert!(
            told.read_line(&mut heard).unwrap() > 0,
            "the first signal was not heard"
        );
    }
    kill_process(process, Signal::TERM).unwrap();
    let mut last = String::new();
    told.read_to_string(&mut last).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{last}");
    let command = format!(" --yes --api-url {url} --state-dir state");
    let named = last
        .lines()
        .find(|line| line.contains("to continue: mde-cancel resume "));
    assert!(named.is_some_and(|line| line.ends_with(&command)), "{last}");
}
