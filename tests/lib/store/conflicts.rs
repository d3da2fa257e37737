//! One action in two live runs: the run that was confirmed first has it, unless the other has sent its cancel.

use mde_cancel::model::ActionType;
use mde_cancel::store::RunState;

use super::*;

/// Starts a run with these ids, numbered from 1, without confirming it.
fn planned(store: &Store, number: u128, ids: &[u32]) -> RunKey {
    begin(store, new_run(number), ids)
}

fn begin(store: &Store, run: NewRun, ids: &[u32]) -> RunKey {
    let run = block_on(store.create_run(run)).unwrap();
    append(store, run, 1, ids);
    run
}

fn append(store: &Store, run: RunKey, first: u32, ids: &[u32]) {
    let rows = (first..).zip(ids).map(|(number, id_number)| NewRow {
        id: Ok(id(*id_number)),
        ..row(number)
    });
    block_on(store.append_rows(run, rows.collect(), mark(1))).unwrap();
}

fn confirm(store: &Store, run: RunKey) {
    let at = at(40).wall;
    block_on(store.write(vec![Record::RunConfirmed { run, at }])).unwrap();
}

fn confirmed(store: &Store, number: u128, ids: &[u32]) -> RunKey {
    let run = planned(store, number, ids);
    confirm(store, run);
    run
}

/// Returns the free rows, and those in progress in another run.
fn load(store: &Store, run: RunKey) -> (Vec<u32>, Vec<u32>) {
    let rows = block_on(store.load_rows(run, LaneId(0), LoadFrom::After(RowNumber(0)), 1_000));
    let (free, taken): (Vec<_>, Vec<_>) = rows
        .unwrap()
        .into_iter()
        .partition(|row| row.in_progress.is_none());
    let numbers =
        |rows: Vec<mde_cancel::store::QueuedRow>| rows.iter().map(|row| row.number.0).collect();
    (numbers(free), numbers(taken))
}

fn send(store: &Store, key: ScopeKey, (run, row): (RunKey, u32)) -> SlotAnswer {
    take(store, cancel_take(key, (run, row, 1), at(10)))
}

#[test]
fn a_run_that_was_confirmed_first_has_its_unsettled_ids_and_the_later_one_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let [left, right] = [open(dir.path()), open(dir.path())];
    let one = confirmed(&left, 1, &[10, 11]);
    let two = confirmed(&right, 2, &[20, 11, 21]);
    assert_eq!(load(&right, two), (vec![1, 3], vec![2]));
    // Later rows belong to the earlier run, too, unless another has sent them.
    append(&left, one, 3, &[21, 12]);
    assert_eq!(load(&left, one), (vec![1, 2, 3, 4], Vec::new()));
    assert_eq!(load(&right, two), (vec![1], vec![2, 3]));
    let rows = block_on(right.load_rows(two, LaneId(0), LoadFrom::After(RowNumber(1)), 1));
    assert_eq!(rows.unwrap()[0].in_progress, Some(new_run(1).id));
}

#[test]
fn what_was_sent_is_the_senders_until_it_is_settled_whoever_was_confirmed_first() {
    let dir = tempfile::tempdir().unwrap();
    let [left, right] = [open(dir.path()), open(dir.path())];
    let key = scope(&left);
    let one = confirmed(&left, 1, &[]);
    let two = confirmed(&right, 2, &[20]);
    let sent = call(send(&right, key, (two, 1)));
    append(&left, one, 1, &[20]);
    assert_eq!(load(&left, one), (vec![1], Vec::new()));
    assert_eq!(
        send(&left, key, (one, 1)),
        SlotAnswer::InProgress(new_run(2).id)
    );
    let rows = block_on(left.load_rows(one, LaneId(0), LoadFrom::After(RowNumber(0)), 1)).unwrap();
    assert_eq!(rows[0].attempts, 0, "nothing was journaled");
    let reply = replied(sent, (two, 1, 1), RowPhase::Accepted);
    block_on(right.write(vec![reply, settled(two, 1, Outcome::Failed)])).unwrap();
    call(send(&left, key, (one, 1)));
}

#[test]
fn an_unconfirmed_run_owns_no_ids() {
    let dir = tempfile::tempdir().unwrap();
    let [left, right] = [open(dir.path()), open(dir.path())];
    let one = planned(&left, 1, &[10]);
    let two = confirmed(&right, 2, &[10]);
    assert_eq!(load(&right, two), (vec![1], Vec::new()));
    assert_eq!(load(&left, one), (Vec::new(), vec![1]));
    confirm(&left, one);
    assert_eq!(
        load(&right, two),
        (vec![1], Vec::new()),
        "it was confirmed later"
    );
}

