//! The README and the pages in docs are true: their commands are parsed or run, their tables compared with the program,
//! and their links followed.
//!
//! Nothing here judges prose. `reference.rs` tests docs/reference.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{CommandFactory as _, Parser as _, ValueEnum as _};
use mde_cancel::cli::args::{Cli, CredentialMethod, word_of};
use mde_cancel::cli::failure::RunExit;
use mde_cancel::cli::settings::ConfigFile;
use mde_cancel::model::{ActionType, Outcome};
use mde_cancel::sandbox::Faults;

use crate::support::{done, program};

const README: &str = include_str!("../../README.md");
const GUIDE: &str = include_str!("../../docs/guide.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");
const SCRIPTS: &str = include_str!("../manual/README.md");
const SAMPLES: &str = include_str!("../../samples/README.md");

const TRY_IT: &str = "cargo run -- run samples/actions.csv --sandbox";

/// Every exit of the program.
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

/// A page, with its path from the root of the repository.
struct Page {
    path: PathBuf,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<Page> {
    let docs = fs::read_dir(root().join("docs")).unwrap();
    let mut paths: Vec<_> = docs
        .map(|entry| Path::new("docs").join(entry.unwrap().file_name()))
        .collect();
    let top = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "samples/README.md",
        "tests/manual/README.md",
    ];
    paths.extend(top.map(PathBuf::from));
    let read = |path: PathBuf| Page {
        text: fs::read_to_string(root().join(&path)).unwrap(),
        path,
    };
    paths.into_iter().map(read).collect()
}

/// The program in the root of the repository.
fn binary() -> Command {
    let mut command = program(root());
    command.env_remove("MDE_CANCEL_STATE_DIR");
    command
}

/// Returns the long help of all commands.
fn help() -> String {
    fn collect(command: &mut clap::Command, text: &mut String) {
        text.push_str(&command.render_long_help().to_string());
        for inner in command.get_subcommands_mut() {
            collect(inner, text);
        }
    }
    let mut command = Cli::command();
    command.build();
    let mut text = String::new();
    collect(&mut command, &mut text);
    text
}

/// Returns the lines of each block fenced as `kind`.
fn blocks<'a>(page: &'a str, kind: &str) -> Vec<Vec<&'a str>> {
    let fence = format!("```{kind}");
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while lines.any(|line| line == fence) {
        blocks.push(lines.by_ref().take_while(|line| *line != "```").collect());
    }
    blocks
}

/// Returns the cells of the table with this header, row by row.
fn table<'a>(page: &'a str, header: &str) -> Vec<Vec<&'a str>> {
    let rows = page
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

fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Returns the words in a text that start with `prefix` and consist of `letters`.
fn words_with<'a>(text: &'a str, prefix: &str, letters: fn(char) -> bool) -> BTreeSet<&'a str> {
    text.match_indices(prefix)
        .filter(|(at, _)| !text[..*at].ends_with(letters))
        .map(|(at, _)| {
            let rest = &text[at..];
            let end = rest.find(|letter| !letters(letter)).unwrap_or(rest.len());
            &rest[..end]
        })
        // A row of hyphens belongs to a table.
        .filter(|word| word.len() > prefix.len() && !word.ends_with('-'))
        .collect()
}

/// Splits a command at spaces, as a shell does if quotes surround whole words.
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

/// Parses each `mde-cancel` command in a line, and returns how many there were.
fn parse_commands(line: &str) -> usize {
    let mut parsed = 0;
    for part in line.split(" | ") {
        let command = part.split(" > ").next().unwrap();
        if !command.starts_with("mde-cancel ") {
            continue;
        }
        match Cli::try_parse_from(shell_words(command)) {
            Ok(_) => parsed += 1,
            Err(error) if !error.use_stderr() => parsed += 1,
            Err(error) => panic!("{line}: {error}"),
        }
    }
    parsed
}

