//! What a run leaves to be done on machines, with the real binary against a sandbox in this process.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mde_cancel::sandbox::{MockAction, Sandbox, SandboxSettings, Status};

use crate::support::{nth_id, program};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

fn machine(number: usize) -> String {
    format!("{number:040x}")
}

fn action(number: usize, kind: &str, status: Status, on: usize, second: i64) -> MockAction {
    let mut record = MockAction::new(nth_id(number), kind, status, at(second));
    record.machine_id = Some(machine(on));
    "somebody".clone_into(&mut record.requestor);
    record
}

#[test]
fn machines_released_since_are_cleared_and_the_others_stand_once_with_what_became_of_them() {
    let sandbox = Sandbox::new(SandboxSettings::default());
    for record in [
        // Released since: nothing left to do.
        action(1, "Isolate", Status::Succeeded, 1, 0),
        action(101, "Unisolate", Status::Succeeded, 1, 60),
        // A release is on its way.
        action(2, "Isolate", Status::Succeeded, 2, 0),
        action(102, "Unisolate", Status::Pending, 2, 60),
        // Released, and isolated again.
        action(3, "Isolate", Status::Succeeded, 3, 0),
        action(103, "Unisolate", Status::Succeeded, 3, 60),
        action(203, "Isolate", Status::Succeeded, 3, 120),
        // Two rows, one machine; the release is older than both.
        action(4, "Isolate", Status::Succeeded, 4, 0),
        action(5, "RestrictCodeExecution", Status::Succeeded, 4, 0),
        action(104, "Unisolate", Status::Succeeded, 4, -60),
    ] {
        sandbox.add(record);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(mde_cancel::sandbox::serve(
        listener,
        sandbox.clone(),
        std::future::pending::<()>(),
    ));
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let ids: Vec<_> = (1..=5).map(|number| nth_id(number).to_string()).collect();
    std::fs::write(here.join("ids.txt"), ids.join("\n")).unwrap();
    let output = program(here)
        .args(["run", "ids.txt", "--yes", "--api-url"])
        .arg(&url)
        .args(["--report", "report.csv", "--follow-up", "todo.csv"])
        .env("MDE_CANCEL_TOKEN", "any")
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(3), "{stdout}{stderr}");
    assert!(
        stdout.starts_with("3 machines still need work\n  3 machines are isolated now and need release\n  1 machine is restricted now"),
        "{stdout}"
    );
    let mut rows = csv::Reader::from_path(here.join("todo.csv")).unwrap();
    let since: BTreeMap<String, String> = rows
        .records()
        .map(Result::unwrap)
        .map(|row| (row[0].to_owned(), format!("{} | {}", &row[2], &row[6])))
        .collect();
    let expected = [
        (
            2,
            format!(
                "unisolate | release requested at {:.0}, not done yet",
                at(60)
            ),
        ),
        (
            3,
            format!("unisolate | isolated again at {:.0} by somebody", at(120)),
        ),
        (4, "unisolate; unrestrict | no later action".to_owned()),
    ];
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .map(|(number, text)| (machine(number), text))
        .collect();
    assert_eq!(since, expected);
    let report = std::fs::read_to_string(here.join("report.csv")).unwrap();
    let first = report.lines().nth(1).unwrap();
    assert!(
        first.contains("needs no work any more: released by an action of"),
        "{first}"
    );
    assert!(!first.contains(",unisolate,"), "{first}");
    // One read for the states, one list for all that came after.
    assert!(stdout.contains(" 2 calls"), "{stdout}");
}
