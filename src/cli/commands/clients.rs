//! The clients of a run's tenants: credentials, connections, and what the service counts their calls by.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{
    ApiError, ApiSettings, Connection, Proxies, ReadClient, RootCerts, Scheme, SendClient,
    WebSettings, web_client,
};
use crate::auth::{
    AuthError, CachePolicy, Certificate, Claims, Credential, DeviceCode, DevicePrompt, EntraSignIn,
    Grant, LoginClient, ManagedIdentity, SecretOrigin, SignInMethod, StaticToken, Token,
    TokenSource,
};
use crate::cli::failure::{Failure, RunExit};
use crate::cli::settings::{ConnectionSettings, SecretSource, SignIn};
use crate::cli::text::Span;
use crate::clock::{Clock, SystemClock};
use crate::engine::{LaneHandles, LaneName, ReadHandles};
use crate::model::{Destination, RunId, Scope, UNNAMED};

use super::sandbox::{EmbeddedSandbox, SANDBOX_CLOUD};

/// How long a login service that never answered is waited for.
const REACH_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest pause between two tries of the first sign-in.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

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

    /// Returns the identity of an embedded sandbox: each run has a sandbox of its own, with quotas of its own.
    pub(super) fn of_sandbox(run: RunId) -> Self {
        Self {
            cloud: SANDBOX_CLOUD.to_owned(),
            tenant: unnamed(),
            app: run.to_string(),
            typed_tenant: None,
            counted: [unnamed(), run.to_string()],
            claims: None,
            token_ends: None,
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

/// Makes the credential that the settings name; sends nothing.
pub(super) fn credential(
    settings: &ConnectionSettings,
    timeout: Duration,
    clock: &Arc<dyn Clock>,
) -> Result<Credential, ConnectError> {
    credential_over(settings, clock, || login_client(settings, timeout))
}

/// Makes it with clients that are made where it needs any.
pub(super) fn credential_over(
    settings: &ConnectionSettings,
    clock: &Arc<dyn Clock>,
    login: impl FnOnce() -> Result<LoginClient, ApiError>,
) -> Result<Credential, ConnectError> {
    let ready = |token: StaticToken| {
        TokenSource::Ready(token.expected_for(&settings.api_scope, Arc::clone(clock)))
    };
    let source = match &settings.sign_in {
        SignIn::Token(SecretSource::Environment(token, name)) => {
            ready(StaticToken::from_value(token, name)?)
        }
        SignIn::Token(SecretSource::File(path)) => ready(StaticToken::from_file(path)?),
        sign_in => TokenSource::SignIn(EntraSignIn::new(
            method(settings, sign_in)?,
            settings.api_scope.clone(),
            login()?,
            Arc::clone(clock),
        )),
    };
    Ok(Credential::new(source, settings.tenant.clone()))
}

/// Gets the first token. A login service that does not answer is asked again for a minute; one that refuses is not.
pub(super) async fn first_token(
    credential: &Credential,
    clock: &dyn Clock,
) -> Result<Token, AuthError> {
    let end = clock.now().uptime.after(REACH_TIMEOUT);
    let mut pause = Duration::from_secs(1);
    loop {
        let error = match credential.token(CachePolicy::AtHand).await {
            Err(error) if error.is_transient() => error,
            done => return done,
        };
        let next = clock.now().uptime.after(pause);
        if next >= end {
            return Err(error);
        }
        tracing::warn!(%error, "no token yet; the sign-in is tried again in {} s", pause.as_secs());
        clock.sleep_until(next).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

pub(super) fn trust(settings: &ConnectionSettings) -> RootCerts {
    settings
        .ca_file
        .clone()
        .map_or(RootCerts::Public, RootCerts::PublicAnd)
}

pub(super) fn user_agent() -> String {
    format!("mde-cancel/{}", env!("CARGO_PKG_VERSION"))
}

pub(super) fn login_client(
    settings: &ConnectionSettings,
    timeout: Duration,
) -> Result<LoginClient, ApiError> {
    let client = |scheme, trust, proxies| {
        web_client(WebSettings {
            scheme,
            timeout,
            user_agent: user_agent(),
            trust,
            proxies,
        })
    };
    Ok(LoginClient::new(
        client(Scheme::Https, trust(settings), Proxies::FromEnvironment)?,
        client(Scheme::Http, RootCerts::Nothing, Proxies::Off)?,
        settings.login_url.clone(),
    ))
}

fn method(settings: &ConnectionSettings, sign_in: &SignIn) -> Result<SignInMethod, AuthError> {
    // Settings without them do not get here where they are needed.
    let tenant = settings.tenant.clone().unwrap_or_default();
    let client = settings.client_id.clone().unwrap_or_default();
    let grant = match sign_in {
        SignIn::ClientSecret(SecretSource::Environment(secret, name)) => {
            Grant::ClientSecret(SecretOrigin::Value(secret.clone(), name.clone()))
        }
        SignIn::ClientSecret(SecretSource::File(path)) => {
            Grant::ClientSecret(SecretOrigin::File(path.clone()))
        }
        SignIn::Certificate(path) => Grant::Certificate(Arc::new(Certificate::from_file(path)?)),
        SignIn::WorkloadIdentity(path) => Grant::FederatedToken(path.clone()),
        SignIn::ManagedIdentity => {
            let variable = |name: &str| std::env::var(name).ok();
            return ManagedIdentity::find(
                settings.client_id.clone(),
                settings.imds_url.as_ref(),
                variable,
            )
            .map(SignInMethod::ManagedIdentity);
        }
        SignIn::DeviceCode => {
            let person = DeviceCode::new(tenant, client, Arc::new(show_prompt));
            return Ok(SignInMethod::DeviceCode(person));
        }
        SignIn::AzureCli | SignIn::Token(_) => {
            return Ok(SignInMethod::AzureCli {
                tenant: settings.tenant.clone(),
            });
        }
    };
    Ok(SignInMethod::App {
        tenant,
        client,
        grant,
    })
}

/// Tells a person what to do, on standard error; where nobody reads that, the code runs out.
fn show_prompt(prompt: &DevicePrompt) {
    let text = format!(
        "to sign in, open {} in a browser and enter the code {} within {}\n",
        prompt.address,
        prompt.code,
        Span(prompt.valid_for)
    );
    std::io::stderr()
        .lock()
        .write_all(text.as_bytes())
        .unwrap_or_default();
}
