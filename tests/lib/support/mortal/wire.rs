//! Calls between a process and the service of the mortal world: when they arrive, and when their sender knows more.

use std::sync::Arc;
use std::time::Duration;

use mde_cancel::engine::core::{CallToken, Event};
use mde_cancel::model::{ActionId, Destination, ReplyKind, RowNumber};
use rand::Rng as _;

use super::super::id_of;
use super::service::{Mishap, spoilt};
use super::{Happening, LANE, World};

/// How long a call is waited for.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long it may be in coming after that, or after its process died.
pub(crate) const GRACE: Duration = Duration::from_secs(20);

/// A call on the wire.
pub(super) struct Call {
    pub(super) what: What,
    pub(super) mishap: Mishap,
    /// Until when its sender waits for an answer.
    pub(super) reply_at: Duration,
    /// Who waits for the answer; nobody where the process is dead.
    pub(super) waits: Option<CallToken>,
}

pub(super) enum What {
    Cancel(RowNumber, Arc<str>),
    Read(Destination, Vec<ActionId>),
}

impl World {
    /// Asserts that a call may leave: its slot is on disk, and nobody asked to stop.
    fn must_be_granted(&mut self, call_token: CallToken) {
        let Some(call) = self.process.granted.remove(&call_token) else {
            panic!("{call_token:?} leaves, and no slot was taken for it");
        };
        assert!(
            self.journal.is_in_flight(call),
            "{call:?} leaves after its end"
        );
        assert!(!self.process.stopping, "{call:?} leaves after the stop");
    }

    /// Draws when a call arrives, and when its sender knows more.
    fn way(&mut self, mishap: Mishap) -> (Duration, Duration) {
        let millis = match self.dice.random_range(0..10) {
            0 => self.dice.random_range(1_000..25_000),
            _ => self.dice.random_range(5..800),
        };
        let reply_at = self.now + Duration::from_millis(millis);
        if mishap == Mishap::Silent {
            let given_up = self.now + TIMEOUT;
            return (self.between(self.now, given_up + GRACE), given_up);
        }
        (self.between(self.now, reply_at), reply_at)
    }

    pub(super) fn post(&mut self, call_token: CallToken, id: ActionId, comment: Arc<str>) {
        self.must_be_granted(call_token);
        let rows = self.journal.rows.iter();
        let row = *rows.clone().find(|(_, kept)| kept.row.id == id).unwrap().0;
        assert!(
            !self.process.answered.contains(&row),
            "row {row} is sent again although it was answered well"
        );
        self.seen.repeated += usize::from(self.unheard.remove(&row));
        let call = What::Cancel(row, comment);
        if self.send(call_token, call) == Mishap::Silent {
            self.late.insert(row);
        }
    }

    pub(super) fn send_read(
        &mut self,
        call_token: CallToken,
        destination: Destination,
        ids: Vec<ActionId>,
    ) {
        self.must_be_granted(call_token);
        assert!(!ids.is_empty(), "a read of nothing");
        self.seen.reads += 1;
        self.send(call_token, What::Read(destination, ids));
    }

    /// Puts a call on the wire. Returns what goes wrong with it.
    fn send(&mut self, call_token: CallToken, what: What) -> Mishap {
        let wall = self.true_moment().wall;
        let mishap = Mishap::draw(&mut self.dice, self.schedule.mishaps, wall);
        let (arrives, reply_at) = self.way(mishap);
        let call = Call {
            what,
            mishap,
            reply_at,
            waits: Some(call_token),
        };
        if matches!(mishap, Mishap::NoName | Mishap::Silent) {
            // Known without the service.
            let event = match call.what {
                What::Cancel(..) => spoilt(mishap).map(|reply| Event::Replied {
                    lane: LANE,
                    call_token,
                    reply,
                }),
                What::Read(..) => spoilt(mishap).map(|reply| Event::Read {
                    lane: LANE,
                    call_token,
                    reply,
                }),
            };
            self.later(reply_at, Happening::Event(Box::new(event.unwrap())));
        }
        let never_comes = mishap == Mishap::Silent && self.dice.random_range(0..2) == 0;
        if mishap != Mishap::NoName && !never_comes {
            self.later(arrives, Happening::Arrival(call));
        }
        mishap
    }

    /// Lets the service work on a call, and returns what its sender hears.
    fn answer(&mut self, call: &Call, call_token: CallToken) -> Event {
        match &call.what {
            What::Cancel(row, comment) => {
                let wall = self.true_moment().wall;
                let reply = self.service.cancel(id_of(*row), comment, call.mishap, wall);
                Event::Replied {
                    lane: LANE,
                    call_token,
                    reply,
                }
            }
            What::Read(destination, ids) => {
                let single = *destination == Destination::Get;
                let reply = self.service.read(ids, single, call.mishap);
                Event::Read {
                    lane: LANE,
                    call_token,
                    reply,
                }
            }
        }
    }

    pub(super) fn arrive(&mut self, call: &Call) {
        let destination = match &call.what {
            What::Cancel(..) => Destination::Cancel,
            What::Read(destination, _) => *destination,
        };
        self.service.arrive(destination, self.now);
        // Worked on whether anybody waits for the answer or not.
        let event = self.answer(call, call.waits.unwrap_or(CallToken(0)));
        if call.waits.is_none() || call.mishap == Mishap::Silent {
            return;
        }
        if let (What::Cancel(row, _), Event::Replied { reply, .. }) = (&call.what, &event)
            && matches!(reply.kind, ReplyKind::Answer(_))
        {
            self.process.answered.insert(*row);
        }
        self.later(call.reply_at, Happening::Event(Box::new(event)));
    }
}
