//! Where a run's calls go: the service itself, or the sandbox that this process embeds.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use url::Url;

use crate::api::{ApiError, ApiSettings, Connection, Proxies, ReadClient, RootCerts, SendClient};
use crate::auth::{AuthError, Claims, Credential, StaticToken, Token, TokenSource};
use crate::cli::failure::{Failure, RunExit};
use crate::cli::settings::{ConnectionSettings, SignIn};
use crate::clock::{Clock, SystemClock};
use crate::engine::{LaneHandles, LaneName, ReadHandles};
use crate::input::{Input, InputError, InputSettings, OpenInput, open};
use crate::model::{Destination, RunId, Scope, UNNAMED};
use crate::sandbox::{Generator, Sandbox, SandboxSettings, serve};

use super::sign_in::{credential, first_token, trust, user_agent};

/// The cloud in the scopes of an embedded sandbox.
pub(super) const SANDBOX_CLOUD: &str = "sandbox";

/// What the sandbox of `run --sandbox` throws its dice from: one seed, so that the first run looks the same everywhere.
const SANDBOX_SEED: u64 = 7;

/// Rows of the input that the sandbox knows beforehand; later ones get their record when they are first asked for.
const SEEDED: u64 = 100_000;

/// Why the service cannot be called.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Sandbox(#[from] anyhow::Error),
}

impl ConnectError {
    /// Returns what to do about it, as an imperative without a period.
    pub(super) fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Auth(error) => error.hint(),
            Self::Api(ApiError::CaFile(error)) => error.hint().map(Cow::from),
            Self::Api(_) | Self::Sandbox(_) => None,
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let hint = error.hint().map(Cow::into_owned);
        let failure = match error {
            ConnectError::Auth(error) => Self::new(RunExit::Unreachable, error),
            ConnectError::Api(error) => Self::new(RunExit::Refused, error),
            ConnectError::Sandbox(error) => Self::new(RunExit::Fault, error),
        };
        hint.into_iter().fold(failure, Failure::hint)
    }
}

/// A service that can be called, and what its allowances belong to.
pub(super) struct Service {
    /// The handles of the run's one lane.
    pub(super) lane: Arc<LaneHandles>,
    /// What the service counts its calls by.
    pub(super) identity: Identity,
    pub(super) sandbox: Option<EmbeddedSandbox>,
}

/// What the service counts calls by, and what the token says of itself.
#[derive(Clone)]
pub(super) struct Identity {
    /// The cloud preset's name, or host and port.
    pub(super) cloud: String,
    /// The tenant as the token names it, else as it was typed, or `-`.
    pub(super) tenant: String,
    /// The app, likewise.
    pub(super) app: String,
    /// The tenant as it was typed.
    typed_tenant: Option<String>,
    /// What calls are counted by: tenant and app as the token names them, however they were typed. All opaque tokens of one
    /// cloud may be of one tenant and app, so they share one ledger.
    counted: [String; 2],
    /// The token's claims; none where it is opaque.
    pub(super) claims: Option<Claims>,
    /// When the token ends, where no newer one can be had then.
    pub(super) token_ends: Option<Timestamp>,
}

impl Identity {
    /// Names the parties: as the token does, and where there is none yet or it is opaque, as the settings do.
    pub(super) fn of(
        settings: &ConnectionSettings,
        token: Option<Token>,
        token_ends: Option<Timestamp>,
    ) -> Self {
        let has_token = token.is_some();
        let claims = token.and_then(|token| token.claims);
        let claimed = claims.as_ref().map(|claims| (&claims.tenant, &claims.app));
        let (tenant, app) = claimed.map_or((None, None), |(tenant, app)| {
            (
                tenant.as_ref().map(|id| id.to_lowercase()),
                app.as_ref().map(|id| id.to_lowercase()),
            )
        });
        let or_typed = |claimed: &Option<String>, typed: &Option<String>| {
            let known = claimed.clone().or_else(|| typed.clone());
            known.unwrap_or_else(unnamed)
        };
        let parties = [
            or_typed(&tenant, &settings.tenant),
            or_typed(&app, &settings.client_id),
        ];
        let counted = if has_token {
            [tenant, app].map(|claimed| claimed.unwrap_or_else(unnamed))
        } else {
            parties.clone()
        };
        let [tenant, app] = parties;
        Self {
            cloud: settings.cloud.clone(),
            tenant,
            app,
            typed_tenant: settings.tenant.clone(),
            counted,
            claims,
            token_ends,
        }
    }

