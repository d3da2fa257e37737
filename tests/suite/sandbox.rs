//! The imitation of the service, by its addresses and over real sockets: what it answers, counts, spoils and records.

use std::num::NonZeroU64;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::http::Response;
use jiff::Timestamp;
use mde_cancel::clock::ManualClock;
use mde_cancel::domain::ActionId;
use mde_cancel::domain::Moment;
use mde_cancel::domain::RowContext;
use mde_cancel::domain::Uptime;
use mde_cancel::quota::Window;
use mde_cancel::quota::Windows;
use mde_cancel::sandbox::CallEnd;
use mde_cancel::sandbox::CallKind;
use mde_cancel::sandbox::CancelEffect;
use mde_cancel::sandbox::CancelSettings;
use mde_cancel::sandbox::Fault;
use mde_cancel::sandbox::Faults;
use mde_cancel::sandbox::FinalAnswer;
use mde_cancel::sandbox::ListSettings;
use mde_cancel::sandbox::Mix;
use mde_cancel::sandbox::QuotaSettings;
use mde_cancel::sandbox::Record;
use mde_cancel::sandbox::RetryAfterForm;
use mde_cancel::sandbox::Rule;
use mde_cancel::sandbox::Sandbox;
use mde_cancel::sandbox::SandboxClock;
use mde_cancel::sandbox::SandboxSettings;
use mde_cancel::sandbox::Severed;
use mde_cancel::sandbox::Status;
use mde_cancel::sandbox::TokenCheck;
use mde_cancel::sandbox::TokenSettings;
use mde_cancel::sandbox::Turn;
use mde_cancel::sandbox::serve;
use proptest::prelude::*;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tower::ServiceExt as _;

const START: &str = "2026-02-03T04:05:06.1234567Z";

fn id(number: u8) -> ActionId {
    ActionId::from_bytes([number; 16]).unwrap()
}

fn record(number: u8, status: Status) -> Record {
    Record::new(id(number), "Isolate", status, START.parse().unwrap())
}

