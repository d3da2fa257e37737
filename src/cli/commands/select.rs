//! A run whose rows come from the tenant: they are found and journaled to the last before the first cancel leaves.

use std::sync::Arc;

use crate::api::MAX_TOP;
use crate::api::filter_of;
use crate::cli::failure::Failure;
use crate::clock::Clock;
use crate::domain::Destination;
use crate::engine::Pages;
use crate::engine::Planner;
use crate::engine::Selected;
use crate::engine::SelectionJournal;
use crate::store::RunKey;
use crate::store::Store;

use super::carry::StopWishes;
use super::choosing::unread;
use super::order::Order;
use super::reading::reads;
use super::service::Service;

/// A selection on its way into the journal.
pub(super) struct Selecting<'run> {
    pub(super) store: &'run Store,
    pub(super) clock: &'run Arc<dyn Clock>,
    pub(super) run: RunKey,
    pub(super) order: &'run Order,
    pub(super) service: &'run Service,
    /// What the tenant is asked with.
    pub(super) filter: Option<String>,
}

/// Returns what the tenant is asked with: the filter that was typed, or the one that says the selection.
pub(super) fn filter(typed: Option<&String>, order: &Order) -> Option<String> {
    typed.cloned().or_else(|| filter_of(&order.selection))
}

impl Selecting<'_> {
    /// Journals what is selected; returns how it ended, and how many calls it took.
    pub(super) async fn fill(self, stop: &mut StopWishes) -> Result<(Selected, u64), Failure> {
        let scope = self.service.scope(Destination::List);
        let mut reads = reads(
            (self.service.lane.reads(), &scope),
            (self.store, self.clock),
            self.order.read_windows.scaled_down(self.order.time_scale),
            self.order.retry(),
        )
        .await?;
        let journal = SelectionJournal {
            store: self.store,
            run: self.run,
            planner: Planner::new(Arc::new(self.order.rules())),
            clock: &**self.clock,
        };
        // Nothing is sent before the last page is there, so the first need not be small.
        let pages = Pages::new(self.filter, MAX_TOP);
        let selected = journal.fill((pages, &mut reads), stop.wishes());
        let selected = selected.await.map_err(unread)?;
        Ok((selected, reads.calls()))
    }
}
