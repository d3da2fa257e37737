//! The addresses of the service and of its sign-in, and the way of every call from its arrival to its end.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Response, Uri, header};
use axum::routing::{get, post};
use jiff::Timestamp;
use serde::Deserialize;

use crate::model::ActionId;

use super::actions::{Actions, Worked};
use super::answer::{Answer, Framing, Problem, Rendered};
use super::call::CallKind;
use super::fault::FaultKind;
use super::line::{Line, Severed};
use super::log::CallEnd;
use super::query::ListQuery;
use super::record::Cancellation;
use super::server::{Sandbox, Ticket};
use super::settings::TokenCheck;
use super::sign_in::Protocol;
use super::state::{Admitted, Call};
use super::token::{CANCEL_ROLES, Caller, READ_ROLES};
use super::{dice, sign_in};

/// The most that a call's body may hold; comments are short.
const BODY: usize = 1024 * 1024;

/// Reads who calls, and from where.
fn arrival(sandbox: &Sandbox, kind: CallKind, parts: &Parts) -> Call {
    let (caller, refused) = match kind {
        CallKind::Token => (sandbox.anonymous(), None),
        _ => match authorize(sandbox, &parts.headers) {
            Ok(caller) => (caller, None),
            Err(problem) => (sandbox.anonymous(), Some(problem)),
        },
    };
    Call {
        kind,
        ids: Vec::new(),
        caller,
        refused,
        wanted: match kind {
            CallKind::Cancel => CANCEL_ROLES,
            CallKind::Get | CallKind::List | CallKind::Machine => READ_ROLES,
            CallKind::Token => &[],
        },
        host: match kind {
            CallKind::List => host_of(sandbox, &parts.headers),
            _ => String::new(),
        },
        line: parts
            .extensions
            .get::<ConnectInfo<Line>>()
            .map(|info| info.0.clone()),
    }
}

fn host_of(sandbox: &Sandbox, headers: &HeaderMap) -> String {
    let own = || {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        format!("http://{}", host.unwrap_or("localhost"))
    };
    sandbox
        .settings()
        .lists
        .next_link_host
        .clone()
        .unwrap_or_else(own)
}

fn authorize(sandbox: &Sandbox, headers: &HeaderMap) -> Result<Arc<Caller>, Problem> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()
        });
    let (_, token) = bearer.ok_or_else(Problem::unauthorized)?;
    let caller = sandbox.caller(token.trim());
    let strict = sandbox.settings().tokens.check == TokenCheck::Strict;
    if strict && !caller.is_valid(sandbox.now().wall) {
        return Err(Problem::unauthorized());
    }
    Ok(caller)
}

impl Sandbox {
    /// Returns the service's addresses, for a server or for a test that calls them directly.
    ///
    /// Called directly, a mishap that would break the connection off answers with an empty 500 whose extensions hold
    /// a [`Severed`], and one that hangs never answers.
    pub fn router(&self) -> Router {
        let mut router = Router::new()
            .route("/{tenant}/oauth2/v2.0/token", post(token_v2))
            .route("/{tenant}/oauth2/token", post(token_v1))
            .fallback(nowhere);
        for base in ["/api", "/api/v1.0"] {
            router = router
                .route(&format!("{base}/machineactions"), get(list))
                .route(&format!("{base}/machineactions/{{id}}"), get(one))
                .route(
                    &format!("{base}/machineactions/{{id}}/cancel"),
                    post(cancel),
                )
                .route(&format!("{base}/machines/{{id}}"), get(machine));
        }
        router.with_state(self.clone())
    }

