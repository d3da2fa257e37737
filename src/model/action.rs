//! A machine action as the service records it (MDE `machineaction.md`), with its status and type.
//!
//! Parsing is tolerant, because the service is: unknown words are kept as text, and every field but the id is optional.

use std::fmt;

use jiff::Timestamp;

use super::action_id::ActionId;
use super::clean_text::folded;
use super::report_row::RowContext;

/// The status that the service reports. It may differ from the state of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionStatus {
    Pending,
    InProgress,
    Succeeded,
    Failed,
    /// The device did not answer in time.
    TimeOut,
    Cancelled,
    /// An unknown word; never treated as final.
    Other(String),
}

impl ActionStatus {
    /// Ignores case, and accepts the observed spellings `Canceled` and `Timeout`.
    pub fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "pending" => Self::Pending,
            "inprogress" => Self::InProgress,
            "succeeded" => Self::Succeeded,
            "failed" => Self::Failed,
            "timeout" => Self::TimeOut,
            "cancelled" | "canceled" => Self::Cancelled,
            _ => Self::Other(text.to_owned()),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "InProgress",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::TimeOut => "TimeOut",
            Self::Cancelled => "Cancelled",
            Self::Other(text) => text,
        }
    }

    /// Returns whether the action ended by anything but a cancel.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::TimeOut)
    }

    /// Returns whether a cancel can still have an effect.
    pub fn is_open(&self) -> bool {
        !self.is_final() && *self != Self::Cancelled
    }
}

impl fmt::Display for ActionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActionType {
    RunAntiVirusScan,
    /// Removes the machine from the service.
    Offboard,
    LiveResponse,
    CollectInvestigationPackage,
    /// Cuts the machine off the network.
    Isolate,
    Unisolate,
    StopAndQuarantineFile,
    /// Allows only code signed by Microsoft.
    RestrictCodeExecution,
    UnrestrictCodeExecution,
    RequestSample,
    /// The service's own `Unknown`.
    Unknown,
    /// A word that we don't know.
    Other(String),
}

impl ActionType {
    /// Parses the names used by the API, the portal, its exports and the audit log. Ignores case, blanks, `_`, `-` and
    /// hidden characters. An unknown name is kept as given.
    pub fn parse(text: &str) -> Self {
        let folded = folded(text);
        let word = match folded.as_str() {
            "liveresponse" => "liveresponse",
            "scanresponse" => "antivirusscan",
            "forensicsresponse" => "collectinvestigationpackage",
            // `IsolationResponse` and `RestrictExecutionResponse` stay unknown: the portal uses one name for both
            // directions.
            word => word.strip_suffix("response").unwrap_or(word),
        };
        match word {
            "runantivirusscan" | "antivirusscan" => Self::RunAntiVirusScan,
            "offboard" | "offboarddevice" | "offboardmachine" => Self::Offboard,
            "liveresponse" => Self::LiveResponse,
            "collectinvestigationpackage" => Self::CollectInvestigationPackage,
            "isolate" | "isolatedevice" | "isolatemachine" => Self::Isolate,
            "unisolate"
            | "unisolatedevice"
            | "unisolatemachine"
            | "releasefromisolation"
            | "releasedevicefromisolation"
            | "releasemachinefromisolation" => Self::Unisolate,
            "stopandquarantinefile" => Self::StopAndQuarantineFile,
            "restrictcodeexecution" | "restrictappexecution" => Self::RestrictCodeExecution,
            "unrestrictcodeexecution"
            | "unrestrictappexecution"
            | "removeapprestriction"
            | "removeapprestrictions" => Self::UnrestrictCodeExecution,
            "requestsample" => Self::RequestSample,
            "unknown" => Self::Unknown,
            _ => Self::Other(text.trim().to_owned()),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::RunAntiVirusScan => "RunAntiVirusScan",
            Self::Offboard => "Offboard",
            Self::LiveResponse => "LiveResponse",
            Self::CollectInvestigationPackage => "CollectInvestigationPackage",
            Self::Isolate => "Isolate",
            Self::Unisolate => "Unisolate",
            Self::StopAndQuarantineFile => "StopAndQuarantineFile",
            Self::RestrictCodeExecution => "RestrictCodeExecution",
            Self::UnrestrictCodeExecution => "UnrestrictCodeExecution",
            Self::RequestSample => "RequestSample",
            Self::Unknown => "Unknown",
            Self::Other(text) => text,
        }
    }