    /// Returns the scope of one kind of call.
    pub(super) fn scope(&self, destination: Destination) -> Scope {
        let [tenant, app] = self.counted.clone();
        Scope {
            cloud: self.cloud.clone(),
            tenant,
            app,
            destination,
        }
    }

    /// Returns whether `tenant` is this one, by any of its names.
    pub(super) fn is_tenant(&self, tenant: &str) -> bool {
        self.tenant == tenant || self.typed_tenant.as_deref() == Some(tenant)
    }

    /// Returns the words by which a row may name this tenant. One that neither settings nor token name has its profile's
    /// name alone, and without a profile none at all: no row that names a tenant is then taken for it.
    pub(super) fn lane_name(&self, profile: Option<&str>) -> LaneName {
        let tenant = Some(self.tenant.clone()).filter(|tenant| *tenant != unnamed());
        let profile = profile.map(str::to_owned);
        let typed = self.typed_tenant.clone();
        LaneName {
            shown: typed
                .clone()
                .or_else(|| tenant.clone())
                .or_else(|| profile.clone()),
            words: [profile, typed, tenant].into_iter().flatten().collect(),
        }
    }

    /// Returns the tenant as the token names it, else as it was typed: what a plan's id is made of.
    pub(super) fn true_tenant(&self) -> String {
        self.tenant.to_lowercase()
    }

    /// Names where calls go, for people.
    pub(super) fn place(&self) -> [(&'static str, String); 3] {
        let tenant = match &self.typed_tenant {
            Some(typed) if *typed != self.tenant => format!("{typed} ({})", self.tenant),
            _ => self.tenant.clone(),
        };
        [
            ("cloud", self.cloud.clone()),
            ("tenant", tenant),
            ("app", self.app.clone()),
        ]
    }
}

/// Signs in as the settings say.
pub(super) async fn sign_in(
    settings: &ConnectionSettings,
    timeout: Duration,
) -> Result<(Credential, Identity), ConnectError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let credential = credential(settings, timeout, &clock)?;
    let token = first_token(&credential, &*clock).await?;
    let token_ends = token.expires_at.filter(|_| !credential.is_renewable());
    let identity = Identity::of(settings, Some(token), token_ends);
    Ok((credential, identity))
}

/// Says what can be said without a call: all of it where a ready token is at hand, else what the settings name.
pub(super) async fn identity_at_hand(
    settings: &ConnectionSettings,
    timeout: Duration,
) -> Result<Identity, ConnectError> {
    match settings.sign_in {
        SignIn::Token(_) => Ok(sign_in(settings, timeout).await?.1),
        _ => Ok(Identity::of(settings, None, None)),
    }
}

/// An imitation of the service that this process serves to itself.
pub(super) struct EmbeddedSandbox {
    sandbox: Sandbox,
    /// Where it is saved, so that a resume meets the same records.
    snapshot: PathBuf,
    /// Keeps it going.
    _keep: oneshot::Sender<()>,
}

impl EmbeddedSandbox {
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

    /// Deletes the snapshot: the run is finished.
    pub(super) fn delete_snapshot(&self) {
        // It may never have been saved.
        std::fs::remove_file(&self.snapshot).ok();
    }
}

impl Service {
    /// Binds the service that the settings name, and signs in; the service itself is sent nothing.
    pub(super) async fn real(
        settings: &ConnectionSettings,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        let (credential, identity) = sign_in(settings, timeout).await?;
        let connection = connect(settings, timeout)?;
        Ok(Self {
            lane: Arc::new(handles(connection, credential)),
            identity,
            sandbox: None,
        })
    }

