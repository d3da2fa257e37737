//! The actions that the imitation knows, and what reads and cancels do to them.
//!
//! Records are shared with the answers that show them and copied only when they change, so a list holds the lock no
//! longer than it takes to find its records.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::model::{ActionId, RowContext};

use super::answer::{Answer, Problem};
use super::mix::Mix;
use super::query::ListQuery;
use super::record::{CancelEffect, Cancellation, Change, Record, Status};
use super::settings::{CancelSettings, FinalAnswer};

/// All actions, seeded or made up on first sight.
pub(super) struct Actions {
    records: HashMap<ActionId, Arc<Record>>,
    /// Ids that a mix has declared unknown, so that no other mix makes them up later.
    absent: HashSet<ActionId>,
    unknown_ids: Option<Mix>,
    /// When the made-up world is as its mix says.
    epoch: Timestamp,
}

/// What a call came to, and whether it changed an action.
pub(super) struct Worked {
    pub(super) answer: Answer,
    pub(super) changed: bool,
}

impl Worked {
    pub(super) fn only(answer: Answer) -> Self {
        Self {
            answer,
            changed: false,
        }
    }

    pub(super) fn refused(problem: Problem) -> Self {
        Self::only(Answer::Problem(problem))
    }
}

impl Actions {
    pub(super) fn new(unknown_ids: Option<Mix>, epoch: Timestamp) -> Self {
        Self {
            records: HashMap::new(),
            absent: HashSet::new(),
            unknown_ids,
            epoch,
        }
    }

    /// Adds or replaces a record.
    pub(super) fn put(&mut self, record: Record) {
        self.absent.remove(&record.id);
        self.records.insert(record.id, Arc::new(record));
    }

    /// Forgets an action: from now on the service does not know it.
    pub(super) fn remove(&mut self, id: ActionId) {
        self.records.remove(&id);
        self.absent.insert(id);
    }

    /// Makes up the record of an id that the input names, unless there is one already.
    pub(super) fn seed(&mut self, id: ActionId, context: &RowContext, mix: &Mix) {
        if self.records.contains_key(&id) || self.absent.contains(&id) {
            return;
        }
        match mix.make(id, context, self.epoch) {
            Some(record) => self.put(record),
            None => self.remove(id),
        }
    }

    /// Returns every record as it stands.
    pub(super) fn all(&mut self, now: Timestamp) -> Vec<Arc<Record>> {
        self.records
            .values_mut()
            .map(|record| shown(record, now).clone())
            .collect()
    }

    /// Returns when the made-up world is as its mix says.
    pub(super) fn epoch(&self) -> Timestamp {
        self.epoch
    }

