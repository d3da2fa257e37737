//! A run that is planned as a whole: its rows are journaled to the last, counted, and agreed to, before anything is sent.
//!
//! What was agreed to is what the journal holds: nothing is read any more after the answer, so the plan can only shrink.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::consent::{PlanOrigin, Question, Refusal, Terminal};
use crate::cli::failure::{Failure, FailureKind};
use crate::cli::plan_text::PlanText;
use crate::cli::progress::Progress;
use crate::cli::stop_reason::describe_stop;
use crate::cli::text::local_zone;
use crate::clock::Clock;
use crate::engine::core::StopReason;
use crate::engine::{
    Before, EngineError, Intake, Journaled, Permissions, PlanId, PlanSummary, Planner, Precheck,
    ReadsError, Survey, SurveyError, journal, look_over,
};
use crate::model::{Destination, LaneId, RunId};
use crate::store::{Record, RunKey, RunState, Store};

use super::carry::{StopWishes, say, state, usage};
use super::choosing::nothing_selected;
use super::forecast::Spent;
use super::lanes::{Lane, Lanes};
use super::reading::{reads, unsurveyed};
use crate::cli::run_config::{RunConfig, confirmed};

/// How long states are read before the question is asked: as long as people wait without a word.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tenants whose states are read at once before the question is asked.
const SURVEYS_AT_ONCE: usize = 32;

/// A run that is to be agreed to.
pub(super) struct Plan<'run> {
    pub(super) id: RunId,
    pub(super) run: RunKey,
    pub(super) store: &'run Store,
    pub(super) clock: &'run Arc<dyn Clock>,
    pub(super) lanes: &'run Lanes,
    pub(super) config: &'run RunConfig,
    /// As the journal keeps it.
    pub(super) kept: &'run str,
    pub(super) origin: PlanOrigin,
    /// What else is said about the run, as pairs of a word and a name.
    pub(super) about: Vec<(&'static str, String)>,
    pub(super) notes: Vec<String>,
    pub(super) progress: &'run Progress,
}

/// What it takes to go on.
pub(super) struct Terms {
    /// Who is asked; nobody where somebody agreed before.
    pub(super) terminal: Option<Terminal>,
    /// More actions than this are not cancelled.
    pub(super) max_actions: Option<u64>,
}

/// What becomes of a run to which nobody agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It never was: it leaves the journal.
    Forget,
    /// It had been begun before, and can be taken up again.
    Keep,
}

