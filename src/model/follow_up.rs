//! Manual work that remains on a machine after its actions, and whether later actions have done it.
//!
//! [`FollowUp::needed`] derives the work from an action's type and last status. [`LaterActivity`] says what happened
//! since, and [`IsolatedMachine`] finds machines that are still isolated.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;

use jiff::Timestamp;

use super::action::{ActionStatus, ActionType, MachineAction};

/// Manual work that a machine still needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FollowUp {
    /// The isolation succeeded: release the machine.
    Unisolate,
    Unrestrict,
    /// A cancel was sent before the record was read, and the record shows an action that should not be cancelled.
    ManualRequestAgain,
    /// The action was seen InProgress before it was Cancelled: the device may have done the work.
    CheckDevice,
    /// The machine was offboarded, which the API cannot undo.
    ManualOnboard,
    /// A file was quarantined.
    ManualRestoreFile,
}

impl FollowUp {
    /// Every kind, the most severe first.
    pub const ALL: [FollowUp; 6] = [
        FollowUp::Unisolate,
        FollowUp::Unrestrict,
        FollowUp::ManualRequestAgain,
        FollowUp::ManualOnboard,
        FollowUp::ManualRestoreFile,
        FollowUp::CheckDevice,
    ];

    /// Returns the text of the report's `follow_up` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unisolate => "unisolate",
            Self::Unrestrict => "unrestrict",
            Self::CheckDevice => "check_device",
            Self::ManualRequestAgain => {
                "manual: request the cancelled action again if it was meant"
            }
            Self::ManualOnboard => "manual: onboard the machine again",
            Self::ManualRestoreFile => "manual: restore the quarantined file",
        }
    }

    /// Returns what an action of this type and last status needs.
    ///
    /// `was_in_progress`: whether an earlier read showed it InProgress.
    pub fn needed(
        action: &ActionType,
        status: &ActionStatus,
        was_in_progress: bool,
    ) -> Option<Self> {
        match (status, action) {
            (ActionStatus::Succeeded, ActionType::Isolate) => Some(Self::Unisolate),
            (ActionStatus::Succeeded, ActionType::RestrictCodeExecution) => Some(Self::Unrestrict),
            (ActionStatus::Succeeded, ActionType::Offboard) => Some(Self::ManualOnboard),
            (ActionStatus::Succeeded, ActionType::StopAndQuarantineFile) => {
                Some(Self::ManualRestoreFile)
            }
            (
                ActionStatus::Cancelled,
                ActionType::Isolate
                | ActionType::Unisolate
                | ActionType::RestrictCodeExecution
                | ActionType::UnrestrictCodeExecution
                | ActionType::StopAndQuarantineFile
                | ActionType::Offboard,
            ) if was_in_progress => Some(Self::CheckDevice),
            _ => None,
        }
    }

    /// Parses [`FollowUp::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Returns a clause that tells the user what to do.
    pub fn what_to_do(self) -> &'static str {
        match self {
            Self::Unisolate => "release the machine from isolation",
            Self::Unrestrict => "lift the restriction of code execution",
            Self::CheckDevice => {
                "look whether the action took hold on the machine before it was cancelled, and undo it there if so"
            }
            Self::ManualRequestAgain => {
                "request the cancelled action again if it was meant; the report's column `reason` says what its record says"
            }
            Self::ManualOnboard => "run the onboarding package on the machine again",
            Self::ManualRestoreFile => "restore the quarantined file where it was needed",
        }
    }

    /// Returns the type of the action that undoes it, if any.
    pub fn release(self) -> Option<ActionType> {
        match self {
            Self::Unisolate => Some(ActionType::Unisolate),
            Self::Unrestrict => Some(ActionType::UnrestrictCodeExecution),
            Self::CheckDevice
            | Self::ManualRequestAgain
            | Self::ManualOnboard
            | Self::ManualRestoreFile => None,
        }
    }

    /// Returns the application permission that the call needs (MDE `unisolate-machine.md`,
    /// `unrestrict-code-execution.md`, `get-machineactions-collection.md`), if a call helps.
    pub fn permission(self) -> Option<&'static str> {
        match self {
            Self::Unisolate => Some("Machine.Isolate"),
            Self::Unrestrict => Some("Machine.RestrictExecution"),
            Self::CheckDevice => Some("Machine.Read.All"),
            Self::ManualRequestAgain | Self::ManualOnboard | Self::ManualRestoreFile => None,
        }
    }

    /// Returns the method and path of the call that helps, if any.
    pub fn call(self, machine_id: &str) -> Option<String> {
        match self {
            Self::Unisolate => Some(format!("POST /api/machines/{machine_id}/unisolate")),
            Self::Unrestrict => Some(format!(
                "POST /api/machines/{machine_id}/unrestrictCodeExecution"
            )),
            Self::CheckDevice => Some(format!(
                "GET /api/machineactions?$filter=machineId eq '{machine_id}'"
            )),
            Self::ManualRequestAgain | Self::ManualOnboard | Self::ManualRestoreFile => None,
        }
    }
}

