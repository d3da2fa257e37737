//! Reading states before cancels: what it saves, what it must not delay, and what it costs, in virtual time.

#![expect(
    clippy::print_stdout,
    reason = "the figures are part of what these tests show"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use mde_cancel::engine::core::StopReason;
use mde_cancel::model::Outcome::*;
use mde_cancel::model::{
    ActionStatus, ActionType, Destination, MachineAction, Outcome, ReplyKind, RetryAfter, RowNumber,
};

use crate::support::{
    Fault, History, Simulation, always, id_of, millis, outage, reply, secs, throttled,
};

fn counts<const N: usize>(pairs: [(Outcome, usize); N]) -> BTreeMap<Outcome, usize> {
    pairs.into()
}

fn first_post(history: &History) -> Duration {
    history.posts.first().unwrap().0
}

#[test]
fn nothing_is_sent_to_actions_that_have_ended() {
    let mut world = Simulation::prechecked(10_000);
    world.state_of = Box::new(|row, _| {
        Some(match row.0 % 10 {
            0..3 => ActionStatus::Pending,
            3 => ActionStatus::Cancelled,
            4 => ActionStatus::TimeOut,
            _ => ActionStatus::Succeeded,
        })
    });
    let history = world.run();
    let expected = [
        (Cancelled, 3_000),
        (AlreadyCancelled, 1_000),
        (AlreadyFinal, 6_000),
    ];
    assert_eq!(history.counts(), counts(expected));
    assert_eq!((history.wasted, history.posts.len()), (0, 3_000));
    // What was read in the last minute before an hour's wait is stale afterwards.
    let reads = history.reads.len();
    println!(
        "10,000 ids, 70 % ended: {reads} reads, {:?}",
        history.elapsed
    );
    assert!(reads <= 100 + 3, "{reads} reads");
    assert!(
        first_post(&history) <= millis(150),
        "{:?}",
        first_post(&history)
    );
    let formula = secs(3_600 + 14 * 60);
    let ratio = history.elapsed.as_secs_f64() / formula.as_secs_f64();
    assert!(ratio <= 1.02, "{ratio}");
}

#[test]
fn actions_that_end_by_themselves_waste_hardly_a_cancel() {
    let mut world = Simulation::prechecked(5_000);
    // One in three ends within the three hours, at a random time.
    world.state_of = Box::new(|row, now| {
        let ends = secs(u64::from(row.0.wrapping_mul(2_654_435_761) % 32_400));
        Some(if now < ends {
            ActionStatus::Pending
        } else {
            ActionStatus::Succeeded
        })
    });
    let history = world.run();
    let sent = history.posts.len();
    println!(
        "{} of {sent} cancels wasted, {} reads, {:?}",
        history.wasted,
        history.reads.len(),
        history.elapsed
    );
    assert!(history.wasted * 100 < sent, "{} of {sent}", history.wasted);
    assert_eq!(history.outcomes.len(), 5_000);
    assert!(history.counts()[&AlreadyFinal] > 500);
}

#[test]
fn an_action_that_ends_or_vanishes_between_precheck_and_cancel_is_reported_as_it_is() {
    for (after, expected, why) in [
        (
            Some(ActionStatus::Failed),
            AlreadyFinal,
            "open when first read, then ended as Failed",
        ),
        (
            Some(ActionStatus::Cancelled),
            AlreadyCancelled,
            "already cancelled at 1970-01-01T00:00:00Z, with the comment: by somebody else",
        ),
        (
            None,
            NotFound,
            "404; found earlier, but missing in a later read",
        ),
    ] {
        let mut world = Simulation::prechecked(1);
        world.state_of = Box::new(move |_, now| {
            if now < millis(120) {
                Some(ActionStatus::Pending)
            } else {
                after.clone()
            }
        });
        let history = world.run();
        assert_eq!(history.posts.len(), 1);
        assert_eq!(history.outcomes[&RowNumber(1)], expected);
        let reason = &history.reasons[&RowNumber(1)];
        assert!(reason.starts_with(why), "{reason}");
    }
}

