//! Sequences that once stopped a run wrongly, stalled it or made it report something false, in virtual time.

use std::time::Duration;

use mde_cancel::engine::Precheck;
use mde_cancel::engine::core::{MaxFailures, StopReason};
use mde_cancel::model::Outcome::*;
use mde_cancel::model::{
    ActionId, ActionStatus, ActionType, MachineAction, ReadPage, ReadReply, Reply, ReplyKind,
    RetryAfter, RowNumber, RunId, ServiceError, Throttle,
};
use mde_cancel::quota::{Pace, Window, Windows};

use crate::support::{
    Fault, SignIn, Simulation, always, id_of, millis, outage, reply, secs, throttled,
};

fn world(rows: u32) -> Simulation {
    let mut world = Simulation::of(rows);
    world.latency = always(millis(100));
    world
}

fn is_row(id: ActionId, mut rows: impl Iterator<Item = u32>) -> bool {
    rows.any(|row| id == id_of(RowNumber(row)))
}

fn records(ids: &[ActionId], status: &str) -> ReadReply {
    let records = ids.iter().map(|&id| record(id, status));
    reply(ReplyKind::Answer(records.collect()), Some(200))
}

fn record(id: ActionId, status: &str) -> MachineAction {
    MachineAction {
        status: Some(ActionStatus::parse(status)),
        action_type: Some(ActionType::Isolate),
        ..MachineAction::bare(id)
    }
}

#[test]
fn a_token_that_ends_with_several_calls_on_the_wire_is_renewed_once() {
    let mut world = world(50);
    world.cancel_answer = Box::new(|_, now| {
        (millis(400) < now && now < millis(600)).then(|| reply(ReplyKind::Unauthorized, Some(401)))
    });
    let history = world.run();
    assert_eq!(history.stop, None);
    assert_eq!(history.counts()[&Cancelled], 50);
    assert_eq!(history.tokens, 2);
}

#[test]
fn tokens_that_live_three_seconds_are_renewed_once_each_and_none_is_carried_past_its_end() {
    let mut world = world(1500);
    world.latency = always(millis(50));
    world.sign_in = Box::new(|_, _| SignIn::Token(Some(secs(3))));
    let history = world.run();
    assert_eq!(history.counts()[&Cancelled], 1500);
    assert_eq!(history.with_ended_token, 0);
    // Tokens are replaced at most 300 ms before they expire.
    let lives = history.elapsed.as_millis() / 2700;
    assert!(
        history.tokens as u128 <= lives + 2,
        "{} tokens in {:?}",
        history.tokens,
        history.elapsed
    );
    assert!(history.tokens > 100, "{}", history.tokens);
}

#[test]
fn a_login_service_that_is_down_costs_time_and_no_row() {
    for life in [secs(3), secs(3600)] {
        let mut world = world(1000);
        world.sign_in = Box::new(move |_, now| match now {
            now if (secs(30)..secs(630)).contains(&now) => SignIn::Unavailable,
            _ => SignIn::Token(Some(life)),
        });
        let history = world.run();
        assert_eq!(history.stop, None);
        assert_eq!(history.counts()[&Cancelled], 1000);
        assert_eq!(history.with_ended_token, 0);
        assert!(
            history.elapsed < secs(630 + 60 + 540),
            "{life:?}: {:?}",
            history.elapsed
        );
    }
}

#[test]
fn a_login_service_that_never_answers_is_waited_for_a_minute() {
    let mut world = world(10);
    world.sign_in = Box::new(|_, _| SignIn::Unavailable);
    let history = world.run();
    assert!(
        matches!(&history.stop, Some(StopReason::SignIn(why)) if why == "nobody answers"),
        "{:?}",
        history.stop
    );
    assert!(history.posts.is_empty());
    assert!(
        (60..=120).contains(&history.elapsed.as_secs()),
        "{:?}",
        history.elapsed
    );
}

#[test]
fn two_tokens_refused_for_one_action_stop_the_run_instead_of_renewing_for_ever() {
    let mut world = world(100);
    world.cancel_answer =
        Box::new(|id, _| is_row(id, 3..=3).then(|| reply(ReplyKind::Unauthorized, Some(401))));
    let history = world.run();
    assert_eq!(history.stop_name(), "SignIn");
    assert!(history.tokens <= 3, "{}", history.tokens);
}

