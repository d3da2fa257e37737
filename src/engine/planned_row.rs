//! One row of a plan that is printed: what the input and the record tell of it, and what becomes of it.

use jiff::Timestamp;

use crate::model::{
    ActionId, ActionStatus, ActionType, FollowUp, MachineAction, Outcome, ReportRow, RowContext,
};
use crate::store::NewRow;

use super::plan::follow_up;
use super::plan_summary::{PlanLine, Verdict};

/// A row with what becomes of it.
#[derive(Clone, Debug)]
pub struct PlannedRow {
    row: NewRow,
    verdict: Verdict,
    /// Why it is not sent, where its settlement does not say.
    reason: String,
    record: Option<MachineAction>,
    read_at: Option<Timestamp>,
}

impl PlannedRow {
    /// Makes a row of which the input tells all that will be known.
    pub fn unread(row: NewRow) -> Self {
        let verdict = match &row.settlement {
            Some(settlement) => Verdict::Settled(settlement.outcome),
            None => Verdict::Send,
        };
        Self {
            row,
            verdict,
            reason: String::new(),
            record: None,
            read_at: None,
        }
    }

    /// Makes a row of an action that the tenant listed, and that was planned by its record.
    pub(super) fn found(row: NewRow, record: MachineAction, at: Timestamp) -> Self {
        Self {
            record: Some(record),
            read_at: Some(at),
            ..Self::unread(row)
        }
    }

    /// Returns the action, where its cancel would be sent.
    pub fn to_send(&self) -> Option<ActionId> {
        let id = self.row.id.as_ref().ok().copied();
        id.filter(|_| self.verdict == Verdict::Send)
    }

    /// Takes in that its record cannot be read.
    pub fn leave_unread(&mut self, reason: &str) {
        self.verdict = Verdict::Unread;
        reason.clone_into(&mut self.reason);
    }

    /// Takes in what was read, and what it means.
    pub(super) fn read(
        &mut self,
        record: Option<MachineAction>,
        verdict: Verdict,
        reason: String,
        at: Timestamp,
    ) {
        self.record = record;
        self.verdict = verdict;
        self.reason = reason;
        self.read_at = Some(at);
    }

    /// Returns what the input tells.
    pub(super) fn context(&self) -> &RowContext {
        &self.row.context
    }

    /// Returns what becomes of it.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn reason(&self) -> &str {
        let settlement = self.row.settlement.as_ref();
        settlement.map_or(self.reason.as_str(), |settlement| {
            settlement.reason.as_str()
        })
    }

    /// Returns what the record says, and what the input says where it is silent.
    fn told<'a, T: ?Sized>(
        &'a self,
        record: impl FnOnce(&'a MachineAction) -> Option<&'a T>,
        input: impl FnOnce(&'a RowContext) -> Option<&'a T>,
    ) -> Option<&'a T> {
        let told = self.record.as_ref().and_then(record);
        told.or_else(|| input(&self.row.context))
    }

    fn action_type(&self) -> Option<&str> {
        let told = self.told(|it| it.action_type.as_ref(), |it| it.action_type.as_ref());
        told.map(ActionType::as_str)
    }

    fn status(&self) -> Option<&str> {
        let status = self.record.as_ref()?.status.as_ref();
        status.map(ActionStatus::as_str)
    }

    fn requestor(&self) -> Option<&str> {
        self.told(|it| it.requestor.as_deref(), |it| it.requestor.as_deref())
    }

    fn machine_id(&self) -> Option<&str> {
        self.told(|it| it.machine_id.as_deref(), |it| it.machine_id.as_deref())
    }

    fn machine_name(&self) -> Option<&str> {
        self.told(
            |it| it.computer_dns_name.as_deref(),
            |it| it.computer_dns_name.as_deref(),
        )
    }

    /// Returns what the machine of an action that is not cancelled still needs.
    fn follow_up(&self) -> Option<FollowUp> {
        match (&self.row.settlement, self.verdict) {
            (Some(settlement), _) => settlement.follow_up,
            (None, Verdict::Settled(outcome)) => follow_up(outcome, self.record.as_ref()?),
            (None, _) => None,
        }
    }

    /// Returns what a summary looks at.
    pub fn line(&self) -> PlanLine<'_> {
        PlanLine {
            id: self.row.id.as_ref().ok().copied(),
            verdict: self.verdict,
            reason: self.reason(),
            source: &self.row.source,
            tenant: self.row.context.tenant.as_deref(),
            comment: self.row.context.comment.as_deref(),
            action_type: self.action_type(),
            status: self.status(),
            requestor: self.requestor(),
            request_source: self
                .record
                .as_ref()
                .and_then(|record| record.request_source.as_deref()),
            machine_id: self.machine_id(),
            computer_dns_name: self.machine_name(),
            created_at: self.record.as_ref().and_then(|record| record.created_at),
            follow_up: self.follow_up(),
            is_checked: self.record.is_some(),
        }
    }

    /// Returns the row as the report would show it before anything is sent.
    pub fn report_row(&self) -> ReportRow {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let record = self.record.as_ref();
        ReportRow {
            action_id: match &self.row.id {
                Ok(id) => id.to_string(),
                Err(text) => text.clone(),
            },
            outcome: match self.verdict {
                Verdict::Settled(outcome) => outcome,
                Verdict::Send | Verdict::Unread => Outcome::NotAttempted,
            },
            reason: self.reason().to_owned(),
            action_status: owned(self.status()),
            action_type: owned(self.action_type()),
            machine_id: owned(self.machine_id()),
            computer_dns_name: owned(self.machine_name()),
            follow_up: owned(self.follow_up().map(FollowUp::as_str)),
            attempts: 0,
            http_status: None,
            error_code: None,
            correlation_id: None,
            comment: self.row.context.comment.clone(),
            first_sent_at: None,
            settled_at: None,
            tenant: self.row.context.tenant.clone(),
            source: self.row.source.to_string(),
            run_id: String::new(),
            status_before: owned(self.status()),
            requestor: owned(self.requestor()),
            requestor_comment: record.and_then(|record| record.requestor_comment.clone()),
            request_source: record.and_then(|record| record.request_source.clone()),
            action_scope: record.and_then(|record| record.action_scope.clone()),
            created_at: record.and_then(|record| record.created_at),
            checked_at: self.read_at,
            comment_sent: None,
            cancelled_by: match self.verdict {
                Verdict::Settled(Outcome::AlreadyCancelled) => {
                    record.and_then(MachineAction::cancelled_by)
                }
                _ => None,
            },
            plan: None,
        }
    }
}
