//! The integration tests, as one binary: one module a subject, in the order of the floors they prove.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should stop there"
)]

mod architecture;

mod api;
mod intake;
mod intake_attacks;
mod quota;
mod report;
mod sandbox;
mod store;

#[test]
fn every_file_beside_this_one_is_listed_here() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    let listed = std::fs::read_to_string(folder.join("main.rs")).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "main" || name == "snapshots" {
            continue;
        }
        assert!(
            listed.contains(&format!("mod {name};")),
            "{} is not listed in main.rs, so its tests never run",
            path.display()
        );
    }
}
