//! The summary of a run for reports and the terminal: who ran what, the result in numbers, and the remaining work.
//!
//! Plain values, collected from the journal by the caller. Texts from the input and the service are raw; each format
//! escapes them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::model::{
    Count, FollowUp, Number, Operation, Outcome, ReportRow, RunId, RunStatus, Span,
};

use super::timeline::Timeline;

/// A report without its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportSummary {
    pub run: RunId,
    pub operation: Operation,
    pub written_at: Timestamp,
    /// The interval at which a live report is rewritten until the run ends.
    pub refresh_interval: Option<Duration>,
    /// Whether the run was against the sandbox; every report then says so.
    pub is_sandbox: bool,
    /// Who started the run, and where.
    pub user: String,
    pub host: String,
    /// The tenant and the app, or `-`.
    pub tenant: String,
    pub app: String,
    /// The name of the cloud, or host and port.
    pub cloud: String,
    /// The version of this program that started the run.
    pub version: String,
    pub standing: RunStatus,
    pub stop_reason: Option<String>,
    pub exit_code: Option<u8>,
    pub begun_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub rows_read: u64,
    pub input_complete: bool,
    pub inputs: Vec<String>,
    /// The settings from the journal, which contain no secrets.
    pub settings: Map<String, Value>,
    /// The sum is the number of rows.
    pub outcomes: BTreeMap<Outcome, u64>,
    pub accepted: AcceptedPolicy,
    /// The statuses of the `already_final` rows.
    pub final_statuses: BTreeMap<String, u64>,
    /// By action type; an empty name stands for unknown.
    pub action_types: BTreeMap<String, BTreeMap<Outcome, u64>>,
    /// The number of machines per follow-up, the most urgent first.
    pub follow_ups: Vec<(FollowUp, u64)>,
    /// The first rows of these machines, at most [`SUMMARY_ROWS`].
    pub follow_up_rows: Vec<ReportRow>,
    /// The first excluded rows, at most [`SUMMARY_ROWS`].
    pub excluded_rows: Vec<ReportRow>,
    pub commands: Vec<CommandHint>,
    /// The cancels or releases sent, by status and class of the response.
    pub answers: BTreeMap<(Option<u16>, String), u64>,
    /// `None` if nothing was sent.
    pub timeline: Option<Timeline>,
}

/// The most rows of a kind in a summary.
pub const SUMMARY_ROWS: u32 = 1000;

/// A command for the remaining work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandHint {
    /// What it does, without a period.
    pub why: String,
    pub line: String,
}

