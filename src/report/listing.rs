//! A list of the tenant's actions, with the service's own names, so that it is an input of a run.
//!
//! Rows go out page by page: whoever reads them from a pipe can begin with the first page. CSV cells are harmless as in a
//! report; JSON lines hold the texts as they are, with what the service does not tell as `null`.

use std::io::{self, Write};
use std::iter;

use jiff::Timestamp;
use serde::Serializer as _;

use crate::model::{ActionStatus, ActionType, LISTED_BY, MachineAction, encode};

use super::csv::CsvWriter;
use super::json::harmless;

/// The service's names, of what a run reads first.
const COLUMNS: [&str; 14] = [
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
];

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListingFormat {
    /// A header and a line for each action.
    Csv,
    /// A JSON object for each action, one a line.
    Jsonl,
}

/// Writes a list as it comes.
#[derive(Debug)]
pub struct Listing<W: Write> {
    out: W,
    format: ListingFormat,
}

impl<W: Write> Listing<W> {
    /// Begins a list; a header goes out whether anything follows or not.
    ///
    /// # Errors
    /// Returns what the system said.
    pub fn begin(mut out: W, format: ListingFormat) -> io::Result<Self> {
        if format == ListingFormat::Csv {
            let mut writer = CsvWriter::new(&mut out);
            writer.record(COLUMNS.iter().chain([&LISTED_BY]))?;
            writer.flush()?;
        }
        Ok(Self { out, format })
    }

    /// Writes the actions of one page, and hands them on at once.
    ///
    /// # Errors
    /// Returns what the system said.
    pub fn page(&mut self, actions: &[MachineAction]) -> io::Result<()> {
        match self.format {
            ListingFormat::Csv => {
                let mut writer = CsvWriter::new(&mut self.out);
                for action in actions {
                    let cells = cells(action).map(Option::unwrap_or_default);
                    let cells = cells.iter().map(|cell| encode(cell));
                    writer.record(cells.chain(iter::once("mde-cancel".into())))?;
                }
                writer.flush()
            }
            ListingFormat::Jsonl => {
                let mut text = Vec::new();
                for action in actions {
                    // Not by way of a map of its own, which would order the names by the alphabet.
                    harmless(&mut text).collect_map(COLUMNS.into_iter().zip(&cells(action)))?;
                    text.push(b'\n');
                }
                self.out.write_all(&text)?;
                self.out.flush()
            }
        }
    }
}

fn cells(action: &MachineAction) -> [Option<String>; COLUMNS.len()] {
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    [
        Some(action.id.to_string()),
        action.action_type.as_ref().map(ActionType::to_string),
        action.status.as_ref().map(ActionStatus::to_string),
        action.requestor.clone(),
        action.requestor_comment.clone(),
        action.request_source.clone(),
        action.action_scope.clone(),
        action.machine_id.clone(),
        action.computer_dns_name.clone(),
        time(action.created_at),
        time(action.updated_at),
        action.cancellation_requestor.clone(),
        action.cancellation_comment.clone(),
        time(action.cancelled_at),
    ]
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

    fn written(format: ListingFormat) -> String {
        let mut out = Vec::new();
        let mut listing = Listing::begin(&mut out, format).unwrap();
        listing.page(&[]).unwrap();
        listing.page(&[action()]).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_of_csv_holds_one_action_under_the_services_names() {
        assert_eq!(
            written(ListingFormat::Csv),
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
        let mut listing = Listing::begin(&mut out, ListingFormat::Jsonl).unwrap();
        listing.page(&[action]).unwrap();
        let text = String::from_utf8(out).unwrap();
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(crate::model::is_hidden), "{line}");
        assert!(line.contains(r"a\u2028b\u0085c\u2029d\n\u202e"), "{line}");
    }

    #[test]
    fn a_json_line_holds_the_texts_as_they_are() {
        let text = written(ListingFormat::Jsonl);
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(
            text.starts_with(r#"{"id":"07070707-0707-0707-0707-070707070707","type":"Isolate","#)
        );
        assert_eq!(object["requestorComment"], "=1+1, \"two\"");
        assert_eq!(object["machineId"], serde_json::Value::Null);
        assert_eq!(object.as_object().unwrap().len(), COLUMNS.len());
    }
}