#[test]
fn one_action_that_cannot_be_read_does_not_hold_the_others_up() {
    for bad in [97, 100] {
        let mut world = world(1000);
        world.cancel_answer = Box::new(move |id, now| {
            (is_row(id, bad..=bad) && now < secs(5))
                .then(|| reply(ReplyKind::ServerFault(None), Some(504)))
        });
        world.read_answer = Box::new(move |ids, _| {
            ids.contains(&id_of(RowNumber(bad)))
                .then(|| reply(ReplyKind::ServerFault(None), Some(500)))
        });
        let history = world.run();
        assert_eq!(history.counts()[&Cancelled], 1000);
        assert!(history.elapsed < secs(700), "{:?}", history.elapsed);
    }
}

#[test]
fn rows_that_are_always_unavailable_fail_however_many_they_are() {
    for (rows, bad) in [(1, 1), (20, 1), (20, 2), (20, 5)] {
        for readable in [true, false] {
            let mut world = world(rows);
            world.readable = readable;
            world.cancel_answer = Box::new(move |id, _| {
                is_row(id, 1..=bad).then(|| reply(ReplyKind::NotApplied(None), Some(503)))
            });
            let history = world.run();
            assert!(history.finished);
            assert_eq!(history.counts()[&Failed], bad as usize, "{bad} {readable}");
            assert!(
                history.posts.len() <= (rows + 8 * bad) as usize,
                "{}",
                history.posts.len()
            );
            assert!(
                history.elapsed < secs(1200),
                "{bad} {readable}: {:?}",
                history.elapsed
            );
        }
    }
}

#[test]
fn a_row_that_cannot_be_sent_does_not_block_the_others() {
    let mut world = world(1000);
    world.pace = None;
    world.until = secs(700);
    world.cancel_answer = Box::new(|id, _| {
        is_row(id, 3..=3).then(|| reply(ReplyKind::NotSent("unsendable".into()), None))
    });
    let history = world.run();
    assert_eq!(history.outcomes.len(), 999);
}

#[test]
fn a_hundred_404s_are_looked_at_before_the_run_is_called_wrong() {
    let mut world = world(120);
    world.cancel_answer = Box::new(|_, _| Some(reply(ReplyKind::NotFound, Some(404))));
    world.read_answer = Box::new(|ids, _| Some(records(ids, "Succeeded")));
    let history = world.run();
    assert_eq!(history.stop, None);
    assert_eq!(history.counts()[&AlreadyFinal], 120);
    assert!(history.reads.len() <= 6, "{} reads", history.reads.len());
}

#[test]
fn forbidden_rows_of_unknown_type_do_not_condemn_the_rest() {
    let mut world = world(100);
    world.cancel_answer =
        Box::new(|id, _| is_row(id, 1..=16).then(|| reply(ReplyKind::Forbidden, Some(403))));
    let history = world.run();
    assert_eq!(
        (history.counts()[&Forbidden], history.counts()[&Cancelled]),
        (16, 84)
    );
    assert_eq!(history.stop, None);
}

fn forbidden(message: &str) -> Reply<Option<MachineAction>> {
    Reply {
        kind: ReplyKind::Forbidden,
        http_status: Some(403),
        error: Some(ServiceError {
            code: "Forbidden".to_owned(),
            message: message.to_owned(),
            correlation_id: None,
        }),
    }
}

/// The service's answer to a token without any role.
const NO_ROLES: &str =
    "Missing application roles. API required roles: Machine.Isolate, application roles: .";