/// Settings without quotas, on a clock that stands still.
fn quiet() -> (SandboxSettings, ManualClock) {
    let clock = ManualClock::new(Moment {
        uptime: Uptime::from_nanos(1_000_000_000),
        wall: START.parse().unwrap(),
    });
    let settings = SandboxSettings {
        quota: QuotaSettings::same_for_all(Windows::none()),
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

async fn send(sandbox: &Sandbox, request: Request<Body>) -> Answered {
    let response = sandbox.router().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    Answered {
        status: parts.status.as_u16(),
        body: String::from_utf8(bytes.to_vec()).unwrap(),
        response: Response::from_parts(parts, ()),
    }
}

fn request(method: &str, path: &str, token: &str, body: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:1")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
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
async fn both_documented_windows_are_kept_to_the_nanosecond_and_named_in_the_refusal() {
    let (settings, clock) = quiet();
    let sandbox = Sandbox::new(SandboxSettings {
        quota: QuotaSettings::default(),
        ..settings
    });
    sandbox.add(record(1, Status::Pending));
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
    let worst = sandbox.worst_counts();
    let of_cancels: Vec<_> = worst
        .iter()
        .filter(|worst| worst.kind == CallKind::Cancel)
        .map(|worst| worst.count)
        .collect();
    assert_eq!(of_cancels, [102, 1503]);
}

#[tokio::test]
async fn a_refusal_tells_when_to_come_back_in_the_form_that_was_chosen() {
    for (form, expected) in [
        (RetryAfterForm::Seconds, Some("60")),
        (
            RetryAfterForm::HttpDate,
            Some("Tue, 03 Feb 2026 04:06:07 GMT"),
        ),
        (RetryAfterForm::Absent, None),
        (RetryAfterForm::Absurd, Some("1000000000")),
    ] {
        let (settings, _) = quiet();
        let windows = Windows::new(vec![Window::parse("1/1m").unwrap()]);
        let sandbox = Sandbox::new(SandboxSettings {
            quota: QuotaSettings {
                retry_after: form,
                ..QuotaSettings::same_for_all(windows)
            },
            ..settings
        });
        cancel(&sandbox, 1).await;
        assert_eq!(cancel(&sandbox, 1).await.header("retry-after"), expected);
    }
}

#[tokio::test]
async fn quotas_are_counted_by_the_tenant_and_app_of_the_token() {
    let (settings, _) = quiet();
    let windows = Windows::new(vec![Window::parse("1/1m").unwrap()]);
    let sandbox = Sandbox::new(SandboxSettings {
        quota: QuotaSettings::same_for_all(windows),
        ..settings
    });
    let path = format!("/api/machineactions/{}", id(1));
    for (tenant, app, expected) in [
        ("t1", "a", 404),
        ("t2", "a", 404),
        ("t1", "b", 404),
        ("t1", "a", 429),
    ] {
        let token = sandbox.token(tenant, app);
        let answer = send(&sandbox, request("GET", &path, &token, "")).await;
        assert_eq!(answer.status, expected, "{tenant} {app}");
    }
}

#[tokio::test]
async fn lists_filter_order_count_and_select_as_asked() {
    let (settings, _) = quiet();
    let sandbox = Sandbox::new(settings);
    for number in 1..=5_u8 {
        let mut one = record(number, Status::Pending);
        one.created_at = Timestamp::from_second(1_700_000_000 + i64::from(number)).unwrap();
        if number == 3 {
            one.requestor = "o'neil@corp.example".to_owned();
            one.status = Status::Succeeded;
        }
        sandbox.add(one);
    }
    let ids = format!("id in ('{}','{}','{}')", id(2), id(4), id(9));
    for (options, expected) in [
        (vec![], vec!["05", "04", "03", "02", "01"]),
        (
            vec![("$filter", "requestor eq 'o''neil@corp.example'")],
            vec!["03"],
        ),
        (vec![("$filter", "status ne 'Pending'")], vec!["03"]),
        (
            vec![("$filter", ids.as_str()), ("$orderby", "id")],
            vec!["02", "04"],
        ),
        (
            vec![(
                "$filter",
                "creationDateTimeUtc ge 2023-11-14T22:13:24Z AND type eq 'Isolate'",
            )],
            vec!["05", "04"],
        ),
        (
            vec![
                ("$top", "2"),
                ("$skip", "1"),
                ("$orderby", "creationDateTimeUtc asc"),
            ],
            vec!["02", "03"],
        ),
    ] {
        let answer = list(&sandbox, &options).await;
        assert_eq!(listed(&answer), expected, "{options:?}");
        assert!(answer.json().get("@odata.nextLink").is_none());
    }
    let answer = list(
        &sandbox,
        &[("$count", "true"), ("$top", "1"), ("$select", "id,status")],
    )
    .await;
    assert_eq!(
        answer.json(),
        serde_json::json!({
            "@odata.context": "https://api.security.microsoft.com/api/$metadata#MachineActions(id,status)",
            "@odata.count": 5, "value": [{"id": id(5).to_string(), "status": "Pending"}],
        })
    );
    let refused = list(&sandbox, &[("$stop", "5")]).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "ODataError")
    );
}

#[tokio::test]
async fn pages_link_to_the_next_url_limits_hold_and_new_actions_come_late() {
    let (settings, clock) = quiet();
    let sandbox = Sandbox::new(SandboxSettings {
        lists: ListSettings {
            lag: Duration::from_secs(5),
            page: 2,
            url_limit: Some(200),
            next_link_host: None,
        },
        ..settings
    });
    (1..=3).for_each(|number| sandbox.add(record(number, Status::Pending)));
    assert!(listed(&list(&sandbox, &[]).await).is_empty());
    let one = get(&sandbox, &format!("/api/v1.0/machineactions/{}", id(1))).await;
    assert_eq!(one.status, 200);
    clock.advance(Duration::from_secs(5));
    let first = list(&sandbox, &[("$count", "true")]).await.json();
    let link = first["@odata.nextLink"].as_str().unwrap().to_owned();
    let path = link.strip_prefix("http://127.0.0.1:1").unwrap();
    assert_eq!(listed(&get(&sandbox, path).await), ["03"]);
    let long = format!("status eq '{}'", "x".repeat(200));
    assert_eq!(list(&sandbox, &[("$filter", &long)]).await.status, 414);
}

#[tokio::test]
async fn a_cancel_of_a_final_action_answers_as_chosen_and_changes_nothing_unless_told_to() {
    for (choice, status) in [
        (FinalAnswer::Record, 200),
        (FinalAnswer::Empty, 200),
        (FinalAnswer::BadRequest, 400),
        (FinalAnswer::NotFound, 404),
        (FinalAnswer::Conflict, 409),
        (FinalAnswer::Overwritten, 200),
    ] {
        for before in [
            Status::Succeeded,
            Status::Failed,
            Status::TimeOut,
            Status::Cancelled,
        ] {
            let (settings, _) = quiet();
            let sandbox = Sandbox::new(SandboxSettings {
                cancels: CancelSettings {
                    of_final: choice,
                    ..CancelSettings::default()
                },
                ..settings
            });
            sandbox.add(record(1, before));
            let answer = cancel(&sandbox, 1).await;
            assert_eq!(answer.status, status, "{choice:?} {before:?}");
            let after = match choice {
                FinalAnswer::Overwritten => Status::Cancelled,
                _ => before,
            };
            assert_eq!(
                sandbox.action(id(1)).unwrap().status,
                after,
                "{choice:?} {before:?}"
            );
            assert_eq!(sandbox.log()[0].changed, after != before);
            match choice {
                FinalAnswer::Record | FinalAnswer::Overwritten => {
                    assert_eq!(answer.json()["status"], after.as_str());
                }
                FinalAnswer::Empty => assert_eq!(answer.body, ""),
                _ => assert!(!answer.code().is_empty()),
            }
        }
    }
}

#[tokio::test]
async fn a_cancel_of_an_open_action_takes_effect_as_chosen() {
    let lag = Duration::from_secs(10);
    for before in [Status::Pending, Status::InProgress] {
        for (effect, at_once, later, changed) in [
            (
                CancelEffect::AtOnce,
                Status::Cancelled,
                Status::Cancelled,
                true,
            ),
            (
                CancelEffect::DoneAnyway,
                Status::Cancelled,
                Status::Cancelled,
                true,
            ),
            (CancelEffect::Late(lag), before, Status::Cancelled, true),
            (CancelEffect::TooLate(lag), before, Status::Succeeded, false),
        ] {
            let (settings, clock) = quiet();
            let sandbox = Sandbox::new(settings);
            let mut open = record(1, before);
            open.action_type = "LiveResponse".to_owned();
            open.on_cancel = Some(effect);
            sandbox.add(open);
            assert_eq!(
                cancel(&sandbox, 1).await.json()["status"],
                at_once.as_str(),
                "{effect:?}"
            );
            clock.advance(lag.saturating_sub(Duration::from_nanos(1)));
            assert_eq!(sandbox.action(id(1)).unwrap().status, at_once, "{effect:?}");
            clock.advance(Duration::from_nanos(1));
            let last = get(&sandbox, &format!("/api/machineactions/{}", id(1)))
                .await
                .json();
            assert_eq!(last["status"], later.as_str(), "{effect:?}");
            let cancelled = later == Status::Cancelled;
            assert_eq!(
                last["cancellationComment"] == "CHG-1",
                cancelled,
                "{effect:?}"
            );
            let done = last["commands"][0]["commandStatus"] == "Completed";
            assert_eq!(
                done,
                matches!(effect, CancelEffect::DoneAnyway | CancelEffect::TooLate(_))
            );
            assert_eq!(sandbox.log()[0].changed, changed, "{effect:?}");
        }
    }
}

#[tokio::test]
async fn a_second_cancel_of_an_action_about_to_turn_changes_nothing() {
    let (settings, clock) = quiet();
    let sandbox = Sandbox::new(settings);
    let mut late = record(1, Status::Pending);
    late.on_cancel = Some(CancelEffect::Late(Duration::from_secs(10)));
    sandbox.add(late);
    cancel(&sandbox, 1).await;
    clock.advance(Duration::from_secs(6));
    assert_eq!(cancel(&sandbox, 1).await.json()["status"], "Pending");
    clock.advance(Duration::from_secs(4));
    assert_eq!(sandbox.action(id(1)).unwrap().status, Status::Cancelled);
    assert_eq!(sandbox.cancels_of(id(1)), 2);
    let changed: Vec<_> = sandbox.log().iter().map(|call| call.changed).collect();
    assert_eq!(changed, [true, false]);
}

#[tokio::test]
async fn a_call_that_lacks_what_the_service_needs_is_refused_in_its_words() {
    let (settings, _) = quiet();
    let sandbox = Sandbox::new(settings);
    sandbox.add(record(1, Status::Pending));
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
    assert_eq!(get(&sandbox, "/api/machines/0").await.status, 404);
    assert_eq!(get(&sandbox, "/elsewhere").await.status, 404);
    assert_eq!(sandbox.action(id(1)).unwrap().status, Status::Pending);
    assert_eq!(sandbox.cancels_of(id(1)), 0);
}

#[tokio::test]
async fn strict_tokens_are_ours_valid_and_carry_the_role() {
    let (settings, clock) = quiet();
    let sandbox = Sandbox::new(SandboxSettings {
        tokens: TokenSettings {
            check: TokenCheck::Strict,
            lifetime: Duration::from_secs(60),
            roles: vec!["Machine.Scan".to_owned()],
            ..TokenSettings::default()
        },
        ..settings
    });
    sandbox.add(record(1, Status::Pending));
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
    let cancelling = || {
        request(
            "POST",
            &format!("{path}/cancel"),
            token,
            r#"{"Comment":"x"}"#,
        )
    };
    assert_eq!(
        send(&sandbox, cancelling()).await.json()["cancellationRequestor"],
        "app1"
    );
    assert_eq!(sandbox.log()[1].party, "t1/app1");
    clock.advance(Duration::from_secs(60));
    assert_eq!(send(&sandbox, cancelling()).await.status, 401);
    assert_eq!(cancel(&sandbox, 1).await.status, 401);
    let wrong = send(
        &sandbox,
        request(
            "POST",
            "/t1/oauth2/token",
            "",
            "grant_type=client_credentials",
        ),
    )
    .await;
    assert_eq!(
        (wrong.status, wrong.json()["error"].as_str()),
        (400, Some("invalid_request"))
    );
}

#[tokio::test]
async fn every_mishap_shows_and_does_the_work_only_where_it_says_so() {
    for (script, status, applied) in [
        ("400", 400, false),
        ("401", 401, false),
        ("403", 403, false),
        ("404", 404, false),
        ("408", 408, false),
        ("409", 409, false),
        ("500", 500, false),
        ("applied-502", 502, true),
        ("503:8s", 503, false),
        ("429-storm", 429, false),
        ("html", 200, false),
        ("applied-html", 200, true),
        ("broken-json", 200, true),
        ("empty", 200, true),
        ("202", 202, true),
        ("302", 302, false),
        ("latency:1ms..2ms", 200, true),
        ("slow:5ms", 200, true),
    ] {
        let sandbox = with_faults(script);
        let answer = cancel(&sandbox, 1).await;
        assert_eq!(answer.status, status, "{script}");
        let expected = if applied {
            Status::Cancelled
        } else {
            Status::Pending
        };
        assert_eq!(sandbox.action(id(1)).unwrap().status, expected, "{script}");
        let log = sandbox.log();
        assert_eq!(
            (log[0].status, log[0].changed),
            (Some(status), applied),
            "{script}"
        );
        let whole = serde_json::from_str::<Value>(&answer.body).is_ok();
        let spoilt = [
            "applied-502",
            "503:8s",
            "html",
            "applied-html",
            "broken-json",
            "empty",
            "202",
            "302",
        ];
        assert_eq!(
            whole,
            !spoilt.contains(&script),
            "{script}: {}",
            answer.body
        );
        let wait = (script == "503:8s").then_some("8");
        assert_eq!(answer.header("retry-after"), wait, "{script}");
        assert_eq!(answer.header("location").is_some(), script == "302");
    }
}

#[tokio::test]
async fn a_storm_tells_its_wait_where_it_was_told_to_and_is_no_violation() {
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

#[tokio::test]
async fn a_made_up_world_is_the_same_whether_it_was_seeded_or_first_seen_in_a_call() {
    let mix = Mix::believable(7);
    let (settings, _) = quiet();
    let lazy = Sandbox::new(SandboxSettings {
        unknown_ids: Some(mix.clone()),
        ..settings.clone()
    });
    let seeded = Sandbox::new(settings);
    let ids = seeded.generate(400, &mix);
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
    seeded.seed_from([(id(9), row)], &Mix::all_pending(1));
    assert_eq!(
        seeded.action(id(9)).unwrap().computer_dns_name.as_deref(),
        Some("srv-1")
    );
}

#[tokio::test]
async fn a_sandbox_that_was_put_away_goes_on_where_it_stopped() {
    let (settings, clock) = quiet();
    let settings = SandboxSettings {
        quota: QuotaSettings::same_for_all(Windows::new(vec![Window::parse("3/1m").unwrap()])),
        faults: Faults::parse("503@nth=3").unwrap(),
        unknown_ids: Some(Mix::all_pending(1)),
        ..settings
    };
    let first = Sandbox::new(settings.clone());
    first.remove(id(2));
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

proptest! {
    #[test]
    fn any_script_reads_back_as_it_was_written(rules in proptest::collection::vec(any_rule(), 0..5)) {
        let faults = Faults::new(rules);
        prop_assert_eq!(Faults::parse(&faults.to_string()).unwrap(), faults);
    }

    #[test]
    fn no_text_makes_the_reader_of_scripts_panic(text in "[a-z0-9@=,;:.\\- ]{0,60}|.{0,60}") {
        drop(Faults::parse(&text));
    }
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let fault = prop_oneof![
        Just("hang"),
        Just("applied-reset"),
        Just("503"),
        Just("500:3s"),
        Just("429-storm:8s:hint"),
        Just("429-storm"),
        Just("latency:1ms..2ms"),
        Just("slow:1s"),
        Just("unapplied-empty"),
        Just("close"),
        Just("html"),
    ];
    let kind = prop_oneof![
        Just(None),
        Just(Some(CallKind::Cancel)),
        Just(Some(CallKind::Token)),
        Just(Some(CallKind::List)),
    ];
    let turn = prop_oneof![
        Just(Turn::Each),
        (1..u64::MAX).prop_map(|n| Turn::Nth(NonZeroU64::new(n).unwrap())),
        (1..u64::MAX).prop_map(|n| Turn::Every(NonZeroU64::new(n).unwrap())),
        (0.0..=1.0).prop_map(Turn::Share),
    ];
    let span = || proptest::option::of((0..100_000_000_u64).prop_map(Duration::from_micros));
    let named = proptest::option::of((1..=255_u8).prop_map(id));
    let bounds = (any::<u64>(), proptest::option::of(any::<u64>()));
    (fault, kind, named, (span(), span()), turn, bounds).prop_map(
        |(fault, on, id, (from, until), turn, (after, count))| Rule {
            on,
            id,
            from,
            until,
            after,
            turn,
            count,
            ..Rule::always(Fault::parse(fault).unwrap())
        },
    )
}

/// A sandbox behind a real socket.
struct Served {
    sandbox: Sandbox,
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
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

    /// Waits until the first call has come to `end`.
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
        self.server.await.unwrap().unwrap();
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
            Ok(_) => assert!(!reset, "{script}"),
            Err(error) => {
                assert!(reset, "{script}: {error}");
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            }
        }
        let sandbox = served.stop().await;
        assert_eq!(sandbox.action(id(1)).unwrap().status, applied, "{script}");
        let log = sandbox.log();
        assert_eq!((log[0].status, log[0].end), (None, CallEnd::Severed));
        assert_eq!(log[0].fault.as_deref(), Some(script));
    }
}

#[tokio::test]
async fn called_directly_a_severed_call_says_so() {
    let sandbox = with_faults("reset");
    let answer = cancel(&sandbox, 1).await;
    assert_eq!(answer.response.extensions().get(), Some(&Severed::Reset));
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
    assert_eq!(sandbox.log()[0].end, CallEnd::Severed);
    assert_eq!(sandbox.action(id(1)).unwrap().status, Status::Cancelled);
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_undo_its_cancel_and_its_line_is_written() {
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
        while !bytes.ends_with(b"\"troubleshootInfo\":null}") {
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
