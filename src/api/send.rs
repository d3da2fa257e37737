//! Sends one call once, and returns the response or how it failed.
//!
//! [`SendError::NotSent`] guarantees that no byte of the call left this machine. reqwest's `is_connect` proves that:
//! only DNS, TCP connect, proxy tunnel and TLS handshake cause such errors, before a connection exists that the call
//! could be written to. They share the connect timeout, which ends before that of the call. If the peer closes an idle
//! connection at that moment, reqwest uses a new one only if nothing was written; in doubt the result is
//! [`SendError::Broken`].

use std::error::Error as _;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, Response};
use secrecy::{ExposeSecret as _, SecretString};

use crate::model::{Redactor, truncate_line};

use super::dns::LookupError;

/// The limit for error bodies in bytes; only a message is taken from them.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// The longest error description, in characters.
const MAX_FAULT: usize = 300;

/// An unclassified response.
#[derive(Debug)]
pub(super) struct RawResponse {
    /// The address that was called, without its query.
    pub(super) address: String,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// The part of the body that was read.
    pub(super) body: String,
    /// Whether the body is complete: not cut off, invalid, too slow or over the limit.
    pub(super) is_whole: bool,
    /// Removes the token from texts of this response.
    pub(super) redactor: Redactor,
}

/// Why there is no response.
#[derive(Debug)]
pub(super) enum SendError {
    /// No byte of the call left this machine.
    NotSent(String),
    /// Not sent, because the host doesn't exist.
    NoSuchHost(String),
    /// We gave up.
    TimedOut,
    /// The peer closed the connection.
    Broken(String),
}

/// Sends `call` once with `token`, and reads at most `limit` (decompressed) bytes of a successful response.
///
/// Not cancel safe: if dropped, the effect of the call is unknown.
pub(super) async fn exchange(
    call: RequestBuilder,
    token: &SecretString,
    limit: usize,
) -> Result<RawResponse, SendError> {
    let call = call.header(AUTHORIZATION, authorization(token)?);
    let mut response = call
        .send()
        .await
        .map_err(|error| fault(&error.without_url()))?;
    let status = response.status();
    let limit = if status.is_success() {
        limit
    } else {
        MAX_ERROR_BODY
    };
    let (body, is_whole) = read_body(&mut response, limit).await;
    let mut address = response.url().clone();
    address.set_query(None);
    Ok(RawResponse {
        address: address.into(),
        status: status.as_u16(),
        headers: std::mem::take(response.headers_mut()),
        body: text_of(body),
        is_whole,
        redactor: Redactor::new([token.clone()]),
    })
}

fn authorization(token: &SecretString) -> Result<HeaderValue, SendError> {
    let text = format!("Bearer {}", token.expose_secret());
    let Ok(mut value) = HeaderValue::try_from(text) else {
        return Err(SendError::NotSent(
            "the token holds characters that no header may carry".to_owned(),
        ));
    };
    value.set_sensitive(true);
    Ok(value)
}

/// Reads a body in pieces, so that an endless or highly compressed one costs at most `limit` bytes.
async fn read_body(response: &mut Response, limit: usize) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => {
                let room = limit - body.len();
                if piece.len() > room {
                    body.extend_from_slice(&piece[..room]);
                    return (body, false);
                }
                body.extend_from_slice(&piece);
            }
            Ok(None) => return (body, true),
            Err(_) => return (body, false),
        }
    }
}

/// Decodes a body and drops a byte order mark.
fn text_of(body: Vec<u8>) -> String {
    let mut text = String::from_utf8(body)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    text
}

/// Classifies a failed call.
pub(super) fn fault(error: &reqwest::Error) -> SendError {
    if error.is_builder() {
        return SendError::NotSent(describe("the call could not be built", error));
    }
    if error.is_connect() {
        if let Some(lookup) = failed_lookup(error) {
            return if lookup.is_unknown {
                SendError::NoSuchHost(lookup.host.clone())
            } else {
                SendError::NotSent(truncate_line(&lookup.to_string(), MAX_FAULT))
            };
        }
        let what = if error.is_timeout() {
            "no connection in time"
        } else {
            "no connection"
        };
        return SendError::NotSent(describe(what, error));
    }
    if error.is_timeout() {
        return SendError::TimedOut;
    }
    SendError::Broken(describe("the connection broke", error))
}

fn failed_lookup(error: &reqwest::Error) -> Option<&LookupError> {
    let mut cause = error.source();
    while let Some(deeper) = cause {
        if let Some(lookup) = deeper.downcast_ref() {
            return Some(lookup);
        }
        cause = deeper.source();
    }
    None
}

/// Names only the innermost cause, because the outer ones repeat it.
fn describe(what: &str, error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    let text = cause.map_or_else(|| what.to_owned(), |cause| format!("{what}: {cause}"));
    truncate_line(&text, MAX_FAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authorization_header_hides_itself_and_refuses_what_no_header_may_carry() {
        let value = authorization(&SecretString::from("secret-token")).unwrap();
        assert_eq!(value.as_bytes(), b"Bearer secret-token");
        assert!(!format!("{value:?}").contains("secret"));
        for bad in ["secret\r\nX: y", "secret\0", "secret\n"] {
            let Err(SendError::NotSent(text)) = authorization(&SecretString::from(bad)) else {
                panic!("{bad:?} was taken");
            };
            assert!(!text.contains("secret"));
        }
    }
}
