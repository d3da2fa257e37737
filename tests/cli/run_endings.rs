//! How `run` ends where something about its reports goes wrong, with the real binary.

use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::program;

fn ids(folder: &Path, count: usize) -> std::path::PathBuf {
    let path = folder.join("ids.txt");
    let lines: Vec<_> = (1..=count)
        .map(|number| crate::support::nth_id(number).to_string())
        .collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    program(folder)
        .args(["run", "--sandbox", "--state-dir"])
        .arg(folder.join("state"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until something is there; a machine that takes longer than a minute is not slow but stuck.
fn wait_for(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(60), "it never came");
        std::thread::yield_now();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn finish(child: Child) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    (status.code(), text(&stdout), text(&stderr))
}

#[test]
fn a_report_that_cannot_be_written_costs_neither_the_others_nor_the_summary() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    ids(here, 150);
    std::fs::create_dir(here.join("gone")).unwrap();
    let child = start(
        here,
        &["ids.txt", "--report", "gone/a.csv", "--report", "b.csv"],
    );
    wait_for(|| here.join("state/sandbox/state.db-wal").exists());
    std::fs::remove_dir_all(here.join("gone")).unwrap();
    let (code, stdout, stderr) = finish(child);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stdout.contains(" total "), "no summary: {stdout}");
    assert!(stderr.contains("gone/a.csv"), "{stderr}");
    let run = stdout.lines().find_map(|line| line.strip_prefix("run "));
    let state = here.join("state").display().to_string();
    let way_on = format!(
        ": mde-cancel report {} -o report.csv --state-dir {state}",
        run.unwrap()
    );
    assert!(stderr.contains(&way_on), "{stderr}");
    let report = std::fs::read_to_string(here.join("b.csv")).unwrap();
    assert_eq!(report.lines().count(), 151);
}

#[test]
fn a_report_never_replaces_an_input() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let path = here.join("ids.csv");
    std::fs::write(&path, "id\n7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2\n").unwrap();
    let (code, _, stderr) = finish(start(here, &["ids.csv", "--report", "./ids.csv"]));
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("is the same file as the input"), "{stderr}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("id\n"));
    assert!(!here.join("state/sandbox").exists(), "nothing was begun");
}

#[test]
fn the_figures_never_replace_an_input_or_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let path = here.join("ids.csv");
    std::fs::write(&path, "id\n7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2\n").unwrap();
    for taken in ["./ids.csv", "./r.csv", "./f.csv"] {
        let typed = ["ids.csv", "--report", "r.csv", "--follow-up", "f.csv"];
        let typed = [&typed[..], &["--metrics-file", taken]].concat();
        let (code, _, stderr) = finish(start(here, &typed));
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains("is the same file as"), "{stderr}");
    }
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("id\n"));
    assert!(!here.join("state/sandbox").exists(), "nothing was begun");
}

#[test]
fn no_two_things_of_a_run_stand_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let ids = "id\n7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2\n";
    std::fs::write(here.join("ids.csv"), ids).unwrap();
    std::fs::write(here.join("keep.txt"), "").unwrap();
    let log = |place| vec!["--log-file", place];
    for (typed, what) in [
        (
            log("./ids.csv"),
            "the log file ./ids.csv is the same file as the input ids.csv",
        ),
        (log("./keep.txt"), "is the same file as the exclusion list"),
        (
            log("r.csv"),
            "the report ./r.csv is the same file as the log file",
        ),
        (
            log("./f.csv"),
            "the follow-up list f.csv is the same file as the log",
        ),
        (
            log("./m.prom"),
            "the metrics file m.prom is the same file as the log",
        ),
        (
            vec!["--report", "r.csv"],
            "the report r.csv is the same file as the report ./r.csv",
        ),
    ] {
        let others = ["--exclude-from", "keep.txt", "--report", "./r.csv"];
        let others = [
            &others[..],
            &["--follow-up", "f.csv", "--metrics-file", "m.prom"],
        ]
        .concat();
        let (code, _, stderr) = finish(start(here, &[&["ids.csv"], &others[..], &typed].concat()));
        assert_eq!(code, Some(2), "{typed:?}: {stderr}");
        assert!(stderr.contains(what), "{typed:?}: {stderr}");
    }
    let typed = ["ids.csv", "--report", "./r.csv", "--follow-up", "r.csv"];
    let (code, _, stderr) = finish(start(here, &typed));
    assert_eq!(code, Some(2), "{stderr}");
    assert!(
        stderr.contains("is the same file as the report"),
        "{stderr}"
    );
    assert_eq!(std::fs::read_to_string(here.join("ids.csv")).unwrap(), ids);
    let mut left: Vec<_> = std::fs::read_dir(here)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["ids.csv", "keep.txt"], "nothing was opened");
}

/// Returns the command that the summary names for what comes next, without the program's name.
fn next_command(stdout: &str, name: &str) -> Vec<String> {
    let start = format!("    mde-cancel {name} ");
    let line = stdout.lines().find(|line| line.starts_with(&start));
    let line = line.unwrap_or_else(|| panic!("no {name} in {stdout}"));
    line.split_whitespace().skip(1).map(str::to_owned).collect()
}

fn type_in(folder: &Path, words: &[String]) -> (Option<i32>, String, String) {
    let child = program(folder)
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    finish(child)
}

#[test]
fn the_command_that_goes_on_can_be_typed_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    ids(here, 120);
    let child = start(
        here,
        &["ids.txt", "--stop-after", "1s", "--report", "it.csv"],
    );
    let (code, stdout, stderr) = finish(child);
    assert_eq!(code, Some(4), "{stderr}");
    let (code, went_on, stderr) = type_in(here, &next_command(&stdout, "resume"));
    assert!(code == Some(0) || code == Some(3), "{stderr}");
    assert!(went_on.contains(" total "), "{went_on}");
    let report = std::fs::read_to_string(here.join("it.csv")).unwrap();
    assert!(!report.contains("not_attempted"), "{report}");
}

#[test]
fn machines_that_need_a_hand_are_listed_by_the_command_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let rows = (1..=60).map(|number| format!("{},Isolate\n", crate::support::nth_id(number)));
    let rows: Vec<_> = rows.collect();
    std::fs::write(here.join("wave.csv"), format!("id,type\n{}", rows.concat())).unwrap();
    let (code, stdout, stderr) = finish(start(here, &["wave.csv", "--report", "r.csv"]));
    assert_eq!(code, Some(3), "{stderr}");
    let (code, printed, stderr) = type_in(here, &next_command(&stdout, "report"));
    assert_eq!((code, printed.as_str()), (Some(0), ""), "{stderr}");
    let list = std::fs::read_to_string(here.join("machines.csv")).unwrap();
    assert!(list.lines().count() > 1, "{list}");
}
