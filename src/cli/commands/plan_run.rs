//! Confirming a run's plan: all rows are journaled, counted and confirmed before anything is sent.
//!
//! The journal holds exactly what was confirmed. Nothing more is read after the answer, so the plan can only shrink.

use std::io::{self, BufWriter};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use jiff::Timestamp;

use crate::cli::args::PlanFormat;
use crate::cli::confirmation::{PlanOrigin, Question, Refusal, Terminal};
use crate::cli::failure::{Failure, RunExit};
use crate::cli::format_time::local_zone;
use crate::cli::hint::{Hint, NextCommand};
use crate::cli::journaled_config::confirmed;
use crate::cli::plan_text::{PlanText, exit_of};
use crate::cli::terminal::print;
use crate::engine::core::StopReason;
use crate::engine::{
    Permissions, PlanId, PlanSummary, Planner, RemainingInput, RunParts, Verdict, plan,
    summarize_journaled,
};
use crate::model::{ActionId, ExclusionMatches, Moment, Operation, RunId};
use crate::report::PlanWriter;
use crate::store::{Record, RunState, StoreError};

use super::prepared_run::{PreparedRun, core_settings, say};
use super::quota::QuotaUsage;
use super::selection::nothing_selected;
use super::service_reads::{engine, unchecked};
use super::signals::Shutdown;

/// How long states are read before the question: about as long as people wait without output.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Confirmation {
    /// `None` if the run was confirmed in advance.
    pub(super) terminal: Option<Terminal>,
    pub(super) origin: PlanOrigin,
    /// More lines about the run: label and value.
    pub(super) about: Vec<(&'static str, String)>,
    pub(super) notes: Vec<String>,
    pub(super) on_decline: OnDecline,
}

/// What happens to a run that isn't confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnDecline {
    /// A new run: it leaves the journal.
    Forget,
    /// An earlier run: it can still be resumed.
    Keep,
}

impl PreparedRun {
    /// Journals the rest of the input and gets the plan confirmed. Nothing is added to the plan afterwards.
    pub(super) async fn confirm(
        &mut self,
        confirmation: Confirmation,
        stop: &mut Shutdown,
    ) -> Result<(), Failure> {
        let on_decline = confirmation.on_decline;
        match self.agree(confirmation, stop).await {
            // So that a resume doesn't count the plan again.
            Ok(plan) => {
                let record = Record::RunSettings {
                    run: self.key,
                    settings: confirmed(&self.stored, plan),
                };
                self.store.write(vec![record]).await.map_err(Failure::from)
            }
            Err(failure) => {
                self.withdraw(on_decline, &failure).await?;
                Err(failure)
            }
        }
    }

