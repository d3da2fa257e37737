//! `preview`: the plan, printed and not carried out.
//!
//! It shares planner, rules and verdicts with a run. It has no journal and nothing that could send a cancel; a state
//! folder it makes only where it reads states, for its reads are counted with those of runs.

use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::api::{Filter, MAX_TOP};
use crate::cli::args::PlanFormat;
use crate::cli::consent::Refusal;
use crate::cli::failure::{Failure, FailureKind, RunExit};
use crate::cli::plan_json::plan_json;
use crate::cli::plan_text::{PlanText, exit_of};
use crate::cli::settings::{CALL_TIMEOUT, PreviewSettings, SANDBOX_SCALE};
use crate::cli::terminal::print;
use crate::cli::text::local_zone;
use crate::clock::{Clock, SystemClock};
use crate::engine::{
    EngineError, Fed, LaneNames, Pages, Permissions, PlanSummary, PlannedRow, Planner, Precheck,
    ReadHandles, Rules, Survey, SurveyError, Verdict, read_inputs,
};
use crate::input::{OpenInput, open};
use crate::model::{Destination, Moment, RunId};
use crate::quota::Windows;
use crate::report::PlanWriter;
use crate::retry::RetrySettings;
use crate::store::{Store, state_file};

use super::choosing::{nothing_selected, origin, read_exclusions};
use super::execute::{open_store, usage};
use super::finish::Look;
use super::prepared_run::filter;
use super::quota::QuotaUsage;
use super::reading::{reads, unread, unsurveyed};
use super::service::{Identity, Service, identity_at_hand, to_read};

/// Rows that are kept while a batch of them fills whose states are to be read: of an input in which few rows are to be
/// sent, more are not held.
const WINDOW: usize = 2000;

const BATCH: usize = 100;

/// Prints what a run would do.
pub async fn preview(settings: PreviewSettings, look: Look) -> Result<RunExit, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let typed = &settings.plan;
    let inputs = open(&settings.inputs, &typed.input.settings(false)).map_err(usage)?;
    let rules = Arc::new(Rules {
        allow_protected: typed.allow_protected.clone(),
        selection: typed.selection(clock.now().wall),
        exclude: read_exclusions(&typed.selection.exclude_from)?,
        precheck: typed.precheck(),
    });
    let filter = filter(typed.selection.filter.clone(), &rules.selection);
    let view = View::open(&settings, &clock, &rules).await?;
    let tenant = view.identity.as_ref().map(Identity::true_tenant);
    let exclude = rules.exclude.clone();
    let mut printing = Printing {
        summary: PlanSummary::new(tenant, typed.comment.clone(), exclude),
        comment: typed.comment.clone(),
        frozen: match settings.format {
            PlanFormat::Csv => Some(PlanWriter::begin().map_err(spooled)?),
            PlanFormat::Table | PlanFormat::Json => None,
        },
    };
    let _sandbox = view.sandbox;
    let mut looking = view.survey;
    let names = |identity: &Identity| {
        let connection = settings.connection.as_ref();
        let profile = connection.and_then(|connection| connection.profile.as_deref());
        LaneNames::new(vec![identity.lane_name(profile)])
    };
    // Of an imitation, whatever a row says is taken for it.
    let identity = view.identity.as_ref().filter(|_| !settings.is_sandbox);
    let names = identity.map(names).unwrap_or_default();
    let planner = Planner::new(Arc::clone(&rules)).for_lanes(Arc::new(names));
    let broken = match &mut looking {
        Some(survey) if settings.inputs.is_empty() => {
            list(filter, planner, (survey, &*clock), &mut printing).await?
        }
        survey => plan(inputs, planner, (survey.as_mut(), &*clock), &mut printing).await?,
    };
    let summary = printing.summary;
    if let Some(frozen) = printing.frozen {
        let id = (summary.send > 0).then(|| summary.id().to_string());
        let out = BufWriter::new(io::stdout().lock());
        frozen
            .finish(out, id.as_deref())
            .map_err(Failure::of_output)?;
    }
    let permissions = view
        .identity
        .as_ref()
        .and_then(|identity| identity.claims.as_ref())
        .and_then(|claims| Permissions::forecast(claims, &summary.types_sent()));
    let now = clock.now();
    let windows = &settings.allowance.cancel.scaled_down(settings.time_scale());
    let spent = spent(view.store.as_ref(), view.identity.as_ref(), windows, now).await;
    let mut place: Vec<_> = match &view.identity {
        Some(identity) => identity.place().into(),
        None => Vec::new(),
    };
    place.push(origin(typed, &rules.selection, now.wall));
    let notes = typed.notes();
    let text = PlanText {
        summary: &summary,
        milestones: &spent.milestones(summary.send, now),
        precheck: typed.precheck(),
        reads: looking.as_ref().map_or(0, Survey::calls),
        knows_later_actions: settings.inputs.is_empty(),
        permissions: permissions.as_ref(),
        token_ends: view
            .identity
            .as_ref()
            .and_then(|identity| identity.token_ends),
        place: &place,
        notes: &notes,
        now: now.wall,
        zone: &local_zone(),
    };
    match settings.format {
        PlanFormat::Table => print(&text.render(look.width, look.paint)),
        PlanFormat::Json => print(&plan_json(&text)),
        // Standard output is the plan's; the name by which it is compared must be seen all the same.
        PlanFormat::Csv => writeln!(io::stderr().lock(), "{}", text.headline()),
    }
    .map_err(Failure::of_output)?;
    if let Some(failure) = broken {
        return Err(failure);
    }
    if let Some(most) = settings.max_actions
        && summary.send > most
    {
        let count = summary.send;
        return Err(Refusal::TooMany { count, most }.into());
    }
    match exit_of(&text) {
        RunExit::Refused => Err(nothing_selected(&summary.skips, typed.precheck())),
        exit => Ok(exit),
    }
}

