//! The files that a run of the real binary leaves.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mde_cancel::sandbox::{CancelEffect, Status};
use serde_json::Value;

use crate::support::{Done, Place, done, nth_id, program, write_config, write_ids};

const IDS: &str =
    "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2\nno id\n8f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2\n";

/// The program in `folder`, with words separated by spaces.
fn command(folder: &Path, words: &str) -> Command {
    let mut command = program(folder);
    command.args(["--state-dir", "state", "--progress", "never"]);
    command.args(words.split(' '));
    command
}

fn run(folder: &Path, words: &str) -> Done {
    done(&mut command(folder, words))
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ids.txt"), IDS).unwrap();
    folder
}

/// Writes a table of `count` isolations.
fn write_wave(folder: &Path, count: usize, more: &str) {
    let rows = (1..=count).map(|number| format!("{},Isolate\n", nth_id(number)));
    let wave = format!("id,type\n{}{more}", rows.collect::<String>());
    fs::write(folder.join("wave.csv"), wave).unwrap();
}

#[test]
fn the_html_report_of_a_live_run_renews_itself_until_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let words = "run - --sandbox --yes --input-format lines --report r.html";
    let mut child = command(folder.path(), words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The run lasts until its input ends.
    let mut input = child.stdin.take().unwrap();
    let page = || fs::read_to_string(folder.path().join("r.html")).unwrap_or_default();
    let wait_for = |text: &str| {
        let start = Instant::now();
        while !page().contains(text) {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "{text}: {}",
                page()
            );
            std::thread::yield_now();
        }
    };
    let renewed = "<meta name=\"renewed-every\" ";
    wait_for(renewed);
    let id = nth_id(1).to_string();
    writeln!(input, "{id}").unwrap();
    wait_for(&id);
    let renewal = page();
    assert!(renewal.contains(renewed) && renewal.ends_with("</html>\n"));
    drop(input);
    child.wait().unwrap();
    assert!(page().contains(&id) && !page().contains(renewed));
    run(folder.path(), "report -o again.html").exits(0);
    let again = fs::read_to_string(folder.path().join("again.html")).unwrap();
    assert!(!again.contains(renewed));
}

#[test]
fn one_run_writes_every_format_and_report_writes_the_same_again() {
    let folder = folder();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let reports = ["csv", "jsonl", "json", "html", "md"];
    let reports = reports
        .map(|ending| format!(" --report r.{ending}"))
        .concat();
    let words = "run ids.txt --sandbox --input-format lines --metrics-file run.prom";
    run(folder.path(), &format!("{words}{reports}")).exits(3);

    let document: Value = serde_json::from_str(&read("r.json")).unwrap();
    let summary = &document["summary"];
    assert_eq!(
        (&summary["rows"], &summary["state"], &summary["sandbox"]),
        (&3.into(), &"finished".into(), &true.into())
    );
    assert_eq!(document["rows"].as_array().unwrap().len(), 3);
    assert_eq!(read("r.jsonl").lines().count(), 3);
    assert_eq!(read("r.html").matches("<tr data-o=").count(), 3);
    assert!(read("r.md").starts_with("# SANDBOX: "));
    let figures = read("run.prom");
    for line in [
        "mde_cancel_run_state{state=\"finished\"} 1\n",
        "mde_cancel_exit_code 3\n",
        "mde_cancel_actions{outcome=\"invalid\"} 1\n",
    ] {
        assert!(figures.contains(line), "{figures}");
    }

    run(folder.path(), "report -o again.jsonl -o again.html").exits(0);
    assert_eq!(read("again.jsonl"), read("r.jsonl"));
    assert_eq!(read("again.html").matches("<tr data-o=").count(), 3);
}

