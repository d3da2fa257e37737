//! `list`: finds actions in the tenant and prints them, as a table on a terminal, otherwise page by page, ready for
//! `run -`.
//!
//! Standard output contains only the list. It has no journal. Its reads are counted in the same ledger as those of
//! runs, and it may run beside one.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::api::Filter;
use crate::cli::args::{ListArgs, ListFormat};
use crate::cli::failure::{Failure, RunExit};
use crate::cli::format_time::{Count, Number, day_time, local_zone, visible, zone_name};
use crate::cli::settings::{CALL_TIMEOUT, Context};
use crate::cli::table::Table;
use crate::cli::terminal::{OutputStyle, print};
use crate::clock::{Clock, SystemClock};
use crate::engine::{ActionPager, FIRST_PAGE};
use crate::model::{
    ActionFacts, ActionStatus, ActionType, Destination, ExclusionList, IsolatedMachine,
    LaterActivity, MachineAction, Selection,
};
use crate::report::{ActionListWriter, ListSummary, ListingFormat, write_isolated};
use crate::retry::RetrySettings;

use super::prepared_run::{filter, open_store};
use super::selection::read_exclusions;
use super::service_clients::to_read;
use super::service_reads::{reads, unread};

/// How far back to look for isolations by default.
const LOOK_BACK: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Prints the actions that are selected, or counts them.
pub async fn list(
    args: ListArgs,
    context: Context,
    style: OutputStyle,
) -> Result<RunExit, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let retry = RetrySettings::default();
    let typed = &args.selection;
    let exclude = read_exclusions(&typed.exclude_from)?;
    let mut selection = typed.selection(clock.now().wall);
    let store = open_store(&context.state_dir()?, retry.timeout_grace, &*clock)?;
    let (handles, identity) = to_read(&context.into_connection()?, CALL_TIMEOUT).await?;
    let scope = identity.scope(Destination::List);
    let windows = args.read_quota.reads();
    let mut reads = reads(handles, &scope, &store, &clock, windows, retry).await?;
    let filter = if args.isolated {
        let newest = selection.until.unwrap_or(clock.now().wall);
        let since = newest.checked_sub(LOOK_BACK).unwrap_or(Timestamp::MIN);
        selection.since.get_or_insert(since);
        Filter::of(&isolations_and_releases(&selection))
    } else {
        filter(typed.filter.clone(), &selection)
    };
    let is_chosen = |action: &MachineAction| is_selected(action, &selection, &exclude);
    let mut pages = ActionPager::new(filter, FIRST_PAGE);
    let mut out = Out::of(&args)?;
    let mut count = 0;
    while let Some(mut page) = pages.next(&mut reads).await.map_err(unread)? {
        // What is selected is the isolation; its release may be anybody's.
        page.retain(|action| args.isolated || is_chosen(action));
        count += page.len();
        out.page(page).map_err(Failure::of_output)?;
        tracing::info!(count, calls = reads.calls(), "actions listed so far");
    }
    let text = ListText {
        width: style.width,
        now: clock.now().wall,
        zone: &local_zone(),
    };
    out.finish(&text, &selection.requestors, is_chosen)
        .map_err(Failure::of_output)?;
    if let (true, Some(since)) = (args.isolated, selection.since) {
        let since = format!("{} {}", text.time(Some(since)), zone_name(since, text.zone));
        writeln!(
            io::stderr().lock(),
            "note: this looked back to {since} (--since looks further back); isolations before that aren't listed, nor those \
             that the service's API doesn't show, such as some that were made in the portal"
        )
        .map_err(Failure::of_output)?;
    }
    Ok(RunExit::Done)
}

/// Selects everything that shows which machines are isolated, whoever requested it.
fn isolations_and_releases(selection: &Selection) -> Selection {
    Selection {
        types: vec![ActionType::Isolate, ActionType::Unisolate],
        machine_ids: selection.machine_ids.clone(),
        since: selection.since,
        ..Selection::default()
    }
}

/// The output of a list.
enum Out {
    /// Line by line, as pages arrive.
    Lines(ActionListWriter<io::Stdout>),
    /// A table, once all pages are there.
    Table(Vec<MachineAction>),
    /// Counts; a table if there is no format.
    Summary(ListSummary, Option<ListingFormat>),
    /// Machines, once all their actions are there; a table if there is no format.
    Isolated(Vec<MachineAction>, Option<ListingFormat>),
}

