//! What is written beside the reports.

use std::path::PathBuf;

use clap::Args;

/// What is written beside the reports.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Report")]
pub struct OutputArgs {
    /// Keep this file up to date for the textfile collector of Prometheus' node_exporter [env:
    /// MDE_CANCEL_METRICS_FILE]
    #[arg(long, value_name = "PATH")]
    pub metrics_file: Option<PathBuf>,
}
