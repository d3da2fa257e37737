//! What is known of an action when the policy judges it: from the input, or from the service's record.

use jiff::Timestamp;

use super::action::{ActionStatus, ActionType, MachineAction};
use super::row::RowContext;

/// What one source says about an action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    pub action_type: Option<&'a ActionType>,
    /// Only ever from a record.
    pub status: Option<&'a ActionStatus>,
    pub requestor: Option<&'a str>,
    pub machine_id: Option<&'a str>,
    pub computer_dns_name: Option<&'a str>,
    pub created_at: Option<Timestamp>,
}

impl<'a> Facts<'a> {
    /// Takes the input's word.
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

    /// Takes the record's word, and nothing where it is silent.
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

    /// Takes another source's word where this one is silent.
    #[must_use]
    pub fn or(self, other: &Facts<'a>) -> Self {
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
