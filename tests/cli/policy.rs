//! What is sent and what isn't, and how a run ends that sends little or nothing, with the real binary.

use std::path::Path;
use std::process::{Command, Output};

use jiff::Timestamp;
use mde_cancel::sandbox::{CallKind, Cancellation, MockAction, Status};

use crate::support::{LiveSandbox, nth_id, program};

const APP: &str = "55555555-2222-3333-4444-555555555555";

fn record(number: usize, kind: &str, status: Status, host: &str) -> MockAction {
    let created = Timestamp::from_second(1_795_000_000).unwrap();
    let mut record = MockAction::new(nth_id(number), kind, status, created);
    record.machine_id = Some(format!("{number:040x}"));
    record.computer_dns_name = Some(host.to_owned());
    APP.clone_into(&mut record.requestor);
    record
}

/// A service with these actions, and a folder with this input.
struct Place {
    folder: tempfile::TempDir,
    live: LiveSandbox,
}

impl Place {
    fn with(records: impl IntoIterator<Item = MockAction>, input: &str) -> Self {
        let live = LiveSandbox::start(|_| ());
        for record in records {
            live.sandbox.add(record);
        }
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
            live,
        };
        place.write("ids.csv", input);
        place
    }

    fn here(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.here().join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.here().join(name)).unwrap()
    }

    fn command(&self, words: &str) -> Command {
        let mut command = program(self.here());
        command
            .args(words.split_whitespace())
            .env("MDE_CANCEL_API_URL", &self.live.url)
            .env("MDE_CANCEL_TOKEN", "any-word")
            .env("MDE_CANCEL_READ_QUOTA", "none");
        command
    }

    /// Runs to the end; returns exit code and both outputs.
    fn run(&self, words: &str) -> (Option<i32>, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(words).output().unwrap();
        let text = [stdout, stderr].concat();
        (status.code(), String::from_utf8(text).unwrap())
    }

    fn cancels(&self) -> usize {
        self.live.calls(CallKind::Cancel)
    }

    /// Returns the cells of one column of a report.
    fn column(&self, report: &str, name: &str) -> Vec<String> {
        let mut rows = csv::Reader::from_path(self.here().join(report)).unwrap();
        let header = rows.headers().unwrap().clone();
        let at = header.iter().position(|cell| cell == name).unwrap();
        let rows = rows.records().map(Result::unwrap);
        rows.map(|row| row[at].to_owned()).collect()
    }
}

fn input(header: &str, rows: &[(usize, &str)]) -> String {
    let rows = rows
        .iter()
        .map(|(number, rest)| format!("{},{rest}\n", nth_id(*number)));
    format!("{header}\n{}", rows.collect::<String>())
}

#[test]
fn the_record_and_not_the_file_decides_what_is_selected() {
    let isolates = (1..=2).map(|number| record(number, "Isolate", Status::Pending, "ws-1"));
    let scan = record(3, "RunAntiVirusScan", Status::Pending, "ws-3");
    let rows = input(
        "id,type,requestor",
        &[
            (1, "Isolation (wave 2),soc-tools"),
            (2, "RunAntiVirusScan,soc-tools"),
            (3, "Isolate,soc-tools"),
        ],
    );
    let place = Place::with(isolates.chain([scan]), &rows);
    let words = format!("run ids.csv --yes --type Isolate --requestor {APP} --report r.csv");
    let (code, told) = place.run(&words);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(place.cancels(), 2, "{told}");
    assert_eq!(
        place.column("r.csv", "outcome"),
        ["cancelled", "cancelled", "skipped"]
    );
    assert_eq!(
        place.column("r.csv", "reason")[2],
        "type not selected: RunAntiVirusScan"
    );
}

