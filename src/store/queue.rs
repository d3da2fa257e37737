//! The queue: a run's unsettled rows, read from the journal a page at a time, so that memory stays flat.

use rusqlite::{Connection, Row, ToSql, params};

use crate::model::{ActionStatus, ActionType, LaneId, RowContext, RowNumber};

use super::error::Fault;
use super::records::QueuedRow;
use super::slots::RunKey;
use super::words::{IdCell, Wall};

/// Which of a lane's unsettled rows are loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadFrom {
    /// Those that stand after this one.
    After(RowNumber),
    /// Some that were never sent, from all over the lane, and that are of this type as far as the journal knows.
    Sample(Option<ActionType>),
}

/// Reads at most `limit` unsettled rows of a lane, in row order.
pub(super) fn load_rows(
    conn: &Connection,
    key: (RunKey, LaneId),
    from: &LoadFrom,
    limit: usize,
) -> Result<Vec<QueuedRow>, Fault> {
    match from {
        LoadFrom::After(after) => read_rows(conn, key, (after.0, limit), ("", &[])),
        LoadFrom::Sample(action_type) => sample(conn, key, action_type.as_ref(), limit),
    }
}

/// Reads rows behind `after` to which `rest` applies, a condition with its cells from the fifth on.
fn read_rows(
    conn: &Connection,
    (run, lane): (RunKey, LaneId),
    (after, limit): (u32, usize),
    (rest, cells): (&str, &[&dyn ToSql]),
) -> Result<Vec<QueuedRow>, Fault> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    // A row without a GUID is settled when it is read; should one not be, it is never sent either.
    let (table, only) = rows_of(lane);
    let mut all: Vec<&dyn ToSql> = vec![&run.0, &after, &lane.0, &limit];
    all.extend(cells);
    let rows = conn
        .prepare_cached(&format!(
            "SELECT number, id, comment, tenant, action_type, machine_id, computer_dns_name, requestor, attempts,
                phase, first_sent, comment_sent, status_before, action_status, triaged
             FROM {table} WHERE run = ?1 AND number > ?2 AND outcome IS NULL AND lane = ?3 {only} {rest}
                AND typeof(id) = 'blob'
             ORDER BY number LIMIT ?4"
        ))?
        .query_map(&*all, read_row)?
        .filter_map(Result::transpose)
        .collect::<Result<_, _>>()?;
    Ok(rows)
}

/// Returns the table with the index by which a lane's rows are found, and the condition that lets it be taken: it knows no
/// row of the first lane.
pub(super) fn rows_of(lane: LaneId) -> (&'static str, &'static str) {
    if lane.0 == 0 {
        ("rows", "")
    } else {
        ("rows INDEXED BY rows_by_lane", "AND lane > 0")
    }
}

/// Takes the first row behind each of `count` points that divide the lane's unsent rows evenly.
fn sample(
    conn: &Connection,
    (run, lane): (RunKey, LaneId),
    action_type: Option<&ActionType>,
    count: usize,
) -> Result<Vec<QueuedRow>, Fault> {
    let word = action_type.map(ActionType::as_str);
    let rest = "AND attempts = 0 AND (action_type IS ?5 OR action_type IS NULL)";
    let cells: &[&dyn ToSql] = &[&word];
    let (table, only) = rows_of(lane);
    let ends: (Option<u32>, Option<u32>) = conn
        .prepare_cached(&format!(
            "SELECT min(number), max(number) FROM {table} WHERE run = ?1 AND lane = ?2 {only} AND outcome IS NULL
                AND attempts = 0 AND (action_type IS ?3 OR action_type IS NULL)"
        ))?
        .query_row(params![run.0, lane.0, word], |row| {
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
        let known = rows.last().map_or(0, |row| row.number.0);
        let after = known.max(point.saturating_sub(1));
        rows.extend(read_rows(conn, (run, lane), (after, 1), (rest, cells))?);
    }
    Ok(rows)
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<Option<QueuedRow>> {
    let IdCell(Ok(id)) = row.get(1)? else {
        return Ok(None);
    };
    let text = |column: usize| row.get::<_, Option<String>>(column);
    let time = |column: usize| {
        row.get::<_, Option<Wall>>(column)
            .map(|cell| cell.map(|Wall(time)| time))
    };
    let status =
        |column: usize| text(column).map(|cell| cell.map(|text| ActionStatus::parse(&text)));
    Ok(Some(QueuedRow {
        number: RowNumber(row.get(0)?),
        id,
        context: RowContext {
            comment: text(2)?,
            tenant: text(3)?,
            action_type: text(4)?.map(|text| ActionType::parse(&text)),
            machine_id: text(5)?,
            computer_dns_name: text(6)?,
            requestor: text(7)?,
        },
        attempts: row.get(8)?,
        phase: row.get(9)?,
        first_sent_at: time(10)?,
        comment_sent: text(11)?,
        status_before: status(12)?,
        action_status: status(13)?,
        checked_at: time(14)?,
        in_progress: None,
    }))
}
