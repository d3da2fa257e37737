//! One machine action as the service keeps it, and the exact words in which it goes over the wire.
//!
//! The wire types are the sandbox's own: were they shared with the client, one mistake would hide in both.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;
use serde::Serializer;

use crate::domain::ActionId;

use super::filter::Field;
use super::filter::Value;

/// Where the service's metadata stands, whatever host was asked.
const METADATA: &str = "https://api.security.microsoft.com/api/$metadata#MachineActions";

/// The service's six words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Waits for the machine.
    Pending,
    /// The machine works on it.
    InProgress,
    /// Done.
    Succeeded,
    /// Not done.
    Failed,
    /// Nobody answered.
    TimeOut,
    /// Cancelled.
    Cancelled,
}

impl Status {
    /// Returns the service's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "InProgress",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::TimeOut => "TimeOut",
            Self::Cancelled => "Cancelled",
        }
    }

    /// Returns whether nothing more will happen to the action.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::InProgress)
    }
}

/// What a cancel does to an open action. What the service does is not documented beyond the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CancelEffect {
    /// The record turns Cancelled at once, and the answer shows it.
    #[default]
    AtOnce,
    /// The answer shows the record still open; it turns Cancelled so much later.
    Late(Duration),
    /// The answer shows the record still open; it turns Succeeded so much later.
    TooLate(Duration),
    /// The record turns Cancelled although the work was done.
    DoneAnyway,
}

/// Who cancelled an action, why and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancellation {
    /// The app or the user.
    pub requestor: String,
    /// The comment that came with the cancel.
    pub comment: String,
    /// When it took effect.
    pub at: Timestamp,
}

/// A change that was decided and shows later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When it shows.
    pub due: Timestamp,
    /// What the status becomes.
    pub to: Status,
    /// The cancel that it comes from; none where the action outran its cancel.
    pub cancellation: Option<Cancellation>,
}

/// One machine action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    #[serde(with = "id_text")]
    pub id: ActionId,
    /// Its type, in the service's spelling.
    pub action_type: String,
    /// Its status.
    pub status: Status,
    /// Who asked for it.
    pub requestor: String,
    /// What they wrote.
    pub requestor_comment: Option<String>,
    /// `PublicApi` or `Portal`.
    pub request_source: Option<String>,
    /// `Full`, `Selective` or `Quick`, where the type has such a thing.
    pub scope: Option<String>,
    /// The machine, 40 hexadecimal digits.
    pub machine_id: Option<String>,
    /// Its name.
    pub computer_dns_name: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When the record last changed.
    pub updated_at: Timestamp,
    /// Its cancel, where one took effect.
    pub cancellation: Option<Cancellation>,
    /// The service's error number; 0 is none.
    pub error_hresult: i64,
    /// The caller's own correlation id.
    pub external_id: Option<String>,
    /// The SHA-1 of the file that it is about.
    pub file_sha1: Option<String>,
    /// Whether its live-response command is done; of no meaning for other types.
    pub command_done: bool,
    /// What is decided and does not show yet.
    pub change: Option<Change>,
    /// From when lists show it, where it is that new.
    pub listed_from: Option<Timestamp>,
    /// What a cancel does to this one; as the settings say where there is none.
    pub on_cancel: Option<CancelEffect>,
    /// How many cancels the service worked on, whether they changed anything or not.
    pub cancels: u32,
}

impl Record {
    /// Returns a plain record, asked for through the API.
    pub fn new(id: ActionId, action_type: &str, status: Status, created_at: Timestamp) -> Self {
        Self {
            id,
            action_type: action_type.to_owned(),
            status,
            requestor: "soc-bot".to_owned(),
            requestor_comment: None,
            request_source: Some("PublicApi".to_owned()),
            scope: None,
            machine_id: None,
            computer_dns_name: None,
            created_at,
            updated_at: created_at,
            cancellation: None,
            error_hresult: 0,
            external_id: None,
            file_sha1: None,
            command_done: false,
            change: None,
            listed_from: None,
            on_cancel: None,
            cancels: 0,
        }
    }

