//! Parses the query of a list call, and applies filter and paging.
//!
//! Of OData's `$filter` it supports what the client sends: `eq` and `in (…)` on five text fields, `ge` and `le` on the
//! creation time, `and`, `or` and parentheses. Text is in single quotes, with quotes doubled; times are bare. Operators
//! are case-insensitive, as in the real service, but field names are not.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;
use url::form_urlencoded;

use crate::model::ActionId;

use super::actions::MockAction;

/// The largest `$top` (MDE `get-machineactions-collection.md`).
const MAX_TOP: usize = 10_000;

/// The deepest nesting of parentheses: enough for any sensible filter, without exhausting the stack.
const MAX_DEPTH: usize = 40;

const CREATED: &str = "creationDateTimeUtc";

/// The only order: the newest first.
const ORDER: &str = "creationDateTimeUtc desc";

/// The options of a list call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ListOptions {
    filter: Option<ListFilter>,
    top: Option<usize>,
    skip: usize,
    /// The original options, for the URL of the next page.
    pairs: Vec<(String, String)>,
}

pub(super) struct ListPage {
    pub(super) records: Vec<Arc<MockAction>>,
    /// The query of the next page.
    pub(super) next: Option<String>,
}

impl ListOptions {
    pub(super) fn parse(raw: &str) -> Result<Self, String> {
        let mut query = Self::default();
        for (key, value) in form_urlencoded::parse(raw.as_bytes()) {
            if !key.starts_with('$') {
                continue;
            }
            if query.pairs.iter().any(|(known, _)| *known == key) {
                return Err(format!(
                    "Query option '{key}' was specified more than once."
                ));
            }
            let number = || {
                let invalid = |_| format!("Invalid value '{value}' for {key} query option found.");
                value.parse::<usize>().map_err(invalid)
            };
            match &*key {
                "$filter" => query.filter = Some(ListFilter::parse(&value)?),
                "$top" => query.top = Some(number()?),
                "$skip" => query.skip = number()?,
                "$orderby" if value == ORDER => {}
                "$orderby" => return Err(format!("The sandbox can't order by '{value}'.")),
                _ => return Err(format!("The query parameter '{key}' is not supported.")),
            }
            query.pairs.push((key.into_owned(), value.into_owned()));
        }
        if let Some(top) = query.top.filter(|top| *top > MAX_TOP) {
            return Err(format!(
                "The limit of '{MAX_TOP}' for Top query has been exceeded. The value from the incoming request is \
                 '{top}'."
            ));
        }
        Ok(query)
    }

    /// Returns the ids that the filter is limited to, if it is; values that are not ids are dropped.
    pub(super) fn ids(&self) -> Option<Vec<ActionId>> {
        let texts = self.filter.as_ref()?.ids()?.iter();
        let mut ids: Vec<_> = texts
            .filter_map(|text| ActionId::parse(text).ok())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        Some(ids)
    }

    pub(super) fn passes(&self, record: &MockAction) -> bool {
        let filter = self.filter.as_ref();
        filter.is_none_or(|filter| filter.passes(record))
    }

    /// Sorts the records and returns the requested page, with at most `most` records.
    pub(super) fn page(&self, mut found: Vec<Arc<MockAction>>, most: usize) -> ListPage {
        // The id makes the order of equal times stable.
        found.sort_unstable_by_key(|record| (Reverse(record.created_at), record.id));
        let total = found.len();
        let size = self.top.map_or(most, |top| top.min(most));
        let records: Vec<_> = found.into_iter().skip(self.skip).take(size).collect();
        let reached = self.skip.saturating_add(records.len());
        // The service sends no link if `$top` is given, even if there are more records.
        let next = (self.top.is_none() && reached < total).then(|| {
            let pairs = self.pairs.iter().filter(|(key, _)| key != "$skip");
            form_urlencoded::Serializer::new(String::new())
                .extend_pairs(pairs)
                .append_pair("$skip", &reached.to_string())
                .finish()
        });
        ListPage { records, next }
    }
}

