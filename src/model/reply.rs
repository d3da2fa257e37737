//! What came back for one call: classified, with no decision in it. `retry.rs` says what it means.
//!
//! A kind of its own is for what reads, gates or the breaker treat differently; a rule about one status or code of a refusal
//! looks at the reply's `http_status` or `error` instead.

use std::time::Duration;

use jiff::Timestamp;

use super::action::MachineAction;

/// The classified answer to one call, whose good answer carries a `T`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply<T> {
    pub kind: ReplyKind<T>,
    /// The HTTP status, where one was read.
    pub http_status: Option<u16>,
    pub error: Option<ServiceError>,
}

/// One variant per thing that can come back.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyKind<T> {
    /// 2xx with an empty or a JSON body.
    Answer(T),
    /// 2xx with a body that is not what the service speaks (HTML, cut off, over the bound): fate unknown.
    Garbled,
    /// 429.
    Throttled(Throttle),
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404 in the service's own words: it knows no such action.
    NotFound,
    /// Any other 404: it speaks about the address, not about an action. Names the address.
    NoSuchAddress(String),
    /// 400, 409 or any other 4xx: the service read the call and refused it.
    Refused,
    /// 408 or 503: the service says that it did not work on the call. The wait it asked for, if any.
    NotApplied(Option<RetryAfter>),
    /// 500, 502, 504 or any other 5xx: fate unknown. The wait it asked for, if any.
    ServerFault(Option<RetryAfter>),
    /// 3xx: never followed; a captive portal or a proxy speaks in the service's place.
    Redirected,
    /// No answer in time; we ended the call, so a kernel may still deliver it.
    TimedOut,
    /// The peer ended the call without an answer (reset, closed, unreadable head).
    Broken(String),
    /// No byte of the call left this machine (refused, TLS, no answer from DNS): no attempt. Says what failed.
    NeverLeft(String),
    /// As [`ReplyKind::NeverLeft`], because DNS says that there is no such host. Names the host.
    NoSuchHost(String),
}

/// The error body of the service (MDE `common-errors.md`), cleaned and bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceError {
    /// For example `ResourceNotFound`; may be empty.
    pub code: String,
    /// Free text, at most a few hundred characters, control characters made visible.
    pub message: String,
    /// The GUID to quote to support (`target`).
    pub correlation_id: Option<String>,
}

/// When to come back, as the header says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// So long from now.
    Wait(Duration),
    /// At this wall time.
    At(Timestamp),
}

/// Everything a 429 tells about waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    pub retry_after: Option<RetryAfter>,
    /// The body's "in N seconds".
    pub body_wait: Option<Duration>,
    /// The body's "maximum allowed N per HH:MM:SS": which allowance is used up.
    pub allowance: Option<(u32, Duration)>,
}

/// The answer to a cancel: the record the service sent back, where it sent one.
pub type CancelReply = Reply<Option<MachineAction>>;

/// The records that a read found, each action once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadPage {
    /// Those that were wanted.
    pub records: Vec<MachineAction>,
    /// How many elements the answer listed, wanted or not.
    pub listed: usize,
    /// Whether all of the answer could be read, and nothing in it says that there is more. Else it proves nothing about
    /// what it lacks.
    pub is_whole: bool,
}

impl FromIterator<MachineAction> for ReadPage {
    /// Makes a whole page of these records alone.
    fn from_iter<I: IntoIterator<Item = MachineAction>>(records: I) -> Self {
        let records = Vec::from_iter(records);
        Self {
            listed: records.len(),
            records,
            is_whole: true,
        }
    }
}

/// The answer to a read.
pub type ReadReply = Reply<ReadPage>;

impl<T> Reply<T> {
    /// Returns whether the service itself spoke about the call. All others but 429 and 401 count as faults of the service, of
    /// which five in a row open the breaker.
    pub fn is_proper(&self) -> bool {
        match self.kind {
            ReplyKind::Answer(_)
            | ReplyKind::NotFound
            | ReplyKind::Refused
            | ReplyKind::Forbidden => true,
            ReplyKind::Garbled
            | ReplyKind::Throttled(_)
            | ReplyKind::Unauthorized
            | ReplyKind::NoSuchAddress(_)
            | ReplyKind::NotApplied(_)
            | ReplyKind::ServerFault(_)
            | ReplyKind::Redirected
            | ReplyKind::TimedOut
            | ReplyKind::Broken(_)
            | ReplyKind::NeverLeft(_)
            | ReplyKind::NoSuchHost(_) => false,
        }
    }

    /// Returns whether anything came back that may be from the service: not a redirect, and no broken connection.
    pub fn is_response(&self) -> bool {
        !matches!(
            self.kind,
            ReplyKind::NeverLeft(_)
                | ReplyKind::NoSuchHost(_)
                | ReplyKind::TimedOut
                | ReplyKind::Broken(_)
                | ReplyKind::Redirected
                | ReplyKind::NoSuchAddress(_)
        )
    }
}
