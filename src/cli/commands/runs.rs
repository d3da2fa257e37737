//! `runs`: past runs, newest first.

use comfy_table::{ContentArrangement, Table, presets};
use console::measure_text_width;

use crate::cli::args::TableFormat;
use crate::cli::failure::Failure;
use crate::cli::settings::RunsSettings;
use crate::cli::terminal::print;
use crate::cli::text::{Number, visible};
use crate::model::Outcome;

use super::carry::state;
use super::ending::Look;
use super::past;
use super::past::{Found, PastRun};

/// Prints the runs.
///
/// # Errors
/// Returns why the journal cannot be read, or the result not be printed.
pub fn runs(settings: &RunsSettings, look: Look) -> Result<(), Failure> {
    let Found { runs, fault } = past::look(&settings.state_dir).map_err(state)?;
    let text = match settings.format {
        TableFormat::Json => json(&runs)?,
        TableFormat::Table => table(&runs, look.width)?,
    };
    print(&text).map_err(Failure::of_output)?;
    fault.map_or(Ok(()), |fault| Err(state(fault)))
}

fn table(runs: &[PastRun], width: u16) -> Result<String, Failure> {
    if runs.is_empty() {
        return Ok("there is no run yet\n".to_owned());
    }
    let lines = runs.iter().map(Line::of).collect::<Result<Vec<_>, _>>()?;
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header([
            "run",
            "begun",
            "state",
            "rows",
            "cancelled",
            "left",
            "input",
        ]);
    for line in &lines {
        table.add_row(line.cells());
    }
    let whole = table.trim_fmt();
    let fits = |line: &str| measure_text_width(line) <= usize::from(width);
    if whole.lines().all(fits) {
        return Ok(format!("{whole}\n"));
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
    input: String,
}

impl Line {
    fn of(run: &PastRun) -> Result<Self, Failure> {
        let counts = run
            .reader()?
            .outcome_counts(run.record.key)
            .map_err(state)?;
        let of = |wanted: &dyn Fn(Outcome) -> bool| {
            let counted = counts.iter().filter(|(outcome, _)| wanted(**outcome));
            Number(counted.map(|(_, count)| count).sum()).to_string()
        };
        let begun = &run.record.begun;
        let inputs: Vec<String> = serde_json::from_str(&begun.inputs).unwrap_or_default();
        let mark = if run.is_sandbox { "SANDBOX " } else { "" };
        Ok(Self {
            id: begun.id.to_string(),
            begun: begun.created.strftime("%Y-%m-%d %H:%MZ").to_string(),
            state: format!("{mark}{}", run.record.standing()),
            rows: of(&|_| true),
            cancelled: of(&|outcome| outcome == Outcome::Cancelled),
            left: of(&|outcome| outcome.leaves_work() || outcome == Outcome::NotAttempted),
            input: visible(&inputs.join(", ")).into_owned(),
        })
    }

    fn cells(&self) -> [&str; 7] {
        [
            &self.id,
            &self.begun,
            &self.state,
            &self.rows,
            &self.cancelled,
            &self.left,
            &self.input,
        ]
    }

    fn paragraph(&self) -> String {
        format!(
            "{} {}\n  {} · {} rows · {} cancelled · {} left\n  {}\n",
            self.id, self.state, self.begun, self.rows, self.cancelled, self.left, self.input
        )
    }
}

fn json(runs: &[PastRun]) -> Result<String, Failure> {
    let mut list = Vec::new();
    for run in runs {
        let counts = run
            .reader()?
            .outcome_counts(run.record.key)
            .map_err(state)?;
        let counts: serde_json::Map<_, _> = counts
            .into_iter()
            .map(|(outcome, count)| (outcome.as_str().to_owned(), count.into()))
            .collect();
        let record = &run.record;
        let inputs: serde_json::Value =
            serde_json::from_str(&record.begun.inputs).unwrap_or_default();
        list.push(serde_json::json!({
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
        }));
    }
    Ok(format!("{:#}\n", serde_json::Value::from(list)))
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
            let text = table(&runs, width).unwrap();
            for whole in [id.as_str(), "cancelled"] {
                assert!(text.contains(whole), "{width}: {text}");
            }
            for line in text.lines() {
                let columns = measure_text_width(line);
                assert!(columns <= usize::from(width), "{width}: {line}");
            }
        }
        assert_eq!(table(&runs, 80).unwrap().lines().count(), 3);
        assert_eq!(table(&runs, 200).unwrap().lines().count(), 2);
    }
}
