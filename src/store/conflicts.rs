//! Actions that another run of the same cloud and tenant is working on: this one must not cancel them, too. Of runs that
//! release it is machines, whichever of its actions each of them undoes; below, ids stand for both.
//!
//! Only confirmed runs of live processes count, so that one that waits at its question holds nothing. Of two such runs
//! the one that was confirmed first goes first: the other leaves its unsettled ids alone. Once an id was sent, it is the
//! sender's until it is settled, whoever was confirmed first; that is looked up in the transaction that takes the slot.
//!
//! The unsettled ids of earlier runs are kept in memory, 16 bytes and a row number each, and only while there are such
//! runs; each row is read once, and a hit is looked up before it counts.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::model::{ActionId, ActionType, Operation, RowNumber, RunId, SEVERAL, UNNAMED};

use super::error::StoreFault;
use super::locks::Locks;
use super::runs;
use super::runs::Holds;
use super::sql_types::{IdCell, OperationWord, Wall};
use super::types::{QueuedRow, RunKey};

/// Whether the runs `o` and `r` may be of one tenant: their names for it are the same, or one does not name it, or only by a
/// domain name, as where its token is opaque.
const SAME_TENANT: &str =
    "o.cloud = r.cloud AND (o.tenant = r.tenant OR o.tenant IN (?2, ?3) OR r.tenant IN (?2, ?3)
        OR instr(o.tenant, '.') OR instr(r.tenant, '.'))";

/// The unsettled ids of the live runs that were confirmed before this one.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    others: HashMap<RunKey, Other>,
}

#[derive(Debug)]
struct Other {
    id: RunId,
    operation: Operation,
    /// Those that were unsettled when they were read.
    ids: HashMap<[u8; 16], u32>,
    last: u32,
}

impl Conflicts {
    /// Looks which other runs come before this one, and reads what they have got since the last look.
    pub(super) fn refresh(
        &mut self,
        conn: &Connection,
        holds: &Holds,
        run: RunKey,
    ) -> Result<(), StoreFault> {
        let found: Vec<(RunKey, RunId, String, Operation)> = conn
            .prepare_cached(&format!(
                "SELECT o.id, o.uuid, o.lock, o.operation FROM runs o, runs r
                 WHERE r.id = ?1 AND o.id <> r.id AND o.operation = r.operation AND o.lock IS NOT NULL AND o.state = 'going'
                    AND o.confirmed IS NOT NULL AND (r.confirmed IS NULL OR o.confirmed < r.confirmed)
                    AND {SAME_TENANT}"
            ))?
            .query_map(params![run.0, SEVERAL, UNNAMED], |row| {
                let OperationWord(operation) = row.get(3)?;
                let id = runs::read_id(row, 1)?;
                Ok((RunKey(row.get(0)?), id, row.get(2)?, operation))
            })?
            .collect::<Result<_, _>>()?;
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

    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        self.others = HashMap::new();
    }

    /// Returns the run before this one in which what `row` is about is unsettled.
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
            let is_open = conn
                .prepare_cached(
                    "SELECT 1 FROM rows WHERE run = ?1 AND number = ?2 AND outcome IS NULL",
                )?
                .query_row([key.0, i64::from(*number)], |_| Ok(()))
                .optional()?
                .is_some();
            if is_open {
                return Ok(Some(other.id));
            }
            other.ids.remove(&subject);
        }
        Ok(None)
    }
}

/// Returns what two runs of one operation must not both work on, in sixteen bytes.
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

/// Returns the other live run that has sent a call for the action of this row and has not settled it.
pub(super) fn sent_elsewhere(
    conn: &Connection,
    locks: &Locks,
    run: RunKey,
    row: RowNumber,
) -> Result<Option<RunId>, StoreFault> {
    // Of releases, the rows of the few other runs that are live are looked through.
    let by_id = "rows w INDEXED BY rows_in_progress ON w.id = mine.id JOIN runs o ON o.id = w.run";
    let by_machine = "runs o ON r.operation = 'release' JOIN rows w ON w.run = o.id
        AND w.action_type = mine.action_type AND lower(w.machine_id) = lower(mine.machine_id)";
    for join in [by_id, by_machine] {
        let mut found = conn.prepare_cached(&format!(
            "SELECT o.uuid, o.lock FROM rows mine JOIN runs r ON r.id = mine.run JOIN {join}
             WHERE mine.run = ?1 AND mine.number = ?4 AND w.run <> ?1 AND w.outcome IS NULL AND w.attempts > 0
                AND o.lock IS NOT NULL AND o.state = 'going' AND o.confirmed IS NOT NULL
                AND o.operation = r.operation AND {SAME_TENANT}"
        ))?;
        let mut found = found.query(params![run.0, SEVERAL, UNNAMED, row.0])?;
        while let Some(other) = found.next()? {
            let holder: String = other.get(1)?;
            if !locks.is_free(&holder) {
                return Ok(Some(runs::read_id(other, 0)?));
            }
        }
    }
    Ok(None)
}

/// Forgets when states of a run's unsent rows were read that other runs of the tenant, live or not, have settled since
/// `since`: they may be out of date. Of a release, all: they count for a minute only.
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
        params![run.0, SEVERAL, UNNAMED, Wall(since)],
    )?;
    Ok(())
}

impl Other {
    fn read_on(&mut self, conn: &Connection, run: RunKey) -> Result<(), StoreFault> {
        let mut rows = conn.prepare_cached(
            "SELECT number, id, machine_id, action_type FROM rows
             WHERE run = ?1 AND number > ?2 AND outcome IS NULL AND typeof(id) = 'blob' ORDER BY number",
        )?;
        let mut rows = rows.query(params![run.0, self.last])?;
        while let Some(row) = rows.next()? {
            self.last = row.get(0)?;
            if let IdCell(Ok(id)) = row.get(1)? {
                let (machine, kind): (Option<String>, Option<String>) = (row.get(2)?, row.get(3)?);
                let subject = subject(self.operation, id, machine.as_deref(), kind.as_deref());
                self.ids.insert(subject, self.last);
            }
        }
        Ok(())
    }
}
