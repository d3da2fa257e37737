//! Verify: a cancel that was accepted while the action was open is watched until the record says so, or time is up.
//!
//! Beside the remaining cancels: looks cost nothing but the read allowance, and many are one call.

use crate::model::{Moment, RowNumber};
use crate::retry::{Doubt, watch_pause};

use super::lane::{Lane, Reading};

impl Lane {
    /// The service took a cancel, and its record is open as far as it was seen.
    pub(super) fn accepted(&mut self, now: Moment, number: RowNumber) {
        let Some(verify_for) = self.settings.verify_for else {
            return self.settle_accepted(now, number);
        };
        if self.reading == Reading::Forbidden {
            return self.settle_accepted(now, number);
        }
        if let Some(row) = self.rows.get_mut(&number) {
            row.was_accepted = true;
            row.watch = Some((now.uptime.after(verify_for), 0));
        }
        self.note_phase(number);
        self.watch_again(now, number);
    }

    /// Plans the next look at a record that is still open; the last one is due just when time is up.
    pub(super) fn watch_again(&mut self, now: Moment, number: RowNumber) {
        let watch = self.rows.get(&number).and_then(|row| row.watch);
        // A look that goes along with another's comes a little early, and is the last one all the same.
        let Some((until, looks)) =
            watch.filter(|&(until, looks)| looks == 0 || self.soon(now) < until)
        else {
            return self.settle_accepted(now, number);
        };
        if let Some(row) = self.rows.get_mut(&number) {
            row.doubt = Some(Doubt::Effect);
            row.watch = Some((until, looks + 1));
        }
        let next = now.uptime.after(watch_pause(&self.settings.retry, looks));
        self.looks.insert((next.min(until), number));
    }
}
