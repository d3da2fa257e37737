//! Finishing a run: state, reports, summary and exit code.

use std::collections::BTreeMap;
use std::io::Write as _;

use jiff::Timestamp;

use crate::engine::core::StopReason;
use crate::engine::{EngineError, RunEnd, Skips};
use crate::model::{
    ActionType, Count, FollowUp, FollowUpRow, LaneId, LaterActivity, Moment, Outcome, RunStatus,
};
use crate::report::{AcceptedPolicy, ReportTarget, WriteResult, left, write_follow_ups};
use crate::store::{Record, RunState, StoreError};

use crate::cli::failure::{Failure, RunExit};
use crate::cli::hint::{Hint, NextCommand};
use crate::cli::plan_text::{exit_of_rows, first_of, unmatched_note};
use crate::cli::progress::MetricsObserver;
use crate::cli::summary::Summary;
use crate::cli::terminal::{print, stdout_width};

use super::check_follow_ups::{ExcludedMachine, FollowUps};
use super::prepared_run::PreparedRun;
use super::reports::{follow_ups, write_one};
use super::selection::nothing_selected;
use super::service_reads::fix;

/// Reasons for staying isolated that the summary shows.
const REASONS_SHOWN: usize = 5;

/// Tenants whose stop reasons the summary shows.
const STOPS_SHOWN: usize = 5;

impl PreparedRun {
    /// Journals the end, writes the reports, prints the summary and returns the exit code.
    pub(super) async fn finish(
        self,
        started: Moment,
        end: Result<RunEnd, EngineError>,
        machines: Result<FollowUps, Failure>,
        metrics: Option<MetricsObserver>,
    ) -> Result<RunExit, Failure> {
        let now = self.clock.now();
        let end = match end {
            Ok(end) => end,
            Err(error) => {
                let failure = self.finish_broken(now.wall, error);
                if let Some(metrics) = metrics {
                    metrics.finish(now, RunStatus::Crashed, failure.exit.code());
                }
                return Err(failure);
            }
        };
        let reader = self.store.reader()?;
        let outcomes = reader.outcome_counts(self.key)?;
        let follow_ups = follow_ups(&reader.follow_up_counts(self.key)?);
        let final_statuses = reader.status_counts(self.key, Outcome::AlreadyFinal)?;
        let reasons = reader.skip_reasons(self.key)?;
        let mut skips = Skips::default();
        let mut skipped: BTreeMap<String, u64> = BTreeMap::new();
        for (reason, &rows) in &reasons {
            skips.add(reason, rows);
            let shared = reason
                .split_once(": ")
                .map_or(&**reason, |(shared, _)| shared);
            *skipped.entry(shared.to_owned()).or_default() += rows;
        }
        let is_left = !left(&outcomes, self.accepted(), &follow_ups).is_empty();
        let exit = match self.lost {
            Some(_) => RunExit::LeftOver,
            None => exit_of_rows(&outcomes, is_left, &skips, self.config.precheck),
        };
        let exit = exit.worst(exit_of_stop(end.stop.as_ref()));
        let (state, standing) = if end.stop.is_some() || end.intake.is_some() {
            (RunState::Stopped, RunStatus::Stopped)
        } else {
            (RunState::Finished, RunStatus::Finished)
        };
        let mut records: Vec<_> = self.lane_ends(&end).collect();
        records.push(Record::RunState {
            run: self.key,
            state,
            exit: Some(exit.code()),
            reason: self.why_stopped(&end),
            at: now.wall,
        });
        let journaled = self.store.write(records).await;
        // If a step fails from here on, the rest is still written and printed.
        let (mut reports, mut unwritten) = self.write_reports(now.wall);
        let machines = machines.and_then(|machines| {
            reports.extend(self.write_follow_ups(&machines.rows)?);
            Ok(machines)
        });
        let machines = machines.unwrap_or_else(|failure| {
            unwritten.push(failure);
            FollowUps::default()
        });
        let mut notes = self.exclusion_notes().unwrap_or_else(|error| {
            unwritten.push(error.into());
            Vec::new()
        });
        notes.extend(machines.blind_spot);
        let stays = self.skipped_lines().unwrap_or_else(|error| {
            unwritten.push(error.into());
            Vec::new()
        });
        let needs_work = |row: &&FollowUpRow| row.needs.iter().any(|need| need.is_work());
        let machines_left = machines.rows.iter().filter(needs_work).count();
        if let Some(mut metrics) = metrics {
            let work = follow_ups.iter().filter(|(need, _)| need.is_work());
            metrics.counted(&outcomes, work.map(|(_, count)| count).sum());
            metrics.finish(now, standing, exit.code());
        }
        let summary = Summary {
            run: self.id,
            sandbox: self.is_sandbox,
            is_input_cut: self.lost.is_some() || end.intake.is_some(),
            next_steps: self.next_steps(&end, &outcomes, &follow_ups, &reports),
            outcomes,
            final_statuses,
            accepted: self.accepted(),
            skipped,
            follow_ups,
            machines_left: machines_left as u64,
            operation: self.config.operation,
            left_alone: [
                kept_lines(&machines.rows),
                excluded_lines(&machines.excluded),
                stays,
            ]
            .concat(),
            elapsed: now.uptime.since(started.uptime),
            calls: end.tally.cancels + end.tally.reads + machines.calls,
            throttled: end.tally.throttled,
            retries: end.tally.retries,
            stop: self.why_stopped(&end),
            notes,
            reports,
        };
        let printed = self.print(&summary).map_err(Failure::of_output);
        self.print_failures(&unwritten);
        journaled?;
        printed?;
        if let Some(error) = end.intake {
            let failure = Failure::refused(error);
            return Err(failure.hint("the rows before it were processed; see the report"));
        }
        let exit = unwritten
            .iter()
            .map(|failure| failure.exit)
            .fold(exit, RunExit::worst);
        if exit == RunExit::Refused {
            return Err(nothing_selected(&skips, self.config.precheck));
        }
        Ok(exit)
    }