/// The text fields of a filter.
const FIELDS: [&str; 5] = ["id", "status", "machineId", "type", "requestor"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum ListFilter {
    // Lists instead of pairs, so that a chain of a thousand terms is not nested a thousand levels deep.
    Any(Vec<ListFilter>),
    All(Vec<ListFilter>),
    /// One of [`FIELDS`] with one of these texts.
    OneOf(&'static str, Vec<String>),
    CreatedSince(Timestamp),
    CreatedUntil(Timestamp),
}

impl ListFilter {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parser = FilterParser { rest: text };
        let filter = parser.any(0)?;
        match parser.token() {
            "" => Ok(filter),
            token => Err(format!("Syntax error: '{token}' was not expected.")),
        }
    }

    fn passes(&self, record: &MockAction) -> bool {
        match self {
            Self::Any(terms) => terms.iter().any(|term| term.passes(record)),
            Self::All(terms) => terms.iter().all(|term| term.passes(record)),
            Self::CreatedSince(since) => record.created_at >= *since,
            Self::CreatedUntil(until) => record.created_at <= *until,
            Self::OneOf(field, values) => {
                let id = record.id.to_string();
                let text = match *field {
                    "id" => Some(&*id),
                    "status" => Some(record.status.as_str()),
                    "machineId" => record.machine_id.as_deref(),
                    "type" => Some(&*record.action_type),
                    _ => Some(&*record.requestor),
                };
                text.is_some_and(|text| values.iter().any(|value| value == text))
            }
        }
    }

    /// Returns the ids that the filter is limited to, if it is.
    fn ids(&self) -> Option<&[String]> {
        match self {
            Self::Any(terms) => match &terms[..] {
                [only] => only.ids(),
                _ => None,
            },
            Self::All(terms) => terms.iter().find_map(Self::ids),
            Self::OneOf("id", ids) => Some(ids),
            _ => None,
        }
    }
}

/// A recursive descent parser.
struct FilterParser<'text> {
    rest: &'text str,
}

