//! What errors and summaries suggest next: text, or a command to paste and run.
//!
//! A command is stored as a value and rendered in one place, with the typed flags that still apply: state folder,
//! configuration and sign-in. Environment variables aren't repeated, because they still apply. No flag takes a secret,
//! so hints contain none.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args, Command};

use crate::engine::PlanId;
use crate::model::RunId;
use crate::platform::default_state_dir;

use super::args::{CommonArgs, ConnectionArgs, SelectionArgs, is_typed, leaf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// An imperative without a period.
    Text(String),
    /// What the command is for, and the command.
    Command(String, NextCommand),
}

impl<T: Into<String>> From<T> for Hint {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

impl Hint {
    pub fn render(&self, flags: &ForwardedFlags) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Command(why, command) => format!("{why}: {}", command.render(flags)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextCommand {
    /// Checks the sign-in and the permissions.
    Doctor,
    Report(RunId, PathBuf),
    /// Writes the list of machines that need follow-ups.
    FollowUp(RunId, PathBuf),
    /// Releases the machines that a run found isolated or restricted.
    Release(RunId),
    /// Makes a plan of that.
    ReleaseDryRun(RunId),
    /// Sends the plan with this id.
    ReleasePlan(RunId, PlanId),
    Resume(RunId),
    /// Resumes a run with a flag, or shows what is left of it.
    ResumeWith(RunId, &'static str),
    /// Sends the unsettled rows of a report.
    RunAgain(PathBuf),
    Runs,
}

impl NextCommand {
    fn words(&self) -> Vec<String> {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        let of_run = |verb: &str, run: &RunId, flags: &[&str]| -> Vec<String> {
            let run = run.to_string();
            let words = [verb, &run].into_iter().chain(flags.iter().copied());
            words.map(str::to_owned).collect()
        };
        match self {
            Self::Doctor => vec!["doctor".into()],
            Self::Report(run, to) => of_run("report", run, &["-o", &path(to)]),
            Self::FollowUp(run, to) => of_run("report", run, &["--follow-up", &path(to)]),
            Self::Release(run) => of_run("release", run, &[]),
            Self::ReleaseDryRun(run) => of_run("release", run, &["--dry-run"]),
            Self::ReleasePlan(run, plan) => {
                of_run("release", run, &["--yes", "--plan", &plan.to_string()])
            }
            Self::Resume(run) => of_run("resume", run, &[]),
            Self::ResumeWith(run, flag) => of_run("resume", run, &[flag]),
            Self::RunAgain(report) => vec!["run".into(), path(report)],
            Self::Runs => vec!["runs".into()],
        }
    }

    pub fn render(&self, flags: &ForwardedFlags) -> String {
        let sends = matches!(
            self,
            Self::Resume(_) | Self::ResumeWith(..) | Self::RunAgain(_)
        );
        let signs_in = sends
            || matches!(
                self,
                Self::Doctor | Self::Release(_) | Self::ReleaseDryRun(_) | Self::ReleasePlan(..)
            );
        let groups = [
            (matches!(self, Self::RunAgain(_)), &flags.exclusions),
            (sends, &flags.consent),
            (signs_in, &flags.connection),
            (true, &flags.state),
        ];
        let mut line = "mde-cancel".to_owned();
        let repeated = groups.iter().filter(|(is_needed, _)| *is_needed);
        let repeated = repeated.flat_map(|(_, group)| group.iter());
        for word in self.words().iter().chain(repeated) {
            line.push(' ');
            line.push_str(&quoted(word));
        }
        line
    }
}

/// Typed flags that the next command needs too.
#[derive(Clone, Debug, Default)]
pub struct ForwardedFlags {
    state: Vec<String>,
    connection: Vec<String>,
    consent: Vec<String>,
    exclusions: Vec<String>,
}

impl ForwardedFlags {
    /// Returns only the state folder, for commands that are run later, maybe in another shell.
    pub fn of_state(dir: &Path) -> Self {
        Self {
            state: state_flag(dir),
            ..Self::default()
        }
    }

    /// Takes the flags that also apply to the next command.
    pub fn of(typed: &ArgMatches) -> Self {
        let (_, typed) = leaf(typed);
        let place = ["state-dir", "config", "profile"];
        Self {
            state: to_repeat::<CommonArgs>(typed, |name| place.contains(&name)),
            connection: to_repeat::<ConnectionArgs>(typed, |_| true),
            consent: match typed.try_get_one("yes") {
                Ok(Some(true)) => vec!["--yes".to_owned()],
                _ => Vec::new(),
            },
            exclusions: to_repeat::<SelectionArgs>(typed, |name| name == "exclude-from"),
        }
    }
}

/// Returns the flag for a state folder, unless it is the default.
fn state_flag(dir: &Path) -> Vec<String> {
    if default_state_dir().as_deref() == Some(dir) {
        return Vec::new();
    }
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    vec!["--state-dir".to_owned(), dir.to_string_lossy().into_owned()]
}

/// Returns the names and values of the typed flags of a group.
fn typed_values<A: Args>(typed: &ArgMatches) -> Vec<(String, OsString)> {
    let group = A::augment_args(Command::new(""));
    let flags = group
        .get_arguments()
        .filter(|flag| flag.get_action().takes_values() && is_typed(typed, flag.get_id().as_str()));
    let mut values = Vec::new();
    for flag in flags {
        let name = flag.get_long().unwrap_or_default();
        let raw = typed.get_raw(flag.get_id().as_str()).into_iter().flatten();
        values.extend(raw.map(|value| (name.to_owned(), value.to_owned())));
    }
    values
}

/// Returns the typed flags of a group as words for the parser.
pub(super) fn typed_words<A: Args>(typed: &ArgMatches) -> Vec<OsString> {
    let values = typed_values::<A>(leaf(typed).1).into_iter();
    let words = values.map(|(name, value)| {
        let mut word = OsString::from(format!("--{name}="));
        word.push(value);
        word
    });
    words.collect()
}

/// Returns some of the typed flags of a group as words for a hint.
fn to_repeat<A: Args>(typed: &ArgMatches, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let values = typed_values::<A>(typed).into_iter();
    let wanted = values.filter(|(name, _)| is_wanted(name));
    let words =
        wanted.map(|(name, value)| [format!("--{name}"), value.to_string_lossy().into_owned()]);
    words.flatten().collect()
}

/// Quotes a word for the platform's shells if necessary.
pub(super) fn quoted(word: &str) -> String {
    if cfg!(windows) {
        return quoted_for_windows(word);
    }
    // Only NUL can't be quoted, and no argument contains it.
    shlex::try_quote(word).map_or_else(|_| String::new(), std::borrow::Cow::into_owned)
}

/// Quotes for both PowerShell and cmd: backslashes are literal, and a quote inside quotes is doubled.
fn quoted_for_windows(word: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || r"\/:._-".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("\"{}\"", word.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use uuid::Uuid;

    use crate::cli::args::Cli;

    use super::*;

    fn typed(words: &[&str]) -> ForwardedFlags {
        let words = std::iter::once(&"mde-cancel").chain(words);
        ForwardedFlags::of(&Cli::command().try_get_matches_from(words).unwrap())
    }

    #[cfg(unix)]
    #[test]
    fn every_command_parses_and_leads_to_the_same_state_folder() {
        use clap::Parser as _;
        let flags = typed(&[
            "--state-dir",
            "it's $HERE\n",
            "run",
            "a.csv",
            "--yes",
            "--comment",
            "x",
            "--cloud=gcc",
            "--report",
            "r.csv",
            "--exclude-from",
            "keep these.txt",
            "--profile",
            "p,q",
        ]);
        let run = RunId::new(Uuid::from_u128(7));
        let file = || PathBuf::from("it's here.csv");
        for command in [
            NextCommand::Doctor,
            NextCommand::Report(run, file()),
            NextCommand::FollowUp(run, file()),
            NextCommand::Resume(run),
            NextCommand::ResumeWith(run, "--no-precheck"),
            NextCommand::ResumeWith(run, "--dry-run"),
            NextCommand::RunAgain(file()),
            NextCommand::Runs,
        ] {
            let line = command.render(&flags);
            let words = shlex::split(&line).unwrap();
            let parsed =
                Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
            let folder = parsed.common.state_dir.unwrap();
            assert_eq!(folder.to_str(), Some("it's $HERE\n"), "{line}");
            assert_eq!(parsed.common.profiles, ["p", "q"], "{line}");
            assert!(
                !line.contains("--report r.csv") && !line.contains("--comment"),
                "{line}"
            );
        }
    }

    #[test]
    fn paths_of_windows_are_written_as_its_shells_read_them() {
        for (word, quoted) in [
            (r"C:\Users\ana\state", r"C:\Users\ana\state"),
            (r"C:\Users\ana maria\state", r#""C:\Users\ana maria\state""#),
            ("p,q", r#""p,q""#),
            (r#"5" disk"#, r#""5"" disk""#),
            ("", r#""""#),
        ] {
            assert_eq!(quoted_for_windows(word), quoted);
        }
    }

    #[test]
    fn a_command_repeats_what_it_needs_and_says_yes_only_where_that_was_typed() {
        let line = |words: &[&str], command: NextCommand| command.render(&typed(words));
        let id = RunId::new(Uuid::from_u128(7));
        let typed_yes = ["run", "a", "-y", "--cloud", "gcc", "--exclude-from", "k"];
        let without = ["run", "a", "--cloud", "gcc", "--exclude-from", "k"];
        assert_eq!(
            line(&typed_yes, NextCommand::Resume(id)),
            format!("mde-cancel resume {id} --yes --cloud gcc")
        );
        assert_eq!(
            line(&without, NextCommand::Resume(id)),
            format!("mde-cancel resume {id} --cloud gcc")
        );
        assert_eq!(
            line(&without, NextCommand::RunAgain("r.csv".into())),
            "mde-cancel run r.csv --exclude-from k --cloud gcc"
        );
        assert_eq!(line(&typed_yes, NextCommand::Runs), "mde-cancel runs");
        let nested = ["runs", "rm", "0199", "--state-dir", "s"];
        assert_eq!(
            line(&nested, NextCommand::Runs),
            "mde-cancel runs --state-dir s"
        );
    }
}
