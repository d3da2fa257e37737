//! A plan's sums as text for a terminal.
//!
//! The preview prints it and the question before a run repeats it, so that both can be compared: what stands in them
//! comes from here alone.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::engine::{NameCounts, NeededPermission, Permissions, PlanSummary, Precheck};

use super::terminal::{Paint, Tone};
use super::text::{ClockTime, Count, Number, visible, wrap};

/// Requestors and sources that are named; the rest is counted.
const NAMED: usize = 5;

/// Below so many columns a table stands close together.
const NARROW: u16 = 70;

/// What leaves within this time is said to leave now.
const NOW_SECONDS: i64 = 5;

/// A plan's sums, and all that is known around them.
pub(super) struct PlanText<'plan> {
    /// The sums.
    pub(super) summary: &'plan PlanSummary,
    /// How many cancels will have left by when; the last one is all of them.
    pub(super) milestones: &'plan [(u64, Timestamp)],
    /// Whether states are read, and how many calls that took so far.
    pub(super) triage: Precheck,
    pub(super) reads: u64,
    /// What the token's claims say, where they say anything.
    pub(super) permissions: Option<&'plan Permissions>,
    /// When the token ends, where no newer one can be had then.
    pub(super) token_ends: Option<Timestamp>,
    /// Where the cancels go, as pairs of a word and a name; empty where nothing is known.
    pub(super) place: &'plan [(&'static str, String)],
    /// When this is read, and where.
    pub(super) now: Timestamp,
    pub(super) zone: &'plan TimeZone,
}

