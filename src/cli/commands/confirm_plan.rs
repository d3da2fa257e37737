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
use crate::cli::run_config::confirmed;
use crate::cli::stop_reason::describe_stop;
use crate::cli::text::local_zone;
use crate::engine::core::StopReason;
use crate::engine::{
    EngineError, Intake, Journaled, Permissions, PlanId, PlanSummary, Planner, Precheck,
    ReadsError, Survey, SurveyError, journal, look_over,
};
use crate::model::{Destination, LaneId};
use crate::store::{Record, RunState};

use super::choosing::nothing_selected;
use super::execute::{say, state, usage};
use super::lanes::Lane;
use super::prepared_run::PreparedRun;
use super::quota::QuotaUsage;
use super::reading::{reads, unsurveyed};
use super::shutdown::Shutdown;

/// How long states are read before the question is asked: as long as people wait without a word.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tenants whose states are read at once before the question is asked.
const SURVEYS_AT_ONCE: usize = 32;

/// How somebody agrees to a plan.
pub(super) struct Confirmation {
    /// Who is asked; nobody where somebody agreed before.
    pub(super) terminal: Option<Terminal>,
    pub(super) origin: PlanOrigin,
    /// What else is said about the run, as pairs of a word and a name.
    pub(super) about: Vec<(&'static str, String)>,
    pub(super) notes: Vec<String>,
    pub(super) on_decline: OnDecline,
}

/// What becomes of a run to which nobody agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnDecline {
    /// It never was: it leaves the journal.
    Forget,
    /// It had been begun before, and can be continued.
    Keep,
}

impl PreparedRun {
    /// Journals the rest of the input and has the plan agreed to. Nothing is added to it from then on.
    pub(super) async fn confirm(
        &mut self,
        confirmation: Confirmation,
        stop: &mut Shutdown,
    ) -> Result<(), Failure> {
        let on_decline = confirmation.on_decline;
        let agreed = match self.journal_rest(stop).await {
            Ok(()) => self.agree(confirmation, stop).await,
            Err(failure) => Err(failure),
        };
        match agreed {
            // A resume need not count the plan again.
            Ok(plan) => {
                let record = Record::RunSettings {
                    run: self.key,
                    settings: confirmed(&self.stored, plan),
                };
                self.store.write(vec![record]).await.map_err(state)
            }
            Err(failure) => {
                self.withdraw(on_decline, &failure).await?;
                Err(failure)
            }
        }
    }

    async fn journal_rest(&mut self, stop: &mut Shutdown) -> Result<(), Failure> {
        let intake = std::mem::replace(&mut self.intake, Intake::Nothing);
        let mut planner = std::mem::replace(&mut self.planner, Planner::new(Arc::default()));
        let (store, clock) = (&self.store, &self.clock);
        let read = journal(intake, &mut planner, store, self.key, clock, stop.reasons());
        match read.await.map_err(engine)? {
            Journaled::Whole => Ok(()),
            Journaled::Stopped(reason) => Err(stopped(&reason).into()),
            Journaled::Broken(error) => Err(usage(error).hint("nothing was sent")),
        }
    }

    /// Counts the plan and has it agreed to; returns its id.
    async fn agree(
        &mut self,
        confirmation: Confirmation,
        stop: &mut Shutdown,
    ) -> Result<Option<PlanId>, Failure> {
        let reads = match self.config.precheck {
            Precheck::ReadFirst => self.survey(stop).await?,
            Precheck::Skip => 0,
        };
        let (summary, before) =
            look_over(&self.store, self.id, self.empty_summary()).map_err(state)?;
        if let Some(most) = self.config.max_actions
            && summary.send > most
        {
            let count = summary.send;
            return Err(Refusal::TooMany { count, most }.into());
        }
        if summary.skips.is_nothing_selected(&summary.outcomes()) {
            return Err(nothing_selected(&summary.skips, self.config.precheck));
        }
        self.before = before;
        let plan = (summary.send > 0).then(|| summary.id());
        let Confirmation {
            terminal,
            origin,
            about,
            notes,
            ..
        } = confirmation;
        let text = PlanText {
            summary: &summary,
            milestones: &[],
            precheck: self.config.precheck,
            reads,
            knows_later_actions: origin == PlanOrigin::Tenant,
            permissions: None,
            token_ends: None,
            place: &about,
            notes: &notes,
            now: self.clock.now().wall,
            zone: &local_zone(),
        };
        match terminal {
            Some(terminal) if summary.send > 0 => self.ask(terminal, text, origin, stop).await?,
            // Somebody must see it although nobody is asked.
            _ => {
                say(&self.progress, &text.headline());
                for (_, note) in text.notes() {
                    say(&self.progress, &note);
                }
            }
        }
        Ok(plan)
    }

