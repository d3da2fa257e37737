//! What is printed for shells and packages, by the real binary.

use std::collections::BTreeSet;
use std::fs;

use assert_cmd::Command;

fn printed(words: &[&str]) -> String {
    let mut command = Command::cargo_bin("mde-cancel").unwrap();
    let output = command.args(words).assert().success().get_output().clone();
    String::from_utf8(output.stdout).unwrap()
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
    let mut command = Command::cargo_bin("mde-cancel").unwrap();
    let assert = command.args(["man", "--dir", "no/such/folder"]).assert();
    let output = assert.code(2).get_output().clone();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("mde-cancel.1 cannot be written"), "{said}");
}
