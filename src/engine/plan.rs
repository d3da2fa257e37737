//! The plan: decides for each row whether it is sent, and why not.
//!
//! To find duplicates, the planner keeps every id in memory, with 16 bytes and a row number each. A unique index on
//! random GUIDs would take twenty times as long.
//!
//! Rows are planned one at a time, because they are sent as they are read. So without prechecks, an id that comes first
//! without a type and later with a protected one is sent before its second row is read.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{
    ActionId, ActionStatus, Criterion, FollowUp, InputRow, LaneId, MachineAction, Mismatch,
    Outcome, RowContext, RowNumber, Settlement, Source,
};
use crate::retry::{OwnAttempts, RecordVerdict, judge_record};
use crate::store::NewRow;

use super::core::reasons;
use super::lane_names::{LaneNames, RowLane};
use super::machine_histories::OtherActions;
use super::plan_summary::UNDONE_SINCE;
use super::skip_rules::{RELEASED_SINCE, SkipRules, is_excluded};

/// The source of rows that come from no file.
const TENANT: &str = "tenant";

/// Plans rows in the order in which they are read.
#[derive(Debug)]
pub struct Planner {
    rules: Arc<SkipRules>,
    lanes: Arc<LaneNames>,
    seen: HashMap<([u8; 16], LaneId), RowNumber>,
    last: RowNumber,
}

impl Planner {
    pub fn new(rules: Arc<SkipRules>) -> Self {
        Self {
            rules,
            lanes: Arc::default(),
            seen: HashMap::new(),
            last: RowNumber(0),
        }
    }

    /// Continues after row `last` of a run, with the ids already known in each lane.
    #[must_use]
    pub fn behind(
        mut self,
        known: impl IntoIterator<Item = (LaneId, ActionId, RowNumber)>,
        last: RowNumber,
    ) -> Self {
        let known = known.into_iter();
        self.seen = known
            .map(|(lane, id, row)| ((*id.as_bytes(), lane), row))
            .collect();
        self.last = last;
        self
    }

    /// Assigns rows to these lanes.
    #[must_use]
    pub fn for_lanes(self, lanes: Arc<LaneNames>) -> Self {
        Self { lanes, ..self }
    }

    pub fn last(&self) -> RowNumber {
        self.last
    }

    /// Numbers a row and plans it. A row without a settlement is to be sent.
    pub fn plan(&mut self, mut row: InputRow, now: Timestamp) -> NewRow {
        self.last = RowNumber(self.last.0.saturating_add(1));
        let place = self.lanes.place(row.context.tenant.as_deref());
        let lane = match place {
            RowLane::To(lane) => lane,
            RowLane::Unnamed | RowLane::Elsewhere => LaneId(0),
        };
        let verdict = self.verdict(&row, place);
        if let (RowLane::To(lane), Some(tenant)) = (place, &mut row.context.tenant)
            && let Some(shown) = self.lanes.shown(lane)
        {
            shown.clone_into(tenant);
        }
        let settlement = verdict.map(|(outcome, reason)| Settlement {
            outcome,
            reason,
            record: None,
            follow_up: None,
            settled_at: now,
        });
        NewRow {
            number: self.last,
            lane,
            source: row.source,
            id: row.id.map_err(|_| row.id_text),
            context: row.context,
            settlement,
        }
    }

    /// Plans the next action of a tenant's list; its position in the list is its source line. `others` has the other
    /// actions of the machines that the list's actions changed.
    pub fn plan_found(
        &mut self,
        record: &MachineAction,
        others: &OtherActions,
        now: Timestamp,
    ) -> NewRow {
        let source = Source {
            file: Arc::from(TENANT),
            line: u64::from(self.last.0) + 1,
        };
        self.plan_read(source, record, others.has_released(record), now)
    }

    /// Numbers an action found in the tenant and plans it. Its record decides every rule.
    fn plan_read(
        &mut self,
        source: Source,
        record: &MachineAction,
        is_released: bool,
        now: Timestamp,
    ) -> NewRow {
        self.last = RowNumber(self.last.0.saturating_add(1));
        let judged = judge(&self.rules, &NO_CONTEXT, record);
        let verdict = judged.or_else(|| self.told_before(record.id, LaneId(0)));
        let settlement = verdict.map(|(outcome, reason)| Settlement {
            follow_up: follow_up(outcome, record).filter(|_| !is_released),
            outcome,
            reason: match outcome {
                Outcome::AlreadyFinal if is_released => format!("{UNDONE_SINCE}: {reason}"),
                Outcome::Skipped if is_released && is_excluded(&reason) => {
                    reason.replacen(": ", &format!("{RELEASED_SINCE}: "), 1)
                }
                _ => reason,
            },
            record: Some(record.clone()),
            settled_at: now,
        });
        NewRow {
            number: self.last,
            lane: LaneId(0),
            source,
            id: Ok(record.id),
            context: RowContext {
                action_type: record.action_type.clone(),
                machine_id: record.machine_id.clone(),
                computer_dns_name: record.computer_dns_name.clone(),
                requestor: record.requestor.clone(),
                ..RowContext::default()
            },
            settlement,
        }
    }

