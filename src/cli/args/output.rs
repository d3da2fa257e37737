//! What is written beside the reports.

use std::path::PathBuf;

use clap::Args;

/// What is written beside the reports.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Report")]
pub struct OutputArgs {
    /// Write the rows whose machines still need a hand to this CSV file [env: MDE_CANCEL_FOLLOW_UP]
    #[arg(long, value_name = "PATH")]
    pub follow_up: Option<PathBuf>,
    /// Keep this file up to date for the textfile collector of Prometheus' node_exporter [env:
    /// MDE_CANCEL_METRICS_FILE]
    #[arg(long, value_name = "PATH")]
    pub metrics_file: Option<PathBuf>,
}
