//! Translates a selection to an OData filter (MDE `exposed-apis-odata-samples.md`).
//!
//! Text is in single quotes, with quotes doubled; times are bare. URL escaping happens where the URL is built.

use std::num::NonZeroU32;

use jiff::Timestamp;

use crate::model::{ActionStatus, ActionType, Selection};

/// The longest list of values, the same as for ids in a batch.
const MOST_VALUES: usize = 100;

/// A filter that can be split if the service rejects it as too long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Fields with their accepted values.
    lists: Vec<(&'static str, Vec<String>)>,
    terms: Vec<String>,
}

impl Filter {
    /// Takes a filter from the user as is.
    pub fn typed(text: String) -> Self {
        Self {
            lists: Vec::new(),
            terms: vec![text],
        }
    }

    /// Builds the filter for a selection.
    ///
    /// The service compares text case-sensitively, so requestors must be spelled as in the record. Types, statuses and
    /// machine ids are written as the service does.
    pub fn of(selection: &Selection) -> Self {
        let types = selection.types.iter().map(ActionType::to_string);
        let statuses = selection.statuses.iter().map(ActionStatus::to_string);
        let mut statuses: Vec<_> = statuses.collect();
        let or_succeeded = or_succeeded(selection, &statuses);
        if or_succeeded.is_some() {
            statuses.clear();
        }
        let machine_ids = selection.machine_ids.iter();
        let machine_ids = machine_ids.map(|id| id.to_ascii_lowercase());
        let mut lists = vec![
            ("type", types.collect()),
            ("status", statuses),
            ("requestor", selection.requestors.clone()),
            ("machineId", machine_ids.collect()),
        ];
        lists.retain(|(_, values)| !values.is_empty());
        let terms = [
            or_succeeded,
            selection.since.map(|since| created("ge", since)),
            selection.until.map(|until| created("le", until)),
        ];
        Self {
            lists,
            terms: terms.into_iter().flatten().collect(),
        }
    }

    /// Returns the OData text; `None` if everything is selected.
    pub fn text(&self) -> Option<String> {
        let lists = self
            .lists
            .iter()
            .map(|(field, values)| one_of(field, values));
        let terms: Vec<_> = lists.chain(self.terms.iter().cloned()).collect();
        (!terms.is_empty()).then(|| terms.join(" and "))
    }

    /// Splits the filter into two that together match the same; `None` if no list can be split.
    pub fn split(&self) -> Option<[Self; 2]> {
        let longest = (0..self.lists.len()).max_by_key(|&place| self.lists[place].1.len())?;
        let (mut first, mut second) = (self.clone(), self.clone());
        let values = &mut first.lists[longest].1;
        let rest = values.split_off(values.len().div_ceil(2));
        (!rest.is_empty()).then(|| {
            second.lists[longest].1 = rest;
            [first, second]
        })
    }

    /// Returns whether a list is too long for the service to accept it reliably.
    pub fn is_long(&self) -> bool {
        self.lists
            .iter()
            .any(|(_, values)| values.len() > MOST_VALUES)
    }
}

/// Builds a term for the statuses that also matches Succeeded actions of the selected types that leave a machine
/// changed; `None` if the statuses alone suffice.
fn or_succeeded(selection: &Selection, statuses: &[String]) -> Option<String> {
    let lasting = ActionType::THAT_CHANGE_MACHINES.into_iter();
    let lasting: Vec<_> = lasting
        .filter(|kind| selection.types.is_empty() || selection.types.contains(kind))
        .map(|kind| kind.to_string())
        .collect();
    if !selection.with_succeeded || statuses.is_empty() || lasting.is_empty() {
        return None;
    }
    let (open, types) = (one_of("status", statuses), one_of("type", &lasting));
    Some(format!("({open} or (status eq 'Succeeded' and {types}))"))
}

