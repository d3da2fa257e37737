//! What is to be done: the command line with the layers below it.
//!
//! A flag beats its variable, which beats the profile, which beats the top of the config file, which beats the default.
//! The lower layers become clap's defaults for the flags of the command that was typed, so that one parser reads a value
//! wherever it comes from. An empty variable counts as none. With a profile, no variable says who signs in, and where.

mod config_file;
mod connection;
mod error;
mod outputs;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Args as _, CommandFactory as _, FromArgMatches as _, Id};

use crate::input::Input;
use crate::platform;
use crate::quota::Windows;

use super::args::{
    Cli, Command, CommonArgs, CompletionsArgs, ConfigCommand, ConnectionArgs, DoctorArgs, ListArgs,
    ManArgs, PlanArgs, PlanFormat, QuotaCommand, ReleaseArgs, RemoveArgs, ReportArgs, ResumeArgs,
    RunArgs, RunsCommand, SandboxArgs, ScopeFilterArgs, SelectionArgs, TableFormat, all_windows,
    is_typed, leaf, variable_of,
};
use super::hint::ForwardedFlags;
use super::logging::directives;
use super::progress::ProgressMode;
use super::values::{When, is_secret_itself};

pub use config_file::{ConfigFault, ConfigFile};
pub use connection::{ConnectionSettings, CredentialChoice, SecretSource, SignIn};
pub use error::SettingsError;
pub use outputs::{NamedFile, OutputPaths, default_outputs, input_files};

use config_file::CONFIG_FILE;
use outputs::{ensure_apart, secret_files, state_files};

/// Means every profile of the config file.
const ALL_PROFILES: &str = "all";

/// Variables that hold a secret. No flag does.
const SECRET_VARIABLES: [&str; 2] = ["AZURE_CLIENT_SECRET", "MDE_CANCEL_TOKEN"];

/// Names the variables that say who signs in, and where.
fn identity_variables() -> BTreeSet<String> {
    let flags = ConnectionArgs::augment_args(clap::Command::new(""));
    let mut variables: BTreeSet<_> = flags
        .get_arguments()
        // Which authorities this machine's network needs is no matter of the tenant.
        .filter(|flag| flag.get_id() != "ca_file")
        .filter_map(variable_of)
        .collect();
    variables.extend(SECRET_VARIABLES.map(str::to_owned));
    variables
}

/// Which layer says what a flag means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag(String),
    Variable(String),
    /// A place in the config file, in words, and whether it is in a profile.
    Config(String, bool),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Variable(text) | Self::Config(text, _) => f.write_str(text),
            Self::Default => f.write_str("default"),
        }
    }
}

/// What settings are read from besides the command line.
pub struct Sources<'process> {
    pub environment: &'process dyn Fn(&str) -> Option<OsString>,
    pub default_state_dir: Option<PathBuf>,
    /// Where the config file is if none is named; it need not exist.
    pub default_config: Option<PathBuf>,
}

impl Sources<'static> {
    pub fn of_process() -> Self {
        Self {
            environment: &|name| std::env::var_os(name),
            default_state_dir: platform::default_state_dir(),
            default_config: platform::default_config_dir().map(|dir| dir.join(CONFIG_FILE)),
        }
    }
}

impl Sources<'_> {
    /// Returns a variable's value; an empty one counts as none.
    fn variable(&self, name: &str) -> Option<OsString> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }
}

/// The layers below the command line.
#[derive(Clone, Copy)]
struct Layers<'a> {
    sources: &'a Sources<'a>,
    config: Option<&'a ConfigFile>,
    profile: Option<&'a str>,
    /// [`identity_variables`]
    identity: &'a BTreeSet<String>,
}

impl Layers<'_> {
    /// Returns a variable's value, unless it says who signs in and a profile does that.
    fn variable(&self, name: &str) -> Option<OsString> {
        let is_ignored = self.profile.is_some() && self.identity.contains(name);
        self.sources.variable(name).filter(|_| !is_ignored)
    }

    fn config(&self, key: &str) -> Option<(OsString, Origin)> {
        self.config?.get(key, self.profile)
    }

    fn lookup(&self, flag: &Arg) -> Option<(OsString, Origin)> {
        let variable = variable_of(flag)?;
        match self.variable(&variable) {
            Some(value) => Some((value, Origin::Variable(variable))),
            None => self.config(flag.get_long()?),
        }
    }
}

/// A command line, read with the layers below it.
struct Parsed {
    cli: Cli,
    matches: ArgMatches,
    origins: BTreeMap<String, Origin>,
}

impl Parsed {
    fn new(
        words: &[OsString],
        typed: &ArgMatches,
        layers: Layers<'_>,
    ) -> Result<Self, SettingsError> {
        let (matches, origins) = parse(Cli::command(), words, typed, layers)?;
        Ok(Self {
            cli: Cli::from_arg_matches(&matches)?,
            matches,
            origins,
        })
    }