#[test]
fn only_live_runs_that_may_be_of_the_same_tenant_count() {
    let (_dir, store) = opened();
    let of = |number, tenant: &str, app: &str| NewRun {
        tenant: tenant.to_owned(),
        app: app.to_owned(),
        ..new_run(number)
    };
    for (number, run) in [
        (10, of(1, "fabrikam", "-")),
        // The same tenant through another app: actions belong to the tenant.
        (11, of(2, "contoso", "other")),
        // A token that doesn't name its tenant.
        (12, of(3, "-", "-")),
        (13, of(4, "several", "several")),
    ] {
        let run = begin(&store, run, &[number]);
        confirm(&store, run);
    }
    let stopped = confirmed(&store, 5, &[14]);
    let state = Record::RunState {
        run: stopped,
        state: RunState::Stopped,
        exit: Some(4),
        reason: None,
        at: at(9).wall,
    };
    block_on(store.write(vec![state])).unwrap();
    let own = confirmed(&store, 6, &[10, 11, 12, 13, 14]);
    assert_eq!(load(&store, own), (vec![1, 5], vec![2, 3, 4]));
}

#[test]
fn rows_of_a_dead_process_are_free() {
    let dir = tempfile::tempdir().unwrap();
    let dying = open_failing_at(dir.path(), 4);
    let dead = confirmed(&dying, 1, &[10]);
    let store = open(dir.path());
    let own = confirmed(&store, 2, &[10]);
    assert_eq!(load(&store, own), (Vec::new(), vec![1]));
    block_on(dying.write(Vec::new())).unwrap_err();
    drop(dying);
    // A child process that another test starts right now inherits the lock until it execs.
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
    assert_eq!(load(&store, own), (vec![1], Vec::new()));
}

#[test]
fn a_run_that_is_taken_up_again_comes_last_and_keeps_what_it_had_sent() {
    let dir = tempfile::tempdir().unwrap();
    let [left, right] = [open(dir.path()), open(dir.path())];
    let key = scope(&left);
    let one = confirmed(&left, 1, &[10, 11, 12]);
    // Row 3 was sent, so its result is up to this run.
    let sent = call(send(&left, key, (one, 3)));
    block_on(left.write(vec![replied(sent, (one, 3, 1), RowPhase::Unknown)])).unwrap();
    drop(left);
    let two = confirmed(&right, 2, &[11, 12]);
    assert_eq!(load(&right, two), (vec![1, 2], Vec::new()));

    let left = open(dir.path());
    block_on(left.reopen_run(one, at(50).wall)).unwrap();
    assert_eq!(
        load(&right, two),
        (vec![1, 2], Vec::new()),
        "it is not confirmed"
    );
    confirm(&left, one);
    assert_eq!(load(&left, one), (vec![1, 3], vec![2]));
    assert_eq!(
        send(&right, key, (two, 2)),
        SlotAnswer::InProgress(new_run(1).id)
    );
}

#[test]
fn two_processes_that_send_the_same_ids_at_once_send_each_once() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path()), open(dir.path())];
    let ids: Vec<u32> = (1..=300).collect();
    let runs = [
        confirmed(&stores[0], 1, &ids),
        confirmed(&stores[1], 2, &ids),
    ];
    let key = scope(&stores[0]);
    let sent: Vec<Vec<u32>> = std::thread::scope(|threads| {
        let workers = [0, 1].map(|nth: usize| {
            let (store, run) = (&stores[nth], runs[nth]);
            threads.spawn(move || {
                // One from the front, the other from the back.
                let rows = (1..=300).map(|row| if nth == 0 { row } else { 301 - row });
                rows.filter(|&row| matches!(send(store, key, (run, row)), SlotAnswer::Go(_)))
                    .collect()
            })
        });
        workers.map(|worker| worker.join().unwrap()).into()
    });
    let mut all = sent.concat();
    all.sort_unstable();
    assert_eq!(all, ids);
}

#[test]
fn a_row_that_is_left_for_later_says_why_until_it_is_settled() {
    let (_dir, store) = opened();
    let run = confirmed(&store, 1, &[10, 11]);
    let deferred = |row| Record::Deferred {
        run,
        row: RowNumber(row),
        reason: "not sent: in progress elsewhere".to_owned(),
    };
    let stopped = Record::RunState {
        run,
        state: RunState::Stopped,
        exit: Some(3),
        reason: None,
        at: at(9).wall,
    };
    let settled = settled(run, 2, Outcome::Cancelled);
    block_on(store.write(vec![deferred(1), deferred(2), settled, stopped])).unwrap();
    assert_eq!(load(&store, run), (vec![1], Vec::new()));
    let rows = store.reader().unwrap().report_rows(new_run(1).id).unwrap();
    let told: Vec<_> = rows
        .map(|row| row.map(|row| (row.outcome, row.reason)))
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(
        told,
        [
            (
                Outcome::NotAttempted,
                "not sent: in progress elsewhere".to_owned()
            ),
            (Outcome::Cancelled, "because".to_owned())
        ]
    );
}

