//! The lane's token: when a new one is asked for, and whether calls may carry the one at hand.
//!
//! A new one is on its way before the old one ends, and calls go on meanwhile; none leaves with a token that has ended
//! or is about to. A sign-in that may succeed later is tried again at growing distances and costs no row.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::{Moment, Uptime};
use crate::retry::probe_pause;

use super::event::{Effect, StopReason};
use super::gate::{GateWait, WaitCause};
use super::lane::{InFlight, Lane, TokenState};

impl Lane {
    /// Returns whether calls may carry a token now, and asks for a new one where it is time.
    pub(super) fn has_token(&mut self, now: Moment, out: &mut Vec<Effect>) -> bool {
        if self.token == TokenState::Ready && !self.is_token_usable(now.uptime) {
            self.token_is_gone();
        }
        let is_due = match self.token {
            TokenState::Asked => return false,
            TokenState::Absent => Some(now.uptime),
            TokenState::Ready if self.expiry.renewing => None,
            TokenState::Ready => self.expiry.renew_at,
        };
        let is_ready = self.token == TokenState::Ready;
        let Some(due) = is_due.map(|due| self.expiry.again_at.map_or(due, |again| due.max(again)))
        else {
            return is_ready;
        };
        if due > now.uptime {
            if is_ready {
                self.wake = Some(self.wake.map_or(due, |wake| wake.min(due)));
            } else {
                self.note_wait(GateWait {
                    until: Some(due),
                    cause: WaitCause::Outage,
                });
            }
            return is_ready;
        }
        if is_ready {
            self.expiry.renewing = true;
        } else {
            self.token = TokenState::Asked;
        }
        out.push(Effect::Token {
            lane: self.id,
            refresh: self.token_number > 0,
        });
        is_ready
    }

    /// Returns whether a call that leaves now may carry the token at hand.
    pub(super) fn is_token_usable(&self, now: Uptime) -> bool {
        self.token == TokenState::Ready && self.expiry.ends_at.is_none_or(|end| end > now)
    }

    pub(super) fn token_ready(&mut self, now: Moment, expires_at: Option<Timestamp>) {
        self.token = TokenState::Ready;
        self.token_number += 1;
        self.expiry = TokenExpiry::of(now, expires_at);
        self.refresh_ended();
    }

    /// No new token can be had, now or later.
    pub(super) fn token_refused(&mut self, now: Moment, reason: String) {
        self.refresh_ended();
        if self.is_token_usable(now.uptime) {
            // The one at hand is good for a while; when it ends, the answer may be another one.
            self.expiry.renewing = false;
            self.expiry.renew_at = None;
            return;
        }
        self.token = TokenState::Absent;
        self.stop(StopReason::SignIn(reason));
    }

    /// No new token could be had; a little later it may.
    pub(super) fn token_unavailable(&mut self, now: Moment, reason: String) {
        self.refresh_ended();
        let since = *self.expiry.failing_since.get_or_insert(now.uptime);
        let never = self.token_number == 0;
        if never && now.uptime.since(since) >= self.settings.reach_timeout {
            return self.stop(StopReason::SignIn(reason));
        }
        let pause = probe_pause(&self.settings.retry, self.expiry.failures, &mut self.rng);
        self.expiry.failures = self.expiry.failures.saturating_add(1);
        self.expiry.again_at = Some(now.uptime.after(pause));
        self.expiry.renewing = false;
        if self.token == TokenState::Asked {
            self.token = TokenState::Absent;
        }
    }

    /// The service did not take the token of `flight`: one refresh for all, and a second refusal ends the lane.
    pub(super) fn refused_token(&mut self, flight: &InFlight, what: &str) {
        if flight.token != self.token_number || self.token != TokenState::Ready {
            // An older token's refusal; a newer one is at work or on its way already.
            return;
        }
        if self.token_doubted {
            self.stop(StopReason::SignIn(format!(
                "the service refused a fresh token, too (401): {what}"
            )));
            return;
        }
        self.token_doubted = true;
        self.token_is_gone();
    }

    /// The token at hand is carried no more; one that is on its way already is waited for.
    fn token_is_gone(&mut self) {
        self.token = if self.expiry.renewing {
            TokenState::Asked
        } else {
            TokenState::Absent
        };
        self.expiry.renewing = false;
    }
}

/// A new token is asked for so long before the old one ends, or a tenth of its life before where that is less.
const AHEAD: Duration = Duration::from_secs(300);

/// No call leaves with a token so close to its end, or closer than a twentieth of its life: it must still be valid
/// when it arrives.
const MARGIN: Duration = Duration::from_secs(30);

/// What is known of the end of the token at hand.
#[derive(Debug, Default)]
pub(super) struct TokenExpiry {
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
    pub(super) again_at: Option<Uptime>,
}

impl TokenExpiry {
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

    fn expiry(life: i64) -> (Option<u64>, Option<u64>) {
        let now = Moment {
            uptime: Uptime::from_nanos(0),
            wall: Timestamp::UNIX_EPOCH,
        };
        let expiry = TokenExpiry::of(now, Timestamp::from_second(life).ok());
        let millis = |at: Option<Uptime>| {
            at.map(|at| u64::try_from(at.since(now.uptime).as_millis()).unwrap_or(u64::MAX))
        };
        (millis(expiry.renew_at), millis(expiry.ends_at))
    }

    #[test]
    fn a_new_token_is_asked_for_before_the_old_one_is_carried_no_more() {
        assert_eq!(expiry(3600), (Some(3_300_000), Some(3_570_000)));
        assert_eq!(expiry(600), (Some(540_000), Some(570_000)));
        assert_eq!(expiry(3), (Some(2_700), Some(2_850)));
    }

    #[test]
    fn a_token_that_seems_to_have_ended_is_carried_until_the_service_refuses_it() {
        assert_eq!(expiry(0), (None, None));
        assert_eq!(expiry(-7200), (None, None));
    }
}
