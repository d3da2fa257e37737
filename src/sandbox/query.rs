//! Parses the query of a list call, and applies filter, order and paging.
//!
//! Of OData's `$filter` it supports what the client sends: `eq` and `in (…)` on five text fields, `ge` and `le` on the
//! creation time, `and`, `or` and parentheses. Text is in single quotes, with quotes doubled; times are bare. Operators
//! are case-insensitive, as in the real service, but field names are not.

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

/// The options of a list call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ListOptions {
    filter: Option<ListFilter>,
    top: Option<usize>,
    skip: usize,
    oldest_first: bool,
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
                "$orderby" => match value.split_whitespace().collect::<Vec<_>>()[..] {
                    [CREATED] | [CREATED, "asc"] => query.oldest_first = true,
                    [CREATED, "desc"] => query.oldest_first = false,
                    _ => return Err(format!("The sandbox can't order by '{value}'.")),
                },
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
        found.sort_unstable_by(|one, other| {
            let newest_first = other.created_at.cmp(&one.created_at);
            let order = if self.oldest_first {
                newest_first.reverse()
            } else {
                newest_first
            };
            // The id makes the order of equal times stable.
            order.then_with(|| one.id.cmp(&other.id))
        });
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FilterField {
    Id,
    Status,
    MachineId,
    Type,
    Requestor,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ListFilter {
    // Lists instead of pairs, so that a chain of a thousand terms is not nested a thousand levels deep.
    All(Vec<ListFilter>),
    Any(Vec<ListFilter>),
    OneOf(FilterField, Vec<String>),
    CreatedSince(Timestamp),
    CreatedUntil(Timestamp),
}

impl ListFilter {
    fn parse(text: &str) -> Result<Self, String> {
        let tokens = split(text)?;
        let mut parser = Parser { left: &tokens };
        let filter = parser.any(0)?;
        match parser.left.first() {
            None => Ok(filter),
            Some(token) => Err(format!("Syntax error: {token:?} was not expected.")),
        }
    }

    fn passes(&self, record: &MockAction) -> bool {
        match self {
            Self::All(terms) => terms.iter().all(|term| term.passes(record)),
            Self::Any(terms) => terms.iter().any(|term| term.passes(record)),
            Self::CreatedSince(since) => record.created_at >= *since,
            Self::CreatedUntil(until) => record.created_at <= *until,
            Self::OneOf(field, values) => {
                let id;
                let text = match field {
                    FilterField::Id => {
                        id = record.id.to_string();
                        Some(id.as_str())
                    }
                    FilterField::Status => Some(record.status.as_str()),
                    FilterField::MachineId => record.machine_id.as_deref(),
                    FilterField::Type => Some(record.action_type.as_str()),
                    FilterField::Requestor => Some(record.requestor.as_str()),
                };
                text.is_some_and(|text| values.iter().any(|value| value == text))
            }
        }
    }

    /// Returns the ids that the filter is limited to, if it is.
    fn ids(&self) -> Option<&[String]> {
        match self {
            Self::All(terms) => terms.iter().find_map(Self::ids),
            Self::OneOf(FilterField::Id, ids) => Some(ids),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum FilterToken {
    Open,
    Close,
    Comma,
    Quoted(String),
    Word(String),
}

fn split(text: &str) -> Result<Vec<FilterToken>, String> {
    let mut tokens = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '(' => tokens.push(FilterToken::Open),
            ')' => tokens.push(FilterToken::Close),
            ',' => tokens.push(FilterToken::Comma),
            '\'' => {
                let mut quoted = String::new();
                loop {
                    match letters.next() {
                        Some('\'') if letters.next_if_eq(&'\'').is_some() => quoted.push('\''),
                        Some('\'') => break,
                        Some(other) => quoted.push(other),
                        None => {
                            return Err("There is an unterminated string literal.".to_owned());
                        }
                    }
                }
                tokens.push(FilterToken::Quoted(quoted));
            }
            blank if blank.is_whitespace() => {}
            first => {
                let mut word = String::from(first);
                let inside = |letter: &char| !letter.is_whitespace() && !"(),'".contains(*letter);
                while let Some(letter) = letters.next_if(inside) {
                    word.push(letter);
                }
                tokens.push(FilterToken::Word(word));
            }
        }
    }
    Ok(tokens)
}

struct Parser<'tokens> {
    left: &'tokens [FilterToken],
}

impl<'tokens> Parser<'tokens> {
    fn take(&mut self) -> Option<&'tokens FilterToken> {
        let (token, left) = self.left.split_first()?;
        self.left = left;
        Some(token)
    }

    fn take_if(&mut self, is_wanted: impl Fn(&FilterToken) -> bool) -> bool {
        let found = self.left.first().is_some_and(is_wanted);
        if found {
            self.take();
        }
        found
    }

    fn take_word(&mut self, wanted: &str) -> bool {
        self.take_if(
            |token| matches!(token, FilterToken::Word(word) if word.eq_ignore_ascii_case(wanted)),
        )
    }

    fn any(&mut self, depth: usize) -> Result<ListFilter, String> {
        let mut terms = vec![self.all(depth)?];
        while self.take_word("or") {
            terms.push(self.all(depth)?);
        }
        Ok(only_or(terms, ListFilter::Any))
    }

    fn all(&mut self, depth: usize) -> Result<ListFilter, String> {
        let mut terms = vec![self.term(depth)?];
        while self.take_word("and") {
            terms.push(self.term(depth)?);
        }
        Ok(only_or(terms, ListFilter::All))
    }

    fn term(&mut self, depth: usize) -> Result<ListFilter, String> {
        if depth > MAX_DEPTH {
            return Err("The filter nests too deep.".to_owned());
        }
        if self.take_if(|token| *token == FilterToken::Open) {
            let inner = self.any(depth + 1)?;
            self.expect(&FilterToken::Close)?;
            return Ok(inner);
        }
        let Some(FilterToken::Word(name)) = self.take() else {
            return Err("A property name was expected.".to_owned());
        };
        let field = match name.as_str() {
            "id" => FilterField::Id,
            "status" => FilterField::Status,
            "machineId" => FilterField::MachineId,
            "type" => FilterField::Type,
            "requestor" => FilterField::Requestor,
            CREATED => return self.created(),
            _ => {
                return Err(format!(
                    "Could not find a property named '{name}' on type 'MachineAction'."
                ));
            }
        };
        if self.take_word("eq") {
            return Ok(ListFilter::OneOf(field, vec![self.text(field)?]));
        }
        if !self.take_word("in") {
            return Err(format!("The sandbox knows 'eq' and 'in' for '{name}'."));
        }
        self.expect(&FilterToken::Open)?;
        let mut values = vec![self.text(field)?];
        while self.take_if(|token| *token == FilterToken::Comma) {
            values.push(self.text(field)?);
        }
        self.expect(&FilterToken::Close)?;
        Ok(ListFilter::OneOf(field, values))
    }

    fn created(&mut self) -> Result<ListFilter, String> {
        let bound = if self.take_word("ge") {
            ListFilter::CreatedSince
        } else if self.take_word("le") {
            ListFilter::CreatedUntil
        } else {
            return Err(format!("The sandbox knows 'ge' and 'le' for '{CREATED}'."));
        };
        match self.take() {
            Some(FilterToken::Word(word)) => word
                .parse()
                .map(bound)
                .map_err(|_| format!("'{word}' is not a date and time.")),
            _ => Err("A date and time was expected.".to_owned()),
        }
    }

    fn text(&mut self, field: FilterField) -> Result<String, String> {
        match self.take() {
            // GUIDs are case-insensitive; records have lower case.
            Some(FilterToken::Quoted(text)) if field == FilterField::Id => {
                Ok(text.to_ascii_lowercase())
            }
            Some(FilterToken::Quoted(text)) => Ok(text.clone()),
            _ => Err("A text in quotes was expected.".to_owned()),
        }
    }

    fn expect(&mut self, wanted: &FilterToken) -> Result<(), String> {
        if self.take_if(|token| token == wanted) {
            Ok(())
        } else {
            Err(format!("{wanted:?} was expected."))
        }
    }
}

fn only_or(mut terms: Vec<ListFilter>, wrap: fn(Vec<ListFilter>) -> ListFilter) -> ListFilter {
    match terms.pop() {
        Some(only) if terms.is_empty() => only,
        last => {
            terms.extend(last);
            wrap(terms)
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
    fn pages_are_cut_newest_first_or_as_ordered_and_link_to_the_next_without_top() {
        assert_eq!(page("", 10).0, [5, 4, 3, 2, 1]);
        assert_eq!(page("$top=2&$skip=1", 10).0, [4, 3]);
        assert_eq!(page("$orderby=creationDateTimeUtc", 10).0, [1, 2, 3, 4, 5]);
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
            "$orderby=creationDateTimeUtc down",
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
