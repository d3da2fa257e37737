//! Checks the source for the rules of its structure.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module's floor. A module may name only modules on lower floors.
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

/// The only modules that may name a library.
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
    ("winsafe", &["clock", "platform"]),
];

/// Files that may read a clock or sleep, besides `clock.rs`.
const READ_CLOCKS: &[(&str, &str)] = &[
    (
        "src/sandbox/",
        "the imitation keeps its own time, as the real service does",
    ),
    (
        "src/store/busy_wait.rs",
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

/// Reads `src` without comments and unit tests.
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

/// Returns the path segments that follow `prefix` in `line`.
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

/// Asserts that `wrong` finds no fault in any line of `src`.
fn assert_no_line(wrong: impl Fn(&SourceFile, &str) -> Option<String>) {
    let mut broken = Vec::new();
    for file in sources() {
        for (number, line) in (1..).zip(&file.lines) {
            let told = wrong(&file, line);
            broken.extend(told.map(|what| format!("{}:{number}: {what}", file.path)));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_module_names_only_lower_floors() {
    let floors: BTreeMap<_, _> = FLOORS.iter().copied().collect();
    assert_no_line(|file, line| {
        let module = file.module.as_str();
        if module == "lib" || module == "main" {
            return None;
        }
        let Some(own) = floors.get(module) else {
            return Some(format!("module {module} is on no floor"));
        };
        if line.contains("use crate::{") {
            return Some("one module a line".to_owned());
        }
        let is_below = |named: &&str| floors.get(named).is_some_and(|floor| floor < own);
        let mut others = words_after(line, "crate::").into_iter();
        let upper = others.find(|named| *named != module && !is_below(named))?;
        Some(format!("{module} must not name {upper}"))
    });
}

#[test]
fn a_library_is_named_only_at_home() {
    assert_no_line(|file, line| {
        let is_named = |library: &str| {
            line.match_indices(library).any(|(at, _)| {
                let is_within =
                    |letter: char| letter.is_alphanumeric() || ['_', ':', '"'].contains(&letter);
                line[at + library.len()..].starts_with("::") && !line[..at].ends_with(is_within)
            })
        };
        let mut homes = HOMES.iter();
        let (library, modules) = homes.find(|(library, modules)| {
            !modules.contains(&file.module.as_str()) && is_named(library)
        })?;
        Some(format!("{library} is at home in {}", modules.join(", ")))
    });
}

#[test]
fn only_the_clock_reads_clocks_and_sleeps() {
    let readings = [
        "Instant::now(",
        "Timestamp::now(",
        "SystemTime::now(",
        "sleep(",
        "Zoned::now(",
    ];
    assert_no_line(|file, line| {
        let mut excused = READ_CLOCKS.iter();
        let is_excused = excused.any(|(path, _)| file.path.starts_with(path));
        let reads = readings.iter().any(|call| line.contains(call));
        (reads && !is_excused && file.module != "clock").then(|| line.trim().to_owned())
    });
}

#[test]
fn nothing_is_left_over_and_no_glob_is_imported() {
    assert_no_line(|_, line| {
        let lower = line.to_ascii_lowercase();
        let left = ["todo!", "fixme", "dbg!", "unimplemented!"];
        let is_left = left.iter().any(|word| lower.contains(word));
        let is_glob = line.trim_start().starts_with("use ") && line.contains("::*");
        (is_left || is_glob).then(|| line.trim().to_owned())
    });
}

/// Returns path and text of every Rust file in these folders.
fn rust_files(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for folder in folders {
        collect(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
            &mut files,
        );
    }
    files.retain(|path| !path.ends_with("architecture.rs"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    files.into_iter().map(read).collect()
}

#[test]
fn property_tests_run_the_same_cases_each_time() {
    for (path, text) in rust_files(&["src", "tests"]) {
        let has = |word: &str| text.contains(word);
        if has("proptest! {") || has("TestRunner::new(") {
            let path = path.display();
            assert!(has("proptest_config("), "{path}: cases differ each time");
            assert!(!has("with_cases(") && !has("Config {"), "{path}");
        }
    }
}

#[test]
fn words_after_finds_path_segments() {
    for (line, modules) in [
        ("use crate::store::Store;", &["store"][..]),
        ("fn f(x: crate::api::Y, z: crate::cli::Z)", &["api", "cli"]),
        ("use other_crate::store;", &[]),
    ] {
        assert_eq!(words_after(line, "crate::"), modules, "{line}");
    }
}

#[test]
fn tests_of_the_library_start_no_process() {
    for (path, text) in rust_files(&["tests/lib", "tests/support"]) {
        for spawn in ["process::Command", "CARGO_BIN_EXE"] {
            assert!(!text.contains(spawn), "{} starts a process", path.display());
        }
    }
}

#[test]
fn every_file_of_the_tests_is_listed_and_so_runs() {
    let files = rust_files(&["tests"]);
    let code: String = files.iter().map(|(_, text)| text.as_str()).collect();
    for (path, _) in &files {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let is_listed = ["main", "mod"].contains(&name) || code.contains(&format!("mod {name};"));
        assert!(is_listed, "no file lists {}", path.display());
    }
}

/// Returns the code spans in one column of a page's tables.
fn code_in_column(page: &str, column: usize) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let page = fs::read_to_string(page).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.split('|').nth(column));
    let named = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    named.map(str::to_owned).collect()
}

#[test]
fn every_test_that_a_page_names_exists() {
    let code = rust_files(&["src", "tests"]).into_iter();
    let code: String = code.map(|(_, text)| text).collect();
    let threats = code_in_column("docs/security.md", 3);
    assert!(threats.len() > 30, "{}", threats.len());
    let claims = code_in_column("docs/measurements.md", 2);
    let claims = claims.into_iter().filter(|name| name.contains('_'));
    for name in threats.into_iter().chain(claims) {
        assert!(code.contains(&format!("fn {name}(")), "{name}");
    }
}

/// CSV cells escape text after a `;` that a spreadsheet may take for a formula.
#[test]
fn no_text_of_ours_is_changed_in_a_csv_cell() {
    let mut found = Vec::new();
    for file in sources() {
        // A text continues after a backslash.
        let lines = file.lines.iter();
        let text: String = lines
            .map(|line| line.trim().trim_end_matches('\\'))
            .collect();
        if text.contains("; --") {
            found.push(file.path);
        }
    }
    assert!(
        found.is_empty(),
        "put the flag into brackets, not after a semicolon: {found:?}"
    );
}
