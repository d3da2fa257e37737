//! Reads runs and reports over a read-only connection, while others write.
//!
//! A walk over a report holds one snapshot, so that the report of a running run shows a single moment. Unsettled rows
//! get a derived outcome, by the same rule in counts and reports.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, Params, Row, params};

use crate::model::{ActionId, LaneId, Outcome, ReportRow, RowNumber, RunId, Sending};

use super::busy_wait::BusyWait;
use super::database_file::Folder;
use super::error::{StoreError, StoreFault};
use super::locks::Locks;
use super::record_types::{LaneCount, RunKey, RunRecord};
use super::report_rows::OUTCOME;
use super::sql_types::{Wall, count, time};
use super::{busy_wait, database_file, record_types, report_rows, runs, sql_types};

/// Rows read at once.
const PAGE: usize = 512;

#[derive(Debug)]
pub struct Reader {
    conn: Connection,
    file: PathBuf,
    locks: Locks,
}

impl Reader {
    /// Opens the state file of a folder, and migrates an older one first.
    ///
    /// # Errors
    /// If there is no file, or it is damaged, newer or foreign.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let file = record_types::state_file(dir);
        let reader = Self::open_file(&file)?;
        if !reader.at(database_file::is_older)? {
            return Ok(reader);
        }
        drop(reader);
        let name = uuid::Uuid::new_v4().to_string();
        let mut patience = BusyWait::of(busy_wait::OPENING);
        let migrated = Folder::open(dir)?.open_file(&name, &mut patience)?;
        migrated.lock.remove();
        Self::open_file(&file)
    }

    pub fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    pub(super) fn open_file(file: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            conn: database_file::open_to_read(file, &mut BusyWait::of(busy_wait::OPENING))?,
            locks: Locks::beside(file),
            file: file.to_owned(),
        })
    }

    /// Lists the runs, newest first, each with the live process that holds it.
    pub fn runs(&self) -> Result<Vec<RunRecord>, StoreError> {
        if !self.has_tables()? {
            return Ok(Vec::new());
        }
        self.at(|conn| runs::read(conn, &self.locks, "ORDER BY r.created DESC, r.id DESC", []))
    }

    /// Returns whether the tables exist yet: another process may be creating the file.
    fn has_tables(&self) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'runs'";
        self.query_one(sql, [], |row| row.get(0))
    }

    /// Checks the whole file and returns the first problem. Some kinds of damage make reading fail instead. Takes half
    /// a second per hundred megabytes.
    pub fn damage(&self) -> Result<Option<String>, StoreError> {
        let told: String = self.query_one("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok(Some(told).filter(|told| told != "ok"))
    }

    pub fn run(&self, id: RunId) -> Result<Option<RunRecord>, StoreError> {
        self.at(|conn| {
            let found = runs::read(conn, &self.locks, "WHERE r.uuid = ?1", [id.to_string()])?;
            Ok(found.into_iter().next())
        })
    }

    /// Visits, in order, the rows whose ids make later rows duplicates: those that weren't settled as they were read.
    pub fn known_ids(
        &self,
        run: RunKey,
        mut visit: impl FnMut(LaneId, ActionId, RowNumber),
    ) -> Result<(), StoreError> {
        // Rows skipped only after their state was read had been planned to be sent.
        let sql = "SELECT id, lane, number FROM rows WHERE run = ?1 AND typeof(id) = 'blob'
                AND (outcome IS NULL OR outcome NOT IN ('duplicate', 'invalid', 'skipped', 'held_back')
                    OR (outcome IN ('skipped', 'held_back') AND triaged IS NOT NULL))
             ORDER BY number";
        self.query(sql, [run], |row| {
            visit(row.get(1)?, row.get(0)?, row.get(2)?);
            Ok(())
        })
    }

    /// Counts a run's rows by outcome, including derived outcomes.
    pub fn outcome_counts(&self, run: RunKey) -> Result<BTreeMap<Outcome, u64>, StoreError> {
        let sql = format!("SELECT {OUTCOME}, count(*) FROM rows r WHERE run = ?1 GROUP BY 1");
        self.query(&sql, [run], |row| Ok((row.get(0)?, count(row, 1)?)))
    }

    /// Counts a run's rows by lane and outcome, with the highest row number of each.
    pub fn lane_counts(&self, run: RunKey) -> Result<Vec<LaneCount>, StoreError> {
        let sql = "SELECT lane, outcome, count(*), max(number) FROM rows WHERE run = ?1 GROUP BY lane, outcome";
        self.query(sql, [run], |row| {
            Ok(LaneCount {
                lane: row.get(0)?,
                outcome: row.get(1)?,
                rows: count(row, 2)?,
                last: row.get(3)?,
            })
        })
    }

    /// Counts a run's rows of one outcome by the newest status seen.
    pub fn status_counts(
        &self,
        run: RunKey,
        outcome: Outcome,
    ) -> Result<BTreeMap<String, u64>, StoreError> {
        let sql = "SELECT coalesce(action_status, ''), count(*) FROM rows
                   WHERE run = ?1 AND outcome = ?2 GROUP BY 1";
        self.query(sql, params![run, outcome], word_count)
    }

    pub fn skip_reasons(&self, run: RunKey) -> Result<BTreeMap<String, u64>, StoreError> {
        let sql = "SELECT coalesce(reason, ''), count(*) FROM rows
                   WHERE run = ?1 AND outcome IN ('skipped', 'held_back') GROUP BY 1";
        self.query(sql, [run], word_count)
    }

    /// Counts the machines of a run by follow-up.
    pub fn follow_up_counts(&self, run: RunKey) -> Result<BTreeMap<String, u64>, StoreError> {
        // A machine in several rows needs its follow-up once.
        let sql = "SELECT follow_up, count(DISTINCT coalesce(lower(machine_id), number)) FROM rows
            WHERE run = ?1 AND follow_up IS NOT NULL GROUP BY 1";
        self.query(sql, [run], word_count)
    }

    /// Counts a run's rows by action type and outcome, including derived outcomes.
    pub fn type_counts(&self, run: RunKey) -> Result<TypeCounts, StoreError> {
        let sql = format!(
            "SELECT coalesce(r.action_type, ''), {OUTCOME}, count(*) FROM rows r WHERE r.run = ?1 GROUP BY 1, 2"
        );
        let groups: Vec<(String, Outcome, u64)> = self.query(&sql, [run], |row| {
            Ok((row.get(0)?, row.get(1)?, count(row, 2)?))
        })?;
        let mut counts = TypeCounts::new();
        for (action_type, outcome, rows) in groups {
            let of_type = counts.entry(action_type).or_default();
            of_type.insert(outcome, rows);
        }
        Ok(counts)
    }

    pub fn answer_counts(&self, run: RunKey) -> Result<AnswerCounts, StoreError> {
        let sql = "SELECT http_status, coalesce(class, ''), count(*) FROM attempts WHERE run = ?1 GROUP BY 1, 2";
        self.query(sql, [run], |row| {
            Ok(((row.get(0)?, row.get(1)?), count(row, 2)?))
        })
    }

    /// Reads the first `limit` rows with follow-ups, the gravest first.
    pub fn follow_up_rows(
        &self,
        run: &RunRecord,
        limit: u32,
    ) -> Result<Vec<ReportRow>, StoreError> {
        self.at(|conn| report_rows::read_follow_ups(conn, run, limit))
    }

    pub fn excluded_rows(&self, run: &RunRecord, limit: u32) -> Result<Vec<ReportRow>, StoreError> {
        self.at(|conn| report_rows::read_excluded(conn, run, limit))
    }

    /// Returns when a run sent its first cancel and when it last sent one or got an answer; `None` if it sent nothing.
    pub fn sending_span(&self, run: RunKey) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
        let sql = "SELECT min(sent), max(max(sent, coalesce(replied, sent))) FROM attempts WHERE run = ?1";
        self.query_one(sql, [run], |row| Ok(time(row, 0)?.zip(time(row, 1)?)))
    }

    /// Visits, in order, the cancels sent between two times on the run's quota, including those of other runs.
    pub fn sendings(
        &self,
        run: RunKey,
        from: Timestamp,
        to: Timestamp,
        mut visit: impl FnMut(Sending),
    ) -> Result<(), StoreError> {
        let sql = "SELECT a.sent, a.replied, a.http_status, a.run = ?1, coalesce(a.class, '') = 'timed_out' FROM attempts a
             WHERE a.sent BETWEEN ?2 AND ?3 AND a.run IN (
                SELECT o.id FROM runs o, runs r
                WHERE r.id = ?1 AND o.cloud = r.cloud AND o.tenant = r.tenant AND o.app = r.app
                    AND o.operation = r.operation)
             ORDER BY a.sent";
        self.query(sql, params![run, Wall(from), Wall(to)], |row| {
            visit(Sending {
                sent_at: row.get::<_, Wall>(0)?.0,
                replied_at: time(row, 1)?,
                http_status: row.get(2)?,
                is_own: row.get(3)?,
                is_given_up: row.get(4)?,
            });
            Ok(())
        })
    }

    /// Returns whether any machine of a run needs a follow-up.
    pub fn has_follow_ups(&self, run: RunKey) -> Result<bool, StoreError> {
        let found = "SELECT EXISTS (SELECT 1 FROM rows WHERE run = ?1 AND follow_up IS NOT NULL)";
        self.query_one(found, [run], |row| row.get(0))
    }

    /// Walks through a run's rows in order, as of now.
    ///
    /// # Errors
    /// If the file can't be read or has no such run. Each row may fail too.
    pub fn report_rows(self, id: RunId) -> Result<ReportRows, StoreError> {
        self.at(|conn| Ok(conn.execute_batch("BEGIN")?))?;
        let run = self.run(id)?.ok_or_else(|| StoreError::Unknown {
            path: self.file.clone(),
            what: "run",
            key: id.to_string(),
        })?;
        Ok(ReportRows {
            reader: self,
            run,
            page: VecDeque::new(),
            last: 0,
            ended: false,
        })
    }

    fn query<T, All: FromIterator<T>>(
        &self,
        sql: &str,
        cells: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<All, StoreError> {
        self.at(|conn| sql_types::query(conn, sql, cells, read))
    }

    fn query_one<T>(
        &self,
        sql: &str,
        cells: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.at(|conn| sql_types::query_one(conn, sql, cells, read))
    }

    fn at<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreFault>,
    ) -> Result<T, StoreError> {
        read(&self.conn).map_err(|fault| fault.at(&self.file))
    }
}

