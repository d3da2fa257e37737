//! What goes wrong by script.

use mde_cancel::sandbox::{Faults, Severed, Status};
use proptest::prelude::*;
use serde_json::Value;

use super::{cancel, id, request, with_faults};

#[tokio::test]
async fn every_fault_shows_and_does_the_work_only_where_it_says_so() {
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

proptest! {
    #![proptest_config(crate::support::proptest_config(256))]

    #[test]
    fn no_text_makes_the_reader_of_scripts_panic(text in "[a-z0-9@=,;:.\\- ]{0,60}|.{0,60}") {
        drop(Faults::parse(&text));
    }
}

#[tokio::test]
async fn a_severed_call_has_no_response_but_says_how_its_connection_ends() {
    let sandbox = with_faults("reset");
    let path = format!("/api/machineactions/{}", id(1));
    let severed = sandbox.respond(request("GET", &path, "x", "")).await;
    assert_eq!(severed.unwrap_err(), Severed::Reset);
}
