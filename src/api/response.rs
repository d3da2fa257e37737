//! Classifies responses, and extracts the error from a body of any shape.
//!
//! Texts are sanitized first. No decision is made here. An ambiguous response gets the more cautious kind.

use reqwest::header::{HeaderMap, LOCATION};
use serde_json::Value;
use url::Url;

use crate::model::{Redactor, Reply, ReplyKind, ServiceError, Throttle, truncate_line};

use super::retry_after::{allowance, body_wait, retry_after};
use super::send::{RawResponse, SendError};

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
                kind: ReplyKind::InvalidBody,
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
        SendError::NotSent(what) => ReplyKind::NotSent(what),
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

/// In characters.
const MAX_MESSAGE: usize = 300;

/// The longest code or correlation id, in characters: a GUID with some room.
const MAX_WORD: usize = 100;

/// Headers with the id to quote to support, the best first.
const CORRELATION_HEADERS: [&str; 3] = ["request-id", "x-ms-request-id", "client-request-id"];

#[derive(Debug, Default, PartialEq)]
pub(super) struct ErrorBody {
    /// `None` if neither body nor headers contain anything.
    pub(super) error: Option<ServiceError>,
    /// The whole sanitized message, to search for wait hints.
    pub(super) text: String,
    /// Whether the body is a service error: an object `error` with a code.
    pub(super) is_services_own: bool,
}

impl ErrorBody {
    /// Parses the service's errors, other JSON, HTML or plain text. Removes the redactor's secrets from `error`.
    pub(super) fn read(body: &str, headers: &HeaderMap, redactor: &Redactor) -> Self {
        let json = serde_json::from_str::<Value>(body).ok();
        let own = json.as_ref().and_then(|json| json.get("error"));
        let is_services_own = own.is_some_and(|own| word(own, "code").is_some());
        let from_json = json.as_ref().filter(|json| json.is_object()).map(Parts::of);
        let parts = from_json
            .filter(|parts| !parts.is_empty())
            .unwrap_or_else(|| Parts {
                message: truncate_line(body, usize::MAX),
                ..Parts::default()
            });
        let correlation_id = parts.target.or_else(|| correlation_header(headers));
        let kept = |text: &str, limit| truncate_line(&redactor.redact(text), limit);
        let error = ServiceError {
            code: kept(&parts.code, MAX_WORD),
            message: kept(&parts.message, MAX_MESSAGE),
            correlation_id: correlation_id.map(|id| kept(&id, MAX_WORD)),
        };
        Self {
            error: (error != ServiceError::default()).then_some(error),
            text: parts.message,
            is_services_own,
        }
    }
}

fn correlation_header(headers: &HeaderMap) -> Option<String> {
    CORRELATION_HEADERS
        .iter()
        .filter_map(|name| headers.get(*name))
        .map(|value| truncate_line(&String::from_utf8_lossy(value.as_bytes()), usize::MAX))
        .find(|id| !id.is_empty())
}

/// The sanitized, not yet truncated texts of an error body.
#[derive(Default)]
struct Parts {
    code: String,
    message: String,
    target: Option<String>,
}

impl Parts {
    fn of(json: &Value) -> Self {
        let inner = field(json, "error")
            .filter(|inner| inner.is_object())
            .unwrap_or(json);
        // Sign-in gateways send `{"error":"invalid_token","error_description":".."}`.
        let code = word(inner, "code").or_else(|| word(json, "error"));
        let message = word(inner, "message").or_else(|| word(json, "error_description"));
        let details: Vec<String> = field(inner, "details")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|detail| word(detail, "message"))
            .collect();
        let said: Vec<String> = message.into_iter().chain(details).collect();
        Self {
            code: code.unwrap_or_default(),
            message: said.join(" "),
            target: word(inner, "target"),
        }
    }

    fn is_empty(&self) -> bool {
        self.code.is_empty() && self.message.is_empty() && self.target.is_none()
    }
}

