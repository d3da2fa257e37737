//! Runs, rows, attempts and outcomes: what is written is what is reported.

use std::collections::BTreeMap;

use mde_cancel::model::{ActionStatus, ActionType, FollowUp, MachineAction, ReportRow, Sending};
use mde_cancel::store::{Reader, RunState};

use super::*;

fn report(dir: &Path) -> Vec<ReportRow> {
    let reader = Reader::open(dir).unwrap();
    let run = reader.runs().unwrap().remove(0).begun.id;
    reader
        .report_rows(run)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

#[test]
fn five_thousand_rows_come_back_from_queue_and_report_in_their_order() {
    let (dir, store) = opened();
    let run = block_on(store.create_run(new_run(1))).unwrap();
    // Sent without waiting, in batches of odd sizes.
    let mut pending = Vec::new();
    let mut next = 1;
    for size in [1, 999, 1_000, 1_500, 250, 1_250] {
        let rows = (next..next + size).map(row).collect();
        next += size;
        pending.push(store.append_rows(run, rows, mark(u64::from(next - 1))));
    }
    for answer in pending {
        block_on(answer).unwrap();
    }
    let mut queue = Vec::new();
    loop {
        let after = queue
            .last()
            .map_or(RowNumber(0), |row: &mde_cancel::store::QueuedRow| {
                row.number
            });
        let page = block_on(store.load_rows(run, LaneId(0), LoadFrom::After(after), 700)).unwrap();
        if page.is_empty() {
            break;
        }
        queue.extend(page);
    }
    assert_eq!(queue.len(), 5_000);
    let report = report(dir.path());
    assert_eq!(report.len(), 5_000);
    for ((number, queued), reported) in (1..).zip(&queue).zip(&report) {
        assert_eq!((queued.number, queued.id), (RowNumber(number), id(number)));
        assert_eq!(reported.action_id, id(number).to_string());
        assert_eq!(reported.source, format!("ids.csv:{}", number + 1));
    }
    let known = store.reader().unwrap().runs().unwrap().remove(0);
    assert_eq!((known.key, known.intake.rows_read), (run, 5_000));
}

#[test]
fn rows_that_are_settled_when_read_never_reach_the_queue() {
    let (dir, store) = opened();
    let run = block_on(store.create_run(new_run(1))).unwrap();
    let bad = NewRow {
        id: Err("=cmd()".to_owned()),
        settlement: Some(settlement(Outcome::Invalid)),
        ..row(1)
    };
    let twin = NewRow {
        settlement: Some(settlement(Outcome::Duplicate)),
        ..row(3)
    };
    let elsewhere = NewRow {
        lane: LaneId(1),
        ..row(4)
    };
    let rows = vec![bad, row(2), twin, elsewhere];
    let mark = InputProgress {
        rows_read: 4,
        position: Some("{\"offset\":99}".to_owned()),
        complete: true,
    };
    block_on(store.append_rows(run, rows, mark.clone())).unwrap();
    let numbers = |lane| -> Vec<_> {
        block_on(store.load_rows(run, LaneId(lane), LoadFrom::After(RowNumber(0)), 10))
            .unwrap()
            .iter()
            .map(|row| row.number.0)
            .collect()
    };
    assert_eq!((numbers(0), numbers(1)), (vec![2], vec![4]));
    let report = report(dir.path());
    assert_eq!(report[0].action_id, "=cmd()");
    assert_eq!(report[0].reason, "because");
    let outcomes: Vec<_> = report.iter().map(|row| row.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Invalid,
            Outcome::NotAttempted,
            Outcome::Duplicate,
            Outcome::NotAttempted
        ]
    );
    assert_eq!(store.reader().unwrap().runs().unwrap()[0].intake, mark);
}

/// Brings six rows into six states: fresh, in flight, surely not applied, unknown, accepted, settled.
fn six_states(store: &Store) -> RunKey {
    let key = scope(store);
    let run = run_of(store, 6);
    for row in 2..=6 {
        let sent = call(take(store, cancel_take(key, (run, row, 1), at(10))));
        let phase = match row {
            2 => continue,
            3 => RowPhase::Again,
            4 => RowPhase::Unknown,
            _ => RowPhase::Accepted,
        };
        block_on(store.write(vec![replied(sent, (run, row, 1), phase)])).unwrap();
    }
    block_on(store.write(vec![settled(run, 6, Outcome::Cancelled)])).unwrap();
    run
}

