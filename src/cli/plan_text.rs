//! A plan's summary, as text for a terminal and as JSON.
//!
//! The preview and the question before a run both use this text, so that they can be compared.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::engine::{
    NameCounts, NeededPermission, Permissions, PlanCell, PlanSummary, Precheck, RELEASED_SINCE,
    Skips, Verdict, is_excluded,
};
use crate::model::{ActionType, ExclusionMatches, FollowUp, Operation, Outcome};

use super::failure::RunExit;
use super::format_time::{
    Count, Number, Span, day_time, short_name, visible, zone_name, zoned_day_time,
};
use super::table::Table;
use super::terminal::{Color, Page, Style};

/// Requestors named; the rest is counted.
const NAMED: usize = 5;

/// Lines of an exclusion list named; the rest is counted.
const LINES_NAMED: usize = 5;

/// Seconds within which cancels count as sent "in the first seconds".
const AT_ONCE: i64 = 5;

/// The width of the labels and of the table's first column.
const LABEL: usize = 14;

/// A plan's summary with its context.
pub(super) struct PlanText<'plan> {
    pub(super) summary: &'plan PlanSummary,
    /// How many cancels are sent by when; the last entry has all.
    pub(super) milestones: &'plan [(u64, Timestamp)],
    pub(super) precheck: Precheck,
    /// Reads made so far.
    pub(super) reads: u64,
    /// Whether later actions were read, which show the machines released since.
    pub(super) knows_later_actions: bool,
    /// `None` if the token names no permissions.
    pub(super) permissions: Option<&'plan Permissions>,
    /// When a token that can't be renewed expires.
    pub(super) token_ends: Option<Timestamp>,
    /// Where cancels go and rows come from, as label and name.
    pub(super) place: &'plan [(&'static str, String)],
    pub(super) notes: &'plan [String],
    pub(super) now: Timestamp,
    pub(super) zone: &'plan TimeZone,
}

