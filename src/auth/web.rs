//! The way to the login service and to a managed identity's endpoint, for our own calls and for the library's.
//!
//! The library takes https authorities alone, retries by itself and hides what went wrong under layers of text. Here
//! its calls are performed by our own client, to the address that was configured, and the first thing that goes wrong
//! ends the sign-in with the reason: whether it is tried again is decided further up, by one layer.

use std::error::Error as _;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Method, Request};
use reqwest::{Client, RequestBuilder};
use tokio::sync::Notify;
use url::{Host, Url, form_urlencoded};

use super::echo::Secrets;
use super::refusal::{Refusal, clean};
use super::token::AuthError;

/// The largest answer that is read: a token of the largest size, with room around it.
const MAX_ANSWER: usize = 256 * 1024;

/// A managed identity's endpoint is on this machine or nowhere; off Azure, nobody answers at its address.
const ENDPOINT_PATIENCE: Duration = Duration::from_secs(3);

/// The address of a virtual machine's endpoint.
const IMDS: &str = "169.254.169.254";

/// The endpoint's refusals come in prose; whatever it says, this is where to look.
const IDENTITY_MEND: &str =
    "check that this machine has the identity; for a user-assigned one, give its --client-id";

/// Clients and addresses of one login service. Cheap to clone.
#[derive(Clone)]
pub struct Web {
    /// For https.
    secure: Client,
    /// For plain http on this machine, never through a proxy.
    local: Client,
    login: Url,
    /// Where a virtual machine's endpoint is asked for in place of its own address.
    imds: Option<Url>,
}

/// What a server said.
pub(super) struct Answer {
    pub(super) status: u16,
    /// As it came, with whatever secret stands in it.
    pub(super) body: String,
    secrets: Secrets,
}

impl Answer {
    /// Returns the body for messages, without the secrets that were sent.
    pub(super) fn told(&self) -> String {
        self.secrets.taken_out_of(&self.body)
    }
}

impl Web {
    /// Binds two clients, one for https and one for plain http that uses no proxy, to a login service.
    ///
    /// `imds` stands in for the address of a virtual machine's managed identity.
    pub fn new(secure: Client, local: Client, login: Url, imds: Option<Url>) -> Self {
        Self {
            secure,
            local,
            login,
            imds,
        }
    }

    /// Returns the same clients bound to another login service, or to another endpoint of a virtual machine.
    #[must_use]
    pub fn leading_to(mut self, login: Url, imds: Option<Url>) -> Self {
        self.login = login;
        self.imds = imds;
        self
    }

    /// Returns the address of one endpoint of a tenant, for example `token`.
    pub(super) fn endpoint(&self, tenant: &str, name: &str) -> Url {
        let mut url = self.login.clone();
        // Whoever made this saw to it that it is a web address, and those have a path.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend([tenant, "oauth2", "v2.0", name]);
        }
        url
    }

    /// Returns the authority as the library takes it: over https, whatever it is.
    pub(super) fn authority(&self) -> String {
        let host = self.login.host_str().unwrap_or_default();
        match self.login.port() {
            Some(port) => format!("https://{host}:{port}"),
            None => format!("https://{host}"),
        }
    }

    /// Posts a form and returns whatever came back.
    ///
    /// # Errors
    /// Returns that nothing did.
    pub(super) async fn post(&self, url: Url, form: &[(&str, &str)]) -> Result<Answer, AuthError> {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let call = self
            .client(&url)
            .post(url.clone())
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body.clone());
        let secrets = Secrets::of_form(body.as_bytes());
        exchange(call, secrets, &place_of(&url, true)).await
    }

    fn client(&self, url: &Url) -> &Client {
        if url.scheme() == "https" {
            &self.secure
        } else {
            &self.local
        }
    }

    /// Returns where a call of the library really goes.
    fn address(&self, asked: &Url) -> Result<Url, AuthError> {
        if asked
            .as_str()
            .starts_with(&format!("{}/", self.authority()))
        {
            let mut url = self.login.clone();
            if let (Ok(mut path), Some(segments)) = (url.path_segments_mut(), asked.path_segments())
            {
                path.pop_if_empty().extend(segments);
            }
            return Ok(url);
        }
        let mut url = asked.clone();
        if let (Some(IMDS), Some(other)) = (asked.host_str(), &self.imds) {
            url = other.clone();
            url.set_path(asked.path());
            url.set_query(asked.query());
        }
        if is_on_this_machine(&url) {
            return Ok(url);
        }
        let host = url.host_str().unwrap_or_default();
        Err(AuthError::ForeignEndpoint {
            address: format!("{}://{host}", url.scheme()),
        })
    }
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web")
            .field("login", &self.login.as_str())
            .finish_non_exhaustive()
    }
}

