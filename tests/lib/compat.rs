//! Frozen state files of older schema versions: each must open and report what it reported when it was written.
//!
//! Each file in `tests/data` was written by [`story`] in the version of its name, and is never written again.

use std::path::Path;

use futures::executor::block_on;
use mde_cancel::model::{Destination, LaneId, MachineAction, Outcome, ReportRow, RowNumber, Scope};
use mde_cancel::store::{
    InputProgress, LoadFrom, NewRow, Process, Reader, Record, RowPhase, RunState, RunStatus,
    SlotAnswer, Store, StoreOptions, state_file,
};
use uuid::Uuid;

use crate::store::{
    at, call, cancel_take, mark, new_run, read_take, replied, row, settled, settlement, windows,
};

fn cancels() -> Scope {
    Scope {
        cloud: "commercial".to_owned(),
        tenant: "contoso".to_owned(),
        app: "-".to_owned(),
        destination: Destination::Cancel,
    }
}

fn reads() -> Scope {
    Scope {
        destination: Destination::Get,
        ..cancels()
    }
}

fn someone(number: u128) -> Process {
    Process {
        id: Uuid::from_u128(number),
        ..crate::store::process("boot")
    }
}

/// Writes everything that a state file of any version can contain: a finished run, and one whose process died with rows
/// in every phase, a call in flight, a cooldown and a limit that the service named.
fn story(dir: &Path) {
    let store = Store::open(dir, someone(1), at(0)).unwrap();
    let run = block_on(store.create_run(new_run(1))).unwrap();
    let end = InputProgress {
        complete: true,
        ..mark(2)
    };
    block_on(store.append_rows(run, vec![row(1), row(2)], end)).unwrap();
    let finished = Record::RunState {
        run,
        state: RunState::Finished,
        exit: Some(0),
        reason: None,
        at: at(5).wall,
    };
    let last = [1, 2].map(|row| settled(run, row, Outcome::Cancelled));
    block_on(store.write([last.to_vec(), vec![finished]].concat())).unwrap();
    drop(store);

    // The last commit fails, so the process ends as in a crash.
    let options = StoreOptions {
        fail_at_commit: Some(15),
        ..StoreOptions::default()
    };
    let store = Store::open_with(dir, someone(2), at(10), options).unwrap();
    let cancel = block_on(store.scope(&cancels(), at(10))).unwrap().key;
    let get = block_on(store.scope(&reads(), at(10))).unwrap().key;
    let run = block_on(store.create_run(new_run(2))).unwrap();
    let bad = NewRow {
        id: Err("=cmd()".to_owned()),
        settlement: Some(settlement(Outcome::Invalid)),
        ..row(7)
    };
    let twin = NewRow {
        id: row(1).id,
        settlement: Some(settlement(Outcome::Duplicate)),
        ..row(8)
    };
    let guarded = NewRow {
        settlement: Some(settlement(Outcome::Skipped)),
        ..row(9)
    };
    let rows = (1..=6).map(row).chain([bad, twin, guarded]).collect();
    let mark = InputProgress {
        position: Some("{\"offset\":512}".to_owned()),
        ..mark(9)
    };
    block_on(store.append_rows(run, rows, mark)).unwrap();
    // Row 1 stays fresh, row 2 in flight.
    for (row, phase) in [
        (3, RowPhase::Again),
        (4, RowPhase::Unknown),
        (5, RowPhase::Accepted),
        (6, RowPhase::Accepted),
    ] {
        let sent = call(block_on(store.take(cancel_take(cancel, (run, row, 1), at(15)))).unwrap());
        block_on(store.write(vec![replied(sent, (run, row, 1), phase)])).unwrap();
    }
    block_on(store.take(cancel_take(cancel, (run, 2, 1), at(16)))).unwrap();
    let records = vec![
        Record::Noted {
            run,
            row: RowNumber(6),
            phase: RowPhase::Accepted,
            record: Some(MachineAction {
                requestor: Some("ana".to_owned()),
                ..MachineAction::bare(row(6).id.unwrap())
            }),
            status_before: None,
            checked_at: Some(at(17).wall),
        },
        settled(run, 6, Outcome::Cancelled),
        Record::Cooldown {
            scope: cancel,
            until: at(90_000).uptime,
            wall: at(90_000).wall,
            cause: "429".to_owned(),
        },
        Record::Limit {
            scope: get,
            window: "45/1m".parse().unwrap(),
            at: at(18).wall,
        },
    ];
    block_on(store.write(records)).unwrap();
    block_on(store.scope(&cancels(), at(20))).unwrap_err();
}

