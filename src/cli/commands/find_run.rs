//! Finding past runs in the state folder and, marked as such, in the sandbox's below it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::failure::Failure;
use crate::cli::format_time::{Count, Span, local_zone};
use crate::cli::hint::{Hint, NextCommand};
use crate::input::Input;
use crate::model::Operation;
use crate::store::{Reader, RunRecord, RunState, StoreError};

use super::selection::is_selection;

/// An older unfinished run must be named.
const RECENT_SECONDS: i64 = 24 * 3600;

/// Unfinished runs that a refusal lists.
const SHOWN: usize = 5;

pub(super) struct RunEntry {
    pub(super) record: RunRecord,
    pub(super) is_sandbox: bool,
    /// The folder of its state file.
    pub(super) state_dir: PathBuf,
}

impl RunEntry {
    pub(super) fn reader(&self) -> Result<Reader, Failure> {
        Ok(Reader::open(&self.state_dir)?)
    }

    /// Reads the run's record again.
    pub(super) fn again(mut self) -> Result<Self, Failure> {
        let id = self.record.begun.id;
        let found = self.reader()?.run(id)?;
        self.record =
            found.ok_or_else(|| see_runs(refuse(format!("run {id} is not there any more"))))?;
        Ok(self)
    }

    /// Returns whether this is a plan of `release --dry-run` that isn't confirmed yet.
    pub(super) fn is_plan(&self) -> bool {
        let record = &self.record;
        let is_release = record.operation == Operation::Release;
        is_release && !self.is_finished() && !record.is_live() && !record.is_confirmed
    }

    /// Says which run it is among several.
    fn description(&self) -> String {
        let record = &self.record;
        let kind = match record.operation {
            Operation::Release if self.is_plan() => "release plan",
            Operation::Release => "release",
            Operation::Cancel if self.is_sandbox => "sandbox run",
            Operation::Cancel => "run",
        };
        let started = local_time(record.begun.created, &local_zone());
        format!("{}: a {kind}, started {started}", record.begun.id)
    }

