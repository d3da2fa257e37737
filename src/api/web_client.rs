//! Builds the HTTP clients of this program, for the service and for the sign-in alike: HTTP/1.1 only, TLS always
//! verified, redirects never followed, nothing retried below us.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use rustls::{ClientConfig, RootCertStore};

use super::root_certificates::{CaFileError, load_roots};

use super::dns::Lookup;

/// A lost idle connection costs a doubt about a call, and 25 calls a minute gain nothing from a long-lived one.
const IDLE: Duration = Duration::from_secs(20);

/// A host that has not taken a connection by then is not reachable, however long a call may take.
const MAX_CONNECT: Duration = Duration::from_secs(10);

/// Whose certificates are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootCerts {
    /// The machine's, and the public roots that we carry.
    Public,
    /// Those, and the certificates of a file: for a company's own authority, or a proxy that opens TLS.
    PublicAnd(PathBuf),
    /// Nobody's: for the sandbox, which speaks plain http on a loopback address.
    Nothing,
}

/// Whether proxies named by the environment are used. A plain http address never goes through one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxies {
    /// As `HTTPS_PROXY`, `NO_PROXY` and their kin say.
    FromEnvironment,
    /// None at all.
    Off,
}

/// Which addresses a client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// https alone.
    Https,
    /// Plain http alone, straight and never through a proxy; whoever calls sees to it that it stays on this machine.
    Http,
}

/// What a client needs to know.
#[derive(Clone, Debug)]
pub struct WebSettings {
    /// Which addresses it takes.
    pub scheme: Scheme,
    /// How long one call may take, from the first look-up to the last byte of the answer.
    pub timeout: Duration,
    /// What the call says it comes from, for example `mde-cancel/0.1.0`.
    pub user_agent: String,
    /// Whose certificates are trusted.
    pub trust: RootCerts,
    /// Whether proxies are used.
    pub proxies: Proxies,
}

/// Why a connection cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error(transparent)]
    CaFile(#[from] CaFileError),
    #[error("the HTTP client cannot be set up")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("an API address starts with https://, not with {scheme}:")]
    NoWebAddress { scheme: String },
    /// A token must not travel in the clear.
    #[error("plain http is accepted for loopback addresses only, not for {host}")]
    PlainHttp { host: String },
    /// Parts that an API address has no use for, or that would leak.
    #[error(
        "the API address of {host} must not hold a user name, a password, a query or a fragment"
    )]
    Surplus { host: String },
    #[error("a connection that trusts no certificate cannot reach {host} over https")]
    Untrusted { host: String },
}

/// Builds a client; nothing is sent yet.
pub fn web_client(settings: WebSettings) -> Result<Client, ApiError> {
    let store = match &settings.trust {
        RootCerts::Public => load_roots(None)?.store,
        RootCerts::PublicAnd(path) => load_roots(Some(path))?.store,
        RootCerts::Nothing => Arc::new(RootCertStore::empty()),
    };
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|error| ApiError::Client(error.into()))?
        .with_root_certificates(store)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let is_https = settings.scheme == Scheme::Https;
    let accept = HeaderValue::from_static("application/json");
    let mut builder = Client::builder()
        .default_headers(HeaderMap::from_iter([(ACCEPT, accept)]))
        .user_agent(settings.user_agent)
        .tls_backend_preconfigured(tls)
        .http1_only()
        .https_only(is_https)
        .gzip(true)
        .referer(false)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .timeout(settings.timeout)
        // Shorter than the whole call's, so that a connection that never came about is told from a call without an
        // answer.
        .connect_timeout((settings.timeout / 2).min(MAX_CONNECT))
        .pool_idle_timeout(IDLE)
        .dns_resolver(Lookup)
        .tcp_nodelay(true);
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    {
        // A kernel must not deliver a call long after we gave it up.
        builder = builder.tcp_user_timeout(settings.timeout);
    }
    if settings.proxies == Proxies::Off || !is_https {
        builder = builder.no_proxy();
    }
    builder
        .build()
        .map_err(|error| ApiError::Client(error.without_url().into()))
}