    /// Writes what can still be written after the journal failed.
    fn finish_broken(&self, at: Timestamp, error: EngineError) -> Failure {
        let (reports, unwritten) = self.write_reports(at);
        self.print_failures(&unwritten);
        let is_journal_gone = matches!(&error, EngineError::Store(StoreError::Replaced { .. }));
        let failure = match error {
            EngineError::Store(error) => Failure::from(error),
            EngineError::RowsMissing { .. } => {
                let failure = Failure::new(RunExit::State, error);
                return failure.hint(crate::cli::failure::DAMAGED);
            }
            EngineError::Reading | EngineError::Thread(_) => Failure::new(RunExit::Fault, error),
        };
        let again = NextCommand::Resume(self.id);
        let again = Hint::Command("then continue the run".to_owned(), again);
        let failure = if is_journal_gone {
            failure
        } else {
            failure.hint(again)
        };
        match reports.first() {
            Some(report) => failure.hint(format!("see {report} for what became of its rows")),
            None => failure,
        }
    }

    fn print_failures(&self, failures: &[Failure]) {
        for failure in failures {
            failure.print(self.style.error_color, &self.flags);
        }
    }

    /// Records why each stopped lane's rows were not attempted.
    fn lane_ends(&self, end: &RunEnd) -> impl Iterator<Item = Record> {
        let run = self.key;
        // Deferred rows have their own reasons.
        let stops = end.stops.iter();
        stops
            .filter(|(_, reason)| !matches!(reason, StopReason::LeftForLater(_)))
            .map(move |(lane, reason)| Record::LaneStopped {
                run,
                lane: *lane,
                reason: match reason {
                    StopReason::Asked(_) => None,
                    reason => Some(reason.to_string()),
                },
            })
    }

    /// Returns why the run stopped. With several tenants, the reason of each that stopped by itself.
    fn why_stopped(&self, end: &RunEnd) -> Option<String> {
        let stop = end.stop.as_ref()?;
        if !self.lanes.names.are_several() {
            return Some(stop.to_string());
        }
        let alone = |(_, reason): &&(LaneId, StopReason)| !matches!(reason, StopReason::Asked(_));
        let named = end.stops.iter().filter(alone);
        let mut texts: Vec<_> = named
            .map(|(lane, reason)| {
                let name = self.lanes.names.shown(*lane).unwrap_or("-");
                format!("{name}: {reason}")
            })
            .collect();
        if texts.is_empty() {
            return Some(stop.to_string());
        }
        let more = texts.len().saturating_sub(STOPS_SHOWN);
        texts.truncate(STOPS_SHOWN);
        if more > 0 {
            texts.push(format!("and {more} more; the report says why"));
        }
        Some(texts.join("; "))
    }

    fn print(&self, summary: &Summary) -> std::io::Result<()> {
        // Measured now, because the terminal may have been resized.
        let text = summary.render(stdout_width(), self.style.color, &self.flags);
        let mut targets = self.outputs.reports.iter().map(|(_, target)| target);
        if targets.any(|target| *target == ReportTarget::Stdout) {
            std::io::stderr().lock().write_all(text.as_bytes())
        } else {
            print(&text)
        }
    }

