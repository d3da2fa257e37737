//! What is sent and what isn't, how a run ends that sends little or nothing, and what is left to do on machines.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mde_cancel::sandbox::{Cancellation, MockAction, Status};

use crate::support::{Place, nth_id};

const APP: &str = "55555555-2222-3333-4444-555555555555";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

pub(crate) fn record(number: usize, kind: &str, status: Status, host: &str) -> MockAction {
    let mut record = MockAction::new(nth_id(number), kind, status, at(0));
    record.machine_id = Some(format!("{number:040x}"));
    record.computer_dns_name = Some(host.to_owned());
    APP.clone_into(&mut record.requestor);
    record
}

/// A service with these actions, and a folder with this input.
pub(crate) fn place(records: impl IntoIterator<Item = MockAction>, input: &str) -> Place {
    let place = Place::with(|_| ());
    for record in records {
        place.sandbox().add(record);
    }
    place.write("ids.csv", input);
    place
}

pub(crate) fn input(header: &str, rows: &[(usize, &str)]) -> String {
    let rows = rows
        .iter()
        .map(|(number, rest)| format!("{},{rest}\n", nth_id(*number)));
    format!("{header}\n{}", rows.collect::<String>())
}

fn ids(count: usize) -> String {
    let rows = (1..=count).map(|number| format!("{}\n", nth_id(number)));
    format!("id\n{}", rows.collect::<String>())
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
    let place = place(isolates.chain([scan]), &rows);
    let words = format!("run ids.csv --yes --type Isolate --requestor {APP} --report r.csv");
    let told = place.run(&words).exits(0).told();
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
            let place = place(records(), &rows);
            let words = format!("{command} ids.csv {words}");
            let told = place.run(&words).exits(2).told();
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
        let place = place((1..=2).map(pending), &rows);
        let told = place
            .run(&format!("run ids.csv --yes --no-precheck {words}"))
            .exits(3)
            .told();
        assert_eq!(place.cancels(), 1, "{told}");
    }
}

#[test]
fn a_protected_action_that_was_cancelled_unread_is_a_machine_to_look_after() {
    let place = || {
        let records = [
            record(1, "Unisolate", Status::Pending, "ws-1"),
            record(2, "Isolate", Status::Pending, "ws-2"),
        ];
        place(records, &ids(2))
    };
    let words = "run ids.csv --yes --no-precheck --report r.csv";
    let unread = place();
    let told = unread.run(words).exits(3).stdout;
    let start = "1 machine had an action cancelled unread, and its record says it was protected";
    assert!(told.starts_with(start), "{told}");
    assert_eq!(
        unread.column("r.csv", "follow_up"),
        [
            "manual: request the cancelled action again if it was meant",
            ""
        ]
    );
    assert_eq!(
        unread.column("r.csv", "reason")[0],
        "its record, read after the cancel, says type protected: Unisolate"
    );
    place()
        .run(&format!("{words} --allow-protected Unisolate"))
        .exits(0);
}

#[test]
fn a_run_that_skips_every_row_ends_with_3() {
    let rows = ids(1);
    let place = place([record(1, "Unisolate", Status::Pending, "ws-1")], &rows);
    for words in ["run ids.csv --yes", "preview ids.csv"] {
        place.run(words).exits(3);
    }
    let words = "run ids.csv --yes --allow-protected Unisolate";
    place.run(words).exits(0);
}

#[test]
fn a_record_of_unknown_type_is_protected_until_unknown_is_allowed() {
    let kinds = ["Unknown", "Isolate", "Reimage"];
    let records = (1..)
        .zip(kinds)
        .map(|(n, kind)| record(n, kind, Status::Pending, "ws-1"));
    let rows = input("id,type", &[(1, "Isolate"), (2, "Isolate"), (3, "Isolate")]);
    let place = place(records, &rows);
    let told = place
        .run("run ids.csv --yes --report r.csv")
        .exits(0)
        .told();
    assert_eq!(place.cancels(), 1, "{told}");
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
    let told = place.run(words).exits(0).told();
    assert_eq!(place.cancels(), 3, "{told}");
}

