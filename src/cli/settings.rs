//! Settings: the command line, with variables and the config file below it.
//!
//! A flag beats its variable, which beats the profile, which beats the top of the config file, which beats the default.
//! The lower layers become clap's defaults for the typed command's flags, so that one parser reads every value. An empty
//! variable is ignored. With a profile, the variables for sign-in and addresses are ignored, too.

mod check;
mod config_file;
mod outputs;
mod sign_in;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Args as _, CommandFactory as _, FromArgMatches as _, Id};

use crate::platform;

use super::args::{
    Cli, Command, CommonArgs, ConnectionArgs, RunsCommand, is_typed, leaf, variable_of,
};
use super::failure::Failure;
use super::flag_values::is_secret_itself;
use super::hint::typed_words;
use super::logging::directives;
use super::progress::ProgressMode;

pub use config_file::ConfigFile;
pub use outputs::{NamedFile, default_outputs, input_files};
pub use sign_in::{ConnectionSettings, CredentialChoice, MissingCredential, SecretSource, SignIn};

use check::{check, protected_files};
use config_file::{CONFIG_FILE, no_profile};

/// As a profile's name: every profile of the config file.
const ALL_PROFILES: &str = "all";

/// Variables that contain a secret. No flag does.
const SECRET_VARIABLES: [&str; 2] = ["AZURE_CLIENT_SECRET", "MDE_CANCEL_TOKEN"];

/// Divides the sandbox's periods and waits: an hour takes six minutes, which is short enough to watch, and a minute six
/// seconds, which is long enough to see.
pub const SANDBOX_SCALE: u32 = 10;

/// The time limit of a call for commands without `--timeout`.
pub const CALL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// Returns the divisor of quota periods and waits.
pub fn time_scale(is_sandbox: bool) -> u32 {
    if is_sandbox { SANDBOX_SCALE } else { 1 }
}

/// Returns the variables for sign-in and addresses, which a profile replaces.
fn identity_variables() -> BTreeSet<String> {
    let flags = ConnectionArgs::augment_args(clap::Command::new(""));
    let mut variables: BTreeSet<_> = flags
        .get_arguments()
        // The CA file belongs to the machine's network, not to a tenant.
        .filter(|flag| flag.get_id() != "ca_file")
        .filter_map(variable_of)
        .collect();
    variables.extend(SECRET_VARIABLES.map(str::to_owned));
    variables
}

/// The layer that a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag(String),
    Variable(String),
    /// A place in the config file, as text, and whether it is in a profile.
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

/// Where settings come from, besides the command line.
pub struct Sources<'process> {
    pub environment: &'process dyn Fn(&str) -> Option<OsString>,
    pub default_state_dir: Option<PathBuf>,
    /// Used if no config file is named; may not exist.
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
    /// Returns a variable's value, unless it is empty.
    fn variable(&self, name: &str) -> Option<OsString> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }
}

/// Variables and config file.
#[derive(Clone, Copy)]
struct Layers<'a> {
    sources: &'a Sources<'a>,
    config: Option<&'a ConfigFile>,
    profile: Option<&'a str>,
    /// [`identity_variables`]
    identity: &'a BTreeSet<String>,
}

impl Layers<'_> {
    /// Returns a variable's value, unless a profile replaces it.
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

/// Parses a command line with the lower layers as defaults. `typed` is the same command line, parsed without them.
fn parse(
    root: clap::Command,
    words: &[OsString],
    typed: &ArgMatches,
    layers: Layers<'_>,
) -> Result<(ArgMatches, BTreeMap<String, Origin>), Failure> {
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
    // A typed flag hides lower layers of flags that it conflicts with. A typed part of the address hides all other parts.
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

/// Parses a value of a lower layer, to name its origin in an error.
fn check_value(flag: &Arg, value: &OsStr, origin: &Origin) -> Result<(), Failure> {
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
        return Err(not_text(origin));
    }
    let wanted = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::Strings(words))) => format!("expected {}", words.join(", ")),
        (None, _) => "it has no value".to_owned(),
    };
    Err(Failure::refused(anyhow!(
        "`{}` in {origin} cannot be used: {wanted}",
        value.to_string_lossy()
    )))
}

fn not_text(origin: impl fmt::Display) -> Failure {
    Failure::refused(anyhow!("{origin} is not UTF-8"))
}

#[derive(Debug)]
pub struct Settings {
    pub common: CommonArgs,
    /// Includes the values of lower layers. `run --dry-run` is a `Preview`.
    pub command: Command,
    pub context: Context,
    /// For `config show`.
    pub shown: Vec<ShownSetting>,
    /// Why the default config file was ignored, for commands that work without it.
    pub left_out: Option<Failure>,
    /// Variables that a profile replaces.
    pub ignored: Vec<String>,
}

