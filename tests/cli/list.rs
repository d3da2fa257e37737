//! `list`, alone and piped into `run -`, and runs on a selection from the tenant.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mde_cancel::model::ActionId;
use mde_cancel::sandbox::{CallKind, Faults, LoggedCall, MockAction, Status};

use crate::support::{Asked, Done, FakeService, Place, done, nth_id, program};

/// `count` Pending Isolates that o'neil requested within the last hour, in a service that returns `bound` records at
/// once.
fn tenant_with(count: usize, bound: usize, faults: &str) -> Place {
    let place = Place::with(|settings| {
        settings.faults = Faults::parse(faults).unwrap();
        settings.page = bound;
    });
    for number in 1..=count {
        place.sandbox().add(action(number));
    }
    place
}

fn start(tenant: &Place, words: &str) -> Child {
    let mut command = tenant.command(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

fn finish(child: Child) -> Done {
    Done::of(child.wait_with_output().unwrap())
}

/// Returns the reads of pages; reads of records have ids.
fn page_reads(tenant: &Place) -> Vec<LoggedCall> {
    let mut calls = tenant.calls(CallKind::List);
    calls.retain(|call| call.ids.is_empty());
    calls
}

fn cancelled(tenant: &Place) -> Vec<ActionId> {
    let calls = tenant.calls(CallKind::Cancel).into_iter();
    let mut ids: Vec<_> = calls.flat_map(|call| call.ids).collect();
    ids.sort_unstable();
    ids
}

/// One time for all, so that a higher number is an older action even on a slow machine.
static START: LazyLock<Timestamp> = LazyLock::new(Timestamp::now);

fn action(number: usize) -> MockAction {
    let age = Duration::from_secs(60) + Duration::from_millis(number as u64);
    let created = START.checked_sub(age).unwrap();
    let mut record = MockAction::new(nth_id(number), "Isolate", Status::Pending, created);
    "o'neil@x".clone_into(&mut record.requestor);
    record.computer_dns_name = Some(format!("ws-{number}.corp.example"));
    record.requestor_comment = Some("wave 2 ".repeat(40));
    record
}

/// Adds an action, changed.
fn add(tenant: &Place, number: usize, change: impl FnOnce(&mut MockAction)) {
    let mut record = action(number);
    change(&mut record);
    tenant.sandbox().add(record);
}

fn ids(csv: &str) -> Vec<ActionId> {
    let lines = csv.lines().skip(1);
    let ids = lines.filter_map(|line| line.split(',').next());
    ids.map(|id| ActionId::parse(id).unwrap()).collect()
}

/// Waits for `what`. A machine that takes longer than a minute is stuck, not slow.
fn wait_for(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(60), "it never came");
        std::thread::yield_now();
    }
}

#[test]
fn a_list_holds_what_was_asked_for_newest_first_under_the_services_names() {
    let tenant = tenant_with(3, 10_000, "");
    add(&tenant, 4, |action| {
        "somebody".clone_into(&mut action.requestor);
    });
    add(&tenant, 5, |action| action.status = Status::Succeeded);
    let words = "list --type isolate,LiveResponse --status Pending --requestor o'neil@x --since 2h";
    let Done { stdout, stderr, .. } = tenant.run(words).exits(0);
    assert_eq!(stderr, "");
    assert!(stdout.starts_with("id,type,status,requestor,"), "{stdout}");
    assert_eq!(ids(&stdout), [nth_id(1), nth_id(2), nth_id(3)]);
    assert_eq!(page_reads(&tenant).len(), 1);

    let words = "list --filter requestor%20eq%20'x' --format jsonl";
    assert_eq!(tenant.run(words).exits(2).stdout, "");
    tenant.write("keep", nth_id(2).to_string());
    let words = "list --format jsonl --type Isolate --exclude-from keep";
    assert_eq!(tenant.run(words).stdout.lines().count(), 4);
    let none = tenant.run("list --type Offboard").exits(0).stdout;
    assert_eq!(none.lines().count(), 1);
}

