//! Report rows from journal rows, with derived outcomes for unsettled rows.

use std::fmt::Write as _;

use rusqlite::{Connection, Row, params};

use crate::model::{ActionType, EXCLUDED_BY, FollowUp, Outcome, ReportRow, SEVERAL, UnsettledRow};

use super::error::StoreFault;
use super::record_types::{NewRow, RunRecord, RunState};
use super::sql_types::{IdCell, query, time};

/// The outcome of row `r`; for an unsettled row, the one that its phase stands for.
pub(super) const OUTCOME: &str =
    "coalesce(r.outcome, CASE WHEN r.phase = 'accepted' THEN 'accepted'
    WHEN r.attempts = 0 THEN 'not_attempted' WHEN r.phase IN ('sent', 'unknown') THEN 'unknown'
    ELSE 'not_attempted' END)";

/// The columns that [`read_row`] reads, in order. `rest` ends the query.
fn select(rest: &str) -> String {
    format!(
        "SELECT r.number, r.id, {OUTCOME}, r.outcome IS NOT NULL, r.reason, r.action_status, r.action_type, r.machine_id,
            r.computer_dns_name, r.follow_up, r.attempts, r.http_status, r.error_code, r.correlation_id, r.comment,
            r.first_sent, r.settled, r.tenant, s.name, r.line, r.status_before, r.requestor, r.requestor_comment,
            r.request_source, r.action_scope, r.created, r.triaged, r.comment_sent, r.last_class, r.cancelled_by
         FROM rows r LEFT JOIN sources s ON s.id = r.source {rest}"
    )
}

/// Reads at most `limit` rows after row `after`, and returns the last row's number.
pub(super) fn read_page(
    conn: &Connection,
    run: &RunRecord,
    after: u32,
    limit: usize,
) -> Result<(Vec<ReportRow>, u32), StoreFault> {
    let sql = select("WHERE r.run = ?1 AND r.number > ?2 ORDER BY r.number LIMIT ?3");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut last = after;
    let rows = query(conn, &sql, params![run.key, after, limit], |row| {
        last = row.get(0)?;
        read_row(run, row)
    })?;
    Ok((rows, last))
}

pub(super) fn read_follow_ups(
    conn: &Connection,
    run: &RunRecord,
    limit: u32,
) -> Result<Vec<ReportRow>, StoreFault> {
    let mut gravity = String::from("CASE r.follow_up");
    for (rank, need) in FollowUp::ALL.into_iter().enumerate() {
        // Writing to a string can't fail.
        write!(gravity, " WHEN '{}' THEN {rank}", need.as_str()).unwrap_or_default();
    }
    let order = format!("r.follow_up IS NOT NULL ORDER BY {gravity} END, r.number");
    read_some(conn, run, &order, limit)
}

pub(super) fn read_excluded(
    conn: &Connection,
    run: &RunRecord,
    limit: u32,
) -> Result<Vec<ReportRow>, StoreFault> {
    let order =
        format!("r.outcome = 'skipped' AND r.reason LIKE '{EXCLUDED_BY}%' ORDER BY r.number");
    read_some(conn, run, &order, limit)
}

fn read_some(
    conn: &Connection,
    run: &RunRecord,
    condition: &str,
    limit: u32,
) -> Result<Vec<ReportRow>, StoreFault> {
    let sql = select(&format!("WHERE r.run = ?1 AND {condition} LIMIT ?2"));
    query(conn, &sql, params![run.key, limit], |row| {
        read_row(run, row)
    })
}

fn read_row(run: &RunRecord, row: &Row<'_>) -> rusqlite::Result<ReportRow> {
    let IdCell(id) = row.get(1)?;
    let outcome = row.get(2)?;
    let is_settled: bool = row.get(3)?;
    let reason: Option<String> = row.get(4)?;
    let (attempts, http_status) = (row.get(10)?, row.get(11)?);
    let tenant: Option<String> = row.get(17)?;
    let (file, line): (Option<String>, i64) = (row.get(18)?, row.get(19)?);
    let reason = if is_settled {
        reason.unwrap_or_default()
    } else {
        let left = UnsettledRow {
            is_stopped: run.state != RunState::Going,
            is_planned: !run.is_confirmed,
            attempts,
            http_status,
            class: row.get(28)?,
            why: reason,
        };
        left.reason(outcome)
    };
    Ok(ReportRow {
        action_id: id.map_or_else(|text| text, |id| id.to_string()),
        outcome,
        reason,
        action_status: row.get(5)?,
        action_type: row.get(6)?,
        machine_id: row.get(7)?,
        computer_dns_name: row.get(8)?,
        follow_up: row.get(9)?,
        attempts,
        http_status,
        error_code: row.get(12)?,
        correlation_id: row.get(13)?,
        comment: row.get(14)?,
        first_sent_at: time(row, 15)?,
        settled_at: time(row, 16)?,
        // A run may have no tenant name.
        tenant: tenant.or_else(|| {
            Some(run.begun.tenant.clone()).filter(|name| name != "-" && name != SEVERAL)
        }),
        source: format!("{}:{line}", file.unwrap_or_default()),
        run_id: run.begun.id.to_string(),
        status_before: row.get(20)?,
        requestor: row.get(21)?,
        requestor_comment: row.get(22)?,
        request_source: row.get(23)?,
        action_scope: row.get(24)?,
        created_at: time(row, 25)?,
        checked_at: time(row, 26)?,
        comment_sent: row.get(27)?,
        cancelled_by: row.get(29)?,
        plan: run.plan.clone(),
    })
}

impl NewRow {
    /// The report row of a plan, before anything is sent.
    pub fn into_report_row(self) -> ReportRow {
        let (told, settled) = (self.context, self.settlement);
        let action_type = told.action_type.as_ref().map(ActionType::as_str);
        // Every column is listed, so that a new one can't be forgotten.
        ReportRow {
            action_id: self.id.map_or_else(|text| text, |id| id.to_string()),
            outcome: (settled.as_ref()).map_or(Outcome::NotAttempted, |it| it.outcome),
            settled_at: settled.as_ref().map(|it| it.settled_at),
            reason: settled.map(|it| it.reason).unwrap_or_default(),
            action_status: None,
            action_type: action_type.map(str::to_owned),
            machine_id: told.machine_id,
            computer_dns_name: told.computer_dns_name,
            follow_up: None,
            attempts: 0,
            http_status: None,
            error_code: None,
            correlation_id: None,
            comment: told.comment,
            first_sent_at: None,
            tenant: told.tenant,
            source: self.source.to_string(),
            run_id: String::new(),
            status_before: None,
            requestor: told.requestor,
            requestor_comment: None,
            request_source: None,
            action_scope: None,
            created_at: None,
            checked_at: None,
            comment_sent: None,
            cancelled_by: None,
            plan: None,
        }
    }
}
