//! A run as a plain value: how it begins, how far it came, who holds it. Nothing here touches the file.

use std::fmt;

use jiff::Timestamp;

use crate::model::{LaneId, Outcome, RowNumber, RunId, Standing};

use super::slots::RunKey;

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It goes on, or its process died.
    Going,
    /// It stopped and can be resumed.
    Stopped,
    /// Every row is settled.
    Finished,
}

impl RunState {
    /// Returns the word that stands in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Going => "going",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
        }
    }

    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Going, Self::Stopped, Self::Finished]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A run as it begins. No field may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    /// Its public name.
    pub id: RunId,
    /// When it began.
    pub created: Timestamp,
    /// Its resolved settings as JSON.
    pub settings: String,
    /// Its inputs as JSON.
    pub inputs: String,
    /// The tenant, or `-`.
    pub tenant: String,
    /// The app, or `-`.
    pub app: String,
    /// The cloud's name, or host and port.
    pub cloud: String,
    /// The machine it runs on.
    pub host: String,
    /// The user who runs it.
    pub user: String,
    /// The version of this program.
    pub version: String,
}

/// A run as the file knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// Its key.
    pub key: RunKey,
    /// What it began with.
    pub begun: NewRun,
    /// How far its input was read.
    pub intake: InputMark,
    /// Whether it goes on.
    pub state: RunState,
    /// Why it stopped, where it did.
    pub reason: Option<String>,
    /// What the program said on leaving.
    pub exit_code: Option<u8>,
    /// When it stopped or finished.
    pub ended_at: Option<Timestamp>,
    /// When a process last took it up.
    pub held_at: Option<Timestamp>,
    /// The live process that holds it.
    pub holder: Option<Holder>,
    /// The id of the plan that was agreed to.
    pub plan: Option<String>,
}

impl RunRecord {
    /// Returns whether a live process holds it.
    pub fn is_live(&self) -> bool {
        self.holder.is_some()
    }

    /// Says how it stands.
    pub fn standing(&self) -> Standing {
        match self.state {
            RunState::Finished => Standing::Finished,
            RunState::Stopped => Standing::Stopped,
            RunState::Going if self.is_live() => Standing::Running,
            RunState::Going => Standing::Crashed,
        }
    }

    /// Returns the latest instant at which it is known to have been worked on: its end, its taking up, or its beginning.
    pub fn last_seen(&self) -> Timestamp {
        self.begun
            .created
            .max(self.held_at.unwrap_or(Timestamp::MIN))
            .max(self.ended_at.unwrap_or(Timestamp::MIN))
    }
}

/// A live process that holds a run; text for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The system's number for it.
    pub pid: u32,
    /// The machine it runs on.
    pub host: String,
    /// Since when it holds the run.
    pub since: Timestamp,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pid {} on {} since {:.0}",
            self.pid, self.host, self.since
        )
    }
}

/// How far the input was read; written in one transaction with the rows that were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputMark {
    /// How many rows were read in all.
    pub rows_read: u64,
    /// Where to go on, in the reader's own words; `None` where that is not possible.
    pub position: Option<String>,
    /// Whether the input was read to its end.
    pub complete: bool,
}

/// How many of a lane's rows have one last word, or none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneCount {
    /// Whose rows.
    pub lane: LaneId,
    /// The word; nothing while there is none.
    pub outcome: Option<Outcome>,
    /// How many.
    pub rows: u64,
    /// The highest number among them.
    pub last: RowNumber,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_states_read_back_from_their_words() {
        for state in [RunState::Going, RunState::Stopped, RunState::Finished] {
            assert_eq!(RunState::parse(state.as_str()), Some(state));
        }
        assert_eq!(RunState::parse(""), None);
    }

    #[test]
    fn a_holder_reads_as_people_say_it() {
        let holder = Holder {
            pid: 123,
            host: "jump-host".to_owned(),
            since: "2026-03-01T12:00:00.123456Z".parse().unwrap(),
        };
        assert_eq!(
            holder.to_string(),
            "pid 123 on jump-host since 2026-03-01T12:00:00Z"
        );
    }
}