    fn connection(&self, layers: Layers<'_>) -> Result<ConnectionSettings, SettingsError> {
        let typed = ConnectionArgs::from_arg_matches(leaf(&self.matches).1);
        let typed = typed.map_err(|_| SettingsError::NoToken)?;
        ConnectionSettings::resolve(&typed, &self.origins, layers)
    }
}

/// Parses a command line with the lower layers as defaults. `typed` is the same line without them.
fn parse(
    root: clap::Command,
    words: &[OsString],
    typed: &ArgMatches,
    layers: Layers<'_>,
) -> Result<(ArgMatches, BTreeMap<String, Origin>), SettingsError> {
    let (path, typed) = leaf(typed);
    let command = path.iter().fold(&root, |command, name| {
        command.find_subcommand(name).unwrap_or(command)
    });
    let was_typed = |flag: &&Arg| is_typed(typed, flag.get_id().as_str());
    let typed_flags: Vec<&Arg> = command.get_arguments().filter(was_typed).collect();
    let conflict = |one: &Arg, other: &Arg| {
        let others = command.get_arg_conflicts_with(one);
        others.iter().any(|flag| flag.get_id() == other.get_id())
    };
    // What is typed silences what it conflicts with. An address of which any part is typed is not mixed with other parts.
    let mut silenced: BTreeSet<&Id> = BTreeSet::new();
    for flag in command.get_arguments() {
        let id = flag.get_id();
        let is_silenced = typed_flags.iter().any(|typed| {
            conflict(typed, flag)
                || conflict(flag, typed)
                || ["region", "api_url"].contains(&id.as_str())
                    && ["cloud", "region", "api_url"].contains(&typed.get_id().as_str())
        });
        silenced.extend(is_silenced.then_some(id));
    }
    let mut origins = BTreeMap::new();
    let mut defaults = BTreeMap::new();
    for flag in root.get_arguments().chain(command.get_arguments()) {
        let id = flag.get_id();
        if was_typed(&flag) {
            let name = flag.get_long().unwrap_or_default().to_owned();
            origins.insert(id.to_string(), Origin::Flag(name));
            continue;
        }
        if silenced.contains(id) {
            continue;
        }
        if let Some((value, origin)) = layers.lookup(flag) {
            check_value(flag, &value, &origin)?;
            defaults.insert(id.clone(), value);
            origins.insert(id.to_string(), origin);
        }
    }
    let path: Vec<_> = path.into_iter().map(str::to_owned).collect();
    let command = with_defaults(root, &path, &defaults);
    Ok((command.try_get_matches_from(words)?, origins))
}

fn with_defaults(
    command: clap::Command,
    path: &[String],
    defaults: &BTreeMap<Id, OsString>,
) -> clap::Command {
    let command = command.mut_args(|flag| match defaults.get(flag.get_id()) {
        Some(value) => flag.default_values([value.clone()]),
        None => flag,
    });
    match path.split_first() {
        Some((name, rest)) => {
            command.mut_subcommand(name, |inner| with_defaults(inner, rest, defaults))
        }
        None => command,
    }
}

/// Reads a value of a lower layer as clap will.
fn check_value(flag: &Arg, value: &OsStr, origin: &Origin) -> Result<(), SettingsError> {
    let mut reader = Arg::new("value")
        .long("value")
        .value_parser(flag.get_value_parser().clone())
        .ignore_case(flag.is_ignore_case_set())
        .action(clap::ArgAction::Append);
    if let Some(delimiter) = flag.get_value_delimiter() {
        reader = reader.value_delimiter(delimiter);
    }
    let mut word = OsString::from("--value=");
    word.push(value);
    let read = clap::Command::new("")
        .no_binary_name(true)
        .arg(reader)
        .try_get_matches_from([word]);
    let Err(error) = read else {
        return Ok(());
    };
    if error.kind() == ErrorKind::InvalidUtf8 {
        return Err(SettingsError::NotText {
            origin: origin.clone(),
        });
    }
    let wanted = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::Strings(words))) => format!("expected {}", words.join(", ")),
        (None, _) => "it has no value".to_owned(),
    };
    Err(SettingsError::Value {
        value: value.to_string_lossy().into_owned(),
        origin: origin.clone(),
        wanted,
    })
}

/// All that one call of the program is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    pub common: CommonArgs,
    pub command: CommandSettings,
    /// What is wrong with a config file that nobody named, where the command works without it.
    pub left_out: Option<ConfigFault>,
    /// Variables that are set and were not read, because a profile says who signs in and where.
    pub ignored: Vec<String>,
}

