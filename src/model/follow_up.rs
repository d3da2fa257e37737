//! Manual work that remains on a machine after its actions.
//!
//! [`FollowUp::needed`] derives the work from an action's type and last status.

use super::action::{ActionStatus, ActionType};
use super::machine_history::LaterActivity;

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
    /// It was cut off by somebody else before, or again since: leave it so.
    Keep,
}

impl FollowUp {
    /// Every kind, the most severe first.
    pub const ALL: [FollowUp; 7] = [
        FollowUp::Unisolate,
        FollowUp::Unrestrict,
        FollowUp::ManualRequestAgain,
        FollowUp::ManualOnboard,
        FollowUp::ManualRestoreFile,
        FollowUp::CheckDevice,
        FollowUp::Keep,
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
            Self::Keep => "keep",
        }
    }

    /// Returns whether there is something to do.
    pub fn is_work(self) -> bool {
        self != Self::Keep
    }

    /// Returns whether reports show it in red: the machine is cut off, or lost to the tenant.
    pub fn is_critical(self) -> bool {
        match self {
            Self::Unisolate | Self::Unrestrict | Self::ManualRequestAgain | Self::ManualOnboard => {
                true
            }
            Self::CheckDevice | Self::ManualRestoreFile | Self::Keep => false,
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
            Self::Keep => {
                "leave the machine as it is: somebody else had isolated or restricted it before, or it was done again, as `since` says"
            }
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
            | Self::ManualRestoreFile
            | Self::Keep => None,
        }
    }

    /// Returns the application permission that the call needs (MDE `unisolate-machine.md`,
    /// `unrestrict-code-execution.md`, `get-machineactions-collection.md`), if a call helps.
    pub fn permission(self) -> Option<&'static str> {
        match self {
            Self::Unisolate => Some("Machine.Isolate"),
            Self::Unrestrict => Some("Machine.RestrictExecution"),
            Self::CheckDevice => Some("Machine.Read.All"),
            Self::ManualRequestAgain
            | Self::ManualOnboard
            | Self::ManualRestoreFile
            | Self::Keep => None,
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
            Self::ManualRequestAgain
            | Self::ManualOnboard
            | Self::ManualRestoreFile
            | Self::Keep => None,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

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
