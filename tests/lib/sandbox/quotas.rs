//! What the sandbox counts, and what its lists show.

use std::time::Duration;

use jiff::Timestamp;
use mde_cancel::quota::{Window, Windows};
use mde_cancel::sandbox::{Sandbox, SandboxSettings, Status};

use super::{cancel, get, id, list, listed, quiet, record, request, send};

#[tokio::test]
async fn both_documented_windows_are_kept_to_the_nanosecond_and_named_in_the_refusal() {
    let (settings, clock) = quiet();
    let sandbox = Sandbox::new(SandboxSettings {
        quota: Windows::documented(),
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
}

#[tokio::test]
async fn quotas_are_counted_by_the_tenant_and_app_of_the_token() {
    let (settings, _) = quiet();
    let windows = Windows::new(vec![Window::parse("1/1m").unwrap()]);
    let sandbox = Sandbox::new(SandboxSettings {
        quota: windows,
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
async fn lists_filter_and_order_as_asked() {
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
        (
            vec![("$filter", "(status eq 'Succeeded' or id eq 'x')")],
            vec!["03"],
        ),
        (vec![("$filter", ids.as_str())], vec!["04", "02"]),
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
    let refused = list(&sandbox, &[("$stop", "5")]).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "ODataError")
    );
}

#[tokio::test]
async fn pages_link_to_the_next_and_url_limits_hold() {
    let (settings, _) = quiet();
    let sandbox = Sandbox::new(SandboxSettings {
        page: 2,
        url_limit: Some(200),
        ..settings
    });
    (1..=3).for_each(|number| sandbox.add(record(number, Status::Pending)));
    let first = list(&sandbox, &[]).await.json();
    let link = first["@odata.nextLink"].as_str().unwrap();
    let path = link.strip_prefix("https://api.security.microsoft.com");
    assert_eq!(listed(&get(&sandbox, path.unwrap()).await), ["03"]);
    let long = format!("status eq '{}'", "x".repeat(200));
    assert_eq!(list(&sandbox, &[("$filter", &long)]).await.status, 414);
}