/// Returns whether an address can only lead to this machine, or to what its host offers it alone.
pub(super) fn is_on_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_link_local(),
        Some(Host::Ipv6(address)) => address.is_loopback() || address.is_unicast_link_local(),
        None => false,
    }
}

/// The library's line for one sign-in.
pub(super) struct Line {
    web: Web,
    // std Mutex: nothing awaits while it is held.
    fault: Mutex<Option<AuthError>>,
    broken: Notify,
}

impl Line {
    pub(super) fn new(web: Web) -> Arc<Self> {
        Arc::new(Self {
            web,
            fault: Mutex::new(None),
            broken: Notify::new(),
        })
    }

    /// Returns what went wrong first, as soon as something does.
    pub(super) async fn fault(&self) -> AuthError {
        loop {
            if let Some(fault) = self.take_fault() {
                return fault;
            }
            self.broken.notified().await;
        }
    }

    /// Returns what went wrong, if anything did.
    pub(super) fn take_fault(&self) -> Option<AuthError> {
        self.fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn break_off(&self, fault: AuthError) -> azure_core::Error {
        self.fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(fault);
        self.broken.notify_one();
        azure_core::Error::with_message(
            azure_core::error::ErrorKind::Credential,
            "the sign-in was broken off",
        )
    }

    async fn perform(&self, request: &Request) -> Result<Answer, AuthError> {
        let url = self.web.address(request.url())?;
        let client = self.web.client(&url);
        let mut call = match request.method() {
            Method::Post => client.post(url.clone()),
            _ => client.get(url.clone()),
        };
        for (name, value) in request.headers().iter() {
            call = call.header(name.as_str(), value.as_str());
        }
        let mut secrets = Secrets::default();
        if let Body::Bytes(bytes) = request.body() {
            call = call.body(bytes.clone());
            secrets = Secrets::of_form(bytes);
        }
        let secrets = secrets.and_of(request.headers());
        let is_login = request.method() == Method::Post;
        if !is_login {
            call = call.timeout(ENDPOINT_PATIENCE);
        }
        let answer = exchange(call, secrets, &place_of(&url, is_login)).await?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        Err(refused(answer.status, &answer.told(), &url, is_login))
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl HttpClient for Line {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        match self.perform(request).await {
            Ok(answer) => Ok(AsyncRawResponse::from_bytes(
                answer.status.into(),
                Headers::new(),
                answer.body.into_bytes(),
            )),
            Err(fault) => Err(self.break_off(fault)),
        }
    }
}

/// Makes an error of an answer that brought no token.
pub(super) fn refused(status: u16, body: &str, url: &Url, is_login: bool) -> AuthError {
    let place = place_of(url, is_login);
    // A virtual machine's endpoint says 410 while it is being updated, for a minute or so.
    let is_updating = status == 410 && !is_login;
    let may_pass =
        is_updating || matches!(status, 408 | 429 | 500..=599) || (200..400).contains(&status);
    match Refusal::read(body) {
        _ if may_pass => AuthError::Unavailable {
            place,
            what: match Refusal::read(body) {
                Some(refusal) => format!("it answered {status}, {refusal}"),
                None => format!("it answered {status}"),
            },
        },
        Some(refusal) if is_login => AuthError::Refused { place, refusal },
        Some(refusal) => AuthError::Refused {
            place,
            refusal: Refusal::told(refusal.to_string(), IDENTITY_MEND),
        },
        None if is_login => AuthError::Refused {
            place,
            refusal: Refusal::told(
                format!("it answered {status} and nothing that a login service says"),
                "check --login-url, and whether something stands between this machine and it",
            ),
        },
        None => AuthError::Refused {
            place,
            refusal: Refusal::told(format!("it answered {status}: {body}"), IDENTITY_MEND),
        },
    }
}

/// Names whoever is behind an address.
pub(super) fn place_of(url: &Url, is_login: bool) -> String {
    let host = url.host_str().unwrap_or_default();
    if is_login {
        format!("the login service {host}")
    } else {
        format!("the managed identity's endpoint {host}")
    }
}

async fn exchange(
    call: RequestBuilder,
    secrets: Secrets,
    place: &str,
) -> Result<Answer, AuthError> {
    let unavailable = |error: &reqwest::Error| AuthError::Unavailable {
        place: place.to_owned(),
        what: describe(error),
    };
    let mut response = call
        .send()
        .await
        .map_err(|error| unavailable(&error.without_url()))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|error| unavailable(&error.without_url()))?
    {
        let room = MAX_ANSWER - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            break;
        }
    }
    Ok(Answer {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
        secrets,
    })
}

