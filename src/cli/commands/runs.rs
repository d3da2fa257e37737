//! `runs`: past runs, newest first, or one of them with all that is known of it.

use std::path::Path;

use console::measure_text_width;
use jiff::tz::TimeZone;

use crate::cli::args::TableFormat;
use crate::cli::failure::Failure;
use crate::cli::hint::{ForwardedFlags, Hint, NextCommand};
use crate::cli::table::Table;
use crate::cli::terminal::print;
use crate::cli::text::{Count, Number, local_zone, visible};
use crate::model::Outcome;

use super::execute::state;
use super::finish::Look;
use super::past::{self, Found, PastRun};
use super::reports::follow_ups;
use crate::cli::run_config::RunConfig;

/// Prints the runs, or the one that was named.
pub fn runs(
    run: Option<&str>,
    format: TableFormat,
    state_dir: &Path,
    look: Look,
    flags: &ForwardedFlags,
) -> Result<(), Failure> {
    let zone = local_zone();
    if let Some(name) = run {
        let run = past::named(state_dir, name)?;
        let text = match format {
            TableFormat::Json => format!("{:#}\n", json(&run)?),
            TableFormat::Table => details(&run, &zone, flags)?,
        };
        return print(&text).map_err(Failure::of_output);
    }
    let Found { runs, fault } = past::look(state_dir).map_err(state)?;
    let text = match format {
        TableFormat::Json => {
            let list = runs.iter().map(json).collect::<Result<Vec<_>, _>>()?;
            format!("{:#}\n", serde_json::Value::from(list))
        }
        TableFormat::Table if runs.is_empty() => {
            format!("there is no run in {} yet\n", state_dir.display())
        }
        TableFormat::Table => table(&runs, &zone, look.width)?,
    };
    print(&text).map_err(Failure::of_output)?;
    fault.map_or(Ok(()), |fault| Err(state(fault)))
}

fn table(runs: &[PastRun], zone: &TimeZone, width: u16) -> Result<String, Failure> {
    let lines = runs.iter().map(|run| Line::of(run, zone));
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    let mut table = Table::new();
    table.row([
        "run",
        "started",
        "state",
        "rows",
        "cancelled",
        "left",
        "need work",
        "input",
    ]);
    for line in &lines {
        table.row(line.cells());
    }
    let whole = table.render(usize::MAX, "");
    let fits = |line: &str| measure_text_width(line) <= usize::from(width);
    if whole.lines().all(fits) {
        return Ok(whole);
    }
    // Cells that are cut to fit can be read by nobody: what is too wide for a table stands below its id.
    Ok(lines.iter().map(Line::paragraph).collect())
}

/// What is shown of one run.
struct Line {
    id: String,
    begun: String,
    state: String,
    rows: String,
    cancelled: String,
    left: String,
    need_work: String,
    input: String,
}

impl Line {
    fn of(run: &PastRun, zone: &TimeZone) -> Result<Self, Failure> {
        let reader = run.reader()?;
        let counts = reader.outcome_counts(run.record.key).map_err(state)?;
        let of = |wanted: &dyn Fn(Outcome) -> bool| {
            let counted = counts.iter().filter(|(outcome, _)| wanted(**outcome));
            Number(counted.map(|(_, count)| count).sum()).to_string()
        };
        let machines = reader.follow_up_counts(run.record.key).map_err(state)?;
        let begun = &run.record.begun;
        Ok(Self {
            id: begun.id.to_string(),
            begun: past::local_time(begun.created, zone),
            state: format!("{}{}", sandbox_mark(run), run.record.standing()),
            rows: of(&|_| true),
            cancelled: of(&|outcome| outcome == Outcome::Cancelled),
            left: of(&|outcome| outcome.leaves_work() || outcome == Outcome::NotAttempted),
            need_work: Number(machines.values().sum()).to_string(),
            input: inputs(run),
        })
    }

    fn cells(&self) -> [&str; 8] {
        [
            &self.id,
            &self.begun,
            &self.state,
            &self.rows,
            &self.cancelled,
            &self.left,
            &self.need_work,
            &self.input,
        ]
    }

