//! The later actions of machines that an action changed, from one paged list instead of a read for each machine.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use crate::api::{Filter, MAX_TOP};
use crate::model::{ActionStatus, ActionType, LaterActivity, MachineAction};

use super::pages::Pages;
use super::tenant_reads::{Reads, ReadsError};

/// The most pages read of a list: 200,000 actions since the oldest change.
const MOST_PAGES: u32 = 20;

/// An action that changed a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineChange {
    pub action_id: String,
    pub action_type: Option<ActionType>,
    pub created_at: Option<Timestamp>,
    pub machine_id: Option<String>,
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
            action_id: record.id.to_string(),
            action_type: record.action_type.clone(),
            created_at: record.created_at,
            machine_id: record.machine_id.clone(),
        })
    }

    fn machine(&self) -> Option<String> {
        self.machine_id.as_deref().map(str::to_lowercase)
    }
}

#[derive(Debug, Default)]
pub struct LaterActions {
    actions: HashMap<String, Vec<MachineAction>>,
}

impl LaterActions {
    /// Reads isolations, restrictions and releases since the oldest of these changes.
    pub async fn read(reads: &mut Reads, changes: &[MachineChange]) -> Result<Self, ReadsError> {
        let mut later = Self::default();
        let machines: HashSet<_> = changes.iter().filter_map(MachineChange::machine).collect();
        let Some(filter) = filter(changes).filter(|_| !machines.is_empty()) else {
            return Ok(later);
        };
        let mut pages = Pages::new(Filter::typed(filter), MAX_TOP);
        for _ in 0..MOST_PAGES {
            let Some(records) = pages.next(reads).await? else {
                break;
            };
            for record in records {
                let machine = record.machine_id.as_deref().map(str::to_lowercase);
                if let Some(machine) = machine.filter(|machine| machines.contains(machine)) {
                    later.actions.entry(machine).or_default().push(record);
                }
            }
        }
        Ok(later)
    }

    pub fn activity(&self, change: &MachineChange) -> LaterActivity {
        let Some(action_type) = &change.action_type else {
            return LaterActivity::Nothing;
        };
        let others = change.machine();
        let others = others.and_then(|machine| self.actions.get(&machine));
        LaterActivity::judge(
            &change.action_id,
            action_type,
            change.created_at,
            others.into_iter().flatten(),
        )
    }

    /// Returns whether the machine of a listed action has been released since.
    pub(super) fn has_released(&self, record: &MachineAction) -> bool {
        MachineChange::of(record)
            .is_some_and(|change| matches!(self.activity(&change), LaterActivity::Released { .. }))
    }
}

/// Returns the filter of the list, or `None` if no later action matters.
fn filter(changes: &[MachineChange]) -> Option<String> {
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
    let oldest = changes.iter().filter_map(|change| change.created_at).min();
    Some(match oldest {
        Some(oldest) => format!("({types}) and creationDateTimeUtc ge {oldest:.0}"),
        None => types,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(action_type: ActionType, second: i64) -> MachineChange {
        MachineChange {
            action_id: String::new(),
            action_type: Some(action_type),
            created_at: Some(Timestamp::from_second(second).unwrap()),
            machine_id: None,
        }
    }

    #[test]
    fn only_what_can_tell_is_asked_for() {
        assert_eq!(filter(&[change(ActionType::Offboard, 0)]), None);
        assert_eq!(
            filter(&[
                change(ActionType::Isolate, 60),
                change(ActionType::Isolate, 30)
            ])
            .as_deref(),
            Some(
                "(type eq 'Isolate' or type eq 'Unisolate') and creationDateTimeUtc ge 1970-01-01T00:00:30Z"
            )
        );
        let both = [
            change(ActionType::Unisolate, 0),
            change(ActionType::RestrictCodeExecution, 0),
        ];
        assert!(filter(&both).is_some_and(|text| text.contains("Unrestrict")));
    }
}