#[test]
fn exclusions_are_matched_by_short_names_and_those_that_match_nothing_are_shown() {
    let hosts = ["larabond.corp.contoso.com", "srv-003", "ws-1.contoso.com"];
    let records = (1..)
        .zip(hosts)
        .map(|(number, host)| record(number, "Isolate", Status::Pending, host));
    let rows = ids(3);
    let place = place(records, &rows);
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
        let told = place.run(words).exits(0).told();
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(warning), "{words}: {told}");
        assert!(told.contains(loose), "{words}: {told}");
        // A run warns before anything is sent, and in its summary.
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
    let rows = ids(2);
    let place = place(records, &rows);
    place.write("keep.txt", "dc-01\n");
    let words = "run ids.csv --yes --exclude-from keep.txt --report r.csv --follow-up hands.csv";
    let told = place.run(words).exits(3).told();
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

/// A wave of two requestors: three Pending isolations, one InProgress, three Succeeded (one machine was released since,
/// one is excluded), an older one, and a LiveResponse.
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
    let place = place(wave.into_iter().chain([release]), "");
    place.write("keep.txt", "dc-01\nsrv-003.contoso.com\n");
    place
}

const TENANT: &str =
    "--tenant-id 11111111-2222-3333-4444-555555555555 --max-actions 99 --quota none --rate none";