impl PlanText<'_> {
    /// Returns the text for a terminal of `width` columns.
    pub(super) fn render(&self, width: u16, paint: Paint) -> String {
        let columns = usize::from(width);
        let mut text = String::new();
        let mut push = |tone: Option<Tone>, line: &str, indent| {
            for line in wrap(line, columns, indent) {
                let line = tone.map_or(line.clone(), |tone| paint.apply(tone, &line));
                text.push_str(&line);
                text.push('\n');
            }
        };
        push(None, &self.headline(), 2);
        push(None, "", 0);
        for (tone, line) in self.facts() {
            push(tone, &line, LABEL);
        }
        if self.summary.rows > 0 {
            text.push('\n');
            text.push_str(&self.cells(width));
        }
        text.push_str(&self.reasons(columns));
        text
    }

    /// Returns the number of what is sent, and the name of the plan.
    pub(super) fn headline(&self) -> String {
        let send = self.summary.send;
        if send == 0 {
            return "nothing to cancel".to_owned();
        }
        format!(
            "{} to cancel · plan {}",
            Count::new(send, "action"),
            self.summary.digest
        )
    }

    fn facts(&self) -> Vec<(Option<Tone>, String)> {
        let mut facts = Vec::new();
        let mut fact = |tone, label: &str, words: String| {
            facts.push((tone, format!("{label:<LABEL$}{words}")));
        };
        for (label, name) in self.place {
            fact(None, label, visible(name).into_owned());
        }
        let summary = self.summary;
        let requestors = names(&summary.requestors);
        if let Some(requestors) = requestors {
            if summary.requestors.top().len() > 1 {
                let words = format!("{requestors} (more than one)");
                fact(Some(Tone::Caution), "asked by", words);
            } else {
                fact(None, "asked by", requestors);
            }
        }
        if let Some(sources) = names(&summary.request_sources) {
            fact(None, "asked in", sources);
        }
        if let (Some(oldest), Some(newest)) = (summary.oldest, summary.newest) {
            let clock = |at| ClockTime::new(at, self.now, self.zone).to_string();
            fact(
                None,
                "asked at",
                format!("{} to {}", clock(oldest), clock(newest)),
            );
        }
        if !summary.machines.is_empty() {
            let machines: Vec<_> = summary.machines.iter().map(|name| visible(name)).collect();
            fact(None, "machines", format!("such as {}", machines.join(", ")));
        }
        if summary.send > 0 && summary.types_known < summary.send {
            let others = match self.triage {
                Precheck::ReadFirst => "guards still apply to the others",
                Precheck::Skip => "the others go out whatever they are",
            };
            let known = format!(
                "known for {} of {}; {others}",
                Number(summary.types_known),
                Number(summary.send)
            );
            fact(Some(Tone::Caution), "types", known);
        }
        if self.reads > 0 {
            let made = Count::new(self.reads, "read");
            let needed = Count::new(summary.send, "cancel");
            fact(None, "calls", format!("{made} made · {needed} to come"));
        }
        if !self.milestones.is_empty() {
            fact(None, "sent", self.milestones());
        }
        if let Some(end) = self.short_token() {
            let end = ClockTime::new(end, self.now, self.zone);
            let words = format!("ends at {end}, before all are sent, and cannot be renewed");
            fact(Some(Tone::Caution), "token", words);
        }
        for (tone, words) in self.permissions() {
            fact(Some(tone), "permission", words);
        }
        facts
    }

    /// Returns when the token ends, where that is before the last cancel leaves.
    pub(super) fn short_token(&self) -> Option<Timestamp> {
        let (_, last) = self.milestones.last()?;
        self.token_ends.filter(|end| end < last)
    }

    /// Says by when how many will have left: "100 now · 1,500 by 03:14 · all by 04:15".
    fn milestones(&self) -> String {
        let last = self.milestones.len().saturating_sub(1);
        let parts = self.milestones.iter().enumerate();
        let parts = parts.map(|(position, &(cancels, at))| {
            let how_many = if position == last {
                "all".to_owned()
            } else {
                Number(cancels).to_string()
            };
            if at.duration_since(self.now).as_secs() < NOW_SECONDS {
                format!("{how_many} now")
            } else {
                format!("{how_many} by {}", ClockTime::new(at, self.now, self.zone))
            }
        });
        parts.collect::<Vec<_>>().join(" · ")
    }

    fn permissions(&self) -> Vec<(Tone, String)> {
        let Some(permissions) = self.permissions else {
            return Vec::new();
        };
        let (held, missing): (Vec<_>, Vec<_>) = permissions
            .cancelling
            .iter()
            .partition(|needed| needed.is_held);
        let mut lines = Vec::new();
        if !held.is_empty() {
            let names: Vec<_> = held.iter().map(|needed| needed.name).collect();
            lines.push((Tone::Good, format!("the token has {}", names.join(", "))));
        }
        lines.extend(missing.into_iter().map(|needed| {
            let words = format!(
                "the token lacks {}, so these may be refused: {}",
                needed.name,
                rows_of(needed)
            );
            (Tone::Bad, words)
        }));
        if !permissions.may_read {
            let words = "the token lacks Machine.Read.All, so no states can be read".to_owned();
            lines.push((Tone::Caution, words));
        }
        lines
    }

    fn cells(&self, width: u16) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width.saturating_sub(1))
            .set_header(["verdict", "type", "status", "rows"]);
        let word = |text: &str| match text {
            "" => "-".to_owned(),
            text => visible(text).into_owned(),
        };
        for cell in self.summary.cells() {
            table.add_row([
                cell.verdict.to_string(),
                word(&cell.action_type),
                word(&cell.status),
                Number(cell.rows).to_string(),
            ]);
        }
        table.add_row(["rows", "", "", &Number(self.summary.rows).to_string()]);
        // A word of the report or a number in two pieces is neither.
        if let Some(column) = table.column_mut(0) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        if let Some(column) = table.column_mut(3) {
            column.set_constraint(ColumnConstraint::ContentWidth);
            column.set_cell_alignment(CellAlignment::Right);
        }
        // The longest words there are fit into sixty columns where they stand close together.
        let (indent, gap) = if width < NARROW { (" ", 1) } else { ("  ", 2) };
        for column in table.column_iter_mut() {
            column.set_padding((0, gap));
        }
        let lines: Vec<String> = table
            .lines()
            .map(|line| format!("{indent}{}\n", line.trim_end()))
            .collect();
        lines.concat()
    }

    fn reasons(&self, columns: usize) -> String {
        let mut text = String::new();
        let mut reasons: Vec<_> = self.summary.reasons.iter().collect();
        reasons.sort_by_key(|reason| (reason.verdict, std::cmp::Reverse(reason.rows)));
        if !reasons.is_empty() {
            text.push_str("\nnot sent\n");
        }
        for reason in reasons {
            let examples: Vec<_> = reason.examples.iter().map(|name| visible(name)).collect();
            let dots = if reason.rows > examples.len() as u64 {
                ", …"
            } else {
                ""
            };
            let line = format!(
                "- {} {}: {} ({}{dots})",
                Number(reason.rows),
                reason.verdict,
                visible(&reason.reason),
                examples.join(", ")
            );
            for line in wrap(&line, columns, 2) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }
}

