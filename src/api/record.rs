//! Reads machine actions out of JSON, as loosely as the service writes them.
//!
//! Only an id is a must: any other field may be absent, null, of another type or hold a word we do not know, and the
//! record is still a record. A list is walked record by record, so that a page of 64 MiB never stands in memory as a
//! tree; nor does a record, whose tree would cost more than all else about an answer.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::model::{ActionId, ActionStatus, ActionType, MachineAction};

/// The longest text kept of one field, in characters.
const MAX_FIELD: usize = 1000;

/// About as many fields as a record has.
const FIELDS: usize = 24;

/// Reads one record; `None` where `json` names no action.
pub(super) fn record(json: &RawValue) -> Option<MachineAction> {
    let value: Object<'_> = serde_json::from_str(json.get()).ok()?;
    let id = ActionId::parse(&word(value.get("id")?)?).ok()?;
    Some(MachineAction {
        status: text(&value, "status").map(|word| ActionStatus::parse(word.trim())),
        action_type: text(&value, "type").map(|word| ActionType::parse(&word)),
        requestor: text(&value, "requestor"),
        requestor_comment: text(&value, "requestorComment"),
        request_source: text(&value, "requestSource"),
        action_scope: text(&value, "scope"),
        machine_id: text(&value, "machineId"),
        computer_dns_name: text(&value, "computerDnsName"),
        created_at: time(&value, "creationDateTimeUtc"),
        updated_at: time(&value, "lastUpdateDateTimeUtc")
            .or_else(|| time(&value, "lastUpdateTimeUtc")),
        cancellation_requestor: text(&value, "cancellationRequestor"),
        cancellation_comment: text(&value, "cancellationComment"),
        cancelled_at: time(&value, "cancellationDateTimeUtc"),
        command_completed: has_completed_command(&value),
        ..MachineAction::bare(id)
    })
}

/// Reads the records of a list answer; `None` where `json` is no such answer. Elements that name no action are left
/// out.
pub(super) fn page(json: &str) -> Option<Vec<MachineAction>> {
    serde_json::from_str::<Page>(json).ok().map(|page| page.0)
}

/// Returns a field's text; a number or a truth value counts as its text, an empty one as absent.
fn text(value: &Object<'_>, name: &str) -> Option<String> {
    let json = value.get(name)?;
    let long = match json.get().as_bytes().first()? {
        b'"' => word(json)?,
        b'n' | b'[' | b'{' => return None,
        _ => Cow::Borrowed(json.get()),
    };
    // No text has more characters than bytes.
    let cut = if long.len() > MAX_FIELD {
        long.char_indices().nth(MAX_FIELD)
    } else {
        None
    };
    let short = match cut {
        Some((end, _)) => long[..end].to_owned(),
        None => long.into_owned(),
    };
    (!short.trim().is_empty()).then_some(short)
}

/// Returns a field's time. Without an offset it is UTC, as the field names say.
fn time(value: &Object<'_>, name: &str) -> Option<Timestamp> {
    let text = word(value.get(name)?)?;
    let text = text.trim();
    let time = text.parse::<Timestamp>().ok().or_else(|| {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        civil
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp())
    })?;
    // The service's platform writes "no time" as the year 1.
    (time > Timestamp::UNIX_EPOCH).then_some(time)
}

fn has_completed_command(value: &Object<'_>) -> bool {
    let commands = value
        .get("commands")
        .and_then(|json| serde_json::from_str::<Vec<&RawValue>>(json.get()).ok());
    commands.unwrap_or_default().into_iter().any(|command| {
        serde_json::from_str::<Object<'_>>(command.get())
            .ok()
            .and_then(|command| word(command.get("commandStatus")?))
            .is_some_and(|status| status.eq_ignore_ascii_case("Completed"))
    })
}

/// Returns the text of a JSON string; `None` for anything else.
fn word(json: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Word<'_>>(json.get())
        .ok()
        .map(|word| word.0)
}

/// A string, borrowed where nothing in it is escaped.
#[derive(Deserialize)]
struct Word<'json>(#[serde(borrow)] Cow<'json, str>);

/// A JSON object with its fields unread, in their order.
struct Object<'json>(Vec<(Cow<'json, str>, &'json RawValue)>);

impl<'json> Object<'json> {
    /// Returns a field; of several with one name it is the last.
    fn get(&self, name: &str) -> Option<&'json RawValue> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, json)| *json)
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut fields = Vec::with_capacity(FIELDS);
        while let Some((Word(key), json)) = map.next_entry()? {
            fields.push((key, json));
        }
        Ok(Object(fields))
    }
}

/// The envelope of a list answer.
struct Page(Vec<MachineAction>);

impl<'de> Deserialize<'de> for Page {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PageVisitor)
    }
}

struct PageVisitor;

impl<'de> Visitor<'de> for PageVisitor {
    type Value = Page;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a list named value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Page, A::Error> {
        let mut records = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == "value" {
                records = Some(map.next_value::<Records>()?.0);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        records
            .map(Page)
            .ok_or_else(|| A::Error::missing_field("value"))
    }
}

/// The records of a list, without the elements that are none.
struct Records(Vec<MachineAction>);

impl<'de> Deserialize<'de> for Records {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(RecordsVisitor)
    }
}

struct RecordsVisitor;

