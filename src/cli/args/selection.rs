//! Which actions are meant, and which must be left alone: shared by every command that looks at actions.
//!
//! None of it is read from the environment: what narrows or widens a run is typed each time.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use crate::model::{ActionStatus, ActionType, parse_duration};

/// The longest age, which is longer than the service lists actions.
const OLDEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// Why a text selects nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSelection {
    /// Nothing but blanks.
    #[error("it is empty")]
    Blank,
    /// No machine id.
    #[error("a machine id is 40 hexadecimal digits")]
    MachineId,
    /// No status that an action can have.
    #[error(
        "it is none of: Pending, InProgress, Succeeded, Failed, TimeOut, Cancelled; --filter takes any word"
    )]
    Status,
    /// No type that an action can have.
    #[error(
        "it is none of: RunAntiVirusScan, Offboard, LiveResponse, CollectInvestigationPackage, Isolate, Unisolate, \
         StopAndQuarantineFile, RestrictCodeExecution, UnrestrictCodeExecution, RequestSample; --filter takes any word"
    )]
    Type,
    /// Neither a time nor an age.
    #[error(
        "it is neither a time such as 2026-01-31T08:00:00Z nor an age such as 30m, 2h, 7d or 2w"
    )]
    When,
}

/// A time, or an age: so long before the command began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At this time.
    At(Timestamp),
    /// So long ago.
    Ago(Duration),
}

impl When {
    /// Reads RFC 3339, or an age.
    ///
    /// # Errors
    /// Returns that it is neither.
    pub fn parse(text: &str) -> Result<Self, InvalidSelection> {
        let text = text.trim();
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        parse_duration(text)
            .filter(|age| *age <= OLDEST)
            .map(Self::Ago)
            .ok_or(InvalidSelection::When)
    }

    /// Returns the time that is meant by a command that began at `now`.
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(age) => now.checked_sub(age).unwrap_or(Timestamp::MIN),
        }
    }
}

fn action_type(text: &str) -> Result<ActionType, InvalidSelection> {
    match ActionType::parse(text) {
        ActionType::Other(_) => Err(InvalidSelection::Type),
        known => Ok(known),
    }
}

fn status(text: &str) -> Result<ActionStatus, InvalidSelection> {
    match ActionStatus::parse(text.trim()) {
        ActionStatus::Other(_) => Err(InvalidSelection::Status),
        known => Ok(known),
    }
}

fn machine_id(text: &str) -> Result<String, InvalidSelection> {
    let id = text.trim().to_ascii_lowercase();
    let is_id = id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some(id).ok_or(InvalidSelection::MachineId)
}

fn words(text: &str) -> Result<String, InvalidSelection> {
    let words = text.trim();
    if words.is_empty() {
        return Err(InvalidSelection::Blank);
    }
    Ok(words.to_owned())
}

/// Which actions are meant.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Selection")]
pub struct SelectionArgs {
    /// Mean only actions of these types, such as Isolate or LiveResponse; lists by comma or repetition, here and below
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', value_parser = action_type)]
    pub types: Vec<ActionType>,
    /// Mean only actions with these statuses, such as Pending or InProgress
    #[arg(long = "status", value_name = "STATUS", value_delimiter = ',', value_parser = status)]
    pub statuses: Vec<ActionStatus>,
    /// Mean only actions that these users or apps asked for, written as the service's records have them
    #[arg(long = "requestor", value_name = "NAME", value_delimiter = ',', value_parser = words)]
    pub requestors: Vec<String>,
    /// Mean only actions on these machines
    #[arg(long = "machine-id", value_name = "ID", value_delimiter = ',', value_parser = machine_id)]
    pub machine_ids: Vec<String>,
    /// Mean only actions created since then: a time, or an age such as 2h or 7d
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    pub since: Option<When>,
    /// Mean only actions created until then: a time, or an age, so that 2h are those older than two hours
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    pub until: Option<When>,
    /// Ask the tenant with this OData filter, in place of all other selection and of an input
    #[arg(
        long,
        value_name = "ODATA",
        value_parser = words,
        conflicts_with_all = ["types", "statuses", "requestors", "machine_ids", "since", "until"]
    )]
    pub filter: Option<String>,
    /// Leave alone the actions and machines that this file names, one a line: action ids, machine ids or DNS names;
    /// repeatable
    #[arg(long, value_name = "FILE")]
    pub exclude_from: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_ages_are_read_as_people_write_them() {
        let now: Timestamp = "2026-02-10T12:00:00Z".parse().unwrap();
        for (text, meant) in [
            ("2026-01-31T08:00:00Z", "2026-01-31T08:00:00Z"),
            ("2026-01-31T09:00:00+01:00", "2026-01-31T08:00:00Z"),
            ("2h", "2026-02-10T10:00:00Z"),
            (" 1h30m ", "2026-02-10T10:30:00Z"),
            ("7d", "2026-02-03T12:00:00Z"),
            ("1d12h", "2026-02-09T00:00:00Z"),
            ("2w", "2026-01-27T12:00:00Z"),
            ("0s", "2026-02-10T12:00:00Z"),
        ] {
            assert_eq!(
                When::parse(text).unwrap().at(now).to_string(),
                meant,
                "{text}"
            );
        }
        for text in [
            "",
            "yesterday",
            "2",
            "-2h",
            "d",
            "99999d",
            "2026-01-31",
            "99999999999999999999d",
        ] {
            assert_eq!(When::parse(text), Err(InvalidSelection::When), "{text}");
        }
    }

    #[test]
    fn words_that_no_action_has_are_refused() {
        assert_eq!(action_type("isolate"), Ok(ActionType::Isolate));
        assert_eq!(action_type("Isolte"), Err(InvalidSelection::Type));
        assert_eq!(status("canceled"), Ok(ActionStatus::Cancelled));
        assert_eq!(status("open"), Err(InvalidSelection::Status));
        assert_eq!(machine_id(&"AB".repeat(20)), Ok("ab".repeat(20)));
        assert!(machine_id("dc-01").is_err());
        assert_eq!(words(" "), Err(InvalidSelection::Blank));
    }
}
