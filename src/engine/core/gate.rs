//! The one place where work waits for the ledger and for a cooldown; one gate per scope.
//!
//! The gate only remembers and answers. It asks the ledger by way of an effect, and what the ledger said comes back
//! as an event.

use std::sync::Arc;

use crate::model::Uptime;
use crate::quota::{Cooldown, KeptPace, Pace, Pacer, SlowStart, Window, Windows};
use crate::store::ScopeKey;

/// Why nothing leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitCause {
    /// Every slot of a quota window is taken.
    Window,
    /// The service told us to wait.
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
pub(super) struct Wait {
    pub(super) until: Option<Uptime>,
    pub(super) cause: WaitCause,
}

/// What one gate needs to know from the start.
#[derive(Clone, Debug)]
pub struct GateSettings {
    /// Which scope, in the ledger.
    pub scope: ScopeKey,
    /// The scope's windows.
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
    cooldown: Cooldown,
    slow: SlowStart,
    /// The ledger's last "not before".
    not_before: Uptime,
    /// How many questions to the ledger may be open at once: one after a refusal, then doubling.
    width: usize,
    asking: usize,
    in_flight: usize,
    /// Those of them that belong to the present slow start.
    in_flight_since: usize,
    /// 429s since the last good reply: the exponent of our own backoff.
    pub(super) throttles: u32,
    /// Whether it was said that somebody else uses this quota.
    pub(super) throttle_told: bool,
}

impl Gate {
    pub(super) fn new(settings: GateSettings) -> Self {
        let mut cooldown = Cooldown::new();
        let mut slow = SlowStart::off();
        let concurrency = settings.concurrency.max(1);
        if let Some(until) = settings.cooldown {
            cooldown.extend(until);
            slow.begin(concurrency);
        }
        Self {
            scope: settings.scope,
            windows: settings.windows,
            concurrency,
            pacer: Pacer::new(settings.pace, settings.learned),
            cooldown,
            slow,
            not_before: Uptime::MIN,
            width: 1,
            asking: 0,
            in_flight: 0,
            in_flight_since: 0,
            throttles: 0,
            throttle_told: false,
        }
    }

    /// Says whether the ledger may be asked for a slot now. The pacer is not asked: its answer would spend a cell.
    pub(super) fn look(&self, now: Uptime) -> Result<(), Wait> {
        if let Some(until) = self.cooldown.holds(now) {
            return Err(Wait {
                until: Some(until),
                cause: WaitCause::Cooldown,
            });
        }
        if self.not_before > now {
            return Err(Wait {
                until: Some(self.not_before),
                cause: WaitCause::Window,
            });
        }
        let under_way = self.asking + self.in_flight;
        let since = self.asking + self.in_flight_since;
        if under_way >= self.concurrency || self.asking >= self.width || !self.slow.allows(since) {
            return Err(Wait {
                until: None,
                cause: WaitCause::Window,
            });
        }
        Ok(())
    }

    /// Takes the pacer's cell and opens a question to the ledger.
    pub(super) fn ask(&mut self, now: Uptime) -> Result<(), Wait> {
        self.look(now)?;
        self.pacer.check(now).map_err(|until| Wait {
            until: Some(until),
            cause: WaitCause::Pace,
        })?;
        self.asking += 1;
        Ok(())
    }

    /// The ledger gave a slot. Returns the slow start that the call belongs to; `None` where a cooldown came first, so
    /// that it must be withdrawn.
    pub(super) fn granted(&mut self, now: Uptime) -> Option<u32> {
        self.asking = self.asking.saturating_sub(1);
        self.width = (self.width * 2).min(self.concurrency);
        if self.cooldown.holds(now).is_some() {
            return None;
        }
        self.in_flight += 1;
        self.in_flight_since += 1;
        Some(self.slow.generation())
    }

    /// The ledger refused.
    pub(super) fn refused(&mut self, until: Uptime) {
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

    /// Returns whether a call of the slow start `generation` is of the present one: older ones say nothing new.
    pub(super) fn is_present(&self, generation: u32) -> bool {
        generation == self.slow.generation()
    }

    /// A call of the slow start `generation` came back.
    pub(super) fn ended(&mut self, generation: u32, good: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if good {
            self.throttles = 0;
        }
        if generation != self.slow.generation() {
            return;
        }
        self.in_flight_since = self.in_flight_since.saturating_sub(1);
        if good {
            self.slow.on_good_reply();
            self.pacer.passed();
        } else {
            self.slow.on_bad_reply();
            if generation != self.slow.generation() {
                self.in_flight_since = 0;
            }
        }
    }

    /// The service told us to wait until `until`. Returns whether that moved the cooldown.
    pub(super) fn cool_down(&mut self, until: Uptime) -> bool {
        self.start_slowly();
        let before = self.cooldown.until();
        self.cooldown.extend(until);
        self.cooldown.until() != before
    }

    /// The service refused although every window had a slot; `counted` is the window that it named.
    pub(super) fn learn_pace(&mut self, counted: Option<Window>) {
        self.pacer.refused(&self.windows, counted);
    }

    /// Begins again with one call, after a cooldown or an outage.
    pub(super) fn start_slowly(&mut self) {
        self.slow.begin(self.concurrency);
        self.in_flight_since = 0;
    }

    /// Returns how many calls are on the wire.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }
}
