//! A selection as the service's filter language says it (MDE `exposed-apis-odata-samples.md`).
//!
//! Text stands in single quotes, with a quote in it doubled; times stand bare. Nothing is escaped for a URL here: that is
//! done once, where the URL is made.

use std::num::NonZeroU32;

use jiff::Timestamp;

use crate::model::{ActionStatus, ActionType, Selection};

/// So many values stand in one list, as many as ids in a batch.
const MOST_VALUES: usize = 100;

/// What a list is asked for; it can be asked for in parts where the service does not take it as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Fields, each with the values of which it has one.
    lists: Vec<(&'static str, Vec<String>)>,
    terms: Vec<String>,
}

impl Filter {
    /// Takes a filter as somebody typed it.
    pub fn typed(text: String) -> Self {
        Self {
            lists: Vec::new(),
            terms: vec![text],
        }
    }

    /// Returns the filter that asks for what is selected.
    ///
    /// The service compares text with regard to its case, so a requestor must be written as the record has it; types,
    /// statuses and machine ids are written as the service does.
    pub fn of(selection: &Selection) -> Self {
        let types = selection.types.iter().map(ActionType::to_string);
        let statuses: Vec<_> = selection
            .statuses
            .iter()
            .map(ActionStatus::to_string)
            .collect();
        let or_succeeded = or_succeeded(selection, &statuses);
        let machine_ids = selection.machine_ids.iter();
        let lists = [
            ("type", types.collect()),
            (
                "status",
                if or_succeeded.is_some() {
                    Vec::new()
                } else {
                    statuses
                },
            ),
            ("requestor", selection.requestors.clone()),
            (
                "machineId",
                machine_ids.map(|id| id.to_ascii_lowercase()).collect(),
            ),
        ];
        let terms = [
            or_succeeded,
            selection.since.map(|since| created("ge", since)),
            selection.until.map(|until| created("le", until)),
        ];
        Self {
            lists: lists
                .into_iter()
                .filter(|(_, values): &(_, Vec<_>)| !values.is_empty())
                .collect(),
            terms: terms.into_iter().flatten().collect(),
        }
    }

    /// Returns the filter in the service's language; `None` where everything is asked for.
    pub fn text(&self) -> Option<String> {
        let lists = self
            .lists
            .iter()
            .map(|(field, values)| one_of(field, values));
        let terms: Vec<_> = lists.chain(self.terms.iter().cloned()).collect();
        (!terms.is_empty()).then(|| terms.join(" and "))
    }

    /// Returns two filters that together ask for the same; `None` where no list is left to be divided.
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

    /// Returns whether a list in it is longer than a service can be trusted to take.
    pub fn is_long(&self) -> bool {
        self.lists
            .iter()
            .any(|(_, values)| values.len() > MOST_VALUES)
    }
}

/// Asks for the statuses and, of the selected types that leave a machine changed, also for what has Succeeded; `None` where
/// only the statuses are selected.
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

/// One `in` is one node of the filter, however many values it has; of nodes a service takes a hundred at the most.
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

/// The most records that the service takes as a page (MDE `get-machineactions-collection.md`).
pub const MAX_TOP: NonZeroU32 = NonZeroU32::new(10_000).expect("it is not zero");

/// Newest first, which no document promises without it. A second key would make the order of equals repeatable, but
/// nobody has seen the service take one; equals to a tenth of a microsecond are rare, and pages overlap.
pub(super) const ORDER: &str = "creationDateTimeUtc desc";

/// One page of the tenant's machine actions, newest first.
///
/// The service keeps no cursor: a page is counted off from the newest action at the moment of the call. What comes in
/// or drops out between two calls moves the edges, so pages should overlap, and their records be told apart by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// The OData filter, as people write it; all actions are meant where there is none.
    pub filter: Option<String>,
    /// How many records at most; more than [`MAX_TOP`] is asked for as that.
    pub top: NonZeroU32,
    /// How many of the newest are left out.
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
