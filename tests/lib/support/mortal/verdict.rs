//! What must hold of the mortal world, row by row and at the end.

use mde_cancel::model::{ActionStatus, Destination, Outcome, RowNumber};

use super::super::{id_of, most_in_any};
use super::World;

impl World {
    /// Compares a last word with what the service has at that moment.
    pub(super) fn judge_row(&self, row: RowNumber, outcome: Outcome) {
        let action = self.service.actions.get(&id_of(row));
        let status = action.map(|action| &action.status);
        let changed = action.map_or(0, |action| action.changed);
        let is_cancelled = status == Some(&ActionStatus::Cancelled);
        let is_late = self.late.contains(&row);
        let agrees = match outcome {
            Outcome::Cancelled => is_cancelled && changed == 1,
            Outcome::AlreadyCancelled => is_cancelled && changed == 0,
            Outcome::AlreadyFinal => status.is_some_and(ActionStatus::is_final) && !is_cancelled,
            Outcome::NotFound => status.is_none(),
            Outcome::Failed => changed == 0 || is_late,
            Outcome::Unknown | Outcome::Accepted => true,
            _ => false,
        };
        assert!(
            agrees,
            "row {row} is {outcome}, and the service has {action:?}"
        );
    }

    /// Judges the whole once the run is over.
    pub(super) fn judge(&mut self) {
        assert_eq!(self.journal.rows.len(), self.schedule.rows as usize);
        for (row, kept) in &self.journal.rows {
            assert!(kept.outcome.is_some(), "row {row} is lost: {:?}", kept.row);
        }
        let cancels = self.service.arrivals.get(&Destination::Cancel);
        self.seen.cancels = cancels.map_or(0, Vec::len);
        for (destination, arrivals) in &self.service.arrivals {
            for window in self.schedule.windows.as_slice() {
                let most = most_in_any(window.period, arrivals);
                if most > window.limit.get() as usize {
                    self.seen
                        .exceeded
                        .push(format!("{most} calls to {destination} in {window}"));
                }
            }
        }
    }
}