#[test]
fn permissions_that_are_lost_in_mid_run_cost_thirty_calls_and_stop_it() {
    for precheck in [Precheck::Skip, Precheck::ReadFirst] {
        for (message, of_type) in [
            (NO_ROLES, true),
            (NO_ROLES, false),
            ("Access to this resource is forbidden.", true),
            ("Access to this resource is forbidden.", false),
        ] {
            let mut world = world(1_000);
            world.rules.precheck = precheck;
            if of_type {
                world.type_of = |_| Some(ActionType::Isolate);
            }
            world.true_type_of = |_| Some(ActionType::Isolate);
            let mut sent = 0;
            world.cancel_answer = Box::new(move |_, _| {
                sent += 1;
                (sent > 30).then(|| forbidden(message))
            });
            let history = world.run();
            let Some(StopReason::AllForbidden(why)) = &history.stop else {
                panic!("{:?}", history.stop);
            };
            assert!(why.contains(message), "{why}");
            let counts = history.counts();
            assert_eq!(counts[&Cancelled], 30);
            assert!(counts[&Forbidden] <= 30, "{counts:?}");
            assert_eq!(history.posts.len(), 30 + counts[&Forbidden]);
            assert_eq!(history.tokens, 2, "one refresh");
            // Five of them come from across the rest.
            let far = history
                .posts
                .iter()
                .filter(|(_, id)| *id > id_of(RowNumber(300)));
            assert!(far.count() >= 3, "{:?}", history.posts);
        }
    }
}

#[test]
fn a_type_that_is_denied_is_left_for_later_and_the_others_are_sent() {
    for precheck in [Precheck::Skip, Precheck::ReadFirst] {
        let mut world = world(400);
        world.rules.precheck = precheck;
        let type_of = |row: RowNumber| {
            Some(if row.0.is_multiple_of(2) {
                ActionType::Isolate
            } else {
                ActionType::LiveResponse
            })
        };
        world.type_of = type_of;
        world.true_type_of = type_of;
        world.cancel_answer = Box::new(|id, now| {
            let is_isolate = id.as_bytes()[15].is_multiple_of(2);
            (is_isolate && now > millis(500)).then(|| forbidden("No."))
        });
        let history = world.run();
        let counts = history.counts();
        let isolates = history
            .outcomes
            .iter()
            .filter(|(row, _)| row.0.is_multiple_of(2))
            .count();
        assert_eq!(counts[&Cancelled] - (isolates - counts[&Forbidden]), 200);
        assert!(counts[&Forbidden] <= 30, "{counts:?}");
        assert_eq!(history.deferred.len(), 400 - history.outcomes.len());
        let reasons = history.deferred.values();
        assert!(
            reasons
                .clone()
                .all(|why| why.contains("grant Machine.Isolate")),
            "{reasons:?}"
        );
        let Some(StopReason::LeftForLater(why)) = &history.stop else {
            panic!("{:?}", history.stop);
        };
        let said = format!(
            "{} rows not sent: cancels of Isolate",
            history.deferred.len()
        );
        assert!(why.contains(&said), "{why}");
    }
}

#[test]
fn a_device_group_that_may_not_be_touched_costs_its_own_rows_alone() {
    let mut world = world(300);
    world.type_of = |_| Some(ActionType::Isolate);
    world.cancel_answer = Box::new(|id, _| is_row(id, 1..=25).then(|| forbidden("No.")));
    let history = world.run();
    assert_eq!(
        (history.stop.clone(), history.counts()[&Cancelled]),
        (None, 275)
    );
    assert_eq!(history.counts()[&Forbidden], 25);
}

#[test]
fn single_403s_among_successes_stay_with_their_rows() {
    let mut world = world(500);
    world.type_of = |_| Some(ActionType::Isolate);
    world.cancel_answer = Box::new(|id, _| {
        id.as_bytes()[15]
            .is_multiple_of(3)
            .then(|| forbidden(NO_ROLES))
    });
    let history = world.run();
    assert_eq!((history.stop.clone(), history.outcomes.len()), (None, 500));
    assert_eq!(history.tokens, 1);
}

#[test]
fn a_new_token_that_holds_the_permission_lets_the_run_go_on() {
    let mut world = world(300);
    world.type_of = |_| Some(ActionType::Isolate);
    // The first token loses its permission, and a new one has it again.
    world.cancel_answer =
        Box::new(|_, now| (secs(1) < now && now < millis(1_300)).then(|| forbidden(NO_ROLES)));
    let history = world.run();
    assert_eq!(history.stop, None);
    assert_eq!(history.outcomes.len(), 300);
    assert!(history.counts()[&Forbidden] <= 30, "{:?}", history.counts());
    assert_eq!(history.tokens, 2);
}

fn run_id(number: u128) -> RunId {
    RunId::new(uuid::Uuid::from_u128(number))
}

