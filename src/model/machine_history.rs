//! What a machine's actions tell: whether one of them may be undone, what happened since, and which machines are isolated.
//!
//! An objection results if somebody else cut the machine off again later, or had cut it off before and it was never
//! released.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;

use jiff::Timestamp;

use super::action::{ActionStatus, ActionType, MachineAction};
use super::action_id::ActionId;

/// The action to undo, and whose actions we undo.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseTarget<'row> {
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
    /// The newest later action that cut it off again.
    pub again: Option<MachineAction>,
    /// The newest earlier action of somebody else that cut it off and was not undone.
    pub before: Option<MachineAction>,
}

impl MachineHistory {
    /// Returns `None` if `records` does not contain the action, which proves that records are missing.
    pub fn of(
        id: ActionId,
        undoing: &ReleaseTarget<'_>,
        records: &[MachineAction],
    ) -> Option<Self> {
        let action = records.iter().find(|record| record.id == id)?;
        Self::around(action, undoing, records)
    }

    /// Works from the records that are known; `None` if no release undoes the action.
    pub fn around(
        action: &MachineAction,
        undoing: &ReleaseTarget<'_>,
        records: &[MachineAction],
    ) -> Option<Self> {
        let (cut, release) = opposites(undoing.action_type)?;
        let ours = action.created_at;
        let of_kind = |kind: &ActionType| {
            let kind = kind.clone();
            let others = records.iter().filter(|record| record.id != action.id);
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
        Some(Self {
            action: action.clone(),
            release: newest_release.cloned(),
            again: again.cloned(),
            before: before.cloned(),
        })
    }

    /// Says why the machine must stay cut off: who else did it. The time comes after `: `, so that the reasons of one
    /// person can be counted together.
    pub fn objection(&self) -> Option<String> {
        let again = self.again.as_ref().map(|again| told("again", "", again));
        let before = self.before.as_ref().filter(|_| self.release.is_none());
        again.or_else(|| Some(told("earlier", ", not released since", before?)))
    }

    /// Says what later actions did to the machine.
    pub fn since(&self) -> LaterActivity {
        if let Some(again) = &self.again {
            return LaterActivity::CutOff(told("again", "", again));
        }
        match &self.release {
            None => LaterActivity::Nothing,
            Some(release) if has_succeeded(release) => LaterActivity::Released {
                at: release.created_at,
            },
            Some(release) => LaterActivity::ReleaseRequested {
                at: release.created_at,
            },
        }
    }
}

fn has_succeeded(record: &MachineAction) -> bool {
    record.status == Some(ActionStatus::Succeeded)
}

/// Returns whether an action succeeded or still may; one without a status may.
fn took_hold(record: &MachineAction) -> bool {
    has_succeeded(record) || record.status.as_ref().is_none_or(ActionStatus::is_open)
}

fn told(when: &str, how: &str, record: &MachineAction) -> String {
    let what = match record.action_type {
        Some(ActionType::Isolate) => "isolated",
        _ => "restricted",
    };
    let by = record.requestor.as_deref().unwrap_or("an unknown user");
    let at = record.created_at.map(|at| format!("{at:.0}"));
    let at = at.as_deref().unwrap_or("at an unknown time");
    format!("{what} {when} by {by}{how}: {at}")
}

/// What later actions did to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaterActivity {
    /// No relevant later action.
    Nothing,
    /// A release succeeded.
    Released { at: Option<Timestamp> },
    /// A release is requested but not done.
    ReleaseRequested { at: Option<Timestamp> },
    /// Somebody cut it off again, or had done so earlier; says who and when.
    CutOff(String),
    /// Other actions were not read, for this reason.
    NotChecked(String),
}

impl fmt::Display for LaterActivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |at: &Option<Timestamp>| match at {
            Some(at) => format!("{at:.0}"),
            None => "an unknown time".to_owned(),
        };
        match self {
            Self::Nothing => f.write_str("no later action"),
            Self::Released { at } => write!(f, "released by an action of {}", time(at)),
            Self::ReleaseRequested { at } => {
                write!(f, "release requested at {}, not done yet", time(at))
            }
            Self::CutOff(who) => f.write_str(who),
            Self::NotChecked(why) => write!(f, "not checked: {why}"),
        }
    }
}

