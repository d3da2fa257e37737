//! How the operations (cancel, release) differ: what they send, what they read, and what answers and records mean.

use std::time::Duration;

use crate::api::MAX_TOP;
use crate::engine::skip_rules::SkipRules;
use crate::model::{
    ActionId, ActionType, CancelReply, MachineAction, MachineHistory, Operation, ReadPage,
    ReleaseTarget, Request,
};
use crate::retry::{
    Absence, OwnAttempts, RecordVerdict, RetrySettings, SendVerdict, judge_absence, judge_cancel,
    judge_record, judge_release, judge_release_record,
};

use super::event::ReadQuery;
use super::row::Row;
use super::transition::RowEvent;

/// What a read requests for one row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Action(ActionId),
    Machine(String),
}

impl Operation {
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

    pub(super) fn judge(self, reply: &CancelReply) -> SendVerdict {
        match self {
            Self::Cancel => judge_cancel(reply),
            Self::Release => judge_release(reply),
        }
    }

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

    /// Returns whether a row may be sent when its state can't be read: an extra cancel has no effect, an extra release
    /// does.
    pub(super) fn may_send_unread(self) -> bool {
        match self {
            Self::Cancel => true,
            Self::Release => false,
        }
    }

    /// Returns the maximum age of a state when its row is sent. A machine may be isolated again at any moment.
    pub(super) fn stale_after(self, retry: &RetrySettings) -> Duration {
        match self {
            Self::Cancel => retry.stale_after,
            Self::Release => retry.stale_after / 5,
        }
    }

    /// Returns how long after a read without the row to read again. A release may still arrive within the grace period,
    /// and must not be sent twice.
    pub(super) fn pause_before_second_look(self, retry: &RetrySettings) -> Duration {
        match self {
            Self::Cancel => retry.missing_again,
            Self::Release => (2 * retry.missing_again).max(retry.timeout_grace),
        }
    }

    /// Returns whether a large plan first reads a page of the tenant's open actions.
    pub(super) fn plans_by_open_actions(self) -> bool {
        match self {
            Self::Cancel => true,
            Self::Release => false,
        }
    }

    /// Returns what to read for a row: for a release its machine's actions, until the release has an id of its own.
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

    /// Returns one query for rows with subjects of one kind.
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

    /// Returns what the records read for a row mean, or `None` if some must be missing.
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
                let undoing = ReleaseTarget {
                    action_type: row.action_type.as_ref()?,
                    comment_sent: (row.attempts > 0).then_some(&*row.comment),
                    requestors: &requestors,
                };
                let history = MachineHistory::of(row.id, &undoing, records)?;
                Some(RowEvent::History(Box::new(history)))
            }
        }
    }
}

impl Subject {
    /// Returns the subject of a record, of the same kind as `self`.
    pub(super) fn of(&self, record: &MachineAction) -> Option<Self> {
        match self {
            Self::Action(_) => Some(Self::Action(record.id)),
            Self::Machine(_) => {
                let machine = record.machine_id.as_deref()?;
                Some(Self::Machine(machine.to_lowercase()))
            }
        }
    }

    /// Returns what it proves that a page lacks a subject; `asked` subjects were requested.
    pub(super) fn absence(&self, page: &ReadPage, asked: usize, known_page: usize) -> Absence {
        match self {
            Self::Action(_) => judge_absence(page, asked, known_page),
            Self::Machine(_) if page.is_whole && page.listed < MAX_TOP.get() as usize => {
                Absence::Proven
            }
            // Part of a machine's actions is worse than none: request fewer machines at once.
            Self::Machine(_) => Absence::Unrelated,
        }
    }

    pub(super) fn is_machine(&self) -> bool {
        matches!(self, Self::Machine(_))
    }
}
