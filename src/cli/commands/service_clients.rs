//! The clients of a run's tenants: credentials, connections, and the identity that the service counts calls by.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{
    ApiError, Connection, Proxies, ReadClient, RootCerts, Scheme, SendClient, WebSettings,
    web_client,
};
use crate::auth::{
    AuthError, CachePolicy, Certificate, Claims, Credential, DeviceCode, DevicePrompt, EntraSignIn,
    GrantType, LoginClient, ManagedIdentity, SecretOrigin, SignInMethod, StaticToken, Token,
    TokenSource,
};
use crate::cli::failure::Failure;
use crate::cli::format_time::Span;
use crate::cli::settings::{ConnectionSettings, SecretSource, SignIn};
use crate::clock::{Clock, SystemClock};
use crate::engine::{LaneClients, LaneName, ReadClients};
use crate::model::{Destination, RunId, Scope, UNNAMED};

use super::sandbox::SANDBOX_CLOUD;

/// How long to wait for a login service that never answered.
const REACH_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest pause between attempts of the first sign-in.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// What the service counts calls by, and the token's claims.
#[derive(Clone)]
pub(super) struct CallerIdentity {
    /// The cloud preset's name, or host and port.
    pub(super) cloud: String,
    /// From the token, or else as typed, or `-`.
    pub(super) tenant: String,
    /// Like `tenant`.
    pub(super) app: String,
    typed_tenant: Option<String>,
    /// The tenant and app that calls are counted by: those in the token, however they were typed. All opaque tokens of
    /// a cloud share one ledger, because they may belong to one tenant and app.
    counted: [String; 2],
    /// `None` if the token is opaque.
    pub(super) claims: Option<Claims>,
    /// When the token expires, if it can't be renewed.
    pub(super) token_ends: Option<Timestamp>,
}

impl CallerIdentity {
    /// Takes tenant and app from the token; from the settings if there is no token yet or it is opaque.
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

    /// Each run has its own sandbox, with its own quotas.
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

    pub(super) fn scope(&self, destination: Destination) -> Scope {
        let [tenant, app] = self.counted.clone();
        Scope {
            cloud: self.cloud.clone(),
            tenant,
            app,
            destination,
        }
    }

    /// Returns whether `tenant` is one of this tenant's names.
    pub(super) fn is_tenant(&self, tenant: &str) -> bool {
        self.tenant == tenant || self.typed_tenant.as_deref() == Some(tenant)
    }

    /// Returns the names by which rows may refer to this tenant. If neither settings nor token name the tenant, that is
    /// only the profile's name, or none without a profile, so that no row with a tenant is mistaken for it.
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

    /// Returns the tenant that plan ids contain: from the token, or else as typed.
    pub(super) fn true_tenant(&self) -> String {
        self.tenant.to_lowercase()
    }

    /// Returns cloud, tenant and app for display.
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

pub(super) async fn sign_in(
    settings: &ConnectionSettings,
    timeout: Duration,
) -> Result<(Credential, CallerIdentity), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let credential = credential(settings, timeout, &clock)?;
    let token = first_token(&credential, &*clock).await?;
    let token_ends = token.expires_at.filter(|_| !credential.is_renewable());
    let identity = CallerIdentity::of(settings, Some(token), token_ends);
    Ok((credential, identity))
}

/// Returns the identity without any call: complete with a ready token, otherwise what the settings name.
pub(super) async fn identity_at_hand(
    settings: &ConnectionSettings,
    timeout: Duration,
) -> Result<CallerIdentity, Failure> {
    match settings.sign_in {
        SignIn::Token(_) => Ok(sign_in(settings, timeout).await?.1),
        _ => Ok(CallerIdentity::of(settings, None, None)),
    }
}

/// Returns a client that only reads. Nothing in it can send a cancel.
pub(super) async fn to_read(
    settings: &ConnectionSettings,
    timeout: Duration,
) -> Result<(Arc<ReadClients>, CallerIdentity), Failure> {
    let (credential, identity) = sign_in(settings, timeout).await?;
    let reader = ReadClient::new(connect(settings, timeout)?);
    Ok((Arc::new(ReadClients::new(reader, credential)), identity))
}

pub(super) fn connect(
    settings: &ConnectionSettings,
    timeout: Duration,
) -> Result<Connection, Failure> {
    let base = settings.api_url.clone();
    Ok(Connection::open(base, web_settings(settings, timeout))?)
}

fn web_settings(settings: &ConnectionSettings, timeout: Duration) -> WebSettings {
    WebSettings {
        timeout,
        user_agent: user_agent(),
        trust: trust(settings),
        proxies: Proxies::FromEnvironment,
    }
}

pub(super) fn handles(connection: Connection, credential: Credential) -> LaneClients {
    LaneClients::new(
        SendClient::new(connection.clone()),
        ReadClient::new(connection),
        credential,
    )
}

fn unnamed() -> String {
    UNNAMED.to_owned()
}

/// Sends nothing.
pub(super) fn credential(
    settings: &ConnectionSettings,
    timeout: Duration,
    clock: &Arc<dyn Clock>,
) -> Result<Credential, Failure> {
    credential_over(settings, clock, || login_client(settings, timeout))
}

/// Creates the credential; calls `login` only if it needs a login client.
pub(super) fn credential_over(
    settings: &ConnectionSettings,
    clock: &Arc<dyn Clock>,
    login: impl FnOnce() -> Result<LoginClient, ApiError>,
) -> Result<Credential, Failure> {
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

/// Gets the first token. Retries for a minute if the login service doesn't answer, but not if it refuses.
pub(super) async fn first_token(
    credential: &Credential,
    clock: &dyn Clock,
) -> Result<Token, AuthError> {
    let end = clock.now().uptime.after(REACH_TIMEOUT);
    let mut pause = Duration::from_secs(1);
    loop {
        let error = match credential.token(CachePolicy::Cached).await {
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
    let secure = web_settings(settings, timeout);
    let local = WebSettings {
        trust: RootCerts::Nothing,
        proxies: Proxies::Off,
        ..secure.clone()
    };
    Ok(LoginClient::new(
        web_client(Scheme::Https, secure)?,
        web_client(Scheme::Http, local)?,
        settings.login_url.clone(),
    ))
}

fn method(settings: &ConnectionSettings, sign_in: &SignIn) -> Result<SignInMethod, AuthError> {
    // Settings that need them but lack them are refused earlier.
    let tenant = settings.tenant.clone().unwrap_or_default();
    let client = settings.client_id.clone().unwrap_or_default();
    let grant = match sign_in {
        SignIn::ClientSecret(SecretSource::Environment(secret, name)) => {
            GrantType::ClientSecret(SecretOrigin::Value(secret.clone(), name.clone()))
        }
        SignIn::ClientSecret(SecretSource::File(path)) => {
            GrantType::ClientSecret(SecretOrigin::File(path.clone()))
        }
        SignIn::Certificate(path) => {
            GrantType::Certificate(Arc::new(Certificate::from_file(path)?))
        }
        SignIn::WorkloadIdentity(path) => GrantType::FederatedToken(path.clone()),
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

/// Shows the code on standard error. If nobody reads it, the code expires.
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
