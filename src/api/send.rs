//! Performs one call: sends it once and reads the answer, or tells how it failed.
//!
//! The one rule that matters: [`SendError::NotSent`] is said only where no byte of the call can have left this machine.
//! The HTTP client's `is_connect` is that proof: its pool makes such errors of name look-up, TCP connect, proxy tunnel
//! and TLS handshake alone (all under the connect timeout, which ends before the whole call's), so before it has a
//! connection that the call could be written to. A call that was handed to an idle connection which the peer closed in
//! the same moment is sent on a new one only if not one byte of it was written; in doubt it is [`SendError::Broken`].

use std::error::Error as _;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, Response};
use secrecy::{ExposeSecret as _, SecretString};

use crate::model::{Redactor, brief};

use super::dns::LookupError;

/// Bodies of answers that are no success are read up to this: only a message is taken out of them.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// The longest description of a fault, in characters.
const MAX_FAULT: usize = 300;

/// What came back, not yet judged.
#[derive(Debug)]
pub(super) struct RawResponse {
    /// What was called, without its query.
    pub(super) address: String,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// The body, as far as it was read.
    pub(super) body: String,
    /// Whether that is all: the rest may have been cut off, be no valid encoding, come too slowly or go over the bound.
    pub(super) is_whole: bool,
    /// Takes the token out of texts that were read from all this.
    pub(super) redactor: Redactor,
}

/// Why nothing came back.
#[derive(Debug)]
pub(super) enum SendError {
    /// No byte of the call left this machine.
    NotSent(String),
    /// The same, because there is no host of this name.
    NoSuchHost(String),
    /// We ended the call.
    TimedOut,
    /// The peer ended the call.
    Broken(String),
}

/// Sends `call` once with `token`, and reads at most `limit` bytes of a successful answer's body (after unpacking).
///
/// # Cancel safety
/// Not safe: dropped midway, it leaves a call whose fate is unknown.
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

/// Reads a body piece by piece, so that one without an end, or one that unpacks to gigabytes, costs `limit` bytes.
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

/// Makes text of a body, without a byte order mark.
fn text_of(body: Vec<u8>) -> String {
    let mut text = String::from_utf8(body)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    text
}

/// Tells how a call failed that brought no answer.
pub(super) fn fault(error: &reqwest::Error) -> SendError {
    if error.is_builder() {
        return SendError::NotSent(describe("the call could not be built", error));
    }
    if error.is_connect() {
        if let Some(lookup) = failed_lookup(error) {
            return if lookup.is_unknown {
                SendError::NoSuchHost(lookup.host.clone())
            } else {
                SendError::NotSent(brief(&lookup.to_string(), MAX_FAULT))
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
    SendError::Broken(describe("the call broke", error))
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

/// Says `what` happened and why. Only the innermost cause is named: the layers above it repeat one another.
fn describe(what: &str, error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    let text = cause.map_or_else(|| what.to_owned(), |cause| format!("{what}: {cause}"));
    brief(&text, MAX_FAULT)
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
