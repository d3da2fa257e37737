//! The command line: commands and flags with their defaults and help.
//!
//! With `env_or_config`, a variable and the config file can set a flag, too; see `settings`. Flags without it work only on
//! the command line. No flag takes a secret, because every user of the machine can read command lines.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser as _};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::engine::core::MaxFailures;
use crate::engine::{PlanId, Precheck};
use crate::input::{Input, InputFormat, InputSettings};
use crate::model::{ActionStatus, ActionType, Selection};
use crate::quota::Windows;
use crate::sandbox::{Faults, Latency, parse_quota};

use super::flag_values::{self, RateChoice, Sensitive, When};
use super::logging::LogFormat;
use super::progress::ProgressMode;
use super::terminal::ColorMode;

const ENV_MARK: &str = "[env: ";

/// Lets a variable and the config file set a flag. The key in the file is the flag's name.
pub trait EnvOrConfig {
    #[must_use]
    fn env_or_config(self, variable: &'static str) -> Self;
}

impl EnvOrConfig for Arg {
    /// Adds the variable to the long help, where `variable_of` finds it.
    fn env_or_config(self, variable: &'static str) -> Self {
        let help = self.get_long_help().or(self.get_help());
        let help = help.map(ToString::to_string).unwrap_or_default();
        self.long_help(format!("{help} {ENV_MARK}{variable}]"))
    }
}

pub(super) fn variable_of(flag: &Arg) -> Option<String> {
    let help = flag.get_long_help()?.to_string();
    let (_, variable) = help.rsplit_once(ENV_MARK)?;
    Some(variable.trim_end_matches(']').to_owned())
}

/// Returns the typed subcommands, and the matches of the last one.
pub(super) fn leaf(matches: &ArgMatches) -> (Vec<&str>, &ArgMatches) {
    let (mut path, mut matches) = (Vec::new(), matches);
    while let Some((name, inner)) = matches.subcommand() {
        path.push(name);
        matches = inner;
    }
    (path, matches)
}

pub(super) fn is_typed(matches: &ArgMatches, id: &str) -> bool {
    // The command may not have the flag.
    matches!(matches.try_contains_id(id), Ok(true))
        && matches.value_source(id) == Some(ValueSource::CommandLine)
}

const EXAMPLES: &str = "\
Start here:
  mde-cancel run actions.csv --sandbox    Try it: nothing real happens
  mde-cancel doctor                       Check sign-in, permissions and network
  mde-cancel preview actions.csv          See what would be cancelled
  mde-cancel run actions.csv              Cancel it, after asking you

Most flags can also be set by a variable or in a config file: `mde-cancel help run` names them.";

const RUN_EXAMPLES: &str = "\
Examples:
  mde-cancel run actions.csv --sandbox
  mde-cancel run actions.csv
  mde-cancel run actions.csv --yes --max-actions 500 -c \"CHG-4711: wrong wave\"
  mde-cancel run servers.csv laptops.csv --yes --report result.csv --follow-up machines.csv
  mde-cancel run --type LiveResponse --until 3d
  jq -r '.[].id' export.json | mde-cancel run - --yes --input-format lines";

const RUN_EXITS: &str = "\
Exit codes:
  0    Every row ended as asked, nothing is left to do
  1    Unexpected fault
  2    Wrong usage, unusable input or settings, or nobody agreed
  3    Finished, but something is left: see the report
  4    Stopped as asked; `resume` continues
  5    Sign-in, permission or network; `resume` continues
  6    State folder or journal unusable
  7    Gave up; `resume` continues
  130  Interrupted twice";

const PREVIEW_EXAMPLES: &str = "\
Examples:
  mde-cancel preview actions.csv
  mde-cancel preview actions.csv --no-precheck
  mde-cancel preview --type LiveResponse --until 3d
  mde-cancel preview actions.csv --format csv > plan.csv
  mde-cancel run plan.csv
  mde-cancel run plan.csv --yes --plan 961c-2524-c3ed-07b1-4e02";

const PREVIEW_EXITS: &str = "\
Exit codes:
  0  Nothing in the plan needs attention
  2  Wrong usage, unusable input or settings, or no row matches
  3  Something needs attention: a row, a machine or a permission, or every row is skipped
  5  Sign-in, permission or network
  6  State folder unusable";

const LIST_EXAMPLES: &str = "\
Examples:
  mde-cancel list --since 2h --summary
  mde-cancel list --status Pending,InProgress --until 3d > stuck.csv
  mde-cancel list --type Isolate --status Pending --since 2h | mde-cancel run - --yes --max-actions 500
  mde-cancel list --type LiveResponse --format jsonl
  mde-cancel list --isolated --requestor soc-automation > isolated.csv";

const RELEASE_EXAMPLES: &str = "\
Examples:
  mde-cancel release 019a2b3c --dry-run
  mde-cancel release 019a2b3c
  mde-cancel release 019a2b3c --requestor soc-automation --exclude-from keep.txt
  mde-cancel release 019a2b3c --yes --plan 961c-2524-c3ed-07b1-4e02";

const RESUME_EXAMPLES: &str = "\
Examples:
  mde-cancel resume
  mde-cancel resume --dry-run
  mde-cancel resume 019a2b3c --yes --token-file token";

const REPORT_EXAMPLES: &str = "\
Examples:
  mde-cancel report > report.csv
  mde-cancel report 019a2b3c -o report.html -o ticket.md
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

fn with_exits_elsewhere(examples: &str) -> String {
    format!("{examples}\n\n`--help` lists more flags, the variables, and the exit codes.")
}

/// Cancel Microsoft Defender for Endpoint machine actions in bulk, as fast as the service allows
#[derive(Clone, Debug, Parser)]
#[command(name = "mde-cancel", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Cancel the actions in a file, or those selected from the tenant
    #[command(after_help = with_exits_elsewhere(RUN_EXAMPLES), after_long_help = format!("{RUN_EXAMPLES}\n\n{RUN_EXITS}"))]
    Run(Box<RunArgs>),
    /// Show what a run would cancel, and why; sends nothing
    #[command(after_help = with_exits_elsewhere(PREVIEW_EXAMPLES), after_long_help = format!("{PREVIEW_EXAMPLES}\n\n{PREVIEW_EXITS}"))]
    Preview(Box<PreviewArgs>),
    /// Find actions in the tenant and print them
    #[command(after_help = LIST_EXAMPLES)]
    List(Box<ListArgs>),
    /// Release the machines that a run found isolated or restricted
    #[command(after_help = RELEASE_EXAMPLES, after_long_help = format!("{RELEASE_EXAMPLES}\n\n{RUN_EXITS}"))]
    Release(Box<ReleaseArgs>),
    /// Continue a run that was stopped or interrupted
    #[command(after_help = RESUME_EXAMPLES)]
    Resume(Box<ResumeArgs>),
    /// List past runs; show or delete one
    Runs(RunsArgs),
    /// Write the report of a run again, in any format
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Show the used and free quota in each window
    #[command(after_help = QUOTA_EXAMPLES)]
    Quota(QuotaArgs),
    /// Check settings, state, sign-in, permissions and network; say how to fix what fails
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Box<DoctorArgs>),
    /// Show the settings in effect and where each comes from
    Config(ConfigArgs),
    /// Serve the built-in imitation of the service on this machine
    #[command(after_help = SANDBOX_EXAMPLES)]
    Sandbox(Box<SandboxArgs>),
    /// Print a shell completion script
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Print the manual page
    Man(ManArgs),
}

