//! Makes the one credential of a lane, and gets its first token.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{ApiError, Proxies, Scheme, Trust, WebSettings, web_client};
use crate::auth::{
    AuthError, AzureKind, AzureSource, Certificate, Credential, DeviceCode, DevicePrompt,
    Freshness, ReadyToken, SecretOrigin, Token, TokenSource, Web,
};
use crate::cli::settings::{ConnectionSettings, SignIn, TokenOrigin};
use crate::cli::text::Span;
use crate::clock::Clock;

use super::service_error::ServiceError;

/// How long a login service that never answered is waited for.
const REACH_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest pause between two tries of the first sign-in.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// Makes the credential that the settings name; sends nothing.
pub(super) fn credential(
    settings: &ConnectionSettings,
    timeout: Duration,
    clock: &Arc<dyn Clock>,
) -> Result<Credential, ServiceError> {
    credential_over(settings, clock, || web(settings, timeout))
}

/// Makes it with clients that are made where it needs any.
pub(super) fn credential_over(
    settings: &ConnectionSettings,
    clock: &Arc<dyn Clock>,
    web: impl FnOnce() -> Result<Web, ApiError>,
) -> Result<Credential, ServiceError> {
    let source = match &settings.sign_in {
        SignIn::Token(TokenOrigin::Environment(token, name)) => {
            TokenSource::Ready(ReadyToken::from_value(token, name)?)
        }
        SignIn::Token(TokenOrigin::File(path)) => TokenSource::Ready(ReadyToken::from_file(path)?),
        SignIn::DeviceCode => TokenSource::Device(Box::new(DeviceCode::new(
            parties(settings),
            &settings.api_scope,
            web()?,
            Arc::clone(clock),
            Arc::new(show_prompt),
        ))),
        sign_in => {
            let kind = azure_kind(settings, sign_in)?;
            let (scope, web) = (settings.api_scope.clone(), web()?);
            let source = AzureSource::new(kind, scope, web, Arc::clone(clock));
            TokenSource::Azure(Box::new(source))
        }
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
        let error = match credential.token(Freshness::AtHand).await {
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

/// Returns whose certificates are trusted.
pub(super) fn trust(settings: &ConnectionSettings) -> Trust {
    settings
        .ca_file
        .clone()
        .map_or(Trust::Public, Trust::PublicAnd)
}

pub(super) fn user_agent() -> String {
    format!("mde-cancel/{}", env!("CARGO_PKG_VERSION"))
}

/// Makes the clients of sign-ins.
pub(super) fn web(settings: &ConnectionSettings, timeout: Duration) -> Result<Web, ApiError> {
    let client = |scheme, trust, proxies| {
        web_client(WebSettings {
            scheme,
            timeout,
            user_agent: user_agent(),
            trust,
            proxies,
        })
    };
    Ok(Web::new(
        client(Scheme::Https, trust(settings), Proxies::FromEnvironment)?,
        client(Scheme::Http, Trust::Nothing, Proxies::Off)?,
        settings.login_url.clone(),
        settings.imds_url.clone(),
    ))
}

/// Returns tenant and app. Settings without them do not get here where they are needed.
fn parties(settings: &ConnectionSettings) -> (String, String) {
    (
        settings.tenant.clone().unwrap_or_default(),
        settings.client_id.clone().unwrap_or_default(),
    )
}

fn azure_kind(settings: &ConnectionSettings, sign_in: &SignIn) -> Result<AzureKind, AuthError> {
    let (tenant, client) = parties(settings);
    Ok(match sign_in {
        SignIn::ClientSecret(origin) => AzureKind::ClientSecret {
            tenant,
            client,
            secret: match origin {
                TokenOrigin::Environment(secret, name) => {
                    SecretOrigin::Value(secret.clone(), name.clone())
                }
                TokenOrigin::File(path) => SecretOrigin::File(path.clone()),
            },
        },
        SignIn::Certificate(path) => AzureKind::Certificate {
            tenant,
            client,
            certificate: Arc::new(Certificate::from_file(path)?),
        },
        SignIn::WorkloadIdentity(path) => AzureKind::WorkloadIdentity {
            tenant,
            client,
            token_file: path.clone(),
        },
        SignIn::ManagedIdentity => AzureKind::ManagedIdentity {
            client: settings.client_id.clone(),
        },
        SignIn::AzureCli | SignIn::Token(_) | SignIn::DeviceCode => AzureKind::AzureCli {
            tenant: settings.tenant.clone(),
        },
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
