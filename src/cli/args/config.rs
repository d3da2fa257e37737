//! Which configuration is read, and what can be asked about it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::TableFormat;
use super::connection::ConnectionArgs;

/// Which configuration is read.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Common")]
pub struct ConfigFileArgs {
    /// Read settings from this file [default: mde-cancel.toml in the platform's config folder] [env: MDE_CANCEL_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Use this profile of the config file; `run` takes several, or `all` [env: MDE_CANCEL_PROFILE]
    #[arg(
        long = "profile",
        global = true,
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub profiles: Vec<String>,
}

/// What `config` takes.
#[derive(Args, Clone, Debug)]
pub struct ConfigCommandArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What can be done about the configuration.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show the resolved settings and where each comes from; secrets are never shown
    Show(Box<ConfigShowArgs>),
}

/// What `config show` takes.
#[derive(Args, Clone, Debug)]
pub struct ConfigShowArgs {
    /// Where it would be sent.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// What `doctor` takes.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Print in this format
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: TableFormat,
    /// Where it would be sent.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}
