//! Finds actions that another run of the same cloud and tenant is working on, so that this run doesn't cancel them too.
//! For runs that release, it finds machines instead, whichever of their actions each run undoes; below, "id" means
//! either.
//!
//! Only confirmed runs of live processes count: a run that waits for confirmation blocks nothing. Of two such runs, the
//! one confirmed first goes first, and the other leaves its unsettled ids alone. Once an id was sent, it belongs to the
//! sender until it is settled, whoever was confirmed first; the transaction that takes the slot checks this.
//!
//! While there are earlier runs, their unsettled ids stay in memory: 16 bytes and a row number each. Each row is read
//! once, and a match is checked in the file before it counts.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::model::{ActionId, ActionType, Operation, RowNumber, RunId, SEVERAL, UNNAMED};

use super::error::StoreFault;
use super::locks::Locks;
use super::record_types::{QueuedRow, RunKey};
use super::runs::Holds;
use super::sql_types::{Wall, query, query_one};

/// Whether the runs `o` and `r` may belong to one tenant: they use the same name for it, or one has no name for it, or
/// only a domain name (when its token is opaque).
const SAME_TENANT: &str =
    "o.cloud = r.cloud AND (o.tenant = r.tenant OR o.tenant IN (?2, ?3) OR r.tenant IN (?2, ?3)
        OR instr(o.tenant, '.') OR instr(r.tenant, '.'))";

/// The unsettled ids of live runs that were confirmed before this one.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    others: HashMap<RunKey, Other>,
}

#[derive(Debug)]
struct Other {
    id: RunId,
    operation: Operation,
    /// Those that were unsettled when read.
    ids: HashMap<[u8; 16], u32>,
    last: u32,
}

impl Conflicts {
    /// Finds the runs before this one, and reads their new rows.
    pub(super) fn refresh(
        &mut self,
        conn: &Connection,
        holds: &Holds,
        run: RunKey,
    ) -> Result<(), StoreFault> {
        let sql = format!(
            "SELECT o.id, o.uuid, o.lock, o.operation FROM runs o, runs r
             WHERE r.id = ?1 AND o.id <> r.id AND o.operation = r.operation AND o.lock IS NOT NULL AND o.state = 'going'
                AND o.confirmed IS NOT NULL AND (r.confirmed IS NULL OR o.confirmed < r.confirmed)
                AND {SAME_TENANT}"
        );
        let found: Vec<(RunKey, RunId, String, Operation)> =
            query(conn, &sql, params![run, SEVERAL, UNNAMED], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
        let mut live = HashMap::new();
        for (key, id, holder, operation) in found {
            if holds.is_live(&holder) {
                let mut other = self.others.remove(&key).unwrap_or_else(|| Other {
                    id,
                    operation,
                    ids: HashMap::new(),
                    last: 0,
                });
                other.read_on(conn, key)?;
                live.insert(key, other);
            }
        }
        self.others = live;
        Ok(())
    }

    /// Returns the earlier run that has the subject of `row` unsettled.
    pub(super) fn in_progress(
        &mut self,
        conn: &Connection,
        row: &QueuedRow,
    ) -> Result<Option<RunId>, StoreFault> {
        for (key, other) in &mut self.others {
            let context = &row.context;
            let action_type = context.action_type.as_ref().map(ActionType::as_str);
            let subject = subject(
                other.operation,
                row.id,
                context.machine_id.as_deref(),
                action_type,
            );
            let Some(number) = other.ids.get(&subject) else {
                continue;
            };
            let is_open =
                "SELECT count(*) > 0 FROM rows WHERE run = ?1 AND number = ?2 AND outcome IS NULL";
            if query_one(conn, is_open, params![key, *number], |row| row.get(0))? {
                return Ok(Some(other.id));
            }
            other.ids.remove(&subject);
        }
        Ok(None)
    }
}

/// Returns what two runs of one operation must not both work on, as sixteen bytes.
fn subject(
    operation: Operation,
    id: ActionId,
    machine: Option<&str>,
    action_type: Option<&str>,
) -> [u8; 16] {
    match (operation, machine) {
        (Operation::Release, Some(machine)) => {
            let mut hasher = DefaultHasher::new();
            (machine.to_lowercase(), action_type).hash(&mut hasher);
            u128::from(hasher.finish()).to_be_bytes()
        }
        _ => *id.as_bytes(),
    }
}

/// Returns the other live run that has sent a call for this row's action and not settled it.
pub(super) fn sent_elsewhere(
    conn: &Connection,
    locks: &Locks,
    run: RunKey,
    row: RowNumber,
) -> Result<Option<RunId>, StoreFault> {
    // For releases, this scans the rows of the few other live runs.
    let by_id = "rows w INDEXED BY rows_in_progress ON w.id = mine.id JOIN runs o ON o.id = w.run";
    let by_machine = "runs o ON r.operation = 'release' JOIN rows w ON w.run = o.id
        AND w.action_type = mine.action_type AND lower(w.machine_id) = lower(mine.machine_id)";
    for join in [by_id, by_machine] {
        let sql = format!(
            "SELECT o.uuid, o.lock FROM rows mine JOIN runs r ON r.id = mine.run JOIN {join}
             WHERE mine.run = ?1 AND mine.number = ?4 AND w.run <> ?1 AND w.outcome IS NULL AND w.attempts > 0
                AND o.lock IS NOT NULL AND o.state = 'going' AND o.confirmed IS NOT NULL
                AND o.operation = r.operation AND {SAME_TENANT}"
        );
        let cells = params![run, SEVERAL, UNNAMED, row];
        let others: Vec<(RunId, String)> = query(conn, &sql, cells, |other| {
            Ok((other.get(0)?, other.get(1)?))
        })?;
        let mut live = others.into_iter().filter(|(_, lock)| !locks.is_free(lock));
        if let Some((other, _)) = live.next() {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

/// Marks states of unsent rows as unread if another run of the tenant, live or not, has settled their actions since
/// `since`: they may be stale. Marks all states of a release, which are valid for only a minute.
pub(super) fn forget_states(
    conn: &Connection,
    run: RunKey,
    since: Timestamp,
) -> Result<(), StoreFault> {
    conn.execute(
        &format!(
            "UPDATE rows SET triaged = NULL
             WHERE run = ?1 AND outcome IS NULL AND attempts = 0 AND triaged IS NOT NULL AND (id IN (
                SELECT w.id FROM runs r JOIN runs o JOIN rows w ON w.run = o.id
                WHERE r.id = ?1 AND o.id <> r.id AND (o.ended IS NULL OR o.ended >= ?4) AND {SAME_TENANT}
                    AND w.settled >= ?4 AND w.attempts > 0)
                OR EXISTS (SELECT 1 FROM runs WHERE id = ?1 AND operation = 'release'))"
        ),
        params![run, SEVERAL, UNNAMED, Wall(since)],
    )?;
    Ok(())
}

impl Other {
    fn read_on(&mut self, conn: &Connection, run: RunKey) -> Result<(), StoreFault> {
        let sql = "SELECT number, id, machine_id, action_type FROM rows
            WHERE run = ?1 AND number > ?2 AND outcome IS NULL AND typeof(id) = 'blob' ORDER BY number";
        let after = self.last;
        query(conn, sql, params![run, after], |row| {
            self.last = row.get(0)?;
            let id = row.get(1)?;
            let (machine, kind): (Option<String>, Option<String>) = (row.get(2)?, row.get(3)?);
            let subject = subject(self.operation, id, machine.as_deref(), kind.as_deref());
            self.ids.insert(subject, self.last);
            Ok(())
        })
    }
}
