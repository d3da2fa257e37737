//! The sandbox: `sandbox` serves it until it is stopped, `run --sandbox` embeds one.
//!
//! It listens only on a loopback address, so that no other machine's tools can mistake it for the service.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use url::Url;

use crate::api::{Connection, Proxies, RootCerts, WebSettings, saved_actions};
use crate::auth::{Credential, StaticToken, TokenSource};

use crate::cli::args::SandboxArgs;
use crate::cli::failure::{Failure, RunExit};
use crate::cli::format_time::Count;
use crate::cli::terminal::print;
use crate::engine::LaneClients;
use crate::input::{Input, InputError, InputSettings, OpenInput, open};
use crate::model::RunId;
use crate::sandbox::{self, Generator, MockAction, Sandbox, SandboxSettings, serve};

use super::service_clients::{handles, user_agent};

/// The cloud in the scopes of an embedded sandbox.
pub(super) const SANDBOX_CLOUD: &str = "sandbox";

/// The seed of `run --sandbox`, fixed so that the first run looks the same everywhere.
const SANDBOX_SEED: u64 = 7;

/// Input rows that the sandbox gets in advance. Later ones get their record on first request.
const SEEDED: u64 = 100_000;

/// The seed of made-up actions, fixed so that the same command makes the same actions.
const SEED: u64 = 1;

/// Serves a sandbox until `stop` is ready. Prints its address once it accepts calls.
pub async fn serve_sandbox(typed: SandboxArgs, stop: impl Future) -> Result<(), Failure> {
    let sandbox = Sandbox::new(settings(&typed));
    if let Some(path) = &typed.log {
        sandbox
            .log_to(path)
            .with_context(|| format!("log file {} cannot be opened", path.display()))
            .map_err(Failure::refused)?;
    }
    let (seed, actions) = (typed.seed, typed.actions);
    let ground = sandbox.clone();
    // Reading a file or a slow pipe must not delay the stop.
    let seeding = tokio::task::spawn_blocking(move || made(&ground, seed, actions));
    let mut stop = std::pin::pin!(stop);
    let seeded = tokio::select! {
        made = seeding => made
            .map_err(|error| Failure::new(RunExit::Fault, error))?
            .map_err(Failure::refused)?,
        _ = &mut stop => return Ok(()),
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, typed.port));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
        .map_err(|error| {
            Failure::refused(error).hint("choose another port with --port, or 0 for a free one")
        })?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::new(RunExit::Fault, error))?;
    print(&greeting(address, &seeded)).map_err(Failure::of_output)?;
    sandbox::serve(listener, sandbox, stop).await;
    Ok(())
}

