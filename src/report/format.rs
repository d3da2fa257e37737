//! Report formats, and the writing of a report to its target.
//!
//! Each format is a file with a function that takes a writer and the rows; it knows nothing about targets.

use std::error::Error;
use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::model::ReportRow;

use super::csv::{RowsError, write_csv};
use super::html::write_html;
use super::json::{write_json, write_jsonl};
use super::markdown::write_markdown;
use super::output::{OutputError, ReportTarget, replace};
use super::summary::ReportSummary;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
    Csv,
    /// One JSON object per line.
    JsonLines,
    Json,
    Html,
    /// For a ticket.
    Markdown,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ending of report {} names no format that can be written; supported: {}", .path.display(), ReportFormat::endings())]
pub struct UnknownFormat {
    pub path: PathBuf,
}

impl ReportFormat {
    pub const ALL: [ReportFormat; 5] = [
        ReportFormat::Csv,
        ReportFormat::JsonLines,
        ReportFormat::Json,
        ReportFormat::Html,
        ReportFormat::Markdown,
    ];

    /// Selects the format by the extension of `path`, ignoring case; `-` is CSV.
    pub fn from_path(path: &Path) -> Result<Self, UnknownFormat> {
        if path.as_os_str() == "-" {
            return Ok(Self::Csv);
        }
        let ending = path.extension().and_then(|ending| ending.to_str());
        Self::ALL
            .into_iter()
            .find(|format| {
                ending.is_some_and(|ending| ending.eq_ignore_ascii_case(format.ending()))
            })
            .ok_or_else(|| UnknownFormat {
                path: path.to_owned(),
            })
    }

    /// Returns the extension, without its dot.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
            Self::Json => "json",
            Self::Html => "html",
            Self::Markdown => "md",
        }
    }

    /// Returns whether a run can read this format as an input.
    pub fn can_be_input(self) -> bool {
        matches!(self, Self::Csv | Self::JsonLines)
    }

    fn endings() -> String {
        Self::ALL
            .map(|format| format!(".{}", format.ending()))
            .join(", ")
    }

    fn write<E: Error + 'static, R: RowIterator<E>>(
        self,
        out: &mut dyn Write,
        rows: R,
        summarize: impl FnOnce(&R) -> Result<ReportSummary, E>,
    ) -> Result<u64, RowsError<E>> {
        let summary = |rows: &R| summarize(rows).map_err(RowsError::Rows);
        match self {
            Self::Csv => write_csv(out, rows),
            Self::JsonLines => write_jsonl(out, rows),
            Self::Json => write_json(out, &summary(&rows)?, rows),
            Self::Html => write_html(out, &summary(&rows)?, rows),
            Self::Markdown => write_markdown(out, &summary(&rows)?, rows),
        }
    }
}

/// The result of writing a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteResult {
    /// Everything was written.
    Whole { rows: u64 },
    /// The reader of standard output closed it (`| head`), which is not an error.
    BrokenPipe,
}

pub trait RowIterator<E>: Iterator<Item = Result<ReportRow, E>> {}

impl<E, R: Iterator<Item = Result<ReportRow, E>>> RowIterator<E> for R {}

/// Writes all rows to the target; a file is replaced atomically. Calls `summarize` before the first row, and only for
/// formats with a summary.
pub fn write_report<E: Error + 'static, R: RowIterator<E>>(
    format: ReportFormat,
    target: &ReportTarget,
    rows: R,
    summarize: impl FnOnce(&R) -> Result<ReportSummary, E>,
) -> Result<WriteResult, OutputError<E>> {
    let fill = |out: &mut dyn Write| format.write(out, rows, summarize);
    match target {
        ReportTarget::File(path) => replace(path, fill).map(|rows| WriteResult::Whole { rows }),
        ReportTarget::Stdout => stream(&mut io::stdout().lock(), fill),
    }
}

fn stream<E: Error + 'static>(
    out: &mut dyn Write,
    fill: impl FnOnce(&mut dyn Write) -> Result<u64, RowsError<E>>,
) -> Result<WriteResult, OutputError<E>> {
    let written = fill(out).and_then(|rows| {
        out.flush()?;
        Ok(rows)
    });
    match written {
        Ok(rows) => Ok(WriteResult::Whole { rows }),
        Err(RowsError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(WriteResult::BrokenPipe)
        }
        Err(source) => Err(OutputError::Rows {
            name: "-".to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use crate::model::Outcome;

    use super::*;

    struct Refusing(io::ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    /// More than fits in any buffer, so that the write fails midway.
    fn many_rows() -> impl Iterator<Item = Result<ReportRow, io::Error>> {
        let row = ReportRow {
            action_id: "x".repeat(300),
            ..ReportRow::bare(Outcome::Invalid)
        };
        std::iter::repeat_n(row, 1000).map(Ok)
    }

    #[test]
    fn a_reader_who_leaves_is_no_fault_but_a_full_disk_is() {
        let mut pipe = Refusing(io::ErrorKind::BrokenPipe);
        assert_eq!(
            stream(&mut pipe, |out| write_csv(out, many_rows())).unwrap(),
            WriteResult::BrokenPipe
        );
        let mut disk = Refusing(io::ErrorKind::StorageFull);
        assert!(matches!(
            stream(&mut disk, |out| write_csv(out, many_rows())),
            Err(OutputError::Rows {
                source: RowsError::Write(_),
                ..
            })
        ));
    }

    #[test]
    fn the_ending_picks_the_format_and_an_unknown_one_lists_what_there_is() {
        for (path, format) in [
            ("r.csv", ReportFormat::Csv),
            ("R.CSV", ReportFormat::Csv),
            ("-", ReportFormat::Csv),
            ("a.b/r.x.csv", ReportFormat::Csv),
            ("r.jsonl", ReportFormat::JsonLines),
            ("r.json", ReportFormat::Json),
            ("r.Html", ReportFormat::Html),
            ("r.md", ReportFormat::Markdown),
        ] {
            assert_eq!(ReportFormat::from_path(Path::new(path)), Ok(format));
        }
        for path in ["r.xlsx", "r.htm", "csv", "r", "a.csv/r", ".csv", ""] {
            let error = ReportFormat::from_path(Path::new(path)).unwrap_err();
            let all = "supported: .csv, .jsonl, .json, .html, .md";
            assert!(error.to_string().ends_with(all), "{error}");
        }
    }
}
