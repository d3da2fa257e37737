//! A wrong address: what the program says, and how soon.

use std::process::Output;

use mde_cancel::sandbox::{CallKind, Status};

use crate::support::{Asked, FakeService, LiveSandbox, nth_id, program};

fn binary(folder: &std::path::Path, url: &str, words: &str) -> Output {
    program(folder)
        .args(words.split(' '))
        .env("MDE_CANCEL_API_URL", url)
        .env("MDE_CANCEL_TOKEN", "any-word")
        .output()
        .unwrap()
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
