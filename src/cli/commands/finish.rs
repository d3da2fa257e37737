//! How a run is concluded: its state journaled, its reports written, its summary printed, its exit code chosen.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::engine::core::StopReason;
use crate::engine::{EngineError, Precheck, RunEnd, Skips};
use crate::model::{
    ActionId, ActionType, Count, ExclusionMatches, FollowUp, FollowUpRow, LaneId, Moment, Outcome,
    Standing,
};
use crate::report::{Delivery, ReportTarget, write_follow_ups};
use crate::store::{Record, RunState, StoreError};

use crate::cli::failure::{Failure, FailureKind, RunExit};
use crate::cli::hint::{Hint, NextCommand};
use crate::cli::plan_text::{first_of, unmatched_note};
use crate::cli::progress::{MetricsObserver, RunResult};
use crate::cli::stop_reason::{describe_stop, fix};
use crate::cli::summary::{Accepted, InputRead, NextStep, Summary};
use crate::cli::terminal::{Paint, print, stdout_width};

use super::choosing::nothing_selected;
use super::follow_up::{ExcludedMachine, LeftToDo};
use super::prepared_run::PreparedRun;
use super::reports::{follow_ups, state, write_one};

/// Of how many tenants a summary says why they stopped.
const STOPS_SHOWN: usize = 5;

/// Rows by outcome, and machines by what they need.
type Counts = (BTreeMap<Outcome, u64>, Vec<(FollowUp, u64)>);

#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub width: u16,
    pub paint: Paint,
    pub error_paint: Paint,
}

impl PreparedRun {
    /// Journals the end, writes the reports, prints the summary and returns the exit code.
    pub(super) async fn finish(
        self,
        started: Moment,
        end: Result<RunEnd, EngineError>,
        left_to_do: Result<LeftToDo, Failure>,
        metrics: Option<MetricsObserver>,
    ) -> Result<RunExit, Failure> {
        let store = &self.store;
        let now = self.clock.now();
        let end = match end {
            Ok(end) => end,
            Err(error) => {
                let failure = self.finish_broken(now.wall, error);
                if let Some(metrics) = metrics {
                    let result = RunResult {
                        standing: Standing::Crashed,
                        exit_code: failure.exit().code(),
                        counts: None,
                    };
                    metrics.finish(now, result);
                }
                return Err(failure);
            }
        };
        let (outcomes, follow_ups) = self.counts().map_err(Failure::from)?;
        let final_statuses = store
            .reader()
            .and_then(|reader| reader.status_counts(self.key, Outcome::AlreadyFinal))
            .map_err(Failure::from)?;
        let reasons = store
            .reader()
            .and_then(|reader| reader.skip_reasons(self.key))
            .map_err(Failure::from)?;
        let mut skips = Skips::default();
        let mut skipped: BTreeMap<String, u64> = BTreeMap::new();
        for (reason, &rows) in &reasons {
            skips.add(reason, rows);
            let shared = reason
                .split_once(": ")
                .map_or(&**reason, |(shared, _)| shared);
            *skipped.entry(shared.to_owned()).or_default() += rows;
        }
        let rows = RowsLeft {
            outcomes: &outcomes,
            skips: &skips,
            has_follow_ups: !follow_ups.is_empty(),
            is_input_lost: self.lost.is_some(),
        };
        let exit = rows
            .exit(self.accepted(), self.config.precheck)
            .worst(exit_of_stop(end.stop.as_ref()));
        let run_state = if end.stop.is_some() || end.intake.is_some() {
            RunState::Stopped
        } else {
            RunState::Finished
        };
        let record = Record::RunState {
            run: self.key,
            state: run_state,
            exit: Some(exit.code()),
            reason: self.stop(&end),
            at: now.wall,
        };
        let mut records: Vec<_> = self.lane_ends(&end).collect();
        records.push(record);
        let journaled = store.write(records).await.map_err(Failure::from);
        // Whatever fails from here on, the rest is still written and said.
        let (mut reports, mut unwritten) = self.write_reports(now.wall);
        let left_to_do = match left_to_do {
            Ok(left) => {
                match self.write_follow_ups(&left.machines) {
                    Ok(path) => reports.extend(path),
                    Err(failure) => unwritten.push(failure),
                }
                left
            }
            Err(failure) => {
                unwritten.push(failure);
                LeftToDo::default()
            }
        };
        let notes = self.exclusion_notes().unwrap_or_else(|error| {
            unwritten.push(error.into());
            Vec::new()
        });
        if let Some(metrics) = metrics {
            let machines = follow_ups.iter().map(|(_, count)| count).sum();
            let result = RunResult {
                standing: match run_state {
                    RunState::Finished => Standing::Finished,
                    RunState::Going | RunState::Stopped => Standing::Stopped,
                },
                exit_code: exit.code(),
                counts: Some((outcomes.clone(), machines)),
            };
            metrics.finish(now, result);
        }
        let mut summary = self.summary(&end, outcomes, follow_ups, reports);
        summary.elapsed = now.uptime.since(started.uptime);
        summary.final_statuses = final_statuses;
        summary.calls += left_to_do.calls;
        summary.notes = notes;
        summary.skipped = skipped;
        summary.machines_left = left_to_do.machines.len() as u64;
        summary.excluded = excluded_lines(&left_to_do.excluded);
        let printed = self.print(&summary).map_err(Failure::of_output);
        for failure in &unwritten {
            failure.print(self.look.error_paint, &self.flags);
        }
        journaled?;
        printed?;
        if let Some(error) = end.intake {
            let failure = Failure::new(FailureKind::Usage, error);
            return Err(failure.hint("the rows before it were processed; see the report"));
        }
        let exit = unwritten
            .iter()
            .map(Failure::exit)
            .fold(exit, RunExit::worst);
        if exit == RunExit::Refused {
            return Err(nothing_selected(&skips, self.config.precheck));
        }
        Ok(exit)
    }

