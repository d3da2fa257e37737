//! Writes reports and frozen plans as CSV: UTF-8, line feeds, one line per record.

use std::borrow::Cow;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek as _, Write};
use std::iter;

use crate::model::ReportRow;

#[derive(Debug, thiserror::Error)]
pub enum RowsError<E: Error + 'static> {
    #[error("the rows of the report cannot be read")]
    Rows(#[source] E),
    #[error("the rows of the report cannot be written")]
    Write(#[from] io::Error),
}

/// Writes the header and all rows, and returns the number of rows.
pub fn write_csv<E: Error + 'static>(
    out: impl Write,
    rows: impl IntoIterator<Item = Result<ReportRow, E>>,
) -> Result<u64, RowsError<E>> {
    let mut writer = CsvWriter::new(out);
    writer.record(ReportRow::COLUMNS)?;
    let count = each_row(rows, |row| writer.record(row.cells()))?;
    writer.flush()?;
    Ok(count)
}

/// Writes all rows with `write`, and returns the number of rows.
pub(super) fn each_row<E: Error + 'static>(
    rows: impl IntoIterator<Item = Result<ReportRow, E>>,
    mut write: impl FnMut(&ReportRow) -> io::Result<()>,
) -> Result<u64, RowsError<E>> {
    let mut count = 0;
    for row in rows {
        write(&row.map_err(RowsError::Rows)?)?;
        count += 1;
    }
    Ok(count)
}

/// Writes cells that are already encoded by [`encode`](crate::model::encode), or need no encoding.
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

    /// Flushes and returns the inner writer.
    fn into_inner(self) -> io::Result<W> {
        self.0.into_inner().map_err(csv::IntoInnerError::into_error)
    }
}

/// Extracts the system's error, whose kind distinguishes a full disk from a closed pipe.
fn system_error(error: csv::Error) -> io::Error {
    let text = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        _ => io::Error::other(text),
    }
}

/// Writes a frozen plan: the column `verdict`, then the columns of the report, which include the plan's id.
///
/// `input` reads it back and sends only rows with the verdict `send`, so that a plan can only shrink. The id is known
/// after the last row, so rows are buffered in an unnamed temporary file.
pub struct PlanWriter {
    rows: CsvWriter<BufWriter<File>>,
}

impl PlanWriter {
    pub fn begin() -> io::Result<Self> {
        let file = tempfile::tempfile()?;
        Ok(Self {
            rows: CsvWriter::new(BufWriter::new(file)),
        })
    }

    pub fn row(&mut self, verdict: &str, row: &ReportRow) -> io::Result<()> {
        let verdict = iter::once(Cow::Borrowed(verdict));
        self.rows.record(verdict.chain(row.cells()))
    }

    /// Writes the plan to `out`, with its id in every row; `None` if nothing is to be sent.
    pub fn finish(self, out: impl Write, plan: Option<&str>) -> io::Result<()> {
        let mut file = self.rows.into_inner()?.into_inner()?;
        file.rewind()?;
        let mut rows = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(BufReader::new(file));
        let mut writer = CsvWriter::new(out);
        writer.record(iter::once(&"verdict").chain(ReportRow::COLUMNS))?;
        let mut row = csv::StringRecord::new();
        while rows.read_record(&mut row).map_err(system_error)? {
            // The id is the last column.
            let known = row.iter().take(ReportRow::COLUMNS.len());
            writer.record(known.chain([plan.unwrap_or_default()]))?;
        }
        writer.flush()
    }
}
