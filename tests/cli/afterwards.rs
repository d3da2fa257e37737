//! What becomes of rows that a first answer does not settle, with the real binary against a sandbox in this process.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use mde_cancel::sandbox::{CallKind, CancelEffect, Faults, MockAction, Status};

use crate::support::{LiveSandbox, nth_id, program};

fn action(number: usize, kind: &str, status: Status) -> MockAction {
    let created = Timestamp::from_second(1_790_000_000).unwrap();
    let mut record = MockAction::new(nth_id(number), kind, status, created);
    record.machine_id = Some(format!("{number:040x}"));
    record
}

/// Makes a command that needs nobody's consent and waits for no quota.
fn command(folder: &Path, live: &LiveSandbox, words: &str) -> Command {
    let mut command = program(folder);
    command
        .args(words.split(' '))
        .args(["--report", "report.csv", "--state-dir", "state"])
        .args(["--api-url", &live.url, "--rate", "none"])
        .env("MDE_CANCEL_TOKEN", "any-word")
        .env("MDE_CANCEL_QUOTA", "none")
        .env("MDE_CANCEL_READ_QUOTA", "none");
    command
}

fn write_ids(folder: &Path, count: usize) {
    let ids: Vec<_> = (1..=count)
        .map(|number| nth_id(number).to_string())
        .collect();
    std::fs::write(folder.join("ids.txt"), ids.join("\n")).unwrap();
}

/// Runs a command to its end: its exit code and what it printed.
fn done(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let mut told = String::from_utf8_lossy(&output.stdout).into_owned();
    told.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code(), told)
}

/// Reads outcome, reason, status and follow-up of each row.
fn report(folder: &Path) -> Vec<[String; 4]> {
    let mut rows = csv::Reader::from_path(folder.join("report.csv")).unwrap();
    rows.records()
        .map(Result::unwrap)
        .map(|row| [1, 2, 3, 7].map(|column| row[column].to_owned()))
        .collect()
}

#[test]
fn accepted_cancels_end_as_their_records_do_or_stay_accepted_when_time_is_up() {
    let live = LiveSandbox::start(|_| ());
    let soon = Duration::from_millis(100);
    let never = Duration::from_hours(1);
    for (number, kind, effect) in [
        (1, "Isolate", CancelEffect::Late(soon)),
        (2, "Isolate", CancelEffect::TooLate(soon)),
        (3, "Isolate", CancelEffect::Late(never)),
        (4, "LiveResponse", CancelEffect::DoneAnyway),
    ] {
        let mut record = action(number, kind, Status::Pending);
        record.on_cancel = Some(effect);
        live.sandbox.add(record);
    }
    let folder = tempfile::tempdir().unwrap();
    write_ids(folder.path(), 4);
    let words = "run ids.txt --yes --verify-timeout 1s";
    let (code, told) = done(&mut command(folder.path(), &live, words));
    assert_eq!(code, Some(3), "{told}");
    assert!(
        told.starts_with("1 machine is isolated now and needs release\n"),
        "{told}"
    );
    let expected = [
        ["cancelled", "", "Cancelled", ""],
        [
            "too_late",
            "the cancel was accepted, but the action ended as Succeeded",
            "Succeeded",
            "unisolate",
        ],
        [
            "accepted",
            "the service took the cancel; its record still said Pending",
            "Pending",
            "",
        ],
        [
            "cancelled",
            "the record says Cancelled, but its live-response command had completed",
            "Cancelled",
            "",
        ],
    ];
    assert_eq!(report(folder.path()), expected);
    assert_eq!(live.calls(CallKind::Cancel), 4);
}

#[test]
fn a_run_that_may_not_read_names_the_command_that_sends_without_and_it_works() {
    let live = LiveSandbox::start(|settings| {
        settings.faults = Faults::parse("403@on=list;403@on=get").unwrap();
    });
    live.isolates(1..=3, Status::Pending);
    let folder = tempfile::tempdir().unwrap();
    write_ids(folder.path(), 3);
    let (code, told) = done(&mut command(folder.path(), &live, "run ids.txt --yes"));
    assert_eq!((code, live.calls(CallKind::Cancel)), (Some(5), 0), "{told}");
    assert!(told.contains("grant Machine.Read.All"), "{told}");
    let named = told.lines().find_map(|line| {
        line.strip_prefix("    mde-cancel ")
            .filter(|line| line.contains("--no-precheck"))
    });
    let mut pasted = program(folder.path());
    pasted
        .args(named.unwrap().split(' '))
        .env("MDE_CANCEL_TOKEN", "any-word");
    let (code, told) = done(&mut pasted);
    assert_eq!((code, live.calls(CallKind::Cancel)), (Some(0), 3), "{told}");
    let outcomes = report(folder.path()).into_iter().map(|row| row[0].clone());
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    outcomes.for_each(|outcome| *counts.entry(outcome).or_default() += 1);
    assert_eq!(counts, BTreeMap::from([("cancelled".to_owned(), 3)]));
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_ends_the_look_at_what_became_of_the_machines() {
    let live = LiveSandbox::start(|settings| {
        settings.faults = Faults::parse("hang@on=list,after=1").unwrap();
    });
    for number in 1..=2 {
        live.sandbox
            .add(action(number, "Isolate", Status::Succeeded));
    }
    let folder = tempfile::tempdir().unwrap();
    write_ids(folder.path(), 2);
    let words = "run ids.txt --yes --follow-up todo.csv";
    let mut child = command(folder.path(), &live, words)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let start = std::time::Instant::now();
    while live.calls(CallKind::List) < 2 {
        assert!(start.elapsed() < Duration::from_secs(120), "nobody looks");
        std::thread::yield_now();
    }
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let left = std::fs::read_to_string(folder.path().join("todo.csv")).unwrap();
    let why = "not checked: stopped by SIGTERM before the answer came";
    assert!(left.contains(why), "{left}");
}