impl Out {
    fn of(args: &ListArgs) -> Result<Self, Failure> {
        let by_kind = if io::stdout().is_terminal() {
            ListFormat::Table
        } else {
            ListFormat::Csv
        };
        let format = match args.format.unwrap_or(by_kind) {
            ListFormat::Table => None,
            ListFormat::Csv => Some(ListingFormat::Csv),
            ListFormat::Jsonl => Some(ListingFormat::Jsonl),
        };
        Ok(match format {
            _ if args.isolated => Self::Isolated(Vec::new(), format),
            _ if args.summary => Self::Summary(ListSummary::default(), format),
            None => Self::Table(Vec::new()),
            Some(format) => Self::Lines(
                ActionListWriter::begin(io::stdout(), format).map_err(Failure::of_output)?,
            ),
        })
    }

    fn page(&mut self, page: Vec<MachineAction>) -> io::Result<()> {
        match self {
            Self::Lines(listing) => return listing.page(&page),
            Self::Table(actions) | Self::Isolated(actions, _) => actions.extend(page),
            Self::Summary(summary, _) => page.iter().for_each(|action| summary.add(action)),
        }
        Ok(())
    }

    fn finish(
        self,
        text: &ListText<'_>,
        meant: &[String],
        is_chosen: impl Fn(&MachineAction) -> bool,
    ) -> io::Result<()> {
        match self {
            Self::Lines(_) => Ok(()),
            Self::Table(actions) => print(&text.actions(&actions)),
            Self::Summary(summary, None) => print(&text.summary(&summary)),
            Self::Summary(summary, Some(format)) => summary.write(io::stdout(), format),
            Self::Isolated(actions, format) => {
                let mut machines = IsolatedMachine::find(actions, meant);
                machines.retain(|machine| is_chosen(&machine.isolation));
                match format {
                    None => print(&text.isolated(&machines)),
                    Some(format) => write_isolated(io::stdout(), &machines, format),
                }
            }
        }
    }
}

/// Checks an action again, because a service's filter may let others through.
fn is_selected(action: &MachineAction, selection: &Selection, exclude: &ExclusionList) -> bool {
    let facts = ActionFacts::of_record(action);
    let mismatch = selection
        .mismatch(&facts)
        .or_else(|| selection.status_mismatch(&facts));
    // The service knew what the record omits when it selected the action.
    let is_selected = mismatch.is_none_or(|mismatch| mismatch.value.is_none());
    is_selected && exclude.excludes(action.id, &facts).is_none() && !exclude.needs_machine(&facts)
}

/// Renders actions and their counts as tables for a terminal.
struct ListText<'zone> {
    width: u16,
    now: Timestamp,
    zone: &'zone TimeZone,
}

