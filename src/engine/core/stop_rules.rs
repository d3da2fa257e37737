//! When a lane stops before its rows are settled: no row ends, the service is silent, or every call fails in the same
//! way.

use std::time::Duration;

use crate::model::{Outcome, Uptime};

use super::event::StopReason;
use super::lane::Lane;
use super::row::{LastResponse, Missed, ProperAnswers, Row, RowState};
use super::scope_gate::WaitCause;

/// This many identical refusals in a row stop the lane.
const SAME_REFUSALS: u32 = 10;

/// If the first ids are all unknown, this many of them stop the lane.
const ALL_MISSING: u32 = 100;

/// Counts at most this much of a step as stuck. The process steps every second, a simulation by the longest pause of
/// its rules; a longer step means that the machine slept or the process was suspended.
const LONGEST_STEP: Duration = Duration::from_secs(60);

/// What the service has answered so far.
#[derive(Debug, Default)]
pub(super) struct ServiceContact {
    pub(super) answers: ProperAnswers,
    pub(super) anything: bool,
    pub(super) first_call: Option<Uptime>,
    pub(super) last_fault: String,
    /// 404s that aren't the service's own, before any proper answer.
    pub(super) strange_404s: u32,
    pub(super) found_any: bool,
}

/// Counters that stop a lane.
#[derive(Debug, Default)]
pub(super) struct StopRules {
    /// Rows not found.
    missing: u32,
    /// The last refusal that a retry can't fix, and how many came in a row.
    refusal: String,
    same_refusals: u32,
    /// Rows that were sent and have ended.
    pub(super) ended: u64,
    /// Those that ended badly.
    pub(super) failures: u64,
    stepped: Option<Uptime>,
    /// How long no row has ended although calls could leave.
    stuck: Duration,
}

impl StopRules {
    /// A row ended or was deferred.
    pub(super) fn moved(&mut self) {
        self.stuck = Duration::ZERO;
    }

    /// A cancel was accepted.
    pub(super) fn accepted(&mut self) {
        self.same_refusals = 0;
    }
}

impl Lane {
    /// Adds the time since the last step to the stuck time, unless the lane is idle or waits for quota. Stops the lane
    /// when nothing ended for too long.
    pub(super) fn pass_time(&mut self, now: Uptime) {
        let before = self.stop_rules.stepped.replace(now);
        let passed = before.map_or(Duration::ZERO, |before| now.since(before));
        self.give_up_silence(now);
        let is_held_back = self.waiting.is_some_and(|waiting| {
            matches!(
                waiting.cause,
                WaitCause::Window
                    | WaitCause::Cooldown
                    | WaitCause::Reads
                    | WaitCause::ReadCooldown
            )
        });
        let is_idle = self.rows.is_empty() && self.pages.request.is_none();
        if is_idle || (is_held_back && self.calls.is_empty()) {
            return;
        }
        self.stop_rules.stuck += passed.min(LONGEST_STEP);
        let stuck = self.stop_rules.stuck;
        if stuck >= self.settings.give_up_after {
            let last = self.rows.values().map(|row| row.last.text.as_str());
            let last = last.chain([self.heard.last_fault.as_str()]);
            let last = last.max().filter(|text| !text.is_empty());
            self.stop(StopReason::GaveUp(format!(
                "no row finished for {} s; last answer: {}",
                stuck.as_secs(),
                last.unwrap_or("nothing")
            )));
        }
    }

    /// Stops the lane if the service has never answered.
    fn give_up_silence(&mut self, now: Uptime) {
        let waited = self.heard.first_call.map(|first| now.since(first));
        if !self.heard.anything
            && waited.is_some_and(|waited| waited >= self.settings.reach_timeout)
        {
            let what = if self.heard.last_fault.is_empty() {
                "no answer in time".to_owned()
            } else {
                self.heard.last_fault.clone()
            };
            self.stop(StopReason::Unreachable(what));
        }
    }

    pub(super) fn count_end(&mut self, row: &Row, outcome: Outcome) {
        self.stop_rules.moved();
        if row.attempts > 0 {
            self.stop_rules.ended += 1;
            self.stop_rules.failures += u64::from(matches!(
                outcome,
                Outcome::Failed | Outcome::Unknown | Outcome::NotFound | Outcome::Forbidden
            ));
        }
        if outcome == Outcome::NotFound {
            self.count_missing();
        }
    }

    /// If the service knows none of the first hundred ids, tenant or column are wrong.
    pub(super) fn count_missing(&mut self) {
        self.stop_rules.missing += 1;
        if !self.heard.found_any && self.stop_rules.missing >= ALL_MISSING {
            self.stop(StopReason::AllMissing);
        }
    }

    /// Counts a refusal that a retry can't fix.
    pub(super) fn count_refusal(&mut self, last: &LastResponse) {
        if self.stop_rules.refusal != last.kind {
            self.stop_rules.same_refusals = 0;
            self.stop_rules.refusal.clone_from(&last.kind);
        }
        self.stop_rules.same_refusals += 1;
        if self.stop_rules.same_refusals >= SAME_REFUSALS {
            self.stop(StopReason::SameRefusal(last.text.clone()));
        }
    }

    /// Returns whether the first ids were all missing, so that the lane confirms this before it reads more.
    pub(super) fn waits_for_missing(&self) -> bool {
        let is_missed = |row: &&Row| matches!(row.state, RowState::Reread(reread) if reread.missed == Missed::Proven);
        !self.heard.found_any
            && self.rows.values().filter(is_missed).count() >= ALL_MISSING as usize
    }
}
