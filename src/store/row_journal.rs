//! The journal: rows, attempts and outcomes.
//!
//! Every function runs inside the writer's transaction. A record for a row that is settled or doesn't exist is an
//! error: the journal and its writer would disagree about the run.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, Row, Statement, ToSql, params};

use crate::model::{
    ActionStatus, ActionType, FollowUp, LaneId, MachineAction, Outcome, RowContext, RowNumber,
    Settlement,
};

use super::call_ledger::AttemptKey;
use super::error::StoreFault;
use super::record_types::{AttemptReply, InputProgress, NewRow, QueuedRow, RowPhase, RunKey};
use super::runs;
use super::sql_types::{IdCell, Wall, execute, query, query_one, time};

/// Keys of input names, so that a row stores a number instead of its file.
pub(super) type Sources = HashMap<(RunKey, Arc<str>), i64>;

/// Updates a row and merges the service's record into it, bound by [`bind_record`]; fields that the record lacks keep
/// their value. A single statement, because each one searches and rewrites the whole row.
macro_rules! update_row {
    ($cells:literal) => {
        concat!(
            "UPDATE rows SET action_status = coalesce(?3, action_status), action_type = coalesce(?4, action_type),
                machine_id = coalesce(?5, machine_id), computer_dns_name = coalesce(?6, computer_dns_name),
                requestor = coalesce(?7, requestor), requestor_comment = coalesce(?8, requestor_comment),
                request_source = coalesce(?9, request_source), action_scope = coalesce(?10, action_scope),
                created = coalesce(?11, created), response_action = coalesce(nullif(?12, id), response_action), ",
            $cells,
            " WHERE run = ?1 AND number = ?2 AND outcome IS NULL"
        )
    };
}

/// Adds rows, and records how far the input was read.
pub(super) fn append_rows(
    conn: &Connection,
    sources: &mut Sources,
    run: RunKey,
    rows: &[NewRow],
    mark: &InputProgress,
) -> Result<(), StoreFault> {
    runs::set_mark(conn, run, mark)?;
    let mut insert = conn.prepare_cached(
        "INSERT INTO rows (run, number, lane, id, source, line, phase, comment, tenant, action_type, machine_id,
            computer_dns_name, requestor)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?;
    for row in rows {
        let source = source_key(conn, sources, run, &row.source.file)?;
        insert.execute(params![
            run,
            row.number,
            row.lane,
            IdCell(row.id.clone()),
            source,
            i64::try_from(row.source.line).unwrap_or(i64::MAX),
            RowPhase::Fresh,
            row.context.comment,
            row.context.tenant,
            row.context.action_type,
            row.context.machine_id,
            row.context.computer_dns_name,
            row.context.requestor,
        ])?;
        if let Some(settlement) = &row.settlement {
            settle(conn, run, row.number, settlement)?;
        }
    }
    Ok(())
}

fn source_key(
    conn: &Connection,
    sources: &mut Sources,
    run: RunKey,
    name: &Arc<str>,
) -> Result<i64, StoreFault> {
    let known = (run, Arc::clone(name));
    if let Some(key) = sources.get(&known) {
        return Ok(*key);
    }
    let cells = params![run, name];
    let insert = "INSERT INTO sources (run, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    execute(conn, insert, cells)?;
    let find = "SELECT id FROM sources WHERE run = ?1 AND name = ?2";
    let key = query_one(conn, find, cells, |row| row.get(0))?;
    sources.insert(known, key);
    Ok(key)
}

/// Records why a lane's unsent rows were not sent.
pub(super) fn stop_lane(
    conn: &Connection,
    run: RunKey,
    lane: LaneId,
    reason: Option<&str>,
) -> Result<(), StoreFault> {
    let (table, only) = rows_of(lane);
    let sql = format!(
        "UPDATE {table} SET reason = ?3 WHERE run = ?1 AND lane = ?2 {only} AND outcome IS NULL AND attempts = 0
            AND reason IS NOT ?3"
    );
    execute(conn, &sql, params![run, lane, reason])?;
    Ok(())
}

