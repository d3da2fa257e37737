//! `release`: only the machines that a run found isolated.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mde_cancel::sandbox::{CallKind, Faults, Latency, MockAction, SandboxRelease, Status};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::support::{Place, done, kill, nth_id, start};

/// First record number of other actions on the machines.
const OTHERS: usize = 1_000;

fn machine(number: usize) -> String {
    format!("{number:040x}")
}

/// An action on a machine that Succeeded this many minutes ago.
fn action(nth: usize, number: usize, kind: &str, by: &str, minutes: i64) -> MockAction {
    let at = Timestamp::now() - SignedDuration::from_mins(minutes);
    MockAction {
        requestor: by.to_owned(),
        machine_id: Some(machine(number)),
        computer_dns_name: Some(format!("ws-{number:03}.contoso.example")),
        ..MockAction::new(nth_id(nth), kind, Status::Succeeded, at)
    }
}

/// A sandbox with a wave of isolations, and a run that found them.
fn wave(machines: usize, faults: &str, latency: Latency) -> (Place, String) {
    let place = Place::with(|settings| {
        settings.faults = Faults::parse(faults).unwrap();
        settings.latency = latency;
        settings.releases = SandboxRelease::default();
    });
    for number in 1..=machines {
        place
            .sandbox()
            .add(action(number, number, "Isolate", "soc-bot", 60));
    }
    place.write_ids("wave.txt", 1..=machines);
    place.run("run wave.txt --yes --report found.csv").exits(3);
    let run = place.run_id();
    (place, run)
}

/// How often each machine was released, by the service's log.
fn released(place: &Place) -> BTreeMap<String, usize> {
    let mut releases = BTreeMap::new();
    let calls = place.calls(CallKind::Release).into_iter();
    for call in calls.filter(|call| call.changed) {
        *releases.entry(call.machine.unwrap()).or_default() += 1;
    }
    releases
}

fn outcomes(place: &Place, report: &str) -> Vec<String> {
    place.column(report, "outcome")
}

#[test]
fn only_machines_that_nobody_else_cut_off_are_released_and_each_once() {
    let (place, run) = wave(8, "applied-reset@on=release,nth=1", Latency::NONE);
    let sandbox = place.sandbox();
    sandbox.add(action(OTHERS + 2, 2, "Isolate", "ana", 90));
    sandbox.add(action(OTHERS + 3, 3, "Isolate", "ana", 5));
    sandbox.add(action(OTHERS + 4, 4, "Unisolate", "bob", 5));
    place.write("keep.txt", "ws-005\n");
    let planned = format!("release {run} --exclude-from keep.txt --dry-run --format json");
    let plan = place.run(&planned).exits(0);
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
    assert_eq!(
        (&plan["send"], &plan["operation"]),
        (&4.into(), &"release".into())
    );
    assert!(released(&place).is_empty(), "a plan sends nothing");
    let id = plan["plan"].as_str().unwrap();
    // Isolated again after the plan.
    sandbox.add(action(OTHERS + 6, 6, "Isolate", "ana", 0));
    place.run(&format!("release {run} --yes")).exits(2);
    let send = format!("release {run} --yes --plan {id} --report released.csv");
    let done = place.run(&send).exits(0);
    let expected = [1, 7, 8].map(|number| (machine(number), 1));
    assert_eq!(
        released(&place),
        BTreeMap::from(expected),
        "{}",
        done.told()
    );
    let said = outcomes(&place, "released.csv");
    assert_eq!(
        said,
        [
            "released",
            "skipped",
            "skipped",
            "already_released",
            "skipped",
            "skipped",
            "released",
            "released"
        ]
    );
    let reasons = place.column("released.csv", "reason");
    assert!(reasons[1].starts_with("isolated earlier by ana, not released since: "));
    assert!(
        reasons[2].starts_with("isolated again by ana: "),
        "{}",
        reasons[2]
    );
    assert!(reasons[4].contains("excluded by"), "{}", reasons[4]);
    // Nothing of the plan is left for a second time.
    place.run(&send);
    assert_eq!(released(&place).len(), 3);
    let runs = place.runs();
    assert_eq!(runs[0]["operation"], "release");
    let listed = place.run("runs").exits(0).stdout;
    assert!(listed.contains(" · 3 released · "), "{listed}");
}