impl PlanText<'_> {
    pub(super) fn render(&self, width: u16, color: Color) -> String {
        let mut page = Page::new(width, color);
        page.push("", None, &self.headline(), 2);
        for (style, line) in self.facts() {
            page.push("", style, &line, LABEL);
        }
        if self.summary.rows > 0 {
            page.text.push_str(&match self.summary.operation() {
                Operation::Cancel => self.table(width),
                Operation::Release => self.machine_table(width),
            });
        }
        for (style, line) in self.notes() {
            page.push("", Some(style), &line, 2);
        }
        page.text
    }

    /// Like [`PlanText::render`], with a line that nothing was sent.
    pub(super) fn preview(&self, width: u16, color: Color) -> String {
        let sent = color.apply(Style::Dim, "preview only: nothing was sent");
        format!("{}{sent}\n", self.render(width, color))
    }

    pub(super) fn json(&self) -> String {
        let summary = self.summary;
        let counted = |counts: &NameCounts| -> Value {
            let top = counts.top().into_iter();
            top.map(|(name, rows)| json!({"name": name, "rows": rows}))
                .collect()
        };
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let cells = summary.cells().into_iter().map(|cell| {
            json!({
                "verdict": cell.verdict.as_str(), "type": some(&cell.action_type),
                "status": some(&cell.status), "requestor": some(&cell.requestor), "reason": some(&cell.reason), "rows": cell.rows,
                "follow_up": cell.follow_up.map(FollowUp::as_str), "names": cell.names, "more_names": cell.more,
            })
        });
        let milestones = self.milestones.iter();
        let milestones = milestones.map(|(cancels, at)| json!({"cancels": cancels, "at": at}));
        let by_first_part = summary.exclusions.by_first_part();
        let by_first_part = by_first_part.map(|(line, name)| json!({"line": line, "name": name}));
        let permissions = self.permissions.map(|permissions| {
            let needed = permissions.cancelling.iter().map(|needed| {
                let types = needed.types.iter();
                let types = types.map(|(kind, rows)| json!({"type": kind.as_str(), "rows": rows}));
                let types: Value = types.collect();
                json!({"name": needed.name, "held": needed.is_held, "types": types})
            });
            json!({"may_read": permissions.may_read, "cancelling": needed.collect::<Value>()})
        });
        let mut object = json!({
            "operation": summary.operation().as_str(), "rows": summary.rows, "send": summary.send,
            "unread": summary.unread,
            "types_known": summary.types_known, "checked": summary.checked, "reads": self.reads,
            "plan": (summary.send > 0).then(|| summary.id().to_string()),
            "counts": cells.collect::<Value>(),
            "requestors": counted(&summary.requestors),
            "request_sources": counted(&summary.request_sources),
            "oldest": summary.oldest, "newest": summary.newest,
            "machines": summary.machines.names, "more_machines": summary.machines.more(),
            "milestones": milestones.collect::<Value>(), "notes": self.notes,
            "exclusions": {
                "unmatched": summary.exclusions.unmatched(),
                "by_first_part": by_first_part.collect::<Value>(),
            },
            "permissions": permissions,
            "token_ends_before": self.short_token(),
        });
        for (label, name) in self.place {
            object[*label] = name.as_str().into();
        }
        format!("{object:#}\n")
    }

    /// Returns the number of rows to send, and the plan's id.
    pub(super) fn headline(&self) -> String {
        let send = self.summary.send;
        let operation = self.summary.operation();
        if send == 0 {
            return format!("nothing to {operation}");
        }
        let subjects = Count::new(send, subject(operation));
        format!("{subjects} to {operation} · plan {}", self.summary.id())
    }

    /// Returns warnings and notes; exclusions that match nothing come first.
    pub(super) fn notes(&self) -> Vec<(Style, String)> {
        let mut notes = exclusion_notes(&self.summary.exclusions, self.is_all_read());
        let own = self.notes.iter();
        notes.extend(own.map(|note| (Style::Dim, format!("note: {}", visible(note)))));
        notes
    }

    /// Returns whether every row to send has been read, or none will be.
    fn is_all_read(&self) -> bool {
        self.precheck == Precheck::Skip || self.summary.checked == self.summary.send
    }

    fn facts(&self) -> Vec<(Option<Style>, String)> {
        let mut facts = Vec::new();
        let mut fact = |style, label: &str, words: String| {
            facts.push((style, format!("{label:<LABEL$}{words}")));
        };
        for (label, words) in self.places() {
            fact(None, label, words);
        }
        let summary = self.summary;
        if let Some(requestors) = names(&summary.requestors) {
            if summary.requestors.top().len() > 1 {
                let words = format!("{requestors}  (more than one requestor)");
                fact(Some(Style::Warning), "requested by", words);
            } else {
                fact(None, "requested by", requestors);
            }
        }
        let is_release = summary.operation() == Operation::Release;
        // A release has a table of its machines.
        if let (Some(oldest), Some(newest), false) = (summary.oldest, summary.newest, is_release) {
            fact(None, "created", self.span(oldest, newest));
        }
        if let (Some(machines), false) = (machines(summary), is_release) {
            fact(None, "machines", machines);
        }
        if let Some(words) = self.unknown_states() {
            fact(Some(Style::Warning), "unchecked", words);
        }
        if !self.milestones.is_empty() {
            fact(None, "duration", self.duration());
        }
        if let Some(end) = self.short_token() {
            let end = self.clock(end);
            let words =
                format!("the token expires at {end}, before the last cancel, and can't be renewed");
            fact(Some(Style::Warning), "sign-in", words);
        }
        for (style, words) in self.permissions() {
            fact(Some(style), "permission", words);
        }
        facts
    }

    /// Combines tenant, cloud and app of a single tenant into one line.
    fn places(&self) -> Vec<(&'static str, String)> {
        let of = |wanted: &str| {
            let mut place = self.place.iter();
            let found = place.find(|(label, _)| *label == wanted);
            found.map(|(_, name)| visible(name).into_owned())
        };
        let mut places = Vec::new();
        if let (Some(tenant), Some(cloud), Some(app)) = (of("tenant"), of("cloud"), of("app")) {
            let known = |name: String| {
                if name == "-" {
                    "unknown".to_owned()
                } else {
                    name
                }
            };
            let (tenant, app) = (known(tenant), known(app));
            places.push(("tenant", format!("{tenant} ({cloud}), app {app}")));
        }
        let is_single = !places.is_empty();
        let others = self
            .place
            .iter()
            .filter(|(label, _)| !is_single || !matches!(*label, "tenant" | "cloud" | "app"));
        places.extend(others.map(|(label, name)| (*label, visible(name).into_owned())));
        places
    }

    /// Returns what is unknown about the rows to send.
    fn unknown_states(&self) -> Option<String> {
        let summary = self.summary;
        let untyped = Number(summary.send - summary.types_known);
        match self.precheck {
            _ if self.is_all_read() && summary.types_known == summary.send => None,
            Precheck::Skip => Some(format!(
                "no status is read (--no-precheck); {untyped} of {} actions have no type and are sent anyway",
                Number(summary.send)
            )),
            Precheck::ReadFirst => Some(format!(
                "{} of {} actions; their statuses are read just before, so fewer cancels may be sent (if reads fail for 5 s, the type in the file counts)",
                Number(summary.send - summary.checked),
                Number(summary.send)
            )),
        }
    }

    fn clock(&self, at: Timestamp) -> String {
        zoned_day_time(at, self.now, self.zone)
    }

    fn span(&self, oldest: Timestamp, newest: Timestamp) -> String {
        let day = |at: Timestamp| self.zone.to_datetime(at).date();
        let time = |at: Timestamp| self.zone.to_datetime(at).strftime("%H:%M").to_string();
        let zone = zone_name(newest, self.zone);
        let name = |at: Timestamp| match day(at) {
            today if today == day(self.now) => "today".to_owned(),
            other => other.to_string(),
        };
        let first = name(oldest);
        let last = if day(newest) == day(oldest) {
            time(newest)
        } else {
            format!("{} {}", name(newest), time(newest))
        };
        if day(newest) == day(oldest) && time(newest) == time(oldest) {
            return format!("{first} {last} {zone}");
        }
        format!("{first} {} to {last} {zone}", time(oldest))
    }

    /// Returns when the token expires, if that is before the last cancel.
    pub(super) fn short_token(&self) -> Option<Timestamp> {
        let (_, last) = self.milestones.last()?;
        self.token_ends.filter(|end| end < last)
    }

    /// Returns the duration: "about 1 h 14 min: 100 in the first 2 s, 1,500 by 12:45, all by 13:45 CET".
    fn duration(&self) -> String {
        let Some((&(_, end), before)) = self.milestones.split_last() else {
            return String::new();
        };
        let span =
            |at: Timestamp| Duration::try_from(at.duration_since(self.now)).unwrap_or_default();
        let is_soon = |at: Timestamp| at.duration_since(self.now).as_secs() < AT_ONCE;
        if is_soon(end) {
            return "a few seconds".to_owned();
        }
        let mut parts: Vec<_> = before
            .iter()
            .map(|&(cancels, at)| {
                let cancels = Number(cancels);
                if is_soon(at) {
                    let seconds = Span(span(at).max(Duration::from_secs(1)));
                    format!("{cancels} in the first {seconds}")
                } else {
                    format!("{cancels} by {}", day_time(at, self.now, self.zone))
                }
            })
            .collect();
        parts.push(format!("all by {}", self.clock(end)));
        format!("about {}: {}", about(span(end)), parts.join(", "))
    }

    fn permissions(&self) -> Vec<(Style, String)> {
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
            lines.push((Style::Good, format!("the token has {}", names.join(", "))));
        }
        lines.extend(missing.into_iter().map(|needed| {
            let words = format!(
                "the token lacks {}: {} may be refused",
                needed.name,
                rows_of(needed)
            );
            (Style::Error, words)
        }));
        if !permissions.may_read {
            let words = "the token lacks Machine.Read.All: statuses can't be read".to_owned();
            lines.push((Style::Warning, words));
        }
        lines
    }

    /// Returns a release's machines, by what becomes of them and who isolated them.
    fn machine_table(&self, width: u16) -> String {
        let zone = zone_name(self.now, self.zone);
        let time = |at| day_time(at, self.now, self.zone);
        let mut table = Table::new();
        table.right = &[4];
        table.indent = LABEL;
        let first = " ".repeat(LABEL - 2);
        let isolated = format!("isolated ({zone})");
        table.row([first.as_str(), "state", "requestor", &isolated, "machines"]);
        for cell in self.summary.cells() {
            let state = match ActionType::parse(&cell.action_type) {
                _ if cell.verdict == Verdict::Settled(Outcome::AlreadyReleased) => "released",
                ActionType::Unisolate => "isolated",
                ActionType::UnrestrictCodeExecution => "restricted",
                _ => "-",
            };
            let requestor = match cell.requestor.as_str() {
                "" => "-".to_owned(),
                requestor => short_name(requestor),
            };
            let created = cell
                .created
                .map(|(oldest, newest)| (time(oldest), time(newest)));
            let cells = [
                self.verdict(cell),
                state.to_owned(),
                requestor,
                match created {
                    None => "-".to_owned(),
                    Some((oldest, newest)) if oldest == newest => oldest,
                    Some((oldest, newest)) => format!("{oldest} to {newest}"),
                },
                Number(cell.rows).to_string(),
            ];
            table.noted(cells, self.note(cell));
        }
        let total = Number(self.summary.rows).to_string();
        table.row(["total", "", "", "", &total]);
        table.render(width.into(), "")
    }

    fn verdict(&self, cell: &PlanCell) -> String {
        match cell.verdict {
            Verdict::Send => format!("will {}", self.summary.operation()),
            verdict => verdict.as_str().replace('_', " "),
        }
    }

    fn table(&self, width: u16) -> String {
        let mut table = Table::new();
        table.right = &[3];
        table.indent = LABEL;
        let word = |text: &str| match text {
            "" => "-".to_owned(),
            text => short_name(text),
        };
        // The first column is as wide as the labels above.
        let first = " ".repeat(LABEL - 2);
        table.row([first.as_str(), "type", "status", "actions"]);
        for cell in self.summary.cells() {
            let cells = [
                self.verdict(cell),
                word(&cell.action_type),
                word(&cell.status),
                Number(cell.rows).to_string(),
            ];
            table.noted(cells, self.note(cell));
        }
        table.row(["total", "", "", &Number(self.summary.rows).to_string()]);
        table.render(width.into(), "")
    }

    /// Explains why the rows of a line aren't sent, or what their machines need.
    fn note(&self, cell: &PlanCell) -> String {
        let (is, unless) = if self.knows_later_actions {
            ("now", "")
        } else {
            ("", ", unless released since")
        };
        let state = match (cell.action_type.as_str(), cell.status.as_str()) {
            ("Isolate", "Succeeded") => "isolated",
            ("RestrictCodeExecution", "Succeeded") => "restricted",
            ("Offboard", "Succeeded") => "offboarded",
            ("StopAndQuarantineFile", "Succeeded") => "files in quarantine",
            _ => "",
        };
        let mut note = match cell.follow_up {
            Some(FollowUp::Unisolate | FollowUp::Unrestrict) => {
                format!("{state} {is}{unless}").replace(" ,", ",")
            }
            Some(_) => state.to_owned(),
            None => visible(&cell.reason).into_owned(),
        };
        if !cell.names.is_empty() {
            let separator = if note.is_empty() { "" } else { ": " };
            note = format!("{note}{separator}{}", listed(&cell.names, cell.more));
        }
        let is_skipped = cell.verdict == Verdict::Settled(Outcome::Skipped);
        if is_skipped && is_excluded(&cell.reason) && !state.is_empty() {
            let was_undone = cell.reason.ends_with(RELEASED_SINCE);
            if !was_undone && self.knows_later_actions {
                note = format!("{note}; still {state}");
            } else if !was_undone {
                note = format!("{note}; {state}{unless}");
            }
        }
        note
    }
}

