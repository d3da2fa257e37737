//! Tests of the library: none of them starts a process, so that none holds a lock for another's child.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should stop there"
)]

mod support;

mod address;
mod api;
mod architecture;
mod auth;
mod broken_store;
mod cli;
mod compat;
mod deaths;
mod fault_matrix;
mod hard_cases;
mod input;
mod input_attacks;
mod input_damage;
mod input_field;
mod input_types;
mod lanes;
mod learned_pace;
mod quota;
mod reads;
mod replies;
mod report;
mod report_formats;
mod sandbox;
mod simulation;
mod stopping;
mod store;
mod triage;
mod verify;

#[test]
fn every_file_beside_this_one_is_listed_here() {
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for suite in ["lib", "cli"].map(|name| tests.join(name)) {
        assert_all_listed(&suite, &suite.join("main.rs"));
    }
}

/// Asserts that `list` names every module that lies in `folder`, and that each folder among them lists its own.
fn assert_all_listed(folder: &std::path::Path, list: &std::path::Path) {
    let listed = std::fs::read_to_string(list).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path == list || name == "snapshots" {
            continue;
        }
        assert!(
            listed.contains(&format!("mod {name};")),
            "{} is not listed in {}, so its tests never run",
            path.display(),
            list.display()
        );
        if path.is_dir() {
            let beside = path.with_extension("rs");
            let inside = path.join("mod.rs");
            assert_all_listed(&path, if beside.exists() { &beside } else { &inside });
        }
    }
}