#[test]
fn an_unwritable_metrics_file_is_refused_before_anything_is_sent() {
    let folder = folder();
    for (path, what) in [
        ("-", "needs the name of a file"),
        ("no/run.prom", "cannot be written"),
    ] {
        let words = format!("run ids.txt --sandbox --metrics-file {path}");
        let told = run(folder.path(), &words).exits(2).stderr;
        assert!(told.contains(what), "{told}");
        assert!(!folder.path().join("state").exists());
    }
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
    let mut spellings = vec![
        "ids.csv",
        "sub/../ids.csv",
        "keep.csv",
        "ca.csv",
        "config.csv",
    ];
    spellings.extend(["./token.csv", "state/state.db", "state/state.db-wal"]);
    #[cfg(unix)]
    {
        // On Windows, the program can't tell two names of one file.
        fs::hard_link(at("token.csv"), at("hard.csv")).unwrap();
        std::os::unix::fs::symlink(at("token.csv"), at("link.csv")).unwrap();
        spellings.extend(["hard.csv", "link.csv"]);
    }
    for flag in ["--report", "--follow-up", "--metrics-file", "--log-file"] {
        for path in &spellings {
            if ["--report", "--follow-up"].contains(&flag) && path.contains("state") {
                continue;
            }
            let words = format!(
                "run ids.csv --yes --config config.csv --exclude-from keep.csv {flag} {path}"
            );
            let told = run(folder.path(), &words).exits(2).stderr;
            assert!(told.contains("is the same file as"), "{words}: {told}");
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
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for name in ["mine.csv", "mine.html", "list.csv", "m.prom"] {
        fs::write(at(name), "mine").unwrap();
    }
    let words = "run ids.txt --sandbox --input-format lines --report mine.csv --report mine.html --follow-up list.csv";
    let ended = run(folder.path(), words).exits(3);
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
        let note =
            format!("{name} is not a {what} of mde-cancel and is kept; the {what} is {beside}");
        let summary = ended
            .stdout
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(summary.contains(&note), "{note}: {summary}");
        assert!(ended.stderr.contains(&note), "{note}: {}", ended.stderr);
    }
    let words = "run ids.txt --sandbox --metrics-file m.prom";
    let told = run(folder.path(), words).exits(2).stderr;
    let what = "m.prom is not a metrics file of mde-cancel";
    assert!(told.contains(what), "{told}");
}

/// Has a file open as Excel does: others may read it and nothing else.
#[cfg(windows)]
fn hold_open(path: &Path) -> fs::File {
    use std::os::windows::fs::OpenOptionsExt as _;
    const SHARE_READ: u32 = 1;
    let mut options = fs::OpenOptions::new();
    options.read(true).share_mode(SHARE_READ);
    options.open(path).unwrap()
}

#[cfg(windows)]
#[test]
fn a_report_that_another_program_has_open_stays_and_the_new_one_goes_beside_it() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let words = "run ids.txt --sandbox --input-format lines --report r.csv";
    run(folder.path(), words).exits(3);
    let earlier = fs::read(at("r.csv")).unwrap();
    let held = hold_open(&at("r.csv"));
    let told = run(folder.path(), words).exits(3).stderr;
    assert!(
        told.contains("r.csv is open in another program and is kept; the report is r-"),
        "{told}"
    );
    let of_run = fs::read_dir(folder.path()).unwrap().find(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("r-")
    });
    assert!(of_run.is_some());
    drop(held);
    assert_eq!(fs::read(at("r.csv")).unwrap(), earlier);
}

#[cfg(windows)]
#[test]
fn a_report_that_is_opened_in_mid_run_costs_exit_code_1_and_is_written_again_elsewhere() {
    use crate::support::{finish, wait_for};
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("r.csv"), "").unwrap();
    let words = "run - --sandbox --yes --input-format lines --report r.csv --report r.html";
    let mut child = command(folder.path(), words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It goes on until its input ends.
    let input = child.stdin.take().unwrap();
    wait_for(|| at("r.html").exists());
    let held = hold_open(&at("r.csv"));
    drop(input);
    let told = finish(child).exits(1).stderr;
    assert!(
        told.contains("r.csv cannot be replaced: another program has it open"),
        "{told}"
    );
    assert!(told.contains("write it again, to another file"), "{told}");
    drop(held);
    run(folder.path(), "report -o r.csv").exits(0);
    assert!(fs::metadata(at("r.csv")).unwrap().len() > 0);
}

#[test]
fn a_follow_up_list_must_be_a_csv_file() {
    let folder = folder();
    for path in ["x.html", "x", "x.csv.txt", "-"] {
        for command in ["run ids.txt --sandbox", "resume", "report"] {
            let words = format!("{command} --follow-up {path}");
            let told = run(folder.path(), &words).exits(2).stderr;
            assert!(told.contains("follow-up list"), "{words}: {told}");
        }
    }
}

#[test]
fn resume_without_output_flags_writes_the_original_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write_ids(&at("ids.txt"), 70);
    fs::create_dir(at("elsewhere")).unwrap();
    let words = "run ids.txt --sandbox --stop-after 1s --report r.csv --report r.json --follow-up f.csv --metrics-file m.prom";
    let stdout = run(folder.path(), words).exits(4).stdout;
    let id = stdout.lines().find_map(|line| line.strip_prefix("run "));
    let outputs = ["r.csv", "r.json", "f.csv", "m.prom"];
    let stopped = outputs.map(|name| fs::read(at(name)).unwrap());
    let mut resume = program(&at("elsewhere"));
    resume.args(["resume", id.unwrap(), "--state-dir"]);
    done(resume.arg(at("state"))).exits(3);
    for (name, stopped) in outputs.iter().zip(stopped) {
        assert_ne!(fs::read(at(name)).unwrap(), stopped, "{name}");
    }
    let report = fs::read_to_string(at("r.csv")).unwrap();
    assert!(!report.contains("not_attempted"), "{report}");
    assert_eq!(fs::read_dir(at("elsewhere")).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn a_link_that_somebody_else_planted_is_not_followed() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("shared")).unwrap();
    fs::create_dir(at("target")).unwrap();
    let links = [("shared/r.csv", "target/r.csv"), ("shared/dir", "target")];
    for (link, target) in links {
        std::os::unix::fs::symlink(at(target), at(link)).unwrap();
        // Only root can give a link away.
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
            let words = format!("run ids.txt --sandbox {flag} {path}");
            let told = run(folder.path(), &words).exits(exit).stderr;
            assert!(told.contains("belongs to another user"), "{words}: {told}");
        }
    }
    for words in ["sandbox --log shared/r.csv", "man --dir shared/dir"] {
        let told = run(folder.path(), words).exits(2).stderr;
        assert!(told.contains("belongs to another user"), "{words}: {told}");
    }
    assert_eq!(fs::read_to_string(at("target/r.csv")).unwrap(), "");
    assert!(!at("target/x.csv").exists());
    assert!(!at("target/mde-cancel.1").exists());
}

