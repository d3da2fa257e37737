//! Writes the report as JSON: one document with summary and rows, or one row per line.
//!
//! A row has the columns of the CSV, with `null` for unknown values and unmodified text. Hidden characters are written
//! as `\uXXXX`, which is the same text for a JSON parser, but safe to print. `samples/report.schema.json` describes the
//! document; a test compares both.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::io::Write;

use serde::{Serialize as _, Serializer as _};
use serde_json::ser::Formatter;
use serde_json::{Value, json};

use crate::model::{Outcome, ReportRow, is_hidden};

use super::csv::{RowsError, each_row};
use super::summary::ReportSummary;

/// Incremented on incompatible changes.
const SCHEMA_VERSION: u32 = 1;

/// Writes one document, with one row per line, and returns the number of rows.
pub fn write_json<E: Error + 'static>(
    mut out: impl Write,
    summary: &ReportSummary,
    rows: impl IntoIterator<Item = Result<ReportRow, E>>,
) -> Result<u64, RowsError<E>> {
    out.write_all(b"{\n\"summary\": ")?;
    let fields = harmless(&mut out).collect_map(fields(summary));
    fields.map_err(io::Error::from)?;
    out.write_all(b",\n\"rows\": [")?;
    let mut between = "\n";
    let count = each_row(rows, |row| {
        out.write_all(between.as_bytes())?;
        between = ",\n";
        Ok(row.serialize(&mut harmless(&mut out))?)
    })?;
    out.write_all(b"\n]\n}\n")?;
    Ok(count)
}

/// Writes one row per line, and returns the number of rows.
pub fn write_jsonl<E: Error + 'static>(
    mut out: impl Write,
    rows: impl IntoIterator<Item = Result<ReportRow, E>>,
) -> Result<u64, RowsError<E>> {
    each_row(rows, |row| {
        row.serialize(&mut harmless(&mut out))?;
        out.write_all(b"\n")
    })
}

/// Returns a serializer for compact, single-line JSON without hidden characters.
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
        // The fast path, for almost all fragments. Control characters are escaped before.
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

/// Returns the summary in the document, in the order of its fields.
fn fields(run: &ReportSummary) -> [(&'static str, Value); 30] {
    let named = |name: &String| (name != "-").then(|| name.clone());
    let left: Vec<_> = run.left().into_iter().map(|left| left.text).collect();
    let counts = |outcomes: &BTreeMap<Outcome, u64>| -> BTreeMap<_, _> {
        let counts = outcomes.iter();
        counts
            .map(|(outcome, count)| (outcome.as_str(), *count))
            .collect()
    };
    let types = run.action_types.iter().map(|(name, outcomes)| {
        let name = (!name.is_empty()).then_some(name);
        json!({ "action_type": name, "outcomes": counts(outcomes) })
    });
    let follow_ups = run.follow_ups.iter();
    let follow_ups: BTreeMap<_, _> = follow_ups
        .map(|(follow_up, count)| (follow_up.as_str(), *count))
        .collect();
    let answers = run.answers.iter().map(|((http_status, class), count)| {
        let class = (!class.is_empty()).then_some(class);
        json!({ "http_status": http_status, "class": class, "count": count })
    });
    let windows = run.timeline.iter().flat_map(|line| &line.windows);
    let quota = windows.map(|used| {
        json!({
            "limit": used.window.limit,
            "period_seconds": used.window.period.as_secs_f64(),
            "most_taken": used.peaks.iter().max().unwrap_or(&0),
            "waited_seconds": used.waited.as_secs_f64(),
        })
    });
    let cooled_down = run.timeline.as_ref().map(|line| line.cooled_down);
    [
        ("schema_version", json!(SCHEMA_VERSION)),
        ("run_id", json!(run.run.to_string())),
        ("sandbox", json!(run.is_sandbox)),
        ("state", json!(run.standing.as_str())),
        ("stop_reason", json!(run.stop_reason)),
        ("exit_code", json!(run.exit_code)),
        ("begun_at", json!(run.begun_at)),
        ("ended_at", json!(run.ended_at)),
        ("written_at", json!(run.written_at)),
        ("user", json!(run.user)),
        ("host", json!(run.host)),
        ("tenant", json!(named(&run.tenant))),
        ("app", json!(named(&run.app))),
        ("cloud", json!(run.cloud)),
        ("version", json!(run.version)),
        ("inputs", json!(run.inputs)),
        ("rows_read", json!(run.rows_read)),
        ("input_complete", json!(run.input_complete)),
        ("rows", json!(run.rows())),
        ("left", json!(left)),
        ("outcomes", json!(every(&run.outcomes))),
        ("already_final", json!(run.final_statuses)),
        ("action_types", types.collect()),
        ("follow_ups", json!(follow_ups)),
        ("attempts", json!(run.attempts())),
        ("throttled", json!(run.throttled())),
        ("answers", answers.collect()),
        ("quota", quota.collect()),
        (
            "cooldown_seconds",
            json!(cooled_down.unwrap_or_default().as_secs_f64()),
        ),
        ("settings", json!(run.settings)),
    ]
}

/// Returns the counts of all outcomes, including zeros, so that every key always exists.
fn every(outcomes: &BTreeMap<Outcome, u64>) -> BTreeMap<&'static str, u64> {
    let count = |outcome| outcomes.get(&outcome).copied().unwrap_or(0);
    let all = Outcome::ALL.into_iter();
    all.map(|outcome| (outcome.as_str(), count(outcome)))
        .collect()
}
