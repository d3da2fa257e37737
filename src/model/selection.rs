//! Which actions are meant: by type, status, requestor, machine and age.
//!
//! Values inside one list are alternatives; different lists must all agree. The same selection asks the tenant and
//! narrows an input, so that both mean the same.

use jiff::Timestamp;

use super::action::{ActionStatus, ActionType};
use super::facts::Facts;

/// What an action must be to be meant. Empty lists ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Any of these types.
    pub types: Vec<ActionType>,
    /// Any of these statuses.
    pub statuses: Vec<ActionStatus>,
    /// Asked for by any of these, whole, in any case.
    pub requestors: Vec<String>,
    /// On any of these machines, 40 hexadecimal digits in any case.
    pub machine_ids: Vec<String>,
    /// Created at or after this.
    pub since: Option<Timestamp>,
    /// Created at or before this.
    pub until: Option<Timestamp>,
}

impl Selection {
    /// Returns whether everything is meant.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether only the service's record can tell: a status in an input is never trusted, and times are rarely
    /// in one.
    pub fn needs_record(&self) -> bool {
        !self.statuses.is_empty() || self.since.is_some() || self.until.is_some()
    }

    /// Says why an action is not meant. A fact that is not known counts as missed only once `facts` are complete.
    pub fn missed_by(&self, facts: &Facts<'_>) -> Option<String> {
        let listed = |known: Option<&str>, wanted: &[String]| {
            known.map(|known| wanted.iter().any(|one| same(one, known)))
        };
        let types: Vec<_> = self.types.iter().map(ToString::to_string).collect();
        let statuses: Vec<_> = self.statuses.iter().map(ToString::to_string).collect();
        let checks = [
            (
                "type",
                facts.action_type.map(ActionType::as_str),
                types.as_slice(),
            ),
            (
                "status",
                facts.status.map(ActionStatus::as_str),
                statuses.as_slice(),
            ),
            ("requestor", facts.requestor, self.requestors.as_slice()),
            ("machine", facts.machine_id, self.machine_ids.as_slice()),
        ];
        for (what, known, wanted) in checks {
            if wanted.is_empty() {
                continue;
            }
            match listed(known, wanted) {
                Some(false) => {
                    let known = known.unwrap_or_default();
                    return Some(format!("not selected: its {what} is {known}"));
                }
                None if facts.are_complete => {
                    return Some(format!("not selected: its {what} is not known"));
                }
                Some(true) | None => {}
            }
        }
        self.missed_in_time(facts)
    }

    fn missed_in_time(&self, facts: &Facts<'_>) -> Option<String> {
        if self.since.is_none() && self.until.is_none() {
            return None;
        }
        let Some(created) = facts.created_at else {
            return facts
                .are_complete
                .then(|| "not selected: when it was created is not known".to_owned());
        };
        if self.since.is_some_and(|since| created < since) {
            return Some(format!("not selected: created at {created}, too early"));
        }
        if self.until.is_some_and(|until| created > until) {
            return Some(format!("not selected: created at {created}, too late"));
        }
        None
    }
}

fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(action_type: &'a ActionType, requestor: Option<&'a str>) -> Facts<'a> {
        Facts {
            action_type: Some(action_type),
            requestor,
            are_complete: true,
            ..Facts::default()
        }
    }

    #[test]
    fn alternatives_inside_a_list_and_agreement_between_lists() {
        let selection = Selection {
            types: vec![ActionType::Isolate, ActionType::LiveResponse],
            requestors: vec!["o'Neil@x".to_owned()],
            ..Selection::default()
        };
        let missed = |action_type, requestor| selection.missed_by(&facts(&action_type, requestor));
        assert_eq!(missed(ActionType::Isolate, Some("O'NEIL@X")), None);
        assert_eq!(
            missed(ActionType::Unisolate, Some("o'neil@x")).as_deref(),
            Some("not selected: its type is Unisolate")
        );
        assert_eq!(
            missed(ActionType::LiveResponse, None).as_deref(),
            Some("not selected: its requestor is not known")
        );
        assert!(Selection::default().is_all());
    }

    #[test]
    fn what_is_not_known_yet_does_not_count_as_missed() {
        let selection = Selection {
            statuses: vec![ActionStatus::Pending],
            until: Some(Timestamp::UNIX_EPOCH),
            ..Selection::default()
        };
        assert!(selection.needs_record());
        assert_eq!(selection.missed_by(&Facts::default()), None);
        let late = Facts {
            status: Some(&ActionStatus::Pending),
            created_at: Some(Timestamp::from_second(1).unwrap()),
            are_complete: true,
            ..Facts::default()
        };
        assert_eq!(
            selection.missed_by(&late).as_deref(),
            Some("not selected: created at 1970-01-01T00:00:01Z, too late")
        );
    }
}
