//! What a wrong or silent address says, and what a page says that is not all there is.

use std::process::{Command, Output};
use std::time::Duration;

use mde_cancel::engine::core::StopReason;
use mde_cancel::engine::{Precheck, Rules};
use mde_cancel::model::Outcome::{Cancelled, NotFound};
use mde_cancel::model::{ActionStatus, ActionType, MachineAction, ReadPage, ReplyKind};
use mde_cancel::sandbox::{CallKind, Status};

use crate::support::{Asked, FakeService, History, LiveSandbox, World, nth_id, reply};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A world whose calls take a while; states are read first.
fn world(rows: u32) -> World {
    let mut world = World::of(rows);
    world.latency = Box::new(|_| (Duration::from_millis(100), 0.5));
    world.read_latency = Duration::from_millis(100);
    world.rules = Rules {
        precheck: Precheck::ReadFirst,
        ..Rules::default()
    };
    world
}

/// The same without states.
fn blind(rows: u32) -> World {
    let mut world = world(rows);
    world.rules = Rules::default();
    world
}

fn calls(history: &History) -> usize {
    history.posts.len() + history.reads.len()
}

#[test]
fn a_host_that_does_not_exist_stops_the_run_at_once_and_is_named() {
    let host = || "api.contoso.example".to_owned();
    let mut sending = blind(100);
    sending.cancel_answer = Box::new(move |_, _| Some(reply(ReplyKind::NoSuchHost(host()), None)));
    let mut reading = world(100);
    reading.read_answer = Box::new(move |_, _| Some(reply(ReplyKind::NoSuchHost(host()), None)));
    for history in [sending.run(), reading.run()] {
        let stop = StopReason::Unreachable(format!("the host name {} does not exist", host()));
        assert_eq!(history.stop, Some(stop));
        assert!(history.elapsed < secs(1), "{:?}", history.elapsed);
        assert!(history.outcomes.is_empty());
    }
}

#[test]
fn a_host_that_vanishes_in_mid_run_is_waited_for() {
    let mut world = blind(50);
    world.cancel_answer = Box::new(|_, now| {
        let host = "api.contoso.example".to_owned();
        (secs(1) < now && now < secs(600)).then(|| reply(ReplyKind::NoSuchHost(host), None))
    });
    world.pace = mde_cancel::quota::Pace::parse("10/s").unwrap();
    let history = world.run();
    assert_eq!(history.stop, None);
    assert_eq!(history.counts()[&Cancelled], 50);
}

#[test]
fn a_service_that_never_answers_is_given_up_a_minute_after_the_first_call() {
    let kinds: [ReplyKind<ReadPage>; 4] = [
        ReplyKind::TimedOut,
        ReplyKind::Broken("reset".to_owned()),
        ReplyKind::NeverLeft("refused".to_owned()),
        ReplyKind::Redirected,
    ];
    for kind in kinds {
        let mut world = world(100);
        // A call that hangs lasts 30 s, and one that is refused no time.
        world.read_latency = secs(if kind == ReplyKind::TimedOut { 30 } else { 0 });
        let answer = kind.clone();
        world.read_answer = Box::new(move |_, _| Some(reply(answer.clone(), None)));
        let history = world.run();
        let stop = &history.stop;
        assert!(matches!(stop, Some(StopReason::Unreachable(_))), "{stop:?}");
        let lasted = history.elapsed.as_secs();
        assert!((60..=63).contains(&lasted), "{kind:?}: {lasted} s");
    }
}

#[test]
fn an_outage_of_half_a_minute_at_the_start_is_waited_out() {
    let mut world = blind(20);
    world.cancel_answer = Box::new(|_, now| {
        (now < secs(35)).then(|| reply(ReplyKind::NeverLeft("refused".to_owned()), None))
    });
    let history = world.run();
    assert_eq!(
        (history.stop.clone(), history.counts()[&Cancelled]),
        (None, 20)
    );
}

#[test]
fn five_404s_that_are_not_the_services_own_stop_the_run_and_name_the_address() {
    let address = "https://api.contoso.example/wrong/api/machineactions";
    let mut sending = blind(100);
    sending.cancel_answer = Box::new(move |_, _| {
        Some(reply(
            ReplyKind::NoSuchAddress(address.to_owned()),
            Some(404),
        ))
    });
    let mut reading = world(100);
    reading.read_answer = Box::new(move |_, _| {
        Some(reply(
            ReplyKind::NoSuchAddress(address.to_owned()),
            Some(404),
        ))
    });
    for history in [sending.run(), reading.run()] {
        assert_eq!(
            history.stop,
            Some(StopReason::NoSuchAddress(address.to_owned()))
        );
        assert!(history.outcomes.is_empty(), "{:?}", history.outcomes);
        assert!(calls(&history) <= 5 + 15, "{}", calls(&history));
    }
}

#[test]
fn such_404s_among_proper_answers_are_a_fault_of_the_way_and_cost_no_row() {
    let mut world = world(200);
    world.cancel_answer = Box::new(|_, now| {
        let address = "https://api.contoso.example/api/machineactions".to_owned();
        (secs(1) < now && now < secs(300))
            .then(|| reply(ReplyKind::NoSuchAddress(address), Some(404)))
    });
    let history = world.run();
    assert_eq!(
        (history.stop.clone(), history.counts()[&Cancelled]),
        (None, 200)
    );
}

