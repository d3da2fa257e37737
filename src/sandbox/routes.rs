//! Routes requests of the API and of the sign-in to the sandbox.

use std::error::Error;
use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::body;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, Uri};
use serde::Deserialize;

use crate::model::ActionId;

use super::actions::{Cancellation, ISOLATION, Kinds, RESTRICTION};
use super::call_log::CallKind;
use super::http_server::Severed;
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
    ) -> Result<Response<Body>, Severed> {
        let (head, body) = request.into_parts();
        let path: Vec<_> = head.uri.path().split('/').skip(1).collect();
        match (&head.method, &path[..]) {
            (&Method::POST, &["api", "machineactions", id, "cancel"]) => {
                let body = read_body(body).await;
                self.cancel(id, &head, body.as_deref()).await
            }
            (&Method::POST, &["api", "machines", machine, "unisolate"]) => {
                let body = read_body(body).await;
                self.release(machine, ISOLATION, &head, body.as_deref())
                    .await
            }
            (&Method::POST, &["api", "machines", machine, "unrestrictCodeExecution"]) => {
                let body = read_body(body).await;
                self.release(machine, RESTRICTION, &head, body.as_deref())
                    .await
            }
            (&Method::GET, &["api", "machineactions", id]) => {
                let mut call = self.call(CallKind::Get, &head);
                let id = parse_id(id);
                call.ids.extend(id.as_ref().ok());
                self.perform(call, |actions, now| match id {
                    Ok(id) => actions.get(id, now),
                    Err(problem) => Answer::Error(problem),
                })
                .await
            }
            (&Method::GET, &["api", "machineactions"]) => {
                let mut call = self.call(CallKind::List, &head);
                let query = self.parse_query(&head.uri);
                call.ids = query
                    .as_ref()
                    .ok()
                    .and_then(ListOptions::ids)
                    .unwrap_or_default();
                self.perform(call, |actions, now| match query {
                    Ok(query) => {
                        let found = actions.list(&query, now);
                        Answer::List(query, found)
                    }
                    Err(problem) => Answer::Error(problem),
                })
                .await
            }
            (&Method::POST, &[tenant, "oauth2", "v2.0", "token"]) => {
                // An unreadable body gets the error for missing sign-in parameters.
                let form = read_body(body).await.unwrap_or_default();
                let settings = &self.settings().tokens;
                self.perform(self.call(CallKind::Token, &head), |_, now| {
                    let (status, body) = oauth::sign_in(tenant, &form, settings, now);
                    Answer::Json(status, body)
                })
                .await
            }
            _ => {
                let problem = ErrorAnswer::new(404, "NotFound", "There is no such address.");
                let rendered = Rendered::new(Answer::Error(problem), 0, 0);
                Ok(rendered.into_response(None))
            }
        }
    }

    async fn cancel(
        &self,
        id: &str,
        head: &Parts,
        body: Option<&[u8]>,
    ) -> Result<Response<Body>, Severed> {
        let mut call = self.call(CallKind::Cancel, head);
        let id = parse_id(id);
        call.ids.extend(id.as_ref().ok());
        let asked = id.and_then(|id| Ok((id, parse_comment(head, body)?)));
        let cancels = self.settings().cancels;
        let requestor = requestor(&call);
        self.perform(call, |actions, at| match asked {
            Ok((id, comment)) => {
                let by = Cancellation {
                    requestor,
                    comment,
                    at,
                };
                actions.cancel(id, by, cancels)
            }
            Err(problem) => Answer::Error(problem),
        })
        .await
    }

    async fn release(
        &self,
        machine: &str,
        kinds: Kinds,
        head: &Parts,
        body: Option<&[u8]>,
    ) -> Result<Response<Body>, Severed> {
        let mut call = self.call(CallKind::Release, head);
        let machine = machine.to_lowercase();
        call.machine = Some(machine.clone());
        let comment = parse_comment(head, body);
        let (settings, seed) = (self.settings().releases, self.settings().seed);
        let requestor = requestor(&call);
        self.perform(call, |actions, at| match comment {
            Ok(comment) => {
                let by = Cancellation {
                    requestor,
                    comment,
                    at,
                };
                actions.release(&machine, kinds, by, settings, seed)
            }
            Err(problem) => Answer::Error(problem),
        })
        .await
    }

    /// Builds a call with its caller.
    fn call(&self, kind: CallKind, head: &Parts) -> Call {
        let caller = match kind {
            CallKind::Token => None,
            _ => Some(self.authorize(head).ok_or_else(ErrorAnswer::unauthorized)),
        };
        let (caller, refused) = match caller.transpose() {
            Ok(caller) => (caller, None),
            Err(problem) => (None, Some(problem)),
        };
        Call {
            kind,
            ids: Vec::new(),
            machine: None,
            caller: caller.unwrap_or_else(|| Arc::new(Caller::of(""))),
            refused,
        }
    }

    fn authorize(&self, head: &Parts) -> Option<Arc<Caller>> {
        let bearer = head.headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = bearer.split_once(' ')?;
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
            return None;
        }
        let caller = self.caller(token);
        let is_valid = !self.settings().tokens.strict || caller.is_valid(self.now().wall);
        is_valid.then_some(caller)
    }

    fn parse_query(&self, uri: &Uri) -> Result<ListOptions, ErrorAnswer> {
        let length = uri.path_and_query().map_or(0, |whole| whole.as_str().len());
        let limit = self.settings().url_limit;
        if limit.is_some_and(|limit| length > limit) {
            return Err(ErrorAnswer::new(414, "", ""));
        }
        ListOptions::parse(uri.query().unwrap_or_default())
            .map_err(|message| ErrorAnswer::new(400, "ODataError", message))
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

fn parse_comment(head: &Parts, body: Option<&[u8]>) -> Result<String, ErrorAnswer> {
    let content_type = head.headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let is_json = content_type
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    let body = body.filter(|_| is_json);
    let read: Option<CancelRequest> = body.and_then(|body| serde_json::from_slice(body).ok());
    let Some(read) = read else {
        let message = "The request body is incorrect.";
        return Err(ErrorAnswer::new(400, "InvalidRequestBody", message));
    };
    let comment = read.comment.filter(|comment| !comment.trim().is_empty());
    comment.ok_or_else(|| ErrorAnswer::new(400, "MissingRequiredParameter", "Comment is required."))
}
