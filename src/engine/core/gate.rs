//! The one place where work waits for the ledger and for a cooldown; one gate per scope.
//!
//! The gate only remembers and answers. It asks the ledger by way of an effect, and what the ledger said comes back
//! as an event.

use std::sync::Arc;

use crate::model::{Destination, Uptime};
use crate::quota::{KeptPace, Pace, Pacer, Window, Windows};
use crate::store::ScopeKey;

use super::breaker::Breaker;
use super::settings::LaneSettings;

/// Why nothing leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitCause {
    /// Every slot of a quota window is taken.
    Window,
    Cooldown,
    /// The service is down; the next probe is due then.
    Outage,
    /// Calls are spread a little.
    Pace,
    /// A row's next try is due then.
    Retry,
    /// Records are to be read first, and the allowance for reads is taken.
    Reads,
    /// Records are to be read first, and the service told reads to wait.
    ReadCooldown,
    /// Records are to be read first, and reads bring no proper answer.
    SlowReads,
    /// Ids that the service did not know are looked for again then.
    Missing,
    /// Cancels were accepted; their records are looked at then.
    Effect,
}

/// When to ask again; `None` where an answer that is on its way decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GateWait {
    pub(super) until: Option<Uptime>,
    pub(super) cause: WaitCause,
}

/// What one gate needs to know from the start.
#[derive(Clone, Debug)]
pub struct GateSettings {
    /// Which scope, in the ledger.
    pub scope: ScopeKey,
    pub windows: Arc<Windows>,
    /// How calls are spread within them.
    pub pace: Option<Pace>,
    /// How many calls may be under way.
    pub concurrency: usize,
    /// A cooldown that an earlier run or another process has noted.
    pub cooldown: Option<Uptime>,
    /// The pace that an earlier run was taught.
    pub learned: Option<KeptPace>,
}

#[derive(Debug)]
pub(super) struct Gate {
    pub(super) scope: ScopeKey,
    pub(super) windows: Arc<Windows>,
    concurrency: usize,
    pub(super) pacer: Pacer,
    /// When the service lets calls of the scope leave again; only ever moved later.
    cooldown: Uptime,
    pub(super) breaker: Breaker,
    /// The ledger's last "not before".
    not_before: Uptime,
    /// How many questions to the ledger may be open at once: one after a refusal, then doubling.
    width: usize,
    asking: usize,
    in_flight: usize,
    /// 429s since the last good reply: the exponent of our own backoff.
    pub(super) throttles: u32,
    /// Whether it was said that somebody else uses this quota.
    pub(super) throttle_told: bool,
}

/// A lane's gates: one for each scope of its quota.
#[derive(Debug)]
pub(super) struct Gates {
    /// For what the operation sends.
    pub(super) send: Gate,
    pub(super) get: Gate,
    /// For batch reads and lists.
    pub(super) list: Gate,
}

impl Gates {
    pub(super) fn new(lane: LaneSettings) -> Self {
        Self {
            send: Gate::new(lane.send),
            get: Gate::new(lane.get),
            list: Gate::new(lane.list),
        }
    }

    pub(super) fn of(&mut self, destination: Destination) -> &mut Gate {
        match destination {
            Destination::Cancel | Destination::Release => &mut self.send,
            Destination::Get => &mut self.get,
            Destination::List => &mut self.list,
        }
    }
}

impl Gate {
    fn new(settings: GateSettings) -> Self {
        let concurrency = settings.concurrency.max(1);
        let mut breaker = Breaker::new(concurrency);
        if settings.cooldown.is_some() {
            breaker.cooled_down();
        }
        Self {
            scope: settings.scope,
            windows: settings.windows,
            concurrency,
            pacer: Pacer::new(settings.pace, settings.learned),
            cooldown: settings.cooldown.unwrap_or(Uptime::MIN),
            breaker,
            not_before: Uptime::MIN,
            width: 1,
            asking: 0,
            in_flight: 0,
            throttles: 0,
            throttle_told: false,
        }
    }

    /// Says whether the ledger may be asked for a slot now. The pacer is not asked: its answer would spend a cell.
    pub(super) fn look(&self, now: Uptime) -> Result<(), GateWait> {
        self.breaker.admit(now).map_err(|until| GateWait {
            until,
            cause: if self.breaker.is_open() {
                WaitCause::Outage
            } else {
                WaitCause::Window
            },
        })?;
        if self.cooldown > now {
            return Err(GateWait {
                until: Some(self.cooldown),
                cause: WaitCause::Cooldown,
            });
        }
        if self.not_before > now {
            return Err(GateWait {
                until: Some(self.not_before),
                cause: WaitCause::Window,
            });
        }
        let under_way = self.asking + self.in_flight;
        if under_way >= self.concurrency || self.asking >= self.width {
            return Err(GateWait {
                until: None,
                cause: WaitCause::Window,
            });
        }
        Ok(())
    }

    /// Takes the pacer's cell and opens a question to the ledger. Returns the generation of the call.
    pub(super) fn ask(&mut self, now: Uptime) -> Result<u32, GateWait> {
        self.look(now)?;
        self.pacer.check(now).map_err(|until| GateWait {
            until: Some(until),
            cause: WaitCause::Pace,
        })?;
        self.asking += 1;
        Ok(self.breaker.leaves(now))
    }

    /// The ledger gave a slot to a call of this generation. Returns whether it may leave; else it must be withdrawn, for a
    /// cooldown or an outage came first.
    pub(super) fn granted(&mut self, now: Uptime, generation: u32) -> bool {
        self.asking = self.asking.saturating_sub(1);
        self.width = (self.width * 2).min(self.concurrency);
        let may_leave = self.cooldown <= now && self.breaker.is_present(generation);
        self.in_flight += usize::from(may_leave);
        may_leave
    }

    /// The ledger refused.
    pub(super) fn no_slot(&mut self, until: Uptime) {
        self.asking = self.asking.saturating_sub(1);
        self.width = 1;
        self.not_before = self.not_before.max(until);
    }

    /// A slot came back before its time, for its call never left: what the ledger said before no longer holds.
    pub(super) fn slot_returned(&mut self) {
        self.not_before = Uptime::MIN;
    }

    /// A question was given up before the ledger answered.
    pub(super) fn unasked(&mut self) {
        self.asking = self.asking.saturating_sub(1);
    }

    /// A call came back.
    pub(super) fn ended(&mut self, generation: u32, good: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if good {
            self.throttles = 0;
            if self.breaker.is_present(generation) {
                self.pacer.passed();
            }
        }
    }

    /// The service told us to wait until `until`. Returns whether that moved the cooldown.
    pub(super) fn cool_down(&mut self, until: Uptime) -> bool {
        self.breaker.cooled_down();
        let moves = until > self.cooldown;
        self.cooldown = self.cooldown.max(until);
        moves
    }

    /// The service refused although every window had a slot; `counted` is the window that it named.
    pub(super) fn learn_pace(&mut self, counted: Option<Window>) {
        self.pacer.refused(&self.windows, counted);
    }

    /// Returns how many calls are on the wire.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }
}
