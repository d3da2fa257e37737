//! The README says what is so: its commands are run or parsed, its tables compared with the program.
//!
//! Nothing here judges prose. What can be compared is: commands, flags and their defaults, variables, outcomes, exit
//! codes, files, names of tests, and the printed end of the first run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use clap::Parser as _;
use mde_cancel::cli::args::Cli;
use mde_cancel::cli::failure::RunExit;
use mde_cancel::model::Outcome;
use mde_cancel::sandbox::Faults;

const README: &str = include_str!("../../README.md");

const TRY_IT: &str = "cargo run -- run samples/actions.csv --sandbox";

/// Every way in which the program ends.
const EXITS: [RunExit; 9] = [
    RunExit::Done,
    RunExit::Fault,
    RunExit::Refused,
    RunExit::LeftOver,
    RunExit::Stopped,
    RunExit::Unreachable,
    RunExit::State,
    RunExit::GaveUp,
    RunExit::Interrupted,
];

/// The binary in the folder of the samples, free of whatever settings the caller's environment holds.
fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mde-cancel"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("MDE_CANCEL_") || text.starts_with("AZURE_") || text == "NO_COLOR" {
            command.env_remove(&name);
        }
    }
    command
}

fn stdout_of(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn help(command: &str) -> String {
    let words = command.split_whitespace();
    let output = binary().args(words).arg("--help").output().unwrap();
    assert!(output.status.success(), "{command}");
    // Long help is wrapped; without line ends, a default is found wherever it was broken.
    stdout_of(&output)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns the blocks that are fenced as `kind`, each with its lines.
fn blocks(kind: &str) -> Vec<Vec<&'static str>> {
    let fence = format!("```{kind}");
    let mut blocks = Vec::new();
    let mut lines = README.lines();
    while lines.any(|line| line == fence) {
        blocks.push(lines.by_ref().take_while(|line| *line != "```").collect());
    }
    blocks
}

/// Returns the rows of the table whose header is `header`, cell by cell.
fn table(header: &str) -> Vec<Vec<&'static str>> {
    let rows = README
        .lines()
        .skip_while(|line| *line != header)
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let rows: Vec<_> = rows
        .map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(!rows.is_empty(), "there is no table {header}");
    rows
}

/// Returns the flags and variables, which are words of `letters`, that begin with `prefix` anywhere in the README.
fn words_with(prefix: &str, letters: fn(char) -> bool) -> BTreeSet<&'static str> {
    README
        .match_indices(prefix)
        .filter(|(at, _)| !README[..*at].ends_with(letters))
        .map(|(at, _)| {
            let rest = &README[at..];
            let end = rest.find(|letter| !letters(letter)).unwrap_or(rest.len());
            &rest[..end]
        })
        // A row of hyphens is a rule of a table.
        .filter(|word| word.len() > prefix.len() && !word.ends_with('-'))
        .collect()
}

/// Splits a command at blanks, as a shell does where there are no quotes but whole ones.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in line.chars() {
        match (letter, quote) {
            ('"' | '\'', None) => quote = Some(letter),
            (_, Some(open)) if open == letter => quote = None,
            (' ', None) => words.push(String::new()),
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    words
}

#[test]
fn the_two_commands_come_first_and_are_exact() {
    assert_eq!(blocks("sh")[0], [TRY_IT, "cargo test"]);
}

#[test]
fn every_command_of_the_readme_can_be_typed() {
    let lines: Vec<_> = blocks("sh").concat();
    let mut typed = 0;
    for line in lines {
        let command = line.replace("cargo run --", "mde-cancel");
        let Some(at) = command.find("mde-cancel ") else {
            assert_eq!(line, "cargo test");
            continue;
        };
        for command in command[at..].split(" | ") {
            let command = command.split(" > ").next().unwrap();
            if let Err(error) = Cli::try_parse_from(shell_words(command)) {
                panic!("{line}: {error}");
            }
            typed += 1;
        }
    }
    assert!(typed >= 7, "{typed}");
}

#[test]
fn every_flag_of_the_readme_is_in_the_help() {
    let help = ["run", "preview", "list", "runs rm", "quota", "sandbox"]
        .map(help)
        .join(" ");
    let flags = words_with("--", |letter| letter.is_ascii_lowercase() || letter == '-');
    let known: BTreeSet<_> = help
        .split([' ', ',', '`'])
        .filter(|word| word.starts_with("--"))
        .map(|word| word.trim_end_matches("..."))
        .collect();
    for flag in &flags {
        // Cargo's own, in the first command, and that of every program.
        let is_common = ["--release", "--version"].contains(flag);
        assert!(is_common || known.contains(flag), "{flag}");
    }
    assert!(flags.len() > 20, "{flags:?}");
}

