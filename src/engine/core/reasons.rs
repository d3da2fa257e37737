//! The core's texts for reports and logs, in one place so that they agree.

use crate::model::{
    ActionStatus, ActionType, MachineAction, Number, Operation, Outcome, Reply, ReplyKind, RunId,
    Throttle, times,
};

use super::row::{Applied, Row, SeenOpen};

/// Lists lag, so one read doesn't prove that an id is unknown.
pub(in crate::engine) const MISSING_ONCE: &str =
    "no such id in the tenant so far; a run looks again before it says so";

/// The class of a reply in the journal and the metrics.
pub(super) fn class<T>(kind: &ReplyKind<T>) -> &'static str {
    match kind {
        ReplyKind::Answer(_) => "answer",
        ReplyKind::InvalidBody => "garbled",
        ReplyKind::Throttled(_) => "throttled",
        ReplyKind::Unauthorized => "unauthorized",
        ReplyKind::Forbidden => "forbidden",
        ReplyKind::NotFound => "not_found",
        ReplyKind::NoSuchAddress(_) => "no_such_address",
        ReplyKind::Refused => "refused",
        ReplyKind::NotApplied(_) => "not_applied",
        ReplyKind::ServerFault(_) => "server_fault",
        ReplyKind::Redirected => "redirected",
        ReplyKind::TimedOut => "timed_out",
        ReplyKind::Broken(_) => "broken",
        ReplyKind::NotSent(_) | ReplyKind::NoSuchHost(_) => "never_left",
    }
}