    /// Writes every report that can be written. Returns their paths, and the failures of the others.
    fn write_reports(&self, at: Timestamp) -> (Vec<String>, Vec<Failure>) {
        let mut written = Vec::new();
        let mut unwritten = Vec::new();
        for (format, target) in &self.outputs.reports {
            let reader = self.store.reader().map_err(Failure::from);
            match reader.and_then(|reader| write_one(reader, self.id, *format, target, at)) {
                Ok(WriteResult::Whole { .. }) => {
                    written.extend(target.path().map(|path| path.display().to_string()));
                }
                Ok(_) => {}
                Err(failure) if failure.exit == RunExit::Fault => {
                    let report = NextCommand::Report(self.id, "report.csv".into());
                    let why = "write it again, to another file".to_owned();
                    unwritten.push(failure.hint(Hint::Command(why, report)));
                }
                Err(failure) => unwritten.push(failure),
            }
        }
        (written, unwritten)
    }

    /// Writes the follow-up list, if requested, and returns its path.
    fn write_follow_ups(&self, rows: &[FollowUpRow]) -> Result<Option<String>, Failure> {
        let Some(target) = &self.outputs.follow_up else {
            return Ok(None);
        };
        write_follow_ups(target, rows).map_err(|error| Failure::new(RunExit::Fault, error))?;
        Ok(target.path().map(|path| path.display().to_string()))
    }

    fn accepted(&self) -> AcceptedPolicy {
        match self.config.verify {
            Some(_) => AcceptedPolicy::IsLeft,
            None => AcceptedPolicy::IsEnough,
        }
    }

    /// Returns notes about exclusions that matched nothing.
    fn exclusion_notes(&self) -> Result<Vec<String>, StoreError> {
        if self.config.exclude.is_empty() {
            return Ok(Vec::new());
        }
        let mut matches = self.exclusion_matches()?;
        self.match_rows(self.id, &mut matches)?;
        Ok(unmatched_note(&matches, true).into_iter().collect())
    }

    /// Says which machines a release left isolated or restricted, and why.
    fn skipped_lines(&self) -> Result<Vec<String>, StoreError> {
        let mut skipped: BTreeMap<String, Vec<String>> = BTreeMap::new();
        if self.released.is_some() {
            for row in self.store.reader()?.report_rows(self.id)? {
                let row = row?;
                if row.outcome == Outcome::Skipped {
                    let why = row.reason.split(": ").next().unwrap_or_default().to_owned();
                    let name = row.computer_dns_name.or(row.machine_id);
                    skipped.entry(why).or_default().extend(name);
                }
            }
        }
        Ok(by_reason("", skipped))
    }

    /// Returns the first report that can be an input.
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
        outcomes: &BTreeMap<Outcome, u64>,
        follow_ups: &[(FollowUp, u64)],
        reports: &[String],
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
            let lanes = self.lanes.all.iter();
            let is_own_address = lanes
                .map(|lane| &lane.identity.cloud)
                .any(|it| it.contains(':'));
            // A run can't be resumed at another address.
            let why = match stop {
                StopReason::Unreachable(_) | StopReason::NoSuchAddress(_) if is_own_address => {
                    steps.push("if the address is wrong, run the first command again".into());
                    "to continue at the same address"
                }
                _ => "to continue where it stopped",
            };
            steps.push(step(why, NextCommand::Resume(self.id)));
            if let StopReason::ReadingForbidden(_) = stop {
                steps.push(step(
                    "or to send what is left without reading statuses first",
                    NextCommand::ResumeWith(self.id, "--no-precheck"),
                ));
            }
            if !matches!(stop, StopReason::LeftForLater(_)) {
                return steps;
            }
        }
        let releasable = follow_ups
            .iter()
            .filter(|(need, _)| need.release().is_some());
        let releasable: u64 = releasable.map(|(_, machines)| machines).sum();
        if releasable > 0 {
            let machines = Count::new(releasable, "machine");
            let were = if releasable == 1 { "was" } else { "were" };
            steps.push(step(
                &format!(
                    "to release {machines} that {were} isolated or restricted before the cancel"
                ),
                NextCommand::Release(self.id),
            ));
        }
        if self.outputs.follow_up.is_none() && follow_ups.iter().any(|(need, _)| need.is_work()) {
            steps.push(step(
                "to list the machines that need work, and what each of them needs",
                NextCommand::FollowUp(self.id, "machines.csv".into()),
            ));
        }
        let count = |outcome| outcomes.get(&outcome).copied().unwrap_or_default();
        if let (Some(released), true) = (self.released, count(Outcome::Skipped) > 0) {
            steps.push(step(
                "to see later which of these machines may be released by then",
                NextCommand::ReleaseDryRun(released),
            ));
        }
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
        if let Some(released) = self.released {
            if rows > 0 {
                let why = "to try the remaining machines again";
                steps.push(step(why, NextCommand::Release(released)));
            } else if count(Outcome::Accepted) > 0 {
                let why = "to see later whether the open releases are done, and release again those that failed";
                steps.push(step(why, NextCommand::Release(released)));
            }
        } else if rows > 0
            && !self.is_sandbox
            && let Some(report) = self.input_again(reports)
        {
            steps.push(step(
                "to try the remaining rows again, run the report; settled rows are skipped",
                NextCommand::RunAgain(report.into()),
            ));
        }
        steps
    }
}