    /// Makes the plan of the run's one tenant; of several, each row names its own.
    fn empty_summary(&self) -> PlanSummary {
        let tenant = match self.lanes.all.as_slice() {
            [lane] => Some(lane.identity.true_tenant()),
            _ => None,
        };
        let config = &self.config;
        PlanSummary::new(tenant, config.comment.clone(), config.exclude.clone())
    }

    /// Reads the states of the rows: all of them where their number is bounded, else as many as one likes to wait for.
    /// Returns how many calls it took. States that cannot be read in time, or not at all though others can, are left to
    /// the run; until then such rows count as sent.
    async fn survey(&self, stop: &mut Shutdown) -> Result<u64, Failure> {
        let patience = match self.config.max_actions {
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
            Some(reason) = stop.reasons().recv() => Err(stopped(&reason).into()),
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
        let scope = lane.identity.scope(Destination::List);
        let windows = self.config.read_quota.scaled_down(self.config.time_scale);
        let reads = reads(
            (way.reads(), &scope),
            (&self.store, &self.clock),
            windows,
            self.config.retry(),
        );
        let rules = Arc::new(self.config.rules());
        let mut survey = Survey::new(reads.await?, rules).of_lane(number);
        let journaled = survey.journal(&self.store, self.key, &*self.clock, patience);
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
        text: PlanText<'_>,
        origin: PlanOrigin,
        stop: &mut Shutdown,
    ) -> Result<(), Failure> {
        let (now, send) = (self.clock.now(), text.summary.send);
        // Of several tenants, each has milestones and permissions of its own.
        let only = match self.lanes.all.as_slice() {
            [lane] => Some(&lane.identity),
            _ => None,
        };
        let mut milestones = Vec::new();
        if let Some(identity) = only {
            let scope = identity.scope(Destination::Cancel);
            let windows = self.config.quota.scaled_down(self.config.time_scale);
            let spent = QuotaUsage::read(&self.store, &scope, &windows, now);
            milestones = spent.await.map_err(state)?.milestones(send, now);
        }
        let claims = only.and_then(|identity| identity.claims.as_ref());
        let permissions =
            claims.and_then(|claims| Permissions::forecast(claims, &text.summary.types_sent()));
        let place = [text.place, &self.lanes.place()].concat();
        let text = PlanText {
            permissions: permissions.as_ref(),
            token_ends: only.and_then(|identity| identity.token_ends),
            milestones: &milestones,
            place: &place,
            ..text
        };
        let text = text.render(terminal.width, terminal.paint);
        let question = Question::about(send, origin);
        let answer = tokio::select! {
            biased;
            Some(reason) = stop.reasons().recv() => return Err(stopped(&reason).into()),
            answer = terminal.ask(&text, question) => answer,
        };
        let answer = answer.map_err(|error| {
            let error = anyhow!(error).context("nothing was sent: the terminal gave no answer");
            Failure::new(FailureKind::Refused, error)
        })?;
        Ok(answer?)
    }

    /// Takes a run back to which nobody agreed.
    async fn withdraw(&self, on_decline: OnDecline, why: &Failure) -> Result<(), Failure> {
        let at: Timestamp = self.clock.now().wall;
        match on_decline {
            OnDecline::Forget => self.forget().await,
            OnDecline::Keep => {
                let record = Record::RunState {
                    run: self.key,
                    state: RunState::Stopped,
                    exit: Some(why.exit().code()),
                    reason: Some("nobody agreed to continue".to_owned()),
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
