//! How a run of the real binary ends: reports that fail, the next command, accepted cancels, and signals.

use std::time::Duration;

use jiff::Timestamp;
use mde_cancel::sandbox::{CancelEffect, Faults, MockAction, Status};

use crate::support::{Folder, Place, finish, nth_id, start, wait_for};

/// The input's only id.
const ONE: &str = "id\n7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2\n";

#[test]
fn a_report_that_cannot_be_written_costs_neither_the_others_nor_the_summary() {
    let folder = Folder::new();
    folder.write_ids("ids.txt", 1..=70);
    std::fs::create_dir(folder.at("gone")).unwrap();
    let words = "run --sandbox ids.txt --report gone/a.csv --report b.csv --state-dir state";
    let child = start(&mut folder.command(words));
    wait_for(|| folder.at("state/sandbox/state.db-wal").exists());
    std::fs::remove_dir_all(folder.at("gone")).unwrap();
    let done = finish(child).exits(1);
    let (told, shown) = (done.stderr, done.stdout);
    assert!(shown.contains(" total "), "no summary: {shown}");
    assert!(told.contains("gone/a.csv"), "{told}");
    let run = shown.lines().find_map(|line| line.strip_prefix("run "));
    let run = run.unwrap();
    let way_on = format!(": mde-cancel report {run} -o report.csv --state-dir state");
    assert!(told.contains(&way_on), "{told}");
    assert_eq!(folder.column("b.csv", "outcome").len(), 70);
}

#[test]
fn no_file_is_named_for_two_purposes() {
    let folder = Folder::new();
    folder.write("ids.csv", ONE);
    folder.write("keep.txt", "");
    let others = "--exclude-from keep.txt --report ./r.csv --follow-up f.csv --metrics-file m.prom";
    for (typed, what) in [
        (
            "--report ./ids.csv",
            "the report ./ids.csv is the same file as the input",
        ),
        ("--metrics-file ./ids.csv", "is the same file as"),
        (
            "--report r.csv --metrics-file ./r.csv",
            "is the same file as",
        ),
        (
            "--follow-up f.csv --metrics-file ./f.csv",
            "is the same file as",
        ),
        (
            "--report ./r.csv --follow-up r.csv",
            "is the same file as the report",
        ),
        (
            &format!("{others} --log-file ./ids.csv"),
            "the log file ./ids.csv is the same file as the input ids.csv",
        ),
        (
            &format!("{others} --log-file ./keep.txt"),
            "is the same file as the exclusion list",
        ),
        (
            &format!("{others} --log-file r.csv"),
            "the report ./r.csv is the same file as the log file",
        ),
        (
            &format!("{others} --log-file ./f.csv"),
            "the follow-up list f.csv is the same file as the log",
        ),
        (
            &format!("{others} --log-file ./m.prom"),
            "the metrics file m.prom is the same file as the log",
        ),
        (
            &format!("{others} --report r.csv"),
            "the report r.csv is the same file as the report ./r.csv",
        ),
    ] {
        let told = folder.run(&format!("run --sandbox ids.csv {typed}"));
        let told = told.exits(2).stderr;
        assert!(told.contains(what), "{typed}: {told}");
    }
    assert_eq!(folder.read("ids.csv"), ONE);
    assert_eq!(
        folder.names(),
        ["ids.csv", "keep.txt"],
        "nothing was opened"
    );
    assert!(!folder.at("state/sandbox").exists(), "nothing was begun");
}

/// Returns the next command in the summary, without the program's name.
fn next_command<'told>(stdout: &'told str, name: &str) -> &'told str {
    let start = format!("    mde-cancel {name} ");
    let line = stdout.lines().find(|line| line.starts_with(&start));
    let line = line.unwrap_or_else(|| panic!("no {name} in {stdout}"));
    line.trim().strip_prefix("mde-cancel ").unwrap()
}

