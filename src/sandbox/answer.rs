//! Answers: what the work came to, and the exact bytes in which it is told.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::allowance::{QuotaRefusal, period_text};
use super::dice;
use super::fault::{FaultKind, Tells};
use super::query::{ListQuery, Page};
use super::record::Record;
use super::settings::RetryAfterForm;
use super::wire::list_context;

const JSON: &str = "application/json; odata.metadata=minimal; charset=utf-8";

/// What a proxy's sign-in page looks like to a program.
const PORTAL: &str = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in to continue.</body></html>\n";

/// What the work came to.
pub(super) enum Answer {
    Record(Arc<Record>),
    Empty,
    List(Box<ListQuery>, Vec<Arc<Record>>),
    Json(u16, serde_json::Value),
    Problem(Problem),
}

/// A refusal in the service's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) retry_after: Option<String>,
}

impl Problem {
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

    pub(super) fn unauthorized() -> Self {
        Self::new(
            401,
            "Unauthorized",
            "Authorization has been denied for this request.",
        )
    }

    pub(super) fn forbidden(wanted: &[&str], held: &[String]) -> Self {
        let message = format!(
            "Missing application roles. API required roles: {}, application roles: {}.",
            wanted.join(","),
            held.join(",")
        );
        Self::new(403, "Forbidden", message)
    }

    pub(super) fn over_quota(refusal: QuotaRefusal, form: RetryAfterForm, now: Timestamp) -> Self {
        let seconds = whole_seconds(refusal.wait);
        let message = format!(
            "Quota exceeded, maximum allowed {} per {} for the key Destination+TenantID+AppID. You can send requests \
             again in {seconds} seconds.",
            refusal.window.limit,
            period_text(refusal.window.period)
        );
        Self {
            retry_after: match form {
                RetryAfterForm::Seconds => Some(seconds.to_string()),
                RetryAfterForm::HttpDate => Some(http_date(now, seconds)),
                RetryAfterForm::Absent => None,
                RetryAfterForm::Absurd => Some("1000000000".to_owned()),
            },
            ..Self::new(429, "429", message)
        }
    }

    /// Returns the refusal that a scripted mishap stands for; `None` where it stands for none.
    pub(super) fn scripted(kind: FaultKind, wanted: &[&str], held: &[String]) -> Option<Self> {
        match kind {
            FaultKind::Storm(told) => {
                let mut message =
                    "Quota exceeded for the key Destination+TenantID+AppID.".to_owned();
                let mut retry_after = None;
                if let Some((wait, tells)) = told {
                    let seconds = whole_seconds(wait);
                    if tells != Tells::Header {
                        message =
                            format!("{message} You can send requests again in {seconds} seconds.");
                    }
                    retry_after = (tells != Tells::Hint).then(|| seconds.to_string());
                }
                Some(Self {
                    retry_after,
                    ..Self::new(429, "429", message)
                })
            }
            FaultKind::Status(status, wait) => Some(Self {
                retry_after: wait.map(|wait| whole_seconds(wait).to_string()),
                ..Self::of_status(status, wanted, held)
            }),
            _ => None,
        }
    }