#[test]
fn a_preview_shows_all_statuses_of_a_wave_and_isolated_machines_are_follow_ups() {
    let place = wave();
    let plan = place
        .run("preview --type Isolate --since 2h --exclude-from keep.txt")
        .exits(3)
        .told();
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
    let told = place.run(&words).exits(3).told();
    assert_eq!(place.cancels(), 3, "{told}");
    for line in [
        "2 machines still need work",
        "  1 machine is isolated now and needs release",
        "  1 machine may be changed, as the action was already in progress: check them",
        "excluded: 1 machine is still isolated: dc-01.contoso.com",
        "already final  2  had already ended: 2 Succeeded",
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
    let plan = place.run("preview --type Isolate").exits(0).told();
    assert!(
        plan.contains("4 actions to cancel") && !plan.contains("Succeeded  "),
        "{plan}"
    );
    assert!(
        plan.contains("note: actions that have Succeeded are left out; add --since"),
        "{plan}"
    );
    let plan = place.run("preview --type LiveResponse").told();
    assert!(
        plan.starts_with("nothing to cancel") && !plan.contains("note:"),
        "{plan}"
    );
    // A typed status selects only that status.
    let plan = place
        .run("preview --type Isolate --since 2h --status Pending")
        .told();
    assert!(
        plan.contains("3 actions to cancel") && !plan.contains("Succeeded"),
        "{plan}"
    );
}

#[test]
fn a_preview_needs_no_type_and_a_list_counts_who_did_what() {
    let place = wave();
    let plan = place.run("preview --since 2h").exits(3).told();
    assert!(plan.contains("4 actions to cancel"), "{plan}");
    place
        .run(&format!("run --since 2h --yes {TENANT}"))
        .exits(2);
    let listed = place.run("list --since 2h --summary").exits(0).told();
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
    let table = place.run("list --since 2h --summary --format table").told();
    // Shortly after midnight the table shows dates, with less room for names.
    assert!(table.contains("\nsoc-auto"), "{table}");
    let table = place.run("list --since 2h --format table").told();
    assert!(
        table.ends_with("9 actions\n") && table.contains(&nth_id(1).to_string()),
        "{table}"
    );
    let csv = place.run("list --since 2h").told();
    assert!(csv.starts_with("id,type,status,"), "{csv}");
}

#[test]
fn a_plan_has_one_id_in_its_preview_its_file_its_question_and_its_report() {
    let records = (1..=3).map(|number| record(number, "Isolate", Status::Pending, "ws-1"));
    let rows = input("id,comment", &[(1, "own, \"words\""), (2, ""), (3, "")])
        .replace("own, \"words\"", "\"own, \"\"words\"\"\"");
    let place = place(records, &rows);
    let id_in = |text: &str| {
        let (_, rest) = text.split_once("plan ").unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    };
    let shown = place.run("preview ids.csv --comment CHG-1").told();
    let id = id_in(&shown);
    assert_eq!(id.len(), "961c-2524-c3ed-07b1-4e02".len());
    assert_ne!(
        id_in(&place.run("preview ids.csv").told()),
        id,
        "another comment"
    );
    assert_ne!(
        id_in(&place.run("preview ids.csv --comment CHG-2").told()),
        id
    );
    let frozen = place.run("preview ids.csv --comment CHG-1 --format csv");
    place.write("plan.csv", &frozen.stdout);
    assert_eq!(id_in(&frozen.stderr), id);
    assert_eq!(place.column("plan.csv", "plan"), [id.as_str(); 3]);
    assert_eq!(place.column("plan.csv", "comment"), ["CHG-1"; 3]);
    // The file contains the comment.
    assert_eq!(id_in(&place.run("preview plan.csv").told()), id);
    let told = place
        .run("run plan.csv --yes --max-actions 3 --report r.csv")
        .exits(0)
        .told();
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
    let rows = ids(2);
    let place = place([by_ana, pending], &rows);
    place.run("run ids.csv --yes --report r.csv").exits(0);
    assert_eq!(
        place.column("r.csv", "outcome"),
        ["already_cancelled", "cancelled"]
    );
    assert_eq!(
        place.column("r.csv", "cancelled_by"),
        ["ana@contoso.com: reimaged, thanks", ""]
    );
    let plan = place.run("preview ids.csv --format csv").told();
    assert!(plan.contains("reimaged, thanks"), "{plan}");
}

#[test]
fn machines_released_since_are_cleared_and_the_others_stand_once_with_what_became_of_them() {
    let records = [
        // Released since: nothing to do.
        (1, "Isolate", Status::Succeeded, 1, 0),
        (101, "Unisolate", Status::Succeeded, 1, 60),
        // A release is pending.
        (2, "Isolate", Status::Succeeded, 2, 0),
        (102, "Unisolate", Status::Pending, 2, 60),
        // Released, then isolated again.
        (3, "Isolate", Status::Succeeded, 3, 0),
        (103, "Unisolate", Status::Succeeded, 3, 60),
        (203, "Isolate", Status::Succeeded, 3, 120),
        // Two rows, one machine; its release is older than both.
        (4, "Isolate", Status::Succeeded, 4, 0),
        (5, "RestrictCodeExecution", Status::Succeeded, 4, 0),
        (104, "Unisolate", Status::Succeeded, 4, -60),
    ];
    let machine = |number: usize| format!("{number:040x}");
    let records = records.map(|(number, kind, status, on, second)| {
        let mut record = record(number, kind, status, "ws-1");
        record.machine_id = Some(machine(on));
        record.created_at = at(second);
        record
    });
    let place = place(records, &ids(5));
    let words = "run ids.csv --yes --report report.csv --follow-up todo.csv";
    let told = place.run(words).exits(3).stdout;
    let start = "2 machines still need work\n  2 machines are isolated now and need release\n  1 machine is restricted now";
    assert!(told.starts_with(start), "{told}");
    // One read for the states, one list for everything later.
    assert!(told.contains(" 2 calls"), "{told}");
    let column = |name| place.column("todo.csv", name).into_iter();
    let needs = column("follow_up").zip(column("since"));
    let found: BTreeMap<_, _> = column("machine_id").zip(needs).collect();
    let expected = [
        (
            2,
            "unisolate",
            format!("release requested at {:.0}, not done yet", at(60)),
        ),
        (
            3,
            "keep",
            format!("isolated again by {APP}: {:.0}", at(120)),
        ),
        (4, "unisolate; unrestrict", "no later action".to_owned()),
    ];
    let expected = expected.map(|(on, needs, since)| (machine(on), (needs.to_owned(), since)));
    assert_eq!(found, BTreeMap::from(expected));
    let reason = &place.column("report.csv", "reason")[0];
    let cleared = "needs no work any more: released by an action of";
    assert!(reason.contains(cleared), "{reason}");
    assert_eq!(place.column("report.csv", "follow_up")[0], "");
}
