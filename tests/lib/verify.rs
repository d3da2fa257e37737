//! Accepted cancels are watched until their record shows them or time is up, in virtual time.

#![expect(
    clippy::print_stdout,
    reason = "the figures are part of what these tests show"
)]

use std::time::Duration;

use mde_cancel::engine::{Precheck, SkipRules};
use mde_cancel::model::Outcome::*;
use mde_cancel::model::{ActionStatus, ActionType, MachineAction, ReplyKind, RowNumber};

use crate::support::{Simulation, id_of, reply, row_of, secs};

/// A service that accepts each cancel as Pending; its records show the status of `ends_as`.
fn lagging(rows: u32, ends_as: fn(RowNumber, Duration) -> ActionStatus) -> Simulation {
    let mut world = Simulation::prechecked(rows);
    world.verify_for = Some(secs(120));
    world.cancel_answer = Box::new(|id, _| {
        let record = MachineAction {
            status: Some(ActionStatus::Pending),
            ..MachineAction::bare(id)
        };
        Some(reply(ReplyKind::Answer(Some(record)), Some(200)))
    });
    world.read_answer = Box::new(move |ids, now| {
        let records = ids.iter().map(|&id| MachineAction {
            status: Some(ends_as(row_of(id), now)),
            action_type: Some(ActionType::Isolate),
            ..MachineAction::bare(id)
        });
        Some(reply(ReplyKind::Answer(records.collect()), Some(200)))
    });
    world
}

#[test]
fn each_accepted_cancel_gets_the_outcome_of_its_record() {
    let world = lagging(30, |row, now| match row.0 % 3 {
        _ if now < secs(20) => ActionStatus::Pending,
        0 => ActionStatus::Cancelled,
        1 => ActionStatus::Succeeded,
        _ => ActionStatus::InProgress,
    });
    let history = world.run();
    let counts = history.counts();
    assert_eq!(
        (counts[&Cancelled], counts[&TooLate], counts[&Accepted]),
        (10, 10, 10)
    );
    assert_eq!(history.posts.len(), 30);
    assert!(
        history.elapsed >= secs(120) && history.elapsed <= secs(125),
        "{:?}",
        history.elapsed
    );
    assert!(history.reads.len() <= 8, "{}", history.reads.len());
}

#[test]
fn watching_goes_on_beside_the_cancels_and_costs_few_reads() {
    let world = lagging(1_000, |row, now| {
        // A hundred a minute are sent; each cancel takes effect half a minute later.
        if now < secs(30 + 60 * u64::from((row.0 - 1) / 100)) {
            ActionStatus::Pending
        } else {
            ActionStatus::Cancelled
        }
    });
    let history = world.run();
    assert_eq!(history.counts()[&Cancelled], 1_000);
    assert_eq!(history.posts.len(), 1_000);
    // Ten batches of the precheck, and a few reads of each minute's cancels.
    assert!(history.reads.len() <= 10 + 60, "{}", history.reads.len());
    println!(
        "1,000 accepted: {} reads, {:?}",
        history.reads.len(),
        history.elapsed
    );
    assert!(
        history.elapsed <= secs(9 * 60 + 60),
        "{:?}",
        history.elapsed
    );
}

#[test]
fn rows_stay_accepted_if_reads_are_forbidden() {
    let mut world = lagging(5, |_, _| ActionStatus::Pending);
    world.rules = SkipRules::default();
    world.readable = false;
    world.read_answer = Box::new(|_, _| None);
    let history = world.run();
    assert_eq!(history.counts()[&Accepted], 5);
    assert_eq!(history.stop, None);
    assert!(history.reads.len() <= 2);
}

#[test]
fn a_short_verify_timeout_still_allows_one_read() {
    let mut world = lagging(5, |_, now| {
        if now < secs(1) {
            ActionStatus::Pending
        } else {
            ActionStatus::Cancelled
        }
    });
    world.verify_for = Some(secs(2));
    let history = world.run();
    assert_eq!(history.counts()[&Cancelled], 5);
    assert!(history.elapsed <= secs(3), "{:?}", history.elapsed);
}

#[test]
fn without_verifying_nothing_is_read_again() {
    let mut world = lagging(5, |_, _| ActionStatus::Pending);
    world.verify_for = None;
    let history = world.run();
    assert_eq!(history.counts()[&Accepted], 5);
    assert_eq!(history.reads.len(), 1, "the precheck's");
}

#[test]
fn an_accepted_action_that_vanishes_stays_accepted_and_the_reason_says_so() {
    let mut world = lagging(1, |_, _| ActionStatus::Pending);
    world.read_answer = Box::new(|ids, now| {
        let records = ids.iter().filter(|_| now < secs(1));
        let records = records.map(|&id| MachineAction {
            status: Some(ActionStatus::Pending),
            action_type: Some(ActionType::Isolate),
            ..MachineAction::bare(id)
        });
        Some(reply(ReplyKind::Answer(records.collect()), Some(200)))
    });
    let history = world.run();
    assert_eq!(history.outcomes[&RowNumber(1)], Accepted);
    assert_eq!(
        history.reasons[&RowNumber(1)],
        "cancel accepted, but its record is gone"
    );
}

#[test]
fn reads_that_fail_for_one_action_alone_do_not_end_its_time() {
    let mut world = lagging(100, |_, _| ActionStatus::Cancelled);
    world.rules.precheck = Precheck::Skip;
    // Other rows keep getting answers, so that each fault counts against this one.
    world.trickle(secs(1));
    let mut read = world.read_answer;
    world.read_answer = Box::new(move |ids, now| {
        if ids.contains(&id_of(RowNumber(1))) && now < secs(80) {
            return Some(reply(ReplyKind::ServerFault(None), Some(500)));
        }
        read(ids, now)
    });
    let history = world.run();
    assert_eq!(
        history.outcomes[&RowNumber(1)],
        Cancelled,
        "{}",
        history.reasons[&RowNumber(1)]
    );
}
