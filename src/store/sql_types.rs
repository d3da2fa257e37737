//! How values are stored: times in microseconds, outcomes and phases as words, ids as sixteen bytes.
//!
//! Invariant: every value reads back equal. A cell that can't be read is an error, never a guess.

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Params, Row, ToSql};

use crate::model::{ActionId, Operation, Outcome, Uptime};

use super::error::StoreFault;
use super::types::{Phase, RunState};

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

pub(super) struct Up(pub(super) Uptime);

impl ToSql for Up {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.as_nanos().into())
    }
}

impl FromSql for Up {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(|nanos| Self(Uptime::from_nanos(nanos)))
    }
}

impl ToSql for Phase {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Phase {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        word(value, Self::parse)
    }
}

impl FromSql for RunState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        word(value, Self::parse)
    }
}

pub(super) struct OutcomeWord(pub(super) Outcome);

impl FromSql for OutcomeWord {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        word(value, Outcome::parse).map(Self)
    }
}

pub(super) struct OperationWord(pub(super) Operation);

impl FromSql for OperationWord {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        word(value, Operation::parse).map(Self)
    }
}

pub(super) struct GuidCell(pub(super) ActionId);

impl FromSql for GuidCell {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes = <[u8; 16]>::column_result(value)?;
        let id = ActionId::from_bytes(bytes).ok_or_else(|| unreadable("the nil GUID"))?;
        Ok(Self(id))
    }
}

/// A row's id: the bytes of a valid id, or the text of an invalid one.
pub(super) struct IdCell(pub(super) Result<ActionId, String>);

impl FromSql for IdCell {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Text(_) => Ok(Self(Err(value.as_str()?.to_owned()))),
            _ => GuidCell::column_result(value).map(|GuidCell(id)| Self(Ok(id))),
        }
    }
}

impl ToSql for IdCell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match &self.0 {
            Ok(id) => ToSqlOutput::Borrowed(ValueRef::Blob(id.as_bytes())),
            Err(text) => text.as_str().into(),
        })
    }
}

fn word<T>(value: ValueRef<'_>, parse: impl Fn(&str) -> Option<T>) -> FromSqlResult<T> {
    let text = value.as_str()?;
    parse(text).ok_or_else(|| unreadable(text))
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
        for phase in Phase::ALL {
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
                row.get::<_, Phase>(0)?;
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
