//! Several tenants at once, against one sandbox that counts each tenant's calls separately.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use mde_cancel::model::{ActionType, RowContext};
use mde_cancel::quota::{Window, Windows};
use mde_cancel::sandbox::{CallKind, Faults, Generator, LoggedCall, TokenSettings};

use crate::support::{Done, Place, done, nth_id, write_config};

/// Actions per tenant.
const EACH: usize = 12;

const SECRET: &str = "right";

fn tenant(number: usize) -> String {
    format!("{number:08}-2222-3333-4444-555555555555")
}

/// Serves `EACH` actions per tenant, with a quota of five calls a second each. The folder's config file has the
/// tenants' profiles.
fn place(tenants: usize) -> Place {
    let place = Place::with(|settings| {
        settings.tokens = TokenSettings {
            strict: true,
            secret: Some(SECRET.into()),
            ..TokenSettings::default()
        };
        settings.quota = Windows::new(vec![Window::parse("5/1s").unwrap()]);
    });
    let isolate = RowContext {
        action_type: Some(ActionType::Isolate),
        ..RowContext::default()
    };
    let rows = (1..=tenants * EACH).map(|number| (nth_id(number), isolate.clone()));
    place.sandbox().seed_from(rows, &Generator::all_pending(1));
    let url = &place.live.url;
    let mut config = format!("api-url = \"{url}\"\nlogin-url = \"{url}\"\n");
    config.push_str("client-id = \"99999999-2222-3333-4444-555555555555\"\n");
    for number in 1..=tenants {
        let id = tenant(number);
        let secret = format!("client-secret-env = \"SECRET_{number}\"");
        let profile = format!("[profile.t{number}]\ntenant-id = \"{id}\"\n{secret}\n");
        config.push_str(&profile);
    }
    write_config(&place.at("config.toml"), &config);
    place.write("ids.csv", rows_of(tenants));
    place
}

/// Runs the program with correct secrets for these tenants, and wrong ones for the others.
fn run(place: &Place, words: &str, right: &[usize]) -> Done {
    let mut command = place.command(&format!("{words} --config config.toml"));
    command
        .env_remove("MDE_CANCEL_TOKEN")
        .env_remove("MDE_CANCEL_API_URL")
        .env_remove("MDE_CANCEL_READ_QUOTA");
    for number in 1..=9 {
        let secret = if right.contains(&number) {
            SECRET
        } else {
            "wrong"
        };
        command.env(format!("SECRET_{number}"), secret);
    }
    let ended = done(&mut command);
    let calls = place.sandbox().log();
    assert!(calls.iter().all(|call| !call.over_quota), "{calls:?}");
    let mut named = calls.iter().filter(|call| !call.ids.is_empty());
    assert!(named.all(is_for_its_tenant), "{calls:?}");
    ended
}

/// Returns whether a call's token is of the tenant of its actions.
fn is_for_its_tenant(call: &LoggedCall) -> bool {
    let has_token = |number: &usize| call.client.starts_with(&tenant(*number));
    let number = (1..=9).find(has_token).unwrap();
    let own: Vec<_> = (1..=EACH)
        .map(|row| nth_id((number - 1) * EACH + row))
        .collect();
    call.ids.iter().all(|id| own.contains(id))
}

/// Counts a report's rows by tenant and outcome.
fn report(place: &Place, name: &str) -> BTreeMap<(String, String), usize> {
    let tenants = place.column(name, "tenant").into_iter();
    let mut counts = BTreeMap::new();
    for row in tenants.zip(place.column(name, "outcome")) {
        *counts.entry(row).or_default() += 1;
    }
    counts
}

/// The rows of all tenants, interleaved, with profile names and tenant ids in turn.
fn rows_of(tenants: usize) -> String {
    let mut text = "id,tenant\n".to_owned();
    for round in 0..EACH {
        for number in 1..=tenants {
            let id = nth_id((number - 1) * EACH + round + 1);
            let name = if round % 2 == 0 {
                format!("T{number}")
            } else {
                tenant(number)
            };
            writeln!(text, "{id},{name}").unwrap();
        }
    }
    text
}

fn count(counts: &BTreeMap<(String, String), usize>, tenant: &str, outcome: &str) -> usize {
    let key = (tenant.to_owned(), outcome.to_owned());
    counts.get(&key).copied().unwrap_or_default()
}

