//! The classified response to a call. `retry.rs` decides what it means for the row.
//!
//! A kind exists only if reads, gates or the circuit breaker treat it differently. Rules about a single status or error
//! code use `http_status` and `error`.

use std::time::Duration;

use jiff::Timestamp;

use super::action::MachineAction;

/// The response to a call; `T` is the content of a successful one.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply<T> {
    pub kind: ReplyKind<T>,
    /// The HTTP status, if one was received.
    pub http_status: Option<u16>,
    pub error: Option<ServiceError>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ReplyKind<T> {
    /// 2xx with an empty body or a JSON body.
    Answer(T),
    /// 2xx with an invalid body (HTML, truncated or too large): the effect is unknown.
    InvalidBody,
    Throttled(Throttle),
    Unauthorized,
    Forbidden,
    /// 404 with the service's error body: no such action.
    NotFound,
    /// Any other 404: the address is wrong. Contains the address.
    NoSuchAddress(String),
    /// 400, 409 or any other 4xx: the service rejected the call.
    Refused,
    /// 408 or 503: the service did not process the call. Contains the requested wait.
    NotApplied(Option<RetryAfter>),
    /// 500, 502, 504 or any other 5xx: the effect is unknown. Contains the requested wait.
    ServerFault(Option<RetryAfter>),
    /// 3xx, from a captive portal or a proxy; never followed.
    Redirected,
    /// No response in time. We gave up, but the request may still arrive.
    TimedOut,
    /// The peer closed the connection without a valid response.
    Broken(String),
    /// No byte left this machine (connection refused, TLS, DNS), so this is no attempt. Contains the error.
    NotSent(String),
    /// As [`ReplyKind::NotSent`], because the host does not exist in DNS. Contains the host.
    NoSuchHost(String),
}

/// The service's error body (MDE `common-errors.md`), sanitized and truncated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceError {
    /// For example `ResourceNotFound`; may be empty.
    pub code: String,
    /// At most a few hundred characters, with control characters escaped.
    pub message: String,
    /// The GUID to quote to support (`target` in the body).
    pub correlation_id: Option<String>,
}

/// The `Retry-After` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    Wait(Duration),
    At(Timestamp),
}

/// What a 429 says about waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    pub retry_after: Option<RetryAfter>,
    /// From "in N seconds" in the body.
    pub body_wait: Option<Duration>,
    /// From "maximum allowed N per HH:MM:SS" in the body: the quota that is used up.
    pub allowance: Option<(u32, Duration)>,
}

/// The response to a cancel, with the record if the service sent one.
pub type CancelReply = Reply<Option<MachineAction>>;

/// The result of a read; contains each action once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadPage {
    /// The requested records.
    pub records: Vec<MachineAction>,
    /// How many elements the response listed, requested or not.
    pub listed: usize,
    /// Whether the response was fully readable and is not paged further. If not, a missing record proves nothing.
    pub is_whole: bool,
}

impl FromIterator<MachineAction> for ReadPage {
    /// Builds a complete page of exactly these records.
    fn from_iter<I: IntoIterator<Item = MachineAction>>(records: I) -> Self {
        let records = Vec::from_iter(records);
        Self {
            listed: records.len(),
            records,
            is_whole: true,
        }
    }
}

pub type ReadReply = Reply<ReadPage>;

impl<T> Reply<T> {
    /// Returns whether the service itself answered the call. Anything else, except 429 and 401, counts as a service
    /// fault; five in a row open the circuit breaker.
    pub fn is_proper(&self) -> bool {
        match self.kind {
            ReplyKind::Answer(_)
            | ReplyKind::NotFound
            | ReplyKind::Refused
            | ReplyKind::Forbidden => true,
            ReplyKind::InvalidBody
            | ReplyKind::Throttled(_)
            | ReplyKind::Unauthorized
            | ReplyKind::NoSuchAddress(_)
            | ReplyKind::NotApplied(_)
            | ReplyKind::ServerFault(_)
            | ReplyKind::Redirected
            | ReplyKind::TimedOut
            | ReplyKind::Broken(_)
            | ReplyKind::NotSent(_)
            | ReplyKind::NoSuchHost(_) => false,
        }
    }

    /// Returns whether the response may come from the service: no redirect, no wrong address, no broken connection.
    pub fn is_response(&self) -> bool {
        !matches!(
            self.kind,
            ReplyKind::NotSent(_)
                | ReplyKind::NoSuchHost(_)
                | ReplyKind::TimedOut
                | ReplyKind::Broken(_)
                | ReplyKind::Redirected
                | ReplyKind::NoSuchAddress(_)
        )
    }
}