#[derive(Clone, Debug)]
pub enum CommandSettings {
    Run(Box<RunSettings>),
    /// `preview`, or `run --dry-run`
    Preview(Box<PreviewSettings>),
    List(Box<ListSettings>),
    Release(Box<ReleaseSettings>),
    Resume(Box<ResumeSettings>),
    /// All runs, or the one that is named.
    Runs(Option<String>, TableFormat, PathBuf),
    RemoveRuns(RemoveArgs, PathBuf),
    Report(Option<String>, OutputPaths, PathBuf),
    Quota(QuotaSettings),
    Doctor(Box<DoctorSettings>),
    ConfigShow(Vec<ShownSetting>),
    Sandbox(Box<SandboxArgs>),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

#[derive(Clone, Debug)]
pub struct RunSettings {
    pub args: RunArgs,
    /// In this order, and standard input at most once; none for a selection from the tenant.
    pub inputs: Vec<Input>,
    /// [`default_outputs`] are not among them.
    pub outputs: OutputPaths,
    pub target: Target,
    /// A sandbox has a folder of its own in the one that is named.
    pub state_dir: PathBuf,
}

impl RunSettings {
    /// Returns whether somebody is asked before anything is sent.
    pub fn asks(&self) -> bool {
        !self.args.yes && !self.args.sandbox
    }
}

#[derive(Clone, Debug)]
pub enum Target {
    Service(Box<ConnectionSettings>),
    /// Several tenants, each from a profile.
    Tenants(Vec<ConnectionSettings>),
    Sandbox,
}

impl Target {
    pub fn connections(&self) -> &[ConnectionSettings] {
        match self {
            Self::Service(connection) => std::slice::from_ref(connection),
            Self::Tenants(connections) => connections,
            Self::Sandbox => &[],
        }
    }

    /// Returns by what quota periods and waits are divided.
    pub fn time_scale(&self) -> u32 {
        match self {
            Self::Sandbox => SANDBOX_SCALE,
            Self::Service(_) | Self::Tenants(_) => 1,
        }
    }
}

/// By how much the sandbox's periods and waits are shorter: the hour window then rolls in six minutes, which is short
/// enough to watch, and the minute window in six seconds, which is long enough to see.
pub const SANDBOX_SCALE: u32 = 10;

/// How long one call may take where no flag says it.
pub const CALL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct PreviewSettings {
    pub plan: PlanArgs,
    pub inputs: Vec<Input>,
    pub format: PlanFormat,
    /// A plan of more cancels is refused once it was printed.
    pub max_actions: Option<u64>,
    pub is_sandbox: bool,
    /// Where calls would go; none is needed where no states are read.
    pub connection: Option<ConnectionSettings>,
    /// None only where no states are read.
    pub state_dir: Option<PathBuf>,
}

impl PreviewSettings {
    /// Returns by what quota periods and waits are divided.
    pub fn time_scale(&self) -> u32 {
        if self.is_sandbox { SANDBOX_SCALE } else { 1 }
    }
}

#[derive(Clone, Debug)]
pub struct ListSettings {
    pub args: ListArgs,
    pub connection: ConnectionSettings,
    pub state_dir: PathBuf,
}

#[derive(Clone, Debug)]
pub struct ResumeSettings {
    pub args: ResumeArgs,
    /// As typed; what isn't is as the run was begun.
    pub outputs: OutputPaths,
    /// Where it is sent, or why that cannot be told; a sandbox run needs none.
    pub connection: Result<ConnectionSettings, SettingsError>,
    /// The profiles of the config file, for a run of several tenants.
    pub profiles: Vec<ProfileConnection>,
    pub state_dir: PathBuf,
    pub protected: Vec<NamedFile>,
}

#[derive(Clone, Debug)]
pub struct ReleaseSettings {
    pub args: ReleaseArgs,
    /// [`default_outputs`] are not among them.
    pub outputs: OutputPaths,
    /// Where it is sent, or why that cannot be told; a sandbox run needs none.
    pub connection: Result<ConnectionSettings, SettingsError>,
    /// The profiles of the config file, for a run of several tenants.
    pub profiles: Vec<ProfileConnection>,
    pub state_dir: PathBuf,
    pub protected: Vec<NamedFile>,
}

impl ReleaseSettings {
    /// Returns those of continuing with a plan that was made before.
    pub fn into_resume(self) -> ResumeSettings {
        let send = self.args.send;
        ResumeSettings {
            args: ResumeArgs {
                run: Some(self.args.run),
                yes: self.args.yes,
                dry_run: false,
                no_precheck: false,
                stop_after: send.stop_after,
                reports: send.output.reports,
                follow_up: send.output.follow_up,
                metrics_file: send.output.metrics_file,
                connection: self.args.connection,
            },
            outputs: self.outputs,
            connection: self.connection,
            profiles: self.profiles,
            state_dir: self.state_dir,
            protected: self.protected,
        }
    }
}

/// Where a profile of the config file leads, or why that cannot be told.
#[derive(Clone, Debug)]
pub struct ProfileConnection {
    pub profile: String,
    pub connection: Result<ConnectionSettings, SettingsError>,
}

#[derive(Clone, Debug)]
pub struct QuotaSettings {
    pub format: TableFormat,
    /// What is allowed; where nothing says it, what the newest run of a scope was allowed.
    pub cancel: Option<Windows>,
    pub read: Option<Windows>,
    /// Whether what the service's 429s taught is forgotten.
    pub reset: bool,
    pub scope: ScopeFilterArgs,
    pub state_dir: PathBuf,
}

#[derive(Clone, Debug)]
pub struct DoctorSettings {
    pub args: DoctorArgs,
    pub connection: Result<ConnectionSettings, SettingsError>,
    pub state_dir: Result<PathBuf, SettingsError>,
    /// The config file that was read, and its profile.
    pub config: Option<(PathBuf, Option<String>)>,
}

/// One setting as `config show` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownSetting {
    /// The flag's name, or a variable that holds a secret.
    pub key: String,
    pub value: String,
    pub origin: String,
}

