//! The real binary in several tenants at once, against one sandbox that counts each tenant's calls apart.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mde_cancel::model::{ActionType, RowContext};
use mde_cancel::quota::{Window, Windows};
use mde_cancel::sandbox::{CallKind, Generator, Sandbox, SandboxSettings, TokenSettings, serve};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::support::{nth_id, program, write_config};

/// Each tenant's actions.
const EACH: usize = 12;

const SECRET: &str = "right";

/// A sandbox that serves, with a folder that holds a config file of several tenants.
struct Place {
    sandbox: Sandbox,
    folder: tempfile::TempDir,
    // Dropped last: the server runs on it.
    _runtime: Runtime,
}

fn tenant(number: usize) -> String {
    format!("{number:08}-2222-3333-4444-555555555555")
}

impl Place {
    /// Serves `EACH` actions of each tenant, five cancels a second each.
    fn with(tenants: usize) -> Self {
        let sandbox = Sandbox::new(SandboxSettings {
            tokens: TokenSettings {
                strict: true,
                secret: Some(SECRET.into()),
                ..TokenSettings::default()
            },
            quota: Windows::new(vec![Window::parse("5/1s").unwrap()]),
            ..SandboxSettings::default()
        });
        let rows = (1..=tenants * EACH).map(|number| (nth_id(number), isolate()));
        sandbox.seed_from(rows, &Generator::all_pending(1));
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(serve(
            listener,
            sandbox.clone(),
            std::future::pending::<()>(),
        ));
        let mut config = format!("api-url = \"{address}\"\nlogin-url = \"{address}\"\n");
        config.push_str("client-id = \"99999999-2222-3333-4444-555555555555\"\n");
        for number in 1..=tenants {
            let id = tenant(number);
            let secret = format!("client-secret-env = \"SECRET_{number}\"");
            writeln!(
                config,
                "[profile.t{number}]\ntenant-id = \"{id}\"\n{secret}"
            )
            .unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        write_config(&folder.path().join("config.toml"), &config);
        Self {
            sandbox,
            folder,
            _runtime: runtime,
        }
    }

    /// Runs the binary; the secrets of these tenants are right, and those of all others wrong.
    fn run(&self, words: &str, right: &[usize]) -> (Option<i32>, String) {
        let mut command = program(self.folder.path());
        command
            .args(words.split_whitespace())
            .args(["--config", "config.toml"]);
        for number in 1..=9 {
            let secret = if right.contains(&number) {
                SECRET
            } else {
                "wrong"
            };
            command.env(format!("SECRET_{number}"), secret);
        }
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let said = text(output.stdout) + &text(output.stderr);
        (output.status.code(), said)
    }

    /// Counts a report's rows by tenant and outcome, and keeps the reasons.
    fn report(&self, name: &str) -> (BTreeMap<(String, String), usize>, Vec<String>) {
        let text = std::fs::read_to_string(self.folder.path().join(name)).unwrap();
        let mut lines = csv::Reader::from_reader(text.trim_start_matches('\u{feff}').as_bytes());
        let header = lines.headers().unwrap().clone();
        let place = |name: &str| header.iter().position(|cell| cell == name).unwrap();
        let mut counts = BTreeMap::new();
        let mut reasons = Vec::new();
        for line in lines.records() {
            let line = line.unwrap();
            let cell = |name: &str| line[place(name)].to_owned();
            *counts.entry((cell("tenant"), cell("outcome"))).or_default() += 1;
            reasons.push(cell("reason"));
        }
        (counts, reasons)
    }

    fn assert_every_quota_was_kept(&self) {
        let calls = self.sandbox.log();
        assert!(calls.iter().all(|call| !call.over_quota), "{calls:?}");
    }
}

/// An action of a type that nothing guards.
fn isolate() -> RowContext {
    RowContext {
        action_type: Some(ActionType::Isolate),
        ..RowContext::default()
    }
}

/// The rows of `tenants`, one tenant's between the others', by profile name and tenant id in turn.
fn rows(tenants: usize) -> String {
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
    let place = Place::with(3);
    let mut input = rows(3);
    // Twice in one tenant, once in another's name, in nobody's, and in one that was not asked for.
    let (one, two) = (nth_id(1), nth_id(2));
    write!(input, "{one},t1\n{two},\n{two},elsewhere\n").unwrap();
    std::fs::write(place.folder.path().join("ids.csv"), input).unwrap();
    let run = "run --yes --quota 5/1s --read-quota 5/1s --report r.csv ids.csv \
               --profile t1 --profile t2 --profile t3";
    let (code, said) = place.run(run, &[1, 2]);
    assert_eq!(code, Some(5), "{said}");
    place.assert_every_quota_was_kept();
    let (counts, reasons) = place.report("r.csv");
    for number in [1, 2] {
        assert_eq!(
            count(&counts, &tenant(number), "cancelled"),
            EACH,
            "{counts:?}"
        );
    }
    assert_eq!(count(&counts, &tenant(3), "not_attempted"), EACH);
    assert_eq!(count(&counts, &tenant(1), "duplicate"), 1);
    assert_eq!(count(&counts, "", "invalid"), 1);
    assert_eq!(count(&counts, "elsewhere", "skipped"), 1);
    let of_lane = reasons.iter().filter(|why| why.contains("AADSTS7000215"));
    assert_eq!(of_lane.count(), EACH, "{reasons:?}");
    assert!(
        said.contains(&format!("{}: sign-in: ", tenant(3))),
        "{said}"
    );

    let (code, said) = place.run("resume --yes --report r2.csv", &[1, 2, 3]);
    assert_eq!(code, Some(3), "{said}");
    place.assert_every_quota_was_kept();
    let (counts, _) = place.report("r2.csv");
    for number in 1..=3 {
        assert_eq!(
            count(&counts, &tenant(number), "cancelled"),
            EACH,
            "{counts:?}"
        );
    }
    let cancels = place.sandbox.log().into_iter();
    let cancels = cancels.filter(|call| call.kind == CallKind::Cancel);
    assert_eq!(cancels.count(), 3 * EACH, "{said}");
}

#[test]
fn rows_of_another_tenant_are_skipped_by_a_run_in_one() {
    let place = Place::with(2);
    std::fs::write(place.folder.path().join("ids.csv"), rows(2)).unwrap();
    let run = "run --yes --quota 5/1s --read-quota 5/1s --report r.csv ids.csv --profile t1";
    let (code, said) = place.run(run, &[1, 2]);
    assert_eq!(code, Some(0), "{said}");
    let (counts, reasons) = place.report("r.csv");
    let held: usize = counts
        .iter()
        .filter(|((_, outcome), _)| outcome == "skipped")
        .map(|(_, count)| count)
        .sum();
    assert_eq!(held, EACH, "{counts:?}");
    let why = reasons
        .iter()
        .filter(|why| why.starts_with("tenant not selected: "));
    assert_eq!(why.count(), EACH);
    place.assert_every_quota_was_kept();
}

#[test]
fn all_profiles_are_every_one_of_the_config_file() {
    let place = Place::with(2);
    std::fs::write(place.folder.path().join("ids.csv"), rows(2)).unwrap();
    let run = "run --yes --quota 5/1s --read-quota 5/1s --report r.csv ids.csv --profile all";
    let (code, said) = place.run(run, &[1, 2]);
    assert_eq!(code, Some(0), "{said}");
    let (counts, _) = place.report("r.csv");
    for number in [1, 2] {
        assert_eq!(
            count(&counts, &tenant(number), "cancelled"),
            EACH,
            "{counts:?}"
        );
    }
    assert_eq!(counts.len(), 2, "{counts:?}");
    // A tenant that is typed is the only one.
    let typed = "preview ids.csv --no-precheck --format json --profile t1";
    let (code, said) = place.run(typed, &[1]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("tenant not selected"), "{said}");
}

#[test]
fn what_only_one_tenant_can_have_is_refused_for_several() {
    let place = Place::with(2);
    std::fs::write(place.folder.path().join("ids.csv"), rows(2)).unwrap();
    let two = "--profile t1 --profile t2";
    for (words, told) in [
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
        let (code, said) = place.run(&words, &[1, 2]);
        assert_eq!(code, Some(2), "{words}: {said}");
        assert!(said.contains(told), "{words}: {said}");
    }
}
