//! `preview` and `run --dry-run` with the real binary: what is printed, what is sent, and what is left behind.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use jiff::Timestamp;
use mde_cancel::sandbox::{CallKind, Cancellation, Faults, MockAction, Status};

use crate::support::{LiveSandbox, nth_id, program};

fn binary(folder: &Path, words: &str) -> Command {
    let mut command = program(folder);
    command.args(words.split_whitespace());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn done(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    (status.code(), text(&stdout), text(&stderr))
}

/// Five rows: two to be sent, one guarded, one twice, one that is none.
fn mixed(folder: &Path) {
    let rows = [
        format!("{},Isolate,ws-1,soc-bot", nth_id(1)),
        format!("{},LiveResponse,ws-2,o'neil@x", nth_id(2)),
        format!("{},Unisolate,ws-3,soc-bot", nth_id(3)),
        format!("{},Isolate,ws-1,soc-bot", nth_id(1)),
        "rubbish,Isolate,ws-4,soc-bot".to_owned(),
    ];
    let header = "id,type,computerDnsName,requestor\n";
    std::fs::write(folder.join("a.csv"), header.to_owned() + &rows.join("\n")).unwrap();
}

#[test]
fn without_a_tenant_the_input_is_sorted_and_nothing_is_called_or_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    mixed(here);
    let (code, stdout, stderr) = done(&mut binary(here, "preview --no-precheck a.csv"));
    assert_eq!(code, Some(3), "{stderr}");
    for part in [
        "2 actions to cancel · plan ",
        "ids from      a.csv",
        "requested by  o'neil@x 1, soc-bot 1  (more than one requestor)",
        "machines      ws-1, ws-2",
        "duration      a few seconds",
        "skipped       Unisolate     -             1  protected type",
        "duplicate     Isolate       -             1  same id as an earlier row:",
        "invalid       Isolate       -             1  the id is not a GUID: a.csv:6",
        "preview only: nothing was sent",
    ] {
        assert!(stdout.contains(part), "{part} is not in\n{stdout}");
    }
    assert_eq!(
        std::fs::read_dir(here).unwrap().count(),
        1,
        "something was left"
    );
    let dry = done(&mut binary(here, "run --dry-run --no-precheck a.csv"));
    assert_eq!((dry.0, &dry.1), (Some(3), &stdout));
}

#[test]
fn a_clean_plan_and_nothing_to_do_exit_with_nought() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("one.txt"), nth_id(1).to_string()).unwrap();
    let (code, stdout, _) = done(&mut binary(here, "preview --no-precheck one.txt"));
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("1 action to cancel"), "{stdout}");
    assert!(
        stdout.contains("unchecked     no status is read"),
        "{stdout}"
    );
    let (code, stdout, _) = done(&mut binary(here, "preview --no-precheck -"));
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("nothing to cancel\n"), "{stdout}");
}

#[test]
fn a_frozen_plan_sends_its_send_rows_alone_and_has_the_same_id() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    mixed(here);
    let (code, plan, told) = done(&mut binary(
        here,
        "preview --no-precheck --format csv a.csv",
    ));
    assert_eq!(code, Some(3), "{told}");
    let header = plan.lines().next().unwrap();
    assert!(
        header.starts_with("verdict,action_id,outcome,reason,"),
        "{header}"
    );
    let verdicts: Vec<_> = plan
        .lines()
        .skip(1)
        .map(|row| row.split(',').next().unwrap())
        .collect();
    assert_eq!(
        verdicts,
        ["send", "send", "skipped", "duplicate", "invalid"]
    );
    std::fs::write(here.join("plan.csv"), &plan).unwrap();

    let named = |input: &str| {
        let words = format!("preview --no-precheck --format json {input}");
        let (_, json, _) = done(&mut binary(here, &words));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        (json["plan"].clone(), json["send"].clone())
    };
    let name = named("a.csv");
    assert_eq!(named("plan.csv"), name);
    assert_eq!(name.1, 2);
    assert!(told.contains(name.0.as_str().unwrap()), "{told}");
    // A guarded row stays back although it is named now: a plan only shrinks.
    assert_eq!(named("--allow-protected Unisolate plan.csv"), name);
}

#[test]
fn a_preview_without_a_token_names_the_way_without_states() {
    let folder = tempfile::tempdir().unwrap();
    mixed(folder.path());
    let (code, stdout, stderr) = done(&mut binary(folder.path(), "preview a.csv"));
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("--no-precheck"), "{stderr}");
}

#[test]
fn whoever_reads_only_the_beginning_of_a_plan_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut file = std::fs::File::create(here.join("many.txt")).unwrap();
    for number in 1..=5000 {
        writeln!(file, "{}", nth_id(number)).unwrap();
    }
    let mut child = binary(here, "preview --no-precheck --format csv many.txt")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
}

/// The binary with a way to a service, whose reads nobody bounds.
fn with_service(folder: &Path, live: &LiveSandbox, words: &str) -> Command {
    let mut command = binary(folder, words);
    command
        .env("MDE_CANCEL_API_URL", &live.url)
        .env("MDE_CANCEL_TOKEN", "any-word")
        .env("MDE_CANCEL_READ_QUOTA", "none");
    command
}

