//! How the runner ends when its journal fails or someone stops it.
//!
//! The journal fails at every commit of a small run in turn, and the run is resumed: the failed write ends it at once,
//! nothing leaves before it is journaled, and no row is lost or settled twice.
//!
//! A stop while a call hangs waits for calls that may have changed something, and for nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use mde_cancel::engine::core::{RunEvent, StopReason};
use mde_cancel::model::{ActionId, Outcome};
use mde_cancel::retry::RetrySettings;
use mde_cancel::sandbox::Status;

use crate::support::{GoneOn, Hangs, Scenario, Told, assert_agrees, nth_id};

const ROWS: usize = 8;

/// Threads that each try one commit at a time.
const ABREAST: u64 = 4;

/// One row fails for a while, one loses its answer, one is refused, one is final, one is unknown to the service. The
/// others are good.
fn scenario(reading: &str) -> Scenario {
    let faults = format!(
        "503@on=cancel,id={},nth=1;applied-reset@on=cancel,id={},nth=1;429-storm@on=cancel,id={},nth=1{reading}",
        nth_id(2),
        nth_id(3),
        nth_id(4)
    );
    Scenario::with_actions(ROWS)
        .faults(&faults)
        .action(5, |record| record.status = Status::Succeeded)
        .missing(6)
}

fn assert_whole(k: u64, gone: &GoneOn) {
    for (kind, (allowed, arrived)) in &gone.allowed {
        assert!(
            arrived <= allowed,
            "commit {k}: {arrived} calls of {kind} arrived, and {allowed} were written down"
        );
    }
    assert_eq!(gone.played.end.stop, None, "commit {k}");
    let told: Vec<Told> = gone
        .played
        .rows
        .iter()
        .map(|row| Told {
            id: ActionId::parse(&row.action_id).unwrap(),
            outcome: row.outcome,
            attempts: row.attempts,
            reason: row.reason.clone(),
        })
        .collect();
    assert_agrees(&gone.played.sandbox, &told);
    let ids: BTreeSet<_> = told.iter().map(|row| row.id).collect();
    assert_eq!(ids.len(), told.len(), "commit {k}: a row stands twice");
    assert_eq!(ids, (1..=ROWS).map(nth_id).collect(), "commit {k}");
    for row in &told {
        let is_open = matches!(row.outcome, Outcome::NotAttempted | Outcome::Unknown);
        assert!(!is_open, "commit {k}: {row:?}");
    }
}

/// Fails the `first` commit and every [`ABREAST`]th after it, until a run needs fewer. Returns how many runs failed.
fn break_from(first: u64, reading: &str) -> u64 {
    let mut broken = 0;
    for k in (first..).step_by(usize::try_from(ABREAST).unwrap()) {
        let gone = scenario(reading).play_past_a_failed_commit(k);
        assert_whole(k, &gone);
        if !gone.was_broken {
            break;
        }
        broken += 1;
    }
    broken
}

fn break_every_commit(reading: &'static str) {
    let threads: Vec<_> = (1..=ABREAST)
        .map(|first| std::thread::spawn(move || break_from(first, reading)))
        .collect();
    let broken: u64 = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    // One for the run, three for its scopes, one for its rows, and two for each attempt.
    assert!(broken >= 15, "{broken}");
}

#[test]
fn a_commit_that_fails_loses_no_row_whichever_it_is() {
    break_every_commit("");
}

#[test]
fn the_same_where_no_record_may_be_read() {
    break_every_commit(";403@on=get;403@on=list");
}

/// Longer than a test may take, so that no timeout ends a hanging call.
const NEVER: Duration = Duration::from_secs(3600);

/// The scenario's retry times are scaled down by this.
const SCALE: u32 = 100;

#[test]
fn a_read_that_hangs_holds_the_end_up_for_two_seconds_and_its_slot_for_the_grace() {
    let stopped = Scenario::with_actions(3)
        .timeout(NEVER)
        .faults("hang@on=list")
        .play_until_stopped(Hangs::FirstCall, Duration::from_secs(2));
    let played = stopped.played;
    assert!(matches!(played.end.stop, Some(StopReason::Asked(_))));
    assert_eq!(played.outcomes(), [Outcome::NotAttempted; 3]);
    assert_eq!(played.end.tally.cancels, 0);
    let settled = |event: &&RunEvent| matches!(event, RunEvent::Settled { .. });
    assert_eq!(played.events.iter().filter(settled).count(), 0);
    let grace = RetrySettings::default().timeout_grace / SCALE;
    assert_eq!(stopped.ends, [Duration::from_secs(2) + grace]);
}

#[test]
fn a_sign_in_that_hangs_holds_up_nothing() {
    let stopped = Scenario::with_actions(3)
        .timeout(NEVER)
        .play_until_stopped(Hangs::SignIn, Duration::ZERO);
    assert_eq!(stopped.played.outcomes(), [Outcome::NotAttempted; 3]);
    assert!(stopped.ends.is_empty());
}
