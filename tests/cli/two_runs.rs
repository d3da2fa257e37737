//! Two runs on one state folder that name the same actions, and a permission that is lost in mid-run: the real binary.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use mde_cancel::sandbox::{CallKind, Faults, Status};

use crate::support::{FakeService, LiveSandbox, nth_id, program};

fn command(folder: &Path, url: &str, words: &str) -> Command {
    let mut command = program(folder);
    command
        .args(words.split(' '))
        .env("MDE_CANCEL_API_URL", url)
        .env("MDE_CANCEL_TOKEN", "any-word")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn finish(child: Child) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let told = [stdout, stderr].concat();
    (status.code(), String::from_utf8_lossy(&told).into_owned())
}

fn ids(folder: &Path, name: &str, numbers: std::ops::RangeInclusive<usize>) {
    let ids: Vec<_> = numbers.map(|number| nth_id(number).to_string()).collect();
    std::fs::write(folder.join(name), ids.join("\n")).unwrap();
}

fn outcomes(folder: &Path, report: &str) -> Vec<(String, String)> {
    let mut reader = csv::Reader::from_path(folder.join(report)).unwrap();
    let rows = reader.records().map(Result::unwrap);
    rows.map(|row| (row[1].to_owned(), row[2].to_owned()))
        .collect()
}

/// Waits until something is so; a machine that takes longer than two minutes is not slow but stuck.
fn wait_for(what: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !what() {
        assert!(start.elapsed().as_secs() < 120, "it never came");
        std::thread::yield_now();
    }
}

#[test]
fn what_a_live_run_is_working_on_is_left_to_it_and_taken_up_when_it_is_gone() {
    let live = LiveSandbox::start(|settings| {
        settings.faults = Faults::parse("hang@on=cancel,count=3").unwrap();
    });
    live.isolates(1..=5, Status::Pending);
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    ids(here, "first.txt", 1..=3);
    ids(here, "second.txt", 1..=5);
    let words = "run first.txt --yes --report a.csv";
    let mut first = command(here, &live.url, words).spawn().unwrap();
    wait_for(|| live.calls(CallKind::Cancel) == 3);
    let words = "run second.txt --yes --report b.csv";
    let (code, told) = finish(command(here, &live.url, words).spawn().unwrap());
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("3 rows in progress in run "), "{told}");
    let told = outcomes(here, "b.csv");
    for (outcome, reason) in &told[..3] {
        assert_eq!(outcome, "not_attempted");
        assert!(
            reason.starts_with("not sent: in progress in run "),
            "{reason}"
        );
    }
    assert!(
        told[3..].iter().all(|(outcome, _)| outcome == "cancelled"),
        "{told:?}"
    );
    first.kill().unwrap();
    first.wait().unwrap();
    let runs = command(here, &live.url, "runs --format json")
        .output()
        .unwrap();
    let runs: serde_json::Value = serde_json::from_slice(&runs.stdout).unwrap();
    let second = runs[0]["run"].as_str().unwrap();
    let words = format!("resume {second} --yes --report c.csv");
    let (code, told) = finish(command(here, &live.url, &words).spawn().unwrap());
    assert_eq!(code, Some(0), "{told}");
    let ended = outcomes(here, "c.csv");
    assert!(
        ended.iter().all(|(outcome, _)| outcome == "cancelled"),
        "{ended:?}"
    );
}

#[test]
fn permissions_that_are_lost_in_mid_run_end_it_with_5_and_resume_takes_it_up() {
    let sent = AtomicUsize::new(0);
    let service = FakeService::start(move |asked| {
        if asked.method == "GET" {
            return (
                403,
                r#"{"error":{"code":"Forbidden","message":"No reading."}}"#.to_owned(),
            );
        }
        if sent.fetch_add(1, Ordering::SeqCst) < 30 {
            return (200, String::new());
        }
        let message =
            "Missing application roles. API required roles: Machine.Isolate, application roles: .";
        let error = serde_json::json!({"error": {"code": "Forbidden", "message": message}});
        (403, error.to_string())
    });
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    ids(here, "ids.txt", 1..=300);
    let words = "run ids.txt --yes --no-precheck --no-verify --quota none --report a.csv";
    let (code, told) = finish(command(here, &service.url, words).spawn().unwrap());
    assert_eq!(code, Some(5), "{told}");
    assert!(told.contains("Machine.Isolate"), "{told}");
    assert!(told.contains("mde-cancel resume"), "{told}");
    let told = outcomes(here, "a.csv");
    let count = |word: &str| told.iter().filter(|(outcome, _)| outcome == word).count();
    assert_eq!(count("accepted"), 30);
    assert!(
        (10..=30).contains(&count("forbidden")),
        "{}",
        count("forbidden")
    );
    assert_eq!(count("not_attempted"), 300 - 30 - count("forbidden"));
    assert_eq!(service.cancels(), 30 + count("forbidden"));
    let (_, reason) = told
        .iter()
        .find(|(outcome, _)| outcome == "not_attempted")
        .unwrap();
    assert!(reason.contains("Machine.Isolate"), "{reason}");
}

