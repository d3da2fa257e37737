//! Whole runs: who holds one, and how it is found, resumed and removed.

use mde_cancel::store::{LaneCount, Reader, RunState, RunStatus};

use super::*;

fn runs(dir: &Path) -> Vec<mde_cancel::store::RunRecord> {
    Reader::open(dir).unwrap().runs().unwrap()
}

fn standing(dir: &Path) -> RunStatus {
    runs(dir)[0].standing()
}

fn ended_as(run: RunKey, state: RunState, millis: i64) -> Record {
    Record::RunState {
        run,
        state,
        exit: Some(4),
        reason: Some("Ctrl-C".to_owned()),
        at: at(millis).wall,
    }
}

/// Starts a run of three rows in a process that dies.
fn crashed(dir: &Path) -> RunKey {
    let dying = open_failing_at(dir, 3);
    let run = run_of(&dying, 3);
    block_on(dying.write(Vec::new())).unwrap_err();
    run
}

#[test]
fn a_run_is_refused_to_a_second_process_which_is_told_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let run = run_of(&first, 1);
    let second = open(dir.path());
    let refused = block_on(second.hold_run(run, at(9).wall)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "run {} is held by pid 1 on jump-host since 2026-02-02T02:40:00Z",
            new_run(1).id
        )
    );
    let reopened = block_on(second.reopen_run(run, at(9).wall)).unwrap_err();
    assert!(matches!(reopened, StoreError::RunHeld { .. }), "{reopened}");
    // A refusal breaks neither store.
    block_on(second.create_run(new_run(2))).unwrap();
    block_on(first.write(vec![settled(run, 1, Outcome::Cancelled)])).unwrap();
}

#[test]
fn a_process_gets_the_hold_of_the_run_that_it_began_once_and_letting_go_frees_it() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = [open(dir.path()), open(dir.path())];
    let run = run_of(&first, 1);
    let hold = block_on(first.hold_run(run, at(5).wall)).unwrap();
    assert_eq!(hold.run(), run);
    let twice = block_on(first.hold_run(run, at(6).wall)).unwrap_err();
    assert!(matches!(twice, StoreError::RunHeld { .. }), "{twice}");
    assert!(runs(dir.path())[0].is_live());
    drop(hold);
    block_on(first.write(Vec::new())).unwrap();
    assert!(!runs(dir.path())[0].is_live());
    let hold = block_on(second.hold_run(run, at(7).wall)).unwrap();
    assert_eq!(
        runs(dir.path())[0].holder.as_ref().unwrap().since,
        at(7).wall
    );
    // The hold keeps its store open, and dropping the last of the two releases the run.
    drop(second);
    assert!(block_on(first.hold_run(run, at(8).wall)).is_err());
    drop(hold);
    block_on(first.hold_run(run, at(9).wall)).unwrap();
}

#[test]
fn an_unknown_run_is_refused_without_breaking_the_store() {
    let (_dir, store) = opened();
    for answer in [
        block_on(store.hold_run(RunKey(7), at(1).wall)).map(drop),
        block_on(store.reopen_run(RunKey(7), at(1).wall)).map(drop),
        block_on(store.remove_run(RunKey(7))),
    ] {
        let refused = answer.unwrap_err();
        assert!(matches!(refused, StoreError::Unknown { what: "run", .. }));
    }
    block_on(store.create_run(new_run(1))).unwrap();
}

#[test]
fn the_run_of_a_dead_process_is_taken_over_by_one_and_the_next_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = crashed(dir.path());
    assert_eq!(standing(dir.path()), RunStatus::Crashed);
    let stores = [open(dir.path()), open(dir.path())];
    let asked = [0, 1].map(|nth: usize| stores[nth].hold_run(run, at(50).wall));
    let answers = asked.map(block_on);
    let won = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(won, 1);
    let winner = usize::from(answers[1].is_ok());
    block_on(stores[winner].reopen_run(run, at(60).wall)).unwrap();
    assert_eq!(standing(dir.path()), RunStatus::Running);
}

#[test]
fn a_run_that_has_finished_meanwhile_is_not_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let run = run_of(&first, 1);
    block_on(first.write(vec![ended_as(run, RunState::Finished, 40)])).unwrap();
    drop(first);
    let second = open(dir.path());
    block_on(second.reopen_run(run, at(50).wall)).unwrap();
    let found = runs(dir.path()).remove(0);
    assert_eq!(found.standing(), RunStatus::Finished);
    assert_eq!(
        (found.exit_code, found.ended_at),
        (Some(4), Some(at(40).wall))
    );
}