fn subject(operation: Operation) -> &'static str {
    match operation {
        Operation::Cancel => "action",
        Operation::Release => "machine",
    }
}

/// Formats a span without seconds if it has minutes.
fn about(span: Duration) -> String {
    let minutes = span.as_secs().saturating_add(30) / 60;
    match minutes {
        1..60 => format!("{minutes} min"),
        _ => Span(span).to_string(),
    }
}

/// Returns a warning about lines of an exclusion list that match nothing.
pub(super) fn unmatched_note(matches: &ExclusionMatches, is_all_read: bool) -> Option<String> {
    let unmatched = matches.unmatched();
    if unmatched.is_empty() {
        return None;
    }
    let (all, label) = (matches.list().lines().len(), matches.list().label());
    let so_far = if is_all_read { "" } else { " so far" };
    let lines = first_of(&unmatched);
    if unmatched.len() == all {
        return Some(format!(
            "warning: {label} excludes nothing{so_far}: no row matches {lines}"
        ));
    }
    let verb = if unmatched.len() == 1 {
        "matches"
    } else {
        "match"
    };
    Some(format!(
        "warning: {} of {} in {label} {verb} nothing{so_far}: {lines}",
        Number(unmatched.len() as u64),
        Count::new(all as u64, "line"),
    ))
}