    /// Writes what can still be written of a run whose journal failed.
    fn finish_broken(&self, at: Timestamp, error: EngineError) -> Failure {
        let (reports, unwritten) = self.write_reports(at);
        for failure in &unwritten {
            failure.print(self.look.error_paint, &self.flags);
        }
        let failure = match error {
            EngineError::Store(error) => Failure::from(error),
            EngineError::RowsMissing { .. } => {
                let failure = Failure::new(FailureKind::State, error);
                return failure.hint(crate::cli::failure::DAMAGED);
            }
            EngineError::Reading | EngineError::Thread(_) => {
                Failure::new(FailureKind::Fault, error)
            }
        };
        let again = NextCommand::Resume(self.id);
        let failure = failure.hint(Hint::Command("then continue the run".to_owned(), again));
        match reports.first() {
            Some(report) => failure.hint(format!("see {report} for what became of its rows")),
            None => failure,
        }
    }

    /// Says in the rows of each lane that stopped why they were not attempted.
    fn lane_ends(&self, end: &RunEnd) -> impl Iterator<Item = Record> {
        let run = self.key;
        // Where rows are left for later, each says why.
        let stops = end.stops.iter();
        stops
            .filter(|(_, reason)| !matches!(reason, StopReason::LeftForLater(_)))
            .map(move |(lane, reason)| Record::LaneStopped {
                run,
                lane: *lane,
                reason: match reason {
                    StopReason::Asked(_) => None,
                    reason => Some(describe_stop(reason)),
                },
            })
    }