/// The width of the words that stand before the facts.
const LABEL: usize = 12;

fn rows_of(needed: &NeededPermission) -> String {
    let types = needed.types.iter();
    let types = types.map(|(action_type, rows)| format!("{} {action_type}", Number(*rows)));
    types.collect::<Vec<_>>().join(", ")
}

/// Lists the most frequent names with their counts; `None` where there is none.
fn names(counts: &NameCounts) -> Option<String> {
    let top = counts.top();
    if top.is_empty() {
        return None;
    }
    let mut parts: Vec<_> = top
        .iter()
        .take(NAMED)
        .map(|(name, rows)| format!("{} {}", visible(name), Number(*rows)))
        .collect();
    let rest = top.iter().skip(NAMED).map(|(_, rows)| rows).sum::<u64>() + counts.others();
    if rest > 0 {
        parts.push(format!("others {}", Number(rest)));
    }
    Some(parts.join(" · "))
}

/// Returns whether a plan leaves something that somebody should look at before it is carried out.
pub(super) fn needs_a_look(summary: &PlanSummary, permissions: Option<&Permissions>) -> bool {
    let is_forbidden =
        permissions.is_some_and(|permissions| permissions.missing().next().is_some());
    summary.left_over > 0 || is_forbidden
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Claims;
    use crate::engine::{PlanLine, Verdict};
    use crate::model::{ActionId, Outcome};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn line(number: u128, verdict: Verdict) -> PlanLine<'static> {
        PlanLine {
            id: ActionId::from_bytes(number.to_be_bytes()),
            verdict,
            reason: "",
            source: &"wave.csv:7",
            action_type: Some("Isolate"),
            status: Some("Pending"),
            requestor: Some("soc-bot"),
            request_source: Some("PublicApi"),
            machine: Some("ws-042.corp.example"),
            created_at: Some(at("2026-11-24T22:05:00Z")),
        }
    }

    fn summary() -> PlanSummary {
        let mut summary = PlanSummary::default();
        for number in 1..=1203 {
            summary.add(&line(number, Verdict::Send));
        }
        summary.add(&PlanLine {
            requestor: Some("o\'neil@corp.example\u{1b}[2J"),
            machine: Some("ws-007.corp.example"),
            created_at: Some(at("2026-11-25T01:00:00Z")),
            ..line(1204, Verdict::Send)
        });
        for number in 2000..2004 {
            summary.add(&PlanLine {
                status: Some("Succeeded"),
                reason: "its record says Succeeded",
                ..line(number, Verdict::Settled(Outcome::AlreadyFinal))
            });
        }
        summary.add(&PlanLine {
            action_type: None,
            status: None,
            reason: "the id is not a GUID",
            ..line(0, Verdict::Settled(Outcome::Invalid))
        });
        summary
    }

    #[test]
    fn at_sixty_columns_no_word_of_the_table_is_broken() {
        let mut summary = PlanSummary::default();
        for number in 1..=1000 {
            summary.add(&PlanLine {
                action_type: Some("UnrestrictCodeExecution"),
                status: Some("InProgress"),
                ..line(number, Verdict::Settled(Outcome::AlreadyCancelled))
            });
        }
        let cells = text(|text| {
            PlanText {
                summary: &summary,
                ..*text
            }
            .cells(60)
        });
        let row = "already_cancelled UnrestrictCodeExecution InProgress 1,000";
        assert!(cells.contains(row), "{cells}");
        assert!(cells.lines().all(|line| line.len() < 60), "{cells}");
    }

    fn text<T>(look: impl FnOnce(&PlanText<'_>) -> T) -> T {
        let claims = Claims {
            roles: vec!["Machine.Scan".to_owned()],
            ..Claims::default()
        };
        let summary = summary();
        let permissions = Permissions::forecast(&claims, &summary.types_sent());
        look(&PlanText {
            summary: &summary,
            milestones: &[
                (100, at("2026-11-25T02:00:01Z")),
                (1204, at("2026-11-25T02:11:00Z")),
            ],
            triage: Precheck::ReadFirst,
            reads: 13,
            permissions: permissions.as_ref(),
            token_ends: Some(at("2026-11-25T02:09:00Z")),
            place: &[("tenant", "11111111-2222-3333-4444-555555555555".to_owned())],
            now: at("2026-11-25T02:00:00Z"),
            zone: &TimeZone::UTC,
        })
    }

    #[test]
    fn a_plan_says_what_is_sent_for_whom_by_when_and_what_not_and_why() {
        insta::assert_snapshot!(text(|text| text.render(80, Paint::Plain)), @r"
        1,204 actions to cancel · plan 961c-2524-c3ed

        tenant      11111111-2222-3333-4444-555555555555
        asked by    soc-bot 1,203 · o'neil@corp.example\u{1b}[2J 1 (more than one)
        asked in    PublicApi 1,204
        asked at    2026-11-24 22:05 UTC to 01:00:00 UTC
        machines    such as ws-042.corp.example, ws-007.corp.example
        calls       13 reads made · 1,204 cancels to come
        sent        100 now · all by 02:11:00 UTC
        token       ends at 02:09:00 UTC, before all are sent, and cannot be renewed
        permission  the token lacks Machine.Isolate, so these may be refused: 1,204
                    Isolate
        permission  the token lacks Machine.Read.All, so no states can be read

          verdict        type     status      rows
          send           Isolate  Pending    1,204
          already_final  Isolate  Succeeded      4
          invalid        -        -              1
          rows                               1,209

        not sent
        - 4 already_final: its record says Succeeded (wave.csv:7, wave.csv:7,
          wave.csv:7, …)
        - 1 invalid: the id is not a GUID (wave.csv:7)
        ");
    }

    #[test]
    fn nothing_is_wider_than_the_terminal_and_colours_change_no_letter() {
        for width in [60, 80, 200] {
            let plain = text(|text| text.render(width, Paint::Plain));
            for line in plain.lines() {
                assert!(
                    console::measure_text_width(line) <= usize::from(width),
                    "{line}"
                );
            }
            let colored = text(|text| text.render(width, Paint::Colored));
            assert_eq!(console::strip_ansi_codes(&colored), plain);
        }
    }

    #[test]
    fn a_plan_of_nothing_says_so() {
        let summary = PlanSummary::default();
        let text = PlanText {
            summary: &summary,
            milestones: &[],
            triage: Precheck::Skip,
            reads: 0,
            permissions: None,
            token_ends: Some(at("2026-11-25T02:00:00Z")),
            place: &[],
            now: at("2026-11-25T02:00:00Z"),
            zone: &TimeZone::UTC,
        };
        assert_eq!(
            text.render(80, Paint::Plain).trim_end(),
            "nothing to cancel"
        );
        assert!(!needs_a_look(&summary, None));
    }
}
