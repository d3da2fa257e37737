//! Why the rows of a plan or a run were skipped, as far as that decides how it ends.

use std::collections::BTreeMap;

use crate::model::{Criterion, Mismatch, Outcome};

use super::plan_summary::NameCounts;
use super::rules::{Precheck, is_excluded, is_unknown_type};

/// Skipped rows by their reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skips {
    /// Rows that aren't selected, by the value that didn't match.
    pub not_selected: BTreeMap<Criterion, NameCounts>,
    pub excluded: u64,
    unselected: u64,
    /// Rows of which a record might have told otherwise, where none was read.
    by_word: u64,
}

impl Skips {
    /// Counts rows that were skipped for one reason.
    pub fn add(&mut self, reason: &str, rows: u64) {
        if let Some(mismatch) = Mismatch::parse(reason) {
            self.unselected += rows;
            self.by_word += match mismatch.criterion {
                Criterion::Tenant => 0,
                _ => rows,
            };
            let values = self.not_selected.entry(mismatch.criterion).or_default();
            values.add(mismatch.value.as_deref().unwrap_or("none"), rows);
        }
        self.excluded += if is_excluded(reason) { rows } else { 0 };
        self.by_word += if is_unknown_type(reason) { rows } else { 0 };
    }

    /// Returns whether there were rows, and the selection or the tenant means none of them.
    pub fn is_nothing_selected(&self, outcomes: &BTreeMap<Outcome, u64>) -> bool {
        let unusable = count(outcomes, Outcome::Invalid) + count(outcomes, Outcome::Duplicate);
        let rows: u64 = outcomes.values().sum();
        self.unselected > 0 && self.unselected + unusable == rows
    }

    /// Returns whether the skipped rows alone leave something to look at: every row was skipped, or a word of the input
    /// settled some that their records might have told otherwise.
    pub fn leave_work(&self, outcomes: &BTreeMap<Outcome, u64>, precheck: Precheck) -> bool {
        let skipped = count(outcomes, Outcome::Skipped);
        let rows: u64 = outcomes.values().sum();
        let are_all = skipped > 0 && skipped + count(outcomes, Outcome::Duplicate) == rows;
        are_all || (precheck == Precheck::Skip && self.by_word > 0)
    }
}

fn count(outcomes: &BTreeMap<Outcome, u64>, outcome: Outcome) -> u64 {
    outcomes.get(&outcome).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skips(reasons: &[(&str, u64)]) -> Skips {
        let mut skips = Skips::default();
        for &(reason, rows) in reasons {
            skips.add(reason, rows);
        }
        skips
    }

    #[test]
    fn nothing_is_selected_where_no_usable_row_matches() {
        let of_type = skips(&[("type not selected: LiveResponse", 3)]);
        let two = skips(&[
            ("type not selected: LiveResponse", 2),
            ("tenant not selected: fabrikam", 1),
        ]);
        let excluded = skips(&[("excluded by keep.txt: dc-01", 3)]);
        let three = [(Outcome::Skipped, 3)];
        for (skips, outcomes, expected) in [
            (&of_type, &three[..], true),
            (&two, &three[..], true),
            (&excluded, &three[..], false),
            (
                &of_type,
                &[
                    (Outcome::Skipped, 3),
                    (Outcome::Invalid, 1),
                    (Outcome::Duplicate, 2),
                ],
                true,
            ),
            (
                &of_type,
                &[(Outcome::Skipped, 3), (Outcome::Cancelled, 1)],
                false,
            ),
            (&of_type, &[(Outcome::Skipped, 4)], false),
            (&Skips::default(), &[], false),
        ] {
            let outcomes = outcomes.iter().copied().collect();
            assert_eq!(
                skips.is_nothing_selected(&outcomes),
                expected,
                "{outcomes:?}"
            );
        }
        let values = two.not_selected[&Criterion::Tenant].top();
        assert_eq!(values, [("fabrikam", 1)]);
    }

    #[test]
    fn rows_that_a_word_of_the_input_skipped_leave_work() {
        let mixed = [(Outcome::Skipped, 1), (Outcome::Cancelled, 1)].into();
        for (reason, by_word) in [
            ("requestor not selected: soc-tools", true),
            (
                "type unknown, so it may be protected (--allow-protected unknown sends it): x",
                true,
            ),
            (
                "protected type (--allow-protected Unisolate sends it)",
                false,
            ),
            ("excluded by keep.txt: dc-01", false),
            ("tenant not selected: fabrikam", false),
        ] {
            let skips = skips(&[(reason, 1)]);
            assert_eq!(
                skips.leave_work(&mixed, Precheck::Skip),
                by_word,
                "{reason}"
            );
            assert!(!skips.leave_work(&mixed, Precheck::ReadFirst), "{reason}");
            let all = [(Outcome::Skipped, 1), (Outcome::Duplicate, 1)].into();
            assert!(skips.leave_work(&all, Precheck::ReadFirst), "{reason}");
        }
    }
}
