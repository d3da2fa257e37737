//! The real binary as far as wiring goes: exit codes, streams, completions and man pages, and that a refusal leaves
//! nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Done, done, program};

/// A fake secret that must never be shown.
const MARKER: &str = "s3cr3t-marker";

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

fn run(words: &[&str]) -> Done {
    let folder = tempfile::tempdir().unwrap();
    done(program(folder.path()).args(words))
}

fn printed(words: &[&str]) -> String {
    let ended = run(words).exits(0);
    assert_eq!(ended.stderr, "");
    ended.stdout
}

#[test]
fn version_and_help_go_to_standard_output_and_are_no_failure() {
    let version = format!("mde-cancel {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(printed(&["--version"]), version);
    assert!(printed(&["run", "--help"]).contains("Exit codes:"));
}

#[test]
fn a_refusal_exits_with_two_says_why_on_standard_error_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (words, start) in [
        (vec!["run", "a.csv"], "error: nothing was sent: "),
        (vec!["run", "--yes", "-", "-"], "error: standard input"),
        (vec!["run"], "error: there is neither an INPUT nor"),
        (vec!["runn"], "error: unrecognized subcommand"),
        (
            vec!["run", "--sandbox", "none.csv"],
            "error: cannot open none.csv\n",
        ),
    ] {
        let mut command = program(folder.path());
        let ended = done(command.env("MDE_CANCEL_TOKEN", MARKER).args(&words)).exits(2);
        assert_eq!(ended.stdout, "");
        let told = ended.stderr;
        assert!(told.starts_with(start), "{words:?}: {told}");
        assert!(!told.contains(MARKER), "{words:?}: {told}");
        assert!(is_empty(folder.path()), "{words:?}");
    }
}

#[test]
fn quota_of_a_folder_that_is_not_there_is_no_failure_and_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let ended = done(program(folder.path()).args(["quota", "--format", "json"])).exits(0);
    assert_eq!(ended.told(), "[]\n");
    assert!(is_empty(folder.path()));
}

#[test]
fn colours_are_used_where_the_variable_or_the_flag_asks_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let told = |command: &mut Command| {
        done(command.args(["run", "--sandbox", "none.csv"]))
            .exits(2)
            .stderr
    };
    let mut asked = program(folder.path());
    assert!(told(asked.env("MDE_CANCEL_COLOR", "always")).contains('\u{1b}'));
    let mut flag = program(folder.path());
    let flag = flag
        .env("MDE_CANCEL_COLOR", "always")
        .args(["--color", "never"]);
    assert!(!told(flag).contains('\u{1b}'));
    assert!(!told(&mut program(folder.path())).contains('\u{1b}'));
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(&["completions", shell]);
        for word in [
            "run",
            "resume",
            "report",
            "quota",
            "sandbox",
            "metrics-file",
        ] {
            assert!(script.contains(word), "{shell} {word}");
        }
    }
}

#[test]
fn there_is_a_manual_page_for_the_program_and_for_each_command() {
    assert!(printed(&["man"]).contains(".TH mde-cancel 1"));
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    assert_eq!(printed(&["man", "--dir", dir]), "");
    let pages = fs::read_dir(folder.path()).unwrap();
    let pages: BTreeSet<_> = pages
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    for page in [
        "mde-cancel.1",
        "mde-cancel-run.1",
        "mde-cancel-report.1",
        "mde-cancel-runs-rm.1",
        "mde-cancel-config-show.1",
    ] {
        assert!(pages.contains(page), "{pages:?}");
    }
    assert!(pages.iter().all(|page| !page.contains("help")), "{pages:?}");
    let run = fs::read_to_string(folder.path().join("mde-cancel-run.1")).unwrap();
    assert!(run.contains("metrics\\-file"));
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let told = run(&["man", "--dir", "no/such/folder"]).exits(2).stderr;
    assert!(told.contains("mde-cancel.1 cannot be written"), "{told}");
}
