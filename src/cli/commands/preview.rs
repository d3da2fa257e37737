//! `preview`: prints the plan without sending it.
//!
//! It plans like a run, in its own journal in a temporary folder, and has nothing that could send a cancel. It creates
//! a state folder only to count its reads beside those of runs. Without reads, it prints each row as it is read.

use std::fmt;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::api::{Filter, MAX_TOP};
use crate::cli::args::{PlanFormat, PreviewArgs};
use crate::cli::confirmation::Refusal;
use crate::cli::failure::{Failure, RunExit};
use crate::cli::format_time::local_zone;
use crate::cli::plan_text::{PlanText, exit_of};
use crate::cli::progress::Progress;
use crate::cli::settings::{CALL_TIMEOUT, ConnectionSettings, Context, time_scale};
use crate::cli::terminal::{OutputStyle, print};
use crate::clock::{Clock, SystemClock};
use crate::engine::core::{Core, CoreSettings, LaneSettings, StopReason};
use crate::engine::{
    ActionPager, EngineError, Ingest, InputCut, InputMessage, LaneNames, Permissions, PlanLine,
    PlanSummary, Planner, Precheck, ReadClients, RemainingInput, RunCounts, RunParts, SkipRules,
    Verdict, plan, read_inputs,
};
use crate::input::{InputError, OpenInput, open};
use crate::model::{Destination, Moment, Outcome, ReportRow, RunId};
use crate::report::PlanWriter;
use crate::retry::RetrySettings;
use crate::store::{NewRow, NewRun, Store, state_file};

use super::prepared_run::{REACH_TIMEOUT, READS_AT_ONCE, filter, gate, open_store};
use super::quota::QuotaUsage;
use super::sandbox::EmbeddedSandbox;
use super::selection::{nothing_selected, origin, read_exclusions};
use super::service_clients::{CallerIdentity, identity_at_hand, to_read};
use super::service_reads::{engine, reads, unchecked, unread};
use super::signals::Shutdown;

pub async fn preview(
    args: PreviewArgs,
    context: Context,
    progress: &Progress,
    style: OutputStyle,
) -> Result<RunExit, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let typed = &args.plan;
    let inputs =
        open(&typed.input.inputs, &typed.input.settings(false)).map_err(Failure::refused)?;
    let rules = Arc::new(SkipRules {
        allow_protected: typed.allow_protected.clone(),
        selection: typed.selection(clock.now().wall),
        exclude: read_exclusions(&typed.selection.exclude_from)?,
        precheck: typed.precheck(),
    });
    let filter = filter(typed.selection.filter.clone(), &rules.selection);
    let state_dir = context.state_dir().ok();
    let connection = context.into_connection().ok();
    let profile = connection.as_ref().and_then(|it| it.profile.clone());
    let view = View::open(&args, state_dir, connection, Arc::clone(&clock)).await?;
    let tenant = view.identity.as_ref().map(CallerIdentity::true_tenant);
    let exclude = rules.exclude.clone();
    let mut printing = Printing {
        summary: PlanSummary::new(tenant, typed.comment.clone(), exclude),
        comment: typed.comment.clone(),
        frozen: match args.format {
            PlanFormat::Csv => Some(PlanWriter::begin().map_err(spooled)?),
            PlanFormat::Table | PlanFormat::Json => None,
        },
    };
    let names =
        |identity: &CallerIdentity| LaneNames::new(vec![identity.lane_name(profile.as_deref())]);
    // Of an imitation, whatever a row says is taken for it.
    let identity = view.identity.as_ref().filter(|_| !args.sandbox);
    let names = identity.map(names).unwrap_or_default();
    let planner = Planner::new(Arc::clone(&rules)).for_lanes(Arc::new(names));
    let (calls, broken) = if view.reader.is_some() {
        // So that a signal leaves no temporary folder behind.
        let mut stop = Shutdown::listen(progress).await?;
        let rules = Arc::clone(&rules);
        let plan = view.plan_checked(rules, inputs, filter, planner, &mut printing, &mut stop);
        match plan.await? {
            Some(made) => made,
            None => return Ok(RunExit::Interrupted),
        }
    } else {
        let broken = plan_unchecked(inputs, planner, clock.now(), &mut printing).await?;
        (0, broken)
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
    let spent = view.spent().await;
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
        reads: calls,
        knows_later_actions: typed.input.inputs.is_empty(),
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
    match args.format {
        PlanFormat::Table => print(&text.preview(style.width, style.color)),
        PlanFormat::Json => print(&text.json()),
        // Standard output is the plan itself; the plan's id must show elsewhere.
        PlanFormat::Csv => writeln!(io::stderr().lock(), "{}", text.headline()),
    }
    .map_err(Failure::of_output)?;
    if let Some(failure) = broken {
        return Err(failure);
    }
    let count = summary.send + summary.missing_once;
    if let Some(most) = args.max_actions
        && count > most
    {
        return Err(Refusal::TooMany { count, most }.into());
    }
    match exit_of(&text) {
        RunExit::Refused => Err(nothing_selected(&summary.skips, typed.precheck())),
        exit => Ok(exit),
    }
}

