//! What differs between the operations: what is sent, what is read, and what an answer or a record means.

use std::time::Duration;

use crate::api::MAX_TOP;
use crate::engine::skip_rules::SkipRules;
use crate::model::{
    ActionId, ActionType, CancelReply, MachineAction, MachineHistory, Operation, ReadPage, Request,
    Undoing,
};
use crate::retry::{
    Absence, OwnAttempts, RecordVerdict, RetrySettings, SendVerdict, judge_absence, judge_cancel,
    judge_record, judge_release, judge_release_record,
};

use super::event::ReadQuery;
use super::row::Row;
use super::transition::RowEvent;

/// What a read asks for on behalf of one row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Action(ActionId),
    /// In lower case.
    Machine(String),
}

impl Operation {
    /// Says what is sent for a row.
    pub(super) fn request(self, row: &Row) -> Request {
        match self {
            Self::Cancel => Request::Cancel(row.id),
            Self::Release => {
                let machine = row.context.machine_id.clone().unwrap_or_default();
                match row.action_type {
                    Some(ActionType::UnrestrictCodeExecution) => Request::Unrestrict(machine),
                    _ => Request::Unisolate(machine),
                }
            }
        }
    }

    /// Judges the answer to one call.
    pub(super) fn judge(self, reply: &CancelReply) -> SendVerdict {
        match self {
            Self::Cancel => judge_cancel(reply),
            Self::Release => judge_release(reply),
        }
    }

    /// Judges a record that was read, or came with an answer.
    pub(super) fn judge_record(
        self,
        record: &MachineAction,
        history: &OwnAttempts<'_>,
    ) -> RecordVerdict {
        match self {
            Self::Cancel => judge_record(record, history),
            Self::Release => judge_release_record(record, history),
        }
    }

    /// Returns whether a call may leave although nobody can look first: a cancel too many has no effect, a release has one.
    pub(super) fn may_send_unread(self) -> bool {
        match self {
            Self::Cancel => true,
            Self::Release => false,
        }
    }

    /// Returns how old a state may be on which a call is based: a machine may be cut off again at any moment.
    pub(super) fn stale_after(self, retry: &RetrySettings) -> Duration {
        match self {
            Self::Cancel => retry.stale_after,
            Self::Release => retry.stale_after / 5,
        }
    }

    /// Returns how long after a read that lacked something it is looked for once more. Of a release that may be on its way
    /// still, a second one must not be sent.
    pub(super) fn pause_before_second_look(self, retry: &RetrySettings) -> Duration {
        match self {
            Self::Cancel => retry.missing_again,
            Self::Release => (2 * retry.missing_again).max(retry.timeout_grace),
        }
    }

    /// Returns whether a plan of many rows begins with a page of what is open in the tenant.
    pub(super) fn plans_by_open_actions(self) -> bool {
        match self {
            Self::Cancel => true,
            Self::Release => false,
        }
    }

    /// Says what is read for a row: its action, or what became of its machine, until the release is known by its id.
    pub(super) fn subject(self, row: &Row) -> Subject {
        match self {
            Self::Cancel => Subject::Action(row.id),
            Self::Release => match row.response_action {
                Some(id) if row.state.is_watched() => Subject::Action(id),
                _ => {
                    let machine = row.context.machine_id.as_deref().unwrap_or_default();
                    Subject::Machine(machine.to_lowercase())
                }
            },
        }
    }

    /// Says what one call asks for on behalf of several rows that read the same kind of thing.
    pub(super) fn read_query<'rows>(self, rows: impl Iterator<Item = &'rows Row>) -> ReadQuery {
        let (mut actions, mut machines) = (Vec::new(), Vec::new());
        for row in rows {
            match self.subject(row) {
                Subject::Action(id) => actions.push(id),
                Subject::Machine(machine) => machines.push(machine),
            }
        }
        if machines.is_empty() {
            ReadQuery::Actions(actions)
        } else {
            ReadQuery::Machines(machines)
        }
    }

    /// Says what the records that were read for a row mean; `None` where they can't be all.
    pub(super) fn on_records(
        self,
        row: &Row,
        rules: &SkipRules,
        records: &[MachineAction],
    ) -> Option<RowEvent> {
        match self.subject(row) {
            Subject::Action(_) => {
                let record = records.first()?;
                Some(RowEvent::Found(Box::new(record.clone())))
            }
            Subject::Machine(_) => {
                let named = rules.selection.requestors.iter().map(String::as_str);
                let requestors = row.context.requestor.as_deref().into_iter();
                let requestors: Vec<_> = requestors.chain(named).collect();
                let undoing = Undoing {
                    id: row.id,
                    action_type: row.action_type.as_ref()?,
                    comment_sent: (row.attempts > 0).then_some(&*row.comment),
                    requestors: &requestors,
                };
                let history = MachineHistory::of(&undoing, records)?;
                Some(RowEvent::History(Box::new(history)))
            }
        }
    }
}

impl Subject {
    /// Returns what a record tells about, where this is what was asked for.
    pub(super) fn of(&self, record: &MachineAction) -> Option<Self> {
        match self {
            Self::Action(_) => Some(Self::Action(record.id)),
            Self::Machine(_) => {
                let machine = record.machine_id.as_deref()?;
                Some(Self::Machine(machine.to_lowercase()))
            }
        }
    }

    /// Says what is proven about whatever a page doesn't tell of; so many subjects were asked for.
    pub(super) fn absence(&self, page: &ReadPage, asked: usize, known_page: usize) -> Absence {
        match self {
            Self::Action(_) => judge_absence(page, asked, known_page),
            Self::Machine(_) if page.is_whole && page.listed < MAX_TOP.get() as usize => {
                Absence::Proven
            }
            // A part of what became of a machine is worse than nothing: fewer machines are asked for at once.
            Self::Machine(_) => Absence::Unrelated,
        }
    }

    pub(super) fn is_machine(&self) -> bool {
        matches!(self, Self::Machine(_))
    }
}
