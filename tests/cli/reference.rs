//! docs/reference.md says what the program says: its generated parts are rendered here and compared with the file.
//!
//! `UPDATE_REFERENCE=1 cargo test --test cli reference` rewrites them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::{Arg, Command, CommandFactory as _};
use mde_cancel::cli::args::Cli;
use mde_cancel::cli::settings::ConfigFile;
use mde_cancel::model::ReportRow;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference.md");
const SCHEMA: &str = include_str!("../../samples/report.schema.json");

/// Config keys without a flag: each names a secret's variable.
const SECRET_KEYS: [(&str, &str); 2] = [
    (
        "client-secret-env",
        "Name of the variable with the app's secret",
    ),
    ("token-env", "Name of the variable with an access token"),
];

/// A flag as in the help.
#[derive(Clone, PartialEq)]
struct Flag {
    name: String,
    spelled: String,
    heading: String,
    default: String,
    variable: Option<String>,
    meaning: String,
}

impl Flag {
    fn of(arg: &Arg) -> Option<Self> {
        let name = arg.get_long()?.to_owned();
        let long = arg.get_long_help().or(arg.get_help())?.to_string();
        let (meaning, variable) = match long.rsplit_once(" [env: ") {
            Some((meaning, rest)) => (meaning, Some(rest.trim_end_matches(']').to_owned())),
            None => (long.as_str(), None),
        };
        let takes_value = arg.get_action().takes_values();
        let (meaning, said) = match meaning.rsplit_once(" [default: ") {
            Some((meaning, rest)) => (meaning, rest.trim_end_matches(']').to_owned()),
            None => (meaning, String::new()),
        };
        let defaults: Vec<_> = arg.get_default_values().iter().collect();
        let default = match defaults.first() {
            Some(value) if takes_value => format!("`{}`", value.to_string_lossy()),
            _ if said.is_empty() || said.contains(' ') => said,
            _ => format!("`{said}`"),
        };
        let mut spelled = format!("--{name}");
        if let Some(short) = arg.get_short() {
            spelled = format!("-{short}, {spelled}");
        }
        if let (true, Some([value, ..])) = (takes_value, arg.get_value_names()) {
            write!(spelled, " {value}").unwrap();
        }
        Some(Self {
            name,
            spelled,
            heading: arg.get_help_heading().unwrap_or("Output").to_owned(),
            default,
            variable,
            meaning: meaning.to_owned(),
        })
    }

