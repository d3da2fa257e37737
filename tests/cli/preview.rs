//! `preview` and `run --dry-run` with the real binary: what they print, send and leave behind.

use jiff::Timestamp;
use mde_cancel::sandbox::{Cancellation, Faults, MockAction, Status};
use serde_json::{Value, json};

use crate::support::{Done, Folder, Place, done, finish, nth_id, start};

/// Five rows: two to send, one protected, one duplicate, one invalid.
fn mixed(folder: &Folder) {
    let rows = [
        format!("{},Isolate,ws-1,soc-bot", nth_id(1)),
        format!("{},LiveResponse,ws-2,o'neil@x", nth_id(2)),
        format!("{},Unisolate,ws-3,soc-bot", nth_id(3)),
        format!("{},Isolate,ws-1,soc-bot", nth_id(1)),
        "rubbish,Isolate,ws-4,soc-bot".to_owned(),
    ];
    let header = "id,type,computerDnsName,requestor\n";
    folder.write("a.csv", header.to_owned() + &rows.join("\n"));
}

/// A folder with a list of ids, and a service.
fn place(faults: &str, ids: usize) -> Place {
    let place = Place::with(|settings| settings.faults = Faults::parse(faults).unwrap());
    place.write_ids("ids.txt", 1..=ids);
    place
}

/// Parses the printed plan.
fn plan(done: &Done) -> Value {
    serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{}", done.told()))
}

#[test]
fn without_a_tenant_the_input_is_sorted_and_nothing_is_called_or_left_behind() {
    let folder = Folder::new();
    mixed(&folder);
    let plan = folder.run("preview --no-precheck a.csv").exits(3).stdout;
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
        assert!(plan.contains(part), "{part} is not in\n{plan}");
    }
    assert_eq!(folder.names(), ["a.csv"]);
    assert!(!folder.at("state").exists());
    let dry = folder.run("run --dry-run --no-precheck a.csv").exits(3);
    assert_eq!(dry.stdout, plan);
}

#[test]
fn a_clean_plan_and_an_empty_one_exit_with_0() {
    let folder = Folder::new();
    folder.write_ids("one.txt", 1..=1);
    let plan = folder.run("preview --no-precheck one.txt").exits(0).stdout;
    assert!(plan.starts_with("1 action to cancel"), "{plan}");
    let unchecked = "unchecked     no status is read";
    assert!(plan.contains(unchecked), "{plan}");
    let plan = folder.run("preview --no-precheck -").exits(0).stdout;
    assert!(plan.starts_with("nothing to cancel\n"), "{plan}");
}

#[test]
fn a_plan_file_sends_only_its_send_rows_and_keeps_the_id() {
    let folder = Folder::new();
    mixed(&folder);
    let frozen = folder.run("preview --no-precheck --format csv a.csv");
    let frozen = frozen.exits(3);
    folder.write("plan.csv", &frozen.stdout);
    let header = "verdict,action_id,outcome,reason,";
    assert!(frozen.stdout.starts_with(header), "{}", frozen.stdout);
    assert_eq!(
        folder.column("plan.csv", "verdict"),
        ["send", "send", "skipped", "duplicate", "invalid"]
    );
    let named = |input: &str| {
        let plan = plan(&folder.run(&format!("preview --no-precheck --format json {input}")));
        (plan["plan"].clone(), plan["send"].clone())
    };
    let name = named("a.csv");
    assert_eq!(named("plan.csv"), name);
    assert_eq!(name.1, 2);
    let told = frozen.stderr;
    assert!(told.contains(name.0.as_str().unwrap()), "{told}");
    // A protected row stays skipped although it is allowed now: a plan only shrinks.
    assert_eq!(named("--allow-protected Unisolate plan.csv"), name);
}

#[test]
fn a_preview_without_a_token_hints_at_no_precheck() {
    let folder = Folder::new();
    mixed(&folder);
    let done = folder.run("preview a.csv").exits(2);
    assert_eq!(done.stdout, "");
    assert!(done.stderr.contains("--no-precheck"), "{}", done.stderr);
}

#[test]
fn a_closed_pipe_ends_a_preview_silently() {
    let folder = Folder::new();
    folder.write_ids("many.txt", 1..=5000);
    let mut child = start(&mut folder.command("preview --no-precheck --format csv many.txt"));
    drop(child.stdout.take());
    assert_eq!(finish(child).exits(0).stderr, "");
}

#[test]
fn ten_thousand_ids_cost_a_page_of_what_is_open_and_a_read_for_each_hundred_of_the_rest() {
    let place = place("", 10_000);
    place.live.isolates(1..=7000, Status::Succeeded);
    place.live.isolates(7001..=10_000, Status::Pending);
    // Exit code 3, because 7,000 machines are isolated.
    let plan = plan(&place.run("preview ids.txt --format json").exits(3));
    for (name, expected) in [
        ("send", 3000),
        ("rows", 10_000),
        ("types_known", 3000),
        ("reads", 71),
    ] {
        assert_eq!(plan[name], expected, "{name}");
    }
    assert_eq!(plan["counts"][1]["verdict"], "already_final");
    assert_eq!(plan["counts"][1]["rows"], 7000);
    assert_eq!(place.cancels(), 0);
    assert_eq!(place.sandbox().log().len(), 71);
    assert_eq!(place.runs(), json!([]));
}

