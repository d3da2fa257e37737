//! `list` with the real binary, alone and in front of `run -`, against a sandbox that both share.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mde_cancel::model::ActionId;
use mde_cancel::quota::Windows;
use mde_cancel::sandbox::{
    CallKind, Faults, LoggedCall, MockAction, Sandbox, SandboxSettings, Status,
};

use crate::support::{nth_id, program};

/// A tenant that the binary can call, and a folder for its state.
struct Tenant {
    sandbox: Sandbox,
    base: String,
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Tenant {
    /// So many Isolates that are Pending, which o'neil asked for within the last hour, in a service without quota that
    /// gives out `bound` records at once.
    fn with(count: usize, bound: usize, faults: &str) -> Self {
        let mut settings = SandboxSettings {
            quota: Windows::none(),
            faults: Faults::parse(faults).unwrap(),
            ..SandboxSettings::default()
        };
        settings.page = bound;
        let sandbox = Sandbox::new(settings);
        for number in 1..=count {
            sandbox.add(action(number));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let served = sandbox.clone();
        runtime.spawn(async move {
            let never = std::future::pending::<()>();
            mde_cancel::sandbox::serve(listener, served, never).await;
        });
        Self {
            sandbox,
            base,
            folder: tempfile::tempdir().unwrap(),
            _runtime: runtime,
        }
    }

    fn start(&self, words: &str) -> Child {
        program(self.folder.path())
            .args(words.split_whitespace())
            .args(["--api-url", &self.base, "--read-quota", "none"])
            .env("MDE_CANCEL_TOKEN", "a-token-that-is-long-enough")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs to the end; returns exit code, standard output and standard error.
    fn run(&self, words: &str) -> (Option<i32>, String, String) {
        finish(self.start(words))
    }

    fn calls(&self, kind: CallKind) -> Vec<LoggedCall> {
        let log = self.sandbox.log().into_iter();
        log.filter(|call| call.kind == kind).collect()
    }

    /// Returns the reads of pages; reads of records name ids.
    fn page_reads(&self) -> Vec<LoggedCall> {
        let mut calls = self.calls(CallKind::List);
        calls.retain(|call| call.ids.is_empty());
        calls
    }
}

/// One moment for all, so that a higher number is an older action however slow the machine is.
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

fn finish(child: Child) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn ids(csv: &str) -> Vec<ActionId> {
    let lines = csv
        .lines()
        .skip(1)
        .filter_map(|line| line.split(',').next());
    lines.map(|id| ActionId::parse(id).unwrap()).collect()
}

/// Waits until something is there; a machine that takes longer than a minute is not slow but stuck.
fn wait_for(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(60), "it never came");
        std::thread::yield_now();
    }
}

#[test]
fn a_list_holds_what_was_asked_for_newest_first_under_the_services_names() {
    let tenant = Tenant::with(3, 10_000, "");
    let mut other = action(4);
    "somebody".clone_into(&mut other.requestor);
    tenant.sandbox.add(other);
    let mut done = action(5);
    done.status = Status::Succeeded;
    tenant.sandbox.add(done);
    let words = "list --type isolate,LiveResponse --status Pending --requestor o'neil@x --since 2h";
    let (code, stdout, stderr) = tenant.run(words);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.starts_with("id,type,status,requestor,"), "{stdout}");
    assert_eq!(ids(&stdout), [nth_id(1), nth_id(2), nth_id(3)]);
    assert_eq!(tenant.page_reads().len(), 1);

    let (code, stdout, _) = tenant.run("list --filter requestor%20eq%20'x' --format jsonl");
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    std::fs::write(tenant.folder.path().join("keep"), nth_id(2).to_string()).unwrap();
    let (_, stdout, _) = tenant.run("list --format jsonl --type Isolate --exclude-from keep");
    assert_eq!(stdout.lines().count(), 4);
    let (code, stdout, _) = tenant.run("list --type Offboard");
    assert_eq!((code, stdout.lines().count()), (Some(0), 1));
}

