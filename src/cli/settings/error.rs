//! Why what was typed, or what the environment says, cannot be meant. No text here holds a secret.

use std::path::PathBuf;

use crate::cli::args::value::InvalidValue;
use crate::report::UnknownFormat;

use super::config_file::ConfigFault;
use super::outputs::NamedFile;

/// Why there are no settings.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SettingsError {
    /// An address that is none, or not one of the web.
    #[error("{origin} is not an address that starts with https://")]
    Address {
        /// The flag or the variable that holds it.
        origin: &'static str,
    },
    /// An address with parts that a service has no use for, or that would leak.
    #[error("{origin} must not hold a user name, a password, a query or a fragment")]
    AddressSurplus {
        /// The flag or the variable that holds it.
        origin: &'static str,
    },
    /// A span of time that ends before it begins.
    #[error("--since is later than --until, so no action is meant")]
    EmptySpan,
    /// A config file that says something it must not or cannot say.
    #[error("{}", .0)]
    Config(ConfigFault),
    /// A value in the config file that cannot be read.
    #[error("`{value}` in {place} cannot be used")]
    ConfigValue {
        /// The key and the file.
        place: String,
        /// What stands there.
        value: String,
        /// What is wrong with it.
        source: InvalidValue,
    },
    /// A variable whose value is not text.
    #[error("the environment variable {name} is not UTF-8")]
    EnvironmentText {
        /// The variable.
        name: &'static str,
    },
    /// A variable whose value cannot be read.
    #[error("`{value}` in the environment variable {name} cannot be used")]
    EnvironmentValue {
        /// The variable.
        name: &'static str,
        /// What stands in it.
        value: String,
        /// What is wrong with it.
        source: InvalidValue,
    },
    /// A filter for the tenant beside an input.
    #[error("--filter asks the tenant and cannot narrow an input")]
    FilterWithInput,
    /// A means of signing in without what it needs.
    #[error("signing in by {means} needs {what}")]
    Incomplete {
        /// The means.
        means: &'static str,
        /// What is missing, and how it is given.
        what: &'static str,
    },
    /// Nothing to sign in with.
    #[error("there is nothing to sign in with")]
    NoToken,
    /// Nothing to sign in with, where states were to be read.
    #[error("there is nothing to sign in with, and without that no states can be read")]
    NoTokenToPreview,
    /// A list of machines with an ending that promises something else.
    #[error("the follow-up list {} is a CSV file, so its name must end in .csv", .path.display())]
    FollowUpFormat {
        /// The path as given.
        path: PathBuf,
    },
    /// A list of machines where the report or the summary goes.
    #[error("the follow-up list cannot go to standard output; name a file with --follow-up")]
    FollowUpToStdout,
    /// Figures where the summary goes.
    #[error("--metrics-file needs the name of a file")]
    MetricsToStdout,
    /// An output that would overwrite what is read, kept, or written besides.
    #[error("{} {} is the same file as {} {}", .output.what, .output.path.display(), .other.what, .other.path.display())]
    SameFile {
        /// The output.
        output: NamedFile,
        /// What it would overwrite.
        other: NamedFile,
    },
    /// Neither an input nor a selection from the tenant.
    #[error("there is neither an INPUT nor a selection from the tenant")]
    NothingSelected,
    /// The platform names no folder for state.
    #[error("no state folder can be determined")]
    NoStateDir,
    /// Bytes that would let anybody on the way read the token.
    #[error("{origin}: plain http is accepted for loopback addresses only, not for {host}")]
    PlainHttp {
        /// The flag or the variable that holds it.
        origin: &'static str,
        /// The host.
        host: String,
    },
    /// No bound and a bound at once.
    #[error("{flag} is both `none` and a window")]
    QuotaAndNone {
        /// The flag.
        flag: &'static str,
    },
    /// A format in front of a command that has none, or one of its own.
    #[error("--format between `runs` and its command says nothing")]
    FormatBeforeCommand,
    /// A geography of a cloud that has none.
    #[error("region {region} exists in the commercial cloud only, not in {cloud}")]
    RegionElsewhere {
        /// The region.
        region: &'static str,
        /// The cloud.
        cloud: &'static str,
    },
    /// A report in a format that cannot be written.
    #[error(transparent)]
    ReportFormat(#[from] UnknownFormat),
    /// A sandbox knows the actions of the input, and no others.
    #[error("--sandbox needs an INPUT: the sandbox is made of its actions")]
    SandboxWithoutInput,
    /// A selection by what only the service's records tell, which are not to be read.
    #[error("what is selected by status or time must be read first, which --no-precheck forbids")]
    SelectionUnread,
    /// Standard input can be read only once.
    #[error("standard input (`-`) is named more than once")]
    StdinTwice,
    /// `--profile all` where there is none.
    #[error("the config file has no profile")]
    NoProfiles,
    /// Something is missing that a variable holds, which is not read with a profile.
    #[error("{error}")]
    WithProfile {
        /// What is missing.
        error: Box<SettingsError>,
        /// The variables.
        ignored: Vec<&'static str>,
    },
    /// Something that only one tenant can have.
    #[error("{what} cannot hold for several profiles")]
    OneOfSeveral {
        /// What was typed.
        what: &'static str,
    },
    /// Two profiles that lead to one tenant.
    #[error("profiles {one} and {other} lead to the same tenant {tenant}")]
    SameTenant {
        /// The first.
        one: String,
        /// The second.
        other: String,
        /// The tenant.
        tenant: String,
    },
    /// Several profiles where one is taken.
    #[error("{what} takes one --profile")]
    SeveralProfiles {
        /// The command.
        what: &'static str,
    },
    /// A path of a file for a secret that is none.
    #[error("{origin} cannot be used")]
    SecretFile {
        /// The flag or the variable that holds it.
        origin: &'static str,
        /// What is wrong with it; it does not repeat the text.
        source: InvalidValue,
    },
    /// A selection of any size that nobody looked at.
    #[error("with --yes, a selection from the tenant needs a bound")]
    UnboundedSelection,
    /// A selection from whatever tenant the token is for.
    #[error("with --yes, a selection from the tenant needs the tenant's name")]
    UnnamedTenant,
    /// No telling which token is meant.
    #[error("both MDE_CANCEL_TOKEN and MDE_CANCEL_TOKEN_FILE are set")]
    TwoTokens,
}

