//! What was meant: what was typed, merged once with the environment and the defaults, checked, and cut into one small
//! struct per concern.
//!
//! Nothing is sent here, and nothing is opened but the config file. Below this floor nobody sees arguments, the
//! environment or these settings; each module gets the part that it owns. Whatever passed here needs no second look at what was typed: a
//! run without consent, without a token or without an input has no settings at all.
//!
//! The layers are flag, environment, config file, default; they meet in [`Surroundings`] and nowhere else.

mod config_key;

mod config_file;

mod error;
mod surroundings;

mod allowance;
mod common;
mod sign_in;

mod connection;
mod selection;
mod tenants;

mod doctor;

mod quota;
mod run;
mod sandbox;

mod config_show;

mod list;
mod past;
mod preview;

mod outputs;

pub use allowance::Allowance;
pub use common::CommonSettings;
pub use config_file::{ConfigFault, ConfigLayer};
pub use config_show::{ConfigShowSettings, ShownSetting};
pub use connection::ConnectionSettings;
pub use doctor::DoctorSettings;
pub use error::SettingsError;
pub use list::ListSettings;
pub use outputs::{NamedFile, OutputPaths, input_files};
pub use past::{
    BeforeRemoval, RemoveSettings, ReportSettings, ResumeSettings, RunsSettings, Wanted,
};
pub use preview::PreviewSettings;
pub use quota::{QuotaSettings, ScopeFilter};
pub use run::{Consent, RunSettings, SANDBOX_SCALE, Verify, World, default_outputs};
pub use sandbox::{Seed, ServeSettings};
pub use selection::SelectionSettings;
pub use sign_in::{Choice, SignIn, TokenOrigin};
pub use surroundings::Surroundings;
pub use tenants::Profiles;

use std::path::PathBuf;

use super::args;
use super::args::config::{ConfigCommand, ConfigFileArgs};
use super::args::shell::{CompletionsArgs, ManArgs};
use super::args::{Cli, Command, RunsCommand};

use outputs::{ensure_apart, secret_files, state_files};

/// Means every profile of the config file.
const ALL_PROFILES: &str = "all";

/// All that one call of the program is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What holds for every command.
    pub common: CommonSettings,
    /// What the one command is to do.
    pub command: CommandSettings,
    /// What is wrong with a config file that nobody named, where the command does well without it.
    pub left_out: Option<ConfigFault>,
    /// Variables that are set and were not read, because a profile says who signs in and where.
    pub ignored: Vec<&'static str>,
}

/// What the one command is to do.
#[derive(Clone, Debug)]
pub enum CommandSettings {
    /// `run`
    Run(Box<RunSettings>),
    /// `preview`, or `run --dry-run`
    Preview(Box<PreviewSettings>),
    /// `list`
    List(Box<ListSettings>),
    /// Go on with a run.
    Resume(Box<ResumeSettings>),
    /// List runs.
    Runs(RunsSettings),
    /// Remove runs.
    RemoveRuns(RemoveSettings),
    /// Write a report again.
    Report(ReportSettings),
    /// `quota`
    Quota(QuotaSettings),
    /// `doctor`
    Doctor(Box<DoctorSettings>),
    /// `config show`
    ConfigShow(ConfigShowSettings),
    /// `sandbox`
    Sandbox(Box<ServeSettings>),
    /// `completions`
    Completions(CompletionsArgs),
    /// `man`
    Man(ManArgs),
}

impl Settings {
    /// Resolves what was typed.
    ///
    /// # Errors
    /// Returns the first thing that cannot be meant.
    pub fn resolve(typed: Cli, around: &Surroundings<'_>) -> Result<Self, SettingsError> {
        let mut profiles = profiles(&typed.config, around)?;
        let ignored = if profiles.is_empty() || !signs_in(&typed.command) {
            Vec::new()
        } else {
            around.ignored_with_profile()
        };
        if profiles.iter().any(|name| name == ALL_PROFILES) {
            profiles = config_layer(&typed.config, &[], around)?
                .map(|config| config.profiles())
                .unwrap_or_default();
            if profiles.is_empty() {
                return Err(SettingsError::NoProfiles);
            }
        }
        match Self::resolve_with(typed, &profiles, around) {
            Err(error @ (SettingsError::NoToken | SettingsError::Incomplete { .. }))
                if !ignored.is_empty() =>
            {
                Err(SettingsError::WithProfile {
                    error: Box::new(error),
                    ignored,
                })
            }
            settings => Ok(Self {
                ignored,
                ..settings?
            }),
        }
    }