#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Send without asking
    #[arg(short, long, help_heading = "Safety", display_order = 0)]
    pub yes: bool,
    /// Send only the plan with this id, or what is left of it
    #[arg(
        long = "plan",
        value_name = "ID",
        value_parser = flag_values::plan_id,
        conflicts_with = "dry_run",
        help_heading = "Safety",
        display_order = 0,
    )]
    pub approved: Option<PlanId>,
    /// Print the plan and send nothing
    #[arg(long, help_heading = "Safety", display_order = 0)]
    pub dry_run: bool,
    /// Abort if the plan would cancel more than N actions (with --yes, a selection from the tenant needs this or --plan)
    #[arg(long, value_name = "N", help_heading = "Safety", display_order = 0)]
    pub max_actions: Option<u64>,
    #[command(flatten)]
    pub send: SendArgs,
    /// Run against a built-in imitation of the service: nothing real, 10 times faster
    #[arg(
        long,
        help_heading = "Connection",
        conflicts_with_all = [
            "tenant_id", "client_id", "cloud", "region", "api_url", "token_file", "credential", "client_secret_file",
            "client_certificate_file", "federated_token_file", "login_url", "api_scope", "ca_file",
        ]
    )]
    pub sandbox: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

impl RunArgs {
    /// Returns whether the plan must be confirmed at a terminal.
    pub fn asks(&self) -> bool {
        !self.yes && !self.sandbox
    }
}

