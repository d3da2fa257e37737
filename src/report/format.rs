//! Which formats there are, and the one way by which a report of any format reaches its target.
//!
//! A format is one file with one function that takes a writer and the rows; it knows nothing of targets.

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

/// The shape of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
    /// Comma-separated values.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// One JSON document with the summary and the rows.
    Json,
    /// A page for a browser.
    Html,
    /// Text for a ticket.
    Markdown,
}

/// Why a path names no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ending of report {} names no format that can be written; supported: {}", .path.display(), ReportFormat::endings())]
pub struct UnknownFormat {
    /// The path as given.
    pub path: PathBuf,
}

impl ReportFormat {
    /// Every format.
    pub const ALL: [ReportFormat; 5] = [
        ReportFormat::Csv,
        ReportFormat::JsonLines,
        ReportFormat::Json,
        ReportFormat::Html,
        ReportFormat::Markdown,
    ];

    /// Picks the format by the ending of `path`, in any case; `-` is CSV.
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

    /// Returns the ending by which the format is picked, without its dot.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
            Self::Json => "json",
            Self::Html => "html",
            Self::Markdown => "md",
        }
    }

    /// Returns whether a report of this format can be the input of a run.
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

/// How a report ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// All of it arrived.
    Whole { rows: u64 },
    /// Whoever read standard output had enough (`| head`), which is no fault.
    BrokenPipe,
}

/// The rows of a report, one by one.
pub trait RowIterator<E>: Iterator<Item = Result<ReportRow, E>> {}

impl<E, R: Iterator<Item = Result<ReportRow, E>>> RowIterator<E> for R {}

/// Writes all rows to the target: a file is replaced whole or not at all. The summary is asked for only where the format
/// shows one, and before the first row.
pub fn write_report<E: Error + 'static, R: RowIterator<E>>(
    format: ReportFormat,
    target: &ReportTarget,
    rows: R,
    summarize: impl FnOnce(&R) -> Result<ReportSummary, E>,
) -> Result<Delivery, OutputError<E>> {
    let fill = |out: &mut dyn Write| format.write(out, rows, summarize);
    match target {
        ReportTarget::File(path) => replace(path, fill).map(|rows| Delivery::Whole { rows }),
        ReportTarget::Stdout => stream(&mut io::stdout().lock(), fill),
    }
}

fn stream<E: Error + 'static>(
    out: &mut dyn Write,
    fill: impl FnOnce(&mut dyn Write) -> Result<u64, RowsError<E>>,
) -> Result<Delivery, OutputError<E>> {
    let written = fill(out).and_then(|rows| out.flush().map(|()| rows).map_err(RowsError::Write));
    match written {
        Ok(rows) => Ok(Delivery::Whole { rows }),
        Err(RowsError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(Delivery::BrokenPipe)
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

    /// More than any buffer holds, so that the fault comes in mid-way.
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
            Delivery::BrokenPipe
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
