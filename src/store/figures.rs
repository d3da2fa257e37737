//! Figures of a run for its reports: what became of which action types, what was answered, what was sent when.
//!
//! Everything is counted from the journal, which outlives the ledger's day.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::model::{Outcome, Sending};

use super::error::Fault;
use super::report::OUTCOME;
use super::runs;
use super::slots::RunKey;
use super::words::{OutcomeWord, Wall};

/// Rows by action type and outcome; those of an unknown type stand under an empty name.
pub type TypeCounts = BTreeMap<String, BTreeMap<Outcome, u64>>;

/// Attempts by what came back: the status, where there was one, and the class in a word.
pub type AnswerCounts = BTreeMap<(Option<u16>, String), u64>;

pub(super) fn types(conn: &Connection, run: RunKey) -> Result<TypeCounts, Fault> {
    let sql = format!(
        "SELECT coalesce(r.action_type, ''), {OUTCOME}, count(*) FROM rows r WHERE r.run = ?1 GROUP BY 1, 2"
    );
    let mut counts = TypeCounts::new();
    let mut statement = conn.prepare_cached(&sql)?;
    let mut groups = statement.query([run.0])?;
    while let Some(group) = groups.next()? {
        let OutcomeWord(outcome) = group.get(1)?;
        counts
            .entry(group.get(0)?)
            .or_default()
            .insert(outcome, runs::count(group, 2)?);
    }
    Ok(counts)
}

pub(super) fn answers(conn: &Connection, run: RunKey) -> Result<AnswerCounts, Fault> {
    let sql = "SELECT http_status, coalesce(class, ''), count(*) FROM attempts WHERE run = ?1 GROUP BY 1, 2";
    let counts = conn
        .prepare_cached(sql)?
        .query_map([run.0], |row| {
            Ok(((row.get(0)?, row.get(1)?), runs::count(row, 2)?))
        })?
        .collect::<Result<_, _>>()?;
    Ok(counts)
}

/// Returns when the run sent first, and when it last sent or heard anything.
pub(super) fn sending_span(
    conn: &Connection,
    run: RunKey,
) -> Result<Option<(Timestamp, Timestamp)>, Fault> {
    let sql =
        "SELECT min(sent), max(max(sent, coalesce(replied, sent))) FROM attempts WHERE run = ?1";
    let span = conn.prepare_cached(sql)?.query_row([run.0], |row| {
        let first: Option<Wall> = row.get(0)?;
        let last: Option<Wall> = row.get(1)?;
        Ok(first.zip(last).map(|(first, last)| (first.0, last.0)))
    })?;
    Ok(span)
}

/// Shows every cancel that was sent between two instants on the quota that the run used, in the order of sending: its
/// own, and those of other runs in this file that are counted together with it.
pub(super) fn sendings(
    conn: &Connection,
    run: RunKey,
    (from, to): (Timestamp, Timestamp),
    mut visit: impl FnMut(Sending),
) -> Result<(), Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT a.sent, a.replied, a.http_status, a.run = ?1, coalesce(a.class, '') = 'timed_out' FROM attempts a
         WHERE a.sent BETWEEN ?2 AND ?3 AND a.run IN (
            SELECT o.id FROM runs o, runs r
            WHERE r.id = ?1 AND o.cloud = r.cloud AND o.tenant = r.tenant AND o.app = r.app)
         ORDER BY a.sent",
    )?;
    let mut rows = statement.query(params![run.0, Wall(from), Wall(to)])?;
    while let Some(row) = rows.next()? {
        visit(Sending {
            sent_at: row.get::<_, Wall>(0)?.0,
            replied_at: row.get::<_, Option<Wall>>(1)?.map(|Wall(at)| at),
            http_status: row.get(2)?,
            is_own: row.get(3)?,
            is_given_up: row.get(4)?,
        });
    }
    Ok(())
}
