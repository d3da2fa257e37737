//! What is written beside the reports, resolved.

use std::path::PathBuf;

use crate::cli::args::output::OutputArgs;

use super::surroundings::Surroundings;

/// What is written beside the reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Where the run's figures go, while it goes on and at its end.
    pub metrics_file: Option<PathBuf>,
}

impl Output {
    pub(super) fn resolve(typed: OutputArgs, around: &Surroundings<'_>) -> Self {
        Self {
            metrics_file: around.layered_path(typed.metrics_file, "MDE_CANCEL_METRICS_FILE"),
        }
    }
}
