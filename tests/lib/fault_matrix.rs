//! Every fault of the sandbox, with and without permission to read, ends in the outcome that the design requires.
//!
//! The outcome must also match what the sandbox did: a row may be `cancelled` only if its action was cancelled.

use std::time::Duration;

use mde_cancel::engine::core::{RunEvent, StopReason};
use mde_cancel::model::Outcome;
use mde_cancel::model::Outcome::*;
use mde_cancel::sandbox::{CancelEffect, FinalCancelAnswer, Status};

use crate::support::{Played, Scenario, nth_id};

const NO_READING: &str = ";403@on=get;403@on=list";

/// Plays one action among nineteen good ones, so that the service is known to be up.
fn play_one(fault: &str, is_readable: bool, change: impl FnOnce(Scenario) -> Scenario) -> Played {
    let id = nth_id(7);
    let mut script = fault.replace("THIS", &id.to_string());
    if !is_readable {
        script.push_str(NO_READING);
    }
    let script = script.trim_start_matches(';');
    let scenario = Scenario::with_actions(20).faults(script);
    change(scenario).play()
}

#[track_caller]
fn assert_one(
    fault: &str,
    is_readable: bool,
    expected: Outcome,
    change: impl FnOnce(Scenario) -> Scenario,
) {
    let played = play_one(fault, is_readable, change);
    let row = &played.rows[6];
    assert_eq!(
        row.outcome, expected,
        "{fault}, readable {is_readable}: {} ({} attempts)",
        row.reason, row.attempts
    );
    assert_eq!(played.end.stop, None, "{fault}");
    assert_eq!(played.rows.len(), 20);
    for (position, row) in played.rows.iter().enumerate() {
        if position != 6 {
            assert_eq!(
                row.outcome, Cancelled,
                "{fault}: row {position}: {}",
                row.reason
            );
        }
        let status = played
            .sandbox
            .action(nth_id(position + 1))
            .map(|record| record.status);
        if row.outcome == Cancelled {
            assert_eq!(
                status,
                Some(Status::Cancelled),
                "{fault}: row {position} is not cancelled"
            );
        }
        if row.outcome == Failed {
            assert_ne!(
                status,
                Some(Status::Cancelled),
                "{fault}: row {position} is cancelled"
            );
        }
    }
}

fn as_is(scenario: Scenario) -> Scenario {
    scenario
}

/// Plays one action with each of these faults, with and without permission to read.
#[track_caller]
fn assert_each(
    faults: &[&str],
    times: &str,
    [readable, unreadable]: [Outcome; 2],
    change: fn(Scenario) -> Scenario,
) {
    for fault in faults {
        let script = format!("{fault}@on=cancel,id=THIS{times}");
        assert_one(&script, true, readable, change);
        assert_one(&script, false, unreadable, change);
    }
}

const ONCE: &str = ",nth=1";
const ALWAYS: &str = "";

#[test]
fn one_transient_fault_is_mended_by_another_attempt() {
    let faults = [
        "408", "503", "503:1s", "500", "502", "504", "302", "reset", "close", "html",
    ];
    assert_each(&faults, ONCE, [Cancelled; 2], as_is);
}

#[test]
fn an_attempt_that_was_applied_without_an_answer_ends_as_cancelled() {
    let faults = [
        "applied-500",
        "applied-502",
        "applied-504",
        "applied-reset",
        "applied-close",
        "broken-json",
        "applied-html",
    ];
    assert_each(&faults, ONCE, [Cancelled; 2], as_is);
}

#[test]
fn a_call_that_times_out_gets_its_result_from_a_read() {
    assert_each(
        &["hang", "applied-hang"],
        ONCE,
        [Cancelled; 2],
        |scenario| scenario.timeout(Duration::from_millis(1500)),
    );
}

#[test]
fn a_row_that_never_gets_through_fails_where_it_was_surely_not_applied() {
    assert_each(&["503", "408"], ALWAYS, [Failed; 2], |scenario| {
        scenario.max_attempts(3)
    });
}

#[test]
fn a_row_without_an_answer_is_unknown_if_reads_are_forbidden_and_failed_otherwise() {
    let faults = ["500", "502", "reset", "html"];
    assert_each(&faults, ALWAYS, [Failed, Unknown], |scenario| {
        scenario.max_attempts(3)
    });
}

#[test]
fn an_empty_answer_is_an_acceptance() {
    assert_each(&["empty", "202"], ALWAYS, [Accepted; 2], as_is);
}

#[test]
fn a_record_that_is_still_open_in_the_answer_is_accepted() {
    let late = CancelEffect::Late(Duration::from_secs(3600));
    for is_readable in [true, false] {
        let script = if is_readable { "" } else { &NO_READING[1..] };
        let played = Scenario::with_actions(3)
            .faults(script)
            .sandbox(|sandbox| sandbox.cancels.open = late)
            .play();
        assert_eq!(played.outcomes(), [Accepted; 3]);
    }
}

