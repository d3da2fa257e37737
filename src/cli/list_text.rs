//! A list of the tenant's actions, and its numbers, as tables for a terminal.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::{ActionStatus, ActionType, MachineAction};
use crate::report::ListSummary;

use super::table::Table;
use super::text::{Count, Number, day_time, visible, zone_name};

pub(super) struct ListText<'zone> {
    pub(super) width: u16,
    pub(super) now: Timestamp,
    pub(super) zone: &'zone TimeZone,
}

impl ListText<'_> {
    /// Returns one line for each action. Ids, which people copy, are never broken.
    pub(super) fn actions(&self, actions: &[MachineAction]) -> String {
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

    /// Returns one line for each type, status and requestor.
    pub(super) fn summary(&self, summary: &ListSummary) -> String {
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