    fn resolve_with(
        typed: Cli,
        profiles: &[String],
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        let common = typed.common;
        if profiles.len() > 1
            && let Some(what) = takes_one_profile(&typed.command)
        {
            return Err(SettingsError::SeveralProfiles { what });
        }
        let mut left_out = None;
        let config = match (
            &typed.command,
            config_layer(&typed.config, profiles, around),
        ) {
            // What only prints about the program itself needs no setting, so a broken file may not keep it from that.
            (Command::Completions(_) | Command::Man(_), _) => None,
            (command, Err(SettingsError::Config(fault)))
                if only_looks_back(command) && !is_config_named(&typed.config, around) =>
            {
                left_out = Some(fault);
                None
            }
            (_, config) => config?,
        };
        let around = &around.with_config(config);
        let mut command = match typed.command {
            Command::Run(run) if run.dry_run => {
                CommandSettings::Preview(Box::new(PreviewSettings::of_run(*run, &common, around)?))
            }
            Command::Preview(preview) => CommandSettings::Preview(Box::new(
                PreviewSettings::resolve(*preview, &common, around)?,
            )),
            Command::Run(run) => CommandSettings::Run(Box::new(RunSettings::resolve(
                *run, &common, profiles, around,
            )?)),
            Command::List(list) => {
                CommandSettings::List(Box::new(ListSettings::resolve(*list, &common, around)?))
            }
            Command::Resume(resume) => CommandSettings::Resume(Box::new(ResumeSettings::resolve(
                *resume, &common, around,
            )?)),
            Command::Runs(runs) => match runs.command {
                Some(_) if runs.format.is_some() => {
                    return Err(SettingsError::FormatBeforeCommand);
                }
                Some(RunsCommand::Rm(remove)) => {
                    CommandSettings::RemoveRuns(RemoveSettings::resolve(remove, &common, around)?)
                }
                Some(RunsCommand::Show(show)) => {
                    let run = Some(show.run);
                    let runs = RunsSettings::resolve(run, show.format, &common, around)?;
                    CommandSettings::Runs(runs)
                }
                None => {
                    let format = runs.format.unwrap_or_default();
                    let runs = RunsSettings::resolve(None, format, &common, around)?;
                    CommandSettings::Runs(runs)
                }
            },
            Command::Report(report) => {
                CommandSettings::Report(ReportSettings::resolve(report, &common, around)?)
            }
            Command::Quota(quota) => {
                CommandSettings::Quota(QuotaSettings::resolve(quota, &common, around)?)
            }
            Command::Doctor(doctor) => {
                CommandSettings::Doctor(Box::new(DoctorSettings::resolve(*doctor, &common, around)))
            }
            Command::Config(config) => {
                let ConfigCommand::Show(show) = config.command;
                CommandSettings::ConfigShow(ConfigShowSettings::resolve(*show, &common, around)?)
            }
            Command::Sandbox(sandbox) => {
                CommandSettings::Sandbox(Box::new(ServeSettings::resolve(*sandbox)))
            }
            Command::Completions(completions) => CommandSettings::Completions(completions),
            Command::Man(man) => CommandSettings::Man(man),
        };
        let common = CommonSettings::resolve(&common, around)?;
        let mut kept = command.files();
        let config = around.config.as_ref();
        kept.extend(config.map(|config| NamedFile::new("the config file", config.path())));
        if let Some(path) = &common.log_file {
            let log = NamedFile::new("the log file", path);
            ensure_apart(&log, &kept)?;
            kept.push(log);
        }
        command.check_outputs(kept)?;
        Ok(Self {
            common,
            command,
            left_out,
            ignored: Vec::new(),
        })
    }
}

impl CommandSettings {
    /// Names the files that the command reads or keeps.
    fn files(&self) -> Vec<NamedFile> {
        let excluded = |selection: &SelectionSettings| {
            let files = selection.exclude_from.iter();
            let files = files.map(|path| NamedFile::new("the exclusion list", path));
            files.collect()
        };
        let of = |connections: &mut dyn Iterator<Item = &ConnectionSettings>| {
            connections.flat_map(secret_files).collect()
        };
        let state_of = |dir: &Option<PathBuf>| dir.as_deref().map(state_files).unwrap_or_default();
        let groups: Vec<Vec<NamedFile>> = match self {
            Self::Run(run) => vec![
                input_files(&run.inputs),
                excluded(&run.selection),
                of(&mut run.world.connections().iter()),
                state_files(&run.state_dir),
            ],
            Self::Preview(preview) => vec![
                input_files(&preview.inputs),
                excluded(&preview.selection),
                of(&mut preview.connection.iter()),
                state_of(&preview.state_dir),
            ],
            Self::List(list) => vec![
                excluded(&list.selection),
                secret_files(&list.connection),
                state_files(&list.state_dir),
            ],
            Self::Resume(resume) => vec![
                of(&mut resume
                    .connection
                    .iter()
                    .chain(resume.profiles.connections())),
                state_files(&resume.state_dir),
            ],
            Self::Runs(RunsSettings { state_dir, .. })
            | Self::RemoveRuns(RemoveSettings { state_dir, .. })
            | Self::Report(ReportSettings { state_dir, .. })
            | Self::Quota(QuotaSettings { state_dir, .. }) => vec![state_files(state_dir)],
            Self::Sandbox(serve) => match &serve.seed {
                Seed::Input(input) => vec![input_files(std::slice::from_ref(input))],
                Seed::Generated(_) => Vec::new(),
            },
            Self::Doctor(_) | Self::ConfigShow(_) | Self::Completions(_) | Self::Man(_) => {
                Vec::new()
            }
        };
        groups.concat()
    }