impl ReportSummary {
    pub fn rows(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Returns the number of cancels or releases sent, including rejected ones.
    pub fn attempts(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Returns how many of them were answered by 429.
    pub fn throttled(&self) -> u64 {
        let answers = self.answers.iter();
        answers
            .filter(|((status, _), _)| *status == Some(429))
            .map(|(_, count)| count)
            .sum()
    }

    /// Returns whether a row needs manual work or attention.
    pub fn is_left(&self, row: &ReportRow) -> bool {
        let need = row.follow_up.as_deref().and_then(FollowUp::parse);
        need.is_some_and(FollowUp::is_work) || needs_look(row.outcome, self.accepted)
    }

    /// Lists the remaining work, the most severe first. Pending rows of a live run are not counted as lost.
    pub(super) fn left(&self) -> Vec<ActionItem> {
        let mut lines = left(&self.outcomes, self.accepted, &self.follow_ups);
        let waiting = self.outcomes.get(&Outcome::NotAttempted).copied();
        if let (RunStatus::Running, Some(waiting @ 1..), Some(line)) =
            (self.standing, waiting, lines.last_mut())
        {
            let wait = if waiting == 1 {
                "waits for its"
            } else {
                "wait for their"
            };
            line.text = format!("{} still {wait} turn", Count::new(waiting, "row"));
        }
        let still: BTreeMap<_, u64> = self.excluded_rows.iter().filter_map(excluded_state).fold(
            BTreeMap::new(),
            |mut counts, state| {
                *counts.entry(state).or_default() += 1;
                counts
            },
        );
        for (state, count) in still {
            let machines = Count::new(count, "machine");
            let are = if count == 1 { "is" } else { "are" };
            lines.push(ActionItem {
                severity: Severity::Warning,
                follow_up: None,
                text: format!("excluded: {machines} {are} {state}"),
            });
        }
        lines
    }

    /// Returns the comment, if all rows have the same.
    pub(super) fn comment(&self) -> Option<&str> {
        self.settings.get("comment").and_then(Value::as_str)
    }

    /// Returns the names of the exclusion files.
    pub(super) fn exclusions(&self) -> Option<&str> {
        self.settings.get("exclude_file").and_then(Value::as_str)
    }

    /// Returns the most severe item, or that there is none.
    pub(super) fn headline(&self) -> String {
        match self.left().first() {
            Some(left) => left.text.clone(),
            None if self.standing == RunStatus::Running => "Still running".to_owned(),
            None => "Nothing left to do".to_owned(),
        }
    }

    /// Returns whether a machine is currently cut off or lost.
    pub(super) fn is_critical(&self) -> bool {
        let left = self.left();
        left.iter().any(|left| left.severity == Severity::Critical)
    }

    /// Returns names and values of the settings for display, sorted by name, without unset ones.
    pub(super) fn settings_for_people(&self) -> Vec<(String, String)> {
        let settings = self.settings.iter();
        settings
            .filter_map(|(name, value)| {
                let (name, value) = match (name.strip_suffix("_ms"), value.as_u64()) {
                    (Some(name), Some(millis)) => {
                        let span = Span(std::time::Duration::from_millis(millis));
                        (name, span.to_string())
                    }
                    _ => (name.as_str(), plain(value)?),
                };
                Some((name.replace('_', " "), value))
            })
            .collect()
    }
}

/// Returns the state in which an excluded row's machine was left, if its action changed it.
pub(super) fn excluded_state(row: &ReportRow) -> Option<&'static str> {
    if row.action_status.as_deref() != Some("Succeeded") || row.reason.contains("released since") {
        return None;
    }
    match row.action_type.as_deref()? {
        "Isolate" => Some("still isolated"),
        "RestrictCodeExecution" => Some("still restricted"),
        "Offboard" => Some("offboarded"),
        "StopAndQuarantineFile" => Some("without a quarantined file"),
        _ => None,
    }
}

/// Formats a setting; `None` if it is empty.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(yes) => Some(if *yes { "yes" } else { "no" }.to_owned()),
        Value::Number(number) => Some(match number.as_u64() {
            Some(whole) => Number(whole).to_string(),
            None => number.to_string(),
        }),
        Value::String(text) => Some(text.clone()),
        Value::Array(values) if values.is_empty() => None,
        Value::Array(values) => {
            let parts: Vec<_> = values.iter().filter_map(plain).collect();
            Some(parts.join(", "))
        }
        Value::Object(parts) => {
            let parts: Vec<_> = parts
                .iter()
                .filter_map(|(name, part)| {
                    Some(format!("{} {}", name.replace('_', " "), plain(part)?))
                })
                .collect();
            (!parts.is_empty()).then(|| parts.join("; "))
        }
    }
}

/// Whether an `accepted` row needs attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptedPolicy {
    /// Verification was requested but did not happen.
    IsLeft,
    /// Verification was not requested.
    IsEnough,
}

/// The urgency of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// A machine is currently cut off, or lost to the tenant.
    Critical,
    Warning,
}

/// An item of remaining work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionItem {
    pub severity: Severity,
    /// The follow-up of the machines; `None` if the item is about rows.
    pub follow_up: Option<FollowUp>,
    /// A line that begins with a number.
    pub text: String,
}

/// Final statuses in display order; others come first.
const FINAL: [&str; 3] = ["Succeeded", "Failed", "TimeOut"];

/// Lists the remaining work, the most severe first: machines that are cut off come before rows.
pub fn left(
    outcomes: &BTreeMap<Outcome, u64>,
    accepted: AcceptedPolicy,
    follow_ups: &[(FollowUp, u64)],
) -> Vec<ActionItem> {
    let machines = follow_ups.iter();
    let machines = machines.filter(|(need, count)| need.is_work() && *count > 0);
    let mut left: Vec<_> = machines
        .map(|&(follow_up, count)| ActionItem {
            severity: if follow_up.is_critical() {
                Severity::Critical
            } else {
                Severity::Warning
            },
            follow_up: Some(follow_up),
            text: format!(
                "{} {}",
                Count::new(count, "machine"),
                follow_up_words(follow_up, count)
            ),
        })
        .collect();
    let some = |text| ActionItem {
        severity: Severity::Warning,
        follow_up: None,
        text,
    };
    let unsettled = rows_left(outcomes, accepted);
    if unsettled > 0 {
        let verb = if unsettled == 1 { "needs" } else { "need" };
        let kinds = outcomes
            .iter()
            .filter(|&(&outcome, &count)| count > 0 && needs_look(outcome, accepted));
        let kinds: Vec<_> = kinds
            .map(|(outcome, count)| format!("{} {}", Number(*count), outcome.words()))
            .collect();
        let rows = Count::new(unsettled, "row");
        left.push(some(format!(
            "{rows} {verb} attention: {}",
            kinds.join(", ")
        )));
    }
    let waiting = outcomes.get(&Outcome::NotAttempted).copied();
    if let Some(waiting @ 1..) = waiting {
        let verb = if waiting == 1 { "was" } else { "were" };
        let rows = Count::new(waiting, "row");
        left.push(some(format!("{rows} {verb} not attempted")));
    }
    left
}