#[test]
fn where_no_row_is_selected_nothing_is_a_success_and_the_values_are_named() {
    let records = || {
        let scans = (1..=2).map(|n| record(n, "RunAntiVirusScan", Status::Pending, "ws-1"));
        scans.chain([record(3, "Offboard", Status::Pending, "ws-3")])
    };
    let rows = input(
        "id,tenant,type,requestor",
        &[
            (1, "fabrikam,Scan,tom"),
            (2, "fabrikam,Scan,tom"),
            (3, "fabrikam,Offboard,tom"),
        ],
    );
    let tenant = "--tenant-id 11111111-2222-3333-4444-555555555555";
    let blind = "--no-precheck";
    for (words, column) in [
        (
            "--type Isolate",
            "type of the service's records is RunAntiVirusScan (2), Offboard (1)",
        ),
        (
            "--requestor soc-tools",
            &format!("requestor of the service's records is {APP} (3)"),
        ),
        (
            "--status InProgress",
            "status of the service's records is Pending (3)",
        ),
        (
            "--since 2030-01-01T00:00:00Z",
            "creationDateTimeUtc of the service's records is 2026-",
        ),
        (tenant, "tenant of the input is fabrikam (3)"),
        (
            &format!("--type Isolate {blind}"),
            "type of the input is Scan (2), Offboard (1)",
        ),
        (
            &format!("--requestor soc-tools {blind}"),
            "requestor of the input is tom (3)",
        ),
    ] {
        let rows = if words == tenant {
            rows.clone()
        } else {
            rows.replace("fabrikam", "")
        };
        for command in ["run --yes", "run --yes --max-actions 9", "preview"] {
            let place = Place::with(records(), &rows);
            let words = format!("{command} ids.csv {words}");
            let (code, told) = place.run(&words);
            assert_eq!(code, Some(2), "{words}: {told}");
            assert!(told.contains("no row is selected"), "{words}: {told}");
            assert!(told.contains(column), "{words}: {told}");
            assert_eq!(place.cancels(), 0, "{words}");
        }
    }
}

#[test]
fn without_prechecks_a_row_that_a_word_of_the_file_skips_does_not_end_in_success() {
    let pending = |number| record(number, "Isolate", Status::Pending, "ws-1");
    for (rest, words) in [
        ("Isolation (wave 2),soc-tools", ""),
        ("Isolate,soc-toolz", "--requestor soc-tools"),
    ] {
        let rows = input("id,type,requestor", &[(1, "Isolate,soc-tools"), (2, rest)]);
        let place = Place::with((1..=2).map(pending), &rows);
        let (code, told) = place.run(&format!("run ids.csv --yes --no-precheck {words}"));
        assert_eq!(code, Some(3), "{told}");
        assert_eq!(place.cancels(), 1, "{told}");
    }
}

#[test]
fn a_run_that_skips_every_row_ends_with_3() {
    let rows = input("id", &[(1, "")]).replace(',', "");
    let place = Place::with([record(1, "Unisolate", Status::Pending, "ws-1")], &rows);
    for words in ["run ids.csv --yes", "preview ids.csv"] {
        let (code, told) = place.run(words);
        assert_eq!(code, Some(3), "{words}: {told}");
    }
    let words = "run ids.csv --yes --allow-protected Unisolate";
    assert_eq!(place.run(words).0, Some(0));
}

#[test]
fn a_record_of_unknown_type_is_protected_until_unknown_is_allowed() {
    let kinds = ["Unknown", "Isolate", "Reimage"];
    let records = (1..)
        .zip(kinds)
        .map(|(n, kind)| record(n, kind, Status::Pending, "ws-1"));
    let rows = input("id,type", &[(1, "Isolate"), (2, "Isolate"), (3, "Isolate")]);
    let place = Place::with(records, &rows);
    let (code, told) = place.run("run ids.csv --yes --report r.csv");
    assert_eq!((code, place.cancels()), (Some(0), 1), "{told}");
    assert_eq!(
        place.column("r.csv", "outcome"),
        ["skipped", "cancelled", "skipped"]
    );
    let reasons = place.column("r.csv", "reason");
    assert_eq!(
        reasons[2],
        "type unknown, so it may be protected (--allow-protected unknown cancels it): Reimage"
    );
    let words = "run ids.csv --yes --allow-protected unknown --report r2.csv";
    let (code, told) = place.run(words);
    assert_eq!((code, place.cancels()), (Some(0), 3), "{told}");
}