/// Records why an unsettled row is deferred.
pub(super) fn defer(
    conn: &Connection,
    run: RunKey,
    row: RowNumber,
    reason: &str,
) -> Result<(), StoreFault> {
    let sql = "UPDATE rows SET reason = ?3 WHERE run = ?1 AND number = ?2 AND outcome IS NULL";
    let changed = execute(conn, sql, params![run, row, reason])?;
    one_row(run, row, changed)
}

/// Writes "sent" for the attempt and its row.
pub(super) fn begin_attempt(
    conn: &Connection,
    attempt: AttemptKey,
    comment: &str,
    sent: Timestamp,
) -> Result<(), StoreFault> {
    let AttemptKey { run, row, number } = attempt;
    let enter = "INSERT INTO attempts (run, row, number, phase_before, sent)
        SELECT run, number, ?3, phase, ?4 FROM rows WHERE run = ?1 AND number = ?2 AND outcome IS NULL";
    let entered = execute(conn, enter, params![run, row, number, Wall(sent)])?;
    one_row(run, row, entered)?;
    let update = "UPDATE rows SET attempts = attempts + 1, phase = ?3, first_sent = coalesce(first_sent, ?4),
            comment_sent = ?5
        WHERE run = ?1 AND number = ?2";
    let cells = params![run, row, RowPhase::Sent, Wall(sent), comment];
    let changed = execute(conn, update, cells)?;
    one_row(run, row, changed)
}

/// Deletes an attempt that never left, and restores its row.
pub(super) fn strike_attempt(conn: &Connection, attempt: AttemptKey) -> Result<(), StoreFault> {
    let AttemptKey { run, row, number } = attempt;
    let strike =
        "DELETE FROM attempts WHERE run = ?1 AND row = ?2 AND number = ?3 RETURNING phase_before";
    let before: Vec<RowPhase> = query(conn, strike, params![run, row, number], |row| row.get(0))?;
    one_row(run, row, before.len())?;
    let update = "UPDATE rows SET attempts = attempts - 1, phase = ?3,
            first_sent = CASE WHEN attempts > 1 THEN first_sent END,
            comment_sent = CASE WHEN attempts > 1 THEN comment_sent END
        WHERE run = ?1 AND number = ?2";
    let changed = execute(conn, update, params![run, row, before.first()])?;
    one_row(run, row, changed)
}

/// Writes "replied" for an attempt and its row.
pub(super) fn end_attempt(
    conn: &Connection,
    reply: &AttemptReply,
    at: Timestamp,
) -> Result<(), StoreFault> {
    write_reply(conn, reply, at)?;
    let sql = "UPDATE rows SET phase = ?3, last_class = ?4, http_status = ?5, error_code = ?6, correlation_id = ?7
        WHERE run = ?1 AND number = ?2";
    let cells = params![
        reply.run,
        reply.row,
        reply.phase,
        reply.class,
        reply.http_status,
        reply.error_code,
        reply.correlation_id
    ];
    one_row(reply.run, reply.row, execute(conn, sql, cells)?)
}

/// Writes "replied" for the attempt that settles its row, and settles the row.
pub(super) fn end_last_attempt(
    conn: &Connection,
    reply: &AttemptReply,
    at: Timestamp,
    settlement: &Settlement,
) -> Result<(), StoreFault> {
    write_reply(conn, reply, at)?;
    let (run, row) = (reply.run, reply.row);
    let mut update = conn.prepare_cached(update_row!(
        "outcome = ?13, reason = ?14, follow_up = ?15, settled = ?16, cancelled_by = ?17, phase = ?18,
         last_class = ?19, http_status = ?20, error_code = ?21, correlation_id = ?22"
    ))?;
    bind_record(&mut update, run, row, settlement.record.as_ref())?;
    bind_last_word(&mut update, settlement)?;
    let cells = params![
        reply.phase,
        reply.class,
        reply.http_status,
        reply.error_code,
        reply.correlation_id
    ];
    bind(&mut update, 18, cells)?;
    one_row(run, row, update.raw_execute()?)
}

fn write_reply(conn: &Connection, reply: &AttemptReply, at: Timestamp) -> Result<(), StoreFault> {
    let sql = "UPDATE attempts SET replied = ?4, class = ?5, http_status = ?6, error_code = ?7, correlation_id = ?8
        WHERE run = ?1 AND row = ?2 AND number = ?3";
    let cells = params![
        reply.run,
        reply.row,
        reply.number,
        Wall(at),
        reply.class,
        reply.http_status,
        reply.error_code,
        reply.correlation_id
    ];
    one_row(reply.run, reply.row, execute(conn, sql, cells)?)
}