/// The rows of both runs as every version must report them: id, outcome, reason, attempts.
const TOLD: [(&str, &str, &str, u32); 11] = [
    ("00000001", "not_attempted", "its turn has not come yet", 0),
    ("00000002", "unknown", "not read again yet", 1),
    (
        "00000003",
        "not_attempted",
        "sent once, last answer 429 throttled; to be sent again",
        1,
    ),
    ("00000004", "unknown", "not read again yet", 1),
    ("00000005", "accepted", "not verified yet", 1),
    ("00000006", "cancelled", "because", 1),
    ("=cmd()", "invalid", "because", 0),
    ("00000001", "duplicate", "because", 0),
    ("00000009", "skipped", "because", 0),
    ("00000001", "cancelled", "because", 0),
    ("00000002", "cancelled", "because", 0),
];

fn assert_tells_the_story(dir: &Path) {
    let runs = Reader::open(dir).unwrap().runs().unwrap();
    let known: Vec<_> = runs
        .iter()
        .map(|run| (run.begun.clone(), run.standing()))
        .collect();
    assert_eq!(
        known,
        [
            (new_run(2), RunStatus::Crashed),
            (new_run(1), RunStatus::Finished)
        ]
    );
    assert_eq!(runs[0].intake.position.as_deref(), Some("{\"offset\":512}"));
    assert_eq!(
        (runs[0].intake.rows_read, runs[0].intake.complete),
        (9, false)
    );
    assert_eq!(runs[1].exit_code, Some(0));
    let rows: Vec<ReportRow> = runs
        .iter()
        .flat_map(|run| {
            Reader::open(dir)
                .unwrap()
                .report_rows(run.begun.id)
                .unwrap()
        })
        .collect::<Result<_, _>>()
        .unwrap();
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            let id = row.action_id.split('-').next().unwrap();
            (id, row.outcome.as_str(), row.reason.as_str(), row.attempts)
        })
        .collect();
    assert_eq!(told, TOLD);
    assert_eq!(rows[5].requestor.as_deref(), Some("ana"));
    assert_eq!(rows[2].error_code.as_deref(), Some("TooManyRequests"));
    assert_eq!(rows[2].source, "ids.csv:4");
    assert_eq!(rows[2].first_sent_at, Some(at(15).wall));
}

/// Asserts that the ledger continues where it was, and that the run can be resumed.
fn assert_goes_on(dir: &Path) {
    let store = Store::open(dir, someone(3), at(50_000)).unwrap();
    let cancel = block_on(store.scope(&cancels(), at(50_000))).unwrap().key;
    let allowed = windows(&["5/1m"]);
    let ask = |millis| block_on(store.take(read_take(cancel, &allowed, at(millis)))).unwrap();
    assert_eq!(ask(50_000), SlotAnswer::CoolingDown(at(90_000).uptime));
    // The call in flight ended when this process found the dead one, and holds its slot for the grace. The four others
    // have released theirs.
    let used = block_on(store.usage(cancel, allowed.clone(), at(90_000))).unwrap();
    assert_eq!(used.windows[0].taken, 1);
    call(ask(90_000));
    let get = block_on(store.scope(&reads(), at(90_000))).unwrap();
    assert_eq!(get.adopted, *windows(&["45/1m"]));

    let run = store.reader().unwrap().run(new_run(2).id).unwrap().unwrap();
    let hold = block_on(store.hold_run(run.key, at(91_000).wall)).unwrap();
    block_on(store.reopen_run(run.key, at(91_000).wall)).unwrap();
    let left =
        block_on(store.load_rows(run.key, LaneId(0), LoadFrom::After(RowNumber(0)), 100)).unwrap();
    let phases: Vec<_> = left.iter().map(|row| (row.number.0, row.phase)).collect();
    assert_eq!(
        phases,
        [
            (1, RowPhase::Fresh),
            (2, RowPhase::Sent),
            (3, RowPhase::Again),
            (4, RowPhase::Unknown),
            (5, RowPhase::Accepted)
        ]
    );
    let sent =
        call(block_on(store.take(cancel_take(cancel, (run.key, 1, 1), at(92_000)))).unwrap());
    let reply = replied(sent, (run.key, 1, 1), RowPhase::Accepted);
    block_on(store.write(vec![reply, settled(run.key, 1, Outcome::Cancelled)])).unwrap();
    drop(hold);
}

fn thaw(version: &str) -> tempfile::TempDir {
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(format!("state-{version}.db"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(frozen, state_file(dir.path())).unwrap();
    dir
}

#[test]
fn a_file_of_each_version_opens_and_goes_on() {
    for version in ["v1", "v2", "v3", "v4", "v7"] {
        let dir = thaw(version);
        assert_tells_the_story(dir.path());
        assert_goes_on(dir.path());
    }
}

#[test]
fn a_file_of_version_1_is_brought_up_to_date_by_whoever_writes_first() {
    let dir = thaw("v1");
    assert_goes_on(dir.path());
    assert_eq!(Reader::open(dir.path()).unwrap().runs().unwrap().len(), 2);
}

// To freeze a new version, empty the log of this test's state file into it.
#[test]
fn a_file_written_now_tells_the_same() {
    let dir = tempfile::tempdir().unwrap();
    story(dir.path());
    assert_tells_the_story(dir.path());
    assert_goes_on(dir.path());
}
