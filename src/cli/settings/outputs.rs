//! Output files, and the files that they must not overwrite.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use crate::cli::args::OutputPaths;
use crate::cli::failure::Failure;
use crate::input::Input;
use crate::model::RunId;
use crate::platform::is_same_file;
use crate::report::ReportFormat;
use crate::store::state_file;

use super::{ConnectionSettings, SecretSource, SignIn};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// For example `the input`.
    pub what: &'static str,
    pub path: PathBuf,
}

impl NamedFile {
    pub fn new(what: &'static str, path: impl Into<PathBuf>) -> Self {
        Self {
            what,
            path: path.into(),
        }
    }
}

impl fmt::Display for NamedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.path.display())
    }
}

impl OutputPaths {
    /// Refuses names that don't fit the format.
    pub(super) fn check_names(&self) -> Result<(), Failure> {
        for path in &self.reports {
            ReportFormat::from_path(path).map_err(Failure::refused)?;
        }
        let refuse = |text: String| Err(Failure::refused(anyhow!(text)));
        let is_csv = |path: &Path| {
            let ending = path.extension();
            ending.is_some_and(|ending| ending.eq_ignore_ascii_case("csv"))
        };
        match (&self.follow_up, &self.metrics_file) {
            (Some(path), _) if path.as_os_str() == "-" => refuse(
                "the follow-up list can't go to standard output; name a file with --follow-up"
                    .to_owned(),
            ),
            (Some(path), _) if !is_csv(path) => refuse(format!(
                "the follow-up list {} is a CSV file, so its name must end in .csv",
                path.display()
            )),
            (_, Some(path)) if path.as_os_str() == "-" => {
                refuse("--metrics-file needs the name of a file".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Fills in missing paths from `stored`.
    #[must_use]
    pub fn or(self, stored: Self) -> Self {
        Self {
            reports: if self.reports.is_empty() {
                stored.reports
            } else {
                self.reports
            },
            follow_up: self.follow_up.or(stored.follow_up),
            metrics_file: self.metrics_file.or(stored.metrics_file),
        }
    }

    /// Returns the paths for the journal: absolute, and without those that aren't UTF-8.
    #[must_use]
    pub fn to_store(&self) -> Self {
        let whole = |path: &PathBuf| {
            let whole = match std::path::absolute(path) {
                Ok(whole) if path.as_os_str() != "-" => whole,
                _ => path.clone(),
            };
            whole.to_str().is_some().then_some(whole)
        };
        Self {
            reports: self.reports.iter().filter_map(whole).collect(),
            follow_up: self.follow_up.as_ref().and_then(whole),
            metrics_file: self.metrics_file.as_ref().and_then(whole),
        }
    }

    fn files(&self) -> impl Iterator<Item = NamedFile> {
        let reports = self.reports.iter();
        let reports = reports.map(|path| NamedFile::new("the report", path));
        let follow_up = self.follow_up.iter();
        let follow_up = follow_up.map(|path| NamedFile::new("the follow-up list", path));
        let metrics = self.metrics_file.iter();
        let metrics = metrics.map(|path| NamedFile::new("the metrics file", path));
        reports.chain(follow_up).chain(metrics)
    }

    /// Refuses outputs that would overwrite a file of `kept`, or each other.
    pub fn check(&self, kept: &[NamedFile]) -> Result<(), Failure> {
        let mut taken: Vec<_> = kept.to_vec();
        for output in self.files() {
            ensure_apart(&output, &taken)?;
            taken.push(output);
        }
        Ok(())
    }
}

/// Standard output, too, can be used only once.
pub(super) fn ensure_apart(output: &NamedFile, others: &[NamedFile]) -> Result<(), Failure> {
    let mut others = others.iter();
    let Some(other) = others.find(|other| is_same_file(&other.path, &output.path)) else {
        return Ok(());
    };
    let error = anyhow!("{output} is the same file as {other}");
    Err(Failure::refused(error).hint("name another file"))
}

/// Returns the default: a CSV report in the current folder. The name shows that a sandbox run isn't real.
pub fn default_outputs(run: RunId, is_sandbox: bool) -> OutputPaths {
    let mark = if is_sandbox { "SANDBOX-" } else { "" };
    let name = format!("mde-cancel-{mark}{run}.csv");
    OutputPaths {
        reports: vec![Path::new(".").join(name)],
        ..OutputPaths::default()
    }
}

pub fn input_files(inputs: &[Input]) -> Vec<NamedFile> {
    let files = inputs.iter().filter_map(|input| match input {
        Input::File(path) => Some(NamedFile::new("the input", path)),
        Input::Stdin => None,
    });
    files.collect()
}

/// Returns the files with a connection's secret and certificates.
pub(super) fn secret_files(connection: &ConnectionSettings) -> impl Iterator<Item = NamedFile> {
    let secret = match &connection.sign_in {
        SignIn::Token(SecretSource::File(path)) => Some(("the token file", path)),
        SignIn::ClientSecret(SecretSource::File(path)) => Some(("the secret file", path)),
        SignIn::Certificate(path) => Some(("the certificate file", path)),
        SignIn::WorkloadIdentity(path) => Some(("the federated token file", path)),
        SignIn::Token(SecretSource::Environment(..))
        | SignIn::ClientSecret(SecretSource::Environment(..))
        | SignIn::ManagedIdentity
        | SignIn::AzureCli
        | SignIn::DeviceCode => None,
    };
    let ca_file = connection.ca_file.as_ref();
    let ca_file = ca_file.map(|path| ("the CA file", path));
    let files = secret.into_iter().chain(ca_file);
    files.map(|(what, path)| NamedFile::new(what, path))
}

/// Returns the journal's files in a state folder and in the sandbox's folder inside it.
pub(super) fn state_files(state_dir: &Path) -> Vec<NamedFile> {
    let mut files = Vec::new();
    for folder in [state_dir.to_owned(), state_dir.join("sandbox")] {
        let state = state_file(&folder);
        for side in ["", "-wal", "-shm"] {
            let mut path = state.clone().into_os_string();
            path.push(side);
            files.push(NamedFile::new("the journal", path));
        }
    }
    files
}
