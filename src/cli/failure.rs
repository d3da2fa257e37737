//! How the program ends: the exit codes, and the printing of errors.
//!
//! Every finished run has a [`RunExit`]; a [`Failure`] is an error that kept the program from its work. Both use the
//! same exit codes.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::api::ApiError;
use crate::auth::AuthError;
use crate::store::StoreError;

use super::format_time::visible;
use super::hint::{ForwardedFlags, Hint, quoted};
use super::terminal::{Color, Style};

/// What to do about a damaged journal.
pub(super) const DAMAGED: &str = "move the folder away, or choose another with --state-dir; what its runs sent is then unknown, but cancelling an \
     action twice has no effect";

/// How the program ended, from best to worst. If two apply, the later one wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunExit {
    /// Every row ended as requested, and nothing is left to do.
    #[default]
    Done,
    LeftOver,
    Stopped,
    GaveUp,
    /// Sign-in, permissions or the network stopped a lane; resumable.
    Unreachable,
    /// The request is impossible or was not confirmed.
    Refused,
    Fault,
    State,
    /// The user asked twice to stop.
    Interrupted,
}

impl RunExit {
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Fault => 1,
            Self::Refused => 2,
            Self::LeftOver => 3,
            Self::Stopped => 4,
            Self::Unreachable => 5,
            Self::State => 6,
            Self::GaveUp => 7,
            Self::Interrupted => 130,
        }
    }

    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        self.max(other)
    }
}

/// An error that kept the program from its work, with hints.
#[derive(Debug)]
pub struct Failure {
    pub exit: RunExit,
    /// What happened, with its causes.
    pub error: anyhow::Error,
    pub hints: Vec<Hint>,
}

impl Failure {
    pub fn new(exit: RunExit, error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            error: error.into(),
            hints: Vec::new(),
        }
    }

    /// Makes a failure of what cannot be used as it was typed, set or written.
    pub fn refused(error: impl Into<anyhow::Error>) -> Self {
        Self::new(RunExit::Refused, error)
    }

    /// Adds what the user can do, as an imperative without a period.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Wraps an error of writing to standard output.
    pub fn of_output(error: io::Error) -> Self {
        // The reader went away, as `head` does: print nothing. A broken pipe elsewhere is a network error.
        let exit = if error.kind() == io::ErrorKind::BrokenPipe {
            RunExit::Done
        } else {
            RunExit::Fault
        };
        let error = anyhow::Error::new(error).context("standard output cannot be written");
        Self::new(exit, error)
    }

    /// Returns what to print: the error, its causes and the hints, one per line.
    pub fn render(&self, color: Color, flags: &ForwardedFlags) -> String {
        if let Some(error) = self.error.downcast_ref::<clap::Error>() {
            return error.to_string();
        }
        if self.exit == RunExit::Done {
            return String::new();
        }
        let mut text = String::new();
        let mut line = |style, heading, words: &str| {
            // Writing to a string can't fail.
            writeln!(text, "{}: {}", color.apply(style, heading), visible(words))
                .unwrap_or_default();
        };
        let mut told = self.error.to_string();
        line(Style::Error, "error", &told);
        for cause in self.error.chain().skip(1) {
            let words = cause.to_string();
            // Some libraries repeat a cause in their own text.
            if !told.contains(&words) {
                line(Style::Dim, "caused by", &words);
                told.push('\n');
                told.push_str(&words);
            }
        }
        for hint in &self.hints {
            line(Style::Good, "hint", &hint.render(flags));
        }
        text
    }

    /// Prints it to standard error; a write error can't be reported anywhere.
    pub fn print(&self, color: Color, flags: &ForwardedFlags) {
        if let Some(error) = self.error.downcast_ref::<clap::Error>() {
            // It knows whether it is help, and whether the terminal has colors.
            return error.print().unwrap_or_default();
        }
        io::stderr()
            .write_all(self.render(color, flags).as_bytes())
            .unwrap_or_default();
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let hint = match &error {
            StoreError::OpenToOthers {
                path,
                is_ours: true,
                ..
            } => {
                let path = quoted(&path.to_string_lossy());
                let hint = format!(
                    "make it private (chmod 700 {path}), or choose another folder with --state-dir"
                );
                return Self::new(RunExit::State, error).hint(hint);
            }
            StoreError::OpenToOthers { path, .. } | StoreError::OtherUsers { path } => {
                let inside = path.join("mde-cancel");
                let inside = quoted(&inside.to_string_lossy());
                let hint = format!(
                    "use a new folder inside it, which only you can read: --state-dir {inside}"
                );
                return Self::new(RunExit::State, error).hint(hint);
            }
            StoreError::Replaced { .. } => Some(
                "don't touch the state folder during a run; run the input again, cancelling an action twice has no effect",
            ),
            StoreError::Held { .. } => {
                Some("stop the program that uses it, or choose another folder with --state-dir")
            }
            StoreError::NewerSchema { .. } => Some(
                "use the newer version of mde-cancel that wrote it, or choose another folder with --state-dir",
            ),
            StoreError::Damaged { .. } => Some(DAMAGED),
            StoreError::Full { .. } => Some("free some space on the disk"),
            StoreError::ReadOnly { .. } | StoreError::Folder { .. } => Some(
                "make the state folder and its files writable, or choose another folder with --state-dir",
            ),
            StoreError::UnreliableFileSystem { .. } => Some(
                "choose a folder on a disk of this machine with --state-dir (in a container, on a named volume)",
            ),
            StoreError::Foreign { .. } => Some("choose another folder with --state-dir"),
            _ => None,
        };
        let failure = Self::new(RunExit::State, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        let hint = error.hint().map(Cow::into_owned);
        let failure = Self::new(RunExit::Unreachable, error);
        hint.into_iter().fold(failure, Self::hint)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let hint = match &error {
            ApiError::CaFile(error) => error.hint().map(str::to_owned),
            _ => None,
        };
        hint.into_iter().fold(Self::refused(error), Self::hint)
    }
}

