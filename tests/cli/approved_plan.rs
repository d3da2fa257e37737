//! `run --plan`: someone approves a plan by its id, and a script sends that plan or what is left of it.

use std::process::Stdio;

use mde_cancel::sandbox::{CallKind, Faults, MockAction, Status};

use crate::policy::{input, place, record};
use crate::support::{LiveSandbox, Place, done, nth_id};

const TENANT: &str = "11111111-2222-3333-4444-555555555555";

fn isolate(number: usize, status: Status) -> MockAction {
    record(number, "Isolate", status, &format!("ws-{number}"))
}

/// A service with open actions, and a file with their ids.
fn with_open(count: usize) -> Place {
    let records = (1..=count).map(|number| isolate(number, Status::Pending));
    let rows: Vec<_> = (1..=count).map(|number| (number, "own words")).collect();
    place(records, &input("id,comment", &rows))
}

/// Writes the plan of an input to `plan.csv`, and returns its id.
fn freeze(place: &Place, words: &str) -> String {
    let previewed = place.run(&format!("preview {words} --format csv"));
    place.write("plan.csv", &previewed.stdout);
    id_in(&previewed.stderr)
}

/// Asserts that a run is refused because its plan isn't the approved one, and that it leaves nothing behind.
fn assert_refused(place: &Place, words: &str, approved: &str) -> String {
    let refused = place.run(words).exits(2).stderr;
    let expected = format!("not {approved}, which --plan names");
    assert!(refused.contains(&expected), "{words}: {refused}");
    assert_eq!(place.cancels(), 0);
    assert_eq!(place.run("runs --format json").stdout.trim(), "[]");
    assert!(!place.at("r.csv").exists());
    refused
}

