//! Calls as the sandbox names and logs them: what a test compares the client's story with.
//!
//! A call is logged when it arrives and completed when it ends, so a call that is never answered shows too. A line
//! of the file is written when its call has ended, in one write, so that a killed client leaves a readable file.

use std::fs::File;
use std::io::{self, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use crate::model::ActionId;

/// What a call asks for; each kind has an allowance of its own, sign-ins have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallKind {
    /// A cancel.
    Cancel,
    /// A release of a machine.
    Release,
    /// One action.
    Get,
    /// A list of actions.
    List,
    /// A sign-in.
    Token,
}

impl CallKind {
    /// Reads the word used in fault scripts and in the log.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "cancel" => Some(Self::Cancel),
            "release" => Some(Self::Release),
            "get" => Some(Self::Get),
            "list" => Some(Self::List),
            "token" => Some(Self::Token),
            _ => None,
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallEnd {
    /// Not yet.
    Open,
    /// With a whole answer.
    Answered,
    /// The sandbox broke the connection off.
    Severed,
    /// The caller went away first.
    Abandoned,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoggedCall {
    /// Its place in the order of arrival, from 1.
    pub number: u64,
    /// When it arrived, by the wall clock.
    pub at: Timestamp,
    /// How long after the sandbox's start it arrived, by a clock that is never set.
    #[serde(rename = "since_start_ns", serialize_with = "as_nanos")]
    pub since_start: Duration,
    /// What it asked for.
    pub kind: CallKind,
    /// The actions it is about.
    #[serde(serialize_with = "as_texts")]
    pub ids: Vec<ActionId>,
    /// The machine that is to be released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Tenant and app, as `tenant/app`.
    #[serde(rename = "party")]
    pub client: String,
    /// The status of the answer; none where there is no answer.
    pub status: Option<u16>,
    /// What went wrong, as the script spells it.
    pub fault: Option<String>,
    /// Whether a quota refused it.
    pub over_quota: bool,
    /// Whether it changed an action, or made it certain to change.
    pub changed: bool,
    /// How it ended.
    pub end: CallEnd,
}

fn as_nanos<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

fn as_texts<S: Serializer>(ids: &[ActionId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ids.iter().map(ToString::to_string))
}

impl LoggedCall {
    /// Writes one line and returns once the system has it.
    pub(super) fn write(&self, mut file: &File) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        file.write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_one_call_whole() {
        let call = LoggedCall {
            number: 3,
            at: Timestamp::UNIX_EPOCH,
            since_start: Duration::from_millis(5),
            kind: CallKind::Cancel,
            ids: vec![ActionId::from_bytes([7; 16]).unwrap()],
            machine: None,
            client: "t/a".to_owned(),
            status: None,
            fault: Some("applied-reset".to_owned()),
            over_quota: false,
            changed: true,
            end: CallEnd::Severed,
        };
        assert_eq!(
            serde_json::to_string(&call).unwrap(),
            r#"{"number":3,"at":"1970-01-01T00:00:00Z","since_start_ns":5000000,"kind":"cancel","ids":["07070707-0707-0707-0707-070707070707"],"party":"t/a","status":null,"fault":"applied-reset","over_quota":false,"changed":true,"end":"severed"}"#
        );
    }
}