/// What later actions did to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaterActivity {
    /// No relevant later action.
    Nothing,
    /// A release succeeded.
    Released { at: Timestamp },
    /// A release is requested but not done.
    ReleaseRequested { at: Timestamp },
    /// The same action was done again.
    Repeated {
        action_type: ActionType,
        at: Timestamp,
        by: Option<String>,
    },
    /// Later actions were not read, for this reason.
    NotChecked(String),
}

impl LaterActivity {
    /// Finds the newest later action that repeats or reverses `action`.
    ///
    /// `others` are actions of the machine in any order, which may include `action` itself. Older, failed and cancelled
    /// ones are ignored.
    pub fn judge<'a>(
        id: &str,
        action: &ActionType,
        created_at: Option<Timestamp>,
        others: impl IntoIterator<Item = &'a MachineAction>,
    ) -> Self {
        let Some((cut, release)) = opposites(action) else {
            return Self::Nothing;
        };
        let matters = |other: &&MachineAction| {
            let is_kind = other
                .action_type
                .as_ref()
                .is_some_and(|kind| *kind == cut || *kind == release);
            let took_hold = other
                .status
                .as_ref()
                .is_some_and(|status| status.is_open() || *status == ActionStatus::Succeeded);
            let is_newer = match (other.created_at, created_at) {
                (Some(other), Some(ours)) => other > ours,
                (Some(_), None) => true,
                (None, _) => false,
            };
            is_kind && took_hold && is_newer && !other.id.to_string().eq_ignore_ascii_case(id)
        };
        let newest = others
            .into_iter()
            .filter(matters)
            .max_by_key(|other| other.created_at);
        let Some((newest, at)) = newest.and_then(|newest| Some((newest, newest.created_at?)))
        else {
            return Self::Nothing;
        };
        if newest.action_type.as_ref() == Some(&cut) {
            return Self::Repeated {
                action_type: cut,
                at,
                by: newest.requestor.clone(),
            };
        }
        if newest.status == Some(ActionStatus::Succeeded) {
            Self::Released { at }
        } else {
            Self::ReleaseRequested { at }
        }
    }
}

impl fmt::Display for LaterActivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no later action"),
            Self::Released { at } => write!(f, "released by an action of {at:.0}"),
            Self::ReleaseRequested { at } => {
                write!(f, "release requested at {at:.0}, not done yet")
            }
            Self::Repeated {
                action_type,
                at,
                by,
            } => {
                let what = match action_type {
                    ActionType::Isolate => "isolated",
                    _ => "restricted",
                };
                write!(f, "{what} again at {at:.0}")?;
                match by {
                    Some(by) => write!(f, " by {by}"),
                    None => Ok(()),
                }
            }
            Self::NotChecked(why) => write!(f, "not checked: {why}"),
        }
    }
}

/// Returns the pair (restricting action, releasing action) that `action` belongs to.
pub(super) fn opposites(action: &ActionType) -> Option<(ActionType, ActionType)> {
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

/// A machine that needs manual work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowUpRow {
    pub machine_id: Option<String>,
    pub computer_dns_name: Option<String>,
    /// Never empty; the most severe first.
    pub needs: Vec<FollowUp>,
    /// What happened since, one entry per need.
    pub since: Vec<LaterActivity>,
    pub action_ids: Vec<String>,
    pub tenant: Option<String>,
}

/// A machine that is isolated according to the tenant's actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsolatedMachine {
    /// The newest isolation that succeeded.
    pub isolation: MachineAction,
    /// What happened since that isolation.
    pub since: LaterActivity,
}

impl IsolatedMachine {
    /// Finds machines whose newest successful isolation has no later successful release; the newest first. An isolation
    /// that failed, was cancelled or is still open does not count.
    pub fn find(actions: impl IntoIterator<Item = MachineAction>) -> Vec<Self> {
        let mut machines: HashMap<String, Vec<MachineAction>> = HashMap::new();
        for action in actions {
            let named = action.machine_id.as_ref();
            let named = named.or(action.computer_dns_name.as_ref());
            // No release can be matched to an action that names no machine.
            let key = named.map_or_else(|| action.id.to_string(), |name| name.to_lowercase());
            machines.entry(key).or_default().push(action);
        }
        let mut isolated: Vec<_> = machines.values().filter_map(|all| Self::of(all)).collect();
        isolated.sort_by_key(|machine| {
            let isolation = &machine.isolation;
            (Reverse(isolation.created_at), isolation.id)
        });
        isolated
    }