impl From<clap::Error> for Failure {
    /// Takes what clap says of the command line, help and version included.
    fn from(mut error: clap::Error) -> Self {
        let sandbox = ContextValue::String("--sandbox".to_owned());
        if error.kind() == ErrorKind::UnknownArgument
            && error.get(ContextKind::InvalidArg) == Some(&sandbox)
        {
            let tip = "`mde-cancel run --dry-run --sandbox` prints a plan, `run --sandbox` runs it";
            // In place of the advice to pass it as a value.
            error.insert(
                ContextKind::Suggested,
                ContextValue::StyledStrs(vec![tip.into()]),
            );
        }
        let exit = if error.use_stderr() {
            RunExit::Refused
        } else {
            RunExit::Done
        };
        Self::new(exit, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    fn chain(texts: &[&'static str]) -> Link {
        let (text, rest) = texts.split_first().unwrap();
        Link {
            text,
            source: (!rest.is_empty()).then(|| Box::new(chain(rest))),
        }
    }

    #[test]
    fn an_error_is_printed_with_each_cause_once_and_its_hints() {
        let error = chain(&[
            "state folder x cannot be used",
            "cannot lock: held by another run",
            "held by another run",
            "os error 11",
            "os error 11",
        ]);
        let failure = Failure::new(RunExit::State, error)
            .hint("wait for it")
            .hint("or name another folder with --state-dir");
        insta::assert_snapshot!(failure.render(Color::Plain, &ForwardedFlags::default()), @r"
        error: state folder x cannot be used
        caused by: cannot lock: held by another run
        caused by: os error 11
        hint: wait for it
        hint: or name another folder with --state-dir
        ");
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        let failure = Failure::new(RunExit::Fault, chain(&["a\u{1b}[2Jb\nc"]));
        let text = failure.render(Color::Plain, &ForwardedFlags::default());
        assert_eq!(text.lines().count(), 1);
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn only_a_broken_pipe_of_our_own_output_is_quiet() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(
            Failure::of_output(broken()).render(Color::Plain, &ForwardedFlags::default()),
            ""
        );
        let network = Failure::new(RunExit::Unreachable, broken());
        assert!(
            network
                .render(Color::Plain, &ForwardedFlags::default())
                .starts_with("error: ")
        );
        let full = Failure::of_output(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit, RunExit::Fault);
    }
}