/// Returns that warning, and a note on lines that match only the first part of a name.
fn exclusion_notes(matches: &ExclusionMatches, is_all_read: bool) -> Vec<(Style, String)> {
    let unmatched = unmatched_note(matches, is_all_read);
    let mut notes: Vec<_> = unmatched
        .map(|note| (Style::Warning, note))
        .into_iter()
        .collect();
    let by_first_part: Vec<_> = matches
        .by_first_part()
        .map(|(line, name)| format!("{line} = {name}"))
        .collect();
    if !by_first_part.is_empty() {
        let by_first_part: Vec<_> = by_first_part.iter().map(String::as_str).collect();
        let note = format!(
            "note: matched by the first part of the name: {}",
            first_of(&by_first_part)
        );
        notes.push((Style::Dim, note));
    }
    notes
}

/// Names the first of some texts and counts the rest.
pub(super) fn first_of(texts: &[&str]) -> String {
    let named: Vec<_> = texts
        .iter()
        .take(LINES_NAMED)
        .map(|&text| text.to_owned())
        .collect();
    listed(&named, texts.len().saturating_sub(LINES_NAMED) as u64)
}

fn listed(names: &[String], more: u64) -> String {
    let names: Vec<_> = names.iter().map(|name| short_name(name)).collect();
    let names = names.join(", ");
    match more {
        0 => names,
        more => format!("{names} and {} more", Number(more)),
    }
}

