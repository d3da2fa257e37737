//! `runs`: past runs, newest first, or everything about one of them; and `runs rm`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::anyhow;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::args::{RemoveArgs, RunsArgs, RunsCommand, ShowArgs, TableFormat};
use crate::cli::failure::{Failure, RunExit};
use crate::cli::format_time::{Count, Number, local_zone, stopped, visible};
use crate::cli::hint::{ForwardedFlags, Hint, NextCommand};
use crate::cli::journaled_config::RunConfig;
use crate::cli::plan_text::PlanText;
use crate::cli::terminal::{Color, ask, print, stdout_width};
use crate::clock::{Clock as _, SystemClock};
use crate::engine::{PlanId, Precheck};
use crate::model::{ExclusionList, FollowUp, Operation, Outcome};
use crate::retry::RetrySettings;
use crate::store::{RunState, StoreError};

use super::find_run::{self, RunEntry, RunList};
use super::prepared_run::open_store;
use super::release::released_by;
use super::reports::follow_ups;
use super::resume::plan_of;
use super::sandbox::snapshot_file;
use super::selection::{described, is_selection};

/// Prints the runs or the one that was named, or deletes some.
pub async fn runs(
    args: &RunsArgs,
    state_dir: &Path,
    flags: &ForwardedFlags,
) -> Result<(), Failure> {
    match &args.command {
        None => list(args.format, state_dir),
        Some(RunsCommand::Show(args)) => show(args, state_dir, flags),
        Some(RunsCommand::Rm(args)) => remove(args, state_dir).await,
    }
}

fn show(args: &ShowArgs, state_dir: &Path, flags: &ForwardedFlags) -> Result<(), Failure> {
    let run = find_run::named(state_dir, &args.run)?;
    let text = match args.format {
        TableFormat::Json => format!("{:#}\n", json(&run)?),
        TableFormat::Table => details(&run, &local_zone(), flags)?,
    };
    print(&text).map_err(Failure::of_output)
}

fn list(format: TableFormat, state_dir: &Path) -> Result<(), Failure> {
    let zone = local_zone();
    let RunList { runs, fault } = find_run::list_runs(state_dir)?;
    let text = match format {
        TableFormat::Json => {
            let list = runs.iter().map(json).collect::<Result<Vec<_>, _>>()?;
            format!("{:#}\n", serde_json::Value::from(list))
        }
        TableFormat::Table if runs.is_empty() => {
            format!("there is no run in {} yet\n", state_dir.display())
        }
        TableFormat::Table => {
            let runs = runs.iter().map(|run| paragraph(run, &zone));
            runs.collect::<Result<_, _>>()?
        }
    };
    print(&text).map_err(Failure::of_output)?;
    fault.map_or(Ok(()), |fault| Err(fault.into()))
}

/// Describes a run in three lines. A table row would be wider than most terminals, and truncated cells are useless.
fn paragraph(run: &RunEntry, zone: &TimeZone) -> Result<String, Failure> {
    let (record, reader) = (&run.record, run.reader()?);
    let counts = reader.outcome_counts(record.key)?;
    let rows = |wanted: &dyn Fn(Outcome) -> bool| -> u64 {
        let counted = counts.iter().filter(|(outcome, _)| wanted(**outcome));
        counted.map(|(_, count)| count).sum()
    };
    let attention = rows(&Outcome::needs_attention);
    let needs = follow_ups(&reader.follow_up_counts(record.key)?);
    let needs = needs.iter().filter(|(need, _)| need.is_work());
    let machines: u64 = needs.map(|(_, count)| count).sum();
    let done = match record.operation {
        Operation::Cancel => Outcome::Cancelled,
        Operation::Release => Outcome::Released,
    };
    let mut facts = format!(
        "{} · {} rows · {} {} · {} left",
        find_run::local_time(record.begun.created, zone),
        Number(rows(&|_| true)),
        Number(rows(&|outcome| outcome == done)),
        done.as_str(),
        // What a resume sends.
        Number(rows(&|outcome| outcome == Outcome::NotAttempted)),
    );
    if attention > 0 {
        write!(facts, " · {} need attention", Number(attention)).unwrap_or_default();
    }
    if machines > 0 {
        write!(facts, " · machines that need work: {}", Number(machines)).unwrap_or_default();
    }
    let (id, mark) = (record.begun.id, sandbox_mark(run));
    let standing = if run.is_plan() {
        "a plan, not sent".to_owned()
    } else {
        record.standing().to_string()
    };
    Ok(format!(
        "{id} {mark}{standing}\n  {facts}\n  {}\n",
        inputs(run)
    ))
}

