//! Routes requests of the API and of the sign-in to the sandbox.

use std::error::Error;

use http_body_util::{BodyExt, Limited};
use hyper::body;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use serde::Deserialize;

use crate::model::ActionId;

use super::actions::{Cancellation, ISOLATION, RESTRICTION};
use super::call_log::CallKind;
use super::http_server::Aborted;
use super::oauth::{self, Caller};
use super::query::ListOptions;
use super::response::{Answer, Body, ErrorAnswer, Rendered};
use super::running_sandbox::{Call, Sandbox};

/// In bytes; comments are short.
const MAX_BODY: usize = 1024 * 1024;

impl Sandbox {
    pub async fn respond(
        &self,
        request: Request<impl body::Body<Error: Error + Send + Sync + 'static>>,
    ) -> Result<Response<Body>, Aborted> {
        let (head, body) = request.into_parts();
        let path: Vec<_> = head.uri.path().split('/').skip(1).collect();
        match (&head.method, &path[..]) {
            (&Method::POST, &["api", "machineactions", id, "cancel"]) => {
                let mut call = self.call(CallKind::Cancel, &head);
                let id = parse_id(id);
                call.ids.extend(id.as_ref().ok());
                let comment = parse_comment(&head, body).await;
                let requestor = requestor(&call);
                let settings = self.settings().cancels;
                self.perform(call, |actions, at| {
                    let id = id?;
                    let comment = comment?;
                    let by = Cancellation {
                        requestor,
                        comment,
                        at,
                    };
                    actions.cancel(id, by, settings)
                })
                .await
            }
            (
                &Method::POST,
                &[
                    "api",
                    "machines",
                    machine,
                    release @ ("unisolate" | "unrestrictCodeExecution"),
                ],
            ) => {
                let kinds = match release {
                    "unisolate" => ISOLATION,
                    _ => RESTRICTION,
                };
                let mut call = self.call(CallKind::Release, &head);
                let machine = machine.to_lowercase();
                call.machine = Some(machine.clone());
                let comment = parse_comment(&head, body).await;
                let requestor = requestor(&call);
                let (settings, seed) = (self.settings().releases, self.settings().seed);
                self.perform(call, |actions, at| {
                    let comment = comment?;
                    let by = Cancellation {
                        requestor,
                        comment,
                        at,
                    };
                    actions.release(&machine, kinds, by, settings, seed)
                })
                .await
            }
            (&Method::GET, &["api", "machineactions", id]) => {
                let mut call = self.call(CallKind::Get, &head);
                let id = parse_id(id);
                call.ids.extend(id.as_ref().ok());
                self.perform(call, |actions, now| actions.get(id?, now))
                    .await
            }
            (&Method::GET, &["api", "machineactions"]) => {
                let mut call = self.call(CallKind::List, &head);
                let query = ListOptions::parse(head.uri.query().unwrap_or_default())
                    .map_err(|message| ErrorAnswer::new(400, "ODataError", message));
                call.ids = query
                    .as_ref()
                    .ok()
                    .and_then(ListOptions::ids)
                    .unwrap_or_default();
                self.perform(call, |actions, now| {
                    let query = query?;
                    let found = actions.list(&query, now);
                    Ok(Answer::List(query, found))
                })
                .await
            }
            (&Method::POST, &[tenant, "oauth2", "v2.0", "token"]) => {
                // An unreadable body gets the error for missing sign-in parameters.
                let form = read_body(body).await.unwrap_or_default();
                let settings = &self.settings().tokens;
                self.perform(self.call(CallKind::Token, &head), |_, now| {
                    let (status, body) = oauth::sign_in(tenant, &form, settings, now);
                    Ok(Answer::Json(status, body))
                })
                .await
            }
            _ => {
                let problem = ErrorAnswer::new(404, "NotFound", "There is no such address.");
                Ok(Rendered::new(Err(problem), 0, 0).into_response(None))
            }
        }
    }

    /// Builds a call with its caller.
    fn call(&self, kind: CallKind, head: &Parts) -> Call {
        let caller = self.authorize(head).filter(|_| kind != CallKind::Token);
        let is_refused = caller.is_none() && kind != CallKind::Token;
        Call {
            kind,
            ids: Vec::new(),
            machine: None,
            caller: caller.unwrap_or_else(|| Caller::of("")),
            refused: is_refused.then(ErrorAnswer::unauthorized),
        }
    }

    fn authorize(&self, head: &Parts) -> Option<Caller> {
        let bearer = head.headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = bearer.split_once(' ')?;
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
            return None;
        }
        let caller = Caller::of(token);
        let is_valid = !self.settings().tokens.strict || caller.is_valid(self.now().wall);
        is_valid.then_some(caller)
    }
}

/// Returns the caller's name for records.
fn requestor(call: &Call) -> String {
    match call.caller.app.as_str() {
        "-" => "5a5a5a5a-0000-4000-8000-000000000000".to_owned(),
        app => app.to_owned(),
    }
}

async fn read_body(body: impl body::Body<Error: Error + Send + Sync + 'static>) -> Option<Vec<u8>> {
    let body = std::pin::pin!(body);
    let read = BodyExt::collect(Limited::new(body, MAX_BODY)).await;
    Some(read.ok()?.to_bytes().to_vec())
}

fn parse_id(text: &str) -> Result<ActionId, ErrorAnswer> {
    ActionId::parse(text)
        .map_err(|_| ErrorAnswer::new(400, "InvalidInput", "The machine action id is not valid."))
}

/// The body of a cancel. The field name is case-sensitive.
#[derive(Deserialize)]
struct CancelRequest {
    #[serde(rename = "Comment")]
    comment: Option<String>,
}

async fn parse_comment(
    head: &Parts,
    body: impl body::Body<Error: Error + Send + Sync + 'static>,
) -> Result<String, ErrorAnswer> {
    let body = read_body(body).await;
    let content_type = head.headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let is_json = content_type
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    let body = body.filter(|_| is_json);
    let read: Option<CancelRequest> = body.and_then(|body| serde_json::from_slice(&body).ok());
    let Some(read) = read else {
        let message = "The request body is incorrect.";
        return Err(ErrorAnswer::new(400, "InvalidRequestBody", message));
    };
    let comment = read.comment.filter(|comment| !comment.trim().is_empty());
    comment.ok_or_else(|| ErrorAnswer::new(400, "MissingRequiredParameter", "Comment is required."))
}