#[test]
fn a_run_cancels_what_a_list_has_found_while_the_list_is_still_paging() {
    const COUNT: usize = 1_300;
    let tenant = Tenant::with(COUNT, 500, "");
    let words = "list --type Isolate --status Pending --since 2h --requestor o'neil@x";
    let mut list = tenant.start(words);
    let mut run = tenant.start("run - --yes --quota none --rate none --report report.csv");
    let mut pipe = run.stdin.take().unwrap();
    let mut found = BufReader::new(list.stdout.take().unwrap());
    let mut line = String::new();
    for _ in 0..=100 {
        line.clear();
        found.read_line(&mut line).unwrap();
        pipe.write_all(line.as_bytes()).unwrap();
    }
    // The list is held up by its pipe, which is too small for its second page.
    wait_for(|| tenant.calls(CallKind::Cancel).len() >= 60);
    let mut rest = Vec::new();
    found.read_to_end(&mut rest).unwrap();
    pipe.write_all(&rest).unwrap();
    drop(pipe);
    assert_eq!(finish(list).0, Some(0));
    let (code, _, stderr) = finish(run);
    assert_eq!(code, Some(0), "{stderr}");

    // The log is in the order of arrival: pages were still read after cancels had left.
    let first_cancel = tenant.calls(CallKind::Cancel)[0].number;
    let pages = tenant.page_reads();
    assert!(pages.iter().any(|page| page.number > first_cancel));
    // What was cancelled meanwhile dropped out of the list, and hid nothing.
    let mut cancelled: Vec<_> = tenant
        .calls(CallKind::Cancel)
        .into_iter()
        .flat_map(|call| call.ids)
        .collect();
    cancelled.sort_unstable();
    let all: Vec<_> = (1..=COUNT).map(nth_id).collect();
    assert!(cancelled == all, "{} cancels", cancelled.len());
}

/// What a run on a selection from the tenant needs where nobody is asked.
const UNASKED: &str =
    "--yes --tenant-id 11111111-2222-3333-4444-555555555555 --quota none --rate none";

#[test]
fn a_run_without_an_input_cancels_what_it_selects_and_reads_nothing_twice() {
    let tenant = Tenant::with(150, 100, "");
    let mut guarded = action(151);
    "Unisolate".clone_into(&mut guarded.action_type);
    tenant.sandbox.add(guarded);
    let mut kept = action(152);
    kept.computer_dns_name = Some("DC-01.corp.example".to_owned());
    tenant.sandbox.add(kept);
    let mut done = action(153);
    done.status = Status::Succeeded;
    tenant.sandbox.add(done);
    std::fs::write(tenant.folder.path().join("keep"), "dc-01.corp.example").unwrap();
    let words = "run --type Isolate,Unisolate --since 2h --exclude-from keep --max-actions 200 --report report.csv";
    let (code, stdout, stderr) = tenant.run(&format!("{words} {UNASKED}"));
    // One had Succeeded already: its machine is isolated.
    assert_eq!(code, Some(3), "{stdout}{stderr}");
    assert_eq!(tenant.calls(CallKind::Cancel).len(), 150);
    let log = tenant.sandbox.log();
    let mut reads = log.iter().filter(|call| call.kind != CallKind::Cancel);
    assert!(
        reads.all(|read| read.ids.is_empty()),
        "an id was read again"
    );

    let report = std::fs::read_to_string(tenant.folder.path().join("report.csv")).unwrap();
    let lines: Vec<_> = report.lines().skip(1).collect();
    assert_eq!(lines.len(), 153);
    assert!(
        lines[0].starts_with(&format!("{},cancelled,", nth_id(1))),
        "{}",
        lines[0]
    );
    for (line, what) in [
        (lines[150], "protected type"),
        (lines[151], "excluded by keep: DC-01.corp.example"),
    ] {
        assert!(line.contains(",skipped,") && line.contains(what), "{line}");
    }
    assert!(lines[0].contains(",tenant:1,"), "{}", lines[0]);
}

