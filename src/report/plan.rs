//! A frozen plan as CSV: the column `verdict`, then the columns of the report.
//!
//! The reading half is in `intake`: of such a file only the rows whose verdict is `send` go, so that a plan can only
//! shrink. The cells are written as a report's are.

use std::io;
use std::io::Write;

use crate::model::ReportRow;

use super::csv::{cells, new_writer, system_error};

/// Writes a frozen plan row by row.
pub struct PlanWriter<W: Write> {
    writer: csv::Writer<W>,
}

impl<W: Write> PlanWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// Returns what `out` says.
    pub fn begin(out: W) -> io::Result<Self> {
        let mut writer = new_writer(out);
        writer
            .write_record(std::iter::once("verdict").chain(ReportRow::COLUMNS))
            .map_err(system_error)?;
        Ok(Self { writer })
    }

    /// Writes one row.
    ///
    /// # Errors
    /// Returns what `out` says.
    pub fn row(&mut self, verdict: &str, row: &ReportRow) -> io::Result<()> {
        self.writer.write_field(verdict).map_err(system_error)?;
        let cells = cells(row);
        self.writer
            .write_record(cells.iter().map(|cell| cell.as_bytes()))
            .map_err(system_error)
    }

    /// Hands the last bytes on.
    ///
    /// # Errors
    /// Returns what `out` says.
    pub fn finish(mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
