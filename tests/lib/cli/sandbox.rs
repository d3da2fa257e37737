//! The `sandbox` command: what its flags mean, and that it serves.

use mde_cancel::cli::args::SandboxArgs;
use mde_cancel::cli::commands::serve_sandbox;
use mde_cancel::cli::settings::CommandSettings;
use mde_cancel::sandbox::Latency;

use super::{Typing, typing};

fn settings(typed: Typing) -> SandboxArgs {
    match typed.resolve().unwrap().command {
        CommandSettings::Sandbox(serve) => *serve,
        other => panic!("no sandbox: {other:?}"),
    }
}

#[test]
fn a_sandbox_listens_on_a_loopback_address_and_needs_no_state_folder() {
    let serve = settings(typing("sandbox").without_state_dir());
    assert_eq!((serve.port, serve.actions), (0, 1000));
    assert_eq!(serve.quota.to_string(), "100/1m, 1500/1h");
    assert_eq!(serve.latency, Latency::NONE);
    assert!(serve.seed.is_none() && serve.faults.is_none() && serve.log.is_none());
}

#[test]
fn every_flag_of_the_sandbox_arrives() {
    let serve = settings(typing(
        "sandbox --port 8642 --seed - --quota none --latency 5ms --faults 503@every=7;hang@nth=12 \
         --strict-tokens --log calls.jsonl",
    ));
    assert_eq!(serve.port, 8642);
    assert_eq!(serve.seed.unwrap().to_str(), Some("-"));
    assert!(serve.quota.is_empty());
    assert_eq!(serve.latency, Latency::parse("5ms").unwrap());
    assert_eq!(serve.faults.unwrap().len(), 2);
    assert!(serve.strict_tokens);
    assert_eq!(serve.log.unwrap().to_str(), Some("calls.jsonl"));
    let few = settings(typing("sandbox --actions 3"));
    assert_eq!(few.actions, 3);
}

#[tokio::test]
async fn a_sandbox_that_is_told_to_stop_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("a.txt");
    std::fs::write(&input, "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2\nrubbish\n").unwrap();
    let log = folder.path().join("calls.jsonl");
    let typed = typing("sandbox --seed")
        .word(&input)
        .word("--log")
        .word(&log);
    serve_sandbox(settings(typed), std::future::ready(()))
        .await
        .unwrap();
    assert!(log.exists());
}

#[tokio::test]
async fn what_keeps_a_sandbox_from_serving_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let cases = [
        (
            typing("sandbox --port").word(port.to_string()),
            format!("error: cannot listen on 127.0.0.1:{port}"),
        ),
        (
            typing("sandbox --seed").word(folder.path().join("none.csv")),
            "error: cannot open".to_owned(),
        ),
        (
            typing("sandbox --log").word(folder.path()),
            "error: log file".to_owned(),
        ),
    ];
    for (typed, start) in cases {
        let failure = serve_sandbox(settings(typed), std::future::pending::<()>())
            .await
            .unwrap_err();
        assert_eq!(failure.exit().code(), 2, "{start}");
        let text = failure.render(
            mde_cancel::cli::Color::Plain,
            &mde_cancel::cli::hint::ForwardedFlags::default(),
        );
        assert!(text.starts_with(&start), "{text}");
    }
}