#[test]
fn exclusions_are_matched_by_short_names_and_those_that_match_nothing_are_shown() {
    let hosts = ["larabond.corp.contoso.com", "srv-003", "ws-1.contoso.com"];
    let records = (1..)
        .zip(hosts)
        .map(|(number, host)| record(number, "Isolate", Status::Pending, host));
    let rows = input("id", &[(1, ""), (2, ""), (3, "")]).replace(',', "");
    let place = Place::with(records, &rows);
    place.write(
        "keep.txt",
        "larabond\nsrv-0O3\nsrv-003.contoso.com\nlaptop-anna\n",
    );
    let warning = "warning: 2 of 4 lines in keep.txt match nothing: srv-0O3, laptop-anna";
    let loose = "note: matched by the first part of the name: larabond = larabond.corp.contoso.com, srv-003.contoso.com = srv-003";
    for words in [
        "preview ids.csv --exclude-from keep.txt",
        "run ids.csv --yes --exclude-from keep.txt --report r.csv",
    ] {
        let (code, told) = place.run(words);
        assert_eq!(code, Some(0), "{words}: {told}");
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(warning), "{words}: {told}");
        assert!(told.contains(loose), "{words}: {told}");
        // A run says it before anything is sent, and in its summary.
        let times = 1 + usize::from(words.starts_with("run"));
        assert_eq!(told.matches("match nothing").count(), times, "{told}");
    }
    assert_eq!(place.cancels(), 1);
    assert_eq!(
        place.column("r.csv", "outcome"),
        ["skipped", "skipped", "cancelled"]
    );
    assert_eq!(
        place.column("r.csv", "reason")[0],
        "excluded by keep.txt: larabond.corp.contoso.com"
    );
}

#[test]
fn an_excluded_machine_is_no_follow_up_although_its_isolation_succeeded() {
    let records = [
        record(1, "Isolate", Status::Succeeded, "dc-01.contoso.com"),
        record(2, "Isolate", Status::Succeeded, "ws-2.contoso.com"),
    ];
    let rows = input("id", &[(1, ""), (2, "")]).replace(',', "");
    let place = Place::with(records, &rows);
    place.write("keep.txt", "dc-01\n");
    let words = "run ids.csv --yes --exclude-from keep.txt --report r.csv --follow-up hands.csv";
    let (code, told) = place.run(words);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("1 machine is isolated"), "{told}");
    let hands = place.read("hands.csv");
    assert!(
        hands.contains("ws-2") && !hands.contains("dc-01"),
        "{hands}"
    );
    assert_eq!(
        place.column("r.csv", "outcome"),
        ["skipped", "already_final"]
    );
    assert_eq!(place.column("r.csv", "follow_up"), ["", "unisolate"]);
}

/// A wave of two requestors: three isolations that wait, one at work, three that have Succeeded, of which one machine was
/// released since and one is excluded, and an older one.
fn wave() -> Place {
    let at = |minutes: i64| {
        let ago = jiff::SignedDuration::from_mins(minutes);
        Timestamp::now().checked_sub(ago).unwrap()
    };
    let wave = [
        (1, "Isolate", Status::Pending, "ws-1", 60),
        (2, "Isolate", Status::Pending, "ws-2", 60),
        (3, "Isolate", Status::Pending, "srv-003", 60),
        (4, "Isolate", Status::InProgress, "ws-4", 60),
        (5, "Isolate", Status::Succeeded, "ws-5", 60),
        (6, "Isolate", Status::Succeeded, "ws-6", 60),
        (7, "Isolate", Status::Succeeded, "dc-01", 60),
        (8, "Isolate", Status::Succeeded, "ws-8", 600),
        (9, "LiveResponse", Status::Succeeded, "ws-9", 60),
    ];
    let wave = wave.map(|(number, kind, status, host, minutes)| {
        let mut record = record(number, kind, status, &format!("{host}.contoso.com"));
        record.created_at = at(minutes);
        let requestor = if number == 2 {
            "ana@contoso.com"
        } else {
            "soc-automation"
        };
        requestor.clone_into(&mut record.requestor);
        record
    });
    let mut release = record(6, "Unisolate", Status::Succeeded, "ws-6.contoso.com");
    release.id = nth_id(106);
    release.created_at = at(30);
    let place = Place::with(wave.into_iter().chain([release]), "");
    place.write("keep.txt", "dc-01\nsrv-003.contoso.com\n");
    place
}