/// Returns the pair (restricting action, releasing action) that `action` belongs to.
fn opposites(action: &ActionType) -> Option<(ActionType, ActionType)> {
    match action {
        ActionType::Isolate | ActionType::Unisolate => {
            Some((ActionType::Isolate, ActionType::Unisolate))
        }
        ActionType::RestrictCodeExecution | ActionType::UnrestrictCodeExecution => Some((
            ActionType::RestrictCodeExecution,
            ActionType::UnrestrictCodeExecution,
        )),
        _ => None,
    }
}

/// A machine that is isolated according to the tenant's actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsolatedMachine {
    /// The newest isolation that succeeded.
    pub isolation: MachineAction,
    /// What happened since that isolation.
    pub since: LaterActivity,
    /// The newest isolation by somebody else before that, which nothing has undone.
    pub before: Option<MachineAction>,
}

impl IsolatedMachine {
    /// Finds machines whose newest successful isolation has no later successful release; the newest first. An isolation
    /// that failed, was cancelled or is still open does not count. Those `meant` aren't somebody else.
    pub fn find(actions: impl IntoIterator<Item = MachineAction>, meant: &[String]) -> Vec<Self> {
        let mut machines: HashMap<String, Vec<MachineAction>> = HashMap::new();
        for action in actions {
            let named = action.machine_id.as_ref();
            let named = named.or(action.computer_dns_name.as_ref());
            // No release can be matched to an action that names no machine.
            let key = named.map_or_else(|| action.id.to_string(), |name| name.to_lowercase());
            machines.entry(key).or_default().push(action);
        }
        let mut isolated: Vec<_> = machines
            .values()
            .filter_map(|all| Self::of(all, meant))
            .collect();
        isolated.sort_by_key(|machine| {
            let isolation = &machine.isolation;
            (Reverse(isolation.created_at), isolation.id)
        });
        isolated
    }

