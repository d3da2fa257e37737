//! Responses, and their exact bytes.
//!
//! An `Answer` is the result of a call. It is rendered to status, headers and body, which a fault may then replace.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::actions::MockAction;
use super::call_log::CallKind;
use super::faults::FaultKind;
use super::oauth::{Caller, roles_for};
use super::query::ListOptions;
use super::random;
use super::rate_limit::{OverQuota, period_text};

pub type Body = UnsyncBoxBody<Bytes, Infallible>;

const JSON: &str = "application/json; odata.metadata=minimal; charset=utf-8";

const HTML: &str = "text/html; charset=utf-8";

/// The service's own address in lists, regardless of the requested host.
const LISTS: &str = "https://api.security.microsoft.com/api";

/// A proxy's sign-in page.
const PORTAL: &str = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in to continue.</body></html>\n";

/// The result of a call.
pub(super) enum Answer {
    Record(Arc<MockAction>),
    /// A new action.
    Created(Arc<MockAction>),
    Empty,
    List(ListOptions, Vec<Arc<MockAction>>),
    Json(u16, serde_json::Value),
}

/// An error in the service's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ErrorAnswer {
    status: u16,
    code: &'static str,
    message: String,
    /// In seconds.
    retry_after: Option<u64>,
}

impl ErrorAnswer {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after: None,
        }
    }

    pub(super) fn unknown_action() -> Self {
        Self::new(404, "ResourceNotFound", "Machine action was not found.")
    }

    pub(super) fn unknown_machine() -> Self {
        Self::new(404, "ResourceNotFound", "Machine was not found.")
    }

    pub(super) fn active_request() -> Self {
        Self::new(
            400,
            "ActiveRequestAlreadyExists",
            "Action is already in progress",
        )
    }

    pub(super) fn final_action(status: u16, record: &MockAction) -> Self {
        let code = match status {
            409 => "Conflict",
            _ => "BadRequest",
        };
        let word = record.status.as_str();
        let message = format!("The action cannot be cancelled in status {word}.");
        Self::new(status, code, message)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(
            401,
            "Unauthorized",
            "Authorization has been denied for this request.",
        )
    }

    pub(super) fn forbidden(kind: CallKind, caller: &Caller) -> Self {
        let message = format!(
            "Missing application roles. API required roles: {}, application roles: {}.",
            roles_for(kind).join(","),
            caller.roles.join(",")
        );
        Self::new(403, "Forbidden", message)
    }

    pub(super) fn over_quota(refusal: OverQuota) -> Self {
        let seconds = whole_seconds(refusal.wait);
        let message = format!(
            "Quota exceeded, maximum allowed {} per {} for the key Destination+TenantID+AppID. You can send requests \
             again in {seconds} seconds.",
            refusal.window.limit,
            period_text(refusal.window.period)
        );
        Self {
            retry_after: Some(seconds),
            ..Self::new(429, "429", message)
        }
    }

    /// Returns the error that a fault stands for, if any.
    pub(super) fn of_fault(fault: FaultKind, kind: CallKind, caller: &Caller) -> Option<Self> {
        match fault {
            FaultKind::Storm {
                wait,
                in_header,
                in_text,
            } => {
                let seconds = wait.map(whole_seconds);
                let mut message =
                    "Quota exceeded for the key Destination+TenantID+AppID.".to_owned();
                if let Some(seconds) = seconds.filter(|_| in_text) {
                    message =
                        format!("{message} You can send requests again in {seconds} seconds.");
                }
                Some(Self {
                    retry_after: seconds.filter(|_| in_header),
                    ..Self::new(429, "429", message)
                })
            }
            FaultKind::Status(status, wait) => Some(Self {
                retry_after: wait.map(whole_seconds),
                ..Self::of_status(status, kind, caller)
            }),
            _ => None,
        }
    }

    fn of_status(status: u16, kind: CallKind, caller: &Caller) -> Self {
        match status {
            400 => Self::new(400, "BadRequest", "The request cannot be processed."),
            401 => Self::unauthorized(),
            403 => Self::forbidden(kind, caller),
            404 => Self::unknown_action(),
            408 => Self::new(408, "RequestTimeout", "The request timed out."),
            409 => Self::new(
                409,
                "Conflict",
                "The action is in a state that does not allow this.",
            ),
            500 => Self::new(500, "InternalServerError", "Something went wrong."),
            other => Self::new(other, "", ""),
        }
    }
}

/// Rounds a wait up to whole seconds, at least one, as headers require.
fn whole_seconds(wait: Duration) -> u64 {
    let started = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(started).max(1)
}

