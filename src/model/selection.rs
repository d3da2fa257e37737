//! Which actions are selected: by type, status, requestor, machine and age.
//!
//! Values within a list are alternatives; all lists must match. The same selection queries the tenant and filters an
//! input.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;

use super::action::{ActionFacts, ActionStatus, ActionType};

/// The longest value that a reason shows, in characters.
const LONGEST_VALUE: usize = 80;

/// Shown if the record or the input has no value.
const NOT_GIVEN: &str = "not given";

/// The criteria of a selection. An empty list matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub types: Vec<ActionType>,
    pub statuses: Vec<ActionStatus>,
    /// Also select Succeeded actions of types that leave a machine changed.
    pub with_succeeded: bool,
    /// Compared as a whole, ignoring case.
    pub requestors: Vec<String>,
    /// 40 hexadecimal digits in any case.
    pub machine_ids: Vec<String>,
    /// Created at or after this.
    pub since: Option<Timestamp>,
    /// Created at or before this.
    pub until: Option<Timestamp>,
}

impl Selection {
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether the selection uses types only, so that an input's type suffices if the record can't be read.
    pub fn is_by_type_alone(&self) -> bool {
        let types = self.types.clone();
        *self
            == Self {
                types,
                ..Self::default()
            }
    }

    /// Returns why an action is not selected, apart from its status. Unknown values never match.
    pub fn mismatch(&self, facts: &ActionFacts<'_>) -> Option<Mismatch> {
        let is_type = |known: &ActionType| self.types.contains(known);
        let has_name = |known: &str| self.requestors.iter().any(|name| same(name, known));
        let has_machine = |known: &str| self.machine_ids.iter().any(|id| same(id, known));
        if !self.types.is_empty() && !facts.action_type.is_some_and(is_type) {
            return Some(Mismatch::of(Criterion::Type, facts.action_type));
        }
        if !self.requestors.is_empty() && !facts.requestor.is_some_and(has_name) {
            return Some(Mismatch::of(Criterion::Requestor, facts.requestor));
        }
        if !self.machine_ids.is_empty() && !facts.machine_id.is_some_and(has_machine) {
            return Some(Mismatch::of(Criterion::Machine, facts.machine_id));
        }
        let created = facts.created_at;
        if let Some(since) = self.since
            && created.is_none_or(|created| created < since)
        {
            return Some(Mismatch::of(Criterion::Since, created));
        }
        if let Some(until) = self.until
            && created.is_none_or(|created| created > until)
        {
            return Some(Mismatch::of(Criterion::Until, created));
        }
        None
    }

    /// Returns why an action's status is not selected.
    pub fn status_mismatch(&self, facts: &ActionFacts<'_>) -> Option<Mismatch> {
        let is_listed = |known: &ActionStatus| self.statuses.contains(known);
        let has_succeeded = self.with_succeeded
            && facts.status == Some(&ActionStatus::Succeeded)
            && facts.action_type.is_some_and(ActionType::changes_machine);
        let is_selected =
            self.statuses.is_empty() || has_succeeded || facts.status.is_some_and(is_listed);
        (!is_selected).then(|| Mismatch::of(Criterion::Status, facts.status))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Criterion {
    Type,
    Status,
    Requestor,
    Machine,
    Since,
    Until,
    Tenant,
}

impl Criterion {
    const ALL: [Criterion; 7] = [
        Criterion::Type,
        Criterion::Status,
        Criterion::Requestor,
        Criterion::Machine,
        Criterion::Since,
        Criterion::Until,
        Criterion::Tenant,
    ];

    pub fn flag(self) -> &'static str {
        match self {
            Self::Type => "--type",
            Self::Status => "--status",
            Self::Requestor => "--requestor",
            Self::Machine => "--machine-id",
            Self::Since => "--since",
            Self::Until => "--until",
            Self::Tenant => "--tenant-id",
        }
    }

    pub fn column(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Status => "status",
            Self::Requestor => "requestor",
            Self::Machine => "machineId",
            Self::Since | Self::Until => "creationDateTimeUtc",
            Self::Tenant => "tenant",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Type => "type not selected",
            Self::Status => "status not selected",
            Self::Requestor => "requestor not selected",
            Self::Machine => "machine not selected",
            Self::Since => "created before --since",
            Self::Until => "created after --until",
            Self::Tenant => "tenant not selected",
        }
    }
}