impl SettingsError {
    /// Returns what helps, one imperative a line.
    pub fn hints(&self) -> Vec<String> {
        let hints: &[&str] = match self {
            Self::NoToken => &[
                "for an app: --tenant-id, --client-id and AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH",
                "for a token that you have: MDE_CANCEL_TOKEN or --token-file; else choose a --credential",
                "to try it without a tenant, use --sandbox",
            ],
            Self::NoTokenToPreview => &[
                "give what a run would take: an app with a secret or certificate, a token, or a --credential",
                "to look at the input alone, add --no-precheck",
            ],
            Self::FilterWithInput => &[
                "narrow the input with --type, --status, --requestor, --machine-id, --since or --until",
                "to select from the tenant, leave the INPUT out",
            ],
            Self::NothingSelected => &[
                "name files, or `-` for standard input",
                "to select from the tenant, say which actions with --type or --filter",
            ],
            Self::SelectionUnread => &["leave out --no-precheck, or the selection"],
            Self::UnboundedSelection => {
                &["say with --max-actions how many may be cancelled at most"]
            }
            Self::UnnamedTenant => &["name the tenant with --tenant-id, or with a --profile"],
            Self::Config(fault) => return fault.hint().into_iter().collect(),
            Self::WithProfile { ignored, .. } => {
                return vec![format!(
                    "with --profile, {} not read: write what it takes into the profile",
                    match ignored.as_slice() {
                        [one] => format!("{one} is"),
                        several => format!("{} are", several.join(", ")),
                    }
                )];
            }
            Self::NoProfiles => &["write a table [profile.NAME] for each tenant"],
            Self::SameFile { .. } => &["name another file"],
            Self::NoStateDir => &["name a folder with --state-dir or MDE_CANCEL_STATE_DIR"],
            Self::OneOfSeveral { .. } => &["write it into each profile of the config file"],
            Self::SameTenant { .. } => &["name one of them"],
            Self::SeveralProfiles { .. } => &["give the command once for each of them"],
            Self::FormatBeforeCommand => &["leave it out, or write it behind `runs show`"],
            Self::QuotaAndNone { .. } => &["leave out `none`, or the windows"],
            Self::RegionElsewhere { .. } => &[
                "leave out --region (MDE_CANCEL_REGION), or name another --cloud (MDE_CANCEL_CLOUD)",
            ],
            Self::TwoTokens => &["unset one of them, or name the file with --token-file"],
            Self::Address { .. }
            | Self::AddressSurplus { .. }
            | Self::EmptySpan
            | Self::ConfigValue { .. }
            | Self::Incomplete { .. }
            | Self::EnvironmentText { .. }
            | Self::EnvironmentValue { .. }
            | Self::PlainHttp { .. }
            | Self::ReportFormat(_)
            | Self::FollowUpFormat { .. }
            | Self::FollowUpToStdout
            | Self::MetricsToStdout
            | Self::SandboxWithoutInput
            | Self::StdinTwice
            | Self::SecretFile { .. } => &[],
        };
        hints.iter().map(|&hint| hint.to_owned()).collect()
    }
}