#[derive(Args, Clone, Debug)]
pub struct SendArgs {
    /// Don't check that accepted calls took effect
    #[arg(long, help_heading = "Sending", value_parser = BoolishValueParser::new(), conflicts_with = "verify_timeout")]
    #[arg(env_or_config = "MDE_CANCEL_NO_VERIFY")]
    pub no_verify: bool,
    /// Wait this long for accepted calls to take effect
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = flag_values::bound, help_heading = "Sending")]
    #[arg(env_or_config = "MDE_CANCEL_VERIFY_TIMEOUT")]
    pub verify_timeout: Duration,
    #[command(flatten)]
    pub tuning: TuningArgs,
    /// Stop cleanly after this time; `resume` continues
    #[arg(long, value_name = "DURATION", value_parser = flag_values::bound, help_heading = "Limits")]
    #[arg(env_or_config = "MDE_CANCEL_STOP_AFTER")]
    pub stop_after: Option<Duration>,
    /// Stop after N failures, or when N% failed (counted from 50 sent)
    #[arg(long, value_name = "N|N%", value_parser = flag_values::max_failures, help_heading = "Limits")]
    #[arg(env_or_config = "MDE_CANCEL_MAX_FAILURES")]
    pub max_failures: Option<MaxFailures>,
    #[command(flatten)]
    pub output: OutputPaths,
}

/// The machines are those that the run found; these flags can only narrow them.
#[derive(Args, Clone, Debug)]
pub struct ReleaseArgs {
    /// Run that found the machines: its id, or the first characters of it
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Only machines that these users or apps isolated or restricted, spelled as the run's report shows them
    #[arg(long = "requestor", value_name = "NAME", value_delimiter = ',', value_parser = flag_values::trimmed)]
    #[arg(conflicts_with = "plan", help_heading = "Selection")]
    pub requestors: Vec<String>,
    /// Never touch what this file lists, besides what the run excluded; repeatable
    #[arg(long, value_name = "FILE")]
    #[arg(conflicts_with = "plan", help_heading = "Selection")]
    pub exclude_from: Vec<PathBuf>,
    /// Send without asking; needs --plan
    #[arg(short, long, requires = "plan", help_heading = "Safety")]
    pub yes: bool,
    /// Send the plan with this id, which --dry-run has made, or what is left of it
    #[arg(
        long,
        value_name = "ID",
        value_parser = flag_values::plan_id,
        requires = "yes",
        conflicts_with_all = [
            "dry_run", "comment", "quota", "read_quota", "no_verify", "verify_timeout", "max_failures",
        ],
        help_heading = "Safety",
    )]
    pub plan: Option<PlanId>,
    /// Make a plan, print it with its id and send nothing
    #[arg(long, conflicts_with = "yes", help_heading = "Safety")]
    pub dry_run: bool,
    /// Comment stored with each release [default: one that names the run]
    #[arg(short, long, value_name = "TEXT", value_parser = flag_values::comment, help_heading = "Sending")]
    #[arg(env_or_config = "MDE_CANCEL_COMMENT")]
    pub comment: Option<String>,
    #[command(flatten)]
    pub quota: QuotaWindowArgs,
    /// Output of --dry-run: table, csv or json
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    #[arg(requires = "dry_run", help_heading = "Output")]
    pub format: PlanFormat,
    #[command(flatten)]
    pub send: SendArgs,
    /// Make sure that RUN is a sandbox run, so that nothing real happens
    #[arg(long, help_heading = "Connection")]
    pub sandbox: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Flags of both a run and its preview.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    #[command(flatten)]
    pub input: InputArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Also cancel Unisolate, UnrestrictCodeExecution or unknown types; can leave devices cut off
    #[arg(long, value_name = "TYPE", value_delimiter = ',', value_parser = flag_values::protected_type)]
    #[arg(help_heading = "Safety")]
    pub allow_protected: Vec<ActionType>,
    /// Send without reading each action's current status first
    #[arg(long, help_heading = "Safety")]
    pub no_precheck: bool,
    /// Comment stored with each cancel [default: the row's own, or one that names the run]
    #[arg(short, long, value_name = "TEXT", value_parser = flag_values::comment, help_heading = "Sending")]
    #[arg(env_or_config = "MDE_CANCEL_COMMENT")]
    pub comment: Option<String>,
    #[command(flatten)]
    pub quota: QuotaWindowArgs,
}

impl PlanArgs {
    /// `now` is the command's start, for ages such as 2h.
    pub fn selection(&self, now: Timestamp) -> Selection {
        if self.input.inputs.is_empty() {
            self.selection.selection_of_tenant(now)
        } else {
            self.selection.selection(now)
        }
    }

    pub fn notes(&self) -> Vec<String> {
        if self.input.inputs.is_empty() {
            self.selection.notes()
        } else {
            Vec::new()
        }
    }

    pub fn precheck(&self) -> Precheck {
        if self.no_precheck {
            Precheck::Skip
        } else {
            Precheck::ReadFirst
        }
    }
}