#[test]
fn an_action_that_vanishes_while_it_waits_for_its_turn_is_not_sent() {
    let mut world = Simulation::prechecked(1_600);
    world.state_of =
        Box::new(|row, now| (row.0 <= 1_550 || now < secs(1_200)).then_some(ActionStatus::Pending));
    let history = world.run();
    assert_eq!(
        history.counts(),
        counts([(Cancelled, 1_550), (NotFound, 50)])
    );
    assert_eq!(history.posts.len(), 1_550);
}

#[test]
fn the_ids_of_another_tenant_stop_the_run_before_anything_is_sent() {
    let mut world = Simulation::prechecked(3_000);
    world.state_of = Box::new(|_, _| None);
    let history = world.run();
    assert_eq!(history.stop, Some(StopReason::AllMissing));
    assert!(history.posts.is_empty());
    assert!(history.reads.len() <= 4, "{} reads", history.reads.len());
    assert!(history.elapsed <= secs(40), "{:?}", history.elapsed);
    // Without a precheck, a hundred cancels show the same.
    let mut world = Simulation::slow(300);
    world.state_of = Box::new(|_, _| None);
    let history = world.run();
    assert_eq!(history.stop, Some(StopReason::AllMissing));
    assert!(history.posts.len() <= 100, "{}", history.posts.len());
}

#[test]
fn a_few_missing_ids_are_looked_for_once_more_together() {
    let mut world = Simulation::prechecked(1_000);
    world.state_of =
        Box::new(|row, now| (row.0 % 20 != 0 || now > secs(20)).then_some(ActionStatus::Pending));
    let history = world.run();
    assert_eq!(history.counts(), counts([(Cancelled, 1_000)]));
    assert!(history.reads.len() <= 10 + 10, "{}", history.reads.len());
}

#[test]
fn missing_ids_do_not_outlast_the_cancels_of_the_others() {
    let mut world = Simulation::prechecked(150);
    world.state_of = Box::new(|row, _| (row.0 % 50 != 0).then_some(ActionStatus::Pending));
    let history = world.run();
    assert_eq!(history.counts(), counts([(Cancelled, 147), (NotFound, 3)]));
    let last_post = history.posts.iter().map(|&(at, _)| at).max().unwrap();
    let after = history.elapsed.saturating_sub(last_post);
    assert!(after <= secs(1), "{after:?} after the last cancel");
}

#[test]
fn a_small_input_with_a_missing_id_waits_only_for_its_second_look() {
    let mut world = Simulation::prechecked(10);
    world.state_of = Box::new(|row, _| (row.0 != 5).then_some(ActionStatus::Pending));
    let history = world.run();
    assert_eq!(history.counts(), counts([(Cancelled, 9), (NotFound, 1)]));
    assert!(history.elapsed <= secs(37), "{:?}", history.elapsed);
}

#[test]
fn forbidden_types_do_not_delay_the_rows_after_them() {
    let type_of = |row: RowNumber| {
        Some(if row.0 <= 10 {
            ActionType::LiveResponse
        } else {
            ActionType::Isolate
        })
    };
    let mut world = Simulation::prechecked(3_000);
    world.true_type_of = type_of;
    world.cancel_answer = Box::new(|id, _| {
        (id <= id_of(RowNumber(10))).then(|| reply(ReplyKind::Forbidden, Some(403)))
    });
    let history = world.run();
    assert_eq!(
        history.counts(),
        counts([(Cancelled, 2_990), (Forbidden, 10)])
    );
    assert_eq!(history.posts.len(), 3_000);
}

#[test]
fn the_record_tells_a_protected_type_that_the_input_hid() {
    let mut world = Simulation::prechecked(20);
    world.type_of = |_| Some(ActionType::Isolate);
    world.true_type_of = |row| {
        Some(if row.0 == 7 {
            ActionType::Unisolate
        } else {
            ActionType::Isolate
        })
    };
    let history = world.run();
    assert_eq!(history.counts(), counts([(Cancelled, 19), (Skipped, 1)]));
    assert!(history.reasons[&RowNumber(7)].starts_with("protected type"));
}