/// Names the machines that stay isolated or restricted because of somebody else, grouped by who.
fn kept_lines(rows: &[FollowUpRow]) -> Vec<String> {
    let mut kept: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows
        .iter()
        .filter(|row| row.needs.contains(&FollowUp::Keep))
    {
        let who = row.since.iter().find_map(|since| match since {
            LaterActivity::CutOff(who) => Some(who),
            _ => None,
        });
        let who = who.and_then(|who| who.rsplit_once(": "));
        let who = who.map_or("isolated or restricted by somebody else", |(who, _)| who);
        let name = row.computer_dns_name.clone().or(row.machine_id.clone());
        kept.entry(who.to_owned()).or_default().extend(name);
    }
    by_reason("kept: ", kept)
}

/// Names the first machines of the reasons that have the most, one line each.
fn by_reason(before: &str, machines: BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut reasons: Vec<_> = machines.into_iter().collect();
    reasons.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    let others = reasons.split_off(reasons.len().min(REASONS_SHOWN));
    let count = |machines: usize| Count::new(machines as u64, "machine");
    let mut lines: Vec<_> = reasons
        .iter()
        .map(|(why, names)| {
            let first: Vec<_> = names.iter().map(String::as_str).collect();
            format!("{before}{} {why}: {}", count(names.len()), first_of(&first))
        })
        .collect();
    if !others.is_empty() {
        let others = count(others.iter().map(|(_, names)| names.len()).sum());
        lines.push(format!(
            "{before}{others} for other reasons; see `reason` in the report"
        ));
    }
    lines
}

/// Names the excluded machines that an action of this run left isolated or restricted.
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
    use crate::engine::Precheck;

    #[test]
    fn the_rows_decide_how_a_run_ends_that_was_not_stopped() {
        use Outcome::{
            Accepted as AcceptedRow, AlreadyCancelled, AlreadyFinal, Cancelled, Duplicate, Failed,
            Forbidden, Invalid, NotAttempted, NotFound, Skipped, TooLate, Unknown,
        };
        use Precheck::{ReadFirst, Skip};
        use RunExit::{Done, LeftOver, Refused};
        let exit = |outcomes: &[Outcome], reason: &str, accepted, precheck| {
            let outcomes: BTreeMap<_, _> = outcomes.iter().map(|&outcome| (outcome, 1)).collect();
            let mut skips = Skips::default();
            if outcomes.contains_key(&Skipped) {
                skips.add(reason, 1);
            }
            let is_left = !left(&outcomes, accepted, &[]).is_empty();
            exit_of_rows(&outcomes, is_left, &skips, precheck)
        };
        let (no_type, excluded) = ("type not selected: Offboard", "excluded by keep.txt: dc-01");
        let unseen = AcceptedPolicy::IsLeft;
        for (outcomes, reason, precheck, expected) in [
            (&[][..], "", ReadFirst, Done),
            (
                &[Cancelled, AlreadyCancelled, AlreadyFinal, TooLate],
                "",
                ReadFirst,
                Done,
            ),
            (&[Duplicate, Cancelled], "", ReadFirst, Done),
            (&[Failed], "", ReadFirst, LeftOver),
            (&[NotFound], "", ReadFirst, LeftOver),
            (&[Forbidden], "", ReadFirst, LeftOver),
            (&[Invalid], "", ReadFirst, LeftOver),
            (&[Unknown], "", ReadFirst, LeftOver),
            (&[AcceptedRow], "", ReadFirst, LeftOver),
            (&[NotAttempted, Cancelled], "", ReadFirst, LeftOver),
            (&[Skipped, Cancelled], excluded, ReadFirst, Done),
            (&[Skipped], excluded, ReadFirst, LeftOver),
            (&[Skipped, Cancelled], no_type, ReadFirst, Done),
            (&[Skipped, Cancelled], no_type, Skip, LeftOver),
            (&[Skipped], no_type, ReadFirst, Refused),
            (&[Skipped, Invalid], no_type, Skip, Refused),
            (&[Skipped, NotAttempted], no_type, Skip, LeftOver),
        ] {
            let exit = exit(outcomes, reason, unseen, precheck);
            assert_eq!(exit, expected, "{outcomes:?} {reason}");
        }
        let enough = AcceptedPolicy::IsEnough;
        assert_eq!(exit(&[AcceptedRow], "", enough, ReadFirst), Done);
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