#[derive(Args, Clone, Debug)]
pub struct PreviewArgs {
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Output: table, csv (a frozen plan for `run`) or json
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    #[arg(help_heading = "Output")]
    pub format: PlanFormat,
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// From `run --dry-run`: after printing, fails if the plan has more cancels.
    #[arg(skip)]
    pub max_actions: Option<u64>,
    /// From `run --dry-run --sandbox`.
    #[arg(skip)]
    pub sandbox: bool,
}

impl From<RunArgs> for PreviewArgs {
    fn from(run: RunArgs) -> Self {
        Self {
            plan: run.plan,
            format: PlanFormat::Table,
            connection: run.connection,
            max_actions: run.max_actions,
            sandbox: run.sandbox,
        }
    }
}

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

#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// List the machines that are still isolated, as far back as --since [default: 30d]
    #[arg(long, conflicts_with_all = ["types", "statuses", "filter", "summary"], help_heading = "Selection")]
    pub isolated: bool,
    /// Count actions by type, status and requestor instead of listing them
    #[arg(long, help_heading = "Output")]
    pub summary: bool,
    /// Output: table, csv or jsonl [default: table on a terminal, else csv]
    #[arg(long, value_name = "FORMAT", value_enum, help_heading = "Output")]
    pub format: Option<ListFormat>,
    #[command(flatten)]
    pub read_quota: ReadQuotaArgs,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// A table for people
    Table,
    /// A header and a line for each action, which `run` reads
    Csv,
    /// A JSON object for each action, one a line, which `run` reads, too
    Jsonl,
}

/// Missing flags keep the run's settings, so no variable sets them.
#[derive(Args, Clone, Debug)]
pub struct ResumeArgs {
    /// Run to continue: its id, or the first characters of it [default: the only unfinished run of the last 24 hours]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
    /// Send without asking
    #[arg(short, long, help_heading = "Safety")]
    pub yes: bool,
    /// Show what is left and send nothing
    #[arg(long, help_heading = "Safety")]
    pub dry_run: bool,
    /// Send without reading each action's current status first
    #[arg(long, help_heading = "Safety")]
    pub no_precheck: bool,
    /// Stop cleanly after this time; `resume` continues
    #[arg(long, value_name = "DURATION", value_parser = flag_values::bound, help_heading = "Limits")]
    pub stop_after: Option<Duration>,
    /// Report file: .csv, .jsonl, .json, .html, .md, or `-` for stdout; repeatable [default: as in the run]
    #[arg(long = "report", value_name = "PATH", help_heading = "Output")]
    pub reports: Vec<PathBuf>,
    /// Write the machines that still need work to this CSV file [default: as in the run]
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    pub follow_up: Option<PathBuf>,
    /// Update this file for the Prometheus node_exporter [default: as in the run]
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    pub metrics_file: Option<PathBuf>,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

impl ResumeArgs {
    pub fn outputs(&self) -> OutputPaths {
        OutputPaths {
            reports: self.reports.clone(),
            follow_up: self.follow_up.clone(),
            metrics_file: self.metrics_file.clone(),
        }
    }
}

#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RunsArgs {
    #[command(subcommand)]
    pub command: Option<RunsCommand>,
    /// Output: table or json
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: TableFormat,
}

#[derive(Clone, Debug, Subcommand)]
pub enum RunsCommand {
    /// Show one run: its state, its files, and what became of its rows and machines
    Show(ShowArgs),
    /// Delete runs from the journal; the calls that they made stay counted
    #[command(after_help = RM_EXAMPLES)]
    Rm(RemoveArgs),
}

#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Run to show: its id, or the first characters of it
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Output: table or json
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: TableFormat,
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct RemoveArgs {
    /// Runs to delete: their ids, or the first characters of them
    #[arg(value_name = "RUN", required_unless_present = "older_than")]
    pub runs: Vec<String>,
    /// Delete all runs that were last worked on longer ago than this, such as 30d
    #[arg(long, value_name = "AGE", value_parser = flag_values::duration, conflicts_with = "runs")]
    pub older_than: Option<Duration>,
    /// Delete without asking
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Run to report on: its id, or the first characters of it [default: the newest run]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
    /// Write to this file: .csv, .jsonl, .json, .html or .md; `-` is CSV on stdout; repeatable [default: -, unless
    /// --follow-up is given]
    #[arg(short, long = "output", value_name = "PATH")]
    pub outputs: Vec<PathBuf>,
    /// Also write the machines that still need work to this CSV file
    #[arg(long, value_name = "PATH")]
    pub follow_up: Option<PathBuf>,
}

