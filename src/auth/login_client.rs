//! HTTP calls to the login service and to a managed identity's endpoint.
//!
//! Bodies are limited in size, and secrets that were sent are redacted in errors.

use std::error::Error as _;
use std::fmt;

use reqwest::{Client, RequestBuilder};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use url::{Url, form_urlencoded};

use crate::model::Redactor;

use super::oauth_error::{OAuthError, clean};
use super::token::AuthError;

/// The largest response body in bytes, with room for the largest token.
const MAX_ANSWER: usize = 256 * 1024;

/// Form fields that contain secrets.
const SECRET_FIELDS: [&str; 4] = [
    "client_secret",
    "client_assertion",
    "refresh_token",
    "device_code",
];

/// The hint for every error of a managed identity's endpoint, whose messages are prose.
const IDENTITY_HINT: &str =
    "check that this machine has the identity; for a user-assigned one, give its --client-id";

/// HTTP clients for one login service. Cheap to clone.
#[derive(Clone)]
pub struct LoginClient {
    secure: Client,
    /// For plain http on this machine; never uses a proxy.
    local: Client,
    login: Url,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    LoginService,
    ManagedIdentity,
}

/// The response of the login service or of a managed identity's endpoint.
pub(super) struct LoginResponse {
    pub(super) status: u16,
    /// Unredacted.
    body: String,
    redactor: Redactor,
    peer: Peer,
    place: String,
}

impl LoginClient {
    /// `local` is for plain http and must not use a proxy.
    pub fn new(secure: Client, local: Client, login: Url) -> Self {
        Self {
            secure,
            local,
            login,
        }
    }

    /// Uses the same clients for another login service.
    #[must_use]
    pub fn with_login(self, login: Url) -> Self {
        Self { login, ..self }
    }

    /// Returns the URL of a tenant's endpoint, for example `token`.
    pub(super) fn endpoint(&self, tenant: &str, name: &str) -> Url {
        let mut url = self.login.clone();
        // Cannot fail: settings accept only web addresses, which have a path.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend([tenant, "oauth2", "v2.0", name]);
        }
        url
    }

    /// Posts a form to the login service. Any status is a response.
    pub(super) async fn post(
        &self,
        url: Url,
        form: &[(&str, &str)],
    ) -> Result<LoginResponse, AuthError> {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let place = self.login_service();
        let call = self
            .client(&url)
            .post(url)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body);
        let secrets = form
            .iter()
            .filter(|(name, _)| SECRET_FIELDS.contains(name))
            .map(|(_, value)| SecretString::from(*value));
        send(call, Redactor::new(secrets), Peer::LoginService, place).await
    }

    /// Sends a call to a managed identity's endpoint; `header` is the secret that authenticates the caller.
    pub(super) async fn identity_response(
        &self,
        call: RequestBuilder,
        endpoint: &Url,
        header: Option<SecretString>,
    ) -> Result<LoginResponse, AuthError> {
        let host = endpoint.host_str().unwrap_or_default();
        let place = format!("the managed identity's endpoint {host}");
        send(call, Redactor::new(header), Peer::ManagedIdentity, place).await
    }

    /// Returns the login service's name for errors.
    pub(super) fn login_service(&self) -> String {
        let host = self.login.host_str().unwrap_or_default();
        format!("the login service {host}")
    }

    pub(super) fn client(&self, url: &Url) -> &Client {
        if url.scheme() == "https" {
            &self.secure
        } else {
            &self.local
        }
    }
}

impl fmt::Debug for LoginClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginClient")
            .field("login", &self.login.as_str())
            .finish_non_exhaustive()
    }
}

impl LoginResponse {
    /// Parses a 2xx body. Anything else, including an invalid body, is an error.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, AuthError> {
        // Drop the parser's message: it may quote a token.
        let parsed = (200..300)
            .contains(&self.status)
            .then(|| serde_json::from_str(&self.body).ok());
        parsed.flatten().ok_or_else(|| self.error())
    }

    pub(super) fn oauth_error(&self) -> Option<OAuthError> {
        OAuthError::read(&self.body, &self.redactor)
    }

    /// Builds the error for a response without a token.
    pub(super) fn error(&self) -> AuthError {
        let status = self.status;
        let is_login = self.peer == Peer::LoginService;
        // A virtual machine's endpoint answers 410 for about a minute during updates.
        let may_pass =
            matches!(status, 200..400 | 408 | 429 | 500..=599) || status == 410 && !is_login;
        let said = self.oauth_error();
        if may_pass {
            return AuthError::Unavailable {
                place: self.place.clone(),
                what: match said {
                    Some(error) => format!("it answered {status}, {error}"),
                    None => format!("it answered {status}"),
                },
            };
        }
        let error = match said {
            Some(error) if is_login => error,
            Some(error) => OAuthError::new(error.to_string(), IDENTITY_HINT),
            None if is_login => OAuthError::new(
                format!("it answered {status} and nothing that a login service says"),
                "check --login-url, and whether something stands between this machine and it",
            ),
            None => {
                let body = self.redactor.redact(&self.body);
                OAuthError::new(format!("it answered {status}: {body}"), IDENTITY_HINT)
            }
        };
        AuthError::Refused {
            place: self.place.clone(),
            error,
        }
    }
}

async fn send(
    call: RequestBuilder,
    redactor: Redactor,
    peer: Peer,
    place: String,
) -> Result<LoginResponse, AuthError> {
    let unavailable = |error: reqwest::Error| AuthError::Unavailable {
        place: place.clone(),
        what: describe(&error.without_url()),
    };
    let mut response = call.send().await.map_err(unavailable)?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(unavailable)? {
        let room = MAX_ANSWER - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            break;
        }
    }
    Ok(LoginResponse {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
        redactor,
        peer,
        place,
    })
}

/// Names only the innermost cause, because the outer ones repeat it.
fn describe(error: &reqwest::Error) -> String {
    let what = if error.is_dns() {
        "its name could not be looked up"
    } else if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    match cause {
        Some(cause) => format!("{what}: {}", clean(&cause.to_string())),
        None => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: &str, peer: Peer) -> AuthError {
        let response = LoginResponse {
            status,
            body: body.to_owned(),
            redactor: Redactor::default(),
            peer,
            place: "the endpoint".to_owned(),
        };
        response.error()
    }

    #[test]
    fn an_answer_is_told_by_whether_another_try_can_help() {
        let body = r#"{"error":"invalid_client","error_codes":[7000215]}"#;
        for status in [200, 302, 408, 429, 500, 503] {
            assert!(
                error(status, body, Peer::LoginService).is_transient(),
                "{status}"
            );
        }
        for (status, body) in [(400, body), (401, body), (404, "<html>"), (403, "")] {
            assert!(
                !error(status, body, Peer::LoginService).is_transient(),
                "{status}"
            );
        }
        for word in ["temporarily_unavailable", "server_error"] {
            let soon = format!(r#"{{"error":"{word}","error_codes":[7000215]}}"#);
            assert!(error(400, &soon, Peer::LoginService).is_transient());
        }
        let missing = r#"{"error":"x","error_description":"Identity not found"}"#;
        let missing = error(400, missing, Peer::ManagedIdentity);
        assert_eq!(
            missing.to_string(),
            "the endpoint refused: Identity not found"
        );
        assert_eq!(missing.hint().as_deref(), Some(IDENTITY_HINT));
        assert!(error(410, "", Peer::ManagedIdentity).is_transient());
        assert!(!error(410, "", Peer::LoginService).is_transient());
        assert!(!error(404, "", Peer::ManagedIdentity).is_transient());
    }
}
