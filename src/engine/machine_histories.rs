//! The other actions of machines that an action changed, from one paged list instead of a read for each machine.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{Filter, MAX_TOP};
use crate::model::{
    ActionId, ActionStatus, ActionType, LaterActivity, MachineAction, MachineHistory, ReleaseTarget,
};

use super::list_paging::ActionPager;
use super::reads_outside_runs::{Reads, ReadsError};

/// The most pages read of a list: 200,000 actions.
const MOST_PAGES: u32 = 20;

/// An action that changed a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineChange {
    pub action: ActionId,
    pub action_type: Option<ActionType>,
    pub created_at: Option<Timestamp>,
    pub machine_id: Option<String>,
    pub requestor: Option<String>,
}

impl MachineChange {
    /// Returns `None` unless the action succeeded and left its machine changed.
    pub fn of(record: &MachineAction) -> Option<Self> {
        let has_changed = record.status == Some(ActionStatus::Succeeded)
            && record
                .action_type
                .as_ref()
                .is_some_and(ActionType::changes_machine);
        has_changed.then(|| Self {
            action: record.id,
            action_type: record.action_type.clone(),
            created_at: record.created_at,
            machine_id: record.machine_id.clone(),
            requestor: record.requestor.clone(),
        })
    }

    fn machine(&self) -> Option<String> {
        self.machine_id.as_deref().map(str::to_lowercase)
    }
}

/// A machine's changes that are looked at, and all its actions.
#[derive(Debug, Default)]
struct ChangedMachine {
    changes: Vec<MachineChange>,
    actions: Vec<MachineAction>,
}

#[derive(Debug, Default)]
pub struct OtherActions {
    machines: HashMap<String, ChangedMachine>,
    /// Older actions weren't read.
    pub since: Option<Timestamp>,
}

impl OtherActions {
    /// Reads isolations, restrictions and releases since `look_back` before the oldest of these changes.
    pub async fn read(
        reads: &mut Reads,
        changes: Vec<MachineChange>,
        look_back: Duration,
    ) -> Result<Self, ReadsError> {
        let oldest = changes.iter().filter_map(|change| change.created_at).min();
        let since = oldest.map(|at| at.checked_sub(look_back).unwrap_or(Timestamp::MIN));
        let filter = filter(&changes, since);
        let mut others = Self {
            machines: HashMap::new(),
            since,
        };
        for change in changes {
            if let Some(machine) = change.machine() {
                let machine = others.machines.entry(machine).or_default();
                machine.changes.push(change);
            }
        }
        let Some(filter) = filter.filter(|_| !others.machines.is_empty()) else {
            return Ok(others);
        };
        let mut pages = ActionPager::new(Filter::typed(filter), MAX_TOP);
        let mut last = since;
        for _ in 0..MOST_PAGES {
            let Some(records) = pages.next(reads).await? else {
                return Ok(others);
            };
            // The newest come first.
            last = records.last().and_then(|record| record.created_at).or(last);
            for record in records {
                let machine = record.machine_id.as_deref().map(str::to_lowercase);
                let machine = machine.and_then(|machine| others.machines.get_mut(&machine));
                if let Some(machine) = machine {
                    machine.actions.push(record);
                }
            }
        }
        others.since = last;
        Ok(others)
    }

    /// Returns what happened to a changed machine, or who else wants it cut off besides the requestors of its changes and
    /// those `meant`. As for a release, its newest change counts.
    pub fn activity(&self, change: &MachineChange, meant: &[String]) -> LaterActivity {
        let activity = || {
            let machine = self.machines.get(&change.machine()?)?;
            let alike = |other: &&MachineChange| other.action_type == change.action_type;
            let alike = machine.changes.iter().filter(alike);
            let newest = alike.clone().max_by_key(|change| change.created_at)?;
            let requestors = alike.filter_map(|change| change.requestor.as_deref());
            let requestors: Vec<_> = requestors.chain(meant.iter().map(String::as_str)).collect();
            let undoing = ReleaseTarget {
                action_type: change.action_type.as_ref()?,
                comment_sent: None,
                requestors: &requestors,
            };
            let action = MachineAction {
                created_at: newest.created_at,
                ..MachineAction::bare(newest.action)
            };
            let all = &machine.actions;
            let listed = MachineHistory::of(action.id, &undoing, all);
            let history = listed.or_else(|| MachineHistory::around(&action, &undoing, all))?;
            let objection = history.objection().map(LaterActivity::CutOff);
            Some(objection.unwrap_or_else(|| history.since()))
        };
        activity().unwrap_or(LaterActivity::Nothing)
    }

    /// Returns whether the machine of a listed action has been released since.
    pub(super) fn has_released(&self, record: &MachineAction) -> bool {
        MachineChange::of(record).is_some_and(|change| {
            matches!(self.activity(&change, &[]), LaterActivity::Released { .. })
        })
    }
}

/// Returns the filter of the list, or `None` if no other action matters.
fn filter(changes: &[MachineChange], since: Option<Timestamp>) -> Option<String> {
    let has = |wanted: [ActionType; 2]| {
        let mut types = changes
            .iter()
            .filter_map(|change| change.action_type.as_ref());
        types.any(|action_type| wanted.contains(action_type))
    };
    let mut types = Vec::new();
    for kinds in [
        [ActionType::Isolate, ActionType::Unisolate],
        [
            ActionType::RestrictCodeExecution,
            ActionType::UnrestrictCodeExecution,
        ],
    ] {
        if has(kinds.clone()) {
            types.extend(kinds.map(|kind| format!("type eq '{kind}'")));
        }
    }
    if types.is_empty() {
        return None;
    }
    let types = types.join(" or ");
    Some(match since {
        Some(since) => format!("({types}) and creationDateTimeUtc ge {since:.0}"),
        None => types,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(action_type: ActionType, second: i64) -> MachineChange {
        MachineChange {
            action: ActionId::from_bytes([1; 16]).unwrap(),
            action_type: Some(action_type),
            created_at: Some(Timestamp::from_second(second).unwrap()),
            machine_id: None,
            requestor: None,
        }
    }

    #[test]
    fn only_what_can_tell_is_asked_for() {
        let since = Some(Timestamp::from_second(30).unwrap());
        assert_eq!(filter(&[change(ActionType::Offboard, 0)], since), None);
        assert_eq!(
            filter(&[change(ActionType::Isolate, 60)], since).as_deref(),
            Some(
                "(type eq 'Isolate' or type eq 'Unisolate') and creationDateTimeUtc ge 1970-01-01T00:00:30Z"
            )
        );
        let both = [
            change(ActionType::Unisolate, 0),
            change(ActionType::RestrictCodeExecution, 0),
        ];
        assert!(filter(&both, None).is_some_and(|text| text.contains("Unrestrict")));
    }
}
