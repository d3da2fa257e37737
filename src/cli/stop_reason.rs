//! Why a run stopped, in words, and what to do about it.

use crate::engine::core::StopReason;

/// Says why a run stopped.
pub(super) fn describe_stop(reason: &StopReason) -> String {
    match reason {
        StopReason::Asked(what) => format!("by {what}"),
        StopReason::SignIn(why) => format!("sign-in: {why}"),
        StopReason::Unreachable(why) => format!("the API host never answered: {why}"),
        StopReason::NoSuchAddress(address) => {
            format!("{address} answers 404 without the service's own error body")
        }
        StopReason::AllMissing => {
            "the service knows none of the first 100 ids: wrong tenant, or the wrong column"
                .to_owned()
        }
        StopReason::ReadingForbidden(what) => {
            format!("states may not be read with this token: {what}")
        }
        StopReason::AllForbidden(why) | StopReason::LeftForLater(why) => why.clone(),
        StopReason::GaveUp(why) => format!("gave up: {why}"),
        StopReason::TooManyFailures(how_many) => format!("too many failures: {how_many}"),
        StopReason::SameRefusal(what) => {
            format!("ten cancels in a row were refused alike, none taken, the last with: {what}")
        }
    }
}

/// Says what to do about it, where something can be done.
pub(super) fn mend(reason: &StopReason) -> Option<&'static str> {
    Some(match reason {
        StopReason::Asked(_) | StopReason::GaveUp(_) | StopReason::LeftForLater(_) => return None,
        StopReason::TooManyFailures(_) => {
            "look at the reasons in the report; --max-failures sets the bound"
        }
        StopReason::SignIn(_) => "mend what the reason above says",
        StopReason::Unreachable(_) => "check --api-url, the network and the proxy",
        StopReason::NoSuchAddress(_) => "check --api-url: what answers there is not the service",
        StopReason::AllMissing => {
            "look at --tenant-id and --id-column, and at where the ids came from"
        }
        StopReason::ReadingForbidden(_) => {
            "grant Machine.Read.All (application) or Machine.Read (delegated) and get a new token: grants show only in new \
             ones"
        }
        StopReason::AllForbidden(_) => {
            "grant the permission that is named, and get a new token: grants show only in new ones"
        }
        StopReason::SameRefusal(_) => {
            "look at the answer above; nothing that is sent alike will be taken"
        }
    })
}
