//! Where calls wait for the ledger and for cooldowns; one gate per scope.
//!
//! A gate only keeps state and answers questions. It asks the ledger through an effect and gets the answer as an event.

use std::sync::Arc;

use crate::model::{Destination, Uptime};
use crate::quota::{Pace, Pacer, SavedRate, Window, Windows};
use crate::store::ScopeKey;

use super::breaker::Breaker;
use super::settings::LaneSettings;

/// Why no call leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitCause {
    /// Every slot of a quota window is taken.
    Window,
    Cooldown,
    /// The service is down; a probe follows.
    Outage,
    Pace,
    /// A row's next attempt is due.
    Retry,
    /// Rows must be read first, and the quota for reads is used up.
    Reads,
    /// Rows must be read first, and reads are cooling down.
    ReadCooldown,
    /// Rows must be read first, and reads get no proper answer.
    SlowReads,
    /// Ids that the service did not know are read again.
    Missing,
    /// Accepted cancels are verified.
    Effect,
}

/// When to try again; `None` if an answer on its way decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GateWait {
    pub(super) until: Option<Uptime>,
    pub(super) cause: WaitCause,
}

#[derive(Clone, Debug)]
pub struct GateSettings {
    pub scope: ScopeKey,
    pub windows: Arc<Windows>,
    /// How calls are spread within the windows.
    pub pace: Option<Pace>,
    /// The most calls in progress at once.
    pub concurrency: usize,
    /// Set by an earlier run or another process.
    pub cooldown: Option<Uptime>,
    /// The rate learned by an earlier run.
    pub learned: Option<SavedRate>,
}

#[derive(Debug)]
pub(super) struct Gate {
    pub(super) scope: ScopeKey,
    pub(super) windows: Arc<Windows>,
    concurrency: usize,
    pub(super) pacer: Pacer,
    /// No call of the scope leaves before this. Only ever moved later.
    cooldown: Uptime,
    pub(super) breaker: Breaker,
    /// The ledger's last "not before".
    not_before: Uptime,
    /// Requests for a slot that may be open at once: one after a refusal, then doubling.
    width: usize,
    asking: usize,
    in_flight: usize,
    /// 429s since the last proper answer: the exponent of our own backoff.
    pub(super) throttles: u32,
    /// Whether observers know that another client shares this quota.
    pub(super) throttle_told: bool,
}

/// A lane's gates, one for each of its scopes.
#[derive(Debug)]
pub(super) struct Gates {
    /// For cancels or releases.
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

    /// Returns whether the ledger may be asked for a slot now. Leaves out the pacer, which would spend a cell.
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

    /// Spends a cell of the pacer and opens a request to the ledger. Returns the call's generation.
    pub(super) fn ask(&mut self, now: Uptime) -> Result<u32, GateWait> {
        self.look(now)?;
        self.pacer.check(now).map_err(|until| GateWait {
            until: Some(until),
            cause: WaitCause::Pace,
        })?;
        self.asking += 1;
        Ok(self.breaker.leaves(now))
    }

    /// The ledger granted a slot. Returns whether the call may leave; if a cooldown or an outage came first, it must be
    /// withdrawn.
    pub(super) fn granted(&mut self, now: Uptime, generation: u32) -> bool {
        self.asking = self.asking.saturating_sub(1);
        self.width = (self.width * 2).min(self.concurrency);
        let may_leave = self.cooldown <= now && self.breaker.is_present(generation);
        self.in_flight += usize::from(may_leave);
        may_leave
    }

    pub(super) fn no_slot(&mut self, until: Uptime) {
        self.asking = self.asking.saturating_sub(1);
        self.width = 1;
        self.not_before = self.not_before.max(until);
    }

    /// A call never left, so its slot is free again, and the ledger's "not before" is obsolete.
    pub(super) fn slot_returned(&mut self) {
        self.not_before = Uptime::MIN;
    }

    /// A request ended for another reason than a lack of slots.
    pub(super) fn unasked(&mut self) {
        self.asking = self.asking.saturating_sub(1);
    }

    pub(super) fn ended(&mut self, generation: u32, good: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if good {
            self.throttles = 0;
            if self.breaker.is_present(generation) {
                self.pacer.passed();
            }
        }
    }

    /// The service asked to wait. Returns whether that moved the cooldown.
    pub(super) fn cool_down(&mut self, until: Uptime) -> bool {
        self.breaker.cooled_down();
        let moves = until > self.cooldown;
        self.cooldown = self.cooldown.max(until);
        moves
    }

    /// The service answered 429 although every window had room; `counted` is the window that it named.
    pub(super) fn learn_pace(&mut self, counted: Option<Window>) {
        self.pacer.refused(&self.windows, counted);
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }
}
