//! A frozen plan as CSV: the column `verdict`, then the columns of the report, the plan's id among them.
//!
//! `input` reads it back: only the rows whose verdict is `send` go, so that a plan can only shrink. The id is known once all
//! rows are there, so they wait in a file that nobody else sees.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek as _, Write};
use std::iter;

use crate::model::ReportRow;

use super::csv::{CsvWriter, system_error};

/// Takes the rows of a frozen plan.
pub struct PlanWriter {
    rows: CsvWriter<BufWriter<File>>,
}

impl PlanWriter {
    /// Begins a plan.
    ///
    /// # Errors
    /// Returns why there is no temporary file.
    pub fn begin() -> io::Result<Self> {
        let file = tempfile::tempfile()?;
        Ok(Self {
            rows: CsvWriter::new(BufWriter::new(file)),
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Returns what the temporary file says.
    pub fn row(&mut self, verdict: &str, row: &ReportRow) -> io::Result<()> {
        let verdict = iter::once(Cow::Borrowed(verdict));
        self.rows.record(verdict.chain(row.cells()))
    }

    /// Writes the whole plan to `out`, with its id in every row; none where nothing is sent.
    ///
    /// # Errors
    /// Returns what `out` or the temporary file says.
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
            // The id's column is the last one.
            let known = row.iter().take(ReportRow::COLUMNS.len());
            writer.record(known.chain([plan.unwrap_or_default()]))?;
        }
        writer.flush()
    }
}