    fn verdict(&mut self, row: &InputRow, place: RowLane) -> Option<(Outcome, String)> {
        let id = match &row.id {
            Ok(id) => id,
            Err(reason) => return Some((Outcome::Invalid, reason.clone())),
        };
        let lane = match place {
            RowLane::To(lane) => lane,
            RowLane::Unnamed => return Some((Outcome::Invalid, UNNAMED.to_owned())),
            RowLane::Elsewhere => {
                let tenant = row.context.tenant.as_deref();
                let reason = Mismatch::of(Criterion::Tenant, tenant).to_string();
                return Some((Outcome::Skipped, reason));
            }
        };
        // A row skipped for its own reasons doesn't make a later one a duplicate.
        if let Some(reason) = &row.skipped {
            return Some((Outcome::Skipped, reason.clone()));
        }
        if let Some(reason) = self.rules.reject_input(*id, &row.context) {
            return Some((Outcome::Skipped, reason));
        }
        self.told_before(*id, lane)
    }

    /// If the lane has the id already, names its row; otherwise adds it.
    fn told_before(&mut self, id: ActionId, lane: LaneId) -> Option<(Outcome, String)> {
        match self.seen.entry((*id.as_bytes(), lane)) {
            std::collections::hash_map::Entry::Occupied(first) => {
                let reason = format!("same id as an earlier row: row {}", first.get());
                Some((Outcome::Duplicate, reason))
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(self.last);
                None
            }
        }
    }
}

const UNNAMED: &str = "the run has several tenants, and the row names none";

/// The input of a row that comes from no input.
const NO_CONTEXT: RowContext = RowContext {
    comment: None,
    tenant: None,
    action_type: None,
    machine_id: None,
    computer_dns_name: None,
    requestor: None,
};

/// Returns how a record settles an unsent row, or `None` if its cancel is to be sent.
pub(super) fn judge(
    rules: &SkipRules,
    context: &RowContext,
    record: &MachineAction,
) -> Option<(Outcome, String)> {
    let skipped = |reason| (Outcome::Skipped, reason);
    let rejected = rules.reject(context, record).map(skipped);
    rejected
        .or_else(|| ended(record))
        .or_else(|| rules.reject_open(record).map(skipped))
}

/// Returns the manual action that the machine of an already-ended action needs.
pub(super) fn follow_up(outcome: Outcome, record: &MachineAction) -> Option<FollowUp> {
    if outcome != Outcome::AlreadyFinal {
        return None;
    }
    FollowUp::needed(record.action_type.as_ref()?, record.status.as_ref()?, false)
}