#[test]
fn reads_that_hang_let_the_rows_go_whose_type_the_input_gives() {
    let mut world = Simulation::prechecked(200);
    world.type_of = |row| (row.0 % 2 == 0).then_some(ActionType::Isolate);
    // For ten minutes, each read hangs until its timeout.
    world.read_latency = always(secs(30));
    world.read_answer =
        Box::new(|_, now| (now < secs(600)).then(|| reply(ReplyKind::TimedOut, None)));
    let history = world.run();
    assert_eq!(history.counts(), counts([(Cancelled, 200)]));
    let first = first_post(&history);
    assert!(first >= secs(5) && first <= secs(6), "{first:?}");
    let early = history.posts.iter().filter(|(at, _)| *at < secs(300));
    assert_eq!(early.count(), 100, "the rows of known type");
}

#[test]
fn what_was_cancelled_unread_and_was_not_to_be_is_a_follow_up() {
    let mut world = Simulation::prechecked(20);
    world.type_of = |_| Some(ActionType::Isolate);
    world.true_type_of = |row| {
        Some(match row.0 {
            7 => ActionType::Unisolate,
            8 => ActionType::RunAntiVirusScan,
            _ => ActionType::Isolate,
        })
    };
    world.rules.selection.types = vec![ActionType::Isolate, ActionType::Unisolate];
    world.read_latency = always(secs(30));
    world.read_answer =
        Box::new(|_, now| (now < secs(600)).then(|| reply(ReplyKind::TimedOut, None)));
    world.verify_for = Some(secs(3_600));
    let history = world.run();
    assert_eq!(history.counts(), counts([(Cancelled, 20)]));
    assert!(first_post(&history) <= secs(6));
    assert_eq!(history.tally.follow_ups, 2);
    for (row, why) in [
        (7, "says type protected: Unisolate"),
        (8, "type not selected: RunAntiVirusScan"),
    ] {
        let reason = &history.reasons[&RowNumber(row)];
        assert!(reason.ends_with(why), "{reason}");
    }
}

#[test]
fn reads_that_are_throttled_hold_up_only_rows_of_unknown_type() {
    let mut world = Simulation::prechecked(40);
    world.type_of = |row| (row.0 <= 30).then_some(ActionType::Isolate);
    world.read_answer =
        Box::new(|_, now| (now < secs(1_800)).then(|| throttled(RetryAfter::Wait(secs(1_800)))));
    let history = world.run();
    assert_eq!(history.counts(), counts([(Cancelled, 40)]));
    assert_eq!(history.posts[29].0.as_secs() / 60, 0);
    assert!(history.posts[30].0 >= secs(1_800));
    assert!(history.reads.len() <= 4, "{}", history.reads.len());
}

#[test]
fn rereads_that_have_no_slot_hold_up_no_precheck_that_has_one() {
    let mut world = Simulation::prechecked(3);
    world.trickle(secs(40));
    world.rows_at_once = 2;
    // Two records need a reread while the list is closed; the third is read by its own address.
    world.cancel_answer =
        Box::new(|_, now| (now < secs(60)).then(|| reply(ReplyKind::NotFound, Some(404))));
    world.fault = Box::new(|_, destination, now| {
        let is_closed = destination == Destination::List && now > secs(60);
        (is_closed && now < secs(600)).then_some(Fault::Throttled(RetryAfter::Wait(secs(1_800))))
    });
    let history = world.run();
    assert_eq!(history.counts(), counts([(Cancelled, 3)]));
    let third = id_of(RowNumber(3));
    let (at, _) = history.posts.iter().find(|(_, id)| *id == third).unwrap();
    assert!(*at < secs(81), "{:?}", history.posts);
}

