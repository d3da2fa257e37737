//! The end of a lane that stops: cancels on the wire are waited for, reads only for a moment.
//!
//! What became of a cancel must be known. A read changes nothing, and whoever resumes reads again: one that hangs must not
//! hold up the end for as long as its time-out.

use std::time::Duration;

use crate::model::{Destination, Moment};
use crate::store::Record;

use super::event::Effect;
use super::lane::Lane;

/// So long a lane that stops waits for reads that are on the wire: most answer well within it, and a person who has
/// asked to stop waits no longer.
const READS_DRAIN: Duration = Duration::from_secs(2);

impl Lane {
    /// Gives up reads that hold up the end of a lane that stops. Their rows stay as the journal has them.
    ///
    /// Each has left and may still arrive, so its slot is held as one of a call that we ended.
    pub(super) fn drain(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let since = *self.stopping_since.get_or_insert(now.uptime);
        let (cancels, reads): (Vec<_>, Vec<_>) = self
            .flights
            .iter()
            .partition(|(_, flight)| flight.destination == Destination::Cancel);
        // As long as a cancel is waited for, reads hold up nothing.
        if !cancels.is_empty() || reads.is_empty() {
            return;
        }
        let left = reads
            .into_iter()
            .filter(|(_, flight)| flight.call.is_some());
        let left: Vec<_> = left.map(|(&ticket, _)| ticket).collect();
        let ends = since.after(READS_DRAIN);
        if now.uptime < ends {
            return self.wake_at(ends);
        }
        let ended = now.uptime.after(self.settings.retry.timeout_grace);
        for ticket in left {
            let Some(flight) = self.flights.remove(&ticket) else {
                continue;
            };
            self.gate(flight.destination)
                .ended(flight.generation, false);
            self.records.extend(flight.call.map(|call| Record::Replied {
                call,
                at: now,
                ended,
                row: None,
            }));
            self.put_back(now, flight);
        }
        self.flush(out);
    }
}