impl<'de> Visitor<'de> for RecordsVisitor {
    type Value = Records;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of machine actions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Records, A::Error> {
        let mut records = Vec::new();
        while let Some(element) = elements.next_element::<&RawValue>()? {
            records.extend(record(element));
        }
        Ok(Records(records))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";

    fn read(mut fields: Value) -> MachineAction {
        fields["id"] = json!(ID);
        record(&to_raw_value(&fields).unwrap()).unwrap()
    }

    #[test]
    fn a_whole_record_is_read_field_by_field() {
        let action = read(json!({
            "type": "Isolate", "title": null, "requestor": "soc-bot", "requestorComment": "wave 2",
            "status": "Canceled", "machineId": "0123456789abcdef0123456789abcdef01234567",
            "computerDnsName": "ws-042.corp.example", "creationDateTimeUtc": "2026-02-03T04:05:06.1234567Z",
            "lastUpdateTimeUtc": "2026-02-03T04:09:10.123456Z", "cancellationRequestor": "soc-bot",
            "cancellationComment": "CHG-4711", "cancellationDateTimeUtc": "2026-02-03T04:09:09.5Z",
            "errorHResult": 0, "scope": "Full", "externalId": null, "requestSource": "PublicApi",
            "commands": [], "troubleshootInfo": null, "newField": {"a": [1]}
        }));
        assert_eq!(action.status, Some(ActionStatus::Cancelled));
        assert_eq!(action.action_type, Some(ActionType::Isolate));
        assert_eq!(action.requestor.as_deref(), Some("soc-bot"));
        assert_eq!(action.requestor_comment.as_deref(), Some("wave 2"));
        assert_eq!(action.request_source.as_deref(), Some("PublicApi"));
        assert_eq!(action.action_scope.as_deref(), Some("Full"));
        assert_eq!(
            action.computer_dns_name.as_deref(),
            Some("ws-042.corp.example")
        );
        assert_eq!(action.machine_id.map(|id| id.len()), Some(40));
        let time = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        assert_eq!(action.created_at, time("2026-02-03T04:05:06.1234567Z"));
        assert_eq!(action.updated_at, time("2026-02-03T04:09:10.123456Z"));
        assert_eq!(action.cancellation_requestor.as_deref(), Some("soc-bot"));
        assert_eq!(action.cancellation_comment.as_deref(), Some("CHG-4711"));
        assert_eq!(action.cancelled_at, time("2026-02-03T04:09:09.5Z"));
        assert!(!action.command_completed);
    }

    #[test]
    fn wrong_types_nulls_and_unknown_words_do_not_fail_a_record() {
        let action = read(json!({
            "status": "Queued", "type": 7, "requestor": null, "requestorComment": true, "scope": ["x"],
            "machineId": {}, "computerDnsName": " ", "creationDateTimeUtc": 12,
            "lastUpdateDateTimeUtc": "yesterday", "cancellationDateTimeUtc": "0001-01-01T00:00:00Z",
            "commands": "none"
        }));
        assert_eq!(
            action.status,
            Some(ActionStatus::Other("Queued".to_owned()))
        );
        assert_eq!(action.action_type, Some(ActionType::Other("7".to_owned())));
        assert_eq!(action.requestor_comment.as_deref(), Some("true"));
        let expected = MachineAction {
            status: action.status.clone(),
            action_type: action.action_type.clone(),
            requestor_comment: action.requestor_comment.clone(),
            ..MachineAction::bare(action.id)
        };
        assert_eq!(action, expected);
        assert_eq!(
            read(json!({})),
            MachineAction::bare(ActionId::parse(ID).unwrap())
        );
    }

    #[test]
    fn a_time_without_an_offset_is_utc() {
        let action = read(json!({"creationDateTimeUtc": "2026-02-03T04:05:06.1234567"}));
        assert_eq!(
            action.created_at,
            Some("2026-02-03T04:05:06.1234567Z".parse().unwrap())
        );
    }

    #[test]
    fn a_completed_command_is_seen_among_names_and_objects() {
        let done =
            json!(["GetFile", {"index": 0}, {"commandStatus": "completed", "endTime": null}]);
        assert!(read(json!({"commands": done})).command_completed);
        let open = json!(["Completed", {"commandStatus": "Executing"}, {"commandStatus": 1}, null]);
        assert!(!read(json!({"commands": open})).command_completed);
    }

    #[test]
    fn long_fields_are_cut_between_characters() {
        let action = read(json!({"requestor": "ä".repeat(5000)}));
        assert_eq!(
            action.requestor.map(|text| text.chars().count()),
            Some(MAX_FIELD)
        );
    }

    #[test]
    fn a_page_leaves_out_what_names_no_action() {
        let body = json!({
            "@odata.context": {"deep": [[[]]]},
            "value": [null, 7, "x", {"id": 7}, {"id": "nil"}, {"status": "Pending"}, {"id": ID, "status": "Pending"}],
            "@odata.nextLink": "https://elsewhere.example/"
        });
        let records = page(&body.to_string()).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].status, Some(ActionStatus::Pending));
    }

    #[test]
    fn what_is_no_list_answer_is_none() {
        for body in [
            "",
            "[]",
            "{}",
            "{\"value\":null}",
            "{\"value\":{}}",
            "{\"value\":[]",
            "{\"value\":[]} x",
        ] {
            assert!(page(body).is_none(), "{body}");
        }
        assert_eq!(page("{\"value\":[]}"), Some(Vec::new()));
    }
}
