//! The house stands on floors: this reads the source and proves it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which floor each module stands on; a module names only modules on a strictly lower one.
const FLOORS: &[(&str, u8)] = &[
    ("model", 0),
    ("clock", 1),
    ("platform", 1),
    ("quota", 1),
    ("retry", 1),
    ("api", 2),
    ("auth", 2),
    ("input", 2),
    ("report", 2),
    ("sandbox", 2),
    ("store", 2),
    ("engine", 3),
    ("cli", 4),
];

/// The only places that may name a library.
const HOMES: &[(&str, &[&str])] = &[
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("console", &["cli"]),
    ("csv", &["input", "report"]),
    ("csv_core", &["input"]),
    ("etcetera", &["platform"]),
    ("governor", &["quota"]),
    ("http_body_util", &["sandbox"]),
    ("hyper", &["sandbox"]),
    ("hyper_util", &["api", "sandbox"]),
    ("indicatif", &["cli"]),
    ("reqwest", &["api", "auth"]),
    ("ring", &["auth", "engine", "input", "report", "sandbox"]),
    ("rusqlite", &["store"]),
    ("rustix", &["clock", "platform"]),
    ("rustls", &["api"]),
    ("rustls_pki_types", &["api", "auth"]),
    ("toml", &["cli"]),
    ("tracing_subscriber", &["cli"]),
    ("windows_registry", &["clock"]),
    ("winsafe", &["clock"]),
];

/// Files that may read a clock or sleep, besides `clock.rs`.
const READ_CLOCKS: &[(&str, &str)] = &[
    (
        "src/sandbox/",
        "the imitation keeps its own time, as the real service does",
    ),
    (
        "src/store/patience.rs",
        "how long a busy state file has kept us waiting is no part of any rule",
    ),
    ("src/cli/progress.rs", "drawing is paced by real time"),
    (
        "src/cli/logging.rs",
        "a log line carries the time at which it was written",
    ),
];

struct SourceFile {
    path: String,
    module: String,
    lines: Vec<String>,
}

/// Reads every file of `src`, without comments and without its unit tests.
fn sources() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let relative = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .replace('\\', "/");
            let inside = relative.strip_prefix("src/").unwrap();
            let module = inside.split(['/', '.']).next().unwrap().to_owned();
            let lines = text
                .lines()
                .take_while(|line| line.trim() != "#[cfg(test)]")
                .map(|line| line.split("//").next().unwrap_or_default().to_owned())
                .collect();
            SourceFile {
                path: relative,
                module,
                lines,
            }
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

/// Returns the words that follow `prefix` in `line`, up to the next character that no path segment holds.
fn words_after<'line>(line: &'line str, prefix: &str) -> Vec<&'line str> {
    line.match_indices(prefix)
        .filter(|(at, _)| {
            !line[..*at].ends_with(|before: char| {
                before.is_alphanumeric() || before == '_' || before == ':'
            })
        })
        .map(|(at, _)| {
            let rest = &line[at + prefix.len()..];
            let end = rest
                .find(|letter: char| !letter.is_alphanumeric() && letter != '_')
                .unwrap_or(rest.len());
            &rest[..end]
        })
        .collect()
}

#[test]
fn a_module_names_only_lower_floors() {
    let floors: BTreeMap<_, _> = FLOORS.iter().copied().collect();
    let mut broken = Vec::new();
    for file in sources() {
        if file.module == "lib" || file.module == "main" {
            continue;
        }
        let Some(own) = floors.get(file.module.as_str()) else {
            broken.push(format!(
                "{}: module {} stands on no floor",
                file.path, file.module
            ));
            continue;
        };
        for (number, line) in file.lines.iter().enumerate() {
            if line.contains("use crate::{") {
                broken.push(format!("{}:{}: one module a line", file.path, number + 1));
            }
            for named in words_after(line, "crate::") {
                if named == file.module {
                    continue;
                }
                match floors.get(named) {
                    Some(floor) if floor < own => {}
                    Some(_) => broken.push(format!(
                        "{}:{}: {} must not name {named}",
                        file.path,
                        number + 1,
                        file.module
                    )),
                    None => broken.push(format!(
                        "{}:{}: {named} stands on no floor",
                        file.path,
                        number + 1
                    )),
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_library_is_named_only_at_home() {
    let homes: BTreeMap<_, _> = HOMES.iter().copied().collect();
    let mut broken = Vec::new();
    for file in sources() {
        for (number, line) in file.lines.iter().enumerate() {
            for (library, modules) in &homes {
                let named = line.match_indices(library).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    let after = &line[at + library.len()..];
                    after.starts_with("::")
                        && !before.is_some_and(|letter| {
                            letter.is_alphanumeric()
                                || letter == '_'
                                || letter == ':'
                                || letter == '"'
                        })
                });
                if named && !modules.contains(&file.module.as_str()) {
                    broken.push(format!(
                        "{}:{}: {library} is at home in {}",
                        file.path,
                        number + 1,
                        modules.join(", ")
                    ));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn only_the_clock_reads_clocks_and_sleeps() {
    let mut broken = Vec::new();
    for file in sources() {
        if file.module == "clock"
            || READ_CLOCKS
                .iter()
                .any(|(path, _)| file.path.starts_with(path))
        {
            continue;
        }
        for (number, line) in file.lines.iter().enumerate() {
            let reads = [
                "Instant::now(",
                "Timestamp::now(",
                "SystemTime::now(",
                "sleep(",
                "Zoned::now(",
            ]
            .iter()
            .any(|call| line.contains(call));
            if reads {
                broken.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn nothing_is_left_over_and_no_glob_is_imported() {
    let mut broken = Vec::new();
    for file in sources() {
        for (number, line) in file.lines.iter().enumerate() {
            let lower = line.to_ascii_lowercase();
            let word = ["todo!", "fixme", "dbg!", "unimplemented!"]
                .iter()
                .any(|word| lower.contains(word));
            let glob = line.trim_start().starts_with("use ") && line.contains("::*");
            if word || glob {
                broken.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn property_tests_run_the_same_cases_each_time() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    collect(&root.join("tests"), &mut files);
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let has = |word: &str| text.contains(word);
        if (has("proptest! {") || has("TestRunner::new(")) && !path.ends_with("architecture.rs") {
            let path = path.display();
            assert!(has("proptest_config("), "{path}: cases differ each time");
            assert!(!has("with_cases(") && !has("Config {"), "{path}");
        }
    }
}

#[test]
fn the_reader_of_paths_finds_what_it_should() {
    assert_eq!(
        words_after("use crate::store::Store;", "crate::"),
        ["store"]
    );
    assert_eq!(
        words_after("fn f(x: crate::api::Y, z: crate::cli::Z)", "crate::"),
        ["api", "cli"]
    );
    assert!(words_after("use other_crate::store;", "crate::").is_empty());
}

#[test]
fn tests_of_the_library_start_no_process() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut files = Vec::new();
    collect(&tests.join("lib"), &mut files);
    collect(&tests.join("support"), &mut files);
    files.retain(|path| !path.ends_with("architecture.rs"));
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        for spawn in ["process::Command", "CARGO_BIN_EXE"] {
            assert!(!text.contains(spawn), "{} starts a process", path.display());
        }
    }
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    collect(&root.join("tests"), &mut files);
    let code: String = files
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let page = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let named: Vec<_> = rows
        .flat_map(|row| row.split('|').nth(3).unwrap().split('`').skip(1).step_by(2))
        .collect();
    assert!(named.len() > 30, "{}", named.len());
    for name in named {
        assert!(code.contains(&format!("fn {name}(")), "{name}");
    }
}