const TENANT: &str =
    "--tenant-id 11111111-2222-3333-4444-555555555555 --max-actions 99 --quota none --rate none";

#[test]
fn a_wave_is_seen_whole_and_machines_that_are_isolated_now_are_follow_ups() {
    let place = wave();
    let (code, plan) = place.run("preview --type Isolate --since 2h --exclude-from keep.txt");
    assert_eq!(code, Some(3), "{plan}");
    for line in [
        "3 actions to cancel · plan ",
        "requested by  soc-automation 2, ana@contoso.com 1  (more than one requestor)",
        "will cancel    Isolate  InProgress        1",
        "will cancel    Isolate  Pending           2",
        "already final  Isolate  Succeeded         1  isolated now",
        "already final  Isolate  Succeeded         1  released since",
        "skipped        Isolate  Pending           1  excluded by keep.txt:",
        "skipped        Isolate  Succeeded         1  excluded by keep.txt:",
        "dc-01.contoso.com; still isolated",
        "ids from      the tenant: Isolate, Pending or InProgress, or Succeeded of",
    ] {
        assert!(plan.contains(line), "{line} is not in\n{plan}");
    }
    let words = format!(
        "run --type Isolate --since 2h --exclude-from keep.txt --yes --report r.csv --follow-up hands.csv {TENANT}"
    );
    let (code, told) = place.run(&words);
    assert_eq!(code, Some(3), "{told}");
    assert_eq!(place.cancels(), 3, "{told}");
    for line in [
        "2 machines still need work",
        "  1 machine is isolated now and needs release",
        "  1 machine may be changed, as the action was already in progress: check them",
        "excluded: 1 machine is still isolated: dc-01.contoso.com",
        "already_final  2  had already ended: 2 Succeeded",
        "skipped        2  excluded by keep.txt",
    ] {
        assert!(told.contains(line), "{line} is not in\n{told}");
    }
    let hands = place.read("hands.csv");
    let mut hosts: Vec<_> = hands
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(1).unwrap())
        .collect();
    hosts.sort_unstable();
    assert_eq!(hosts, ["ws-4.contoso.com", "ws-5.contoso.com"], "{hands}");
}

#[test]
fn without_since_what_succeeded_is_left_out_and_the_plan_says_how_to_include_it() {
    let place = wave();
    let (code, plan) = place.run("preview --type Isolate");
    assert_eq!(code, Some(0), "{plan}");
    assert!(
        plan.contains("4 actions to cancel") && !plan.contains("Succeeded  "),
        "{plan}"
    );
    assert!(
        plan.contains("note: actions that have Succeeded are left out; add --since"),
        "{plan}"
    );
    let (_, plan) = place.run("preview --type LiveResponse");
    assert!(
        plan.starts_with("nothing to cancel") && !plan.contains("note:"),
        "{plan}"
    );
    // A status that is typed means just that.
    let (_, plan) = place.run("preview --type Isolate --since 2h --status Pending");
    assert!(
        plan.contains("3 actions to cancel") && !plan.contains("Succeeded"),
        "{plan}"
    );
}