/// What a preview can look at: nothing at all, the ledger, or the service too.
struct View {
    identity: Option<Identity>,
    store: Option<Store>,
    survey: Option<Survey>,
    /// Keeps an embedded sandbox going.
    sandbox: Option<Service>,
}

impl View {
    async fn open(
        settings: &PreviewSettings,
        clock: &Arc<dyn Clock>,
        rules: &Arc<Rules>,
    ) -> Result<Self, Failure> {
        let mut view = Self {
            identity: None,
            store: None,
            survey: None,
            sandbox: None,
        };
        let Some(dir) = &settings.state_dir else {
            return Ok(view);
        };
        match &settings.connection {
            None if settings.is_sandbox && rules.precheck == Precheck::ReadFirst => {
                let intake = settings.plan.input.settings(false);
                let (inputs, run) = (&settings.inputs, RunId::new(Uuid::now_v7()));
                let scale = SANDBOX_SCALE;
                let service =
                    Service::embedded(inputs, &intake, run, dir, scale, CALL_TIMEOUT).await?;
                let (handles, identity) = (service.lane.reads(), service.identity.clone());
                view.sandbox = Some(service);
                view.read(settings, handles, identity, clock, rules).await?;
            }
            None => {}
            Some(connection) if rules.precheck == Precheck::Skip => {
                view.identity = Some(identity_at_hand(connection, CALL_TIMEOUT).await?);
                if state_file(dir).exists() {
                    let grace = RetrySettings::default().timeout_grace;
                    view.store = known_store(dir, grace, &**clock);
                }
            }
            Some(connection) => {
                let (handles, identity) = to_read(connection, CALL_TIMEOUT).await?;
                view.read(settings, handles, identity, clock, rules).await?;
            }
        }
        Ok(view)
    }

    /// Reads states by these handles from now on.
    async fn read(
        &mut self,
        settings: &PreviewSettings,
        handles: Arc<ReadHandles>,
        identity: Identity,
        clock: &Arc<dyn Clock>,
        rules: &Arc<Rules>,
    ) -> Result<(), Failure> {
        let Some(dir) = &settings.state_dir else {
            return Ok(());
        };
        let scale = settings.time_scale();
        let retry = RetrySettings::default().scaled_down(scale);
        // Reads are calls, and calls are counted where those of runs are.
        let store = open_store(dir, retry.timeout_grace, &**clock)?;
        let scope = identity.scope(Destination::List);
        let windows = settings.allowance.read.scaled_down(scale);
        let reads = reads((handles, &scope), (&store, clock), windows, retry).await?;
        self.survey = Some(Survey::new(reads, Arc::clone(rules)));
        self.identity = Some(identity);
        self.store = Some(store);
        Ok(())
    }
}

/// Opens a ledger that is there. One that cannot be read counts as empty: a forecast must not keep a plan from being seen.
fn known_store(dir: &Path, grace: Duration, clock: &dyn Clock) -> Option<Store> {
    let opened = open_store(dir, grace, clock);
    opened
        .map_err(|failure| {
            tracing::warn!(error = %failure.error, "what was spent cannot be looked up, and counts as nothing");
        })
        .ok()
}

async fn spent(
    store: Option<&Store>,
    identity: Option<&Identity>,
    windows: &Windows,
    now: Moment,
) -> QuotaUsage {
    let (Some(store), Some(identity)) = (store, identity) else {
        return QuotaUsage::nothing(windows);
    };
    let scope = identity.scope(Destination::Cancel);
    let read = QuotaUsage::read(store, &scope, windows, now).await;
    read.unwrap_or_else(|error| {
        tracing::warn!(%error, "what was spent cannot be looked up, and counts as nothing");
        QuotaUsage::nothing(windows)
    })
}

