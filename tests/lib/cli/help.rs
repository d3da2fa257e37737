//! The help: snapshots, and checks that it tells the truth.

use std::collections::BTreeSet;

use clap::{CommandFactory as _, Parser as _};
use mde_cancel::cli::args::Cli;

use super::config_file::{OF_APP, variables};
use super::service;

/// Returns a command's help at a fixed width; the program's for an empty name.
fn help(command: &str, long: bool) -> String {
    let mut root = Cli::command().term_width(100);
    root.build();
    let mut found = &mut root;
    for name in command.split_whitespace() {
        found = found.find_subcommand_mut(name).unwrap();
    }
    if long {
        found.render_long_help().to_string()
    } else {
        found.render_help().to_string()
    }
}

#[test]
fn the_help_matches_its_snapshots() {
    for command in [
        "", "run", "preview", "list", "resume", "runs", "runs rm", "report", "quota", "doctor",
        "sandbox",
    ] {
        let name = if command.is_empty() {
            "program"
        } else {
            &command.replace(' ', "_")
        };
        insta::assert_snapshot!(format!("help_short_{name}"), help(command, false));
        insta::assert_snapshot!(format!("help_long_{name}"), help(command, true));
    }
}

#[test]
fn every_example_of_the_help_can_be_typed() {
    let mut root = Cli::command();
    root.build();
    let commands = std::iter::once(&root).chain(root.get_subcommands());
    let mut tried = 0;
    for command in commands {
        let examples = command.get_after_help().map(ToString::to_string);
        for line in examples.unwrap_or_default().lines() {
            // Examples are indented.
            let Some(at) = line.find("mde-cancel ").filter(|_| line.starts_with("  ")) else {
                continue;
            };
            // Two spaces separate an example from its explanation.
            let line = line[at..].split("  ").next().unwrap();
            for part in line.split(" | ").filter(|part| part.starts_with("mde-")) {
                let typed = part.split(" > ").next().unwrap();
                let quoted: Vec<_> = typed.split('"').collect();
                let words = quoted.iter().enumerate().flat_map(|(place, text)| {
                    if place % 2 == 1 {
                        vec![*text]
                    } else {
                        text.split_whitespace().collect()
                    }
                });
                if let Err(error) = Cli::try_parse_from(words.map(|word| word.trim_matches('\''))) {
                    panic!("{line}: {error}");
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 25, "{tried}");
}

#[test]
fn tuning_flags_are_only_in_the_long_help() {
    for flag in [
        "--concurrency",
        "--total-concurrency",
        "--rate",
        "--max-attempts",
        "--timeout",
        "--timeout-grace",
    ] {
        assert!(help("run", true).contains(flag), "{flag}");
        assert!(!help("run", false).contains(flag), "{flag}");
    }
}

/// Returns the variables in `[env: ...]` of a command's help, each with its flag.
fn documented_variables(command: &str) -> BTreeSet<(String, String)> {
    let mut root = Cli::command();
    root.build();
    let run = root.find_subcommand(command).unwrap();
    let mut found = BTreeSet::new();
    for flag in run.get_arguments() {
        let help = flag.get_long_help().or(flag.get_help());
        let text = help.map(ToString::to_string).unwrap_or_default();
        let Some((_, names)) = text.rsplit_once("[env: ") else {
            continue;
        };
        let names = names.split(']').next().unwrap();
        let long = format!("--{}", flag.get_long().unwrap());
        for name in names.split(", ") {
            found.insert((name.to_owned(), long.clone()));
        }
    }
    found
}

#[test]
fn the_help_names_every_variable_that_is_read_and_no_other() {
    let others = [
        ("MDE_CANCEL_NO_VERIFY", "--no-verify"),
        ("MDE_CANCEL_CONFIG", "--config"),
        ("MDE_CANCEL_PROFILE", "--profile"),
    ];
    let all = variables().into_iter().map(|[name, _, flag]| (name, flag));
    let read = all.chain(others);
    let read = read.map(|(name, flag)| (name.to_owned(), flag.to_owned()));
    assert_eq!(documented_variables("run"), read.collect());
}

#[test]
fn every_command_reads_the_variables_that_its_help_names_and_no_other() {
    for (command, words) in [
        ("preview", "preview a.csv"),
        ("list", "list"),
        ("resume", "resume"),
        ("runs", "runs"),
        ("report", "report"),
        ("quota", "quota"),
        ("doctor", "doctor"),
    ] {
        let documented = documented_variables(command);
        // With a tenant, an app and a token, which every command needs to resolve.
        let settings = |variable: Option<(&'static str, &str)>| {
            let mut typed = super::typing(words).variable("AZURE_TENANT_ID", "fabrikam.example");
            typed = typed.variable("AZURE_CLIENT_ID", "22222222-2222-3333-4444-555555555555");
            if variable.is_none_or(|(name, _)| name != "MDE_CANCEL_TOKEN_FILE") {
                typed = typed.variable("MDE_CANCEL_TOKEN", super::MARKER);
            }
            let settings = variable.map_or_else(
                || typed.clone(),
                |(name, value)| typed.clone().first(name, value),
            );
            format!("{:?}", settings.resolve().unwrap())
        };
        let plain = settings(None);
        for [name, value, _] in variables() {
            // A ready token beats other credentials.
            if OF_APP.contains(&name) {
                continue;
            }
            let is_read = settings(Some((name, value))) != plain;
            let is_named = documented.iter().any(|(known, _)| known == name);
            assert_eq!(is_read, is_named, "{command} {name}");
        }
    }
}

/// Returns the default that the help shows for a flag: clap's own, or one in the text.
pub(super) fn documented_default(flag: &clap::Arg) -> Option<String> {
    let values = flag.get_default_values().iter();
    let values: Vec<_> = values.map(|value| value.to_str().unwrap()).collect();
    if flag.get_action().takes_values() && !values.is_empty() {
        return Some(values.join(" "));
    }
    let help = flag.get_help()?.to_string();
    let (_, default) = help.split_once("[default: ")?;
    Some(default.trim_end_matches(']').to_owned())
}

#[test]
fn a_documented_default_is_what_an_absent_flag_means() {
    let mut root = Cli::command();
    root.build();
    let run = root.find_subcommand("run").unwrap();
    let plain = format!("{:?}", service("").resolve().unwrap());
    let mut tried = 0;
    for flag in run.get_arguments() {
        let Some(default) = documented_default(flag) else {
            continue;
        };
        // A default that the help describes in words is no value to type.
        if default.contains(' ') || default.contains("RUN") {
            continue;
        }
        tried += 1;
        let long = format!("--{}", flag.get_long().unwrap());
        let typed = service(&long).word(&default).resolve().unwrap();
        assert_eq!(format!("{typed:?}"), plain, "{long} {default}");
    }
    assert_eq!(tried, 16);
}

#[test]
fn flag_help_is_an_imperative_without_a_period() {
    let mut root = Cli::command();
    root.build();
    for command in std::iter::once(&root).chain(root.get_subcommands()) {
        for flag in command.get_arguments() {
            let text = flag.get_help().map(ToString::to_string).unwrap_or_default();
            let first = text.chars().next().unwrap_or_default();
            assert!(first.is_uppercase(), "{}: {text}", flag.get_id());
            assert!(!text.ends_with('.'), "{}: {text}", flag.get_id());
        }
    }
}
