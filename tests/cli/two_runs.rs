//! Two runs on one state folder with the same actions, and a permission that is lost during a run: the real binary.

use std::sync::atomic::{AtomicUsize, Ordering};

use mde_cancel::sandbox::{Faults, Status};
use serde_json::{Value, json};

use crate::support::{Done, FakeService, Folder, Place, done, kill, nth_id, start, wait_for};

/// Runs the program against a service that isn't a sandbox.
fn run_at(folder: &Folder, service: &FakeService, words: &str) -> Done {
    let mut command = folder.command(words);
    command
        .env("MDE_CANCEL_API_URL", &service.url)
        .env("MDE_CANCEL_TOKEN", "any-word");
    done(&mut command)
}

#[test]
fn what_a_live_run_is_working_on_is_left_to_it_and_taken_up_when_it_is_gone() {
    let place = Place::with(|settings| {
        settings.faults = Faults::parse("hang@on=cancel,count=3").unwrap();
    });
    place.live.isolates(1..=5, Status::Pending);
    place.write_ids("first.txt", 1..=3);
    place.write_ids("second.txt", 1..=5);
    let first = start(&mut place.command("run first.txt --yes --report a.csv"));
    wait_for(|| place.cancels() == 3);
    let done = place.run("run second.txt --yes --report b.csv").exits(3);
    let told = done.told();
    assert!(told.contains("3 rows in progress in run "), "{told}");
    let mut expected = ["not_attempted"; 5];
    expected[3..].fill("cancelled");
    assert_eq!(place.column("b.csv", "outcome"), expected);
    for reason in &place.column("b.csv", "reason")[..3] {
        let why = "not sent: in progress in run ";
        assert!(reason.starts_with(why), "{reason}");
    }
    kill(first);
    let second = place.run_id();
    let words = format!("resume {second} --yes --report c.csv");
    place.run(&words).exits(0);
    assert_eq!(place.column("c.csv", "outcome"), ["cancelled"; 5]);
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
        let error = json!({"error": {"code": "Forbidden", "message": message}});
        (403, error.to_string())
    });
    let folder = Folder::new();
    folder.write_ids("ids.txt", 1..=300);
    let words = "run ids.txt --yes --no-precheck --no-verify --quota none --report a.csv";
    let told = run_at(&folder, &service, words).exits(5).told();
    assert!(told.contains("Machine.Isolate"), "{told}");
    assert!(told.contains("mde-cancel resume"), "{told}");
    let outcomes = folder.column("a.csv", "outcome");
    let count = |word: &str| outcomes.iter().filter(|outcome| *outcome == word).count();
    let forbidden = count("forbidden");
    assert_eq!(count("accepted"), 30);
    assert!((10..=30).contains(&forbidden), "{forbidden}");
    assert_eq!(count("not_attempted"), 300 - 30 - forbidden);
    assert_eq!(service.cancels(), 30 + forbidden);
    let place = outcomes.iter().position(|word| word == "not_attempted");
    let reason = &folder.column("a.csv", "reason")[place.unwrap()];
    assert!(reason.contains("Machine.Isolate"), "{reason}");
}

/// Returns the cancel scopes that `quota` prints.
fn cancel_scopes(quota: &Done) -> Vec<Value> {
    let mut scopes: Vec<Value> = serde_json::from_str(&quota.stdout).unwrap();
    scopes.retain(|scope| scope["destination"] == "cancel");
    scopes
}

const CONTOSO: &str = "11111111-2222-3333-4444-555555555555";
const FABRIKAM: &str = "22222222-2222-3333-4444-555555555555";
const APP: &str = "99999999-2222-3333-4444-555555555555";

#[test]
fn calls_of_one_tenant_are_counted_together_however_the_tenant_is_named() {
    for (is_telling, names, expected) in [
        (true, [None, Some(CONTOSO)], [CONTOSO, APP]),
        (
            false,
            [Some("contoso.onmicrosoft.com"), Some("fabrikam.example")],
            ["-"; 2],
        ),
    ] {
        let place = Place::with(|_| {});
        place.live.isolates(1..=4, Status::Pending);
        let token = place.sandbox().token(CONTOSO, APP);
        let token = if is_telling { &token } else { "any-word" };
        for (number, name) in (1..).zip(names) {
            place.write_ids("ids.txt", number..=number);
            let mut command = place.command("run ids.txt --yes --no-precheck --no-verify");
            command.args(name.map(|name| format!("--tenant-id={name}")));
            let done = done(command.env("MDE_CANCEL_TOKEN", token));
            assert!(matches!(done.code, Some(0 | 3)), "{}", done.told());
        }
        let scopes = cancel_scopes(&place.run("quota --format json"));
        let [scope] = &scopes[..] else {
            panic!("{scopes:?}");
        };
        assert_eq!([&scope["tenant"], &scope["app"]], expected);
        assert_eq!(scope["windows"][0]["used"], 2);
    }
}

