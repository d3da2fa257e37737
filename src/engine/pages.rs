//! Pages through the tenant's actions, newest first, each action once.
//!
//! The service keeps no cursor: `$skip` counts from the newest action at the moment of the call. New actions push the
//! edges down, and then some come twice, which their ids tell. Actions that drop out of the filter (because somebody
//! cancels them meanwhile, for one) pull the edges up, and then some would never come. So pages overlap, and where a page
//! begins with nothing that was seen before, the next one is asked for further up, until one does or the list is read from its
//! top. What can be missed is what the service itself does not list yet, and actions created after the first page.

use std::collections::HashSet;
use std::num::NonZeroU32;

use crate::api::{Filter, ListQuery, MAX_TOP};
use crate::model::{ActionId, MachineAction, ReadPage};

use super::tenant_reads::{Reads, ReadsError};

/// The first page is small, so that whoever reads our output can begin at once.
pub const FIRST_PAGE: NonZeroU32 = NonZeroU32::new(100).expect("it is not zero");

/// Records that two pages share: enough for what a busy tenant changes between two calls.
const OVERLAP: u32 = 20;

/// A service that gives out fewer records than it was asked for has no more. But it may give out no more than so many at
/// once by a bound of its own, which is surely no smaller than this.
const SMALLEST_BOUND: u32 = 100;

/// So many pages in a row without anything new are the end: a service that does not heed `$skip` would give the same one
/// for ever.
const MOST_IDLE: u32 = 20;

/// The tenant's actions, page by page.
#[derive(Debug)]
pub struct Pages {
    /// What is asked for now, and behind it what comes after. More than one where the service did not take all at once.
    filters: Vec<Filter>,
    first: NonZeroU32,
    top: NonZeroU32,
    skip: u32,
    /// By how much to go up where a page does not join on to what was read.
    step: u32,
    seen: HashSet<ActionId>,
    /// Those of them between which and the rest a gap may be.
    loose: HashSet<ActionId>,
    /// Pages in a row that brought nothing new.
    idle: u32,
    is_at_end: bool,
}

impl Pages {
    /// Makes ready to read what `filter` says; `first` is the size of the first page.
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

    /// Reads the next page, and returns those of its actions that did not come before, newest first; `None` at the end.
    /// A filter that is asked for in parts begins anew with each.
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
                // It is not taken as one, so it is asked for in parts.
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

    /// Divides the filter that is asked for now. Returns whether that was possible.
    fn split(&mut self) -> bool {
        let Some([first, second]) = self.filters.last().and_then(Filter::split) else {
            return false;
        };
        self.filters.pop();
        self.filters.extend([second, first]);
        true
    }

    /// Begins with the next filter's first page.
    fn begin(&mut self) {
        self.top = self.first;
        self.skip = 0;
        self.step = OVERLAP;
        self.loose.clear();
        self.idle = 0;
        self.is_at_end = false;
    }

    /// Takes a page in and decides where to go on; `None` where it brought nothing new.
    fn take(&mut self, page: ReadPage) -> Option<Vec<MachineAction>> {
        let length = u32::try_from(page.listed).unwrap_or(u32::MAX);
        let asked = self.top;
        let ReadPage {
            records, is_whole, ..
        } = page;
        // Only its first record tells: what stands further down may have come from beyond the gap.
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

    /// A tenant's list, newest first, of a service that gives out at most `bound` records at once.
    struct Tenant {
        list: Vec<u32>,
        bound: usize,
    }

    impl Tenant {
        fn page(&self, pages: &Pages) -> ReadPage {
            let size = (pages.top.get() as usize).min(self.bound);
            let rest = &self.list[self.list.len().min(pages.skip as usize)..];
            let listed = rest.iter().take(size);
            let page: ReadPage = listed
                .map(|&number| MachineAction::bare(id(number)))
                .collect();
            ReadPage {
                // Told only by one whose pages are too short to tell it by themselves.
                is_whole: self.bound >= 100 || rest.len() <= size,
                ..page
            }
        }
    }

    fn id(number: u32) -> ActionId {
        ActionId::from_bytes(u128::from(number).to_be_bytes()).unwrap()
    }

    /// Reads the list to its end while `change` happens between two calls; returns how many came, and with how many calls.
    fn read(mut tenant: Tenant, mut change: impl FnMut(&mut Vec<u32>)) -> (Vec<ActionId>, u32) {
        let mut pages = Pages::new(Filter::default(), FIRST_PAGE);
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
        let mut pages = Pages::new(Filter::default(), FIRST_PAGE);
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