pub(super) fn note(
    conn: &Connection,
    run: RunKey,
    row: RowNumber,
    phase: RowPhase,
    record: Option<&MachineAction>,
    status_before: Option<&ActionStatus>,
    checked_at: Option<Timestamp>,
) -> Result<(), StoreFault> {
    let mut update = conn.prepare_cached(update_row!(
        "phase = ?13, status_before = coalesce(?14, status_before), triaged = coalesce(?15, triaged),
         reason = CASE WHEN ?15 IS NULL THEN reason END"
    ))?;
    bind_record(&mut update, run, row, record)?;
    let cells = params![phase, status_before, checked_at.map(Wall)];
    bind(&mut update, 13, cells)?;
    one_row(run, row, update.raw_execute()?)
}

/// Settles a row; settling it twice is an error.
pub(super) fn settle(
    conn: &Connection,
    run: RunKey,
    row: RowNumber,
    settlement: &Settlement,
) -> Result<(), StoreFault> {
    let mut update = conn.prepare_cached(update_row!(
        "outcome = ?13, reason = ?14, follow_up = ?15, settled = ?16, cancelled_by = ?17"
    ))?;
    bind_record(&mut update, run, row, settlement.record.as_ref())?;
    bind_last_word(&mut update, settlement)?;
    one_row(run, row, update.raw_execute()?)
}

/// Updates the follow-up of a settled row, and adds the reason.
pub(super) fn follow_up(
    conn: &Connection,
    run: RunKey,
    row: RowNumber,
    follow_up: Option<FollowUp>,
    note: &str,
) -> Result<(), StoreFault> {
    let sql = "UPDATE rows SET follow_up = ?3, reason = CASE WHEN reason = '' THEN ?4 ELSE reason || '; ' || ?4 END
        WHERE run = ?1 AND number = ?2 AND outcome IS NOT NULL";
    let cells = params![run, row, follow_up, note];
    one_row(run, row, execute(conn, sql, cells)?)
}

/// Binds the row's key and the service's record.
fn bind_record(
    update: &mut Statement<'_>,
    run: RunKey,
    row: RowNumber,
    record: Option<&MachineAction>,
) -> rusqlite::Result<()> {
    let cells = params![
        run,
        row,
        record.map(|record| &record.status),
        record.map(|record| &record.action_type),
        record.map(|record| &record.machine_id),
        record.map(|record| &record.computer_dns_name),
        record.map(|record| &record.requestor),
        record.map(|record| &record.requestor_comment),
        record.map(|record| &record.request_source),
        record.map(|record| &record.action_scope),
        record.and_then(|record| record.created_at).map(Wall),
        record.map(|record| record.id),
    ];
    bind(update, 1, cells)
}

fn bind_last_word(update: &mut Statement<'_>, settlement: &Settlement) -> rusqlite::Result<()> {
    let record = settlement.record.as_ref();
    let by_others = record.filter(|_| settlement.outcome == Outcome::AlreadyCancelled);
    let cells = params![
        settlement.outcome,
        settlement.reason,
        settlement.follow_up,
        Wall(settlement.settled_at),
        by_others.and_then(MachineAction::cancelled_by),
    ];
    bind(update, 13, cells)
}

fn bind(update: &mut Statement<'_>, first: usize, cells: &[&dyn ToSql]) -> rusqlite::Result<()> {
    (first..)
        .zip(cells)
        .try_for_each(|(place, cell)| update.raw_bind_parameter(place, cell))
}

/// Refuses where the row that was to change is in another state, or does not exist.
fn one_row(run: RunKey, row: RowNumber, changed: usize) -> Result<(), StoreFault> {
    if changed == 1 {
        Ok(())
    } else {
        Err(StoreFault::RowNotOpen {
            run: run.0,
            row: row.0,
        })
    }
}

/// Which of a lane's unsettled rows to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadFrom {
    /// Rows after this one.
    After(RowNumber),
    /// Unsent rows from across the lane, of this type or of none that the journal knows.
    Sample(Option<ActionType>),
}

