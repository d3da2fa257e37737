//! The query of a list call: which options there are, what they may say, and how a page is cut from what they find.

use std::cmp::Ordering;
use std::sync::Arc;

use url::form_urlencoded;

use crate::model::ActionId;

use super::field::{Field, Value};
use super::filter::Filter;
use super::record::Record;
use super::wire::FIELDS;

/// The most that `$top` may ask for (MDE `get-machineactions-collection.md`).
const MOST: usize = 10_000;

/// A list call's options, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ListQuery {
    pub(super) filter: Option<Filter>,
    pub(super) top: Option<usize>,
    pub(super) skip: usize,
    /// Fields, and whether each goes downward.
    pub(super) order: Vec<(Field, Direction)>,
    pub(super) count: bool,
    pub(super) select: Option<Vec<String>>,
    /// The options as they came, for the next page's address.
    pairs: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

/// One page of a list.
pub(super) struct Page {
    pub(super) records: Vec<Arc<Record>>,
    /// How many there are in all, where that was asked for.
    pub(super) count: Option<usize>,
    /// The next page's query.
    pub(super) next: Option<String>,
}

impl ListQuery {
    /// Reads a raw query.
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
            query.set(&key, &value)?;
            query.pairs.push((key.into_owned(), value.into_owned()));
        }
        Ok(query)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "$filter" => self.filter = Some(Filter::parse(value)?),
            "$top" => {
                let top = number(key, value)?;
                if top > MOST {
                    return Err(format!(
                        "The limit of '{MOST}' for Top query has been exceeded. The value from the incoming request \
                         is '{top}'."
                    ));
                }
                self.top = Some(top);
            }
            "$skip" => self.skip = number(key, value)?,
            "$orderby" => {
                self.order = value.split(',').map(read_order).collect::<Result<_, _>>()?;
            }
            "$count" => {
                self.count = match value {
                    "true" => true,
                    "false" => false,
                    _ => return Err(format!("'{value}' is not a value of $count.")),
                }
            }
            "$select" => {
                let fields: Vec<_> = value
                    .split(',')
                    .map(|name| name.trim().to_owned())
                    .collect();
                if let Some(name) = fields.iter().find(|name| !FIELDS.contains(&name.as_str())) {
                    return Err(unknown_property(name));
                }
                self.select = Some(fields);
            }
            _ => {
                return Err(format!("The query parameter '{key}' is not supported."));
            }
        }
        Ok(())
    }

    /// Returns the ids to which the list is confined, where it is; texts that are no ids name no action.
    pub(super) fn ids(&self) -> Option<Vec<ActionId>> {
        let texts = self.filter.as_ref()?.ids()?;
        let mut ids: Vec<_> = texts
            .into_iter()
            .filter_map(|text| ActionId::parse(text).ok())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        Some(ids)
    }

    /// Returns whether a record passes the filter.
    pub(super) fn passes(&self, record: &Record) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| filter.passes(&|field| record.value_of(field)))
    }

    /// Orders what was found and cuts the page out of it, at most `most` records long.
    pub(super) fn page(&self, mut found: Vec<Arc<Record>>, most: usize) -> Page {
        found.sort_unstable_by(|one, other| self.compare(one, other));
        let total = found.len();
        let size = self.top.map_or(most, |top| top.min(most));
        let records: Vec<_> = found.into_iter().skip(self.skip).take(size).collect();
        let reached = self.skip.saturating_add(records.len());
        // The service sends no link where `$top` is given, even if there is more.
        let next = (self.top.is_none() && reached < total).then(|| self.next_query(reached));
        Page {
            records,
            count: self.count.then_some(total),
            next,
        }
    }

    fn next_query(&self, skip: usize) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (key, value) in self.pairs.iter().filter(|(key, _)| key != "$skip") {
            query.append_pair(key, value);
        }
        query.append_pair("$skip", &skip.to_string()).finish()
    }

    fn compare(&self, one: &Record, other: &Record) -> Ordering {
        for (field, direction) in &self.order {
            let order = compare_values(&one.value_of(*field), &other.value_of(*field));
            let order = match direction {
                Direction::Up => order,
                Direction::Down => order.reverse(),
            };
            if order.is_ne() {
                return order;
            }
        }
        // Newest first, as the service's samples look; the id makes the order of equals repeatable.
        other
            .created_at
            .cmp(&one.created_at)
            .then_with(|| one.id.cmp(&other.id))
    }
}

