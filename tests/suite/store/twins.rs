//! One id in two live runs: whoever appended it first keeps it.

use mde_cancel::model::ReportRow;
use mde_cancel::store::RunState;

use super::*;

fn begin(store: &Store, number: u128) -> RunKey {
    block_on(store.create_run(new_run(number))).unwrap()
}

/// Appends rows, one an id, numbered from `first`; returns the numbers of those that became duplicates.
fn append(store: &Store, run: RunKey, first: u32, ids: &[u32]) -> Vec<u32> {
    let rows = (first..).zip(ids).map(|(number, id_number)| NewRow {
        id: Ok(id(*id_number)),
        ..row(number)
    });
    let appended = block_on(store.append_rows(run, rows.collect(), mark(1))).unwrap();
    appended.duplicates.iter().map(|number| number.0).collect()
}

fn queue(store: &Store, run: RunKey) -> Vec<u32> {
    block_on(store.load_rows(run, LaneId(0), RowNumber(0), 1_000))
        .unwrap()
        .iter()
        .map(|row| row.number.0)
        .collect()
}

fn report(store: &Store, number: u128) -> Vec<ReportRow> {
    let rows = store.reader().unwrap().report_rows(new_run(number).id);
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn an_id_that_is_unsettled_in_another_live_run_is_a_duplicate_in_both_directions() {
    let dir = tempfile::tempdir().unwrap();
    let [left, right] = [open(dir.path()), open(dir.path())];
    let [one, two] = [begin(&left, 1), begin(&right, 2)];
    assert!(append(&left, one, 1, &[10, 11]).is_empty());
    assert_eq!(append(&right, two, 1, &[20, 11, 21]), [2]);
    assert_eq!(append(&left, one, 3, &[12, 21, 20, 13]), [4, 5]);
    assert_eq!(append(&right, two, 4, &[13, 22]), [4]);
    assert_eq!(queue(&left, one), [1, 2, 3, 6]);
    assert_eq!(queue(&right, two), [1, 3, 5]);
    let told = report(&right, 2).remove(1);
    assert_eq!(told.outcome, Outcome::Duplicate);
    assert_eq!(told.reason, format!("unsettled in run {}", new_run(1).id));
    assert!(told.settled_at.is_some());
}

#[test]
fn an_id_that_the_other_run_has_settled_is_no_duplicate() {
    let dir = tempfile::tempdir().unwrap();
    let [left, right] = [open(dir.path()), open(dir.path())];
    let [one, two] = [begin(&left, 1), begin(&right, 2)];
    append(&left, one, 1, &[10, 11, 12]);
    assert_eq!(append(&right, two, 1, &[10]), [1]);
    // Known to the other process by now, and settled since.
    block_on(left.write(vec![settled(one, 2, Outcome::Failed)])).unwrap();
    assert!(append(&right, two, 2, &[11]).is_empty());
}

#[test]
fn only_live_runs_of_the_same_tenant_count() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let elsewhere = NewRun {
        tenant: "fabrikam".to_owned(),
        ..new_run(1)
    };
    let elsewhere = block_on(store.create_run(elsewhere)).unwrap();
    append(&store, elsewhere, 1, &[10]);
    // The same tenant by way of another app: an action is the tenant's.
    let by_other_app = NewRun {
        app: "other".to_owned(),
        ..new_run(2)
    };
    let by_other_app = block_on(store.create_run(by_other_app)).unwrap();
    append(&store, by_other_app, 1, &[11]);
    let stopped = begin(&store, 3);
    append(&store, stopped, 1, &[12]);
    let state = Record::RunState {
        run: stopped,
        state: RunState::Stopped,
        exit: Some(4),
        reason: None,
        at: at(9).wall,
    };
    block_on(store.write(vec![state])).unwrap();
    let own = begin(&store, 4);
    assert_eq!(append(&store, own, 1, &[10, 11, 12]), [2]);
}

#[test]
fn the_rows_of_a_dead_process_are_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let dying = open_failing_at(dir.path(), 3);
    let dead = begin(&dying, 1);
    append(&dying, dead, 1, &[10]);
    let store = open(dir.path());
    let own = begin(&store, 2);
    assert_eq!(append(&store, own, 1, &[10]), [1]);
    block_on(dying.write(Vec::new())).unwrap_err();
    drop(dying);
    // A child that another test starts at this instant inherits the lock until it is another program.
    while store
        .reader()
        .unwrap()
        .runs()
        .unwrap()
        .iter()
        .any(|run| run.key == dead && run.is_live())
    {
        std::thread::yield_now();
    }
    assert!(append(&store, own, 2, &[10]).is_empty());
}

#[test]
fn rows_that_are_settled_as_they_are_read_are_left_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let [left, right] = [open(dir.path()), open(dir.path())];
    let [one, two] = [begin(&left, 1), begin(&right, 2)];
    append(&left, one, 1, &[10]);
    let held = NewRow {
        id: Ok(id(10)),
        settlement: Some(settlement(Outcome::Skipped)),
        ..row(1)
    };
    let appended = block_on(right.append_rows(two, vec![held], mark(1))).unwrap();
    assert!(appended.duplicates.is_empty());
    assert_eq!(report(&right, 2)[0].outcome, Outcome::Skipped);
}

#[test]
fn a_run_that_is_taken_up_again_leaves_alone_what_another_has_begun_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let [left, right] = [open(dir.path()), open(dir.path())];
    let key = scope(&left);
    let one = begin(&left, 1);
    append(&left, one, 1, &[10, 11, 12]);
    // Row 3 was sent: its fate is this run's to find out.
    let sent = call(take(&left, cancel_take(key, (one, 3, 1), at(10))));
    block_on(left.write(vec![replied(sent, (one, 3, 1), Phase::Unknown)])).unwrap();
    drop(left);
    let two = begin(&right, 2);
    assert!(append(&right, two, 1, &[11, 12]).is_empty());

    let left = open(dir.path());
    let reopened = block_on(left.reopen_run(one, at(50).wall)).unwrap();
    assert_eq!(reopened.duplicates, [RowNumber(2)]);
    assert_eq!(queue(&left, one), [1, 3]);
    assert_eq!(append(&right, two, 3, &[10, 13]), [3]);
}

#[test]
fn two_processes_that_append_the_same_ids_at_once_share_them_without_a_rest() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path()), open(dir.path())];
    let runs = [begin(&stores[0], 1), begin(&stores[1], 2)];
    std::thread::scope(|threads| {
        for (nth, store) in stores.iter().enumerate() {
            threads.spawn(move || {
                for batch in 0..20_u32 {
                    // One from the front, the other from the back.
                    let place = if nth == 0 { batch } else { 19 - batch };
                    let from = place * 50 + 1;
                    let ids: Vec<_> = (from..from + 50).collect();
                    append(store, runs[nth], batch * 50 + 1, &ids);
                }
            });
        }
    });
    let mut kept: Vec<u32> = Vec::new();
    for (store, run) in stores.iter().zip(runs) {
        let rows = block_on(store.load_rows(run, LaneId(0), RowNumber(0), 2_000)).unwrap();
        kept.extend(
            rows.iter()
                .map(|row| u32::from_be_bytes(row.id.as_bytes()[..4].try_into().unwrap())),
        );
    }
    kept.sort_unstable();
    assert_eq!(kept, (1..=1_000).collect::<Vec<_>>());
}
