//! Selections: what may be typed together, and what it means.

use mde_cancel::cli::settings::CommandSettings;
use mde_cancel::model::{ActionStatus, ActionType};

use super::{MARKER, Typing, service, typing};

/// A run on a selection from the tenant that nobody is asked about.
fn selecting(words: &str) -> Typing {
    let tenant = "11111111-2222-3333-4444-555555555555";
    typing(&format!("run --yes --max-actions 9 --tenant-id {tenant}"))
        .variable("MDE_CANCEL_TOKEN", MARKER)
        .words(words)
}

#[test]
fn a_selection_narrows_an_input_as_it_is_typed() {
    let now = "2026-02-10T12:00:00Z".parse().unwrap();
    let words = "--type isolate,LiveResponse --type Offboard --status pending --requestor a@x,b@x --since 2h \
                 --until 2026-02-10T11:30:00Z";
    let run = service(words).run();
    let selection = run.args.plan.selection(now);
    assert_eq!(
        selection.types,
        [
            ActionType::Isolate,
            ActionType::LiveResponse,
            ActionType::Offboard
        ]
    );
    assert_eq!(selection.statuses, [ActionStatus::Pending]);
    assert_eq!(selection.requestors, ["a@x", "b@x"]);
    assert_eq!(selection.since.unwrap().to_string(), "2026-02-10T10:00:00Z");
    assert_eq!(selection.until.unwrap().to_string(), "2026-02-10T11:30:00Z");
    assert!(service("").run().args.plan.selection(now).is_all());
}

#[test]
fn without_an_input_what_is_open_comes_from_the_tenant() {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let run = selecting("--type Isolate").run();
    assert!(run.inputs.is_empty());
    assert_eq!(run.args.max_actions, Some(9));
    assert_eq!(
        run.args.plan.selection(now).statuses,
        [ActionStatus::Pending, ActionStatus::InProgress]
    );
    let named = selecting("--type Isolate --status TimeOut").run();
    assert_eq!(
        named.args.plan.selection(now).statuses,
        [ActionStatus::TimeOut]
    );
    let filtered = selecting("")
        .word("--filter")
        .word("requestor eq 'o''neil@x'")
        .run();
    assert_eq!(
        filtered.args.plan.selection.filter.as_deref(),
        Some("requestor eq 'o''neil@x'")
    );
    assert!(filtered.args.plan.selection(now).is_all());
}

#[test]
fn a_list_may_mean_everything() {
    let list = typing("list")
        .variable("MDE_CANCEL_TOKEN", MARKER)
        .resolve()
        .unwrap();
    let CommandSettings::List(list) = list.command else {
        panic!("no list");
    };
    assert!(
        list.args
            .selection
            .selection(jiff::Timestamp::UNIX_EPOCH)
            .is_all()
    );
    assert_eq!(list.read_windows.to_string(), "50/1m, 750/1h");
}

#[test]
fn what_cannot_be_meant_together_is_refused() {
    let token = |words: &str| typing(words).variable("MDE_CANCEL_TOKEN", MARKER);
    let tenant = "--tenant-id contoso.onmicrosoft.com";
    for (typed, what) in [
        (
            service("--filter x"),
            "--filter selects from the tenant and can't narrow an input",
        ),
        (
            service("--status Pending --no-precheck"),
            "a selection by status or time needs the actions' records",
        ),
        (
            service("--until 2h --no-precheck"),
            "a selection by status or time needs the actions' records",
        ),
        (
            selecting("--type Isolate --no-precheck"),
            "a selection by status or time needs the actions' records",
        ),
        (
            service("--since 1h --until 2h"),
            "--since is later than --until",
        ),
        (
            selecting(""),
            "there is neither an INPUT nor a selection from the tenant",
        ),
        (
            selecting("--status Pending"),
            "a selection from the tenant needs --type or --filter",
        ),
        (
            token(&format!("run --yes --type Isolate {tenant}")),
            "a selection from the tenant needs --max-actions or --plan",
        ),
        (
            token("run --yes --type Isolate --max-actions 9"),
            "a selection from the tenant needs a tenant",
        ),
        (
            typing("run --sandbox --type Isolate"),
            "--sandbox needs an INPUT",
        ),
        (service("--filter x --type Isolate"), "cannot be used with"),
        (service("--type Isolte"), "expected RunAntiVirusScan"),
        (service("--status open"), "expected Pending"),
        (
            service("--machine-id dc-01"),
            "a machine id is 40 hexadecimal digits",
        ),
        (service("--since yesterday"), "expected a time such as"),
    ] {
        let (code, text) = typed.complaint();
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(what), "{what}: {text}");
    }
}
