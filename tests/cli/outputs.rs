//! What a run leaves in files, by the real binary.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mde_cancel::sandbox::{CancelEffect, Status};
use serde_json::Value;

use crate::support::{Done, LiveSandbox, done, program, write_config};

const IDS: &str =
    "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2\nno id\n8f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2\n";

fn binary(folder: &Path) -> Command {
    let mut command = program(folder);
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
    said(&mut run, 3);

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
    report.args(["report", "-o", "again.jsonl", "-o", "again.html"]);
    said(&mut report, 0);
    assert_eq!(read("again.jsonl"), read("r.jsonl"));
    assert_eq!(read("again.html").matches("<tr data-o=").count(), 3);
}

#[test]
fn figures_that_have_no_place_are_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ids.txt"), IDS).unwrap();
    for (path, what) in [
        ("-", "needs the name of a file"),
        ("no/run.prom", "cannot be written"),
    ] {
        let mut run = binary(folder.path());
        run.args(["run", "ids.txt", "--sandbox", "--metrics-file", path]);
        let (_, told) = said(&mut run, 2);
        assert!(told.contains(what), "{told}");
        assert!(!folder.path().join("state").exists());
    }
}

fn said(command: &mut Command, code: i32) -> (String, String) {
    let Done {
        code: found,
        stdout,
        stderr,
    } = done(command);
    assert_eq!(found, Some(code), "{stdout}{stderr}");
    (stdout, stderr)
}

#[test]
fn no_output_overwrites_what_is_read_or_kept_however_its_path_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("sub")).unwrap();
    for name in ["ids.csv", "keep.csv", "token.csv", "ca.csv"] {
        fs::write(at(name), "precious").unwrap();
    }
    let config = "token-file = \"token.csv\"\nca-file = \"ca.csv\"\n";
    write_config(&at("config.csv"), config);
    let mut spellings = vec!["ids.csv", "sub/../ids.csv", "keep.csv", "ca.csv"];
    spellings.extend([
        "config.csv",
        "./token.csv",
        "state/state.db",
        "state/state.db-wal",
    ]);
    #[cfg(unix)]
    {
        // Windows names no file twice that we could tell.
        fs::hard_link(at("token.csv"), at("hard.csv")).unwrap();
        std::os::unix::fs::symlink(at("token.csv"), at("link.csv")).unwrap();
        spellings.extend(["hard.csv", "link.csv"]);
    }
    for flag in ["--report", "--follow-up", "--metrics-file", "--log-file"] {
        for path in &spellings {
            if ["--report", "--follow-up"].contains(&flag) && path.contains("state") {
                continue;
            }
            let mut run = binary(folder.path());
            run.args(["run", "ids.csv", "--yes", "--config", "config.csv"]);
            run.args(["--exclude-from", "keep.csv", flag, path]);
            let (_, told) = said(&mut run, 2);
            assert!(
                told.contains("is the same file as"),
                "{flag} {path}: {told}"
            );
        }
    }
    for name in ["ids.csv", "keep.csv", "token.csv", "ca.csv"] {
        assert_eq!(fs::read_to_string(at(name)).unwrap(), "precious");
    }
    assert_eq!(fs::read_to_string(at("config.csv")).unwrap(), config);
    assert!(!at("state").exists());
}

#[test]
fn a_file_that_is_not_ours_stays_and_the_report_is_written_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("ids.txt"), IDS).unwrap();
    for name in ["mine.csv", "mine.html", "list.csv", "m.prom"] {
        fs::write(at(name), "mine").unwrap();
    }
    let mut run = binary(folder.path());
    run.args(["run", "ids.txt", "--sandbox", "--input-format", "lines"]);
    run.args([
        "--report",
        "mine.csv",
        "--report",
        "mine.html",
        "--follow-up",
        "list.csv",
    ]);
    let (summary, warned) = said(&mut run, 3);
    for (name, what) in [
        ("mine.csv", "report"),
        ("mine.html", "report"),
        ("list.csv", "follow-up list"),
    ] {
        assert_eq!(fs::read_to_string(at(name)).unwrap(), "mine", "{name}");
        let (stem, ending) = name.split_once('.').unwrap();
        let all = fs::read_dir(folder.path()).unwrap();
        let mut all = all.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let beside =
            all.find(|other| other.starts_with(&format!("{stem}-")) && other.ends_with(ending));
        let beside = beside.unwrap_or_else(|| panic!("nothing beside {name}"));
        let flat = summary.split_whitespace().collect::<Vec<_>>().join(" ");
        let note =
            format!("{name} is not a {what} of mde-cancel and is kept; the {what} is {beside}");
        assert!(flat.contains(&note), "{note}: {summary}");
        assert!(warned.contains(&note), "{note}: {warned}");
    }
    let mut metrics = binary(folder.path());
    metrics.args(["run", "ids.txt", "--sandbox", "--metrics-file", "m.prom"]);
    let (_, told) = said(&mut metrics, 2);
    assert!(
        told.contains("m.prom exists and is not a metrics file of mde-cancel"),
        "{told}"
    );
}

