//! The tables, and the migrations from older files. Migrations only go forward and never change once released.
//!
//! Rejected: an index on the ids of all rows, or of unsettled ones. On random GUIDs it makes reading the input many
//! times slower, and the planner knows the duplicates.

use rusqlite::Connection;

use super::error::StoreFault;

/// Marks the file as ours (`mdec` in ASCII), to tell it from another program's database.
pub(super) const APPLICATION: i64 = 0x6d64_6563;

/// Each step migrates from its position to the next version.
const STEPS: &[fn(&Connection) -> rusqlite::Result<()>] =
    &[first, second, third, fourth, fifth, sixth, seventh, eighth];

/// The newest schema version that this program knows.
pub(super) const VERSION: i64 = 8;

/// Migrates the file to [`VERSION`], inside the caller's transaction.
pub(super) fn migrate(conn: &Connection) -> Result<(), StoreFault> {
    let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(found).unwrap_or(0);
    for step in STEPS.iter().skip(done) {
        step(conn)?;
    }
    if found < VERSION {
        conn.pragma_update(None, "application_id", APPLICATION)?;
        conn.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(())
}

// `calls.ended_up` is when the windows start to count the call, including the grace period, as an uptime of `boot`;
// NULL while in flight. `ended_wall` is the wall time without the grace period, so that a time in the future is
// recognizable. The index finds a scope's calls in flight (NULLs) and its newest ends without reading the whole day.
//
// `rows` has no rowid and is stored in row order, so that loading rows and writing reports are sequential. Its `id` is
// the sixteen bytes of a GUID, or the text of an invalid cell.
fn first(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "
        CREATE TABLE boots (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
        CREATE TABLE processes (
            id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, pid INTEGER NOT NULL, host TEXT NOT NULL,
            boot INTEGER NOT NULL, started INTEGER NOT NULL
        );
        CREATE TABLE scopes (
            id INTEGER PRIMARY KEY, cloud TEXT NOT NULL, tenant TEXT NOT NULL, app TEXT NOT NULL,
            destination TEXT NOT NULL, cooldown_up INTEGER, cooldown_wall INTEGER, cooldown_boot INTEGER,
            cooldown_cause TEXT, windows TEXT, pace TEXT,
            UNIQUE (cloud, tenant, app, destination)
        );
        CREATE TABLE calls (
            id INTEGER PRIMARY KEY, scope INTEGER NOT NULL, process INTEGER NOT NULL, boot INTEGER NOT NULL,
            sent_up INTEGER NOT NULL, sent_wall INTEGER NOT NULL, ended_up INTEGER, ended_wall INTEGER, grace INTEGER,
            run INTEGER, row INTEGER, attempt INTEGER
        );
        CREATE INDEX calls_by_end ON calls (scope, boot, ended_up);
        CREATE TABLE runs (
            id INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL UNIQUE, created INTEGER NOT NULL,
            settings TEXT NOT NULL, inputs TEXT NOT NULL, tenant TEXT NOT NULL, app TEXT NOT NULL, cloud TEXT NOT NULL,
            host TEXT NOT NULL, user TEXT NOT NULL, version TEXT NOT NULL,
            input_position TEXT, input_complete INTEGER NOT NULL DEFAULT 0, rows_read INTEGER NOT NULL DEFAULT 0,
            state TEXT NOT NULL, reason TEXT, exit_code INTEGER, ended INTEGER, holder TEXT
        );
        CREATE TABLE sources (
            id INTEGER PRIMARY KEY, run INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (run, name)
        );
        CREATE TABLE rows (
            run INTEGER NOT NULL, number INTEGER NOT NULL, lane INTEGER NOT NULL, id NOT NULL,
            source INTEGER NOT NULL, line INTEGER NOT NULL,
            attempts INTEGER NOT NULL DEFAULT 0, phase TEXT NOT NULL, outcome TEXT,
            comment TEXT, tenant TEXT, action_type TEXT, machine_id TEXT, computer_dns_name TEXT, requestor TEXT,
            first_sent INTEGER, comment_sent TEXT,
            last_class TEXT, http_status INTEGER, error_code TEXT, correlation_id TEXT,
            status_before TEXT, triaged INTEGER, action_status TEXT, requestor_comment TEXT, request_source TEXT,
            action_scope TEXT, created INTEGER,
            reason TEXT, follow_up TEXT, settled INTEGER,
            PRIMARY KEY (run, number)
        ) WITHOUT ROWID;
        CREATE TABLE attempts (
            run INTEGER NOT NULL, row INTEGER NOT NULL, number INTEGER NOT NULL, phase_before TEXT NOT NULL,
            sent INTEGER NOT NULL, replied INTEGER, class TEXT, http_status INTEGER, error_code TEXT,
            correlation_id TEXT,
            PRIMARY KEY (run, row, number)
        ) WITHOUT ROWID;
        ",
    )
}

// `runs.holder` is the process that executes the run, since `held`; its lock shows whether it is alive. `waiters.until`
// is when a process was told to ask again, as an uptime of its boot.
fn second(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "
        ALTER TABLE runs ADD COLUMN held INTEGER;
        CREATE INDEX runs_by_holder ON runs (holder) WHERE holder IS NOT NULL;
        CREATE TABLE waiters (
            process INTEGER NOT NULL, scope INTEGER NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (process, scope)
        ) WITHOUT ROWID;
        ",
    )
}

