//! The imitation's own time. Nothing else in this folder reads a clock; a lag, a window and a stamp all start here.

use std::time::Instant;

use jiff::Timestamp;

use crate::clock::ManualClock;
use crate::model::{Moment, Uptime};

/// The clock by which the imitation counts windows, lags and stamps.
#[derive(Clone, Debug)]
pub enum SandboxClock {
    /// The machine's clocks; uptimes count from the given instant.
    // Not the program's own clock: a fault in that one would then cancel itself out.
    Real(Instant),
    /// A clock that a test moves.
    Manual(ManualClock),
}

impl SandboxClock {
    /// Returns the machine's clocks, with uptimes that count from now.
    pub fn real() -> Self {
        Self::Real(Instant::now())
    }

    /// Looks at both clocks.
    pub(super) fn now(&self) -> Moment {
        match self {
            Self::Real(start) => Moment {
                uptime: Uptime::from_nanos(0).after(start.elapsed()),
                wall: Timestamp::now(),
            },
            Self::Manual(clock) => crate::clock::Clock::now(clock),
        }
    }
}

impl Default for SandboxClock {
    fn default() -> Self {
        Self::real()
    }
}
