//! What can be typed: commands, flags and their help, one struct per concern.
//!
//! It says what was typed and no more: no default, no environment, no look at the machine. Every flag that has a
//! default elsewhere is therefore an `Option`, so that settings can tell what was typed from what was not. The
//! environment is read by settings and not by clap, so that no test needs variables of its own process; the help
//! texts name the variables, and a test proves that they do.

pub mod cloud;

pub mod selection;

pub mod shell;

pub mod value;

pub mod connection;

pub mod config;

mod pace;

mod list;
mod plan;
mod sandbox;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::input::InputFormat;
use crate::model::ActionType;

use super::logging::LogFormat;
use super::progress::ProgressMode;
use super::terminal::ColorMode;

pub use list::{ListArgs, ListFormat};
pub use pace::{AllowanceArgs, BoundsArgs, PaceArgs};
pub use sandbox::SandboxArgs;

use cloud::Cloud;
use config::{ConfigCommandArgs, ConfigFileArgs, DoctorArgs};
use selection::SelectionArgs;
use shell::{CompletionsArgs, ManArgs};

pub use connection::ConnectionArgs;

pub use plan::{PlanFormat, PreviewArgs};

const EXAMPLES: &str = "\
Examples:
  mde-cancel run --sandbox actions.csv            Try it: no tenant, no sign-in, nothing real
  mde-cancel preview actions.csv                  See what would be cancelled, and what not and why
  mde-cancel run actions.csv                      Cancel what the file lists, once you have agreed
  some-export | mde-cancel run --yes -            Cancel what comes from a pipe
  mde-cancel quota                                See what is left of the quota windows";

const RUN_EXAMPLES: &str = "\
Examples:
  mde-cancel run --sandbox actions.csv
  mde-cancel run actions.csv
  mde-cancel run --yes --max-actions 500 -c \"CHG-4711: wrong wave\" actions.csv
  mde-cancel run --yes --report result.csv --follow-up hands.csv servers.csv laptops.csv
  mde-cancel run --type LiveResponse --until 3d
  jq -r '.[].id' export.json | mde-cancel run --yes --input-format lines -";

const RUN_EXITS: &str = "\
Exit codes:
  0    Every row ended as asked, nothing is left to do
  1    Unexpected fault
  2    Usage, input or settings that cannot be used, or consent refused
  3    Finished, but something is left: see the report
  4    Stopped as asked; can be taken up again
  5    Sign-in, permission or reach
  6    State folder or journal cannot be used
  7    Gave up; can be taken up again
  130  Interrupted twice";

const PREVIEW_EXAMPLES: &str = "\
Examples:
  mde-cancel preview actions.csv
  mde-cancel preview --no-precheck actions.csv
  mde-cancel preview --type LiveResponse --until 3d
  mde-cancel preview --format csv actions.csv > plan.csv
  mde-cancel run plan.csv";

const PREVIEW_EXITS: &str = "\
Exit codes:
  0  The plan holds no row that needs a look, or nothing to send at all
  2  Usage, input or settings that cannot be used
  3  Rows are invalid, missing or forbidden
  5  Sign-in, permission or reach";

const LIST_EXAMPLES: &str = "\
Examples:
  mde-cancel list --status Pending,InProgress --until 3d > stuck.csv
  mde-cancel list --type Isolate --status Pending --since 2h | mde-cancel run - --yes --max-actions 500
  mde-cancel list --since 2h --summary
  mde-cancel list --type LiveResponse --format jsonl";

const RESUME_EXAMPLES: &str = "\
Examples:
  mde-cancel resume
  mde-cancel resume --dry-run
  mde-cancel resume --yes 019a2b3c --token-file token";

const REPORT_EXAMPLES: &str = "\
Examples:
  mde-cancel report > report.csv
  mde-cancel report --report report.html --report ticket.md 019a2b3c
  mde-cancel report --follow-up machines.csv";

const QUOTA_EXAMPLES: &str = "\
Examples:
  mde-cancel quota
  mde-cancel quota --format json | jq '.[].windows'";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  mde-cancel doctor --credential azure-cli
  mde-cancel doctor --profile contoso";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  mde-cancel completions bash > ~/.local/share/bash-completion/completions/mde-cancel
  mde-cancel completions fish > ~/.config/fish/completions/mde-cancel.fish";

