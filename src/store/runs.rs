//! The `runs` table: creates, reopens, reads and removes runs.
//!
//! Every write happens inside the writer's transaction. Invariant: a run exists with all its rows or not at all.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, Params, Row, params};

use super::error::StoreFault;
use super::locks::Locks;
use super::record_types::{Holder, InputProgress, NewRun, Process, RunKey, RunRecord, RunState};
use super::sql_types::{Wall, count, execute, query, query_one, time};

/// Adds a run in state "going", held by `holder`.
pub(super) fn create(
    conn: &Connection,
    holder: &Process,
    run: &NewRun,
) -> Result<RunKey, StoreFault> {
    let sql = "INSERT INTO runs (uuid, created, settings, inputs, tenant, app, cloud, host, user, version, state, lock,
            held, holder_pid, holder_host)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?2, ?13, ?14)";
    let cells = params![
        run.id.to_string(),
        Wall(run.created),
        run.settings,
        run.inputs,
        run.tenant,
        run.app,
        run.cloud,
        run.host,
        run.user,
        run.version,
        RunState::Going,
        holder.id.to_string(),
        holder.pid,
        holder.host,
    ];
    execute(conn, sql, cells)?;
    Ok(RunKey(conn.last_insert_rowid()))
}

pub(super) fn set_state(
    conn: &Connection,
    run: RunKey,
    state: RunState,
    exit: Option<u8>,
    reason: Option<&str>,
    at: Timestamp,
) -> Result<(), StoreFault> {
    let ended = (state != RunState::Going).then_some(Wall(at));
    let sql = "UPDATE runs SET state = ?2, exit_code = ?3, reason = ?4, ended = ?5 WHERE id = ?1";
    let cells = params![run, state, exit, reason, ended];
    known(run, execute(conn, sql, cells)?)
}

pub(super) fn set_settings(
    conn: &Connection,
    run: RunKey,
    settings: &str,
) -> Result<(), StoreFault> {
    let sql = "UPDATE runs SET settings = ?2 WHERE id = ?1";
    known(run, execute(conn, sql, params![run, settings])?)
}

/// Reopens a run and drops its confirmation; a finished run stays as it is.
pub(super) fn go_on(conn: &Connection, run: RunKey) -> Result<(), StoreFault> {
    let sql = "UPDATE runs SET state = ?2, exit_code = NULL, reason = NULL, ended = NULL, confirmed = NULL
        WHERE id = ?1 AND state <> ?3";
    let cells = params![run, RunState::Going, RunState::Finished];
    execute(conn, sql, cells).map(drop)
}

/// Confirms a run, after all earlier confirmations.
pub(super) fn confirm(conn: &Connection, run: RunKey) -> Result<(), StoreFault> {
    let sql = "UPDATE runs SET confirmed = (SELECT coalesce(max(confirmed), 0) + 1 FROM runs) WHERE id = ?1";
    known(run, execute(conn, sql, [run])?)
}

/// Records how far the input was read.
pub(super) fn set_mark(
    conn: &Connection,
    run: RunKey,
    mark: &InputProgress,
) -> Result<(), StoreFault> {
    let sql =
        "UPDATE runs SET rows_read = ?2, input_position = ?3, input_complete = ?4 WHERE id = ?1";
    let rows_read = i64::try_from(mark.rows_read).unwrap_or(i64::MAX);
    let cells = params![run, rows_read, mark.position, mark.complete];
    known(run, execute(conn, sql, cells)?)
}

/// Removes a run with its rows and attempts. Its calls stay, because the service has counted them.
///
/// The file doesn't shrink; later runs use its free pages. Rejected: VACUUM, which rewrites the file and blocks all
/// other processes. Deleted data is overwritten, because it names machines and people.
pub(super) fn remove(conn: &Connection, run: RunKey) -> Result<(), StoreFault> {
    conn.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    for table in ["attempts", "rows", "sources"] {
        conn.execute(&format!("DELETE FROM {table} WHERE run = ?1"), [run])?;
    }
    conn.execute("DELETE FROM runs WHERE id = ?1", [run])?;
    Ok(())
}

/// Reads the runs that match `rest`, the end of a query.
pub(super) fn read(
    conn: &Connection,
    locks: &Locks,
    rest: &str,
    cells: impl Params,
) -> Result<Vec<RunRecord>, StoreFault> {
    let sql = format!(
        "SELECT r.id, r.uuid, r.created, r.settings, r.inputs, r.tenant, r.app, r.cloud, r.host, r.user, r.version,
            r.rows_read, r.input_position, r.input_complete, r.state, r.reason, r.exit_code, r.ended, r.held,
            r.lock, r.holder_pid, r.holder_host,
            CASE WHEN json_valid(r.settings) THEN json_extract(r.settings, '$.plan') END,
            r.confirmed IS NOT NULL, r.operation
         FROM runs r {rest}"
    );
    query(conn, &sql, cells, |row| read_run(row, locks))
}