    /// Says why the run stopped: of several tenants, why each did that stopped by itself.
    fn stop(&self, end: &RunEnd) -> Option<String> {
        let stop = end.stop.as_ref()?;
        if !self.lanes.names.are_several() {
            return Some(describe_stop(stop));
        }
        let alone = |(_, reason): &&(LaneId, StopReason)| !matches!(reason, StopReason::Asked(_));
        let named = end.stops.iter().filter(alone);
        let mut texts: Vec<_> = named
            .map(|(lane, reason)| {
                let name = self.lanes.names.shown(*lane).unwrap_or("-");
                format!("{name}: {}", describe_stop(reason))
            })
            .collect();
        if texts.is_empty() {
            return Some(describe_stop(stop));
        }
        let more = texts.len().saturating_sub(STOPS_SHOWN);
        texts.truncate(STOPS_SHOWN);
        if more > 0 {
            texts.push(format!("and {more} more; the report says why"));
        }
        Some(texts.join("; "))
    }

    fn counts(&self) -> Result<Counts, StoreError> {
        let reader = self.store.reader()?;
        let outcomes = reader.outcome_counts(self.key)?;
        Ok((outcomes, follow_ups(&reader.follow_up_counts(self.key)?)))
    }

    fn print(&self, summary: &Summary) -> std::io::Result<()> {
        // Measured now: the window may have changed since the start.
        let text = summary.render(stdout_width(), self.look.paint);
        if self
            .outputs
            .reports
            .iter()
            .any(|(_, target)| *target == ReportTarget::Stdout)
        {
            std::io::stderr().lock().write_all(text.as_bytes())
        } else {
            print(&text)
        }
    }

    /// Writes every report that can be written; returns their paths, and why the others could not be.
    fn write_reports(&self, at: Timestamp) -> (Vec<String>, Vec<Failure>) {
        let mut written = Vec::new();
        let mut unwritten = Vec::new();
        for (format, target) in &self.outputs.reports {
            let reader = self.store.reader().map_err(state);
            let delivery =
                reader.and_then(|reader| write_one(reader, self.id, (*format, target), at));
            match (delivery, target.path()) {
                (Ok(Delivery::Whole { .. }), Some(path)) => {
                    written.push(path.display().to_string());
                }
                (Ok(_), _) => {}
                (Err(failure), _) => unwritten.push(self.with_way_on(failure)),
            }
        }
        (written, unwritten)
    }

    /// Says how a report that could not be written is had from the journal.
    fn with_way_on(&self, failure: Failure) -> Failure {
        if failure.kind == FailureKind::Report {
            let report = NextCommand::Report(self.id, "report.csv".into());
            let why = "write it again, to another file".to_owned();
            return failure.hint(Hint::Command(why, report));
        }
        failure
    }

    /// Writes the list of machines, where one was asked for, and returns its path.
    fn write_follow_ups(&self, rows: &[FollowUpRow]) -> Result<Option<String>, Failure> {
        let Some(target) = &self.outputs.follow_up else {
            return Ok(None);
        };
        write_follow_ups(target, rows).map_err(|error| Failure::new(FailureKind::Report, error))?;
        Ok(target.path().map(|path| path.display().to_string()))
    }

    fn accepted(&self) -> Accepted {
        match self.config.verify {
            Some(_) => Accepted::IsLeft,
            None => Accepted::IsEnough,
        }
    }

    /// Says which exclusions meant nothing in this run.
    fn exclusion_notes(&self) -> Result<Vec<String>, StoreError> {
        if self.config.exclude.is_empty() {
            return Ok(Vec::new());
        }
        let mut matches = ExclusionMatches::of(self.config.exclude.clone());
        for row in self.store.reader()?.report_rows(self.id)? {
            let row = row?;
            let id = ActionId::parse(&row.action_id).ok();
            matches.add(
                id,
                row.machine_id.as_deref(),
                row.computer_dns_name.as_deref(),
            );
        }
        Ok(unmatched_note(&matches, true).into_iter().collect())
    }

