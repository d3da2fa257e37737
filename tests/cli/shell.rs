//! What is printed for shells and packages, by the real binary.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{Done, done, program};

fn run(words: &[&str]) -> Done {
    let folder = tempfile::tempdir().unwrap();
    done(program(folder.path()).args(words))
}

fn printed(words: &[&str]) -> String {
    let ended = run(words);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout
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
    let Done { code, stderr, .. } = run(&["man", "--dir", "no/such/folder"]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(
        stderr.contains("mde-cancel.1 cannot be written"),
        "{stderr}"
    );
}