/// Returns how many cancels each scope of the folder counts, by tenant and app.
fn counted(folder: &Path, url: &str) -> Vec<(String, String, u64)> {
    let quota = command(folder, url, "quota --format json")
        .output()
        .unwrap();
    let scopes: Vec<serde_json::Value> = serde_json::from_slice(&quota.stdout).unwrap();
    let of = |scope: &serde_json::Value, name: &str| scope[name].as_str().unwrap().to_owned();
    let cancels = scopes
        .iter()
        .filter(|scope| scope["destination"] == "cancel");
    cancels
        .map(|scope| {
            let used = scope["windows"][0]["used"].as_u64().unwrap();
            (of(scope, "tenant"), of(scope, "app"), used)
        })
        .collect()
}

#[test]
fn calls_of_one_tenant_are_counted_together_however_the_tenant_is_named() {
    const TENANT: &str = "11111111-2222-3333-4444-555555555555";
    const APP: &str = "99999999-2222-3333-4444-555555555555";
    let live = LiveSandbox::start(|_| {});
    live.isolates(1..=4, Status::Pending);
    for (token, names, expected) in [
        (
            live.sandbox.token(TENANT, APP),
            ["contoso.onmicrosoft.com", TENANT],
            (TENANT.to_owned(), APP.to_owned(), 2),
        ),
        (
            "any-word".to_owned(),
            ["contoso.onmicrosoft.com", "fabrikam.example"],
            ("-".to_owned(), "-".to_owned(), 2),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        for (number, name) in (1..).zip(names) {
            ids(here, "ids.txt", number..=number);
            let words = format!("run ids.txt --yes --no-precheck --no-verify --tenant-id {name}");
            let mut run = command(here, &live.url, &words);
            let (code, told) = finish(run.env("MDE_CANCEL_TOKEN", &token).spawn().unwrap());
            assert!(matches!(code, Some(0 | 3)), "{told}");
        }
        assert_eq!(counted(here, &live.url), [expected]);
    }
}

#[test]
fn a_run_is_not_continued_with_the_token_of_another_tenant() {
    let live = LiveSandbox::start(|_| {});
    live.isolates(1..=2, Status::Pending);
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    ids(here, "ids.txt", 1..=2);
    let app = "99999999-2222-3333-4444-555555555555";
    let token = |tenant| live.sandbox.token(tenant, app);
    let contoso = token("11111111-2222-3333-4444-555555555555");
    let fabrikam = token("22222222-2222-3333-4444-555555555555");
    let begin =
        "run ids.txt --yes --quota 1/1h --stop-after 1s --tenant-id contoso.onmicrosoft.com";
    let mut run = command(here, &live.url, begin);
    let (code, told) = finish(run.env("MDE_CANCEL_TOKEN", &contoso).spawn().unwrap());
    assert_eq!(code, Some(4), "{told}");
    let again = "resume --yes --stop-after 1s --tenant-id contoso.onmicrosoft.com";
    for (token, code, expected) in [
        (
            &fabrikam,
            2,
            "was started for tenant 11111111-2222-3333-4444-555555555555, but this would go to 22222222",
        ),
        (&contoso, 4, "contoso"),
    ] {
        let mut resumed = command(here, &live.url, again);
        let (ended, told) = finish(resumed.env("MDE_CANCEL_TOKEN", token).spawn().unwrap());
        assert_eq!(ended, Some(code), "{told}");
        assert!(told.contains(expected) || code == 4, "{told}");
    }
    assert_eq!(live.calls(CallKind::Cancel), 1);
}

#[test]
fn a_limit_that_cannot_be_believed_holds_nothing_up_and_what_was_taught_is_forgotten_on_request() {
    let sent = AtomicUsize::new(0);
    let service = FakeService::start(move |_| match sent.fetch_add(1, Ordering::SeqCst) {
        1 => {
            let text = "API calls quota exceeded! maximum allowed 1 per 23:59:59";
            (
                429,
                serde_json::json!({"error": {"code": "TooManyRequests", "message": text}})
                    .to_string(),
            )
        }
        2 => {
            let text =
                "API calls quota exceeded! maximum allowed 45 per 00:01:00, try again in 1 seconds";
            (
                429,
                serde_json::json!({"error": {"code": "TooManyRequests", "message": text}})
                    .to_string(),
            )
        }
        _ => (200, String::new()),
    });
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    ids(here, "ids.txt", 1..=4);
    let words = "run ids.txt --yes --no-precheck --no-verify --concurrency 1 --quota 80/1m";
    let (code, told) = finish(command(here, &service.url, words).spawn().unwrap());
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("the limit named in a 429 is ignored"),
        "{told}"
    );
    let cancel = |words: &str| {
        let quota = command(here, &service.url, words).output().unwrap();
        let scopes: Vec<serde_json::Value> = serde_json::from_slice(&quota.stdout).unwrap();
        let mut cancels = scopes
            .into_iter()
            .filter(|scope| scope["destination"] == "cancel");
        cancels.next().unwrap()
    };
    let windows = |scope: &serde_json::Value| scope["windows"][0]["window"].clone();
    let taught = cancel("quota --format json");
    assert_eq!(taught["named_limits"], serde_json::json!(["45/1m"]));
    assert_eq!(windows(&taught), "45/1m");
    let (code, told) = finish(command(here, &service.url, "quota reset").spawn().unwrap());
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(
        told,
        "forgotten: what the service's 429s taught of 1 scope\n"
    );
    let reset = cancel("quota --format json");
    assert_eq!(reset["named_limits"], serde_json::json!([]));
    assert_eq!(reset["pause_until"], serde_json::Value::Null);
    // As the run was allowed, unless a flag says otherwise.
    assert_eq!(windows(&reset), "80/1m");
    assert_eq!(windows(&cancel("quota --format json --quota 7/1m")), "7/1m");
    let (_, told) = finish(command(here, &service.url, "quota reset").spawn().unwrap());
    assert_eq!(
        told,
        "nothing to forget: no limit, rate or pause of the service is kept\n"
    );
}

