//! The report as one HTML file: everything in it, nothing loaded, nothing sent.
//!
//! A strict content security policy names the hashes of the one style and the one script; the page has no inline style
//! and no handler besides. The rows are a plain table; the script takes it up where there is one that runs: it searches,
//! filters, sorts and turns pages, so that twenty thousand rows stay light. Text of the input and the service is spelled
//! out where it would act on a screen, and escaped by the templates: nothing of it can become markup.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::io::Write;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};

use crate::model::{Count, FollowUp, Number, Outcome, ReportRow, Span, Standing, visible};

use super::chart;
use super::chart::{Part, Picture};
use super::csv::RowsError;
use super::summary::{CommandHint, ReportSummary, SUMMARY_ROWS, World, excluded_state};
use super::words::{meaning, rows_left};

const STYLE: &str = include_str!("html/report.css");

/// How many action types have a bar of their own: the service knows nine, but an input may name anything.
const TYPES: usize = 12;

const SCRIPT: &str = include_str!("html/report.js");

/// Writes the page, and returns how many rows there were.
///
/// # Errors
/// Returns the first fault of the rows or of `out`; what was written until then is no report.
pub fn write_html<E: Error + 'static>(
    mut out: impl Write,
    summary: &ReportSummary,
    rows: impl IntoIterator<Item = Result<ReportRow, E>>,
) -> Result<u64, RowsError<E>> {
    fill(&Head::of(summary), &mut out).map_err(RowsError::Write)?;
    let folder = folder(&summary.inputs);
    let mut count = 0;
    for row in rows {
        let row = row.map_err(RowsError::Rows)?;
        let is_left = summary.is_left(&row);
        fill(&Row::of(&row, is_left, folder), &mut out).map_err(RowsError::Write)?;
        count += 1;
    }
    fill(&Tail::of(summary), &mut out).map_err(RowsError::Write)?;
    Ok(count)
}

fn fill(template: &impl Template, out: &mut impl Write) -> io::Result<()> {
    Template::write_into(template, out)
}

/// Returns what the page may do: run what stands in it, and nothing else.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}

fn shown(text: &str) -> String {
    visible(text).into_owned()
}

/// Returns the folder that all inputs lie in, with its separator: it stands among the facts, and need not in every row.
fn folder(inputs: &[String]) -> &str {
    let folder_of = |path: &str| path.rfind(['/', '\\']).map_or(0, |at| at + 1);
    match inputs {
        [first, rest @ ..] => {
            let folder = &first[..folder_of(first)];
            let is_shared = |path: &String| {
                path.strip_prefix(folder)
                    .is_some_and(|name| folder_of(name) == 0)
            };
            if rest.iter().all(is_shared) {
                folder
            } else {
                ""
            }
        }
        [] => "",
    }
}

fn maybe(text: Option<&String>) -> String {
    text.map(|text| shown(text)).unwrap_or_default()
}