/// A response as bytes.
pub(super) struct Rendered {
    pub(super) status: u16,
    headers: Vec<(HeaderName, String)>,
    body: Bytes,
}

#[derive(Serialize)]
struct ListBody<T> {
    #[serde(rename = "@odata.context")]
    context: String,
    value: Vec<T>,
    #[serde(rename = "@odata.nextLink", skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Rendered {
    /// Renders the response to call `number`, with at most `page` records.
    pub(super) fn new(answer: Result<Answer, ErrorAnswer>, page: usize, number: u64) -> Self {
        let answer = match answer {
            Ok(answer) => answer,
            Err(problem) => return Self::problem(problem, number),
        };
        match answer {
            Answer::Record(record) => Self::json(200, &record.alone()),
            Answer::Created(record) => Self::json(201, &record.alone()),
            Answer::Empty => Self::bare(200),
            Answer::List(query, found) => {
                let page = query.page(found, page);
                let next = page.next;
                let envelope = ListBody {
                    context: format!("{LISTS}/$metadata#MachineActions"),
                    value: page.records.iter().map(|record| record.listed()).collect(),
                    next: next.map(|query| format!("{LISTS}/machineactions?{query}")),
                };
                Self::json(200, &envelope)
            }
            Answer::Json(status, body) => Self::json(status, &body),
        }
    }

    fn problem(problem: ErrorAnswer, number: u64) -> Self {
        let ErrorAnswer {
            status,
            code,
            message,
            retry_after,
        } = problem;
        let mut rendered = match status {
            // Gateways respond with HTML or an empty body.
            502 | 504 => Self::typed(status, HTML, PORTAL.into()),
            status if code.is_empty() => Self::bare(status),
            status => {
                let target = random::guid(0, number, b"target").to_string();
                let error = json!({"code": code, "message": message, "target": target});
                Self::json(status, &json!({"error": error}))
            }
        };
        if let Some(seconds) = retry_after {
            let wait = (header::RETRY_AFTER, seconds.to_string());
            rendered.headers.push(wait);
        }
        if status == 401 {
            let challenge = r#"Bearer error="invalid_token""#.to_owned();
            rendered.headers.push((header::WWW_AUTHENTICATE, challenge));
        }
        rendered
    }

    fn bare(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    fn typed(status: u16, content_type: &str, body: Bytes) -> Self {
        Self {
            status,
            headers: vec![(header::CONTENT_TYPE, content_type.to_owned())],
            body,
        }
    }

    fn json(status: u16, body: &impl Serialize) -> Self {
        // Cannot fail: all map keys of these types are strings.
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self::typed(status, JSON, body.into())
    }

    /// Applies a fault to the response; faults of other kinds don't change it.
    pub(super) fn with_fault(self, fault: FaultKind) -> Self {
        match fault {
            FaultKind::Html => Self::typed(200, HTML, PORTAL.into()),
            FaultKind::BrokenJson if self.body.is_empty() => {
                Self::typed(200, JSON, "{\"@odata.context\":\"htt".into())
            }
            FaultKind::BrokenJson => Self::typed(200, JSON, self.body.slice(..self.body.len() / 2)),
            FaultKind::Empty => Self::bare(200),
            FaultKind::Accepted => Self::bare(202),
            FaultKind::Redirect => Self {
                headers: vec![(header::LOCATION, "http://portal.example/login".to_owned())],
                ..Self::bare(302)
            },
            _ => self,
        }
    }

    /// Builds the HTTP response; with `slowly`, its body is sent in pieces over that time.
    pub(super) fn into_response(self, slowly: Option<Duration>) -> Response<Body> {
        let length = self.body.len();
        let body = match slowly {
            Some(span) if length > 0 => trickle(self.body, span),
            _ => Full::new(self.body).boxed_unsync(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or_default();
        let headers = response.headers_mut();
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        headers.insert(header::CONTENT_LENGTH, length.into());
        response
    }
}

/// The number of pieces of a slow body: enough to avoid long pauses.
const PIECES: usize = 10;

fn trickle(body: Bytes, span: Duration) -> Body {
    let size = body.len().div_ceil(PIECES).max(1);
    let pause = span / u32::try_from(body.len().div_ceil(size)).unwrap_or(1).max(1);
    let pieces = stream::unfold(body, move |mut left| async move {
        if left.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let piece = left.split_to(size.min(left.len()));
        Some((Ok(Frame::data(piece)), left))
    });
    StreamBody::new(pieces).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up_and_never_zero() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (7_999, 8)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