#[test]
fn rows_in_progress_in_another_run_go_last_and_are_checked_again() {
    for precheck in [Precheck::Skip, Precheck::ReadFirst] {
        let mut world = world(300);
        world.rules.precheck = precheck;
        world.in_progress = Box::new(|row, now| {
            (row.0 <= 20 || (row.0 <= 40 && now < secs(60))).then(|| run_id(7))
        });
        let history = world.run();
        assert_eq!(history.counts()[&Cancelled], 280);
        let late = history.posts.iter().filter(|(_, id)| is_row(*id, 21..=40));
        assert!(late.clone().all(|(at, _)| *at >= secs(60)), "{precheck:?}");
        assert_eq!(late.count(), 20);
        let left: Vec<_> = history.deferred.keys().map(|row| row.0).collect();
        assert_eq!(left, (1..=20).collect::<Vec<_>>());
        let why = format!("20 rows in progress in run {}", run_id(7));
        assert_eq!(history.stop, Some(StopReason::LeftForLater(why)));
        let row = &history.deferred[&RowNumber(1)];
        assert_eq!(*row, format!("not sent: in progress in run {}", run_id(7)));
    }
}

#[test]
fn what_another_run_sends_at_the_last_moment_is_left_to_it() {
    let mut world = world(300);
    world.sent_elsewhere =
        Box::new(|row, now| (row.0 == 150 && now < secs(200)).then(|| run_id(7)));
    let history = world.run();
    assert_eq!(history.counts()[&Cancelled], 299);
    assert_eq!(history.posts.len(), 299);
    assert_eq!(history.stop_name(), "LeftForLater");
}

#[test]
fn a_run_of_which_another_has_every_row_ends_at_once_and_says_so() {
    let mut world = world(1_000);
    world.in_progress = Box::new(|_, _| Some(run_id(7)));
    let history = world.run();
    assert!(history.posts.is_empty() && history.reads.is_empty());
    assert_eq!(history.deferred.len(), 1_000);
    assert!(history.elapsed < secs(1), "{:?}", history.elapsed);
    let why = format!("1,000 rows in progress in run {}", run_id(7));
    assert_eq!(history.stop, Some(StopReason::LeftForLater(why)));
}

#[test]
fn a_success_opens_a_type_again() {
    let mut world = world(100);
    world.pace = None;
    world.type_of = |_| Some(ActionType::Isolate);
    world.cancel_answer =
        Box::new(|id, _| is_row(id, 1..=10).then(|| reply(ReplyKind::Forbidden, Some(403))));
    let history = world.run();
    assert_eq!(
        history.counts()[&Cancelled],
        90,
        "{:?} {:?} {:?}",
        history.stop,
        history.reasons,
        history.posts
    );
    assert_eq!(history.stop, None);
}

#[test]
fn a_run_in_which_others_had_ended_is_not_called_all_forbidden() {
    let mut world = world(40);
    world.type_of = |row| {
        Some(if row.0 <= 20 {
            ActionType::Isolate
        } else {
            ActionType::LiveResponse
        })
    };
    world.cancel_answer = Box::new(|id, _| {
        Some(if is_row(id, 1..=20) {
            reply(ReplyKind::Forbidden, Some(403))
        } else {
            reply(ReplyKind::Answer(Some(record(id, "Succeeded"))), Some(200))
        })
    });
    world.read_answer = Box::new(|ids, _| Some(records(ids, "Succeeded")));
    let history = world.run();
    assert_eq!(history.stop_name(), "LeftForLater");
    assert_eq!(history.counts()[&AlreadyFinal], 20);
    assert!(history.counts()[&Forbidden] >= 15, "{:?}", history.counts());
}

#[test]
fn refusals_alike_but_for_the_id_in_their_words_stop_the_run() {
    for precheck in [Precheck::Skip, Precheck::ReadFirst] {
        let mut world = world(300);
        world.rules.precheck = precheck;
        world.cancel_answer = Box::new(|id, _| {
            Some(Reply {
                kind: ReplyKind::Refused,
                http_status: Some(400),
                error: Some(ServiceError {
                    code: "BadRequest".into(),
                    message: format!("action {id} cannot be cancelled"),
                    correlation_id: None,
                }),
            })
        });
        let history = world.run();
        assert!(
            matches!(&history.stop, Some(StopReason::SameRefusal(what)) if what.ends_with("cannot be cancelled")),
            "{:?}",
            history.stop
        );
        assert!(history.posts.len() <= 26, "{}", history.posts.len());
    }
}

