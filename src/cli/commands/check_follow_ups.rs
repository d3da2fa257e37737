//! The machines that a run leaves to be worked on: checked against other actions at its end, and listed one by one.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cli::failure::Failure;
use crate::cli::format_time::local_zone;
use crate::engine::core::StopReason;
use crate::engine::{MachineChange, OtherActions, is_excluded};
use crate::model::{
    ActionId, ActionType, FollowUp, FollowUpRow, LaneId, LaterActivity, Outcome, ReportRow,
    RowNumber,
};
use crate::store::{Record, StoreError};

use super::prepared_run::PreparedRun;

/// Not longer, because this list can only shorten the work.
const PATIENCE: Duration = Duration::from_secs(60);

/// Actions of others are read from this long before the run's oldest action.
const LOOK_BACK: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The machines that a run leaves to be worked on.
#[derive(Debug, Default)]
pub(super) struct FollowUps {
    pub(super) rows: Vec<FollowUpRow>,
    /// Excluded machines that are, or may be, isolated or restricted.
    pub(super) excluded: Vec<ExcludedMachine>,
    /// Calls it took to find out.
    pub(super) calls: u64,
    /// What isn't known of the machines that are to be released.
    pub(super) blind_spot: Option<String>,
}

/// An excluded machine that an action in the run's rows had isolated or restricted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExcludedMachine {
    pub(super) name: String,
    pub(super) action_type: Option<ActionType>,
    /// Whether it is known that the machine hasn't been released since.
    pub(super) is_checked: bool,
}

/// A row whose action changed its machine.
struct FollowUpItem {
    row: RowNumber,
    tenant: Option<String>,
    change: MachineChange,
    computer_dns_name: Option<String>,
    /// `None` for an excluded machine.
    follow_up: Option<FollowUp>,
    /// The last part of its reason, which says who wants a machine as it is.
    last_reason: String,
}