fn ids(folder: &Path, count: usize) {
    let ids: Vec<_> = (1..=count)
        .map(|number| nth_id(number).to_string())
        .collect();
    std::fs::write(folder.join("ids.txt"), ids.join("\n")).unwrap();
}

fn json(command: &mut Command) -> (Option<i32>, serde_json::Value, String) {
    let (code, stdout, stderr) = done(command);
    (
        code,
        serde_json::from_str(&stdout).unwrap_or_default(),
        stderr,
    )
}

#[test]
fn ten_thousand_ids_cost_a_page_of_what_is_open_and_a_read_for_each_hundred_of_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let live = LiveSandbox::start(|_| ());
    live.isolates(1..=7000, Status::Succeeded);
    live.isolates(7001..=10_000, Status::Pending);
    ids(folder.path(), 10_000);
    let mut command = with_service(folder.path(), &live, "preview ids.txt --format json");
    let (code, plan, told) = json(&mut command);
    assert_eq!(code, Some(3), "7,000 machines are isolated: {told}");
    assert_eq!(
        (&plan["send"], &plan["rows"]),
        (&3000.into(), &10_000.into())
    );
    assert_eq!(plan["types_known"], 3000);
    assert_eq!(plan["counts"][1]["verdict"], "already_final");
    assert_eq!(plan["counts"][1]["rows"], 7000);
    assert_eq!(plan["reads"], 71);
    assert_eq!(live.calls(CallKind::Cancel), 0);
    assert_eq!(live.sandbox.log().len(), 71);
    let (_, runs, _) = json(&mut binary(folder.path(), "runs --format json"));
    assert_eq!(runs, serde_json::json!([]));
}

#[test]
fn the_record_has_the_last_word_and_a_frozen_plan_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let live = LiveSandbox::start(|_| ());
    live.isolates(1..=1, Status::Pending);
    live.isolates(2..=2, Status::Cancelled);
    let created = Timestamp::from_second(1_790_000_000).unwrap();
    let unisolate = MockAction::new(nth_id(3), "Unisolate", Status::Pending, created);
    live.sandbox.add(unisolate);
    ids(here, 4);
    let mut command = with_service(here, &live, "preview ids.txt --format csv");
    let (code, plan, told) = done(&mut command);
    assert_eq!(code, Some(3), "{told}");
    let rows: Vec<Vec<_>> = plan.lines().map(|row| row.split(',').collect()).collect();
    let column = |name: &str| rows[0].iter().position(|cell| *cell == name).unwrap();
    let cells = |name: &str| -> Vec<_> {
        let at = column(name);
        rows[1..].iter().map(|row| row[at]).collect()
    };
    assert_eq!(
        cells("verdict"),
        ["send", "already_cancelled", "skipped", "not_found"]
    );
    assert_eq!(
        cells("action_type"),
        ["Isolate", "Isolate", "Unisolate", ""]
    );
    assert_eq!(cells("action_status")[..2], ["Pending", "Cancelled"]);
    assert!(cells("checked_at").iter().all(|cell| !cell.is_empty()));

    std::fs::write(here.join("plan.csv"), &plan).unwrap();
    live.isolates(4..=4, Status::Pending);
    let words = "run plan.csv --yes --allow-protected Unisolate --report r.csv";
    let (code, summary, told) = done(&mut with_service(here, &live, words));
    assert_eq!(code, Some(0), "{summary}{told}");
    assert_eq!(live.calls(CallKind::Cancel), 1);
    assert_eq!(live.sandbox.cancels_of(nth_id(1)), 1);
}

#[test]
fn where_states_may_not_be_read_the_way_without_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let live = LiveSandbox::start(|settings| {
        settings.faults = Faults::parse("403@on=list").unwrap();
    });
    ids(folder.path(), 3);
    let (code, stdout, told) = done(&mut with_service(folder.path(), &live, "preview ids.txt"));
    assert_eq!((code, stdout.as_str()), (Some(5), ""), "{told}");
    assert!(told.contains("Machine.Read.All"), "{told}");
    assert!(told.contains("--no-precheck"), "{told}");
}

#[test]
fn ids_of_another_tenant_cost_three_reads() {
    let folder = tempfile::tempdir().unwrap();
    let live = LiveSandbox::start(|_| ());
    ids(folder.path(), 3000);
    let (code, stdout, told) = done(&mut with_service(folder.path(), &live, "preview ids.txt"));
    assert_eq!((code, stdout.as_str()), (Some(5), ""), "{told}");
    assert!(told.contains("none of the first 100 ids"), "{told}");
    assert!(live.sandbox.log().len() <= 3);
}

