//! `resume`: continues a run that stopped or crashed, from the journal alone.
//!
//! Rows with an unknown result are read first; retries, cooldowns and the ledger continue where they were, and the
//! final report covers the whole run. The run's settings are kept. The sign-in is given anew, and must lead to the same
//! tenant, app and cloud.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use jiff::Timestamp;

use crate::cli::args::{OutputPaths, ResumeArgs};
use crate::cli::confirmation::{PlanOrigin, StdinUse, Terminal};
use crate::cli::failure::{Failure, RunExit};
use crate::cli::format_time::{Count, Span, local_zone, visible};
use crate::cli::hint::{ForwardedFlags, Hint, NextCommand};
use crate::cli::journaled_config::RunConfig;
use crate::cli::plan_text::PlanText;
use crate::cli::progress::Progress;
use crate::cli::settings::{Context, NamedFile, default_outputs, input_files};
use crate::cli::terminal::{OutputStyle, print};
use crate::clock::{Clock, SystemClock};
use crate::engine::{
    InputCut, LaneCounts, LaneNames, PlanId, PlanLine, PlanSummary, Planner, Precheck,
    RemainingInput, RunCounts, recall,
};
use crate::input::{Input, InputCheckpoint, InputSettings, OpenInput, open_from};
use crate::model::{Operation, RunId, SEVERAL, Scope, UNNAMED};
use crate::store::{Holder, InputProgress, Record, RunState, Store, StoreError};

use super::find_run::{self, RunEntry};
use super::plan_run::{Confirmation, OnDecline};
use super::prepared_run::{PreparedRun, open_store, say, say_sandbox, stopped_early};
use super::quota::QuotaUsage;
use super::release::released_by;
use super::reports::{Outputs, write_all};
use super::selection::is_selection;
use super::service_clients::CallerIdentity;
use super::sign_in_tenants::Lanes;
use super::signals::Shutdown;

/// What a run is bound to, in the words of a refusal.
const PARTIES: [&str; 3] = ["cloud", "tenant", "app"];

pub async fn resume(
    args: ResumeArgs,
    context: Context,
    progress: &Progress,
    style: OutputStyle,
    flags: &ForwardedFlags,
) -> Result<RunExit, Failure> {
    let clock = SystemClock::new();
    let state_dir = context.state_dir()?;
    let past = match &args.run {
        Some(text) => find_run::named(&state_dir, text)?,
        None => find_run::unfinished(&state_dir, clock.now().wall)?,
    };
    if args.dry_run {
        return show_what_is_left(&past, &clock, style).await;
    }
    if args.yes && past.is_plan() {
        return Err(only_planned(&past));
    }
    let choices = ResumeChoices {
        yes: args.yes,
        no_precheck: args.no_precheck,
        stop_after: args.stop_after,
        outputs: args.outputs(),
    };
    go_on(past, choices, context, progress, style, flags).await
}

/// What is said anew of a run that goes on.
pub(super) struct ResumeChoices {
    pub(super) yes: bool,
    pub(super) no_precheck: bool,
    pub(super) stop_after: Option<Duration>,
    /// What is missing here is as the run was begun.
    pub(super) outputs: OutputPaths,
}

