//! Finding past runs: in the state folder and, marked, in the sandbox's below it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use jiff::Timestamp;

use crate::cli::failure::{Failure, FailureKind};
use crate::cli::text::{Count, Span};
use crate::store::{Reader, RunRecord, RunState, StoreError};

use super::carry::state;

/// An unfinished run that is older than this must be named.
const RECENT_SECONDS: i64 = 24 * 3600;

/// How many unfinished runs a refusal shows.
const SHOWN: usize = 5;

/// A run and where it was found.
pub(super) struct PastRun {
    pub(super) record: RunRecord,
    pub(super) is_sandbox: bool,
    /// The folder of its state file.
    pub(super) state_dir: PathBuf,
}

impl PastRun {
    /// Opens a reader on the state file that holds the run.
    pub(super) fn reader(&self) -> Result<Reader, Failure> {
        Reader::open(&self.state_dir).map_err(state)
    }

    /// Looks at the run once more.
    pub(super) fn again(mut self) -> Result<Self, Failure> {
        let id = self.record.begun.id;
        let found = self.reader()?.run(id).map_err(state)?;
        self.record = found.ok_or_else(|| refuse(format!("run {id} is not there any more")))?;
        Ok(self)
    }
}

/// The runs of a state folder as far as they can be read.
pub(super) struct Found {
    /// Newest first.
    pub(super) runs: Vec<PastRun>,
    /// Why those of the sandbox are not among them: what somebody tried must not keep from what is real.
    pub(super) fault: Option<StoreError>,
}

impl Found {
    /// Returns them where none can be missing.
    fn whole(self) -> Result<Vec<PastRun>, StoreError> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(self.runs),
        }
    }
}

/// Looks for the runs of a state folder and of the sandbox's below it.
pub(super) fn look(state_dir: &Path) -> Result<Found, StoreError> {
    let mut runs = runs_of(state_dir, Place::Real)?;
    let fault = match runs_of(&state_dir.join("sandbox"), Place::Sandbox) {
        Ok(tried) => {
            runs.extend(tried);
            None
        }
        Err(fault) => Some(fault),
    };
    runs.sort_by_key(|run| std::cmp::Reverse(run.record.begun.created));
    Ok(Found { runs, fault })
}

/// Lists the runs of a state folder, newest first.
pub(super) fn list(state_dir: &Path) -> Result<Vec<PastRun>, StoreError> {
    look(state_dir)?.whole()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Real,
    Sandbox,
}

fn runs_of(folder: &Path, place: Place) -> Result<Vec<PastRun>, StoreError> {
    let found = match Reader::open(folder) {
        Ok(reader) => reader.runs()?,
        // No run has been there yet, which is no fault here.
        Err(StoreError::Missing { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let runs = found.into_iter().map(|record| PastRun {
        record,
        is_sandbox: place == Place::Sandbox,
        state_dir: folder.to_owned(),
    });
    Ok(runs.collect())
}

/// Finds the run whose id begins with `text`.
pub(super) fn named(state_dir: &Path, text: &str) -> Result<PastRun, Failure> {
    let wanted = text.trim().to_ascii_lowercase();
    let Found { runs, fault } = look(state_dir).map_err(state)?;
    let mut found: Vec<_> = runs
        .into_iter()
        .filter(|run| !wanted.is_empty() && run.record.begun.id.to_string().starts_with(&wanted))
        .collect();
    if found.is_empty()
        && let Some(fault) = fault
    {
        return Err(state(fault));
    }
    match (found.pop(), found.len()) {
        (Some(run), 0) => Ok(run),
        (None, _) => Err(refuse(format!(
            "no run of {} has an id that begins with `{wanted}`",
            state_dir.display()
        ))),
        (Some(_), more) => Err(refuse(format!(
            "{} runs have an id that begins with `{wanted}`",
            more + 1
        ))),
    }
}

/// Finds the newest run.
pub(super) fn newest(state_dir: &Path) -> Result<PastRun, Failure> {
    let runs = list(state_dir).map_err(state)?;
    let none = || refuse(format!("there is no run in {}", state_dir.display()));
    runs.into_iter().next().ok_or_else(none)
}

/// Finds the one unfinished run of the last 24 hours; sandbox runs must be named.
pub(super) fn unfinished(state_dir: &Path, now: Timestamp) -> Result<PastRun, Failure> {
    let runs = look(state_dir).map_err(state)?.runs;
    let is_open = |run: &PastRun| {
        let age = now.duration_since(run.record.begun.created).as_secs();
        run.record.state != RunState::Finished && !run.is_sandbox && age <= RECENT_SECONDS
    };
    let mut open: Vec<_> = runs.into_iter().filter(is_open).collect();
    if open.len() == 1
        && let Some(run) = open.pop()
    {
        return Ok(run);
    }
    if open.is_empty() {
        let failure = refuse("there is no unfinished run of the last 24 hours".to_owned());
        return Err(failure.hint("older ones and those of the sandbox must be named"));
    }
    let many = format!("{} runs of the last 24 hours are unfinished", open.len());
    // The newest few are what is meant, most likely.
    let candidates = open.iter().take(SHOWN).map(|run| {
        let begun = &run.record.begun;
        format!(
            "run {}, begun {} ago, {}",
            begun.id,
            age(begun.created, now),
            Count::new(run.record.intake.rows_read, "row")
        )
    });
    Err(candidates.fold(refuse(many), Failure::hint))
}

/// Returns how long ago something was; nothing where the clock was set back since.
pub(super) fn age(then: Timestamp, now: Timestamp) -> Span {
    Span(Duration::try_from(now.duration_since(then)).unwrap_or_default())
}

fn refuse(text: String) -> Failure {
    Failure::new(FailureKind::Usage, anyhow!(text))
        .hint("name one of those that `mde-cancel runs` lists")
}

#[cfg(test)]
pub(super) mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::cli::commands::carry::open_store;
    use crate::clock::{Clock as _, SystemClock};
    use crate::model::RunId;
    use crate::store::{NewRun, Store};

    pub(in crate::cli::commands) fn store(dir: &Path) -> Store {
        open_store(dir, Duration::ZERO, &SystemClock::new()).unwrap()
    }

    /// Begins a run so many days ago.
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
        assert_eq!(failure.kind, FailureKind::State);
        let found = look(dir).unwrap();
        assert_eq!(found.runs.len(), 1);
        assert!(found.fault.is_some());
    }

    #[tokio::test]
    async fn without_a_name_only_one_unfinished_run_of_the_last_day_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let now = SystemClock::new().now().wall;
        let refusal = || unfinished(dir, now).map(|_| ()).unwrap_err();
        begin(&store(&dir.join("sandbox")), 0).await;
        begin(&store(dir), 2).await;
        let none = refusal();
        assert!(none.error.to_string().starts_with("there is no unfinished"));
        assert!(none.hints.iter().any(|hint| hint.contains("must be named")));
        begin(&store(dir), 0).await;
        let one = unfinished(dir, now).unwrap();
        assert!(!one.is_sandbox);
        begin(&store(dir), 1).await;
        let later = now + jiff::SignedDuration::from_secs(-60);
        let several = unfinished(dir, later).map(|_| ()).unwrap_err();
        assert_eq!(
            several.error.to_string(),
            "2 runs of the last 24 hours are unfinished"
        );
        let shown = several
            .hints
            .iter()
            .filter(|hint| hint.contains(" ago, 0 rows"));
        assert_eq!(shown.count(), 2);
    }
}
