//! Finding past runs: in the state folder and, marked, in the sandbox's below it.

use std::path::Path;
use std::path::PathBuf;

use anyhow::anyhow;
use jiff::Timestamp;

use crate::cli::failure::Failure;
use crate::cli::failure::FailureKind;
use crate::store::Reader;
use crate::store::RunRecord;
use crate::store::RunState;
use crate::store::StoreError;

use super::carry::state;

/// An unfinished run that is older than this must be named.
const RECENT_SECONDS: i64 = 24 * 3600;

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
}

/// Lists the runs of a state folder, newest first.
pub(super) fn list(state_dir: &Path) -> Result<Vec<PastRun>, StoreError> {
    let mut runs = Vec::new();
    for (folder, is_sandbox) in [
        (state_dir.to_owned(), false),
        (state_dir.join("sandbox"), true),
    ] {
        let found = match Reader::open(&folder) {
            Ok(reader) => reader.runs()?,
            // No run has been there yet, which is no fault here.
            Err(StoreError::Missing { .. }) => continue,
            Err(error) => return Err(error),
        };
        runs.extend(found.into_iter().map(|record| PastRun {
            record,
            is_sandbox,
            state_dir: folder.clone(),
        }));
    }
    runs.sort_by_key(|run| std::cmp::Reverse(run.record.begun.created));
    Ok(runs)
}

/// Finds the run whose id begins with `text`.
pub(super) fn named(state_dir: &Path, text: &str) -> Result<PastRun, Failure> {
    let wanted = text.trim().to_ascii_lowercase();
    let runs = list(state_dir).map_err(state)?;
    let mut found: Vec<_> = runs
        .into_iter()
        .filter(|run| !wanted.is_empty() && run.record.begun.id.to_string().starts_with(&wanted))
        .collect();
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
    let runs = list(state_dir).map_err(state)?;
    let is_open = |run: &PastRun| {
        let age = now.duration_since(run.record.begun.created).as_secs();
        run.record.state != RunState::Finished && !run.is_sandbox && age <= RECENT_SECONDS
    };
    let mut open: Vec<_> = runs.into_iter().filter(is_open).collect();
    match (open.pop(), open.len()) {
        (Some(run), 0) => Ok(run),
        (None, _) => Err(refuse(
            "there is no unfinished run of the last 24 hours".to_owned(),
        )),
        (Some(_), more) => Err(refuse(format!(
            "{} runs of the last 24 hours are unfinished",
            more + 1
        ))),
    }
}

fn refuse(text: String) -> Failure {
    Failure::new(FailureKind::Usage, anyhow!(text))
        .hint("name one of those that `mde-cancel runs` lists")
}
