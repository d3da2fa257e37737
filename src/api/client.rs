//! The calls of the service: what changes something by a [`SendClient`], reads by a [`ReadClient`], which can't change anything there.

use std::fmt::Write as _;

use secrecy::SecretString;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::model::{
    ActionId, ActionType, CancelReply, MachineAction, ReadPage, ReadReply, Redactor, Reply,
    ReplyKind, Request,
};

use super::action_json::{Keep, page, record, redact};
use super::connection::Connection;
use super::odata::{ListQuery, MAX_TOP, ORDER};
use super::response::classify;
use super::send::exchange;

/// No honest answer comes near this.
const MAX_SENT_BODY: usize = 1024 * 1024;

/// What a call says.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SentBody<'text> {
    comment: &'text str,
}

/// Sends cancels and releases over one connection.
#[derive(Clone, Debug)]
pub struct SendClient {
    connection: Connection,
}

impl SendClient {
    /// Makes one of a connection.
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Sends one call, once, with `comment`, which the service wants not to be empty.
    ///
    /// The answer carries the record only where the body holds the one that was asked for: of this very action, or of one that
    /// releases this very machine. Any other says nothing about ours, so it counts as an acceptance without a record, as any
    /// other JSON does.
    ///
    /// # Cancel safety
    /// Not safe: dropped midway, it leaves a call whose result is unknown.
    pub async fn send(
        &self,
        token: &SecretString,
        request: &Request,
        comment: &str,
    ) -> CancelReply {
        let connection = &self.connection;
        let call = match request {
            Request::Cancel(id) => {
                connection.post(&["api", "machineactions", &id.to_string(), "cancel"])
            }
            Request::Unisolate(machine) => {
                connection.post(&["api", "machines", machine, "unisolate"])
            }
            Request::Unrestrict(machine) => {
                connection.post(&["api", "machines", machine, "unrestrictCodeExecution"])
            }
        };
        let call = call.json(&SentBody { comment });
        let mut reply = classify(exchange(call, token, MAX_SENT_BODY).await, |body| {
            read_acceptance(body, request)
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
fn read_acceptance(body: &str, request: &Request) -> Option<Option<MachineAction>> {
    if body.trim().is_empty() {
        return Some(None);
    }
    let json: &RawValue = serde_json::from_str(body).ok()?;
    Some(record(json).filter(|action| answers(action, request)))
}

fn answers(action: &MachineAction, request: &Request) -> bool {
    let releases = |machine: &str, kind: ActionType| {
        let named = action.machine_id.as_deref();
        named.is_some_and(|named| named.eq_ignore_ascii_case(machine))
            && action.action_type == Some(kind)
    };
    match request {
        Request::Cancel(id) => action.id == *id,
        Request::Unisolate(machine) => releases(machine, ActionType::Unisolate),
        Request::Unrestrict(machine) => releases(machine, ActionType::UnrestrictCodeExecution),
    }
}

/// So many ids are asked for at once: about 4 KB of URL, which every gateway on the way takes.
pub const MAX_BATCH: usize = 100;

/// One record; live-response sessions with hundreds of commands stay far below.
const MAX_RECORD: usize = 1024 * 1024;

/// The records of a batch; few hold more than 2 KB.
const MAX_RECORDS: usize = 16 * 1024 * 1024;

/// One page of a list of 10,000 records.
const MAX_PAGE: usize = 64 * 1024 * 1024;

/// Reads records over one connection. Whoever holds nothing but a reader cannot send a cancel.
#[derive(Clone, Debug)]
pub struct ReadClient {
    connection: Connection,
}

impl ReadClient {
    /// Makes one of a connection.
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Reads one action's record; the service's 404 is [`ReplyKind::NotFound`].
    ///
    /// A success without the record of this very action is [`ReplyKind::Garbled`]: it tells nothing about the action,
    /// not even that it does not exist.
    ///
    /// # Cancel safety
    /// Safe for the record; the call may be counted by the service all the same.
    pub async fn action(&self, token: &SecretString, id: ActionId) -> ReadReply {
        let path = ["api", "machineactions", &id.to_string()];
        let read = |body: &str| {
            let json: &RawValue = serde_json::from_str(body).ok()?;
            record(json)
                .filter(|action| action.id == id)
                .map(|action| std::iter::once(action).collect())
        };
        self.get(&path, &[], token, MAX_RECORD, read).await
    }

    /// Reads the records of up to [`MAX_BATCH`] actions with one call. Actions that the service does not know are
    /// missing from the answer; records nobody asked for are left out of it.
    ///
    /// No ids need no call and get an empty answer; too many are refused as a call that never left.
    ///
    /// # Cancel safety
    /// Safe for the records; the call may be counted by the service all the same.
    pub async fn actions(&self, token: &SecretString, ids: &[ActionId]) -> ReadReply {
        if ids.is_empty() || ids.len() > MAX_BATCH {
            return without_call(ids.len());
        }
        let filter = batch_filter(ids);
        let top = ids.len().to_string();
        let query = [("$filter", filter.as_str()), ("$top", top.as_str())];
        let read = |body: &str| page(body, Keep::Ids(ids));
        self.list_call(&query, token, MAX_RECORDS, read).await
    }

    /// Reads one page of the tenant's actions. A link to a next page is ignored, for it may lead to another host.
    ///
    /// # Cancel safety
    /// Safe for the records; the call may be counted by the service all the same.
    pub async fn list(&self, token: &SecretString, query: &ListQuery) -> ReadReply {
        let top = query.top.min(MAX_TOP);
        let read = |body: &str| page(body, Keep::First(top.get() as usize));
        let top = top.to_string();
        let skip = query.skip.to_string();
        let filter = query.filter.as_deref().map(|filter| ("$filter", filter));
        let mut options: Vec<(&str, &str)> = filter.into_iter().collect();
        options.extend([("$orderby", ORDER), ("$top", &top), ("$skip", &skip)]);
        self.list_call(&options, token, MAX_PAGE, read).await
    }

    /// Performs one GET of the list. It exists whatever it is asked for, so that a 404 never speaks of an action.
    async fn list_call(
        &self,
        query: &[(&str, &str)],
        token: &SecretString,
        limit: usize,
        read: impl FnOnce(&str) -> Option<ReadPage>,
    ) -> ReadReply {
        let path = ["api", "machineactions"];
        let mut reply = self.get(&path, query, token, limit, read).await;
        if reply.kind == ReplyKind::NotFound {
            let address = self.connection.address(&path);
            reply.kind = ReplyKind::NoSuchAddress(address);
        }
        reply
    }

    /// Performs one GET; at most `limit` bytes of a success are read, and `read` takes its records.
    async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        token: &SecretString,
        limit: usize,
        read: impl FnOnce(&str) -> Option<ReadPage>,
    ) -> ReadReply {
        let call = self.connection.get(path, query);
        let mut reply = classify(exchange(call, token, limit).await, read);
        if let ReplyKind::Answer(page) = &mut reply.kind {
            let redactor = Redactor::new([token.clone()]);
            for action in &mut page.records {
                redact(action, &redactor);
            }
        }
        reply
    }
}

fn without_call(count: usize) -> ReadReply {
    let kind = if count == 0 {
        ReplyKind::Answer(ReadPage::from_iter([]))
    } else {
        ReplyKind::NeverLeft(format!(
            "{count} ids are too many for one call, which takes {MAX_BATCH}"
        ))
    };
    Reply {
        kind,
        http_status: None,
        error: None,
    }
}

/// Writes the OData filter that asks for `ids`; a GUID needs no escaping.
fn batch_filter(ids: &[ActionId]) -> String {
    let mut filter = String::with_capacity(8 + ids.len() * 39);
    filter.push_str("id in (");
    for (position, id) in ids.iter().enumerate() {
        let comma = if position == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        write!(filter, "{comma}'{id}'").unwrap_or_default();
    }
    filter.push(')');
    filter
}