#[test]
fn machines_that_somebody_else_isolated_too_need_no_release() {
    let place = Place::with(|settings| settings.releases = SandboxRelease::default());
    let sandbox = place.sandbox();
    for number in 1..=5 {
        sandbox.add(action(number, number, "Isolate", "soc-bot", 60));
    }
    let ana = "ana@contoso.example";
    sandbox.add(action(OTHERS + 2, 2, "Isolate", ana, 90));
    sandbox.add(action(OTHERS + 3, 3, "Isolate", ana, 5));
    // That was over before the wave.
    sandbox.add(action(OTHERS + 4, 4, "Isolate", ana, 90));
    sandbox.add(action(OTHERS + 5, 4, "Unisolate", ana, 80));
    // The wave hit it twice.
    sandbox.add(action(OTHERS + 6, 5, "Isolate", "soc-bot", 55));
    place.write_ids("wave.txt", [1, 2, 3, 4, 5, OTHERS + 6]);
    let found = "run wave.txt --yes --report found.csv --follow-up machines.csv";
    let said = place.run(found).exits(3).stdout;
    assert!(
        said.starts_with("3 machines are isolated now and need release\n"),
        "{said}"
    );
    let lines = on_one_line(&said);
    for kept in [
        "kept: 1 machine isolated earlier by ana@contoso.example, not released since: ws-002",
        "kept: 1 machine isolated again by ana@contoso.example: ws-003",
        "note: isolations before ",
    ] {
        assert!(lines.contains(kept), "{said}");
    }
    let needs = ["unisolate", "keep", "keep", "unisolate", "unisolate"];
    assert_eq!(place.column("machines.csv", "follow_up"), needs);
    assert_eq!(place.column("machines.csv", "call")[1], "");
    let since = place.column("machines.csv", "since");
    let before = "isolated earlier by ana@contoso.example, not released since: ";
    assert!(since[1].starts_with(before), "{since:?}");
    let found = place.column("found.csv", "follow_up");
    assert_eq!(found[..5], needs);
    assert!(place.column("found.csv", "reason")[1].contains(before));
    // A list that is written later says the same.
    let run = place.run_id();
    place
        .run(&format!("report {run} --follow-up later.csv"))
        .exits(0);
    assert_eq!(place.column("later.csv", "follow_up"), needs);
    assert_eq!(place.column("later.csv", "since")[1], since[1]);
    let listed = place.run("runs").exits(0).stdout;
    assert!(listed.contains("machines that need work: 3\n"), "{listed}");
    // Its plan names them nevertheless, and says why they are left out.
    let plan = format!("release {run} --dry-run --format json");
    let plan: serde_json::Value = serde_json::from_str(&place.run(&plan).exits(0).stdout).unwrap();
    assert_eq!((&plan["send"], &plan["rows"]), (&3.into(), &5.into()));
}