    fn summary(
        &self,
        end: &RunEnd,
        outcomes: BTreeMap<Outcome, u64>,
        follow_ups: Vec<(FollowUp, u64)>,
        reports: Vec<String>,
    ) -> Summary {
        let report = self.input_again(&reports);
        let next_steps = self.next_steps(end, (&outcomes, &follow_ups), report);
        let next_steps = next_steps.into_iter().map(|hint| match hint {
            Hint::Text(why) => NextStep { why, command: None },
            Hint::Command(why, command) => NextStep {
                why,
                command: Some(command.render(&self.flags)),
            },
        });
        Summary {
            run: self.id,
            sandbox: self.is_sandbox,
            input: if self.lost.is_some() || end.intake.is_some() {
                InputRead::CutShort
            } else {
                InputRead::Whole
            },
            outcomes,
            final_statuses: BTreeMap::new(),
            accepted: self.accepted(),
            follow_ups,
            elapsed: Duration::ZERO,
            calls: end.tally.cancels + end.tally.reads,
            throttled: end.tally.throttled,
            retries: end.tally.retries,
            stop: self.stop(end),
            next_steps: next_steps.collect(),
            skipped: BTreeMap::new(),
            machines_left: 0,
            excluded: Vec::new(),
            notes: Vec::new(),
            reports,
        }
    }

    /// Returns the first report that can be given to a run again.
    fn input_again<'reports>(&self, reports: &'reports [String]) -> Option<&'reports String> {
        let names = |report: &&String| {
            let mut targets = self.outputs.reports.iter();
            targets.any(|(format, target)| {
                let path = target.path().map(|path| path.display().to_string());
                format.can_be_input() && path.as_ref() == Some(*report)
            })
        };
        reports.iter().find(names)
    }

    fn next_steps(
        &self,
        end: &RunEnd,
        (outcomes, follow_ups): (&BTreeMap<Outcome, u64>, &[(FollowUp, u64)]),
        report: Option<&String>,
    ) -> Vec<Hint> {
        let step = |why: &str, command| Hint::Command(why.to_owned(), command);
        let notes = self.outputs.notes.iter();
        let mut steps: Vec<Hint> = notes.map(Hint::from).collect();
        if let Some(lost) = &self.lost {
            steps
                .push(format!("{lost}; run the input again: what was cancelled is skipped").into());
        }
        steps.extend(end.stop.as_ref().and_then(fix).map(Hint::from));
        if let Some(stop) = &end.stop {
            if matches!(stop, StopReason::SignIn(_)) && !self.lanes.names.are_several() {
                steps.push(step("to check only the sign-in", NextCommand::Doctor));
            }
            steps.push(step(
                "to continue where it stopped",
                NextCommand::Resume(self.id),
            ));
            if let StopReason::ReadingForbidden(_) = stop {
                steps.push(step(
                    "or to send what is left without reading statuses first",
                    NextCommand::ResumeWithoutPrecheck(self.id),
                ));
            }
            if !matches!(stop, StopReason::LeftForLater(_)) {
                return steps;
            }
        }
        if self.outputs.follow_up.is_none() && !follow_ups.is_empty() {
            steps.push(step(
                "to list the machines that need work, and what each of them needs",
                NextCommand::FollowUp(self.id, "machines.csv".into()),
            ));
        }
        let count = |outcome| outcomes.get(&outcome).copied().unwrap_or_default();
        if count(Outcome::Forbidden) > 0 {
            let why = "grant the permission that the `forbidden` rows name, then get a new token";
            steps.push(if self.lanes.names.are_several() {
                why.into()
            } else {
                step(&format!("{why}; to see what it has"), NextCommand::Doctor)
            });
        }
        let again = [Outcome::Unknown, Outcome::Failed, Outcome::Forbidden];
        let rows: u64 = again.into_iter().map(count).sum();
        if let (true, Some(report), false) = (rows > 0, report, self.is_sandbox) {
            steps.push(step(
                "to try the remaining rows again, run the report; settled rows are skipped",
                NextCommand::RunAgain(report.into()),
            ));
        }
        steps
    }
}

