//! The state file: who may open it, what is refused, and what a failed commit leaves behind.

use std::fs;

use mde_cancel::store::{Reader, state_file};
use rusqlite::Connection;

use super::*;

fn refusal(dir: &Path) -> String {
    let before = fs::read(state_file(dir)).unwrap();
    let refused = Store::open(dir, process("boot"), at(0)).unwrap_err();
    let read = Reader::open(dir).unwrap_err();
    assert_eq!(refused.to_string(), read.to_string());
    assert_eq!(
        fs::read(state_file(dir)).unwrap(),
        before,
        "the file was touched"
    );
    let place = dir.display().to_string();
    refused
        .to_string()
        .replace(&place, "DIR")
        .replace('\\', "/")
}

/// Creates a state file and changes it with `sql`.
fn doctored(sql: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let conn = Connection::open(state_file(dir.path())).unwrap();
    conn.execute_batch(sql).unwrap();
    drop(conn);
    dir
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_left_as_it_is() {
    let dir = doctored("PRAGMA user_version = 9");
    assert_eq!(
        refusal(dir.path()),
        "state file DIR/state.db has schema version 9; this program reads up to 8"
    );
}

#[test]
fn what_is_no_state_file_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        state_file(dir.path()),
        "notes, not a database\n".repeat(400),
    )
    .unwrap();
    assert_eq!(refusal(dir.path()), "state file DIR/state.db is damaged");

    let dir = tempfile::tempdir().unwrap();
    let conn = Connection::open(state_file(dir.path())).unwrap();
    conn.execute_batch("CREATE TABLE songs (name TEXT)")
        .unwrap();
    drop(conn);
    assert_eq!(
        refusal(dir.path()),
        "DIR/state.db is the database of another program"
    );
}

#[test]
fn a_torn_page_is_damage_and_not_an_empty_state() {
    let (dir, store) = opened();
    run_of(&store, 2_000);
    drop(store);
    let path = state_file(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    // All but the first page, which holds the schema.
    bytes[4096..].fill(0xA5);
    fs::write(&path, bytes).unwrap();
    let found = Reader::open(dir.path()).and_then(|reader| reader.runs());
    assert!(
        matches!(found, Err(StoreError::Damaged { .. })),
        "{found:?}"
    );
    let opened = Store::open(dir.path(), process("boot"), at(0));
    assert!(
        matches!(opened, Err(StoreError::Damaged { .. })),
        "{opened:?}"
    );
}

#[test]
fn an_empty_file_is_a_state_that_was_never_written() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(state_file(dir.path()), "").unwrap();
    run_of(&open(dir.path()), 1);
    assert_eq!(Reader::open(dir.path()).unwrap().runs().unwrap().len(), 1);
}

/// Leaves a state file as a process does that dies while creating it: half written, with its rollback journal.
fn half_made(dir: &Path) {
    let other = tempfile::tempdir().unwrap();
    let file = other.path().join("state.db");
    let making = Connection::open(&file).unwrap();
    making
        .execute_batch(
            "PRAGMA cache_size = 1; BEGIN; CREATE TABLE t (a);
             INSERT INTO t SELECT zeroblob(4000) FROM json_each('[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]');",
        )
        .unwrap();
    // Copied in the middle, because nobody holds a lock on the copies.
    for name in ["state.db", "state.db-journal"] {
        std::fs::copy(other.path().join(name), dir.join(name)).unwrap();
    }
    assert!(std::fs::metadata(dir.join("state.db")).unwrap().len() > 0);
}

#[test]
fn a_half_created_file_is_created_again_by_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    half_made(dir.path());
    run_of(&open(dir.path()), 1);
    assert_eq!(Reader::open(dir.path()).unwrap().runs().unwrap().len(), 1);
    let dir = tempfile::tempdir().unwrap();
    half_made(dir.path());
    assert!(Reader::open(dir.path()).unwrap().runs().unwrap().is_empty());
}

#[test]
fn a_folder_that_cannot_be_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    fs::write(&path, "").unwrap();
    let refused = Store::open(&path, process("boot"), at(0)).unwrap_err();
    assert!(matches!(refused, StoreError::Folder { .. }), "{refused}");
    let missing = Reader::open(dir.path()).unwrap_err();
    assert!(matches!(missing, StoreError::Missing { .. }), "{missing}");
    assert!(!state_file(dir.path()).exists());
}

#[cfg(unix)]
#[test]
fn every_file_is_the_owners_alone() {
    use std::os::unix::fs::MetadataExt as _;
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("state");
    let store = open(&dir);
    run_of(&store, 1);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("locks")), 0o700);
    let files = ["state.db", "state.db-wal", "state.db-shm", "locks/opening"];
    assert_eq!(files.map(|file| mode(&dir.join(file))), [0o600; 4]);
}