/// A text as one line, however it was wrapped.
fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_release_says_what_stays_isolated_and_why() {
    let place = Place::with(|settings| settings.releases = SandboxRelease::default());
    let sandbox = place.sandbox();
    for number in 1..=9 {
        sandbox.add(action(number, number, "Isolate", "soc-bot", 60));
    }
    place.write_ids("wave.txt", 1..=9);
    place.write("keep.txt", "ws-009\n");
    place
        .run("run wave.txt --yes --exclude-from keep.txt")
        .exits(3);
    let run = place.run_id();
    for number in 1..=4 {
        sandbox.add(action(OTHERS + number, number, "Isolate", "ana", 90));
    }
    sandbox.add(action(OTHERS + 5, 5, "Unisolate", "bob", 5));
    sandbox.add(action(OTHERS + 6, 6, "Unisolate", "bob", 4));
    // The run had excluded that machine already, so it's no row of the release.
    place.write("more.txt", "ws-009\nws-007\n");
    let plan = format!("release {run} --exclude-from more.txt --quota 50/1m --dry-run");
    let plan = place.run(&plan).exits(0);
    let text = on_one_line(&plan.stdout);
    for line in [
        "requestor isolated (UTC) machines",
        "will release isolated soc-bot",
        "isolated earlier by ana, not released since: ws-001.contoso.example, ws-002.contoso.example, \
         ws-003.contoso.example and 1 more",
        "released by bob: ws-005.contoso.example, ws-006.contoso.example",
        "excluded by the exclusion files: ws-007.contoso.example",
    ] {
        assert!(text.contains(line), "{line}: {}", plan.stdout);
    }
    assert!(!text.contains("Succeeded") && !text.contains("matches nothing"));
    let id = plan.stdout.split("plan ").nth(1).unwrap();
    let id = id.split_whitespace().next().unwrap();
    let done = place
        .run(&format!("release {run} --yes --plan {id}"))
        .exits(0);
    let said = on_one_line(&done.stdout);
    assert!(
        said.starts_with("5 machines stay isolated or restricted on purpose"),
        "{}",
        done.stdout
    );
    for line in [
        "1 machine excluded by the exclusion files: ws-007.contoso.example",
        "4 machines isolated earlier by ana, not released since: ws-001.contoso.example, ",
        "already released 2 had already been released",
        &format!("release {run} --dry-run"),
    ] {
        assert!(said.contains(line), "{line}: {}", done.stdout);
    }
    assert!(!said.contains("matches nothing"), "{}", done.stdout);
    // It was asked for in the plan, and isn't repeated in the command.
    assert!(
        plan.stderr.contains("with these settings"),
        "{}",
        plan.stderr
    );
    let again = place.run(&format!("release {run} --dry-run")).exits(0);
    let by_us = on_one_line(&again.stdout);
    assert!(!by_us.contains("somebody else"), "{}", again.stdout);
}

#[test]
fn a_plan_is_shown_again_and_a_short_id_means_the_run_that_found_the_machines() {
    let (place, run) = wave(2, "", Latency::NONE);
    let plan = place
        .run(&format!("release {run} --dry-run --format json"))
        .exits(0);
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
    let id = plan["plan"].as_str().unwrap();
    let planned = place.run_id();
    let shown = place.run(&format!("runs show {planned}")).exits(0).stdout;
    let text = on_one_line(&shown);
    for part in [
        format!("2 machines to release · plan {id}"),
        "will release isolated soc-bot".to_owned(),
        "ws-001.contoso.example, ws-002.contoso.example".to_owned(),
        format!("mde-cancel release {run} --yes --plan {id}"),
    ] {
        assert!(text.contains(&part), "{part}: {shown}");
    }
    assert!(!text.contains("resume"), "{shown}");
    let shown = place
        .run(&format!("runs show {planned} --format json"))
        .exits(0);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["plan"], id);
    // Both ids begin with the time.
    let short = &run[..6];
    assert!(planned.starts_with(short));
    let refused = place.run(&format!("runs show {short}")).exits(2).stderr;
    for part in [
        format!("{run}: a run"),
        format!("{planned}: a release plan"),
    ] {
        assert!(refused.contains(&part), "{part}: {refused}");
    }
    place.run(&format!("release {short} --dry-run")).exits(0);
    // The plan is no unfinished run.
    let refused = place.run("resume").exits(2).stderr;
    assert!(refused.contains("is a plan"), "{refused}");
}

