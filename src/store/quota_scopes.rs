//! Scopes: their names, cooldowns, limits named by the service, and learned rates.

use std::time::Duration;

use rusqlite::{Connection, Row, params};

use jiff::Timestamp;

use crate::model::{Destination, Moment, Scope, Uptime};
use crate::quota::{KEPT_FOR, SavedRate, Window, Windows};

use super::error::StoreFault;
use super::record_types::{Cooldown, ScopeKey, ScopeRecord};
use super::sql_types::{Wall, count, execute, query, query_one};

/// Returns the scope's key; adds the scope if it is new.
pub(super) fn find_or_add(conn: &Connection, scope: &Scope) -> Result<ScopeKey, StoreFault> {
    let name = params![scope.cloud, scope.tenant, scope.app, scope.destination];
    let insert = "INSERT INTO scopes (cloud, tenant, app, destination) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    execute(conn, insert, name)?;
    let find =
        "SELECT id FROM scopes WHERE cloud = ?1 AND tenant = ?2 AND app = ?3 AND destination = ?4";
    query_one(conn, find, name, |row| row.get(0))
}

/// Returns all scopes, sorted by name.
pub(super) fn all(conn: &Connection) -> Result<Vec<(ScopeKey, Scope)>, StoreFault> {
    let sql = "SELECT id, cloud, tenant, app, destination FROM scopes ORDER BY cloud, tenant, app, destination";
    let scopes: Vec<Option<(ScopeKey, Scope)>> = query(conn, sql, [], |row| {
        let word: String = row.get(4)?;
        let mut all = Destination::ALL.into_iter();
        let Some(destination) = all.find(|destination| destination.as_str() == word) else {
            // Only another version knows it.
            return Ok(None);
        };
        let scope = Scope {
            cloud: row.get(1)?,
            tenant: row.get(2)?,
            app: row.get(3)?,
            destination,
        };
        Ok(Some((row.get(0)?, scope)))
    })?;
    Ok(scopes.into_iter().flatten().collect())
}

pub(super) fn read(
    conn: &Connection,
    key: ScopeKey,
    boot: i64,
    now: Moment,
) -> Result<ScopeRecord, StoreFault> {
    Ok(ScopeRecord {
        key,
        cooldown: cooldown(conn, key, boot, now)?,
        adopted: adopted(conn, key, now.wall)?,
        pace: pace(conn, key, now.wall)?,
    })
}

/// Returns the scope's cooldown if it lasts beyond `now`.
pub(super) fn cooldown(
    conn: &Connection,
    key: ScopeKey,
    boot: i64,
    now: Moment,
) -> Result<Option<Cooldown>, StoreFault> {
    let read = |row: &Row<'_>| -> rusqlite::Result<Option<Cooldown>> {
        let Some(until) = row.get(0)? else {
            return Ok(None);
        };
        let wall: Wall = row.get(1)?;
        let same_boot = row.get::<_, i64>(2)? == boot;
        Ok(Some(Cooldown {
            until: if same_boot {
                until
            } else {
                now.uptime_at(wall.0)
            },
            wall: wall.0,
            cause: row.get(3)?,
        }))
    };
    let sql = "SELECT cooldown_up, cooldown_wall, cooldown_boot, cooldown_cause FROM scopes WHERE id = ?1";
    let mut found: Vec<_> = query(conn, sql, [key], read)?;
    let found = found.pop().ok_or_else(|| unknown(key))?;
    Ok(found.filter(|cooldown| cooldown.until > now.uptime))
}

/// Records a cooldown that ends later than the current one.
pub(super) fn cool_down(
    conn: &Connection,
    key: ScopeKey,
    boot: i64,
    until: Uptime,
    wall: Timestamp,
    cause: &str,
) -> Result<(), StoreFault> {
    let sql = "UPDATE scopes SET cooldown_up = ?2, cooldown_wall = ?3, cooldown_boot = ?4, cooldown_cause = ?5
        WHERE id = ?1 AND (cooldown_up IS NULL
            OR CASE WHEN cooldown_boot = ?4 THEN cooldown_up < ?2 ELSE cooldown_wall < ?3 END)";
    let cells = params![key, until, Wall(wall), boot, cause];
    execute(conn, sql, cells).map(drop)
}