#[test]
fn a_follow_up_list_has_the_ending_of_a_table() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ids.txt"), IDS).unwrap();
    for path in ["x.html", "x", "x.csv.txt", "-"] {
        for command in [
            vec!["run", "ids.txt", "--sandbox"],
            vec!["resume"],
            vec!["report"],
        ] {
            let mut typed = binary(folder.path());
            typed.args(&command).args(["--follow-up", path]);
            let (_, told) = said(&mut typed, 2);
            assert!(
                told.contains("follow-up list"),
                "{command:?} {path}: {told}"
            );
        }
    }
}

#[test]
fn a_bare_resume_writes_the_files_that_the_run_was_begun_with() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let ids = (1..=150).map(|number| crate::support::nth_id(number).to_string());
    fs::write(at("ids.txt"), ids.collect::<Vec<_>>().join("\n")).unwrap();
    fs::create_dir(at("elsewhere")).unwrap();
    let state = at("state");
    let outputs = ["r.csv", "r.json", "f.csv", "m.prom"];
    let mut run = binary(folder.path());
    run.args([
        "run",
        "ids.txt",
        "--sandbox",
        "--stop-after",
        "1s",
        "--report",
        "r.csv",
    ]);
    run.args([
        "--report",
        "r.json",
        "--follow-up",
        "f.csv",
        "--metrics-file",
        "m.prom",
    ]);
    let (stdout, _) = said(&mut run, 4);
    let id = stdout
        .lines()
        .find_map(|line| line.strip_prefix("run "))
        .unwrap()
        .to_owned();
    let stopped = outputs.map(|name| fs::read(at(name)).unwrap());
    let mut resume = program(&at("elsewhere"));
    resume.args(["resume", &id, "--state-dir"]);
    said(resume.arg(&state), 3);
    for (name, stopped) in outputs.iter().zip(stopped) {
        assert_ne!(fs::read(at(name)).unwrap(), stopped, "{name}");
    }
    assert!(
        !fs::read_to_string(at("r.csv"))
            .unwrap()
            .contains("not_attempted")
    );
    assert_eq!(fs::read_dir(at("elsewhere")).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn a_link_that_somebody_else_planted_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("ids.txt"), IDS).unwrap();
    fs::create_dir(at("shared")).unwrap();
    fs::create_dir(at("target")).unwrap();
    let links = [("shared/r.csv", "target/r.csv"), ("shared/dir", "target")];
    for (link, target) in links {
        std::os::unix::fs::symlink(at(target), at(link)).unwrap();
        // Only the superuser can give a link away.
        if std::os::unix::fs::lchown(at(link), Some(65_534), None).is_err() {
            return;
        }
    }
    fs::write(at("target/r.csv"), "").unwrap();
    for path in ["shared/r.csv", "shared/dir/x.csv"] {
        for (flag, exit) in [
            ("--report", 2),
            ("--follow-up", 2),
            ("--metrics-file", 2),
            ("--log-file", 2),
            ("--state-dir", 6),
        ] {
            let mut run = binary(folder.path());
            run.args(["run", "ids.txt", "--sandbox", flag, path]);
            let (_, told) = said(&mut run, exit);
            assert!(
                told.contains("belongs to somebody else"),
                "{flag} {path}: {told}"
            );
        }
    }
    assert_eq!(fs::read_to_string(at("target/r.csv")).unwrap(), "");
    assert!(!at("target/x.csv").exists());
}

#[test]
fn a_report_counts_accepted_rows_as_done_where_nobody_wanted_to_see_more() {
    let live = LiveSandbox::start(|settings| {
        settings.cancels.open = CancelEffect::Late(Duration::from_hours(1));
    });
    live.isolates(1..=3, Status::Pending);
    let folder = tempfile::tempdir().unwrap();
    let ids = (1..=3).map(|number| crate::support::nth_id(number).to_string());
    fs::write(
        folder.path().join("ids.txt"),
        ids.collect::<Vec<_>>().join("\n"),
    )
    .unwrap();
    let mut run = binary(folder.path());
    run.env("MDE_CANCEL_TOKEN", "any-word");
    run.args([
        "run",
        "ids.txt",
        "--yes",
        "--no-verify",
        "--api-url",
        &live.url,
    ]);
    said(run.args(["--report", "r.md"]), 0);
    let mut report = binary(folder.path());
    said(report.args(["report", "-o", "again.md"]), 0);
    for name in ["r.md", "again.md"] {
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        let head = text.lines().next().unwrap().to_lowercase();
        assert!(head.contains("nothing left to do"), "{name}: {text}");
        assert!(text.contains("| accepted | 3 |"), "{name}: {text}");
    }
}

#[test]
fn a_dry_run_is_held_to_its_bound_and_can_be_tried_in_the_sandbox() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ids.txt"), IDS).unwrap();
    let typed = |words: &[&str]| {
        let mut run = binary(folder.path());
        run.args([
            "run",
            "ids.txt",
            "--input-format",
            "lines",
            "--sandbox",
            "--dry-run",
        ]);
        run.args(words);
        run
    };
    let (plan, _) = said(&mut typed(&[]), 3);
    assert!(plan.contains("2 actions to cancel"), "{plan}");
    let (plan, told) = said(&mut typed(&["--max-actions", "1"]), 2);
    assert!(plan.contains("2 actions to cancel"), "{plan}");
    assert!(
        told.contains("nothing was sent: the plan has 2 actions"),
        "{told}"
    );
    let mut runs = binary(folder.path());
    let (none, _) = said(runs.arg("runs"), 0);
    assert_eq!(none, "there is no run in state yet\n");
}