impl CommonArgs {
    /// Returns what is logged, as the log's filter has it.
    pub fn log_directives(&self) -> String {
        let typed = self.log_filter.clone();
        typed.unwrap_or_else(|| directives(self.verbose, self.quiet).to_owned())
    }

    pub fn progress_mode(&self) -> ProgressMode {
        match self.progress {
            ProgressMode::Auto if self.quiet => ProgressMode::Never,
            mode => mode,
        }
    }
}

/// Everything that a command's settings are made from.
struct Resolver<'a> {
    typed: &'a ArgMatches,
    layers: Layers<'a>,
    profiles: &'a [String],
    is_profile_typed: bool,
    parsed: &'a Parsed,
}

impl Settings {
    /// Resolves a command line, the first word of which is the program's name.
    pub fn resolve(
        words: impl IntoIterator<Item = OsString>,
        sources: &Sources<'_>,
    ) -> Result<Self, SettingsError> {
        let words: Vec<_> = words.into_iter().collect();
        let typed = Cli::command().try_get_matches_from(&words)?;
        let identity = identity_variables();
        let none = Layers {
            sources,
            config: None,
            profile: None,
            identity: &identity,
        };
        // Without the config file: only what every command has is looked at.
        let bare = parse_globals(&typed, none)?;
        let is_profile_typed = is_typed(leaf(&typed).1, "profiles");
        let mut profiles = bare.profiles.clone();
        let mut seen = BTreeSet::new();
        profiles.retain(|name| seen.insert(name.clone()));
        let command = Cli::from_arg_matches(&typed)?.command;
        let ignored: Vec<String> = if profiles.is_empty() || !signs_in(&command) {
            Vec::new()
        } else {
            let is_set = |name: &&String| sources.variable(name).is_some();
            identity.iter().filter(is_set).cloned().collect()
        };
        let (config, left_out) = load_config(&command, &bare, &profiles, sources)?;
        if profiles.iter().any(|name| name == ALL_PROFILES) {
            profiles = config
                .as_ref()
                .map(ConfigFile::profiles)
                .unwrap_or_default();
            if profiles.is_empty() {
                return Err(SettingsError::NoProfiles);
            }
        }
        if let Some(config) = &config {
            profiles
                .iter()
                .try_for_each(|name| config.check_profile(name))?;
        }
        if profiles.len() > 1
            && let Some(what) = takes_one_profile(&command)
        {
            return Err(SettingsError::SeveralProfiles { what });
        }
        let layers = Layers {
            sources,
            config: config.as_ref(),
            profile: profiles
                .first()
                .map(String::as_str)
                .filter(|_| profiles.len() == 1),
            identity: &identity,
        };
        let resolve = || {
            let parsed = Parsed::new(&words, &typed, layers)?;
            let resolver = Resolver {
                typed: &typed,
                layers,
                profiles: &profiles,
                is_profile_typed,
                parsed: &parsed,
            };
            Ok((parsed.cli.common.clone(), resolver.command()?))
        };
        match resolve() {
            Err(error @ (SettingsError::NoToken | SettingsError::Incomplete { .. }))
                if !ignored.is_empty() =>
            {
                Err(SettingsError::WithProfile {
                    error: Box::new(error),
                    ignored,
                })
            }
            resolved => {
                let (common, command) = resolved?;
                Ok(Self {
                    common,
                    command,
                    left_out,
                    ignored,
                })
            }
        }
    }
}

/// Reads the flags that every command has, with their variables.
fn parse_globals(typed: &ArgMatches, layers: Layers<'_>) -> Result<CommonArgs, SettingsError> {
    let mut common = CommonArgs::from_arg_matches(leaf(typed).1)?;
    let value = |variable| layers.variable(variable);
    common.config = common
        .config
        .or_else(|| value("MDE_CANCEL_CONFIG").map(PathBuf::from));
    if common.profiles.is_empty()
        && let Some(names) = value("MDE_CANCEL_PROFILE")
    {
        let names = names.into_string().map_err(|_| SettingsError::NotText {
            origin: Origin::Variable("MDE_CANCEL_PROFILE".to_owned()),
        })?;
        common.profiles = names.split(',').map(str::to_owned).collect();
    }
    Ok(common)
}

