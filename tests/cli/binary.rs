//! The real binary, as far as wiring goes: exit codes, streams, and that a refusal leaves nothing behind.

use std::path::Path;
use std::process::Command;

use crate::support::{Done, done, program};

/// Stands for a secret that must never be shown.
const MARKER: &str = "s3cr3t-marker";

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn version_and_help_go_to_standard_output_and_are_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let version = format!("mde-cancel {}\n", env!("CARGO_PKG_VERSION"));
    let printed = |words: &[&str]| {
        let Done {
            code,
            stdout,
            stderr,
        } = done(program(folder.path()).args(words));
        assert_eq!((code, &*stderr), (Some(0), ""));
        stdout
    };
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
        let ended = done(command.env("MDE_CANCEL_TOKEN", MARKER).args(&words));
        assert_eq!((ended.code, &*ended.stdout), (Some(2), ""));
        let told = ended.stderr;
        assert!(told.starts_with(start), "{words:?}: {told}");
        assert!(!told.contains(MARKER), "{words:?}: {told}");
        assert!(is_empty(folder.path()), "{words:?}");
    }
}

#[test]
fn quota_of_a_folder_that_is_not_there_is_no_failure_and_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let ended = done(program(folder.path()).args(["quota", "--format", "json"]));
    assert_eq!(
        (ended.code, &*ended.stdout, &*ended.stderr),
        (Some(0), "[]\n", "")
    );
    assert!(is_empty(folder.path()));
}

#[test]
fn colours_are_used_where_the_variable_or_the_flag_asks_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let told = |command: &mut Command| {
        let ended = done(command.args(["run", "--sandbox", "none.csv"]));
        assert_eq!(ended.code, Some(2));
        ended.stderr
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