#[test]
fn a_run_is_not_continued_with_the_token_of_another_tenant() {
    let place = Place::with(|_| {});
    place.live.isolates(1..=2, Status::Pending);
    place.write_ids("ids.txt", 1..=2);
    let run_as = |tenant, words: &str| {
        let token = place.sandbox().token(tenant, APP);
        let words = format!("{words} --yes --stop-after 1s");
        done(place.command(&words).env("MDE_CANCEL_TOKEN", token))
    };
    run_as(CONTOSO, "run ids.txt --quota 1/1h").exits(4);
    let told = run_as(FABRIKAM, "resume").exits(2).told();
    let why = format!("was started for tenant {CONTOSO}, but this would go to 22222222");
    assert!(told.contains(&why), "{told}");
    run_as(CONTOSO, "resume").exits(4);
    assert_eq!(place.cancels(), 1);
}

#[test]
fn an_implausible_limit_is_ignored_and_quota_reset_forgets_limits_and_pauses() {
    let sent = AtomicUsize::new(0);
    let service = FakeService::start(move |_| {
        let limit = match sent.fetch_add(1, Ordering::SeqCst) {
            1 => "1 per 23:59:59",
            2 => "45 per 00:01:00, try again in 1 seconds",
            _ => return (200, String::new()),
        };
        let text = format!("API calls quota exceeded! maximum allowed {limit}");
        let error = json!({"error": {"code": "TooManyRequests", "message": text}});
        (429, error.to_string())
    });
    let folder = Folder::new();
    folder.write_ids("ids.txt", 1..=4);
    let run = |words: &str| run_at(&folder, &service, words).exits(0);
    let told = run("run ids.txt --yes --no-precheck --no-verify --concurrency 1 --quota 80/1m");
    let told = told.told();
    let ignored = "the limit named in a 429 is ignored";
    assert!(told.contains(ignored), "{told}");
    let cancels = |words: &str| cancel_scopes(&run(words)).remove(0);
    let window = |scope: &Value| scope["windows"][0]["window"].clone();
    let taught = cancels("quota --format json");
    assert_eq!(taught["named_limits"], json!(["45/1m"]));
    assert_eq!(window(&taught), "45/1m");
    let forgotten = "forgotten: what the service's 429s taught of 1 scope\n";
    assert_eq!(run("quota reset").told(), forgotten);
    let reset = cancels("quota --format json");
    assert_eq!(reset["named_limits"], json!([]));
    assert_eq!(reset["pause_until"], Value::Null);
    // The run's own quota, unless a flag sets another.
    assert_eq!(window(&reset), "80/1m");
    assert_eq!(window(&cancels("quota --format json --quota 7/1m")), "7/1m");
    let nothing = "nothing to forget: no limit, rate or pause of the service is kept\n";
    assert_eq!(run("quota reset").told(), nothing);
}

#[test]
fn a_journal_with_changed_rows_or_a_view_never_looks_like_success() {
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
        let place = Place::with(|_| {});
        place.live.isolates(1..=3, Status::Pending);
        place.write_ids("ids.txt", 1..=3);
        let begin = "run ids.txt --yes --no-precheck --no-verify --quota 1/1h --stop-after 1s";
        place.run(begin).exits(4);
        let file = rusqlite::Connection::open(place.at("state/state.db")).unwrap();
        file.execute_batch(damage).unwrap();
        drop(file);
        let told = place.run("resume --yes --stop-after 5s").exits(6).told();
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
            json!({
                "id": nth_id(number).to_string(), "type": "Isolate", "status": "Pending",
                "machineId": format!("{number:040x}"), "creationDateTimeUtc": created.to_string(),
            })
        });
        (
            200,
            json!({"value": records.collect::<Vec<_>>(), "@odata.nextLink": "more"}).to_string(),
        )
    });
    let words = format!("run --type Isolate --yes --max-actions 150 --tenant-id {CONTOSO}");
    let told = run_at(&Folder::new(), &service, &words).exits(2).told();
    assert!(told.contains("--max-actions allows 150"), "{told}");
    assert_eq!(service.cancels(), 0);
    assert!(service.asked().len() < 6, "{:?}", service.asked());
}