/// Reads the config file that was named, or the user's where there is one. Returns what is wrong with one that nobody
/// named, where the command works without it.
fn load_config(
    command: &Command,
    common: &CommonArgs,
    profiles: &[String],
    sources: &Sources<'_>,
) -> Result<(Option<ConfigFile>, Option<ConfigFault>), SettingsError> {
    if matches!(command, Command::Completions(_) | Command::Man(_)) {
        return Ok((None, None));
    }
    let default = sources.default_config.clone().filter(|path| path.exists());
    let Some(path) = common.config.clone().or(default) else {
        return match profiles.first() {
            Some(profile) => {
                let path = sources.default_config.as_deref();
                Err(ConfigFault::no_profile(path, profile, &[]).into())
            }
            None => Ok((None, None)),
        };
    };
    let only_looks_back = match command {
        Command::Runs(runs) => !matches!(runs.command, Some(RunsCommand::Rm(_))),
        Command::Report(_) => true,
        _ => false,
    };
    match ConfigFile::load(&path) {
        Ok(config) => Ok((Some(config), None)),
        Err(fault) if only_looks_back && common.config.is_none() && profiles.is_empty() => {
            Ok((None, Some(fault)))
        }
        Err(fault) => Err(fault.into()),
    }
}

/// Returns whether a command signs in, or shows how it would.
fn signs_in(command: &Command) -> bool {
    match command {
        Command::Run(run) => !run.sandbox,
        Command::Release(release) => !release.sandbox,
        Command::Preview(_)
        | Command::List(_)
        | Command::Resume(_)
        | Command::Doctor(_)
        | Command::Config(_) => true,
        _ => false,
    }
}

/// Names the command where it looks at one tenant alone.
fn takes_one_profile(command: &Command) -> Option<&'static str> {
    match command {
        Command::Run(run) if run.sandbox => Some("run --sandbox"),
        Command::Run(run) if run.dry_run => Some("run --dry-run"),
        Command::Run(run) if run.plan.input.inputs.is_empty() => {
            Some("a selection from the tenant")
        }
        Command::Preview(_) => Some("preview"),
        Command::List(_) => Some("list"),
        Command::Doctor(_) => Some("doctor"),
        Command::Config(_) => Some("config show"),
        _ => None,
    }
}