fn sandbox_mark(run: &RunEntry) -> &'static str {
    if run.is_sandbox { "SANDBOX " } else { "" }
}

fn inputs(run: &RunEntry) -> String {
    let begun = &run.record.begun;
    let text = match RunConfig::from_json(&begun.settings) {
        // A typed filter has no other description.
        Ok(config)
            if is_selection(&find_run::inputs_of(&run.record)) && !config.selection.is_all() =>
        {
            described(&config.selection, SystemClock::new().now().wall)
        }
        _ => {
            let names: Vec<String> = serde_json::from_str(&begun.inputs).unwrap_or_default();
            names.join(", ")
        }
    };
    visible(&text).into_owned()
}

fn details(run: &RunEntry, zone: &TimeZone, flags: &ForwardedFlags) -> Result<String, Failure> {
    let record = &run.record;
    let begun = &record.begun;
    let standing = format!("{}{}", sandbox_mark(run), record.standing());
    let standing = match (&record.holder, &record.reason) {
        (Some(holder), _) => format!("{standing}, {holder}"),
        (None, Some(reason)) if record.state == RunState::Stopped => {
            format!("{}{}", sandbox_mark(run), stopped(reason))
        }
        (None, Some(reason)) => format!("{standing}: {reason}"),
        (None, None) => standing,
    };
    let mut facts = vec![
        ("run", begun.id.to_string()),
        ("state", standing),
        (
            "started",
            format!(
                "{} by {} on {}, version {}",
                find_run::local_time(begun.created, zone),
                begun.user,
                begun.host,
                begun.version
            ),
        ),
    ];
    let ended = record.ended_at.filter(|_| !record.is_live());
    facts.extend(ended.map(|at| ("ended", find_run::local_time(at, zone))));
    facts.extend(record.exit_code.map(|code| ("exit", code.to_string())));
    facts.push(("tenant", begun.tenant.clone()));
    facts.push(("app", begun.app.clone()));
    facts.push(("cloud", begun.cloud.clone()));
    let read = Count::new(record.intake.rows_read, "row");
    let more = if record.intake.complete {
        ""
    } else {
        ", not read to its end"
    };
    facts.push(("input", format!("{} ({read}{more})", inputs(run))));
    if let Ok(config) = RunConfig::from_json(&begun.settings) {
        facts.extend(config.comment.map(|comment| ("comment", comment)));
        let reports = config.outputs.reports.iter();
        facts.extend(reports.map(|path| ("report", path.display().to_string())));
        let follow_up = config.outputs.follow_up.iter();
        facts.extend(follow_up.map(|path| ("follow-up", path.display().to_string())));
    }
    let reader = run.reader()?;
    for (outcome, count) in reader.outcome_counts(record.key)? {
        facts.push((outcome.as_str(), Number(count).to_string()));
    }
    for (kind, count) in follow_ups(&reader.follow_up_counts(record.key)?) {
        let machines = Count::new(count, "machine");
        facts.push(match kind {
            FollowUp::Keep => (
                "kept",
                format!("{machines} isolated or restricted by somebody else, or again"),
            ),
            kind => ("needs work", format!("{machines}: {}", kind.as_str())),
        });
    }
    let width = facts.iter().map(|(name, _)| name.len()).max();
    let width = width.unwrap_or_default();
    let lines = facts
        .iter()
        .map(|(name, text)| format!("{name:width$}  {}\n", visible(text)));
    let mut text: String = lines.collect();
    let plan = record.plan.as_deref().and_then(PlanId::parse);
    let hint = match (released_by(record), plan) {
        (Some(released), Some(plan)) if run.is_plan() => {
            text.push('\n');
            text.push_str(&plan_text(run, zone)?);
            let command = NextCommand::ReleasePlan(released, plan);
            Some(Hint::Command(
                "to agree to this plan and send it".to_owned(),
                command,
            ))
        }
        _ if run.is_finished() || record.is_live() => None,
        _ => Some(Hint::Command(
            "to continue".to_owned(),
            NextCommand::Resume(begun.id),
        )),
    };
    if let Some(hint) = hint {
        text.extend([visible(&hint.render(flags)).as_ref(), "\n"]);
    }
    Ok(text)
}

