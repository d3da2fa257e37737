//! A run that is planned as a whole: its rows are journaled to the last, counted, and agreed to, before anything is sent.
//!
//! What was agreed to is what the journal holds: nothing is read any more after the answer, so the plan can only shrink.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use crate::cli::consent::{PlanOrigin, Question, Refusal, Terminal};
use crate::cli::failure::{Failure, FailureKind};
use crate::cli::plan_text::PlanText;
use crate::cli::stop_reason::describe_stop;
use crate::cli::text::local_zone;
use crate::clock::Clock;
use crate::engine::core::StopReason;
use crate::engine::{
    Before, EngineError, Intake, Journaled, Permissions, PlanSummary, Planner, Precheck,
    ReadsError, Survey, SurveyError, journal, look_over,
};
use crate::model::{Destination, LaneId, RunId};
use crate::store::{Record, RunKey, RunState, Store};

use super::carry::{StopWishes, state, usage};
use super::forecast::Spent;
use super::lanes::{Lane, Lanes};
use super::order::{Agreement, Order, agreed};
use super::reading::{reads, unsurveyed};

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
    pub(super) order: &'run Order,
    /// The order as the journal keeps it.
    pub(super) kept: &'run str,
    pub(super) origin: PlanOrigin,
    /// What else is said about the run, as pairs of a word and a name.
    pub(super) about: Vec<(&'static str, String)>,
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
            Ok(before) => {
                self.note_agreed().await?;
                Ok(before)
            }
            Err(failure) => {
                self.withdraw(refused, &failure).await?;
                Err(failure)
            }
        }
    }

    /// Journals that the plan was agreed to: a resume need not count it again.
    async fn note_agreed(&self) -> Result<(), Failure> {
        if self.order.agreement == Agreement::Reached {
            return Ok(());
        }
        let record = Record::RunSettings {
            run: self.run,
            settings: agreed(self.kept),
        };
        self.store.write(vec![record]).await.map_err(state)
    }

    async fn settle_terms(
        &self,
        (intake, mut planner): (Intake, Planner),
        terms: Terms,
        stop: &mut StopWishes,
    ) -> Result<Before, Failure> {
        let place = (self.store, self.run);
        let read = journal(intake, &mut planner, place, self.clock, stop.wishes());
        match read.await.map_err(engine)? {
            Journaled::Whole => {}
            Journaled::Stopped(reason) => return Err(stopped(&reason).into()),
            Journaled::Broken(error) => {
                return Err(usage(error).hint("nothing was sent"));
            }
        }
        let reads = match self.order.triage {
            Precheck::ReadFirst => self.survey(&terms, stop).await?,
            Precheck::Skip => 0,
        };
        let (summary, before) = look_over(self.store, self.id).map_err(state)?;
        if let Some(most) = terms.max_actions
            && summary.send > most
        {
            let count = summary.send;
            return Err(Refusal::TooMany { count, most }.into());
        }
        if let Some(terminal) = terms.terminal
            && summary.send > 0
        {
            self.ask(terminal, (&summary, reads), stop).await?;
        }
        Ok(before)
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
        let windows = self.order.read_windows.scaled_down(self.order.time_scale);
        let reads = reads(
            (way.reads(), &scope),
            (self.store, self.clock),
            windows,
            self.order.retry(),
        );
        let rules = Arc::new(self.order.rules());
        let mut survey = Survey::new(reads.await?, rules).of_lane(number);
        let place = (self.store, self.run);
        match survey.journal(place, &**self.clock, patience).await {
            Ok(_) => {}
            Err(SurveyError::Reads(
                error @ (ReadsError::GaveUp { .. } | ReadsError::Refused { .. }),
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
            let windows = self.order.windows.scaled_down(self.order.time_scale);
            let spent = Spent::read(self.store, &scope, &windows, now);
            milestones = spent.await.map_err(state)?.milestones(summary.send, now);
        }
        let claims = only.and_then(|identity| identity.claims.as_ref());
        let permissions =
            claims.and_then(|claims| Permissions::forecast(claims, &summary.types_sent()));
        let mut place = self.about.clone();
        place.extend(self.lanes.place());
        let text = PlanText {
            summary,
            milestones: &milestones,
            triage: self.order.triage,
            reads,
            permissions: permissions.as_ref(),
            token_ends: only.and_then(|identity| identity.token_ends),
            place: &place,
            now: now.wall,
            zone: &local_zone(),
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
        Ok(question.judge(answer.as_deref())?)
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
        EngineError::Reading | EngineError::Thread(_) => Failure::new(FailureKind::Fault, error),
    }
}