impl Resolver<'_> {
    fn command(&self) -> Result<CommandSettings, SettingsError> {
        let cli = self.parsed.cli.clone();
        let state_dir = || {
            let typed = cli.common.state_dir.clone();
            let state_dir = typed.or_else(|| self.layers.sources.default_state_dir.clone());
            state_dir.ok_or(SettingsError::NoStateDir)
        };
        let mut command = match cli.command {
            Command::Run(run) if run.dry_run => {
                let connection = (!run.sandbox).then(|| self.connection());
                let preview =
                    preview_settings(run.plan, PlanFormat::Table, connection, state_dir());
                CommandSettings::Preview(Box::new(PreviewSettings {
                    max_actions: run.max_actions,
                    ..preview?
                }))
            }
            Command::Preview(preview) => {
                let connection = Some(self.connection());
                let (plan, format) = (preview.plan, preview.format);
                let preview = preview_settings(plan, format, connection, state_dir());
                CommandSettings::Preview(Box::new(preview?))
            }
            Command::Run(run) => CommandSettings::Run(self.run(*run, state_dir()?)?),
            Command::List(list) => {
                let selection = &list.selection;
                check_span(selection)?;
                CommandSettings::List(Box::new(ListSettings {
                    connection: self.connection()?,
                    state_dir: state_dir()?,
                    args: *list,
                }))
            }
            Command::Release(release) => {
                let output = &release.send.output;
                CommandSettings::Release(Box::new(ReleaseSettings {
                    outputs: OutputPaths {
                        reports: output.reports.clone(),
                        follow_up: output.follow_up.clone(),
                        metrics_file: output.metrics_file.clone(),
                    }
                    .checked()?,
                    profiles: self.profile_connections(),
                    connection: self.connection(),
                    state_dir: state_dir()?,
                    args: *release,
                    protected: Vec::new(),
                }))
            }
            Command::Resume(resume) => CommandSettings::Resume(Box::new(ResumeSettings {
                outputs: OutputPaths {
                    reports: resume.reports.clone(),
                    follow_up: resume.follow_up.clone(),
                    metrics_file: resume.metrics_file.clone(),
                }
                .checked()?,
                profiles: self.profile_connections(),
                connection: self.connection(),
                state_dir: state_dir()?,
                args: *resume,
                protected: Vec::new(),
            })),
            Command::Runs(runs) => match runs.command {
                Some(RunsCommand::Rm(remove)) => CommandSettings::RemoveRuns(remove, state_dir()?),
                Some(RunsCommand::Show(show)) => {
                    CommandSettings::Runs(Some(show.run), show.format, state_dir()?)
                }
                None => CommandSettings::Runs(None, runs.format, state_dir()?),
            },
            Command::Report(report) => {
                let outputs = report_outputs(&report)?;
                CommandSettings::Report(report.run, outputs, state_dir()?)
            }
            Command::Quota(quota) => CommandSettings::Quota(QuotaSettings {
                format: quota.format,
                cancel: (!quota.quota.is_empty()).then(|| all_windows(&quota.quota)),
                read: (!quota.read_quota.is_empty()).then(|| all_windows(&quota.read_quota)),
                reset: quota.command.is_some(),
                scope: match quota.command {
                    Some(QuotaCommand::Reset(scope)) => scope,
                    None => quota.scope,
                },
                state_dir: state_dir()?,
            }),
            Command::Doctor(doctor) => CommandSettings::Doctor(Box::new(DoctorSettings {
                args: *doctor,
                connection: self.connection(),
                state_dir: state_dir(),
                config: self.layers.config.map(|config| {
                    (
                        config.path().to_owned(),
                        self.layers.profile.map(str::to_owned),
                    )
                }),
            })),
            Command::Config(config) => {
                let ConfigCommand::Show(_) = config.command;
                CommandSettings::ConfigShow(self.shown()?)
            }
            Command::Sandbox(sandbox) => CommandSettings::Sandbox(sandbox),
            Command::Completions(completions) => CommandSettings::Completions(completions),
            Command::Man(man) => CommandSettings::Man(man),
        };
        let mut protected = command.files();
        protected.extend(
            self.layers
                .config
                .map(|config| NamedFile::new("the config file", config.path())),
        );
        if let Some(path) = &cli.common.log_file {
            let log = NamedFile::new("the log file", path);
            ensure_apart(&log, &protected)?;
            protected.push(log);
        }
        command.check_outputs(protected)?;
        Ok(command)
    }

    fn connection(&self) -> Result<ConnectionSettings, SettingsError> {
        self.parsed.connection(self.layers)
    }

    /// Resolves the connections of all profiles of the config file.
    fn profile_connections(&self) -> Vec<ProfileConnection> {
        let names = self.layers.config.map(ConfigFile::profiles);
        let names = names.unwrap_or_default().into_iter();
        let connections = names.map(|profile| ProfileConnection {
            connection: self.connection_of(&profile),
            profile,
        });
        connections.collect()
    }

    /// Resolves the connection of one of several profiles.
    fn connection_of(&self, profile: &str) -> Result<ConnectionSettings, SettingsError> {
        let layers = Layers {
            profile: Some(profile),
            ..self.layers
        };
        // Hundreds of profiles are read, so not with the flags of every command.
        let command = ConnectionArgs::augment_args(clap::Command::new("")).no_binary_name(true);
        let typed = leaf(self.typed).1;
        let mut words = Vec::new();
        for flag in command.get_arguments() {
            if !is_typed(typed, flag.get_id().as_str()) {
                continue;
            }
            for value in typed.get_raw(flag.get_id().as_str()).into_iter().flatten() {
                let mut word =
                    OsString::from(format!("--{}=", flag.get_long().unwrap_or_default()));
                word.push(value);
                words.push(word);
            }
        }
        let typed = command.clone().try_get_matches_from(&words)?;
        let (matches, origins) = parse(command, &words, &typed, layers)?;
        let args = ConnectionArgs::from_arg_matches(&matches)?;
        ConnectionSettings::resolve(&args, &origins, layers)
    }

    fn run(&self, args: RunArgs, state_dir: PathBuf) -> Result<Box<RunSettings>, SettingsError> {
        let inputs = inputs(&args.plan)?;
        check_selection(&args.plan)?;
        let selection = &args.plan.selection;
        if inputs.is_empty() && selection.filter.is_none() && selection.types.is_empty() {
            return Err(if *selection == SelectionArgs::default() {
                SettingsError::NothingSelected
            } else {
                SettingsError::NoTypeSelected
            });
        }
        if inputs.is_empty() && args.sandbox {
            return Err(SettingsError::SandboxWithoutInput);
        }
        let output = &args.send.output;
        let outputs = OutputPaths {
            reports: output.reports.clone(),
            follow_up: output.follow_up.clone(),
            metrics_file: output.metrics_file.clone(),
        };
        let outputs = outputs.checked()?;
        let target = match self.profiles {
            _ if args.sandbox => Target::Sandbox,
            [_, _, ..] => Target::Tenants(self.tenants(&args)?),
            _ => Target::Service(Box::new(self.connection()?)),
        };
        if inputs.is_empty() && args.yes {
            let names_tenant = match self.parsed.origins.get("tenant_id") {
                Some(Origin::Flag(_)) => true,
                Some(Origin::Config(_, in_profile)) => *in_profile && self.is_profile_typed,
                _ => false,
            };
            if args.max_actions.is_none() && args.approved.is_none() {
                return Err(SettingsError::UnboundedSelection);
            }
            if !names_tenant {
                return Err(SettingsError::UnnamedTenant);
            }
        }
        Ok(Box::new(RunSettings {
            outputs,
            state_dir: if args.sandbox {
                state_dir.join("sandbox")
            } else {
                state_dir
            },
            args,
            inputs,
            target,
        }))
    }

    /// Resolves the connections of several profiles, each of a tenant of its own: a row that names a tenant must belong
    /// to one of them.
    fn tenants(&self, args: &RunArgs) -> Result<Vec<ConnectionSettings>, SettingsError> {
        if let Some(Origin::Flag(_)) = self.parsed.origins.get("tenant_id") {
            return Err(SettingsError::OneOfSeveral);
        }
        debug_assert!(!args.sandbox, "a sandbox has one tenant");
        let mut tenants: Vec<ConnectionSettings> = Vec::new();
        for name in self.profiles {
            let connection = self.connection_of(name)?;
            let is_same = |other: &&ConnectionSettings| {
                other.tenant.is_some()
                    && (&other.tenant, &other.cloud) == (&connection.tenant, &connection.cloud)
            };
            if let Some(other) = tenants.iter().find(is_same) {
                return Err(SettingsError::SameTenant {
                    one: other.profile.clone().unwrap_or_default(),
                    other: name.clone(),
                    tenant: connection.tenant.clone().unwrap_or_default(),
                });
            }
            tenants.push(connection);
        }
        Ok(tenants)
    }

    /// Returns the settings that `run` would have. What a run would refuse is refused before anything is shown.
    fn shown(&self) -> Result<Vec<ShownSetting>, SettingsError> {
        let mut words: Vec<OsString> = ["mde-cancel", "run", "-"].map(OsString::from).into();
        words.extend(ForwardedFlags::settings(self.typed));
        let typed = Cli::command().try_get_matches_from(&words)?;
        let parsed = Parsed::new(&words, &typed, self.layers)?;
        let Command::Run(run) = parsed.cli.command.clone() else {
            return Ok(Vec::new());
        };
        let resolver = Resolver {
            typed: &typed,
            parsed: &parsed,
            ..*self
        };
        match resolver.run(*run, PathBuf::new()) {
            // There is a configuration to be shown without anything to sign in with.
            Ok(_) | Err(SettingsError::NoToken | SettingsError::Incomplete { .. }) => {}
            Err(error) => return Err(error),
        }
        let root = Cli::command();
        let flags = root
            .find_subcommand("run")
            .into_iter()
            .flat_map(clap::Command::get_arguments);
        let mut shown: Vec<_> = flags
            .chain(root.get_arguments())
            .filter(|flag| {
                variable_of(flag).is_some()
                    && flag.get_id() != "config"
                    && flag.get_id() != "profiles"
            })
            .map(|flag| parsed.shown(flag))
            .collect();
        let is_set = |name: &&str| self.layers.variable(name).is_some();
        shown.extend(
            SECRET_VARIABLES
                .into_iter()
                .filter(is_set)
                .map(|name| ShownSetting {
                    key: name.to_owned(),
                    value: "[redacted]".to_owned(),
                    origin: "environment".to_owned(),
                }),
        );
        for key in config_file::SECRET_KEYS {
            shown.extend(self.layers.config(key).map(|(name, origin)| ShownSetting {
                key: key.to_owned(),
                value: name.to_string_lossy().into_owned(),
                origin: origin.to_string(),
            }));
        }
        Ok(shown)
    }
}