#[test]
fn rows_without_an_outcome_get_one_in_the_report_and_the_counts_agree() {
    let (dir, store) = opened();
    let run = six_states(&store);
    let stopped = Record::RunState {
        run,
        state: RunState::Stopped,
        exit: Some(4),
        reason: Some("Ctrl-C".to_owned()),
        at: at(99).wall,
    };
    block_on(store.write(vec![stopped])).unwrap();
    let report = report(dir.path());
    let told: Vec<_> = report
        .iter()
        .map(|row| (row.outcome.as_str(), row.reason.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("not_attempted", "the run stopped before its turn"),
            ("unknown", "the run stopped before it could be read again"),
            (
                "not_attempted",
                "sent once, last answer 429 throttled; the run stopped before it was sent again"
            ),
            ("unknown", "the run stopped before it could be read again"),
            ("accepted", "the run stopped before it could be verified"),
            ("cancelled", "because"),
        ]
    );
    assert_eq!(report[2].error_code.as_deref(), Some("TooManyRequests"));
    let reader = store.reader().unwrap();
    let mut counted = BTreeMap::new();
    for row in &report {
        *counted.entry(row.outcome).or_insert(0) += 1;
    }
    assert_eq!(reader.outcome_counts(run).unwrap(), counted);
    let known = reader.run(new_run(1).id).unwrap().unwrap();
    assert_eq!(known.begun, new_run(1));
    assert_eq!((known.state, known.exit_code), (RunState::Stopped, Some(4)));
    assert_eq!(known.reason.as_deref(), Some("Ctrl-C"));
    assert_eq!(known.ended_at, Some(at(99).wall));
}

#[test]
fn everything_known_about_a_row_stands_in_its_report() {
    let (dir, store, key) = opened_with_scope();
    let run = block_on(store.create_run(new_run(1))).unwrap();
    let told = NewRow {
        context: RowContext {
            comment: Some("mine".to_owned()),
            action_type: Some(ActionType::Isolate),
            computer_dns_name: Some("old-name".to_owned()),
            ..RowContext::default()
        },
        ..row(1)
    };
    block_on(store.append_rows(run, vec![told], mark(1))).unwrap();
    let record = MachineAction {
        status: Some(ActionStatus::InProgress),
        computer_dns_name: Some("new-name".to_owned()),
        created_at: Some(at(-5_000).wall),
        ..MachineAction::bare(id(1))
    };
    let note = |millis| Record::Noted {
        run,
        row: RowNumber(1),
        phase: RowPhase::Fresh,
        record: Some(record.clone()),
        status_before: Some(ActionStatus::InProgress),
        checked_at: Some(at(millis).wall),
    };
    block_on(store.write(vec![note(1), note(2)])).unwrap();
    let queued = block_on(store.load_rows(run, LaneId(0), LoadFrom::After(RowNumber(0)), 1))
        .unwrap()
        .remove(0);
    assert_eq!(
        queued.context.computer_dns_name.as_deref(),
        Some("new-name")
    );
    assert_eq!(queued.context.action_type, Some(ActionType::Isolate));
    assert_eq!(queued.checked_at, Some(at(2).wall));
    assert_eq!(queued.status_before, Some(ActionStatus::InProgress));
    call(take(&store, cancel_take(key, (run, 1, 1), at(10))));
    let settlement = Settlement {
        record: Some(MachineAction {
            status: Some(ActionStatus::Cancelled),
            ..record.clone()
        }),
        follow_up: Some(FollowUp::CheckDevice),
        ..settlement(Outcome::Cancelled)
    };
    let last = Record::Settled {
        run,
        row: RowNumber(1),
        settlement,
    };
    block_on(store.write(vec![last])).unwrap();
    let row = report(dir.path()).remove(0);
    assert_eq!(row.action_status.as_deref(), Some("Cancelled"));
    assert_eq!(row.status_before.as_deref(), Some("InProgress"));
    assert_eq!(row.computer_dns_name.as_deref(), Some("new-name"));
    assert_eq!(row.follow_up.as_deref(), Some("check_device"));
    assert_eq!(row.comment.as_deref(), Some("mine"));
    assert_eq!(row.comment_sent.as_deref(), Some("stop"));
    assert_eq!(row.tenant.as_deref(), Some("contoso"));
    assert_eq!(
        (row.first_sent_at, row.settled_at),
        (Some(at(10).wall), Some(at(30).wall))
    );
    assert_eq!(
        (row.created_at, row.checked_at),
        (Some(at(-5_000).wall), Some(at(2).wall))
    );
    assert_eq!((row.attempts, row.http_status), (1, None));
    let reader = store.reader().unwrap();
    assert_eq!(reader.follow_up_counts(run).unwrap()["check_device"], 1);
    let by_status = reader.status_counts(run, Outcome::Cancelled).unwrap();
    assert_eq!(by_status["Cancelled"], 1);
}

