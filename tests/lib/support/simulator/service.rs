//! A model of the service: the state of each action, and the answers to calls that arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_cancel::engine::core::CallTicket;
use mde_cancel::model::{
    ActionId, ActionStatus, CancelReply, Destination, LaneId, MachineAction, Operation, Outcome,
    ReadReply, ReplyKind, RetryAfter, RowNumber,
};

use super::super::model_server::{ModelServer as _, RollingWindows, allowances};
use super::machines::Machines;
use super::{Fault, Simulation, id_of, reply, throttled, wall_at};

/// A call on the wire.
pub(super) struct Call {
    /// Identifies the waiting caller; `None` once its process is dead.
    pub(super) token: Option<CallTicket>,
    pub(super) lane: LaneId,
    pub(super) destination: Destination,
    /// The row of a cancel or a release, or the rows of a read.
    pub(super) rows: Vec<RowNumber>,
    /// Whether the actions of the rows' machines are read, and not those of the rows.
    pub(super) of_machines: bool,
    pub(super) comment: Arc<str>,
    pub(super) fault: Option<Fault>,
    /// The fraction of its time before it arrives.
    pub(super) part: f64,
    /// Until when its caller waits for an answer.
    pub(super) reply_at: Duration,
}

impl Call {
    pub(super) fn new(
        lane: LaneId,
        token: CallTicket,
        destination: Destination,
        rows: Vec<RowNumber>,
    ) -> Self {
        Self {
            token: Some(token),
            lane,
            destination,
            rows,
            of_machines: false,
            comment: Arc::from(""),
            fault: None,
            part: 0.0,
            reply_at: Duration::ZERO,
        }
    }
}

#[derive(Default)]
pub(super) struct Service {
    pub(super) machines: Machines,
    quotas: BTreeMap<(LaneId, Destination), RollingWindows>,
    /// Our cancels that changed an action: comment and time.
    cancelled: BTreeMap<RowNumber, (Arc<str>, Timestamp)>,
    /// Rows with exact answers, which the model can't judge.
    scripted: BTreeSet<RowNumber>,
    /// Cancels of ended actions.
    pub(super) wasted: usize,
    /// Calls over the quota.
    pub(super) throttled: usize,
}

impl Service {
    /// Counts a call that arrives. Returns whether it is within the quota.
    fn admits(&mut self, sim: &Simulation, call: &Call, now: Duration) -> bool {
        let quota = self.quotas.entry((call.lane, call.destination));
        let windows = sim.windows_of(call.destination);
        let quota = quota.or_insert_with(|| RollingWindows::new(&allowances(windows)));
        let fits = quota.admits(now);
        self.throttled += usize::from(!fits);
        fits
    }

    /// Counts a call with this exact answer, unless the answer means that no byte arrived.
    fn count<T>(&mut self, sim: &Simulation, call: &Call, now: Duration, answer: &ReplyKind<T>) {
        let has_arrived = !matches!(answer, ReplyKind::NotSent(_) | ReplyKind::NoSuchHost(_));
        if has_arrived {
            self.admits(sim, call, now);
        }
    }

    /// Returns the status of an action; our own cancel comes first.
    fn status(&self, sim: &mut Simulation, row: RowNumber, now: Duration) -> Option<ActionStatus> {
        if self.cancelled.contains_key(&row) {
            return Some(ActionStatus::Cancelled);
        }
        (sim.state_of)(row, now)
    }

    fn record(&self, sim: &Simulation, row: RowNumber, status: ActionStatus) -> MachineAction {
        let (comment, cancelled_at) = match self.cancelled.get(&row) {
            Some((comment, at)) => (Some(comment.to_string()), Some(*at)),
            None if status == ActionStatus::Cancelled => {
                let theirs = "by somebody else".to_owned();
                (Some(theirs), Some(Timestamp::UNIX_EPOCH))
            }
            None => (None, None),
        };
        MachineAction {
            status: Some(status),
            action_type: (sim.true_type_of)(row),
            cancellation_comment: comment,
            cancelled_at,
            ..MachineAction::bare(id_of(row))
        }
    }

