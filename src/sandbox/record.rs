//! One machine action as the service keeps it. How it is written down is another matter (`wire`).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::ActionId;

use super::field::{Field, Value};

/// The service's unit of time.
const TICK: SignedDuration = SignedDuration::from_nanos(100);

/// The error numbers that the service was seen to write.
pub(super) const CANCELLED: i64 = -2_147_467_260;
pub(super) const TIMED_OUT: i64 = -2_145_844_840;
pub(super) const FAILED: i64 = -2_147_467_259;

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
            if let Some(cancellation) = change.cancellation {
                self.cancel(cancellation);
            }
        }
    }

    /// Turns the record Cancelled, as the service writes it: its last update is a tick after the cancel.
    pub(super) fn cancel(&mut self, by: Cancellation) {
        self.status = Status::Cancelled;
        self.error_hresult = CANCELLED;
        self.updated_at = by.at.checked_add(TICK).unwrap_or(by.at);
        self.cancellation = Some(by);
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
}

/// An action id as its text, for records that are stored.
pub(super) mod id_text {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::model::ActionId;

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
    fn a_record_survives_being_stored() {
        let id = ActionId::from_bytes([7; 16]).unwrap();
        let record = Record::new(id, "Isolate", Status::TimeOut, Timestamp::UNIX_EPOCH);
        let stored = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&stored).unwrap(), record);
    }
}
