//! What a cancel does, and what a call must bring.

use std::time::Duration;

use mde_cancel::sandbox::{
    CancelEffect, CancelSettings, FinalAnswer, Sandbox, SandboxSettings, Status, TokenSettings,
};

use super::{cancel, get, id, quiet, record, request, send};

#[tokio::test]
async fn a_cancel_of_a_final_action_answers_as_chosen_and_changes_nothing() {
    for (choice, status) in [
        (FinalAnswer::Record, 200),
        (FinalAnswer::Empty, 200),
        (FinalAnswer::BadRequest, 400),
        (FinalAnswer::NotFound, 404),
        (FinalAnswer::Conflict, 409),
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
            assert_eq!(
                sandbox.action(id(1)).unwrap().status,
                before,
                "{choice:?} {before:?}"
            );
            assert!(!sandbox.log()[0].changed);
            match choice {
                FinalAnswer::Record => assert_eq!(answer.json()["status"], before.as_str()),
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
    assert_eq!(get(&sandbox, "/elsewhere").await.status, 404);
    assert_eq!(sandbox.action(id(1)).unwrap().status, Status::Pending);
    assert_eq!(sandbox.cancels_of(id(1)), 0);
}

#[tokio::test]
async fn strict_tokens_are_ours_valid_and_carry_the_role() {
    let (settings, clock) = quiet();
    let sandbox = Sandbox::new(SandboxSettings {
        tokens: TokenSettings {
            strict: true,
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
    assert_eq!(sandbox.log()[1].client, "t1/app1");
    clock.advance(Duration::from_secs(60));
    assert_eq!(send(&sandbox, cancelling()).await.status, 401);
    assert_eq!(cancel(&sandbox, 1).await.status, 401);
}