/// What a preview can use: nothing, the ledger, or also the service.
struct View<'preview> {
    args: &'preview PreviewArgs,
    clock: Arc<dyn Clock>,
    identity: Option<CallerIdentity>,
    store: Option<Store>,
    reader: Option<Arc<ReadClients>>,
    /// Keeps the embedded sandbox alive.
    _sandbox: Option<EmbeddedSandbox>,
}

impl<'preview> View<'preview> {
    async fn open(
        args: &'preview PreviewArgs,
        state_dir: Option<PathBuf>,
        connection: Option<ConnectionSettings>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let grace = retry(args).timeout_grace;
        let (mut identity, mut reader, mut sandbox, mut store) = (None, None, None, None);
        let precheck = args.plan.precheck();
        let state_dir = state_dir.map(|dir| {
            if args.sandbox {
                dir.join("sandbox")
            } else {
                dir
            }
        });
        match (&state_dir, &connection) {
            (Some(dir), None) if args.sandbox && precheck == Precheck::ReadFirst => {
                let input = &args.plan.input;
                let (settings, scale) = (input.settings(false), time_scale(args.sandbox));
                let run = RunId::new(Uuid::now_v7());
                let inputs = &input.inputs;
                let (handles, embedded) =
                    EmbeddedSandbox::start(inputs, &settings, run, dir, scale, CALL_TIMEOUT)
                        .await?;
                identity = Some(CallerIdentity::of_sandbox(run));
                reader = Some(handles.reads());
                sandbox = Some(embedded);
            }
            (Some(dir), Some(connection)) if precheck == Precheck::Skip => {
                identity = Some(identity_at_hand(connection, CALL_TIMEOUT).await?);
                if state_file(dir).exists() {
                    // An unreadable ledger counts as empty, because a forecast must not hide the plan.
                    let opened = open_store(dir, grace, &*clock);
                    store = opened.map_err(|failure| unspent(&failure.error)).ok();
                }
            }
            (Some(_), Some(connection)) => {
                let (to_read, named) = to_read(connection, CALL_TIMEOUT).await?;
                (reader, identity) = (Some(to_read), Some(named));
            }
            _ => {}
        }
        if let (Some(dir), Some(_)) = (&state_dir, &reader) {
            // Reads are calls, and calls are counted where those of runs are.
            store = Some(open_store(dir, grace, &*clock)?);
        }
        Ok(Self {
            args,
            clock,
            identity,
            store,
            reader,
            _sandbox: sandbox,
        })
    }

    async fn spent(&self) -> QuotaUsage {
        let windows = self.args.plan.quota.cancels();
        let windows = windows.scaled_down(time_scale(self.args.sandbox));
        let (Some(store), Some(identity)) = (&self.store, &self.identity) else {
            return QuotaUsage::nothing(&windows);
        };
        let scope = identity.scope(Destination::Cancel);
        let read = QuotaUsage::read(store, &scope, &windows, self.clock.now()).await;
        read.unwrap_or_else(|error| {
            unspent(&error);
            QuotaUsage::nothing(&windows)
        })
    }
}