#[test]
fn machines_that_need_work_are_sorted_by_gravity_and_then_by_row() {
    let (_dir, store) = opened();
    let run = run_of(&store, 4);
    let needs = [
        FollowUp::CheckDevice,
        FollowUp::ManualOnboard,
        FollowUp::Unisolate,
        FollowUp::Unisolate,
    ];
    let last_words = (1..).zip(needs).map(|(row, need)| Record::Settled {
        run,
        row: RowNumber(row),
        settlement: Settlement {
            follow_up: Some(need),
            ..settlement(Outcome::AlreadyFinal)
        },
    });
    block_on(store.write(last_words.collect())).unwrap();
    let reader = store.reader().unwrap();
    let record = reader.runs().unwrap().remove(0);
    let rows = reader.follow_up_rows(&record, 3).unwrap();
    let ids: Vec<_> = rows.into_iter().map(|row| row.action_id).collect();
    assert_eq!(ids, [3, 4, 2].map(|number| id(number).to_string()));
}

#[test]
fn a_reply_and_a_last_word_leave_the_same_row_written_together_or_apart() {
    let (dir, store, key) = opened_with_scope();
    let run = run_of(&store, 2);
    let calls = [1, 2].map(|row| call(take(&store, cancel_take(key, (run, row, 1), at(10)))));
    let last = |row| Record::Settled {
        run,
        row: RowNumber(row),
        settlement: Settlement {
            record: Some(MachineAction {
                status: Some(ActionStatus::Failed),
                requestor: Some("soc-bot".to_owned()),
                ..MachineAction::bare(id(row))
            }),
            follow_up: Some(FollowUp::CheckDevice),
            ..settlement(Outcome::AlreadyFinal)
        },
    };
    let reply = |row: u32| replied(calls[row as usize - 1], (run, row, 1), RowPhase::Again);
    block_on(store.write(vec![reply(1), last(1)])).unwrap();
    block_on(store.write(vec![reply(2)])).unwrap();
    block_on(store.write(vec![last(2)])).unwrap();
    let mut rows = report(dir.path());
    let (mut apart, together) = (rows.remove(1), rows.remove(0));
    assert_eq!(together.outcome, Outcome::AlreadyFinal);
    assert_eq!(together.http_status, Some(429));
    assert_eq!(together.requestor.as_deref(), Some("soc-bot"));
    apart.action_id.clone_from(&together.action_id);
    apart.source.clone_from(&together.source);
    assert_eq!(together, apart);
    let span = store.reader().unwrap().sending_span(run).unwrap();
    assert_eq!(span, Some((at(10).wall, at(20).wall)));
    let refused = block_on(store.write(vec![reply(1), last(1)])).unwrap_err();
    assert!(
        matches!(refused, StoreError::RowNotOpen { row: 1, .. }),
        "{refused}"
    );
}

#[test]
fn a_second_last_word_is_refused_and_ends_the_writing() {
    let (dir, store) = opened();
    let run = run_of(&store, 2);
    block_on(store.write(vec![settled(run, 1, Outcome::Cancelled)])).unwrap();
    // A request is written whole or not at all: row 2 stays open.
    let both = vec![
        settled(run, 2, Outcome::Failed),
        settled(run, 1, Outcome::Failed),
    ];
    let refused = block_on(store.write(both)).unwrap_err();
    assert!(
        matches!(refused, StoreError::RowNotOpen { row: 1, .. }),
        "{refused}"
    );
    assert!(block_on(store.create_run(new_run(2))).is_err());
    let outcomes: Vec<_> = report(dir.path()).iter().map(|row| row.outcome).collect();
    assert_eq!(outcomes, [Outcome::Cancelled, Outcome::NotAttempted]);
}