pub(super) async fn go_on(
    past: RunEntry,
    choices: ResumeChoices,
    context: Context,
    progress: &Progress,
    style: OutputStyle,
    flags: &ForwardedFlags,
) -> Result<RunExit, Failure> {
    let mut stop = Shutdown::listen(progress).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let begun = &past.record.begun;
    let inputs = find_run::inputs_of(&past.record);
    let recalled = RunConfig::from_json(&begun.settings).map_err(Failure::refused);
    let stored = recalled.as_ref().ok().map(|config| &config.outputs);
    let paths = output_paths(choices.outputs, context.protected.clone(), &past, stored)?;
    let outputs = Outputs::prove(&paths, begun.id)?;
    if past.record.state == RunState::Finished {
        return finished(&past, &outputs, progress, clock.now().wall);
    }
    if let Some(holder) = past.record.holder.clone() {
        // Before anyone signs in and reads a plan in vain.
        return Err(held(begun.id, holder));
    }
    let terminal = if past.is_sandbox || choices.yes {
        None
    } else {
        Some(Terminal::find(StdinUse::Free, style.error_color)?)
    };
    let mut config = recalled?;
    config.outputs = paths;
    let stored = config.to_json();
    if choices.no_precheck {
        config.precheck = Precheck::Skip;
    }
    let store = open_store(&past.state_dir, config.retry().timeout_grace, &*clock)?;
    let is_asked = terminal.is_some();
    let is_agreed = is_asked || config.max_actions.is_some() || config.approved().is_some();
    // Nothing is sent that was never confirmed and can't be confirmed now.
    if is_selection(&inputs) && !past.record.intake.complete {
        return Err(never_agreed(&past));
    }
    if config.needs_confirmation && !is_agreed {
        return Err(nobody_asked(&past));
    }
    let is_planned = is_agreed || !config.exclude.is_empty();
    let lanes = tokio::select! {
        biased;
        Some(reason) = stop.reasons().recv() => return Ok(stopped_early(progress, &reason)),
        lanes = reach(&past, &config, context) => lanes?,
    };
    let past = take_over(past, &store, clock.now().wall).await?;
    let begun = &past.record.begun;
    if past.record.state == RunState::Finished {
        return finished(&past, &outputs, progress, clock.now().wall);
    }
    stop.name_run(begun.id, flags);
    if stored != begun.settings {
        let record = Record::RunSettings {
            run: past.record.key,
            settings: stored.clone(),
        };
        store.write(vec![record]).await?;
    }
    let (before, planner) = recall_rows(&past, &config, &lanes.names)?;
    let origin = match config.operation {
        Operation::Release => PlanOrigin::Journal,
        Operation::Cancel if is_selection(&inputs) => PlanOrigin::Tenant,
        Operation::Cancel => PlanOrigin::Input,
    };
    let (intake, lost) = take_up(&past, &inputs, &config.input_settings());
    let confirmation = is_planned.then(|| Confirmation {
        terminal,
        origin,
        about: about(&past, lost.as_ref(), clock.now().wall),
        notes: Vec::new(),
        on_decline: OnDecline::Keep,
    });
    let mut run = PreparedRun {
        id: begun.id,
        key: past.record.key,
        config,
        stored,
        is_sandbox: past.is_sandbox,
        released: released_by(&past.record),
        store,
        clock,
        lanes,
        intake,
        planner,
        before,
        outputs,
        stop_after: choices.stop_after,
        lost,
        flags: flags.clone(),
        progress: progress.clone(),
        style,
    };
    if !is_asked {
        run.limit_time(&stop);
    }
    if let Some(confirmation) = confirmation {
        run.confirm(confirmation, &mut stop).await?;
    }
    if past.is_sandbox {
        say_sandbox(progress, run.config.time_scale);
    }
    say(progress, &going_on(&past, &run));
    Box::pin(run.execute(stop)).await
}

/// Counts what is left of a run, from the journal alone.
pub(super) fn plan_of(past: &RunEntry, config: &RunConfig) -> Result<PlanSummary, Failure> {
    let begun = &past.record.begun;
    let is_single = config.tenants.is_empty();
    let tenant = is_single.then(|| begun.tenant.to_lowercase());
    let mut summary = PlanSummary::new(tenant, config.comment.clone(), config.exclude.clone())
        .of(config.operation);
    for row in past.reader()?.report_rows(begun.id)? {
        summary.add(&PlanLine::of(&row?));
    }
    Ok(summary)
}

/// Prints the plan of what is left, from the journal alone.
async fn show_what_is_left(
    past: &RunEntry,
    clock: &dyn Clock,
    style: OutputStyle,
) -> Result<RunExit, Failure> {
    let begun = &past.record.begun;
    let config = RunConfig::from_json(&begun.settings).map_err(Failure::refused)?;
    let store = open_store(&past.state_dir, config.retry().timeout_grace, clock)?;
    let summary = plan_of(past, &config)?;
    let now = clock.now();
    let scope = Scope {
        cloud: begun.cloud.clone(),
        tenant: begun.tenant.clone(),
        app: begun.app.clone(),
        destination: config.operation.destination(),
    };
    let windows = config.quota.scaled_down(config.time_scale);
    let milestones = if config.tenants.is_empty() {
        let usage = QuotaUsage::read(&store, &scope, &windows, now).await?;
        usage.milestones(summary.send, now)
    } else {
        Vec::new()
    };
    let mut place = about(past, None, now.wall);
    if !past.record.intake.complete {
        place.push(("unread", "the rest of its input".to_owned()));
    }
    let parties = [&begun.cloud, &begun.tenant, &begun.app];
    let parties = PARTIES.into_iter().zip(parties.map(Clone::clone));
    place.extend(parties.filter(|(_, name)| name != SEVERAL));
    let text = PlanText {
        summary: &summary,
        milestones: &milestones,
        precheck: config.precheck,
        reads: 0,
        knows_later_actions: false,
        permissions: None,
        token_ends: None,
        place: &place,
        notes: &[],
        now: now.wall,
        zone: &local_zone(),
    };
    print(&text.preview(style.width, style.color)).map_err(Failure::of_output)?;
    Ok(RunExit::Done)
}

