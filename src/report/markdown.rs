//! Writes the report as Markdown for a ticket: the remaining work, the counts, the facts of the run, and the rows.
//!
//! Runs with more than [`ROWS`] rows show only the rows that need work, and count the others. Text from the input or
//! the service is in code spans, so that a ticket system makes no links, notifies nobody and finds no markup in it.

use std::error::Error;
use std::io;
use std::io::Write;

use crate::model::{Count, Number, Outcome, ReportRow, Span, visible, window_name};

use super::csv::{RowsError, each_row};
use super::summary::{ReportSummary, excluded_state, meaning};

/// The most rows in a ticket.
const ROWS: u64 = 500;

/// Writes the ticket and returns the number of rows of the run.
pub fn write_markdown<E: Error + 'static>(
    mut out: impl Write,
    summary: &ReportSummary,
    rows: impl IntoIterator<Item = Result<ReportRow, E>>,
) -> Result<u64, RowsError<E>> {
    write_head(&mut out, summary)?;
    let is_whole = summary.rows() <= ROWS;
    let (mut shown, mut passed_over) = (0, 0_u64);
    let count = each_row(rows, |row| {
        if !is_whole && !summary.is_left(row) {
            return Ok(());
        }
        if shown == ROWS {
            passed_over += 1;
            return Ok(());
        }
        if shown == 0 {
            write_rows_head(&mut out, is_whole)?;
        }
        shown += 1;
        write_row(&mut out, row)
    })?;
    write_tail(&mut out, count - shown, passed_over)?;
    Ok(count)
}

fn write_head(out: &mut impl Write, summary: &ReportSummary) -> io::Result<()> {
    let mark = if summary.is_sandbox { "SANDBOX: " } else { "" };
    writeln!(out, "# {mark}{}\n", summary.headline())?;
    for left in summary.left().iter().skip(1) {
        writeln!(out, "- {}", left.text)?;
    }
    if summary.left().len() > 1 {
        writeln!(out)?;
    }
    write_work(out, summary)?;
    writeln!(out, "| outcome | rows | meaning |\n|---|--:|---|")?;
    for outcome in Outcome::ALL {
        let count = summary.outcomes.get(&outcome).copied().unwrap_or(0);
        if count > 0 {
            let meaning = match meaning(outcome, &summary.final_statuses).split_once(": ") {
                Some((ours, theirs)) => format!("{ours}: {}", code(theirs)),
                None => meaning(outcome, &summary.final_statuses),
            };
            writeln!(out, "| {outcome} | {} | {meaning} |", Number(count))?;
        }
    }
    writeln!(out, "| **rows** | {} | |\n", Number(summary.rows()))?;
    let when = match summary.ended_at {
        Some(ended) => format!("{:.0} to {ended:.0}", summary.begun_at),
        None => format!("since {:.0}", summary.begun_at),
    };
    writeln!(
        out,
        "- Run `{}` ({}), {when}",
        summary.run, summary.standing
    )?;
    if let Some(reason) = &summary.stop_reason {
        writeln!(out, "- Stopped: {}", code(reason))?;
    }
    let sent = Count::new(summary.attempts(), summary.operation.as_str());
    writeln!(out, "- {sent} sent, {} throttled", summary.throttled())?;
    for used in summary.timeline.iter().flat_map(|line| &line.windows) {
        let name = window_name(used.window.period);
        let (limit, waited) = (Number(used.window.limit.get().into()), Span(used.waited));
        writeln!(out, "- {limit} per {name} allowed; waited {waited} for it")?;
    }
    match summary.comment() {
        Some(comment) => writeln!(out, "- Comment {}", code(comment))?,
        None => writeln!(out, "- Comment of each row")?,
    }
    if let Some(files) = summary.exclusions() {
        writeln!(out, "- Exclusions {}", code(files))?;
    }
    writeln!(
        out,
        "- By {} on {}, tenant {}, app {}, cloud {}, mde-cancel {}",
        code(&summary.user),
        code(&summary.host),
        code(&summary.tenant),
        code(&summary.app),
        code(&summary.cloud),
        summary.version
    )?;
    for input in &summary.inputs {
        writeln!(out, "- Input {}", code(input))?;
    }
    Ok(())
}