#[test]
fn a_release_of_several_requestors_machines_requires_requestor() {
    let (place, run) = wave(2, "", Latency::NONE);
    place.sandbox().add(action(3, 3, "Isolate", "ana", 60));
    place.write_ids("wave.txt", 1..=3);
    place.run("run wave.txt --yes").exits(3);
    let both = place.run_id();
    let refused = place.run(&format!("release {both} --dry-run")).exits(2);
    assert!(
        refused.stderr.contains("soc-bot (2), ana (1)"),
        "{}",
        refused.stderr
    );
    let plan = format!("release {both} --dry-run --requestor soc-bot --format json");
    let plan = place.run(&plan).exits(0);
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
    assert_eq!(plan["send"], 2);
    let listed = place.run("runs").exits(0).stdout;
    assert!(listed.contains(" a plan, not sent\n"), "{listed}");
    // Without a way to ask, nothing is sent.
    place.run(&format!("release {run}")).exits(2);
    assert!(released(&place).is_empty());
}

#[test]
fn killed_at_random_moments_no_machine_is_released_twice() {
    const MACHINES: usize = 60;
    let latency = Latency::between(Duration::from_millis(5), Duration::from_millis(40));
    let faults =
        "applied-reset@on=release,p=0.1;503@on=release,p=0.05;applied-502@on=release,p=0.05";
    let (place, run) = wave(MACHINES, faults, latency);
    place
        .sandbox()
        .add(action(OTHERS + 7, 7, "Isolate", "ana", 90));
    place.write("keep.txt", "ws-009\n");
    let plan = format!("release {run} --exclude-from keep.txt --dry-run --format json");
    let plan = place.run(&plan).exits(0);
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
    let id = plan["plan"].as_str().unwrap();
    let planned = place.run_id();
    let mut dice = SmallRng::seed_from_u64(7);
    let first = format!("release {run} --yes --plan {id} --progress never");
    let again = format!("resume {planned} --yes --progress never");
    for turn in 0..6 {
        // The first command again would make a new plan, and so another run.
        let command = if turn == 0 { &first } else { &again };
        let child = start(&mut place.command(command));
        std::thread::park_timeout(Duration::from_millis(dice.random_range(60..500)));
        kill(child);
    }
    // Machines whose release was in flight at a kill are checked again after minutes. This doesn't wait for them.
    let rest = format!("{again} --stop-after 5s");
    if place.run(&rest).code == Some(2) {
        place.run(&format!("{first} --stop-after 5s"));
    }
    let releases = released(&place);
    assert!(releases.values().all(|&count| count == 1), "{releases:?}");
    assert!(releases.len() > MACHINES / 2, "{}", releases.len());
    for kept in [7, 9] {
        assert!(!releases.contains_key(&machine(kept)));
    }
}

#[test]
fn machines_of_another_tenant_are_not_released() {
    let place = Place::with(|settings| settings.releases = SandboxRelease::default());
    place.sandbox().add(action(1, 1, "Isolate", "soc-bot", 60));
    place.write_ids("wave.txt", 1..=1);
    let as_tenant = |tenant: &str, line: &str| {
        let token = place.sandbox().token(tenant, "app");
        done(place.command(line).env("MDE_CANCEL_TOKEN", token))
    };
    as_tenant("contoso", "run wave.txt --yes").exits(3);
    let run = place.run_id();
    let plan = format!("release {run} --dry-run --format json");
    let refused = as_tenant("fabrikam", &plan).exits(2).stderr;
    assert!(
        refused.contains("was started for tenant contoso"),
        "{refused}"
    );
    let planned: serde_json::Value =
        serde_json::from_str(&as_tenant("contoso", &plan).exits(0).stdout).unwrap();
    let id = planned["plan"].as_str().unwrap();
    let send = format!("release {run} --yes --plan {id}");
    let refused = as_tenant("fabrikam", &send).exits(2).stderr;
    assert!(refused.contains("tenant contoso"), "{refused}");
    assert!(released(&place).is_empty());
    as_tenant("contoso", &send).exits(0);
    assert_eq!(released(&place).len(), 1);
}