    /// Takes a call from its arrival to its end.
    async fn perform(
        &self,
        mut call: Call,
        work: impl FnOnce(&mut Actions, Timestamp) -> Worked,
    ) -> Response<Body> {
        let settings = self.settings();
        let lacking = settings.tokens.check == TokenCheck::Strict
            && !call.wanted.is_empty()
            && !call.caller.may(call.wanted);
        let forbidden = lacking.then(|| Problem::forbidden(call.wanted, &call.caller.roles));
        let work = |actions: &mut Actions, now| match forbidden {
            Some(problem) => Worked::refused(problem),
            None => work(actions, now),
        };
        let file = self.log_file();
        let mut admitted = {
            let mut state = self.state();
            // Read under the lock: arrivals are stamped in the order in which they are counted.
            let times = (self.start(), self.now());
            state.admit(&mut call, times, settings, file, work)
        };
        let ticket = Ticket::new(self, &mut admitted);
        let drawn = dice::roll(settings.seed, admitted.number, b"latency");
        let delay = settings
            .latency
            .draw(drawn)
            .saturating_add(admitted.fate.delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let fault = admitted.fate.fault.map(|fault| fault.kind);
        if let Some(kind) = fault
            && let Some(severed) = severs(kind, call.line.as_ref()).await
        {
            ticket.end(CallEnd::Severed, None);
            return sever(severed, call.line.as_ref());
        }
        let rendered = render(settings.lists.page, &call, admitted);
        let slowly = match fault {
            Some(FaultKind::Slow(span)) => Some(span),
            _ => None,
        };
        ticket.end(CallEnd::Answered, Some(rendered.status));
        rendered.into_response(slowly)
    }
}

/// Puts into bytes what the work came to, or what a mishap says or makes of it.
fn render(page: usize, call: &Call, admitted: Admitted) -> Rendered {
    let fault = admitted.fate.fault.map(|fault| fault.kind);
    let scripted = fault.and_then(|kind| Problem::scripted(kind, call.wanted, &call.caller.roles));
    let answer = match (scripted, admitted.answer) {
        (Some(problem), _) => Answer::Problem(problem),
        (None, answer) => answer.unwrap_or(Answer::Empty),
    };
    let framing = Framing {
        host: &call.host,
        page,
        number: admitted.number,
    };
    let rendered = Rendered::of(answer, &framing);
    match fault {
        Some(kind) => rendered.spoilt_by(kind),
        None => rendered,
    }
}

/// Returns how a mishap ends the connection, where it does; one that hangs first waits for the server's stop.
async fn severs(kind: FaultKind, line: Option<&Line>) -> Option<Severed> {
    match kind {
        FaultKind::Reset => Some(Severed::Reset),
        FaultKind::Close => Some(Severed::Closed),
        FaultKind::Hang => {
            match line {
                Some(line) => line.stopping().await,
                None => std::future::pending().await,
            }
            Some(Severed::Closed)
        }
        _ => None,
    }
}

fn sever(severed: Severed, line: Option<&Line>) -> Response<Body> {
    if let Some(line) = line {
        line.sever(severed);
    }
    let mut response = Rendered::bare(500).into_response(None);
    response.extensions_mut().insert(severed);
    response
}

fn read_id(text: &str) -> Result<ActionId, Problem> {
    ActionId::parse(text)
        .map_err(|_| Problem::new(400, "InvalidInput", "The machine action id is not valid."))
}

async fn cancel(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let asked = read_cancel(&id, &parts.headers, body).await;
    let mut call = arrival(&sandbox, CallKind::Cancel, &parts);
    call.ids = read_id(&id).ok().into_iter().collect();
    let cancels = sandbox.settings().cancels;
    let requestor = match call.caller.app.as_str() {
        "-" => "5a5a5a5a-0000-4000-8000-000000000000".to_owned(),
        app => app.to_owned(),
    };
    sandbox
        .perform(call, |actions, at| match asked {
            Ok((id, comment)) => {
                let by = Cancellation {
                    requestor,
                    comment,
                    at,
                };
                actions.cancel(id, by, cancels)
            }
            Err(problem) => Worked::refused(problem),
        })
        .await
}

/// The body of a cancel. Its one name is case-sensitive.
#[derive(Deserialize)]
struct CancelBody {
    #[serde(rename = "Comment")]
    comment: Option<String>,
}

async fn read_cancel(
    id: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<(ActionId, String), Problem> {
    let unreadable = || Problem::new(400, "InvalidRequestBody", "The request body is incorrect.");
    let id = read_id(id)?;
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    let bytes = axum::body::to_bytes(body, BODY)
        .await
        .map_err(|_| unreadable())?;
    if !is_json {
        return Err(unreadable());
    }
    let read: CancelBody = serde_json::from_slice(&bytes).map_err(|_| unreadable())?;
    match read.comment {
        Some(comment) if !comment.trim().is_empty() => Ok((id, comment)),
        _ => Err(Problem::new(
            400,
            "MissingRequiredParameter",
            "Comment is required.",
        )),
    }
}

async fn one(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    request: Request,
) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let mut call = arrival(&sandbox, CallKind::Get, &parts);
    let id = read_id(&id);
    call.ids = id.iter().copied().collect();
    sandbox
        .perform(call, |actions, now| match id {
            Ok(id) => actions.get(id, now),
            Err(problem) => Worked::refused(problem),
        })
        .await
}

async fn list(State(sandbox): State<Sandbox>, request: Request) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let mut call = arrival(&sandbox, CallKind::List, &parts);
    let query = read_query(&sandbox, &parts.uri);
    if let Ok(query) = &query {
        call.ids = query.ids().unwrap_or_default();
    }
    sandbox
        .perform(call, |actions, now| match query {
            Ok(query) => {
                let found = actions.list(&query, now);
                Worked::only(Answer::List(Box::new(query), found))
            }
            Err(problem) => Worked::refused(problem),
        })
        .await
}

