//! Writes the tenant's actions as CSV or JSON Lines: individually, with the service's field names, so that the list can
//! be an input; or counted by type, status and requestor.
//!
//! CSV cells are encoded as in reports. JSON has the original texts, and `null` for missing fields.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serializer as _;
use serde_json::Value;

use crate::model::{
    ActionStatus, ActionType, FollowUp, IsolatedMachine, LISTED_BY, MachineAction, encode,
};

use super::csv::CsvWriter;
use super::json::harmless;

/// The service's fields, then the column that marks the list as ours.
const ACTION_COLUMNS: [&str; 15] = [
    "id",
    "type",
    "status",
    "requestor",
    "requestorComment",
    "requestSource",
    "scope",
    "machineId",
    "computerDnsName",
    "creationDateTimeUtc",
    "lastUpdateDateTimeUtc",
    "cancellationRequestor",
    "cancellationComment",
    "cancellationDateTimeUtc",
    LISTED_BY,
];

/// Isolated machines: their isolation, so that the list can be an input, and how to release them.
const ISOLATED_COLUMNS: [&str; 15] = [
    "id",
    "type",
    "status",
    "machineId",
    "computerDnsName",
    "requestor",
    "requestorComment",
    "requestSource",
    "scope",
    "creationDateTimeUtc",
    "since",
    "call",
    LISTED_BY,
    "also_isolated_by",
    "also_isolated_at",
];

const GROUP_COLUMNS: [&str; 6] = ["requestor", "type", "status", "actions", "oldest", "newest"];

/// Further groups are counted together.
const MAX_GROUPS: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListingFormat {
    Csv,
    /// One JSON object per line.
    Jsonl,
}

impl ListingFormat {
    fn write_header(self, out: impl Write, columns: &[&str]) -> io::Result<()> {
        if self == Self::Jsonl {
            return Ok(());
        }
        let mut writer = CsvWriter::new(out);
        writer.record(columns)?;
        writer.flush()
    }

    /// Writes and flushes rows.
    fn write_rows<const N: usize>(
        self,
        mut out: impl Write,
        columns: [&str; N],
        rows: impl Iterator<Item = [Option<Value>; N]>,
    ) -> io::Result<()> {
        match self {
            Self::Csv => {
                let mut writer = CsvWriter::new(out);
                for row in rows {
                    writer.record(row.map(|cell| match cell {
                        None => String::new(),
                        Some(Value::String(text)) => encode(&text).into_owned(),
                        Some(other) => other.to_string(),
                    }))?;
                }
                writer.flush()
            }
            Self::Jsonl => {
                let mut text = Vec::new();
                for row in rows {
                    // Not through a `Map`, which would sort the names.
                    let members = columns.into_iter().zip(row);
                    let members = members.filter(|(name, _)| *name != LISTED_BY);
                    harmless(&mut text).collect_map(members)?;
                    text.push(b'\n');
                }
                out.write_all(&text)?;
                out.flush()
            }
        }
    }
}

/// Writes actions page by page, so that the reader of a pipe can start with the first page.
#[derive(Debug)]
pub struct ActionListWriter<W: Write> {
    out: W,
    format: ListingFormat,
}

impl<W: Write> ActionListWriter<W> {
    /// Writes the header, even if no action follows.
    pub fn begin(mut out: W, format: ListingFormat) -> io::Result<Self> {
        format.write_header(&mut out, &ACTION_COLUMNS)?;
        Ok(Self { out, format })
    }

    /// Writes and flushes the actions of a page.
    pub fn page(&mut self, actions: &[MachineAction]) -> io::Result<()> {
        let rows = actions.iter().map(cells);
        self.format.write_rows(&mut self.out, ACTION_COLUMNS, rows)
    }
}

fn cells(action: &MachineAction) -> [Option<Value>; ACTION_COLUMNS.len()] {
    let text = |text: &Option<String>| text.clone().map(Value::String);
    [
        Some(action.id.to_string().into()),
        action.action_type.as_ref().map(|word| word.as_str().into()),
        action.status.as_ref().map(|word| word.as_str().into()),
        text(&action.requestor),
        text(&action.requestor_comment),
        text(&action.request_source),
        text(&action.action_scope),
        text(&action.machine_id),
        text(&action.computer_dns_name),
        time(action.created_at),
        time(action.updated_at),
        text(&action.cancellation_requestor),
        text(&action.cancellation_comment),
        time(action.cancelled_at),
        Some("mde-cancel".into()),
    ]
}

