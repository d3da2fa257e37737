//! `preview` and `run --dry-run` with the real binary: what is printed, what is sent, and what is left behind.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use crate::support::nth_id;

/// The binary in `folder`, with nothing of this process's environment.
fn binary(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mde-cancel"));
    command
        .args(words.split_whitespace())
        .current_dir(folder)
        .env_clear()
        .env("MDE_CANCEL_STATE_DIR", folder.join("state"))
        .stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn done(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    (status.code(), text(&stdout), text(&stderr))
}

/// Five rows: two to be sent, one guarded, one twice, one that is none.
fn mixed(folder: &Path) {
    let rows = [
        format!("{},Isolate,ws-1,soc-bot", nth_id(1)),
        format!("{},LiveResponse,ws-2,o'neil@x", nth_id(2)),
        format!("{},Unisolate,ws-3,soc-bot", nth_id(3)),
        format!("{},Isolate,ws-1,soc-bot", nth_id(1)),
        "rubbish,Isolate,ws-4,soc-bot".to_owned(),
    ];
    let header = "id,type,computerDnsName,requestor\n";
    std::fs::write(folder.join("a.csv"), header.to_owned() + &rows.join("\n")).unwrap();
}

#[test]
fn without_a_tenant_the_input_is_sorted_and_nothing_is_called_or_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    mixed(here);
    let (code, stdout, stderr) = done(&mut binary(here, "preview --no-triage a.csv"));
    assert_eq!(code, Some(3), "{stderr}");
    for part in [
        "2 actions to cancel · plan ",
        "asked by    o'neil@x 1 · soc-bot 1",
        "such as ws-1, ws-2",
        "all now",
        "1 held_back: guarded type: cancelling Unisolate",
        "1 duplicate: the same id stands in row 1 (a.csv:5)",
        "1 invalid: the id is not a GUID (a.csv:6)",
    ] {
        assert!(stdout.contains(part), "{part} is not in\n{stdout}");
    }
    assert_eq!(
        std::fs::read_dir(here).unwrap().count(),
        1,
        "something was left"
    );
    let dry = done(&mut binary(here, "run --dry-run --no-triage a.csv"));
    assert_eq!((dry.0, &dry.1), (Some(3), &stdout));
}

#[test]
fn a_clean_plan_and_nothing_to_do_exit_with_nought() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("one.txt"), nth_id(1).to_string()).unwrap();
    let (code, stdout, _) = done(&mut binary(here, "preview --no-triage one.txt"));
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("1 action to cancel"), "{stdout}");
    assert!(stdout.contains("known for 0 of 1"), "{stdout}");
    let (code, stdout, _) = done(&mut binary(here, "preview --no-triage -"));
    assert_eq!((code, stdout.trim_end()), (Some(0), "nothing to cancel"));
}

#[test]
fn a_frozen_plan_sends_its_send_rows_alone_and_bears_the_same_name() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    mixed(here);
    let (code, plan, told) = done(&mut binary(here, "preview --no-triage --format csv a.csv"));
    assert_eq!(code, Some(3), "{told}");
    let header = plan.lines().next().unwrap();
    assert!(
        header.starts_with("verdict,action_id,outcome,reason,"),
        "{header}"
    );
    let verdicts: Vec<_> = plan
        .lines()
        .skip(1)
        .map(|row| row.split(',').next().unwrap())
        .collect();
    assert_eq!(
        verdicts,
        ["send", "send", "held_back", "duplicate", "invalid"]
    );
    std::fs::write(here.join("plan.csv"), &plan).unwrap();

    let named = |input: &str| {
        let words = format!("preview --no-triage --format json {input}");
        let (_, json, _) = done(&mut binary(here, &words));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        (json["plan"].clone(), json["send"].clone())
    };
    let name = named("a.csv");
    assert_eq!(named("plan.csv"), name);
    assert_eq!(name.1, 2);
    assert!(told.contains(name.0.as_str().unwrap()), "{told}");
    // A guarded row stays back although it is named now: a plan only shrinks.
    assert_eq!(named("--include-type Unisolate plan.csv"), name);
}

#[test]
fn a_preview_without_a_token_names_the_way_without_states() {
    let folder = tempfile::tempdir().unwrap();
    mixed(folder.path());
    let (code, stdout, stderr) = done(&mut binary(folder.path(), "preview a.csv"));
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("--no-triage"), "{stderr}");
}

#[test]
fn whoever_reads_only_the_beginning_of_a_plan_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut file = std::fs::File::create(here.join("many.txt")).unwrap();
    for number in 1..=5000 {
        writeln!(file, "{}", nth_id(number)).unwrap();
    }
    let mut child = binary(here, "preview --no-triage --format csv many.txt")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
}