/// Answers a read of ids with at most `bound` records; those of every 40th row do not exist.
fn pages(bound: usize, is_told: bool) -> World {
    let mut world = world(400);
    world.state_of = Box::new(|row, _| (row.0 % 40 != 0).then_some(ActionStatus::Pending));
    world.read_answer = Box::new(move |ids, now| {
        // What was cancelled meanwhile is read nowhere here.
        let exists = |id: &&_| !crate::support::row_of(**id).0.is_multiple_of(40);
        let found = ids.iter().filter(exists).count();
        let records = ids
            .iter()
            .filter(exists)
            .take(bound)
            .map(|&id| MachineAction {
                status: Some(ActionStatus::Pending),
                action_type: Some(ActionType::Isolate),
                ..MachineAction::bare(id)
            });
        let mut page: ReadPage = records.collect();
        page.is_whole = !is_told || found <= bound;
        assert!(now < secs(24 * 3600), "it never ends");
        Some(reply(ReplyKind::Answer(page), Some(200)))
    });
    world
}

#[test]
fn a_page_that_ends_early_calls_no_action_unknown_whether_it_says_so_or_not() {
    for is_told in [true, false] {
        for bound in [1, 30, 99] {
            let history = pages(bound, is_told).run();
            assert_eq!(history.stop, None, "{bound} {is_told}");
            let counts = history.counts();
            assert_eq!(
                (counts[&Cancelled], counts[&NotFound]),
                (390, 10),
                "{bound} {is_told}"
            );
        }
    }
}

#[test]
fn an_answer_that_has_nothing_to_do_with_the_ids_is_followed_by_single_reads() {
    let mut world = world(20);
    world.read_answer = Box::new(|ids, _| {
        // As of a service that does not heed the filter.
        (ids.len() > 1).then(|| {
            let page = ReadPage {
                listed: ids.len(),
                ..ReadPage::from_iter([])
            };
            reply(ReplyKind::Answer(page), Some(200))
        })
    });
    let history = world.run();
    assert_eq!(history.counts()[&Cancelled], 20);
}

#[test]
fn two_words_that_an_action_is_unknown_are_half_a_minute_apart() {
    let mut world = world(1);
    world.state_of = Box::new(|_, _| None);
    let history = world.run();
    assert_eq!(history.counts()[&NotFound], 1);
    let [first, second] = history.reads[..] else {
        unreachable!("{:?}", history.reads)
    };
    assert!(second >= first + secs(30), "{:?}", history.reads);
}

fn binary(folder: &std::path::Path, url: &str, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mde-cancel"));
    command
        .args(words.split(' '))
        .current_dir(folder)
        .env_clear()
        .env("MDE_CANCEL_STATE_DIR", folder.join("state"))
        .env("MDE_CANCEL_API_URL", url)
        .env("MDE_CANCEL_TOKEN", "any-word");
    command.output().unwrap()
}

fn ids(folder: &std::path::Path, count: usize) {
    let ids: Vec<_> = (1..=count)
        .map(|number| nth_id(number).to_string())
        .collect();
    std::fs::write(folder.join("ids.txt"), ids.join("\n")).unwrap();
}

#[test]
fn an_api_url_that_ends_in_api_is_the_service_all_the_same() {
    let live = LiveSandbox::start(|_| ());
    live.isolates(1..=3, Status::Pending);
    for ending in ["/api", "/api/"] {
        let folder = tempfile::tempdir().unwrap();
        ids(folder.path(), 3);
        let url = format!("{}{ending}", live.url);
        let output = binary(folder.path(), &url, "run ids.txt --yes");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{told}");
    }
    assert_eq!(live.calls(CallKind::Cancel), 3);
}

#[test]
fn an_address_where_the_service_is_not_ends_the_run_with_5_and_is_named() {
    let service = FakeService::start(|_: &Asked| (404, "<html>Not Found</html>".to_owned()));
    for words in [
        "run ids.txt --yes",
        "run ids.txt --yes --no-precheck",
        "run ids.txt --yes --max-actions 9",
        "preview ids.txt",
        "list",
    ] {
        let folder = tempfile::tempdir().unwrap();
        ids(folder.path(), 6);
        let before = service.asked().len();
        let output = binary(folder.path(), &service.url, words);
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert_eq!(output.status.code(), Some(5), "{words}: {told}");
        let address = format!("{}/api/machineactions", service.url);
        assert!(told.contains(&address), "{words}: {told}");
        assert!(told.contains("--api-url"), "{words}: {told}");
        assert!(!told.contains("not_found"), "{words}: {told}");
        let calls = service.asked().len() - before;
        assert!(calls <= 11, "{words}: {calls} calls");
    }
}

/// As a service that takes a hundred nodes in a filter, and of `in` so many values.
fn with_a_node_limit(most_values: usize) -> FakeService {
    FakeService::start(move |asked| {
        let filter = asked.option("$filter").unwrap_or_default();
        let nodes = filter.matches(" or ").count() * 5 + filter.matches(" and ").count() * 5;
        let is_taken = nodes <= 100 && filter.matches("','").count() < most_values;
        if is_taken {
            return (200, r#"{"value":[]}"#.to_owned());
        }
        let error = r#"{"error":{"code":"ODataError","message":"The node count limit of '100' has been exceeded."}}"#;
        (400, error.to_owned())
    })
}

#[test]
fn many_machine_ids_are_asked_for_in_lists_and_in_parts_where_a_list_is_not_taken() {
    for (most_values, most_calls) in [(usize::MAX, 2), (40, 16)] {
        let service = with_a_node_limit(most_values);
        let folder = tempfile::tempdir().unwrap();
        let machines = (0..150).map(|number| format!(" --machine-id {number:040x}"));
        let words = format!("list --type Isolate{}", machines.collect::<String>());
        let output = binary(folder.path(), &service.url, &words);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{told}");
        let asked = service.asked();
        assert!(asked.len() <= most_calls, "{} calls", asked.len());
        for number in 0..150 {
            let id = format!("{number:040x}");
            let named = |asked: &Asked| asked.option("$filter").unwrap().contains(&id);
            assert!(asked.iter().any(named), "{id} was never asked for");
        }
    }
}