    /// Returns whether a cancel leaves the device cut off; cancelling such an action needs explicit permission.
    pub fn is_protected(&self) -> bool {
        matches!(self, Self::Unisolate | Self::UnrestrictCodeExecution)
    }

    /// Returns whether the type is known. An unknown type may be a protected one.
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown | Self::Other(_))
    }

    /// Returns whether the machine stays changed after this action succeeded.
    pub fn changes_machine(&self) -> bool {
        Self::THAT_CHANGE_MACHINES.contains(self)
    }

    pub const THAT_CHANGE_MACHINES: [ActionType; 4] = [
        Self::Isolate,
        Self::RestrictCodeExecution,
        Self::Offboard,
        Self::StopAndQuarantineFile,
    ];

    /// Returns the permission that cancelling needs (MDE `cancel-machine-action.md`), if known.
    pub fn permission(&self) -> Option<&'static str> {
        match self {
            Self::Isolate | Self::Unisolate => Some("Machine.Isolate"),
            Self::RestrictCodeExecution | Self::UnrestrictCodeExecution => {
                Some("Machine.RestrictExecution")
            }
            Self::RunAntiVirusScan => Some("Machine.Scan"),
            Self::CollectInvestigationPackage => Some("Machine.CollectForensics"),
            Self::Offboard => Some("Machine.Offboard"),
            Self::StopAndQuarantineFile => Some("Machine.StopAndQuarantine"),
            Self::LiveResponse => Some("Machine.LiveResponse"),
            Self::RequestSample | Self::Unknown | Self::Other(_) => None,
        }
    }
}

impl fmt::Display for ActionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineAction {
    pub id: ActionId,
    pub status: Option<ActionStatus>,
    pub action_type: Option<ActionType>,
    /// A user name, or the name or id of an app.
    pub requestor: Option<String>,
    pub requestor_comment: Option<String>,
    /// For example `Portal` or `PublicApi`.
    pub request_source: Option<String>,
    /// `Full` or `Selective` for isolations, `Quick` or `Full` for scans.
    pub action_scope: Option<String>,
    /// 40 hexadecimal digits.
    pub machine_id: Option<String>,
    pub computer_dns_name: Option<String>,
    pub created_at: Option<Timestamp>,
    pub updated_at: Option<Timestamp>,
    pub cancellation_requestor: Option<String>,
    pub cancellation_comment: Option<String>,
    pub cancelled_at: Option<Timestamp>,
    /// Whether a live-response command completed: then the work was done, even if the status is Cancelled.
    pub command_completed: bool,
}

impl MachineAction {
    /// Returns a record in which only the id is known.
    pub fn bare(id: ActionId) -> Self {
        Self {
            id,
            status: None,
            action_type: None,
            requestor: None,
            requestor_comment: None,
            request_source: None,
            action_scope: None,
            machine_id: None,
            computer_dns_name: None,
            created_at: None,
            updated_at: None,
            cancellation_requestor: None,
            cancellation_comment: None,
            cancelled_at: None,
            command_completed: false,
        }
    }

    /// Returns who cancelled the action, with their comment.
    pub fn cancelled_by(&self) -> Option<String> {
        match (&self.cancellation_requestor, &self.cancellation_comment) {
            (Some(requestor), Some(comment)) => Some(format!("{requestor}: {comment}")),
            (Some(requestor), None) => Some(requestor.clone()),
            (None, Some(comment)) => Some(format!("unknown: {comment}")),
            (None, None) => None,
        }
    }
}

