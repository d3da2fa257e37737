//! Signs a person in who enters a code in a browser elsewhere; the library has no such credential.
//!
//! The refresh token that comes along stays in memory: a run over an hour asks the person once.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::clock::Clock;

use super::refusal::{Refusal, clean};
use super::token::{AuthError, Token};
use super::web::{Answer, Web, place_of, refused};

/// How often the service is asked where it names no interval, and by how much more after each `slow_down`.
const INTERVAL: Duration = Duration::from_secs(5);

/// The longest interval and the longest life of a code that are believed.
const LONGEST: u64 = 3600;

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What a person has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePrompt {
    /// Where to go.
    pub address: String,
    /// What to enter there.
    pub code: String,
    /// How long it holds.
    pub valid_for: Duration,
}

/// Shows a person what to do.
pub type ShowPrompt = Arc<dyn Fn(&DevicePrompt) + Send + Sync>;

/// A sign-in by device code.
pub struct DeviceCode {
    web: Web,
    tenant: String,
    client: String,
    scope: String,
    clock: Arc<dyn Clock>,
    show: ShowPrompt,
    // std Mutex: nothing awaits while it is held.
    refresh_token: Mutex<Option<SecretString>>,
}

#[derive(Deserialize)]
struct Begun {
    device_code: String,
    user_code: String,
    #[serde(alias = "verification_url")]
    verification_uri: String,
    expires_in: Value,
    #[serde(default)]
    interval: Value,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Value,
    refresh_token: Option<String>,
}

impl DeviceCode {
    /// Binds a sign-in to an app of a tenant; nothing is sent.
    pub fn new(
        (tenant, client): (String, String),
        scope: &str,
        web: Web,
        clock: Arc<dyn Clock>,
        show: ShowPrompt,
    ) -> Self {
        Self {
            web,
            tenant,
            client,
            scope: format!("{scope} offline_access"),
            clock,
            show,
            refresh_token: Mutex::new(None),
        }
    }

    /// Gets a new token: quietly where the person has signed in before, else by asking.
    pub(super) async fn sign_in(&self) -> Result<Token, AuthError> {
        let refresh_token = self
            .refresh_token
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match refresh_token {
            Some(token) => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("client_id", self.client.as_str()),
                    ("scope", self.scope.as_str()),
                    ("refresh_token", token.expose_secret()),
                ];
                let asked = self.clock.now().wall;
                let answer = self.post("token", &form).await?;
                self.granted(&answer, asked)
            }
            None => self.ask_person().await,
        }
    }

    async fn ask_person(&self) -> Result<Token, AuthError> {
        let form = [
            ("client_id", self.client.as_str()),
            ("scope", self.scope.as_str()),
        ];
        let answer = self.post("devicecode", &form).await?;
        let begun: Begun = self.read("devicecode", &answer)?;
        let life = Duration::from_secs(seconds(&begun.expires_in).unwrap_or(900));
        let mut interval = seconds(&begun.interval).map_or(INTERVAL, Duration::from_secs);
        (self.show)(&DevicePrompt {
            address: clean(&begun.verification_uri),
            code: clean(&begun.user_code),
            valid_for: life,
        });
        let end = self.clock.now().uptime.after(life);
        let form = [
            ("grant_type", DEVICE_GRANT),
            ("client_id", self.client.as_str()),
            ("device_code", begun.device_code.as_str()),
        ];
        loop {
            let next = self.clock.now().uptime.after(interval);
            if next >= end {
                return Err(self.refused(Refusal::told(
                    "the code was not entered in time",
                    "start again, and enter the code while it is valid",
                )));
            }
            self.clock.sleep_until(next).await;
            let asked = self.clock.now().wall;
            let answer = match self.post("token", &form).await {
                Ok(answer) => answer,
                // The person may be in the middle of it.
                Err(error) if error.is_transient() => continue,
                Err(error) => return Err(error),
            };
            if (200..300).contains(&answer.status) {
                return self.granted(&answer, asked);
            }
            match Refusal::read(&answer.body) {
                Some(refusal) if refusal.error == "authorization_pending" => {}
                Some(refusal) if refusal.error == "slow_down" => interval += INTERVAL,
                _ => {
                    let error = self.fault("token", &answer);
                    if !error.is_transient() {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn post(&self, name: &str, form: &[(&str, &str)]) -> Result<Answer, AuthError> {
        let url = self.web.endpoint(&self.tenant, name);
        self.web.post(url, form).await
    }

    fn granted(&self, answer: &Answer, asked: Timestamp) -> Result<Token, AuthError> {
        let granted: Granted = self.read("token", answer)?;
        if let Some(token) = granted.refresh_token {
            *self
                .refresh_token
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(SecretString::from(token));
        }
        // Whole seconds, of which a part was cut off before.
        let life = seconds(&granted.expires_in)
            .and_then(|seconds| i64::try_from(seconds - 1).ok())
            .map(SignedDuration::from_secs);
        let expires_at = life.and_then(|life| asked.checked_add(life).ok());
        Token::brought(&granted.access_token, expires_at, "the login service")
    }

    fn read<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        answer: &Answer,
    ) -> Result<T, AuthError> {
        if !(200..300).contains(&answer.status) {
            return Err(self.fault(name, answer));
        }
        // The parser's complaint is left out: it may repeat a token.
        serde_json::from_str(&answer.body).map_err(|_| self.fault(name, answer))
    }

    fn fault(&self, name: &str, answer: &Answer) -> AuthError {
        let url = self.web.endpoint(&self.tenant, name);
        refused(answer.status, &answer.told(), &url, true)
    }

    fn refused(&self, refusal: Refusal) -> AuthError {
        AuthError::Refused {
            place: place_of(&self.web.endpoint(&self.tenant, "token"), true),
            refusal,
        }
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

/// Reads seconds, which some servers write as text.
fn seconds(value: &Value) -> Option<u64> {
    let seconds = match value {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (seconds > 0).then_some(seconds.min(LONGEST * 24))
}
