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

/// How calls are sent, for those who measure.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Quota and pace")]
pub struct PaceArgs {
    /// Keep at most so many calls under way at once [default: 16] [env: MDE_CANCEL_CONCURRENCY]
    #[arg(long, value_name = "N", hide_short_help = true, value_parser = value::concurrency)]
    pub concurrency: Option<u32>,
    /// Keep at most so many calls of all tenants under way at once [default: 256] [env: MDE_CANCEL_TOTAL_CONCURRENCY]
    #[arg(long, value_name = "N", hide_short_help = true, value_parser = value::concurrency)]
    pub total_concurrency: Option<u32>,
    /// Spread bursts to this rate, or `none` [default: 50/s] [env: MDE_CANCEL_RATE]
    #[arg(long, value_name = "N/DURATION", hide_short_help = true, value_parser = PaceChoice::parse)]
    pub rate: Option<PaceChoice>,
    /// Give up on a row after so many attempts that count against it [default: 6] [env: MDE_CANCEL_MAX_ATTEMPTS]
    #[arg(long, value_name = "N", hide_short_help = true, value_parser = value::attempts)]
    pub max_attempts: Option<u32>,
    /// Give up on a call after this time [default: 30s] [env: MDE_CANCEL_TIMEOUT]
    #[arg(long, value_name = "DURATION", hide_short_help = true, value_parser = value::timeout)]
    pub timeout: Option<Duration>,
    /// Count a call that was given up as arriving for so long [default: 2m] [env: MDE_CANCEL_TIMEOUT_GRACE]
    #[arg(long, value_name = "DURATION", hide_short_help = true, value_parser = value::grace)]
    pub timeout_grace: Option<Duration>,
}

/// When a run stops before its rows are settled.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Stopping")]
pub struct BoundsArgs {
    /// Stop cleanly after this time, as for a maintenance window [env: MDE_CANCEL_STOP_AFTER]
    #[arg(long, value_name = "DURATION", value_parser = value::bound)]
    pub stop_after: Option<Duration>,
    /// Stop when so many rows have ended badly, or so many in a hundred of at least 50 that were sent [env:
    /// MDE_CANCEL_MAX_FAILURES]
    #[arg(long, value_name = "N|N%", value_parser = value::max_failures)]
    pub max_failures: Option<MaxFailures>,
    /// Stop when no row has ended for this time, waits for the quota not counted [default: 90m] [env:
    /// MDE_CANCEL_GIVE_UP_AFTER]
    #[arg(long, value_name = "DURATION", hide_short_help = true, value_parser = value::bound)]
    pub give_up_after: Option<Duration>,
}
