//! The imitation of the service, by its addresses and over real sockets: what it answers, counts, spoils and records.

mod cancels;
mod faults;
mod quotas;
mod sockets;
mod worlds;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use mde_cancel::clock::ManualClock;
use mde_cancel::model::{ActionId, Moment, Uptime};
use mde_cancel::quota::Windows;
use mde_cancel::sandbox::{Faults, MockAction, Sandbox, SandboxClock, SandboxSettings, Status};
use serde_json::Value;

const START: &str = "2026-02-03T04:05:06.1234567Z";

fn id(number: u8) -> ActionId {
    ActionId::from_bytes([number; 16]).unwrap()
}

fn record(number: u8, status: Status) -> MockAction {
    MockAction::new(id(number), "Isolate", status, START.parse().unwrap())
}

/// Settings without quotas, on a clock that stands still.
fn quiet() -> (SandboxSettings, ManualClock) {
    let clock = ManualClock::new(Moment {
        uptime: Uptime::from_nanos(1_000_000_000),
        wall: START.parse().unwrap(),
    });
    let settings = SandboxSettings {
        quota: Windows::none(),
        clock: SandboxClock::Manual(clock.clone()),
        ..SandboxSettings::default()
    };
    (settings, clock)
}

fn with_faults(script: &str) -> Sandbox {
    let (settings, _) = quiet();
    let sandbox = Sandbox::new(SandboxSettings {
        faults: Faults::parse(script).unwrap(),
        ..settings
    });
    sandbox.add(record(1, Status::Pending));
    sandbox
}

struct Answered {
    status: u16,
    body: String,
    response: Response<()>,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let value = self.response.headers().get(name)?;
        Some(value.to_str().unwrap())
    }

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }
}

async fn send(sandbox: &Sandbox, request: Request<Full<Bytes>>) -> Answered {
    let response = sandbox.respond(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answered {
        status: parts.status.as_u16(),
        body: String::from_utf8(bytes.to_vec()).unwrap(),
        response: Response::from_parts(parts, ()),
    }
}

fn request(method: &str, path: &str, token: &str, body: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:1")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(body.to_owned().into())
        .unwrap()
}

async fn cancel(sandbox: &Sandbox, number: u8) -> Answered {
    let path = format!("/api/machineactions/{}/cancel", id(number));
    send(
        sandbox,
        request("POST", &path, "x", r#"{"Comment":"CHG-1"}"#),
    )
    .await
}

async fn get(sandbox: &Sandbox, path: &str) -> Answered {
    send(sandbox, request("GET", path, "x", "")).await
}

async fn list(sandbox: &Sandbox, options: &[(&str, &str)]) -> Answered {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(options)
        .finish();
    get(sandbox, &format!("/api/machineactions?{query}")).await
}

fn listed(answer: &Answered) -> Vec<String> {
    let value = answer.json()["value"].as_array().unwrap().clone();
    value
        .iter()
        .map(|record| record["id"].as_str().unwrap()[..2].to_owned())
        .collect()
}
