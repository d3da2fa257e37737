//! The actions of the sandbox, and the effects of reads, cancels and releases.
//!
//! Records are shared with responses and copied on write, so a list call locks only while it collects its records.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::{ActionId, ActionStatus, MachineAction, RowContext};

use super::generate::Generator;
use super::query::ListOptions;
use super::random;
use super::response::{Answer, ErrorAnswer};
use super::settings::{CancelSettings, FinalCancelAnswer, SandboxRelease};

/// The resolution of the service's timestamps.
const TICK: SignedDuration = SignedDuration::from_nanos(100);

/// Error numbers observed from the service.
pub(super) const CANCELLED: i64 = -2_147_467_260;
pub(super) const TIMED_OUT: i64 = -2_145_844_840;
pub(super) const FAILED: i64 = -2_147_467_259;

/// An action that restricts a machine, and its release.
pub(super) type ActionPair = (&'static str, &'static str);

pub(super) const ISOLATION: ActionPair = ("Isolate", "Unisolate");
pub(super) const RESTRICTION: ActionPair = ("RestrictCodeExecution", "UnrestrictCodeExecution");

/// The salt for random values of releases.
const RELEASES: u64 = 100;

/// The six statuses of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Pending,
    InProgress,
    Succeeded,
    Failed,
    TimeOut,
    Cancelled,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "InProgress",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::TimeOut => "TimeOut",
            Self::Cancelled => "Cancelled",
        }
    }

    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::InProgress)
    }
}

/// The effect of a cancel on an open action. Only the first one is documented for the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CancelEffect {
    /// The record becomes Cancelled at once, also in the response.
    #[default]
    AtOnce,
    /// The response shows an open record, which becomes Cancelled after this time.
    Late(Duration),
    /// The response shows an open record, which becomes Succeeded after this time.
    TooLate(Duration),
    /// The record becomes Cancelled although the work was done.
    DoneAnyway,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancellation {
    pub requestor: String,
    pub comment: String,
    /// When it took effect.
    pub at: Timestamp,
}

/// A decided change that is not visible yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub due: Timestamp,
    pub to: Status,
    /// Its cancel; `None` if the action finishes despite a cancel.
    pub cancellation: Option<Cancellation>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MockAction {
    #[serde(with = "id_text")]
    pub id: ActionId,
    /// In the service's spelling.
    pub action_type: String,
    pub status: Status,
    pub requestor: String,
    pub requestor_comment: Option<String>,
    /// `PublicApi` or `Portal`.
    pub request_source: Option<String>,
    /// `Full`, `Selective` or `Quick`, if the type has a scope.
    pub scope: Option<String>,
    /// 40 hexadecimal digits.
    pub machine_id: Option<String>,
    pub computer_dns_name: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// The cancel, if one took effect.
    pub cancellation: Option<Cancellation>,
    /// The service's error number, or 0.
    pub error_hresult: i64,
    /// The SHA-1 of its file.
    pub file_sha1: Option<String>,
    /// Whether its live-response command is done; ignored for other types.
    pub command_done: bool,
    pub change: Option<Change>,
    /// Overrides the effect of a cancel from the settings.
    pub on_cancel: Option<CancelEffect>,
    /// How many cancels were processed, even without effect.
    pub cancels: u32,
    /// Lists without its id omit the action before this time.
    #[serde(default)]
    pub listed_from: Option<Timestamp>,
}

impl MockAction {
    /// Returns a plain record that was requested through the API.
    pub fn new(id: ActionId, action_type: &str, status: Status, created_at: Timestamp) -> Self {
        Self {
            id,
            action_type: action_type.to_owned(),
            status,
            requestor: "soc-bot".to_owned(),
            requestor_comment: None,
            request_source: Some("PublicApi".to_owned()),
            scope: None,
            machine_id: None,
            computer_dns_name: None,
            created_at,
            updated_at: created_at,
            cancellation: None,
            error_hresult: 0,
            file_sha1: None,
            command_done: false,
            change: None,
            on_cancel: None,
            cancels: 0,
            listed_from: None,
        }
    }