fn compare_values(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Text(one), Value::Text(other)) => one.cmp(other),
        (Value::Time(one), Value::Time(other)) => one.cmp(other),
        (Value::Null, Value::Text(_) | Value::Time(_)) => Ordering::Less,
        (Value::Text(_) | Value::Time(_), Value::Null) => Ordering::Greater,
        // One field has one type, so a text never meets a time.
        (Value::Null, Value::Null)
        | (Value::Text(_), Value::Time(_))
        | (Value::Time(_), Value::Text(_)) => Ordering::Equal,
    }
}

fn read_order(text: &str) -> Result<(Field, Direction), String> {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap_or_default();
    let field = Field::parse(name).ok_or_else(|| unknown_property(name))?;
    match (words.next(), words.next()) {
        (None | Some("asc"), None) => Ok((field, Direction::Up)),
        (Some("desc"), None) => Ok((field, Direction::Down)),
        _ => Err(format!("Syntax error in $orderby: '{}'.", text.trim())),
    }
}

fn number(key: &str, value: &str) -> Result<usize, String> {
    value
        .parse()
        .map_err(|_| format!("Invalid value '{value}' for {key} query option found."))
}

fn unknown_property(name: &str) -> String {
    format!("Could not find a property named '{name}' on type 'MachineAction'.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proptest_config::proptest_config;
    use crate::sandbox::record::Status;
    use proptest::prelude::*;

    fn records(count: u8) -> Vec<Arc<Record>> {
        (1..=count)
            .map(|n| {
                let id = ActionId::from_bytes([n; 16]).unwrap();
                let at = jiff::Timestamp::from_second(i64::from(n)).unwrap();
                Arc::new(Record::new(id, "Isolate", Status::Pending, at))
            })
            .collect()
    }

    fn page(raw: &str, most: usize) -> (Vec<u8>, Option<usize>, Option<String>) {
        let query = ListQuery::parse(raw).unwrap();
        let page = query.page(records(5), most);
        let ids = page.records.iter().map(|record| record.id.as_bytes()[0]);
        (ids.collect(), page.count, page.next)
    }

    #[test]
    fn pages_are_cut_newest_first_or_as_ordered() {
        assert_eq!(page("", 10).0, [5, 4, 3, 2, 1]);
        assert_eq!(page("$top=2&$skip=1", 10).0, [4, 3]);
        assert_eq!(page("$orderby=creationDateTimeUtc", 10).0, [1, 2, 3, 4, 5]);
        assert_eq!(page("$orderby=status asc, id desc", 10).0, [5, 4, 3, 2, 1]);
        assert_eq!(page("$count=true&$top=1", 10).1, Some(5));
        assert!(page("$skip=9", 10).0.is_empty());
    }

    #[test]
    fn only_a_page_without_top_links_to_the_next() {
        assert_eq!(page("$top=2", 2).2, None);
        let (ids, _, next) = page("%24count=true", 2);
        assert_eq!(ids, [5, 4]);
        let (ids, _, next) = page(&next.unwrap(), 2);
        assert_eq!(ids, [3, 2]);
        assert_eq!(page(&next.unwrap(), 2), (vec![1], Some(5), None));
    }

    #[test]
    fn unknown_options_fields_and_sizes_are_refused() {
        for raw in [
            "$stop=5",
            "$top=10001",
            "$top=-1",
            "$top=1&$top=2",
            "$skip=x",
            "$count=yes",
            "$select=id,nothing",
            "$orderby=title",
            "$orderby=id down",
            "$filter=title%20eq%20'x'",
        ] {
            assert!(ListQuery::parse(raw).is_err(), "{raw}");
        }
        assert!(ListQuery::parse("other=1&$top=10000").is_ok());
    }

    proptest! {
        #![proptest_config(proptest_config(256))]

        #[test]
        fn no_query_makes_the_reader_panic(raw in ".{0,120}") {
            drop(ListQuery::parse(&raw));
        }
    }
}
