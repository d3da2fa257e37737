//! What the files that a command names are for, so that none of them is taken for the log.
//!
//! The log is opened before anything else, and lines are added to it: a list of ids would be spoilt before anybody looked
//! at it. What else may not stand in one place is refused where it is proved writable.

use std::path::{Path, PathBuf};

use crate::cli::place::is_one_place;
use crate::input::Input;

use super::error::SettingsError;
use super::past::{ReportSettings, ResumeSettings};
use super::preview::PreviewSettings;
use super::run::RunSettings;
use super::sandbox::{Seed, ServeSettings};

/// Files, each with what it is.
#[derive(Debug, Default)]
pub(super) struct Files<'named>(Vec<(&'static str, &'named Path)>);

impl<'named> Files<'named> {
    pub(super) fn of_run(run: &'named RunSettings) -> Self {
        Self::default()
            .with_inputs(&run.inputs)
            .with("a list of what to keep", &run.selection.exclude_from)
            .with("a report", &run.reports)
            .with("the follow-up list", &run.follow_up)
            .with("the metrics file", &run.output.metrics_file)
    }

    pub(super) fn of_preview(preview: &'named PreviewSettings) -> Self {
        Self::default()
            .with_inputs(&preview.inputs)
            .with("a list of what to keep", &preview.selection.exclude_from)
    }

    pub(super) fn of_resume(resume: &'named ResumeSettings) -> Self {
        Self::default()
            .with("a report", &resume.reports)
            .with("the follow-up list", &resume.follow_up)
            .with("the metrics file", &resume.output.metrics_file)
    }

    pub(super) fn of_report(report: &'named ReportSettings) -> Self {
        Self::default().with("a report", &report.reports)
    }

    pub(super) fn of_sandbox(sandbox: &'named ServeSettings) -> Self {
        let seed = match &sandbox.seed {
            Seed::Input(input) => std::slice::from_ref(input),
            Seed::Generated(_) => &[],
        };
        Self::default()
            .with_inputs(seed)
            .with("the list of calls", &sandbox.log)
    }

    fn with(
        mut self,
        what: &'static str,
        paths: impl IntoIterator<Item = &'named PathBuf>,
    ) -> Self {
        let paths = paths.into_iter().filter(|path| path.as_os_str() != "-");
        self.0.extend(paths.map(|path| (what, path.as_path())));
        self
    }

    fn with_inputs(self, inputs: &'named [Input]) -> Self {
        let files = inputs.iter().filter_map(|input| match input {
            Input::File(path) => Some(path),
            Input::Stdin => None,
        });
        self.with("an input", files)
    }

    /// Refuses a log that is one of them.
    ///
    /// # Errors
    /// Returns what else the file is.
    pub(super) fn keep_apart_from_log(&self, log: &Path) -> Result<(), SettingsError> {
        let mut files = self.0.iter();
        match files.find(|(_, path)| is_one_place(path, log)) {
            None => Ok(()),
            Some(&(what, _)) => Err(SettingsError::LogElsewhere {
                path: log.to_owned(),
                what,
            }),
        }
    }
}