/// The rows of a run's report; keeps one page in memory.
#[derive(Debug)]
pub struct ReportRows {
    reader: Reader,
    run: RunRecord,
    page: VecDeque<ReportRow>,
    last: u32,
    ended: bool,
}

impl ReportRows {
    pub fn run(&self) -> &RunRecord {
        &self.run
    }

    /// Returns the reader, which sees the same snapshot.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    fn turn_page(&mut self) -> Result<(), StoreError> {
        let (rows, last) = self
            .reader
            .at(|conn| report_rows::read_page(conn, &self.run, self.last, PAGE))?;
        self.ended = rows.len() < PAGE;
        self.last = last;
        self.page = rows.into();
        Ok(())
    }
}

impl Iterator for ReportRows {
    type Item = Result<ReportRow, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && !self.ended
            && let Err(error) = self.turn_page()
        {
            self.ended = true;
            return Some(Err(error));
        }
        self.page.pop_front().map(Ok)
    }
}

/// Rows by action type and outcome; an unknown type is empty.
pub type TypeCounts = BTreeMap<String, BTreeMap<Outcome, u64>>;

/// Attempts by HTTP status and class of the answer.
pub type AnswerCounts = BTreeMap<(Option<u16>, String), u64>;

fn word_count(row: &Row<'_>) -> rusqlite::Result<(String, u64)> {
    Ok((row.get(0)?, count(row, 1)?))
}
