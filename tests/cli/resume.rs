//! A run that is killed, and the command that goes on with it, with the real binary.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use mde_cancel::clock::{Clock as _, SystemClock};
use mde_cancel::input::{Input, InputSettings, open};
use mde_cancel::model::{Outcome, RunId};
use mde_cancel::store::{NewRun, Process, Reader, Store, state_file};

use crate::support::program;

const ROWS: usize = 150;

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = program(folder);
    command.args(arguments);
    command
}

fn runs(folder: &Path) -> serde_json::Value {
    let output = command(folder, &["runs", "--format", "json"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_run_killed_at_several_moments_ends_with_every_row_settled_once() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let ids: Vec<_> = (1..=ROWS)
        .map(|number| crate::support::nth_id(number).to_string())
        .collect();
    std::fs::write(here.join("ids.txt"), ids.join("\n")).unwrap();
    let mut arguments = vec!["run", "ids.txt", "--sandbox", "--report", "report.csv"];
    let mut id = String::new();
    for wanted in [5, 40, 90] {
        let mut child = command(here, &arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        // A machine that takes longer than two minutes for so many rows is not slow but stuck.
        while settled(here) < wanted {
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "nothing goes on"
            );
        }
        child.kill().unwrap();
        child.wait().unwrap();
        id = runs(here)[0]["run"].as_str().unwrap().to_owned();
        arguments = vec!["resume", &id, "--yes", "--report", "report.csv"];
    }
    let output = command(here, &arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        matches!(output.status.code(), Some(0 | 3)),
        "{:?} {stderr}",
        output.status
    );
    let mut report = csv::Reader::from_path(here.join("report.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = report.records().map(Result::unwrap).collect();
    let reported: BTreeSet<_> = rows.iter().map(|row| row[0].to_owned()).collect();
    assert_eq!(rows.len(), ROWS);
    assert_eq!(reported, ids.into_iter().collect());
    let open = rows
        .iter()
        .filter(|row| matches!(&row[1], "not_attempted" | "unknown"))
        .count();
    assert_eq!(open, 0, "{rows:?}");
    let again = command(here, &["resume", &id, "--yes", "--report", "again.csv"])
        .output()
        .unwrap();
    assert_eq!(again.status.code(), output.status.code());
    let reports = ["report.csv", "again.csv"].map(|name| std::fs::read(here.join(name)).unwrap());
    assert_eq!(
        reports[0], reports[1],
        "a finished run writes its report again"
    );
    let printed = command(here, &["report", &id[..18]]).output().unwrap();
    assert_eq!(printed.stdout, reports[0]);
}

/// Looked up without a process of its own: a child that is being started holds the locks of every test beside it.
fn settled(folder: &Path) -> u64 {
    let Ok(reader) = Reader::open(&folder.join("state/sandbox")) else {
        return 0;
    };
    let Some(run) = reader.runs().unwrap().pop() else {
        return 0;
    };
    let counts = reader.outcome_counts(run.key).unwrap();
    let ended = counts
        .iter()
        .filter(|(outcome, _)| **outcome != Outcome::NotAttempted);
    ended.map(|(_, count)| count).sum()
}

/// Returns how many rows of the one run the journal knows.
fn known(folder: &Path) -> u64 {
    let run = Reader::open(&folder.join("state/sandbox"))
        .ok()
        .and_then(|reader| reader.runs().unwrap().pop());
    run.map_or(0, |run| run.intake.rows_read)
}

#[test]
fn ids_from_a_pipe_are_gone_on_with_and_what_never_came_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let ids: Vec<_> = (1..=60)
        .map(|number| crate::support::nth_id(number).to_string())
        .collect();
    let mut child = command(here, &["run", "-", "--sandbox", "--report", "report.csv"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    for id in &ids {
        writeln!(pipe, "{id}").unwrap();
    }
    let start = Instant::now();
    while known(here) < 60 || settled(here) < 5 {
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "nothing goes on"
        );
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // Closed only now: the end of the input never came.
    drop(pipe);
    let id = runs(here)[0]["run"].as_str().unwrap().to_owned();
    let output = command(here, &["resume", &id, "--yes", "--report", "report.csv"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(3),
        "{told} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        told.contains("60 rows of the input had been read")
            && told.contains("the rest was not read"),
        "{told}"
    );
    assert!(!told.contains("nothing left to do"), "{told}");
    let mut report = csv::Reader::from_path(here.join("report.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = report.records().map(Result::unwrap).collect();
    let reported: Vec<_> = rows.iter().map(|row| row[0].to_owned()).collect();
    assert_eq!(reported, ids);
    assert!(
        rows.iter().all(|row| &row[1] != "not_attempted"),
        "{rows:?}"
    );
}

/// Turns a run of this folder into one whose process died before it had journaled any row.
fn forget_rows(folder: &Path) {
    let state = state_file(&folder.join("state/sandbox"));
    let file = rusqlite::Connection::open(state).unwrap();
    file.execute_batch(
        "DELETE FROM rows; DELETE FROM attempts;
         UPDATE runs SET state = 'going', input_position = NULL, input_complete = 0, rows_read = 0, exit_code = NULL,
            ended = NULL, reason = NULL",
    )
    .unwrap();
}

#[test]
fn a_run_that_died_before_its_first_row_reads_its_files_from_the_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let ids = [1, 2, 3].map(|number| crate::support::nth_id(number).to_string());
    std::fs::write(here.join("ids.txt"), ids.join("\n")).unwrap();
    let began = command(here, &["run", "ids.txt", "--sandbox", "--report", "a.csv"])
        .output()
        .unwrap();
    assert!(matches!(began.status.code(), Some(0 | 3)), "{began:?}");
    forget_rows(here);
    let id = runs(here)[0]["run"].as_str().unwrap().to_owned();
    let output = command(here, &["resume", &id, "--yes", "--report", "b.csv"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let mut report = csv::Reader::from_path(here.join("b.csv")).unwrap();
    let reported: Vec<_> = report
        .records()
        .map(|row| row.unwrap()[0].to_owned())
        .collect();
    assert_eq!(reported, ids, "{told}");
}

/// Turns the finished run of this folder into one whose process died after so many rows of its first input.
fn die_after(folder: &Path, rows: usize) {
    let state = state_file(&folder.join("state/sandbox"));
    let file = rusqlite::Connection::open(state).unwrap();
    let inputs: String = file
        .query_row("SELECT inputs FROM runs", [], |row| row.get(0))
        .unwrap();
    let inputs: Vec<String> = serde_json::from_str(&inputs).unwrap();
    let settings = InputSettings {
        checkpoints: true,
        ..InputSettings::default()
    };
    let mut input = open(&[Input::parse(inputs[0].as_ref())], &settings)
        .unwrap()
        .remove(0);
    assert_eq!(input.skip(rows as u64).unwrap(), rows as u64);
    let rows = i64::try_from(rows).unwrap();
    let place = serde_json::to_string(&input.checkpoint().unwrap()).unwrap();
    for cut in ["rows WHERE number", "attempts WHERE row"] {
        file.execute(&format!("DELETE FROM {cut} > ?1"), [rows])
            .unwrap();
    }
    file.execute(
        "UPDATE runs SET state = 'going', input_position = ?1, input_complete = 0, rows_read = ?2, exit_code = NULL,
            ended = NULL, reason = NULL",
        rusqlite::params![place, rows],
    )
    .unwrap();
}

fn reported(path: &Path) -> Vec<String> {
    let mut report = csv::Reader::from_path(path).unwrap();
    let rows = report.records();
    rows.map(|row| row.unwrap()[0].to_owned()).collect()
}

#[test]
fn a_file_of_any_layout_is_taken_up_where_its_reading_broke_off() {
    let ids: Vec<_> = (1..=6)
        .map(|number| crate::support::nth_id(number).to_string())
        .collect();
    let lines = ids.join("\n");
    let wide = std::iter::once(0xFEFF).chain(lines.encode_utf16());
    for (name, bytes) in [
        ("ids.txt", lines.clone().into_bytes()),
        ("wide.txt", wide.flat_map(u16::to_le_bytes).collect()),
        ("ids.json", serde_json::to_vec(&ids).unwrap()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        std::fs::write(here.join(name), bytes).unwrap();
        let began = command(here, &["run", name, "--sandbox", "--report", "a.csv"]).output();
        assert!(matches!(began.unwrap().status.code(), Some(0 | 3)));
        die_after(here, 2);
        let id = runs(here)[0]["run"].as_str().unwrap().to_owned();
        let output = command(here, &["resume", &id, "--yes", "--report", "b.csv"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(!told.contains("was not read"), "{name}: {told}");
        assert_eq!(reported(&here.join("b.csv")), ids, "{name}: {told}");
        assert_eq!(runs(here)[0]["input_complete"], true, "{name}");
    }
}

#[test]
fn a_file_is_read_on_behind_the_rows_that_are_stored_if_it_still_begins_with_them() {
    let ids: Vec<_> = (1..=6)
        .map(|number| crate::support::nth_id(number).to_string())
        .collect();
    let longer = format!("{}\n{}\n", ids.join("\n"), crate::support::nth_id(7));
    let other = ids[1..].join("\n");
    let shorter = format!("{}\n", ids[0]);
    // What earlier versions noted: a place in the bytes of the file.
    let old = r#"{"input":0,"bookmark":"v1 74 3 222 1771234567000000000 00"}"#;
    for (text, position, is_read_on) in [
        (&longer, None, true),
        (&other, None, false),
        (&shorter, None, false),
        (&longer, Some(old), true),
        (&shorter, Some(old), false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        std::fs::write(here.join("ids.txt"), ids.join("\n")).unwrap();
        let began = command(here, &["run", "ids.txt", "--sandbox", "--report", "a.csv"]).output();
        assert!(matches!(began.unwrap().status.code(), Some(0 | 3)));
        die_after(here, 2);
        std::fs::write(here.join("ids.txt"), text).unwrap();
        if let Some(position) = position {
            let state = state_file(&here.join("state/sandbox"));
            let file = rusqlite::Connection::open(state).unwrap();
            file.execute("UPDATE runs SET input_position = ?1", [position])
                .unwrap();
        }
        let id = runs(here)[0]["run"].as_str().unwrap().to_owned();
        let output = command(here, &["resume", &id, "--yes", "--report", "b.csv"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(!told.contains("was not read"), is_read_on, "{told}");
        let rows = reported(&here.join("b.csv"));
        assert_eq!(rows.len(), if is_read_on { 7 } else { 2 }, "{told}");
        assert_eq!(rows[..2], ids[..2]);
        assert_eq!(runs(here)[0]["input_complete"], is_read_on);
    }
}

#[test]
fn what_comes_through_standard_input_of_a_resume_is_not_what_the_run_had_been_given() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let ids: Vec<_> = (1..=4)
        .map(|number| crate::support::nth_id(number).to_string())
        .collect();
    std::fs::write(here.join("ids.txt"), ids.join("\n")).unwrap();
    let arguments = ["run", "ids.txt", "-", "--sandbox", "--report", "a.csv"];
    let began = command(here, &arguments).output().unwrap();
    assert!(matches!(began.status.code(), Some(0 | 3)), "{began:?}");
    let id = runs(here)[0]["run"].as_str().unwrap().to_owned();
    die_after(here, 2);
    let stranger = crate::support::nth_id(99).to_string();
    std::fs::write(here.join("stranger"), &stranger).unwrap();
    for report in ["b.csv", "c.csv"] {
        let output = command(here, &["resume", &id, "--yes", "--report", report])
            .stdin(std::fs::File::open(here.join("stranger")).unwrap())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{report}: {told}");
        assert_eq!(reported(&here.join(report)), ids, "{told}");
        assert!(
            report == "c.csv" || told.contains("0 rows left, and the rest of its input"),
            "{told}"
        );
        assert_eq!(runs(here)[0]["input_complete"], false);
    }
    die_after(here, 2);
    let output = command(here, &["resume", &id, "--yes", "--report", "d.csv"]).output();
    let told = String::from_utf8(output.unwrap().stdout).unwrap();
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        told.contains("2 rows of the input had been read; the rest was not read, because standard input is not a file now"),
        "{told}"
    );
}

#[test]
fn what_cannot_be_resumed_is_refused_with_a_way_on() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, complaint) in [
        (&["resume", "--yes"][..], "there is no run in "),
        (&["resume", "--yes", "0123"][..], "no run in"),
        (&["report"][..], "there is no run"),
        (&["resume"][..], "there is no run in "),
        (&["runs", "rm", "0123"][..], "no run in"),
        (&["runs", "rm"][..], "<RUN>"),
        (
            &["runs", "rm", "0123", "--older-than", "3d"][..],
            "cannot be used",
        ),
        (
            &["runs", "rm", "--older-than", "3"][..],
            "expected a duration",
        ),
        (&["runs", "--format", "json", "rm", "0123"][..], "--format"),
    ] {
        let output = command(folder.path(), arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(complaint), "{arguments:?}: {stderr}");
    }
    assert_eq!(runs(folder.path()), serde_json::json!([]));
}

/// Begins a run that will not end by itself, and waits until rows of it are settled.
fn begin_long(folder: &Path) -> (std::process::Child, String) {
    let ids: Vec<_> = (1..=1_400)
        .map(|number| crate::support::nth_id(number).to_string())
        .collect();
    std::fs::write(folder.join("long.txt"), ids.join("\n")).unwrap();
    let arguments = ["run", "long.txt", "--sandbox", "--report", "long.csv"];
    let child = command(folder, &arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while settled(folder) < 10 {
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "nothing goes on"
        );
    }
    let id = runs(folder)[0]["run"].as_str().unwrap().to_owned();
    (child, id)
}

#[test]
fn a_run_that_goes_on_is_refused_before_anybody_signs_in() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let clock = SystemClock::new();
    let process = Process {
        id: uuid::Uuid::new_v4(),
        pid: 4711,
        host: "jump-host".to_owned(),
        boot: clock.boot(),
    };
    let store = Store::open(&here.join("state"), process, clock.now()).unwrap();
    let id = RunId::new(uuid::Uuid::from_u128(7));
    let text = || "{}".to_owned();
    let run = NewRun {
        id,
        created: clock.now().wall,
        settings: text(),
        inputs: text(),
        tenant: text(),
        app: text(),
        cloud: text(),
        host: text(),
        user: text(),
        version: text(),
    };
    block_on(store.create_run(run)).unwrap();
    let id = id.to_string();
    let output = command(here, &["resume", "--yes", &id]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{stderr}");
    assert!(
        stderr.contains("is held by pid 4711 on jump-host"),
        "{stderr}"
    );
    assert!(stderr.contains("wait until it ends"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn a_run_that_goes_on_is_neither_taken_up_nor_removed_and_what_stopped_is_removed_with_consent() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (mut child, id) = begin_long(here);
    let holder = format!("is held by pid {}", child.id());
    for arguments in [
        &["resume", "--yes", &id][..],
        &["runs", "rm", "--yes", &id][..],
    ] {
        let output = command(here, arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(6), "{arguments:?}: {stderr}");
        assert!(stderr.contains(&holder), "{arguments:?}: {stderr}");
    }
    let older = command(here, &["runs", "rm", "--yes", "--older-than", "0s"])
        .output()
        .unwrap();
    assert_eq!(older.status.code(), Some(0));
    assert_eq!(older.stdout, b"there is no such run\n");
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(4));
    let log = here.join("state/sandbox/state.db-wal");
    assert!(std::fs::metadata(&log).map_or(0, |log| log.len()) == 0);

    let unasked = command(here, &["runs", "rm", &id]).output().unwrap();
    let stderr = String::from_utf8_lossy(&unasked.stderr);
    assert_eq!(unasked.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("nothing was deleted"), "{stderr}");
    assert!(stderr.contains(&id) && stderr.contains("--yes"), "{stderr}");
    let removed = command(here, &["runs", "rm", "--yes", &id])
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&removed.stdout);
    assert_eq!(removed.status.code(), Some(0));
    assert!(
        stdout.starts_with(&format!("deleted SANDBOX run {id}")),
        "{stdout}"
    );
    assert_eq!(runs(here), serde_json::json!([]));
    let unknown = command(here, &["runs", "rm", "--yes", &id])
        .output()
        .unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn a_state_file_that_is_removed_in_mid_run_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (child, _) = begin_long(here);
    std::fs::remove_file(here.join("state/sandbox/state.db")).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{stderr}");
    assert!(stderr.contains("was removed or replaced"), "{stderr}");
}

#[test]
fn what_is_left_of_a_run_is_shown_and_nothing_is_sent_or_written() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (mut child, id) = begin_long(here);
    child.kill().unwrap();
    child.wait().unwrap();
    let before = settled(here);
    let output = command(here, &["resume", &id, "--dry-run"])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains(&id), "{told}");
    assert!(told.contains("1,400"), "{told}");
    assert_eq!(settled(here), before);
    assert!(!here.join("long.csv").exists());
}