/// Writes isolated machines, one per line.
pub fn write_isolated(
    mut out: impl Write,
    machines: &[IsolatedMachine],
    format: ListingFormat,
) -> io::Result<()> {
    format.write_header(&mut out, &ISOLATED_COLUMNS)?;
    let text = |text: &Option<String>| text.clone().map(Value::String);
    let rows = machines.iter().map(|machine| {
        let action = &machine.isolation;
        let before = machine.before.as_ref();
        let call = |id: &String| FollowUp::Unisolate.call(id).filter(|_| before.is_none());
        [
            Some(action.id.to_string().into()),
            action.action_type.as_ref().map(|word| word.as_str().into()),
            action.status.as_ref().map(|word| word.as_str().into()),
            text(&action.machine_id),
            text(&action.computer_dns_name),
            text(&action.requestor),
            text(&action.requestor_comment),
            text(&action.request_source),
            text(&action.action_scope),
            time(action.created_at),
            Some(machine.since.to_string().into()),
            text(&action.machine_id.as_ref().and_then(call)),
            Some("mde-cancel".into()),
            before.and_then(|action| text(&action.requestor)),
            before.and_then(|action| time(action.created_at)),
        ]
    });
    format.write_rows(&mut out, ISOLATED_COLUMNS, rows)
}

fn time(at: Option<Timestamp>) -> Option<Value> {
    at.map(|at| at.to_string().into())
}

/// Actions with the same type, status and requestor; these are empty if the records have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActionGroup {
    pub requestor: String,
    pub action_type: String,
    pub status: String,
    pub actions: u64,
    pub oldest: Option<Timestamp>,
    pub newest: Option<Timestamp>,
}

/// Counts actions by group.
#[derive(Clone, Debug, Default)]
pub struct ListSummary {
    groups: BTreeMap<[String; 3], ActionGroup>,
}

