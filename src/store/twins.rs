//! Ids that are unsettled in another live run of the same tenant: this run must not cancel them, too.
//!
//! The ids of other live runs are kept in memory, 16 bytes and a row number each, and only while there are such runs;
//! rows are only ever added at a run's end and never unsettled, so that each is read once, and a hit is looked up before
//! it counts. Every look happens in the transaction that acts on it. Refused: an index over unsettled ids, for which
//! every run would pay in every row.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::model::{ActionId, RowNumber, SEVERAL};

use super::error::Fault;
use super::holds::Holds;
use super::slots::RunKey;
use super::words::{IdCell, Wall};

/// The unsettled ids of the other live runs.
#[derive(Debug, Default)]
pub(super) struct Twins {
    others: HashMap<RunKey, Other>,
}

#[derive(Debug)]
struct Other {
    /// The run's public name.
    name: String,
    /// Those that were unsettled when they were read.
    ids: HashMap<[u8; 16], u32>,
    /// The last row read.
    last: u32,
}

impl Twins {
    /// Looks which other runs of this one's tenant, or of several ones, are live, and reads what they have got since the last look.
    pub(super) fn look(
        &mut self,
        conn: &Connection,
        holds: &Holds,
        run: RunKey,
    ) -> Result<(), Fault> {
        let found: Vec<(RunKey, String, String)> = conn
            .prepare_cached(
                "SELECT o.id, o.uuid, o.holder FROM runs o, runs r
                 WHERE o.holder IS NOT NULL AND o.state = 'going' AND o.id <> r.id
                    AND o.cloud = r.cloud AND (o.tenant = r.tenant OR ?2 IN (o.tenant, r.tenant)) AND r.id = ?1",
            )?
            .query_map(params![run.0, SEVERAL], |row| {
                Ok((RunKey(row.get(0)?), row.get(1)?, row.get(2)?))
            })?
            .collect::<Result<_, _>>()?;
        let mut live = HashMap::new();
        for (key, name, holder) in found {
            if holds.is_live(&holder) {
                let mut other = self.others.remove(&key).unwrap_or_else(|| Other {
                    name,
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

    /// Returns whether there are none, so that no id needs to be looked up.
    pub(super) fn is_empty(&self) -> bool {
        self.others.is_empty()
    }

    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        self.others = HashMap::new();
    }

    /// Returns the other live run in which `id` is unsettled.
    pub(super) fn holder_of(
        &mut self,
        conn: &Connection,
        id: &ActionId,
    ) -> Result<Option<&str>, Fault> {
        for (key, other) in &mut self.others {
            let Some(number) = other.ids.get(id.as_bytes()) else {
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
                return Ok(Some(&other.name));
            }
            other.ids.remove(id.as_bytes());
        }
        Ok(None)
    }

    /// Returns the rows of `run` that were never sent and whose ids are unsettled in another live run, and in which.
    pub(super) fn twins_of(
        &mut self,
        conn: &Connection,
        run: RunKey,
    ) -> Result<Vec<(RowNumber, String)>, Fault> {
        let mut twins = Vec::new();
        if self.others.is_empty() {
            return Ok(twins);
        }
        let mut unsent = conn.prepare_cached(
            "SELECT number, id FROM rows
             WHERE run = ?1 AND outcome IS NULL AND attempts = 0 AND typeof(id) = 'blob' ORDER BY number",
        )?;
        let mut unsent = unsent.query([run.0])?;
        while let Some(row) = unsent.next()? {
            if let IdCell(Ok(id)) = row.get(1)?
                && let Some(name) = self.holder_of(conn, &id)?
            {
                twins.push((RowNumber(row.get(0)?), name.to_owned()));
            }
        }
        Ok(twins)
    }
}

/// Returns the ids that other runs of the tenant, live or not, have settled since `since`, or have sent a cancel for and not
/// settled.
///
/// A walk over those runs' rows: only whoever holds states that were read before asks, and there are few such runs.
pub(super) fn dealt_with(
    conn: &Connection,
    run: RunKey,
    since: Timestamp,
) -> Result<HashSet<ActionId>, Fault> {
    let mut found = conn.prepare_cached(
        "SELECT w.id FROM runs r JOIN runs o JOIN rows w ON w.run = o.id
         WHERE r.id = ?1 AND o.id <> r.id AND (o.ended IS NULL OR o.ended >= ?3)
            AND o.cloud = r.cloud AND (o.tenant = r.tenant OR ?2 IN (o.tenant, r.tenant))
            AND (w.settled >= ?3 OR w.outcome IS NULL AND w.attempts > 0) AND typeof(w.id) = 'blob'",
    )?;
    let mut found = found.query(params![run.0, SEVERAL, Wall(since)])?;
    let mut ids = HashSet::new();
    while let Some(row) = found.next()? {
        if let IdCell(Ok(id)) = row.get(0)? {
            ids.insert(id);
        }
    }
    Ok(ids)
}

impl Other {
    fn read_on(&mut self, conn: &Connection, run: RunKey) -> Result<(), Fault> {
        let mut rows = conn.prepare_cached(
            "SELECT number, id FROM rows
             WHERE run = ?1 AND number > ?2 AND outcome IS NULL AND typeof(id) = 'blob' ORDER BY number",
        )?;
        let mut rows = rows.query(params![run.0, self.last])?;
        while let Some(row) = rows.next()? {
            self.last = row.get(0)?;
            if let IdCell(Ok(id)) = row.get(1)? {
                self.ids.insert(*id.as_bytes(), self.last);
            }
        }
        Ok(())
    }
}
