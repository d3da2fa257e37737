//! Serializes a machine action exactly as the service does (MDE `machineaction.md`).
//!
//! The types are separate from the client's, because with shared types a mistake would go unnoticed.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::model::ActionId;

use super::actions::{MockAction, Status, id_text};

impl MockAction {
    /// Returns the record as a single response.
    pub(super) fn alone(&self) -> impl Serialize {
        self.entity(Some(SINGLE))
    }

    /// Returns the record as an element of a list.
    pub(super) fn listed(&self) -> impl Serialize {
        self.entity(None)
    }

    fn entity(&self, context: Option<&'static str>) -> Entity<'_> {
        let cancellation = self.cancellation.as_ref();
        // Actions requested in the portal have more fields, and an empty string instead of a missing time.
        let has_odd_fields = self.request_source.as_deref() == Some("Portal");
        Entity {
            context,
            id: self.id,
            action_type: &self.action_type,
            title: None,
            requestor: &self.requestor,
            request_source: self.request_source.as_deref(),
            requestor_comment: self.requestor_comment.as_deref(),
            scope: self.scope.as_deref(),
            status: self.status.as_str(),
            machine_id: self.machine_id.as_deref(),
            computer_dns_name: self.computer_dns_name.as_deref(),
            creation_date_time_utc: Ticks(self.created_at),
            last_update_date_time_utc: Ticks(self.updated_at),
            cancellation_requestor: cancellation.map(|by| by.requestor.as_str()),
            cancellation_comment: cancellation.map(|by| by.comment.as_str()),
            cancellation_date_time_utc: match cancellation {
                Some(by) => NoTime::Time(Ticks(by.at)),
                None if has_odd_fields => NoTime::Empty(""),
                None => NoTime::Null(()),
            },
            portal: has_odd_fields.then(|| Portal {
                action_source: "Manual",
                decided_by: &self.requestor,
                action_decision: "Approved",
                bulk_id: None,
            }),
            error_h_result: self.error_hresult,
            external_id: self.external_id.as_deref(),
            related_file_info: self.file_sha1.as_deref().map(|sha1| RelatedFile {
                file_identifier: sha1,
                file_identifier_type: "Sha1",
            }),
            commands: self.commands(),
            troubleshoot_info: None,
        }
    }

    fn commands(&self) -> Vec<LiveResponseCommand> {
        if self.action_type != "LiveResponse" {
            return Vec::new();
        }
        let status = if self.command_done || self.status == Status::Succeeded {
            "Completed"
        } else if matches!(self.status, Status::Failed | Status::TimeOut) {
            "Failed"
        } else {
            "Created"
        };
        let ended = status != "Created";
        vec![LiveResponseCommand {
            index: 0,
            start_time: (ended || self.status == Status::InProgress)
                .then_some(Ticks(self.created_at)),
            end_time: ended.then_some(Ticks(self.updated_at)),
            status,
            errors: [],
            script: Script {
                script_type: "RunScript",
                params: [Param {
                    key: "ScriptName",
                    value: "collect.ps1",
                }],
            },
        }]
    }
}

/// The context of a single record.
const SINGLE: &str = "https://api.security.microsoft.com/api/$metadata#MachineActions/$entity";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entity<'record> {
    #[serde(rename = "@odata.context", skip_serializing_if = "Option::is_none")]
    context: Option<&'static str>,
    #[serde(with = "id_text")]
    id: ActionId,
    #[serde(rename = "type")]
    action_type: &'record str,
    title: Option<&'record str>,
    requestor: &'record str,
    request_source: Option<&'record str>,
    requestor_comment: Option<&'record str>,
    scope: Option<&'record str>,
    status: &'static str,
    machine_id: Option<&'record str>,
    computer_dns_name: Option<&'record str>,
    creation_date_time_utc: Ticks,
    last_update_date_time_utc: Ticks,
    cancellation_requestor: Option<&'record str>,
    cancellation_comment: Option<&'record str>,
    cancellation_date_time_utc: NoTime,
    #[serde(rename = "errorHResult")]
    error_h_result: i64,
    external_id: Option<&'record str>,
    related_file_info: Option<RelatedFile<'record>>,
    commands: Vec<LiveResponseCommand>,
    troubleshoot_info: Option<&'record str>,
    #[serde(flatten)]
    portal: Option<Portal<'record>>,
}

/// A time, or one of the service's ways to write none.
#[derive(Serialize)]
#[serde(untagged)]
enum NoTime {
    Time(Ticks),
    Empty(&'static str),
    Null(()),
}

/// Additional fields of the Action center, in its spelling.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Portal<'record> {
    action_source: &'static str,
    decided_by: &'record str,
    action_decision: &'static str,
    #[serde(rename = "bulkId")]
    bulk_id: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RelatedFile<'record> {
    file_identifier: &'record str,
    file_identifier_type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LiveResponseCommand {
    index: u32,
    start_time: Option<Ticks>,
    end_time: Option<Ticks>,
    #[serde(rename = "commandStatus")]
    status: &'static str,
    errors: [&'static str; 0],
    #[serde(rename = "command")]
    script: Script,
}

#[derive(Serialize)]
struct Script {
    #[serde(rename = "type")]
    script_type: &'static str,
    params: [Param; 1],
}

#[derive(Serialize)]
struct Param {
    key: &'static str,
    value: &'static str,
}

/// A time with seven decimals, as the service writes it.
struct Ticks(Timestamp);

impl Serialize for Ticks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.7}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::actions::{Cancellation, Change};

    #[test]
    fn a_cancelled_record_reads_as_the_service_writes_it() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let id = ActionId::parse("7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2").unwrap();
        let mut record = MockAction::new(
            id,
            "Isolate",
            Status::Pending,
            at("2026-02-03T04:05:06.1234567Z"),
        );
        record.scope = Some("Full".to_owned());
        record.change = Some(Change {
            due: at("2026-02-03T04:09:09.5Z"),
            to: Status::Cancelled,
            cancellation: Some(Cancellation {
                requestor: "soc-bot".to_owned(),
                comment: "CHG-4711".to_owned(),
                at: at("2026-02-03T04:09:09.5Z"),
            }),
        });
        record.settle(at("2026-02-03T04:09:09Z"));
        assert_eq!(record.status, Status::Pending);
        record.settle(at("2026-02-03T04:09:09.5Z"));
        assert_eq!(
            serde_json::to_value(record.alone()).unwrap(),
            serde_json::json!({
                "@odata.context": "https://api.security.microsoft.com/api/$metadata#MachineActions/$entity",
                "id": "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2", "type": "Isolate", "title": null,
                "requestor": "soc-bot", "requestSource": "PublicApi", "requestorComment": null, "scope": "Full",
                "status": "Cancelled", "machineId": null, "computerDnsName": null,
                "creationDateTimeUtc": "2026-02-03T04:05:06.1234567Z",
                "lastUpdateDateTimeUtc": "2026-02-03T04:09:09.5000001Z",
                "cancellationRequestor": "soc-bot", "cancellationComment": "CHG-4711",
                "cancellationDateTimeUtc": "2026-02-03T04:09:09.5000000Z", "errorHResult": -2_147_467_260, "externalId": null,
                "relatedFileInfo": null, "commands": [], "troubleshootInfo": null,
            })
        );
    }
}
