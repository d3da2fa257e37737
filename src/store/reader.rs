//! Reading runs and reports from a connection of its own, beside whoever writes.
//!
//! A reader never writes, and holds one snapshot while it walks, so that a report of a run that still goes on is of
//! one instant. Rows without a last word get a derived one, by one rule that counts and reports share.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::path::Path;
use std::path::PathBuf;

use rusqlite::Connection;
use rusqlite::OptionalExtension as _;
use rusqlite::Row;

use crate::domain::Outcome;
use crate::domain::ReportRow;
use crate::domain::RunId;

use super::error::Fault;
use super::error::StoreError;
use super::file;
use super::records;
use super::records::IntakeMark;
use super::records::NewRun;
use super::records::RunRecord;
use super::report;
use super::slots::RunKey;
use super::words::OutcomeWord;
use super::words::Wall;

/// How many rows are read at once: enough to make the walk cheap, few enough to forget.
const PAGE: usize = 512;

/// Reads one state file.
#[derive(Debug)]
pub struct Reader {
    conn: Connection,
    file: PathBuf,
}

impl Reader {
    /// Opens the state file of a folder.
    ///
    /// # Errors
    /// Returns why it cannot be read: there is none, or it is damaged, newer or foreign.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_file(&records::state_file(dir))
    }

    pub(super) fn open_file(file: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            conn: file::open_to_read(file)?,
            file: file.to_owned(),
        })
    }

    /// Lists the runs, newest first.
    ///
    /// # Errors
    /// Returns why the file cannot be read.
    pub fn runs(&self) -> Result<Vec<RunRecord>, StoreError> {
        if !self.has_tables()? {
            return Ok(Vec::new());
        }
        self.at(|conn| {
            let runs = conn
                .prepare_cached(&format!("{RUN} ORDER BY created DESC, id DESC"))?
                .query_map([], read_run)?
                .collect::<Result<_, _>>()?;
            Ok(runs)
        })
    }

    /// Returns whether whoever makes the file has got as far as its tables.
    fn has_tables(&self) -> Result<bool, StoreError> {
        let query = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'runs'";
        let found = self.conn.query_row(query, [], |row| row.get(0));
        found.map_err(|error| Fault::from(error).at(&self.file))
    }

    /// Finds a run by its id.
    ///
    /// # Errors
    /// Returns why the file cannot be read.
    pub fn run(&self, id: RunId) -> Result<Option<RunRecord>, StoreError> {
        self.at(|conn| {
            Ok(conn
                .prepare_cached(&format!("{RUN} WHERE uuid = ?1"))?
                .query_row([id.to_string()], read_run)
                .optional()?)
        })
    }

    /// Counts a run's rows by outcome, derived ones included.
    ///
    /// # Errors
    /// Returns why the file cannot be read.
    pub fn outcome_counts(&self, run: RunKey) -> Result<BTreeMap<Outcome, u64>, StoreError> {
        self.at(|conn| {
            let sql = format!(
                "SELECT {}, count(*) FROM rows r WHERE run = ?1 GROUP BY 1",
                report::OUTCOME
            );
            let counts = conn
                .prepare_cached(&sql)?
                .query_map([run.0], |row| {
                    Ok((row.get::<_, OutcomeWord>(0)?.0, count(row, 1)?))
                })?
                .collect::<Result<_, _>>()?;
            Ok(counts)
        })
    }

    /// Counts a run's rows of one outcome by the newest status seen.
    ///
    /// # Errors
    /// Returns why the file cannot be read.
    pub fn status_counts(
        &self,
        run: RunKey,
        outcome: Outcome,
    ) -> Result<BTreeMap<String, u64>, StoreError> {
        let sql = "SELECT coalesce(action_status, ''), count(*) FROM rows
                   WHERE run = ?1 AND outcome = ?2 GROUP BY 1";
        self.counts(sql, rusqlite::params![run.0, outcome.as_str()])
    }

    /// Counts a run's rows by what their machines still need.
    ///
    /// # Errors
    /// Returns why the file cannot be read.
    pub fn follow_up_counts(&self, run: RunKey) -> Result<BTreeMap<String, u64>, StoreError> {
        let sql = "SELECT follow_up, count(*) FROM rows WHERE run = ?1 AND follow_up IS NOT NULL GROUP BY 1";
        self.counts(sql, rusqlite::params![run.0])
    }

    fn counts(
        &self,
        sql: &str,
        cells: &[&dyn rusqlite::ToSql],
    ) -> Result<BTreeMap<String, u64>, StoreError> {
        self.at(|conn| {
            let counts = conn
                .prepare_cached(sql)?
                .query_map(cells, |row| Ok((row.get(0)?, count(row, 1)?)))?
                .collect::<Result<_, _>>()?;
            Ok(counts)
        })
    }

    /// Walks through a run's rows in their order, as they stand at this instant.
    ///
    /// # Errors
    /// Returns why the file cannot be read, or that it holds no such run; each row may fail too.
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

    fn at<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, StoreError> {
        read(&self.conn).map_err(|fault| fault.at(&self.file))
    }
}

/// The rows of a run's report; holds one page of them at a time.
#[derive(Debug)]
pub struct ReportRows {
    reader: Reader,
    run: RunRecord,
    page: VecDeque<ReportRow>,
    last: u32,
    ended: bool,
}

impl ReportRows {
    /// Returns the run.
    pub fn run(&self) -> &RunRecord {
        &self.run
    }

    fn turn_page(&mut self) -> Result<(), StoreError> {
        let (rows, last) = self
            .reader
            .at(|conn| report::read_page(conn, &self.run, self.last, PAGE))?;
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

const RUN: &str = "SELECT id, uuid, created, settings, inputs, tenant, app, cloud, host, user, version, rows_read,
    input_position, input_complete, state, reason, exit_code, ended FROM runs";

fn read_run(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    let uuid: String = row.get(1)?;
    let id = RunId::parse(&uuid).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error))
    })?;
    let ended: Option<Wall> = row.get(17)?;
    Ok(RunRecord {
        key: RunKey(row.get(0)?),
        begun: NewRun {
            id,
            created: row.get::<_, Wall>(2)?.0,
            settings: row.get(3)?,
            inputs: row.get(4)?,
            tenant: row.get(5)?,
            app: row.get(6)?,
            cloud: row.get(7)?,
            host: row.get(8)?,
            user: row.get(9)?,
            version: row.get(10)?,
        },
        intake: IntakeMark {
            rows_read: count(row, 11)?,
            position: row.get(12)?,
            complete: row.get(13)?,
        },
        state: row.get(14)?,
        reason: row.get(15)?,
        exit_code: row.get(16)?,
        ended_at: ended.map(|Wall(time)| time),
    })
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}