// A limit that the service named expires, so `allowances` says when it was last confirmed. Limits from older versions
// have no time; they count as confirmed at the last call. `period` is in nanoseconds.
fn third(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "
        CREATE TABLE allowances (
            scope INTEGER NOT NULL, period INTEGER NOT NULL, calls INTEGER NOT NULL, confirmed INTEGER NOT NULL,
            PRIMARY KEY (scope, period)
        ) WITHOUT ROWID;
        INSERT OR REPLACE INTO allowances (scope, period, calls, confirmed)
            SELECT s.id, CAST(substr(w.value, instr(w.value, '/') + 1) AS INTEGER), CAST(w.value AS INTEGER),
                coalesce((SELECT max(sent_wall) FROM calls WHERE scope = s.id), (SELECT max(sent_wall) FROM calls), 0)
            FROM scopes s, json_each('[\"' || replace(s.windows, ',', '\",\"') || '\"]') w
            WHERE s.windows LIKE '%/%';
        ALTER TABLE scopes DROP COLUMN windows;
        ",
    )
}

// Without this index, loading one tenant's rows would scan the rows of all tenants in a mixed run. A run with one
// tenant has only lane 0 and pays nothing.
fn fourth(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch("CREATE INDEX rows_by_lane ON rows (run, lane, number) WHERE lane > 0;")
}

// `runs.confirmed` is the order in which runs were confirmed; NULL while a run is planned, when its rows block nobody.
// The index finds rows that another run has sent and not settled.
fn fifth(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "
        ALTER TABLE runs ADD COLUMN confirmed INTEGER;
        UPDATE runs SET confirmed = id WHERE settings NOT LIKE '%\"to_agree\":true%';
        CREATE UNIQUE INDEX runs_by_confirmation ON runs (confirmed) WHERE confirmed IS NOT NULL;
        CREATE INDEX rows_in_progress ON rows (id) WHERE outcome IS NULL AND attempts > 0;
        ",
    )
}

// `rows.cancelled_by` says who cancelled an action before us, and with which comment.
fn sixth(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch("ALTER TABLE rows ADD COLUMN cancelled_by TEXT;")
}

// Calls in flight and runs refer to the lock of their process, which shows whether it is alive. Unknown processes are
// dead.
fn seventh(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "
        ALTER TABLE calls ADD COLUMN lock TEXT;
        UPDATE calls SET lock = coalesce((SELECT uuid FROM processes WHERE id = calls.process), 'nobody')
            WHERE ended_up IS NULL;
        ALTER TABLE calls DROP COLUMN process;
        DROP INDEX runs_by_holder;
        ALTER TABLE runs RENAME COLUMN holder TO lock;
        ALTER TABLE runs ADD COLUMN holder_pid INTEGER;
        ALTER TABLE runs ADD COLUMN holder_host TEXT;
        DROP TABLE processes;
        DROP TABLE waiters;
        ",
    )
}

// `rows.response_action` is the action that the service created for our call, if it differs from the row's.
// `runs.operation` comes from the run's settings. Older versions did not store it; their runs cancel.
fn eighth(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "
        ALTER TABLE rows ADD COLUMN response_action BLOB;
        ALTER TABLE runs ADD COLUMN operation TEXT AS (
            coalesce(CASE WHEN json_valid(settings) THEN json_extract(settings, '$.operation') END, 'cancel')
        ) VIRTUAL;
        ",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrating_twice_changes_nothing_the_second_time() {
        let conn = Connection::open_in_memory().unwrap();
        migrate(&conn).unwrap();
        let version = |name: &str| -> i64 {
            conn.pragma_query_value(None, name, |row| row.get(0))
                .unwrap()
        };
        assert_eq!(version("user_version"), VERSION);
        assert_eq!(version("application_id"), APPLICATION);
        assert_eq!(i64::try_from(STEPS.len()), Ok(VERSION));
        let before = version("schema_version");
        migrate(&conn).unwrap();
        assert_eq!(version("schema_version"), before);
    }
}