impl ReportArgs {
    pub fn outputs(&self) -> OutputPaths {
        let mut outputs = OutputPaths {
            reports: self.outputs.clone(),
            follow_up: self.follow_up.clone(),
            metrics_file: None,
        };
        if outputs == OutputPaths::default() {
            outputs.reports.push(PathBuf::from("-"));
        }
        outputs
    }
}

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Input")]
pub struct InputArgs {
    /// Files with action ids, or `-` for standard input. Without INPUT, the flags of Selection choose actions from the
    /// tenant
    #[arg(value_name = "INPUT", value_hint = ValueHint::AnyPath, value_parser = flag_values::input())]
    #[arg(help_heading = None::<&str>)]
    pub inputs: Vec<Input>,
    /// Column with the action id, if its name isn't recognized
    #[arg(long, value_name = "NAME", value_parser = flag_values::not_blank)]
    pub id_column: Option<String>,
    /// Input format: auto, csv, tsv, jsonl, json or lines
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "auto",
        ignore_case = true,
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(flag_values::INPUT_FORMATS.map(|(word, _)| word))
            .try_map(|word| flag_values::input_format(&word)),
        env_or_config = "MDE_CANCEL_INPUT_FORMAT",
    )]
    pub input_format: InputFormat,
}

impl InputArgs {
    /// With checkpoints, a resume can continue to read.
    pub fn settings(&self, checkpoints: bool) -> InputSettings {
        InputSettings {
            id_column: self.id_column.clone(),
            format: self.input_format,
            checkpoints,
        }
    }
}

/// Command line only, so that a forgotten variable can't widen a run.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Selection")]
pub struct SelectionArgs {
    /// Only these action types, such as Isolate,LiveResponse
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', value_parser = flag_values::action_type)]
    pub types: Vec<ActionType>,
    /// Only these statuses, such as Pending,InProgress
    #[arg(long = "status", value_name = "STATUS", value_delimiter = ',', value_parser = flag_values::status)]
    pub statuses: Vec<ActionStatus>,
    /// Only actions requested by these users or apps, spelled as `mde-cancel list` shows them
    #[arg(long = "requestor", value_name = "NAME", value_delimiter = ',', value_parser = flag_values::trimmed)]
    pub requestors: Vec<String>,
    /// Only actions on these machines
    #[arg(long = "machine-id", value_name = "ID", value_delimiter = ',', value_parser = flag_values::machine_id)]
    pub machine_ids: Vec<String>,
    /// Only actions created after this time, or in this last span: 2026-01-31T08:00:00Z, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = flag_values::when)]
    pub since: Option<When>,
    /// Only actions created before this time, or older than this: 3d means more than 3 days old
    #[arg(long, value_name = "TIME", value_parser = flag_values::when)]
    pub until: Option<When>,
    /// Select with this OData filter instead of the flags above
    #[arg(long, value_name = "ODATA", value_parser = flag_values::trimmed)]
    #[arg(conflicts_with_all = ["types", "statuses", "requestors", "machine_ids", "since", "until"])]
    pub filter: Option<String>,
    /// Never touch what this file lists: one action id, machine id or host name per line; repeatable
    #[arg(long, value_name = "FILE")]
    pub exclude_from: Vec<PathBuf>,
}

impl SelectionArgs {
    /// `now` is the command's start, for ages such as 2h.
    pub fn selection(&self, now: Timestamp) -> Selection {
        Selection {
            types: self.types.clone(),
            statuses: self.statuses.clone(),
            with_succeeded: false,
            requestors: self.requestors.clone(),
            machine_ids: self.machine_ids.clone(),
            since: self.since.map(|when| when.at(now)),
            until: self.until.map(|when| when.at(now)),
        }
    }

    /// Returns what is meant where the actions come from the tenant. Without a status that is what is open, and in the
    /// span of `--since` also what has Succeeded of the types that leave a machine changed, so that a wrong wave is seen
    /// whole.
    pub fn selection_of_tenant(&self, now: Timestamp) -> Selection {
        let selection = self.selection(now);
        if self.filter.is_some() || !self.statuses.is_empty() {
            return selection;
        }
        Selection {
            statuses: vec![ActionStatus::Pending, ActionStatus::InProgress],
            with_succeeded: self.since.is_some(),
            ..selection
        }
    }