#[test]
fn final_actions_are_told_apart_whatever_the_service_answers() {
    let answers = [
        (FinalCancelAnswer::Record, AlreadyFinal),
        (FinalCancelAnswer::BadRequest, Failed),
        (FinalCancelAnswer::Conflict, Failed),
        (FinalCancelAnswer::NotFound, NotFound),
        (FinalCancelAnswer::Empty, Accepted),
    ];
    for (answer, unreadable) in answers {
        for status in [Status::Succeeded, Status::Failed, Status::TimeOut] {
            let shape = |scenario: Scenario| {
                scenario
                    .action(7, |record| record.status = status)
                    .sandbox(|sandbox| sandbox.cancels.of_final = answer)
            };
            let readable = if answer == FinalCancelAnswer::Empty {
                Accepted
            } else {
                AlreadyFinal
            };
            assert_one("", true, readable, shape);
            assert_one("", false, unreadable, shape);
        }
    }
}

#[test]
fn an_action_somebody_else_cancelled_is_already_cancelled() {
    for answer in [
        FinalCancelAnswer::Record,
        FinalCancelAnswer::BadRequest,
        FinalCancelAnswer::Conflict,
        FinalCancelAnswer::NotFound,
    ] {
        let shape = |scenario: Scenario| {
            scenario
                .action(7, |record| {
                    record.status = Status::Cancelled;
                    record.cancellation = Some(mde_cancel::sandbox::Cancellation {
                        requestor: "somebody else".to_owned(),
                        comment: "theirs".to_owned(),
                        at: jiff::Timestamp::from_second(1_790_000_100).unwrap(),
                    });
                })
                .sandbox(|sandbox| sandbox.cancels.of_final = answer)
        };
        assert_one("", true, AlreadyCancelled, shape);
    }
}

#[test]
fn an_unknown_id_is_looked_for_once_more_and_then_not_found() {
    let played = play_one("", true, |scenario| scenario.missing(7));
    assert_eq!(played.rows[6].outcome, NotFound);
    let played = play_one("", false, |scenario| scenario.missing(7));
    assert_eq!(played.rows[6].outcome, NotFound);
    assert!(
        played.rows[6].reason.starts_with("unconfirmed"),
        "{}",
        played.rows[6].reason
    );
}

#[test]
fn a_404_for_an_action_that_can_be_read_is_sent_once_more() {
    assert_one("404@on=cancel,id=THIS,nth=1", true, Cancelled, as_is);
    assert_one("404@on=cancel,id=THIS", true, Failed, as_is);
}

#[test]
fn a_refusal_of_an_open_action_fails_it_and_is_not_repeated() {
    for fault in ["400", "409", "422"] {
        for is_readable in [true, false] {
            let script = format!("{fault}@on=cancel,id=THIS");
            let played = play_one(&script, is_readable, as_is);
            assert_eq!(
                played.rows[6].outcome, Failed,
                "{fault}: {}",
                played.rows[6].reason
            );
            assert_eq!(played.rows[6].attempts, 1);
        }
    }
}

#[test]
fn a_403_names_the_permission_and_stays_with_its_row() {
    for is_readable in [true, false] {
        let played = play_one("403@on=cancel,id=THIS", is_readable, as_is);
        let row = &played.rows[6];
        assert_eq!((row.outcome, row.attempts), (Forbidden, 1));
        assert!(row.reason.contains("Machine.Isolate"), "{}", row.reason);
        assert_eq!(played.counts()[&Cancelled], 19);
    }
}

#[test]
fn ten_identical_refusals_without_a_success_stop_the_run() {
    let played = Scenario::with_actions(200).faults("400@on=cancel").play();
    assert!(
        matches!(played.end.stop, Some(StopReason::SameRefusal(_))),
        "{:?}",
        played.end.stop
    );
    let failed = played.counts()[&Failed];
    // A refusal counts once the row was reread. Other cancels leave meanwhile, more of them on a slow machine.
    assert!((10..=100).contains(&failed), "{failed}");
    assert_eq!(played.counts()[&NotAttempted], 200 - failed);
}

#[test]
fn a_429_is_waited_out_and_costs_no_row_whatever_it_hints() {
    // A wait of a second is a real one.
    for (storm, refused) in [
        ("429-storm", 3),
        ("429-storm:1s", 2),
        ("429-storm:1s:header", 1),
        ("429-storm:1s:hint", 1),
    ] {
        for reading in ["", NO_READING] {
            let script = format!("{storm}@on=cancel,after=5,count={refused}{reading}");
            let played = Scenario::with_actions(20).faults(&script).play();
            let told = played.events.iter().filter_map(|event| match event {
                RunEvent::Throttled { unexpected, .. } => Some(*unexpected),
                _ => None,
            });
            let told: Vec<_> = told.collect();
            let once = [true, false, false];
            assert_eq!(told, once[..refused], "{storm}: said once");
            assert_eq!(played.counts()[&Cancelled], 20, "{storm}");
            assert_eq!(played.end.tally.throttled, refused as u64, "{storm}");
            assert_eq!(played.end.tally.cancels, 20 + refused as u64, "{storm}");
        }
    }
}

#[test]
fn a_refused_token_that_cannot_be_renewed_stops_the_run_and_loses_nothing() {
    let played = Scenario::with_actions(20)
        .faults("401@on=cancel,after=5")
        .play();
    assert!(
        matches!(played.end.stop, Some(StopReason::SignIn(_))),
        "{:?}",
        played.end.stop
    );
    assert_eq!(played.counts()[&Cancelled], 5);
    assert_eq!(played.counts()[&NotAttempted], 15);
}
