//! The calls of the service. [`SendClient`] cancels and releases; [`ReadClient`] only reads.

use secrecy::SecretString;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::model::{
    ActionId, ActionType, CancelReply, MachineAction, ReadPage, ReadReply, Redactor, Reply,
    ReplyKind, Request,
};

use super::action_json::{Keep, page, record};
use super::api_address::Connection;
use super::odata::{ListQuery, MAX_TOP, ORDER};
use super::response::classify;
use super::send::exchange;

/// Far above any valid response, in bytes.
const MAX_SENT_BODY: usize = 1024 * 1024;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SentBody<'text> {
    comment: &'text str,
}

#[derive(Clone, Debug)]
pub struct SendClient {
    connection: Connection,
}

impl SendClient {
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Sends one request, once. The service requires a non-empty `comment`.
    ///
    /// The reply contains a record only if the body is the record of this action, or of a release of this machine. Any
    /// other JSON counts as accepted without a record.
    ///
    /// Not cancel safe: if dropped, the effect of the request is unknown.
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
        let redactor = Redactor::new([token.clone()]);
        classify(exchange(call, token, MAX_SENT_BODY).await, |body| {
            read_acceptance(body, request, &redactor)
        })
    }
}

/// Parses the body of a 2xx: empty, or any JSON. Returns the outer `None` for anything else.
#[expect(
    clippy::option_option,
    reason = "no answer and an answer without a record are different things"
)]
fn read_acceptance(
    body: &str,
    request: &Request,
    redactor: &Redactor,
) -> Option<Option<MachineAction>> {
    if body.trim().is_empty() {
        return Some(None);
    }
    let json: &RawValue = serde_json::from_str(body).ok()?;
    Some(record(json, redactor).filter(|action| answers(action, request)))
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

/// The most ids in one call: about 4 KB of URL, which gateways accept.
pub const MAX_BATCH: usize = 100;

/// The limit for a single record in bytes, ample for live-response sessions with hundreds of commands.
const MAX_RECORD: usize = 1024 * 1024;

/// The limit for a batch in bytes; few records exceed 2 KB.
const MAX_RECORDS: usize = 16 * 1024 * 1024;

/// The limit for a page of 10,000 records, in bytes.
const MAX_PAGE: usize = 64 * 1024 * 1024;

/// Reads records. Code that has only a reader cannot send a cancel.
#[derive(Clone, Debug)]
pub struct ReadClient {
    connection: Connection,
}

impl ReadClient {
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Reads the record of an action. The service's own 404 becomes [`ReplyKind::NotFound`].
    ///
    /// A 2xx without this action's record becomes [`ReplyKind::InvalidBody`]: it proves nothing, not even that the action
    /// doesn't exist.
    ///
    /// Cancel safe, but the service may still count the call.
    pub async fn action(&self, token: &SecretString, id: ActionId) -> ReadReply {
        let path = ["api", "machineactions", &id.to_string()];
        let redactor = Redactor::new([token.clone()]);
        let read = |body: &str| {
            let json: &RawValue = serde_json::from_str(body).ok()?;
            record(json, &redactor)
                .filter(|action| action.id == id)
                .map(|action| std::iter::once(action).collect())
        };
        self.get(&path, &[], token, MAX_RECORD, read).await
    }

    /// Reads the records of up to [`MAX_BATCH`] actions with one call. Unknown actions are missing from the reply, and
    /// unrequested records are dropped.
    ///
    /// Without ids, returns an empty page without a call; too many give [`ReplyKind::NotSent`].
    ///
    /// Cancel safe, but the service may still count the call.
    pub async fn actions(&self, token: &SecretString, ids: &[ActionId]) -> ReadReply {
        if ids.is_empty() || ids.len() > MAX_BATCH {
            return without_call(ids.len());
        }
        let filter = batch_filter(ids);
        let top = ids.len().to_string();
        let query = [("$filter", filter.as_str()), ("$top", top.as_str())];
        self.list_call(&query, token, MAX_RECORDS, Keep::Ids(ids))
            .await
    }

    /// Reads a page of the tenant's actions. Ignores a link to the next page, which could lead to another host.
    ///
    /// Cancel safe, but the service may still count the call.
    pub async fn list(&self, token: &SecretString, query: &ListQuery) -> ReadReply {
        let top = query.top.min(MAX_TOP);
        let keep = Keep::First(top.get() as usize);
        let top = top.to_string();
        let skip = query.skip.to_string();
        let filter = query.filter.as_deref().map(|filter| ("$filter", filter));
        let mut options: Vec<(&str, &str)> = filter.into_iter().collect();
        options.extend([("$orderby", ORDER), ("$top", &top), ("$skip", &skip)]);
        self.list_call(&options, token, MAX_PAGE, keep).await
    }

    /// Sends a GET to the list. The list always exists, so a 404 never means a missing action.
    async fn list_call(
        &self,
        query: &[(&str, &str)],
        token: &SecretString,
        limit: usize,
        keep: Keep<'_>,
    ) -> ReadReply {
        let path = ["api", "machineactions"];
        let redactor = Redactor::new([token.clone()]);
        let read = |body: &str| page(body, keep, &redactor);
        let mut reply = self.get(&path, query, token, limit, read).await;
        if reply.kind == ReplyKind::NotFound {
            let address = self.connection.address(&path);
            reply.kind = ReplyKind::NoSuchAddress(address);
        }
        reply
    }

    /// Sends a GET and parses up to `limit` bytes of a 2xx body with `read`.
    async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        token: &SecretString,
        limit: usize,
        read: impl FnOnce(&str) -> Option<ReadPage>,
    ) -> ReadReply {
        let call = self.connection.get(path, query);
        classify(exchange(call, token, limit).await, read)
    }
}

fn without_call(count: usize) -> ReadReply {
    let kind = if count == 0 {
        ReplyKind::Answer(ReadPage::from_iter([]))
    } else {
        ReplyKind::NotSent(format!(
            "{count} ids are too many for one call, which takes {MAX_BATCH}"
        ))
    };
    Reply {
        kind,
        http_status: None,
        error: None,
    }
}

/// Returns the OData filter for `ids`; GUIDs need no escaping.
fn batch_filter(ids: &[ActionId]) -> String {
    let ids: Vec<_> = ids.iter().map(|id| format!("'{id}'")).collect();
    format!("id in ({})", ids.join(","))
}
