//! The sandbox, called directly and over real sockets: its answers, quotas, faults and log.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request};
use mde_cancel::api::saved_actions;
use mde_cancel::model::{ActionId, Moment, RowContext, Uptime};
use mde_cancel::quota::{Window, Windows};
use mde_cancel::sandbox::{
    Aborted, CallEnd, CancelEffect, CancelSettings, Faults, FinalCancelAnswer, Generator,
    MockAction, Sandbox, SandboxClock, SandboxSettings, Status, TokenSettings, serve,
};
use proptest::prelude::proptest;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::support::{ManualClock, proptest_config, table};

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
        clock: SandboxClock::Manual(Arc::new(clock.clone())),
        ..SandboxSettings::default()
    };
    (settings, clock)
}

/// A sandbox with one open action, and its clock.
fn with(change: impl FnOnce(&mut SandboxSettings)) -> (Sandbox, ManualClock) {
    let (mut settings, clock) = quiet();
    change(&mut settings);
    let sandbox = Sandbox::new(settings);
    sandbox.add(record(1, Status::Pending));
    (sandbox, clock)
}

fn with_faults(script: &str) -> Sandbox {
    with(|settings| settings.faults = Faults::parse(script).unwrap()).0
}

struct Answered {
    status: u16,
    body: String,
    headers: HeaderMap,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().unwrap())
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
        headers: parts.headers,
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

#[tokio::test]
async fn a_cancel_of_a_final_action_answers_as_chosen_and_changes_nothing() {
    for (choice, status) in [
        (FinalCancelAnswer::Record, 200),
        (FinalCancelAnswer::Empty, 200),
        (FinalCancelAnswer::BadRequest, 400),
        (FinalCancelAnswer::NotFound, 404),
        (FinalCancelAnswer::Conflict, 409),
    ] {
        use Status::{Cancelled, Failed, Succeeded, TimeOut};
        for before in [Succeeded, Failed, TimeOut, Cancelled] {
            let (sandbox, _) = with(|settings| {
                settings.cancels = CancelSettings {
                    of_final: choice,
                    ..CancelSettings::default()
                };
            });
            sandbox.add(record(1, before));
            let answer = cancel(&sandbox, 1).await;
            let after = sandbox.action(id(1)).unwrap().status;
            let told = (answer.status, after, sandbox.log()[0].changed);
            assert_eq!(told, (status, before, false), "{choice:?}");
            match choice {
                FinalCancelAnswer::Record => assert_eq!(answer.json()["status"], before.as_str()),
                FinalCancelAnswer::Empty => assert_eq!(answer.body, ""),
                _ => assert!(!answer.code().is_empty()),
            }
        }
    }
}

#[tokio::test]
async fn a_cancel_of_an_open_action_takes_effect_once_as_chosen() {
    use CancelEffect::{AtOnce, DoneAnyway, Late, TooLate};
    use Status::{Cancelled, InProgress, Pending, Succeeded};
    let lag = Duration::from_secs(10);
    for before in [Pending, InProgress] {
        for (effect, at_once, later, changed) in [
            (AtOnce, Cancelled, Cancelled, true),
            (DoneAnyway, Cancelled, Cancelled, true),
            (Late(lag), before, Cancelled, true),
            (TooLate(lag), before, Succeeded, false),
        ] {
            let (sandbox, clock) = with(|_| ());
            let mut open = record(1, before);
            open.action_type = "LiveResponse".to_owned();
            open.on_cancel = Some(effect);
            sandbox.add(open);
            for _ in 0..2 {
                let answer = cancel(&sandbox, 1).await.json();
                assert_eq!(answer["status"], at_once.as_str(), "{effect:?}");
            }
            clock.advance(lag.saturating_sub(Duration::from_nanos(1)));
            let status = || sandbox.action(id(1)).unwrap().status;
            assert_eq!(status(), at_once, "{effect:?}");
            clock.advance(Duration::from_nanos(1));
            assert_eq!(status(), later, "{effect:?}");
            let path = format!("/api/machineactions/{}", id(1));
            let last = get(&sandbox, &path).await.json();
            let is_ours = last["cancellationComment"] == "CHG-1";
            assert_eq!(is_ours, later == Cancelled, "{effect:?}");
            let is_done = last["commands"][0]["commandStatus"] == "Completed";
            let expected = matches!(effect, DoneAnyway | TooLate(_));
            assert_eq!(is_done, expected, "{effect:?}");
            let log = sandbox.log().into_iter();
            let log: Vec<_> = log.map(|call| call.changed).collect();
            assert_eq!(log[..2], [changed, false], "{effect:?}");
            assert_eq!(sandbox.cancels_of(id(1)), 2);
        }
    }
}