const RM_EXAMPLES: &str = "\
Examples:
  mde-cancel runs rm 019a2b3c
  mde-cancel runs rm --older-than 30d --yes";

const SANDBOX_EXAMPLES: &str = "\
Examples:
  mde-cancel sandbox --port 8642 --seed actions.csv
  mde-cancel sandbox --latency 50ms..150ms --faults '503@every=7;hang@nth=12'
  MDE_CANCEL_TOKEN=any-word mde-cancel run --yes --api-url http://127.0.0.1:8642 actions.csv";

/// Cancel Microsoft Defender for Endpoint machine actions in bulk, as fast as the service's quotas allow and not one
/// call faster
#[derive(Clone, Debug, Parser)]
#[command(
    name = "mde-cancel",
    version,
    after_help = EXAMPLES,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What holds for every command.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Which configuration is read.
    #[command(flatten)]
    pub config: ConfigFileArgs,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Cancel the machine actions that the inputs name
    #[command(after_help = RUN_EXAMPLES, after_long_help = format!("{RUN_EXAMPLES}\n\n{RUN_EXITS}"))]
    Run(Box<RunArgs>),
    /// Print what a run would cancel and what not, and why; this sends no cancel
    #[command(after_help = PREVIEW_EXAMPLES, after_long_help = format!("{PREVIEW_EXAMPLES}\n\n{PREVIEW_EXITS}"))]
    Preview(Box<PreviewArgs>),
    /// Find actions in the tenant and print them as they come, ready for `run -`
    #[command(after_help = LIST_EXAMPLES)]
    List(Box<ListArgs>),
    /// Go on with a run that stopped or crashed, from the journal alone
    #[command(after_help = RESUME_EXAMPLES)]
    Resume(Box<ResumeArgs>),
    /// List past runs, newest first; show or remove one
    Runs(RunsArgs),
    /// Write a run's report again, also of a run that still goes on
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportCommandArgs),
    /// Show what is spent and left in each quota window, as seen by this state folder
    #[command(after_help = QUOTA_EXAMPLES)]
    Quota(QuotaArgs),
    /// Check settings, state folder, sign-in, permissions and reach, and say what mends what fails
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Box<DoctorArgs>),
    /// Show the configuration
    Config(ConfigCommandArgs),
    /// Serve an imitation of the service on a loopback address until stopped
    #[command(after_help = SANDBOX_EXAMPLES)]
    Sandbox(Box<SandboxArgs>),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for each command
    Man(ManArgs),
}

/// What `run` takes.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// What is read.
    #[command(flatten)]
    pub input: InputArgs,
    /// What of it is meant.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// What may be sent.
    #[command(flatten)]
    pub consent: ConsentArgs,
    /// What is written about it.
    #[command(flatten)]
    pub report: ReportArgs,
    /// How fast it may go.
    #[command(flatten)]
    pub allowance: AllowanceArgs,
    /// How it is sent.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// When it stops.
    #[command(flatten)]
    pub bounds: BoundsArgs,
    /// Where it is sent.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Run against an embedded sandbox seeded from the input: no tenant, no sign-in, no question; quota periods and
    /// waits are ten times shorter
    #[arg(
        long,
        help_heading = "Connection",
        conflicts_with_all = [
            "tenant_id", "client_id", "cloud", "region", "api_url", "token_file", "credential", "client_secret_file",
            "login_url", "api_scope", "ca_file",
        ]
    )]
    pub sandbox: bool,
    /// Print the plan and send nothing, as `preview` does
    #[arg(long, help_heading = "What is sent")]
    pub dry_run: bool,
    /// Send nothing where the plan would cancel more than so many, once all states are known; a must with --yes on a
    /// selection from the tenant
    #[arg(long, value_name = "N", help_heading = "What is sent")]
    pub max_actions: Option<u64>,
}

