//! `list`: finds actions in the tenant and prints them as they come, ready for `run -`.
//!
//! Standard output holds the list and nothing else. It has no journal; its reads are counted in the same ledger as those
//! of runs, beside which it may go on.

use std::io;
use std::sync::Arc;

use crate::cli::args::ListFormat;
use crate::cli::failure::{Failure, RunExit};
use crate::cli::settings::ListSettings;
use crate::clock::{Clock, SystemClock};
use crate::engine::{FIRST_PAGE, Pages};
use crate::model::{Destination, ExclusionList, Facts, MachineAction, Selection};
use crate::report::{Listing, ListingFormat};
use crate::retry::RetrySettings;

use super::carry::open_store;
use super::choosing::{read_exclusions, unread};
use super::reading::reads;
use super::select::filter;
use super::service::to_read;

/// Prints the actions that are meant.
///
/// # Errors
/// Returns why they cannot be read, or not be printed; what was printed before stands.
pub async fn list(settings: ListSettings) -> Result<RunExit, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let retry = RetrySettings::default();
    let exclude = read_exclusions(&settings.selection.exclude_from)?;
    let selection = settings.selection.selection(clock.now().wall);
    let store = open_store(&settings.state_dir, retry.timeout_grace, &*clock)?;
    let (handles, identity) = to_read(&settings.connection, settings.timeout).await?;
    let scope = identity.scope(Destination::List);
    let place = (&store, &clock);
    let mut reads = reads((handles, &scope), place, settings.read_windows, retry).await?;
    let filter = filter(settings.selection.filter, &selection);
    let mut pages = Pages::new(filter, FIRST_PAGE);
    let format = match settings.format {
        ListFormat::Csv => ListingFormat::Csv,
        ListFormat::Jsonl => ListingFormat::Jsonl,
    };
    let mut out = Listing::begin(io::stdout(), format).map_err(Failure::of_output)?;
    let mut count = 0;
    while let Some(mut page) = pages.next(&mut reads).await.map_err(unread)? {
        page.retain(|action| is_selected(action, &selection, &exclude));
        out.page(&page).map_err(Failure::of_output)?;
        count += page.len();
        tracing::info!(count, calls = reads.calls(), "actions listed so far");
    }
    Ok(RunExit::Done)
}

/// Looks at an action once more: what a service lets through its filter need not be what was asked for.
fn is_selected(action: &MachineAction, selection: &Selection, exclude: &ExclusionList) -> bool {
    let facts = Facts::of_record(action);
    let mismatch = selection
        .mismatch(&facts)
        .or_else(|| selection.status_mismatch(&facts));
    // What a record leaves out, the service knew when it chose it.
    let is_selected = mismatch.is_none_or(|mismatch| mismatch.value.is_none());
    is_selected && exclude.excludes(action.id, &facts).is_none() && !exclude.needs_machine(&facts)
}