/// Uses `in`, which is one node of the filter regardless of its length; a service accepts at most a hundred nodes.
fn one_of(field: &str, values: &[String]) -> String {
    let words: Vec<_> = values
        .iter()
        .map(|value| format!("'{}'", value.replace('\'', "''")))
        .collect();
    match &words[..] {
        [word] => format!("{field} eq {word}"),
        _ => format!("{field} in ({})", words.join(",")),
    }
}

fn created(comparison: &str, at: Timestamp) -> String {
    format!("creationDateTimeUtc {comparison} {at}")
}

/// The largest page of the service (MDE `get-machineactions-collection.md`).
pub const MAX_TOP: NonZeroU32 = NonZeroU32::new(10_000).expect("it is not zero");

/// The newest first; the default order is undocumented. A second key would make the order of equal times stable, but it
/// is unknown whether the service accepts one. Equal times are rare (0.1 µs), and pages overlap.
pub(super) const ORDER: &str = "creationDateTimeUtc desc";

/// A page of the tenant's actions, the newest first.
///
/// The service has no cursor: each call counts from the newest action. New or vanished actions shift the pages, so they
/// should overlap, and records must be deduplicated by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// An unescaped OData filter; `None` for all actions.
    pub filter: Option<String>,
    /// The page size, limited to [`MAX_TOP`].
    pub top: NonZeroU32,
    /// How many of the newest actions to skip.
    pub skip: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_are_one_list_and_quotes_are_doubled() {
        let selection = Selection {
            types: vec![ActionType::Isolate, ActionType::LiveResponse],
            statuses: vec![ActionStatus::Pending],
            with_succeeded: false,
            requestors: vec!["o'neil@x".to_owned()],
            machine_ids: vec!["ABC".to_owned()],
            since: Some("2026-01-31T00:00:00Z".parse().unwrap()),
            until: Some("2026-01-31T01:00:00.5+01:00".parse().unwrap()),
        };
        assert_eq!(
            Filter::of(&selection).text().unwrap(),
            "type in ('Isolate','LiveResponse') and status eq 'Pending' and requestor eq 'o''neil@x' and \
             machineId eq 'abc' and creationDateTimeUtc ge 2026-01-31T00:00:00Z and creationDateTimeUtc le \
             2026-01-31T00:00:00.5Z"
        );
        assert_eq!(Filter::of(&Selection::default()).text(), None);
    }

    #[test]
    fn a_filter_is_divided_by_its_longest_list_until_each_has_one_value() {
        let selection = Selection {
            types: vec![ActionType::Isolate, ActionType::Unisolate],
            machine_ids: (0..5).map(|number| format!("{number:040x}")).collect(),
            ..Selection::default()
        };
        let mut parts = vec![Filter::of(&selection)];
        let mut whole = Vec::new();
        while let Some(part) = parts.pop() {
            match part.split() {
                Some(halves) => parts.extend(halves),
                None => whole.push(part.text().unwrap()),
            }
        }
        whole.sort();
        whole.dedup();
        assert_eq!(whole.len(), 10);
        assert!(
            whole.iter().all(|text| !text.contains(" in (")),
            "{whole:?}"
        );
        assert_eq!(Filter::typed("x".to_owned()).split(), None);
        assert_eq!(Filter::default().split(), None);
    }

    #[test]
    fn what_succeeded_is_asked_for_only_of_types_that_leave_a_machine_changed() {
        use ActionType::{Isolate, LiveResponse};
        let filter = |types: &[ActionType]| {
            let selection = Selection {
                types: types.to_vec(),
                statuses: vec![ActionStatus::Pending, ActionStatus::InProgress],
                with_succeeded: true,
                ..Selection::default()
            };
            Filter::of(&selection).text().unwrap()
        };
        assert_eq!(
            filter(&[LiveResponse]),
            "type eq 'LiveResponse' and status in ('Pending','InProgress')"
        );
        assert_eq!(
            filter(&[Isolate]),
            "type eq 'Isolate' and (status in ('Pending','InProgress') or (status eq 'Succeeded' and type eq 'Isolate'))"
        );
        let all = filter(&[]);
        assert!(all.contains("'StopAndQuarantineFile')))"), "{all}");
    }
}
