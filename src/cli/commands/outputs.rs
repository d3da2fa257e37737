//! Where a run writes, proved writable before anything is sent.

use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::cli::settings::OutputPaths;
use crate::model::RunId;
use crate::report::{FileKind, ReportFormat, ReportTarget, TargetError};

use super::execute::usage;

#[derive(Clone, Debug, Default)]
pub(super) struct Outputs {
    pub(super) reports: Vec<(ReportFormat, ReportTarget)>,
    /// Where the machines are listed that still need work.
    pub(super) follow_up: Option<ReportTarget>,
    pub(super) metrics_file: Option<PathBuf>,
    /// What was written beside a file that isn't ours, in words.
    pub(super) notes: Vec<String>,
}

impl Outputs {
    /// Proves that every file can be written. A file that is no earlier one of ours is left alone, and ours goes beside it.
    pub(super) fn prove(paths: &OutputPaths, run: RunId) -> Result<Self, Failure> {
        let mut outputs = Self::default();
        for path in &paths.reports {
            let format = ReportFormat::from_path(path).map_err(usage)?;
            let target = outputs.target(path, FileKind::Report(format), run)?;
            outputs.reports.push((format, target));
        }
        if let Some(path) = &paths.follow_up {
            outputs.follow_up = Some(outputs.target(path, FileKind::FollowUps, run)?);
        }
        if let Some(path) = &paths.metrics_file {
            let target = outputs.target(path, FileKind::Metrics, run)?;
            outputs.metrics_file = target.path().map(Path::to_owned);
        }
        for note in &outputs.notes {
            tracing::warn!("{note}");
        }
        Ok(outputs)
    }

    fn target(&mut self, path: &Path, kind: FileKind, run: RunId) -> Result<ReportTarget, Failure> {
        let target = check_writable(path)?;
        let Some(place) = target.path() else {
            return Ok(target);
        };
        if kind.may_replace(place) {
            return Ok(target);
        }
        let beside = beside(path, run);
        let what = match kind {
            FileKind::Report(_) => "report",
            FileKind::FollowUps => "follow-up list",
            FileKind::Metrics => "metrics file",
        };
        if kind == FileKind::Metrics || !kind.may_replace(&beside) {
            let error = anyhow::anyhow!(
                "{} exists and is not a {what} of mde-cancel",
                path.display()
            );
            return Err(usage(error).hint("name another file, or move it away"));
        }
        self.notes.push(format!(
            "{} is not a {what} of mde-cancel and is kept; the {what} is {}",
            path.display(),
            beside.display()
        ));
        check_writable(&beside)
    }
}

fn check_writable(path: &Path) -> Result<ReportTarget, Failure> {
    ReportTarget::check_writable(path).map_err(|error| match error {
        TargetError::Unwritable { .. } => {
            usage(error).hint("name a file in a folder that exists and that you may write to")
        }
        error => usage(error),
    })
}

/// Names a file beside `path` that belongs to one run.
fn beside(path: &Path, run: RunId) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{run}"));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_comes_with_a_hint() {
        let paths = OutputPaths {
            reports: vec!["/no/such/folder/report.csv".into()],
            ..OutputPaths::default()
        };
        let run = RunId::new(uuid::Uuid::from_u128(7));
        assert_eq!(Outputs::prove(&paths, run).unwrap_err().hints.len(), 1);
    }
}