/// Returns the typed outputs, or else the stored ones.
fn output_paths(
    typed: OutputPaths,
    mut protected: Vec<NamedFile>,
    past: &RunEntry,
    stored: Option<&OutputPaths>,
) -> Result<OutputPaths, Failure> {
    let paths = typed.or(stored.cloned().unwrap_or_default());
    let paths = paths.or(default_outputs(past.record.begun.id, past.is_sandbox));
    protected.extend(input_files(&find_run::inputs_of(&past.record)));
    paths.check(&protected)?;
    Ok(paths)
}

/// Takes the lock of a run and reads its record again. From here on only this process writes to it, but its last holder
/// may have read more input or finished it.
async fn take_over(past: RunEntry, store: &Store, at: Timestamp) -> Result<RunEntry, Failure> {
    let taken = store.reopen_run(past.record.key, at).await;
    taken.map_err(|error| match error {
        StoreError::RunHeld { run, holder } => held(run, holder),
        error => error.into(),
    })?;
    past.again()
}

/// A live process executes this run.
fn held(run: RunId, holder: Holder) -> Failure {
    Failure::from(StoreError::RunHeld { run, holder })
        .hint("wait until it ends, or stop it with Ctrl-C or SIGTERM")
}

/// Says which run continues, and how much of it is left.
fn going_on(past: &RunEntry, run: &PreparedRun) -> String {
    let (begun, now) = (&past.record.begun, run.clock.now().wall);
    let left = run.before.values().map(LaneCounts::unsettled).sum();
    let left = Count::new(left, "row");
    let unread = match &run.intake {
        RemainingInput::Read { .. } => ", and the rest of its input",
        RemainingInput::Nothing => "",
    };
    format!(
        "continuing run {}, started {} ({} ago), tenant {}: {left} left{unread}",
        begun.id,
        find_run::local_time(begun.created, &local_zone()),
        find_run::age(begun.created, now),
        begun.tenant
    )
}

/// Describes the run for the question.
fn about(past: &RunEntry, lost: Option<&String>, now: Timestamp) -> Vec<(&'static str, String)> {
    let begun = &past.record.begun;
    let age = Duration::try_from(now.duration_since(begun.created)).unwrap_or_default();
    let mut about = vec![
        ("run", begun.id.to_string()),
        ("started", format!("{} ago", Span(age))),
    ];
    about.extend(lost.map(|lost| ("missing", lost.clone())));
    about
}

/// The selection from the tenant wasn't read to its end, so nobody saw it and no limit was checked.
fn never_agreed(past: &RunEntry) -> Failure {
    let error = anyhow!(
        "run {} was interrupted while it read its selection from the tenant; nothing was sent",
        past.record.begun.id
    );
    Failure::refused(error).hint("run the first command again")
}

/// `--yes` would confirm a plan of `release --dry-run` that nobody named.
fn only_planned(past: &RunEntry) -> Failure {
    let record = &past.record;
    let plan = record.plan.as_deref().and_then(PlanId::parse);
    let error = anyhow!(
        "run {} is a plan that nobody has agreed to yet",
        record.begun.id
    );
    let failure = Failure::refused(error);
    match (released_by(record), plan) {
        (Some(released), Some(plan)) => failure.hint(Hint::Command(
            "to send it".to_owned(),
            NextCommand::ReleasePlan(released, plan),
        )),
        _ => failure,
    }
}

/// `--yes` would confirm a plan that nobody has seen, without a limit.
fn nobody_asked(past: &RunEntry) -> Failure {
    let id = past.record.begun.id;
    let error = anyhow!(
        "run {id} was interrupted before anybody agreed to it, and --yes doesn't say to how many cancels"
    );
    Failure::refused(error)
        .hint(Hint::Command(
            "to see what is left".to_owned(),
            NextCommand::ResumeWith(id, "--dry-run"),
        ))
        .hint("at a terminal, resume without --yes to see the plan and be asked; or run the first command again")
}

