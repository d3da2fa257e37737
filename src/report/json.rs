//! The report as JSON: one document with the summary and the rows, or one row a line.
//!
//! The fields of a row are the columns of the CSV in their order, with `null` where nothing is known; texts are as they
//! were received. What would act on a screen is written as `\uXXXX`, which is the same text to every reader of JSON and
//! harmless to whoever prints the file. `samples/report.schema.json` describes the document, and a test holds the two
//! together.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::io::Write;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::ser::Formatter;
use serde_json::{Map, Value};

use crate::model::{Outcome, ReportRow, is_hidden};

use super::csv::RowsError;
use super::summary::{ReportSummary, World};

/// Raised when a reader of the document would have to change.
const SCHEMA_VERSION: u32 = 1;

/// Writes one document, one row a line in it, and returns how many rows there were.
///
/// # Errors
/// Returns the first fault of the rows or of `out`; what was written until then is no report.
pub fn write_json<E: Error + 'static>(
    mut out: impl Write,
    summary: &ReportSummary,
    rows: impl IntoIterator<Item = Result<ReportRow, E>>,
) -> Result<u64, RowsError<E>> {
    out.write_all(b"{\n\"summary\": ")
        .map_err(RowsError::Write)?;
    write_value(&mut out, &Summary::of(summary)).map_err(RowsError::Write)?;
    out.write_all(b",\n\"rows\": [").map_err(RowsError::Write)?;
    let mut count = 0;
    for row in rows {
        let row = row.map_err(RowsError::Rows)?;
        let between: &[u8] = if count == 0 { b"\n" } else { b",\n" };
        out.write_all(between).map_err(RowsError::Write)?;
        write_value(&mut out, &row).map_err(RowsError::Write)?;
        count += 1;
    }
    out.write_all(b"\n]\n}\n").map_err(RowsError::Write)?;
    Ok(count)
}

/// Writes one object a line, and returns how many there were.
///
/// # Errors
/// Returns the first fault of the rows or of `out`; what was written until then is no report.
pub fn write_jsonl<E: Error + 'static>(
    mut out: impl Write,
    rows: impl IntoIterator<Item = Result<ReportRow, E>>,
) -> Result<u64, RowsError<E>> {
    let mut count = 0;
    for row in rows {
        let row = row.map_err(RowsError::Rows)?;
        write_value(&mut out, &row).map_err(RowsError::Write)?;
        out.write_all(b"\n").map_err(RowsError::Write)?;
        count += 1;
    }
    Ok(count)
}

fn write_value(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut serializer = harmless(out);
    value.serialize(&mut serializer).map_err(io::Error::from)
}

/// Returns what writes compact JSON that nothing obeys, and that is one line to every reader.
pub(super) fn harmless<W: Write>(out: W) -> serde_json::Serializer<W, Harmless> {
    serde_json::Serializer::with_formatter(out, Harmless)
}

pub(super) struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // Nearly all of them, and much faster than a look at each letter; control characters never come here.
        if fragment.is_ascii() && !fragment.contains('\u{7f}') {
            return writer.write_all(fragment.as_bytes());
        }
        let mut plain_from = 0;
        for (at, letter) in fragment.char_indices() {
            if !is_hidden(letter) {
                continue;
            }
            writer.write_all(&fragment.as_bytes()[plain_from..at])?;
            for unit in letter.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain_from = at + letter.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[plain_from..])
    }
}

/// The summary as it stands in the document.
#[derive(Serialize)]
struct Summary<'run> {
    schema_version: u32,
    run_id: String,
    sandbox: bool,
    state: &'static str,
    stop_reason: &'run Option<String>,
    exit_code: Option<u8>,
    begun_at: Timestamp,
    ended_at: Option<Timestamp>,
    written_at: Timestamp,
    user: &'run str,
    host: &'run str,
    tenant: Option<&'run str>,
    app: Option<&'run str>,
    cloud: &'run str,
    version: &'run str,
    inputs: &'run [String],
    rows_read: u64,
    input_complete: bool,
    rows: u64,
    left: Vec<String>,
    outcomes: BTreeMap<&'static str, u64>,
    already_final: &'run BTreeMap<String, u64>,
    action_types: Vec<TypeCount<'run>>,
    follow_ups: BTreeMap<&'static str, u64>,
    attempts: u64,
    throttled: u64,
    answers: Vec<AnswerCount<'run>>,
    quota: Vec<Quota>,
    cooldown_seconds: f64,
    settings: &'run Map<String, Value>,
}