    fn of_status(status: u16, wanted: &[&str], held: &[String]) -> Self {
        match status {
            400 => Self::new(400, "BadRequest", "The request cannot be processed."),
            401 => Self::unauthorized(),
            403 => Self::forbidden(wanted, held),
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

/// Rounds a wait up to whole seconds, at least one: a header cannot say less.
fn whole_seconds(wait: Duration) -> u64 {
    let started = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(started).max(1)
}

fn http_date(now: Timestamp, seconds: u64) -> String {
    let when = std::time::SystemTime::from(now) + Duration::from_secs(seconds);
    // A date has whole seconds: rounding down would invite the caller too early.
    httpdate::fmt_http_date(when + Duration::from_millis(999))
}

/// An answer as bytes, before a mishap has had its hand on it.
pub(super) struct Rendered {
    pub(super) status: u16,
    content_type: Option<&'static str>,
    headers: Vec<(header::HeaderName, String)>,
    body: Bytes,
}

/// What an answer needs to know of the call besides the work.
pub(super) struct Framing<'call> {
    /// Scheme and host, for links.
    pub(super) host: &'call str,
    /// The most records on a page.
    pub(super) page: usize,
    /// The call's number, from which correlation ids follow.
    pub(super) number: u64,
}

impl Rendered {
    fn json(status: u16, body: &impl Serialize) -> Self {
        Self {
            status,
            content_type: Some(JSON),
            headers: Vec::new(),
            // Serialising these types to memory cannot fail: no map has a key that is not text.
            body: serde_json::to_vec(body).unwrap_or_default().into(),
        }
    }

    pub(super) fn bare(status: u16) -> Self {
        Self {
            status,
            content_type: None,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    fn page(status: u16) -> Self {
        Self {
            content_type: Some("text/html; charset=utf-8"),
            body: Bytes::from_static(PORTAL.as_bytes()),
            ..Self::bare(status)
        }
    }

    /// Puts an answer into bytes.
    pub(super) fn of(answer: Answer, framing: &Framing<'_>) -> Self {
        match answer {
            Answer::Record(record) => Self::json(200, &record.alone()),
            Answer::Empty => Self::bare(200),
            Answer::List(query, found) => {
                let page = query.page(found, framing.page);
                list_body(&query, &page, framing.host)
            }
            Answer::Json(status, body) => Self::json(status, &body),
            Answer::Problem(problem) => Self::problem(problem, framing.number),
        }
    }

    fn problem(problem: Problem, number: u64) -> Self {
        let mut rendered = match problem.status {
            // Gateways answer in HTML or with nothing at all.
            502 | 504 => Self::page(problem.status),
            status if problem.code.is_empty() => Self::bare(status),
            status => {
                let target = dice::guid(0, number, b"target").to_string();
                Self::json(
                    status,
                    &json!({"error": {"code": problem.code, "message": problem.message, "target": target}}),
                )
            }
        };
        if let Some(wait) = problem.retry_after {
            rendered.headers.push((header::RETRY_AFTER, wait));
        }
        if problem.status == 401 {
            let challenge = r#"Bearer error="invalid_token""#.to_owned();
            rendered.headers.push((header::WWW_AUTHENTICATE, challenge));
        }
        rendered
    }

    /// Returns what a mishap makes of the answer; the other mishaps leave it as it is.
    pub(super) fn spoilt_by(self, kind: FaultKind) -> Self {
        match kind {
            FaultKind::Html => Self::page(200),
            FaultKind::BrokenJson => Self {
                status: 200,
                content_type: Some(JSON),
                headers: Vec::new(),
                body: match self.body.len() {
                    0 => Bytes::from_static(b"{\"@odata.context\":\"htt"),
                    length => self.body.slice(..length / 2),
                },
            },
            FaultKind::Empty => Self::bare(200),
            FaultKind::Accepted => Self::bare(202),
            FaultKind::Redirect => Self {
                headers: vec![(header::LOCATION, "http://portal.example/login".to_owned())],
                ..Self::bare(302)
            },
            _ => self,
        }
    }

    /// Hands the answer over; its body in pieces over `slowly`, where that is given.
    pub(super) fn into_response(self, slowly: Option<Duration>) -> Response<Body> {
        let length = self.body.len();
        let body = match slowly {
            Some(span) if length > 0 => trickle(self.body, span),
            _ => Body::from(self.body),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or_default();
        let headers = response.headers_mut();
        if let Some(content_type) = self.content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        if slowly.is_some() {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        response
    }
}

#[derive(Serialize)]
struct Envelope<'page, T> {
    #[serde(rename = "@odata.context")]
    context: String,
    #[serde(rename = "@odata.count", skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
    value: Vec<T>,
    #[serde(rename = "@odata.nextLink", skip_serializing_if = "Option::is_none")]
    next: Option<&'page str>,
}

fn list_body(query: &ListQuery, page: &Page, host: &str) -> Rendered {
    let context = list_context(query.select.as_deref());
    let next = page
        .next
        .as_ref()
        .map(|next| format!("{host}/api/machineactions?{next}"));
    let (count, next) = (page.count, next.as_deref());
    let Some(select) = &query.select else {
        let value = page.records.iter().map(|record| record.listed()).collect();
        return Rendered::json(
            200,
            &Envelope {
                context,
                count,
                value,
                next,
            },
        );
    };
    let value = page
        .records
        .iter()
        .filter_map(|record| serde_json::to_value(record.listed()).ok())
        .map(|mut record| {
            if let Some(fields) = record.as_object_mut() {
                fields.retain(|name, _| select.contains(name));
            }
            record
        })
        .collect();
    Rendered::json(
        200,
        &Envelope {
            context,
            count,
            value,
            next,
        },
    )
}

/// How many pieces a slow body comes in: enough that no single one is long in coming.
const PIECES: usize = 10;

fn trickle(body: Bytes, span: Duration) -> Body {
    let size = body.len().div_ceil(PIECES).max(1);
    let pause = span / u32::try_from(body.len().div_ceil(size)).unwrap_or(1).max(1);
    Body::from_stream(futures::stream::unfold(body, move |mut left| async move {
        if left.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let piece = left.split_to(size.min(left.len()));
        Some((Ok::<_, std::convert::Infallible>(piece), left))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up_and_never_zero() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (7_999, 8)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
        let date = http_date("2026-02-03T04:05:06.2Z".parse().unwrap(), 8);
        assert_eq!(date, "Tue, 03 Feb 2026 04:05:15 GMT");
    }
}
