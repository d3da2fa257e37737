//! Pages through the tenant's actions, newest first, each action once.
//!
//! The service has no cursor: `$skip` counts from the newest action at the time of the call. New actions shift the
//! pages down, and some actions come twice; their ids reveal them. Actions that drop out of the filter (when cancelled,
//! for example) shift the pages up, and some would never come. So pages overlap. If a page starts with an action not
//! seen before, the next request goes further up, until one joins or the list is read from its top. This misses only
//! actions that the service doesn't list yet, or that were created after the first page.

use std::collections::HashSet;
use std::num::NonZeroU32;

use crate::api::{Filter, ListQuery, MAX_TOP};
use crate::model::{ActionId, MachineAction, ReadPage};

use super::reads_outside_runs::{Reads, ReadsError};

/// The first page is small, so that output starts early.
pub const FIRST_PAGE: NonZeroU32 = NonZeroU32::new(100).expect("it is not zero");

/// Records shared by two pages: enough for the changes of a busy tenant between two calls.
const OVERLAP: u32 = 20;

/// A page shorter than requested is the last, unless the service caps its pages. No cap is smaller than this.
const SMALLEST_BOUND: u32 = 100;

/// After this many pages in a row without anything new, the list ends: a service that ignores `$skip` would return the
/// same page forever.
const MOST_IDLE: u32 = 20;

#[derive(Debug)]
pub struct ActionPager {
    /// A stack: the last filter is read now. There are several if the service didn't accept the original.
    filters: Vec<Filter>,
    first: NonZeroU32,
    top: NonZeroU32,
    skip: u32,
    /// How far to go up if a page doesn't join what was read.
    step: u32,
    seen: HashSet<ActionId>,
    /// Seen actions that a gap may separate from the rest.
    loose: HashSet<ActionId>,
    idle: u32,
    is_at_end: bool,
}

impl ActionPager {
    /// Prepares to read a filter; `first` is the size of the first page.
    pub fn new(filter: Filter, first: NonZeroU32) -> Self {
        Self {
            filters: vec![filter],
            first,
            top: first,
            skip: 0,
            step: OVERLAP,
            seen: HashSet::new(),
            loose: HashSet::new(),
            idle: 0,
            is_at_end: false,
        }
    }

    /// Reads the next page and returns its new actions, newest first; `None` at the end. When a filter is read in
    /// parts, each part starts from its own top.
    pub async fn next(
        &mut self,
        reads: &mut Reads,
    ) -> Result<Option<Vec<MachineAction>>, ReadsError> {
        loop {
            while self.filters.last().is_some_and(Filter::is_long) && self.split() {}
            let Some(filter) = self.filters.last() else {
                return Ok(None);
            };
            let query = ListQuery {
                filter: filter.text(),
                top: self.top,
                skip: self.skip,
            };
            let page = match reads.page(&query).await {
                // The service doesn't accept the filter: read it in parts.
                Err(ReadsError::Refused(_)) if self.skip == 0 && self.split() => continue,
                page => page?,
            };
            let fresh = self.take(page);
            if self.is_at_end {
                self.filters.pop();
                self.begin();
            }
            if fresh.is_some() {
                return Ok(fresh);
            }
        }
    }

    /// Splits the current filter. Returns whether that was possible.
    fn split(&mut self) -> bool {
        let Some([first, second]) = self.filters.last().and_then(Filter::split) else {
            return false;
        };
        self.filters.pop();
        self.filters.extend([second, first]);
        true
    }

    /// Starts with the first page of the next filter.
    fn begin(&mut self) {
        self.top = self.first;
        self.skip = 0;
        self.step = OVERLAP;
        self.loose.clear();
        self.idle = 0;
        self.is_at_end = false;
    }

