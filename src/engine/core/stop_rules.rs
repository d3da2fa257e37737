//! What stops a lane before its rows are settled: nothing ends, nothing is heard, or all goes wrong in the same way.

use std::time::Duration;

use crate::model::{Outcome, Uptime};

use super::event::StopReason;
use super::gate::WaitCause;
use super::lane::Lane;
use super::row::{LastResponse, Missed, ProperAnswers, Row, RowState};

/// So many identical refusals without a success stop the run.
const SAME_REFUSALS: u32 = 10;

/// If so many ids are all unknown, without one exception, the run as a whole is wrong.
const ALL_MISSING: u32 = 100;

/// A lane is asked every second while its process is at work, and in a simulation after the longest pause of its rules.
/// What passes beyond that between two questions has passed without us: the machine slept, or the process was stopped.
const LONGEST_STEP: Duration = Duration::from_secs(60);

/// What was heard of the service.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Proper answers so far.
    pub(super) answers: ProperAnswers,
    /// Whether anything ever came back.
    pub(super) anything: bool,
    pub(super) first_call: Option<Uptime>,
    /// What kept the last call from being answered.
    pub(super) last_fault: String,
    /// 404s that are not the service's own, before any proper answer.
    pub(super) strange_404s: u32,
    /// Whether any action of the input ever was found.
    pub(super) found_any: bool,
}

/// What is counted towards a stop.
#[derive(Debug, Default)]
pub(super) struct StopRules {
    /// Rows that were not found.
    missing: u32,
    /// The last refusal that could not be mended, and how often it came in a row.
    refusal: String,
    same_refusals: u32,
    /// Rows that were sent and ended in any way.
    pub(super) ended: u64,
    /// Those of them that ended badly.
    pub(super) failures: u64,
    stepped: Option<Uptime>,
    /// For how long no row has ended although calls could leave.
    stuck: Duration,
}

impl StopRules {
    /// Notes that a row ended or was left for later.
    pub(super) fn moved(&mut self) {
        self.stuck = Duration::ZERO;
    }

    /// Notes that a cancel was accepted.
    pub(super) fn accepted(&mut self) {
        self.same_refusals = 0;
    }
}

impl Lane {
    /// Counts the time since the last step: nothing ended in it, and where the quota did not hold everything back, the
    /// lane is stuck for so much longer.
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
                "nothing ended for {} s; last answer: {}",
                stuck.as_secs(),
                last.unwrap_or("nothing")
            )));
        }
    }

    /// Stops the lane of a service of which nothing was ever heard.
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

    /// Counts a row that has its last word.
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

    /// Counts a row that the service does not know. If the first hundred all are, tenant or column are wrong.
    pub(super) fn count_missing(&mut self) {
        self.stop_rules.missing += 1;
        if !self.heard.found_any && self.stop_rules.missing >= ALL_MISSING {
            self.stop(StopReason::AllMissing);
        }
    }

    /// Counts a refusal that retrying cannot mend; so many of one kind without a success stop the run.
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

    /// Returns whether the first ids were all missing, so that it is to be seen first whether they stay so.
    pub(super) fn waits_for_missing(&self) -> bool {
        let is_missed = |row: &&Row| matches!(row.state, RowState::Reread(reread) if reread.missed == Missed::Proven);
        !self.heard.found_any
            && self.rows.values().filter(is_missed).count() >= ALL_MISSING as usize
    }
}
