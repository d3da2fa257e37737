//! The report as CSV: one line a row, the columns of [`ReportRow::COLUMNS`] in their order.
//!
//! UTF-8 without a byte order mark, line feeds, times in RFC 3339 UTC. Every text cell is defused; numbers are ours and
//! stay as they are. Control characters and marks of direction are spelled out, for people print reports on terminals;
//! tab, line feed and carriage return stay, inside quotes, for they are the data of a comment of several lines.
//! Every row stands exactly once, in the order in which it comes.

use std::borrow::Cow;
use std::error::Error;
use std::io;
use std::io::Write;

use jiff::Timestamp;

use crate::model::ReportRow;

use super::cell::{Breaks, defuse, visible};

/// Why rows could not be written down.
#[derive(Debug, thiserror::Error)]
pub enum RowsError<E: Error + 'static> {
    /// The rows themselves could not be had.
    #[error("the rows of the report cannot be read")]
    Rows(#[source] E),
    /// What takes the bytes refused them.
    #[error("the rows of the report cannot be written")]
    Write(#[source] io::Error),
}

/// Writes the header and all rows, and returns how many rows there were.
///
/// # Errors
/// Returns the first fault of the rows or of `out`; what was written until then is no report.
pub fn write_csv<E: Error + 'static>(
    out: impl Write,
    rows: impl IntoIterator<Item = Result<ReportRow, E>>,
) -> Result<u64, RowsError<E>> {
    let mut writer = new_writer(out);
    writer.write_record(ReportRow::COLUMNS).map_err(write)?;
    let mut count = 0;
    for row in rows {
        let row = row.map_err(RowsError::Rows)?;
        let cells = cells(&row);
        writer
            .write_record(cells.iter().map(|cell| cell.as_bytes()))
            .map_err(write)?;
        count += 1;
    }
    writer.flush().map_err(RowsError::Write)?;
    Ok(count)
}

/// Makes a writer of our dialect.
pub(super) fn new_writer<W: Write>(out: W) -> csv::Writer<W> {
    csv::WriterBuilder::new()
        .terminator(csv::Terminator::Any(b'\n'))
        .from_writer(out)
}

pub(super) fn write<E: Error + 'static>(error: csv::Error) -> RowsError<E> {
    RowsError::Write(system_error(error))
}

/// Brings out the system's own error, whose kind tells a full disk from a reader who left.
pub(super) fn system_error(error: csv::Error) -> io::Error {
    let text = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        _ => io::Error::other(text),
    }
}

/// Returns the cells of one row, in the order of the columns.
pub(super) fn cells(row: &ReportRow) -> [Cow<'_, str>; ReportRow::COLUMNS.len()] {
    [
        text(&row.action_id),
        Cow::Borrowed(row.outcome.as_str()),
        text(&row.reason),
        maybe(row.action_status.as_ref()),
        maybe(row.action_type.as_ref()),
        maybe(row.machine_id.as_ref()),
        maybe(row.computer_dns_name.as_ref()),
        maybe(row.follow_up.as_ref()),
        Cow::Owned(row.attempts.to_string()),
        row.http_status
            .map_or(Cow::Borrowed(""), |status| Cow::Owned(status.to_string())),
        maybe(row.error_code.as_ref()),
        maybe(row.correlation_id.as_ref()),
        maybe(row.comment.as_ref()),
        time(row.first_sent_at),
        time(row.settled_at),
        maybe(row.tenant.as_ref()),
        text(&row.source),
        text(&row.run_id),
        maybe(row.status_before.as_ref()),
        maybe(row.requestor.as_ref()),
        maybe(row.requestor_comment.as_ref()),
        maybe(row.request_source.as_ref()),
        maybe(row.action_scope.as_ref()),
        time(row.created_at),
        time(row.checked_at),
        maybe(row.comment_sent.as_ref()),
    ]
}

fn text(value: &str) -> Cow<'_, str> {
    match visible(value, Breaks::Kept) {
        Cow::Borrowed(shown) => defuse(shown),
        Cow::Owned(shown) => Cow::Owned(defuse(&shown).into_owned()),
    }
}

fn maybe(value: Option<&String>) -> Cow<'_, str> {
    value.map_or(Cow::Borrowed(""), |value| text(value))
}

fn time(at: Option<Timestamp>) -> Cow<'static, str> {
    at.map_or(Cow::Borrowed(""), |at| Cow::Owned(at.to_string()))
}