    /// Returns the ids that the service is known not to know.
    pub(super) fn absent(&self) -> impl Iterator<Item = ActionId> + '_ {
        self.absent.iter().copied()
    }

    /// Returns one record as it stands.
    pub(super) fn find(&mut self, id: ActionId, now: Timestamp) -> Option<&mut Arc<Record>> {
        if !self.records.contains_key(&id)
            && let Some(mix) = self.unknown_ids.take()
        {
            self.seed(id, &RowContext::default(), &mix);
            self.unknown_ids = Some(mix);
        }
        self.records.get_mut(&id).map(|record| shown(record, now))
    }

    /// Reads one action.
    pub(super) fn get(&mut self, id: ActionId, now: Timestamp) -> Worked {
        match self.find(id, now) {
            Some(record) => Worked::only(Answer::Record(record.clone())),
            None => Worked::refused(Problem::unknown_action()),
        }
    }

    /// Finds what a list shows.
    pub(super) fn list(&mut self, query: &ListQuery, now: Timestamp) -> Vec<Arc<Record>> {
        let shows = |record: &Record| {
            record.listed_from.is_none_or(|from| from <= now) && query.passes(record)
        };
        match query.ids() {
            Some(ids) => ids
                .into_iter()
                .filter_map(|id| self.find(id, now).cloned())
                .filter(|record| shows(record))
                .collect(),
            None => self
                .records
                .values_mut()
                .map(|record| shown(record, now))
                .filter(|record| shows(record))
                .map(|record| record.clone())
                .collect(),
        }
    }

    /// Returns a machine that some action is about.
    pub(super) fn machine(&self, id: &str) -> Option<serde_json::Value> {
        let record = self
            .records
            .values()
            .find(|record| record.machine_id.as_deref() == Some(id))?;
        Some(serde_json::json!({
            "@odata.context": "https://api.security.microsoft.com/api/$metadata#Machines/$entity",
            "id": id, "computerDnsName": record.computer_dns_name, "osPlatform": "Windows11",
            "healthStatus": "Active", "rbacGroupId": 0, "rbacGroupName": null, "machineTags": [],
            "lastSeen": format!("{:.7}", record.updated_at),
        }))
    }

    /// Cancels one action, as far as the settings and its state let it.
    pub(super) fn cancel(
        &mut self,
        id: ActionId,
        by: Cancellation,
        settings: CancelSettings,
    ) -> Worked {
        let now = by.at;
        let Some(shared) = self.find(id, now) else {
            return Worked::refused(Problem::unknown_action());
        };
        let record = Arc::make_mut(shared);
        record.cancels = record.cancels.saturating_add(1);
        if record.status.is_final() {
            return cancel_final(shared, by, settings.of_final);
        }
        // A second cancel of an action that is about to turn changes nothing any more.
        let changed =
            record.change.is_none() && apply(record, by, record.on_cancel.unwrap_or(settings.open));
        Worked {
            answer: Answer::Record(shared.clone()),
            changed,
        }
    }
}

fn shown(record: &mut Arc<Record>, now: Timestamp) -> &mut Arc<Record> {
    if record.is_due(now) {
        Arc::make_mut(record).settle(now);
    }
    record
}

/// Does to an open record what a cancel does; returns whether the cancel is what changes it.
fn apply(record: &mut Record, by: Cancellation, effect: CancelEffect) -> bool {
    let now = by.at;
    let later = |lag| {
        SignedDuration::try_from(lag)
            .ok()
            .and_then(|lag| now.checked_add(lag).ok())
            .unwrap_or(Timestamp::MAX)
    };
    let cancelled = |due, by| Change {
        due,
        to: Status::Cancelled,
        cancellation: Some(by),
    };
    match effect {
        CancelEffect::AtOnce => record.change = Some(cancelled(now, by)),
        CancelEffect::DoneAnyway => {
            record.change = Some(cancelled(now, by));
            record.command_done = true;
        }
        CancelEffect::Late(lag) => {
            let due = later(lag);
            record.change = Some(cancelled(due, Cancellation { at: due, ..by }));
        }
        CancelEffect::TooLate(lag) => {
            record.change = Some(Change {
                due: later(lag),
                to: Status::Succeeded,
                cancellation: None,
            });
            return false;
        }
    }
    record.settle(now);
    true
}

fn cancel_final(shared: &mut Arc<Record>, by: Cancellation, answer: FinalAnswer) -> Worked {
    let status = shared.status.as_str();
    match answer {
        FinalAnswer::Record => Worked::only(Answer::Record(shared.clone())),
        FinalAnswer::Empty => Worked::only(Answer::Empty),
        FinalAnswer::BadRequest => Worked::refused(Problem::new(
            400,
            "BadRequest",
            format!("The action cannot be cancelled in status {status}."),
        )),
        FinalAnswer::NotFound => Worked::refused(Problem::unknown_action()),
        FinalAnswer::Conflict => Worked::refused(Problem::new(
            409,
            "Conflict",
            format!("The action is already in the final status {status}."),
        )),
        FinalAnswer::Overwritten => {
            let changed = shared.status != Status::Cancelled;
            if changed {
                Arc::make_mut(shared).cancel(by);
            }
            Worked {
                answer: Answer::Record(shared.clone()),
                changed,
            }
        }
    }
}