#[test]
fn closing_the_store_checkpoints_the_wal_and_removes_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path()), open(dir.path())];
    run_of(&stores[0], 10);
    let [first, second] = stores;
    let clone = first.clone();
    drop(first);
    block_on(clone.create_run(new_run(2))).unwrap();
    drop(clone);
    drop(second);
    let locks: Vec<_> = fs::read_dir(dir.path().join("locks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(locks, ["opening"]);
    assert!(!dir.path().join("state.db-wal").exists());
}

#[test]
fn closing_the_store_checkpoints_the_wal_while_others_are_open() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = [open(dir.path()), open(dir.path())];
    run_of(&first, 10);
    let log = dir.path().join("state.db-wal");
    assert!(fs::metadata(&log).unwrap().len() > 0);
    drop(first);
    assert_eq!(fs::metadata(&log).unwrap().len(), 0);
    block_on(second.create_run(new_run(2))).unwrap();
}

#[cfg(unix)]
#[test]
fn a_file_that_is_removed_or_replaced_in_mid_run_ends_the_writing() {
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let (dir, store, key) = opened_with_scope();
        let run = run_of(&store, 2);
        let path = dir.path().join(name);
        let aside = dir.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        if name == "state.db-wal" {
            fs::copy(&aside, &path).unwrap();
        }
        let gone = block_on(store.take(cancel_take(key, (run, 1, 1), at(10)))).unwrap_err();
        let place = dir.path().display().to_string();
        assert_eq!(
            gone.to_string().replace(&place, "DIR"),
            "state file DIR/state.db was removed or replaced while it was in use",
            "{name}"
        );
        // A file that comes back later may not be the same.
        fs::rename(&aside, &path).unwrap();
        let still = block_on(store.create_run(new_run(2))).unwrap_err();
        assert!(matches!(still, StoreError::Replaced { .. }), "{still}");
        drop(store);
        let reader = Reader::open(dir.path()).unwrap();
        let rows: Vec<_> = reader.report_rows(new_run(1).id).unwrap().collect();
        assert_eq!(rows.len(), 2, "{name}");
        assert!(rows.iter().all(|row| row.as_ref().unwrap().attempts == 0));
    }
}

#[cfg(windows)]
#[test]
fn a_file_that_is_in_use_can_neither_be_removed_nor_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    run_of(&store, 2);
    let other = dir.path().join("other");
    fs::write(&other, "").unwrap();
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let path = dir.path().join(name);
        fs::remove_file(&path).unwrap_err();
        fs::rename(&path, dir.path().join("aside")).unwrap_err();
        fs::rename(&other, &path).unwrap_err();
    }
    block_on(store.create_run(new_run(2))).unwrap();
}

#[cfg(unix)]
#[test]
fn a_state_folder_that_others_can_enter_is_closed_to_them() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let dir = tempfile::tempdir().unwrap();
    let allow = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    allow(dir.path(), 0o755);
    run_of(&open(dir.path()), 1);
    assert_eq!(mode(dir.path()), 0o700, "an empty one");
    allow(dir.path(), 0o770);
    allow(&state_file(dir.path()), 0o664);
    drop(open(dir.path()));
    assert_eq!(mode(dir.path()), 0o700);
    assert_eq!(mode(&state_file(dir.path())), 0o600);
}

#[cfg(unix)]
#[test]
fn a_folder_that_others_can_enter_and_that_holds_other_things_is_refused_and_stays_as_it_is() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    for (mode, other) in [(0o755, Some("thesis.txt")), (0o1777, None)] {
        let dir = tempfile::tempdir().unwrap();
        if let Some(name) = other {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        let refused = Store::open(dir.path(), process("boot"), at(0)).unwrap_err();
        let place = dir.path().display().to_string();
        assert_eq!(
            refused
                .to_string()
                .replace(&place, "DIR")
                .replace('\\', "/"),
            format!("state folder DIR is open to other users (mode {mode:04o})")
        );
        assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o7777, mode);
        assert!(!dir.path().join("locks").exists());
    }
}

#[test]
fn one_process_id_opens_a_folder_once() {
    let dir = tempfile::tempdir().unwrap();
    let me = process("boot");
    let store = Store::open(dir.path(), me.clone(), at(0)).unwrap();
    let second = Store::open(dir.path(), me.clone(), at(0)).unwrap_err();
    assert!(matches!(second, StoreError::Held { .. }), "{second}");
    drop(store);
    Store::open(dir.path(), me, at(0)).unwrap();
}