/// What `resume` takes.
#[derive(Args, Clone, Debug)]
pub struct ResumeArgs {
    /// Go on with this run: its id, or the beginning of it [default: the one unfinished run of the last 24 hours]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
    /// Send without a question
    #[arg(short, long, help_heading = "What is sent")]
    pub yes: bool,
    /// Show what is left and send nothing
    #[arg(long, help_heading = "What is sent")]
    pub dry_run: bool,
    /// Send what is left without reading the actions' states first
    #[arg(long, help_heading = "What is sent")]
    pub no_precheck: bool,
    /// Write the report to this file, as in `run`; repeatable [default: where the run wrote it]
    #[arg(long = "report", value_name = "PATH", help_heading = "Report")]
    pub reports: Vec<PathBuf>,
    /// Write the machines that still need work to this .csv file [default: as in the run]
    #[arg(long, value_name = "PATH", help_heading = "Report")]
    pub follow_up: Option<PathBuf>,
    /// Keep this file up to date for the textfile collector of Prometheus' node_exporter [default: as in the run]
    #[arg(long, value_name = "PATH", help_heading = "Report")]
    pub metrics_file: Option<PathBuf>,
    /// Stop cleanly after this time, as for a maintenance window
    #[arg(long, value_name = "DURATION", value_parser = value::bound, help_heading = "Stopping")]
    pub stop_after: Option<Duration>,
    /// Where it is sent.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// What `runs` takes.
#[derive(Args, Clone, Debug)]
pub struct RunsArgs {
    /// What to do with them, if not to list them.
    #[command(subcommand)]
    pub command: Option<RunsCommand>,
    /// Print in this format [default: table]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub format: Option<TableFormat>,
}

/// What to do with past runs.
#[derive(Clone, Debug, Subcommand)]
pub enum RunsCommand {
    /// Show one run: how it stands, where it wrote, what its rows and machines came to
    Show(ShowArgs),
    /// Remove runs with their rows and attempts; the calls that they spent stay counted
    #[command(after_help = RM_EXAMPLES)]
    Rm(RemoveArgs),
}

/// What `runs show` takes.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Show this run: its id, or the beginning of it
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Print in this format
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: TableFormat,
}

/// What `runs rm` takes.
#[derive(Args, Clone, Debug)]
pub struct RemoveArgs {
    /// Remove these runs: their ids, or the beginnings of them
    #[arg(value_name = "RUN", required_unless_present = "older_than")]
    pub runs: Vec<String>,
    /// Remove all that were last worked on longer ago than this, for example 30d
    #[arg(long, value_name = "AGE", value_parser = value::duration, conflicts_with = "runs")]
    pub older_than: Option<Duration>,
    /// Remove without a question
    #[arg(short, long)]
    pub yes: bool,
}

/// What `report` takes.
#[derive(Args, Clone, Debug)]
pub struct ReportCommandArgs {
    /// Report on this run: its id, or the beginning of it [default: the newest]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
    /// Write to this file, whose ending picks the format (.csv, .jsonl, .json, .html, .md), or CSV to standard output
    /// for `-`; repeatable [default: -, unless --follow-up is given]
    #[arg(long = "report", value_name = "PATH")]
    pub reports: Vec<PathBuf>,
    /// Write the machines that still need work to this CSV file
    #[arg(long, value_name = "PATH")]
    pub follow_up: Option<PathBuf>,
}

/// What is read, and how.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Input")]
pub struct InputArgs {
    /// Read action ids from these files, or from standard input for `-`; without any, the selection comes from the tenant
    #[arg(value_name = "INPUT", help_heading = None::<&str>)]
    pub inputs: Vec<PathBuf>,
    /// Take the id from this column
    #[arg(long, value_name = "NAME", value_parser = value::words)]
    pub id_column: Option<String>,
    /// Read inputs in this format [default: auto] [env: MDE_CANCEL_INPUT_FORMAT]
    #[arg(
        long,
        value_name = "FORMAT",
        value_parser = PossibleValuesParser::new(value::INPUT_FORMATS)
            .try_map(|word| value::input_format(&word))
    )]
    pub input_format: Option<InputFormat>,
}