/// Describes an answer for a reason: the status with the service's own code and message, or what happened instead.
pub(in crate::engine) fn of_reply<T>(reply: &Reply<T>) -> String {
    let mut text = without_error(reply);
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

fn without_error<T>(reply: &Reply<T>) -> String {
    match (&reply.kind, reply.http_status) {
        (ReplyKind::TimedOut, _) => "no answer in time".to_owned(),
        (ReplyKind::Broken(detail), _) => detail.clone(),
        (ReplyKind::NotSent(detail), _) => format!("not sent: {detail}"),
        (ReplyKind::NoSuchHost(host), _) => format!("not sent: {}", of_unknown_host(host)),
        (ReplyKind::NoSuchAddress(address), _) => {
            format!("404 from {address}, without the service's own error body")
        }
        (ReplyKind::InvalidBody, Some(status)) => format!("{status} with an unreadable body"),
        (ReplyKind::Redirected, Some(status)) => {
            format!("{status}, a redirect, which is never followed")
        }
        (_, Some(status)) => status.to_string(),
        (kind, None) => class(kind).to_owned(),
    }
}

/// Describes a fault in a few words, without the service's message, which may name an id.
pub(in crate::engine) fn of_fault<T>(reply: &Reply<T>) -> String {
    match (&reply.kind, reply.http_status) {
        (ReplyKind::NotSent(detail), _) => detail.clone(),
        (ReplyKind::NoSuchHost(host), _) => of_unknown_host(host),
        (ReplyKind::NoSuchAddress(_), _) => "404 without the service's own error body".to_owned(),
        _ => without_error(reply),
    }
}

pub(super) fn of_unknown_host(host: &str) -> String {
    format!("the host name {host} does not exist")
}

/// Returns status and code, to recognize identical refusals. The message may name an id.
pub(super) fn reply_kind<T>(reply: &Reply<T>) -> String {
    let status = reply.http_status.map_or_else(
        || class(&reply.kind).to_owned(),
        |status| status.to_string(),
    );
    match &reply.error {
        Some(error) if !error.code.is_empty() => format!("{status} {}", error.code),
        _ => status,
    }
}

pub(super) fn of_type(action_type: Option<&ActionType>) -> &str {
    action_type.map_or("actions of unknown type", ActionType::as_str)
}

pub(super) fn of_denied(
    operation: Operation,
    action_type: Option<&ActionType>,
    why: &str,
) -> String {
    let action_type_name = of_type(action_type);
    let mut text = match operation {
        Operation::Cancel => {
            format!("cancels of {action_type_name} are forbidden with this token ({why})")
        }
        Operation::Release => format!("{action_type_name} is forbidden with this token ({why})"),
    };
    if let Some(permission) = action_type.and_then(ActionType::permission) {
        text.push_str("; grant ");
        text.push_str(permission);
    }
    text
}

pub(super) fn of_in_progress(run: RunId) -> String {
    format!("not sent: in progress in run {run}")
}

pub(super) fn rows(count: u64) -> String {
    match count {
        1 => "1 row".to_owned(),
        more => format!("{} rows", Number(more)),
    }
}

pub(in crate::engine) fn of_throttle(throttle: &Throttle) -> String {
    match throttle.allowance {
        Some((limit, period)) => format!("429: maximum allowed {limit} per {period:?}"),
        None => "429".to_owned(),
    }
}

/// Returns who cancelled an action before us, and when, as far as the record says.
pub(in crate::engine) fn of_cancellation(record: Option<&MachineAction>) -> String {
    let mut text = "already cancelled".to_owned();
    let Some(record) = record else { return text };
    if let Some(at) = record.cancelled_at {
        text = format!("already cancelled at {at}");
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

/// If the row names a tenant, adds that the id may belong to another one.
pub(super) fn of_missing(operation: Operation, tenant: Option<&str>) -> String {
    let missed = match operation {
        Operation::Cancel => "no such action in this tenant (checked twice)",
        Operation::Release => "not among the machine's actions (checked twice)",
    };
    match tenant {
        Some(tenant) => format!("{missed}; it may belong to a tenant other than {tenant}"),
        None => missed.to_owned(),
    }
}

pub(super) const VANISHED: &str = "found earlier, but missing in two later reads";

pub(super) fn of_not_read(operation: Operation) -> &'static str {
    match operation {
        Operation::Cancel => {
            "not sent: its record can't be read, though others can, so protected types and exclusions can't be checked \
             (--no-precheck sends it anyway)"
        }
        Operation::Release => {
            "not sent: the machine's actions can't be read, though others' can, so it may be isolated on purpose"
        }
    }
}

pub(super) fn of_vanished(last: &str) -> String {
    format!("{last}; found earlier, but missing in a later read")
}

pub(super) fn of_unconfirmed(last: &str) -> String {
    format!("unconfirmed: {last}; its record could not be read")
}

pub(super) fn of_rejected_now(reason: &str) -> String {
    format!("not sent again: {reason}")
}

/// Explains the outcome that a record leads to.
pub(super) fn of_record(operation: Operation, row: &Row, outcome: Outcome) -> String {
    let status = row.status().map_or("unknown", ActionStatus::as_str);
    let record = row.record.as_deref();
    match outcome {
        Outcome::AlreadyCancelled => of_cancellation(record),
        Outcome::AlreadyFinal if row.attempts > 0 && row.seen != SeenOpen::No => {
            format!("open when first read, then ended as {status}, not by a cancel")
        }
        Outcome::AlreadyFinal if row.attempts > 0 => {
            format!("the action had ended as {status} when first read")
        }
        Outcome::AlreadyFinal => format!("the action had ended as {status}"),
        Outcome::AlreadyReleased => of_release(record),
        Outcome::Failed if operation == Operation::Release => {
            format!("the release ended as {status}")
        }
        Outcome::TooLate => format!("the cancel was accepted, but the action ended as {status}"),
        Outcome::Cancelled if record.is_some_and(|record| record.command_completed) => {
            "the record says Cancelled, but its live-response command had completed".to_owned()
        }
        _ => String::new(),
    }
}

fn of_release(record: Option<&MachineAction>) -> String {
    let by = record.and_then(|record| record.requestor.as_deref());
    let by = by.unwrap_or("somebody unknown");
    match record.and_then(|record| record.created_at) {
        Some(at) => format!("released by {by}: {at:.0}"),
        None => format!("released by {by}"),
    }
}

/// For a cancel that left before its record showed that it should not.
pub(super) fn of_regret(reason: &str, why: &str) -> String {
    let regret = format!("its record, read after the cancel, says {why}");
    match reason {
        "" => regret,
        reason => format!("{reason}; {regret}"),
    }
}

/// Explains why an accepted call isn't reported as done.
pub(super) fn of_accepted(operation: Operation, status: Option<&str>, is_gone: bool) -> String {
    if operation == Operation::Release {
        let status = status.unwrap_or("not listed any more");
        return format!(
            "the release is {status}; a machine that is offline gets it if it returns within 3 days"
        );
    }
    match status {
        _ if is_gone => "cancel accepted, but its record is gone".to_owned(),
        Some(status) => format!("cancel accepted; its record still says {status}"),
        None => "cancel accepted; the service returned no record".to_owned(),
    }
}

pub(super) fn of_forbidden(row: &Row) -> String {
    let mut text = row.last.text.clone();
    if let Some(permission) = row.action_type.as_ref().and_then(ActionType::permission) {
        text.push_str("; this type needs ");
        text.push_str(permission);
    }
    text
}

pub(super) fn of_refusal(row: &Row) -> String {
    let last = &row.last.text;
    match row.status() {
        Some(status) => format!("{last}; the action is still {status}"),
        None => format!("{last}; its record could not be read"),
    }
}

/// Explains the outcome of a row with no attempts left.
pub(super) fn of_giving_up(operation: Operation, row: &Row, may_read: bool) -> String {
    let sent = times(row.attempts);
    let last = &row.last.text;
    match row.applied {
        Applied::Unknown => {
            let why = if may_read {
                "its record could not be read"
            } else {
                "the token may not read actions"
            };
            format!(
                "sent {sent}, last answer: {last}; whether a {operation} was applied is unknown: {why}"
            )
        }
        Applied::OpenSince => format!(
            "sent {sent}, and the record was open when it was last read; last answer: {last}"
        ),
        Applied::No | Applied::Accepted => {
            format!("sent {sent}, never applied; last answer: {last}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(kind: ReplyKind<()>, http_status: Option<u16>) -> Reply<()> {
        Reply {
            kind,
            http_status,
            error: Some(crate::model::ServiceError {
                code: "Busy".to_owned(),
                message: "action 7f3c2a10".to_owned(),
                correlation_id: None,
            }),
        }
    }

    #[test]
    fn a_fault_is_said_in_words_and_names_no_action() {
        let refused = "no connection: refused".to_owned();
        let broke = "the connection broke: reset".to_owned();
        for (kind, status, text) in [
            (ReplyKind::NotApplied(None), Some(503), "503"),
            (ReplyKind::ServerFault(None), Some(502), "502"),
            (
                ReplyKind::InvalidBody,
                Some(200),
                "200 with an unreadable body",
            ),
            (
                ReplyKind::Redirected,
                Some(302),
                "302, a redirect, which is never followed",
            ),
            (ReplyKind::TimedOut, None, "no answer in time"),
            (
                ReplyKind::Broken(broke),
                None,
                "the connection broke: reset",
            ),
            (ReplyKind::NotSent(refused), None, "no connection: refused"),
        ] {
            assert_eq!(of_fault(&reply(kind, status)), text);
        }
    }

    #[test]
    fn an_id_that_a_named_tenant_does_not_know_may_be_of_another_one() {
        let reason = of_missing(Operation::Cancel, Some("contoso"));
        assert!(reason.ends_with("it may belong to a tenant other than contoso"));
        assert!(of_missing(Operation::Cancel, None).ends_with("(checked twice)"));
    }

    #[test]
    fn a_reason_holds_the_services_own_words() {
        let reply = reply(ReplyKind::Refused, Some(400));
        assert_eq!(of_reply(&reply), "400 Busy action 7f3c2a10");
    }
}
