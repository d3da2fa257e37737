//! Resolves host names. A failure names the host, which may be a proxy's, and says whether the host doesn't exist or
//! DNS gave no answer.

use std::fmt;
use std::io;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// System messages for a host that doesn't exist, from glibc, musl and macOS.
const UNKNOWN: [&str; 5] = [
    "Name or service not known",
    "No address associated with hostname",
    "Name does not resolve",
    "Name has no usable address",
    "nodename nor servname provided",
];

/// The same on Windows: WSAHOST_NOT_FOUND and WSANO_DATA.
const UNKNOWN_CODES: [i32; 2] = [11001, 11004];

/// Resolves with the system's resolver.
#[derive(Debug)]
pub(super) struct Lookup;

#[derive(Debug)]
pub(super) struct LookupError {
    pub(super) host: String,
    /// Whether the host doesn't exist; otherwise DNS gave no answer, and a retry may help.
    pub(super) is_unknown: bool,
    source: io::Error,
}

impl LookupError {
    fn new(host: &str, source: io::Error) -> Self {
        let text = source.to_string();
        let is_code = |code| UNKNOWN_CODES.contains(&code);
        Self {
            host: host.to_owned(),
            is_unknown: source.raw_os_error().is_some_and(is_code)
                || UNKNOWN.iter().any(|words| text.contains(words)),
            source,
        }
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.source.to_string();
        let why = source.strip_prefix("failed to lookup address information: ");
        write!(
            f,
            "cannot resolve host {}: {}",
            self.host,
            why.unwrap_or(&source)
        )
    }
}

impl std::error::Error for LookupError {}

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str();
            match tokio::net::lookup_host((host, 0)).await {
                Ok(addresses) => Ok(Box::new(addresses.collect::<Vec<_>>().into_iter()) as Addrs),
                Err(error) => Err(LookupError::new(host, error).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_exist_is_told_from_dns_that_gives_no_answer() {
        let told = |words: &str| {
            let words = format!("failed to lookup address information: {words}");
            LookupError::new("api.contoso.example", io::Error::other(words))
        };
        for words in ["Name or service not known", "Name does not resolve"] {
            assert!(told(words).is_unknown, "{words}");
        }
        for words in ["Temporary failure in name resolution", "Try again"] {
            let error = told(words);
            assert!(!error.is_unknown, "{words}");
            assert!(error.to_string().contains("api.contoso.example"), "{error}");
        }
    }
}