impl PreparedRun {
    /// Reads later actions on the machines of a run that has ended, journals which need no more work, and returns the
    /// others.
    ///
    /// Reads each tenant's machines, unless the run was stopped.
    pub(super) async fn follow_up(
        &self,
        may_read: bool,
        stop: &mut mpsc::Receiver<StopReason>,
    ) -> Result<FollowUps, Failure> {
        let reader = self.store.reader()?;
        if self.config.exclude.is_empty() && !reader.has_follow_ups(self.key)? {
            return Ok(FollowUps::default());
        }
        let mut by_lane: BTreeMap<LaneId, Vec<FollowUpItem>> = BTreeMap::new();
        for item in items(reader.report_rows(self.id)?)? {
            let tenant = item.tenant.as_deref();
            let lane = tenant.and_then(|name| self.lanes.names.find(name));
            let lane = by_lane.entry(lane.unwrap_or_default());
            lane.or_default().push(item);
        }
        let mut follow_ups = FollowUps::default();
        let until = self.clock.now().uptime.after(PATIENCE);
        let mut checked = Vec::new();
        for (lane, items) in by_lane {
            let changes: Vec<_> = items.iter().map(|item| item.change.clone()).collect();
            let lane = self.lanes.all.get(usize::from(lane.0));
            let client = lane.and_then(|lane| Some((lane, lane.way.as_ref().ok()?)));
            let others = match client.filter(|_| may_read) {
                None => Err("the run was stopped".to_owned()),
                Some((lane, client)) => {
                    let mut reads = self.reads(client, lane).await?;
                    let others = tokio::select! {
                        biased;
                        Some(reason) = stop.recv() => Err(stopped(&reason)),
                        others = OtherActions::read(&mut reads, changes, LOOK_BACK) => others.map_err(|error| error.to_string()),
                        () = self.clock.sleep_until(until) => Err("reads brought no answer in time".to_owned()),
                    };
                    follow_ups.calls += reads.calls();
                    others
                }
            };
            if let Err(why) = &others {
                tracing::info!(%why, "other actions of machines could not be read");
            }
            if may_read {
                follow_ups.blind_spot = blind_spot(&others).or(follow_ups.blind_spot);
            }
            checked.extend(items.into_iter().map(|item| {
                let meant = &self.config.selection.requestors;
                let activity = match &others {
                    Ok(others) => others.activity(&item.change, meant),
                    Err(why) => LaterActivity::NotChecked(why.clone()),
                };
                (item, activity)
            }));
        }
        // In row order across tenants.
        checked.sort_by_key(|(item, _)| item.row);
        let mut records = Vec::new();
        let mut left = Vec::new();
        for (item, activity) in checked {
            match (item.follow_up, activity) {
                (None, LaterActivity::Released { .. }) => {}
                (None, activity) => follow_ups.excluded.push(ExcludedMachine {
                    is_checked: !matches!(activity, LaterActivity::NotChecked(_)),
                    name: (item.computer_dns_name)
                        .or(item.change.machine_id)
                        .unwrap_or_else(|| item.change.action.to_string()),
                    action_type: item.change.action_type,
                }),
                (Some(_), activity @ LaterActivity::Released { .. }) => {
                    records.push(Record::FollowedUp {
                        run: self.key,
                        row: item.row,
                        follow_up: None,
                        note: format!("the machine needs no work any more: {activity}"),
                    });
                }
                (Some(need), LaterActivity::CutOff(who)) if need.release().is_some() => {
                    records.push(Record::FollowedUp {
                        run: self.key,
                        row: item.row,
                        follow_up: Some(FollowUp::Keep),
                        note: who.clone(),
                    });
                    left.push((item, FollowUp::Keep, LaterActivity::CutOff(who)));
                }
                (Some(need), activity) => left.push((item, need, activity)),
            }
        }
        if !records.is_empty() {
            self.store.write(records).await?;
        }
        let is_to_release = |(_, need, _): &(_, FollowUp, _)| need.release().is_some();
        if !left.iter().any(is_to_release) {
            follow_ups.blind_spot = None;
        }
        follow_ups.rows = by_machine(left);
        Ok(follow_ups)
    }
}

/// Says what isn't known of the machines that are to be released.
fn blind_spot(others: &Result<OtherActions, String>) -> Option<String> {
    match others {
        Ok(others) => others.since.map(|since| {
            format!(
                "note: isolations before {} weren't looked at; `release` looks at all",
                since.to_zoned(local_zone()).date()
            )
        }),
        Err(why) => Some(format!(
            "note: whether others have released these machines, or isolated them on purpose, was not checked ({why}); `release` checks it"
        )),
    }
}

fn stopped(reason: &StopReason) -> String {
    match reason {
        StopReason::Asked(what) => format!("stopped by {what} before the answer came"),
        _ => "stopped before the answer came".to_owned(),
    }
}

/// Collects the rows whose machines need work, and those of excluded machines that are isolated or restricted.
fn items(
    rows: impl Iterator<Item = Result<ReportRow, StoreError>>,
) -> Result<Vec<FollowUpItem>, StoreError> {
    let mut items = Vec::new();
    for (number, row) in (1..).zip(rows) {
        let row = row?;
        let Ok(action) = ActionId::parse(&row.action_id) else {
            continue;
        };
        let follow_up = row.follow_up.as_deref().and_then(FollowUp::parse);
        let is_changed = matches!(
            (row.action_type.as_deref(), row.action_status.as_deref()),
            (Some("Isolate" | "RestrictCodeExecution"), Some("Succeeded"))
        );
        let is_excluded = row.outcome == Outcome::Skipped && is_excluded(&row.reason);
        if follow_up.is_none() && !(is_excluded && is_changed) {
            continue;
        }
        items.push(FollowUpItem {
            row: RowNumber(number),
            tenant: row.tenant,
            change: MachineChange {
                action,
                action_type: row.action_type.as_deref().map(ActionType::parse),
                created_at: row.created_at,
                machine_id: row.machine_id,
                requestor: row.requestor,
            },
            computer_dns_name: row.computer_dns_name,
            follow_up,
            last_reason: row
                .reason
                .rsplit("; ")
                .next()
                .unwrap_or_default()
                .to_owned(),
        });
    }
    Ok(items)
}

