//! What `list` takes.

use clap::{Args, ValueEnum};

use super::ConnectionArgs;
use super::selection::SelectionArgs;
use super::value::QuotaChoice;

/// What `list` takes.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Which actions are meant; all are where nothing is said.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Count actions by type, status and requestor instead of listing them
    #[arg(long, help_heading = "Output")]
    pub summary: bool,
    /// Print in this format [default: table on a terminal, else csv]
    #[arg(long, value_name = "FORMAT", value_enum, help_heading = "Output")]
    pub format: Option<ListFormat>,
    /// Allow so many reads in any such time, or `none`; repeatable [default: 50/1m,750/1h] [env:
    /// MDE_CANCEL_READ_QUOTA]
    #[arg(
        long,
        value_name = "N/DURATION",
        value_delimiter = ',',
        value_parser = QuotaChoice::parse,
        help_heading = "Quota and pace"
    )]
    pub read_quota: Vec<QuotaChoice>,
    /// Where it is read.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// A table for people
    Table,
    /// A header and a line for each action, which `run` reads
    Csv,
    /// A JSON object for each action, one a line, which `run` reads, too
    Jsonl,
}
