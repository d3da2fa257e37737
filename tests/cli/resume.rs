//! A run that is killed, and the command that resumes it, with the real binary.

use std::io::Write as _;
use std::process::{Child, Stdio};

use futures::executor::block_on;
use mde_cancel::clock::{Clock as _, SystemClock};
use mde_cancel::input::{Input, InputSettings, open};
use mde_cancel::model::Outcome;
use mde_cancel::store::{Process, Reader, Store, state_file};

use crate::support::{Done, Folder, finish, kill, new_run, nth_id, start, stop, wait_for};

fn ids(count: usize) -> Vec<String> {
    (1..=count)
        .map(|number| nth_id(number).to_string())
        .collect()
}

/// Runs an input in the sandbox to its end.
fn run_through(folder: &Folder, input: &str) -> Done {
    let words = format!("run {input} --sandbox --report a.csv");
    let done = folder.run(&words);
    assert!(matches!(done.code, Some(0 | 3)), "{}", done.told());
    done
}

fn resume(folder: &Folder, report: &str) -> Done {
    let id = folder.run_id();
    folder.run(&format!("resume {id} --yes --report {report}"))
}

/// Returns how many rows the journal has read, and how many are settled. Read in this process, because a child that is
/// starting holds the locks of other tests.
fn progress(folder: &Folder) -> (u64, u64) {
    let reader = Reader::open(&folder.at("state/sandbox"));
    let Ok(Some((reader, run))) = reader.map(|reader| {
        let run = reader.runs().unwrap().pop();
        run.map(|run| (reader, run))
    }) else {
        return (0, 0);
    };
    let mut counts = reader.outcome_counts(run.key).unwrap();
    counts.remove(&Outcome::NotAttempted);
    (run.intake.rows_read, counts.values().sum())
}

/// Opens the state file to change what a dead process left in it.
fn state(folder: &Folder) -> rusqlite::Connection {
    rusqlite::Connection::open(state_file(&folder.at("state/sandbox"))).unwrap()
}

/// Makes the finished run of this folder one whose process died after `rows` rows of its first input.
fn die_after(folder: &Folder, rows: usize) {
    let file = state(folder);
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
    let place = serde_json::to_string(&input.checkpoint().unwrap()).unwrap();
    let rows = i64::try_from(rows).unwrap();
    for cut in ["rows WHERE number", "attempts WHERE row"] {
        file.execute(&format!("DELETE FROM {cut} > ?1"), [rows])
            .unwrap();
    }
    file.execute(
        "UPDATE runs SET state = 'going', input_position = ?1, input_complete = 0, rows_read = ?2, exit_code = NULL,
            ended = NULL, reason = NULL",
        rusqlite::params![(rows > 0).then_some(place), rows],
    )
    .unwrap();
}