/// Lists the machines that need work from a run's rows, without reads.
pub(super) fn from_journal(
    rows: impl Iterator<Item = Result<ReportRow, StoreError>>,
) -> Result<Vec<FollowUpRow>, StoreError> {
    Ok(unchecked(items(rows)?))
}

fn unchecked(items: Vec<FollowUpItem>) -> Vec<FollowUpRow> {
    let why = "the list is made from the run's journal";
    let unchecked = items.into_iter().filter_map(|item| {
        let follow_up = item.follow_up?;
        let activity = match follow_up {
            FollowUp::Keep => LaterActivity::CutOff(item.last_reason.clone()),
            _ => LaterActivity::NotChecked(why.to_owned()),
        };
        Some((item, follow_up, activity))
    });
    by_machine(unchecked.collect())
}

/// Merges the needs of each tenant's machine into one row, in the order of first rows.
fn by_machine(items: Vec<(FollowUpItem, FollowUp, LaterActivity)>) -> Vec<FollowUpRow> {
    let mut rows: Vec<FollowUpRow> = Vec::new();
    let mut places: HashMap<(Option<String>, String), usize> = HashMap::new();
    for (item, follow_up, activity) in items {
        let machine = item.change.machine_id.as_deref().map(str::to_lowercase);
        let key = machine.map(|machine| (item.tenant.clone(), machine));
        let place = key.as_ref().and_then(|key| places.get(key)).copied();
        let place = place.unwrap_or_else(|| {
            places.extend(key.map(|key| (key, rows.len())));
            rows.push(FollowUpRow {
                machine_id: item.change.machine_id.clone(),
                computer_dns_name: item.computer_dns_name.clone(),
                needs: Vec::new(),
                since: Vec::new(),
                action_ids: Vec::new(),
                tenant: item.tenant.clone(),
            });
            rows.len() - 1
        });
        if let Some(row) = rows.get_mut(place) {
            row.needs.push(follow_up);
            row.since.push(activity);
            row.action_ids.push(item.change.action.to_string());
        }
    }
    for row in &mut rows {
        row.needs
            .sort_by_key(|need| FollowUp::ALL.iter().position(|kind| kind == need));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_stands_once_in_each_tenant_with_the_tenant_beside_it() {
        let item = |number: u8, tenant: Option<&str>| FollowUpItem {
            row: RowNumber(number.into()),
            tenant: tenant.map(str::to_owned),
            change: MachineChange {
                action: ActionId::from_bytes([number; 16]).unwrap(),
                action_type: Some(ActionType::Isolate),
                created_at: None,
                machine_id: Some("ABCD".to_owned()),
                requestor: None,
            },
            computer_dns_name: None,
            follow_up: Some(FollowUp::Unisolate),
            last_reason: String::new(),
        };
        let items = vec![
            item(1, Some("contoso")),
            item(2, Some("fabrikam")),
            item(3, Some("contoso")),
            item(4, None),
        ];
        let rows: Vec<_> = unchecked(items)
            .into_iter()
            .map(|row| {
                let firsts = row.action_ids.iter().map(|id| &id[..2]);
                (
                    row.tenant.unwrap_or_default(),
                    firsts.collect::<Vec<_>>().join(" "),
                )
            })
            .collect();
        let expected = [("contoso", "01 03"), ("fabrikam", "02"), ("", "04")];
        assert_eq!(
            rows,
            expected.map(|(tenant, ids)| (tenant.to_owned(), ids.to_owned()))
        );
    }
}
