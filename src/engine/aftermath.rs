//! What became of the machines that a run leaves cut off: one paged list of newer actions, not a read a machine.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use crate::api::{Filter, MAX_TOP};
use crate::model::{ActionType, FollowUp, MachineAction, RowNumber, Since};

use super::pages::Pages;
use super::reads::{Reads, ReadsError};

/// A list longer than this many pages is not read to its end: 200,000 actions since the oldest of the run's.
const MOST_PAGES: u32 = 20;

/// A row whose machine needs a hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Which row.
    pub row: RowNumber,
    /// The tenant, where it is known.
    pub tenant: Option<String>,
    /// Its action.
    pub action_id: String,
    /// The action's type, where it is known.
    pub action_type: Option<ActionType>,
    /// When the action was asked for.
    pub created_at: Option<Timestamp>,
    /// The machine.
    pub machine_id: Option<String>,
    /// Its name.
    pub computer_dns_name: Option<String>,
    /// What it needs.
    pub follow_up: FollowUp,
}

/// Newer actions by machine.
#[derive(Debug, Default)]
pub struct Aftermath {
    actions: HashMap<String, Vec<MachineAction>>,
}

impl Aftermath {
    /// Lists the actions that cut machines off or release them, from the oldest of the needs' actions on.
    ///
    /// # Errors
    /// Returns why they cannot be read.
    pub async fn read(reads: &mut Reads, needs: &[Need]) -> Result<Self, ReadsError> {
        let mut aftermath = Self::default();
        let machines: HashSet<_> = needs.iter().filter_map(key).collect();
        let Some(filter) = filter(needs).filter(|_| !machines.is_empty()) else {
            return Ok(aftermath);
        };
        let mut pages = Pages::new(Filter::typed(filter), MAX_TOP);
        for _ in 0..MOST_PAGES {
            let Some(records) = pages.next(reads).await? else {
                break;
            };
            for record in records {
                let machine = record.machine_id.as_deref().map(str::to_lowercase);
                if let Some(machine) = machine.filter(|machine| machines.contains(machine)) {
                    aftermath.actions.entry(machine).or_default().push(record);
                }
            }
        }
        Ok(aftermath)
    }

    /// Says what became of a need's machine.
    pub fn since(&self, need: &Need) -> Since {
        let Some(action_type) = &need.action_type else {
            return Since::Nothing;
        };
        let others = key(need).and_then(|machine| self.actions.get(&machine));
        let ours = (need.action_id.as_str(), action_type, need.created_at);
        Since::judge(ours, others.into_iter().flatten())
    }
}

fn key(need: &Need) -> Option<String> {
    need.machine_id.as_deref().map(str::to_lowercase)
}

/// Returns what to ask for; `None` where nothing that newer actions tell matters.
fn filter(needs: &[Need]) -> Option<String> {
    let has = |wanted: [ActionType; 2]| {
        let mut types = needs.iter().filter_map(|need| need.action_type.as_ref());
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
    let oldest = needs.iter().filter_map(|need| need.created_at).min();
    Some(match oldest {
        Some(oldest) => format!("({types}) and creationDateTimeUtc ge {oldest:.0}"),
        None => types,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(action_type: ActionType, second: i64) -> Need {
        Need {
            row: RowNumber(1),
            tenant: None,
            action_id: String::new(),
            action_type: Some(action_type),
            created_at: Some(Timestamp::from_second(second).unwrap()),
            machine_id: None,
            computer_dns_name: None,
            follow_up: FollowUp::Unisolate,
        }
    }

    #[test]
    fn only_what_can_tell_is_asked_for() {
        assert_eq!(filter(&[need(ActionType::Offboard, 0)]), None);
        assert_eq!(
            filter(&[need(ActionType::Isolate, 60), need(ActionType::Isolate, 30)]).as_deref(),
            Some(
                "(type eq 'Isolate' or type eq 'Unisolate') and creationDateTimeUtc ge 1970-01-01T00:00:30Z"
            )
        );
        let both = [
            need(ActionType::Unisolate, 0),
            need(ActionType::RestrictCodeExecution, 0),
        ];
        assert!(filter(&both).is_some_and(|text| text.contains("Unrestrict")));
    }
}