fn machines(summary: &PlanSummary) -> Option<String> {
    let machines = &summary.machines;
    (!machines.names.is_empty()).then(|| listed(&machines.names, machines.more()))
}

fn rows_of(needed: &NeededPermission) -> String {
    let types = needed.types.iter();
    let types = types.map(|(action_type, rows)| format!("{} {action_type}", Number(*rows)));
    types.collect::<Vec<_>>().join(", ")
}

/// Lists the most frequent names with their counts.
fn names(counts: &NameCounts) -> Option<String> {
    let top = counts.top();
    if top.is_empty() {
        return None;
    }
    let mut parts: Vec<_> = top
        .iter()
        .take(NAMED)
        .map(|(name, rows)| format!("{} {}", short_name(name), Number(*rows)))
        .collect();
    let rest = top.iter().skip(NAMED).map(|(_, rows)| rows).sum::<u64>() + counts.others();
    if rest > 0 {
        parts.push(format!("others {}", Number(rest)));
    }
    Some(parts.join(", "))
}

/// Returns a preview's exit code: nothing to send, or something to check before a run.
pub(super) fn exit_of(plan: &PlanText<'_>) -> RunExit {
    let summary = plan.summary;
    let mut permissions = plan.permissions.iter();
    let is_left = summary.left_over > 0
        || permissions.any(|permissions| permissions.missing().next().is_some())
        || summary.has_follow_ups();
    exit_of_rows(&summary.outcomes(), is_left, &summary.skips, plan.precheck)
}