/// Writes the commands to run next, the machines that need work, and the excluded ones.
fn write_work(out: &mut impl Write, summary: &ReportSummary) -> io::Result<()> {
    for command in &summary.commands {
        writeln!(out, "{}:\n\n    {}\n", command.why, visible(&command.line))?;
    }
    let maybe = |text: Option<&String>| text.map(|text| code(text)).unwrap_or_default();
    let machine =
        |row: &ReportRow| maybe(row.computer_dns_name.as_ref().or(row.machine_id.as_ref()));
    if !summary.follow_up_rows.is_empty() {
        writeln!(
            out,
            "| machine | needs | machine id | action |\n|---|---|---|---|"
        )?;
        for row in &summary.follow_up_rows {
            writeln!(
                out,
                "| {} | {} | {} | {} |",
                machine(row),
                maybe(row.follow_up.as_ref()),
                maybe(row.machine_id.as_ref()),
                code(&row.action_id)
            )?;
        }
        writeln!(out)?;
    }
    if !summary.excluded_rows.is_empty() {
        writeln!(out, "| excluded machine | state | reason |\n|---|---|---|")?;
        for row in &summary.excluded_rows {
            let state = excluded_state(row).unwrap_or_default();
            writeln!(
                out,
                "| {} | {state} | {} |",
                machine(row),
                code(&row.reason)
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_rows_head(out: &mut impl Write, is_whole: bool) -> io::Result<()> {
    let title = if is_whole {
        "Rows"
    } else {
        "Rows that need work"
    };
    writeln!(
        out,
        "\n## {title}\n\n| action | outcome | type | machine | follow-up | reason |\n|---|---|---|---|---|---|"
    )
}

fn write_row(out: &mut impl Write, row: &ReportRow) -> io::Result<()> {
    let machine = row.computer_dns_name.as_ref().or(row.machine_id.as_ref());
    let maybe = |text: Option<&String>| text.map(|text| code(text)).unwrap_or_default();
    writeln!(
        out,
        "| {} | {} | {} | {} | {} | {} |",
        code(&row.action_id),
        row.outcome,
        maybe(row.action_type.as_ref()),
        maybe(machine),
        maybe(row.follow_up.as_ref()),
        code(&row.reason)
    )
}

fn write_tail(out: &mut impl Write, untold: u64, passed_over: u64) -> io::Result<()> {
    if untold == 0 {
        return Ok(());
    }
    let rows = Count::new(untold, "row");
    write!(out, "\n{rows} not shown here")?;
    if passed_over > 0 {
        let need = if passed_over == 1 { "needs" } else { "need" };
        write!(out, ", {} of which {need} work", Number(passed_over))?;
    }
    writeln!(out, "; the CSV report has every row.")
}

/// Puts text into a code span for a table cell: one line, safe against any content.
fn code(text: &str) -> String {
    let text = visible(text.trim());
    if text.is_empty() {
        return String::new();
    }
    // Make the fence longer than any run of backticks in the text.
    let longest = text
        .split(|letter| letter != '`')
        .map(str::len)
        .max()
        .unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    // Tables are split into cells before code spans are parsed.
    let text = text.replace('|', "\\|");
    format!("{fence}{space}{text}{space}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_gets_out_of_its_code_span() {
        for (text, span) in [
            ("", ""),
            ("plain", "`plain`"),
            ("a|b", "`a\\|b`"),
            ("a`b", "``a`b``"),
            ("``", "``` `` ```"),
            ("<script>\n@all", "`<script>\\u{a}@all`"),
            ("\u{202e}x", "`\\u{202e}x`"),
        ] {
            assert_eq!(code(text), span);
        }
    }
}