#[test]
fn the_two_commands_come_first_and_are_exact() {
    assert_eq!(blocks(README, "sh")[0], [TRY_IT, "cargo test"]);
}

#[test]
fn every_command_of_every_page_can_be_typed() {
    let mut typed = 0;
    for page in pages() {
        let fenced = ["sh", "powershell"].map(|kind| blocks(&page.text, kind).concat());
        for line in fenced.concat() {
            typed += parse_commands(&line.replace("cargo run --", "mde-cancel"));
        }
        let prose = page.text.lines().filter(|line| !line.starts_with("```"));
        typed += prose
            .flat_map(code_spans)
            .map(parse_commands)
            .sum::<usize>();
    }
    assert!(typed >= 50, "{typed}");
}

#[test]
fn every_flag_and_variable_of_every_page_is_in_the_help() {
    let help = help();
    let is_of_flag = |letter: char| letter.is_ascii_lowercase() || letter == '-';
    let is_of_variable = |letter: char| letter.is_ascii_uppercase() || letter == '_';
    let known = words_with(&help, "--", is_of_flag);
    // Flags of cargo and gh.
    let foreign = [
        "--locked",
        "--path",
        "--test",
        "--profile",
        "--no-run",
        "--nocapture",
        "--repo",
        "--rev",
    ];
    for page in pages() {
        let path = page.path.display();
        for flag in words_with(&page.text, "--", is_of_flag) {
            assert!(
                known.contains(flag) || foreign.contains(&flag),
                "{path}: {flag}"
            );
        }
        for prefix in ["MDE_CANCEL_", "AZURE_"] {
            for variable in words_with(&page.text, prefix, is_of_variable) {
                assert!(help.contains(variable), "{path}: {variable}");
            }
        }
    }
}

#[test]
fn every_outcome_is_in_the_table_with_its_weight() {
    let rows = table(README, "| outcome | meaning | leads to exit code 3 |");
    let words: Vec<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    let all = Outcome::ALL.map(Outcome::as_str);
    assert_eq!(words, all);
    for (outcome, row) in Outcome::ALL.into_iter().zip(&rows) {
        assert_eq!(
            row[2].starts_with("yes"),
            outcome.needs_attention(),
            "{row:?}"
        );
    }
}

#[test]
fn every_exit_code_is_in_the_readme_and_in_the_help() {
    let rows = table(README, "| code | what happened | what to do |");
    let codes: Vec<_> = rows.iter().map(|row| row[0].to_owned()).collect();
    assert_eq!(codes, EXITS.map(|exit| exit.code().to_string()));
    let help = done(binary().args(["run", "--help"])).stdout;
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

/// Returns the anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = |letter: &char| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter);
    let text: String = heading.to_lowercase().chars().filter(kept).collect();
    text.trim().replace(' ', "-")
}

#[test]
fn every_link_of_every_page_leads_somewhere() {
    let mut links = 0;
    for page in pages() {
        let folder = root().join(page.path.parent().unwrap());
        let marks = ["](", "src=\""].iter().flat_map(|mark| {
            page.text
                .match_indices(mark)
                .map(|(at, mark)| &page.text[at + mark.len()..])
        });
        for rest in marks {
            let link = rest.split([')', '"']).next().unwrap();
            let said = format!("{}: {link}", page.path.display());
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => root().join(&page.path),
                path => folder.join(path),
            };
            assert!(target.exists(), "{said}");
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let titles = text.lines().filter(|line| line.starts_with('#'));
                let mut anchors = titles.map(|line| anchor(line.trim_start_matches('#')));
                assert!(anchors.any(|it| it == heading), "{said}");
            }
            links += 1;
        }
    }
    assert!(links >= 80, "{links}");
}