#[test]
fn a_plan_file_keeps_what_the_records_said() {
    let place = place("", 4);
    place.live.isolates(1..=1, Status::Pending);
    place.live.isolates(2..=2, Status::Cancelled);
    let created = Timestamp::from_second(1_790_000_000).unwrap();
    let unisolate = MockAction::new(nth_id(3), "Unisolate", Status::Pending, created);
    place.sandbox().add(unisolate);
    let frozen = place.run("preview ids.txt --format csv").exits(3).stdout;
    place.write("plan.csv", frozen);
    let cells = |name| place.column("plan.csv", name);
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

    place.live.isolates(4..=4, Status::Pending);
    let words = "run plan.csv --yes --allow-protected Unisolate --report r.csv";
    place.run(words).exits(0);
    assert_eq!(place.cancels(), 1);
    assert_eq!(place.sandbox().cancels_of(nth_id(1)), 1);
}

#[test]
fn a_preview_that_may_not_read_states_hints_at_no_precheck() {
    let done = place("403@on=list", 3).run("preview ids.txt").exits(5);
    assert_eq!(done.stdout, "");
    let told = done.stderr;
    assert!(told.contains("Machine.Read.All"), "{told}");
    assert!(told.contains("--no-precheck"), "{told}");
}

#[test]
fn ids_of_another_tenant_cost_three_reads() {
    let place = place("", 3000);
    let done = place.run("preview ids.txt").exits(5);
    assert_eq!(done.stdout, "");
    let why = "none of the first 100 ids";
    assert!(done.stderr.contains(why), "{}", done.stderr);
    assert!(place.sandbox().log().len() <= 3);
}

#[test]
fn rows_whose_states_cannot_be_read_any_more_are_not_in_a_plan_and_it_says_so() {
    let place = place("401@on=list,after=1", 250);
    place.live.isolates(1..=250, Status::Pending);
    let plan = plan(&place.run("preview ids.txt --format json").exits(5));
    assert_eq!((&plan["send"], &plan["unread"]), (&100.into(), &150.into()));
}

#[test]
fn permissions_that_the_token_lacks_are_forecast() {
    let place = Place::with(|_| ());
    mixed(&place);
    let jwt = place.sandbox().token("t-1", "a-1");
    let mut command = place.command("preview --no-precheck --format json a.csv");
    let plan = plan(&done(command.env("MDE_CANCEL_TOKEN", jwt)));
    assert_eq!(plan["tenant"], "t-1");
    assert!(plan["permissions"]["cancelling"].is_array(), "{plan}");
    assert!(place.sandbox().log().is_empty());
}

#[test]
fn a_selection_from_the_tenant_is_shown_as_a_run_would_take_it() {
    let place = Place::with(|_| ());
    place.live.isolates(1..=30, Status::Pending);
    place.live.isolates(31..=40, Status::Succeeded);
    place.write_ids("keep.txt", 7..=7);
    let words = "preview --type Isolate --exclude-from keep.txt --format json";
    let shown = plan(&place.run(words).exits(0));
    assert_eq!((&shown["send"], &shown["rows"]), (&29.into(), &30.into()));
    assert_eq!(shown["counts"][1]["reason"], "excluded by keep.txt");
    assert_eq!(shown["counts"][0]["status"], "Pending");
    assert_eq!(place.cancels(), 0);

    let frozen = place.run("preview --type Isolate --format csv");
    place.write("plan.csv", frozen.stdout);
    let again = plan(&place.run("preview plan.csv --exclude-from keep.txt --format json"));
    assert_eq!(again["plan"], shown["plan"]);
}

#[test]
fn rows_outside_the_selection_are_skipped() {
    let folder = Folder::new();
    mixed(&folder);
    let words = "preview --no-precheck --type LiveResponse --format json a.csv";
    assert_eq!(plan(&folder.run(words))["send"], 1);
    let status = "preview --no-precheck --status Pending a.csv";
    folder.run(status).exits(2);
}

#[test]
fn what_another_tool_cancelled_is_named_with_the_tool_and_its_words() {
    let place = place("", 1);
    let at: Timestamp = "2026-01-31T09:12:00Z".parse().unwrap();
    let mut record = MockAction::new(nth_id(1), "LiveResponse", Status::Cancelled, at);
    record.cancellation = Some(Cancellation {
        requestor: "6b1f6c1e-5d0a-4b7e-9c3f-2f1f0e8d7a55".to_owned(),
        comment: "Automated clean-up\nof \"stale\" sessions".to_owned(),
        at,
    });
    place.sandbox().add(record);
    let plan = place.run("preview --format csv ids.txt").exits(0).stdout;
    let reason = "already cancelled at 2026-01-31T09:12:00Z by 6b1f6c1e-5d0a-4b7e-9c3f-2f1f0e8d7a55, with the comment: \
                  Automated clean-up\\u{a}of \"\"stale\"\" sessions";
    assert!(plan.contains(reason), "{plan}");
}

#[test]
fn a_preview_that_ends_or_is_interrupted_leaves_no_temporary_file() {
    let place = place("hang@on=list,after=1", 3);
    place.live.isolates(1..=3, Status::Pending);
    let temporary = place.at("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let is_empty = || std::fs::read_dir(&temporary).unwrap().next().is_none();
    let mut command = place.command("preview ids.txt");
    command.env("TMPDIR", &temporary);
    done(&mut command).exits(0);
    assert!(is_empty());
    #[cfg(unix)]
    {
        let child = start(&mut command);
        crate::support::wait_for(|| place.live.calls(mde_cancel::sandbox::CallKind::List) >= 2);
        assert!(!is_empty());
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        finish(child).exits(130);
        assert!(is_empty());
    }
}