/// What may be sent, and what goes along.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What is sent")]
pub struct ConsentArgs {
    /// Send this comment with each cancel; it beats a row's own [default: the row's own, or one that names the run]
    /// [env: MDE_CANCEL_COMMENT]
    #[arg(short, long, value_name = "TEXT", value_parser = value::comment)]
    pub comment: Option<String>,
    /// Also cancel Unisolate, UnrestrictCodeExecution or `unknown` types; can leave devices cut off
    #[arg(
        long = "allow-protected",
        value_name = "TYPE",
        value_delimiter = ',',
        value_parser = value::protected_type
    )]
    pub include_types: Vec<ActionType>,
    /// Send without reading the actions' states first; rows without a type then go out blind
    #[arg(long)]
    pub no_precheck: bool,
    /// Send without a question
    #[arg(short, long)]
    pub yes: bool,
    /// Do not read accepted actions again to see them turn Cancelled [env: MDE_CANCEL_NO_VERIFY]
    #[arg(long)]
    pub no_verify: bool,
    /// Read accepted actions again for at most this time [default: 2m] [env: MDE_CANCEL_VERIFY_TIMEOUT]
    #[arg(long, value_name = "DURATION", value_parser = value::bound, conflicts_with = "no_verify")]
    pub verify_timeout: Option<Duration>,
}

/// What is written about a run.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Report")]
pub struct ReportArgs {
    /// Where reports go; empty for the default.
    #[arg(
        long = "report",
        value_name = "PATH",
        // Apart from the line above, which no angle brackets may enter.
        help = "Write the report to this file, whose ending picks the format (.csv, .jsonl, .json, .html, \
                .md), or CSV to standard output for `-`; repeatable [default: ./mde-cancel-<run id>.csv] [env: MDE_CANCEL_REPORT]"
    )]
    pub reports: Vec<PathBuf>,
    /// Write the machines that still need a hand to this .csv file, one line each [env: MDE_CANCEL_FOLLOW_UP]
    #[arg(long, value_name = "PATH")]
    pub follow_up: Option<PathBuf>,
    /// Keep this file up to date for the textfile collector of Prometheus' node_exporter [env:
    /// MDE_CANCEL_METRICS_FILE]
    #[arg(long, value_name = "PATH")]
    pub metrics_file: Option<PathBuf>,
}

/// What `quota` takes. Scopes are narrowed by flags alone: a variable that was set for runs must not hide others.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct QuotaArgs {
    /// What to do with the scopes, if not to show them.
    #[command(subcommand)]
    pub command: Option<QuotaCommand>,
    /// Print in this format
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: TableFormat,
    /// What is allowed.
    #[command(flatten)]
    pub allowance: AllowanceArgs,
    /// Which scopes.
    #[command(flatten)]
    pub scope: ScopeFilterArgs,
}

/// What to do with the scopes of the ledger.
#[derive(Clone, Debug, Subcommand)]
pub enum QuotaCommand {
    /// Forget the limits, rates and pauses that the service's 429s taught; the calls that were spent stay counted
    Reset(ScopeFilterArgs),
}

/// Which scopes of the ledger are meant.
#[derive(Args, Clone, Debug)]
pub struct ScopeFilterArgs {
    /// Only the scopes of this cloud
    #[arg(long, value_name = "CLOUD", value_enum, help_heading = "Connection")]
    pub cloud: Option<Cloud>,
    /// Only the scopes of this tenant
    #[arg(long, value_name = "TENANT", value_parser = value::tenant, help_heading = "Connection")]
    pub tenant_id: Option<String>,
    /// Only the scopes of this application
    #[arg(long, value_name = "GUID", value_parser = value::client, help_heading = "Connection")]
    pub client_id: Option<String>,
}

/// How a table is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// What holds for every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Common")]
pub struct CommonArgs {
    /// Keep journal and ledger in this folder [default: the platform's state folder] [env: MDE_CANCEL_STATE_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Write log lines in this form [default: text] [env: MDE_CANCEL_LOG_FORMAT]
    #[arg(long, global = true, value_name = "FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
    /// Append log lines to this file too [env: MDE_CANCEL_LOG_FILE]
    #[arg(long, global = true, value_name = "PATH")]
    pub log_file: Option<PathBuf>,
    /// Say more; repeat for still more
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say errors and results only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Show progress on standard error [default: auto] [env: MDE_CANCEL_PROGRESS]
    #[arg(long, global = true, value_name = "WHEN", value_enum)]
    pub progress: Option<ProgressMode>,
    /// Colour the output [default: auto] [env: MDE_CANCEL_COLOR, NO_COLOR]
    #[arg(long, global = true, value_name = "WHEN", value_enum)]
    pub color: Option<ColorMode>,
}