/// Gives the answers in turn, then repeats the last one.
fn in_turn<T: Clone>(answers: Vec<T>) -> impl FnMut() -> T {
    let mut answers = answers.into_iter().peekable();
    move || {
        let answer = answers.next().unwrap();
        if answers.peek().is_none() {
            answers = vec![answer.clone()].into_iter().peekable();
        }
        answer
    }
}

/// One row with these answers to its cancels and these statuses in its record. Without statuses, reading is forbidden;
/// `""` is a failed read, and `"missing"` a list without the row.
fn one_row(
    cancels: Vec<ReplyKind<Option<MachineAction>>>,
    statuses: &'static [&'static str],
) -> Simulation {
    let mut world = world(1);
    world.readable = !statuses.is_empty();
    let mut next = in_turn(cancels);
    world.cancel_answer = Box::new(move |_, _| Some(reply(next(), None)));
    if world.readable {
        let mut next = in_turn(statuses.to_vec());
        world.read_answer = Box::new(move |ids, _| {
            Some(match next() {
                "" => reply(ReplyKind::ServerFault(None), Some(500)),
                "missing" => reply(ReplyKind::Answer(ReadPage::from_iter([])), Some(200)),
                status => records(ids, status),
            })
        });
    }
    world
}

#[test]
fn what_became_of_a_call_without_an_answer_is_never_guessed() {
    let unknown = || ReplyKind::ServerFault(None);
    let is_final = record(id_of(RowNumber(1)), "Succeeded");
    for (cancels, statuses, expected, why) in [
        // It may have been applied although the record was open at first.
        (
            vec![unknown(), ReplyKind::Refused],
            &["Pending", "Cancelled"][..],
            Cancelled,
            "",
        ),
        // The reads after the fault fail. The refusal of an open action leaves nothing unknown.
        (
            vec![unknown(), ReplyKind::Refused],
            &["", "", "", "", "", "", "Pending"],
            Failed,
            "",
        ),
        // The reason claims only what the last read showed.
        (
            vec![unknown()],
            &["Pending"],
            Failed,
            "open when it was last read",
        ),
        // Reading is forbidden.
        (vec![unknown(), ReplyKind::Forbidden], &[], Unknown, ""),
        // A final answer isn't lost when a later list lacks the action.
        (
            vec![ReplyKind::Answer(Some(is_final))],
            &["missing"],
            AlreadyFinal,
            "",
        ),
    ] {
        let history = one_row(cancels, statuses).run();
        let reason = &history.reasons[&RowNumber(1)];
        assert_eq!(history.outcomes[&RowNumber(1)], expected, "{reason}");
        assert!(reason.contains(why), "{reason}");
    }
}

#[test]
fn calls_refused_together_are_one_refusal() {
    let mut world = world(100);
    world.latency = always(millis(400));
    world.cancel_answer =
        Box::new(|_, now| (now < secs(2)).then(|| throttled(RetryAfter::Wait(secs(1)))));
    let history = world.run();
    let longest = history.cooldowns.iter().max().unwrap();
    assert!(*longest <= secs(8), "{longest:?}");
    assert_eq!(history.counts()[&Cancelled], 100);
}

#[test]
fn a_429_that_only_names_its_window_is_not_hammered() {
    let mut world = world(100);
    world.cancel_answer = Box::new(|_, now| {
        let throttle = Throttle {
            allowance: Some((1500, secs(3600))),
            ..Throttle::default()
        };
        (now < secs(3000)).then(|| reply(ReplyKind::Throttled(throttle), Some(429)))
    });
    let history = world.run();
    assert!(
        history.tally.throttled <= 30,
        "{} 429s in 50 minutes",
        history.tally.throttled
    );
    assert_eq!(history.counts()[&Cancelled], 100);
}

#[test]
fn late_faults_are_not_taken_for_the_probes_answer() {
    let mut world = world(200);
    world.readable = false;
    world.until = secs(20);
    world.latency = Box::new(|call| match call {
        0..5 => (millis(400), 0.1),
        5..16 => (millis(500 + 700 * call as u64), 0.1),
        _ => (secs(25), 0.1),
    });
    world.cancel_answer = Box::new(|_, _| Some(reply(ReplyKind::NotApplied(None), Some(503))));
    let history = world.run();
    let probes = history
        .posts
        .iter()
        .filter(|(at, _)| *at > millis(900))
        .count();
    assert_eq!(probes, 1, "one probe is out for 25 s: {:?}", history.posts);
}