/// Writes a finished run's reports again, and ends as it ended.
fn finished(
    past: &RunEntry,
    outputs: &Outputs,
    progress: &Progress,
    now: Timestamp,
) -> Result<RunExit, Failure> {
    let id = past.record.begun.id;
    write_all(past, outputs, now)?;
    say(
        progress,
        &format!("run {id} is finished; its reports were written again"),
    );
    Ok(match past.record.exit_code {
        Some(0) | None => RunExit::Done,
        Some(_) => RunExit::LeftOver,
    })
}

/// Signs in to the run's tenants again. A release may use another app.
pub(super) async fn reach(
    past: &RunEntry,
    config: &RunConfig,
    mut context: Context,
) -> Result<Lanes, Failure> {
    let begun = &past.record.begun;
    if past.is_sandbox {
        // A release finds its machines in the sandbox of the run that found them.
        let owner = match released_by(&past.record) {
            Some(released) => &find_run::named(&past.folder(), &released.to_string())?,
            None => past,
        };
        let inputs = find_run::inputs_of(&owner.record);
        let owner = owner.record.begun.id;
        return Lanes::sandbox(&inputs, config, owner, &past.state_dir).await;
    }
    let mut tenants: Vec<(Option<&str>, [&String; 3])> = Vec::new();
    let lanes = if config.tenants.is_empty() {
        tenants.push((None, [&begun.cloud, &begun.tenant, &begun.app]));
        Lanes::single(&context.into_connection()?, config.timeout).await?
    } else {
        let mut connections = Vec::new();
        for tenant in &config.tenants {
            let name = tenant.profile.as_str();
            let unknown = || anyhow!("the config file has no profile {name}");
            let connection = context.profiles.remove(name);
            connections.push(connection.ok_or_else(|| Failure::refused(unknown()))??);
            tenants.push((Some(name), [&tenant.cloud, &tenant.tenant, &tenant.app]));
        }
        Lanes::several(&connections, config.timeout).await?
    };
    for (lane, (profile, was)) in lanes.all.iter().zip(tenants) {
        let mut elsewhere = elsewhere(&lane.identity, was).filter(|(name, was, asked)| {
            let is_bound = *name != "app" || config.operation == Operation::Cancel;
            // Without a sign-in, nothing but the profile of one of several tenants may be known.
            is_bound && (profile.is_none() || (*was != UNNAMED && *asked != UNNAMED))
        });
        if let Some((name, was, asked)) = elsewhere.next() {
            let (with, hint) = match profile {
                None => (
                    String::new(),
                    "use the connection flags of the first command",
                ),
                Some(profile) => (
                    format!(" with profile {profile}"),
                    "fix the profile in the config file",
                ),
            };
            let error = anyhow!(
                "run {} was started{with} for {name} {was}, but this would go to {asked}",
                begun.id
            );
            return Err(Failure::refused(error).hint(hint));
        }
    }
    Ok(lanes)
}

/// Returns each of cloud, tenant and app that differs from the run's: its label, old name and new name.
fn elsewhere<'a>(
    now: &'a CallerIdentity,
    was: [&'a String; 3],
) -> impl Iterator<Item = (&'static str, &'a str, &'a str)> {
    let asked = [&now.cloud, &now.tenant, &now.app];
    let parties = PARTIES.into_iter().zip(was).zip(asked);
    parties.filter_map(|((name, was), asked)| {
        // Earlier versions stored the tenant as typed.
        let is_same = asked == was || (name == "tenant" && now.is_tenant(was));
        (!is_same).then_some((name, was.as_str(), asked.as_str()))
    })
}

/// Reads from the journal which ids are known and how many rows are settled.
fn recall_rows(
    past: &RunEntry,
    config: &RunConfig,
    lanes: &Arc<LaneNames>,
) -> Result<(RunCounts, Planner), Failure> {
    let mut known = Vec::new();
    let reader = past.reader()?;
    reader.known_ids(past.record.key, |lane, id, row| known.push((lane, id, row)))?;
    let before = recall(&reader, past.record.key)?;
    let last = before.values().map(|share| share.last).max();
    let planner = Planner::new(Arc::new(config.rules()))
        .for_lanes(Arc::clone(lanes))
        .behind(known, last.unwrap_or_default());
    Ok((before, planner))
}

