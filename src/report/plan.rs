//! A frozen plan as CSV: the column `verdict`, then the columns of the report.
//!
//! `input` reads it back: only the rows whose verdict is `send` go, so that a plan can only shrink.

use std::borrow::Cow;
use std::io::{self, Write};
use std::iter;

use crate::model::ReportRow;

use super::csv::CsvWriter;

/// Writes a frozen plan row by row.
pub struct PlanWriter<W: Write> {
    writer: CsvWriter<W>,
}

impl<W: Write> PlanWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// Returns what `out` says.
    pub fn begin(out: W) -> io::Result<Self> {
        let mut writer = CsvWriter::new(out);
        writer.record(iter::once(&"verdict").chain(ReportRow::COLUMNS))?;
        Ok(Self { writer })
    }

    /// Writes one row.
    ///
    /// # Errors
    /// Returns what `out` says.
    pub fn row(&mut self, verdict: &str, row: &ReportRow) -> io::Result<()> {
        let verdict = iter::once(Cow::Borrowed(verdict));
        self.writer.record(verdict.chain(row.cells()))
    }

    /// Hands the last bytes on.
    ///
    /// # Errors
    /// Returns what `out` says.
    pub fn finish(mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
