//! `sandbox`: serves the imitation until somebody stops it.
//!
//! It listens on a loopback address only, so nobody else's tools can take it for the service.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::cli::args::SandboxArgs;
use crate::cli::failure::{Failure, RunExit};
use crate::cli::terminal::print;
use crate::cli::text::Count;
use crate::input::{Input, InputError, InputSettings, open};
use crate::sandbox::{self, Generator, Sandbox, SandboxSettings};

use super::execute::usage;
use super::service::plant;

/// What made-up actions are thrown from: the same command shows the same world each time.
const SEED: u64 = 1;

/// Serves an imitation of the service until `stop` is ready; prints its address once callers can reach it.
pub async fn serve_sandbox(typed: SandboxArgs, stop: impl Future) -> Result<(), Failure> {
    let sandbox = Sandbox::new(settings(&typed));
    if let Some(path) = &typed.log {
        sandbox
            .log_to(path)
            .with_context(|| format!("log file {} cannot be opened", path.display()))
            .map_err(|error| Failure::new(RunExit::Refused, error))?;
    }
    let (seed, actions) = (typed.seed, typed.actions);
    let ground = sandbox.clone();
    // Reading a file, or a pipe that trickles, must not hold up the stop.
    let seeding = tokio::task::spawn_blocking(move || made(&ground, seed, actions));
    let mut stop = std::pin::pin!(stop);
    let seeded = tokio::select! {
        made = seeding => made
            .map_err(|error| Failure::new(RunExit::Fault, error))?
            .map_err(usage)?,
        _ = &mut stop => return Ok(()),
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, typed.port));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
        .map_err(|error| {
            Failure::new(RunExit::Refused, error)
                .hint("choose another port with --port, or 0 for a free one")
        })?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::new(RunExit::Fault, error))?;
    print(&greeting(address, &seeded)).map_err(Failure::of_output)?;
    sandbox::serve(listener, sandbox, stop).await;
    Ok(())
}

/// Makes up the actions that there are at the start, and returns what they were made from.
fn made(
    sandbox: &Sandbox,
    seed: Option<PathBuf>,
    actions: u32,
) -> Result<Count<'static>, InputError> {
    let generator = Generator::believable(SEED);
    let Some(path) = seed else {
        let ids = sandbox.generate(actions.into(), &generator);
        return Ok(Count::new(ids.len() as u64, "action"));
    };
    let input = open(&[Input::parse(path.as_os_str())], &InputSettings::default())?;
    let rows = plant(sandbox, input, &generator, u64::MAX)?;
    Ok(Count::new(rows, "row"))
}

fn settings(typed: &SandboxArgs) -> SandboxSettings {
    let mut settings = SandboxSettings {
        quota: typed.quota.clone(),
        latency: typed.latency,
        faults: typed.faults.clone().unwrap_or_default(),
        keeps_calls: false,
        ..SandboxSettings::default()
    };
    settings.tokens.lifetime = typed.token_lifetime;
    settings.tokens.strict = typed.strict_tokens;
    settings
}

fn greeting(address: SocketAddr, seeded: &Count<'_>) -> String {
    // The address ends its line, for scripts and for a double click.
    format!(
        "SANDBOX at http://{address}\nseeded with {seeded}; any word will do for a token, unless tokens are strict\n"
    )
}
