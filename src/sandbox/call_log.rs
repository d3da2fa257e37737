//! The log of calls that the sandbox received, which tests compare with the client's reports.
//!
//! A call is logged on arrival and completed when it ends, so unanswered calls appear too. The file gets a line per
//! ended call, in a single write, so it stays readable if the process is killed.

use std::fs::File;
use std::io::{self, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use serde::de::IntoDeserializer as _;
use serde::de::value::{self, StrDeserializer};
use serde::{Deserialize, Serialize, Serializer};

use crate::model::ActionId;

/// The kind of a call. Each kind has its own quota, except sign-ins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallKind {
    Cancel,
    Release,
    /// A single action.
    Get,
    List,
    /// A sign-in.
    Token,
}

impl CallKind {
    /// Parses the name used in fault scripts and in the log.
    pub fn parse(text: &str) -> Option<Self> {
        let name: StrDeserializer<'_, value::Error> = text.into_deserializer();
        Self::deserialize(name).ok()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallEnd {
    Open,
    /// With a complete response.
    Answered,
    /// The sandbox broke the connection.
    Aborted,
    /// The client disconnected first.
    Abandoned,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoggedCall {
    /// In order of arrival, from 1.
    pub number: u64,
    /// The arrival, by the wall clock.
    pub at: Timestamp,
    /// The arrival since the sandbox's start, by the monotonic clock.
    #[serde(rename = "since_start_ns", serialize_with = "as_nanos")]
    pub since_start: Duration,
    pub kind: CallKind,
    /// The actions in the request.
    #[serde(serialize_with = "as_texts")]
    pub ids: Vec<ActionId>,
    /// The machine to release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// `tenant/app`.
    #[serde(rename = "party")]
    pub client: String,
    /// The status of the response, if any.
    pub status: Option<u16>,
    /// The injected fault, as in the script.
    pub fault: Option<String>,
    /// Whether a quota rejected it.
    pub over_quota: bool,
    /// Whether it changed an action, now or later.
    pub changed: bool,
    pub end: CallEnd,
}

fn as_nanos<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

fn as_texts<S: Serializer>(ids: &[ActionId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ids.iter().map(ToString::to_string))
}

impl LoggedCall {
    /// Writes one line, unbuffered.
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
            end: CallEnd::Aborted,
        };
        assert_eq!(
            serde_json::to_string(&call).unwrap(),
            r#"{"number":3,"at":"1970-01-01T00:00:00Z","since_start_ns":5000000,"kind":"cancel","ids":["07070707-0707-0707-0707-070707070707"],"party":"t/a","status":null,"fault":"applied-reset","over_quota":false,"changed":true,"end":"aborted"}"#
        );
    }
}