#[test]
fn runs_counts_machines_that_need_work_and_show_tells_where_a_run_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let rows = (1..=60).map(|number| format!("{},Isolate\n", crate::support::nth_id(number)));
    let wave = format!("id,type\n{}", rows.collect::<String>());
    fs::write(folder.path().join("wave.csv"), wave).unwrap();
    let mut run = binary(folder.path());
    run.args(["run", "wave.csv", "--sandbox", "--report", "r.csv"]);
    said(&mut run, 3);
    let (json, _) = said(binary(folder.path()).args(["runs", "--format", "json"]), 0);
    let all: Value = serde_json::from_str(&json).unwrap();
    let machines = all[0]["follow_ups"].as_object().unwrap().values();
    let machines: u64 = machines.map(|count| count.as_u64().unwrap()).sum();
    assert!(machines > 0, "{json}");
    let (table, _) = said(binary(folder.path()).arg("runs"), 0);
    assert!(
        table.contains(&format!("machines that need work: {machines}\n")),
        "{table}"
    );
    // A time without its zone is worth nothing.
    assert!(
        ["UTC", "GMT"]
            .iter()
            .any(|zone| table.contains(&format!(" {zone} · 60 rows"))),
        "{table}"
    );
    let id = all[0]["run"].as_str().unwrap();
    let (shown, _) = said(binary(folder.path()).args(["runs", "show", &id[..8]]), 0);
    let report = folder.path().canonicalize().unwrap().join("r.csv");
    let report = report.display().to_string();
    for part in [id, "SANDBOX finished", report.trim_start_matches(r"\\?\")] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let mut show = binary(folder.path());
    let (shown, _) = said(show.args(["runs", "show", id, "--format", "json"]), 0);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown, all[0]);
}

#[test]
fn a_secret_that_is_taken_for_an_input_is_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "abc8Q~0123456789abcdefghij-0123456789xyz";
    let id = "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";
    for (text, code) in [
        (format!("{secret}\n"), 2),
        (format!("{id}\n{secret}\n"), 3),
        (format!("id\n{secret}\n{id}\n"), 3),
        (format!("{{\"{secret}\":1}}\n"), 2),
        (format!("user,{secret}\n"), 2),
        (format!("[\"{secret}\",\"{id}\"]"), 3),
    ] {
        fs::write(folder.path().join("client.secret"), &text).unwrap();
        for format in ["table", "csv", "json"] {
            let mut preview = binary(folder.path());
            preview.args([
                "preview",
                "client.secret",
                "--no-precheck",
                "--format",
                format,
            ]);
            let (printed, told) = said(&mut preview, code);
            let all = format!("{printed}{told}");
            assert!(!all.contains(secret), "{text}: {all}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_state_folder_of_somebody_else_and_a_linked_journal_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("ids.txt"), IDS).unwrap();
    fs::create_dir_all(at("state/sandbox")).unwrap();
    for dir in ["state", "state/sandbox"] {
        fs::set_permissions(at(dir), fs::Permissions::from_mode(0o700)).unwrap();
    }
    std::os::unix::fs::symlink(at("elsewhere.db"), at("state/sandbox/state.db")).unwrap();
    let run = || {
        let mut run = binary(folder.path());
        run.args(["run", "ids.txt", "--sandbox", "--input-format", "lines"]);
        run
    };
    let (_, told) = said(&mut run(), 6);
    assert!(told.contains("state.db"), "{told}");
    assert!(!at("elsewhere.db").exists(), "{told}");
    fs::remove_file(at("state/sandbox/state.db")).unwrap();
    // Only the superuser can give a folder away.
    if std::os::unix::fs::chown(at("state/sandbox"), Some(65_534), None).is_ok() {
        let (_, told) = said(&mut run(), 6);
        assert!(
            told.contains("state/sandbox belongs to another user"),
            "{told}"
        );
    }
}

#[test]
fn what_runs_calls_left_is_what_a_resume_sends() {
    let folder = tempfile::tempdir().unwrap();
    let rows = (1..=3).map(|number| format!("{},Isolate\n", crate::support::nth_id(number)));
    let wave = format!("id,type\n{}no-id,Isolate\n", rows.collect::<String>());
    fs::write(folder.path().join("wave.csv"), wave).unwrap();
    let mut run = binary(folder.path());
    run.args(["run", "wave.csv", "--sandbox", "--quota", "1/24h"]);
    said(run.args(["--stop-after", "1s"]), 4);
    let (table, _) = said(binary(folder.path()).arg("runs"), 0);
    assert!(table.contains(" · 2 left · "), "{table}");
    assert!(table.contains(" need attention"), "{table}");
}