fn second(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[derive(Template)]
#[template(path = "head.html", config = "src/report/askama.toml")]
struct Head {
    policy: String,
    style: &'static str,
    version: &'static str,
    title: String,
    is_sandbox: bool,
    is_running: bool,
    state: &'static str,
    written_at: String,
    severity: &'static str,
    headline: String,
    more_left: Vec<String>,
    stop_reason: Option<String>,
    work: Vec<WorkLine>,
    commands: Vec<CommandHint>,
    work_rows: Vec<Row>,
    work_untold: u64,
    excluded: Vec<ExcludedLine>,
    excluded_untold: bool,
    rows: String,
    rows_left: String,
    outcomes: Vec<OutcomeLine>,
    outcome_bar: Vec<Part>,
    outcomes_alt: String,
    facts: Vec<(&'static str, String)>,
    settings: Vec<(String, String)>,
    types: Vec<TypeLine>,
    timeline: Option<Picture>,
}

struct OutcomeLine {
    word: &'static str,
    tone: &'static str,
    count: String,
    meaning: String,
}

struct TypeLine {
    name: String,
    count: String,
    alt: String,
    bar: Vec<Part>,
}

struct WorkLine {
    severity: &'static str,
    count: String,
    what: &'static str,
    advice: &'static str,
}

struct ExcludedLine {
    state: &'static str,
    row: Row,
}

impl Head {
    fn of(summary: &ReportSummary) -> Self {
        let (setting, course) = (&summary.setting, &summary.course);
        let left = summary.left();
        let severity = match (left.is_empty(), summary.is_grave()) {
            (_, true) => "grave",
            (false, false) => "some",
            (true, false) => "clean",
        };
        let headline = summary.headline();
        let is_sandbox = setting.world == World::Sandbox;
        let mark = if is_sandbox { "SANDBOX: " } else { "" };
        let follow_ups: u64 = summary.follow_ups.iter().map(|(_, count)| count).sum();
        let excluded = summary.excluded_rows.iter().map(|row| ExcludedLine {
            state: excluded_state(row).unwrap_or_default(),
            row: Row::of(row, false, ""),
        });
        let work_rows = summary.follow_up_rows.iter();
        Self {
            policy: policy(),
            style: STYLE,
            version: env!("CARGO_PKG_VERSION"),
            title: format!("{mark}{headline} · run {}", summary.run),
            is_sandbox,
            is_running: course.standing == Standing::Running,
            state: course.standing.as_str(),
            written_at: format!("{} UTC", second(summary.written_at)),
            severity,
            headline,
            more_left: left.into_iter().skip(1).map(|left| left.text).collect(),
            stop_reason: course.stop_reason.as_deref().map(shown),
            work: work_lines(summary),
            commands: summary.commands.clone(),
            work_rows: work_rows.map(|row| Row::of(row, true, "")).collect(),
            work_untold: follow_ups.saturating_sub(summary.follow_up_rows.len() as u64),
            excluded: excluded.collect(),
            excluded_untold: summary.excluded_rows.len() >= SUMMARY_ROWS as usize,
            rows: Number(summary.rows()).to_string(),
            rows_left: Number(rows_left(&summary.outcomes, summary.accepted) + follow_ups)
                .to_string(),
            outcomes: outcome_lines(summary),
            outcome_bar: chart::bar(&summary.outcomes),
            outcomes_alt: chart::bar_text(&summary.outcomes),
            facts: facts(summary),
            settings: summary
                .settings_for_people()
                .into_iter()
                .map(|(name, value)| (name, shown(&value)))
                .collect(),
            types: type_lines(summary),
            timeline: summary.timeline.as_ref().map(chart::picture),
        }
    }
}

/// Says who ran what where and when.
fn facts(summary: &ReportSummary) -> Vec<(&'static str, String)> {
    let (setting, course) = (&summary.setting, &summary.course);
    let until = course.ended_at.unwrap_or(summary.written_at);
    let took = std::time::Duration::try_from(until.duration_since(course.begun_at));
    let when = format!(
        "{} UTC, for {}",
        second(course.begun_at),
        Span(took.unwrap_or_default())
    );
    let read = if course.input_complete {
        ""
    } else {
        "; not read to its end"
    };
    let input = format!(
        "{} ({}{read})",
        summary.inputs.join(", "),
        Count::new(course.rows_read, "row")
    );
    let throttled = match summary.throttled() {
        0 => String::new(),
        count => format!(", {} throttled (429)", Number(count)),
    };
    let sent = format!("{}{throttled}", Count::new(summary.attempts(), "cancel"));
    let facts = [
        Some(("tenant", setting.tenant.clone())),
        Some(("app", format!("{} ({})", setting.app, setting.cloud))),
        Some((
            "comment",
            summary.comment().unwrap_or("of each row").to_owned(),
        )),
        summary
            .exclusions()
            .map(|files| ("exclusions", files.to_owned())),
        Some(("input", input)),
        Some(("by", format!("{} on {}", setting.user, setting.host))),
        Some(("when", when)),
        Some(("sent", sent)),
        course.exit_code.map(|code| ("exit code", code.to_string())),
        Some((
            "run",
            format!("{}, mde-cancel {}", summary.run, setting.version),
        )),
    ];
    let facts = facts.into_iter().flatten();
    facts.map(|(name, value)| (name, shown(&value))).collect()
}

fn outcome_lines(summary: &ReportSummary) -> Vec<OutcomeLine> {
    let all = Outcome::ALL.into_iter();
    all.filter_map(|outcome| Some((outcome, *summary.outcomes.get(&outcome)?)))
        .filter(|(_, count)| *count > 0)
        .map(|(outcome, count)| OutcomeLine {
            word: outcome.as_str(),
            tone: chart::tone(outcome),
            count: Number(count).to_string(),
            meaning: match (outcome, summary.course.standing) {
                (Outcome::NotAttempted, Standing::Running) => {
                    "its turn has not come yet".to_owned()
                }
                _ => shown(&meaning(outcome, &summary.final_statuses)),
            },
        })
        .collect()
}

fn type_lines(summary: &ReportSummary) -> Vec<TypeLine> {
    let whole = |outcomes: &BTreeMap<Outcome, u64>| outcomes.values().sum();
    let mut types: Vec<(&String, u64, _)> = summary
        .action_types
        .iter()
        .map(|(name, outcomes)| (name, whole(outcomes), outcomes))
        .collect();
    types.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
    let line = |name: String, count: u64, outcomes: &BTreeMap<Outcome, u64>| TypeLine {
        name,
        count: Number(count).to_string(),
        alt: chart::bar_text(outcomes),
        bar: chart::bar(outcomes),
    };
    let (shown_types, rest) = types.split_at(types.len().min(TYPES));
    let mut lines: Vec<_> = shown_types
        .iter()
        .map(|(name, count, outcomes)| match name.as_str() {
            "" => line("type not known".to_owned(), *count, outcomes),
            name => line(shown(name), *count, outcomes),
        })
        .collect();
    if !rest.is_empty() {
        let mut sum = BTreeMap::new();
        for (outcome, count) in rest.iter().flat_map(|(_, _, outcomes)| outcomes.iter()) {
            *sum.entry(*outcome).or_default() += count;
        }
        let name = format!("others, {}", Count::new(rest.len() as u64, "type"));
        lines.push(line(name, whole(&sum), &sum));
    }
    lines
}

fn work_lines(summary: &ReportSummary) -> Vec<WorkLine> {
    let some = summary.follow_ups.iter().filter(|(_, count)| *count > 0);
    some.map(|&(follow_up, count)| {
        let (severity, what, advice) = match follow_up {
            FollowUp::Unisolate => (
                "grave",
                "to release from isolation",
                "The isolation had succeeded, so there was nothing to cancel: release the machine.",
            ),
            FollowUp::Unrestrict => (
                "grave",
                "to let run code again",
                "The restriction had succeeded, so there was nothing to cancel: lift it.",
            ),
            FollowUp::ManualOnboard => (
                "grave",
                "to onboard again",
                "The machine was offboarded; nothing reverses that from here.",
            ),
            FollowUp::ManualRestoreFile => (
                "some",
                "with a quarantined file",
                "Restore the file by hand where it is needed.",
            ),
            FollowUp::CheckDevice => (
                "some",
                "to check",
                "The record says Cancelled, but the action was in progress before: it may have been done.",
            ),
        };
        WorkLine {
            severity,
            count: Number(count).to_string(),
            what,
            advice,
        }
    })
    .collect()
}

#[derive(Template)]
#[template(path = "row.html", config = "src/report/askama.toml")]
struct Row {
    action_id: String,
    source: String,
    outcome: &'static str,
    tone: &'static str,
    is_left: bool,
    reason: String,
    answer: String,
    action_type: String,
    machine: String,
    machine_id: String,
    follow_up: String,
    status: String,
    attempts: u32,
    settled: String,
    settled_date: String,
    settled_time: String,
    requestor: String,
}

impl Row {
    fn of(row: &ReportRow, is_left: bool, folder: &str) -> Self {
        let status = match (&row.status_before, &row.action_status) {
            (Some(before), Some(now)) if before != now => {
                format!("{} \u{2192} {}", shown(before), shown(now))
            }
            (before, now) => maybe(now.as_ref().or(before.as_ref())),
        };
        let (machine, machine_id) = match &row.computer_dns_name {
            Some(name) => (shown(name), maybe(row.machine_id.as_ref())),
            None => (maybe(row.machine_id.as_ref()), String::new()),
        };
        let part = |format: &str| {
            let at = row.settled_at.map(|at| at.strftime(format).to_string());
            at.unwrap_or_default()
        };
        Self {
            action_id: shown(&row.action_id),
            source: shown(row.source.strip_prefix(folder).unwrap_or(&row.source)),
            outcome: row.outcome.as_str(),
            tone: chart::tone(row.outcome),
            is_left,
            reason: shown(&row.reason),
            answer: answer(row),
            action_type: maybe(row.action_type.as_ref()),
            machine,
            machine_id,
            follow_up: maybe(row.follow_up.as_ref()),
            status,
            attempts: row.attempts,
            settled: row.settled_at.map(second).unwrap_or_default(),
            settled_date: part("%Y-%m-%d"),
            settled_time: part("%H:%M:%S"),
            requestor: maybe(row.requestor.as_ref()),
        }
    }
}

/// Returns the last answer of a row that did not end well, for whoever writes to support.
fn answer(row: &ReportRow) -> String {
    if !row.outcome.leaves_work() {
        return String::new();
    }
    let status = row.http_status.map(|status| format!("HTTP {status}"));
    let parts = [
        status,
        row.error_code.as_deref().map(shown),
        row.correlation_id
            .as_deref()
            .map(|id| format!("correlation {}", shown(id))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

#[derive(Template)]
#[template(path = "tail.html", config = "src/report/askama.toml")]
struct Tail {
    script: &'static str,
    written_at: String,
    version: &'static str,
}

impl Tail {
    fn of(summary: &ReportSummary) -> Self {
        Self {
            script: SCRIPT,
            written_at: format!("{} UTC", second(summary.written_at)),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}
