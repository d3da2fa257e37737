//! A list of the tenant's actions in numbers: how many of each type, status and requestor, and of when.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serializer as _;

use crate::model::{ActionStatus, ActionType, MachineAction, encode};

use super::csv::CsvWriter;
use super::json::harmless;
use super::listing::ListingFormat;

/// Groups that are told apart; what comes beyond them is counted together.
const MAX_GROUPS: usize = 1000;

const COLUMNS: [&str; 6] = ["requestor", "type", "status", "actions", "oldest", "newest"];

/// Actions of one type, status and requestor; empty where the records don't say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActionGroup {
    pub requestor: String,
    pub action_type: String,
    pub status: String,
    pub actions: u64,
    pub oldest: Option<Timestamp>,
    pub newest: Option<Timestamp>,
}

/// Counts a list as it comes.
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

    /// Writes the groups, one a line.
    pub fn write(&self, mut out: impl Write, format: ListingFormat) -> io::Result<()> {
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        match format {
            ListingFormat::Csv => {
                let mut writer = CsvWriter::new(&mut out);
                writer.record(COLUMNS)?;
                for group in self.groups() {
                    writer.record([
                        encode(&group.requestor),
                        encode(&group.action_type),
                        encode(&group.status),
                        group.actions.to_string().into(),
                        time(group.oldest).unwrap_or_default().into(),
                        time(group.newest).unwrap_or_default().into(),
                    ])?;
                }
                writer.flush()
            }
            ListingFormat::Jsonl => {
                let mut text = Vec::new();
                for group in self.groups() {
                    let known = |text: &str| (!text.is_empty()).then(|| text.into());
                    let values: [Option<serde_json::Value>; COLUMNS.len()] = [
                        known(&group.requestor),
                        known(&group.action_type),
                        known(&group.status),
                        Some(group.actions.into()),
                        time(group.oldest).map(Into::into),
                        time(group.newest).map(Into::into),
                    ];
                    harmless(&mut text).collect_map(COLUMNS.into_iter().zip(values))?;
                    text.push(b'\n');
                }
                out.write_all(&text)?;
                out.flush()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ActionId;

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
        let second: serde_json::Value =
            serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
        assert_eq!(second["requestor"], serde_json::Value::Null);
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
