//! What is known of the end of the lane's token: from when on a new one is asked for, and from when on none is carried.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::{Moment, Uptime};

/// A new token is asked for so long before the old one ends, or a tenth of its life before where that is less.
const AHEAD: Duration = Duration::from_secs(300);

/// No call leaves with a token so close to its end, or closer than a twentieth of its life: it must still be valid
/// when it arrives.
const MARGIN: Duration = Duration::from_secs(30);

/// What is known of the end of the token at hand.
#[derive(Debug, Default)]
pub(super) struct TokenCare {
    /// From when on a new one is asked for.
    pub(super) renew_at: Option<Uptime>,
    /// From when on no call carries it.
    pub(super) ends_at: Option<Uptime>,
    /// Whether a new one is on its way while this one is still carried.
    pub(super) renewing: bool,
    /// Sign-ins that failed in a row.
    pub(super) failures: u32,
    /// Since when they fail.
    pub(super) failing_since: Option<Uptime>,
    /// When the next one is due.
    pub(super) again_at: Option<Uptime>,
}

impl TokenCare {
    pub(super) fn of(now: Moment, expires_at: Option<Timestamp>) -> Self {
        let end = expires_at.map(|at| now.uptime_at(at));
        // One that seems to have ended already is carried until the service refuses it: our own clock may be wrong.
        let Some(end) = end.filter(|&end| end > now.uptime) else {
            return Self::default();
        };
        let left = end.since(now.uptime);
        Self {
            renew_at: Some(end.before(AHEAD.min(left / 10))),
            ends_at: Some(end.before(MARGIN.min(left / 20))),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn care(life: i64) -> (Option<u64>, Option<u64>) {
        let now = Moment {
            uptime: Uptime::from_nanos(0),
            wall: Timestamp::UNIX_EPOCH,
        };
        let care = TokenCare::of(now, Timestamp::from_second(life).ok());
        let millis = |at: Option<Uptime>| {
            at.map(|at| u64::try_from(at.since(now.uptime).as_millis()).unwrap_or(u64::MAX))
        };
        (millis(care.renew_at), millis(care.ends_at))
    }

    #[test]
    fn a_new_token_is_asked_for_before_the_old_one_is_carried_no_more() {
        assert_eq!(care(3600), (Some(3_300_000), Some(3_570_000)));
        assert_eq!(care(600), (Some(540_000), Some(570_000)));
        assert_eq!(care(3), (Some(2_700), Some(2_850)));
    }

    #[test]
    fn a_token_that_seems_to_have_ended_is_carried_until_the_service_refuses_it() {
        assert_eq!(care(0), (None, None));
        assert_eq!(care(-7200), (None, None));
    }
}
