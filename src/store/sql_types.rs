//! How values are stored: times in microseconds, outcomes and phases as words, ids as sixteen bytes.
//!
//! Invariant: every value reads back equal. A cell that can't be read is an error, never a guess.

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Params, Row, ToSql};

use crate::model::{
    ActionId, ActionStatus, ActionType, BootId, Destination, FollowUp, LaneId, Operation, Outcome,
    RowNumber, RunId, Uptime,
};

use super::error::StoreFault;
use super::record_types::{CallId, RowPhase, RunKey, RunState, ScopeKey};

/// Executes a cached statement and returns how many rows it changed.
pub(super) fn execute(
    conn: &Connection,
    sql: &str,
    cells: impl Params,
) -> Result<usize, StoreFault> {
    Ok(conn.prepare_cached(sql)?.execute(cells)?)
}

pub(super) fn query<T, All: FromIterator<T>>(
    conn: &Connection,
    sql: &str,
    cells: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<All, StoreFault> {
    let mut statement = conn.prepare_cached(sql)?;
    let found = statement.query_map(cells, read)?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Reads the first row of a result; none is an error.
pub(super) fn query_one<T>(
    conn: &Connection,
    sql: &str,
    cells: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<T, StoreFault> {
    Ok(conn.prepare_cached(sql)?.query_row(cells, read)?)
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let cell: Option<Wall> = row.get(column)?;
    Ok(cell.map(|Wall(time)| time))
}

pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

#[derive(Clone, Copy)]
pub(super) struct Wall(pub(super) Timestamp);

impl ToSql for Wall {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.as_microsecond().into())
    }
}

impl FromSql for Wall {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let micros = value.as_i64()?;
        Timestamp::from_microsecond(micros)
            .map(Self)
            .map_err(|_| FromSqlError::OutOfRange(micros))
    }
}

impl ToSql for Uptime {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_nanos().into())
    }
}

impl FromSql for Uptime {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self::from_nanos)
    }
}

/// Keys and numbers.
macro_rules! numbers {
    ($($kind:ident),*) => {$(
        impl ToSql for $kind {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                self.0.to_sql()
            }
        }

        impl FromSql for $kind {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                FromSql::column_result(value).map(Self)
            }
        }
    )*};
}

numbers!(CallId, LaneId, RowNumber, RunKey, ScopeKey);

macro_rules! words {
    ($($kind:ident),*) => {$(
        impl ToSql for $kind {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }
    )*};
}

words!(
    ActionStatus,
    ActionType,
    BootId,
    Destination,
    FollowUp,
    Outcome,
    RowPhase,
    RunState
);

/// Words of which the file has no others.
macro_rules! known_words {
    ($($kind:ident),*) => {$(
        impl FromSql for $kind {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let text = value.as_str()?;
                Self::parse(text).ok_or_else(|| unreadable(text))
            }
        }
    )*};
}

known_words!(Operation, Outcome, RowPhase, RunState);

/// The service may add words.
macro_rules! words_of_service {
    ($($kind:ident),*) => {$(
        impl FromSql for $kind {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_str().map(Self::parse)
            }
        }
    )*};
}

words_of_service!(ActionStatus, ActionType);

impl FromSql for RunId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::parse(value.as_str()?).map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

impl FromSql for ActionId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes = <[u8; 16]>::column_result(value)?;
        Self::from_bytes(bytes).ok_or_else(|| unreadable("the nil GUID"))
    }
}

impl ToSql for ActionId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.as_bytes())))
    }
}

/// A row's id: the bytes of a valid id, or the text of an invalid one.
pub(super) struct IdCell(pub(super) Result<ActionId, String>);

impl FromSql for IdCell {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Text(_) => Ok(Self(Err(value.as_str()?.to_owned()))),
            _ => ActionId::column_result(value).map(|id| Self(Ok(id))),
        }
    }
}

impl ToSql for IdCell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match &self.0 {
            Ok(id) => id.to_sql(),
            Err(text) => text.to_sql(),
        }
    }
}

fn unreadable(text: &str) -> FromSqlError {
    FromSqlError::Other(format!("unexpected value `{text}`").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back<T: ToSql + FromSql>(value: T) -> rusqlite::Result<T> {
        Connection::open_in_memory()
            .unwrap()
            .query_row("SELECT ?1", [value], |row| row.get(0))
    }

    #[test]
    fn values_read_back_as_they_were_written() {
        let time: Timestamp = "2026-03-01T12:00:00.123456Z".parse().unwrap();
        assert_eq!(there_and_back(Wall(time)).unwrap().0, time);
        for phase in RowPhase::ALL {
            assert_eq!(there_and_back(phase).unwrap(), phase);
        }
        for id in [
            ActionId::parse("7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2").map_err(|_| String::new()),
            Err("not an id".to_owned()),
        ] {
            assert_eq!(there_and_back(IdCell(id.clone())).unwrap().0, id);
        }
    }

    #[test]
    fn a_cell_that_no_version_wrote_is_an_error() {
        let conn = Connection::open_in_memory().unwrap();
        let read = |sql: &str| {
            conn.query_row(sql, [], |row| {
                row.get::<_, RowPhase>(0)?;
                Ok(())
            })
        };
        assert!(read("SELECT 'fresh'").is_ok());
        assert!(read("SELECT 'frish'").is_err());
        assert!(read("SELECT 7").is_err());
        assert!(
            conn.query_row("SELECT zeroblob(16)", [], |row| row
                .get::<_, IdCell>(0)
                .map(drop))
                .is_err()
        );
    }
}
