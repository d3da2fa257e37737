//! Decides from a machine's actions whether one of them may be undone.
//!
//! An objection results if somebody else cut the machine off again later, or had cut it off before and it was never
//! released.

use jiff::Timestamp;

use super::action::{ActionStatus, ActionType, MachineAction};
use super::action_id::ActionId;
use super::follow_up::opposites;

/// The action to undo, and whose actions we undo.
#[derive(Clone, Copy, Debug)]
pub struct Undoing<'row> {
    pub id: ActionId,
    /// The type of the action, or of its release.
    pub action_type: &'row ActionType,
    /// The comment that we sent with our release, if we sent one.
    pub comment_sent: Option<&'row str>,
    /// The requestors whose actions are to be undone.
    pub requestors: &'row [&'row str],
}

/// The history of a machine around the action to undo.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineHistory {
    pub action: MachineAction,
    /// The newest later release that succeeded, is still open, or is ours.
    pub release: Option<MachineAction>,
    /// Why the machine must stay cut off: who else did it, and when.
    pub objection: Option<String>,
}

impl MachineHistory {
    /// Returns `None` if `records` does not contain the action, which proves that records are missing.
    pub fn of(undoing: &Undoing<'_>, records: &[MachineAction]) -> Option<Self> {
        let (cut, release) = opposites(undoing.action_type)?;
        let action = records.iter().find(|record| record.id == undoing.id)?;
        let ours = action.created_at;
        let of_kind = |kind: &ActionType| {
            let kind = kind.clone();
            let others = records.iter().filter(|record| record.id != undoing.id);
            others.filter(move |record| record.action_type.as_ref() == Some(&kind))
        };
        // A record without a time may be the newest.
        let is_later = |record: &&MachineAction| record.created_at.is_none_or(|at| Some(at) > ours);
        let is_ours = |record: &MachineAction| {
            let sent = undoing.comment_sent;
            sent.is_some() && record.requestor_comment.as_deref() == sent
        };
        let newest_release = of_kind(&release)
            .filter(|record| took_hold(record) || is_ours(record))
            .filter(is_later)
            .max_by_key(|record| record.created_at);
        let released_at = newest_release.and_then(|release| release.created_at);
        // An open one may finish after any release.
        let again = of_kind(&cut)
            .filter(|record| took_hold(record))
            .filter(is_later)
            .filter(|record| {
                !has_succeeded(record)
                    || record.created_at.is_none()
                    || record.created_at > released_at
            })
            .max_by_key(|record| record.created_at);
        let is_meant = |record: &&MachineAction| {
            let requestor = record.requestor.as_deref();
            let mut meant = undoing.requestors.iter();
            requestor.is_some_and(|it| meant.any(|other| other.eq_ignore_ascii_case(it)))
        };
        let is_undone = |before: &&MachineAction| {
            let mut releases = of_kind(&release).filter(|release| has_succeeded(release));
            releases.any(|release| release.created_at > before.created_at)
        };
        let before = of_kind(&cut)
            .filter(|record| took_hold(record) && !is_later(record))
            .filter(|record| !is_meant(record) && !is_undone(record))
            .max_by_key(|record| record.created_at);
        let objection = match (again, before) {
            (Some(again), _) => Some(told(&cut, "again ", again)),
            (None, Some(before)) if newest_release.is_none() => {
                Some(told(&cut, "earlier, and not released since, ", before))
            }
            _ => None,
        };
        Some(Self {
            action: action.clone(),
            release: newest_release.cloned(),
            objection,
        })
    }
}

fn has_succeeded(record: &MachineAction) -> bool {
    record.status == Some(ActionStatus::Succeeded)
}

/// Returns whether an action succeeded or still may; one without a status may.
fn took_hold(record: &MachineAction) -> bool {
    has_succeeded(record) || record.status.as_ref().is_none_or(ActionStatus::is_open)
}