#[test]
fn records_sent_without_waiting_are_written_in_the_order_in_which_they_were_sent() {
    let (_dir, store, key) = opened_with_scope();
    let run = run_of(&store, 1);
    let note = |phase| {
        store.write(vec![Record::Noted {
            run,
            row: RowNumber(1),
            phase,
            record: None,
            status_before: None,
            checked_at: None,
        }])
    };
    let mut pending = Vec::new();
    for round in 0..200 {
        pending.push(note(RowPhase::ALL[round % 5]));
    }
    // A take sees the phase of the note before it, and its withdrawal restores that phase.
    pending.push(note(RowPhase::Unknown));
    let taken = store.take(cancel_take(key, (run, 1, 1), at(1)));
    for answer in pending {
        block_on(answer).unwrap();
    }
    let taken = call(block_on(taken).unwrap());
    let phase = || {
        block_on(store.load_rows(run, LaneId(0), LoadFrom::After(RowNumber(0)), 1)).unwrap()[0]
            .phase
    };
    assert_eq!(phase(), RowPhase::Sent);
    block_on(store.write(vec![Record::Withdrawn { call: taken }])).unwrap();
    assert_eq!(phase(), RowPhase::Unknown);
}

#[test]
fn what_was_sent_is_written_although_nobody_waits_for_the_answer() {
    let (dir, store) = opened();
    let run = run_of(&store, 50);
    for row in 1..=50 {
        drop(store.write(vec![settled(run, row, Outcome::Cancelled)]));
    }
    drop(store);
    let counts = Reader::open(dir.path())
        .unwrap()
        .outcome_counts(run)
        .unwrap();
    assert_eq!(counts, BTreeMap::from([(Outcome::Cancelled, 50)]));
}

#[test]
fn a_report_of_a_run_that_goes_on_shows_one_instant() {
    let (dir, store) = opened();
    let run = run_of(&store, 1_200);
    let mut rows = store.reader().unwrap().report_rows(new_run(1).id).unwrap();
    rows.next().unwrap().unwrap();
    block_on(
        store.write(
            (1..=1_200)
                .map(|row| settled(run, row, Outcome::Cancelled))
                .collect(),
        ),
    )
    .unwrap();
    assert!(rows.all(|row| row.unwrap().outcome == Outcome::NotAttempted));
    assert!(
        report(dir.path())
            .iter()
            .all(|row| row.outcome == Outcome::Cancelled)
    );
}

#[test]
fn the_calls_of_a_run_are_shown_with_those_of_the_same_operation_only() {
    let (_dir, store) = opened();
    let of = |number, operation: &str| {
        let settings = format!(r#"{{"operation":"{operation}"}}"#);
        let run = NewRun {
            settings,
            ..new_run(number)
        };
        let run = block_on(store.create_run(run)).unwrap();
        block_on(store.append_rows(run, vec![row(1)], mark(1))).unwrap();
        take(&store, cancel_take(scope(&store), (run, 1, 1), at(10)));
        run
    };
    let [cancel, release, _] = [of(1, "cancel"), of(2, "release"), of(3, "cancel")];
    let shown = |run| {
        let mut own = Vec::new();
        let reader = store.reader().unwrap();
        let (from, to) = (at(0).wall, at(20).wall);
        let visit = |sending: Sending| own.push(sending.is_own);
        reader.sendings(run, from, to, visit).unwrap();
        own
    };
    assert_eq!(shown(cancel), [true, false]);
    assert_eq!(shown(release), [true]);
}

#[test]
fn runs_are_listed_newest_first() {
    let (_dir, store) = opened();
    for number in [2, 3, 1] {
        block_on(store.create_run(new_run(number))).unwrap();
    }
    let listed: Vec<_> = store
        .reader()
        .unwrap()
        .runs()
        .unwrap()
        .into_iter()
        .map(|run| run.begun.id)
        .collect();
    assert_eq!(listed, [3, 2, 1].map(|number| new_run(number).id));
    let twice = block_on(store.create_run(new_run(1)));
    assert!(twice.is_err());
}