    /// Starts a sandbox on a free port of this machine: the one that an earlier process saved for this run, or a new one
    /// with an action for each row of the files among `inputs`.
    pub(super) async fn embedded(
        inputs: &[Input],
        settings: &InputSettings,
        run: RunId,
        state_dir: &Path,
        time_scale: u32,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        let snapshot = snapshot_file(state_dir, run);
        let demo = SandboxSettings::demo(time_scale, SANDBOX_SEED);
        let sandbox = if let Ok(saved) = std::fs::read(&snapshot) {
            let saved = serde_json::from_slice(&saved).with_context(|| {
                format!("the sandbox's state {} cannot be read", snapshot.display())
            })?;
            Sandbox::restore(demo, saved)
        } else {
            let sandbox = Sandbox::new(demo);
            let files = inputs.iter().filter(|input| **input != Input::Stdin);
            let files: Vec<_> = files.cloned().collect();
            let files = open(&files, settings).map_err(anyhow::Error::from)?;
            // What cannot be read is told by the run.
            plant(
                &sandbox,
                files,
                &Generator::believable(SANDBOX_SEED),
                SEEDED,
            )
            .ok();
            sandbox
        };
        let imitation = sandbox.clone();
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("the sandbox finds no free port")?;
        let address = listener
            .local_addr()
            .context("the sandbox has no address")?;
        let (keep, stopped) = oneshot::channel::<()>();
        tokio::spawn(serve(listener, sandbox, async {
            // An error means that the run is over, too.
            stopped.await.ok();
        }));
        let base =
            Url::parse(&format!("http://{address}")).context("the sandbox has no address")?;
        let connection = Connection::open(ApiSettings {
            base,
            timeout,
            user_agent: user_agent(),
            trust: RootCerts::Nothing,
            proxies: Proxies::Off,
        })?;
        let token = StaticToken::from_value(&SecretString::from("sandbox"), "the sandbox")?;
        Ok(Self {
            lane: Arc::new(handles(
                connection,
                Credential::new(TokenSource::Ready(token), None),
            )),
            identity: Identity {
                cloud: SANDBOX_CLOUD.to_owned(),
                tenant: unnamed(),
                // Each run has an imitation of its own, with an allowance of its own.
                app: run.to_string(),
                typed_tenant: None,
                counted: [unnamed(), run.to_string()],
                claims: None,
                token_ends: None,
            },
            sandbox: Some(EmbeddedSandbox {
                sandbox: imitation,
                snapshot,
                _keep: keep,
            }),
        })
    }
}

/// Names the file in which the sandbox of a run is saved.
pub(super) fn snapshot_file(state_dir: &Path, run: RunId) -> PathBuf {
    state_dir.join(format!("imitation-{run}.json"))
}

/// Binds the half of a service that reads. Nothing here could send a cancel.
pub(super) async fn to_read(
    settings: &ConnectionSettings,
    timeout: Duration,
) -> Result<(Arc<ReadHandles>, Identity), ConnectError> {
    let (credential, identity) = sign_in(settings, timeout).await?;
    let reader = ReadClient::new(connect(settings, timeout)?);
    Ok((Arc::new(ReadHandles::new(reader, credential)), identity))
}

/// Opens the way to the service.
pub(super) fn connect(
    settings: &ConnectionSettings,
    timeout: Duration,
) -> Result<Connection, ConnectError> {
    Ok(Connection::open(ApiSettings {
        base: settings.api_url.clone(),
        timeout,
        user_agent: user_agent(),
        trust: trust(settings),
        proxies: Proxies::FromEnvironment,
    })?)
}

/// Makes up an action for each row of these inputs, up to about `most`; returns for how many.
pub(super) fn plant(
    sandbox: &Sandbox,
    inputs: Vec<OpenInput>,
    generator: &Generator,
    most: u64,
) -> Result<u64, InputError> {
    let mut actions = 0;
    for mut input in inputs {
        input.read(&mut |chunk| {
            // A bad row names no action; a run that reads the same file will say so.
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

/// Binds both halves of the service's client.
pub(super) fn handles(connection: Connection, credential: Credential) -> LaneHandles {
    LaneHandles::new(
        SendClient::new(connection.clone()),
        ReadClient::new(connection),
        credential,
    )
}

fn unnamed() -> String {
    UNNAMED.to_owned()
}