#[tokio::test]
async fn a_call_that_lacks_what_the_service_needs_is_refused_in_its_words() {
    let (sandbox, _) = with(|_| ());
    let path = format!("/api/machineactions/{}/cancel", id(1));
    for (body, code) in [
        ("", "InvalidRequestBody"),
        ("[", "InvalidRequestBody"),
        ("{}", "MissingRequiredParameter"),
        (r#"{"comment":"x"}"#, "MissingRequiredParameter"),
        (r#"{"Comment":" "}"#, "MissingRequiredParameter"),
        (r#"{"Comment":5}"#, "InvalidRequestBody"),
    ] {
        let answer = send(&sandbox, request("POST", &path, "x", body)).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, code),
            "{body}"
        );
    }
    let mut untyped = request("POST", &path, "x", r#"{"Comment":"x"}"#);
    untyped.headers_mut().remove("content-type");
    assert_eq!(send(&sandbox, untyped).await.status, 400);
    let mut nobody = request("POST", &path, "x", r#"{"Comment":"x"}"#);
    nobody.headers_mut().remove("authorization");
    let answer = send(&sandbox, nobody).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (401, "Unauthorized")
    );
    assert_eq!(get(&sandbox, "/api/machineactions/x").await.status, 400);
    assert_eq!(cancel(&sandbox, 2).await.code(), "ResourceNotFound");
    assert_eq!(get(&sandbox, "/elsewhere").await.status, 404);
    assert_eq!(sandbox.action(id(1)).unwrap().status, Status::Pending);
    assert_eq!(sandbox.cancels_of(id(1)), 0);
}

#[tokio::test]
async fn strict_tokens_are_ours_valid_and_carry_the_role() {
    let (sandbox, clock) = with(|settings| {
        settings.tokens = TokenSettings {
            strict: true,
            lifetime: Duration::from_secs(60),
            roles: vec!["Machine.Scan".to_owned()],
            ..TokenSettings::default()
        };
    });
    let form = "grant_type=client_credentials&client_id=app1&client_secret=s&scope=https%3A%2F%2Fapi.securitycenter.microsoft.com%2F.default";
    let body = send(&sandbox, request("POST", "/t1/oauth2/v2.0/token", "", form))
        .await
        .json();
    let token = body["access_token"].as_str().unwrap();
    let path = format!("/api/machineactions/{}", id(1));
    let read = send(&sandbox, request("GET", &path, token, "")).await;
    assert_eq!(read.status, 403);
    assert_eq!(
        read.json()["error"]["message"],
        "Missing application roles. API required roles: Machine.Read.All,Machine.ReadWrite.All, application roles: \
         Machine.Scan."
    );
    let cancel_path = format!("{path}/cancel");
    let cancelling = || request("POST", &cancel_path, token, r#"{"Comment":"x"}"#);
    let cancelled = send(&sandbox, cancelling()).await.json();
    assert_eq!(cancelled["cancellationRequestor"], "app1");
    assert_eq!(sandbox.log()[1].client, "t1/app1");
    clock.advance(Duration::from_secs(60));
    assert_eq!(send(&sandbox, cancelling()).await.status, 401);
    assert_eq!(cancel(&sandbox, 1).await.status, 401);
}

#[tokio::test]
async fn every_fault_shows_and_does_the_work_only_where_it_says_so() {
    // Status, whether the action is cancelled, and whether the body is JSON.
    for [script, status, work, body] in table(
        "
        400                | 400 | -       | json
        401                | 401 | -       | json
        403                | 403 | -       | json
        404                | 404 | -       | json
        408                | 408 | -       | json
        409                | 409 | -       | json
        500                | 500 | -       | json
        applied-502        | 502 | applied | -
        503:8s             | 503 | -       | -
        429-storm          | 429 | -       | json
        html               | 200 | -       | -
        applied-html       | 200 | applied | -
        broken-json        | 200 | applied | -
        empty              | 200 | applied | -
        202                | 202 | applied | -
        302                | 302 | -       | -
        latency:1ms..2ms   | 200 | applied | json
        slow:5ms           | 200 | applied | json
        ",
    ) {
        let sandbox = with_faults(script);
        let answer = cancel(&sandbox, 1).await;
        assert_eq!(answer.status.to_string(), status, "{script}");
        let is_applied = work == "applied";
        let after = sandbox.action(id(1)).unwrap().status;
        assert_eq!(after == Status::Cancelled, is_applied, "{script}");
        let logged = &sandbox.log()[0];
        let expected = (Some(answer.status), is_applied);
        assert_eq!((logged.status, logged.changed), expected, "{script}");
        let is_json = serde_json::from_str::<Value>(&answer.body).is_ok();
        assert_eq!(is_json, body == "json", "{script}: {}", answer.body);
        let wait = (script == "503:8s").then_some("8");
        assert_eq!(answer.header("retry-after"), wait, "{script}");
        assert_eq!(answer.header("location").is_some(), script == "302");
    }
    let severed = with_faults("reset");
    let path = format!("/api/machineactions/{}", id(1));
    let answer = severed.respond(request("GET", &path, "x", "")).await;
    assert_eq!(answer.unwrap_err(), Aborted::Reset);
}

#[tokio::test]
async fn a_429_storm_gives_its_wait_as_configured_and_is_no_violation() {
    for (script, header, hint) in [
        ("429-storm", None, false),
        ("429-storm:8s", Some("8"), true),
        ("429-storm:8s:header", Some("8"), false),
        ("429-storm:8s:hint", None, true),
    ] {
        let sandbox = with_faults(script);
        let answer = cancel(&sandbox, 1).await;
        assert_eq!(answer.header("retry-after"), header, "{script}");
        assert_eq!(answer.body.contains("in 8 seconds"), hint, "{script}");
        assert_eq!(sandbox.violations(), 0);
    }
}

proptest! {
    #![proptest_config(proptest_config(256))]

    #[test]
    fn no_fault_script_panics(text in "[a-z0-9@=,;:.\\- ]{0,60}|.{0,60}") {
        drop(Faults::parse(&text));
    }
}

#[tokio::test]
async fn both_documented_windows_are_kept_to_the_nanosecond_and_named_in_the_refusal() {
    let (sandbox, clock) = with(|settings| settings.quota = Windows::documented());
    for _ in 0..100 {
        assert_eq!(cancel(&sandbox, 1).await.status, 200);
    }
    clock.advance(Duration::from_millis(52_001));
    let refused = cancel(&sandbox, 1).await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (429, Some("8"))
    );
    let error = &refused.json()["error"];
    assert_eq!(error["code"], "429");
    assert_eq!(
        error["message"],
        "Quota exceeded, maximum allowed 100 per 00:01:00 for the key Destination+TenantID+AppID. You can send \
         requests again in 8 seconds."
    );
    assert_eq!(error["target"].as_str().unwrap().len(), 36);
    clock.advance(Duration::from_nanos(7_998_999_999));
    assert_eq!(cancel(&sandbox, 1).await.status, 429);
    clock.advance(Duration::from_nanos(1));
    for _ in 1..15 {
        for _ in 0..100 {
            assert_eq!(cancel(&sandbox, 1).await.status, 200);
        }
        clock.advance(Duration::from_secs(60));
    }
    let refused = cancel(&sandbox, 1).await;
    assert!(
        refused.body.contains("maximum allowed 1500 per 01:00:00"),
        "{}",
        refused.body
    );
    assert_eq!(refused.header("retry-after"), Some("2700"));
    assert_eq!(get(&sandbox, "/api/machineactions").await.status, 200);
    assert_eq!(sandbox.violations(), 3);
}

#[tokio::test]
async fn quotas_are_counted_by_the_tenant_and_app_of_the_token() {
    let (sandbox, _) = with(|settings| {
        settings.quota = Windows::new(vec![Window::parse("1/1m").unwrap()]);
    });
    let path = format!("/api/machineactions/{}", id(1));
    for (tenant, app, expected) in [
        ("t1", "a", 200),
        ("t2", "a", 200),
        ("t1", "b", 200),
        ("t1", "a", 429),
    ] {
        let token = sandbox.token(tenant, app);
        let answer = send(&sandbox, request("GET", &path, &token, "")).await;
        assert_eq!(answer.status, expected, "{tenant} {app}");
    }
}

#[tokio::test]
async fn lists_filter_order_and_link_as_asked() {
    let (sandbox, _) = with(|settings| settings.page = 2);
    for number in 2..=4 {
        let mut newer = record(number, Status::Pending);
        newer.created_at += Duration::from_secs(number.into());
        sandbox.add(newer);
    }
    let first = list(&sandbox, &[]).await;
    let link = first.json()["@odata.nextLink"].as_str().unwrap().to_owned();
    let path = link.strip_prefix("https://api.security.microsoft.com");
    let second = get(&sandbox, path.unwrap()).await;
    assert_eq!(
        [listed(&first), listed(&second)].concat(),
        ["04", "03", "02", "01"]
    );
    assert!(second.json().get("@odata.nextLink").is_none());
    let ids = format!("id in ('{}','{}','{}')", id(2), id(4), id(9));
    let found = list(&sandbox, &[("$filter", &ids)]).await;
    assert_eq!(listed(&found), ["04", "02"]);
    let refused = list(&sandbox, &[("$stop", "5")]).await;
    assert_eq!((refused.status, &*refused.code()), (400, "ODataError"));
}

#[tokio::test]
async fn a_made_up_world_is_the_same_whether_it_was_seeded_or_first_seen_in_a_call() {
    let generator = Generator::realistic(7);
    let (settings, _) = quiet();
    let lazy = Sandbox::new(SandboxSettings {
        unknown_ids: Some(generator.clone()),
        ..settings.clone()
    });
    let seeded = Sandbox::new(settings);
    let ids = seeded.generate(400, &generator);
    for id in ids.iter().rev() {
        let path = format!("/api/machineactions/{id}");
        let (one, other) = (get(&lazy, &path).await, get(&seeded, &path).await);
        assert_eq!(one.status, other.status);
        if one.status == 200 {
            assert_eq!(one.body, other.body);
        }
    }
    let row = RowContext {
        computer_dns_name: Some("srv-1".to_owned()),
        ..RowContext::default()
    };
    seeded.seed_from([(id(9), row)], &Generator::all_pending(1));
    assert_eq!(
        seeded.action(id(9)).unwrap().computer_dns_name.as_deref(),
        Some("srv-1")
    );
}

#[tokio::test]
async fn a_saved_list_makes_the_same_list_again() {
    let (settings, _) = quiet();
    let first = Sandbox::new(settings.clone());
    first.generate(300, &Generator::realistic(7));
    let saved = list(&first, &[]).await.json().clone();
    let second = Sandbox::new(settings);
    let actions = saved_actions(&saved.to_string()).into_iter();
    let actions = actions.filter_map(MockAction::saved);
    actions.for_each(|action| second.add(action));
    let shown = |body: &Value| {
        let keys = [
            "id",
            "type",
            "status",
            "requestor",
            "machineId",
            "creationDateTimeUtc",
            "lastUpdateDateTimeUtc",
            "cancellationComment",
            "cancellationDateTimeUtc",
        ];
        let records = body["value"].as_array().unwrap().iter();
        let rows = records.map(|record| keys.map(|key| record[key].clone()));
        rows.collect::<Vec<_>>()
    };
    assert!(shown(&saved).len() > 250);
    assert_eq!(shown(&list(&second, &[]).await.json()), shown(&saved));
}

#[tokio::test]
async fn a_restored_sandbox_continues_where_it_was_saved() {
    let (settings, clock) = quiet();
    let settings = SandboxSettings {
        quota: Windows::new(vec![Window::parse("3/1m").unwrap()]),
        faults: Faults::parse("503@nth=3").unwrap(),
        unknown_ids: Some(Generator::all_pending(1)),
        ..settings
    };
    let first = Sandbox::new(settings.clone());
    let nothing = Generator {
        statuses: Vec::new(),
        missing: 1,
        ..Generator::all_pending(1)
    };
    first.seed_from([(id(2), RowContext::default())], &nothing);
    assert_eq!(cancel(&first, 1).await.status, 200);
    assert_eq!(cancel(&first, 2).await.status, 404);
    let stored = serde_json::to_string(&first.save()).unwrap();
    clock.advance(Duration::from_secs(1));
    let second = Sandbox::restore(settings, serde_json::from_str(&stored).unwrap());
    assert_eq!(second.action(id(1)), first.action(id(1)));
    assert_eq!(second.action(id(3)), first.action(id(3)));
    assert_eq!(second.action(id(2)), None);
    assert_eq!(cancel(&second, 1).await.status, 503);
    assert_eq!(cancel(&second, 1).await.header("retry-after"), Some("59"));
}

#[tokio::test]
async fn records_have_the_odd_fields_that_the_service_writes() {
    let (settings, _) = quiet();
    let sandbox = Sandbox::new(settings);
    let ids = sandbox.generate(400, &Generator::realistic(7));
    let mut odd = 0;
    for id in ids {
        let answer = get(&sandbox, &format!("/api/machineactions/{id}")).await;
        if answer.status != 200 {
            continue;
        }
        let record = answer.json();
        if record["cancellationDateTimeUtc"] == "" {
            assert_eq!(record["DecidedBy"], record["requestor"]);
            odd += 1;
        }
    }
    assert!(odd > 50, "{odd}");
}

/// A sandbox behind a real socket.
struct Served {
    sandbox: Sandbox,
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<()>,
}

impl Served {
    async fn start(sandbox: Sandbox) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(listener, sandbox.clone(), stopped));
        Self {
            sandbox,
            address,
            stop,
            server,
        }
    }

    /// Sends one cancel and leaves the connection open.
    async fn send_cancel(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "POST /api/machineactions/{}/cancel HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Type: \
             application/json\r\nContent-Length: 15\r\n\r\n{{\"Comment\":\"c\"}}",
            id(1)
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    /// Waits until the first call ended with `end`.
    async fn until(&self, end: CallEnd) {
        while self
            .sandbox
            .log()
            .first()
            .is_none_or(|call| call.end != end)
        {
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) -> Sandbox {
        self.stop.send(()).unwrap();
        self.server.await.unwrap();
        self.sandbox
    }
}

#[tokio::test]
async fn a_severed_connection_ends_without_a_byte_and_as_its_kind_says() {
    for (script, reset, applied) in [
        ("reset", true, Status::Pending),
        ("applied-reset", true, Status::Cancelled),
        ("close", false, Status::Pending),
        ("applied-close", false, Status::Cancelled),
    ] {
        let served = Served::start(with_faults(script)).await;
        let mut stream = served.send_cancel().await;
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes).await;
        assert!(bytes.is_empty(), "{script}");
        match read {
            // Wine closes cleanly where Windows resets.
            Ok(_) => assert!(!reset || cfg!(windows), "{script}"),
            Err(error) => {
                assert!(reset, "{script}: {error}");
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            }
        }
        let sandbox = served.stop().await;
        assert_eq!(sandbox.action(id(1)).unwrap().status, applied, "{script}");
        let log = sandbox.log();
        assert_eq!((log[0].status, log[0].end), (None, CallEnd::Aborted));
        assert_eq!(log[0].fault.as_deref(), Some(script));
    }
}

#[tokio::test]
async fn a_call_that_hangs_is_closed_when_the_server_stops() {
    let served = Served::start(with_faults("applied-hang")).await;
    let mut stream = served.send_cancel().await;
    served.until(CallEnd::Open).await;
    let sandbox = served.stop().await;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.is_empty());
    assert_eq!(sandbox.log()[0].end, CallEnd::Aborted);
    assert_eq!(sandbox.action(id(1)).unwrap().status, Status::Cancelled);
}

