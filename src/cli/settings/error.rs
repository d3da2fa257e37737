//! Why what was typed, or what the layers below say, cannot be meant. No text here holds a secret.

use std::path::PathBuf;
use std::sync::Arc;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::report::UnknownFormat;

use super::{ConfigFault, NamedFile, Origin};

#[derive(Clone, Debug, thiserror::Error)]
pub enum SettingsError {
    /// What clap says of the command line, help and version included.
    #[error(transparent)]
    Typing(Arc<clap::Error>),
    #[error(transparent)]
    Config(#[from] ConfigFault),
    #[error("`{value}` in {origin} cannot be used: {wanted}")]
    Value {
        value: String,
        origin: Origin,
        wanted: String,
    },
    #[error("{origin} is not UTF-8")]
    NotText { origin: Origin },
    #[error("{origin} is not an address that starts with https://")]
    Address { origin: String },
    #[error("{origin} must not have a user name, a password, a query or a fragment")]
    AddressSurplus { origin: String },
    #[error("{origin}: plain http is accepted for loopback addresses only, not for {host}")]
    PlainHttp { origin: String, host: String },
    #[error("region {region} exists in the commercial cloud only, not in {cloud}")]
    RegionElsewhere { region: String, cloud: String },
    #[error("{origin} is empty")]
    EmptyPath { origin: String },
    #[error("{origin} must name a file, but holds the secret itself")]
    SecretItself { origin: String },
    #[error("signing in by {method} needs {what}")]
    Incomplete { method: String, what: &'static str },
    #[error("there is nothing to sign in with")]
    NoToken,
    #[error("there is nothing to sign in with, so the actions' status can't be read")]
    NoTokenToPreview,
    /// Something is missing that a variable holds, which is not read with a profile.
    #[error("{error}")]
    WithProfile {
        error: Box<SettingsError>,
        ignored: Vec<String>,
    },
    #[error("both MDE_CANCEL_TOKEN and MDE_CANCEL_TOKEN_FILE are set")]
    TwoTokens,
    #[error("the config file has no profile")]
    NoProfiles,
    #[error("the config file has no profile {0}")]
    NoProfile(String),
    #[error("--tenant-id can't be used with several profiles")]
    OneOfSeveral,
    #[error("{what} takes one --profile")]
    SeveralProfiles { what: &'static str },
    #[error("profiles {one} and {other} lead to the same tenant {tenant}")]
    SameTenant {
        one: String,
        other: String,
        tenant: String,
    },
    #[error("--since is later than --until, so no action can match")]
    EmptySpan,
    #[error("--filter selects from the tenant and can't narrow an input")]
    FilterWithInput,
    #[error("there is neither an INPUT nor a selection from the tenant")]
    NothingSelected,
    #[error("a selection from the tenant needs --type or --filter")]
    NoTypeSelected,
    #[error("--sandbox needs an INPUT: the sandbox is made of its actions")]
    SandboxWithoutInput,
    #[error(
        "a selection by status or time needs the actions' records, which --no-precheck doesn't read"
    )]
    SelectionUnread,
    #[error("with --yes, a selection from the tenant needs --max-actions or --plan")]
    UnboundedSelection,
    #[error("with --yes, a selection from the tenant needs a tenant")]
    UnnamedTenant,
    #[error("standard input (`-`) is named more than once")]
    StdinTwice,
    #[error("no state folder can be determined")]
    NoStateDir,
    #[error(transparent)]
    ReportFormat(#[from] UnknownFormat),
    #[error("the follow-up list {} is a CSV file, so its name must end in .csv", .path.display())]
    FollowUpFormat { path: PathBuf },
    #[error("the follow-up list can't go to standard output; name a file with --follow-up")]
    FollowUpToStdout,
    #[error("--metrics-file needs the name of a file")]
    MetricsToStdout,
    #[error("{} {} is the same file as {} {}", .output.what, .output.path.display(), .other.what, .other.path.display())]
    SameFile { output: NamedFile, other: NamedFile },
}

impl From<clap::Error> for SettingsError {
    fn from(mut error: clap::Error) -> Self {
        let sandbox = ContextValue::String("--sandbox".to_owned());
        if error.kind() == ErrorKind::UnknownArgument
            && error.get(ContextKind::InvalidArg) == Some(&sandbox)
        {
            let tip = "`mde-cancel run --dry-run --sandbox` prints a plan, `run --sandbox` runs it";
            // In place of the advice to pass it as a value.
            error.insert(
                ContextKind::Suggested,
                ContextValue::StyledStrs(vec![tip.into()]),
            );
        }
        Self::Typing(Arc::new(error))
    }
}

impl SettingsError {
    /// Returns what helps, each an imperative.
    pub fn hints(&self) -> Vec<String> {
        let hints: &[&str] = match self {
            Self::NoToken => &[
                "as an app, use --tenant-id and --client-id with AZURE_CLIENT_SECRET or --client-secret-file",
                "with a token of your own, set MDE_CANCEL_TOKEN or use --token-file",
                "as yourself, use --credential azure-cli or device-code",
                "to try it without a tenant, use --sandbox",
            ],
            Self::NoTokenToPreview => &[
                "sign in as for `run`: with an app, a token, or --credential azure-cli",
                "to look at the input alone, add --no-precheck",
            ],
            Self::FilterWithInput => &[
                "narrow the input with --type, --status, --requestor, --machine-id, --since or --until",
                "to select from the tenant, leave out the INPUT",
            ],
            Self::NothingSelected => &[
                "name files, or `-` for standard input",
                "to select from the tenant, use --type or --filter",
            ],
            Self::NoTypeSelected => &[
                "say what to cancel, such as --type Isolate; `mde-cancel list --summary` shows what there is",
                "to narrow an input, name files, or `-` for standard input",
            ],
            Self::SelectionUnread => &["leave out --no-precheck, or the selection"],
            Self::UnboundedSelection => &[
                "set the most that may be cancelled with --max-actions, or name an approved plan with --plan",
            ],
            Self::UnnamedTenant => &["name the tenant with --tenant-id, or with a --profile"],
            Self::Config(fault) => return fault.hint.iter().cloned().collect(),
            Self::WithProfile { ignored, .. } => {
                let names = ignored.join(", ");
                let are = if ignored.len() == 1 { "is" } else { "are" };
                return vec![format!(
                    "with --profile, {names} {are} not read: write what is needed into the profile"
                )];
            }
            Self::SecretItself { .. } => &[
                "write the secret to a file that only you can read, and name that; or set MDE_CANCEL_TOKEN or \
                 AZURE_CLIENT_SECRET",
            ],
            Self::NoProfiles => &["add a table [profile.NAME] for each tenant"],
            Self::SameFile { .. } => &["name another file"],
            Self::NoStateDir => &["name a folder with --state-dir or MDE_CANCEL_STATE_DIR"],
            Self::OneOfSeveral => &["set tenant-id in each profile of the config file"],
            Self::SameTenant { .. } => &["name one of them"],
            Self::SeveralProfiles { .. } => &["run the command once for each of them"],
            Self::RegionElsewhere { .. } => &[
                "leave out --region (MDE_CANCEL_REGION), or name another --cloud (MDE_CANCEL_CLOUD)",
            ],
            Self::TwoTokens => &["unset one of them, or use --token-file"],
            _ => &[],
        };
        hints.iter().map(|&hint| hint.to_owned()).collect()
    }
}