/// Returns a command's exit code from its rows: whether any needs attention, and why others were skipped.
pub(super) fn exit_of_rows(
    outcomes: &BTreeMap<Outcome, u64>,
    is_left: bool,
    skips: &Skips,
    precheck: Precheck,
) -> RunExit {
    if skips.is_nothing_selected(outcomes) {
        RunExit::Refused
    } else if is_left || skips.leave_work(outcomes, precheck) {
        RunExit::LeftOver
    } else {
        RunExit::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Claims;
    use crate::engine::PlanLine;
    use crate::model::{ActionId, ExclusionList};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn line(number: u128, verdict: Verdict) -> PlanLine<'static> {
        PlanLine {
            id: ActionId::from_bytes(number.to_be_bytes()),
            verdict,
            reason: "",
            source: &"wave.csv:7",
            tenant: None,
            comment: None,
            action_type: Some("Isolate"),
            status: Some("Pending"),
            requestor: Some("soc-tools"),
            request_source: Some("PublicApi"),
            machine_id: None,
            computer_dns_name: Some("srv-007.contoso.com"),
            created_at: Some(at("2026-11-25T01:02:00Z")),
            follow_up: None,
            is_checked: true,
        }
    }

    fn summary() -> PlanSummary {
        let mut exclude = ExclusionList::default().named(Some("keep.txt".to_owned()));
        for line in ["dc-01", "srv-0O3", "laptop-anna"] {
            exclude.add(line);
        }
        let mut summary = PlanSummary::new(None, None, exclude);
        for number in 1..=1203 {
            summary.add(&line(number, Verdict::Send));
        }
        summary.add(&PlanLine {
            requestor: Some("o\'neil@contoso.com\u{1b}[2J"),
            computer_dns_name: Some("lt-0903.contoso.com"),
            created_at: Some(at("2026-11-25T01:19:00Z")),
            ..line(1204, Verdict::Send)
        });
        for number in 2000..2004 {
            summary.add(&PlanLine {
                status: Some("Succeeded"),
                reason: "the action had ended as Succeeded",
                follow_up: Some(FollowUp::Unisolate),
                ..line(number, Verdict::Settled(Outcome::AlreadyFinal))
            });
        }
        for (number, status) in [(3000, "Pending"), (3001, "Succeeded")] {
            summary.add(&PlanLine {
                status: Some(status),
                reason: "excluded by keep.txt: dc-01.contoso.com",
                computer_dns_name: Some("dc-01.contoso.com"),
                ..line(number, Verdict::Settled(Outcome::Skipped))
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

    fn text<T>(show: impl FnOnce(&PlanText<'_>) -> T) -> T {
        let claims = Claims {
            roles: vec!["Machine.Scan".to_owned()],
            ..Claims::default()
        };
        let summary = summary();
        let permissions = Permissions::forecast(&claims, &summary.types_sent());
        let place = |label, name: &str| (label, name.to_owned());
        show(&PlanText {
            summary: &summary,
            milestones: &[
                (100, at("2026-11-25T02:00:02Z")),
                (1204, at("2026-11-25T02:11:00Z")),
            ],
            precheck: Precheck::ReadFirst,
            reads: 13,
            knows_later_actions: true,
            permissions: permissions.as_ref(),
            token_ends: Some(at("2026-11-25T02:09:00Z")),
            place: &[
                place("cloud", "commercial"),
                place("tenant", "contoso.onmicrosoft.com"),
                place("app", "soc-tools"),
                place("ids from", "wave.csv"),
            ],
            notes: &["a note".to_owned()],
            now: at("2026-11-25T02:00:00Z"),
            zone: &TimeZone::UTC,
        })
    }

    #[test]
    fn a_plan_says_what_is_sent_for_whom_by_when_and_what_not_and_why() {
        insta::assert_snapshot!(text(|text| text.render(100, Color::Plain)), @r"
        1,204 actions to cancel · plan 5473-56ba-66c4-7092-ccbb
        tenant        contoso.onmicrosoft.com (commercial), app soc-tools
        ids from      wave.csv
        requested by  soc-tools 1,203, o'neil@contoso.com\u{1b}[2J 1  (more than one requestor)
        created       today 01:02 to 01:19 UTC
        machines      srv-007.contoso.com, lt-0903.contoso.com
        duration      about 11 min: 100 in the first 2 s, all by 02:11 UTC
        sign-in       the token expires at 02:09 UTC, before the last cancel, and can't be renewed
        permission    the token lacks Machine.Isolate: 1,204 Isolate may be refused
        permission    the token lacks Machine.Read.All: statuses can't be read
                       type     status     actions
        will cancel    Isolate  Pending      1,204
        already final  Isolate  Succeeded        4  isolated now
        skipped        Isolate  Pending          1  excluded by keep.txt: dc-01.contoso.com
        skipped        Isolate  Succeeded        1  excluded by keep.txt: dc-01.contoso.com; still isolated
        invalid        -        -                1  the id is not a GUID: wave.csv:7
        total                                1,211
        warning: 2 of 3 lines in keep.txt match nothing: srv-0O3, laptop-anna
        note: matched by the first part of the name: dc-01 = dc-01.contoso.com
        note: a note
        ");
    }

    #[test]
    fn programs_get_what_people_get() {
        let json = text(|plan| serde_json::from_str::<Value>(&plan.json()).unwrap());
        assert_eq!((&json["send"], &json["rows"]), (&1204.into(), &1211.into()));
        assert_eq!(json["plan"], summary().id().to_string());
        assert_eq!(json["tenant"], "contoso.onmicrosoft.com");
        assert_eq!(json["requestors"][0]["name"], "soc-tools");
        let invalid = &json["counts"][4];
        assert!(invalid["status"].is_null(), "{invalid}");
        assert_eq!(invalid["reason"], "the id is not a GUID");
        assert_eq!(invalid["names"][0], "wave.csv:7");
        assert_eq!(json["token_ends_before"], "2026-11-25T02:09:00Z");
        assert_eq!(json["permissions"]["cancelling"][0]["held"], false);
        assert_eq!(json["milestones"][0]["at"], "2026-11-25T02:00:02Z");
        assert_eq!(json["exclusions"]["unmatched"][0], "srv-0O3");
    }

    #[test]
    fn actions_of_several_days_name_both_days() {
        let span = |oldest, newest| text(|text| text.span(at(oldest), at(newest)));
        let (morning, now) = ("2026-11-25T00:02:00Z", "2026-11-25T02:00:00Z");
        assert_eq!(
            span("2026-11-24T12:23:00Z", morning),
            "2026-11-24 12:23 to today 00:02 UTC"
        );
        assert_eq!(span(morning, now), "today 00:02 to 02:00 UTC");
        assert_eq!(span(morning, morning), "today 00:02 UTC");
    }

    #[test]
    fn nothing_is_wider_than_the_terminal_and_colours_change_no_letter() {
        for width in [60, 80, 200] {
            let plain = text(|text| text.render(width, Color::Plain));
            for line in plain.lines() {
                assert!(
                    console::measure_text_width(line) <= usize::from(width),
                    "{line}"
                );
            }
            let colored = text(|text| text.render(width, Color::Colored));
            assert_eq!(console::strip_ansi_codes(&colored), plain);
        }
    }

    #[test]
    fn what_is_not_known_yet_is_said() {
        let rows = |precheck, action_type, is_checked| {
            let mut summary = PlanSummary::default();
            summary.add(&PlanLine {
                action_type,
                is_checked,
                ..line(1, Verdict::Send)
            });
            text(|text| {
                PlanText {
                    summary: &summary,
                    precheck,
                    ..*text
                }
                .unknown_states()
            })
        };
        assert_eq!(rows(Precheck::ReadFirst, Some("Isolate"), true), None);
        assert_eq!(rows(Precheck::Skip, Some("Isolate"), false), None);
        let unread = rows(Precheck::ReadFirst, Some("Isolate"), false).unwrap();
        assert!(
            unread.starts_with("1 of 1 actions; their statuses"),
            "{unread}"
        );
        let untyped = rows(Precheck::Skip, None, false).unwrap();
        assert!(untyped.contains("1 of 1 actions have no type"), "{untyped}");
    }

    #[test]
    fn a_plan_of_nothing_says_so() {
        let summary = PlanSummary::default();
        text(|text| {
            let text = PlanText {
                summary: &summary,
                milestones: &[],
                permissions: None,
                place: &[],
                notes: &[],
                ..*text
            };
            let shown = text.render(80, Color::Plain);
            assert_eq!(shown.trim_end(), "nothing to cancel");
            assert_eq!(exit_of(&text), RunExit::Done);
        });
    }

    #[test]
    fn a_preview_ends_as_its_rows_leave_something_or_nothing_to_do() {
        let exit = |verdict, reason: &str, follow_up| {
            let mut summary = PlanSummary::default();
            let row = PlanLine {
                reason,
                follow_up,
                ..line(1, verdict)
            };
            summary.add(&row);
            text(|text| {
                exit_of(&PlanText {
                    summary: &summary,
                    permissions: None,
                    ..*text
                })
            })
        };
        let settled = Verdict::Settled;
        for (verdict, reason, follow_up, expected) in [
            (Verdict::Send, "", None, RunExit::Done),
            (Verdict::Unread, "", None, RunExit::LeftOver),
            (
                settled(Outcome::AlreadyFinal),
                "",
                Some(FollowUp::Unisolate),
                RunExit::LeftOver,
            ),
            (settled(Outcome::Invalid), "x", None, RunExit::LeftOver),
        ] {
            assert_eq!(
                exit(verdict, reason, follow_up),
                expected,
                "{verdict} {reason}"
            );
        }
    }
}