/// Adds the actions that exist at the start, and says where they come from.
fn made(sandbox: &Sandbox, seed: Option<PathBuf>, actions: u32) -> Result<String, InputError> {
    let generator = Generator::realistic(SEED);
    let Some(path) = seed else {
        let ids = sandbox.generate(actions.into(), &generator);
        return Ok(Count::new(ids.len() as u64, "action").to_string());
    };
    // A pipe can be read only once.
    let json = path.is_file().then(|| std::fs::read_to_string(&path).ok());
    let saved = saved_actions(&json.flatten().unwrap_or_default());
    let saved: Vec<_> = saved.into_iter().filter_map(MockAction::saved).collect();
    let input = open(&[Input::parse(path.as_os_str())], &InputSettings::default())?;
    let rows = plant(sandbox, input, &generator, u64::MAX)?;
    let rows = Count::new(rows, "row");
    let seeded = match saved.len() as u64 {
        0 => format!("{rows}; their statuses and times are made up"),
        kept => format!("{rows}; {kept} keep their status and time"),
    };
    for action in saved {
        sandbox.add(action);
    }
    Ok(seeded)
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

fn greeting(address: SocketAddr, seeded: &str) -> String {
    // The address ends its line, for scripts and for a double click.
    format!(
        "SANDBOX at http://{address}\nseeded with {seeded}\nany token is accepted, unless --strict-tokens is set\n"
    )
}

/// A sandbox in this process, for its own run.
pub(super) struct EmbeddedSandbox {
    sandbox: Sandbox,
    /// Where it is saved, so that a resume finds the same records.
    snapshot: PathBuf,
    /// Keeps it alive.
    _keep: oneshot::Sender<()>,
}

impl EmbeddedSandbox {
    /// Starts a sandbox on a free port: the one that an earlier process saved for this run, or a new one with an action
    /// for each row of the files in `inputs`.
    pub(super) async fn start(
        inputs: &[Input],
        settings: &InputSettings,
        run: RunId,
        state_dir: &Path,
        time_scale: u32,
        timeout: Duration,
    ) -> Result<(LaneClients, Self), Failure> {
        let fault = |error: anyhow::Error| Failure::new(RunExit::Fault, error);
        let snapshot = snapshot_file(state_dir, run);
        let demo = SandboxSettings::demo(time_scale, SANDBOX_SEED);
        let sandbox = if let Ok(saved) = std::fs::read(&snapshot) {
            let saved = serde_json::from_slice(&saved);
            let what = || format!("the sandbox's state {} cannot be read", snapshot.display());
            let saved = saved.with_context(what).map_err(fault)?;
            Sandbox::restore(demo, saved)
        } else {
            let sandbox = Sandbox::new(demo);
            let files = inputs.iter().filter(|input| **input != Input::Stdin);
            let files: Vec<_> = files.cloned().collect();
            let files = open(&files, settings).map_err(|error| fault(error.into()))?;
            // The run reports what can't be read.
            plant(&sandbox, files, &Generator::realistic(SANDBOX_SEED), SEEDED).ok();
            sandbox
        };
        let imitation = sandbox.clone();
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.context("the sandbox finds no free port");
        let listener = listener.map_err(fault)?;
        let address = listener.local_addr().context("the sandbox has no address");
        let address = address.map_err(fault)?;
        let (keep, stopped) = oneshot::channel::<()>();
        tokio::spawn(serve(listener, sandbox, async {
            // An error also means that the run is over.
            stopped.await.ok();
        }));
        let base = Url::parse(&format!("http://{address}"));
        let base = base.context("the sandbox has no address").map_err(fault)?;
        let settings = WebSettings {
            timeout,
            user_agent: user_agent(),
            trust: RootCerts::Nothing,
            proxies: Proxies::Off,
        };
        let connection = Connection::open(base, settings)?;
        let token = StaticToken::from_value(&SecretString::from("sandbox"), "the sandbox")?;
        let credential = Credential::new(TokenSource::Ready(token), None);
        let embedded = Self {
            sandbox: imitation,
            snapshot,
            _keep: keep,
        };
        Ok((handles(connection, credential), embedded))
    }

    pub(super) fn save_snapshot(&self) {
        let save = || {
            let folder = self.snapshot.parent().unwrap_or(Path::new("."));
            let mut part = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer(&mut part, &self.sandbox.save())?;
            part.persist(&self.snapshot)?;
            anyhow::Ok(())
        };
        if let Err(error) = save() {
            let file = self.snapshot.display();
            tracing::warn!(%error, %file, "the sandbox cannot be saved");
        }
    }

    /// Called when the run is finished.
    pub(super) fn delete_snapshot(&self) {
        // It may never have been saved.
        std::fs::remove_file(&self.snapshot).ok();
    }
}

pub(super) fn snapshot_file(state_dir: &Path, run: RunId) -> PathBuf {
    state_dir.join(format!("imitation-{run}.json"))
}

/// Makes up an action for each row of these inputs, up to about `most`. Returns how many.
pub(super) fn plant(
    sandbox: &Sandbox,
    inputs: Vec<OpenInput>,
    generator: &Generator,
    most: u64,
) -> Result<u64, InputError> {
    let mut actions = 0;
    for mut input in inputs {
        input.read(&mut |chunk| {
            // An invalid row names no action; the run that reads the same file reports it.
            let known = chunk.rows.into_iter();
            let known = known.filter_map(|row| row.id.ok().map(|id| (id, row.context)));
            let known: Vec<_> = known.collect();
            actions += known.len() as u64;
            sandbox.seed_from(known, generator);
            if actions < most {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
    }
    Ok(actions)
}