#[test]
fn every_variable_of_the_readme_is_in_the_help() {
    let help = ["run", "list", "runs rm", "quota", "sandbox"]
        .map(help)
        .join(" ");
    for prefix in ["MDE_CANCEL_", "AZURE_"] {
        let is_part = |letter: char| letter.is_ascii_uppercase() || letter == '_';
        for variable in words_with(prefix, is_part) {
            assert!(help.contains(variable), "{variable}");
        }
    }
}

#[test]
fn the_flags_and_their_defaults_agree_with_the_help_of_run() {
    let help = help("run");
    for row in table("| flag | default | meaning |") {
        let flag = row[0].trim_matches('`').split(' ').next().unwrap();
        let at = help
            .match_indices(flag)
            .find(|(at, _)| help[at + flag.len()..].starts_with([' ', '.']));
        let (at, _) = at.unwrap_or_else(|| panic!("{flag} is not in the help"));
        // Its own part of the help ends where the next flag begins.
        let rest = &help[at + flag.len()..];
        let own = rest.find(" --").map_or(rest, |end| &rest[..end]);
        match row[1].trim_matches('`') {
            "" => assert!(!own.contains("[default:"), "{flag} has a default: {own}"),
            default => assert!(
                own.contains(&format!("[default: {default}")),
                "{flag} has another default: {own}"
            ),
        }
    }
}

#[test]
fn every_outcome_stands_in_the_table_with_its_weight() {
    let rows = table("| outcome | meaning | exit 3 |");
    let words: Vec<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    let all = Outcome::ALL.map(Outcome::as_str);
    assert_eq!(words, all);
    for (outcome, row) in Outcome::ALL.into_iter().zip(&rows) {
        assert_eq!(row[2].starts_with("yes"), outcome.leaves_work(), "{row:?}");
    }
}

#[test]
fn every_exit_code_stands_in_the_readme_and_in_the_help() {
    let rows = table("| code | what happened | what to do |");
    let codes: Vec<_> = rows.iter().map(|row| row[0].to_owned()).collect();
    assert_eq!(codes, EXITS.map(|exit| exit.code().to_string()));
    let help = stdout_of(&binary().args(["run", "--help"]).output().unwrap());
    let listed = help
        .lines()
        .skip_while(|line| *line != "Exit codes:")
        .skip(1);
    let listed: Vec<_> = listed
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect();
    assert_eq!(listed, codes);
    let mut worst_first = EXITS;
    worst_first.sort_by_key(|exit| std::cmp::Reverse(*exit));
    let order = worst_first.map(|exit| exit.code().to_string()).join(", ");
    assert!(README.contains(&format!("the first of {order} wins")));
}

#[test]
fn every_file_and_every_test_that_the_readme_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut links = 0;
    for (at, _) in README.match_indices("](") {
        let path = README[at + 2..].split(')').next().unwrap();
        assert!(root.join(path).exists(), "{path}");
        links += 1;
    }
    assert!(links >= 7, "{links}");
    let tests = sources(&root.join("tests"));
    for row in table("| claim | test |") {
        if let Some(name) = row[1].strip_prefix('`') {
            let name = name.trim_end_matches('`');
            assert!(tests.contains(&format!("fn {name}()")), "{name}");
        }
    }
}

fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    text
}

#[test]
fn the_version_and_the_compiler_are_those_of_the_manifest() {
    let compiler = concat!("Rust ", env!("CARGO_PKG_RUST_VERSION"));
    assert!(README.contains(compiler), "{compiler}");
    let version = concat!(
        "Version ",
        env!("CARGO_PKG_VERSION_MAJOR"),
        ".",
        env!("CARGO_PKG_VERSION_MINOR")
    );
    assert!(README.contains(version), "{version}");
}

#[test]
fn the_words_of_the_readmes_faults_are_understood() {
    let section = README
        .split("\n## ")
        .find(|text| text.contains("A fault is"));
    let (_, text) = section.unwrap().split_once("A fault is").unwrap();
    let mut read = 0;
    for span in text.split('`').skip(1).step_by(2) {
        // The sign, the prefix and the short forms mean nothing by themselves.
        if ["@", "applied-", "get", "list"].contains(&span) {
            continue;
        }
        let script = if span.contains('=') {
            let guid = "7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2";
            format!("503@{}", span.replace("GUID", guid))
        } else {
            span.to_owned()
        };
        if let Err(error) = Faults::parse(&script) {
            panic!("{span}: {error}");
        }
        read += 1;
    }
    assert!(read >= 20, "{read}");
}

/// A sample that was run: what was printed, and how it ended.
struct SampleRun {
    stdout: String,
    code: i32,
}

