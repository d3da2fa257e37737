//! CSV as all of ours is written: UTF-8, line feeds, and one physical line a record.

use std::error::Error;
use std::io::{self, Write};

use crate::model::ReportRow;

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
    let mut writer = CsvWriter::new(out);
    writer
        .record(ReportRow::COLUMNS)
        .map_err(RowsError::Write)?;
    let mut count = 0;
    for row in rows {
        let row = row.map_err(RowsError::Rows)?;
        writer.record(row.cells()).map_err(RowsError::Write)?;
        count += 1;
    }
    writer.flush().map_err(RowsError::Write)?;
    Ok(count)
}

/// Writes cells that were made by [`encode`](crate::model::encode), or need none of it.
pub(super) struct CsvWriter<W: Write>(csv::Writer<W>);

impl<W: Write> CsvWriter<W> {
    pub(super) fn new(out: W) -> Self {
        let mut builder = csv::WriterBuilder::new();
        Self(
            builder
                .terminator(csv::Terminator::Any(b'\n'))
                .from_writer(out),
        )
    }

    pub(super) fn record(
        &mut self,
        cells: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> io::Result<()> {
        for cell in cells {
            self.0.write_field(cell.as_ref()).map_err(system_error)?;
        }
        self.0.write_record(None::<&[u8]>).map_err(system_error)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    /// Hands the last bytes on, and gives back what takes them.
    pub(super) fn into_inner(self) -> io::Result<W> {
        self.0.into_inner().map_err(csv::IntoInnerError::into_error)
    }
}

/// Brings out the system's own error, whose kind tells a full disk from a reader who left.
pub(super) fn system_error(error: csv::Error) -> io::Error {
    let text = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        _ => io::Error::other(text),
    }
}