    /// Returns the state folder in which the run is found by id.
    pub(super) fn folder(&self) -> PathBuf {
        match self.state_dir.parent() {
            Some(parent) if self.is_sandbox => parent.to_owned(),
            _ => self.state_dir.clone(),
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.record.state == RunState::Finished
    }

    /// Returns whether a resume has anything to do: a row without an outcome, or an input with more to read.
    fn has_rows_to_send(&self) -> Result<bool, Failure> {
        let counts = self.reader()?.lane_counts(self.record.key)?;
        // An interrupted selection was never confirmed, so nothing of it is sent.
        let reads_on = !self.record.intake.complete && !is_selection(&inputs_of(&self.record));
        Ok(reads_on || counts.iter().any(|count| count.outcome.is_none()))
    }
}

/// Returns the run's inputs as the journal names them.
pub(super) fn inputs_of(record: &RunRecord) -> Vec<Input> {
    let names: Vec<String> = serde_json::from_str(&record.begun.inputs).unwrap_or_default();
    let inputs = names.iter().map(|name| Input::parse(name.as_ref()));
    inputs.collect()
}

/// The runs of a state folder, as far as they can be read.
pub(super) struct RunList {
    /// Newest first.
    pub(super) runs: Vec<RunEntry>,
    /// Why the sandbox's runs are missing. A fault there must not hide real runs.
    pub(super) fault: Option<StoreError>,
}

/// Lists the runs of a state folder and of the sandbox's below it.
pub(super) fn list_runs(state_dir: &Path) -> Result<RunList, StoreError> {
    let mut runs = runs_of(state_dir, false)?;
    let tried = runs_of(&state_dir.join("sandbox"), true);
    let fault = tried.map(|tried| runs.extend(tried)).err();
    runs.sort_by_key(|run| std::cmp::Reverse(run.record.begun.created));
    Ok(RunList { runs, fault })
}

/// Lists the runs of a state folder, newest first; fails if any are missing.
pub(super) fn all_runs(state_dir: &Path) -> Result<Vec<RunEntry>, StoreError> {
    let RunList { runs, fault } = list_runs(state_dir)?;
    fault.map_or(Ok(runs), Err)
}

fn runs_of(folder: &Path, is_sandbox: bool) -> Result<Vec<RunEntry>, StoreError> {
    let found = match Reader::open(folder) {
        Ok(reader) => reader.runs()?,
        // No run yet, which is no error here.
        Err(StoreError::Missing { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let runs = found.into_iter().map(|record| RunEntry {
        record,
        is_sandbox,
        state_dir: folder.to_owned(),
    });
    Ok(runs.collect())
}

/// Finds the run whose id starts with `text`.
pub(super) fn named(state_dir: &Path, text: &str) -> Result<RunEntry, Failure> {
    one_named(state_dir, text, |_| true)
}

/// The same; of several, the one that cancels is meant.
pub(super) fn cancelling(state_dir: &Path, text: &str) -> Result<RunEntry, Failure> {
    one_named(state_dir, text, |run| {
        run.record.operation == Operation::Cancel
    })
}

fn one_named(
    state_dir: &Path,
    text: &str,
    is_meant: impl Fn(&RunEntry) -> bool,
) -> Result<RunEntry, Failure> {
    let wanted = text.trim().to_ascii_lowercase();
    let RunList { mut runs, fault } = list_runs(state_dir)?;
    runs.retain(|run| !wanted.is_empty() && run.record.begun.id.to_string().starts_with(&wanted));
    if runs.len() > 1 && runs.iter().any(&is_meant) {
        runs.retain(is_meant);
    }
    if runs.len() > 1 {
        let many = format!("{} runs have an id that begins with `{wanted}`", runs.len());
        let named = runs.iter().take(SHOWN);
        let failure = named.fold(refuse(many), |it, run| it.hint(run.description()));
        return Err(see_runs(failure));
    }
    let dir = state_dir.display();
    match (runs.pop(), fault) {
        (Some(run), _) => Ok(run),
        (None, Some(fault)) => Err(fault.into()),
        (None, None) => Err(see_runs(refuse(format!(
            "no run in {dir} has an id that begins with `{wanted}`"
        )))),
    }
}

pub(super) fn newest(state_dir: &Path) -> Result<RunEntry, Failure> {
    let runs = all_runs(state_dir)?;
    runs.into_iter().next().ok_or_else(|| none(state_dir))
}

/// Finds the one run of the last 24 hours that can be resumed: not finished, not live, with rows to send. Sandbox runs
/// must be named.
pub(super) fn unfinished(state_dir: &Path, now: Timestamp) -> Result<RunEntry, Failure> {
    let runs = list_runs(state_dir)?.runs;
    if runs.is_empty() {
        return Err(none(state_dir));
    }
    let mut candidates = Vec::new();
    let mut failure = refuse(format!(
        "no unfinished run of the last 24 hours in {} has rows to send",
        state_dir.display()
    ));
    for run in runs.into_iter().filter(|run| !run.is_finished()) {
        let record = &run.record;
        let id = record.begun.id;
        let age = now.duration_since(record.begun.created).as_secs();
        let why_not = if let Some(holder) = &record.holder {
            format!("run {id} is still in progress ({holder})")
        } else if run.is_plan() {
            format!("run {id} is a plan, which `release` sends")
        } else if run.is_sandbox {
            format!("run {id} is a sandbox run, which must be named")
        } else if age > RECENT_SECONDS {
            format!("run {id} is older and must be named")
        } else if run.has_rows_to_send()? {
            candidates.push(run);
            continue;
        } else {
            format!("run {id} has no rows to send")
        };
        if failure.hints.len() < SHOWN {
            failure = failure.hint(why_not);
        }
    }
    match (candidates.pop(), candidates.len()) {
        (Some(run), 0) => return Ok(run),
        (None, _) => return Err(see_runs(failure)),
        (Some(last), _) => candidates.push(last),
    }
    let many = format!(
        "{} runs of the last 24 hours in {} are unfinished",
        candidates.len(),
        state_dir.display()
    );
    let mut failure = refuse(many);
    // Most likely one of the newest.
    for run in candidates.iter().take(SHOWN) {
        let begun = &run.record.begun;
        let about = format!(
            "to continue the one started {} ago ({})",
            age(begun.created, now),
            Count::new(run.record.intake.rows_read, "row")
        );
        failure = failure.hint(Hint::Command(about, NextCommand::Resume(begun.id)));
    }
    Err(failure)
}

/// Zero if the clock was set back since.
pub(super) fn age(then: Timestamp, now: Timestamp) -> Span {
    Span(Duration::try_from(now.duration_since(then)).unwrap_or_default())
}

/// Shows a time in the local format.
pub(super) fn local_time(at: Timestamp, zone: &TimeZone) -> String {
    let at = at.to_zoned(zone.clone());
    at.strftime("%Y-%m-%d %H:%M %Z").to_string()
}

fn none(state_dir: &Path) -> Failure {
    refuse(format!("there is no run in {} yet", state_dir.display()))
        .hint("name another folder with --state-dir")
}

fn refuse(text: String) -> Failure {
    Failure::refused(anyhow!(text))
}

fn see_runs(failure: Failure) -> Failure {
    failure.hint(Hint::Command(
        "to list all runs".to_owned(),
        NextCommand::Runs,
    ))
}

#[cfg(test)]
pub(super) mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::cli::commands::prepared_run::open_store;
    use crate::cli::failure::RunExit;
    use crate::cli::hint::ForwardedFlags;
    use crate::clock::{Clock as _, SystemClock};
    use crate::model::RunId;
    use crate::store::{InputProgress, NewRun, Store};

    pub(in crate::cli::commands) fn store(dir: &Path) -> Store {
        open_store(dir, Duration::ZERO, &SystemClock::new()).unwrap()
    }

    /// Creates a run that is `days` days old.
    pub(in crate::cli::commands) async fn begin(store: &Store, days: i64) {
        let text = || "x".to_owned();
        let run = NewRun {
            id: RunId::new(Uuid::from_u128(u128::try_from(days).unwrap() << 64)),
            created: SystemClock::new().now().wall - jiff::SignedDuration::from_hours(24 * days),
            settings: text(),
            inputs: text(),
            tenant: text(),
            app: text(),
            cloud: text(),
            host: text(),
            user: text(),
            version: text(),
        };
        store.create_run(run).await.unwrap();
    }

    #[tokio::test]
    async fn a_damaged_sandbox_keeps_nobody_from_what_is_real() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        begin(&store(dir), 0).await;
        std::fs::create_dir(dir.join("sandbox")).unwrap();
        std::fs::write(dir.join("sandbox/state.db"), "no database".repeat(100)).unwrap();
        let now = SystemClock::new().now().wall;
        unfinished(dir, now).unwrap();
        named(dir, "00000000-0000").unwrap();
        let failure = named(dir, "1").map(drop).unwrap_err();
        assert_eq!(failure.exit, RunExit::State);
        let found = list_runs(dir).unwrap();
        assert_eq!(found.runs.len(), 1);
        assert!(found.fault.is_some());
    }

    fn texts(failure: &Failure) -> Vec<String> {
        let flags = ForwardedFlags::default();
        let hints = failure.hints.iter().map(|hint| hint.render(&flags));
        hints.collect()
    }

    fn id(days: u128) -> RunId {
        RunId::new(Uuid::from_u128(days << 64))
    }

    #[tokio::test]
    async fn without_a_name_the_one_run_of_the_last_day_is_taken_that_has_rows_to_send() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let now = SystemClock::new().now().wall;
        let refusal = || unfinished(dir, now).map(|_| ()).unwrap_err();
        let none = refusal();
        let path = dir.display().to_string();
        assert!(none.error.to_string().contains(&path), "{none:?}");
        begin(&store(&dir.join("sandbox")), 0).await;
        begin(&store(dir), 2).await;
        let none = refusal();
        assert!(none.error.to_string().contains(&path), "{none:?}");
        let hints = texts(&none);
        assert!(
            hints.iter().any(|hint| hint.contains("is a sandbox run")),
            "{hints:?}"
        );
        assert!(
            hints
                .iter()
                .any(|hint| hint.ends_with("is older and must be named"))
        );
        assert!(hints.iter().any(|hint| hint.ends_with(": mde-cancel runs")));
        begin(&store(dir), 0).await;
        let one = unfinished(dir, now).unwrap();
        assert_eq!((one.record.begun.id, one.is_sandbox), (id(0), false));
        // Neither a live run nor one with nothing left counts.
        let live = store(dir);
        begin(&live, 1).await;
        let later = now - jiff::SignedDuration::from_secs(60);
        assert_eq!(unfinished(dir, later).unwrap().record.begun.id, id(0));
        drop(live);
        let several = unfinished(dir, later).map(drop).unwrap_err();
        assert_eq!(
            several.error.to_string(),
            format!("2 runs of the last 24 hours in {path} are unfinished")
        );
        for days in [0, 1] {
            let command = format!("mde-cancel resume {}", id(days));
            let mut hints = texts(&several).into_iter();
            assert!(hints.any(|hint| hint.ends_with(&command)), "{several:?}");
        }
        let whole = InputProgress {
            complete: true,
            ..InputProgress::default()
        };
        let again = store(dir);
        let key = again.reader().unwrap().run(id(1)).unwrap().unwrap().key;
        again.append_rows(key, Vec::new(), whole).await.unwrap();
        drop(again);
        assert_eq!(unfinished(dir, later).unwrap().record.begun.id, id(0));
    }
}