fn told(cut: &ActionType, when: &str, record: &MachineAction) -> String {
    let what = match cut {
        ActionType::Isolate => "isolated",
        _ => "restricted",
    };
    let by = record.requestor.as_deref().unwrap_or("an unknown user");
    let at = record.created_at.as_ref().map(Timestamp::to_string);
    let at = at.as_deref().unwrap_or("an unknown time");
    format!("{what} {when}by {by} at {at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: u8 = 1;

    fn id(number: u8) -> ActionId {
        ActionId::from_bytes([number; 16]).unwrap()
    }

    /// An action of the machine; `second` is its creation time.
    fn action(number: u8, kind: &str, status: &str, by: &str, second: i64) -> MachineAction {
        MachineAction {
            action_type: Some(ActionType::parse(kind)),
            status: Some(ActionStatus::parse(status)),
            requestor: Some(by.to_owned()),
            created_at: Some(Timestamp::from_second(second).unwrap()),
            ..MachineAction::bare(id(number))
        }
    }

    fn wave() -> MachineAction {
        action(OURS, "Isolate", "Succeeded", "soc-bot", 100)
    }

    /// Returns the id of the release, and the objection.
    fn judge(others: &[MachineAction]) -> (Option<ActionId>, String) {
        let undoing = Undoing {
            id: id(OURS),
            action_type: &ActionType::Unisolate,
            comment_sent: Some("CHG-1"),
            requestors: &["SOC-bot"],
        };
        let records = [&[wave()], others].concat();
        let history = MachineHistory::of(&undoing, &records).unwrap();
        let release = history.release.map(|release| release.id);
        (release, history.objection.unwrap_or_default())
    }

    #[test]
    fn a_machine_that_nobody_else_cut_off_may_be_released() {
        for others in [
            vec![],
            vec![action(2, "Unisolate", "Succeeded", "ana", 50)],
            vec![action(2, "Isolate", "Cancelled", "ana", 150)],
            vec![action(2, "Isolate", "Failed", "ana", 50)],
            vec![action(2, "Unisolate", "Failed", "ana", 150)],
            vec![action(2, "RestrictCodeExecution", "Succeeded", "ana", 150)],
            // Our own actions hit the machine twice.
            vec![action(2, "Isolate", "Succeeded", "soc-bot", 50)],
            // An earlier isolation was already released.
            vec![
                action(2, "Isolate", "Succeeded", "ana", 50),
                action(3, "Unisolate", "Succeeded", "ana", 60),
            ],
        ] {
            assert_eq!(judge(&others), (None, String::new()), "{others:?}");
        }
    }

    #[test]
    fn a_machine_that_somebody_else_cut_off_stays_so() {
        let before = "isolated earlier, and not released since, by ana at 1970-01-01T00:00:50Z";
        let again = "isolated again by ana at 1970-01-01T00:03:20Z";
        for (others, objection) in [
            (vec![action(2, "Isolate", "Succeeded", "ana", 50)], before),
            (
                vec![
                    action(2, "Isolate", "Succeeded", "ana", 50),
                    // That release was requested, but not done.
                    action(3, "Unisolate", "Pending", "ana", 60),
                ],
                before,
            ),
            (vec![action(2, "Isolate", "Succeeded", "ana", 200)], again),
            (
                vec![
                    action(2, "Unisolate", "Succeeded", "bob", 150),
                    action(3, "Isolate", "InProgress", "ana", 200),
                ],
                again,
            ),
            // An open isolation may finish after a release that was requested later.
            (
                vec![
                    action(2, "Isolate", "Pending", "ana", 200),
                    action(3, "Unisolate", "Succeeded", "bob", 250),
                ],
                again,
            ),
        ] {
            assert_eq!(judge(&others).1, objection, "{others:?}");
        }
    }

    #[test]
    fn the_newest_later_release_is_found_and_ours_even_if_it_failed() {
        let ours = MachineAction {
            requestor_comment: Some("CHG-1".to_owned()),
            ..action(4, "Unisolate", "Failed", "app", 300)
        };
        for (others, found) in [
            (vec![action(2, "Unisolate", "Pending", "bob", 150)], 2),
            (
                vec![
                    action(3, "Unisolate", "Succeeded", "bob", 250),
                    action(2, "Isolate", "Succeeded", "ana", 200),
                ],
                3,
            ),
            // Isolated before, but released since.
            (
                vec![
                    action(2, "Isolate", "Succeeded", "ana", 50),
                    action(3, "Unisolate", "Succeeded", "bob", 250),
                ],
                3,
            ),
            (vec![ours], 4),
        ] {
            assert_eq!(
                judge(&others),
                (Some(id(found)), String::new()),
                "{others:?}"
            );
        }
    }

    #[test]
    fn a_list_without_the_action_itself_is_no_history() {
        let undoing = Undoing {
            id: id(9),
            action_type: &ActionType::Unisolate,
            comment_sent: None,
            requestors: &[],
        };
        assert_eq!(MachineHistory::of(&undoing, &[wave()]), None);
    }
}