#[test]
fn each_tenant_keeps_its_own_quota_and_one_that_cannot_sign_in_harms_nobody_and_is_taken_up_later()
{
    let place = place(3);
    let mut input = rows_of(3);
    // A duplicate in one tenant, a row without a tenant, and one of a tenant that wasn't selected.
    let (one, two) = (nth_id(1), nth_id(2));
    write!(input, "{one},t1\n{two},\n{two},elsewhere\n").unwrap();
    place.write("ids.csv", &input);
    let words = "run --yes --quota 5/1s --read-quota 5/1s --report r.csv ids.csv \
               --profile t1 --profile t2 --profile t3";
    let told = run(&place, words, &[1, 2]).exits(5).told();
    let counts = report(&place, "r.csv");
    for (tenant, outcome, expected) in [
        (&*tenant(1), "cancelled", EACH),
        (&tenant(2), "cancelled", EACH),
        (&tenant(3), "not_attempted", EACH),
        (&tenant(1), "duplicate", 1),
        ("", "invalid", 1),
        ("elsewhere", "skipped", 1),
    ] {
        assert_eq!(count(&counts, tenant, outcome), expected, "{counts:?}");
    }
    let reasons = place.column("r.csv", "reason");
    let of_lane = reasons.iter().filter(|why| why.contains("AADSTS7000215"));
    assert_eq!(of_lane.count(), EACH, "{reasons:?}");
    let lane = format!("{}: sign-in: ", tenant(3));
    assert!(told.contains(&lane), "{told}");

    run(&place, "resume --yes --report r2.csv", &[1, 2, 3]).exits(3);
    let counts = report(&place, "r2.csv");
    for number in 1..=3 {
        let cancelled = count(&counts, &tenant(number), "cancelled");
        assert_eq!(cancelled, EACH, "{counts:?}");
    }
    assert_eq!(place.live.calls(CallKind::Cancel), 3 * EACH);
}

#[test]
fn rows_of_another_tenant_are_skipped_by_a_run_in_one() {
    let place = place(2);
    let words = "run --yes --quota 5/1s --read-quota 5/1s --report r.csv ids.csv --profile t1";
    run(&place, words, &[1, 2]).exits(0);
    let outcomes = place.column("r.csv", "outcome").into_iter();
    let rows = outcomes.zip(place.column("r.csv", "reason"));
    let is_skipped = |(outcome, why): &(String, String)| {
        outcome == "skipped" && why.starts_with("tenant not selected: ")
    };
    assert_eq!(rows.filter(is_skipped).count(), EACH);
}

#[test]
fn all_profiles_are_every_one_of_the_config_file() {
    let place = place(2);
    let words = "run --yes --quota 5/1s --read-quota 5/1s --report r.csv ids.csv --profile all";
    run(&place, words, &[1, 2]).exits(0);
    let cancelled = |number| ((tenant(number), "cancelled".to_owned()), EACH);
    assert_eq!(report(&place, "r.csv"), [1, 2].map(cancelled).into());
    // A typed profile selects only its tenant.
    let typed = "preview ids.csv --no-precheck --format json --profile t1";
    let told = run(&place, typed, &[1]).exits(0).told();
    assert!(told.contains("tenant not selected"), "{told}");
    // The second tenant signs in, but may not read.
    let closed = Place::with(|settings| settings.faults = Faults::parse("403").unwrap());
    let config = fs::read_to_string(place.at("config.toml")).unwrap();
    let config = format!("{config}api-url = \"{}\"\n", closed.live.url);
    write_config(&place.at("config.toml"), &config);
    let words = "run --yes --max-actions 99 --quota 5/1s --read-quota 5/1s ids.csv --profile all";
    let told = run(&place, words, &[1, 2]).exits(5).told();
    let unread = "this tenant's states could not be read before the plan was counted";
    assert!(told.contains(unread), "{told}");
}

#[test]
fn what_only_one_tenant_can_have_is_refused_for_several() {
    let place = place(2);
    let two = "--profile t1 --profile t2";
    for (words, text) in [
        (
            format!("run --yes ids.csv --tenant-id x.example {two}"),
            "--tenant-id can't be used",
        ),
        (
            format!("preview ids.csv {two}"),
            "preview takes one --profile",
        ),
        (
            format!("run --yes --type Isolate --max-actions 5 {two}"),
            "takes one --profile",
        ),
        (
            "run --yes ids.csv --profile t1 --profile t9".to_owned(),
            "there is no profile t9",
        ),
    ] {
        let told = run(&place, &words, &[1, 2]).exits(2).told();
        assert!(told.contains(text), "{words}: {told}");
    }
}
