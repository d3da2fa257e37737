//! How to fix why a run stopped.

use crate::engine::core::StopReason;

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
