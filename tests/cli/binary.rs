//! The real binary, as far as wiring goes: exit codes, streams, and that a refusal leaves nothing behind.

use std::path::Path;

use assert_cmd::Command;

/// Stands for a secret that must never be shown.
const MARKER: &str = "s3cr3t-marker";

/// Returns the binary in `folder`, with nothing of this process's environment but what a system needs.
fn binary(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("mde-cancel").unwrap();
    command
        .current_dir(folder)
        .env_clear()
        .env("MDE_CANCEL_STATE_DIR", folder.join("state"));
    if let Some(root) = std::env::var_os("SystemRoot") {
        command.env("SystemRoot", root);
    }
    command
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn version_and_help_go_to_standard_output_and_are_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let version = format!("mde-cancel {}\n", env!("CARGO_PKG_VERSION"));
    binary(folder.path())
        .arg("--version")
        .assert()
        .code(0)
        .stdout(version)
        .stderr("");
    let help = binary(folder.path()).args(["run", "--help"]).assert();
    let output = help.code(0).stderr("").get_output().stdout.clone();
    assert!(String::from_utf8(output).unwrap().contains("Exit codes:"));
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
        let done = binary(folder.path())
            .env("MDE_CANCEL_TOKEN", MARKER)
            .args(&words)
            .assert()
            .code(2)
            .stdout("");
        let told = String::from_utf8(done.get_output().stderr.clone()).unwrap();
        assert!(told.starts_with(start), "{words:?}: {told}");
        assert!(!told.contains(MARKER), "{words:?}: {told}");
        assert!(is_empty(folder.path()), "{words:?}");
    }
}

#[test]
fn quota_of_a_folder_that_is_not_there_is_no_failure_and_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    binary(folder.path())
        .args(["quota", "--format", "json"])
        .assert()
        .code(0)
        .stdout("[]\n")
        .stderr("");
    assert!(is_empty(folder.path()));
}

#[test]
fn colours_are_used_where_the_variable_or_the_flag_asks_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let told = |command: &mut Command| {
        let done = command
            .args(["run", "--sandbox", "none.csv"])
            .assert()
            .code(2);
        String::from_utf8(done.get_output().stderr.clone()).unwrap()
    };
    let mut asked = binary(folder.path());
    assert!(told(asked.env("MDE_CANCEL_COLOR", "always")).contains('\u{1b}'));
    let mut flag = binary(folder.path());
    let flag = flag
        .env("MDE_CANCEL_COLOR", "always")
        .args(["--color", "never"]);
    assert!(!told(flag).contains('\u{1b}'));
    assert!(!told(&mut binary(folder.path())).contains('\u{1b}'));
}
