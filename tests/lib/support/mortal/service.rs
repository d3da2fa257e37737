//! The service of the mortal world: what each action is, what becomes of each call, and when it came.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mde_cancel::model::{
    ActionId, ActionStatus, ActionType, CancelReply, Destination, MachineAction, ReadReply, Reply,
    ReplyKind, RetryAfter, Throttle,
};
use rand::Rng as _;
use rand::rngs::SmallRng;

use super::super::reply;

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    None,
    /// 503: not worked on.
    Unavailable,
    /// 500, worked on or not.
    ServerFault(bool),
    /// The connection ends without an answer, the call worked on or not.
    Reset(bool),
    /// 200 with half a record, worked on.
    Garbled,
    /// A captive portal.
    Redirected,
    /// 429 for no quota's sake, with a wait in seconds or until a time by the service's clock.
    Storm(Option<Timestamp>),
    /// 401: the token is not taken.
    Unauthorized,
    /// No answer ever; the call arrives late, if at all.
    Silent,
    /// No byte leaves.
    NoName,
}

impl Mishap {
    /// Draws what becomes of a call; something goes wrong in so many of a hundred.
    pub(super) fn draw(dice: &mut SmallRng, percent: u32, wall: Timestamp) -> Self {
        if dice.random_range(0..100) >= percent {
            return Self::None;
        }
        let done = dice.random_range(0..2) == 0;
        match dice.random_range(0..20) {
            0..3 => Self::Unavailable,
            3..6 => Self::ServerFault(done),
            6..10 => Self::Reset(done),
            10..12 => Self::Garbled,
            12 => Self::Redirected,
            13 => Self::Storm(None),
            14 => Self::Storm(wall.checked_add(SignedDuration::from_secs(8)).ok()),
            15 => Self::Unauthorized,
            16..18 => Self::Silent,
            _ => Self::NoName,
        }
    }
}

/// One action, and what was done to it.
#[derive(Clone, Debug)]
pub(super) struct Action {
    pub(super) status: ActionStatus,
    comment: Option<String>,
    cancelled_at: Option<Timestamp>,
    /// How often a cancel of ours changed it.
    pub(super) changed: u32,
}

/// The service.
pub(super) struct Service {
    pub(super) actions: BTreeMap<ActionId, Action>,
    pub(super) arrivals: BTreeMap<Destination, Vec<Duration>>,
    readable: bool,
}

impl Service {
    /// Makes one action for most of the ids: open, final, or cancelled by somebody else; a few ids are unknown to it.
    pub(super) fn new(
        ids: impl Iterator<Item = ActionId>,
        dice: &mut SmallRng,
        readable: bool,
    ) -> Self {
        let mut actions = BTreeMap::new();
        for id in ids {
            let status = match dice.random_range(0..20) {
                0 => continue,
                1 => ActionStatus::Succeeded,
                2 => ActionStatus::Failed,
                3 => ActionStatus::Cancelled,
                4 | 5 => ActionStatus::InProgress,
                _ => ActionStatus::Pending,
            };
            let theirs = status == ActionStatus::Cancelled;
            let action = Action {
                status,
                comment: theirs.then(|| "by somebody else".to_owned()),
                cancelled_at: theirs.then_some(Timestamp::UNIX_EPOCH),
                changed: 0,
            };
            actions.insert(id, action);
        }
        Self {
            actions,
            arrivals: BTreeMap::new(),
            readable,
        }
    }

    pub(super) fn arrive(&mut self, destination: Destination, now: Duration) {
        self.arrivals.entry(destination).or_default().push(now);
    }

    /// Works on a cancel that has arrived, and answers it.
    pub(super) fn cancel(
        &mut self,
        id: ActionId,
        comment: &str,
        mishap: Mishap,
        wall: Timestamp,
    ) -> CancelReply {
        let is_done = match mishap {
            Mishap::None | Mishap::Garbled | Mishap::Silent => true,
            Mishap::ServerFault(done) | Mishap::Reset(done) => done,
            Mishap::Unavailable
            | Mishap::Redirected
            | Mishap::Storm(_)
            | Mishap::Unauthorized
            | Mishap::NoName => false,
        };
        if is_done
            && let Some(action) = self.actions.get_mut(&id)
            && action.status.is_open()
        {
            action.status = ActionStatus::Cancelled;
            action.comment = Some(comment.to_owned());
            action.cancelled_at = Some(wall);
            action.changed += 1;
        }
        spoilt(mishap).unwrap_or_else(|| match self.record(id) {
            Some(record) => reply(ReplyKind::Answer(Some(record)), Some(200)),
            None => reply(ReplyKind::NotFound, Some(404)),
        })
    }

    /// Answers a read of one or several actions; those that it does not know are not in the answer.
    pub(super) fn read(&self, ids: &[ActionId], single: bool, mishap: Mishap) -> ReadReply {
        if let Some(reply) = spoilt(mishap) {
            return reply;
        }
        if !self.readable {
            return reply(ReplyKind::Forbidden, Some(403));
        }
        let records: Vec<_> = ids.iter().filter_map(|id| self.record(*id)).collect();
        if single && records.is_empty() {
            reply(ReplyKind::NotFound, Some(404))
        } else {
            reply(ReplyKind::Answer(records.into_iter().collect()), Some(200))
        }
    }

    fn record(&self, id: ActionId) -> Option<MachineAction> {
        let action = self.actions.get(&id)?;
        Some(MachineAction {
            status: Some(action.status.clone()),
            action_type: Some(ActionType::Isolate),
            cancellation_comment: action.comment.clone(),
            cancelled_at: action.cancelled_at,
            ..MachineAction::bare(id)
        })
    }
}

/// Returns what the sender of a call hears where something goes wrong with it.
pub(super) fn spoilt<T>(mishap: Mishap) -> Option<Reply<T>> {
    let (kind, status) = match mishap {
        Mishap::None => return None,
        Mishap::Silent => (ReplyKind::TimedOut, None),
        Mishap::Unavailable => (ReplyKind::NotApplied(None), Some(503)),
        Mishap::ServerFault(_) => (ReplyKind::ServerFault(None), Some(500)),
        Mishap::Reset(_) => (ReplyKind::Broken("reset".to_owned()), None),
        Mishap::Garbled => (ReplyKind::Garbled, Some(200)),
        Mishap::Redirected => (ReplyKind::Redirected, Some(302)),
        Mishap::Storm(until) => {
            let wait = RetryAfter::Wait(Duration::from_secs(8));
            let throttle = Throttle {
                retry_after: Some(until.map_or(wait, RetryAfter::At)),
                ..Throttle::default()
            };
            (ReplyKind::Throttled(throttle), Some(429))
        }
        Mishap::Unauthorized => (ReplyKind::Unauthorized, Some(401)),
        Mishap::NoName => (ReplyKind::NeverLeft("no such host".to_owned()), None),
    };
    Some(reply(kind, status))
}