/// Joins the lines of a text.
fn flat(told: &str) -> String {
    told.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_finished_run_writes_its_report_again() {
    let folder = Folder::new();
    folder.write_ids("ids.txt", 1..=20);
    let code = run_through(&folder, "ids.txt").code;
    assert_eq!(resume(&folder, "b.csv").code, code);
    assert_eq!(folder.read("a.csv"), folder.read("b.csv"));
    let prefix = &folder.run_id()[..18];
    let printed = folder.run(&format!("report {prefix}")).exits(0);
    assert_eq!(printed.stdout, folder.read("a.csv"));
}

#[test]
fn resume_sends_the_ids_read_from_a_pipe_and_reports_the_unread_rest() {
    let folder = Folder::new();
    let mut command = folder.command("run - --sandbox --report report.csv");
    let mut child = start(command.stdin(Stdio::piped()));
    let mut pipe = child.stdin.take().unwrap();
    for id in ids(60) {
        writeln!(pipe, "{id}").unwrap();
    }
    wait_for(|| matches!(progress(&folder), (60, 5..)));
    kill(child);
    // Closed only now, so the input's end never came.
    drop(pipe);
    let told = resume(&folder, "report.csv").exits(3).stdout;
    assert!(
        told.contains("60 rows of the input had been read")
            && told.contains("the rest was not read"),
        "{told}"
    );
    assert!(!told.contains("nothing left to do"), "{told}");
    assert_eq!(folder.column("report.csv", "action_id"), ids(60));
    let outcomes = folder.column("report.csv", "outcome");
    assert!(!outcomes.contains(&"not_attempted".to_owned()));
}

#[test]
fn resume_continues_reading_any_format_where_it_stopped() {
    let lines = ids(6).join("\n");
    let wide = std::iter::once(0xFEFF).chain(lines.encode_utf16());
    let wide: Vec<u8> = wide.flat_map(u16::to_le_bytes).collect();
    let json = serde_json::to_vec(&ids(6)).unwrap();
    for (name, bytes, broke_off) in [
        // Before its first row, so reading starts over.
        ("ids.txt", lines.as_bytes(), 0),
        ("ids.txt", lines.as_bytes(), 2),
        ("wide.txt", &wide, 2),
        ("ids.json", &json, 2),
    ] {
        let folder = Folder::new();
        folder.write(name, bytes);
        run_through(&folder, name);
        die_after(&folder, broke_off);
        let told = resume(&folder, "b.csv").stdout;
        assert!(!told.contains("was not read"), "{name}: {told}");
        let reported = folder.column("b.csv", "action_id");
        assert_eq!(reported, ids(6), "{name}: {told}");
        assert_eq!(folder.runs()[0]["input_complete"], true, "{name}");
    }
}

#[test]
fn resume_reads_on_only_if_the_file_still_starts_with_the_stored_rows() {
    let longer = ids(7).join("\n");
    let other = ids(6)[1..].join("\n");
    let shorter = ids(1).join("\n");
    // A byte offset, as earlier versions noted it.
    let old = r#"{"input":0,"bookmark":"v1 74 3 222 1771234567000000000 00"}"#;
    for (text, position, is_read_on) in [
        (&longer, None, true),
        (&other, None, false),
        (&shorter, None, false),
        (&longer, Some(old), true),
        (&shorter, Some(old), false),
    ] {
        let folder = Folder::new();
        folder.write_ids("ids.txt", 1..=6);
        run_through(&folder, "ids.txt");
        die_after(&folder, 2);
        folder.write("ids.txt", text);
        if let Some(position) = position {
            let sql = "UPDATE runs SET input_position = ?1";
            state(&folder).execute(sql, [position]).unwrap();
        }
        let told = flat(&resume(&folder, "b.csv").stdout);
        assert_eq!(!told.contains("was not read"), is_read_on, "{told}");
        let rows = folder.column("b.csv", "action_id");
        assert_eq!(rows.len(), if is_read_on { 7 } else { 2 }, "{told}");
        assert_eq!(rows[..2], ids(2));
        assert_eq!(folder.runs()[0]["input_complete"], is_read_on);
    }
}

#[test]
fn resume_does_not_take_its_stdin_for_the_runs_input() {
    let folder = Folder::new();
    folder.write_ids("ids.txt", 1..=4);
    run_through(&folder, "ids.txt -");
    let id = folder.run_id();
    die_after(&folder, 2);
    folder.write("stranger", nth_id(99).to_string());
    for report in ["b.csv", "c.csv"] {
        let mut command = folder.command(&format!("resume {id} --yes --report {report}"));
        let stranger = std::fs::File::open(folder.at("stranger")).unwrap();
        let told = finish(start(command.stdin(stranger))).exits(3).stderr;
        assert_eq!(folder.column(report, "action_id"), ids(4), "{told}");
        assert!(
            report == "c.csv" || told.contains("0 rows left, and the rest of its input"),
            "{told}"
        );
        assert_eq!(folder.runs()[0]["input_complete"], false);
    }
    die_after(&folder, 2);
    let told = flat(&resume(&folder, "d.csv").stdout);
    assert!(
        told.contains("2 rows of the input had been read; the rest was not read, because standard input is not a file now"),
        "{told}"
    );
}

#[test]
fn a_run_that_cannot_be_resumed_is_refused_with_a_hint() {
    let folder = Folder::new();
    for (words, complaint) in [
        ("resume --yes", "there is no run in "),
        ("resume --yes 0123", "no run in"),
        ("report", "there is no run"),
        ("resume", "there is no run in "),
        ("runs rm 0123", "no run in"),
        ("runs rm", "<RUN>"),
        ("runs rm 0123 --older-than 3d", "cannot be used"),
        ("runs rm --older-than 3", "expected a duration"),
        ("runs --format json rm 0123", "--format"),
    ] {
        let told = folder.run(words).exits(2).stderr;
        assert!(told.contains(complaint), "{words}: {told}");
    }
    assert_eq!(folder.runs(), serde_json::json!([]));
}

/// Starts a long run, and waits until some of its rows are settled.
fn begin_long(folder: &Folder) -> (Child, String) {
    folder.write_ids("long.txt", 1..=1_400);
    let child = start(&mut folder.command("run long.txt --sandbox --report long.csv"));
    wait_for(|| progress(folder).1 >= 10);
    (child, folder.run_id())
}

#[test]
fn a_live_run_is_refused_before_the_sign_in() {
    let folder = Folder::new();
    let clock = SystemClock::new();
    let process = Process {
        id: uuid::Uuid::new_v4(),
        pid: 4711,
        host: "jump-host".to_owned(),
        boot: clock.boot(),
    };
    let store = Store::open(&folder.at("state"), process, clock.now()).unwrap();
    let run = new_run(7, clock.now().wall);
    let id = run.id;
    block_on(store.create_run(run)).unwrap();
    let told = folder.run(&format!("resume --yes {id}")).exits(6).stderr;
    assert!(told.contains("is held by pid 4711 on jump-host"), "{told}");
    assert!(told.contains("wait until it ends"), "{told}");
}

#[test]
fn a_live_run_is_neither_resumed_nor_removed_and_a_stopped_one_is_removed_if_confirmed() {
    let folder = Folder::new();
    let (child, id) = begin_long(&folder);
    let holder = format!("is held by pid {}", child.id());
    for words in ["resume --yes", "runs rm --yes"] {
        let told = folder.run(&format!("{words} {id}")).exits(6).stderr;
        assert!(told.contains(&holder), "{words}: {told}");
    }
    let older = folder.run("runs rm --yes --older-than 0s").exits(0);
    assert_eq!(older.stdout, "there is no such run\n");
    stop(child);
    let log = folder.at("state/sandbox/state.db-wal");
    assert!(cfg!(windows) || std::fs::metadata(&log).map_or(0, |log| log.len()) == 0);

    let told = folder.run(&format!("runs rm {id}")).exits(2).stderr;
    assert!(told.contains("nothing was deleted"), "{told}");
    assert!(told.contains(&id) && told.contains("--yes"), "{told}");
    let remove = format!("runs rm --yes {id}");
    let names_input = || {
        ["state.db", "state.db-wal"].iter().any(|name| {
            let bytes = std::fs::read(folder.at("state/sandbox").join(name)).unwrap_or_default();
            bytes.windows(8).any(|part| part == b"long.txt")
        })
    };
    assert!(names_input());
    let told = folder.run(&remove).exits(0).stdout;
    let deleted = format!("deleted SANDBOX run {id}");
    assert!(told.starts_with(&deleted), "{told}");
    assert!(!names_input(), "what was deleted can still be read");
    assert_eq!(folder.runs(), serde_json::json!([]));
    folder.run(&remove).exits(2);
}

#[cfg(unix)]
#[test]
fn a_state_file_that_is_removed_in_mid_run_stops_the_run() {
    let folder = Folder::new();
    let (child, _) = begin_long(&folder);
    std::fs::remove_file(folder.at("state/sandbox/state.db")).unwrap();
    let told = finish(child).exits(6).stderr;
    assert!(told.contains("was removed or replaced"), "{told}");
    assert!(told.contains("run the input again"), "{told}");
    assert!(!told.contains("resume"), "{told}");
}

#[test]
fn what_is_left_of_a_run_is_shown_and_nothing_is_sent_or_written() {
    let folder = Folder::new();
    let (child, id) = begin_long(&folder);
    kill(child);
    let before = progress(&folder);
    let told = folder.run(&format!("resume {id} --dry-run")).exits(0);
    let told = told.stdout;
    assert!(told.contains(&id) && told.contains("1,400"), "{told}");
    assert_eq!(progress(&folder), before);
    assert!(!folder.at("long.csv").exists());
}