#[test]
fn the_list_tells_running_stopped_crashed_and_finished_apart() {
    let (dir, store) = opened();
    let run = run_of(&store, 1);
    assert_eq!(standing(dir.path()), RunStatus::Running);
    block_on(store.write(vec![ended_as(run, RunState::Stopped, 40)])).unwrap();
    assert_eq!(standing(dir.path()), RunStatus::Stopped);
    drop(store);
    assert_eq!(standing(dir.path()), RunStatus::Stopped);

    let store = open(dir.path());
    block_on(store.reopen_run(run, at(50).wall)).unwrap();
    let again = runs(dir.path()).remove(0);
    assert_eq!(again.standing(), RunStatus::Running);
    assert_eq!(
        (again.exit_code, again.reason, again.ended_at),
        (None, None, None)
    );
    block_on(store.write(vec![ended_as(run, RunState::Finished, 60)])).unwrap();
    assert_eq!(standing(dir.path()), RunStatus::Finished);
}

#[test]
fn a_process_that_closes_its_store_in_mid_run_leaves_a_crashed_run_and_no_hold() {
    let dir = tempfile::tempdir().unwrap();
    run_of(&open(dir.path()), 1);
    assert_eq!(standing(dir.path()), RunStatus::Crashed);
}

#[test]
fn the_counts_of_a_run_are_of_what_is_settled_and_nothing_else() {
    let (_dir, store, key) = opened_with_scope();
    let run = run_of(&store, 5);
    let counts = |run| store.reader().unwrap().lane_counts(run).unwrap();
    for (row, number) in [(1, 1), (1, 2), (2, 1)] {
        let sent = call(take(&store, cancel_take(key, (run, row, number), at(10))));
        let reply = replied(sent, (run, row, number), RowPhase::Accepted);
        block_on(store.write(vec![reply])).unwrap();
    }
    block_on(store.write(vec![settled(run, 1, Outcome::Cancelled)])).unwrap();
    let counted = |outcome, rows, last| LaneCount {
        lane: LaneId(0),
        outcome,
        rows,
        last: RowNumber(last),
    };
    let expected = [counted(None, 4, 5), counted(Some(Outcome::Cancelled), 1, 1)];
    assert_eq!(counts(run), expected);
    let rest = (2..=5).map(|row| settled(run, row, Outcome::Failed));
    block_on(store.write(rest.collect())).unwrap();
    let expected = [
        counted(Some(Outcome::Cancelled), 1, 1),
        counted(Some(Outcome::Failed), 4, 5),
    ];
    assert_eq!(counts(run), expected);
    let empty = block_on(store.create_run(new_run(2))).unwrap();
    assert!(counts(empty).is_empty());
}

#[test]
fn the_known_ids_are_those_that_make_a_later_equal_one_a_duplicate() {
    let (_dir, store) = opened();
    let run = block_on(store.create_run(new_run(1))).unwrap();
    let ended = |number, outcome| NewRow {
        settlement: Some(settlement(outcome)),
        ..row(number)
    };
    let bad = NewRow {
        id: Err("x".to_owned()),
        ..ended(2, Outcome::Invalid)
    };
    let guarded = ended(3, Outcome::Skipped);
    let twin = ended(4, Outcome::Duplicate);
    let rows = vec![row(1), bad, guarded, twin, row(5), row(6)];
    block_on(store.append_rows(run, rows, mark(6))).unwrap();
    // Row 6 turned out to be excluded once its machine was known.
    let note = Record::Noted {
        run,
        row: RowNumber(6),
        phase: RowPhase::Fresh,
        record: None,
        status_before: None,
        checked_at: Some(at(8).wall),
    };
    let last = [(5, Outcome::Cancelled), (6, Outcome::Skipped)]
        .map(|(row, outcome)| settled(run, row, outcome));
    block_on(store.write([vec![note], last.to_vec()].concat())).unwrap();
    let mut known = Vec::new();
    let reader = store.reader().unwrap();
    reader
        .known_ids(run, |lane, id, number| known.push((lane, id, number.0)))
        .unwrap();
    assert_eq!(
        known,
        [1, 5, 6].map(|number| (LaneId(0), id(number), number))
    );
}

#[test]
fn a_removed_run_leaves_nothing_but_its_calls() {
    let (dir, store, key) = opened_with_scope();
    let one = windows(&["1/1h"]);
    let run = run_of(&store, 2);
    let wish = SlotRequest {
        windows: Arc::clone(&one),
        ..cancel_take(key, (run, 1, 1), at(5))
    };
    let sent = call(take(&store, wish));
    block_on(store.write(vec![replied(sent, (run, 1, 1), RowPhase::Again)])).unwrap();
    let refused = block_on(store.remove_run(run)).unwrap_err();
    assert!(matches!(refused, StoreError::RunHeld { .. }), "{refused}");
    drop(store);
    let store = open(dir.path());
    block_on(store.remove_run(run)).unwrap();
    let conn = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
    for table in ["runs", "rows", "attempts", "sources"] {
        let left: i64 = conn
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(left, 0, "{table}");
    }
    let full = take(&store, read_take(key, &one, at(9)));
    assert!(matches!(full, SlotAnswer::NotBefore(_)), "{full:?}");
    // Its key is never reused, but its input's name can be.
    assert_ne!(run_of(&store, 1), run);
}
