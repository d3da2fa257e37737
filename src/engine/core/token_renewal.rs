//! The lane's token: when to renew it, and whether calls may use it.
//!
//! The lane requests a new token before the old one expires, and calls go on meanwhile. No call uses a token that has
//! expired or is about to. A failed sign-in is retried with a growing backoff and costs no row.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::{Moment, Uptime};
use crate::retry::probe_pause;

use super::event::{Effect, StopReason};
use super::lane::{InFlight, Lane};
use super::scope_gate::{GateWait, WaitCause};

/// A token is renewed this long before it expires, or a tenth of its remaining life before, whichever is shorter.
const AHEAD: Duration = Duration::from_secs(300);

/// No call leaves with a token this close to its expiry, or a twentieth of its remaining life: it must be valid when it
/// arrives.
const MARGIN: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct LaneToken {
    state: TokenState,
    /// Counts tokens, to tell an old one's 401 from a new one's.
    pub(super) number: u32,
    /// Whether a token was refused with no proper answer since.
    pub(super) is_doubted: bool,
    /// Failed sign-ins in a row, and since when.
    failures: u32,
    failing_since: Option<Uptime>,
    /// When to retry after a failure.
    again_at: Option<Uptime>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum TokenState {
    #[default]
    Absent,
    Requested,
    Ready {
        renewal: Renewal,
        /// No call uses it from this time on.
        ends_at: Option<Uptime>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renewal {
    Never,
    At(Uptime),
    /// A new one is on its way; calls still use this one.
    Requested,
}

impl TokenState {
    fn ready(now: Moment, expires_at: Option<Timestamp>) -> Self {
        let end = expires_at.map(|at| now.uptime_at(at));
        // If a token seems to have expired, our clock may be wrong: use it until the service refuses it.
        let Some(end) = end.filter(|&end| end > now.uptime) else {
            return Self::Ready {
                renewal: Renewal::Never,
                ends_at: None,
            };
        };
        let left = end.since(now.uptime);
        Self::Ready {
            renewal: Renewal::At(end.before(AHEAD.min(left / 10))),
            ends_at: Some(end.before(MARGIN.min(left / 20))),
        }
    }
}

impl LaneToken {
    pub(super) fn is_usable(&self, now: Uptime) -> bool {
        matches!(self.state, TokenState::Ready { ends_at, .. } if ends_at.is_none_or(|end| end > now))
    }

    pub(super) fn renew_at(&mut self, at: Uptime) {
        if let TokenState::Ready { renewal, .. } = &mut self.state
            && *renewal != Renewal::Requested
        {
            *renewal = Renewal::At(at);
        }
        self.again_at = None;
    }

    /// Drops the token. A renewal on its way stays awaited.
    fn is_gone(&mut self) {
        self.state = match self.state {
            TokenState::Requested
            | TokenState::Ready {
                renewal: Renewal::Requested,
                ..
            } => TokenState::Requested,
            TokenState::Absent | TokenState::Ready { .. } => TokenState::Absent,
        };
    }
}

impl Lane {
    /// Returns whether calls may use a token now, and requests a new one when due.
    pub(super) fn has_token(&mut self, now: Moment, out: &mut Vec<Effect>) -> bool {
        if !self.token.is_usable(now.uptime) {
            self.token.is_gone();
        }
        let (is_ready, due) = match self.token.state {
            TokenState::Requested => return false,
            TokenState::Absent => (false, now.uptime),
            TokenState::Ready {
                renewal: Renewal::At(due),
                ..
            } => (true, due),
            TokenState::Ready { .. } => return true,
        };
        let due = self.token.again_at.map_or(due, |again| due.max(again));
        if due > now.uptime && is_ready {
            self.wake_at(due);
        } else if due > now.uptime {
            self.note_wait(GateWait {
                until: Some(due),
                cause: WaitCause::Outage,
            });
        } else {
            match &mut self.token.state {
                TokenState::Ready { renewal, .. } => *renewal = Renewal::Requested,
                state => *state = TokenState::Requested,
            }
            out.push(Effect::Token {
                lane: self.id,
                refresh: self.token.number > 0,
            });
        }
        is_ready
    }

    pub(super) fn token_ready(&mut self, now: Moment, expires_at: Option<Timestamp>) {
        self.token = LaneToken {
            state: TokenState::ready(now, expires_at),
            number: self.token.number + 1,
            is_doubted: self.token.is_doubted,
            ..LaneToken::default()
        };
        self.types.refresh_ended(self.token.number);
    }

    /// The sign-in failed for good.
    pub(super) fn token_refused(&mut self, now: Moment, reason: String) {
        self.types.refresh_ended(self.token.number);
        if !self.token.is_usable(now.uptime) {
            self.token.state = TokenState::Absent;
            self.stop(StopReason::SignIn(reason));
        } else if let TokenState::Ready { renewal, .. } = &mut self.token.state {
            // The current token is valid for a while; after that, a sign-in may succeed.
            *renewal = Renewal::Never;
        }
    }

    /// The sign-in failed, but may succeed later.
    pub(super) fn token_unavailable(&mut self, now: Moment, reason: String) {
        self.types.refresh_ended(self.token.number);
        let token = &mut self.token;
        let since = *token.failing_since.get_or_insert(now.uptime);
        if token.number == 0 && now.uptime.since(since) >= self.settings.reach_timeout {
            return self.stop(StopReason::SignIn(reason));
        }
        let pause = probe_pause(&self.settings.retry, token.failures, &mut self.rng);
        let again = now.uptime.after(pause);
        token.failures = token.failures.saturating_add(1);
        token.again_at = Some(again);
        match &mut token.state {
            TokenState::Ready { renewal, .. } if *renewal == Renewal::Requested => {
                *renewal = Renewal::At(again);
            }
            TokenState::Requested => token.state = TokenState::Absent,
            TokenState::Ready { .. } | TokenState::Absent => {}
        }
    }

    /// The service answered 401. All calls share one refresh; a second refusal stops the lane.
    pub(super) fn refused_token(&mut self, flight: &InFlight, what: &str) {
        let is_at_hand = matches!(self.token.state, TokenState::Ready { .. });
        if flight.token != self.token.number || !is_at_hand {
            // An older token's refusal; a newer one is in use or on its way.
            return;
        }
        if std::mem::replace(&mut self.token.is_doubted, true) {
            return self.stop(StopReason::SignIn(format!(
                "the service refused a fresh token, too (401): {what}"
            )));
        }
        self.token.is_gone();
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
        let millis =
            |at: Uptime| u64::try_from(at.since(now.uptime).as_millis()).unwrap_or(u64::MAX);
        match TokenState::ready(now, Timestamp::from_second(life).ok()) {
            TokenState::Ready {
                renewal: Renewal::At(renewal),
                ends_at,
            } => (Some(millis(renewal)), ends_at.map(millis)),
            _ => (None, None),
        }
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
