//! Sends cancels; the only part of the program that can.

use secrecy::SecretString;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::model::{ActionId, CancelReply, MachineAction, Redactor, ReplyKind};

use super::classify::classify;
use super::connection::Connection;
use super::exchange::exchange;
use super::record::{record, redact};

/// No honest answer to a cancel comes near this.
const MAX_BODY: usize = 1024 * 1024;

/// What a cancel says.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CancelBody<'text> {
    comment: &'text str,
}

/// Sends cancels over one connection.
#[derive(Clone, Debug)]
pub struct Canceller {
    connection: Connection,
}

impl Canceller {
    /// Makes one of a connection.
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Sends one cancel, once, with `comment`, which the service wants not to be empty.
    ///
    /// The answer carries the record only where the body holds the record of this very action: another action's
    /// says nothing about ours, so it counts as an acceptance without a record, as any other JSON does.
    ///
    /// # Cancel safety
    /// Not safe: dropped midway, it leaves a cancel whose fate is unknown.
    pub async fn cancel(&self, token: &SecretString, id: ActionId, comment: &str) -> CancelReply {
        let call = self
            .connection
            .post(&["api", "machineactions", &id.to_string(), "cancel"])
            .json(&CancelBody { comment });
        let mut reply = classify(exchange(call, token, MAX_BODY).await, |body| {
            read_acceptance(body, id)
        });
        if let ReplyKind::Answer(Some(action)) = &mut reply.kind {
            redact(action, &Redactor::new([token.clone()]));
        }
        reply
    }
}

/// Reads the body of a success: nothing, or JSON of any kind. The outer `None` stands for anything else.
#[expect(
    clippy::option_option,
    reason = "no answer and an answer without a record are different things"
)]
fn read_acceptance(body: &str, id: ActionId) -> Option<Option<MachineAction>> {
    if body.trim().is_empty() {
        return Some(None);
    }
    let json: &RawValue = serde_json::from_str(body).ok()?;
    Some(record(json).filter(|action| action.id == id))
}