impl Plan<'_> {
    /// Journals the rest of the input and asks; returns what the journal holds then.
    pub(super) async fn agree(
        &self,
        reading: (Intake, Planner),
        terms: Terms,
        stop: &mut StopWishes,
        refused: Refused,
    ) -> Result<Before, Failure> {
        match self.settle_terms(reading, terms, stop).await {
            Ok((before, plan)) => {
                self.note_agreed(plan).await?;
                Ok(before)
            }
            Err(failure) => {
                self.withdraw(refused, &failure).await?;
                Err(failure)
            }
        }
    }

    /// Journals which plan was agreed to: a resume need not count it again.
    async fn note_agreed(&self, plan: Option<PlanId>) -> Result<(), Failure> {
        let record = Record::RunSettings {
            run: self.run,
            settings: confirmed(self.kept, plan),
        };
        self.store.write(vec![record]).await.map_err(state)
    }

    async fn settle_terms(
        &self,
        (intake, mut planner): (Intake, Planner),
        terms: Terms,
        stop: &mut StopWishes,
    ) -> Result<(Before, Option<PlanId>), Failure> {
        let wishes = stop.wishes();
        let read = journal(
            intake,
            &mut planner,
            self.store,
            self.run,
            self.clock,
            wishes,
        );
        match read.await.map_err(engine)? {
            Journaled::Whole => {}
            Journaled::Stopped(reason) => return Err(stopped(&reason).into()),
            Journaled::Broken(error) => {
                return Err(usage(error).hint("nothing was sent"));
            }
        }
        let reads = match self.config.precheck {
            Precheck::ReadFirst => self.survey(&terms, stop).await?,
            Precheck::Skip => 0,
        };
        let (summary, before) =
            look_over(self.store, self.id, self.empty_summary()).map_err(state)?;
        if let Some(most) = terms.max_actions
            && summary.send > most
        {
            let count = summary.send;
            return Err(Refusal::TooMany { count, most }.into());
        }
        if summary.skips.is_nothing_selected(&summary.outcomes()) {
            return Err(nothing_selected(&summary.skips, self.config.precheck));
        }
        let plan = (summary.send > 0).then(|| summary.id());
        match terms.terminal {
            Some(terminal) if summary.send > 0 => {
                self.ask(terminal, (&summary, reads), stop).await?;
            }
            _ => self.say(&summary),
        }
        Ok((before, plan))
    }

    /// Makes the plan of the run's one tenant; of several, each row names its own.
    fn empty_summary(&self) -> PlanSummary {
        let tenant = match self.lanes.all.as_slice() {
            [lane] => Some(lane.identity.true_tenant()),
            _ => None,
        };
        let config = self.config;
        PlanSummary::new(tenant, config.comment.clone(), config.exclude.clone())
    }

    /// Says what somebody must see although nobody is asked.
    fn say(&self, summary: &PlanSummary) {
        let zone = local_zone();
        let text = self.text(summary, 0, &[], &[], &zone);
        say(self.progress, &text.headline());
        for (_, note) in text.notes() {
            say(self.progress, &note);
        }
    }

    /// Describes the plan, as far as no call and no ledger is needed for that.
    fn text<'a>(
        &'a self,
        summary: &'a PlanSummary,
        reads: u64,
        milestones: &'a [(u64, Timestamp)],
        place: &'a [(&'static str, String)],
        zone: &'a TimeZone,
    ) -> PlanText<'a> {
        PlanText {
            summary,
            milestones,
            precheck: self.config.precheck,
            reads,
            knows_later_actions: self.origin == PlanOrigin::Tenant,
            permissions: None,
            token_ends: None,
            place,
            notes: &self.notes,
            now: self.clock.now().wall,
            zone,
        }
    }

    /// Reads the states of the rows: all of them where their number is bounded, else as many as one likes to wait for.
    /// Returns how many calls it took. States that cannot be read in time, or not at all though others can, are left to
    /// the run; until then such rows count as sent.
    async fn survey(&self, terms: &Terms, stop: &mut StopWishes) -> Result<u64, Failure> {
        let patience = match terms.max_actions {
            Some(_) => None,
            None => Some(PATIENCE),
        };
        // One tenant's patience does not grow with the number of tenants: they are read side by side.
        let surveys = (0..)
            .map(LaneId)
            .zip(&self.lanes.all)
            .map(|(number, lane)| self.survey_lane((number, lane), patience));
        let surveys = stream::iter(surveys)
            .buffer_unordered(SURVEYS_AT_ONCE)
            .try_fold(0, |sum, calls| std::future::ready(Ok(sum + calls)));
        tokio::select! {
            biased;
            Some(reason) = stop.wishes().recv() => Err(stopped(&reason).into()),
            calls = surveys => calls,
        }
    }

    /// Reads the states of one tenant's rows. Among several, one that cannot be read is left to the run, which says so.
    async fn survey_lane(
        &self,
        (number, lane): (LaneId, &Lane),
        patience: Option<Duration>,
    ) -> Result<u64, Failure> {
        let Ok(way) = &lane.way else {
            return Ok(0);
        };
        let scope = lane.scope(Destination::List);
        let windows = self.config.read_quota.scaled_down(self.config.time_scale);
        let reads = reads(
            (way.reads(), &scope),
            (self.store, self.clock),
            windows,
            self.config.retry(),
        );
        let rules = Arc::new(self.config.rules());
        let mut survey = Survey::new(reads.await?, rules).of_lane(number);
        let journaled = survey.journal(self.store, self.run, &**self.clock, patience);
        match journaled.await {
            Ok(_) => {}
            Err(SurveyError::Reads(
                error @ (ReadsError::GaveUp {
                    was_heard: true, ..
                }
                | ReadsError::Refused { .. }),
            )) => {
                tracing::warn!(%error, "not all states could be read before the plan was counted");
            }
            Err(SurveyError::Reads(ReadsError::Store(error))) => return Err(state(error)),
            Err(error) if self.lanes.names.are_several() => {
                let tenant = lane.identity.tenant.as_str();
                tracing::warn!(tenant, %error, "this tenant's states could not be read before the plan was counted");
            }
            Err(error) => return Err(unsurveyed(error)),
        }
        Ok(survey.calls())
    }

    async fn ask(
        &self,
        terminal: Terminal,
        (summary, reads): (&PlanSummary, u64),
        stop: &mut StopWishes,
    ) -> Result<(), Failure> {
        let now = self.clock.now();
        // Of several tenants, each has milestones and permissions of its own.
        let only = match self.lanes.all.as_slice() {
            [lane] => Some(&lane.identity),
            _ => None,
        };
        let mut milestones = Vec::new();
        if let Some(identity) = only {
            let scope = identity.scope(Destination::Cancel);
            let windows = self.config.quota.scaled_down(self.config.time_scale);
            let spent = Spent::read(self.store, &scope, &windows, now);
            milestones = spent.await.map_err(state)?.milestones(summary.send, now);
        }
        let claims = only.and_then(|identity| identity.claims.as_ref());
        let permissions =
            claims.and_then(|claims| Permissions::forecast(claims, &summary.types_sent()));
        let mut place = self.about.clone();
        place.extend(self.lanes.place());
        let zone = local_zone();
        let text = PlanText {
            permissions: permissions.as_ref(),
            token_ends: only.and_then(|identity| identity.token_ends),
            ..self.text(summary, reads, &milestones, &place, &zone)
        };
        let text = text.render(terminal.width, terminal.paint);
        let question = Question::about(summary.send, self.origin);
        let answer = tokio::select! {
            biased;
            Some(reason) = stop.wishes().recv() => return Err(stopped(&reason).into()),
            answer = terminal.ask(&text, question) => answer,
        };
        let answer = answer.map_err(|error| {
            Failure::new(
                FailureKind::Refused,
                anyhow!(error).context("nothing was sent: the terminal gave no answer"),
            )
        })?;
        Ok(answer?)
    }

    /// Takes a run back to which nobody agreed.
    async fn withdraw(&self, refused: Refused, why: &Failure) -> Result<(), Failure> {
        let at: Timestamp = self.clock.now().wall;
        match refused {
            Refused::Forget => {
                // A run cannot be removed while it is held.
                drop(self.store.hold_run(self.run, at).await.map_err(state)?);
                self.store.remove_run(self.run).await.map_err(state)
            }
            Refused::Keep => {
                let record = Record::RunState {
                    run: self.run,
                    state: RunState::Stopped,
                    exit: Some(why.exit().code()),
                    reason: Some("nobody agreed to go on".to_owned()),
                    at,
                };
                self.store.write(vec![record]).await.map_err(state)
            }
        }
    }
}

fn stopped(reason: &StopReason) -> Refusal {
    let signal = match reason {
        StopReason::Asked(what) => what.clone(),
        other => describe_stop(other),
    };
    Refusal::Stopped { signal }
}

fn engine(error: EngineError) -> Failure {
    match error {
        EngineError::Store(error) => state(error),
        EngineError::RowsMissing { .. } => Failure::new(FailureKind::State, error),
        EngineError::Reading | EngineError::Thread(_) => Failure::new(FailureKind::Fault, error),
    }
}
