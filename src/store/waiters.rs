//! Who waits for a slot, and how a freed one is shared: who holds more of the window than another live waiter leaves it
//! alone for a moment.
//!
//! Fairness is over slots that come free: who took a whole window owns it until it rolls. It costs a slot that nobody
//! fetches a fortieth of a second, and nothing at all where nobody else waits.

use std::time::Duration;

use rusqlite::{Connection, params};

use crate::model::Uptime;
use crate::quota;
use crate::quota::{Calls, Windows};

use super::error::Fault;
use super::processes::Own;
use super::slots::ScopeKey;
use super::words::Up;

/// How long a freed slot is left to a waiter that holds less: several times what it needs to wake up and ask.
const LEFT_ALONE: Duration = Duration::from_millis(25);

/// How long a waiter may be late before it no longer counts as one: stopped, in an outage, or out of rows.
const LATE: Duration = Duration::from_secs(1);

/// How long calls must be remembered beyond their hold, for telling since when a slot is free.
pub(super) const MEMORY: Duration = Duration::from_secs(1);

/// Writes down that this process waits for a slot, and until when at least.
pub(super) fn wait(
    conn: &Connection,
    own: Own,
    scope: ScopeKey,
    until: Uptime,
) -> Result<(), Fault> {
    conn.prepare_cached(
        "INSERT INTO waiters (process, scope, until) VALUES (?1, ?2, ?3)
         ON CONFLICT (process, scope) DO UPDATE SET until = excluded.until",
    )?
    .execute(params![own.process, scope.0, Up(until)])?;
    Ok(())
}

/// Writes down that this process got its slot.
pub(super) fn got(conn: &Connection, own: Own, scope: ScopeKey) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM waiters WHERE process = ?1 AND scope = ?2")?
        .execute([own.process, scope.0])?;
    Ok(())
}

/// Returns the other processes that wait for a slot of `scope`.
pub(super) fn others(
    conn: &Connection,
    own: Own,
    scope: ScopeKey,
    now: Uptime,
) -> Result<Vec<i64>, Fault> {
    let others = conn
        .prepare_cached(
            "SELECT process FROM waiters WHERE scope = ?1 AND process <> ?2 AND until > ?3",
        )?
        .query_map(params![scope.0, own.process, Up(now.before(LATE))], |row| {
            row.get(0)
        })?
        .collect::<Result<_, _>>()?;
    Ok(others)
}

/// Returns until when this process leaves the slot that is free at `now` to one of `others`; `None` where it may take it.
pub(super) fn leave_until(
    conn: &Connection,
    (own, others): (Own, &[i64]),
    (scope, windows): (ScopeKey, &Windows),
    calls: &Calls,
    now: Uptime,
) -> Result<Option<Uptime>, Fault> {
    let Some((since, window)) = quota::freed(now, windows, calls) else {
        return Ok(None);
    };
    let until = since.after(LEFT_ALONE);
    if until <= now {
        return Ok(None);
    }
    let from = now.before(window.hold());
    let mine = held(conn, own, (scope, own.process), from)?;
    for &other in others {
        if held(conn, own, (scope, other), from)? < mine {
            return Ok(Some(until));
        }
    }
    Ok(None)
}

/// Counts the slots that a process holds in a window whose calls ended after `from`.
fn held(
    conn: &Connection,
    own: Own,
    (scope, process): (ScopeKey, i64),
    from: Uptime,
) -> Result<u32, Fault> {
    Ok(conn
        .prepare_cached(
            "SELECT (SELECT count(*) FROM calls
                WHERE scope = ?1 AND boot = ?2 AND ended_up > ?4 AND process = ?3)
            + (SELECT count(*) FROM calls
                WHERE scope = ?1 AND boot = ?2 AND ended_up IS NULL AND process = ?3)",
        )?
        .query_row(params![scope.0, own.boot, process, Up(from)], |row| {
            row.get(0)
        })?)
}
