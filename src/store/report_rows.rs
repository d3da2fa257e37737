//! Report rows from journal rows, with derived outcomes for unsettled rows.

use std::fmt::Write as _;

use rusqlite::{Connection, Row, params};

use crate::model::{ActionType, FollowUp, Outcome, ReportRow, SEVERAL};

use super::error::StoreFault;
use super::sql_types::{IdCell, OutcomeWord, Wall};
use super::types::{NewRow, Phase, RunRecord, RunState};

/// The outcome of row `r`; for an unsettled row, the one that its phase stands for.
pub(super) const OUTCOME: &str =
    "coalesce(r.outcome, CASE WHEN r.phase = 'accepted' THEN 'accepted'
    WHEN r.attempts = 0 THEN 'not_attempted' WHEN r.phase IN ('sent', 'unknown') THEN 'unknown'
    ELSE 'not_attempted' END)";

/// The columns that [`read_row`] reads, in order. `rest` ends the query.
fn select(rest: &str) -> String {
    format!(
        "SELECT r.number, r.id, {OUTCOME}, r.outcome IS NULL, r.reason, r.action_status, r.action_type, r.machine_id,
            r.computer_dns_name, r.follow_up, r.attempts, r.http_status, r.error_code, r.correlation_id, r.comment,
            r.first_sent, r.settled, r.tenant, s.name, r.line, r.status_before, r.requestor, r.requestor_comment,
            r.request_source, r.action_scope, r.created, r.triaged, r.comment_sent, r.phase, r.last_class, r.cancelled_by
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
    let mut statement = conn.prepare_cached(&sql)?;
    let mut cells = statement.query(params![run.key.0, after, limit])?;
    let mut rows = Vec::new();
    let mut last = after;
    while let Some(row) = cells.next()? {
        last = row.get(0)?;
        rows.push(read_row(run, row)?);
    }
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
    let excluded = "r.outcome = 'skipped' AND r.reason LIKE 'excluded by %' ORDER BY r.number";
    read_some(conn, run, excluded, limit)
}

fn read_some(
    conn: &Connection,
    run: &RunRecord,
    condition: &str,
    limit: u32,
) -> Result<Vec<ReportRow>, StoreFault> {
    let sql = select(&format!("WHERE r.run = ?1 AND {condition} LIMIT ?2"));
    let rows = conn
        .prepare_cached(&sql)?
        .query_map(params![run.key.0, limit], |row| read_row(run, row))?
        .collect::<Result<_, _>>()?;
    Ok(rows)
}

fn read_row(run: &RunRecord, row: &Row<'_>) -> rusqlite::Result<ReportRow> {
    let text = |column: usize| row.get::<_, Option<String>>(column);
    let time = |column: usize| {
        row.get::<_, Option<Wall>>(column)
            .map(|cell| cell.map(|Wall(time)| time))
    };
    let IdCell(id) = row.get(1)?;
    let OutcomeWord(outcome) = row.get(2)?;
    let attempts: u32 = row.get(10)?;
    let http_status: Option<u16> = row.get(11)?;
    let derived: bool = row.get(3)?;
    let reason = if derived {
        let left = UnsettledRow {
            state: run.state,
            is_planned: !run.is_confirmed,
            phase: row.get(28)?,
            attempts,
            http_status,
            class: text(29)?,
            why: text(4)?,
        };
        left.reason(outcome)
    } else {
        text(4)?.unwrap_or_default()
    };
    let line: i64 = row.get(19)?;
    Ok(ReportRow {
        action_id: id.map_or_else(|text| text, |id| id.to_string()),
        outcome,
        reason,
        action_status: text(5)?,
        action_type: text(6)?,
        machine_id: text(7)?,
        computer_dns_name: text(8)?,
        follow_up: text(9)?,
        attempts,
        http_status,
        error_code: text(12)?,
        correlation_id: text(13)?,
        comment: text(14)?,
        first_sent_at: time(15)?,
        settled_at: time(16)?,
        // A run may have no tenant name.
        tenant: text(17)?.or_else(|| {
            Some(run.begun.tenant.clone()).filter(|name| name != "-" && name != SEVERAL)
        }),
        source: format!("{}:{line}", text(18)?.unwrap_or_default()),
        run_id: run.begun.id.to_string(),
        status_before: text(20)?,
        requestor: text(21)?,
        requestor_comment: text(22)?,
        request_source: text(23)?,
        action_scope: text(24)?,
        created_at: time(25)?,
        checked_at: time(26)?,
        comment_sent: text(27)?,
        cancelled_by: text(30)?,
        plan: run.plan.clone(),
    })
}

impl NewRow {
    /// The report row of a plan, before anything is sent.
    pub fn into_report_row(self) -> ReportRow {
        let settled = self.settlement;
        let owned = |text: &str| text.to_owned();
        let outcome = settled.as_ref().map(|it| it.outcome);
        ReportRow {
            action_id: self.id.map_or_else(|text| text, |id| id.to_string()),
            action_type: self
                .context
                .action_type
                .as_ref()
                .map(ActionType::as_str)
                .map(owned),
            machine_id: self.context.machine_id,
            computer_dns_name: self.context.computer_dns_name,
            comment: self.context.comment,
            settled_at: settled.as_ref().map(|it| it.settled_at),
            reason: settled.map(|it| it.reason).unwrap_or_default(),
            tenant: self.context.tenant,
            source: self.source.to_string(),
            requestor: self.context.requestor,
            ..ReportRow::bare(outcome.unwrap_or(Outcome::NotAttempted))
        }
    }
}

struct UnsettledRow {
    state: RunState,
    is_planned: bool,
    phase: Phase,
    attempts: u32,
    http_status: Option<u16>,
    class: Option<String>,
    why: Option<String>,
}

impl UnsettledRow {
    /// Returns why the row is unsettled.
    fn reason(&self, outcome: Outcome) -> String {
        let stopped = self.state != RunState::Going;
        let pick = |gone: &str, going: &str| if stopped { gone } else { going }.to_owned();
        match outcome {
            Outcome::Accepted => pick(
                "the run stopped before it could be verified",
                "not verified yet",
            ),
            Outcome::Unknown => pick(
                "the run stopped before it could be read again",
                "not read again yet",
            ),
            _ if self.attempts == 0 => match &self.why {
                // A running run has not got to it; the journaled reason is from an earlier stop.
                Some(why) if stopped || self.is_planned => why.clone(),
                _ => pick(
                    "the run stopped before its turn",
                    "its turn has not come yet",
                ),
            },
            _ => format!(
                "sent {}, last answer {}; {}",
                times(self.attempts),
                self.last_answer(),
                pick(
                    "the run stopped before it was sent again",
                    "to be sent again"
                )
            ),
        }
    }

    fn last_answer(&self) -> String {
        match (self.http_status, &self.class) {
            (Some(status), Some(class)) => format!("{status} {class}"),
            (Some(status), None) => status.to_string(),
            (None, Some(class)) => class.clone(),
            (None, None) => format!("none ({})", self.phase.as_str()),
        }
    }
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{count} times"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_a_last_word_says_how_the_run_left_it() {
        use Outcome as O;
        use RunState::{Going, Stopped};
        let left = |state, phase, attempts, outcome| {
            UnsettledRow {
                state,
                is_planned: false,
                phase,
                attempts,
                http_status: Some(429),
                class: Some("throttled".to_owned()),
                why: None,
            }
            .reason(outcome)
        };
        for (state, phase, attempts, outcome, text) in [
            (
                Stopped,
                Phase::Fresh,
                0,
                O::NotAttempted,
                "the run stopped before its turn",
            ),
            (
                Going,
                Phase::Fresh,
                0,
                O::NotAttempted,
                "its turn has not come yet",
            ),
            (
                Stopped,
                Phase::Accepted,
                1,
                O::Accepted,
                "the run stopped before it could be verified",
            ),
            (
                Stopped,
                Phase::Sent,
                1,
                O::Unknown,
                "the run stopped before it could be read again",
            ),
            (
                Stopped,
                Phase::Again,
                3,
                O::NotAttempted,
                "sent 3 times, last answer 429 throttled; the run stopped before it was sent again",
            ),
            (
                Going,
                Phase::Again,
                1,
                O::NotAttempted,
                "sent once, last answer 429 throttled; to be sent again",
            ),
        ] {
            assert_eq!(left(state, phase, attempts, outcome), text);
        }
    }
}