/// Returns how an action ended, or `None` if it is open.
fn ended(record: &MachineAction) -> Option<(Outcome, String)> {
    let unsent = OwnAttempts {
        comment_sent: None,
        first_sent_at: None,
        was_accepted: false,
        fate_unknown: false,
        was_open: false,
    };
    match judge_record(record, &unsent) {
        RecordVerdict::Open => None,
        RecordVerdict::Settle(Outcome::AlreadyCancelled) => Some((
            Outcome::AlreadyCancelled,
            reasons::of_cancellation(Some(record)),
        )),
        RecordVerdict::Settle(outcome) => {
            let status = record
                .status
                .as_ref()
                .map_or("unknown", ActionStatus::as_str);
            Some((outcome, format!("the action had ended as {status}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Precheck;
    use crate::engine::lane_names::LaneName;
    use crate::model::ActionType;

    fn row(id: &str, action_type: Option<&str>) -> InputRow {
        InputRow {
            source: Source {
                file: Arc::from("ids.csv"),
                line: 1,
            },
            id: ActionId::parse(id).map_err(|error| error.to_string()),
            id_text: id.to_owned(),
            context: RowContext {
                action_type: action_type.map(ActionType::parse),
                ..RowContext::default()
            },
            skipped: None,
        }
    }

    fn outcomes(planner: &mut Planner, rows: Vec<InputRow>) -> Vec<Option<Outcome>> {
        rows.into_iter()
            .map(|row| {
                planner
                    .plan(row, Timestamp::UNIX_EPOCH)
                    .settlement
                    .map(|end| end.outcome)
            })
            .collect()
    }

    fn allowing(allow_protected: Vec<ActionType>) -> Planner {
        Planner::new(Arc::new(SkipRules {
            allow_protected,
            ..SkipRules::default()
        }))
    }

    const ONE: &str = "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";

    #[test]
    fn the_first_of_two_equal_ids_is_sent_and_the_second_is_a_duplicate() {
        let upper = ONE.to_uppercase();
        let rows = vec![row(ONE, None), row(&upper, None), row("x", None)];
        let expected = [None, Some(Outcome::Duplicate), Some(Outcome::Invalid)];
        assert_eq!(outcomes(&mut Planner::new(Arc::default()), rows), expected);
    }

    #[test]
    fn without_prechecks_protected_types_are_skipped_unless_they_are_allowed() {
        let rows = || vec![row(ONE, Some("Unisolate")), row(ONE, Some("Isolate"))];
        let skipped = [Some(Outcome::Skipped), None];
        assert_eq!(outcomes(&mut Planner::new(Arc::default()), rows()), skipped);
        let allowed = [None, Some(Outcome::Duplicate)];
        let mut planner = allowing(vec![ActionType::Unisolate]);
        assert_eq!(outcomes(&mut planner, rows()), allowed);
    }

    #[test]
    fn where_the_record_is_read_no_type_of_the_input_settles_a_row() {
        let mut planner = Planner::new(Arc::new(SkipRules {
            precheck: Precheck::ReadFirst,
            ..SkipRules::default()
        }));
        let rows = vec![row(ONE, Some("Uniso1ate")), row(ONE, Some("Isolate"))];
        let expected = [None, Some(Outcome::Duplicate)];
        assert_eq!(outcomes(&mut planner, rows), expected);
    }

    #[test]
    fn without_prechecks_a_type_that_is_not_known_is_skipped_whatever_protected_types_are_allowed()
    {
        let allowed = vec![ActionType::Unisolate, ActionType::UnrestrictCodeExecution];
        let rows = [
            "Uniso1ate",
            "\u{200b}",
            "Unisolate!",
            "Unknown",
            "RequestSample",
        ]
        .map(|word| row(ONE, Some(word)));
        let skipped = Some(Outcome::Skipped);
        let expected = [skipped, skipped, skipped, skipped, None];
        assert_eq!(outcomes(&mut allowing(allowed), rows.into()), expected);
    }

    #[test]
    fn what_the_tenant_names_is_judged_by_its_record() {
        let mut planner = Planner::new(Arc::default());
        let mut outcome = |action_type: &str, status: &str, number: u8| {
            let record = MachineAction {
                action_type: Some(ActionType::parse(action_type)),
                status: Some(ActionStatus::parse(status)),
                ..MachineAction::bare(ActionId::from_bytes([number; 16]).unwrap())
            };
            let source = row(ONE, None).source;
            let new = planner.plan_read(source, &record, false, Timestamp::UNIX_EPOCH);
            new.settlement.map(|end| (end.outcome, end.follow_up))
        };
        let unisolate = Some(FollowUp::Unisolate);
        for (action_type, status, number, expected) in [
            ("Isolate", "Pending", 1, None),
            ("Isolate", "Pending", 1, Some((Outcome::Duplicate, None))),
            ("Unisolate", "Pending", 2, Some((Outcome::Skipped, None))),
            (
                "Isolate",
                "Succeeded",
                3,
                Some((Outcome::AlreadyFinal, unisolate)),
            ),
            (
                "Isolate",
                "Cancelled",
                4,
                Some((Outcome::AlreadyCancelled, None)),
            ),
            ("Isolate", "Odd", 5, None),
        ] {
            assert_eq!(
                outcome(action_type, status, number),
                expected,
                "{action_type} {status}"
            );
        }
    }

    #[test]
    fn rows_are_dealt_out_to_their_tenants_and_duplicates_are_told_within_each() {
        let name = |word: &str| LaneName {
            shown: Some(word.to_owned()),
            words: vec![word.to_owned()],
        };
        let lanes = Arc::new(LaneNames::new(vec![name("contoso"), name("fabrikam")]));
        let mut planner = Planner::new(Arc::default()).for_lanes(lanes);
        let mut plan = |tenant: Option<&str>| {
            let mut row = row(ONE, None);
            row.context.tenant = tenant.map(str::to_owned);
            let new = planner.plan(row, Timestamp::UNIX_EPOCH);
            let outcome = new.settlement.map(|end| end.outcome);
            (new.lane, outcome, new.context.tenant)
        };
        let tenant = |word: &str| Some(word.to_owned());
        for (cell, expected) in [
            (Some("Contoso"), (LaneId(0), None, tenant("contoso"))),
            (Some("FABRIKAM"), (LaneId(1), None, tenant("fabrikam"))),
            (
                Some("fabrikam"),
                (LaneId(1), Some(Outcome::Duplicate), tenant("fabrikam")),
            ),
            (
                Some("litware"),
                (LaneId(0), Some(Outcome::Skipped), tenant("litware")),
            ),
            (None, (LaneId(0), Some(Outcome::Invalid), None)),
        ] {
            assert_eq!(plan(cell), expected, "{cell:?}");
        }
    }
}
