//! `list`: finds actions in the tenant and prints them: as a table on a terminal, else as they come, ready for `run -`.
//!
//! Standard output holds the list and nothing else. It has no journal; its reads are counted in the same ledger as those
//! of runs, beside which it may go on.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;

use crate::cli::args::ListFormat;
use crate::cli::failure::{Failure, RunExit};
use crate::cli::list_text::ListText;
use crate::cli::settings::{CALL_TIMEOUT, ListSettings};
use crate::cli::terminal::print;
use crate::cli::text::local_zone;
use crate::clock::{Clock, SystemClock};
use crate::engine::{FIRST_PAGE, Pages};
use crate::model::{Destination, ExclusionList, Facts, MachineAction, Selection};
use crate::report::{ActionListWriter, ListSummary, ListingFormat};
use crate::retry::RetrySettings;

use super::choosing::read_exclusions;
use super::execute::open_store;
use super::finish::Look;
use super::prepared_run::filter;
use super::reading::{reads, unread};
use super::service::to_read;

/// Prints the actions that are selected, or counts them.
pub async fn list(settings: ListSettings, look: Look) -> Result<RunExit, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let retry = RetrySettings::default();
    let typed = settings.args.selection;
    let exclude = read_exclusions(&typed.exclude_from)?;
    let selection = typed.selection(clock.now().wall);
    let store = open_store(&settings.state_dir, retry.timeout_grace, &*clock)?;
    let (handles, identity) = to_read(&settings.connection, CALL_TIMEOUT).await?;
    let scope = identity.scope(Destination::List);
    let windows = settings.read_windows;
    let mut reads = reads(handles, &scope, &store, &clock, windows, retry).await?;
    let filter = filter(typed.filter, &selection);
    let mut pages = Pages::new(filter, FIRST_PAGE);
    let mut out = Out::of(settings.args.summary, settings.args.format)?;
    let mut count = 0;
    while let Some(mut page) = pages.next(&mut reads).await.map_err(unread)? {
        page.retain(|action| is_selected(action, &selection, &exclude));
        count += page.len();
        out.page(page).map_err(Failure::of_output)?;
        tracing::info!(count, calls = reads.calls(), "actions listed so far");
    }
    let text = ListText {
        width: look.width,
        now: clock.now().wall,
        zone: &local_zone(),
    };
    out.finish(&text).map_err(Failure::of_output)?;
    Ok(RunExit::Done)
}

/// What a list is printed as.
enum Out {
    /// Line by line, as the pages come.
    Lines(ActionListWriter<io::Stdout>),
    /// As a table, once all are there.
    Table(Vec<MachineAction>),
    /// In numbers; as a table where there is no format.
    Summary(ListSummary, Option<ListingFormat>),
}

impl Out {
    fn of(is_summary: bool, typed: Option<ListFormat>) -> Result<Self, Failure> {
        let by_kind = if io::stdout().is_terminal() {
            ListFormat::Table
        } else {
            ListFormat::Csv
        };
        let format = match typed.unwrap_or(by_kind) {
            ListFormat::Table => None,
            ListFormat::Csv => Some(ListingFormat::Csv),
            ListFormat::Jsonl => Some(ListingFormat::Jsonl),
        };
        Ok(match format {
            _ if is_summary => Self::Summary(ListSummary::default(), format),
            None => Self::Table(Vec::new()),
            Some(format) => Self::Lines(
                ActionListWriter::begin(io::stdout(), format).map_err(Failure::of_output)?,
            ),
        })
    }

    fn page(&mut self, page: Vec<MachineAction>) -> io::Result<()> {
        match self {
            Self::Lines(listing) => return listing.page(&page),
            Self::Table(actions) => actions.extend(page),
            Self::Summary(summary, _) => page.iter().for_each(|action| summary.add(action)),
        }
        Ok(())
    }

    fn finish(self, text: &ListText<'_>) -> io::Result<()> {
        match self {
            Self::Lines(_) => Ok(()),
            Self::Table(actions) => print(&text.actions(&actions)),
            Self::Summary(summary, None) => print(&text.summary(&summary)),
            Self::Summary(summary, Some(format)) => summary.write(io::stdout(), format),
        }
    }
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