/// Returns a plan as it was made.
fn plan_text(run: &RunEntry, zone: &TimeZone) -> Result<String, Failure> {
    let config = RunConfig::from_json(&run.record.begun.settings).map_err(Failure::refused)?;
    // What they match was said when the plan was made.
    let exclude = ExclusionList::default();
    let summary = plan_of(run, &RunConfig { exclude, ..config })?;
    let text = PlanText {
        summary: &summary,
        milestones: &[],
        precheck: Precheck::ReadFirst,
        reads: 0,
        knows_later_actions: true,
        permissions: None,
        token_ends: None,
        place: &[],
        notes: &[],
        now: SystemClock::new().now().wall,
        zone,
    };
    Ok(text.render(stdout_width(), Color::Plain))
}

fn json(run: &RunEntry) -> Result<serde_json::Value, Failure> {
    let reader = run.reader()?;
    let counts = reader.outcome_counts(run.record.key)?;
    let counts: serde_json::Map<_, _> = counts
        .into_iter()
        .map(|(outcome, count)| (outcome.as_str().to_owned(), count.into()))
        .collect();
    let record = &run.record;
    let inputs: serde_json::Value = serde_json::from_str(&record.begun.inputs).unwrap_or_default();
    Ok(serde_json::json!({
        "run": record.begun.id.to_string(),
        "operation": record.operation.as_str(),
        "begun": record.begun.created,
        "ended": record.ended_at,
        "state": record.standing().as_str(),
        "reason": record.reason,
        "plan": record.plan,
        "exit": record.exit_code,
        "sandbox": run.is_sandbox,
        "tenant": record.begun.tenant,
        "app": record.begun.app,
        "cloud": record.begun.cloud,
        "host": record.begun.host,
        "user": record.begun.user,
        "version": record.begun.version,
        "inputs": inputs,
        "input_complete": record.intake.complete,
        "rows": record.intake.rows_read,
        "outcomes": counts,
        "follow_ups": reader.follow_up_counts(record.key)?,
    }))
}

/// Removes the runs that are meant, each whole or not at all. What they spent stays in the ledger, for the service has
/// counted it.
async fn remove(typed: &RemoveArgs, state_dir: &Path) -> Result<(), Failure> {
    let clock = SystemClock::new();
    let runs = find(typed, state_dir, clock.now().wall)?;
    if runs.is_empty() {
        return print("there is no such run\n").map_err(Failure::of_output);
    }
    if !typed.yes {
        agree(&runs)?;
    }
    let mut stores = BTreeMap::new();
    for run in runs {
        let store = match stores.entry(run.state_dir.clone()) {
            Entry::Occupied(store) => store.into_mut(),
            Entry::Vacant(place) => {
                let grace = RetrySettings::default().timeout_grace;
                place.insert(open_store(&run.state_dir, grace, &clock)?)
            }
        };
        store.remove_run(run.record.key).await?;
        if run.is_sandbox {
            // A finished run has none.
            std::fs::remove_file(snapshot_file(&run.state_dir, run.record.begun.id)).ok();
        }
        print(&format!("deleted {}\n", describe(&run))).map_err(Failure::of_output)?;
    }
    Ok(())
}

fn find(typed: &RemoveArgs, state_dir: &Path, now: Timestamp) -> Result<Vec<RunEntry>, Failure> {
    if let Some(age) = typed.older_than {
        let before = now.checked_sub(age).unwrap_or(Timestamp::MIN);
        let mut runs = find_run::all_runs(state_dir)?;
        runs.retain(|run| !run.record.is_live() && run.record.last_seen() < before);
        return Ok(runs);
    }
    let mut runs: Vec<RunEntry> = Vec::new();
    for name in &typed.runs {
        let run = find_run::named(state_dir, name)?;
        let id = run.record.begun.id;
        if let Some(holder) = run.record.holder {
            let held = StoreError::RunHeld { run: id, holder };
            return Err(Failure::from(held).hint("stop it first, with Ctrl-C or SIGTERM"));
        }
        if runs.iter().all(|known| known.record.begun.id != id) {
            runs.push(run);
        }
    }
    Ok(runs)
}