impl Parsed {
    fn shown(&self, flag: &Arg) -> ShownSetting {
        let id = flag.get_id().as_str();
        let values = leaf(&self.matches).1.get_raw(id).into_iter().flatten();
        let values: Vec<_> = values
            .map(|value| value.to_string_lossy().into_owned())
            .collect();
        let text = values.join(",");
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        // A default that is no value is told by the help.
        let in_words = help
            .split_once("[default: ")
            .and_then(|(_, rest)| rest.strip_suffix(']'));
        ShownSetting {
            key: flag.get_long().unwrap_or_default().to_owned(),
            value: if is_secret_itself(text.as_ref()) {
                "[not shown: it looks like the secret itself]".to_owned()
            } else if ["api_url", "login_url"].contains(&id) && text.contains(['@', '?', '#']) {
                "[not shown: an address has no user name, password, query or fragment]".to_owned()
            } else if text.is_empty() {
                in_words.unwrap_or("none").to_owned()
            } else {
                text
            },
            origin: self.origins.get(id).unwrap_or(&Origin::Default).to_string(),
        }
    }
}

fn preview_settings(
    plan: PlanArgs,
    format: PlanFormat,
    connection: Option<Result<ConnectionSettings, SettingsError>>,
    state_dir: Result<PathBuf, SettingsError>,
) -> Result<PreviewSettings, SettingsError> {
    let is_sandbox = connection.is_none();
    let connection = match connection {
        Some(Err(SettingsError::NoToken | SettingsError::Incomplete { .. }))
            if plan.no_precheck =>
        {
            None
        }
        Some(Err(SettingsError::NoToken)) => return Err(SettingsError::NoTokenToPreview),
        connection => connection.transpose()?,
    };
    let inputs = inputs(&plan)?;
    if is_sandbox && inputs.is_empty() {
        return Err(SettingsError::SandboxWithoutInput);
    }
    check_selection(&plan)?;
    Ok(PreviewSettings {
        inputs,
        format,
        max_actions: None,
        is_sandbox,
        connection,
        state_dir: match state_dir {
            Ok(dir) if is_sandbox => Some(dir.join("sandbox")),
            dir if plan.no_precheck => dir.ok(),
            dir => Some(dir?),
        },
        plan,
    })
}

