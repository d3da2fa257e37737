//! What of a command line holds for the next command, too: where the state lies, which settings are read, how to sign in,
//! and where reports go.
//!
//! A hint that leaves these out sends people to another folder or another tenant. What the environment says is not in it:
//! that holds for the next command by itself. No flag takes a secret, so nothing here is one.

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::text::visible;

/// What every command takes.
const PLACES: [&str; 3] = ["state_dir", "config", "profiles"];

/// What every command takes that signs in.
const CONNECTION: [&str; 11] = [
    "tenant_id",
    "client_id",
    "cloud",
    "region",
    "api_url",
    "credential",
    "client_secret_file",
    "token_file",
    "login_url",
    "api_scope",
    "ca_file",
];

/// What a run writes.
const OUTPUTS: [&str; 3] = ["reports", "follow_up", "metrics_file"];

/// The flags that were typed and are to be typed again.
#[derive(Clone, Debug, Default)]
pub struct Again {
    places: String,
    connection: String,
    outputs: String,
}

impl Again {
    /// Takes from what was typed what holds for the next command.
    pub fn of(typed: &ArgMatches) -> Self {
        let Some((_, typed)) = typed.subcommand() else {
            return Self::default();
        };
        Self {
            places: flags(typed, &PLACES),
            connection: flags(typed, &CONNECTION),
            outputs: flags(typed, &OUTPUTS),
        }
    }

    /// Returns the flags for a command that signs in, each with a blank in front.
    pub(super) fn sign_in(&self) -> String {
        format!("{}{}", self.connection, self.places)
    }

    /// Returns the flags for a command that goes on with the same run.
    pub(super) fn same_run(&self) -> String {
        format!("{}{}{}", self.connection, self.outputs, self.places)
    }
}

fn flags(typed: &ArgMatches, ids: &[&str]) -> String {
    let mut words = String::new();
    for id in ids {
        // A command that does not have the flag is asked about it, too.
        if !matches!(typed.try_contains_id(id), Ok(true))
            || typed.value_source(id) != Some(ValueSource::CommandLine)
        {
            continue;
        }
        let name = match *id {
            "reports" => "report",
            "profiles" => "profile",
            name => name,
        };
        for value in typed.get_raw(id).into_iter().flatten() {
            let value = quoted(&value.to_string_lossy());
            words += &[" --", &name.replace('_', "-"), " ", &value].concat();
        }
    }
    words
}

/// Quotes a word for a shell where it needs that.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = word
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric() || "/._-+:,".contains(letter));
    if is_plain && !word.is_empty() {
        word.to_owned()
    } else {
        format!("'{}'", visible(word).replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::cli::args::Cli;

    use super::*;

    fn again(line: &str) -> Again {
        let words = line.split(' ');
        Again::of(&Cli::command().try_get_matches_from(words).unwrap())
    }

    #[test]
    fn what_leads_to_the_same_place_is_said_again_and_nothing_else() {
        let typed = again(
            "mde-cancel --state-dir /s run a.csv --yes --comment x --cloud gcc --report a.csv --report it's.html --profile p",
        );
        assert_eq!(typed.sign_in(), " --cloud gcc --state-dir /s --profile p");
        assert_eq!(
            typed.same_run(),
            r" --cloud gcc --report a.csv --report 'it'\''s.html' --state-dir /s --profile p"
        );
        assert_eq!(again("mde-cancel run a.csv --yes").same_run(), "");
        assert_eq!(again("mde-cancel quota").same_run(), "");
    }

    #[test]
    fn every_flag_that_is_said_again_exists_in_the_commands_that_are_named() {
        let mut root = Cli::command();
        root.build();
        for name in ["run", "resume"] {
            let command = root.find_subcommand(name).unwrap();
            let known: Vec<_> = command.get_arguments().map(clap::Arg::get_id).collect();
            for id in [&PLACES[..], &CONNECTION, &OUTPUTS].concat() {
                assert!(known.iter().any(|known| *known == id), "{name} {id}");
            }
        }
    }
}
