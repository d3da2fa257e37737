//! The state file in a temporary folder: ledger, journal, and the file itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use jiff::Timestamp;
use mde_cancel::model::{
    ActionId, BootId, Destination, LaneId, Moment, Outcome, RowContext, RowNumber, Scope,
    Settlement, Source, Uptime,
};
use mde_cancel::quota::{Window, Windows};
use mde_cancel::store::{
    AttemptReply, CallId, InputProgress, LoadFrom, NewRow, NewRun, Process, Record, RowPhase,
    RunKey, ScopeKey, SlotAnswer, SlotPurpose, SlotRequest, Store, StoreError, StoreOptions,
};
use uuid::Uuid;

mod clocks;
mod conflicts;
mod fairness;
mod file;
mod journal;
mod ledger;
mod runs;

/// Milliseconds after the tests' own boot.
pub(crate) fn at(millis: i64) -> Moment {
    Moment {
        uptime: Uptime::from_nanos(millis * 1_000_000),
        wall: Timestamp::from_millisecond(1_770_000_000_000 + millis).unwrap(),
    }
}

pub(crate) fn process(boot: &str) -> Process {
    Process {
        id: Uuid::new_v4(),
        pid: 1,
        host: "jump-host".to_owned(),
        boot: BootId::new(boot),
    }
}

/// A folder in memory if the system has one, for tests that commit thousands of times and test nothing of the disk.
fn folder_in_memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    folder.unwrap()
}

fn opened() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    (dir, store)
}

fn opened_with_scope() -> (tempfile::TempDir, Store, ScopeKey) {
    let (dir, store) = opened();
    let key = scope(&store);
    (dir, store, key)
}

fn open(dir: &Path) -> Store {
    Store::open(dir, process("boot"), at(0)).unwrap()
}

/// Opens a store whose `k`-th commit fails. Dropping it afterwards leaves the folder as a crash would.
fn open_failing_at(dir: &Path, k: u64) -> Store {
    let options = StoreOptions {
        fail_at_commit: Some(k),
        ..StoreOptions::default()
    };
    Store::open_with(dir, process("boot"), at(0), options).unwrap()
}

pub(crate) fn windows(texts: &[&str]) -> Arc<Windows> {
    let windows = texts.iter().map(|text| Window::parse(text).unwrap());
    Arc::new(Windows::new(windows.collect()))
}

fn scope(store: &Store) -> ScopeKey {
    scope_at(store, at(0)).unwrap()
}

fn scope_at(store: &Store, now: Moment) -> Result<ScopeKey, StoreError> {
    let name = Scope {
        cloud: "commercial".to_owned(),
        tenant: "contoso".to_owned(),
        app: "-".to_owned(),
        destination: Destination::Cancel,
    };
    block_on(store.scope(&name, now)).map(|scope| scope.key)
}

pub(crate) fn new_run(number: u128) -> NewRun {
    crate::support::new_run(number, at(i64::try_from(number).unwrap()).wall)
}

pub(crate) fn id(number: u32) -> ActionId {
    let mut bytes = [7; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    ActionId::from_bytes(bytes).unwrap()
}

pub(crate) fn row(number: u32) -> NewRow {
    NewRow {
        number: RowNumber(number),
        lane: LaneId(0),
        source: Source {
            file: "ids.csv".into(),
            line: u64::from(number) + 1,
        },
        id: Ok(id(number)),
        context: RowContext::default(),
        settlement: None,
    }
}

pub(crate) fn mark(rows_read: u64) -> InputProgress {
    InputProgress {
        rows_read,
        ..InputProgress::default()
    }
}

/// Starts a run of `rows` rows.
fn run_of(store: &Store, rows: u32) -> RunKey {
    let run = block_on(store.create_run(new_run(1))).unwrap();
    let rows: Vec<_> = (1..=rows).map(row).collect();
    let mark = mark(rows.len() as u64);
    block_on(store.append_rows(run, rows, mark)).unwrap();
    run
}

pub(crate) fn read_take(scope: ScopeKey, windows: &Arc<Windows>, now: Moment) -> SlotRequest {
    SlotRequest {
        scope,
        windows: Arc::clone(windows),
        now,
        purpose: SlotPurpose::Read,
    }
}

pub(crate) fn cancel_take(
    scope: ScopeKey,
    (run, row, number): (RunKey, u32, u32),
    now: Moment,
) -> SlotRequest {
    SlotRequest {
        scope,
        windows: Arc::new(Windows::none()),
        now,
        purpose: SlotPurpose::Send {
            run,
            row: RowNumber(row),
            number,
            comment: "stop".into(),
        },
    }
}

fn take(store: &Store, take: SlotRequest) -> SlotAnswer {
    block_on(store.take(take)).unwrap()
}

pub(crate) fn call(taken: SlotAnswer) -> CallId {
    match taken {
        SlotAnswer::Go(call) => Some(call),
        SlotAnswer::NotBefore(_) | SlotAnswer::CoolingDown(_) | SlotAnswer::InProgress(_) => None,
    }
    .unwrap()
}

fn ended(call: CallId, at: Moment) -> Record {
    Record::Replied {
        call,
        at,
        ended: at.uptime,
        row: None,
    }
}

pub(crate) fn replied(
    call: CallId,
    (run, row, number): (RunKey, u32, u32),
    phase: RowPhase,
) -> Record {
    Record::Replied {
        call,
        at: at(20),
        ended: at(20).uptime,
        row: Some(AttemptReply {
            run,
            row: RowNumber(row),
            number,
            class: "throttled".to_owned(),
            http_status: Some(429),
            error_code: Some("TooManyRequests".to_owned()),
            correlation_id: None,
            phase,
        }),
    }
}

pub(crate) fn settled(run: RunKey, row: u32, outcome: Outcome) -> Record {
    Record::Settled {
        run,
        row: RowNumber(row),
        settlement: settlement(outcome),
    }
}

pub(crate) fn settlement(outcome: Outcome) -> Settlement {
    Settlement {
        outcome,
        reason: "because".to_owned(),
        record: None,
        follow_up: None,
        settled_at: at(30).wall,
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
