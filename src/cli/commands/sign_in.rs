//! Makes the one credential of a lane, and gets its first token.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{ApiError, Proxies, RootCerts, Scheme, WebSettings, web_client};
use crate::auth::{
    AuthError, CachePolicy, Certificate, Credential, DeviceCode, DevicePrompt, EntraSignIn, Grant,
    LoginClient, ManagedIdentity, SecretOrigin, SignInMethod, StaticToken, Token, TokenSource,
};
use crate::cli::settings::{ConnectionSettings, SecretSource, SignIn};
use crate::cli::text::Span;
use crate::clock::Clock;

use super::service::ConnectError;

/// How long a login service that never answered is waited for.
const REACH_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest pause between two tries of the first sign-in.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

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
