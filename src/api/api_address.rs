//! An HTTP connection to one API address.
//!
//! The token can only go to the configured address, because no URL is ever taken from a response.

use std::fmt;
use std::fmt::Write as _;

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap};
use reqwest::{Client, RequestBuilder};
use url::{Host, Url};

use super::http_client::{ApiError, RootCerts, Scheme, WebSettings, web_client};
use super::send::{SendError, fault};

/// A client for one API address. Clones are cheap and share their connections.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    base: Url,
}

impl Connection {
    /// Validates the address and builds the client. Sends nothing.
    ///
    /// `base` may have a path. A trailing `/api` is dropped, because every call adds it.
    pub fn open(mut base: Url, settings: WebSettings) -> Result<Self, ApiError> {
        check_address(&base, &settings.trust)?;
        let scheme = match base.scheme() {
            "https" => Scheme::Https,
            _ => Scheme::Http,
        };
        let client = web_client(scheme, settings)?;
        strip_api(&mut base);
        Ok(Self { client, base })
    }

    pub(super) fn address(&self, segments: &[&str]) -> String {
        self.url(segments, &[]).into()
    }

    /// Calls the base address without a token and returns the response's `Date`. Any response counts.
    pub async fn reach(&self) -> Result<Option<Timestamp>, String> {
        match self.client.get(self.base.clone()).send().await {
            Ok(response) => Ok(date(response.headers())),
            Err(error) => Err(match fault(&error.without_url()) {
                SendError::NotSent(what) | SendError::Broken(what) => what,
                SendError::NoSuchHost(host) => format!("the host name {host} does not exist"),
                SendError::TimedOut => "no answer in time".to_owned(),
            }),
        }
    }

    pub(super) fn post(&self, segments: &[&str]) -> RequestBuilder {
        self.client.post(self.url(segments, &[]))
    }

    pub(super) fn get(&self, segments: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        self.client.get(self.url(segments, query))
    }

    fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        // Cannot fail: `open` accepts only web addresses, which have a path.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        if !query.is_empty() {
            url.set_query(Some(&encode_query(query)));
        }
        url
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

/// Drops a trailing `/api`, which people copy from the documentation.
fn strip_api(base: &mut Url) {
    let path = base.path().trim_end_matches('/');
    let is_api = path.len() >= 4 && path.as_bytes()[path.len() - 4..].eq_ignore_ascii_case(b"/api");
    if is_api {
        let rest = path[..path.len() - 4].to_owned();
        base.set_path(&rest);
    }
}

/// Parses the `Date` header.
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()
}

/// Rejects addresses that must not receive a token.
fn check_address(base: &Url, trust: &RootCerts) -> Result<(), ApiError> {
    let scheme = base.scheme();
    let (Some(host), "http" | "https") = (base.host(), scheme) else {
        return Err(ApiError::NoWebAddress {
            scheme: scheme.to_owned(),
        });
    };
    let is_loopback = match &host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    let host = host.to_string();
    let has_surplus = !base.username().is_empty()
        || base.password().is_some()
        || base.query().is_some()
        || base.fragment().is_some();
    if has_surplus {
        return Err(ApiError::InvalidBaseUrl { host });
    }
    match (scheme, trust) {
        ("http", _) if !is_loopback => Err(ApiError::PlainHttp { host }),
        ("https", RootCerts::Nothing) => Err(ApiError::Untrusted { host }),
        _ => Ok(()),
    }
}

/// Encodes a query. OData names keep their `$`; in values everything special is escaped, and a blank becomes `%20`,
/// because some OData parsers don't accept `+`.
fn encode_query(query: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in query {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    text.push(char::from(byte));
                }
                // Writing to a string cannot fail.
                _ => write!(text, "%{byte:02X}").unwrap_or_default(),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::http_client::Proxies;
    use super::*;

    fn open(base: &str, trust: RootCerts) -> Result<Connection, ApiError> {
        let settings = WebSettings {
            timeout: Duration::from_secs(30),
            user_agent: "mde-cancel/test".to_owned(),
            trust,
            proxies: Proxies::Off,
        };
        Connection::open(base.parse().unwrap(), settings)
    }

    #[test]
    fn plain_http_is_for_loopback_addresses_only() {
        for base in [
            "http://127.0.0.1:1/",
            "http://127.9.9.9",
            "http://[::1]:8080/x",
            "http://localhost",
        ] {
            assert!(open(base, RootCerts::Nothing).is_ok(), "{base}");
        }
        for base in [
            "http://api.security.microsoft.com",
            "http://10.0.0.1/",
            "http://localhost.example/",
            "http://127.0.0.1.example/",
            "http://0.0.0.0/",
        ] {
            let error = open(base, RootCerts::Nothing).unwrap_err();
            assert!(
                matches!(error, ApiError::PlainHttp { .. }),
                "{base}: {error}"
            );
        }
    }

    #[test]
    fn other_addresses_are_refused_without_showing_what_they_hold() {
        let error = open("https://me:pass-word@api.example/", RootCerts::Public).unwrap_err();
        assert!(matches!(error, ApiError::InvalidBaseUrl { .. }));
        assert!(!format!("{error} {error:?}").contains("pass-word"));
        for base in ["https://api.example/?x=1", "https://api.example/#x"] {
            assert!(matches!(
                open(base, RootCerts::Public),
                Err(ApiError::InvalidBaseUrl { .. })
            ));
        }
        for base in ["ftp://127.0.0.1/", "file:///etc/hosts", "data:x"] {
            assert!(matches!(
                open(base, RootCerts::Public),
                Err(ApiError::NoWebAddress { .. })
            ));
        }
        let error = open("https://127.0.0.1/", RootCerts::Nothing).unwrap_err();
        assert!(matches!(error, ApiError::Untrusted { .. }));
    }

    #[test]
    fn an_api_at_the_end_of_the_address_is_not_doubled() {
        for (base, url) in [
            ("https://api.example/api", "https://api.example/api/x"),
            ("https://api.example/api/", "https://api.example/api/x"),
            ("https://api.example/API//", "https://api.example/api/x"),
            ("https://api.example/gw/api", "https://api.example/gw/api/x"),
            (
                "https://api.example/myapi",
                "https://api.example/myapi/api/x",
            ),
            ("https://api.example", "https://api.example/api/x"),
            (
                "https://api.example/é/api",
                "https://api.example/%C3%A9/api/x",
            ),
        ] {
            let connection = open(base, RootCerts::Public).unwrap();
            assert_eq!(connection.address(&["api", "x"]), url);
        }
    }
}