/// What one source (a record or an input row) says about an action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActionFacts<'a> {
    pub action_type: Option<&'a ActionType>,
    /// Only records have a status.
    pub status: Option<&'a ActionStatus>,
    pub requestor: Option<&'a str>,
    pub machine_id: Option<&'a str>,
    pub computer_dns_name: Option<&'a str>,
    pub created_at: Option<Timestamp>,
}

impl<'a> ActionFacts<'a> {
    pub fn of_input(context: &'a RowContext) -> Self {
        Self {
            action_type: context.action_type.as_ref(),
            status: None,
            requestor: context.requestor.as_deref(),
            machine_id: context.machine_id.as_deref(),
            computer_dns_name: context.computer_dns_name.as_deref(),
            created_at: None,
        }
    }

    pub fn of_record(record: &'a MachineAction) -> Self {
        Self {
            action_type: record.action_type.as_ref(),
            status: record.status.as_ref(),
            requestor: record.requestor.as_deref(),
            machine_id: record.machine_id.as_deref(),
            computer_dns_name: record.computer_dns_name.as_deref(),
            created_at: record.created_at,
        }
    }

    /// Fills the missing fields from `other`.
    #[must_use]
    pub fn or(self, other: &ActionFacts<'a>) -> Self {
        Self {
            action_type: self.action_type.or(other.action_type),
            status: self.status.or(other.status),
            requestor: self.requestor.or(other.requestor),
            machine_id: self.machine_id.or(other.machine_id),
            computer_dns_name: self.computer_dns_name.or(other.computer_dns_name),
            created_at: self.created_at.or(other.created_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_seen_in_the_field_are_understood() {
        assert_eq!(ActionStatus::parse("canceled"), ActionStatus::Cancelled);
        assert_eq!(ActionStatus::parse("Timeout"), ActionStatus::TimeOut);
        assert_eq!(ActionStatus::parse("INPROGRESS"), ActionStatus::InProgress);
        for word in [" isolate ", "ISO LATE", "Iso-late\u{200B}"] {
            assert_eq!(ActionType::parse(word), ActionType::Isolate, "{word:?}");
        }
        for (word, action_type) in [
            ("IsolateResponse", ActionType::Isolate),
            ("UnIsolateResponse", ActionType::Unisolate),
            ("AntivirusScanResponse", ActionType::RunAntiVirusScan),
            ("ScanResponse", ActionType::RunAntiVirusScan),
            (
                "CollectInvestigationPackageResponse",
                ActionType::CollectInvestigationPackage,
            ),
            ("ForensicsResponse", ActionType::CollectInvestigationPackage),
            ("LiveResponse", ActionType::LiveResponse),
            ("Release from isolation", ActionType::Unisolate),
            ("RestrictAppExecution", ActionType::RestrictCodeExecution),
            ("RemoveAppRestrictions", ActionType::UnrestrictCodeExecution),
        ] {
            assert_eq!(ActionType::parse(word), action_type, "{word}");
        }
        for word in [
            "IsolationResponse",
            "RestrictExecutionResponse",
            "Response",
            "",
        ] {
            assert_eq!(ActionType::parse(word), ActionType::Other(word.to_owned()));
        }
        let odd = ActionType::parse(" Isolate\u{200B}! ");
        assert_eq!(odd, ActionType::Other("Isolate\u{200B}!".to_owned()));
    }

    #[test]
    fn an_unknown_status_is_open_and_keeps_its_text() {
        let odd = ActionStatus::parse("Queued2");
        assert!(odd.is_open() && !odd.is_final());
        assert_eq!(odd.as_str(), "Queued2");
    }

    #[test]
    fn only_the_two_releasing_types_are_protected() {
        let protected: Vec<_> = [
            "Isolate",
            "Unisolate",
            "LiveResponse",
            "UnrestrictCodeExecution",
            "Offboard",
        ]
        .into_iter()
        .filter(|name| ActionType::parse(name).is_protected())
        .collect();
        assert_eq!(protected, ["Unisolate", "UnrestrictCodeExecution"]);
    }
}
