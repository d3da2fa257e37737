//! Why a run stopped, in words, and how to fix it.

use crate::engine::core::StopReason;

pub(super) fn describe_stop(reason: &StopReason) -> String {
    match reason {
        StopReason::Asked(what) => format!("by {what}"),
        StopReason::SignIn(why) => format!("sign-in: {why}"),
        StopReason::Unreachable(why) => format!("the service can't be reached: {why}"),
        StopReason::NoSuchAddress(address) => {
            format!("{address} answers 404, but not as the service does")
        }
        StopReason::AllMissing => {
            "the tenant has none of the first 100 ids: wrong tenant or wrong column".to_owned()
        }
        StopReason::ReadingForbidden(what) => {
            format!("this token may not read actions: {what}")
        }
        StopReason::AllForbidden(why) | StopReason::LeftForLater(why) => why.clone(),
        StopReason::GaveUp(why) => format!("gave up: {why}"),
        StopReason::TooManyFailures(how_many) => format!("too many failures: {how_many}"),
        StopReason::SameRefusal(what) => {
            format!("ten cancels in a row were refused for the same reason: {what}")
        }
    }
}

/// Says how to fix it, where that can be done.
pub(super) fn fix(reason: &StopReason) -> Option<&'static str> {
    Some(match reason {
        StopReason::Asked(_) | StopReason::GaveUp(_) | StopReason::LeftForLater(_) => return None,
        StopReason::TooManyFailures(_) => {
            "see the reasons in the report; --max-failures sets the limit"
        }
        StopReason::SignIn(_) => "fix what the reason above names",
        StopReason::Unreachable(_) => "check --api-url, the network and the proxy",
        StopReason::NoSuchAddress(_) => "check --api-url: another server answers there",
        StopReason::AllMissing => "check --tenant-id, --id-column, and where the ids came from",
        StopReason::ReadingForbidden(_) => {
            "grant Machine.Read.All (application) or Machine.Read (delegated), then get a new token"
        }
        StopReason::AllForbidden(_) => "grant the permission that is named, then get a new token",
        StopReason::SameRefusal(_) => "see the answer above; the same call will be refused again",
    })
}
