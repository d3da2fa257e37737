//! Signs in a person who enters a code in a browser on another device.
//!
//! The refresh token stays in memory, so that a run over an hour asks only once.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::entra::{EntraSignIn, TokenResponse, seconds};
use super::login_client::LoginResponse;
use super::oauth_error::{OAuthError, clean};
use super::token::{AuthError, Token};

/// The default poll interval, and the increase after each `slow_down`.
const INTERVAL: Duration = Duration::from_secs(5);

/// The upper limit for the interval and the lifetime of a code.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What the person must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePrompt {
    /// The page to open.
    pub address: String,
    /// The code to enter there.
    pub code: String,
    pub valid_for: Duration,
}

pub type ShowPrompt = Arc<dyn Fn(&DevicePrompt) + Send + Sync>;

pub struct DeviceCode {
    tenant: String,
    client: String,
    show: ShowPrompt,
    // std Mutex: no `.await` while locked.
    refresh_token: Mutex<Option<SecretString>>,
}

#[derive(Deserialize)]
struct CodeResponse {
    device_code: String,
    user_code: String,
    #[serde(alias = "verification_url")]
    verification_uri: String,
    expires_in: Value,
    #[serde(default)]
    interval: Value,
}

impl DeviceCode {
    pub fn new(tenant: String, client: String, show: ShowPrompt) -> Self {
        Self {
            tenant,
            client,
            show,
            refresh_token: Mutex::new(None),
        }
    }

    /// Gets a new token with the refresh token; the first time, by asking the person.
    pub(super) async fn token(&self, sign_in: &EntraSignIn) -> Result<Token, AuthError> {
        let refresh_token = self
            .refresh_token
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let scope = format!("{} offline_access", sign_in.scope);
        let Some(refresh_token) = refresh_token else {
            return self.ask_person(sign_in, &scope).await;
        };
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", self.client.as_str()),
            ("scope", scope.as_str()),
            ("refresh_token", refresh_token.expose_secret()),
        ];
        self.accept(sign_in, &self.post(sign_in, "token", &form).await?)
    }

    async fn ask_person(&self, sign_in: &EntraSignIn, scope: &str) -> Result<Token, AuthError> {
        let clock = &*sign_in.clock;
        let form = [("client_id", self.client.as_str()), ("scope", scope)];
        let response = self.post(sign_in, "devicecode", &form).await?;
        let code: CodeResponse = response.json()?;
        let lifetime = duration(&code.expires_in).unwrap_or(Duration::from_secs(900));
        let mut interval = duration(&code.interval).unwrap_or(INTERVAL);
        (self.show)(&DevicePrompt {
            address: clean(&code.verification_uri),
            code: clean(&code.user_code),
            valid_for: lifetime,
        });
        let end = clock.now().uptime.after(lifetime);
        let form = [
            ("grant_type", DEVICE_GRANT),
            ("client_id", self.client.as_str()),
            ("device_code", code.device_code.as_str()),
        ];
        loop {
            let next = clock.now().uptime.after(interval);
            if next >= end {
                return Err(AuthError::Refused {
                    place: sign_in.login.login_service(),
                    error: OAuthError::new(
                        "the code was not entered in time",
                        "start again, and enter the code while it is valid",
                    ),
                });
            }
            clock.sleep_until(next).await;
            let response = match self.post(sign_in, "token", &form).await {
                Ok(response) => response,
                // The person may be entering the code.
                Err(error) if error.is_transient() => continue,
                Err(error) => return Err(error),
            };
            if (200..300).contains(&response.status) {
                return self.accept(sign_in, &response);
            }
            match response.oauth_error() {
                Some(error) if error.error == "authorization_pending" => {}
                Some(error) if error.error == "slow_down" => interval += INTERVAL,
                _ => {
                    let error = response.error();
                    if !error.is_transient() {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn post(
        &self,
        sign_in: &EntraSignIn,
        name: &str,
        form: &[(&str, &str)],
    ) -> Result<LoginResponse, AuthError> {
        let url = sign_in.login.endpoint(&self.tenant, name);
        sign_in.login.post(url, form).await
    }

    fn accept(&self, sign_in: &EntraSignIn, response: &LoginResponse) -> Result<Token, AuthError> {
        let mut granted: TokenResponse = response.json()?;
        if let Some(token) = granted.refresh_token.take() {
            *self
                .refresh_token
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(SecretString::from(token));
        }
        granted.into_token(sign_in.clock.now().wall)
    }
}

impl fmt::Debug for DeviceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceCode")
            .field("tenant", &self.tenant)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

fn duration(value: &Value) -> Option<Duration> {
    let seconds = u64::try_from(seconds(value)?).ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST))
}
