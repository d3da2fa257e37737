//! Writes a machine action exactly as the service does (MDE `machineaction.md`).
//!
//! It shares nothing with the client's reader, because with shared types a mistake would go unnoticed.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::actions::{MockAction, Status};

/// The context of a single record.
const SINGLE: &str = "https://api.security.microsoft.com/api/$metadata#MachineActions/$entity";

impl MockAction {
    /// Returns the record as a single response.
    pub(super) fn alone(&self) -> Value {
        let mut entity = self.listed();
        entity["@odata.context"] = json!(SINGLE);
        entity
    }

    /// Returns the record as an element of a list.
    pub(super) fn listed(&self) -> Value {
        let cancellation = self.cancellation.as_ref();
        // Actions requested in the portal have more fields, and an empty string instead of a missing time.
        let is_from_portal = self.request_source.as_deref() == Some("Portal");
        let file = self.file_sha1.as_ref();
        let mut entity = json!({
            "id": self.id.to_string(),
            "type": self.action_type,
            "title": null,
            "requestor": self.requestor,
            "requestSource": self.request_source,
            "requestorComment": self.requestor_comment,
            "scope": self.scope,
            "status": self.status.as_str(),
            "machineId": self.machine_id,
            "computerDnsName": self.computer_dns_name,
            "creationDateTimeUtc": ticks(self.created_at),
            "lastUpdateDateTimeUtc": ticks(self.updated_at),
            "cancellationRequestor": cancellation.map(|by| &by.requestor),
            "cancellationComment": cancellation.map(|by| &by.comment),
            "cancellationDateTimeUtc": match cancellation {
                Some(by) => json!(ticks(by.at)),
                None if is_from_portal => json!(""),
                None => Value::Null,
            },
            "errorHResult": self.error_hresult,
            "externalId": null,
            "relatedFileInfo":
                file.map(|sha1| json!({ "fileIdentifier": sha1, "fileIdentifierType": "Sha1" })),
            "commands": self.commands(),
            "troubleshootInfo": null,
        });
        if is_from_portal {
            entity["ActionSource"] = json!("Manual");
            entity["DecidedBy"] = json!(self.requestor);
            entity["ActionDecision"] = json!("Approved");
            entity["bulkId"] = Value::Null;
        }
        entity
    }

    fn commands(&self) -> Value {
        if self.action_type != "LiveResponse" {
            return json!([]);
        }
        let status = if self.command_done || self.status == Status::Succeeded {
            "Completed"
        } else if matches!(self.status, Status::Failed | Status::TimeOut) {
            "Failed"
        } else {
            "Created"
        };
        let has_ended = status != "Created";
        let has_started = has_ended || self.status == Status::InProgress;
        json!([{
            "index": 0,
            "startTime": has_started.then(|| ticks(self.created_at)),
            "endTime": has_ended.then(|| ticks(self.updated_at)),
            "commandStatus": status,
            "errors": [],
            "command": {
                "type": "RunScript",
                "params": [{ "key": "ScriptName", "value": "collect.ps1" }],
            },
        }])
    }
}

/// Formats a time with seven decimals, as the service does.
fn ticks(at: Timestamp) -> String {
    format!("{at:.7}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ActionId;
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
            record.alone(),
            json!({
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