#[tokio::test]
async fn a_disconnected_caller_keeps_its_cancel_and_its_log_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.jsonl");
    let sandbox = with_faults("latency:1h");
    sandbox.log_to(&path).unwrap();
    let served = Served::start(sandbox).await;
    let stream = served.send_cancel().await;
    served.until(CallEnd::Open).await;
    drop(stream);
    served.until(CallEnd::Abandoned).await;
    let sandbox = served.stop().await;
    assert_eq!(sandbox.action(id(1)).unwrap().status, Status::Cancelled);
    let text = std::fs::read_to_string(&path).unwrap();
    let line: Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!(
        (&line["end"], &line["changed"]),
        (&Value::from("abandoned"), &Value::from(true))
    );
    assert_eq!(line["ids"][0], id(1).to_string());
}

#[tokio::test]
async fn a_connection_serves_one_call_after_another_and_a_slow_body_comes_whole() {
    let served = Served::start(with_faults("slow:20ms@nth=1")).await;
    let mut stream = served.send_cancel().await;
    for _ in 0..2 {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\"type\":\"Isolate\"}") {
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
        }
        let head = format!(
            "GET /api/machineactions/{} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n",
            id(1)
        );
        let text = String::from_utf8(bytes).unwrap();
        let (headers, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            headers.contains(&format!("content-length: {}", body.len())),
            "{headers}"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
    }
    drop(stream);
    served.stop().await;
}
