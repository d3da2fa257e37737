//! What was meant: what was typed, merged once with the environment and the defaults, checked, and cut into one small
//! struct per concern.
//!
//! Nothing is opened and nothing is sent here. Below this floor nobody sees arguments, the environment or these
//! settings; each module gets the part that it owns. Whatever passed here needs no second look at what was typed: a
//! run without consent, without a token or without an input has no settings at all.
//!
//! The layers are flag, environment, default. A file of settings would come between the last two, in
//! [`Surroundings`], and nowhere else.

mod error;
mod surroundings;

mod allowance;
mod common;
mod connection;
mod output;

mod past;
mod quota;
mod run;
mod sandbox;

pub use allowance::Allowance;
pub use common::CommonSettings;
pub use connection::ConnectionSettings;
pub use connection::TokenOrigin;
pub use error::SettingsError;
pub use output::Output;
pub use past::ReportSettings;
pub use past::ResumeSettings;
pub use past::RunsSettings;
pub use quota::QuotaSettings;
pub use quota::ScopeFilter;
pub use run::Consent;
pub use run::RunSettings;
pub use run::SANDBOX_SCALE;
pub use run::Verify;
pub use run::World;
pub use sandbox::Seed;
pub use sandbox::ServeSettings;
pub use surroundings::Surroundings;

use super::args::Cli;
use super::args::Command;
use super::args::shell::CompletionsArgs;
use super::args::shell::ManArgs;

/// All that one call of the program is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What holds for every command.
    pub common: CommonSettings,
    /// What the one command is to do.
    pub command: CommandSettings,
}

/// What the one command is to do.
#[derive(Clone, Debug)]
pub enum CommandSettings {
    /// `run`
    Run(Box<RunSettings>),
    /// Go on with a run.
    Resume(Box<ResumeSettings>),
    /// List runs.
    Runs(RunsSettings),
    /// Write a report again.
    Report(ReportSettings),
    /// `quota`
    Quota(QuotaSettings),
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
        let common = typed.common;
        let command = match typed.command {
            Command::Run(run) => {
                CommandSettings::Run(Box::new(RunSettings::resolve(*run, &common, around)?))
            }
            Command::Resume(resume) => CommandSettings::Resume(Box::new(ResumeSettings::resolve(
                *resume, &common, around,
            )?)),
            Command::Runs(runs) => {
                CommandSettings::Runs(RunsSettings::resolve(&runs, &common, around)?)
            }
            Command::Report(report) => {
                CommandSettings::Report(ReportSettings::resolve(report, &common, around)?)
            }
            Command::Quota(quota) => {
                CommandSettings::Quota(QuotaSettings::resolve(quota, &common, around)?)
            }
            Command::Sandbox(sandbox) => {
                CommandSettings::Sandbox(Box::new(ServeSettings::resolve(*sandbox)))
            }
            Command::Completions(completions) => CommandSettings::Completions(completions),
            Command::Man(man) => CommandSettings::Man(man),
        };
        Ok(Self {
            common: CommonSettings::resolve(&common, around)?,
            command,
        })
    }
}