#[test]
fn reads_that_hang_load_no_more_rows_than_can_go_without_them() {
    let mut world = Simulation::prechecked(3_000);
    world.type_of = |_| Some(ActionType::Isolate);
    world.fault = Box::new(|_, destination, _| {
        (destination != Destination::Cancel).then_some(Fault::Silent(false))
    });
    world.until = secs(600);
    let history = world.run();
    assert!(history.posts.len() > 900, "{}", history.posts.len());
    assert!(history.most_loaded <= 600, "{}", history.most_loaded);
}

#[test]
fn a_token_that_may_not_read_stops_the_run_before_anything_is_sent() {
    let mut world = Simulation::prechecked(500);
    world.type_of = |_| Some(ActionType::Isolate);
    world.readable = false;
    let history = world.run();
    assert_eq!(history.stop_name(), "ReadingForbidden");
    assert!(history.posts.is_empty());
    assert!(history.reads.len() <= 2, "{}", history.reads.len());
}

#[test]
fn losing_the_read_permission_stops_a_run_with_a_missing_id_to_reread() {
    let mut world = Simulation::prechecked(3);
    world.state_of = Box::new(|row, _| (row.0 != 1).then_some(ActionStatus::Pending));
    world.cancel_answer = Box::new(|id, _| {
        (id == id_of(RowNumber(2))).then(|| reply(ReplyKind::ServerFault(None), Some(500)))
    });
    world.read_answer =
        Box::new(|_, now| (now > millis(50)).then(|| reply(ReplyKind::Forbidden, Some(403))));
    let history = world.run();
    assert_eq!(history.stop_name(), "ReadingForbidden");
}

#[test]
fn batches_that_are_refused_are_halved_and_grow_again() {
    for kind in [ReplyKind::Refused, ReplyKind::NotFound] {
        let mut world = Simulation::prechecked(1_000);
        world.read_answer =
            Box::new(move |ids, _| (ids.len() > 40).then(|| reply(kind.clone(), Some(400))));
        let history = world.run();
        assert_eq!(history.counts(), counts([(Cancelled, 1_000)]));
        println!("batches of 40 at most: {} reads", history.reads.len());
        assert!(history.reads.len() <= 60, "{}", history.reads.len());
    }
    // One id that no filter may name costs a few reads, not one a row.
    let mut world = Simulation::prechecked(1_000);
    world.read_answer = Box::new(|ids, _| {
        (ids.len() > 1 && ids.contains(&id_of(RowNumber(333))))
            .then(|| reply(ReplyKind::Refused, Some(400)))
    });
    let history = world.run();
    assert_eq!(history.counts(), counts([(Cancelled, 1_000)]));
    println!("one poisonous id: {} reads", history.reads.len());
    assert!(history.reads.len() <= 120, "{}", history.reads.len());
}

#[test]
fn an_action_whose_record_cannot_be_read_is_sent_only_where_the_input_gives_its_type() {
    for (type_of, expected) in [(Some(ActionType::Isolate), Cancelled), (None, Failed)] {
        let mut world = Simulation::prechecked(1_000);
        let known = type_of.is_some();
        world.type_of = if known {
            |_| Some(ActionType::Isolate)
        } else {
            |_| None
        };
        world.read_answer = Box::new(|ids, _| {
            ids.contains(&id_of(RowNumber(250)))
                .then(|| reply(ReplyKind::ServerFault(None), Some(500)))
        });
        let history = world.run();
        assert_eq!(history.outcomes[&RowNumber(250)], expected);
        assert_eq!(history.outcomes.len(), 1_000);
        let others = history.outcomes.values().filter(|&&one| one == Cancelled);
        assert!(others.count() >= 999);
    }
}

#[test]
fn rows_that_trickle_in_are_read_in_batches_all_the_same() {
    let mut world = Simulation::prechecked(500);
    world.trickle(millis(5));
    let history = world.run();
    assert_eq!(history.counts(), counts([(Cancelled, 500)]));
    println!("a row every 5 ms: {} reads", history.reads.len());
    assert!(history.reads.len() <= 14, "{}", history.reads.len());
    assert!(first_post(&history) <= millis(150));
}

