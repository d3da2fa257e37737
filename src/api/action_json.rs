//! Parses machine actions from JSON as tolerantly as the service writes them.
//!
//! Only the id is required; any other field may be absent, null, of another type or an unknown word. Lists are parsed
//! record by record, and only requested records are kept, so that a page of 64 MiB is never in memory as a tree.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer as _};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use crate::model::{ActionId, ActionStatus, ActionType, MachineAction, ReadPage, Redactor};

/// The longest field text that is kept, in characters.
const MAX_FIELD: usize = 1000;

/// Initial capacity: about the number of fields of a record.
const FIELDS: usize = 24;

/// Parses a record without the redactor's secrets; `None` if `json` has no valid action id.
pub(super) fn record(json: &RawValue, redactor: &Redactor) -> Option<MachineAction> {
    let value = Object::parse(json)?;
    let id = ActionId::parse(&word(value.get("id")?)?).ok()?;
    let text = |name| text(&value, name, redactor);
    let time = |name| time(&value, name);
    Some(MachineAction {
        status: text("status").map(|word| ActionStatus::parse(word.trim())),
        action_type: text("type").map(|word| ActionType::parse(&word)),
        requestor: text("requestor"),
        requestor_comment: text("requestorComment"),
        request_source: text("requestSource"),
        action_scope: text("scope"),
        machine_id: text("machineId"),
        computer_dns_name: text("computerDnsName"),
        created_at: time("creationDateTimeUtc"),
        updated_at: time("lastUpdateDateTimeUtc").or_else(|| time("lastUpdateTimeUtc")),
        cancellation_requestor: text("cancellationRequestor"),
        cancellation_comment: text("cancellationComment"),
        cancelled_at: time("cancellationDateTimeUtc"),
        command_completed: has_completed_command(&value),
        ..MachineAction::bare(id)
    })
}

/// Reads the actions of saved answers, or of JSON Lines with the service's names. Leaves out values without an action.
pub fn saved_actions(json: &str) -> Vec<MachineAction> {
    let values = Deserializer::from_str(json).into_iter::<&RawValue>();
    let values = values.map_while(Result::ok);
    let redactor = Redactor::default();
    let read = |value: &RawValue| match page(value.get(), Keep::First(usize::MAX), &redactor) {
        Some(page) => page.records,
        None => record(value, &redactor).into_iter().collect(),
    };
    values.flat_map(read).collect()
}

/// Which records of a list to keep.
#[derive(Clone, Copy)]
pub(super) enum Keep<'ids> {
    Ids(&'ids [ActionId]),
    /// At most this many.
    First(usize),
}

impl Keep<'_> {
    fn wants(self, id: ActionId, kept: usize) -> bool {
        match self {
            Self::Ids(ids) => ids.contains(&id),
            Self::First(most) => kept < most,
        }
    }
}

/// The envelope of a list response.
#[derive(Deserialize)]
struct Envelope<'json> {
    #[serde(borrow)]
    value: &'json RawValue,
    #[serde(rename = "@odata.nextLink")]
    next: Option<IgnoredAny>,
}

/// Parses a list response; `None` if `json` is none. Elements without an action id are skipped.
pub(super) fn page(json: &str, keep: Keep<'_>, redactor: &Redactor) -> Option<ReadPage> {
    let envelope: Envelope<'_> = serde_json::from_str(json).ok()?;
    let mut list = Deserializer::from_str(envelope.value.get());
    let mut page = list.deserialize_seq(Elements { keep, redactor }).ok()?;
    page.is_whole &= envelope.next.is_none();
    Some(page)
}

/// Returns a field as text, including numbers and booleans; `None` if it is blank.
fn text(value: &Object<'_>, name: &str, redactor: &Redactor) -> Option<String> {
    let json = value.get(name)?;
    let text = match json.get().as_bytes().first()? {
        b'"' => word(json)?,
        b'n' | b'[' | b'{' => return None,
        _ => Cow::Borrowed(json.get()),
    };
    let kept: String = redactor.redact(&text).chars().take(MAX_FIELD).collect();
    (!kept.trim().is_empty()).then_some(kept)
}

/// Returns a field as time; without an offset it is UTC, as the field names say.
fn time(value: &Object<'_>, name: &str) -> Option<Timestamp> {
    let text = word(value.get(name)?)?;
    let text = text.trim();
    let time = text.parse::<Timestamp>().or_else(|_| {
        let civil: DateTime = text.parse()?;
        Ok::<_, jiff::Error>(civil.to_zoned(TimeZone::UTC)?.timestamp())
    });
    // The service's platform writes "no time" as the year 1.
    time.ok().filter(|time| *time > Timestamp::UNIX_EPOCH)
}

fn has_completed_command(value: &Object<'_>) -> bool {
    let commands = value
        .get("commands")
        .and_then(|json| serde_json::from_str::<Vec<&RawValue>>(json.get()).ok());
    commands.unwrap_or_default().into_iter().any(|command| {
        Object::parse(command)
            .and_then(|command| word(command.get("commandStatus")?))
            .is_some_and(|status| status.eq_ignore_ascii_case("Completed"))
    })
}

/// Returns `None` if `json` is no string.
fn word(json: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Word<'_>>(json.get())
        .ok()
        .map(|word| word.0)
}

/// A string, borrowed unless it contains escapes.
#[derive(Deserialize)]
struct Word<'json>(#[serde(borrow)] Cow<'json, str>);

