//! Classifies responses.
//!
//! No decision is made here. An ambiguous response gets the more cautious kind.

use reqwest::header::LOCATION;
use url::Url;

use crate::model::{Reply, ReplyKind, ServiceError, Throttle};

use super::error_body::ErrorBody;
use super::send::{RawResponse, SendError};
use super::throttle::{allowance, body_wait, retry_after};

/// How much of an invalid body is searched for an error message, in bytes.
const MAX_ODD_BODY: usize = 4096;

/// `read` parses a 2xx body, and returns `None` if it is invalid.
pub(super) fn classify<T>(
    exchanged: Result<RawResponse, SendError>,
    read: impl FnOnce(&str) -> Option<T>,
) -> Reply<T> {
    let answered = match exchanged {
        Ok(answered) => answered,
        Err(fault) => return unanswered(fault),
    };
    let http_status = Some(answered.status);
    let error_body = |body: &str| ErrorBody::read(body, &answered.headers, &answered.redactor);
    if (200..300).contains(&answered.status) {
        let good = answered.is_whole.then(|| read(&answered.body));
        return match good.flatten() {
            Some(answer) => Reply {
                kind: ReplyKind::Answer(answer),
                http_status,
                error: None,
            },
            None => Reply {
                kind: ReplyKind::Garbled,
                http_status,
                error: error_body(head(&answered.body)).error,
            },
        };
    }
    let body = error_body(&answered.body);
    let wait = || retry_after(&answered.headers);
    let kind = match answered.status {
        300..400 => ReplyKind::Redirected,
        401 => ReplyKind::Unauthorized,
        403 => ReplyKind::Forbidden,
        404 if body.is_services_own => ReplyKind::NotFound,
        404 => ReplyKind::NoSuchAddress(answered.address.clone()),
        408 | 503 => ReplyKind::NotApplied(wait()),
        429 => ReplyKind::Throttled(Throttle {
            retry_after: wait(),
            body_wait: body_wait(&body.text),
            allowance: allowance(&body.text),
        }),
        400..500 => ReplyKind::Refused,
        // 5xx, and nonstandard codes, which say just as little.
        _ => ReplyKind::ServerFault(wait()),
    };
    let error = match kind {
        ReplyKind::Redirected => redirection(&answered).or(body.error),
        _ => body.error,
    };
    Reply {
        kind,
        http_status,
        error,
    }
}

fn unanswered<T>(fault: SendError) -> Reply<T> {
    let kind = match fault {
        SendError::NotSent(what) => ReplyKind::NeverLeft(what),
        SendError::NoSuchHost(host) => ReplyKind::NoSuchHost(host),
        SendError::TimedOut => ReplyKind::TimedOut,
        SendError::Broken(what) => ReplyKind::Broken(what),
    };
    Reply {
        kind,
        http_status: None,
        error: None,
    }
}

/// Names only the host of a redirect, because captive portals put all sorts of data in the path.
fn redirection(answered: &RawResponse) -> Option<ServiceError> {
    let target = Url::parse(answered.headers.get(LOCATION)?.to_str().ok()?).ok()?;
    let host = answered.redactor.redact(target.host_str()?);
    Some(ServiceError {
        message: format!("redirected to {host}"),
        ..ServiceError::default()
    })
}

fn head(body: &str) -> &str {
    let mut end = body.len().min(MAX_ODD_BODY);
    while !body.is_char_boundary(end) {
        end -= 1;
    }
    &body[..end]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::proptest;

    use super::*;
    use crate::model::{Redactor, RetryAfter};
    use crate::proptest_config::proptest_config;

    const ADDRESS: &str = "https://api.example/api/machineactions";

    fn answered(status: u16, headers: &[(&'static str, &str)], body: &str) -> RawResponse {
        RawResponse {
            address: ADDRESS.to_owned(),
            status,
            headers: headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect(),
            body: body.to_owned(),
            is_whole: true,
            redactor: Redactor::default(),
        }
    }

    fn kind(status: u16, headers: &[(&'static str, &str)], body: &str) -> ReplyKind<()> {
        classify(Ok(answered(status, headers, body)), |_| Some(())).kind
    }

    #[test]
    fn every_status_has_its_one_variant() {
        let wait = Some(RetryAfter::Wait(Duration::from_secs(9)));
        for status in 200..300 {
            assert_eq!(kind(status, &[], ""), ReplyKind::Answer(()));
        }
        for status in 300..400 {
            assert_eq!(kind(status, &[], ""), ReplyKind::Redirected);
        }
        for status in 400..500 {
            let expected = match status {
                401 => ReplyKind::Unauthorized,
                403 => ReplyKind::Forbidden,
                404 => ReplyKind::NoSuchAddress(ADDRESS.to_owned()),
                408 => ReplyKind::NotApplied(wait),
                429 => ReplyKind::Throttled(Throttle {
                    retry_after: wait,
                    ..Throttle::default()
                }),
                _ => ReplyKind::Refused,
            };
            assert_eq!(kind(status, &[("retry-after", "9")], ""), expected);
        }
        for status in (500..1000).chain(100..200) {
            let expected = match status {
                503 => ReplyKind::NotApplied(wait),
                _ => ReplyKind::ServerFault(wait),
            };
            assert_eq!(kind(status, &[("retry-after", "9")], ""), expected);
        }
    }

    #[test]
    fn a_throttle_carries_header_and_hints_from_any_body() {
        let text =
            "quota exceeded, maximum allowed 45 per 00:01:00. Send requests again in 8 seconds.";
        let expected = ReplyKind::Throttled(Throttle {
            retry_after: Some(RetryAfter::Wait(Duration::from_secs(3))),
            body_wait: Some(Duration::from_secs(8)),
            allowance: Some((45, Duration::from_secs(60))),
        });
        let json = serde_json::json!({"error": {"code": "429", "message": text}}).to_string();
        let far = serde_json::json!({"error": {"message": format!("{} {text}", "x".repeat(900))}});
        for body in [text, &json, &far.to_string(), &format!("<p>{text}</p>")] {
            assert_eq!(kind(429, &[("retry-after", "3")], body), expected, "{body}");
        }
    }

    proptest! {
        #![proptest_config(proptest_config(256))]

        #[test]
        fn no_message_makes_the_hints_panic(text in "(maximum allowed|again in |[0-9.,:]{1,12}| per | seconds|é| ){0,12}") {
            proptest::prop_assert!(matches!(kind(429, &[("retry-after", "x")], &text), ReplyKind::Throttled(_)));
        }
    }
}