struct Printing {
    summary: PlanSummary,
    /// Beats the rows' own comments.
    comment: Option<String>,
    /// A frozen plan on its way to standard output.
    frozen: Option<PlanWriter>,
}

impl Printing {
    fn take(&mut self, row: &PlannedRow) -> Result<(), Failure> {
        self.summary.add(&row.line());
        let Some(out) = &mut self.frozen else {
            return Ok(());
        };
        let mut cells = row.report_row();
        if self.comment.is_some() && row.verdict() == Verdict::Send {
            // What was approved is sent, whoever gives the plan to a run.
            cells.comment.clone_from(&self.comment);
        }
        out.row(row.verdict().as_str(), &cells).map_err(spooled)
    }
}

/// A plan that waits in a temporary file until its id is known.
fn spooled(error: io::Error) -> Failure {
    let folder = std::env::temp_dir();
    let error = anyhow::Error::new(error)
        .context(format!("the plan cannot be kept in {}", folder.display()));
    Failure::new(FailureKind::Fault, error)
        .hint("free some space there, or set TMPDIR to another folder")
}

/// Plans every row; returns what broke off, where the plan is worth seeing all the same.
async fn plan(
    inputs: Vec<OpenInput>,
    mut planner: Planner,
    (mut survey, clock): (Option<&mut Survey>, &dyn Clock),
    printing: &mut Printing,
) -> Result<Option<Failure>, Failure> {
    let now = clock.now().wall;
    let mut looking = Looking {
        is_begun: false,
        broken: None,
    };
    let mut window = Vec::new();
    let mut unread = 0;
    let mut fed = read_inputs(inputs).map_err(Failure::of_output)?;
    let broken = loop {
        let chunk = match fed.recv().await {
            Some(Fed::Rows(chunk)) => chunk,
            Some(Fed::End(error)) => {
                break error.map(|error| {
                    usage(error).hint("the plan holds the rows before it and no more")
                });
            }
            None => return Err(usage(EngineError::Reading)),
        };
        for row in chunk.rows {
            let row = PlannedRow::unread(planner.plan(row, now));
            let Some(survey) = &mut survey else {
                printing.take(&row)?;
                continue;
            };
            unread += usize::from(row.to_send().is_some());
            window.push(row);
            if unread >= BATCH || window.len() >= WINDOW {
                looking.sort(survey, &mut window, clock).await?;
                window.drain(..).try_for_each(|row| printing.take(&row))?;
                unread = 0;
            }
        }
    };
    if let Some(survey) = survey {
        looking.sort(survey, &mut window, clock).await?;
        window.drain(..).try_for_each(|row| printing.take(&row))?;
    }
    Ok(broken.or(looking.broken.map(unsurveyed)))
}

/// Plans what the tenant has of what is selected; returns what broke off, where the plan is worth seeing all the same.
async fn list(
    filter: Filter,
    mut planner: Planner,
    (survey, clock): (&mut Survey, &dyn Clock),
    printing: &mut Printing,
) -> Result<Option<Failure>, Failure> {
    let mut pages = Pages::new(filter, MAX_TOP);
    loop {
        let now = clock.now().wall;
        match survey.select(&mut pages, &mut planner, now).await {
            Ok(Some(rows)) => rows.iter().try_for_each(|row| printing.take(row))?,
            Ok(None) => return Ok(None),
            Err(error) if printing.summary.rows == 0 => return Err(unread(error)),
            Err(error) => {
                return Ok(Some(
                    unread(error).hint("the plan holds what was found before it and no more"),
                ));
            }
        }
    }
}

struct Looking {
    is_begun: bool,
    broken: Option<SurveyError>,
}

impl Looking {
    /// Sorts rows by their states. Once states cannot be read any more, the rest of the rows are left unread; where that
    /// comes first of all, there is no plan.
    async fn sort(
        &mut self,
        survey: &mut Survey,
        rows: &mut [PlannedRow],
        clock: &dyn Clock,
    ) -> Result<(), Failure> {
        if self.broken.is_none() {
            match survey.sort(rows, clock.now().wall).await {
                Ok(()) => {
                    self.is_begun = true;
                    return Ok(());
                }
                Err(error) if !self.is_begun => return Err(unsurveyed(error)),
                Err(error) => self.broken = Some(error),
            }
        }
        for row in rows.iter_mut().filter(|row| row.to_send().is_some()) {
            row.leave_unread("its record could not be read");
        }
        Ok(())
    }
}