    /// Adds a page and decides where to go on; `None` if it has nothing new.
    fn take(&mut self, page: ReadPage) -> Option<Vec<MachineAction>> {
        let length = u32::try_from(page.listed).unwrap_or(u32::MAX);
        let asked = self.top;
        let ReadPage {
            records, is_whole, ..
        } = page;
        // Only the first record tells: later ones may come from beyond the gap.
        let joins = self.skip == 0
            || records.first().is_some_and(|first| {
                self.seen.contains(&first.id) && !self.loose.contains(&first.id)
            });
        let fresh: Vec<_> = records
            .into_iter()
            .filter(|action| self.seen.insert(action.id))
            .collect();
        self.top = MAX_TOP;
        if joins {
            self.step = OVERLAP;
            self.loose.clear();
            let overlap = OVERLAP.min(length / 2);
            let next = self.skip.saturating_add(length - overlap);
            let is_short = is_whole && length < asked.get().min(SMALLEST_BOUND);
            self.is_at_end = is_short || next == u32::MAX;
            self.skip = next;
        } else {
            self.loose.extend(fresh.iter().map(|action| action.id));
            self.skip = self.skip.saturating_sub(self.step);
            self.step = self.step.saturating_mul(2);
        }
        self.idle = if fresh.is_empty() { self.idle + 1 } else { 0 };
        self.is_at_end |= self.idle >= MOST_IDLE;
        (!fresh.is_empty()).then_some(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tenant's list, newest first; the service returns at most `bound` records at once.
    struct Tenant {
        list: Vec<u32>,
        bound: usize,
    }

    impl Tenant {
        fn page(&self, pages: &ActionPager) -> ReadPage {
            let size = (pages.top.get() as usize).min(self.bound);
            let rest = &self.list[self.list.len().min(pages.skip as usize)..];
            let listed = rest.iter().take(size);
            let page: ReadPage = listed
                .map(|&number| MachineAction::bare(id(number)))
                .collect();
            ReadPage {
                // Only a service with short pages has to say so.
                is_whole: self.bound >= 100 || rest.len() <= size,
                ..page
            }
        }
    }

    fn id(number: u32) -> ActionId {
        ActionId::from_bytes(u128::from(number).to_be_bytes()).unwrap()
    }

    /// Reads the list to its end, with `change` between calls; returns the actions and the number of calls.
    fn read(mut tenant: Tenant, mut change: impl FnMut(&mut Vec<u32>)) -> (Vec<ActionId>, u32) {
        let mut pages = ActionPager::new(Filter::default(), FIRST_PAGE);
        let (mut came, mut calls) = (Vec::new(), 0);
        while !pages.is_at_end {
            calls += 1;
            assert!(calls < 1000, "it never ends");
            let page = tenant.page(&pages);
            came.extend(
                pages
                    .take(page)
                    .unwrap_or_default()
                    .iter()
                    .map(|action| action.id),
            );
            change(&mut tenant.list);
        }
        (came, calls)
    }

    fn list_of(count: u32, bound: usize) -> Tenant {
        Tenant {
            list: (1..=count).rev().collect(),
            bound,
        }
    }

    #[test]
    fn a_still_list_comes_whole_and_once_with_few_calls() {
        for (count, bound, most) in [
            (0, 10_000, 1),
            (99, 10_000, 1),
            (100, 10_000, 2),
            (3_000, 10_000, 3),
            (25_000, 10_000, 5),
            (3_000, 1_000, 6),
            (300, 30, 25),
            (60, 5, 30),
        ] {
            let (mut came, calls) = read(list_of(count, bound), |_| ());
            assert!(calls <= most, "{count}: {calls} calls");
            came.sort_unstable();
            came.dedup();
            assert_eq!(came.len(), count as usize, "{count}");
        }
    }

    #[test]
    fn actions_that_drop_out_or_come_in_between_two_calls_hide_no_other() {
        for (gone, new) in [(1, 0), (19, 0), (150, 0), (0, 30), (40, 40)] {
            let mut next = 1_000_000;
            let mut left = Vec::new();
            let (came, _) = read(list_of(3_000, 1_000), |list| {
                list.drain(..gone.min(list.len()));
                for _ in 0..new {
                    next += 1;
                    list.insert(0, next);
                }
                left.clone_from(list);
            });
            let known: HashSet<_> = came.iter().copied().collect();
            assert_eq!(known.len(), came.len(), "each comes once");
            let missed = left
                .iter()
                .filter(|&&number| number <= 3_000 && !known.contains(&id(number)));
            assert_eq!(missed.count(), 0, "{gone} gone, {new} new");
        }
    }

    #[test]
    fn what_drops_out_all_at_once_hides_no_other_either() {
        for (call, gone) in [(1, 100), (2, 100), (2, 600), (3, 1_000)] {
            let mut calls = 0;
            let mut dropped = Vec::new();
            let (came, _) = read(list_of(3_000, 500), |list| {
                calls += 1;
                if calls == call {
                    dropped = list.drain(..gone).collect();
                }
            });
            let known: HashSet<_> = came.iter().copied().collect();
            assert_eq!(known.len(), came.len(), "each comes once");
            let missed = (1..=3_000)
                .filter(|number| !known.contains(&id(*number)) && !dropped.contains(number));
            assert_eq!(missed.count(), 0, "{gone} gone after call {call}");
        }
    }

    #[test]
    fn a_service_that_does_not_heed_skip_is_given_up() {
        let mut pages = ActionPager::new(Filter::default(), FIRST_PAGE);
        let page: Vec<_> = (1..=100)
            .map(|number| MachineAction::bare(id(number)))
            .collect();
        let mut came = 0;
        while !pages.is_at_end {
            let page = page.iter().cloned().collect();
            came += pages.take(page).map_or(0, |fresh| fresh.len());
        }
        assert_eq!(came, 100);
    }
}