/// Why an action is not selected. The journal stores its text as the row's reason; [`Mismatch::parse`] reads it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    pub criterion: Criterion,
    /// The actual value, if the record or the input has one.
    pub value: Option<String>,
}

impl Mismatch {
    pub fn of(criterion: Criterion, value: Option<impl fmt::Display>) -> Self {
        Self {
            criterion,
            value: value.map(|value| value.to_string()),
        }
    }

    /// Returns `None` for any other kind of reason.
    pub fn parse(reason: &str) -> Option<Self> {
        let (text, value) = reason.split_once(": ")?;
        let mut known = Criterion::ALL.into_iter();
        Some(Self {
            criterion: known.find(|criterion| criterion.text() == text)?,
            value: Some(value.to_owned()).filter(|value| value != NOT_GIVEN),
        })
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_deref().unwrap_or(NOT_GIVEN);
        write!(f, "{}: {}", self.criterion.text(), shortened(value))
    }
}

/// Truncates a value to the 80 characters that a reason shows.
pub fn shortened(value: &str) -> Cow<'_, str> {
    match value.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => Cow::Owned(format!("{}…", &value[..end])),
        None => Cow::Borrowed(value),
    }
}

fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(action_type: &'a ActionType, requestor: Option<&'a str>) -> ActionFacts<'a> {
        ActionFacts {
            action_type: Some(action_type),
            requestor,
            ..ActionFacts::default()
        }
    }

    #[test]
    fn alternatives_inside_a_list_and_agreement_between_lists() {
        let selection = Selection {
            types: vec![ActionType::Isolate, ActionType::LiveResponse],
            requestors: vec!["o'Neil@x".to_owned()],
            ..Selection::default()
        };
        let reason = |action_type, requestor| {
            let mismatch = selection.mismatch(&facts(&action_type, requestor));
            mismatch.map(|mismatch| mismatch.to_string())
        };
        assert_eq!(reason(ActionType::Isolate, Some("O'NEIL@X")), None);
        assert_eq!(
            reason(ActionType::Unisolate, Some("o'neil@x")).as_deref(),
            Some("type not selected: Unisolate")
        );
        assert_eq!(
            reason(ActionType::LiveResponse, None).as_deref(),
            Some("requestor not selected: not given")
        );
        assert!(Selection::default().is_all());
    }

    #[test]
    fn a_time_must_lie_between_the_bounds() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let selection = Selection {
            since: Some(at(10)),
            until: Some(at(20)),
            ..Selection::default()
        };
        let criterion = |created_at| {
            let facts = ActionFacts {
                created_at,
                ..ActionFacts::default()
            };
            selection
                .mismatch(&facts)
                .map(|mismatch| mismatch.criterion)
        };
        assert_eq!(criterion(Some(at(10))), None);
        assert_eq!(criterion(Some(at(9))), Some(Criterion::Since));
        assert_eq!(criterion(Some(at(21))), Some(Criterion::Until));
        assert_eq!(criterion(None), Some(Criterion::Since));
    }

    #[test]
    fn what_succeeded_is_selected_only_of_types_that_leave_a_machine_changed() {
        use ActionStatus::{Failed, Pending, Succeeded};
        let mut selection = Selection {
            statuses: vec![Pending],
            with_succeeded: true,
            ..Selection::default()
        };
        let is_selected = |selection: &Selection, action_type, status| {
            let facts = ActionFacts {
                action_type: Some(&action_type),
                status: Some(&status),
                ..ActionFacts::default()
            };
            selection.status_mismatch(&facts).is_none()
        };
        assert!(is_selected(&selection, ActionType::LiveResponse, Pending));
        assert!(is_selected(&selection, ActionType::Isolate, Succeeded));
        assert!(!is_selected(
            &selection,
            ActionType::LiveResponse,
            Succeeded
        ));
        assert!(!is_selected(&selection, ActionType::Isolate, Failed));
        selection.with_succeeded = false;
        assert!(!is_selected(&selection, ActionType::Isolate, Succeeded));
    }

    #[test]
    fn a_reason_reads_back() {
        for criterion in Criterion::ALL {
            for value in [None, Some("a: b")] {
                let mismatch = Mismatch::of(criterion, value);
                assert_eq!(Mismatch::parse(&mismatch.to_string()), Some(mismatch));
            }
        }
        assert_eq!(Mismatch::parse("excluded by keep.txt: dc-01"), None);
        let long = Mismatch::of(Criterion::Type, Some("x".repeat(100))).to_string();
        assert!(long.ends_with("xx…") && long.chars().count() < 120);
    }
}