fn unspent(error: &dyn fmt::Display) {
    tracing::warn!(%error, "what was spent cannot be looked up, and counts as nothing");
}

fn retry(args: &PreviewArgs) -> RetrySettings {
    RetrySettings::default().scaled_down(time_scale(args.sandbox))
}

struct Printing {
    summary: PlanSummary,
    /// Overrides the rows' own comments.
    comment: Option<String>,
    /// The frozen plan, printed at the end.
    frozen: Option<PlanWriter>,
}

impl Printing {
    /// Adds a row whose record wasn't read.
    fn unchecked(&mut self, row: NewRow) -> Result<(), Failure> {
        // There may be millions of rows, so report rows are made only for a frozen plan.
        let line = PlanLine::from(&row);
        let verdict = line.verdict;
        self.summary.add(&line);
        match self.frozen {
            Some(_) => self.freeze(verdict, row.into_report_row()),
            None => Ok(()),
        }
    }

    fn checked(&mut self, verdict: Verdict, row: ReportRow) -> Result<(), Failure> {
        self.summary.add(&PlanLine {
            verdict,
            ..PlanLine::of(&row)
        });
        self.freeze(verdict, row)
    }

    fn freeze(&mut self, verdict: Verdict, mut row: ReportRow) -> Result<(), Failure> {
        let Some(out) = &mut self.frozen else {
            return Ok(());
        };
        if self.comment.is_some() && verdict == Verdict::Send {
            // The approved comment is sent, whoever runs the plan.
            row.comment.clone_from(&self.comment);
        }
        row.settled_at = None;
        out.row(verdict.as_str(), &row).map_err(spooled)
    }
}

const OTHER_FOLDER: &str = "free some space there, or set TMPDIR to another folder";

/// The plan waits in a temporary file until its id is known.
fn spooled(error: io::Error) -> Failure {
    let folder = std::env::temp_dir();
    let error = anyhow::Error::new(error)
        .context(format!("the plan cannot be kept in {}", folder.display()));
    Failure::new(RunExit::Fault, error).hint(OTHER_FOLDER)
}

/// Plans every row from the input alone. Returns the error that ended the input, if the plan is still worth showing.
async fn plan_unchecked(
    inputs: Vec<OpenInput>,
    mut planner: Planner,
    now: Moment,
    printing: &mut Printing,
) -> Result<Option<Failure>, Failure> {
    let mut fed = read_inputs(inputs).map_err(Failure::of_output)?;
    loop {
        let chunk = match fed.recv().await {
            Some(InputMessage::Rows(chunk)) => chunk,
            Some(InputMessage::End(error)) => return Ok(error.map(broken_input)),
            None => return Err(Failure::refused(EngineError::Reading)),
        };
        for row in chunk.rows {
            printing.unchecked(planner.plan(row, now.wall))?;
        }
    }
}

fn broken_input(error: InputError) -> Failure {
    Failure::refused(error).hint("the plan holds the rows before it and no more")
}

