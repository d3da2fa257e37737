//! What `preview` takes: as much of `run` as tells what would be sent.

use clap::{Args, ValueEnum};

use crate::model::ActionType;

use super::selection::SelectionArgs;
use super::{AllowanceArgs, ConnectionArgs, InputArgs, value};

/// What `preview` takes.
#[derive(Args, Clone, Debug)]
pub struct PreviewArgs {
    /// What is read.
    #[command(flatten)]
    pub input: InputArgs,
    /// What of it is meant.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Plan with this comment for each cancel; it beats a row's own [env: MDE_CANCEL_COMMENT]
    #[arg(
        short,
        long,
        value_name = "TEXT",
        value_parser = value::comment,
        help_heading = "What is planned"
    )]
    pub comment: Option<String>,
    /// Also plan to cancel Unisolate, UnrestrictCodeExecution or `unknown` types; can leave devices cut off
    #[arg(
        long = "allow-protected",
        value_name = "TYPE",
        value_delimiter = ',',
        value_parser = value::protected_type,
        help_heading = "What is planned"
    )]
    pub include_types: Vec<ActionType>,
    /// Plan without reading the actions' states: no token is needed, and nothing is called
    #[arg(long, help_heading = "What is planned")]
    pub no_precheck: bool,
    /// Print the plan in this format; `csv` is a frozen plan, which `run` takes as an input
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        help_heading = "What is planned"
    )]
    pub format: PlanFormat,
    /// How many calls the service allows.
    #[command(flatten)]
    pub allowance: AllowanceArgs,
    /// Where it would be sent.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// How a plan is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// Its sums, for people
    #[default]
    Table,
    /// Every row, as a frozen plan
    Csv,
    /// Its sums, for programs
    Json,
}