#[test]
fn a_report_counts_accepted_rows_as_done_without_verification() {
    let place = Place::with(|settings| {
        settings.cancels.open = CancelEffect::Late(Duration::from_hours(1));
    });
    place.live.isolates(1..=3, Status::Pending);
    write_ids(&place.at("ids.txt"), 3);
    let words = "run ids.txt --yes --no-verify --report r.md";
    place.run(words).exits(0);
    place.run("report -o again.md").exits(0);
    for name in ["r.md", "again.md"] {
        let text = place.read(name);
        let head = text.lines().next().unwrap().to_lowercase();
        assert!(head.contains("nothing left to do"), "{name}: {text}");
        assert!(text.contains("| accepted | 3 |"), "{name}: {text}");
    }
}

#[test]
fn a_dry_run_checks_max_actions_and_works_in_the_sandbox() {
    let folder = folder();
    let words = "run ids.txt --input-format lines --sandbox --dry-run";
    let plan = run(folder.path(), words).exits(3).stdout;
    assert!(plan.contains("2 actions to cancel"), "{plan}");
    let ended = run(folder.path(), &format!("{words} --max-actions 1")).exits(2);
    let told = ended.told();
    assert!(ended.stdout.contains("2 actions to cancel"), "{told}");
    let what = "nothing was sent: the plan has 2 actions";
    assert!(ended.stderr.contains(what), "{told}");
    let none = run(folder.path(), "runs").exits(0).stdout;
    assert_eq!(none, "there is no run in state yet\n");
}

#[test]
fn runs_counts_machines_that_need_work_and_show_tells_where_a_run_wrote() {
    let folder = tempfile::tempdir().unwrap();
    write_wave(folder.path(), 60, "");
    run(folder.path(), "run wave.csv --sandbox --report r.csv").exits(3);
    let json = run(folder.path(), "runs --format json").exits(0).stdout;
    let all: Value = serde_json::from_str(&json).unwrap();
    let machines = all[0]["follow_ups"].as_object().unwrap().values();
    let machines: u64 = machines.map(|count| count.as_u64().unwrap()).sum();
    assert!(machines > 0, "{json}");
    let table = run(folder.path(), "runs").exits(0).stdout;
    let line = format!("machines that need work: {machines}\n");
    assert!(table.contains(&line), "{table}");
    // A time without its zone is useless.
    let zone = |zone: &&str| table.contains(&format!(" {zone} · 60 rows"));
    assert!(["UTC", "GMT"].iter().any(zone), "{table}");
    let id = all[0]["run"].as_str().unwrap();
    let words = format!("runs show {}", &id[..8]);
    let shown = run(folder.path(), &words).exits(0).stdout;
    let report = folder.path().canonicalize().unwrap().join("r.csv");
    let report = report.display().to_string();
    for part in [id, "SANDBOX finished", report.trim_start_matches(r"\\?\")] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let words = format!("runs show {id} --format json");
    let shown = run(folder.path(), &words).exits(0).stdout;
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
            let words = format!("preview client.secret --no-precheck --format {format}");
            let told = run(folder.path(), &words).exits(code).told();
            assert!(!told.contains(secret), "{text}: {told}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_state_folder_of_somebody_else_and_a_linked_journal_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("state/sandbox")).unwrap();
    for dir in ["state", "state/sandbox"] {
        fs::set_permissions(at(dir), fs::Permissions::from_mode(0o700)).unwrap();
    }
    std::os::unix::fs::symlink(at("elsewhere.db"), at("state/sandbox/state.db")).unwrap();
    let words = "run ids.txt --sandbox --input-format lines";
    let told = run(folder.path(), words).exits(6).stderr;
    assert!(told.contains("state.db"), "{told}");
    assert!(!at("elsewhere.db").exists(), "{told}");
    fs::remove_file(at("state/sandbox/state.db")).unwrap();
    // Only root can give a folder away.
    if std::os::unix::fs::chown(at("state/sandbox"), Some(65_534), None).is_ok() {
        let told = run(folder.path(), words).exits(6).stderr;
        let what = "state/sandbox belongs to another user";
        assert!(told.contains(what), "{told}");
    }
}

#[test]
fn what_runs_calls_left_is_what_a_resume_sends() {
    let folder = tempfile::tempdir().unwrap();
    write_wave(folder.path(), 4, "no-id,Isolate\n");
    let words = "run wave.csv --sandbox --quota 1/24h --stop-after 1s";
    run(folder.path(), words).exits(4);
    let table = run(folder.path(), "runs").exits(0).stdout;
    assert!(table.contains(" · 3 left · "), "{table}");
    assert!(table.contains(" need attention"), "{table}");
}
