//! Writes the report as a single HTML file that loads and sends nothing.
//!
//! A strict content security policy allows only the embedded style and script, by their hashes; there are no inline
//! styles or handlers. The rows are a plain table. With JavaScript enabled, the script adds search, filters, sorting
//! and paging, which keeps 20,000 rows usable. Only literals become markup; all other text is escaped.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};

use crate::model::{Count, FollowUp, Number, Outcome, ReportRow, RunStatus, Span, visible};

use super::csv::{RowsError, each_row};
use super::html_chart::{self, TimelineChart};
use super::summary::{ReportSummary, SUMMARY_ROWS, excluded_state, meaning, rows_left};

const STYLE: &str = include_str!("html/report.css");

const SCRIPT: &str = include_str!("html/report.js");

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The most action types with a bar of their own. The service has nine, but inputs may contain any text.
const TYPES: usize = 12;

/// Writes the page and returns the number of rows.
pub fn write_html<E: Error + 'static>(
    out: impl Write,
    summary: &ReportSummary,
    rows: impl IntoIterator<Item = Result<ReportRow, E>>,
) -> Result<u64, RowsError<E>> {
    let mut page = HtmlPage(out);
    page.head(summary)?;
    let folder = folder(&summary.inputs);
    let count = each_row(rows, |row| page.row(row, summary.is_left(row), folder))?;
    page.tail(summary)?;
    Ok(count)
}

struct HtmlPage<W>(W);

/// Writes literals as markup, and values as escaped text.
macro_rules! html {
    ($page:expr $(,)?) => {};
    ($page:expr, $markup:literal $(, $($rest:tt)*)?) => {
        $page.markup($markup)?;
        html!($page, $($($rest)*)?);
    };
    ($page:expr, $text:expr $(, $($rest:tt)*)?) => {
        $page.text(&$text)?;
        html!($page, $($($rest)*)?);
    };
}

impl<W: Write> HtmlPage<W> {
    fn markup(&mut self, markup: &'static str) -> io::Result<()> {
        self.0.write_all(markup.as_bytes())
    }

    fn text(&mut self, text: &impl Display) -> io::Result<()> {
        let text = text.to_string();
        let text = visible(&text);
        let mut rest = &*text;
        while let Some(at) = rest.find(['<', '>', '&', '"', '\'']) {
            let (plain, special) = rest.split_at(at);
            write!(self.0, "{plain}&#{};", special.as_bytes()[0])?;
            rest = &special[1..];
        }
        self.0.write_all(rest.as_bytes())
    }