fn read_run(row: &Row<'_>, locks: &Locks) -> rusqlite::Result<RunRecord> {
    let created = row.get::<_, Wall>(2)?.0;
    let held_at = time(row, 18)?;
    let holder: Option<String> = row.get(19)?;
    let pid: Option<u32> = row.get(20)?;
    let host: Option<String> = row.get(21)?;
    let holder = match holder {
        Some(lock) if !locks.is_free(&lock) => Some(Holder {
            pid: pid.unwrap_or_default(),
            host: host.unwrap_or_default(),
            since: held_at.unwrap_or(created),
        }),
        _ => None,
    };
    Ok(RunRecord {
        key: row.get(0)?,
        begun: NewRun {
            id: row.get(1)?,
            created,
            settings: row.get(3)?,
            inputs: row.get(4)?,
            tenant: row.get(5)?,
            app: row.get(6)?,
            cloud: row.get(7)?,
            host: row.get(8)?,
            user: row.get(9)?,
            version: row.get(10)?,
        },
        intake: InputProgress {
            rows_read: count(row, 11)?,
            position: row.get(12)?,
            complete: row.get(13)?,
        },
        state: row.get(14)?,
        reason: row.get(15)?,
        exit_code: row.get(16)?,
        ended_at: time(row, 17)?,
        held_at,
        holder,
        plan: row.get(22)?,
        is_confirmed: row.get(23)?,
        operation: row.get(24)?,
    })
}

fn known(run: RunKey, changed: usize) -> Result<(), StoreFault> {
    if changed == 1 {
        Ok(())
    } else {
        Err(StoreFault::Unknown {
            what: "run",
            key: run.0.to_string(),
        })
    }
}

/// The run locks of one process.
#[derive(Debug)]
pub(super) struct Holds {
    me: Process,
    lock: Arc<str>,
    locks: Locks,
    /// Runs that have a [`RunHold`](super::RunHold) in this process.
    in_hand: HashSet<RunKey>,
}

impl Holds {
    pub(super) fn new(me: Process, lock: Arc<str>, locks: Locks) -> Self {
        Self {
            me,
            lock,
            locks,
            in_hand: HashSet::new(),
        }
    }

    pub(super) fn me(&self) -> &Process {
        &self.me
    }

    pub(super) fn is_live(&self, name: &str) -> bool {
        *name == *self.lock || !self.locks.is_free(name)
    }

    /// Makes this process the holder of a run, unless another live process holds it.
    pub(super) fn take(
        &self,
        conn: &Connection,
        run: RunKey,
        at: Timestamp,
    ) -> Result<(), StoreFault> {
        let is_mine = "SELECT count(*) > 0 FROM runs WHERE id = ?1 AND lock = ?2";
        if query_one(conn, is_mine, params![run, self.lock], |row| row.get(0))? {
            return Ok(());
        }
        self.must_be_free(conn, run)?;
        let sql =
            "UPDATE runs SET lock = ?2, held = ?3, holder_pid = ?4, holder_host = ?5 WHERE id = ?1";
        let cells = params![run, self.lock, Wall(at), self.me.pid, self.me.host];
        execute(conn, sql, cells).map(drop)
    }

    /// Like [`Holds::take`], and exclusive within this process until [`Holds::let_go`].
    pub(super) fn take_in_hand(
        &mut self,
        conn: &Connection,
        run: RunKey,
        at: Timestamp,
    ) -> Result<(), StoreFault> {
        if self.in_hand.contains(&run) {
            self.must_be_free(conn, run)?;
        }
        self.take(conn, run, at)?;
        self.in_hand.insert(run);
        Ok(())
    }

    pub(super) fn let_go(&mut self, conn: &Connection, run: RunKey) -> Result<(), StoreFault> {
        self.in_hand.remove(&run);
        let sql = "UPDATE runs SET lock = NULL WHERE id = ?1 AND lock = ?2";
        execute(conn, sql, params![run, self.lock]).map(drop)
    }

    /// Fails if a live process, including this one, holds the run.
    pub(super) fn must_be_free(&self, conn: &Connection, run: RunKey) -> Result<(), StoreFault> {
        let found = read(conn, &self.locks, "WHERE r.id = ?1", [run])?.pop();
        let found = found.ok_or(StoreFault::NoRun(run))?;
        match found.holder {
            Some(holder) => Err(StoreFault::RunHeld {
                run: found.begun.id,
                holder,
            }),
            None => Ok(()),
        }
    }
}
