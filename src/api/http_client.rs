//! Builds the HTTP clients for the service and for sign-in: HTTP/1.1 only, TLS always verified, no redirects, no
//! retries.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use rustls::{ClientConfig, RootCertStore};

use super::dns::Lookup;
use super::root_certificates::{CaFileError, load_roots};

/// Short, because losing an idle connection can leave the result of a call unknown, and 25 calls a minute gain nothing
/// from a long-lived one.
const IDLE: Duration = Duration::from_secs(20);

/// A host that takes longer to accept a connection counts as unreachable.
const MAX_CONNECT: Duration = Duration::from_secs(10);

/// The trusted root certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootCerts {
    /// Those of the machine, and the bundled public roots.
    Public,
    /// Also those of a file, for a company's own authority or a TLS-inspecting proxy.
    PublicAnd(PathBuf),
    /// None: for the sandbox, which uses plain http on a loopback address.
    Nothing,
}

/// Whether proxies from the environment are used. Plain http never uses a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxies {
    /// `HTTPS_PROXY`, `NO_PROXY` and so on.
    FromEnvironment,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Https,
    /// Plain http, never through a proxy. The caller makes sure that the address is on this machine.
    Http,
}

#[derive(Clone, Debug)]
pub struct WebSettings {
    /// The limit for one call, from DNS to the last byte of the response.
    pub timeout: Duration,
    /// For example `mde-cancel/0.1.0`.
    pub user_agent: String,
    pub trust: RootCerts,
    pub proxies: Proxies,
}

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error(transparent)]
    CaFile(#[from] CaFileError),
    #[error("the HTTP client cannot be set up")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("an API address starts with https://, not with {scheme}:")]
    NoWebAddress { scheme: String },
    /// A token must not travel unencrypted.
    #[error("plain http is accepted for loopback addresses only, not for {host}")]
    PlainHttp { host: String },
    /// Parts that are useless in an API address, or could leak.
    #[error(
        "the API address of {host} must not hold a user name, a password, a query or a fragment"
    )]
    InvalidBaseUrl { host: String },
    #[error("a connection that trusts no certificate cannot reach {host} over https")]
    Untrusted { host: String },
}

/// Sends nothing.
pub fn web_client(scheme: Scheme, settings: WebSettings) -> Result<Client, ApiError> {
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
    let is_https = scheme == Scheme::Https;
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
        // Shorter than the timeout of the call, so that a failed connection and a missing response can be told apart.
        .connect_timeout((settings.timeout / 2).min(MAX_CONNECT))
        .pool_idle_timeout(IDLE)
        .dns_resolver(Lookup)
        .tcp_nodelay(true);
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    {
        // The kernel must not deliver a call long after we gave up.
        builder = builder.tcp_user_timeout(settings.timeout);
    }
    if settings.proxies == Proxies::Off || !is_https {
        builder = builder.no_proxy();
    }
    builder
        .build()
        .map_err(|error| ApiError::Client(error.without_url().into()))
}