    pub fn notes(&self) -> Vec<String> {
        let may_have_changed_machines =
            self.types.is_empty() || self.types.iter().any(ActionType::changes_machine);
        let is_told = self.filter.is_some() || !self.statuses.is_empty() || self.since.is_some();
        if is_told || !may_have_changed_machines {
            return Vec::new();
        }
        vec![
            "actions that have Succeeded are left out; add --since, such as --since 2h, to include those of that time and \
             see which machines are still isolated or restricted"
                .to_owned(),
        ]
    }
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct QuotaWindowArgs {
    /// Send at most N cancels per period; `none` for no limit
    #[arg(long, value_name = "N/DURATION", default_value = "100/1m,1500/1h", value_parser = parse_quota)]
    #[arg(env_or_config = "MDE_CANCEL_QUOTA")]
    quota: Vec<Windows>,
    #[command(flatten)]
    pub reads: ReadQuotaArgs,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct ReadQuotaArgs {
    /// Send at most N reads per period; `none` for no limit
    #[arg(long, value_name = "N/DURATION", default_value = "50/1m,750/1h", value_parser = parse_quota)]
    #[arg(env_or_config = "MDE_CANCEL_READ_QUOTA")]
    read_quota: Vec<Windows>,
}

impl QuotaWindowArgs {
    pub fn cancels(&self) -> Windows {
        all_windows(&self.quota)
    }
}

impl ReadQuotaArgs {
    /// Each kind of read has windows of its own.
    pub fn reads(&self) -> Windows {
        all_windows(&self.read_quota)
    }
}

/// Combines the values of a repeated flag.
pub(super) fn all_windows(given: &[Windows]) -> Windows {
    let all = given.iter().flat_map(Windows::as_slice);
    Windows::new(all.copied().collect())
}

/// Command line only, and hidden in the short help.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Limits")]
pub struct TuningArgs {
    /// Send at most N calls of one tenant at once
    #[arg(long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u32).range(1..=1024))]
    #[arg(hide_short_help = true)]
    pub concurrency: u32,
    /// Send at most N calls of all tenants at once
    #[arg(long, value_name = "N", default_value = "256", value_parser = clap::value_parser!(u32).range(1..=1024))]
    #[arg(hide_short_help = true)]
    pub total_concurrency: u32,
    /// Spread bursts to this rate, or `none`; 50/s spreads the first 100 cancels over 2 s
    #[arg(long, value_name = "N/DURATION", hide_short_help = true, default_value = "50/s", value_parser = flag_values::rate)]
    pub rate: RateChoice,
    /// Give up on a row after N attempts that count against it
    #[arg(long, value_name = "N", default_value = "6", value_parser = clap::value_parser!(u32).range(1..=100))]
    #[arg(hide_short_help = true)]
    pub max_attempts: u32,
    /// Give up on a call after this time
    #[arg(long, value_name = "DURATION", hide_short_help = true, default_value = "30s", value_parser = flag_values::timeout)]
    pub timeout: Duration,
    /// Count a call that was given up as still arriving for this long
    #[arg(long, value_name = "DURATION", hide_short_help = true, default_value = "2m", value_parser = flag_values::grace)]
    pub timeout_grace: Duration,
    /// Stop when no row has ended for this time, not counting waits for the quota
    #[arg(long, value_name = "DURATION", hide_short_help = true, default_value = "90m", value_parser = flag_values::bound)]
    pub give_up_after: Duration,
}

/// The journal stores them, so that a resume writes the same files.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[command(next_help_heading = "Output")]
#[serde(default)]
pub struct OutputPaths {
    /// Report file: .csv, .jsonl, .json, .html, .md, or `-` for stdout; repeatable [default: ./mde-cancel-RUN.csv]
    #[arg(long = "report", value_name = "PATH")]
    #[arg(env_or_config = "MDE_CANCEL_REPORT")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<PathBuf>,
    /// Write the machines that still need work to this CSV file
    #[arg(long, value_name = "PATH", env_or_config = "MDE_CANCEL_FOLLOW_UP")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follow_up: Option<PathBuf>,
    /// Update this file for the Prometheus node_exporter
    #[arg(long, value_name = "PATH", env_or_config = "MDE_CANCEL_METRICS_FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_file: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct QuotaArgs {
    #[command(subcommand)]
    pub command: Option<QuotaCommand>,
    /// Output: table or json
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: TableFormat,
    /// Count by these limits for cancels [default: those of the newest run]
    #[arg(long, value_name = "N/DURATION", value_parser = parse_quota, help_heading = "Limits")]
    #[arg(env_or_config = "MDE_CANCEL_QUOTA")]
    pub quota: Vec<Windows>,
    /// Count by these limits for reads [default: those of the newest run]
    #[arg(long, value_name = "N/DURATION", value_parser = parse_quota, help_heading = "Limits")]
    #[arg(env_or_config = "MDE_CANCEL_READ_QUOTA")]
    pub read_quota: Vec<Windows>,
    #[command(flatten)]
    pub scope: ScopeFilterArgs,
}

#[derive(Clone, Debug, Subcommand)]
pub enum QuotaCommand {
    /// Forget the limits, rates and pauses that the service's 429s taught; the calls that were made stay counted
    Reset(ScopeFilterArgs),
}

/// Selects scopes of the ledger. Command line only: a variable that was set for runs must not hide other scopes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub struct ScopeFilterArgs {
    /// Only this cloud
    #[arg(long, value_name = "CLOUD", value_enum)]
    pub cloud: Option<Cloud>,
    /// Only this tenant
    #[arg(long, value_name = "TENANT", value_parser = flag_values::tenant)]
    pub tenant_id: Option<String>,
    /// Only this application
    #[arg(long, value_name = "GUID", value_parser = flag_values::client)]
    pub client_id: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Output: table or json
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: TableFormat,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show the settings of `run` and where each comes from; secrets are never shown
    Show(Box<ConnectionArgs>),
}

/// Command line only: variables and the config file are for runs, and the quota is the sandbox's own.
#[derive(Args, Clone, Debug)]
pub struct SandboxArgs {
    /// Listen on this port of 127.0.0.1; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
    /// Make the actions that this file names, in any format that `run` reads; those of `list --format jsonl` keep their status
    /// and time
    #[arg(long, value_name = "FILE", conflicts_with = "actions")]
    pub seed: Option<PathBuf>,
    /// Make N actions
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub actions: u32,
    /// Enforce these windows for each endpoint, or `none`
    #[arg(long, value_name = "WINDOWS", default_value = "100/1m,1500/1h", value_parser = parse_quota)]
    pub quota: Windows,
    /// Take this long for each answer: a time, a range such as 50ms..150ms, or `none`
    #[arg(long, value_name = "TIME", default_value = "none", value_parser = Latency::parse)]
    pub latency: Latency,
    /// Let calls go wrong by this script, such as '503@every=7;hang@nth=12'
    #[arg(long, value_name = "SCRIPT", value_parser = Faults::parse)]
    pub faults: Option<Faults>,
    /// Accept only tokens that this sandbox issued
    #[arg(long)]
    pub strict_tokens: bool,
    /// Let issued tokens expire after this time
    #[arg(long, value_name = "DURATION", default_value = "3599s", value_parser = flag_values::bound)]
    pub token_lifetime: Duration,
    /// Append each call to this file, one JSON line each
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct CompletionsArgs {
    /// Shell to complete for
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ManArgs {
    /// Write one page for the program and one for each command into this folder
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Tenant: a GUID or domain name [default: the token's]
    #[arg(long, value_name = "TENANT", value_parser = flag_values::tenant, env_or_config = "AZURE_TENANT_ID")]
    pub tenant_id: Option<String>,
    /// App (client) id [default: the token's]
    #[arg(long, value_name = "GUID", value_parser = flag_values::client, env_or_config = "AZURE_CLIENT_ID")]
    pub client_id: Option<String>,
    #[arg(
        long,
        help = "Sign-in method: client-secret, azure-cli, device-code, token and more, see --help",
        long_help = "Sign-in method: `auto` takes the first that is set up of token, client-secret, certificate, \
                     workload-identity, managed-identity and azure-cli; device-code must be named. A token may also be in \
                     MDE_CANCEL_TOKEN, the app's secret in AZURE_CLIENT_SECRET",
        value_name = "METHOD",
        value_enum,
        default_value_t,
        ignore_case = true,
        hide_possible_values = true,
        env_or_config = "MDE_CANCEL_CREDENTIAL"
    )]
    pub credential: CredentialMethod,
    /// File with the app's secret; only you may read it
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, conflicts_with = "token_file")]
    #[arg(env_or_config = "MDE_CANCEL_CLIENT_SECRET_FILE")]
    pub client_secret_file: Option<Sensitive>,
    /// PEM file with the app's certificate and key; only you may read it
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, hide_short_help = true)]
    #[arg(env_or_config = "AZURE_CLIENT_CERTIFICATE_PATH")]
    pub client_certificate_file: Option<Sensitive>,
    /// File with the app's federated token, as in Kubernetes
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, hide_short_help = true)]
    #[arg(env_or_config = "AZURE_FEDERATED_TOKEN_FILE")]
    pub federated_token_file: Option<Sensitive>,
    /// File with an access token; read again when a new token is needed
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, env_or_config = "MDE_CANCEL_TOKEN_FILE")]
    pub token_file: Option<Sensitive>,
    /// Cloud: commercial, gcc, gcc-high or dod
    #[arg(long, value_name = "CLOUD", value_enum, default_value_t)]
    #[arg(ignore_case = true, hide_possible_values = true)]
    #[arg(env_or_config = "MDE_CANCEL_CLOUD")]
    pub cloud: Cloud,
    /// Regional API host of the commercial cloud: us, eu, uk, au, swa, ina or aea
    #[arg(long, value_name = "REGION", value_enum)]
    #[arg(
        ignore_case = true,
        hide_possible_values = true,
        conflicts_with = "api_url"
    )]
    #[arg(env_or_config = "MDE_CANCEL_REGION")]
    pub region: Option<Region>,
    /// Call the service at this address; plain http for loopback only [default: the cloud's]
    #[arg(long, value_name = "URL", hide_short_help = true)]
    #[arg(env_or_config = "MDE_CANCEL_API_URL")]
    pub api_url: Option<Sensitive>,
    /// Sign in at this address [default: the cloud's]
    #[arg(long, value_name = "URL", hide_short_help = true)]
    #[arg(env_or_config = "AZURE_AUTHORITY_HOST")]
    pub login_url: Option<Sensitive>,
    /// Ask for tokens of this scope [default: the cloud's]
    #[arg(long, value_name = "SCOPE", hide_short_help = true, value_parser = flag_values::api_scope)]
    #[arg(env_or_config = "MDE_CANCEL_API_SCOPE")]
    pub api_scope: Option<String>,
    /// Also trust the certificates in this file (PEM or DER), as for a proxy that opens TLS
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    #[arg(env_or_config = "MDE_CANCEL_CA_FILE")]
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CredentialMethod {
    /// The first that is set up
    #[default]
    Auto,
    /// An app, by its secret
    ClientSecret,
    /// An app, by a certificate
    Certificate,
    /// An app, by a federated token, as in Kubernetes
    WorkloadIdentity,
    /// The Azure machine's own identity
    ManagedIdentity,
    /// The Azure CLI's login
    AzureCli,
    /// A person, by a code that is entered in a browser
    DeviceCode,
    /// An access token
    Token,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Cloud {
    #[default]
    Commercial,
    Gcc,
    GccHigh,
    Dod,
}

/// A region of the commercial cloud with its own host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Region {
    Us,
    Eu,
    Uk,
    Au,
    Swa,
    Ina,
    Aea,
}