/// Runs a sample as the README does, and asserts that each of its rows stands exactly once in the report.
fn run_sample(sample: &str, rows: &BTreeMap<u64, String>) -> SampleRun {
    let home = tempfile::tempdir().unwrap();
    let report = home.path().join("report.csv");
    let mut command = binary();
    command.args(["run", sample, "--sandbox", "--state-dir"]);
    command.arg(home.path()).arg("--report").arg(&report);
    let output = command.output().unwrap();
    let code = output.status.code().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(code == 0 || code == 3, "{code}: {errors}");

    let mut reader = csv::Reader::from_path(&report).unwrap();
    let header = reader.headers().unwrap().clone();
    let place = |name: &str| header.iter().position(|column| column == name).unwrap();
    let (id, outcome, source) = (place("action_id"), place("outcome"), place("source"));
    let mut found = Vec::new();
    let mut outcomes = BTreeMap::new();
    for record in reader.records() {
        let record = record.unwrap();
        let (file, line) = record[source].rsplit_once(':').unwrap();
        assert_eq!(file, sample);
        let line: u64 = line.parse().unwrap();
        let text = rows.get(&line).unwrap_or_else(|| panic!("line {line}"));
        // Of what is no id, only the beginning is shown.
        let shown = record[id].trim_end_matches('…');
        assert!(text.contains(shown), "{line}: {text}");
        assert!(Outcome::parse(&record[outcome]).is_some());
        *outcomes.entry(record[outcome].to_owned()).or_default() += 1;
        found.push(line);
    }
    found.sort_unstable();
    assert_eq!(found, rows.keys().copied().collect::<Vec<_>>());
    let stdout = stdout_of(&output);
    assert_summary(&stdout, &outcomes);
    SampleRun { stdout, code }
}

/// Asserts that the summary says SANDBOX and counts as the report does.
fn assert_summary(stdout: &str, outcomes: &BTreeMap<String, u64>) {
    assert!(stdout.starts_with("SANDBOX: "), "{stdout}");
    let mut counted = BTreeMap::new();
    for line in stdout.lines() {
        let mut words = line.split_whitespace();
        let word = words.next().unwrap_or_default();
        if line.starts_with(' ') && (Outcome::parse(word).is_some() || word == "total") {
            let count = words.next().unwrap().replace(',', "");
            counted.insert(word.to_owned(), count.parse().unwrap());
        }
    }
    let total: u64 = outcomes.values().sum();
    assert_eq!(counted.remove("total"), Some(total), "{stdout}");
    assert_eq!(counted, *outcomes, "{stdout}");
}

/// Returns the lines of a text from line `first` on, in lower case, without those that hold no row.
fn rows_from(first: u64, text: &str) -> BTreeMap<u64, String> {
    (1..)
        .zip(text.lines())
        .filter(|(number, line)| {
            *number >= first && !line.trim().is_empty() && !line.starts_with('#')
        })
        .map(|(number, line)| (number, line.to_lowercase()))
        .collect()
}

fn sample_text(sample: &str) -> String {
    let bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(sample)).unwrap();
    match bytes.strip_prefix(&[0xFF, 0xFE]) {
        Some(utf16) => {
            let units: Vec<_> = utf16
                .chunks_exact(2)
                .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
                .collect();
            String::from_utf16(&units).unwrap()
        }
        None => String::from_utf8(bytes).unwrap(),
    }
}

#[test]
fn the_first_run_shows_what_the_readme_says() {
    let sample = "samples/actions.csv";
    let rows = rows_from(2, &sample_text(sample));
    assert_eq!(rows.len(), 251);
    let run = run_sample(sample, &rows);
    assert_eq!(run.code, 3, "something is left, as the README says");
    // The world and its mishaps are the same each time; how long it took is not.
    let said = &blocks("text")[0];
    let end = said.iter().position(|line| line.starts_with(" total"));
    let printed: Vec<_> = run.stdout.lines().collect();
    assert_eq!(said[..=end.unwrap()], printed[..=end.unwrap()]);
}

#[test]
fn an_export_of_excel_in_utf_16_runs_to_its_end() {
    let sample = "samples/excel-unicode.csv";
    run_sample(sample, &rows_from(2, &sample_text(sample)));
}

#[test]
fn a_file_of_json_lines_runs_to_its_end() {
    let sample = "samples/actions.jsonl";
    run_sample(sample, &rows_from(1, &sample_text(sample)));
}

#[test]
fn a_plain_list_of_ids_runs_to_its_end() {
    let sample = "samples/ids.txt";
    run_sample(sample, &rows_from(1, &sample_text(sample)));
}