#[test]
fn a_run_cancels_what_a_list_has_found_while_the_list_is_still_paging() {
    const COUNT: usize = 1_300;
    let tenant = tenant_with(COUNT, 500, "");
    let words = "list --type Isolate --status Pending --since 2h --requestor o'neil@x";
    let mut list = start(&tenant, words);
    let words = "run - --yes --quota none --rate none --report report.csv";
    let mut run = start(&tenant, words);
    let mut pipe = run.stdin.take().unwrap();
    let mut found = BufReader::new(list.stdout.take().unwrap());
    let mut line = String::new();
    for _ in 0..=100 {
        line.clear();
        found.read_line(&mut line).unwrap();
        pipe.write_all(line.as_bytes()).unwrap();
    }
    // The list waits for its pipe, which is too small for its second page.
    wait_for(|| tenant.cancels() >= 60);
    let mut rest = Vec::new();
    found.read_to_end(&mut rest).unwrap();
    pipe.write_all(&rest).unwrap();
    drop(pipe);
    finish(list).exits(0);
    finish(run).exits(0);

    // The log is in order of arrival: pages were still read after the first cancel.
    let first_cancel = tenant.calls(CallKind::Cancel)[0].number;
    let pages = page_reads(&tenant);
    assert!(pages.iter().any(|page| page.number > first_cancel));
    // Actions cancelled meanwhile left the list without hiding others.
    let (sent, all) = (cancelled(&tenant), (1..=COUNT).map(nth_id));
    assert!(sent == all.collect::<Vec<_>>(), "{} cancels", sent.len());
}

/// What a run on a selection from the tenant needs to skip the question.
const UNASKED: &str =
    "--yes --tenant-id 11111111-2222-3333-4444-555555555555 --quota none --rate none";

#[test]
fn machines_that_are_isolated_are_listed_until_they_are_released() {
    let tenant = tenant_with(0, 10_000, "");
    let days = Duration::from_secs(40 * 24 * 60 * 60);
    for (number, kind, status, machine, requestor) in [
        (10, "Isolate", Status::Succeeded, 1, "soc-bot"),
        (11, "Isolate", Status::Succeeded, 2, "soc-bot"),
        (2, "Unisolate", Status::Succeeded, 2, "ana"),
        (12, "Isolate", Status::Succeeded, 3, "soc-bot"),
        (3, "Unisolate", Status::Pending, 3, "ana"),
        (13, "Isolate", Status::Succeeded, 4, "eve"),
        (14, "Isolate", Status::Pending, 5, "soc-bot"),
        (15, "Isolate", Status::Succeeded, 6, "soc-bot"),
        // It was contained before the bot came.
        (16, "Isolate", Status::Succeeded, 3, "eve"),
    ] {
        add(&tenant, number, |action| {
            kind.clone_into(&mut action.action_type);
            action.status = status;
            action.machine_id = Some(format!("{machine:040x}"));
            action.computer_dns_name = Some(format!("ws-{machine}.contoso.com"));
            requestor.clone_into(&mut action.requestor);
            if machine == 6 {
                action.created_at = START.checked_sub(days).unwrap();
            }
        });
    }
    let list = |words: &str| {
        let listed = tenant.run(&format!("list --isolated {words}")).exits(0);
        assert!(
            listed.stderr.contains("looked back to"),
            "{}",
            listed.stderr
        );
        listed.stdout
    };
    let by_bot = list("--requestor soc-bot");
    assert_eq!(ids(&by_bot), [nth_id(10), nth_id(12)]);
    let call = format!("POST /api/machines/{:040x}/unisolate", 1);
    for part in [&call, "no later action", "release requested at"] {
        assert!(by_bot.contains(part), "{part}: {by_bot}");
    }
    assert_eq!(ids(&list("")), [nth_id(10), nth_id(12), nth_id(13)]);
    assert_eq!(ids(&list("--since 60d --requestor soc-bot")).len(), 3);
    tenant.write("keep", "ws-3\n");
    let others = list("--exclude-from keep");
    assert_eq!(ids(&others), [nth_id(10), nth_id(13)]);
    assert!(list("--format table").ends_with("\n3 machines\n"));
    assert_eq!(list("--format jsonl").lines().count(), 3);

    // A run takes the list as its input, and then knows which machines to release.
    tenant.write("isolated.csv", &by_bot);
    assert_eq!(
        tenant.column("isolated.csv", "also_isolated_by"),
        ["", "eve"]
    );
    assert_eq!(tenant.column("isolated.csv", "call")[1], "");
    let at = tenant.column("isolated.csv", "also_isolated_at");
    assert!(at[0].is_empty() && at[1].ends_with('Z'), "{at:?}");
    let table = list("--format table --requestor soc-bot");
    assert!(table.contains("also isolated by"), "{table}");
    assert!(table.contains(" eve, "), "{table}");
    let both = list("--format table --requestor soc-bot --requestor eve");
    assert!(!both.contains("also isolated by"), "{both}");
    tenant.run("run isolated.csv --yes --report r.csv").exits(3);
    assert_eq!(tenant.cancels(), 0);
    assert_eq!(tenant.column("r.csv", "follow_up"), ["unisolate"; 2]);
}