    /// Processes a cancel or a release that has arrived, and answers it.
    pub(super) fn send(&mut self, sim: &mut Simulation, call: &Call, now: Duration) -> CancelReply {
        let row = call.rows[0];
        if call.fault.is_none()
            && let Some(reply) = (sim.cancel_answer)(id_of(row), now)
        {
            self.scripted.insert(row);
            self.count(sim, call, now, &reply.kind);
            return reply;
        }
        let is_admitted = self.admits(sim, call, now);
        if call.fault.is_none() && !is_admitted {
            return throttled(RetryAfter::Wait(Duration::from_secs(60)));
        }
        if sim.operation == Operation::Release {
            let is_worked_on = call.fault.is_none_or(Fault::is_worked_on);
            let reply = is_worked_on.then(|| self.machines.release(sim, call, now));
            return call.fault.map(Fault::reply).or(reply).unwrap();
        }
        let status = self.status(sim, row, now);
        let is_open = status.as_ref().is_some_and(ActionStatus::is_open);
        if is_open && call.fault.is_none_or(Fault::is_worked_on) {
            self.cancelled
                .insert(row, (Arc::clone(&call.comment), wall_at(now)));
        }
        if let Some(fault) = call.fault {
            return fault.reply();
        }
        let Some(status) = status else {
            return reply(ReplyKind::NotFound, Some(404));
        };
        self.wasted += usize::from(!is_open);
        if !is_open && sim.refuses_final {
            return reply(ReplyKind::Refused, Some(400));
        }
        let status = if is_open {
            ActionStatus::Cancelled
        } else {
            status
        };
        let record = self.record(sim, row, status);
        reply(ReplyKind::Answer(Some(record)), Some(200))
    }

    /// Answers a read of one or several actions, without those that it doesn't know.
    pub(super) fn read(&mut self, sim: &mut Simulation, call: &Call, now: Duration) -> ReadReply {
        let ids: Vec<ActionId> = call.rows.iter().copied().map(id_of).collect();
        if call.fault.is_none()
            && let Some(reply) = (sim.read_answer)(&ids, now)
        {
            self.scripted.extend(&call.rows);
            self.count(sim, call, now, &reply.kind);
            return reply;
        }
        let is_admitted = self.admits(sim, call, now);
        if let Some(fault) = call.fault {
            return fault.reply();
        }
        if !is_admitted {
            return throttled(RetryAfter::Wait(Duration::from_secs(60)));
        }
        if !sim.readable {
            return reply(ReplyKind::Forbidden, Some(403));
        }
        if sim.operation == Operation::Release {
            let page = self.machines.read(sim, call, now);
            return reply(ReplyKind::Answer(page), Some(200));
        }
        let mut records = Vec::new();
        for &row in &call.rows {
            if let Some(status) = self.status(sim, row, now) {
                records.push(self.record(sim, row, status));
            }
        }
        if call.destination == Destination::Get && records.is_empty() {
            return reply(ReplyKind::NotFound, Some(404));
        }
        reply(ReplyKind::Answer(records.into_iter().collect()), Some(200))
    }

    /// Compares an outcome with the service at that moment. `is_late`: a cancel may still arrive.
    pub(super) fn judge(
        &self,
        sim: &mut Simulation,
        row: RowNumber,
        outcome: Outcome,
        is_late: bool,
        now: Duration,
    ) {
        if self.scripted.contains(&row) {
            return;
        }
        if sim.operation == Operation::Release {
            let is_true = self.machines.bear_out(sim, row, outcome, is_late, now);
            assert!(is_true, "row {row} is {outcome}");
            return;
        }
        let status = self.status(sim, row, now);
        let is_ours = self.cancelled.contains_key(&row);
        let is_cancelled = status == Some(ActionStatus::Cancelled);
        let is_final = status.as_ref().is_some_and(ActionStatus::is_final);
        let agrees = match outcome {
            Outcome::Cancelled => is_ours,
            Outcome::AlreadyCancelled => is_cancelled && !is_ours,
            Outcome::AlreadyFinal | Outcome::TooLate => is_final && !is_cancelled,
            Outcome::NotFound => status.is_none(),
            Outcome::Failed | Outcome::Forbidden | Outcome::Skipped => !is_ours || is_late,
            Outcome::Unknown | Outcome::Accepted => true,
            // The core never sees such rows.
            Outcome::Released
            | Outcome::AlreadyReleased
            | Outcome::Invalid
            | Outcome::Duplicate
            | Outcome::NotAttempted => false,
        };
        assert!(
            agrees,
            "row {row} is {outcome}, and the service has {status:?}, cancelled by us: {is_ours}"
        );
    }
}
