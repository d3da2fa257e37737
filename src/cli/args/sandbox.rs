//! Flags of `sandbox`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::quota::Windows;
use crate::sandbox::{Faults, Latency, parse_quota};

use super::value;

/// What `sandbox` takes. None of it is read from the environment: it describes one sandbox, and its quota is the
/// imitation's, not ours.
#[derive(Args, Clone, Debug)]
pub struct SandboxArgs {
    /// Listen on this port of 127.0.0.1; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
    /// Make up the actions that this file names, in any format that `run` reads
    #[arg(long, value_name = "FILE", conflicts_with = "actions")]
    pub seed: Option<PathBuf>,
    /// Make up so many actions
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(..=1_000_000)
    )]
    pub actions: u32,
    /// Enforce these windows for each endpoint, or `none`
    #[arg(long, value_name = "WINDOWS", default_value = "100/1m,1500/1h", value_parser = parse_quota)]
    pub quota: Windows,
    /// Take so long for each answer: a time, a range such as 50ms..150ms, or `none`
    #[arg(long, value_name = "TIME", default_value = "none", value_parser = Latency::parse)]
    pub latency: Latency,
    /// Let calls go wrong by this script, for example '503@every=7;hang@nth=12'
    #[arg(long, value_name = "SCRIPT", value_parser = Faults::parse)]
    pub faults: Option<Faults>,
    /// Accept only tokens that this sandbox handed out
    #[arg(long)]
    pub strict_tokens: bool,
    /// Let the tokens that it hands out end after this time
    #[arg(long, value_name = "DURATION", default_value = "3599s", value_parser = value::bound)]
    pub token_lifetime: Duration,
    /// Append each call to this file, one JSON line each
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}