/// Looks up a field ignoring case: gateways write `Message`, the service `message`.
fn field<'json>(json: &'json Value, name: &str) -> Option<&'json Value> {
    json.as_object()?
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// Returns a field as sanitized text, including numbers; `None` if it is empty.
fn word(json: &Value, name: &str) -> Option<String> {
    let word = match field(json, name)? {
        Value::String(text) => truncate_line(text, usize::MAX),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::RetryAfter;

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
}

#[cfg(test)]
mod error_body_tests {
    use super::*;

    fn read(body: &str) -> Option<ServiceError> {
        ErrorBody::read(body, &HeaderMap::new(), &Redactor::default()).error
    }

    fn error(code: &str, message: &str, target: Option<&str>) -> ServiceError {
        ServiceError {
            code: code.to_owned(),
            message: message.to_owned(),
            correlation_id: target.map(str::to_owned),
        }
    }

    #[test]
    fn every_shape_seen_is_understood() {
        let cases = [
            (
                r#"{"error":{"code":"ResourceNotFound","message":"no such action","target":"c0ffee"}}"#,
                Some(error("ResourceNotFound", "no such action", Some("c0ffee"))),
            ),
            (
                r#"{"error":{"code":"","message":"bad filter","details":[{"message":"at 3"},{"message":null},7]}}"#,
                Some(error("", "bad filter at 3", None)),
            ),
            (
                r#"{"error":{"code":429,"message":null,"target":null}}"#,
                Some(error("429", "", None)),
            ),
            (
                r#"{"statusCode":429,"Message":"Rate limit is exceeded."}"#,
                Some(error("", "Rate limit is exceeded.", None)),
            ),
            (
                r#"{"error":"invalid_token","error_description":"expired"}"#,
                Some(error("invalid_token", "expired", None)),
            ),
            (
                "<html>\n<h1>502</h1>\n</html>",
                Some(error("", "<html> <h1>502</h1> </html>", None)),
            ),
            (r#"{"a":1}"#, Some(error("", r#"{"a":1}"#, None))),
            (r#""sorry""#, Some(error("", r#""sorry""#, None))),
            ("", None),
            (" \r\n", None),
        ];
        for (body, expected) in cases {
            assert_eq!(read(body), expected, "{body}");
        }
    }

    #[test]
    fn the_services_own_shape_is_told_from_a_gateways() {
        for (body, is_own) in [
            (
                r#"{"error":{"code":"ResourceNotFound","message":"x"}}"#,
                true,
            ),
            (r#"{"error":{"code":"NotFound"}}"#, true),
            (r#"{"error":{"code":"","message":"x"}}"#, false),
            (r#"{"error":"not_found"}"#, false),
            (r#"{"code":"404","message":"x"}"#, false),
            (
                r#"{"statusCode":404,"message":"Resource not found"}"#,
                false,
            ),
            (
                r#"{"Message":"No HTTP resource was found that matches the request URI"}"#,
                false,
            ),
            ("<html>404</html>", false),
            ("", false),
        ] {
            let read = ErrorBody::read(body, &HeaderMap::new(), &Redactor::default());
            assert_eq!(read.is_services_own, is_own, "{body}");
        }
    }

    #[test]
    fn messages_are_cleaned_and_bounded_but_hints_see_the_whole() {
        let body = format!(
            r#"{{"error":{{"code":"x","message":"\u001b[2J{} tail"}}}}"#,
            "m".repeat(400)
        );
        let read = ErrorBody::read(&body, &HeaderMap::new(), &Redactor::default());
        let message = read.error.unwrap().message;
        assert!(message.starts_with("\\u{1b}[2Jmm") && message.ends_with('…'));
        assert_eq!(message.chars().count(), MAX_MESSAGE);
        assert!(read.text.ends_with("tail"));
    }

    #[test]
    fn the_correlation_id_falls_back_to_the_headers_in_order() {
        let mut headers = HeaderMap::new();
        headers.insert("client-request-id", "third".parse().unwrap());
        headers.insert("x-ms-request-id", "second".parse().unwrap());
        let id = |body: &str| {
            ErrorBody::read(body, &headers, &Redactor::default())
                .error
                .unwrap()
                .correlation_id
        };
        assert_eq!(id("").as_deref(), Some("second"));
        assert_eq!(
            id(r#"{"error":{"target":"first"}}"#).as_deref(),
            Some("first")
        );
    }

    #[test]
    fn the_permissions_a_403_names_survive() {
        let text = "Missing application roles. API required roles: Machine.Isolate, Machine.Scan, \
                    application roles: Machine.Read.All.";
        let body = serde_json::json!({"error": {"code": "Forbidden", "message": text}}).to_string();
        assert_eq!(read(&body).unwrap().message, text);
    }
}