#[test]
fn a_run_without_an_input_cancels_what_it_selects_and_reads_nothing_twice() {
    let tenant = tenant_with(150, 100, "");
    add(&tenant, 151, |action| {
        "Unisolate".clone_into(&mut action.action_type);
    });
    add(&tenant, 152, |action| {
        action.computer_dns_name = Some("DC-01.corp.example".to_owned());
    });
    add(&tenant, 153, |action| action.status = Status::Succeeded);
    tenant.write("keep", "dc-01.corp.example");
    let words = "run --type Isolate,Unisolate --since 2h --exclude-from keep --max-actions 200 --report report.csv";
    // One had already Succeeded, so its machine is isolated.
    tenant.run(&format!("{words} {UNASKED}")).exits(3);
    assert_eq!(tenant.cancels(), 150);
    let log = tenant.sandbox().log();
    let mut reads = log.iter().filter(|call| call.kind != CallKind::Cancel);
    assert!(
        reads.all(|read| read.ids.is_empty()),
        "an id was read again"
    );

    let report = tenant.read("report.csv");
    let lines: Vec<_> = report.lines().skip(1).collect();
    assert_eq!(lines.len(), 153);
    for (line, what) in [
        (lines[0], &*format!("{},cancelled,", nth_id(1))),
        (lines[0], ",tenant:1,"),
        (lines[150], ",skipped,"),
        (lines[150], "protected type"),
        (lines[151], ",skipped,excluded by keep: DC-01.corp.example"),
    ] {
        assert!(line.contains(what), "{line}");
    }

    let runs = tenant.run("runs").exits(0).stdout;
    let selected = "the tenant: Isolate or Unisolate, Pending or InProgress";
    assert!(runs.contains(selected), "{runs}");
}

#[test]
fn with_an_input_the_same_flags_skip_what_is_not_selected() {
    let tenant = tenant_with(3, 10_000, "");
    add(&tenant, 4, |action| {
        "RunAntiVirusScan".clone_into(&mut action.action_type);
    });
    let kinds = ["Isolate", "Isolate", "Isolate", "RunAntiVirusScan"];
    let rows = (1..).zip(kinds);
    let rows = rows.map(|(number, kind)| format!("{},{kind}\n", nth_id(number)));
    tenant.write("ids.csv", format!("id,type\n{}", rows.collect::<String>()));
    tenant.write("keep", nth_id(2).to_string());
    let words = "run ids.csv --yes --type Isolate --exclude-from keep --report report.csv";
    tenant.run(words).exits(0);
    assert_eq!(cancelled(&tenant), [nth_id(1), nth_id(3)]);
    let reasons = tenant.column("report.csv", "reason");
    assert!(reasons[1].starts_with("excluded by keep: "), "{reasons:?}");
    assert_eq!(reasons[3], "type not selected: RunAntiVirusScan");
    let outcomes = tenant.column("report.csv", "outcome");
    assert_eq!(outcomes, ["cancelled", "skipped", "cancelled", "skipped"]);
}