    fn of(actions: &[MachineAction]) -> Option<Self> {
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
        let since = LaterActivity::judge(
            &isolation.id.to_string(),
            &ActionType::Isolate,
            isolation.created_at,
            actions,
        );
        Some(Self {
            isolation: isolation.clone(),
            since,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ActionId;

    fn action(kind: ActionType, status: ActionStatus, second: i64) -> MachineAction {
        let id = ActionId::parse("7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2").unwrap();
        MachineAction {
            action_type: Some(kind),
            status: Some(status),
            created_at: Some(Timestamp::from_second(second).unwrap()),
            ..MachineAction::bare(id)
        }
    }

    #[test]
    fn the_newest_action_that_took_hold_tells_what_became_of_a_machine() {
        use ActionStatus as S;
        use ActionType as T;
        let at = |second| Timestamp::from_second(second).unwrap();
        let judge = |others: &[MachineAction]| {
            LaterActivity::judge("ours", &T::Isolate, Some(at(100)), others)
        };
        let released = action(T::Unisolate, S::Succeeded, 200);
        assert_eq!(judge(&[]), LaterActivity::Nothing);
        assert_eq!(
            judge(&[action(T::Unisolate, S::Succeeded, 50)]),
            LaterActivity::Nothing
        );
        assert_eq!(
            judge(std::slice::from_ref(&released)),
            LaterActivity::Released { at: at(200) }
        );
        assert_eq!(
            judge(&[action(T::Unisolate, S::Pending, 200)]),
            LaterActivity::ReleaseRequested { at: at(200) }
        );
        assert_eq!(
            judge(&[action(T::Isolate, S::Pending, 300), released.clone()]),
            LaterActivity::Repeated {
                action_type: T::Isolate,
                at: at(300),
                by: None
            }
        );
        for nothing in [
            action(T::Isolate, S::Cancelled, 300),
            action(T::Unisolate, S::Failed, 300),
            action(T::RestrictCodeExecution, S::Succeeded, 300),
            action(T::RunAntiVirusScan, S::Succeeded, 300),
        ] {
            assert_eq!(
                judge(&[released.clone(), nothing]),
                LaterActivity::Released { at: at(200) }
            );
        }
        assert_eq!(
            LaterActivity::judge(
                "ours",
                &T::Offboard,
                Some(at(100)),
                std::slice::from_ref(&released)
            ),
            LaterActivity::Nothing
        );
        // The journal stores timestamps with less precision than the record.
        let own = "7F3C2A10-5b1e-4a77-9a3d-0c5be0a1d9f2";
        let others = [action(T::Isolate, S::Succeeded, 101)];
        assert_eq!(
            LaterActivity::judge(own, &T::Isolate, Some(at(100)), &others),
            LaterActivity::Nothing
        );
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
            let found = IsolatedMachine::find(named).into_iter();
            let shown = found.map(|it| (it.isolation.created_at.unwrap().as_second(), it.since));
            shown.collect::<Vec<_>>()
        };
        let isolated = action(T::Isolate, S::Succeeded, 100);
        let nothing = LaterActivity::Nothing;
        let at = |second| Timestamp::from_second(second).unwrap();
        for (others, expected) in [
            (&[][..], Some((100, nothing.clone()))),
            (
                &[action(T::Isolate, S::Succeeded, 50)],
                Some((100, nothing.clone())),
            ),
            (
                &[action(T::Unisolate, S::Succeeded, 50)],
                Some((100, nothing.clone())),
            ),
            (
                &[action(T::Unisolate, S::Failed, 200)],
                Some((100, nothing)),
            ),
            (
                &[action(T::Unisolate, S::Pending, 200)],
                Some((100, LaterActivity::ReleaseRequested { at: at(200) })),
            ),
            (&[action(T::Unisolate, S::Succeeded, 200)], None),
            // An open isolation does not hide the release before it.
            (
                &[
                    action(T::Isolate, S::Pending, 300),
                    action(T::Unisolate, S::Succeeded, 200),
                ],
                None,
            ),
            (
                &[
                    action(T::Unisolate, S::Succeeded, 200),
                    action(T::Isolate, S::Succeeded, 300),
                ],
                Some((300, LaterActivity::Nothing)),
            ),
        ] {
            let all = [std::slice::from_ref(&isolated), others].concat();
            assert_eq!(find(&all), Vec::from_iter(expected), "{others:?}");
        }
    }

    #[test]
    fn every_kind_reads_back_from_its_cell() {
        for kind in FollowUp::ALL {
            assert_eq!(FollowUp::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(FollowUp::parse("pray"), None);
    }

    #[test]
    fn follow_ups_match_the_table_of_the_design() {
        use ActionStatus::*;
        use ActionType as T;
        let cases = [
            (T::Isolate, Succeeded, false, Some(FollowUp::Unisolate)),
            (
                T::RestrictCodeExecution,
                Succeeded,
                true,
                Some(FollowUp::Unrestrict),
            ),
            (T::Offboard, Succeeded, false, Some(FollowUp::ManualOnboard)),
            (
                T::StopAndQuarantineFile,
                Succeeded,
                false,
                Some(FollowUp::ManualRestoreFile),
            ),
            (T::RunAntiVirusScan, Succeeded, false, None),
            (T::LiveResponse, Succeeded, true, None),
            (T::Isolate, Cancelled, true, Some(FollowUp::CheckDevice)),
            (T::Isolate, Cancelled, false, None),
            (T::LiveResponse, Cancelled, true, None),
            (T::Unisolate, Cancelled, true, Some(FollowUp::CheckDevice)),
            (T::Isolate, Failed, true, None),
        ];
        for (action, status, was_in_progress, expected) in cases {
            assert_eq!(
                FollowUp::needed(&action, &status, was_in_progress),
                expected,
                "{action} {status}"
            );
        }
    }
}
