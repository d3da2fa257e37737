//! One JSON value as a row: a string is an id, an object a record whose keys are column names.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::columns::{Columns, RowReading};
use super::{cells, lines};

/// The word on a row whose type may be a guarded one that is written in a way we do not read.
const TYPE_IS_NO_TEXT: &str = "the type is no JSON string";

/// A value as far as a row needs it: numbers, lists and objects inside a record are no text.
enum JsonValue {
    Text(String),
    Record(Vec<(String, Member)>),
    Null,
    Other,
}

/// What stands under a key of a record.
enum Member {
    Text(String),
    Null,
    Other,
}

impl Member {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Other => None,
        }
    }
}

impl From<JsonValue> for Member {
    fn from(value: JsonValue) -> Self {
        match value {
            JsonValue::Text(text) => Self::Text(text),
            JsonValue::Null => Self::Null,
            JsonValue::Record(_) | JsonValue::Other => Self::Other,
        }
    }
}

impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = JsonValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<JsonValue, E> {
        Ok(JsonValue::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<JsonValue, E> {
        Ok(JsonValue::Text(text))
    }

    fn visit_bool<E>(self, _: bool) -> Result<JsonValue, E> {
        Ok(JsonValue::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<JsonValue, E> {
        Ok(JsonValue::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<JsonValue, E> {
        Ok(JsonValue::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<JsonValue, E> {
        Ok(JsonValue::Other)
    }

    fn visit_unit<E>(self) -> Result<JsonValue, E> {
        Ok(JsonValue::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<JsonValue, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(JsonValue::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonValue, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key()? {
            members.push((key, map.next_value::<JsonValue>()?.into()));
        }
        Ok(JsonValue::Record(members))
    }
}

/// Reads values as rows, and remembers what the keys of the last record meant: in most inputs all are alike.
pub(super) struct JsonRows {
    id_column: Option<String>,
    known: Option<(Vec<String>, Option<Columns>)>,
}

impl JsonRows {
    /// Reads ids from the key the user named, or from the keys that mean one.
    pub(super) fn new(id_column: Option<String>) -> Self {
        Self {
            id_column,
            known: None,
        }
    }

    /// Returns the keys of the last record, where none of them may hold the id.
    pub(super) fn useless_keys(&self) -> Option<&[String]> {
        match &self.known {
            Some((keys, None)) => Some(keys),
            _ => None,
        }
    }

    /// Reads the bytes of one value.
    pub(super) fn row(&mut self, bytes: &[u8]) -> RowReading {
        let text = match lines::checked(bytes) {
            Ok(text) => text,
            Err(bad) => return *bad,
        };
        match serde_json::from_str(text) {
            Ok(JsonValue::Text(id)) => Columns::only_id(0).row(|_| Some(&id)),
            Ok(JsonValue::Record(members)) => self.record(&members),
            Ok(JsonValue::Null | JsonValue::Other) => {
                lines::bad_row("neither a JSON object nor a string", text)
            }
            Err(error) => lines::bad_row(format!("not valid JSON: {error}"), text),
        }
    }

    fn record(&mut self, members: &[(String, Member)]) -> RowReading {
        let alike = self.known.as_ref().is_some_and(|(keys, _)| {
            keys.len() == members.len()
                && keys
                    .iter()
                    .zip(members)
                    .all(|(known, (key, _))| known == key)
        });
        if !alike {
            let keys: Vec<_> = members.iter().map(|(key, _)| key.clone()).collect();
            let columns = Columns::read(&keys, self.id_column.as_deref());
            self.known = Some((keys, columns));
        }
        if let Some((_, Some(columns))) = &self.known {
            let mut row = columns.row(|at| members.get(at).and_then(|(_, member)| member.text()));
            let is_no_text = |at: &usize| matches!(members.get(*at), Some((_, Member::Other)));
            if row.id.is_ok()
                && row.skipped.is_none()
                && columns.action_types().iter().any(is_no_text)
            {
                row.id = Err(TYPE_IS_NO_TEXT.to_owned());
            }
            return row;
        }
        let keys: Vec<_> = members.iter().map(|(key, _)| key).collect();
        lines::bad_row(
            format!("no key holds an action id; keys: {}", cells::list(&keys)),
            "",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";

    fn read(text: &str) -> RowReading {
        JsonRows::new(None).row(text.as_bytes())
    }

    #[test]
    fn strings_and_objects_are_rows() {
        assert_eq!(read(&format!("\"{ID}\"")).id.unwrap().to_string(), ID);
        let row = read(&format!(
            r#"{{"@odata.etag":1,"Id":"{ID}","type":"Isolate","status":"Pending","commands":[{{"id":"x"}}],
               "machineId":null,"comment":"a\n\"b\"","requestor":7}}"#
        ));
        assert_eq!(row.id.unwrap().to_string(), ID);
        assert_eq!(row.context.comment.unwrap(), "a\n\"b\"");
        assert_eq!(row.context.action_type.unwrap().as_str(), "Isolate");
        assert_eq!(
            (row.context.machine_id, row.context.requestor),
            (None, None)
        );
    }

    #[test]
    fn whatever_else_is_a_bad_row_that_says_what_it_is() {
        for (text, reason) in [
            ("7", "neither a JSON object nor a string"),
            ("[]", "neither a JSON object nor a string"),
            ("{\"a\":1}", "no key holds an action id; keys: `a`"),
            ("{\"id\":7}", "the id is empty"),
            ("{\"id\":\"x\"}", "the id is not a GUID"),
        ] {
            assert_eq!(read(text).id.unwrap_err(), reason, "{text}");
        }
        for text in ["", "{", "nul", "{\"id\":}", "\"a\" x", "\"\u{1}\""] {
            let reason = read(text).id.unwrap_err();
            assert!(reason.starts_with("not valid JSON: "), "{text}: {reason}");
        }
        let deep = "[".repeat(100_000);
        assert!(read(&deep).id.is_err());
    }

    #[test]
    fn keys_are_looked_at_again_when_they_change() {
        let mut rows = JsonRows::new(None);
        let other = ID.replace('7', "8");
        for text in [
            format!(r#"{{"id":"{ID}","requestGuid":"{other}"}}"#),
            format!(r#"{{"requestGuid":"{other}","id":"{ID}"}}"#),
            format!(r#"{{"machineId":"{ID}","actionId":"{other}"}}"#),
        ] {
            assert_eq!(rows.row(text.as_bytes()).id.unwrap().to_string(), other);
        }
    }
}