#[test]
fn every_page_in_docs_is_linked_from_the_readme() {
    for page in pages().iter().filter(|page| page.path.starts_with("docs")) {
        let link = format!("({})", page.path.display()).replace('\\', "/");
        assert!(README.contains(&link), "{link}");
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
fn every_message_of_the_troubleshooting_is_one_of_the_program() {
    // A text that continues on the next line is one text.
    let code: Vec<_> = sources(&root().join("src"))
        .lines()
        .map(|line| line.trim().to_owned())
        .collect();
    let code = code.join("\n").replace("\\\n", "");
    for row in table(OPERATIONS, "| message | what to do |") {
        for message in code_spans(row[0]) {
            assert!(code.contains(message), "no message has: {message}");
        }
    }
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
fn the_faults_of_the_guide_are_understood() {
    let (_, text) = GUIDE.split_once("A fault is").unwrap();
    let text = text.split("\n## ").next().unwrap();
    let mut read = 0;
    for span in code_spans(text) {
        // These mean nothing by themselves.
        if ["@", "applied-", "--log"].contains(&span) {
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

#[test]
fn the_config_file_of_the_guide_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mde-cancel.toml");
    fs::write(&path, blocks(GUIDE, "toml").concat().join("\n")).unwrap();
    let config = ConfigFile::load(&path).unwrap();
    assert_eq!(config.profiles(), ["contoso", "fabrikam"]);
}

#[test]
fn the_guide_names_every_sign_in_method_in_the_order_in_which_they_are_tried() {
    let rows = table(GUIDE, "| method | what it needs |");
    let named: Vec<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    let help = help();
    let (_, order) = help.split_once("the first that is set up of").unwrap();
    let tried = order.split_whitespace().collect::<Vec<_>>().join(" ");
    let (tried, _) = tried.split_once(';').unwrap();
    let tried = tried.replace(" and ", ", ");
    let mut tried: Vec<_> = tried.split(", ").map(str::trim).collect();
    tried.push("device-code");
    assert_eq!(named, tried);
    let known = CredentialMethod::value_variants();
    assert_eq!(named.len() + 1, known.len());
    let words: BTreeSet<_> = known.iter().map(|&method| word_of(method)).collect();
    assert!(named.iter().all(|name| words.contains(*name)));
}

#[test]
fn the_guide_names_the_permission_of_every_type() {
    let rows = table(GUIDE, "| action type | permission |");
    let mut named = 0;
    for row in &rows {
        for word in row[0].split(", ") {
            assert_eq!(ActionType::parse(word).permission(), Some(row[1]), "{word}");
            named += 1;
        }
    }
    assert_eq!(named, 9);
}

#[test]
fn the_columns_of_the_guide_are_read() {
    let rows = table(
        GUIDE,
        "| column | names (in any case, with or without spaces, `_` and `-`) |",
    );
    let names: Vec<_> = code_spans(rows[0][1])
        .filter(|name| !name.starts_with('-'))
        .collect();
    assert_eq!(names.len(), 6);
    for name in names {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!("{name},x\n7f3c2a10-5b1e-4a77-9a3d-0c5be0a1d9f2,y\n");
        fs::write(file.path(), text).unwrap();
        let mut preview = binary();
        preview.args(["preview", "--no-precheck"]).arg(file.path());
        let plan = done(&mut preview).stdout;
        assert!(plan.starts_with("1 action to cancel"), "{name}: {plan}");
    }
}

#[test]
fn every_script_and_every_sample_is_in_its_table() {
    let scripts = table(SCRIPTS, "| script | proves | needs | takes |");
    let named: BTreeSet<_> = scripts
        .iter()
        .map(|row| {
            row[0]
                .trim_matches('`')
                .split(' ')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    let mut found = BTreeSet::new();
    for (folder, prefix) in [("tests/manual", ""), ("benches", "benches/")] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.extension().is_some_and(|ending| ending == "sh") && name != "lib.sh" {
                found.insert(format!("{prefix}{name}"));
            }
        }
    }
    assert_eq!(named, found);

    let samples = table(SAMPLES, "| file | what it is |");
    let named: BTreeSet<_> = samples
        .iter()
        .flat_map(|row| row[0].split(['(', ')']).skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    let mut found = BTreeSet::new();
    for folder in ["", "deploy/"] {
        for entry in fs::read_dir(root().join("samples").join(folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_file() && name != "README.md" {
                found.insert(format!("{folder}{name}"));
            }
        }
    }
    assert_eq!(named, found);
}

/// Runs a sample as the README does. Asserts that each row is in the report once, and that the summary counts it.
/// Returns exit code and summary.
fn run_sample(sample: &str) -> (i32, String) {
    let home = tempfile::tempdir().unwrap();
    let report = home.path().join("report.csv");
    let mut command = binary();
    command.args(["run", sample, "--sandbox", "--state-dir"]);
    command.arg(home.path()).arg("--report").arg(&report);
    let ended = done(&mut command);
    let code = ended.code.unwrap();
    assert!(code == 0 || code == 3, "{code}: {}", ended.stderr);

    let text = sample_text(sample);
    let mut found = Vec::new();
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let rows: Vec<BTreeMap<String, String>> = csv::Reader::from_path(&report)
        .unwrap()
        .deserialize()
        .map(Result::unwrap)
        .collect();
    for row in rows {
        let line = row["source"].strip_prefix(&format!("{sample}:")).unwrap();
        let line: usize = line.parse().unwrap();
        let text = text.lines().nth(line - 1).unwrap().to_lowercase();
        // The report shows only the start of an invalid id.
        let shown = row["action_id"].trim_end_matches('…');
        assert!(text.contains(shown), "{line}: {text}");
        *outcomes.entry(row["outcome"].clone()).or_default() += 1;
        found.push(line);
    }
    found.sort_unstable();
    let header = usize::from(sample.contains("csv"));
    let lines = (1..).zip(text.lines()).skip(header);
    let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    assert_eq!(found, lines.map(|(line, _)| line).collect::<Vec<_>>());

    outcomes.insert("total".to_owned(), found.len() as u64);
    assert!(ended.stdout.starts_with("SANDBOX: "), "{}", ended.stdout);
    let mut counted = BTreeMap::new();
    for line in ended.stdout.lines().filter(|line| line.starts_with(' ')) {
        let (words, rest) = line.trim_start().split_once("  ").unwrap_or_default();
        let word = words.replace(' ', "_");
        if Outcome::parse(&word).is_some() || word == "total" {
            let count = rest.split_whitespace().next().unwrap().replace(',', "");
            counted.insert(word, count.parse().unwrap());
        }
    }
    assert_eq!(counted, outcomes, "{}", ended.stdout);
    (code, ended.stdout)
}

fn sample_text(sample: &str) -> String {
    let bytes = fs::read(root().join(sample)).unwrap();
    let Some(utf16) = bytes.strip_prefix(&[0xFF, 0xFE]) else {
        return String::from_utf8(bytes).unwrap();
    };
    let units = utf16.chunks_exact(2);
    let units: Vec<_> = units
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
        .collect();
    String::from_utf16(&units).unwrap()
}

#[test]
fn the_first_run_shows_what_the_readme_says() {
    let (code, printed) = run_sample("samples/actions.csv");
    assert_eq!(code, 3, "something is left, as the README says");
    // The sandbox and its faults are the same each time, but not the duration.
    let said = &blocks(README, "text")[0];
    let end = said.iter().position(|line| line.starts_with(" total"));
    let printed: Vec<_> = printed.lines().collect();
    assert_eq!(said[..=end.unwrap()], printed[..=end.unwrap()]);
}

#[test]
fn the_other_samples_run_to_their_end() {
    std::thread::scope(|scope| {
        for sample in ["excel-unicode.csv", "actions.jsonl", "ids.txt"] {
            scope.spawn(move || run_sample(&format!("samples/{sample}")));
        }
    });
}
