//! What a run leaves to be done on machines: looked at once more at its end, and listed machine by machine.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cli::failure::Failure;
use crate::clock::Clock;
use crate::engine::core::StopReason;
use crate::engine::{Aftermath, LaneNames, Need, Reads};
use crate::model::{ActionType, FollowUp, FollowUpRow, LaneId, ReportRow, RowNumber, RunId, Since};
use crate::store::{Record, RunKey, Store, StoreError};

/// Nobody waits longer than this for a list that only may shorten what is left to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a run leaves to be done.
#[derive(Debug, Default)]
pub(super) struct LeftToDo {
    /// The machines that still need a hand.
    pub(super) machines: Vec<FollowUpRow>,
    /// How many calls it took to find out.
    pub(super) calls: u64,
}

/// Looks what became of the machines of a run that has ended, journals what needs no hand any more, and returns the rest.
///
/// Each tenant is asked for its own; where there are no reads of it, the run stopped before anybody looked.
pub(super) async fn follow_up(
    (store, run, id): (&Store, RunKey, RunId),
    (lanes, mut reads): (&LaneNames, impl FnMut(LaneId) -> Option<Reads>),
    clock: &dyn Clock,
    stop: &mut mpsc::Receiver<StopReason>,
) -> Result<LeftToDo, Failure> {
    let reader = store.reader()?;
    if !reader.has_follow_ups(run)? {
        return Ok(LeftToDo::default());
    }
    let needs = needs(reader.report_rows(id)?)?;
    let mut calls = 0;
    let until = clock.now().uptime.after(PATIENCE);
    let mut by_lane: BTreeMap<LaneId, Vec<Need>> = BTreeMap::new();
    for need in needs {
        let lane = need.tenant.as_deref().and_then(|name| lanes.find(name));
        by_lane
            .entry(lane.unwrap_or_default())
            .or_default()
            .push(need);
    }
    let mut judged = Vec::new();
    for (lane, needs) in by_lane {
        let aftermath = match reads(lane) {
            None => Err("the run stopped before anybody looked".to_owned()),
            Some(mut reads) => {
                let aftermath = tokio::select! {
                    biased;
                    Some(reason) = stop.recv() => Err(stopped(&reason)),
                    aftermath = Aftermath::read(&mut reads, &needs) => aftermath.map_err(|error| error.to_string()),
                    () = clock.sleep_until(until) => Err("reads brought no answer in time".to_owned()),
                };
                calls += reads.calls();
                aftermath
            }
        };
        if let Err(why) = &aftermath {
            tracing::info!(%why, "whether machines were released since could not be looked at");
        }
        judged.extend(needs.into_iter().map(|need| {
            let since = match &aftermath {
                Ok(aftermath) => aftermath.since(&need),
                Err(why) => Since::NotKnown(why.clone()),
            };
            (need, since)
        }));
    }
    // In the order of the rows, whichever tenants they belong to.
    judged.sort_by_key(|(need, _)| need.row);
    let mut records = Vec::new();
    let mut left = Vec::new();
    for (need, since) in judged {
        match since {
            since @ Since::Released { .. } => records.push(Record::FollowedUp {
                run,
                row: need.row,
                follow_up: None,
                note: format!("the machine needs no hand any more: {since}"),
            }),
            since => left.push((need, since)),
        }
    }
    if !records.is_empty() {
        store.write(records).await?;
    }
    Ok(LeftToDo {
        machines: by_machine(left),
        calls,
    })
}

fn stopped(reason: &StopReason) -> String {
    match reason {
        StopReason::Asked(what) => format!("stopped by {what} before the answer came"),
        _ => "stopped before the answer came".to_owned(),
    }
}

/// Gathers the rows whose machines need a hand.
pub(super) fn needs(
    rows: impl Iterator<Item = Result<ReportRow, StoreError>>,
) -> Result<Vec<Need>, StoreError> {
    let mut needs = Vec::new();
    for (number, row) in (1..).zip(rows) {
        let row = row?;
        let Some(follow_up) = row.follow_up.as_deref().and_then(FollowUp::parse) else {
            continue;
        };
        needs.push(Need {
            row: RowNumber(number),
            tenant: row.tenant,
            action_id: row.action_id,
            action_type: row.action_type.as_deref().map(ActionType::parse),
            created_at: row.created_at,
            machine_id: row.machine_id,
            computer_dns_name: row.computer_dns_name,
            follow_up,
        });
    }
    Ok(needs)
}

/// Lists what a run that has ended long ago left to be done; nobody looks again.
pub(super) fn unlooked(needs: Vec<Need>) -> Vec<FollowUpRow> {
    let since = || Since::NotKnown("nobody looked since the run".to_owned());
    by_machine(needs.into_iter().map(|need| (need, since())).collect())
}

/// Puts what one machine of a tenant needs into one row; machines stand in the order of their first row.
fn by_machine(needs: Vec<(Need, Since)>) -> Vec<FollowUpRow> {
    let mut rows: Vec<FollowUpRow> = Vec::new();
    let mut places: HashMap<(Option<String>, String), usize> = HashMap::new();
    for (need, since) in needs {
        let machine = need.machine_id.as_deref().map(str::to_lowercase);
        let key = machine.map(|machine| (need.tenant.clone(), machine));
        let place = key.as_ref().and_then(|key| places.get(key)).copied();
        let place = place.unwrap_or_else(|| {
            places.extend(key.map(|key| (key, rows.len())));
            rows.push(FollowUpRow {
                machine_id: need.machine_id.clone(),
                computer_dns_name: need.computer_dns_name.clone(),
                needs: Vec::new(),
                since: Vec::new(),
                action_ids: Vec::new(),
                tenant: need.tenant.clone(),
            });
            rows.len() - 1
        });
        if let Some(row) = rows.get_mut(place) {
            row.needs.push(need.follow_up);
            row.since.push(since);
            row.action_ids.push(need.action_id);
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
        let need = |number, tenant: Option<&str>| Need {
            row: RowNumber(number),
            tenant: tenant.map(str::to_owned),
            action_id: number.to_string(),
            action_type: Some(ActionType::Isolate),
            created_at: None,
            machine_id: Some("ABCD".to_owned()),
            computer_dns_name: None,
            follow_up: FollowUp::Unisolate,
        };
        let needs = vec![
            need(1, Some("contoso")),
            need(2, Some("fabrikam")),
            need(3, Some("contoso")),
            need(4, None),
        ];
        let rows: Vec<_> = unlooked(needs)
            .into_iter()
            .map(|row| (row.tenant.unwrap_or_default(), row.action_ids.join(" ")))
            .collect();
        let expected = [("contoso", "1 3"), ("fabrikam", "2"), ("", "4")];
        assert_eq!(
            rows,
            expected.map(|(tenant, ids)| (tenant.to_owned(), ids.to_owned()))
        );
    }
}