/// Returns a value as it is typed.
pub fn word_of(value: impl ValueEnum + Copy) -> String {
    let word = value.to_possible_value();
    word.map(|word| word.get_name().to_owned())
        .unwrap_or_default()
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub struct CommonArgs {
    /// Read settings from this file [default: mde-cancel.toml in the user's config folder]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    #[arg(env_or_config = "MDE_CANCEL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Use this profile of the config file; `run` takes several, or `all`
    #[arg(
        long = "profile",
        global = true,
        value_name = "NAME",
        value_delimiter = ','
    )]
    #[arg(env_or_config = "MDE_CANCEL_PROFILE")]
    pub profiles: Vec<String>,
    /// Folder for past runs and quota counts [default: the user's state folder]
    #[arg(long, global = true, value_name = "DIR")]
    #[arg(env_or_config = "MDE_CANCEL_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Also append the log to this file
    #[arg(long, global = true, value_name = "PATH")]
    #[arg(env_or_config = "MDE_CANCEL_LOG_FILE")]
    pub log_file: Option<PathBuf>,
    /// Log form: text or json
    #[arg(long, global = true, value_name = "FORM", value_enum)]
    #[arg(default_value_t, ignore_case = true, hide_short_help = true)]
    #[arg(hide_possible_values = true, env_or_config = "MDE_CANCEL_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// Log by these directives instead of -v and -q, such as warn,mde_cancel::store=trace
    #[arg(long, global = true, value_name = "DIRECTIVES")]
    #[arg(hide_short_help = true, env_or_config = "MDE_CANCEL_LOG")]
    pub log_filter: Option<String>,
    /// Print more; repeat for even more
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Print only errors and results
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Show progress: auto, always or never
    #[arg(long, global = true, value_name = "WHEN", value_enum)]
    #[arg(default_value_t, ignore_case = true, hide_possible_values = true)]
    #[arg(env_or_config = "MDE_CANCEL_PROGRESS")]
    pub progress: ProgressMode,
    /// Use color: auto, always or never; NO_COLOR counts, too
    #[arg(long, global = true, value_name = "WHEN", value_enum)]
    #[arg(default_value_t, ignore_case = true, hide_possible_values = true)]
    #[arg(env_or_config = "MDE_CANCEL_COLOR")]
    pub color: ColorMode,
}