    fn of(actions: &[MachineAction], meant: &[String]) -> Option<Self> {
        let newest = |kind: &ActionType| {
            let done = actions.iter().filter(|action| {
                action.action_type.as_ref() == Some(kind)
                    && action.status == Some(ActionStatus::Succeeded)
            });
            done.max_by_key(|action| action.created_at)
        };
        let isolation = newest(&ActionType::Isolate)?;
        let release = newest(&ActionType::Unisolate);
        if release.is_some_and(|release| release.created_at > isolation.created_at) {
            return None;
        }
        let requestors = isolation.requestor.iter().chain(meant);
        let requestors: Vec<_> = requestors.map(String::as_str).collect();
        let undoing = ReleaseTarget {
            action_type: &ActionType::Isolate,
            comment_sent: None,
            requestors: &requestors,
        };
        let history = MachineHistory::around(isolation, &undoing, actions)?;
        Some(Self {
            since: history.since(),
            before: history.before,
            isolation: history.action,
        })
    }
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
        let undoing = ReleaseTarget {
            action_type: &ActionType::Unisolate,
            comment_sent: Some("CHG-1"),
            requestors: &["SOC-bot"],
        };
        let records = [&[wave()], others].concat();
        let history = MachineHistory::of(id(OURS), &undoing, &records).unwrap();
        let objection = history.objection().unwrap_or_default();
        (history.release.map(|release| release.id), objection)
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
        let before = "isolated earlier by ana, not released since: 1970-01-01T00:00:50Z";
        let again = "isolated again by ana: 1970-01-01T00:03:20Z";
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
        let undoing = ReleaseTarget {
            action_type: &ActionType::Unisolate,
            comment_sent: None,
            requestors: &[],
        };
        assert_eq!(MachineHistory::of(id(9), &undoing, &[wave()]), None);
    }

    fn done(kind: ActionType, status: ActionStatus, second: i64) -> MachineAction {
        let id = ActionId::parse("7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2").unwrap();
        MachineAction {
            action_type: Some(kind),
            status: Some(status),
            created_at: Some(Timestamp::from_second(second).unwrap()),
            ..MachineAction::bare(id)
        }
    }

    #[test]
    fn what_became_of_a_machine_since_is_told_by_what_took_hold() {
        use ActionStatus as S;
        use ActionType as T;
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let since = |others: &[MachineAction]| {
            let undoing = ReleaseTarget {
                action_type: &T::Isolate,
                comment_sent: None,
                requestors: &[],
            };
            MachineHistory::around(&wave(), &undoing, others)
                .unwrap()
                .since()
        };
        let released = done(T::Unisolate, S::Succeeded, 200);
        assert_eq!(since(&[]), LaterActivity::Nothing);
        assert_eq!(
            since(&[done(T::Unisolate, S::Succeeded, 50)]),
            LaterActivity::Nothing
        );
        assert_eq!(
            since(&[done(T::Unisolate, S::Pending, 200)]),
            LaterActivity::ReleaseRequested { at: at(200) }
        );
        let again = "isolated again by an unknown user: 1970-01-01T00:05:00Z";
        assert_eq!(
            since(&[done(T::Isolate, S::Pending, 300), released.clone()]),
            LaterActivity::CutOff(again.to_owned())
        );
        for nothing in [
            done(T::Isolate, S::Cancelled, 300),
            done(T::Unisolate, S::Failed, 300),
            done(T::RestrictCodeExecution, S::Succeeded, 300),
            done(T::RunAntiVirusScan, S::Succeeded, 300),
        ] {
            assert_eq!(
                since(&[released.clone(), nothing]),
                LaterActivity::Released { at: at(200) }
            );
        }
        let scan = ReleaseTarget {
            action_type: &T::Offboard,
            comment_sent: None,
            requestors: &[],
        };
        assert_eq!(MachineHistory::around(&wave(), &scan, &[released]), None);
    }

    #[test]
    fn a_machine_is_isolated_until_a_later_release_has_succeeded() {
        use ActionStatus as S;
        use ActionType as T;
        let find = |actions: &[MachineAction]| {
            let named = actions.iter().zip(1_u128..).map(|(action, number)| {
                let id = ActionId::from_bytes(number.to_be_bytes());
                MachineAction {
                    id: id.unwrap(),
                    machine_id: Some(if number % 2 == 0 { "AB" } else { "ab" }.to_owned()),
                    ..action.clone()
                }
            });
            let found = IsolatedMachine::find(named, &[]).into_iter();
            let shown = found.map(|it| (it.isolation.created_at.unwrap().as_second(), it.since));
            shown.collect::<Vec<_>>()
        };
        let isolated = done(T::Isolate, S::Succeeded, 100);
        let nothing = LaterActivity::Nothing;
        let at = |second| Timestamp::from_second(second).unwrap();
        for (others, expected) in [
            (&[][..], Some((100, nothing.clone()))),
            (
                &[done(T::Isolate, S::Succeeded, 50)],
                Some((100, nothing.clone())),
            ),
            (
                &[done(T::Unisolate, S::Succeeded, 50)],
                Some((100, nothing.clone())),
            ),
            (&[done(T::Unisolate, S::Failed, 200)], Some((100, nothing))),
            (
                &[done(T::Unisolate, S::Pending, 200)],
                Some((100, LaterActivity::ReleaseRequested { at: Some(at(200)) })),
            ),
            (&[done(T::Unisolate, S::Succeeded, 200)], None),
            // An open isolation does not hide the release before it.
            (
                &[
                    done(T::Isolate, S::Pending, 300),
                    done(T::Unisolate, S::Succeeded, 200),
                ],
                None,
            ),
            (
                &[
                    done(T::Unisolate, S::Succeeded, 200),
                    done(T::Isolate, S::Succeeded, 300),
                ],
                Some((300, LaterActivity::Nothing)),
            ),
        ] {
            let all = [std::slice::from_ref(&isolated), others].concat();
            assert_eq!(find(&all), Vec::from_iter(expected), "{others:?}");
        }
    }
}
