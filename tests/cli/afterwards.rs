//! What becomes of rows that a first answer does not settle, with the real binary against a sandbox in this process.

use std::time::Duration;

use jiff::Timestamp;
use mde_cancel::sandbox::{CancelEffect, Faults, MockAction, Status};

use crate::support::{Place, nth_id};

fn action(number: usize, kind: &str, status: Status) -> MockAction {
    let created = Timestamp::from_second(1_790_000_000).unwrap();
    let mut record = MockAction::new(nth_id(number), kind, status, created);
    record.machine_id = Some(format!("{number:040x}"));
    record
}

#[test]
fn accepted_cancels_end_as_their_records_do_or_stay_accepted_when_time_is_up() {
    let place = Place::with(|_| ());
    let soon = Duration::from_millis(100);
    let never = Duration::from_hours(1);
    for (number, kind, effect) in [
        (1, "Isolate", CancelEffect::Late(soon)),
        (2, "Isolate", CancelEffect::TooLate(soon)),
        (3, "Isolate", CancelEffect::Late(never)),
        (4, "LiveResponse", CancelEffect::DoneAnyway),
    ] {
        let mut record = action(number, kind, Status::Pending);
        record.on_cancel = Some(effect);
        place.sandbox().add(record);
    }
    place.write_ids("ids.txt", 1..=4);
    let done = place.run("run ids.txt --yes --verify-timeout 1s --report r.csv");
    let told = done.exits(3).told();
    let headline = "1 machine is isolated now and needs release\n";
    assert!(told.starts_with(headline), "{told}");
    let ends = ["cancelled", "too_late", "accepted", "cancelled"];
    let reasons = [
        "",
        "the cancel was accepted, but the action ended as Succeeded",
        "the service took the cancel; its record still said Pending",
        "the record says Cancelled, but its live-response command had completed",
    ];
    let statuses = ["Cancelled", "Succeeded", "Pending", "Cancelled"];
    assert_eq!(place.column("r.csv", "outcome"), ends);
    assert_eq!(place.column("r.csv", "reason"), reasons);
    assert_eq!(place.column("r.csv", "action_status"), statuses);
    assert_eq!(
        place.column("r.csv", "follow_up"),
        ["", "unisolate", "", ""]
    );
    assert_eq!(place.cancels(), 4);
}

#[test]
fn a_run_that_may_not_read_names_the_command_that_sends_without_and_it_works() {
    let place = Place::with(|settings| {
        settings.faults = Faults::parse("403@on=list;403@on=get").unwrap();
    });
    place.live.isolates(1..=3, Status::Pending);
    place.write_ids("ids.txt", 1..=3);
    let url = &place.live.url;
    let words = format!("run ids.txt --yes --report r.csv --api-url {url}");
    let told = place.run(&words).exits(5).told();
    assert_eq!(place.cancels(), 0);
    assert!(told.contains("grant Machine.Read.All"), "{told}");
    let mut named = told
        .lines()
        .filter_map(|line| line.strip_prefix("    mde-cancel "));
    let named = named.find(|line| line.contains("--no-precheck")).unwrap();
    place.run(named).exits(0);
    assert_eq!(place.cancels(), 3);
    assert_eq!(place.column("r.csv", "outcome"), ["cancelled"; 3]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_ends_the_look_at_what_became_of_the_machines() {
    use crate::support::{finish, start, wait_for};
    use mde_cancel::sandbox::CallKind;
    let place = Place::with(|settings| {
        settings.faults = Faults::parse("hang@on=list,after=1").unwrap();
    });
    for number in 1..=2 {
        let ended = action(number, "Isolate", Status::Succeeded);
        place.sandbox().add(ended);
    }
    place.write_ids("ids.txt", 1..=2);
    let words = "run ids.txt --yes --follow-up todo.csv --report r.csv";
    let child = start(&mut place.command(words));
    wait_for(|| place.live.calls(CallKind::List) >= 2);
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    finish(child).exits(3);
    let left = place.read("todo.csv");
    let why = "not checked: stopped by SIGTERM before the answer came";
    assert!(left.contains(why), "{left}");
}
