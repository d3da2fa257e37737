//! `sandbox`: serves the imitation until somebody stops it.
//!
//! It listens on a loopback address only, so nobody else's tools can take it for the service.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::cli::args::SandboxArgs;
use crate::cli::failure::{Failure, FailureKind};
use crate::cli::terminal::print;
use crate::cli::text::Count;
use crate::input::{self, Input, InputSettings};
use crate::sandbox::{self, Generator, Sandbox, SandboxSettings};

/// What made-up actions are thrown from: the same command shows the same world each time.
const SEED: u64 = 1;

/// Serves an imitation of the service until `stop` is ready; prints its address once callers can reach it.
pub async fn serve_sandbox(typed: SandboxArgs, stop: impl Future) -> Result<(), Failure> {
    let sandbox = Sandbox::new(settings(&typed));
    if let Some(path) = &typed.log {
        sandbox
            .log_to(path)
            .with_context(|| format!("log file {} cannot be opened", path.display()))
            .map_err(|error| Failure::new(FailureKind::Usage, error))?;
    }
    let (seed, actions) = (typed.seed, typed.actions);
    let ground = sandbox.clone();
    // Reading a file, or a pipe that trickles, must not hold up the stop.
    let seeding = tokio::task::spawn_blocking(move || plant(&ground, seed, actions));
    let mut stop = std::pin::pin!(stop);
    let seeded = tokio::select! {
        planted = seeding => planted
            .map_err(|error| Failure::new(FailureKind::Fault, error))??,
        _ = &mut stop => return Ok(()),
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, typed.port));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
        .map_err(|error| {
            Failure::new(FailureKind::Usage, error)
                .hint("choose another port with --port, or 0 for a free one")
        })?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::new(FailureKind::Fault, error))?;
    print(&greeting(address, &seeded)).map_err(Failure::of_output)?;
    sandbox::serve(listener, sandbox, stop).await;
    Ok(())
}

/// Makes up the actions that there are at the start, and returns what they were made from.
fn plant(
    sandbox: &Sandbox,
    seed: Option<PathBuf>,
    actions: u32,
) -> Result<Count<'static>, Failure> {
    let generator = Generator::believable(SEED);
    let Some(path) = seed else {
        let ids = sandbox.generate(actions.into(), &generator);
        return Ok(Count::new(ids.len() as u64, "action"));
    };
    let input = Input::parse(path.as_os_str());
    Ok(Count::new(plant_input(sandbox, input, &generator)?, "row"))
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

fn plant_input(sandbox: &Sandbox, input: Input, generator: &Generator) -> Result<u64, Failure> {
    let unusable = |error| Failure::new(FailureKind::Usage, error);
    let mut actions = 0;
    for mut open in input::open(&[input], &InputSettings::default()).map_err(unusable)? {
        let read = open.read(&mut |chunk| {
            // A bad row names no action; a run that reads the same file will say so.
            let known = chunk.rows.into_iter();
            let known = known.filter_map(|row| row.id.ok().map(|id| (id, row.context)));
            let known: Vec<_> = known.collect();
            actions += known.len() as u64;
            sandbox.seed_from(known, generator);
            ControlFlow::Continue(())
        });
        read.map_err(unusable)?;
    }
    Ok(actions)
}

fn greeting(address: SocketAddr, seeded: &Count<'_>) -> String {
    // The address ends its line, for scripts and for a double click.
    format!(
        "SANDBOX at http://{address}\nseeded with {seeded}; any word will do for a token, unless tokens are strict\n"
    )
}
