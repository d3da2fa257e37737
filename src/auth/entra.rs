//! Sign-in with Entra, a managed identity or the Azure CLI.
//!
//! An [`EntraSignIn`] gets one token per call by its [`SignInMethod`]; caching and retries are up to the caller.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::clock::Clock;

use super::azure_cli;
use super::certificate::Certificate;
use super::device_code::DeviceCode;
use super::login_client::LoginClient;
use super::managed_identity::ManagedIdentity;
use super::secret_file::{read_federated, read_private};
use super::token::{AuthError, Token};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[derive(Debug)]
pub enum SignInMethod {
    App {
        tenant: String,
        client: String,
        grant: GrantType,
    },
    ManagedIdentity(ManagedIdentity),
    /// The user who is signed in to the Azure CLI.
    AzureCli {
        tenant: Option<String>,
    },
    DeviceCode(DeviceCode),
}

/// An app's proof of identity.
#[derive(Clone, Debug)]
pub enum GrantType {
    ClientSecret(SecretOrigin),
    Certificate(Arc<Certificate>),
    /// A token from an issuer that the app trusts, as in Kubernetes. Read again for each sign-in.
    FederatedToken(PathBuf),
}

#[derive(Clone, Debug)]
pub enum SecretOrigin {
    /// The secret, and the name of its variable.
    Value(SecretString, String),
    /// A private file, read again for each sign-in.
    File(PathBuf),
}

/// A sign-in for one scope. Neither caches nor retries.
#[derive(Debug)]
pub struct EntraSignIn {
    method: SignInMethod,
    pub(super) scope: String,
    pub(super) login: LoginClient,
    pub(super) clock: Arc<dyn Clock>,
}

/// The response of a token endpoint. Some endpoints write numbers as strings.
#[derive(Deserialize)]
pub(super) struct TokenResponse {
    access_token: String,
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    expires_on: Value,
    pub(super) refresh_token: Option<String>,
}

impl EntraSignIn {
    /// Returns whether the token is requested for a tenant; a managed identity has a fixed one.
    pub(super) fn asks_for_tenant(&self) -> bool {
        !matches!(self.method, SignInMethod::ManagedIdentity(_))
    }

    pub fn new(
        method: SignInMethod,
        scope: String,
        login: LoginClient,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            method,
            scope,
            login,
            clock,
        }
    }

    /// Gets a new token. Cancel safe: a started program is killed.
    pub(super) async fn token(&self) -> Result<Token, AuthError> {
        match &self.method {
            SignInMethod::App {
                tenant,
                client,
                grant,
            } => self.client_credentials(tenant, client, grant).await,
            SignInMethod::ManagedIdentity(identity) => {
                let resource = self.scope.trim_end_matches("/.default");
                let asked = self.clock.now().wall;
                let response = identity.ask(&self.login, resource).await?;
                response.json::<TokenResponse>()?.into_token(asked)
            }
            SignInMethod::AzureCli { tenant } => {
                azure_cli::token(&self.scope, tenant.as_deref()).await
            }
            SignInMethod::DeviceCode(person) => person.token(self).await,
        }
    }

    async fn client_credentials(
        &self,
        tenant: &str,
        client: &str,
        grant: &GrantType,
    ) -> Result<Token, AuthError> {
        let endpoint = self.login.endpoint(tenant, "token");
        let asked = self.clock.now().wall;
        let (field, proof) = match grant {
            GrantType::ClientSecret(origin) => ("client_secret", origin.read()?),
            GrantType::Certificate(certificate) => {
                let assertion = certificate.assertion(client, endpoint.as_str(), asked)?;
                ("client_assertion", SecretString::from(assertion))
            }
            GrantType::FederatedToken(path) => ("client_assertion", read_federated(path)?),
        };
        let mut form = vec![
            ("client_id", client),
            (field, proof.expose_secret()),
            ("grant_type", "client_credentials"),
            ("scope", self.scope.as_str()),
        ];
        if field == "client_assertion" {
            form.push(("client_assertion_type", ASSERTION_TYPE));
        }
        let response = self.login.post(endpoint, &form).await?;
        response.json::<TokenResponse>()?.into_token(asked)
    }
}

impl TokenResponse {
    /// `asked` is the time of the request.
    pub(super) fn into_token(self, asked: Timestamp) -> Result<Token, AuthError> {
        // The lifetime is in whole seconds, rounded down.
        let lifetime = seconds(&self.expires_in).map(|life| SignedDuration::from_secs(life - 1));
        let expires_at = seconds(&self.expires_on)
            .and_then(|end| Timestamp::from_second(end).ok())
            .or_else(|| asked.checked_add(lifetime?).ok());
        Token::received(&self.access_token, expires_at, "the sign-in's answer")
    }
}

impl SecretOrigin {
    fn read(&self) -> Result<SecretString, AuthError> {
        let (secret, origin) = match self {
            Self::Value(secret, origin) => (secret.clone(), origin.clone()),
            Self::File(path) => (
                read_private(path, "client secret file")?,
                format!("the client secret file {}", path.display()),
            ),
        };
        // Editors and `echo` append a newline.
        let bare = secret.expose_secret().trim_start_matches('\u{feff}').trim();
        if bare.is_empty() {
            return Err(AuthError::Empty { origin });
        }
        Ok(SecretString::from(bare))
    }
}

/// Parses a positive number of seconds, which some servers write as a string.
pub(super) fn seconds(value: &Value) -> Option<i64> {
    let seconds = match value {
        Value::Number(number) => number.as_i64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (seconds > 0).then_some(seconds)
}
