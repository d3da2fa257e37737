//! Indexes that find a lane's rows by state. They follow from the rows and can be rebuilt from them.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{RowNumber, Uptime};

use super::row::{RereadReason, RowState};

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes {
    /// Had their turn and got no slot.
    requeued: BTreeSet<RowNumber>,
    /// In input order, in whatever order they were read.
    fresh: BTreeSet<RowNumber>,
    retries: BTreeSet<(Uptime, RowNumber)>,
    pub(super) held: BTreeSet<RowNumber>,
    /// Rows to read before they are sent, in input order.
    pub(super) prechecks: BTreeSet<RowNumber>,
    /// Prechecks that rows may skip while reads are slow. Their rows may be in `prechecks` or `rereads` too.
    skippable: BTreeSet<RowNumber>,
    /// Rows to read at a given time.
    pub(super) rereads: BTreeSet<(Uptime, RowNumber)>,
}

impl Indexes {
    pub(super) fn insert(&mut self, number: RowNumber, state: RowState) {
        self.set(number, state, true);
    }

    pub(super) fn remove(&mut self, number: RowNumber, state: RowState) {
        self.set(number, state, false);
    }

    fn set(&mut self, number: RowNumber, state: RowState, is_in: bool) {
        match state {
            RowState::Ready { requeued: true } => put(&mut self.requeued, number, is_in),
            RowState::Ready { requeued: false } => put(&mut self.fresh, number, is_in),
            RowState::Held => put(&mut self.held, number, is_in),
            RowState::RetryAt(due) => put(&mut self.retries, (due, number), is_in),
            RowState::Sending(_) => {}
            RowState::Reread(reread) => {
                if matches!(reread.reason, RereadReason::Precheck { may_skip: true }) {
                    put(&mut self.skippable, number, is_in);
                }
                match (reread.call, reread.due) {
                    (Some(_), _) => {}
                    (None, Some(due)) => put(&mut self.rereads, (due, number), is_in),
                    (None, None) => put(&mut self.prechecks, number, is_in),
                }
            }
        }
    }

    /// Returns the next row to send. A retry overtakes fresh rows once it has been due for `patience`.
    pub(super) fn next_to_send(
        &self,
        now: Uptime,
        patience: Duration,
        reads_are_slow: bool,
    ) -> Option<RowNumber> {
        if let Some(&row) = self.requeued.first() {
            return Some(row);
        }
        let retry = self.retries.first().filter(|&&(due, _)| due <= now);
        let is_overdue = retry.is_some_and(|&(due, _)| due.after(patience) <= now);
        let fresh = self.fresh(reads_are_slow).min();
        let retry = retry.map(|&(_, row)| row);
        if is_overdue { retry } else { fresh.or(retry) }
    }

    /// Returns when the next row may be sent, or `None` if no row waits to be sent.
    pub(super) fn next_send_due(&self, now: Uptime, reads_are_slow: bool) -> Option<Uptime> {
        if self.requeued.is_empty() && self.fresh(reads_are_slow).next().is_none() {
            self.retries.first().map(|&(due, _)| due.max(now))
        } else {
            Some(now)
        }
    }

    fn fresh(&self, reads_are_slow: bool) -> impl Iterator<Item = RowNumber> {
        let skippable = self.skippable.first().filter(|_| reads_are_slow);
        self.fresh.first().into_iter().chain(skippable).copied()
    }

    pub(super) fn fresh_len(&self) -> usize {
        self.fresh.len()
    }

    pub(super) fn skippable_len(&self) -> usize {
        self.skippable.len()
    }
}

fn put<T: Ord>(set: &mut BTreeSet<T>, key: T, is_in: bool) {
    if is_in {
        set.insert(key);
    } else {
        set.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn at(seconds: i64) -> Uptime {
        Uptime::from_nanos(seconds * 1_000_000_000)
    }

    fn indexes(rows: &[(u32, RowState)]) -> Indexes {
        let mut indexes = Indexes::default();
        for &(number, state) in rows {
            indexes.insert(RowNumber(number), state);
        }
        indexes
    }

    fn next(indexes: &Indexes, now: i64) -> Option<u32> {
        let row = indexes.next_to_send(at(now), PATIENCE, false);
        row.map(|row| row.0)
    }

    #[test]
    fn input_order_holds_and_a_row_that_got_no_slot_keeps_its_place() {
        let ready = |requeued| RowState::Ready { requeued };
        let mut rows = indexes(&[(2, ready(true)), (1, ready(true)), (3, ready(false))]);
        for (number, requeued) in [(1, true), (2, true), (3, false)] {
            assert_eq!(next(&rows, 0), Some(number));
            rows.remove(RowNumber(number), ready(requeued));
        }
        assert_eq!(rows, Indexes::default());
    }

    #[test]
    fn a_retry_goes_behind_fresh_rows_until_it_has_waited_long_enough() {
        let fresh = RowState::Ready { requeued: false };
        let rows = indexes(&[(1, RowState::RetryAt(at(10))), (2, fresh)]);
        assert_eq!(
            [11, 69, 70].map(|now| next(&rows, now)),
            [2, 2, 1].map(Some)
        );
    }

    #[test]
    fn a_retry_that_is_not_due_waits_even_alone() {
        let rows = indexes(&[(1, RowState::RetryAt(at(10)))]);
        assert_eq!([9, 10].map(|now| next(&rows, now)), [None, Some(1)]);
        assert_eq!(rows.next_send_due(at(9), false), Some(at(10)));
    }
}
