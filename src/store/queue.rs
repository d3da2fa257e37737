//! The queue: a run's unsettled rows, read from the journal a page at a time, so that memory stays flat.

use rusqlite::{Connection, Row, params};

use crate::model::{ActionStatus, ActionType, LaneId, RowContext, RowNumber};

use super::error::Fault;
use super::records::QueuedRow;
use super::slots::RunKey;
use super::words::{IdCell, Wall};

/// Reads at most `limit` unsettled rows of a lane that stand after `after`, in row order.
pub(super) fn load_rows(
    conn: &Connection,
    (run, lane): (RunKey, LaneId),
    after: RowNumber,
    limit: usize,
) -> Result<Vec<QueuedRow>, Fault> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    // A row without a GUID is settled when it is read; should one not be, it is never sent either.
    let (rows, only) = if lane.0 == 0 {
        ("rows", "")
    } else {
        // Else the lane's index is not taken: it knows no row of the first lane.
        ("rows INDEXED BY rows_by_lane", "AND lane > 0")
    };
    let rows = conn
        .prepare_cached(&format!(
            "SELECT number, id, comment, tenant, action_type, machine_id, computer_dns_name, requestor, attempts,
                phase, first_sent, comment_sent, status_before, action_status, triaged
             FROM {rows} WHERE run = ?1 AND number > ?2 AND outcome IS NULL AND lane = ?3 {only}
                AND typeof(id) = 'blob'
             ORDER BY number LIMIT ?4"
        ))?
        .query_map(params![run.0, after.0, lane.0, limit], read_row)?
        .filter_map(Result::transpose)
        .collect::<Result<_, _>>()?;
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
    }))
}