    /// Counts the plan and gets it confirmed. Returns its id.
    async fn agree(
        &mut self,
        confirmation: Confirmation,
        stop: &mut Shutdown,
    ) -> Result<Option<PlanId>, Failure> {
        let reads = self.plan(stop).await?;
        let approved = self.config.approved();
        let mut summary = self.empty_summary()?;
        if approved.is_some() {
            summary = summary.with_named_id();
        }
        let (summary, before) = summarize_journaled(&self.store, self.id, summary)?;
        // An id that was missing once may be found later, and is then sent.
        let count = summary.send + summary.missing_once;
        if let Some(most) = self.config.max_actions
            && count > most
        {
            return Err(Refusal::TooMany { count, most }.into());
        }
        let is_input = confirmation.origin == PlanOrigin::Input;
        // A plan from the journal keeps its rows, so it can only shrink.
        if let Some(approved) = approved
            && confirmation.origin != PlanOrigin::Journal
            && (is_input || count > 0)
            && !summary.is_within(approved)
        {
            let (plan, missing) = (summary.id(), summary.missing_once);
            let refusal = if plan == approved {
                Refusal::MissingMayBeSent { missing, approved }
            } else {
                Refusal::OtherPlan { plan, approved }
            };
            return Err(refusal.into());
        }
        if summary.skips.is_nothing_selected(&summary.outcomes()) {
            return Err(nothing_selected(&summary.skips, self.config.precheck));
        }
        self.before = before;
        let plan = approved.or_else(|| (summary.send > 0).then(|| summary.id()));
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
            // Shown although nobody is asked.
            _ => {
                say(&self.progress, &text.headline());
                for (_, note) in text.notes() {
                    say(&self.progress, &note);
                }
            }
        }
        Ok(plan)
    }

    /// With several tenants, each row names its own.
    fn empty_summary(&self) -> Result<PlanSummary, StoreError> {
        let tenant = match self.lanes.all.as_slice() {
            [lane] => Some(lane.identity.true_tenant()),
            _ => None,
        };
        let config = &self.config;
        let mut summary = PlanSummary::new(tenant, config.comment.clone(), config.exclude.clone())
            .of(config.operation);
        summary.exclusions = self.exclusion_matches()?;
        Ok(summary)
    }

    /// Starts to match the exclusions. Those of a release may have matched in the run that found the machines.
    pub(super) fn exclusion_matches(&self) -> Result<ExclusionMatches, StoreError> {
        let mut matches = ExclusionMatches::of(self.config.exclude.clone());
        let released = self.released.filter(|_| !self.config.exclude.is_empty());
        if let Some(released) = released {
            self.match_rows(released, &mut matches)?;
        }
        Ok(matches)
    }

    pub(super) fn match_rows(
        &self,
        run: RunId,
        matches: &mut ExclusionMatches,
    ) -> Result<(), StoreError> {
        for row in self.store.reader()?.report_rows(run)? {
            let row = row?;
            let id = ActionId::parse(&row.action_id).ok();
            matches.add(
                id,
                row.machine_id.as_deref(),
                row.computer_dns_name.as_deref(),
            );
        }
        Ok(())
    }

    /// Journals the rest of the input and reads the rows' states: all of them if the plan is bounded, approved or a
    /// release, otherwise for a few seconds. Returns the number of calls. Rows whose state couldn't be read count as
    /// sent, and the run reads them later.
    async fn plan(&mut self, stop: &mut Shutdown) -> Result<u64, Failure> {
        let reads_all = self.config.max_actions.is_some()
            || self.config.approved().is_some()
            || self.config.operation == Operation::Release;
        let patience = (!reads_all).then_some(PATIENCE);
        let mut core = core_settings(&self.config, self.key, self.id);
        core.give_up_after = core.reach_timeout;
        let core = self.core(core).await?;
        let lanes = self.lanes.all.iter();
        let readers = lanes.map(|lane| lane.way.as_ref().map(|handles| handles.reads()));
        let parts = RunParts {
            store: self.store.clone(),
            clock: Arc::clone(&self.clock),
            run: self.key,
            core,
            lanes: readers.map(|way| way.map_err(Arc::clone)).collect(),
            intake: std::mem::replace(&mut self.intake, RemainingInput::Nothing),
            before: std::mem::take(&mut self.before),
            planner: std::mem::replace(&mut self.planner, Planner::new(Arc::default())),
        };
        let planned = plan(parts, None, patience, stop.reasons());
        let end = planned.await.map_err(engine)?;
        for (lane, reason) in end.stops {
            let lane = &self.lanes.all[usize::from(lane.0)];
            let error = reason.to_string();
            match reason {
                StopReason::Asked(_) => return Err(stopped_planning(&reason)),
                StopReason::GaveUp(_) => {
                    tracing::warn!(
                        error,
                        "not all states could be read before the plan was counted"
                    );
                }
                // The failed sign-in was reported before.
                _ if self.lanes.names.are_several() && lane.way.is_err() => {}
                _ if self.lanes.names.are_several() => {
                    let tenant = lane.identity.tenant.as_str();
                    tracing::warn!(
                        tenant,
                        error,
                        "this tenant's states could not be read before the plan was counted"
                    );
                }
                reason => return Err(unchecked(reason)),
            }
        }
        match end.intake {
            Some(error) => Err(Failure::refused(error).hint("nothing was sent")),
            None => Ok(end.reads),
        }
    }

    /// Prints and keeps the plan of a release, so that it can be sent by its id.
    pub(super) async fn print_plan(
        mut self,
        released: RunId,
        format: PlanFormat,
        stop: &mut Shutdown,
    ) -> Result<RunExit, Failure> {
        let planned = self.plan(stop).await;
        let printed = match planned {
            Ok(reads) => self.print_summary(released, format, reads).await,
            Err(failure) => Err(failure),
        };
        let Ok((plan, exit)) = printed else {
            self.forget().await?;
            return printed.map(|(_, exit)| exit);
        };
        let Some(plan) = plan else {
            self.forget().await?;
            return Ok(exit);
        };
        let run = self.key;
        self.config.plan = Some(plan.to_string());
        let records = vec![
            Record::RunSettings {
                run,
                settings: self.config.to_json(),
            },
            Record::RunState {
                run,
                state: RunState::Stopped,
                exit: None,
                reason: Some(format!("plan {plan}, not sent yet")),
                at: self.clock.now().wall,
            },
        ];
        self.store.write(records).await?;
        let command = NextCommand::ReleasePlan(released, plan);
        let hint = Hint::Command(
            "to send this plan with these settings, or what is left of it by then".to_owned(),
            command,
        );
        say(&self.progress, &hint.render(&self.flags));
        Ok(exit)
    }

    /// Prints the plan. Returns its id if something would be sent.
    async fn print_summary(
        &self,
        released: RunId,
        format: PlanFormat,
        reads: u64,
    ) -> Result<(Option<PlanId>, RunExit), Failure> {
        let (summary, _) = summarize_journaled(&self.store, self.id, self.empty_summary()?)?;
        let plan = (summary.send > 0).then(|| summary.id());
        let now = self.clock.now();
        let (milestones, permissions, token_ends) = self.forecast(&summary, now).await?;
        let place = [
            vec![("machines of", format!("run {released}"))],
            self.lanes.place(),
        ];
        let text = PlanText {
            summary: &summary,
            milestones: &milestones,
            precheck: self.config.precheck,
            reads,
            knows_later_actions: true,
            permissions: permissions.as_ref(),
            token_ends,
            place: &place.concat(),
            notes: &[],
            now: now.wall,
            zone: &local_zone(),
        };
        let written = match format {
            PlanFormat::Table => print(&text.render(self.style.width, self.style.color)),
            PlanFormat::Json => print(&text.json()),
            PlanFormat::Csv => {
                let mut frozen = PlanWriter::begin().map_err(Failure::of_output)?;
                for row in self.store.reader()?.report_rows(self.id)? {
                    let row = row?;
                    let verdict = Verdict::of(&row);
                    frozen
                        .row(verdict.as_str(), &row)
                        .map_err(Failure::of_output)?;
                }
                let plan = plan.map(|plan| plan.to_string());
                frozen.finish(BufWriter::new(io::stdout().lock()), plan.as_deref())
            }
        };
        written.map_err(Failure::of_output)?;
        Ok((plan, exit_of(&text)))
    }

    async fn ask(
        &self,
        terminal: Terminal,
        text: PlanText<'_>,
        origin: PlanOrigin,
        stop: &mut Shutdown,
    ) -> Result<(), Failure> {
        let (now, send) = (self.clock.now(), text.summary.send);
        let (milestones, permissions, token_ends) = self.forecast(text.summary, now).await?;
        let place = [text.place, &self.lanes.place()].concat();
        let text = PlanText {
            permissions: permissions.as_ref(),
            token_ends,
            milestones: &milestones,
            place: &place,
            ..text
        };
        let text = text.render(terminal.width, terminal.color);
        let question = Question::about(send, origin);
        let answer = tokio::select! {
            biased;
            Some(reason) = stop.reasons().recv() => return Err(stopped(&reason).into()),
            answer = terminal.ask(&text, question) => answer,
        };
        let answer = answer.map_err(|error| {
            let error = anyhow!(error).context("nothing was sent: the terminal gave no answer");
            Failure::refused(error)
        })?;
        Ok(answer?)
    }

    /// Returns when calls will be sent, what the token permits, and when it expires. Empty for several tenants, where
    /// each differs.
    async fn forecast(
        &self,
        summary: &PlanSummary,
        now: Moment,
    ) -> Result<
        (
            Vec<(u64, Timestamp)>,
            Option<Permissions>,
            Option<Timestamp>,
        ),
        Failure,
    > {
        let [lane] = self.lanes.all.as_slice() else {
            return Ok((Vec::new(), None, None));
        };
        let identity = &lane.identity;
        let scope = identity.scope(self.config.operation.destination());
        let windows = self.config.quota.scaled_down(self.config.time_scale);
        let spent = QuotaUsage::read(&self.store, &scope, &windows, now).await;
        let milestones = spent?.milestones(summary.send, now);
        let claims = identity.claims.as_ref();
        let permissions =
            claims.and_then(|claims| Permissions::forecast(claims, &summary.types_sent()));
        Ok((milestones, permissions, identity.token_ends))
    }

    /// Forgets or keeps a run that wasn't confirmed.
    async fn withdraw(&self, on_decline: OnDecline, why: &Failure) -> Result<(), Failure> {
        let at: Timestamp = self.clock.now().wall;
        match on_decline {
            OnDecline::Forget => self.forget().await,
            OnDecline::Keep => {
                let record = Record::RunState {
                    run: self.key,
                    state: RunState::Stopped,
                    exit: Some(why.exit.code()),
                    reason: Some(match why.exit {
                        RunExit::Stopped => why.error.to_string(),
                        _ => "nobody agreed to continue".to_owned(),
                    }),
                    at,
                };
                self.store.write(vec![record]).await.map_err(Failure::from)
            }
        }
    }
}

fn stopped(reason: &StopReason) -> Refusal {
    Refusal::Stopped {
        signal: who_stopped(reason),
    }
}

pub(super) fn stopped_planning(reason: &StopReason) -> Failure {
    let who = who_stopped(reason);
    let error = anyhow!("nothing was sent: stopped by {who} while the plan was made");
    Failure::new(RunExit::Stopped, error)
}

fn who_stopped(reason: &StopReason) -> String {
    match reason {
        StopReason::Asked(what) => what.clone(),
        other => other.to_string(),
    }
}