/// Works through three rows. Returns how many steps succeeded before the first that failed.
fn steps_before_the_fault(store: &Store) -> usize {
    let mut done = 0;
    let mut work = || -> Result<(), StoreError> {
        let key = scope_at(store, at(0))?;
        done += 1;
        let run = block_on(store.create_run(new_run(1)))?;
        done += 1;
        block_on(store.append_rows(run, (1..=3).map(row).collect(), mark(3)))?;
        done += 1;
        for row in 1..=3 {
            let sent = call(block_on(store.take(cancel_take(
                key,
                (run, row, 1),
                at(10),
            )))?);
            done += 1;
            let reply = replied(sent, (run, row, 1), RowPhase::Accepted);
            block_on(store.write(vec![reply, settled(run, row, Outcome::Cancelled)]))?;
            done += 1;
        }
        Ok(())
    };
    let ended = work();
    assert_eq!(ended.is_ok(), done == 9, "{ended:?}");
    done
}

#[test]
fn whichever_commit_fails_nothing_later_is_acknowledged_and_nothing_earlier_is_lost() {
    for k in 1..=10_u64 {
        let dir = tempfile::tempdir().unwrap();
        let store = open_failing_at(dir.path(), k);
        let done = steps_before_the_fault(&store);
        assert_eq!(done as u64, k - 1, "commit {k}");
        if k < 10 {
            assert!(block_on(store.create_run(new_run(9))).is_err());
            assert!(block_on(store.write(Vec::new())).is_err());
            assert!(
                block_on(store.load_rows(RunKey(1), LaneId(0), LoadFrom::After(RowNumber(0)), 1))
                    .is_err()
            );
        }
        drop(store);
        let conn = Connection::open(state_file(dir.path())).unwrap();
        let count = |sql: &str| {
            let number: u32 = conn.query_row(sql, [], |row| row.get(0)).unwrap();
            number as usize
        };
        let expected = |first: usize| (0..3).filter(|nth| done > first + 2 * nth).count();
        assert_eq!(count("SELECT count(*) FROM scopes"), usize::from(done > 0));
        assert_eq!(count("SELECT count(*) FROM runs"), usize::from(done > 1));
        assert_eq!(
            count("SELECT count(*) FROM rows"),
            3 * usize::from(done > 2)
        );
        assert_eq!(count("SELECT count(*) FROM attempts"), expected(3));
        assert_eq!(
            count("SELECT coalesce(sum(attempts), 0) FROM rows"),
            expected(3)
        );
        assert_eq!(
            count("SELECT count(*) FROM rows WHERE outcome = 'cancelled'"),
            expected(4)
        );
        let in_flight = expected(3) - expected(4);
        assert_eq!(
            count("SELECT count(*) FROM calls WHERE ended_up IS NULL"),
            in_flight
        );
    }
}

#[test]
fn a_damaged_table_is_told_by_whoever_meets_it_and_ends_the_writing() {
    let (dir, store) = opened();
    let run = run_of(&store, 2_000);
    drop(store);
    let path = state_file(dir.path());
    let root: u32 = Connection::open(&path)
        .unwrap()
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'rows'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let root = root as usize;
    let mut bytes = fs::read(&path).unwrap();
    bytes[(root - 1) * 4096..root * 4096].fill(0xA5);
    fs::write(&path, bytes).unwrap();

    // Opening doesn't read every page, and the list of runs is intact.
    let store = open(dir.path());
    let reader = store.reader().unwrap();
    assert_eq!(reader.runs().unwrap().len(), 1);
    let rows = reader.report_rows(new_run(1).id).unwrap();
    let told: Vec<_> = rows.collect();
    let [Err(StoreError::Damaged { .. })] = told.as_slice() else {
        unreachable!("{told:?}")
    };
    let read =
        block_on(store.load_rows(run, LaneId(0), LoadFrom::After(RowNumber(0)), 10)).unwrap_err();
    assert!(matches!(read, StoreError::Damaged { .. }), "{read}");
    let written = block_on(store.write(vec![settled(run, 1, Outcome::Failed)])).unwrap_err();
    assert!(matches!(written, StoreError::Damaged { .. }), "{written}");
    assert!(block_on(store.create_run(new_run(2))).is_err());
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_is_refused_by_name_and_left_as_it_is() {
    use std::os::unix::fs::PermissionsExt as _;
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("state");
    fs::create_dir(&dir).unwrap();
    let allow = |mode| fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
    allow(0o500);
    let opened = Store::open(&dir, process("boot"), at(0));
    allow(0o700);
    match opened {
        Err(refused) => {
            let text = refused.to_string();
            let named = format!("state folder {}", dir.display());
            assert!(text.starts_with(&named), "{text}");
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        }
        // Modes don't bind root.
        Ok(_) => assert!(rustix::process::geteuid().is_root()),
    }
}

#[test]
fn reading_brings_an_older_file_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(state_file(dir.path()), "").unwrap();
    assert!(Reader::open(dir.path()).unwrap().runs().unwrap().is_empty());
    let version: i64 = Connection::open(state_file(dir.path()))
        .unwrap()
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(version, 8);
}