/// Returns what is read; standard input can be named once only.
fn inputs(plan: &PlanArgs) -> Result<Vec<Input>, SettingsError> {
    let inputs = plan.input.inputs.iter();
    let inputs: Vec<_> = inputs.map(|path| Input::parse(path.as_os_str())).collect();
    let stdin = inputs.iter().filter(|input| **input == Input::Stdin);
    if stdin.count() > 1 {
        return Err(SettingsError::StdinTwice);
    }
    Ok(inputs)
}

/// Refuses a selection that means nothing: one that only records tell where none is read, or a filter for an input.
fn check_selection(plan: &PlanArgs) -> Result<(), SettingsError> {
    let selection = &plan.selection;
    let has_input = !plan.input.inputs.is_empty();
    check_span(selection)?;
    if selection.filter.is_some() && has_input {
        return Err(SettingsError::FilterWithInput);
    }
    let needs_record = !has_input
        || !selection.statuses.is_empty()
        || selection.since.is_some()
        || selection.until.is_some();
    if needs_record && plan.no_precheck {
        return Err(SettingsError::SelectionUnread);
    }
    Ok(())
}

fn check_span(selection: &SelectionArgs) -> Result<(), SettingsError> {
    let is_empty = match (selection.since, selection.until) {
        (Some(When::At(since)), Some(When::At(until))) => since > until,
        (Some(When::Ago(since)), Some(When::Ago(until))) => since < until,
        _ => false,
    };
    if is_empty {
        return Err(SettingsError::EmptySpan);
    }
    Ok(())
}

fn report_outputs(report: &ReportArgs) -> Result<OutputPaths, SettingsError> {
    let mut outputs = OutputPaths {
        reports: report.outputs.clone(),
        follow_up: report.follow_up.clone(),
        metrics_file: None,
    }
    .checked()?;
    if outputs == OutputPaths::default() {
        outputs.reports.push(PathBuf::from("-"));
    }
    Ok(outputs)
}

impl CommandSettings {
    /// Names the files that the command reads or keeps.
    fn files(&self) -> Vec<NamedFile> {
        let (mut inputs, mut excluded): (&[Input], &[PathBuf]) = (&[], &[]);
        let mut connections: Vec<&ConnectionSettings> = Vec::new();
        let seed;
        let state_dir = match self {
            Self::Run(run) => {
                inputs = &run.inputs;
                excluded = &run.args.plan.selection.exclude_from;
                connections.extend(run.target.connections());
                Some(&run.state_dir)
            }
            Self::Preview(preview) => {
                inputs = &preview.inputs;
                excluded = &preview.plan.selection.exclude_from;
                connections.extend(&preview.connection);
                preview.state_dir.as_ref()
            }
            Self::List(list) => {
                excluded = &list.args.selection.exclude_from;
                connections.push(&list.connection);
                Some(&list.state_dir)
            }
            Self::Release(release) => {
                excluded = &release.args.exclude_from;
                connections.extend(&release.connection);
                let profiles = release.profiles.iter();
                connections.extend(profiles.filter_map(|it| it.connection.as_ref().ok()));
                Some(&release.state_dir)
            }
            Self::Resume(resume) => {
                connections.extend(&resume.connection);
                let profiles = resume.profiles.iter();
                connections.extend(profiles.filter_map(|it| it.connection.as_ref().ok()));
                Some(&resume.state_dir)
            }
            Self::Runs(_, _, state_dir)
            | Self::RemoveRuns(_, state_dir)
            | Self::Report(_, _, state_dir)
            | Self::Quota(QuotaSettings { state_dir, .. }) => Some(state_dir),
            Self::Sandbox(serve) => {
                let path = serve.seed.iter().map(|path| Input::parse(path.as_os_str()));
                seed = path.collect::<Vec<_>>();
                inputs = &seed;
                None
            }
            Self::Doctor(_) | Self::ConfigShow(_) | Self::Completions(_) | Self::Man(_) => None,
        };
        let excluded = excluded
            .iter()
            .map(|path| NamedFile::new("the exclusion list", path));
        let mut files = input_files(inputs);
        files.extend(excluded);
        files.extend(connections.into_iter().flat_map(secret_files));
        files.extend(state_dir.into_iter().flat_map(|dir| state_files(dir)));
        files
    }

    /// Refuses an output that would overwrite a protected file, or another output.
    fn check_outputs(&mut self, protected: Vec<NamedFile>) -> Result<(), SettingsError> {
        match self {
            Self::Run(run) => run.outputs.check(&protected),
            Self::Report(_, outputs, _) => outputs.check(&protected),
            Self::Release(release) => {
                release.outputs.check(&protected)?;
                release.protected = protected;
                Ok(())
            }
            Self::Resume(resume) => {
                resume.outputs.check(&protected)?;
                // Checked once more when the journal has told where else the run writes.
                resume.protected = protected;
                Ok(())
            }
            Self::Sandbox(sandbox) => sandbox.log.iter().try_for_each(|path| {
                ensure_apart(&NamedFile::new("the list of calls", path), &protected)
            }),
            _ => Ok(()),
        }
    }
}