/// Says what kept an answer away; only the innermost cause is named, for the layers above it repeat one another.
fn describe(error: &reqwest::Error) -> String {
    let what = if error.is_dns() {
        "its name could not be looked up"
    } else if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the call broke"
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

    fn web(login: &str, imds: Option<&str>) -> Web {
        let client = |scheme| {
            crate::api::web_client(crate::api::WebSettings {
                scheme,
                timeout: Duration::from_secs(30),
                user_agent: "mde-cancel/test".to_owned(),
                trust: crate::api::Trust::Nothing,
                proxies: crate::api::Proxies::Off,
            })
            .unwrap()
        };
        let secure = client(crate::api::Scheme::Https);
        let local = client(crate::api::Scheme::Http);
        let imds = imds.map(|address| address.parse().unwrap());
        Web::new(secure, local, login.parse().unwrap(), imds)
    }

    #[test]
    fn the_librarys_calls_go_to_the_login_service_that_was_configured() {
        for (login, expected) in [
            (
                "http://127.0.0.1:81",
                "http://127.0.0.1:81/t/oauth2/v2.0/token",
            ),
            (
                "https://login.example/prefix/",
                "https://login.example/prefix/t/oauth2/v2.0/token",
            ),
        ] {
            let web = web(login, None);
            let asked = format!("{}/t/oauth2/v2.0/token", web.authority());
            assert!(asked.starts_with("https://"));
            let url = web.address(&asked.parse().unwrap()).unwrap();
            assert_eq!(url.as_str(), expected);
            assert_eq!(web.endpoint("t", "token").as_str(), expected);
        }
    }

    #[test]
    fn a_managed_identitys_endpoint_is_on_this_machine_or_refused() {
        let asked: Url = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=1"
            .parse()
            .unwrap();
        let straight = web("https://login.example", None);
        assert_eq!(straight.address(&asked).unwrap(), asked);
        let moved = web("https://login.example", Some("http://127.0.0.1:99"));
        assert_eq!(
            moved.address(&asked).unwrap().as_str(),
            "http://127.0.0.1:99/metadata/identity/oauth2/token?api-version=1"
        );
        for foreign in [
            "http://evil.example/msi",
            "https://10.0.0.1/msi",
            "http://login.example/t",
        ] {
            let error = straight.address(&foreign.parse().unwrap()).unwrap_err();
            assert!(
                matches!(error, AuthError::ForeignEndpoint { .. }),
                "{foreign}"
            );
        }
    }

    #[test]
    fn an_answer_is_told_by_whether_another_try_can_help() {
        let login: Url = "https://login.example/t/oauth2/v2.0/token".parse().unwrap();
        let body = r#"{"error":"invalid_client","error_codes":[7000215]}"#;
        for status in [200, 302, 408, 429, 500, 503] {
            assert!(
                refused(status, body, &login, true).is_transient(),
                "{status}"
            );
        }
        for (status, body) in [(400, body), (401, body), (404, "<html>"), (403, "")] {
            assert!(
                !refused(status, body, &login, true).is_transient(),
                "{status}"
            );
        }
        let soon = r#"{"error":"temporarily_unavailable"}"#;
        assert!(refused(400, soon, &login, true).is_transient());
        let imds: Url = "http://169.254.169.254/metadata".parse().unwrap();
        let error = refused(
            400,
            r#"{"error":"x","error_description":"Identity not found"}"#,
            &imds,
            false,
        );
        assert_eq!(
            error.to_string(),
            "the managed identity's endpoint 169.254.169.254 refused: Identity not found"
        );
        assert_eq!(error.mend(), Some(IDENTITY_MEND));
        assert!(refused(410, "", &imds, false).is_transient());
        assert!(!refused(410, "", &login, true).is_transient());
        assert!(!refused(404, "", &imds, false).is_transient());
    }
}