pub(super) fn load_rows(
    conn: &Connection,
    run: RunKey,
    lane: LaneId,
    from: &LoadFrom,
    limit: usize,
) -> Result<Vec<QueuedRow>, StoreFault> {
    match from {
        LoadFrom::After(after) => read_rows(conn, run, lane, *after, limit, "", &[]),
        LoadFrom::Sample(action_type) => sample(conn, run, lane, action_type.as_ref(), limit),
    }
}

/// Reads rows after `after` that match the condition `rest`, whose parameters start at the fifth.
fn read_rows(
    conn: &Connection,
    run: RunKey,
    lane: LaneId,
    after: RowNumber,
    limit: usize,
    rest: &str,
    cells: &[&dyn ToSql],
) -> Result<Vec<QueuedRow>, StoreFault> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    // A row without a GUID is settled when it is read. If one isn't, it is still never sent.
    let (table, only) = rows_of(lane);
    let mut all: Vec<&dyn ToSql> = vec![&run, &after, &lane, &limit];
    all.extend(cells);
    let sql = format!(
        "SELECT number, id, comment, tenant, action_type, machine_id, computer_dns_name, requestor, attempts,
            phase, first_sent, comment_sent, status_before, action_status, triaged, response_action
         FROM {table} WHERE run = ?1 AND number > ?2 AND outcome IS NULL AND lane = ?3 {only} {rest}
            AND typeof(id) = 'blob'
         ORDER BY number LIMIT ?4"
    );
    query(conn, &sql, &*all, read_row)
}

/// Returns the table and condition for a lane's rows. All lanes but the first use an index that leaves out the first.
pub(super) fn rows_of(lane: LaneId) -> (&'static str, &'static str) {
    if lane.0 == 0 {
        ("rows", "")
    } else {
        ("rows INDEXED BY rows_by_lane", "AND lane > 0")
    }
}

/// Takes the first matching row after each of `count` points spread evenly over the lane's unsent rows.
fn sample(
    conn: &Connection,
    run: RunKey,
    lane: LaneId,
    action_type: Option<&ActionType>,
    count: usize,
) -> Result<Vec<QueuedRow>, StoreFault> {
    let rest = "AND attempts = 0 AND (action_type IS ?5 OR action_type IS NULL)";
    let cells: &[&dyn ToSql] = &[&action_type];
    let (table, only) = rows_of(lane);
    let sql = format!(
        "SELECT min(number), max(number) FROM {table} WHERE run = ?1 AND lane = ?2 {only} AND outcome IS NULL
            AND attempts = 0 AND (action_type IS ?3 OR action_type IS NULL)"
    );
    let ends: (Option<u32>, Option<u32>) =
        query_one(conn, &sql, params![run, lane, action_type], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let (Some(first), Some(last)) = ends else {
        return Ok(Vec::new());
    };
    let mut rows: Vec<QueuedRow> = Vec::new();
    let parts = u32::try_from(count).unwrap_or(u32::MAX).max(1);
    for part in 0..parts {
        // The middle of each part.
        let step = u64::from(last - first) * u64::from(2 * part + 1) / u64::from(2 * parts);
        let point = first + u32::try_from(step).unwrap_or(0);
        let known = rows.last().map_or(RowNumber(0), |row| row.number);
        let after = known.max(RowNumber(point.saturating_sub(1)));
        rows.extend(read_rows(conn, run, lane, after, 1, rest, cells)?);
    }
    Ok(rows)
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<QueuedRow> {
    Ok(QueuedRow {
        number: row.get(0)?,
        id: row.get(1)?,
        context: RowContext {
            comment: row.get(2)?,
            tenant: row.get(3)?,
            action_type: row.get(4)?,
            machine_id: row.get(5)?,
            computer_dns_name: row.get(6)?,
            requestor: row.get(7)?,
        },
        attempts: row.get(8)?,
        phase: row.get(9)?,
        first_sent_at: time(row, 10)?,
        comment_sent: row.get(11)?,
        status_before: row.get(12)?,
        action_status: row.get(13)?,
        checked_at: time(row, 14)?,
        response_action: row.get(15)?,
        in_progress: None,
    })
}