impl View<'_> {
    /// Plans an input, or without one a selection from the tenant, and reads the rows' states. Returns the number of
    /// calls and the error that ended the input, if the plan is still worth showing; `None` if stopped.
    async fn plan_checked(
        &self,
        rules: Arc<SkipRules>,
        inputs: Vec<OpenInput>,
        filter: Filter,
        planner: Planner,
        printing: &mut Printing,
        stop: &mut Shutdown,
    ) -> Result<Option<(u64, Option<Failure>)>, Failure> {
        let (Some(reader), Some(identity), Some(store)) =
            (&self.reader, &self.identity, &self.store)
        else {
            return Ok(None);
        };
        let (args, clock) = (self.args, &self.clock);
        let is_selection = args.plan.input.inputs.is_empty();
        let retry = retry(args);
        let folder = tempfile::tempdir().map_err(spooled)?;
        // A subfolder of its own is private, whatever the umask.
        let grace = retry.timeout_grace;
        let journal = open_store(&folder.path().join("plan"), grace, &**clock);
        let journal = journal.map_err(|failure| failure.hint(OTHER_FOLDER))?;
        let id = RunId::new(Uuid::now_v7());
        let run = journal.create_run(nameless(id, clock.now().wall));
        let run = run.await?;
        let windows = args.plan.quota.reads.reads();
        let windows = windows.scaled_down(time_scale(args.sandbox));
        let (calls, stopped, broken) = if is_selection {
            let scope = identity.scope(Destination::List);
            let reader = Arc::clone(reader);
            let mut reads = reads(reader, &scope, store, clock, windows, retry).await?;
            let mut ingest = Ingest::new(journal.clone(), run, planner);
            let pages = ActionPager::new(filter, MAX_TOP);
            let selected = tokio::select! {
                biased;
                Some(_) = stop.reasons().recv() => return Ok(None),
                selected = ingest.select(pages, &mut reads, &**clock, None) => selected,
            };
            let broken = selected.err().map(|error| {
                unread(error).hint("the plan holds what was found before it and no more")
            });
            (reads.calls(), None, broken)
        } else {
            let gate = async |destination| {
                let scope = identity.scope(destination);
                let windows = windows.clone();
                gate(store, &**clock, &scope, windows, None, READS_AT_ONCE).await
            };
            let list = gate(Destination::List).await?;
            let lane = LaneSettings {
                // Nothing is sent.
                send: list.clone(),
                get: gate(Destination::Get).await?,
                list,
            };
            let seed = Uuid::new_v4().as_u64_pair().0;
            let core = CoreSettings::to_read(run, retry, rules, REACH_TIMEOUT, seed);
            let parts = RunParts {
                store: store.clone(),
                clock: Arc::clone(clock),
                run,
                core: Core::new(core, vec![lane]),
                lanes: vec![Ok(Arc::clone(reader))],
                intake: RemainingInput::Read {
                    inputs,
                    beyond: InputCut::Nothing,
                },
                planner,
                before: RunCounts::default(),
            };
            let made = plan(parts, Some(journal.clone()), None, stop.reasons());
            let end = made.await.map_err(engine)?;
            let stopped = end.stops.into_iter().next().map(|(_, reason)| reason);
            (end.reads, stopped, end.intake.map(broken_input))
        };
        if matches!(stopped, Some(StopReason::Asked(_))) {
            return Ok(None);
        }
        let (mut rows, mut known) = (0, 0);
        for row in journal.reader()?.report_rows(id)? {
            let mut row = row?;
            let mut verdict = Verdict::of(&row);
            rows += 1;
            known += u64::from(row.checked_at.is_some());
            row.run_id.clear();
            if verdict == Verdict::Send {
                row.reason.clear();
                if row.checked_at.is_none() {
                    verdict = Verdict::Unread;
                    "its record could not be read".clone_into(&mut row.reason);
                }
            } else if verdict == Verdict::Settled(Outcome::NotFound) {
                row.outcome = Outcome::NotFound;
                row.checked_at = Some(clock.now().wall);
            }
            printing.checked(verdict, row)?;
        }
        match (stopped.map(unchecked), broken) {
            (Some(failure), _) if known == 0 => Err(failure),
            (None, Some(failure)) if rows == 0 && is_selection => Err(failure),
            (stopped, broken) => Ok(Some((calls, broken.or(stopped)))),
        }
    }
}

/// A placeholder run for the plan's own journal.
fn nameless(id: RunId, created: Timestamp) -> NewRun {
    let nothing = || "-".to_owned();
    NewRun {
        id,
        created,
        settings: nothing(),
        inputs: nothing(),
        tenant: nothing(),
        app: nothing(),
        cloud: nothing(),
        host: nothing(),
        user: nothing(),
        version: nothing(),
    }
}