impl ListText<'_> {
    /// Returns one line per action. Ids are never broken, because people copy them.
    fn actions(&self, actions: &[MachineAction]) -> String {
        let created = format!("created ({})", zone_name(self.now, self.zone));
        let mut table = Table::new();
        table.cut = &[3, 4];
        table.row([
            &created,
            "type",
            "status",
            "requestor",
            "machine",
            "action id",
        ]);
        for action in actions {
            let machine = action.computer_dns_name.as_deref();
            table.row([
                self.time(action.created_at),
                word(action.action_type.as_ref().map(ActionType::as_str)),
                word(action.status.as_ref().map(ActionStatus::as_str)),
                word(action.requestor.as_deref()),
                word(machine.or(action.machine_id.as_deref())),
                action.id.to_string(),
            ]);
        }
        let total = Count::new(actions.len() as u64, "action");
        format!("{}{total}\n", table.render(self.width.into(), ""))
    }

    /// Returns one line per machine. Names are never broken, because people copy them.
    fn isolated(&self, machines: &[IsolatedMachine]) -> String {
        let isolated = format!("isolated ({})", zone_name(self.now, self.zone));
        let mut table = Table::new();
        table.cut = &[2, 3];
        let is_twice = machines.iter().any(|machine| machine.before.is_some());
        let before = if is_twice { "also isolated by" } else { "" };
        table.row([
            &isolated,
            "machine",
            "requestor",
            "comment",
            "since",
            before,
        ]);
        for machine in machines {
            let IsolatedMachine {
                isolation, since, ..
            } = machine;
            let before = machine.before.as_ref().map(|before| {
                let by = word(before.requestor.as_deref());
                format!("{by}, {}", self.time(before.created_at))
            });
            let machine = isolation.computer_dns_name.as_deref();
            table.row([
                self.time(isolation.created_at),
                word(machine.or(isolation.machine_id.as_deref())),
                word(isolation.requestor.as_deref()),
                word(isolation.requestor_comment.as_deref()),
                match since {
                    LaterActivity::Nothing => "-".to_owned(),
                    since => word(Some(&since.to_string())),
                },
                before.unwrap_or_default(),
            ]);
        }
        let total = Count::new(machines.len() as u64, "machine");
        format!("{}{total}\n", table.render(self.width.into(), ""))
    }

    /// Returns one line per type, status and requestor.
    fn summary(&self, summary: &ListSummary) -> String {
        let zone = zone_name(self.now, self.zone);
        let (oldest, newest) = (format!("oldest ({zone})"), format!("newest ({zone})"));
        let mut table = Table::new();
        table.right = &[3];
        table.cut = &[0];
        table.row(["requestor", "type", "status", "actions", &oldest, &newest]);
        let groups = summary.groups();
        for group in &groups {
            table.row([
                word(Some(&group.requestor)),
                word(Some(&group.action_type)),
                word(Some(&group.status)),
                Number(group.actions).to_string(),
                self.time(group.oldest),
                self.time(group.newest),
            ]);
        }
        let total: u64 = groups.iter().map(|group| group.actions).sum();
        table.row(["total", "", "", &Number(total).to_string(), "", ""]);
        table.render(self.width.into(), "")
    }

    fn time(&self, at: Option<Timestamp>) -> String {
        at.map_or_else(|| "-".to_owned(), |at| day_time(at, self.now, self.zone))
    }
}

fn word(text: Option<&str>) -> String {
    match text {
        None | Some("") => "-".to_owned(),
        Some(text) => visible(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ActionId;

    fn action(number: u8, requestor: Option<&str>, status: ActionStatus) -> MachineAction {
        MachineAction {
            action_type: Some(ActionType::Isolate),
            status: Some(status),
            requestor: requestor.map(str::to_owned),
            computer_dns_name: Some(format!("ws-{number}.contoso.com")),
            created_at: Some("2026-11-25T01:02:00Z".parse().unwrap()),
            ..MachineAction::bare(ActionId::from_bytes([number; 16]).unwrap())
        }
    }

    fn actions() -> Vec<MachineAction> {
        vec![
            action(1, Some("soc-tools\u{1b}[2J"), ActionStatus::Pending),
            action(2, Some("soc-tools\u{1b}[2J"), ActionStatus::Pending),
            action(3, None, ActionStatus::Succeeded),
        ]
    }

    fn text<T>(show: impl FnOnce(&ListText<'_>) -> T) -> T {
        show(&ListText {
            width: 120,
            now: "2026-11-25T02:00:00Z".parse().unwrap(),
            zone: &TimeZone::UTC,
        })
    }

    #[test]
    fn a_list_has_one_line_for_each_action() {
        insta::assert_snapshot!(text(|text| text.actions(&actions())), @r"
        created (UTC)  type     status     requestor           machine           action id
        01:02          Isolate  Pending    soc-tools\u{1b}[2J  ws-1.contoso.com  01010101-0101-0101-0101-010101010101
        01:02          Isolate  Pending    soc-tools\u{1b}[2J  ws-2.contoso.com  02020202-0202-0202-0202-020202020202
        01:02          Isolate  Succeeded  -                   ws-3.contoso.com  03030303-0303-0303-0303-030303030303
        3 actions
        ");
    }

    #[test]
    fn its_numbers_have_one_line_for_each_requestor_type_and_status() {
        let mut summary = ListSummary::default();
        for action in actions() {
            summary.add(&action);
        }
        insta::assert_snapshot!(text(|text| text.summary(&summary)), @r"
        requestor           type     status     actions  oldest (UTC)  newest (UTC)
        soc-tools\u{1b}[2J  Isolate  Pending          2  01:02         01:02
        -                   Isolate  Succeeded        1  01:02         01:02
        total                                         3
        ");
    }
}