#[test]
fn the_precheck_costs_no_time_that_shows() {
    for (rows, formula) in [(1_000, 540), (1_500, 840), (5_000, 11_040)] {
        let history = Simulation::prechecked(rows).run();
        let ratio = history.elapsed.as_secs_f64() / f64::from(formula);
        let reads = history.reads.len();
        println!("{rows} rows: ratio to the formula {ratio:.4}, {reads} reads");
        assert!(ratio <= 1.02, "{rows}: {ratio}");
        // A hundred ids a read, plus what was stale after an hour's wait.
        assert!(reads <= rows as usize / 100 + 3 * 2, "{rows}: {reads}");
        assert_eq!(history.throttled, 0);
        let hundredth = history.posts[99].0;
        assert!(hundredth <= secs(3), "{hundredth:?}");
    }
}

#[test]
fn an_outage_of_everything_costs_time_and_not_rows() {
    for fault in [Fault::Unavailable, Fault::NoName, Fault::Silent(false)] {
        for (rows, typed) in [(500, true), (500, false), (304, true)] {
            let mut world = Simulation::prechecked(rows);
            world.type_of = if typed {
                |_| Some(ActionType::Isolate)
            } else {
                |_| None
            };
            world.fault = outage(secs(125)..secs(725), fault);
            let history = world.run();
            assert_eq!(
                history.counts(),
                counts([(Cancelled, rows as usize)]),
                "{fault:?}"
            );
            let late = history.arrivals.iter().filter(|&&at| at >= secs(725));
            let first_minute = late.filter(|&&at| at < secs(785)).count();
            println!(
                "{fault:?}, typed {typed}: {} slots, {first_minute} in the first minute after, end {:?}",
                history.faulted, history.elapsed
            );
            assert!(history.faulted <= 40, "{}", history.faulted);
            assert!(first_minute >= 50 || rows < 400, "{first_minute}");
        }
    }
}

/// A second cancel depends on the record read just before it, not on the one before the first attempt.
#[test]
fn a_record_that_turns_protected_or_excluded_is_sent_no_second_cancel() {
    let turned = |kind: ActionType, machine: &str| {
        let machine = machine.to_owned();
        move |ids: &[_]| {
            let records = ids.iter().map(|id| MachineAction {
                status: Some(ActionStatus::Pending),
                action_type: Some(kind.clone()),
                computer_dns_name: Some(machine.clone()),
                ..MachineAction::bare(*id)
            });
            reply(ReplyKind::Answer(records.collect()), Some(200))
        }
    };
    let unanswered = || reply(ReplyKind::ServerFault(None), Some(500));
    for (kind, machine, reason) in [
        (
            ActionType::Unisolate,
            "ws-1",
            "not sent again: protected type",
        ),
        (
            ActionType::Isolate,
            "DC-01.contoso.com",
            "not sent again: excluded by",
        ),
        (
            ActionType::Other("Uniso1ate".to_owned()),
            "ws-1",
            "not sent again: type unknown",
        ),
    ] {
        for (answer, outcome) in [
            (unanswered(), Failed),
            (throttled(RetryAfter::Wait(secs(600))), Skipped),
        ] {
            let mut world = Simulation::prechecked(2);
            world.rules.exclude.add("dc-01");
            let before = turned(ActionType::Isolate, "ws-1");
            let after = turned(kind.clone(), machine);
            world.read_answer = Box::new(move |ids, at| {
                Some(if at < secs(1) {
                    before(ids)
                } else {
                    after(ids)
                })
            });
            world.latency = always(secs(2));
            world.cancel_answer = Box::new(move |_, _| Some(answer.clone()));
            let history = world.run();
            assert_eq!(history.counts(), counts([(outcome, 2)]), "{kind:?}");
            assert_eq!(history.posts.len(), 2, "{kind:?}");
            let told = &history.reasons[&RowNumber(1)];
            assert!(told.starts_with(reason), "{told}");
        }
    }
}