    fn row(&self) -> String {
        let meaning = cell(&self.meaning);
        format!(
            "| `{}` | {} | {meaning} |",
            cell(&self.spelled),
            self.default
        )
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

/// Returns every command with its full name, in the order of the help, without `help`.
fn commands<'a>(root: &'a Command, name: &str) -> Vec<(String, &'a Command)> {
    let mut found = Vec::new();
    for command in root.get_subcommands().filter(|it| it.get_name() != "help") {
        let full = format!("{name} {}", command.get_name()).trim().to_owned();
        let inner = commands(command, &full);
        // A command that only has subcommands, such as `config`, can't be typed alone.
        if !command.is_subcommand_required_set() {
            found.push((full, command));
        }
        found.extend(inner);
    }
    found
}

fn flags(command: &Command) -> Vec<Flag> {
    let own = command.get_arguments().filter(|arg| {
        !arg.is_global_set() && !["help", "version"].contains(&arg.get_id().as_str())
    });
    own.filter_map(Flag::of).collect()
}

fn table(rows: impl IntoIterator<Item = String>) -> String {
    let mut text = "| flag | default | meaning |\n|---|---|---|\n".to_owned();
    for row in rows {
        text.push_str(&row);
        text.push('\n');
    }
    text
}

fn usage(command: &Command, name: &str) -> String {
    let arguments = command.get_positionals().map(|arg| {
        let values = arg.get_value_names().unwrap();
        let many = if arg.get_num_args().is_some_and(|it| it.max_values() > 1) {
            "..."
        } else {
            ""
        };
        if arg.is_required_set() {
            format!(" <{}>{many}", values[0])
        } else {
            format!(" [{}]{many}", values[0])
        }
    });
    format!(
        "mde-cancel {name} [OPTIONS]{}",
        arguments.collect::<String>()
    )
}

fn render_commands(root: &Command) -> String {
    let mut text = "| command | does |\n|---|---|\n".to_owned();
    for (name, command) in commands(root, "") {
        let about = command.get_about().unwrap();
        writeln!(text, "| `{name}` | {} |", cell(&about.to_string())).unwrap();
    }
    text
}

/// Renders each command's flags; those of an earlier command are only named.
fn render_flags(root: &Command) -> String {
    let mut text = String::new();
    let mut known: Vec<(String, Flag)> = Vec::new();
    for (name, command) in commands(root, "") {
        let flags = flags(command);
        let arguments: Vec<_> = command.get_positionals().collect();
        writeln!(
            text,
            "### {name}\n\n```text\n{}\n```\n",
            usage(command, &name)
        )
        .unwrap();
        for argument in &arguments {
            let help = argument.get_long_help().or(argument.get_help()).unwrap();
            let value = &argument.get_value_names().unwrap()[0];
            let help = cell(&help.to_string()).replace(" [default: ", ". Default: ");
            writeln!(text, "`{value}`: {}.\n", help.trim_end_matches(']')).unwrap();
        }
        let mut same: BTreeMap<&str, Vec<&Flag>> = BTreeMap::new();
        let mut own: Vec<&Flag> = Vec::new();
        for flag in &flags {
            match known.iter().find(|(_, other)| other == flag) {
                Some((of, _)) => same.entry(of).or_default().push(flag),
                None => own.push(flag),
            }
        }
        let mut headings: Vec<&str> = Vec::new();
        for flag in &own {
            if !headings.contains(&flag.heading.as_str()) {
                headings.push(&flag.heading);
            }
        }
        for heading in &headings {
            if headings.len() > 1 {
                writeln!(text, "{heading}:\n").unwrap();
            }
            let rows = own.iter().filter(|flag| flag.heading == *heading);
            writeln!(text, "{}", table(rows.map(|flag| flag.row()))).unwrap();
        }
        for (of, flags) in same {
            let all = known.iter().filter(|(command, _)| command == of);
            let all: Vec<_> = all.map(|(_, flag)| flag).collect();
            writeln!(text, "As in `{of}`: {}.\n", name_flags(&flags, &all)).unwrap();
        }
        known.extend(own.into_iter().map(|flag| (name.clone(), flag.clone())));
    }
    text
}

/// Names some of a command's flags, by their heading if they are most of it.
fn name_flags(flags: &[&Flag], all: &[&Flag]) -> String {
    let mut words: Vec<String> = Vec::new();
    for flag in flags {
        let is_below = |other: &&&Flag| other.heading == flag.heading;
        let named = flags.iter().filter(is_below).count();
        let others = all.iter().filter(is_below);
        let left: Vec<_> = others.filter(|other| !flags.contains(other)).collect();
        let word = if named < 4 || left.len() > 1 {
            format!("`--{}`", flag.name)
        } else if let Some(left) = left.first() {
            format!("all of {} but `--{}`", flag.heading, left.name)
        } else {
            format!("all of {}", flag.heading)
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(", ")
}

fn global_flags(root: &Command) -> Vec<Flag> {
    let global = root.get_arguments().filter(|arg| arg.is_global_set());
    global.filter_map(Flag::of).collect()
}

/// Returns every flag that a variable can set, by its name.
fn settings(root: &Command) -> BTreeMap<String, Flag> {
    let typed = commands(root, "");
    let flags = typed.iter().flat_map(|(_, command)| flags(command));
    let mut found = BTreeMap::new();
    for flag in global_flags(root).into_iter().chain(flags) {
        if flag.variable.is_some() {
            found.entry(flag.name.clone()).or_insert(flag);
        }
    }
    found
}

fn render_settings(root: &Command) -> String {
    let mut text = "| config key | variable |\n|---|---|\n".to_owned();
    let mut rows: Vec<(String, String)> = Vec::new();
    for (name, flag) in settings(root) {
        let key = if may_be_in_a_file(&name) {
            format!("`{name}`")
        } else {
            format!("(`--{name}`)")
        };
        rows.push((key, format!("`{}`", flag.variable.unwrap())));
    }
    for (key, meaning) in SECRET_KEYS {
        rows.push((format!("`{key}`"), meaning.to_owned()));
    }
    rows.sort();
    for (key, variable) in rows {
        writeln!(text, "| {key} | {variable} |").unwrap();
    }
    text
}

/// Returns whether the config file may contain a key.
fn may_be_in_a_file(key: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mde-cancel.toml");
    fs::write(&path, format!("{key} = \"x\"\n")).unwrap();
    ConfigFile::load(&path).is_ok()
}

fn render_columns() -> String {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let mut text = "| column | meaning |\n|---|---|\n".to_owned();
    for column in ReportRow::COLUMNS {
        let meaning = &schema["$defs"]["row"]["properties"][column]["description"];
        let meaning = meaning.as_str().unwrap_or_else(|| panic!("{column}"));
        writeln!(
            text,
            "| `{column}` | {} |",
            cell(meaning.trim_end_matches('.'))
        )
        .unwrap();
    }
    text
}

fn render_exits(root: &Command, name: &str) -> String {
    let command = root.find_subcommand(name).unwrap();
    let help = command.get_after_long_help().unwrap().to_string();
    let (_, list) = help.split_once("Exit codes:\n").unwrap();
    let mut text = "| code | meaning |\n|---|---|\n".to_owned();
    for line in list.lines() {
        let (code, meaning) = line.trim().split_once(' ').unwrap();
        writeln!(text, "| {code} | {} |", cell(meaning.trim())).unwrap();
    }
    text
}

/// Replaces the text between a part's `begin` and `end` comments.
fn replace(page: &str, part: &str, text: &str) -> String {
    let (begin, end) = (
        format!("<!-- begin {part} -->"),
        format!("<!-- end {part} -->"),
    );
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{end}"));
    format!("{before}{begin}\n\n{}\n\n{end}{after}", text.trim())
}

#[test]
fn the_reference_says_what_the_program_says() {
    let mut root = Cli::command();
    root.build();
    let page = fs::read_to_string(PAGE).unwrap().replace("\r\n", "\n");
    let mut renewed = page.clone();
    for (part, text) in [
        ("commands", render_commands(&root)),
        ("global", table(global_flags(&root).iter().map(Flag::row))),
        ("flags", render_flags(&root)),
        ("settings", render_settings(&root)),
        ("columns", render_columns()),
        ("exits of run", render_exits(&root, "run")),
        ("exits of preview", render_exits(&root, "preview")),
    ] {
        renewed = replace(&renewed, part, &text);
    }
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(Path::new(PAGE), &renewed).unwrap();
        return;
    }
    assert!(
        page == renewed,
        "docs/reference.md is out of date; renew it: UPDATE_REFERENCE=1 cargo test --test cli reference"
    );
}

#[test]
fn no_flag_without_a_variable_is_a_config_key() {
    let mut root = Cli::command();
    root.build();
    let settings = settings(&root);
    let typed = commands(&root, "");
    for flag in typed.iter().flat_map(|(_, command)| flags(command)) {
        if !settings.contains_key(&flag.name) {
            assert!(!may_be_in_a_file(&flag.name), "{}", flag.name);
        }
    }
    assert!(SECRET_KEYS.iter().all(|(key, _)| may_be_in_a_file(key)));
}