/// Resumes the input where reading stopped, and says what can't be read any more.
fn take_up(
    past: &RunEntry,
    inputs: &[Input],
    settings: &InputSettings,
) -> (RemainingInput, Option<String>) {
    let mark = &past.record.intake;
    if mark.complete {
        return (RemainingInput::Nothing, None);
    }
    let (inputs, why) = match reopen(mark, inputs, settings) {
        Ok((inputs, None)) => (inputs, None),
        Ok((inputs, Some(gone))) => (inputs, Some(format!(", because {gone} is not a file now"))),
        Err(error) => (Vec::new(), Some(format!(" ({error:#})"))),
    };
    let read = Count::new(mark.rows_read, "row");
    let lost =
        why.map(|why| format!("{read} of the input had been read; the rest was not read{why}"));
    let intake = if inputs.is_empty() {
        RemainingInput::Nothing
    } else {
        let beyond = if lost.is_some() {
            InputCut::Lost
        } else {
            InputCut::Nothing
        };
        RemainingInput::Read { inputs, beyond }
    };
    (intake, lost)
}

/// Opens the inputs that can be read from their mark on, and names the first that can't.
fn reopen(
    mark: &InputProgress,
    inputs: &[Input],
    settings: &InputSettings,
) -> anyhow::Result<(Vec<OpenInput>, Option<String>)> {
    if mark.position.is_none() && mark.rows_read > 0 {
        bail!("its place was not noted, as for a pipe");
    }
    // Earlier versions' marks only tell how many rows were read.
    let position = mark.position.as_deref();
    let checkpoint: Option<InputCheckpoint> =
        position.and_then(|text| serde_json::from_str(text).ok());
    let first = checkpoint.map_or(0, |checkpoint| checkpoint.input);
    let rest = inputs.get(first..).unwrap_or_default();
    // This process's standard input isn't the run's. Files are checked without opening, because a pipe without a writer
    // would block.
    let can_be_read = |input: &&Input| match input {
        Input::File(path) => std::fs::metadata(path).is_ok_and(|found| found.is_file()),
        Input::Stdin => false,
    };
    let files: Vec<Input> = rest.iter().take_while(can_be_read).cloned().collect();
    let gone = rest.get(files.len()).map(|input| match input {
        Input::File(path) => visible(&path.display().to_string()).into_owned(),
        Input::Stdin => "standard input".to_owned(),
    });
    if files.is_empty() {
        let gone = gone.context("it is not named")?;
        bail!("{gone} is no file now");
    }
    let mut opened = open_from(first, &files, settings)?;
    if let (Some(checkpoint), Some(input)) = (checkpoint, opened.first_mut()) {
        input.resume(&checkpoint)?;
    } else {
        let mut left = mark.rows_read;
        for input in &mut opened {
            left -= input.skip(left)?;
        }
        if left > 0 {
            bail!("it has fewer rows now");
        }
    }
    Ok((opened, gone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::find_run::tests::{begin, store};

    #[tokio::test]
    async fn what_became_of_a_run_after_the_first_look_at_it_is_known_once_it_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let first = store(dir);
        begin(&first, 1).await;
        let looked = || find_run::all_runs(dir).unwrap().remove(0);
        let (past, run, at) = (looked(), looked().record.key, Timestamp::UNIX_EPOCH);
        let refused = take_over(looked(), &store(dir), at).await;
        let refused = refused.map(drop).unwrap_err();
        assert!(
            matches!(&refused.hints[0], Hint::Text(text) if text.starts_with("wait until it ends")),
            "{refused:?}"
        );
        let mark = InputProgress {
            rows_read: 7,
            ..InputProgress::default()
        };
        first.append_rows(run, Vec::new(), mark).await.unwrap();
        drop(first);
        let second = store(dir);
        let past = take_over(past, &second, at).await.unwrap();
        assert_eq!(past.record.intake.rows_read, 7);
        let finished = Record::RunState {
            run,
            state: RunState::Finished,
            exit: Some(0),
            reason: None,
            at,
        };
        second.write(vec![finished]).await.unwrap();
        let past = take_over(past, &second, at).await.unwrap();
        assert_eq!(past.record.state, RunState::Finished);
    }
}