#[test]
fn an_outage_of_cancels_alone_costs_no_row_and_few_slots_although_reads_are_answered() {
    let mut world = world(1000);
    world.cancel_answer = Box::new(|_, now| {
        (secs(125) < now && now < secs(725)).then(|| reply(ReplyKind::ServerFault(None), Some(502)))
    });
    let history = world.run();
    assert_eq!(history.counts()[&Cancelled], 1000, "{:?}", history.counts());
    let during = history
        .posts
        .iter()
        .filter(|(at, _)| secs(125) < *at && *at < secs(725))
        .count();
    assert!(during <= 30, "{during}");
}

#[test]
fn attempts_without_a_sent_byte_are_not_counted() {
    let never_left = || ReplyKind::NotSent("no such host".into());
    let answers = vec![
        ReplyKind::NotApplied(None),
        never_left(),
        never_left(),
        never_left(),
        ReplyKind::Answer(None),
    ];
    let history = one_row(answers, &["Pending"]).run();
    assert_eq!(history.outcomes[&RowNumber(1)], Accepted);
    assert_eq!((history.tally.cancels, history.tally.retries), (2, 1));
}

#[test]
fn a_run_in_which_nothing_ends_gives_up_but_not_while_the_quota_holds_it_back() {
    let mut stuck = world(20);
    stuck.cancel_answer =
        Box::new(|_, now| (now > secs(1)).then(|| reply(ReplyKind::ServerFault(None), Some(502))));
    stuck.pace = Pace::parse("10/s").unwrap();
    stuck.readable = false;
    stuck.fault = outage(secs(1)..secs(100_000), Fault::Unavailable);
    let history = stuck.run();
    assert_eq!(history.stop_name(), "GaveUp");
    let minutes = history.elapsed.as_secs() / 60;
    assert!((89..=92).contains(&minutes), "{minutes}");

    let mut slow = world(3);
    slow.windows = Windows::new(vec![Window::parse("1/10h").unwrap()]);
    let history = slow.run();
    assert_eq!(history.stop, None);
    assert_eq!(history.counts()[&Cancelled], 3);
}

#[test]
fn a_wait_the_service_asks_for_is_waited_out_unless_it_is_longer_than_giving_up() {
    let asked = |wait: Duration| {
        let mut world = world(3);
        world.cancel_answer =
            Box::new(move |_, now| (now < secs(1)).then(|| throttled(RetryAfter::Wait(wait))));
        world.run()
    };
    assert_eq!(asked(secs(46 * 60)).counts()[&Cancelled], 3);
    let history = asked(secs(3 * 3600));
    assert_eq!(history.stop_name(), "GaveUp");
    assert!(history.elapsed < secs(5));
}

#[test]
fn too_many_failures_stop_the_run_and_a_small_sample_does_not() {
    let play = |most, bad: u32| {
        let mut world = world(400);
        world.max_failures = Some(most);
        // Each refusal has its own code, so that identical refusals don't stop the run.
        world.cancel_answer = Box::new(move |id, _| {
            let number = (1..=400).find(|&row| id == id_of(RowNumber(row)))?;
            (number % 100 < bad).then(|| Reply {
                kind: ReplyKind::Refused,
                http_status: Some(400),
                error: Some(ServiceError {
                    code: format!("Code{number}"),
                    ..ServiceError::default()
                }),
            })
        });
        world.run()
    };
    let stopped = play(MaxFailures::Count(5), 20);
    assert_eq!(stopped.stop_name(), "TooManyFailures");
    assert!(
        (6..=24).contains(&stopped.counts()[&Failed]),
        "{:?}",
        stopped.counts()
    );
    assert_eq!(play(MaxFailures::Count(80), 20).stop, None);
    let stopped = play(MaxFailures::Percent(10), 20);
    assert_eq!(stopped.stop_name(), "TooManyFailures");
    assert_eq!(play(MaxFailures::Percent(50), 20).stop, None);
}