/// Records a limit that the service named; replaces one of the same period.
pub(super) fn adopt(
    conn: &Connection,
    key: ScopeKey,
    window: Window,
    at: Timestamp,
) -> Result<(), StoreFault> {
    let period = i64::try_from(window.period.as_nanos()).unwrap_or(i64::MAX);
    let sql = "INSERT INTO allowances (scope, period, calls, confirmed)
        SELECT id, ?2, ?3, ?4 FROM scopes WHERE id = ?1
        ON CONFLICT DO UPDATE SET calls = excluded.calls, confirmed = excluded.confirmed";
    let cells = params![key, period, window.limit.get(), Wall(at)];
    match execute(conn, sql, cells)? {
        0 => Err(unknown(key)),
        _ => Ok(()),
    }
}

/// Returns the limits that the service named in the last [`KEPT_FOR`], shortest period first.
fn adopted(conn: &Connection, key: ScopeKey, now: Timestamp) -> Result<Windows, StoreFault> {
    let sql =
        "SELECT calls, period FROM allowances WHERE scope = ?1 AND confirmed > ?2 ORDER BY period";
    let windows: Vec<Option<Window>> =
        query(conn, sql, params![key, Wall(outdated(now))], |row| {
            // Earlier versions stored implausible limits too.
            let period = Duration::from_nanos(count(row, 1)?);
            Ok(Window::named(row.get(0)?, period))
        })?;
    Ok(Windows::new(windows.into_iter().flatten().collect()))
}

/// Forgets a scope's limits, learned rate and cooldown.
pub(super) fn reset(conn: &Connection, key: ScopeKey) -> Result<(), StoreFault> {
    execute(conn, "DELETE FROM allowances WHERE scope = ?1", [key])?;
    let sql = "UPDATE scopes SET pace = NULL, cooldown_up = NULL, cooldown_wall = NULL, cooldown_boot = NULL,
            cooldown_cause = NULL
        WHERE id = ?1";
    execute(conn, sql, [key]).map(drop)
}

/// Records a scope's learned rate, or that it has none any more.
pub(super) fn set_pace(
    conn: &Connection,
    key: ScopeKey,
    pace: Option<SavedRate>,
    at: Timestamp,
) -> Result<(), StoreFault> {
    let text = pace.map(|pace| pace_text(pace, at));
    let sql = "UPDATE scopes SET pace = ?2 WHERE id = ?1";
    execute(conn, sql, params![key, text]).map(drop)
}

/// Returns the rate learned less than [`KEPT_FOR`] ago; the clock may have been set since.
fn pace(conn: &Connection, key: ScopeKey, now: Timestamp) -> Result<Option<SavedRate>, StoreFault> {
    let sql = "SELECT pace FROM scopes WHERE id = ?1";
    let text: Option<String> = query_one(conn, sql, [key], |row| row.get(0))?;
    let kept = text.as_deref().and_then(read_pace);
    Ok(kept
        .filter(|(_, at)| now.duration_since(*at).unsigned_abs() < KEPT_FOR)
        .map(|(pace, _)| pace))
}

/// Window (calls and nanoseconds), share, patience, and the time of learning in Unix milliseconds.
fn pace_text(pace: SavedRate, at: Timestamp) -> String {
    let SavedRate {
        window,
        share,
        patience,
    } = pace;
    let (limit, period) = (window.limit, window.period.as_nanos());
    format!(
        "{limit} {period} {share} {patience} {}",
        at.as_millisecond()
    )
}

fn read_pace(text: &str) -> Option<(SavedRate, Timestamp)> {
    let parts: Vec<_> = text.split(' ').collect();
    let &[limit, period, share, patience, at] = parts.as_slice() else {
        return None;
    };
    let period = Duration::from_nanos(period.parse().ok()?);
    let pace = SavedRate {
        window: Window {
            limit: limit.parse().ok()?,
            period,
        },
        share: share.parse().ok()?,
        patience: patience.parse().ok()?,
    };
    Some((pace, Timestamp::from_millisecond(at.parse().ok()?).ok()?))
}

/// Deletes limits that the service has not named for [`KEPT_FOR`]. Times in the future become now.
pub(super) fn age_allowances(
    conn: &Connection,
    key: ScopeKey,
    now: Timestamp,
) -> Result<(), StoreFault> {
    let delete = "DELETE FROM allowances WHERE scope = ?1 AND confirmed <= ?2";
    execute(conn, delete, params![key, Wall(outdated(now))])?;
    let update = "UPDATE allowances SET confirmed = ?2 WHERE scope = ?1 AND confirmed > ?2";
    execute(conn, update, params![key, Wall(now)]).map(drop)
}

fn outdated(now: Timestamp) -> Timestamp {
    now.checked_sub(KEPT_FOR).unwrap_or(Timestamp::MIN)
}

fn unknown(key: ScopeKey) -> StoreFault {
    StoreFault::Unknown {
        what: "scope",
        key: key.0.to_string(),
    }
}