    fn paragraph(&self) -> String {
        let machines = match self.need_work.as_str() {
            "0" => String::new(),
            count => format!(" · machines that need work: {count}"),
        };
        format!(
            "{} {}\n  {} · {} rows · {} cancelled · {} left{machines}\n  {}\n",
            self.id, self.state, self.begun, self.rows, self.cancelled, self.left, self.input
        )
    }
}

fn sandbox_mark(run: &PastRun) -> &'static str {
    if run.is_sandbox { "SANDBOX " } else { "" }
}

fn inputs(run: &PastRun) -> String {
    let inputs: Vec<String> = serde_json::from_str(&run.record.begun.inputs).unwrap_or_default();
    visible(&inputs.join(", ")).into_owned()
}

/// Shows all that is known of one run.
fn details(run: &PastRun, zone: &TimeZone, flags: &ForwardedFlags) -> Result<String, Failure> {
    let record = &run.record;
    let begun = &record.begun;
    let standing = format!("{}{}", sandbox_mark(run), record.standing());
    let standing = match (&record.holder, &record.reason) {
        (Some(holder), _) => format!("{standing}, {holder}"),
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
                past::local_time(begun.created, zone),
                begun.user,
                begun.host,
                begun.version
            ),
        ),
    ];
    let ended = record.ended_at.filter(|_| !record.is_live());
    facts.extend(ended.map(|at| ("ended", past::local_time(at, zone))));
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
    for (outcome, count) in reader.outcome_counts(record.key).map_err(state)? {
        facts.push((outcome.as_str(), Number(count).to_string()));
    }
    for (kind, count) in follow_ups(&reader.follow_up_counts(record.key).map_err(state)?) {
        let machines = Count::new(count, "machine");
        facts.push(("needs work", format!("{machines}: {}", kind.as_str())));
    }
    let width = facts.iter().map(|(name, _)| name.len()).max();
    let width = width.unwrap_or_default();
    let lines = facts
        .iter()
        .map(|(name, text)| format!("{name:width$}  {}\n", visible(text)));
    let mut text: String = lines.collect();
    if !run.is_finished() && !record.is_live() {
        let command = NextCommand::Resume(begun.id);
        let hint = Hint::Command("to continue".to_owned(), command).render(flags);
        text.extend([visible(&hint).as_ref(), "\n"]);
    }
    Ok(text)
}

fn json(run: &PastRun) -> Result<serde_json::Value, Failure> {
    let reader = run.reader()?;
    let counts = reader.outcome_counts(run.record.key).map_err(state)?;
    let counts: serde_json::Map<_, _> = counts
        .into_iter()
        .map(|(outcome, count)| (outcome.as_str().to_owned(), count.into()))
        .collect();
    let record = &run.record;
    let inputs: serde_json::Value = serde_json::from_str(&record.begun.inputs).unwrap_or_default();
    Ok(serde_json::json!({
        "run": record.begun.id.to_string(),
        "begun": record.begun.created,
        "ended": record.ended_at,
        "state": record.standing().as_str(),
        "reason": record.reason,
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
        "follow_ups": reader.follow_up_counts(record.key).map_err(state)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::past::tests::{begin, store};

    #[tokio::test]
    async fn no_cell_is_cut_however_narrow_the_terminal() {
        let folder = tempfile::tempdir().unwrap();
        begin(&store(folder.path()), 1).await;
        let runs = past::list(folder.path()).unwrap();
        let id = runs[0].record.begun.id.to_string();
        for width in [60, 80, 200] {
            let text = table(&runs, &TimeZone::UTC, width).unwrap();
            for whole in [id.as_str(), "cancelled"] {
                assert!(text.contains(whole), "{width}: {text}");
            }
            for line in text.lines() {
                let columns = measure_text_width(line);
                assert!(columns <= usize::from(width), "{width}: {line}");
            }
        }
        let lines = |width| table(&runs, &TimeZone::UTC, width).unwrap().lines().count();
        assert_eq!((lines(80), lines(200)), (3, 2));
    }
}