    /// Returns an action as a saved list shows it; `None` without a known status or a time.
    pub fn saved(action: MachineAction) -> Option<Self> {
        let status = match action.status? {
            ActionStatus::Pending => Status::Pending,
            ActionStatus::InProgress => Status::InProgress,
            ActionStatus::Succeeded => Status::Succeeded,
            ActionStatus::Failed => Status::Failed,
            ActionStatus::TimeOut => Status::TimeOut,
            ActionStatus::Cancelled => Status::Cancelled,
            ActionStatus::Other(_) => return None,
        };
        let (kind, created_at) = (action.action_type?, action.created_at?);
        let updated_at = action.updated_at.unwrap_or(created_at);
        Some(Self {
            updated_at,
            requestor: action.requestor.unwrap_or_default(),
            requestor_comment: action.requestor_comment,
            request_source: action.request_source,
            scope: action.action_scope,
            machine_id: action.machine_id,
            computer_dns_name: action.computer_dns_name,
            cancellation: action.cancellation_requestor.map(|requestor| Cancellation {
                requestor,
                comment: action.cancellation_comment.unwrap_or_default(),
                at: action.cancelled_at.unwrap_or(updated_at),
            }),
            command_done: action.command_completed,
            ..Self::new(action.id, kind.as_str(), status, created_at)
        })
    }

    /// Returns whether a pending change is due.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.change.as_ref().is_some_and(|change| change.due <= now)
    }

    /// Applies a due change.
    pub(super) fn settle(&mut self, now: Timestamp) {
        if !self.is_due(now) {
            return;
        }
        if let Some(change) = self.change.take() {
            self.status = change.to;
            self.updated_at = change.due;
            self.command_done |= change.to == Status::Succeeded;
            if let Some(cancellation) = change.cancellation {
                self.cancel(cancellation);
            }
        }
    }

    /// Makes the record Cancelled; like the service, sets the last update a tick after the cancel.
    pub(super) fn cancel(&mut self, by: Cancellation) {
        self.status = Status::Cancelled;
        self.error_hresult = CANCELLED;
        self.updated_at = by.at.checked_add(TICK).unwrap_or(by.at);
        self.cancellation = Some(by);
    }

    /// Applies a cancel to an open action; returns whether it will become Cancelled.
    fn apply(&mut self, by: Cancellation, effect: CancelEffect) -> bool {
        let now = by.at;
        let (due, to, at) = match effect {
            CancelEffect::AtOnce | CancelEffect::DoneAnyway => (now, Status::Cancelled, now),
            CancelEffect::Late(lag) => (later(now, lag), Status::Cancelled, later(now, lag)),
            CancelEffect::TooLate(lag) => (later(now, lag), Status::Succeeded, now),
        };
        let is_cancelled = to == Status::Cancelled;
        self.command_done |= effect == CancelEffect::DoneAnyway;
        self.change = Some(Change {
            due,
            to,
            cancellation: is_cancelled.then_some(Cancellation { at, ..by }),
        });
        if is_cancelled {
            self.settle(now);
        }
        is_cancelled
    }
}

/// Serializes an action id as text.
pub(super) mod id_text {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::model::ActionId;

    pub(in super::super) fn serialize<S: Serializer>(
        id: &ActionId,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<ActionId, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        ActionId::parse(&text).map_err(D::Error::custom)
    }
}

/// All actions, seeded or generated on first access.
pub(super) struct Actions {
    records: HashMap<ActionId, Arc<MockAction>>,
    /// Ids that a generator made unknown, so that no other one generates them later.
    absent: HashSet<ActionId>,
    unknown_ids: Option<Generator>,
    /// The time for which actions are generated.
    epoch: Timestamp,
    /// How many calls changed an action, now or later.
    pub(super) changes: u64,
}

impl Actions {
    pub(super) fn new(unknown_ids: Option<Generator>, epoch: Timestamp) -> Self {
        Self {
            records: HashMap::new(),
            absent: HashSet::new(),
            unknown_ids,
            epoch,
            changes: 0,
        }
    }

    pub(super) fn put(&mut self, record: MockAction) {
        self.absent.remove(&record.id);
        self.records.insert(record.id, Arc::new(record));
    }

    /// Makes an id permanently unknown.
    pub(super) fn leave_out(&mut self, id: ActionId) {
        self.absent.insert(id);
    }

    /// Generates the record of an input's id, unless it already exists.
    pub(super) fn seed(&mut self, id: ActionId, context: &RowContext, generator: &Generator) {
        if self.records.contains_key(&id) || self.absent.contains(&id) {
            return;
        }
        match generator.make(id, context, self.epoch) {
            Some(record) => self.put(record),
            None => self.leave_out(id),
        }
    }

    pub(super) fn all(&mut self, now: Timestamp) -> Vec<MockAction> {
        let records = self.records.values_mut();
        records
            .map(|record| MockAction::clone(shown(record, now)))
            .collect()
    }

    pub(super) fn epoch(&self) -> Timestamp {
        self.epoch
    }

    /// Returns the ids that are permanently unknown.
    pub(super) fn absent(&self) -> impl Iterator<Item = &ActionId> {
        self.absent.iter()
    }