fn read_query(sandbox: &Sandbox, uri: &Uri) -> Result<ListQuery, Problem> {
    let length = uri.path_and_query().map_or(0, |whole| whole.as_str().len());
    if sandbox
        .settings()
        .lists
        .url_limit
        .is_some_and(|limit| length > limit)
    {
        return Err(Problem::new(414, "", ""));
    }
    ListQuery::parse(uri.query().unwrap_or_default())
        .map_err(|message| Problem::new(400, "ODataError", message))
}

async fn machine(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    request: Request,
) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let call = arrival(&sandbox, CallKind::Machine, &parts);
    sandbox
        .perform(call, |actions, _| {
            if let Some(machine) = actions.machine(&id) {
                return Worked::only(Answer::Json(200, machine));
            }
            let message = format!("Machine {id} was not found.");
            Worked::refused(Problem::new(404, "ResourceNotFound", message))
        })
        .await
}

async fn token_v1(
    State(sandbox): State<Sandbox>,
    Path(tenant): Path<String>,
    request: Request,
) -> Response<Body> {
    token(sandbox, &tenant, request, Protocol::V1).await
}

async fn token_v2(
    State(sandbox): State<Sandbox>,
    Path(tenant): Path<String>,
    request: Request,
) -> Response<Body> {
    token(sandbox, &tenant, request, Protocol::V2).await
}

async fn token(
    sandbox: Sandbox,
    tenant: &str,
    request: Request,
    protocol: Protocol,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    // A body that cannot be read lacks what a sign-in must say, and is answered so.
    let form = axum::body::to_bytes(body, BODY).await.unwrap_or_default();
    let call = arrival(&sandbox, CallKind::Token, &parts);
    let tokens = &sandbox.settings().tokens;
    sandbox
        .perform(call, |_, now| {
            let (status, body) = sign_in::answer(protocol, tenant, &form, tokens, now);
            Worked::only(Answer::Json(status, body))
        })
        .await
}

async fn nowhere() -> Response<Body> {
    let problem = Problem::new(404, "NotFound", "There is no such address.");
    let framing = Framing {
        host: "",
        page: 0,
        number: 0,
    };
    Rendered::of(Answer::Problem(problem), &framing).into_response(None)
}