#[test]
fn a_preview_needs_no_type_and_a_list_counts_who_did_what() {
    let place = wave();
    let (code, plan) = place.run("preview --since 2h");
    assert_eq!(code, Some(3), "{plan}");
    assert!(plan.contains("4 actions to cancel"), "{plan}");
    let (code, told) = place.run(&format!("run --since 2h --yes {TENANT}"));
    assert_eq!(code, Some(2), "{told}");
    let (code, listed) = place.run("list --since 2h --summary");
    assert_eq!(code, Some(0), "{listed}");
    let counts: Vec<_> = listed
        .lines()
        .map(|line| line.splitn(5, ',').take(4).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        counts[..3],
        [
            "requestor type status actions",
            "soc-automation Isolate Succeeded 3",
            "soc-automation Isolate Pending 2"
        ]
    );
    let (_, table) = place.run("list --since 2h --summary --format table");
    // In the hours after midnight the table has dates, and less room for names.
    assert!(table.contains("\nsoc-auto"), "{table}");
    let (_, table) = place.run("list --since 2h --format table");
    assert!(
        table.ends_with("9 actions\n") && table.contains(&nth_id(1).to_string()),
        "{table}"
    );
    let (_, csv) = place.run("list --since 2h");
    assert!(csv.starts_with("id,type,status,"), "{csv}");
}

#[test]
fn a_plan_has_one_id_in_its_preview_its_file_its_question_and_its_report() {
    let records = (1..=3).map(|number| record(number, "Isolate", Status::Pending, "ws-1"));
    let rows = input("id,comment", &[(1, "own, \"words\""), (2, ""), (3, "")])
        .replace("own, \"words\"", "\"own, \"\"words\"\"\"");
    let place = Place::with(records, &rows);
    let id_in = |text: &str| {
        let (_, rest) = text.split_once("plan ").unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    };
    let (_, shown) = place.run("preview ids.csv --comment CHG-1");
    let id = id_in(&shown);
    assert_eq!(id.len(), "961c-2524-c3ed-07b1-4e02".len());
    assert_ne!(
        id_in(&place.run("preview ids.csv").1),
        id,
        "another comment"
    );
    assert_ne!(id_in(&place.run("preview ids.csv --comment CHG-2").1), id);
    let output = place
        .command("preview ids.csv --comment CHG-1 --format csv")
        .output()
        .unwrap();
    place.write("plan.csv", &String::from_utf8(output.stdout).unwrap());
    assert_eq!(id_in(&String::from_utf8(output.stderr).unwrap()), id);
    assert_eq!(place.column("plan.csv", "plan"), [id.as_str(); 3]);
    assert_eq!(place.column("plan.csv", "comment"), ["CHG-1"; 3]);
    // The file brings the comment along.
    assert_eq!(id_in(&place.run("preview plan.csv").1), id);
    let (code, told) = place.run("run plan.csv --yes --max-actions 3 --report r.csv");
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(id_in(&told), id);
    assert_eq!(place.column("r.csv", "plan"), [id.as_str(); 3]);
    assert_eq!(place.column("r.csv", "comment_sent"), ["CHG-1"; 3]);
}

#[test]
fn a_report_names_who_had_cancelled_an_action_before() {
    let mut by_ana = record(1, "Isolate", Status::Cancelled, "ws-1");
    by_ana.cancellation = Some(Cancellation {
        requestor: "ana@contoso.com".to_owned(),
        comment: "reimaged, thanks".to_owned(),
        at: Timestamp::from_second(1_795_000_100).unwrap(),
    });
    let pending = record(2, "Isolate", Status::Pending, "ws-2");
    let rows = input("id", &[(1, ""), (2, "")]).replace(',', "");
    let place = Place::with([by_ana, pending], &rows);
    let (code, told) = place.run("run ids.csv --yes --report r.csv");
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(
        place.column("r.csv", "outcome"),
        ["already_cancelled", "cancelled"]
    );
    assert_eq!(
        place.column("r.csv", "cancelled_by"),
        ["ana@contoso.com: reimaged, thanks", ""]
    );
    let plan = place.run("preview ids.csv --format csv").1;
    assert!(plan.contains("reimaged, thanks"), "{plan}");
}