    pub(super) fn find(&mut self, id: ActionId, now: Timestamp) -> Option<&mut Arc<MockAction>> {
        if !self.records.contains_key(&id)
            && let Some(generator) = self.unknown_ids.take()
        {
            self.seed(id, &RowContext::default(), &generator);
            self.unknown_ids = Some(generator);
        }
        self.records.get_mut(&id).map(|record| shown(record, now))
    }

    /// Creates the release of a machine, unless an action of that kind is open.
    pub(super) fn release(
        &mut self,
        machine: &str,
        (cut, release): ActionPair,
        by: Cancellation,
        settings: SandboxRelease,
        seed: u64,
    ) -> Result<Answer, ErrorAnswer> {
        let now = by.at;
        let mut known = None;
        for record in self.records.values_mut() {
            let named = record.machine_id.as_deref();
            if !named.is_some_and(|named| named.eq_ignore_ascii_case(machine)) {
                continue;
            }
            let record = shown(record, now);
            let is_of_kind = record.action_type == cut || record.action_type == release;
            if is_of_kind && !record.status.is_final() {
                return Err(ErrorAnswer::active_request());
            }
            known = Some((record.machine_id.clone(), record.computer_dns_name.clone()));
        }
        let guid = random::guid(seed, RELEASES, &(self.records.len() as u64).to_le_bytes());
        let (Some((machine_id, computer_dns_name)), Some(id)) =
            (known, ActionId::from_bytes(guid.into_bytes()))
        else {
            return Err(ErrorAnswer::unknown_machine());
        };
        self.changes += 1;
        let is_offline = random::roll(seed, RELEASES, machine.as_bytes()) % 100
            < u64::from(settings.offline_percent);
        let mut record = MockAction {
            requestor: by.requestor,
            requestor_comment: Some(by.comment),
            machine_id,
            computer_dns_name,
            change: (!is_offline).then(|| Change {
                due: later(now, settings.takes),
                to: Status::Succeeded,
                cancellation: None,
            }),
            listed_from: Some(later(now, settings.list_lag)),
            ..MockAction::new(id, release, Status::Pending, now)
        };
        record.settle(now);
        self.put(record.clone());
        Ok(Answer::Created(Arc::new(record)))
    }

    pub(super) fn get(&mut self, id: ActionId, now: Timestamp) -> Result<Answer, ErrorAnswer> {
        let record = self.find(id, now).ok_or_else(ErrorAnswer::unknown_action)?;
        Ok(Answer::Record(record.clone()))
    }

    /// Returns the records of a list.
    pub(super) fn list(&mut self, query: &ListOptions, now: Timestamp) -> Vec<Arc<MockAction>> {
        let passes = |record: &Arc<MockAction>| query.passes(record);
        match query.ids() {
            Some(ids) => ids
                .into_iter()
                .filter_map(|id| self.find(id, now).cloned())
                .filter(passes)
                .collect(),
            None => self
                .records
                .values_mut()
                .map(|record| &*shown(record, now))
                .filter(|record| record.listed_from.is_none_or(|from| from <= now))
                .filter(|record| passes(record))
                .cloned()
                .collect(),
        }
    }

    /// Cancels an action, depending on the settings and its state.
    pub(super) fn cancel(
        &mut self,
        id: ActionId,
        by: Cancellation,
        settings: CancelSettings,
    ) -> Result<Answer, ErrorAnswer> {
        let shared = self
            .find(id, by.at)
            .ok_or_else(ErrorAnswer::unknown_action)?;
        let record = Arc::make_mut(shared);
        record.cancels = record.cancels.saturating_add(1);
        if record.status.is_final() {
            return match settings.of_final {
                FinalCancelAnswer::Record => Ok(Answer::Record(shared.clone())),
                FinalCancelAnswer::Empty => Ok(Answer::Empty),
                FinalCancelAnswer::NotFound => Err(ErrorAnswer::unknown_action()),
                FinalCancelAnswer::BadRequest => Err(ErrorAnswer::final_action(400, record)),
                FinalCancelAnswer::Conflict => Err(ErrorAnswer::final_action(409, record)),
            };
        }
        // A second cancel has no effect while a change is pending.
        let changed =
            record.change.is_none() && record.apply(by, record.on_cancel.unwrap_or(settings.open));
        let answer = Answer::Record(shared.clone());
        self.changes += u64::from(changed);
        Ok(answer)
    }
}

/// Returns the time a span later, or the last possible one.
fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn shown(record: &mut Arc<MockAction>, now: Timestamp) -> &mut Arc<MockAction> {
    if record.is_due(now) {
        Arc::make_mut(record).settle(now);
    }
    record
}