/// Names the excluded machines that are still as an action of the run's left them.
fn excluded_lines(machines: &[ExcludedMachine]) -> Vec<String> {
    let mut lines = Vec::new();
    for (action_type, state) in [
        (ActionType::Isolate, "isolated"),
        (ActionType::RestrictCodeExecution, "restricted"),
    ] {
        for (is_checked, how) in [(true, "still "), (false, "")] {
            let those = machines.iter().filter(|machine| {
                machine.action_type.as_ref() == Some(&action_type)
                    && machine.is_checked == is_checked
            });
            let mut names: Vec<_> = those.map(|machine| machine.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            if names.is_empty() {
                continue;
            }
            let verb = if names.len() == 1 { "is" } else { "are" };
            let unless = if is_checked {
                ""
            } else {
                ", unless released since"
            };
            lines.push(format!(
                "excluded: {} {verb} {how}{state}{unless}: {}",
                Count::new(names.len() as u64, "machine"),
                first_of(&names)
            ));
        }
    }
    lines
}

/// What the rows of a run leave to be done.
struct RowsLeft<'run> {
    outcomes: &'run BTreeMap<Outcome, u64>,
    skips: &'run Skips,
    has_follow_ups: bool,
    is_input_lost: bool,
}

impl RowsLeft<'_> {
    /// Returns how a run ends that wasn't stopped.
    fn exit(&self, accepted: Accepted, precheck: Precheck) -> RunExit {
        let is_left = |(&outcome, &count): (&Outcome, &u64)| {
            let is_enough = outcome == Outcome::Accepted && accepted == Accepted::IsEnough;
            let is_unsettled = outcome == Outcome::NotAttempted;
            count > 0 && (outcome.leaves_work() || is_unsettled) && !is_enough
        };
        if self.skips.is_nothing_selected(self.outcomes) && !self.is_input_lost {
            RunExit::Refused
        } else if self.has_follow_ups
            || self.is_input_lost
            || self.outcomes.iter().any(is_left)
            || self.skips.leave_work(self.outcomes, precheck)
        {
            RunExit::LeftOver
        } else {
            RunExit::Done
        }
    }
}