    /// Returns whether a change is due that the record does not show yet.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.change.as_ref().is_some_and(|change| change.due <= now)
    }

    /// Lets a due change show.
    pub(super) fn settle(&mut self, now: Timestamp) {
        if !self.is_due(now) {
            return;
        }
        if let Some(change) = self.change.take() {
            self.status = change.to;
            self.updated_at = change.due;
            self.command_done |= change.to == Status::Succeeded;
            self.cancellation = change.cancellation.or(self.cancellation.take());
        }
    }

    /// Returns one field, as a filter sees it.
    pub(super) fn value_of(&self, field: Field) -> Value {
        match field {
            Field::Id => Value::Text(self.id.to_string()),
            Field::Status => Value::Text(self.status.as_str().to_owned()),
            Field::MachineId => self.machine_id.clone().map_or(Value::Null, Value::Text),
            Field::Type => Value::Text(self.action_type.clone()),
            Field::Requestor => Value::Text(self.requestor.clone()),
            Field::Created => Value::Time(self.created_at),
        }
    }

    /// Returns the record as it goes over the wire alone.
    pub(super) fn alone(&self) -> impl Serialize {
        self.entity(Some(SINGLE))
    }

    /// Returns the record as it goes over the wire in a list.
    pub(super) fn listed(&self) -> impl Serialize {
        self.entity(None)
    }

    fn entity(&self, context: Option<&'static str>) -> Entity<'_> {
        let cancellation = self.cancellation.as_ref();
        Entity {
            context,
            id: Shown(self.id),
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
            cancellation_date_time_utc: cancellation.map(|by| Ticks(by.at)),
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

    fn commands(&self) -> Vec<Command> {
        if self.action_type != "LiveResponse" {
            return Vec::new();
        }
        let command_status = if self.command_done || self.status == Status::Succeeded {
            "Completed"
        } else if matches!(self.status, Status::Failed | Status::TimeOut) {
            "Failed"
        } else {
            "Created"
        };
        let ended = command_status != "Created";
        vec![Command {
            index: 0,
            start_time: (ended || self.status == Status::InProgress)
                .then_some(Ticks(self.created_at)),
            end_time: ended.then_some(Ticks(self.updated_at)),
            command_status,
            errors: [],
            command: Script {
                script_type: "RunScript",
                params: [Param {
                    key: "ScriptName",
                    value: "collect.ps1",
                }],
            },
        }]
    }
}

/// The envelope's first field for a list.
pub(super) fn list_context(select: Option<&[String]>) -> String {
    match select {
        Some(fields) => format!("{METADATA}({})", fields.join(",")),
        None => METADATA.to_owned(),
    }
}

/// What stands in a single record's envelope.
const SINGLE: &str = "https://api.security.microsoft.com/api/$metadata#MachineActions/$entity";

/// Every field that `$select` may name.
pub(super) const FIELDS: [&str; 20] = [
    "id",
    "type",
    "title",
    "requestor",
    "requestSource",
    "requestorComment",
    "scope",
    "status",
    "machineId",
    "computerDnsName",
    "creationDateTimeUtc",
    "lastUpdateDateTimeUtc",
    "cancellationRequestor",
    "cancellationComment",
    "cancellationDateTimeUtc",
    "errorHResult",
    "externalId",
    "relatedFileInfo",
    "commands",
    "troubleshootInfo",
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entity<'record> {
    #[serde(rename = "@odata.context", skip_serializing_if = "Option::is_none")]
    context: Option<&'static str>,
    id: Shown,
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
    cancellation_date_time_utc: Option<Ticks>,
    #[serde(rename = "errorHResult")]
    error_h_result: i64,
    external_id: Option<&'record str>,
    related_file_info: Option<RelatedFile<'record>>,
    commands: Vec<Command>,
    troubleshoot_info: Option<&'record str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RelatedFile<'record> {
    file_identifier: &'record str,
    file_identifier_type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Command {
    index: u32,
    start_time: Option<Ticks>,
    end_time: Option<Ticks>,
    command_status: &'static str,
    errors: [&'static str; 0],
    command: Script,
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

/// A time with the seven digits of the service's ticks.
struct Ticks(Timestamp);

impl Serialize for Ticks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.7}", self.0))
    }
}

struct Shown(ActionId);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// An action id as its text, for records that are stored.
pub(super) mod id_text {
    use serde::Deserialize as _;
    use serde::Deserializer;
    use serde::Serializer;
    use serde::de::Error as _;

    use crate::domain::ActionId;

    pub(in crate::sandbox) fn serialize<S: Serializer>(
        id: &ActionId,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(in crate::sandbox) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<ActionId, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        ActionId::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_record_reads_as_the_service_writes_it() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let id = ActionId::parse("7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2").unwrap();
        let mut record = Record::new(
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
                "lastUpdateDateTimeUtc": "2026-02-03T04:09:09.5000000Z",
                "cancellationRequestor": "soc-bot", "cancellationComment": "CHG-4711",
                "cancellationDateTimeUtc": "2026-02-03T04:09:09.5000000Z", "errorHResult": 0, "externalId": null,
                "relatedFileInfo": null, "commands": [], "troubleshootInfo": null,
            })
        );
    }

    #[test]
    fn every_field_of_the_wire_can_be_selected() {
        let id = ActionId::from_bytes([7; 16]).unwrap();
        let record = Record::new(
            id,
            "LiveResponse",
            Status::InProgress,
            Timestamp::UNIX_EPOCH,
        );
        let wire = serde_json::to_value(record.listed()).unwrap();
        let names: Vec<_> = wire.as_object().unwrap().keys().cloned().collect();
        let mut known = FIELDS.map(str::to_owned).to_vec();
        known.sort();
        assert_eq!(names, known);
        assert_eq!(wire["commands"][0]["commandStatus"], "Created");
        assert_eq!(wire["commands"][0]["command"]["type"], "RunScript");
    }

    #[test]
    fn a_record_survives_being_stored() {
        let id = ActionId::from_bytes([7; 16]).unwrap();
        let record = Record::new(id, "Isolate", Status::TimeOut, Timestamp::UNIX_EPOCH);
        let stored = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&stored).unwrap(), record);
    }
}