/// What commands need besides their flags.
#[derive(Debug)]
pub struct Context {
    /// The tenants to sign in to: several only for a run with several profiles, none for a command without sign-in.
    pub connections: Result<Vec<ConnectionSettings>, Failure>,
    /// The tenants of all profiles, to resume a run of several tenants.
    pub profiles: BTreeMap<String, Result<ConnectionSettings, Failure>>,
    pub state_dir: Option<PathBuf>,
    /// The config file and its profile.
    pub config: Option<(PathBuf, Option<String>)>,
    /// Files that outputs must not overwrite.
    pub protected: Vec<NamedFile>,
}

impl Context {
    /// Returns the folder for runs and quota counts. Sandbox runs use its folder `sandbox`.
    pub fn state_dir(&self) -> Result<PathBuf, Failure> {
        self.state_dir.clone().ok_or_else(|| {
            let failure = Failure::refused(anyhow!("no state folder can be determined"));
            failure.hint("name a folder with --state-dir or MDE_CANCEL_STATE_DIR")
        })
    }

    pub fn into_connection(self) -> Result<ConnectionSettings, Failure> {
        let first = self.connections?.into_iter().next();
        first.ok_or_else(|| MissingCredential::Nothing.into())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownSetting {
    /// A flag, or a variable that contains a secret.
    pub key: String,
    pub value: String,
    pub origin: String,
}

impl CommonArgs {
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

impl Settings {
    /// The first word is the program's name.
    pub fn resolve(
        words: impl IntoIterator<Item = OsString>,
        sources: &Sources<'_>,
    ) -> Result<Self, Failure> {
        let words: Vec<_> = words.into_iter().collect();
        let typed = Cli::command().try_get_matches_from(&words)?;
        let command = Cli::from_arg_matches(&typed)?.command;
        let common = parse_globals(&typed, sources)?;
        let (config, left_out) = load_config(&command, &common, sources)?;
        let profiles = chosen_profiles(&common, config.as_ref(), &command)?;
        let identity = identity_variables();
        let ignored: Vec<String> = if common.profiles.is_empty() || !signs_in(&command) {
            Vec::new()
        } else {
            let is_set = |name: &&String| sources.variable(name).is_some();
            identity.iter().filter(is_set).cloned().collect()
        };
        let resolver = Resolver {
            typed: &typed,
            layers: Layers {
                sources,
                config: config.as_ref(),
                profile: match profiles.as_slice() {
                    [profile] => Some(profile),
                    _ => None,
                },
                identity: &identity,
            },
            profiles: &profiles,
        };
        match resolver.settings(&words) {
            Err(failure) if failure.error.is::<MissingCredential>() && !ignored.is_empty() => {
                let (names, are) = (
                    ignored.join(", "),
                    if ignored.len() == 1 { "is" } else { "are" },
                );
                let hint = format!(
                    "with --profile, {names} {are} not read: write what is needed into the profile"
                );
                Err(Failure {
                    hints: vec![hint.into()],
                    ..failure
                })
            }
            settings => Ok(Self {
                left_out,
                ignored,
                ..settings?
            }),
        }
    }
}

/// Returns the global flags; config file and profiles may also come from their variables.
fn parse_globals(typed: &ArgMatches, sources: &Sources<'_>) -> Result<CommonArgs, Failure> {
    let mut common = CommonArgs::from_arg_matches(leaf(typed).1)?;
    let config = sources.variable("MDE_CANCEL_CONFIG").map(PathBuf::from);
    common.config = common.config.or(config);
    if common.profiles.is_empty()
        && let Some(names) = sources.variable("MDE_CANCEL_PROFILE")
    {
        let names = names
            .into_string()
            .map_err(|_| not_text("MDE_CANCEL_PROFILE"))?;
        common.profiles = names.split(',').map(str::to_owned).collect();
    }
    let mut seen = BTreeSet::new();
    common.profiles.retain(|name| seen.insert(name.clone()));
    Ok(common)
}

/// Reads the named config file, or the user's if it exists. For commands that work without it, an error in the user's
/// file is returned beside the result.
fn load_config(
    command: &Command,
    common: &CommonArgs,
    sources: &Sources<'_>,
) -> Result<(Option<ConfigFile>, Option<Failure>), Failure> {
    if matches!(command, Command::Completions(_) | Command::Man(_)) {
        return Ok((None, None));
    }
    let default = sources.default_config.as_deref();
    let existing = default.filter(|path| path.exists());
    let Some(path) = common.config.as_deref().or(existing) else {
        return match common.profiles.first() {
            Some(profile) => {
                let path = default.unwrap_or(Path::new(CONFIG_FILE));
                Err(no_profile(path, profile, &[]))
            }
            None => Ok((None, None)),
        };
    };
    let only_looks_back = match command {
        Command::Runs(runs) => !matches!(runs.command, Some(RunsCommand::Rm(_))),
        Command::Report(_) => true,
        _ => false,
    };
    match ConfigFile::load(path) {
        Ok(config) => Ok((Some(config), None)),
        Err(failure)
            if only_looks_back && common.config.is_none() && common.profiles.is_empty() =>
        {
            Ok((None, Some(failure)))
        }
        Err(failure) => Err(failure),
    }
}

/// Returns the selected profiles; each exists in the config file.
fn chosen_profiles(
    common: &CommonArgs,
    config: Option<&ConfigFile>,
    command: &Command,
) -> Result<Vec<String>, Failure> {
    let mut profiles = common.profiles.clone();
    if profiles.iter().any(|name| name == ALL_PROFILES) {
        profiles = config.map(ConfigFile::profiles).unwrap_or_default();
        if profiles.is_empty() {
            let error = anyhow!("the config file has no profile");
            let hint = "add a table [profile.NAME] for each tenant";
            return Err(Failure::refused(error).hint(hint));
        }
    }
    if let Some(config) = config {
        profiles
            .iter()
            .try_for_each(|name| config.check_profile(name))?;
    }
    match takes_one_profile(command) {
        Some(what) if profiles.len() > 1 => {
            let failure = Failure::refused(anyhow!("{what} takes one --profile"));
            Err(failure.hint("run the command once for each of them"))
        }
        _ => Ok(profiles),
    }
}

fn signs_in(command: &Command) -> bool {
    match command {
        Command::Run(run) => !run.sandbox,
        Command::Release(release) => !release.sandbox,
        Command::Preview(preview) => !preview.sandbox,
        Command::List(_) | Command::Resume(_) | Command::Doctor(_) | Command::Config(_) => true,
        _ => false,
    }
}

fn needs_state_dir(command: &Command) -> bool {
    match command {
        Command::Preview(preview) => !preview.plan.no_precheck,
        Command::Doctor(_)
        | Command::Config(_)
        | Command::Sandbox(_)
        | Command::Completions(_)
        | Command::Man(_) => false,
        _ => true,
    }
}

/// Returns the command's name if it accepts only one profile.
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

#[derive(Clone, Copy)]
struct Resolver<'a> {
    typed: &'a ArgMatches,
    layers: Layers<'a>,
    profiles: &'a [String],
}

struct Parsed {
    cli: Cli,
    matches: ArgMatches,
    origins: BTreeMap<String, Origin>,
}

impl Resolver<'_> {
    fn parse(&self, words: &[OsString]) -> Result<Parsed, Failure> {
        let (matches, origins) = parse(Cli::command(), words, self.typed, self.layers)?;
        Ok(Parsed {
            cli: Cli::from_arg_matches(&matches)?,
            matches,
            origins,
        })
    }

    fn settings(&self, words: &[OsString]) -> Result<Settings, Failure> {
        let parsed = self.parse(words)?;
        let Cli { command, common } = parsed.cli.clone();
        let command = match command {
            Command::Run(run) if run.dry_run => Command::Preview(Box::new((*run).into())),
            command => command,
        };
        let is_tenant_named = match parsed.origins.get("tenant_id") {
            Some(Origin::Flag(_)) => true,
            Some(Origin::Config(_, true)) => is_typed(leaf(self.typed).1, "profiles"),
            _ => false,
        };
        check(&command, is_tenant_named)?;
        let layers = self.layers;
        let default_state_dir = layers.sources.default_state_dir.clone();
        let mut context = Context {
            connections: self.connections(&command)?,
            profiles: match &command {
                Command::Release(_) | Command::Resume(_) => self.profile_connections(),
                _ => BTreeMap::new(),
            },
            state_dir: common.state_dir.clone().or(default_state_dir),
            config: layers.config.map(|config| {
                let profile = layers.profile.map(str::to_owned);
                (config.path().to_owned(), profile)
            }),
            protected: Vec::new(),
        };
        if needs_state_dir(&command) {
            context.state_dir()?;
        }
        context.protected = protected_files(&command, &context, common.log_file.as_deref())?;
        Ok(Settings {
            shown: match command {
                Command::Config(_) => self.shown()?,
                _ => Vec::new(),
            },
            common,
            command,
            context,
            left_out: None,
            ignored: Vec::new(),
        })
    }

    /// The inner error is for commands that can do without a connection, or report the error themselves.
    fn connections(
        &self,
        command: &Command,
    ) -> Result<Result<Vec<ConnectionSettings>, Failure>, Failure> {
        let connections = match command {
            command if !signs_in(command) => Ok(Vec::new()),
            Command::Run(_) if self.profiles.len() > 1 => self.tenants(),
            _ => self.connection(self.layers.profile).map(|one| vec![one]),
        };
        let missing = connections
            .as_ref()
            .err()
            .and_then(|failure| failure.error.downcast_ref());
        match (command, missing) {
            (Command::Release(_) | Command::Resume(_) | Command::Doctor(_), _)
            | (Command::Config(_), Some(_)) => Ok(connections),
            (Command::Preview(preview), Some(_)) if preview.plan.no_precheck => Ok(connections),
            (Command::Preview(_), Some(MissingCredential::Nothing)) => {
                let error = anyhow!(
                    "there is nothing to sign in with, so the actions' status can't be read"
                );
                Err(Failure::refused(error)
                    .hint("sign in as for `run`: with an app, a token, or --credential azure-cli")
                    .hint("to look at the input alone, add --no-precheck"))
            }
            _ => connections.map(Ok),
        }
    }

    fn profile_connections(&self) -> BTreeMap<String, Result<ConnectionSettings, Failure>> {
        let names = self.layers.config.map(ConfigFile::profiles);
        let names = names.unwrap_or_default().into_iter();
        names
            .map(|name| (name.clone(), self.connection(Some(&name))))
            .collect()
    }

    /// Returns the connections of several profiles. Their tenants differ, because a row's tenant must select one of them.
    fn tenants(&self) -> Result<Vec<ConnectionSettings>, Failure> {
        if is_typed(leaf(self.typed).1, "tenant_id") {
            let error = anyhow!("--tenant-id can't be used with several profiles");
            let hint = "set tenant-id in each profile of the config file";
            return Err(Failure::refused(error).hint(hint));
        }
        let mut tenants: Vec<ConnectionSettings> = Vec::new();
        for name in self.profiles {
            let connection = self.connection(Some(name))?;
            let is_same = |other: &&ConnectionSettings| {
                other.tenant.is_some()
                    && (&other.tenant, &other.cloud) == (&connection.tenant, &connection.cloud)
            };
            if let Some(other) = tenants.iter().find(is_same) {
                let other = other.profile.as_deref().unwrap_or_default();
                let tenant = connection.tenant.as_deref().unwrap_or_default();
                return Err(same_tenant(other, name, tenant));
            }
            tenants.push(connection);
        }
        Ok(tenants)
    }

    /// Returns the connection of a profile, or without one, that of the variables and the top of the config file.
    fn connection(&self, profile: Option<&str>) -> Result<ConnectionSettings, Failure> {
        let layers = Layers {
            profile,
            ..self.layers
        };
        // Parses the connection flags only, because there may be hundreds of profiles.
        let command = ConnectionArgs::augment_args(clap::Command::new("")).no_binary_name(true);
        let words = typed_words::<ConnectionArgs>(self.typed);
        let typed = command.clone().try_get_matches_from(&words)?;
        let (matches, origins) = parse(command, &words, &typed, layers)?;
        let args = ConnectionArgs::from_arg_matches(&matches)?;
        ConnectionSettings::resolve(&args, &origins, layers)
    }

    /// Returns the settings of `run`. Fails where a run would.
    fn shown(&self) -> Result<Vec<ShownSetting>, Failure> {
        let mut words: Vec<OsString> = ["mde-cancel", "run", "-"].map(OsString::from).into();
        words.extend(typed_words::<ConnectionArgs>(self.typed));
        words.extend(typed_words::<CommonArgs>(self.typed));
        let root = Cli::command();
        let typed = root.clone().try_get_matches_from(&words)?;
        let run = Resolver {
            typed: &typed,
            ..*self
        };
        let parsed = run.parse(&words)?;
        check(&parsed.cli.command, true)?;
        let flags = root
            .find_subcommand("run")
            .into_iter()
            .flat_map(clap::Command::get_arguments)
            .chain(root.get_arguments());
        let is_setting = |flag: &&Arg| {
            variable_of(flag).is_some() && flag.get_id() != "config" && flag.get_id() != "profiles"
        };
        let mut shown: Vec<_> = flags
            .filter(is_setting)
            .map(|flag| parsed.shown(flag))
            .collect();
        let is_set = |name: &&str| self.layers.variable(name).is_some();
        let secrets = SECRET_VARIABLES.into_iter().filter(is_set);
        shown.extend(secrets.map(|name| ShownSetting {
            key: name.to_owned(),
            value: "[redacted]".to_owned(),
            origin: "environment".to_owned(),
        }));
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

pub fn same_tenant(one: &str, other: &str, tenant: &str) -> Failure {
    let error = anyhow!("profiles {one} and {other} lead to the same tenant {tenant}");
    Failure::refused(error).hint("name one of them")
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
        // Some defaults are not values, and only the help describes them.
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
