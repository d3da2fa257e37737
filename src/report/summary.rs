//! A run as its report describes it: who ran what where, how it ended, and in what numbers.
//!
//! Values only, gathered by whoever reads the journal. Texts of the input and the service are as received; each format
//! makes them harmless in its own way.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::model::{Count, FollowUp, Number, Outcome, ReportRow, RunId, Span, Standing};

use super::timeline::Timeline;
use super::words::{Accepted, Left, Weight, left, needs_look};

/// Against what a run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// The service.
    Service,
    /// The imitation; every report then says SANDBOX.
    Sandbox,
}

/// Where a run was started, by whom, and against what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Against what it went.
    pub world: World,
    /// The user of the operating system.
    pub user: String,
    /// The machine it ran on.
    pub host: String,
    /// The tenant, or `-`.
    pub tenant: String,
    /// The app, or `-`.
    pub app: String,
    /// The cloud, or host and port.
    pub cloud: String,
    /// The version of this program that began it.
    pub version: String,
}

/// How far a run has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    /// How it stands.
    pub standing: Standing,
    /// Why it stopped, where it did.
    pub stop_reason: Option<String>,
    /// What the program said on leaving.
    pub exit_code: Option<u8>,
    /// When it began.
    pub begun_at: Timestamp,
    /// When it stopped or finished.
    pub ended_at: Option<Timestamp>,
    /// How many rows were read.
    pub rows_read: u64,
    /// Whether the input was read to its end.
    pub input_complete: bool,
}

/// A run's report without its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportSummary {
    /// Which run.
    pub run: RunId,
    /// When this report was written.
    pub written_at: Timestamp,
    /// Where, by whom, against what.
    pub setting: Setting,
    /// How far it has come.
    pub course: Course,
    /// Its inputs.
    pub inputs: Vec<String>,
    /// Its settings, as the journal keeps them; no secret is among them.
    pub settings: Map<String, Value>,
    /// How many rows ended how; their sum is the number of rows.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// What `accepted` is worth.
    pub accepted: Accepted,
    /// The statuses of the rows that are `already_final`.
    pub final_statuses: BTreeMap<String, u64>,
    /// The same by action type; unknown types stand under an empty name.
    pub action_types: BTreeMap<String, BTreeMap<Outcome, u64>>,
    /// How many machines still need which hand, the gravest first.
    pub follow_ups: Vec<(FollowUp, u64)>,
    /// The first rows of these machines; bounded, for they are held in memory.
    pub follow_up_rows: Vec<ReportRow>,
    /// The first rows that were excluded; bounded, too.
    pub excluded_rows: Vec<ReportRow>,
    /// What to type next, in this order.
    pub commands: Vec<CommandHint>,
    /// The cancels sent, by status and class of the answer.
    pub answers: BTreeMap<(Option<u16>, String), u64>,
    /// How the windows were used; none where nothing was sent.
    pub timeline: Option<Timeline>,
}

/// How many rows of a kind a summary holds at most.
pub const SUMMARY_ROWS: u32 = 1000;

/// A command that does something about what is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandHint {
    /// What it is good for, without a period.
    pub why: String,
    /// The command line, ready to be pasted.
    pub line: String,
}

impl ReportSummary {
    /// Returns how many rows there are.
    pub fn rows(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Returns how many cancels were sent, refused ones included.
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

    /// Returns whether a row needs a hand or a look.
    pub fn is_left(&self, row: &ReportRow) -> bool {
        row.follow_up.is_some() || needs_look(row.outcome, self.accepted)
    }

    /// Says what is left, the gravest first. While the run goes on, rows that have not had their turn are no loss yet.
    pub(super) fn left(&self) -> Vec<Left> {
        let mut lines = left(&self.outcomes, self.accepted, &self.follow_ups);
        let waiting = self.outcomes.get(&Outcome::NotAttempted).copied();
        if let (Standing::Running, Some(waiting @ 1..), Some(line)) =
            (self.course.standing, waiting, lines.last_mut())
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
            lines.push(Left {
                weight: Weight::Some,
                follow_up: None,
                text: format!("excluded: {machines} {are} {state}"),
            });
        }
        lines
    }

    /// Returns the comment that was sent, where it was one for all.
    pub(super) fn comment(&self) -> Option<&str> {
        self.settings.get("comment").and_then(Value::as_str)
    }

    /// Names the files that say what was to be left alone.
    pub(super) fn exclusions(&self) -> Option<&str> {
        self.settings.get("exclude_file").and_then(Value::as_str)
    }

    /// Says the same in one line: the gravest thing, or that there is none.
    pub(super) fn headline(&self) -> String {
        match self.left().first() {
            Some(left) => left.text.clone(),
            None => "Nothing left to do".to_owned(),
        }
    }

    /// Returns whether a machine is cut off, or lost, at this moment.
    pub(super) fn is_grave(&self) -> bool {
        let left = self.left();
        left.iter().any(|left| left.weight == Weight::Grave)
    }

    /// Returns the settings as names and values for people, in alphabetical order; those that are not set are
    /// left out.
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

/// Says in which state an excluded row's machine was left, where the action had changed it.
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

/// Spells a setting; none where there is nothing to say.
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