impl ListSummary {
    pub fn add(&mut self, action: &MachineAction) {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let mut key = [
            text(action.requestor.as_deref()),
            text(action.action_type.as_ref().map(ActionType::as_str)),
            text(action.status.as_ref().map(ActionStatus::as_str)),
        ];
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&key) {
            key = ["(others)".to_owned(), String::new(), String::new()];
        }
        let [requestor, action_type, status] = key.clone();
        let group = self.groups.entry(key).or_insert_with(|| ActionGroup {
            requestor,
            action_type,
            status,
            ..ActionGroup::default()
        });
        group.actions += 1;
        let created = action.created_at;
        group.oldest = group.oldest.into_iter().chain(created).min();
        group.newest = group.newest.max(created);
    }

    /// Returns the groups, the largest first.
    pub fn groups(&self) -> Vec<&ActionGroup> {
        let mut groups: Vec<_> = self.groups.values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.actions));
        groups
    }

    /// Writes the groups, one per line.
    pub fn write(&self, mut out: impl Write, format: ListingFormat) -> io::Result<()> {
        format.write_header(&mut out, &GROUP_COLUMNS)?;
        let known = |text: &String| (!text.is_empty()).then(|| text.as_str().into());
        let rows = self.groups().into_iter().map(|group| {
            [
                known(&group.requestor),
                known(&group.action_type),
                known(&group.status),
                Some(group.actions.into()),
                time(group.oldest),
                time(group.newest),
            ]
        });
        format.write_rows(&mut out, GROUP_COLUMNS, rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ActionId;

    fn action() -> MachineAction {
        MachineAction {
            action_type: Some(ActionType::Isolate),
            status: Some(ActionStatus::Pending),
            requestor: Some("o'neil@x".to_owned()),
            requestor_comment: Some("=1+1, \"two\"".to_owned()),
            created_at: Some("2026-02-03T04:05:06.1234567Z".parse().unwrap()),
            ..MachineAction::bare(ActionId::from_bytes([7; 16]).unwrap())
        }
    }

    fn written_list(format: ListingFormat) -> String {
        let mut out = Vec::new();
        let mut listing = ActionListWriter::begin(&mut out, format).unwrap();
        listing.page(&[]).unwrap();
        listing.page(&[action()]).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_of_csv_holds_one_action_under_the_services_names() {
        assert_eq!(
            written_list(ListingFormat::Csv),
            "id,type,status,requestor,requestorComment,requestSource,scope,machineId,computerDnsName,\
             creationDateTimeUtc,lastUpdateDateTimeUtc,cancellationRequestor,cancellationComment,\
             cancellationDateTimeUtc,listed_by\n\
             07070707-0707-0707-0707-070707070707,Isolate,Pending,o'neil@x,\"'=1+1, \"\"two\"\"\",,,,,\
             2026-02-03T04:05:06.1234567Z,,,,,mde-cancel\n"
        );
    }

    #[test]
    fn a_json_line_is_one_line_to_every_reader() {
        let mut action = action();
        action.requestor = Some("a\u{2028}b\u{85}c\u{2029}d\n\u{202e}".to_owned());
        let mut out = Vec::new();
        let mut list = ActionListWriter::begin(&mut out, ListingFormat::Jsonl).unwrap();
        list.page(&[action]).unwrap();
        let text = String::from_utf8(out).unwrap();
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(crate::model::is_hidden), "{line}");
        assert!(line.contains(r"a\u2028b\u0085c\u2029d\n\u202e"), "{line}");
    }

    #[test]
    fn a_json_line_holds_the_texts_as_they_are() {
        let text = written_list(ListingFormat::Jsonl);
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(
            text.starts_with(r#"{"id":"07070707-0707-0707-0707-070707070707","type":"Isolate","#)
        );
        assert_eq!(object["requestorComment"], "=1+1, \"two\"");
        assert_eq!(object["machineId"], Value::Null);
        assert_eq!(object.as_object().unwrap().len(), ACTION_COLUMNS.len() - 1);
    }

    fn summary() -> ListSummary {
        let mut summary = ListSummary::default();
        for (number, requestor, status) in [
            (1, Some("=cmd"), "Pending"),
            (2, Some("ana@contoso.com"), "Pending"),
            (3, Some("ana@contoso.com"), "Pending"),
            (4, None, "Failed"),
        ] {
            summary.add(&MachineAction {
                action_type: Some(ActionType::Isolate),
                status: Some(ActionStatus::parse(status)),
                requestor: requestor.map(str::to_owned),
                created_at: Timestamp::from_second(i64::from(number)).ok(),
                ..MachineAction::bare(ActionId::from_bytes([number; 16]).unwrap())
            });
        }
        summary
    }

    fn written(format: ListingFormat) -> String {
        let mut out = Vec::new();
        summary().write(&mut out, format).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn actions_are_counted_by_requestor_type_and_status_the_most_first() {
        assert_eq!(
            written(ListingFormat::Csv),
            "requestor,type,status,actions,oldest,newest\n\
             ana@contoso.com,Isolate,Pending,2,1970-01-01T00:00:02Z,1970-01-01T00:00:03Z\n\
             ,Isolate,Failed,1,1970-01-01T00:00:04Z,1970-01-01T00:00:04Z\n\
             '=cmd,Isolate,Pending,1,1970-01-01T00:00:01Z,1970-01-01T00:00:01Z\n"
        );
        let lines = written(ListingFormat::Jsonl);
        let second: Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
        assert_eq!(second["requestor"], Value::Null);
        assert_eq!(second["actions"], 1);
    }

    #[test]
    fn no_tenant_makes_it_grow_without_bound() {
        let mut summary = ListSummary::default();
        for number in 1..=2000_u128 {
            summary.add(&MachineAction {
                requestor: Some(number.to_string()),
                ..MachineAction::bare(ActionId::from_bytes(number.to_be_bytes()).unwrap())
            });
        }
        assert!(summary.groups().len() <= MAX_GROUPS + 1);
        let counted: u64 = summary.groups().iter().map(|group| group.actions).sum();
        assert_eq!(counted, 2000);
    }
}
