//! What a run leaves in files, by the real binary.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

const IDS: &str =
    "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2\nno id\n8f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2\n";

/// The binary in a folder of its own, free of whatever settings the caller's environment holds.
fn binary(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("mde-cancel").unwrap();
    command.current_dir(folder).env_clear();
    command.args(["--state-dir", "state", "--progress", "never"]);
    command
}

#[test]
fn one_run_writes_every_format_and_report_writes_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    fs::write(folder.path().join("ids.txt"), IDS).unwrap();
    let mut run = binary(folder.path());
    run.args(["run", "ids.txt", "--sandbox", "--input-format", "lines"]);
    run.args(["--metrics-file", "run.prom"]);
    for ending in ["csv", "jsonl", "json", "html", "md"] {
        run.args(["--report", &format!("r.{ending}")]);
    }
    run.assert().code(3);

    let document: Value = serde_json::from_str(&read("r.json")).unwrap();
    assert_eq!(document["summary"]["rows"], 3);
    assert_eq!(document["summary"]["state"], "finished");
    assert_eq!(document["summary"]["sandbox"], true);
    assert_eq!(document["rows"].as_array().unwrap().len(), 3);
    assert_eq!(read("r.jsonl").lines().count(), 3);
    assert_eq!(read("r.html").matches("<tr data-o=").count(), 3);
    assert!(read("r.md").starts_with("# SANDBOX: "));
    let figures = read("run.prom");
    assert!(figures.contains("mde_cancel_run_state{state=\"finished\"} 1\n"));
    assert!(figures.contains("mde_cancel_exit_code 3\n"));
    assert!(figures.contains("mde_cancel_actions{outcome=\"invalid\"} 1\n"));

    let mut report = binary(folder.path());
    report.args([
        "report",
        "--report",
        "again.jsonl",
        "--report",
        "again.html",
    ]);
    report.assert().success();
    assert_eq!(read("again.jsonl"), read("r.jsonl"));
    assert_eq!(read("again.html").matches("<tr data-o=").count(), 3);
}

#[test]
fn figures_that_have_no_place_are_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ids.txt"), IDS).unwrap();
    for (path, what) in [
        ("-", "needs the name of a file"),
        ("no/run.prom", "cannot be used"),
    ] {
        let mut run = binary(folder.path());
        run.args(["run", "ids.txt", "--sandbox", "--metrics-file", path]);
        let output = run.assert().code(2).get_output().clone();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(what), "{said}");
        assert!(!folder.path().join("state").exists());
    }
}