#[derive(Serialize)]
struct TypeCount<'run> {
    action_type: Option<&'run str>,
    outcomes: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct AnswerCount<'run> {
    http_status: Option<u16>,
    class: Option<&'run str>,
    count: u64,
}

#[derive(Serialize)]
struct Quota {
    limit: u32,
    period_seconds: f64,
    most_taken: u32,
    waited_seconds: f64,
}

impl<'run> Summary<'run> {
    fn of(summary: &'run ReportSummary) -> Self {
        let (setting, course) = (&summary.setting, &summary.course);
        let named = |name: &'run String| Some(name.as_str()).filter(|name| *name != "-");
        let timeline = summary.timeline.as_ref();
        Self {
            schema_version: SCHEMA_VERSION,
            run_id: summary.run.to_string(),
            sandbox: setting.world == World::Sandbox,
            state: course.standing.as_str(),
            stop_reason: &course.stop_reason,
            exit_code: course.exit_code,
            begun_at: course.begun_at,
            ended_at: course.ended_at,
            written_at: summary.written_at,
            user: &setting.user,
            host: &setting.host,
            tenant: named(&setting.tenant),
            app: named(&setting.app),
            cloud: &setting.cloud,
            version: &setting.version,
            inputs: &summary.inputs,
            rows_read: course.rows_read,
            input_complete: course.input_complete,
            rows: summary.rows(),
            left: summary.left().into_iter().map(|left| left.text).collect(),
            outcomes: every(&summary.outcomes),
            already_final: &summary.final_statuses,
            action_types: summary.action_types.iter().map(TypeCount::of).collect(),
            follow_ups: summary
                .follow_ups
                .iter()
                .map(|&(follow_up, count)| (follow_up.as_str(), count))
                .collect(),
            attempts: summary.attempts(),
            throttled: summary.throttled(),
            answers: summary
                .answers
                .iter()
                .map(|((http_status, class), &count)| AnswerCount {
                    http_status: *http_status,
                    class: Some(class.as_str()).filter(|class| !class.is_empty()),
                    count,
                })
                .collect(),
            quota: timeline.map_or_else(Vec::new, |line| {
                let used = line.windows.iter();
                used.map(|used| Quota {
                    limit: used.window.limit.get(),
                    period_seconds: used.window.period.as_secs_f64(),
                    most_taken: used.peaks.iter().copied().max().unwrap_or(0),
                    waited_seconds: used.waited.as_secs_f64(),
                })
                .collect()
            }),
            cooldown_seconds: timeline.map_or(0.0, |line| line.cooled_down.as_secs_f64()),
            settings: &summary.settings,
        }
    }
}

impl<'run> TypeCount<'run> {
    fn of((name, outcomes): (&'run String, &BTreeMap<Outcome, u64>)) -> Self {
        Self {
            action_type: Some(name.as_str()).filter(|name| !name.is_empty()),
            outcomes: outcomes
                .iter()
                .map(|(outcome, &count)| (outcome.as_str(), count))
                .collect(),
        }
    }
}

/// Returns the counts of all outcomes, zeros included, so that a reader need not ask whether one is there.
fn every(outcomes: &BTreeMap<Outcome, u64>) -> BTreeMap<&'static str, u64> {
    let count = |outcome| outcomes.get(&outcome).copied().unwrap_or(0);
    let all = Outcome::ALL.into_iter();
    all.map(|outcome| (outcome.as_str(), count(outcome)))
        .collect()
}
