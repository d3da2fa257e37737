//! The processes that share the file: who they are, and what becomes of the calls of one that died.

use std::time::Duration;

use rusqlite::{Connection, params};

use crate::model::Moment;

use super::error::Fault;
use super::holds;
use super::locks::Locks;
use super::records::Process;
use super::words::{Up, Wall};

/// The file's short names for this process and its boot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    pub(super) process: i64,
    pub(super) boot: i64,
}

/// Enters this process, whose lock is held already, and forgets boots of which nothing is left.
///
/// The scopes are named, here and below, so that the index leads to the calls without reading them all.
pub(super) fn enter(conn: &Connection, process: &Process, now: Moment) -> Result<Own, Fault> {
    conn.execute(
        "DELETE FROM boots WHERE name <> ?1
         AND NOT EXISTS (SELECT 1 FROM calls WHERE scope IN (SELECT id FROM scopes) AND boot = boots.id)
         AND NOT EXISTS (SELECT 1 FROM processes WHERE boot = boots.id)
         AND NOT EXISTS (SELECT 1 FROM scopes WHERE cooldown_boot = boots.id)",
        [process.boot.as_str()],
    )?;
    conn.execute(
        "INSERT INTO boots (name) VALUES (?1) ON CONFLICT (name) DO NOTHING",
        [process.boot.as_str()],
    )?;
    let boot = conn.query_row(
        "SELECT id FROM boots WHERE name = ?1",
        [process.boot.as_str()],
        |row| row.get(0),
    )?;
    // Never the number of a dead process: its calls are still counted as that number's.
    conn.execute(
        "INSERT INTO processes (id, uuid, pid, host, boot, started)
         SELECT 1 + max(coalesce((SELECT max(id) FROM processes), 0), coalesce((SELECT max(process) FROM calls), 0)),
            ?1, ?2, ?3, ?4, ?5",
        params![
            process.id.to_string(),
            process.pid,
            process.host,
            boot,
            Wall(now.wall)
        ],
    )?;
    Ok(Own {
        process: conn.last_insert_rowid(),
        boot,
    })
}

/// Lets go of everything that this process holds and strikes it out, unless it leaves calls in flight: those are for
/// others to end. Returns whether it did.
pub(super) fn leave(conn: &Connection, (own, name): (Own, &str)) -> Result<bool, Fault> {
    let_go(conn, own.process, name)?;
    let left = conn.execute(
        "DELETE FROM processes WHERE id = ?1 AND NOT EXISTS (
            SELECT 1 FROM calls WHERE scope IN (SELECT id FROM scopes) AND boot = ?2 AND ended_up IS NULL
            AND process = ?1)",
        [own.process, own.boot],
    )?;
    Ok(left == 1)
}

/// Ends the calls in flight of every process whose lock is free: now, and one grace for what a kernel may still
/// deliver. Returns whether anybody was dead.
pub(super) fn end_calls_of_dead(
    conn: &Connection,
    own: Own,
    locks: &Locks,
    (now, grace): (Moment, Duration),
) -> Result<bool, Fault> {
    let others: Vec<(i64, String, i64)> = conn
        .prepare_cached("SELECT id, uuid, boot FROM processes WHERE id <> ?1")?
        .query_map([own.process], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut any = false;
    for (process, name, boot) in others {
        if !locks.is_free(&name) {
            continue;
        }
        any = true;
        let ended = conn
            .prepare_cached(
                "UPDATE calls SET ended_up = ?3, ended_wall = ?4, grace = ?5, boot = ?6
                 WHERE scope IN (SELECT id FROM scopes) AND boot = ?2 AND ended_up IS NULL AND process = ?1",
            )?
            .execute(params![
                process,
                boot,
                Up(now.uptime.after(grace)),
                Wall(now.wall),
                i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX),
                own.boot,
            ])?;
        let_go(conn, process, &name)?;
        conn.prepare_cached("DELETE FROM processes WHERE id = ?1")?
            .execute([process])?;
        if ended > 0 {
            tracing::info!(process = %name, calls = ended, "a process died with calls in flight");
        }
        locks.remove(&name);
    }
    Ok(any)
}

/// Lets go of the runs that a process holds, and of its place among those who wait.
fn let_go(conn: &Connection, process: i64, name: &str) -> Result<(), Fault> {
    holds::let_all_go(conn, name)?;
    stop_waiting(conn, process)
}

/// Writes down that a process waits for no slot any more.
pub(super) fn stop_waiting(conn: &Connection, process: i64) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM waiters WHERE process = ?1")?
        .execute([process])?;
    Ok(())
}
