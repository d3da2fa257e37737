//! Which row goes next.
//!
//! Input order, because the operator put the servers first. Retries go behind fresh rows, but not for ever: one that
//! has been due for a while goes first.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{RowNumber, Uptime};

/// The rows of one lane that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Rows that had their turn and were refused a slot: they keep their place at the head.
    head: BTreeSet<RowNumber>,
    /// In input order, whatever the order in which their records were read.
    fresh: BTreeSet<RowNumber>,
    retries: BTreeSet<(Uptime, RowNumber)>,
}

impl Queue {
    pub(super) fn push_fresh(&mut self, row: RowNumber) {
        self.fresh.insert(row);
    }

    pub(super) fn push_head(&mut self, row: RowNumber) {
        self.head.insert(row);
    }

    pub(super) fn push_retry(&mut self, due: Uptime, row: RowNumber) {
        self.retries.insert((due, row));
    }

    /// Takes the next row out; a retry jumps ahead once it has been due for `patience`.
    pub(super) fn pop(&mut self, now: Uptime, patience: Duration) -> Option<RowNumber> {
        if let Some(row) = self.head.pop_first() {
            return Some(row);
        }
        let due = self.retries.first().map(|&(due, _)| due);
        if due.is_some_and(|due| due.after(patience) <= now) || self.fresh.is_empty() {
            return match due {
                Some(due) if due <= now => self.retries.pop_first().map(|(_, row)| row),
                _ => None,
            };
        }
        self.fresh.pop_first()
    }

    /// Returns when the next row may go: now, at the first retry's time, or never.
    pub(super) fn next_due(&self, now: Uptime) -> Option<Uptime> {
        if self.head.is_empty() && self.fresh.is_empty() {
            self.retries.first().map(|&(due, _)| due.max(now))
        } else {
            Some(now)
        }
    }

    /// Forgets the rows that are not kept.
    pub(super) fn retain(&mut self, is_kept: impl Fn(RowNumber) -> bool) {
        self.head.retain(|&row| is_kept(row));
        self.fresh.retain(|&row| is_kept(row));
        self.retries.retain(|&(_, row)| is_kept(row));
    }

    /// Returns how many fresh rows wait.
    pub(super) fn fresh_len(&self) -> usize {
        self.fresh.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Uptime {
        Uptime::from_nanos(seconds * 1_000_000_000)
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn input_order_holds_and_a_refused_row_keeps_its_place() {
        let mut queue = Queue::default();
        for number in 1..=3 {
            queue.push_fresh(RowNumber(number));
        }
        let first = queue.pop(at(0), PATIENCE).unwrap();
        let second = queue.pop(at(0), PATIENCE).unwrap();
        queue.push_head(second);
        queue.push_head(first);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(at(0), PATIENCE)).collect();
        assert_eq!(order, [1, 2, 3].map(RowNumber));
    }

    #[test]
    fn a_retry_goes_behind_fresh_rows_until_it_has_waited_long_enough() {
        let mut queue = Queue::default();
        queue.push_retry(at(10), RowNumber(1));
        for number in 2..=4 {
            queue.push_fresh(RowNumber(number));
        }
        assert_eq!(queue.pop(at(11), PATIENCE), Some(RowNumber(2)));
        assert_eq!(queue.pop(at(70), PATIENCE), Some(RowNumber(1)));
        assert_eq!(queue.pop(at(70), PATIENCE), Some(RowNumber(3)));
    }

    #[test]
    fn a_retry_that_is_not_due_waits_even_alone() {
        let mut queue = Queue::default();
        queue.push_retry(at(10), RowNumber(1));
        assert_eq!(queue.pop(at(9), PATIENCE), None);
        assert_eq!(queue.next_due(at(9)), Some(at(10)));
        assert_eq!(queue.pop(at(10), PATIENCE), Some(RowNumber(1)));
        assert_eq!(queue.next_due(at(10)), None);
    }
}