/// Shows what would be removed, and asks for confirmation.
fn agree(runs: &[RunEntry]) -> Result<(), Failure> {
    let mut question = String::new();
    for run in runs {
        // Writing to a string can't fail.
        writeln!(question, "  {}", describe(run)).unwrap_or_default();
    }
    let these = Count::new(u64::try_from(runs.len()).unwrap_or(u64::MAX), "run");
    write!(question, "delete {these}?").unwrap_or_default();
    let refused = |why: &str| {
        Failure::new(
            RunExit::Refused,
            anyhow!("nothing was deleted: {why} ({these})"),
        )
    };
    match ask(&question) {
        Ok(Some(true)) => Ok(()),
        Ok(Some(false)) => Err(refused("you answered no")),
        Ok(None) => {
            let mut failure = refused("there is no terminal to ask on");
            for run in runs {
                failure = failure.hint(format!("this would delete {}", describe(run)));
            }
            Err(failure.hint("add --yes to delete without asking"))
        }
        Err(error) => Err(Failure::new(RunExit::Fault, error)),
    }
}

fn describe(run: &RunEntry) -> String {
    let record = &run.record;
    let mark = sandbox_mark(run);
    let end = if record.state == RunState::Finished {
        ""
    } else {
        ", can be resumed"
    };
    format!(
        "{mark}run {}, started {}, {}, {}{end}",
        record.begun.id,
        find_run::local_time(record.begun.created, &local_zone()),
        record.standing(),
        Count::new(record.intake.rows_read, "row"),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::cli::commands::find_run::tests::{begin, store};
    use crate::model::{Destination, RunId, Scope};
    use crate::quota::Windows;
    use crate::store::{SlotPurpose, SlotRequest};

    fn days_left(dir: &Path) -> Vec<u128> {
        let runs = find_run::all_runs(dir).unwrap();
        let ids = runs.iter().map(|run| run.record.begun.id);
        ids.map(|id| id.to_string().replace('-', ""))
            .map(|id| u128::from_str_radix(&id, 16).unwrap() >> 64)
            .collect()
    }

    #[tokio::test]
    async fn old_runs_go_with_their_imitations_and_live_ones_and_the_calls_stay() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let sandbox = dir.join("sandbox");
        let [gone, tried] = [store(dir), store(&sandbox)];
        for days in [1, 40, 50] {
            begin(&gone, days).await;
        }
        begin(&tried, 60).await;
        let scope = Scope {
            cloud: "commercial".to_owned(),
            tenant: "-".to_owned(),
            app: "-".to_owned(),
            destination: Destination::Cancel,
        };
        let windows = std::sync::Arc::new(Windows::documented());
        let now = SystemClock::new().now();
        let key = gone.scope(&scope, now).await.unwrap().key;
        let take = SlotRequest {
            scope: key,
            windows: std::sync::Arc::clone(&windows),
            now,
            purpose: SlotPurpose::Read,
        };
        gone.take(take).await.unwrap();
        drop((gone, tried));
        let imitation = snapshot_file(&sandbox, RunId::new(Uuid::from_u128(60 << 64)));
        std::fs::write(&imitation, "{}").unwrap();
        let live = store(dir);
        begin(&live, 70).await;

        let wish = RemoveArgs {
            runs: Vec::new(),
            older_than: Some(Duration::from_secs(30 * 24 * 3600)),
            yes: true,
        };
        remove(&wish, dir).await.unwrap();
        assert_eq!(days_left(dir), [1, 70]);
        assert!(!imitation.exists());
        let used = live.usage(key, windows, now).await.unwrap();
        assert_eq!(used.windows[0].taken, 1);
        remove(&wish, dir).await.unwrap();
    }
}
