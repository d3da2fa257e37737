//! What lists and selections share: what must be left alone, and how a command ends that cannot read.

use std::path::{Path, PathBuf};

use crate::cli::failure::{Failure, FailureKind};
use crate::engine::ReadsError;
use crate::input::{Input, read_keep_file};
use crate::model::ExclusionList;

use super::carry::usage;

/// How the journal's name of a selection begins; a file's name there is absolute.
const SELECTION: &str = "tenant: ";

/// Says how a command ends that cannot read what it was to find.
pub(super) fn unread(error: ReadsError) -> Failure {
    if let ReadsError::SignIn(source) = &error
        && let Some(hint) = source.hint()
    {
        return Failure::new(FailureKind::SignIn, error).hint(hint);
    }
    let (kind, hint) = match &error {
        ReadsError::Forbidden { .. } => (
            FailureKind::SignIn,
            "get a new token after that, for grants show only in new ones",
        ),
        ReadsError::SignIn(_) | ReadsError::TokenRefused { .. } => (
            FailureKind::SignIn,
            "put a fresh token into MDE_CANCEL_TOKEN or the file of --token-file",
        ),
        ReadsError::GaveUp { .. }
        | ReadsError::NoSuchHost { .. }
        | ReadsError::NoSuchAddress { .. } => (
            FailureKind::Reach,
            "check --api-url, the network and the proxy",
        ),
        ReadsError::Refused { .. } => (
            FailureKind::Usage,
            "look at the selection: the service does not take it",
        ),
        ReadsError::Store(_) => return Failure::new(FailureKind::State, error),
    };
    Failure::new(kind, error).hint(hint)
}

/// Names a selection from the tenant where inputs are named.
pub(super) fn input_name(filter: Option<&str>) -> String {
    format!("{SELECTION}{}", filter.unwrap_or("everything"))
}

/// Returns whether a run's rows came from the tenant, by the names of its inputs.
pub(super) fn is_selection(inputs: &[Input]) -> bool {
    let begins = |path: &Path| path.to_string_lossy().starts_with(SELECTION);
    matches!(inputs, [Input::File(path)] if begins(path))
}

/// Reads the files that name what must be left alone.
pub(super) fn read_keep(files: &[PathBuf]) -> Result<ExclusionList, Failure> {
    let mut keep = ExclusionList::default();
    for file in files {
        for word in read_keep_file(file).map_err(usage)? {
            keep.add(&word);
        }
    }
    Ok(keep)
}