    fn head(&mut self, summary: &ReportSummary) -> io::Result<()> {
        let left = summary.left();
        let severity = match (left.is_empty(), summary.is_critical()) {
            (_, true) => "grave",
            (true, false) if summary.standing != RunStatus::Running => "clean",
            (_, false) => "some",
        };
        let headline = summary.headline();
        let state = summary.standing.as_str();
        let mark = if summary.is_sandbox { "SANDBOX: " } else { "" };
        html! {
            self,
            r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content=""#,
            policy(),
            r#"">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="mde-cancel "#,
            VERSION, "\">\n",
        }
        if let Some(every) = summary.refresh_interval {
            let every = every.as_secs().max(1);
            html! {
                self, "<meta name=\"renewed-every\" content=\"", every,
                "\">\n<noscript><meta http-equiv=\"refresh\" content=\"", every, "\"></noscript>\n",
            }
        }
        html! {
            self, "<title>", mark, headline, " · run ", summary.run, "</title>\n<style>",
        }
        self.markup(STYLE)?;
        html! {
            self,
            r##"</style>
</head>
<body>
<a class="skip" href="#all-rows">Skip to the rows</a>
<header class="page top">
<p class="kind"><span class="name">mde-cancel</span> run report"##,
        }
        if summary.is_sandbox {
            self.markup(r#" <span class="tag sandbox">SANDBOX: nothing here was real</span>"#)?;
        }
        html! {
            self, " <span class=\"tag state-", state, "\">", state, "</span></p>\n<div class=\"left ", severity,
            "\">\n<h1>", headline, "</h1>\n",
        }
        if left.len() > 1 {
            self.markup("<ul>")?;
            for item in left.iter().skip(1) {
                html! { self, "<li>", item.text, "</li>" }
            }
            self.markup("</ul>\n")?;
        }
        if let Some(reason) = &summary.stop_reason {
            html! {
                self, r#"<p class="stopped">The run stopped "#, reason, ". Nothing is lost: it can be resumed.</p>\n",
            }
        }
        if summary.standing == RunStatus::Running {
            html! {
                self, r#"<p class="stopped">The run is still running; its state at <time id="written" datetime=""#,
                summary.written_at, "\">", second(summary.written_at), " UTC</time>.",
            }
            if let Some(every) = summary.refresh_interval {
                html! {
                    self, " The page reloads every ", Span(every),
                    ". <b id=\"stale\" hidden>It is older than that: the run was killed, or its computer sleeps.</b>",
                }
            }
            self.markup("</p>\n")?;
        }
        self.markup("</div>\n</header>\n<main class=\"page\">\n")?;
        self.work(summary)?;
        self.outcomes(summary)?;
        self.facts("run", &facts(summary))?;
        self.markup("</div>\n")?;
        self.types(summary)?;
        self.timeline(summary)?;
        self.facts("settings", &summary.settings_for_people())?;
        self.rows_head(summary)
    }

    fn work(&mut self, summary: &ReportSummary) -> io::Result<()> {
        let work: Vec<_> = summary
            .follow_ups
            .iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        if work.is_empty() && summary.commands.is_empty() && summary.excluded_rows.is_empty() {
            return Ok(());
        }
        self.markup(
            "<section aria-labelledby=\"work\">\n<h2 id=\"work\">What still needs work</h2>\n",
        )?;
        if !work.is_empty() {
            self.markup("<ul class=\"work\">")?;
            for &&(follow_up, count) in &work {
                let (what, advice) = advice(follow_up);
                let severity = if follow_up.is_critical() {
                    "grave"
                } else {
                    "some"
                };
                html! {
                    self, "<li class=\"", severity, "\"><b>", Number(count), "</b> ", what, "<small>", advice,
                    "</small></li>",
                }
            }
            self.markup("</ul>\n")?;
        }
        for command in &summary.commands {
            html! { self, "<p class=\"command\">", command.why, ":<code>", command.line, "</code></p>\n" }
        }
        if !summary.follow_up_rows.is_empty() {
            self.markup(
                r#"<div class="scroll" role="region" aria-label="Machines that still need work" tabindex="0">
<table class="wide">
<thead><tr><th scope="col">Machine</th><th scope="col">Needs</th><th scope="col">Action</th><th scope="col">Outcome</th></tr></thead>
<tbody>
"#,
            )?;
            for row in &summary.follow_up_rows {
                self.machine_cells(row, row.follow_up.as_deref().unwrap_or_default())?;
                html! {
                    self, "<td><span class=\"o ", html_chart::tone(row.outcome), "\">", row.outcome.as_str(),
                    "</span></td></tr>\n",
                }
            }
            self.markup("</tbody>\n</table>\n</div>\n")?;
            let told = summary.follow_up_rows.len() as u64;
            let machines: u64 = work.iter().map(|(_, count)| count).sum();
            if machines > told {
                html! { self, "<p class=\"note\">", machines - told, " more are among the rows below.</p>\n" }
            }
        }
        if !summary.excluded_rows.is_empty() {
            self.markup(
                r#"<h3>Excluded</h3>
<div class="scroll" role="region" aria-label="Excluded machines" tabindex="0">
<table class="wide">
<thead><tr><th scope="col">Machine</th><th scope="col">State</th><th scope="col">Action</th><th scope="col">Reason</th></tr></thead>
<tbody>
"#,
            )?;
            for row in &summary.excluded_rows {
                self.machine_cells(row, excluded_state(row).unwrap_or_default())?;
                html! { self, "<td>", row.reason, "</td></tr>\n" }
            }
            self.markup("</tbody>\n</table>\n</div>\n")?;
            if summary.excluded_rows.len() >= SUMMARY_ROWS as usize {
                self.markup("<p class=\"note\">More are among the rows below.</p>\n")?;
            }
        }
        self.markup("</section>\n")
    }

    /// Writes the first three cells of a machine's row.
    fn machine_cells(&mut self, row: &ReportRow, state: &str) -> io::Result<()> {
        self.markup("<tr>")?;
        self.machine(row)?;
        html! {
            self, "<td class=\"need\">", state, "</td><td>", or_empty(row.action_type.as_ref()), "<small><code>",
            row.action_id, "</code></small></td>",
        }
        Ok(())
    }

    fn machine(&mut self, row: &ReportRow) -> io::Result<()> {
        let name = row.computer_dns_name.as_ref();
        html! { self, "<td class=\"m\">", or_empty(name.or(row.machine_id.as_ref())) }
        if let (Some(_), Some(id)) = (name, &row.machine_id) {
            html! { self, "<small>", id, "</small>" }
        }
        self.markup("</td>")
    }

    fn outcomes(&mut self, summary: &ReportSummary) -> io::Result<()> {
        self.markup(
            "<div class=\"pair\">\n<section aria-labelledby=\"outcomes\">\n<h2 id=\"outcomes\">Outcomes</h2>\n",
        )?;
        if present(summary).next().is_none() {
            return self.markup("<p class=\"note\">No row was read.</p>\n</section>\n");
        }
        self.bar("tall", &summary.outcomes)?;
        self.markup(
            "<table class=\"plain\">\n<thead><tr><th scope=\"col\">Outcome</th><th scope=\"col\" class=\"n\">Rows</th>\
             <th scope=\"col\">Meaning</th></tr></thead>\n<tbody>\n",
        )?;
        for (outcome, count) in present(summary) {
            let meaning = match (outcome, summary.standing) {
                (Outcome::NotAttempted, RunStatus::Running) => {
                    "its turn has not come yet".to_owned()
                }
                _ => meaning(outcome, &summary.final_statuses),
            };
            html! {
                self, "<tr><th scope=\"row\"><span class=\"o ", html_chart::tone(outcome), "\">", outcome.as_str(),
                "</span></th><td class=\"n\">", Number(count), "</td><td>", meaning, "</td></tr>\n",
            }
        }
        html! {
            self, "</tbody>\n<tfoot><tr><th scope=\"row\">rows</th><td class=\"n\">", Number(summary.rows()),
            "</td><td></td></tr></tfoot>\n</table>\n</section>\n",
        }
        Ok(())
    }

    fn bar(&mut self, class: &str, outcomes: &BTreeMap<Outcome, u64>) -> io::Result<()> {
        html! {
            self, "<svg class=\"bar ", class,
            "\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"",
            html_chart::bar_text(outcomes), "\">",
        }
        for part in html_chart::bar(outcomes) {
            html! {
                self, "<rect class=\"", part.tone, "\" x=\"", part.x, "\" width=\"", part.width,
                "\" height=\"10\"><title>", part.label, "</title></rect>",
            }
        }
        self.markup("</svg>\n")
    }

    fn facts(&mut self, section: &'static str, facts: &[(impl Display, String)]) -> io::Result<()> {
        let (title, class) = match section {
            "run" => ("Run", "facts"),
            _ => ("Settings", "facts two"),
        };
        html! {
            self, "<section aria-labelledby=\"", section, "\">\n<h2 id=\"", section, "\">", title,
            "</h2>\n<dl class=\"", class, "\">\n",
        }
        for (name, value) in facts {
            html! { self, "<div><dt>", name, "</dt><dd>", value, "</dd></div>\n" }
        }
        self.markup("</dl>\n</section>\n")
    }

    fn types(&mut self, summary: &ReportSummary) -> io::Result<()> {
        self.markup("<section aria-labelledby=\"types\">\n<h2 id=\"types\">Action types</h2>\n")?;
        let whole = |outcomes: &BTreeMap<Outcome, u64>| -> u64 { outcomes.values().sum() };
        let types = summary.action_types.iter();
        let mut types: Vec<_> = types
            .map(|(name, outcomes)| match name.as_str() {
                "" => ("unknown type".to_owned(), outcomes.clone()),
                name => (name.to_owned(), outcomes.clone()),
            })
            .collect();
        if types.is_empty() {
            return self.markup("<p class=\"note\">No row was read.</p>\n</section>\n");
        }
        types.sort_by_key(|(_, outcomes)| std::cmp::Reverse(whole(outcomes)));
        let rest = types.split_off(types.len().min(TYPES));
        if !rest.is_empty() {
            let mut sum = BTreeMap::new();
            for (outcome, count) in rest.iter().flat_map(|(_, outcomes)| outcomes) {
                *sum.entry(*outcome).or_default() += count;
            }
            let others = Count::new(rest.len() as u64, "type");
            types.push((format!("others, {others}"), sum));
        }
        self.markup("<ul class=\"types\">\n")?;
        for (name, outcomes) in &types {
            html! {
                self, "<li><span class=\"label\">", name, "</span><span class=\"count\">", Number(whole(outcomes)),
                "</span>\n",
            }
            self.bar("", outcomes)?;
            self.markup("</li>\n")?;
        }
        self.markup(
            r#"</ul>
<p class="legend"><span><i class="good"></i>done</span><span><i class="calm"></i>nothing to do</span><span><i class="wait"></i>open or too late</span><span><i class="bad"></i>needs attention</span></p>
</section>
"#,
        )
    }

    fn timeline(&mut self, summary: &ReportSummary) -> io::Result<()> {
        self.markup(
            "<section aria-labelledby=\"timeline\">\n<h2 id=\"timeline\">Quota over time</h2>\n",
        )?;
        match &summary.timeline {
            Some(line) => self.chart(&html_chart::timeline_chart(line))?,
            None => self.markup("<p class=\"note\">Nothing was sent.</p>\n")?,
        }
        self.markup("</section>\n")
    }

    fn chart(&mut self, chart: &TimelineChart) -> io::Result<()> {
        html! { self, "<p class=\"note\">", chart.note, "</p>\n" }
        for panel in &chart.panels {
            html! {
                self, "<figure class=\"panel\">\n<figcaption><b>", panel.title, "</b> <span>", panel.note,
                "</span></figcaption>\n<svg viewBox=\"0 0 480 100\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"",
                panel.alt, "\">",
            }
            for wait in &chart.waits {
                html! {
                    self, "<rect class=\"", wait.tone, "\" x=\"", wait.x, "\" width=\"", wait.width,
                    "\" height=\"100\"><title>", wait.label, "</title></rect>",
                }
            }
            html! { self, "<path class=\"use\" d=\"", panel.path, "\"/>" }
            if !panel.refused.is_empty() {
                html! { self, "<path class=\"refused\" d=\"", panel.refused, "\"/>" }
            }
            if panel.has_limit {
                self.markup("<path class=\"limit\" d=\"M0 10H480\"/>")?;
            }
            self.markup("<path class=\"floor\" d=\"M0 100H480\"/></svg>\n</figure>\n")?;
        }
        self.markup("<ol class=\"axis\" aria-label=\"Time, UTC\">")?;
        for mark in &chart.axis {
            html! { self, "<li>", mark, "</li>" }
        }
        self.markup(
            r#"</ol>
<p class="legend"><span><i class="use"></i>calls counted</span><span><i class="limit"></i>quota</span><span><i class="quota"></i>waiting for the quota</span><span><i class="cooldown"></i>paused after a 429</span><span><i class="pause"></i>nothing sent</span><span><i class="refused"></i>answered by 429</span></p>
"#,
        )
    }

    fn rows_head(&mut self, summary: &ReportSummary) -> io::Result<()> {
        html! {
            self,
            r#"<section class="all" aria-labelledby="all-rows">
<h2 id="all-rows">All rows</h2>
<div id="tools" class="tools" hidden>
<label class="search">Search <input id="search" type="search" autocomplete="off" spellcheck="false" placeholder="id, machine, reason, requestor…"></label>
<div class="chips" role="group" aria-label="Filter by outcome">
<button type="button" data-show="" aria-pressed="true">all <span>"#,
            Number(summary.rows()), "</span></button>\n",
        }
        let mut needs = summary.follow_ups.iter();
        let is_left = needs.any(|(need, count)| need.is_work() && *count > 0);
        if is_left || rows_left(&summary.outcomes, summary.accepted) > 0 {
            self.markup(
                "<button type=\"button\" data-show=\"left\" aria-pressed=\"false\">needs work</button>\n",
            )?;
        }
        for (outcome, count) in present(summary) {
            let word = outcome.as_str();
            html! {
                self, "<button type=\"button\" data-show=\"", word, "\" aria-pressed=\"false\">", word, " <span>",
                Number(count), "</span></button>\n",
            }
        }
        self.markup(
            r#"</div>
<p id="shown" class="shown" role="status"></p>
<div id="pages" class="pages" role="group" aria-label="Pages"><button type="button" data-go="first" aria-label="First page">&laquo;</button><button type="button" data-go="back" aria-label="Previous page">&lsaquo;</button><span id="page"></span><button type="button" data-go="on" aria-label="Next page">&rsaquo;</button><button type="button" data-go="last" aria-label="Last page">&raquo;</button></div>
</div>
<div class="scroll rows" role="region" aria-label="All rows" tabindex="0">
<table id="rows" class="wide">
<thead><tr><th scope="col">Action</th><th scope="col">Outcome and reason</th><th scope="col">Machine</th><th scope="col">Type and status</th><th scope="col">Requestor</th><th scope="col">Settled</th></tr></thead>
<tbody>
"#,
        )
    }

    fn row(&mut self, row: &ReportRow, is_left: bool, folder: &str) -> io::Result<()> {
        let outcome = row.outcome.as_str();
        let source = row.source.strip_prefix(folder).unwrap_or(&row.source);
        html! { self, "<tr data-o=\"", outcome, "\"" }
        if is_left {
            self.markup(" data-left")?;
        }
        html! {
            self, "><td><code>", row.action_id, "</code><small>", source, "</small></td><td class=\"end\" data-k=\"",
            outcome, "\"><span class=\"o ", html_chart::tone(row.outcome), "\">", outcome, "</span>",
        }
        if let Some(follow_up) = &row.follow_up {
            html! { self, " <b class=\"need\">", follow_up, "</b>" }
        }
        if !row.reason.is_empty() {
            html! { self, "<p>", row.reason, "</p>" }
        }
        let answer = answer(row);
        if !answer.is_empty() {
            html! { self, "<small>", answer, "</small>" }
        }
        self.markup("</td>")?;
        self.machine(row)?;
        let status = match (&row.status_before, &row.action_status) {
            (Some(before), Some(now)) if before != now => format!("{before} \u{2192} {now}"),
            (before, now) => now
                .as_ref()
                .or(before.as_ref())
                .cloned()
                .unwrap_or_default(),
        };
        let settled = |format: &str| {
            let at = row.settled_at.map(|at| at.strftime(format).to_string());
            at.unwrap_or_default()
        };
        html! {
            self, "<td>", or_empty(row.action_type.as_ref()), "<small>", status, "</small></td><td>",
            or_empty(row.requestor.as_ref()), "</td><td data-k=\"", settled("%Y-%m-%d %H:%M:%S"), "\">", settled("%H:%M:%S"),
            "<small>", settled("%Y-%m-%d"), "</small>",
        }
        if row.attempts > 0 {
            html! { self, "<small>sent ", row.attempts, "×</small>" }
        }
        self.markup("</td></tr>\n")
    }

    fn tail(&mut self, summary: &ReportSummary) -> io::Result<()> {
        html! {
            self,
            r#"</tbody>
</table>
</div>
<p class="note">Every row of the input is here once; times are UTC. The CSV and JSON reports have more columns.</p>
</section>
</main>
<footer class="page"><p>Written "#,
            second(summary.written_at), " UTC by mde-cancel ", VERSION,
            ". This file loads nothing and sends nothing.</p></footer>\n<script>",
        }
        self.markup(SCRIPT)?;
        self.markup("</script>\n</body>\n</html>\n")
    }
}

/// Returns the content security policy: only the embedded script and style.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}

/// Returns the common folder of all inputs, with its separator. It is shown once and omitted from each row.
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

fn or_empty(text: Option<&String>) -> &str {
    text.map_or("", String::as_str)
}

fn second(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Returns the outcomes that occur, in order.
fn present(summary: &ReportSummary) -> impl Iterator<Item = (Outcome, u64)> {
    let count = |outcome| summary.outcomes.get(&outcome).copied().unwrap_or(0);
    let all = Outcome::ALL.into_iter();
    all.map(move |outcome| (outcome, count(outcome)))
        .filter(|(_, count)| *count > 0)
}

/// Returns the facts of the run, for people.
fn facts(summary: &ReportSummary) -> Vec<(&'static str, String)> {
    let until = summary.ended_at.unwrap_or(summary.written_at);
    let took = std::time::Duration::try_from(until.duration_since(summary.begun_at));
    let when = format!(
        "{} UTC, for {}",
        second(summary.begun_at),
        Span(took.unwrap_or_default())
    );
    let read = if summary.input_complete {
        ""
    } else {
        "; not read to its end"
    };
    let input = format!(
        "{} ({}{read})",
        summary.inputs.join(", "),
        Count::new(summary.rows_read, "row")
    );
    let throttled = match summary.throttled() {
        0 => String::new(),
        count => format!(", {} throttled (429)", Number(count)),
    };
    let sent = format!(
        "{}{throttled}",
        Count::new(summary.attempts(), summary.operation.as_str())
    );
    let facts = [
        Some(("tenant", summary.tenant.clone())),
        Some(("app", format!("{} ({})", summary.app, summary.cloud))),
        Some((
            "comment",
            summary.comment().unwrap_or("of each row").to_owned(),
        )),
        summary
            .exclusions()
            .map(|files| ("exclusions", files.to_owned())),
        Some(("input", input)),
        Some(("by", format!("{} on {}", summary.user, summary.host))),
        Some(("when", when)),
        Some(("sent", sent)),
        summary
            .exit_code
            .map(|code| ("exit code", code.to_string())),
        Some((
            "run",
            format!("{}, mde-cancel {}", summary.run, summary.version),
        )),
    ];
    facts.into_iter().flatten().collect()
}

/// Returns what the machines need, and advice.
fn advice(follow_up: FollowUp) -> (&'static str, &'static str) {
    match follow_up {
        FollowUp::Unisolate => (
            "to release from isolation",
            "The isolation had succeeded, so there was nothing to cancel: release the machine.",
        ),
        FollowUp::Unrestrict => (
            "to let run code again",
            "The restriction had succeeded, so there was nothing to cancel: lift it.",
        ),
        FollowUp::ManualRequestAgain => (
            "to request an action again for",
            "The action was cancelled before its record was read, and the record says what wasn't to be cancelled: request it again if it was meant.",
        ),
        FollowUp::ManualOnboard => (
            "to onboard again",
            "The machine was offboarded; nothing reverses that from here.",
        ),
        FollowUp::ManualRestoreFile => (
            "with a quarantined file",
            "Restore the file by hand where it is needed.",
        ),
        FollowUp::CheckDevice => (
            "to check",
            "The record says Cancelled, but the action was in progress before: it may have been done.",
        ),
        FollowUp::Keep => (
            "to leave as they are",
            "Somebody else had isolated or restricted them before, or it was done again: the reason says who and when.",
        ),
    }
}

/// Returns the last response of a row that needs attention, for a support request.
fn answer(row: &ReportRow) -> String {
    if !row.outcome.needs_attention() {
        return String::new();
    }
    let status = row.http_status.map(|status| format!("HTTP {status}"));
    let parts = [
        status,
        row.error_code.clone(),
        row.correlation_id
            .as_ref()
            .map(|id| format!("correlation {id}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}