fn id_in(text: &str) -> String {
    let (_, rest) = text.split_once("plan ").unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn a_frozen_plan_is_sent_under_its_id_and_the_report_names_it() {
    let place = with_open(3);
    let id = freeze(&place, "ids.csv");
    let typed = id.replace('-', "").to_uppercase();
    place
        .run(&format!("run plan.csv --yes --plan {typed} --report r.csv"))
        .exits(0);
    assert_eq!(place.cancels(), 3);
    assert_eq!(place.column("r.csv", "plan"), [id.as_str(); 3]);
}

#[test]
fn every_comment_survives_the_plan_file() {
    let comments = [
        "=1+1",
        "'quoted",
        "a;b,\"c\"",
        "two\nlines\u{202e}",
        "é ",
        "",
    ];
    let records = (1..=comments.len()).map(|number| isolate(number, Status::Pending));
    let place = place(records, "");
    let mut rows = csv::Writer::from_path(place.at("ids.csv")).unwrap();
    rows.write_record(["id", "comment"]).unwrap();
    for (number, comment) in (1..).zip(comments) {
        let id = nth_id(number).to_string();
        rows.write_record([id.as_str(), comment]).unwrap();
    }
    rows.flush().unwrap();
    let id = freeze(&place, "ids.csv");
    place
        .run(&format!("run plan.csv --yes --plan {id}"))
        .exits(0);
    assert_eq!(place.cancels(), comments.len());
}

#[test]
fn what_has_ended_since_or_is_excluded_now_is_left_out() {
    let place = with_open(4);
    let id = freeze(&place, "ids.csv");
    place.sandbox().add(isolate(1, Status::Succeeded));
    place.sandbox().add(isolate(2, Status::Cancelled));
    place.write("keep.txt", "ws-3\n");
    let words = format!("run plan.csv --yes --plan {id} --exclude-from keep.txt --report r.csv");
    place.run(&words).exits(3);
    assert_eq!(place.cancels(), 1);
    let outcomes = ["already_final", "already_cancelled", "skipped", "cancelled"];
    assert_eq!(place.column("r.csv", "outcome"), outcomes);
    assert_eq!(place.column("r.csv", "plan"), [id.as_str(); 4]);
}

#[test]
fn a_file_that_was_edited_after_its_approval_is_refused() {
    let records = (1..=4).map(|number| isolate(number, Status::Pending));
    let rows = [(1, "a"), (2, "b"), (4, "c")];
    let place = place(records, &input("id,comment", &rows));
    place.write("keep.txt", "ws-4\n");
    let id = freeze(&place, "ids.csv --exclude-from keep.txt");
    let plan = place.read("plan.csv");
    let lines: Vec<_> = plan.lines().collect();
    let of = |number: usize| nth_id(number).to_string();
    let joined = |lines: &[&str]| lines.join("\n") + "\n";
    let run = format!("run plan.csv --yes --plan {id} --report r.csv");
    for (what, edited) in [
        (
            "added",
            plan.clone() + &lines[1].replace(&of(1), &of(3)) + "\n",
        ),
        ("removed", joined(&[lines[0], lines[1], lines[3]])),
        ("changed", plan.replace(&of(2), &of(3))),
        ("moved", joined(&[lines[0], lines[2], lines[1], lines[3]])),
        ("comment", plan.replacen(",a,", ",z,", 1)),
        ("verdict", plan.replace("\nskipped,", "\nsend,")),
        ("tenant", {
            let header = lines[0].split(',').position(|name| name == "tenant");
            let mut cells: Vec<_> = lines[1].split(',').collect();
            cells[header.unwrap()] = "fabrikam.example";
            plan.replace(lines[1], &cells.join(","))
        }),
    ] {
        assert_ne!(edited, plan, "{what}");
        place.write("plan.csv", &edited);
        let told = assert_refused(&place, &run, &id);
        assert!(told.contains("hint: "), "{what}: {told}");
    }
    place.write("plan.csv", &plan);
    place.run(&run).exits(0);
    assert_eq!(place.cancels(), 2);
}

#[test]
fn another_comment_another_plan_and_another_tenant_are_refused() {
    let place = with_open(3);
    let id = freeze(&place, "ids.csv");
    assert_refused(
        &place,
        &format!("run plan.csv --yes --plan {id} -c other"),
        &id,
    );
    let other = "961c-2524-c3ed-07b1-4e02";
    assert_refused(&place, &format!("run plan.csv --yes --plan {other}"), other);
    let elsewhere = format!("run plan.csv --yes --plan {id} --tenant-id {TENANT}");
    assert_refused(&place, &elsewhere, &id);
    for bad in ["961c", "--yes"] {
        place.run(&format!("run plan.csv --plan {bad}")).exits(2);
    }
    assert_eq!(place.cancels(), 0);
}

#[test]
fn a_file_that_is_no_frozen_plan_keeps_its_id_while_its_actions_are_unchanged() {
    let place = with_open(3);
    let id = id_in(&place.run("preview ids.csv").stdout);
    place.sandbox().add(isolate(4, Status::Succeeded));
    let more = place.read("ids.csv") + &format!("{},x\n", nth_id(4));
    place.write("more.csv", &more);
    assert_eq!(id_in(&place.run("preview more.csv").stdout), id);
    place.sandbox().add(isolate(3, Status::Failed));
    // Nothing shows any more whether these three rows are the approved ones.
    let told = assert_refused(&place, &format!("run more.csv --yes --plan {id}"), &id);
    assert!(told.contains("preview --format csv"), "{told}");
    place.sandbox().add(isolate(3, Status::Pending));
    place
        .run(&format!("run more.csv --yes --plan {id}"))
        .exits(3);
    assert_eq!(place.cancels(), 3);
}

#[test]
fn an_approved_plan_rejects_missing_ids_that_may_be_found_later() {
    let place = with_open(3);
    let id = id_in(&place.run("preview ids.csv").stdout);
    let more = place.read("ids.csv") + &format!("{},x\n", nth_id(9));
    place.write("ids.csv", &more);
    assert_eq!(id_in(&place.run("preview ids.csv").stdout), id);
    let refused = place
        .run(&format!("run ids.csv --yes --plan {id}"))
        .exits(2);
    let missing = "1 action that the tenant doesn't list yet would be sent if found later";
    assert!(refused.stderr.contains(missing), "{}", refused.stderr);
    assert_eq!(place.cancels(), 0);
    // The frozen plan has the same id and skips the row.
    assert_eq!(freeze(&place, "ids.csv"), id);
    let run = format!("run plan.csv --yes --plan {id} --report r.csv");
    place.run(&run).exits(0);
    assert_eq!(place.column("r.csv", "outcome")[3], "skipped");
}

#[test]
fn a_comment_with_surrounding_spaces_keeps_the_plan_id() {
    let place = with_open(1);
    let preview = [
        "preview",
        "ids.csv",
        "--format",
        "csv",
        "--comment",
        " CHG-1 ",
    ];
    let previewed = done(place.command("").args(preview));
    place.write("plan.csv", &previewed.stdout);
    let id = id_in(&previewed.stderr);
    place
        .run(&format!("run plan.csv --yes --plan {id}"))
        .exits(0);
}

#[test]
fn a_selection_with_an_approved_plan_needs_no_max_actions() {
    let place = with_open(3);
    let from_tenant = format!("--type Isolate --tenant-id {TENANT}");
    let id = id_in(&place.run(&format!("preview {from_tenant}")).stdout);
    let run = format!("run {from_tenant} --yes --plan {id} --report r.csv");
    place.sandbox().add(isolate(4, Status::Pending));
    assert_refused(&place, &run, &id);
    place.sandbox().add(isolate(4, Status::Failed));
    place.run(&run).exits(0);
    assert_eq!(place.cancels(), 3);
    assert_eq!(place.column("r.csv", "plan"), [id.as_str(); 3]);
}

#[test]
fn all_states_are_read_before_the_first_cancel() {
    let place = with_open(250);
    let id = freeze(&place, "ids.csv");
    // Closes actions on every page, so that listing the open ones doesn't show every state.
    for number in 1..=240 {
        place.sandbox().add(isolate(number, Status::Failed));
    }
    let before = place.live.calls(CallKind::List);
    place
        .run(&format!("run plan.csv --yes --plan {id} --no-verify"))
        .exits(0);
    let calls = place.sandbox().log();
    let first = calls.iter().position(|call| call.kind == CallKind::Cancel);
    let reads = calls[..first.unwrap()].iter();
    let reads = reads.filter(|call| call.kind == CallKind::List).count();
    assert_eq!(reads, place.live.calls(CallKind::List), "none after it");
    assert_eq!(reads - before, 3);
    assert_eq!(place.cancels(), 10);
}

#[test]
fn resume_compares_the_plan_of_a_run_killed_before_the_comparison() {
    for is_edited in [true, false] {
        let mut place = with_open(3);
        let id = freeze(&place, "ids.csv");
        place.live = LiveSandbox::start(|settings| {
            settings.faults = Faults::parse("hang@on=list,count=1").unwrap();
        });
        place.live.isolates(1..=4, Status::Pending);
        if is_edited {
            let plan = place.read("plan.csv");
            let edited = plan.replace(&nth_id(3).to_string(), &nth_id(4).to_string());
            place.write("plan.csv", &edited);
        }
        let mut child = place
            .command(&format!("run plan.csv --yes --plan {id} --report r.csv"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while place.live.calls(CallKind::List) == 0 {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let (code, cancels) = if is_edited { (2, 0) } else { (0, 3) };
        let resumed = place.run("resume --yes --report r.csv");
        let told = resumed.exits(code).told();
        assert_eq!(place.cancels(), cancels);
        assert_eq!(told.contains("which --plan names"), is_edited, "{told}");
    }
}