#[test]
fn a_selection_of_more_than_was_allowed_sends_nothing_and_leaves_no_run() {
    let tenant = tenant_with(12, 10_000, "");
    let words = format!("run --type Isolate --max-actions 11 --report report.csv {UNASKED}");
    let told = tenant.run(&words).exits(2).stderr;
    let what = "the plan has 12 actions, --max-actions allows 11";
    assert!(told.contains(what), "{told}");
    assert!(!tenant.at("report.csv").exists());
    assert_eq!(tenant.run("runs --format json").stdout, "[]\n");

    let forbidden = tenant_with(12, 10_000, "403@on=list");
    forbidden.run(&words).exits(5);
    assert_eq!((tenant.cancels(), forbidden.cancels()), (0, 0));
}

#[test]
fn an_interrupted_selection_is_not_resumed() {
    let tenant = tenant_with(150, 100, "hang@on=list,nth=2");
    let words = format!("run --type Isolate --max-actions 9 {UNASKED}");
    let mut run = start(&tenant, &words);
    wait_for(|| page_reads(&tenant).len() == 2);
    run.kill().unwrap();
    run.wait().unwrap();
    let told = tenant.run("resume --yes").exits(2).stderr;
    let what = "was interrupted while it read its selection";
    assert!(told.contains(what), "{told}");
    assert_eq!(tenant.cancels(), 0);
}

#[test]
fn a_forbidden_list_names_the_permission_and_a_throttled_one_waits() {
    let forbidden = tenant_with(3, 10_000, "403@on=list");
    let Done { stdout, stderr, .. } = forbidden.run("list").exits(5);
    assert_eq!(stdout.lines().count(), 1);
    assert!(stderr.contains("Machine.Read.All"), "{stderr}");
    let throttled = tenant_with(3, 10_000, "429-storm:1s@on=list,nth=1");
    assert_eq!(ids(&throttled.run("list").exits(0).stdout).len(), 3);
    assert_eq!(page_reads(&throttled).len(), 2);
}

#[test]
fn a_closed_pipe_ends_a_list_silently() {
    let tenant = tenant_with(2_000, 10_000, "");
    let mut list = start(&tenant, "list");
    let mut found = BufReader::new(list.stdout.take().unwrap());
    found.read_line(&mut String::new()).unwrap();
    drop(found);
    assert_eq!(finish(list).exits(0).stderr, "");
}

/// Like a service that limits a filter to a hundred nodes, and `in` to this many values.
fn with_a_node_limit(most_values: usize) -> FakeService {
    FakeService::start(move |asked| {
        let filter = asked.option("$filter").unwrap_or_default();
        let nodes = filter.matches(" or ").count() * 5 + filter.matches(" and ").count() * 5;
        if nodes <= 100 && filter.matches("','").count() < most_values {
            return (200, r#"{"value":[]}"#.to_owned());
        }
        let error = r#"{"error":{"code":"ODataError","message":"The node count limit of '100' has been exceeded."}}"#;
        (400, error.to_owned())
    })
}

#[test]
fn many_machine_ids_are_asked_for_in_lists_and_in_parts_where_a_list_is_not_taken() {
    let machines: Vec<_> = (0..150).map(|number| format!("{number:040x}")).collect();
    for (most_values, most_calls) in [(usize::MAX, 2), (40, 16)] {
        let service = with_a_node_limit(most_values);
        let folder = tempfile::tempdir().unwrap();
        let mut list = program(folder.path());
        list.args(["list", "--type", "Isolate", "--api-url", &service.url]);
        list.env("MDE_CANCEL_TOKEN", "any-word");
        for id in &machines {
            list.args(["--machine-id", id]);
        }
        done(&mut list).exits(0);
        let asked = service.asked();
        assert!(asked.len() <= most_calls, "{} calls", asked.len());
        for id in &machines {
            let named = |asked: &Asked| asked.option("$filter").unwrap().contains(id);
            assert!(asked.iter().any(named), "{id} was never asked for");
        }
    }
}
