//! The core's phrases for reports and logs, in one place so that they agree.

use crate::domain::ActionType;
use crate::domain::MachineAction;
use crate::domain::Reply;
use crate::domain::ReplyKind;
use crate::domain::Throttle;

/// Returns one word for a kind of reply: the journal's and the metrics' class.
pub(super) fn class<T>(kind: &ReplyKind<T>) -> &'static str {
    match kind {
        ReplyKind::Answer(_) => "answer",
        ReplyKind::Garbled => "garbled",
        ReplyKind::Throttled(_) => "throttled",
        ReplyKind::Unauthorized => "unauthorized",
        ReplyKind::Forbidden => "forbidden",
        ReplyKind::NotFound => "not_found",
        ReplyKind::Refused => "refused",
        ReplyKind::NotApplied(_) => "not_applied",
        ReplyKind::ServerFault(_) => "server_fault",
        ReplyKind::Redirected => "redirected",
        ReplyKind::TimedOut => "timed_out",
        ReplyKind::Broken(_) => "broken",
        ReplyKind::NeverLeft(_) => "never_left",
    }
}

/// Says what came back, for a reason: the status with the service's own words, or what happened instead.
pub(super) fn of_reply<T>(reply: &Reply<T>) -> String {
    let mut text = match (&reply.kind, reply.http_status) {
        (ReplyKind::TimedOut, _) => "no answer in time".to_owned(),
        (ReplyKind::Broken(detail), _) => format!("the connection broke: {detail}"),
        (ReplyKind::NeverLeft(detail), _) => format!("not sent: {detail}"),
        (ReplyKind::Garbled, Some(status)) => format!("{status} with an unreadable body"),
        (ReplyKind::Redirected, Some(status)) => {
            format!("{status}, a redirect, which is never followed")
        }
        (_, Some(status)) => status.to_string(),
        (kind, None) => class(kind).to_owned(),
    };
    if let Some(error) = &reply.error {
        for part in [&error.code, &error.message] {
            if !part.is_empty() {
                text.push(' ');
                text.push_str(part);
            }
        }
    }
    text
}

/// Tells one kind of refusal from others: status and code, for the words may name the id.
pub(super) fn refusal<T>(reply: &Reply<T>) -> String {
    let status = reply.http_status.map_or_else(
        || class(&reply.kind).to_owned(),
        |status| status.to_string(),
    );
    match &reply.error {
        Some(error) if !error.code.is_empty() => format!("{status} {}", error.code),
        _ => status,
    }
}

/// Names an action type, known or not.
pub(super) fn of_type(action_type: Option<&ActionType>) -> &str {
    action_type.map_or("actions of unknown type", ActionType::as_str)
}

/// Says what a 429 said, for the journal.
pub(super) fn of_throttle(throttle: &Throttle) -> String {
    match throttle.allowance {
        Some((limit, period)) => format!("429: maximum allowed {limit} per {period:?}"),
        None => "429".to_owned(),
    }
}

/// Says who had cancelled an action before us, and when, as far as its record tells.
pub(super) fn of_cancellation(record: Option<&MachineAction>) -> String {
    let mut text = "it was Cancelled before".to_owned();
    let Some(record) = record else { return text };
    if let Some(at) = record.cancelled_at {
        text = format!("it was Cancelled at {at}");
    }
    if let Some(requestor) = &record.cancellation_requestor {
        text.push_str(" by ");
        text.push_str(requestor);
    }
    if let Some(comment) = &record.cancellation_comment {
        text.push_str(", with the comment: ");
        text.push_str(comment);
    }
    text
}

/// Returns "once", "twice" or "N times".
pub(super) fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}
