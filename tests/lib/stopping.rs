//! A wish to stop while a call hangs: what may have changed something is waited for, and nothing else is.

use std::time::Duration;

use mde_cancel::engine::core::{RunEvent, StopReason};
use mde_cancel::model::Outcome;
use mde_cancel::retry::RetrySettings;

use super::support::{Hangs, Scenario};

/// Longer than a test may take, so that no time-out ends what hangs.
const NEVER: Duration = Duration::from_secs(3600);

/// The scenario's clock is this much faster.
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