/// Returns how a run ends that was stopped, or stopped by itself.
fn exit_of_stop(stop: Option<&StopReason>) -> RunExit {
    match stop {
        None => RunExit::Done,
        Some(StopReason::LeftForLater(_)) => RunExit::LeftOver,
        Some(StopReason::Asked(_)) => RunExit::Stopped,
        Some(
            StopReason::SignIn(_)
            | StopReason::Unreachable(_)
            | StopReason::NoSuchAddress(_)
            | StopReason::AllMissing
            | StopReason::ReadingForbidden(_)
            | StopReason::AllForbidden(_),
        ) => RunExit::Unreachable,
        Some(
            StopReason::SameRefusal(_) | StopReason::GaveUp(_) | StopReason::TooManyFailures(_),
        ) => RunExit::GaveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (
        &'static [(Outcome, u64)],
        &'static str,
        Accepted,
        Precheck,
        RunExit,
    );

    #[test]
    fn the_rows_decide_how_a_run_ends_that_was_not_stopped() {
        use Outcome as O;
        use Precheck::{ReadFirst, Skip};
        let (left, enough) = (Accepted::IsLeft, Accepted::IsEnough);
        let (no_type, excluded) = ("type not selected: Offboard", "excluded by keep.txt: dc-01");
        let cases: &[Case] = &[
            (&[], "", left, ReadFirst, RunExit::Done),
            (&[(O::Cancelled, 1)], "", left, ReadFirst, RunExit::Done),
            (
                &[
                    (O::AlreadyCancelled, 1),
                    (O::AlreadyFinal, 1),
                    (O::TooLate, 1),
                ],
                "",
                left,
                ReadFirst,
                RunExit::Done,
            ),
            (
                &[(O::Duplicate, 1), (O::Cancelled, 1)],
                "",
                left,
                ReadFirst,
                RunExit::Done,
            ),
            (&[(O::Failed, 1)], "", left, ReadFirst, RunExit::LeftOver),
            (&[(O::NotFound, 1)], "", left, ReadFirst, RunExit::LeftOver),
            (&[(O::Forbidden, 1)], "", left, ReadFirst, RunExit::LeftOver),
            (&[(O::Invalid, 1)], "", left, ReadFirst, RunExit::LeftOver),
            (&[(O::Unknown, 1)], "", left, ReadFirst, RunExit::LeftOver),
            (&[(O::Accepted, 1)], "", left, ReadFirst, RunExit::LeftOver),
            (&[(O::Accepted, 1)], "", enough, ReadFirst, RunExit::Done),
            (
                &[(O::NotAttempted, 1), (O::Cancelled, 9)],
                "",
                left,
                ReadFirst,
                RunExit::LeftOver,
            ),
            (
                &[(O::Skipped, 1), (O::Cancelled, 1)],
                excluded,
                left,
                ReadFirst,
                RunExit::Done,
            ),
            (
                &[(O::Skipped, 1)],
                excluded,
                left,
                ReadFirst,
                RunExit::LeftOver,
            ),
            (
                &[(O::Skipped, 1), (O::Cancelled, 1)],
                no_type,
                left,
                ReadFirst,
                RunExit::Done,
            ),
            (
                &[(O::Skipped, 1), (O::Cancelled, 1)],
                no_type,
                left,
                Skip,
                RunExit::LeftOver,
            ),
            (
                &[(O::Skipped, 1)],
                no_type,
                left,
                ReadFirst,
                RunExit::Refused,
            ),
            (
                &[(O::Skipped, 1), (O::Invalid, 3)],
                no_type,
                left,
                Skip,
                RunExit::Refused,
            ),
            (
                &[(O::Skipped, 1), (O::NotAttempted, 3)],
                no_type,
                left,
                Skip,
                RunExit::LeftOver,
            ),
        ];
        for (outcomes, reason, accepted, precheck, expected) in cases {
            let outcomes: BTreeMap<_, _> = outcomes.iter().copied().collect();
            let mut skips = Skips::default();
            if let Some(&rows) = outcomes.get(&O::Skipped) {
                skips.add(reason, rows);
            }
            let rows = |has_follow_ups, is_input_lost| RowsLeft {
                outcomes: &outcomes,
                skips: &skips,
                has_follow_ups,
                is_input_lost,
            };
            let exit = |rows: RowsLeft<'_>| rows.exit(*accepted, *precheck);
            assert_eq!(exit(rows(false, false)), *expected, "{outcomes:?} {reason}");
            assert_eq!(exit(rows(false, true)), RunExit::LeftOver, "{outcomes:?}");
            assert_eq!(
                exit(rows(true, false)),
                RunExit::LeftOver.worst(*expected),
                "{outcomes:?}"
            );
        }
    }

    #[test]
    fn a_stop_decides_how_a_run_ends_over_its_rows() {
        let why = String::new;
        for (stop, code) in [
            (None, 3),
            (Some(StopReason::Asked(why())), 4),
            (Some(StopReason::GaveUp(why())), 7),
            (Some(StopReason::TooManyFailures(why())), 7),
            (Some(StopReason::SameRefusal(why())), 7),
            (Some(StopReason::SignIn(why())), 5),
            (Some(StopReason::Unreachable(why())), 5),
            (Some(StopReason::AllMissing), 5),
            (Some(StopReason::ReadingForbidden(why())), 5),
            (Some(StopReason::NoSuchAddress(why())), 5),
            (Some(StopReason::AllForbidden(why())), 5),
            (Some(StopReason::LeftForLater(why())), 3),
        ] {
            let exit = RunExit::LeftOver.worst(exit_of_stop(stop.as_ref()));
            assert_eq!(exit.code(), code, "{stop:?}");
        }
    }
}