#[test]
fn rows_whose_states_cannot_be_read_any_more_are_not_in_a_plan_and_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let live = LiveSandbox::start(|settings| {
        settings.faults = Faults::parse("401@on=list,after=1").unwrap();
    });
    live.isolates(1..=250, Status::Pending);
    ids(folder.path(), 250);
    let mut command = with_service(folder.path(), &live, "preview ids.txt --format json");
    let (code, plan, told) = json(&mut command);
    assert_eq!(code, Some(5), "{told}");
    assert_eq!((&plan["send"], &plan["unread"]), (&100.into(), &150.into()));
}

#[test]
fn permissions_that_the_token_lacks_are_forecast() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    mixed(here);
    let live = LiveSandbox::start(|_| ());
    let jwt = live.sandbox.token("t-1", "a-1");
    let mut command = binary(here, "preview --no-precheck --format json a.csv");
    let (_, plan, told) = json(command.env("MDE_CANCEL_TOKEN", jwt));
    assert_eq!(plan["tenant"], "t-1", "{told}");
    assert!(plan["permissions"]["cancelling"].is_array(), "{plan}");
    assert!(live.sandbox.log().is_empty());
}

#[test]
fn a_selection_from_the_tenant_is_shown_as_a_run_would_take_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let live = LiveSandbox::start(|_| ());
    live.isolates(1..=30, Status::Pending);
    live.isolates(31..=40, Status::Succeeded);
    std::fs::write(here.join("keep.txt"), nth_id(7).to_string()).unwrap();
    let words = "preview --type Isolate --exclude-from keep.txt --format json";
    let (code, plan, told) = json(&mut with_service(here, &live, words));
    assert_eq!(code, Some(0), "{told}");
    assert_eq!((&plan["send"], &plan["rows"]), (&29.into(), &30.into()));
    assert_eq!(plan["counts"][1]["reason"], "excluded by keep.txt");
    assert_eq!(plan["counts"][0]["status"], "Pending");
    assert_eq!(live.calls(CallKind::Cancel), 0);

    let (_, frozen, _) = done(&mut with_service(
        here,
        &live,
        "preview --type Isolate --format csv",
    ));
    std::fs::write(here.join("plan.csv"), frozen).unwrap();
    let words = "preview plan.csv --exclude-from keep.txt --format json";
    let (_, again, told) = json(&mut with_service(here, &live, words));
    assert_eq!(again["plan"], plan["plan"], "{told}");
}

#[test]
fn what_is_not_selected_of_an_input_is_held_back() {
    let folder = tempfile::tempdir().unwrap();
    mixed(folder.path());
    let words = "preview --no-precheck --type LiveResponse --format json a.csv";
    let (_, plan, told) = json(&mut binary(folder.path(), words));
    assert_eq!(plan["send"], 1, "{told}");
    let status = "preview --no-precheck --status Pending a.csv";
    let (code, _, told) = done(&mut binary(folder.path(), status));
    assert_eq!(code, Some(2), "{told}");
}

#[test]
fn what_another_tool_cancelled_is_named_with_the_tool_and_its_words() {
    let live = LiveSandbox::start(|_| ());
    let at: Timestamp = "2026-01-31T09:12:00Z".parse().unwrap();
    let mut record = MockAction::new(nth_id(1), "LiveResponse", Status::Cancelled, at);
    record.cancellation = Some(Cancellation {
        requestor: "6b1f6c1e-5d0a-4b7e-9c3f-2f1f0e8d7a55".to_owned(),
        comment: "Automated clean-up\nof \"stale\" sessions".to_owned(),
        at,
    });
    live.sandbox.add(record);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ids.txt"), nth_id(1).to_string()).unwrap();
    let mut command = binary(folder.path(), "preview --format csv ids.txt");
    command
        .env("MDE_CANCEL_TOKEN", "any")
        .env("MDE_CANCEL_API_URL", &live.url);
    let (code, stdout, stderr) = done(&mut command);
    assert_eq!(code, Some(0), "{stderr}");
    let reason = "it was Cancelled at 2026-01-31T09:12:00Z by 6b1f6c1e-5d0a-4b7e-9c3f-2f1f0e8d7a55, with the comment: \
                  Automated clean-up\\u{a}of \"\"stale\"\" sessions";
    assert!(stdout.contains(reason), "{stdout}");
}

/// Names what is in a folder for temporary files.
fn names_in(folder: &Path) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn a_preview_that_ends_or_is_interrupted_leaves_no_temporary_file() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let live = LiveSandbox::start(|settings| {
        settings.faults = Faults::parse("hang@on=list,after=1").unwrap();
    });
    live.isolates(1..=3, Status::Pending);
    ids(folder.path(), 3);
    let mut command = with_service(folder.path(), &live, "preview ids.txt");
    command.env("TMPDIR", &temporary);
    let (code, _, told) = done(&mut command);
    assert_eq!(code, Some(0), "{told}");
    assert!(names_in(&temporary).is_empty());
    #[cfg(unix)]
    {
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let start = std::time::Instant::now();
        while live.calls(CallKind::List) < 2 {
            assert!(start.elapsed().as_secs() < 120, "no state is read");
            std::thread::yield_now();
        }
        assert!(!names_in(&temporary).is_empty());
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert!(names_in(&temporary).is_empty());
    }
}
