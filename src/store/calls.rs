//! The calls of one scope as they stand in the file: read back into the ledger's picture, and forgotten when old.
//!
//! Both run inside an IMMEDIATE transaction of the writer: reading may rewrite a stamp.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use crate::model::{BootId, Moment};
use crate::quota::Calls;

use super::error::Fault;
use super::slots::ScopeKey;
use super::words::{Up, Wall};

/// How long a call is kept: the longest window is a day, and an hour bears a wrong clock.
const KEPT: Duration = Duration::from_secs(25 * 3600);

/// How many calls are looked at each time, so that an old heap does not hold up an attempt.
const PRUNED_AT_ONCE: i64 = 20_000;

/// Returns the key of this process's boot. Boots of which nothing is left are forgotten where nobody else is at work, who
/// may be about to name one.
pub(super) fn enter_boot(conn: &Connection, boot: &BootId, is_alone: bool) -> Result<i64, Fault> {
    if is_alone {
        conn.execute(
            "DELETE FROM boots WHERE name <> ?1
             AND NOT EXISTS (SELECT 1 FROM calls WHERE scope IN (SELECT id FROM scopes) AND boot = boots.id)
             AND NOT EXISTS (SELECT 1 FROM scopes WHERE cooldown_boot = boots.id)",
            [boot.as_str()],
        )?;
    }
    conn.execute(
        "INSERT INTO boots (name) VALUES (?1) ON CONFLICT (name) DO NOTHING",
        [boot.as_str()],
    )?;
    let sql = "SELECT id FROM boots WHERE name = ?1";
    Ok(conn.query_row(sql, [boot.as_str()], |row| row.get(0))?)
}

/// Reads the calls of a scope that ended at most `reach` ago, and those in flight.
///
/// Other boots showed other uptimes, so their stamps are translated by wall clock; one from the future, which only a
/// clock that was set back can leave, is rewritten to now.
pub(super) fn read(
    conn: &Connection,
    own: i64,
    (scope, reach): (ScopeKey, Duration),
    now: Moment,
) -> Result<Calls, Fault> {
    let mut calls = Calls::new();
    let boots: Vec<i64> = conn
        .prepare_cached("SELECT id FROM boots ORDER BY id = ?1, id")?
        .query_map([own], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for boot in boots {
        let in_flight: u32 = conn
            .prepare_cached(
                "SELECT count(*) FROM calls WHERE scope = ?1 AND boot = ?2 AND ended_up IS NULL",
            )?
            .query_row([scope.0, boot], |row| row.get(0))?;
        (0..in_flight).for_each(|_| calls.send());
        if boot == own {
            let mut ends = conn.prepare_cached(
                "SELECT ended_up FROM calls WHERE scope = ?1 AND boot = ?2 AND ended_up > ?3
                 ORDER BY ended_up",
            )?;
            let mut ends = ends.query(params![scope.0, boot, Up(now.uptime.before(reach))])?;
            while let Some(row) = ends.next()? {
                calls.record_end(row.get::<_, Up>(0)?.0);
            }
        } else {
            read_other_boot(conn, (scope, boot), now, &mut calls)?;
        }
    }
    Ok(calls)
}

fn read_other_boot(
    conn: &Connection,
    (scope, boot): (ScopeKey, i64),
    now: Moment,
    calls: &mut Calls,
) -> Result<(), Fault> {
    conn.prepare_cached(
        "UPDATE calls SET ended_wall = ?3
         WHERE scope = ?1 AND boot = ?2 AND ended_up IS NOT NULL AND ended_wall > ?3",
    )?
    .execute(params![scope.0, boot, Wall(now.wall)])?;
    let mut ends = conn.prepare_cached(
        "SELECT ended_wall, grace FROM calls WHERE scope = ?1 AND boot = ?2 AND ended_up IS NOT NULL
         ORDER BY ended_wall + grace / 1000",
    )?;
    let mut ends = ends.query(params![scope.0, boot])?;
    while let Some(row) = ends.next()? {
        let wall: Wall = row.get(0)?;
        let grace = Duration::from_nanos(u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0));
        calls.record_end(now.uptime_at(wall.0).after(grace));
    }
    Ok(())
}

/// Forgets old calls, the oldest first and not all at once; those in flight stay.
pub(super) fn prune(conn: &Connection, own: i64, now: Moment) -> Result<(), Fault> {
    let wall = SignedDuration::try_from(KEPT)
        .ok()
        .and_then(|kept| now.wall.checked_sub(kept).ok())
        .unwrap_or(Timestamp::MIN);
    conn.prepare_cached(
        "DELETE FROM calls WHERE id IN (
            SELECT id FROM (SELECT id, boot, ended_up, ended_wall FROM calls ORDER BY id LIMIT ?4)
            WHERE ended_up IS NOT NULL
            AND CASE WHEN boot = ?1 THEN ended_up < ?2 ELSE ended_wall < ?3 END)",
    )?
    .execute(params![
        own,
        Up(now.uptime.before(KEPT)),
        Wall(wall),
        PRUNED_AT_ONCE
    ])?;
    Ok(())
}