#[test]
fn a_state_that_was_read_before_another_run_settled_the_action_is_forgotten_when_the_run_is_confirmed()
 {
    let dir = tempfile::tempdir().unwrap();
    let [left, right] = [open(dir.path()), open(dir.path())];
    let key = scope(&left);
    let one = planned(&left, 1, &[10, 11, 12]);
    let notes = (1..=3).map(|row| Record::Noted {
        run: one,
        row: RowNumber(row),
        phase: RowPhase::Fresh,
        record: None,
        status_before: None,
        checked_at: Some(at(8).wall),
    });
    block_on(left.write(notes.collect())).unwrap();
    let two = confirmed(&right, 2, &[10, 11]);
    let sent = call(send(&right, key, (two, 1)));
    let reply = replied(sent, (two, 1, 1), RowPhase::Accepted);
    // The second was never sent, so what was read about it stays.
    let ends = [1, 2].map(|row| settled(two, row, Outcome::Cancelled));
    block_on(right.write([vec![reply], ends.to_vec()].concat())).unwrap();
    confirm(&left, one);
    let rows = block_on(left.load_rows(one, LaneId(0), LoadFrom::After(RowNumber(0)), 9));
    let known: Vec<_> = rows
        .unwrap()
        .iter()
        .map(|row| row.checked_at.is_some())
        .collect();
    assert_eq!(known, [false, true, true]);
}

#[test]
fn a_sample_comes_from_all_over_the_unsent_rows_of_its_type() {
    use mde_cancel::model::ActionType;
    let (_dir, store) = opened();
    let run = block_on(store.create_run(new_run(1))).unwrap();
    for lane in [0, 1] {
        // In each lane, the first 50 of 100 rows have one type, and the type of the others is unknown.
        let rows = (1..=100).map(|number| {
            let action_type = (number <= 50).then_some(ActionType::Isolate);
            NewRow {
                lane: LaneId(lane),
                context: RowContext {
                    action_type,
                    ..RowContext::default()
                },
                ..row(u32::from(lane) * 100 + number)
            }
        });
        block_on(store.append_rows(run, rows.collect(), mark(100))).unwrap();
    }
    let sample = |lane, action_type| -> Vec<u32> {
        let from = LoadFrom::Sample(action_type);
        let rows = block_on(store.load_rows(run, LaneId(lane), from, 5)).unwrap();
        rows.iter().map(|row| row.number.0).collect()
    };
    assert_eq!(sample(0, Some(ActionType::Isolate)), [10, 30, 50, 70, 90]);
    assert_eq!(sample(0, Some(ActionType::Unisolate)), [55, 65, 75, 85, 95]);
    assert_eq!(sample(1, None).len(), 5);
    assert!(sample(1, None).iter().all(|row| *row > 150));
    let rest: Vec<_> = (3..=100)
        .map(|row| settled(run, row, Outcome::Failed))
        .collect();
    block_on(store.write(rest)).unwrap();
    assert_eq!(sample(0, Some(ActionType::Isolate)), [1, 2]);
    assert!(sample(0, None).is_empty());
}

#[test]
fn runs_that_release_take_one_machine_for_one_thing_whichever_action_each_of_them_undoes() {
    use ActionType::{Unisolate, UnrestrictCodeExecution};
    let dir = tempfile::tempdir().unwrap();
    let [left, right] = [open(dir.path()), open(dir.path())];
    let key = scope(&left);
    let release = |store: &Store, number, ids: &[(u32, &str, ActionType)]| {
        let run = NewRun {
            settings: r#"{"operation":"release"}"#.to_owned(),
            ..new_run(number)
        };
        let run = block_on(store.create_run(run)).unwrap();
        let rows = (1..).zip(ids).map(|(number, (id_number, machine, kind))| {
            let mut row = NewRow {
                id: Ok(id(*id_number)),
                ..row(number)
            };
            row.context.machine_id = Some((*machine).to_owned());
            row.context.action_type = Some(kind.clone());
            row
        });
        block_on(store.append_rows(run, rows.collect(), mark(1))).unwrap();
        confirm(store, run);
        run
    };
    let one = release(&left, 1, &[(10, "AA", Unisolate), (11, "bb", Unisolate)]);
    let others = [
        (20, "aa", Unisolate),
        (21, "aa", UnrestrictCodeExecution),
        (22, "cc", Unisolate),
    ];
    let two = release(&right, 2, &others);
    assert_eq!(load(&right, two), (vec![2, 3], vec![1]));
    // Cancels don't conflict with releases.
    let three = confirmed(&right, 3, &[10, 20]);
    assert_eq!(load(&right, three), (vec![1, 2], vec![]));
    call(send(&right, key, (two, 1)));
    assert!(matches!(
        send(&left, key, (one, 1)),
        SlotAnswer::InProgress(_)
    ));
    call(send(&left, key, (one, 2)));
}