#[test]
fn with_an_input_the_same_flags_skip_what_is_not_selected() {
    let tenant = Tenant::with(3, 10_000, "");
    let mut scan = action(4);
    "RunAntiVirusScan".clone_into(&mut scan.action_type);
    tenant.sandbox.add(scan);
    let folder = tenant.folder.path();
    let lines = (1..=3).map(|number| format!("{},Isolate\n", nth_id(number)));
    let text = format!(
        "id,type\n{}{},RunAntiVirusScan\n",
        lines.collect::<String>(),
        nth_id(4)
    );
    std::fs::write(folder.join("ids.csv"), text).unwrap();
    std::fs::write(folder.join("keep"), nth_id(2).to_string()).unwrap();
    let words = "run ids.csv --yes --type Isolate --exclude-from keep --report report.csv";
    let (code, _, stderr) = tenant.run(words);
    assert_eq!(code, Some(0), "{stderr}");
    let mut cancelled: Vec<_> = tenant
        .calls(CallKind::Cancel)
        .into_iter()
        .flat_map(|call| call.ids)
        .collect();
    cancelled.sort_unstable();
    assert_eq!(cancelled, [nth_id(1), nth_id(3)]);
    let report = std::fs::read_to_string(folder.join("report.csv")).unwrap();
    assert!(report.contains(",skipped,excluded by keep: "), "{report}");
    assert!(
        report.contains(",skipped,type not selected: RunAntiVirusScan,"),
        "{report}"
    );
}

#[test]
fn a_selection_of_more_than_was_allowed_sends_nothing_and_leaves_no_run() {
    let tenant = Tenant::with(12, 10_000, "");
    let words = format!("run --type Isolate --max-actions 11 --report report.csv {UNASKED}");
    let (code, _, stderr) = tenant.run(&words);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("the plan has 12 actions, --max-actions allows 11"),
        "{stderr}"
    );
    assert!(tenant.calls(CallKind::Cancel).is_empty());
    assert!(!tenant.folder.path().join("report.csv").exists());
    let runs = program(tenant.folder.path())
        .args(["runs", "--format", "json"])
        .output()
        .unwrap();
    let runs: serde_json::Value = serde_json::from_slice(&runs.stdout).unwrap();
    assert_eq!(runs.as_array().map(Vec::len), Some(0), "{runs}");

    let forbidden = Tenant::with(12, 10_000, "403@on=list");
    let (code, _, stderr) = forbidden.run(&words);
    assert_eq!(code, Some(5), "{stderr}");
    assert!(forbidden.calls(CallKind::Cancel).is_empty());
}

#[test]
fn a_selection_that_broke_off_is_not_taken_up_again() {
    let tenant = Tenant::with(150, 100, "hang@on=list,nth=2");
    let mut run = tenant.start(&format!("run --type Isolate --max-actions 9 {UNASKED}"));
    wait_for(|| tenant.page_reads().len() == 2);
    run.kill().unwrap();
    run.wait().unwrap();
    let mut resume = program(tenant.folder.path());
    resume
        .args(["resume", "--yes", "--api-url", &tenant.base])
        .env("MDE_CANCEL_TOKEN", "a-token-that-is-long-enough");
    let refused = resume.output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(
        told.contains("was interrupted while it read its selection"),
        "{told}"
    );
    assert!(tenant.calls(CallKind::Cancel).is_empty());
}

#[test]
fn a_forbidden_list_names_the_permission_and_a_throttled_one_waits() {
    let tenant = Tenant::with(3, 10_000, "403@on=list");
    let (code, stdout, stderr) = tenant.run("list");
    assert_eq!((code, stdout.lines().count()), (Some(5), 1));
    assert!(stderr.contains("Machine.Read.All"), "{stderr}");
    let tenant = Tenant::with(3, 10_000, "429-storm:1s@on=list,nth=1");
    let (code, stdout, _) = tenant.run("list");
    assert_eq!((code, ids(&stdout).len()), (Some(0), 3));
    assert_eq!(tenant.page_reads().len(), 2);
}

#[test]
fn a_reader_that_leaves_ends_the_list_in_silence() {
    let tenant = Tenant::with(2_000, 10_000, "");
    let mut list = tenant.start("list");
    let mut line = String::new();
    let mut found = BufReader::new(list.stdout.take().unwrap());
    found.read_line(&mut line).unwrap();
    drop(found);
    let (code, _, stderr) = finish(list);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}