/// Counts the rows that need attention.
pub(super) fn rows_left(outcomes: &BTreeMap<Outcome, u64>, accepted: AcceptedPolicy) -> u64 {
    outcomes
        .iter()
        .filter(|&(&outcome, _)| needs_look(outcome, accepted))
        .map(|(_, count)| count)
        .sum()
}

fn needs_look(outcome: Outcome, accepted: AcceptedPolicy) -> bool {
    outcome.needs_attention()
        && (outcome != Outcome::Accepted || accepted == AcceptedPolicy::IsLeft)
}

/// Describes the state of `count` machines and what they need.
fn follow_up_words(follow_up: FollowUp, count: u64) -> String {
    let (is, need) = if count == 1 {
        ("is", "needs")
    } else {
        ("are", "need")
    };
    match follow_up {
        FollowUp::Unisolate => format!("{is} isolated now and {need} release"),
        FollowUp::Unrestrict => format!("{is} restricted now and {need} release"),
        FollowUp::CheckDevice => {
            "may be changed, as the action was already in progress: check them".to_owned()
        }
        FollowUp::ManualRequestAgain => {
            "had an action cancelled unread, and its record says it was protected, excluded or not selected: request it again if it was meant"
                .to_owned()
        }
        FollowUp::ManualOnboard => format!("{is} offboarded: onboard again by hand"),
        FollowUp::ManualRestoreFile => "had files quarantined: restore them by hand".to_owned(),
        FollowUp::Keep => format!("{is} wanted as {} by somebody else", if count == 1 { "it is" } else { "they are" }),
    }
}

/// Describes an outcome. [`Outcome::AlreadyFinal`] includes the counts by status, spelled as by the service.
pub fn meaning(outcome: Outcome, final_statuses: &BTreeMap<String, u64>) -> String {
    let text = short_meaning(outcome);
    let statuses = final_statuses.iter().filter(|(_, count)| **count > 0);
    let mut statuses: Vec<_> = statuses.collect();
    if outcome != Outcome::AlreadyFinal || statuses.is_empty() {
        return text.to_owned();
    }
    // Succeeded first, because those may need follow-ups.
    statuses.sort_by_key(|(status, _)| FINAL.iter().position(|known| known == status));
    let statuses: Vec<_> = statuses
        .into_iter()
        .map(|(status, &count)| match status.as_str() {
            "" => format!("{} of unknown status", Number(count)),
            status => format!("{} {status}", Number(count)),
        })
        .collect();
    format!("{text}: {}", statuses.join(", "))
}

fn short_meaning(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Cancelled => "confirmed by the service",
        Outcome::Accepted => "accepted, but not seen to take effect",
        Outcome::AlreadyCancelled => "had already been cancelled",
        Outcome::AlreadyFinal => "had already ended",
        Outcome::TooLate => "accepted, but the action had completed",
        Outcome::Released => "released, confirmed by the service",
        Outcome::AlreadyReleased => "had already been released",
        Outcome::NotFound => "no such action in this tenant",
        Outcome::Forbidden => "a permission is missing: see `reason` in the report",
        Outcome::Skipped => "protected type, excluded, not selected or settled before",
        Outcome::Invalid => "unusable row: see `reason` in the report",
        Outcome::Duplicate => "same id as another row",
        Outcome::Failed => "not applied: see `reason` in the report",
        Outcome::Unknown => "may or may not have been applied",
        Outcome::NotAttempted => "the run stopped before their turn",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_of_several_parts_is_spelled_in_words_and_left_out_where_it_says_nothing() {
        let part = |types: &[&str]| serde_json::json!({ "types": types, "machine_ids": [], "until": null });
        assert_eq!(plain(&part(&[])), None);
        assert_eq!(
            plain(&part(&["Isolate", "Offboard"])).unwrap(),
            "types Isolate, Offboard"
        );
        let two = serde_json::json!({ "since": "2026-01-01", "machine_ids": ["a"] });
        assert_eq!(plain(&two).unwrap(), "machine ids a; since 2026-01-01");
    }
}
