//! What the commands take that print something for shells and packages.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// What `completions` takes.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct CompletionsArgs {
    /// Complete for this shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

/// What `man` takes.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ManArgs {
    /// Write one page for the program and one for each command into this folder, instead of the first to standard output
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}