#[test]
fn a_journal_that_hides_rows_or_answers_by_code_never_looks_like_success() {
    let live = LiveSandbox::start(|_| {});
    live.isolates(1..=3, Status::Pending);
    for (damage, expected) in [
        ("UPDATE rows SET lane = 60000 WHERE outcome IS NULL", "is damaged"),
        (
            "UPDATE rows SET id = '7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2' WHERE outcome IS NULL",
            "is damaged",
        ),
        (
            "ALTER TABLE rows RENAME TO kept; CREATE VIEW rows AS
             WITH RECURSIVE more(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM more) SELECT kept.* FROM kept, more",
            "is the database of another program",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        ids(here, "ids.txt", 1..=3);
        let begin = "run ids.txt --yes --no-precheck --no-verify --quota 1/1h --stop-after 1s";
        let (code, told) = finish(command(here, &live.url, begin).spawn().unwrap());
        assert_eq!(code, Some(4), "{told}");
        let file = rusqlite::Connection::open(here.join("state/state.db")).unwrap();
        file.execute_batch(damage).unwrap();
        drop(file);
        let again = "resume --yes --stop-after 5s";
        let (code, told) = finish(command(here, &live.url, again).spawn().unwrap());
        assert_eq!(code, Some(6), "{told}");
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_selection_without_end_is_read_no_further_than_its_bound() {
    let service = FakeService::start(|asked| {
        if asked.option("$top").as_deref() == Some("1") {
            return (200, r#"{"value":[]}"#.to_owned());
        }
        let skip: usize = asked.option("$skip").unwrap().parse().unwrap();
        let records = (skip + 1..=skip + 100).map(|number| {
            let created = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(60);
            serde_json::json!({
                "id": nth_id(number).to_string(), "type": "Isolate", "status": "Pending",
                "machineId": format!("{number:040x}"), "creationDateTimeUtc": created.to_string(),
            })
        });
        (
            200,
            serde_json::json!({"value": records.collect::<Vec<_>>(), "@odata.nextLink": "more"})
                .to_string(),
        )
    });
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let words = "run --type Isolate --yes --max-actions 150 --tenant-id 11111111-2222-3333-4444-555555555555";
    let (code, told) = finish(command(here, &service.url, words).spawn().unwrap());
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("--max-actions allows 150"), "{told}");
    assert_eq!(service.cancels(), 0);
    assert!(service.asked().len() < 6, "{:?}", service.asked());
}
