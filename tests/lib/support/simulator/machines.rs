//! A model of machines for releases: who isolated and released each, and what lists show of that.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mde_cancel::model::{
    ActionStatus, ActionType, CancelReply, MachineAction, Outcome, ReadPage, ReplyKind, RowNumber,
    ServiceError,
};

use super::super::nth_id;
use super::service::Call;
use super::{OtherAction, Simulation, id_of, reply, wall_at};

/// How long a new action is in no list, and how long a machine takes to be released.
const LAG: Duration = Duration::from_secs(15);
const TAKES: Duration = Duration::from_secs(25);

/// An older isolation by others is known when a release leaves: states are read again after a minute, and a read takes
/// half a minute at most.
const KNOWN: Duration = Duration::from_secs(60 + 30 + LAG.as_secs());

/// Who isolated the machines by mistake.
pub(super) const WAVE: &str = "soc-bot";

#[derive(Default)]
pub(super) struct Machines {
    /// Our releases that were processed: comment and time.
    releases: BTreeMap<RowNumber, Vec<(String, Timestamp)>>,
}

pub(crate) fn machine_of(row: RowNumber) -> String {
    format!("{:040x}", row.0)
}

pub(super) fn row_of_machine(machine: &str) -> RowNumber {
    RowNumber(u32::from_str_radix(machine, 16).unwrap())
}

impl Machines {
    /// Returns all actions of a row's machine up to now: the mistaken isolation first, our releases last.
    fn actions(&self, sim: &Simulation, row: RowNumber, now: Duration) -> Vec<MachineAction> {
        let start = wall_at(Duration::ZERO);
        let isolated_at = start - SignedDuration::from_hours(1);
        let done = |kind, by: &str, at| MachineAction {
            action_type: Some(kind),
            status: Some(ActionStatus::Succeeded),
            requestor: Some(by.to_owned()),
            requestor_comment: Some("by hand".to_owned()),
            machine_id: Some(machine_of(row)),
            created_at: Some(at),
            ..MachineAction::bare(id_of(row))
        };
        let mut actions = vec![done(ActionType::Isolate, WAVE, isolated_at)];
        if let Some(other) = (sim.others)(row) {
            let (second, kind, by) = match other {
                OtherAction::Isolates(second) => (second, ActionType::Isolate, "ana"),
                OtherAction::Releases(second) => (second, ActionType::Unisolate, "bob"),
            };
            let at = start + SignedDuration::from_secs(second);
            actions.push(MachineAction {
                id: nth_id(1 << 32 | row.0 as usize),
                ..done(kind, by, at)
            });
        }
        for (nth, (comment, at)) in (2..).zip(self.ours(row)) {
            let age = wall_at(now).duration_since(*at).unsigned_abs();
            let is_over = age >= TAKES;
            actions.push(MachineAction {
                id: nth_id(nth << 32 | row.0 as usize),
                status: Some(if is_over {
                    ActionStatus::Succeeded
                } else {
                    ActionStatus::Pending
                }),
                requestor_comment: Some(comment.clone()),
                ..done(ActionType::Unisolate, "app", *at)
            });
        }
        actions.retain(|action| action.created_at <= Some(wall_at(now)));
        actions
    }

    fn ours(&self, row: RowNumber) -> &[(String, Timestamp)] {
        self.releases.get(&row).map_or(&[], Vec::as_slice)
    }

    /// Asserts that a release may leave now: the machine isn't excluded, and no known isolation by others is ignored.
    pub(super) fn check_release(&self, sim: &Simulation, row: RowNumber, now: Duration) {
        let excluded = sim.rules.exclude.lines();
        assert!(
            !excluded.contains(&machine_of(row)),
            "row {row} is excluded"
        );
        for action in self.actions(sim, row, now) {
            let age = wall_at(now).duration_since(action.created_at.unwrap());
            let is_known = age.unsigned_abs() > KNOWN;
            let by_others = action.requestor.as_deref() == Some("ana");
            assert!(!(by_others && is_known), "row {row} is sent to: {action:?}");
        }
    }

    /// Processes a release that has arrived, and answers it.
    pub(super) fn release(&mut self, sim: &Simulation, call: &Call, now: Duration) -> CancelReply {
        let row = call.rows[0];
        let mut actions = self.actions(sim, row, now);
        assert!(self.ours(row).is_empty(), "a second release: {actions:#?}");
        if actions
            .iter()
            .any(|it| it.status == Some(ActionStatus::Pending))
        {
            let error = ServiceError {
                code: "ActiveRequestAlreadyExists".to_owned(),
                ..ServiceError::default()
            };
            return CancelReply {
                error: Some(error),
                ..reply(ReplyKind::Refused, Some(400))
            };
        }
        let release = (call.comment.to_string(), wall_at(now));
        self.releases.entry(row).or_default().push(release);
        actions = self.actions(sim, row, now);
        reply(ReplyKind::Answer(actions.pop()), Some(201))
    }

    /// Returns what a list of the machines shows, or the records of our own releases if they are read by their ids.
    pub(super) fn read(&self, sim: &Simulation, call: &Call, now: Duration) -> ReadPage {
        let all = call.rows.iter();
        let all = all.flat_map(|row| self.actions(sim, *row, now));
        let is_shown = |action: &MachineAction| {
            let age = wall_at(now).duration_since(action.created_at.unwrap());
            let is_ours = action.requestor.as_deref() == Some("app");
            if call.of_machines {
                age.unsigned_abs() >= LAG
            } else {
                is_ours
            }
        };
        all.filter(is_shown).collect()
    }

    /// Returns whether an outcome matches what happened to the machine; `is_late` if a release may still arrive.
    pub(super) fn bear_out(
        &self,
        sim: &Simulation,
        row: RowNumber,
        outcome: Outcome,
        is_late: bool,
        now: Duration,
    ) -> bool {
        let other = (sim.others)(row);
        let start = wall_at(Duration::ZERO);
        let has_happened = |second| wall_at(now) >= start + SignedDuration::from_secs(second);
        match outcome {
            Outcome::Released => !self.ours(row).is_empty(),
            Outcome::AlreadyReleased => {
                matches!(other, Some(OtherAction::Releases(second)) if has_happened(second))
            }
            Outcome::Skipped => {
                sim.rules.exclude.lines().contains(&machine_of(row))
                    || matches!(other, Some(OtherAction::Isolates(second)) if has_happened(second))
            }
            Outcome::Failed => self.ours(row).is_empty() || is_late,
            Outcome::Accepted | Outcome::Unknown => true,
            _ => false,
        }
    }
}
