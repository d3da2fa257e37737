//! Any state file: opening it, listing its runs, reading their reports and loading their queues ends with an answer or
//! an error.
//!
//! The first byte selects the file: the rest of the bytes, or a good file of an older version whose bytes or cells the
//! rest changes. Cells also change by `UPDATE`, because a changed byte seldom reaches a table.
#![no_main]

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use mde_cancel::model::{BootId, LaneId, Moment, RowNumber, Uptime};
use mde_cancel::store::{LoadFrom, Process, Reader, RunRecord, Store, StoreError, state_file};
use rusqlite::types::Value;

const SOUND: [&[u8]; 4] = [
    include_bytes!("../../tests/data/state-v1.db"),
    include_bytes!("../../tests/data/state-v2.db"),
    include_bytes!("../../tests/data/state-v3.db"),
    include_bytes!("../../tests/data/state-v4.db"),
];

fn process() -> Process {
    Process {
        id: uuid::Uuid::new_v4(),
        pid: 1,
        host: "host".to_owned(),
        boot: BootId::new("boot"),
    }
}

fn now() -> Moment {
    Moment {
        uptime: Uptime::from_nanos(1_000_000_000),
        wall: Timestamp::from_second(1_795_430_000).expect("a time"),
    }
}

fn change_bytes(file: &mut [u8], changes: &[u8]) {
    for change in changes.as_chunks::<4>().0 {
        let [high, middle, low, byte] = *change;
        let at = u32::from_be_bytes([0, high, middle, low]) as usize % file.len();
        file[at] = byte;
    }
}

fn value(kind: u8, bytes: &[u8]) -> Value {
    let text = || String::from_utf8_lossy(bytes).into_owned();
    match kind % 6 {
        0 => Value::Null,
        1 => Value::Integer(bytes.iter().fold(0, |sum, byte| (sum << 8) | i64::from(*byte))),
        2 => Value::Integer(i64::MIN),
        3 => Value::Real(f64::from_le_bytes([bytes.first().copied().unwrap_or(0); 8])),
        4 => Value::Blob(bytes.to_vec()),
        _ => Value::Text(text()),
    }
}

/// Changes a cell for every eight bytes; a value that the table refuses changes nothing.
fn change_cells(file: &Path, changes: &[u8]) -> rusqlite::Result<()> {
    let conn = rusqlite::Connection::open(file)?;
    conn.execute_batch("PRAGMA synchronous = off; PRAGMA ignore_check_constraints = on;")?;
    let mut columns = conn.prepare(
        "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'",
    )?;
    let columns: Vec<(String, String)> = columns
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for change in changes.as_chunks::<8>().0 {
        let [column, row, kind, bytes @ ..] = *change;
        let (table, column) = &columns[usize::from(column) % columns.len()];
        let sql = format!(
            "UPDATE \"{table}\" SET \"{column}\" = ?1 WHERE \"{column}\" IS
                (SELECT \"{column}\" FROM \"{table}\" LIMIT 1 OFFSET ?2)"
        );
        let cell = value(kind, &bytes);
        drop(conn.execute(&sql, rusqlite::params![cell, row % 16]));
    }
    Ok(())
}

fn read(reader: &Reader, run: &RunRecord) -> Result<(), StoreError> {
    let key = run.key;
    reader.outcome_counts(key)?;
    reader.lane_counts(key)?;
    reader.skip_reasons(key)?;
    reader.follow_up_counts(key)?;
    reader.type_counts(key)?;
    reader.answer_counts(key)?;
    reader.follow_up_rows(run, 10)?;
    reader.excluded_rows(run, 10)?;
    reader.known_ids(key, |_, _, _| {})?;
    if let Some(span) = reader.sending_span(key)? {
        reader.sendings(key, span.0, span.1, |_| {})?;
    }
    Ok(())
}

fn read_all(dir: &Path) -> Result<(), StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let store = Store::open(dir, process(), now())?;
    runtime.block_on(store.scopes())?;
    for run in Reader::open(dir)?.runs()? {
        drop(read(&store.reader()?, &run));
        let Ok(hold) = runtime.block_on(store.hold_run(run.key, now().wall)) else {
            continue;
        };
        let from = LoadFrom::After(RowNumber(0));
        drop(runtime.block_on(store.load_rows(run.key, LaneId(0), from, 100)));
        drop(store.reader()?.report_rows(run.begun.id)?.collect::<Vec<_>>());
        drop(hold);
    }
    Ok(())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let path = state_file(dir.path());
    let mut file = SOUND[usize::from(kind >> 4) % SOUND.len()].to_vec();
    match kind % 3 {
        0 => file = bytes.to_vec(),
        1 => change_bytes(&mut file, bytes),
        _ => {}
    }
    fs::write(&path, file).expect("the folder takes it");
    if kind % 3 == 2 {
        change_cells(&path, bytes).expect("a sound file is changed");
    }
    drop(read_all(dir.path()));
});