#[test]
fn the_resume_command_in_the_summary_works_as_printed() {
    let folder = Folder::new();
    folder.write_ids("ids.txt", 1..=70);
    let words = "run --sandbox ids.txt --stop-after 1s --report it.csv";
    let stopped = folder.run(words).exits(4);
    let went_on = folder.run(next_command(&stopped.stdout, "resume"));
    assert!(matches!(went_on.code, Some(0 | 3)), "{}", went_on.told());
    assert!(went_on.stdout.contains(" total "), "{}", went_on.told());
    let outcomes = folder.column("it.csv", "outcome");
    assert!(!outcomes.contains(&"not_attempted".to_owned()));
}

#[test]
fn the_follow_up_command_in_the_summary_lists_the_machines() {
    let folder = Folder::new();
    let rows = (1..=60).map(|number| format!("{},Isolate\n", nth_id(number)));
    folder.write("wave.csv", format!("id,type\n{}", rows.collect::<String>()));
    let done = folder.run("run --sandbox wave.csv --report r.csv").exits(3);
    let printed = folder.run(next_command(&done.stdout, "report")).exits(0);
    assert_eq!(printed.stdout, "");
    assert!(folder.read("machines.csv").lines().count() > 1);
}

fn action(number: usize, kind: &str, status: Status) -> MockAction {
    let created = Timestamp::from_second(1_790_000_000).unwrap();
    let mut record = MockAction::new(nth_id(number), kind, status, created);
    record.machine_id = Some(format!("{number:040x}"));
    record
}

#[test]
fn accepted_cancels_end_as_their_records_do_or_stay_accepted_when_time_is_up() {
    let place = Place::with(|_| ());
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
        place.sandbox().add(record);
    }
    place.write_ids("ids.txt", 1..=4);
    let done = place.run("run ids.txt --yes --verify-timeout 1s --report r.csv");
    let told = done.exits(3).told();
    let headline = "1 machine is isolated now and needs release\n";
    assert!(told.starts_with(headline), "{told}");
    let ends = ["cancelled", "too_late", "accepted", "cancelled"];
    let reasons = [
        "",
        "the cancel was accepted, but the action ended as Succeeded",
        "cancel accepted; its record still says Pending",
        "the record says Cancelled, but its live-response command had completed",
    ];
    let statuses = ["Cancelled", "Succeeded", "Pending", "Cancelled"];
    assert_eq!(place.column("r.csv", "outcome"), ends);
    assert_eq!(place.column("r.csv", "reason"), reasons);
    assert_eq!(place.column("r.csv", "action_status"), statuses);
    assert_eq!(
        place.column("r.csv", "follow_up"),
        ["", "unisolate", "", ""]
    );
    assert_eq!(place.cancels(), 4);
}

#[test]
fn a_run_that_may_not_read_prints_a_no_precheck_command_that_works() {
    let place = Place::with(|settings| {
        settings.faults = Faults::parse("403@on=list;403@on=get").unwrap();
    });
    place.live.isolates(1..=3, Status::Pending);
    place.write_ids("ids.txt", 1..=3);
    let url = &place.live.url;
    let words = format!("run ids.txt --yes --report r.csv --api-url {url}");
    let told = place.run(&words).exits(5).told();
    assert_eq!(place.cancels(), 0);
    assert!(told.contains("grant Machine.Read.All"), "{told}");
    let mut named = told
        .lines()
        .filter_map(|line| line.strip_prefix("    mde-cancel "));
    let named = named.find(|line| line.contains("--no-precheck")).unwrap();
    place.run(named).exits(0);
    assert_eq!(place.cancels(), 3);
    assert_eq!(place.column("r.csv", "outcome"), ["cancelled"; 3]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_ends_the_follow_up_check() {
    use mde_cancel::sandbox::CallKind;
    let place = Place::with(|settings| {
        settings.faults = Faults::parse("hang@on=list,after=1").unwrap();
    });
    for number in 1..=2 {
        let ended = action(number, "Isolate", Status::Succeeded);
        place.sandbox().add(ended);
    }
    place.write_ids("ids.txt", 1..=2);
    let words = "run ids.txt --yes --follow-up todo.csv --report r.csv";
    let child = start(&mut place.command(words));
    wait_for(|| place.live.calls(CallKind::List) >= 2);
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    finish(child).exits(3);
    let left = place.read("todo.csv");
    let why = "not checked: stopped by SIGTERM before the answer came";
    assert!(left.contains(why), "{left}");
}
