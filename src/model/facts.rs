//! What is known of an action when a rule looks at it: from the input, from the service's record, or from both.

use jiff::Timestamp;

use super::action::{ActionStatus, ActionType, MachineAction};
use super::row::RowContext;

/// One look at an action. The service's word stands before the input's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Its type.
    pub action_type: Option<&'a ActionType>,
    /// Its status; only ever from a record.
    pub status: Option<&'a ActionStatus>,
    /// Who asked for it.
    pub requestor: Option<&'a str>,
    /// The machine's id.
    pub machine_id: Option<&'a str>,
    /// The machine's name.
    pub computer_dns_name: Option<&'a str>,
    /// When it was asked for.
    pub created_at: Option<Timestamp>,
    /// Whether nothing more will be known before the action is sent.
    pub are_complete: bool,
}

impl<'a> Facts<'a> {
    /// Returns what the input tells; a record is to be read yet.
    pub fn of_input(context: &'a RowContext) -> Self {
        Self {
            action_type: context.action_type.as_ref(),
            status: None,
            requestor: context.requestor.as_deref(),
            machine_id: context.machine_id.as_deref(),
            computer_dns_name: context.computer_dns_name.as_deref(),
            created_at: None,
            are_complete: false,
        }
    }

    /// Returns what the input tells where nothing will be read.
    pub fn of_input_alone(context: &'a RowContext) -> Self {
        Self {
            are_complete: true,
            ..Self::of_input(context)
        }
    }

    /// Returns what a record tells, and the input where the record is silent.
    pub fn of_record(context: &'a RowContext, record: &'a MachineAction) -> Self {
        Self {
            action_type: record.action_type.as_ref().or(context.action_type.as_ref()),
            status: record.status.as_ref(),
            requestor: record.requestor.as_deref().or(context.requestor.as_deref()),
            machine_id: record
                .machine_id
                .as_deref()
                .or(context.machine_id.as_deref()),
            computer_dns_name: record
                .computer_dns_name
                .as_deref()
                .or(context.computer_dns_name.as_deref()),
            created_at: record.created_at,
            are_complete: true,
        }
    }
}