    /// Refuses an output that would overwrite one of `kept`, or another output.
    fn check_outputs(&mut self, kept: Vec<NamedFile>) -> Result<(), SettingsError> {
        match self {
            Self::Run(run) => run.outputs.check(&kept),
            Self::Report(report) => report.outputs.check(&kept),
            Self::Resume(resume) => {
                resume.outputs.check(&kept)?;
                // Checked once more when the journal has told where else the run writes.
                resume.kept = kept;
                Ok(())
            }
            Self::Sandbox(sandbox) => sandbox.log.iter().try_for_each(|path| {
                ensure_apart(&NamedFile::new("the list of calls", path), &kept)
            }),
            _ => Ok(()),
        }
    }
}

/// Returns the profiles that were named, each once.
fn profiles(
    typed: &ConfigFileArgs,
    around: &Surroundings<'_>,
) -> Result<Vec<String>, SettingsError> {
    let named = around.layered_list(
        typed.profiles.clone(),
        "MDE_CANCEL_PROFILE",
        args::value::words,
    )?;
    let mut profiles = Vec::new();
    for name in named {
        if !profiles.contains(&name) {
            profiles.push(name);
        }
    }
    Ok(profiles)
}

/// Returns whether a command signs in, or shows how it would.
fn signs_in(command: &Command) -> bool {
    match command {
        Command::Run(run) => !run.sandbox,
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
        Command::Preview(_) => Some("preview"),
        Command::List(_) => Some("list"),
        Command::Doctor(_) => Some("doctor"),
        Command::Config(_) => Some("config show"),
        Command::Run(_)
        | Command::Resume(_)
        | Command::Runs(_)
        | Command::Report(_)
        | Command::Quota(_)
        | Command::Sandbox(_)
        | Command::Completions(_)
        | Command::Man(_) => None,
    }
}

/// Returns whether a command shows what is in the journal and neither calls nor changes anything.
fn only_looks_back(command: &Command) -> bool {
    match command {
        Command::Runs(runs) => !matches!(runs.command, Some(RunsCommand::Rm(_))),
        Command::Report(_) => true,
        _ => false,
    }
}

/// Returns whether somebody said which config file is read, or that one is.
fn is_config_named(typed: &ConfigFileArgs, around: &Surroundings<'_>) -> bool {
    let variables = ["MDE_CANCEL_CONFIG", "MDE_CANCEL_PROFILE"];
    let mut variables = variables.iter().map(|name| around.variable(name));
    typed.config.is_some() || !typed.profiles.is_empty() || variables.any(|set| set.is_some())
}

/// Reads the config file that was named, or the one in the platform's folder where there is one. Several profiles leave
/// its top alone: each is laid over it where its tenant is concerned.
fn config_layer(
    typed: &ConfigFileArgs,
    profiles: &[String],
    around: &Surroundings<'_>,
) -> Result<Option<ConfigLayer>, SettingsError> {
    let named = around.layered_path(typed.config.clone(), "MDE_CANCEL_CONFIG");
    let path = match named {
        Some(path) => Some(path),
        None => around.default_config.clone().filter(|path| path.exists()),
    };
    match (path, profiles.first()) {
        (Some(path), first) => {
            let only = first.filter(|_| profiles.len() == 1);
            let layer = ConfigLayer::load(&path, only.map(String::as_str))
                .map_err(SettingsError::Config)?;
            Ok(Some(if typed.profiles.is_empty() {
                layer
            } else {
                layer.typed()
            }))
        }
        (None, Some(profile)) => {
            let path = around.default_config.as_deref();
            Err(SettingsError::Config(ConfigFault::no_file(path, profile)))
        }
        (None, None) => Ok(None),
    }
}