impl<'text> FilterParser<'text> {
    /// Takes the next mark or word; empty at the end.
    fn token(&mut self) -> &'text str {
        let text = self.rest.trim_start();
        let is_mark = |letter: char| "(),'".contains(letter);
        let end = if text.starts_with(is_mark) {
            1
        } else {
            let end = text.find(|letter: char| letter.is_whitespace() || is_mark(letter));
            end.unwrap_or(text.len())
        };
        let (token, rest) = text.split_at(end);
        self.rest = rest;
        token
    }

    /// Takes the next token if it is `wanted`.
    fn take(&mut self, wanted: &str) -> bool {
        let before = self.rest;
        let found = self.token().eq_ignore_ascii_case(wanted);
        if !found {
            self.rest = before;
        }
        found
    }

    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        let found = self.take(wanted).then_some(());
        found.ok_or_else(|| format!("'{wanted}' was expected."))
    }

    /// Parses one or more parts with `between` in between.
    fn chain<T>(
        &mut self,
        between: &str,
        part: impl Fn(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let mut parts = vec![part(self)?];
        while self.take(between) {
            parts.push(part(self)?);
        }
        Ok(parts)
    }

    fn any(&mut self, depth: usize) -> Result<ListFilter, String> {
        let all = |parser: &mut Self| {
            let terms = parser.chain("and", |parser| parser.term(depth))?;
            Ok(ListFilter::All(terms))
        };
        Ok(ListFilter::Any(self.chain("or", all)?))
    }

    fn term(&mut self, depth: usize) -> Result<ListFilter, String> {
        if depth > MAX_DEPTH {
            return Err("The filter nests too deep.".to_owned());
        }
        if self.take("(") {
            let inner = self.any(depth + 1)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let name = self.token();
        if name == CREATED {
            return self.created();
        }
        let Some(field) = FIELDS.into_iter().find(|known| *known == name) else {
            return Err(format!(
                "Could not find a property named '{name}' on type 'MachineAction'."
            ));
        };
        let mut values = if self.take("eq") {
            vec![self.text()?]
        } else if self.take("in") {
            self.expect("(")?;
            let values = self.chain(",", Self::text)?;
            self.expect(")")?;
            values
        } else {
            return Err(format!("The sandbox knows 'eq' and 'in' for '{name}'."));
        };
        if field == "id" {
            // GUIDs are case-insensitive; records have lower case.
            for id in &mut values {
                id.make_ascii_lowercase();
            }
        }
        Ok(ListFilter::OneOf(field, values))
    }

    fn created(&mut self) -> Result<ListFilter, String> {
        let bound = if self.take("ge") {
            ListFilter::CreatedSince
        } else if self.take("le") {
            ListFilter::CreatedUntil
        } else {
            return Err(format!("The sandbox knows 'ge' and 'le' for '{CREATED}'."));
        };
        let time = self.token();
        let invalid = |_| format!("'{time}' is not a date and time.");
        time.parse().map(bound).map_err(invalid)
    }

    fn text(&mut self) -> Result<String, String> {
        if !self.take("'") {
            return Err("A text in quotes was expected.".to_owned());
        }
        let mut text = String::new();
        loop {
            let Some((part, rest)) = self.rest.split_once('\'') else {
                return Err("There is an unterminated string literal.".to_owned());
            };
            text.push_str(part);
            self.rest = rest;
            // A doubled quote is part of the text.
            match rest.strip_prefix('\'') {
                Some(rest) => self.rest = rest,
                None => return Ok(text),
            }
            text.push('\'');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proptest_config::proptest_config;
    use crate::sandbox::actions::Status;
    use proptest::prelude::*;

    fn record(number: u8) -> MockAction {
        let id = ActionId::from_bytes([number; 16]).unwrap();
        let at = Timestamp::from_second(i64::from(number)).unwrap();
        let mut record = MockAction::new(id, "Isolate", Status::Pending, at);
        record.requestor = "o'neil@corp.example".to_owned();
        record
    }

    fn page(raw: &str, most: usize) -> (Vec<u8>, Option<String>) {
        let found = (1..=5).map(|number| Arc::new(record(number))).collect();
        let page = ListOptions::parse(raw).unwrap().page(found, most);
        let ids = page.records.iter().map(|record| record.id.as_bytes()[0]);
        (ids.collect(), page.next)
    }

    #[test]
    fn pages_are_cut_newest_first_and_link_to_the_next_without_top() {
        assert_eq!(page("", 10).0, [5, 4, 3, 2, 1]);
        assert_eq!(page("$top=2&$skip=1", 10).0, [4, 3]);
        assert!(page("$skip=9", 10).0.is_empty());
        assert_eq!(page("$top=2", 2).1, None);
        let (ids, next) = page("%24orderby=creationDateTimeUtc%20desc", 2);
        assert_eq!(ids, [5, 4]);
        let (ids, next) = page(&next.unwrap(), 2);
        assert_eq!(ids, [3, 2]);
        assert_eq!(page(&next.unwrap(), 2), (vec![1], None));
    }

    #[test]
    fn unknown_options_fields_and_sizes_are_refused() {
        for raw in [
            "$stop=5",
            "$top=10001",
            "$top=-1",
            "$top=1&$top=2",
            "$skip=x",
            "$orderby=title",
            "$orderby=creationDateTimeUtc",
            "$filter=title%20eq%20'x'",
        ] {
            assert!(ListOptions::parse(raw).is_err(), "{raw}");
        }
        assert!(ListOptions::parse("other=1&$top=10000").is_ok());
    }

    #[test]
    fn filters_pass_and_refuse_as_odata_says() {
        let record = record(7);
        for (text, expected) in [
            ("status eq 'Pending'", true),
            ("status eq 'pending'", false),
            ("requestor eq 'o''neil@corp.example'", true),
            ("machineId eq 'a'", false),
            (
                "status eq 'Pending' AND type in ('Unisolate','Isolate')",
                true,
            ),
            (
                "status eq 'Failed' or status eq 'X' and type eq 'Isolate'",
                false,
            ),
            (
                "(status eq 'Failed' or status eq 'Pending') and type eq 'Isolate'",
                true,
            ),
            ("creationDateTimeUtc ge 1970-01-01T00:00:07Z", true),
            ("creationDateTimeUtc ge 1970-01-01T00:00:07.1Z", false),
            ("creationDateTimeUtc le 1970-01-01T01:00:07+01:00", true),
            ("creationDateTimeUtc le 1970-01-01T00:00:06Z", false),
            ("id in ('07070707-0707-0707-0707-070707070707')", true),
        ] {
            let filter = ListFilter::parse(text).unwrap();
            assert_eq!(filter.passes(&record), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in [
            "",
            "status",
            "status eq",
            "status eq Pending",
            "status is 'Pending'",
            "Status eq 'Pending'",
            "title eq 'x'",
            "status eq 'Pending",
            "(status eq 'Pending'",
            "status eq 'Pending')",
            "status eq 'a' 'b'",
            "id in ()",
            "id in 'a'",
            "id in ('a',)",
            "creationDateTimeUtc ge '2026-02-03T04:05:06Z'",
            "creationDateTimeUtc ge 2026-02-31T04:05:06Z",
            "and status eq 'a'",
        ] {
            assert!(ListFilter::parse(text).is_err(), "{text}");
        }
        let deep = format!("{}status eq 'a'{}", "(".repeat(5000), ")".repeat(5000));
        assert!(ListFilter::parse(&deep).is_err());
        let long = vec!["status eq 'a'"; 20_000].join(" or ");
        assert!(!ListFilter::parse(&long).unwrap().passes(&record(1)));
    }

    #[test]
    fn a_filter_that_confines_itself_to_ids_names_them() {
        let ids = |text: &str| ListFilter::parse(text).unwrap().ids().map(<[_]>::to_vec);
        assert_eq!(ids("id in ('A','b')").unwrap(), ["a", "b"]);
        assert_eq!(ids("status eq 'x' and id eq 'a'").unwrap(), ["a"]);
        assert_eq!(ids("status eq 'x' or id eq 'a'"), None);
    }

    proptest! {
        #![proptest_config(proptest_config(256))]

        #[test]
        fn no_text_makes_the_readers_panic(text in ".{0,120}", words in proptest::collection::vec(
            prop_oneof![
                Just("id"), Just("status"), Just("creationDateTimeUtc"), Just("eq"), Just("in"), Just("("),
                Just(")"), Just(","), Just("'a'"), Just("'"), Just("and"), Just("or"), Just("ge"),
                Just("2026-02-03T04:05:06Z"),
            ],
            0..30,
        )) {
            drop(ListOptions::parse(&text));
            for text in [text, words.join(" ")] {
                if let Ok(filter) = ListFilter::parse(&text) {
                    filter.passes(&record(1));
                    filter.ids();
                }
            }
        }
    }
}
