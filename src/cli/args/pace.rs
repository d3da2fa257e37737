//! Flags that say how fast a run may go, how its calls are sent, and when it stops.

use std::time::Duration;

use clap::Args;

use crate::engine::core::MaxFailures;

use super::value;
use super::value::{PaceChoice, QuotaChoice};

/// How many calls the service allows.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Quota and pace")]
pub struct AllowanceArgs {
    /// Allow so many cancels in any such time, for example 100/1m, or `none`; repeatable [default: 100/1m,1500/1h]
    /// [env: MDE_CANCEL_QUOTA]
    #[arg(
        long,
        value_name = "N/DURATION",
        value_delimiter = ',',
        value_parser = QuotaChoice::parse
    )]
    pub quota: Vec<QuotaChoice>,
    /// Allow so many reads in any such time, or `none`; repeatable [default: 50/1m,750/1h] [env:
    /// MDE_CANCEL_READ_QUOTA]
    #[arg(
        long,
        value_name = "N/DURATION",
        value_delimiter = ',',
        value_parser = QuotaChoice::parse
    )]
    pub read_quota: Vec<QuotaChoice>,
}

/// How calls are sent, for those who measure. Flags only: neither a variable nor the config file sets any of it.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Quota and pace")]
pub struct PaceArgs {
    /// Keep at most so many calls under way at once
    #[arg(long, value_name = "N", hide_short_help = true, default_value = "16", value_parser = value::concurrency)]
    pub concurrency: u32,
    /// Keep at most so many calls of all tenants under way at once
    #[arg(long, value_name = "N", hide_short_help = true, default_value = "256", value_parser = value::concurrency)]
    pub total_concurrency: u32,
    /// Spread bursts to this rate, or `none`: fifty a second spread the first hundred cancels over two seconds, which no
    /// gateway takes for an attack
    #[arg(long, value_name = "N/DURATION", hide_short_help = true, default_value = "50/s", value_parser = PaceChoice::parse)]
    pub rate: PaceChoice,
    /// Give up on a row after so many attempts that count against it
    #[arg(long, value_name = "N", hide_short_help = true, default_value = "6", value_parser = value::attempts)]
    pub max_attempts: u32,
    /// Give up on a call after this time
    #[arg(long, value_name = "DURATION", hide_short_help = true, default_value = "30s", value_parser = value::timeout)]
    pub timeout: Duration,
    /// Count a call that was given up as arriving for so long
    #[arg(long, value_name = "DURATION", hide_short_help = true, default_value = "2m", value_parser = value::grace)]
    pub timeout_grace: Duration,
    /// Stop when no row has ended for this time, waits for the quota not counted
    #[arg(
        long,
        value_name = "DURATION",
        hide_short_help = true,
        default_value = "90m",
        value_parser = value::bound,
        help_heading = "Stopping"
    )]
    pub give_up_after: Duration,
}

/// When a run stops before its rows are settled.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Stopping")]
pub struct BoundsArgs {
    /// Stop cleanly after this time, as for a maintenance window [env: MDE_CANCEL_STOP_AFTER]
    #[arg(long, value_name = "DURATION", value_parser = value::bound)]
    pub stop_after: Option<Duration>,
    /// Stop when so many rows have ended badly, or so many in a hundred of at least 50 that were sent [env:
    /// MDE_CANCEL_MAX_FAILURES]
    #[arg(long, value_name = "N|N%", value_parser = value::max_failures)]
    pub max_failures: Option<MaxFailures>,
}