/// A JSON object with unparsed fields, in their order.
struct Object<'json>(Vec<(Cow<'json, str>, &'json RawValue)>);

impl<'json> Object<'json> {
    fn parse(json: &'json RawValue) -> Option<Self> {
        let mut json = Deserializer::from_str(json.get());
        json.deserialize_map(ObjectVisitor).ok()
    }

    /// Returns a field, but not one that occurs with different values: parsers differ in which one they use.
    fn get(&self, name: &str) -> Option<&'json RawValue> {
        let mut found = self.0.iter().filter(|(key, _)| key == name);
        let (_, json) = found.next()?;
        found
            .all(|(_, other)| other.get() == json.get())
            .then_some(*json)
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

struct Elements<'list> {
    keep: Keep<'list>,
    redactor: &'list Redactor,
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ReadPage;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of machine actions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<ReadPage, A::Error> {
        let mut page = ReadPage {
            is_whole: true,
            ..ReadPage::default()
        };
        let mut places: HashMap<ActionId, usize> = HashMap::new();
        while let Some(element) = elements.next_element::<&RawValue>()? {
            page.listed += 1;
            let Some(record) = record(element, self.redactor) else {
                // It may be one of the requested records.
                page.is_whole &= matches!(self.keep, Keep::First(_));
                continue;
            };
            match places.entry(record.id) {
                Entry::Occupied(place) => {
                    let known = &mut page.records[*place.get()];
                    if *known != record {
                        // Either may be wrong, so neither is believed.
                        *known = MachineAction::bare(record.id);
                    }
                }
                Entry::Vacant(place) if self.keep.wants(record.id, page.records.len()) => {
                    place.insert(page.records.len());
                    page.records.push(record);
                }
                Entry::Vacant(_) => {}
            }
        }
        Ok(page)
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
        record(&to_raw_value(&fields).unwrap(), &Redactor::default()).unwrap()
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
    fn a_field_that_is_there_twice_counts_only_where_both_agree() {
        let twice = |one: &str, other: &str| {
            let json = format!(r#"{{"id":"{ID}","type":{one},"status":"Pending","type":{other}}}"#);
            let json: &RawValue = serde_json::from_str(&json).unwrap();
            record(json, &Redactor::default()).unwrap().action_type
        };
        assert_eq!(twice(r#""Unisolate""#, r#""Isolate""#), None);
        assert_eq!(twice(r#""Isolate""#, "null"), None);
        assert_eq!(
            twice(r#""Isolate""#, r#""Isolate""#),
            Some(ActionType::Isolate)
        );
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
            "value": [null, 7, "x", {"id": 7}, {"id": "nil"}, {"status": "Pending"}, {"id": ID, "status": "Pending"}]
        });
        let read = all(&body.to_string()).unwrap();
        assert_eq!(
            (read.records.len(), read.listed, read.is_whole),
            (1, 7, true)
        );
        let wanted = [read.records[0].id];
        let read_by_id = kept(&body.to_string(), Keep::Ids(&wanted));
        assert!(!read_by_id.is_whole);
        assert_eq!(read.records[0].status, Some(ActionStatus::Pending));
    }

    fn kept(json: &str, keep: Keep<'_>) -> ReadPage {
        page(json, keep, &Redactor::default()).unwrap()
    }

    fn all(json: &str) -> Option<ReadPage> {
        page(json, Keep::First(10_000), &Redactor::default())
    }

    #[test]
    fn a_page_with_a_link_to_another_is_not_whole_and_one_without_is() {
        for (link, is_whole) in [
            ("", true),
            (r#","@odata.nextLink":null"#, true),
            (r#","@odata.nextLink":"https://elsewhere.example/""#, false),
        ] {
            let body = format!(r#"{{"value":[{{"id":"{ID}"}}]{link}}}"#);
            assert_eq!(all(&body).unwrap().is_whole, is_whole, "{body}");
        }
    }

    #[test]
    fn a_page_keeps_what_is_wanted_and_each_action_once() {
        let other = "00000000-0000-4000-8000-000000000001";
        let many: Vec<_> = std::iter::repeat_n(json!({"id": ID}), 1000)
            .chain([json!({"id": other})])
            .collect();
        let body = json!({ "value": many }).to_string();
        let read = all(&body).unwrap();
        assert_eq!((read.records.len(), read.listed), (2, 1001));
        let wanted = [ActionId::parse(other).unwrap()];
        let read = kept(&body, Keep::Ids(&wanted));
        assert_eq!(read.records, [MachineAction::bare(wanted[0])]);
        assert_eq!(kept(&body, Keep::First(1)).records.len(), 1);
    }

    #[test]
    fn of_two_records_that_contradict_each_other_neither_is_believed() {
        let first = json!({"id": ID, "type": "Isolate", "status": "Pending", "requestor": "a"});
        for (field, word) in [
            ("type", "Unisolate"),
            ("status", "Succeeded"),
            ("requestor", "b"),
        ] {
            let mut second = first.clone();
            second[field] = json!(word);
            let list = json!({ "value": [first, second, first] });
            let records = all(&list.to_string()).unwrap().records;
            let id = ActionId::parse(ID).unwrap();
            assert_eq!(records, [MachineAction::bare(id)], "{field}");
        }
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
            assert!(all(body).is_none(), "{body}");
        }
        assert_eq!(all("{\"value\":[]}"), Some(ReadPage::from_iter([])));
    }
}
