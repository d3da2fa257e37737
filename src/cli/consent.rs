//! The question before anything is sent, and what counts as a yes.
//!
//! Only a person at a terminal can answer. Where ids come through standard input the terminal behind it is asked; where
//! there is none nobody is, and that is a no. A small plan takes a word; a large one takes its number, which nobody types
//! by habit.

use std::fs::File;
use std::io;
use std::io::{IsTerminal as _, Read, Write};

use tokio::sync::oneshot;

use crate::platform;

use super::failure::{Failure, FailureKind};
use super::terminal::{Paint, stderr_width};
use super::text::{Count, Number};

/// More than this is not agreed to by a word.
const BY_A_WORD: u64 = 1000;

/// The longest answer that is looked at; nobody means more.
const MAX_ANSWER: usize = 256;

/// The width where the terminal does not tell its own.
const DEFAULT_WIDTH: u16 = 80;

/// What standard input is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StdinUse {
    /// Ids are read from it.
    Ids,
    /// Nothing is: an answer may come from it.
    Free,
}

/// What is to be agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Few enough for a word.
    YesOrNo(u64),
    /// So many that their number must be typed.
    TypeTheCount(u64),
}

/// Why nobody agreed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("nothing was sent: the answer was no")]
    No,
    #[error("nothing was sent: the answer was not {}, the number of actions to cancel", Number(*.count))]
    WrongCount { count: u64 },
    #[error("nothing was sent: no answer came")]
    NoAnswer,
    #[error("nothing was sent: stopped by {signal} before anybody agreed")]
    Stopped { signal: String },
    #[error("nothing was sent: {} to cancel, which is more than the {} of --max-actions", Count::new(*.count, "action"), Number(*.most))]
    TooMany { count: u64, most: u64 },
    #[error(
        "nothing was sent: nobody agreed to this run, and there is no terminal to ask on, so add --yes"
    )]
    NoTerminal,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let hints: &[&str] = match &refusal {
            Refusal::NoTerminal => &[
                "look at the plan with `mde-cancel preview`, then give the same command with --yes",
                "to try it on an imitation of the service, use --sandbox instead",
            ],
            Refusal::TooMany { .. } => {
                &["look at the plan with `mde-cancel preview`, and narrow it or raise the bound"]
            }
            _ => &[],
        };
        let failure = Self::new(FailureKind::Refused, refusal);
        hints
            .iter()
            .fold(failure, |failure, hint| failure.hint(*hint))
    }
}

/// Where the rows of a plan come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlanOrigin {
    /// From what somebody gave us.
    Input,
    /// From a selection in the tenant.
    Tenant,
}

impl Question {
    /// Asks about a plan that cancels `count` actions. What the tenant was asked for, nobody has seen in a file.
    pub(super) fn about(count: u64, origin: PlanOrigin) -> Self {
        if count > BY_A_WORD || origin == PlanOrigin::Tenant {
            Self::TypeTheCount(count)
        } else {
            Self::YesOrNo(count)
        }
    }

    /// Returns what stands where the answer is typed.
    pub(super) fn prompt(self) -> String {
        match self {
            Self::YesOrNo(1) => "Cancel this action? [y/N] ".to_owned(),
            Self::YesOrNo(count) => {
                format!("Cancel these {}? [y/N] ", Count::new(count, "action"))
            }
            Self::TypeTheCount(count) => format!(
                "To cancel these {}, type their number: ",
                Count::new(count, "action")
            ),
        }
    }

    /// Judges an answer; none at all means that the terminal was closed.
    pub(super) fn judge(self, answer: Option<&str>) -> Result<(), Refusal> {
        let Some(answer) = answer else {
            return Err(Refusal::NoAnswer);
        };
        let answer = answer.trim();
        match self {
            Self::YesOrNo(_) => {
                let is_yes = ["y", "yes"]
                    .iter()
                    .any(|yes| answer.eq_ignore_ascii_case(yes));
                if is_yes { Ok(()) } else { Err(Refusal::No) }
            }
            Self::TypeTheCount(count) => {
                // As it is written above, or without what sets thousands apart.
                let is_it = answer == count.to_string() || answer == Number(count).to_string();
                if is_it {
                    Ok(())
                } else {
                    Err(Refusal::WrongCount { count })
                }
            }
        }
    }
}

/// The terminal on which somebody can be asked.
pub(super) struct Terminal {
    input: Box<dyn Read + Send>,
    output: Box<dyn Write + Send>,
    /// How many columns it has.
    pub(super) width: u16,
    /// Whether it is painted.
    pub(super) paint: Paint,
}

impl Terminal {
    /// Finds the terminal: standard input and standard error where they are one, else the one that this process was
    /// started from, where ids take standard input.
    ///
    /// # Errors
    /// Returns [`Refusal::NoTerminal`] where nobody can be asked.
    pub(super) fn find(stdin: StdinUse, paint: Paint) -> Result<Self, Refusal> {
        let open = |file: io::Result<File>| file.map_err(|_| Refusal::NoTerminal);
        let input: Box<dyn Read + Send> = match stdin {
            StdinUse::Free if io::stdin().is_terminal() => Box::new(io::stdin()),
            StdinUse::Free => return Err(Refusal::NoTerminal),
            StdinUse::Ids => Box::new(open(platform::terminal_input())?),
        };
        let output: Box<dyn Write + Send> = if io::stderr().is_terminal() {
            Box::new(io::stderr())
        } else {
            Box::new(open(platform::terminal_output())?)
        };
        Ok(Self {
            input,
            output,
            width: stderr_width().unwrap_or(DEFAULT_WIDTH),
            paint,
        })
    }

    /// Shows `text` and the question, and returns the line that is typed; `None` where none comes.
    ///
    /// # Errors
    /// Returns what the terminal said.
    ///
    /// # Cancel safety
    /// The question stays asked, and an answer that comes later is nobody's.
    pub(super) async fn ask(self, text: &str, question: Question) -> io::Result<Option<String>> {
        let Self {
            mut input,
            mut output,
            ..
        } = self;
        write!(output, "{text}\n{}", question.prompt())?;
        output.flush()?;
        let (told, answer) = oneshot::channel();
        // A thread, not a pool's: one that waits for a silent person must not keep the process from ending.
        std::thread::Builder::new()
            .name("answer".to_owned())
            .spawn(move || {
                // Where nobody waits any more, the run was stopped.
                told.send(read_line(&mut *input)).ok();
            })?;
        answer.await.unwrap_or(Ok(None))
    }
}

/// Reads a line byte by byte, so that nothing behind it is taken.
fn read_line(input: &mut dyn Read) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match input.read(&mut byte) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => break,
            Ok(_) if byte == *b"\n" => break,
            Ok(_) if line.len() < MAX_ANSWER => line.extend_from_slice(&byte),
            // Longer than anything that is a yes: the rest may be lost, the beginning is none either.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_agrees_to_a_thousand_and_a_number_to_more() {
        let few = Question::about(1000, PlanOrigin::Input);
        assert_eq!(few.prompt(), "Cancel these 1,000 actions? [y/N] ");
        for yes in ["y", "Y", " yes\r", "YES"] {
            assert_eq!(few.judge(Some(yes)), Ok(()), "{yes}");
        }
        for no in ["", "n", "yess", "1000", "ja"] {
            assert_eq!(few.judge(Some(no)), Err(Refusal::No), "{no}");
        }
        let many = Question::about(1001, PlanOrigin::Input);
        assert_eq!(
            many.prompt(),
            "To cancel these 1,001 actions, type their number: "
        );
        for count in ["1001", " 1,001 "] {
            assert_eq!(many.judge(Some(count)), Ok(()), "{count}");
        }
        for wrong in ["", "y", "yes", "1000", "01001", "1001 or so"] {
            let refusal = Err(Refusal::WrongCount { count: 1001 });
            assert_eq!(many.judge(Some(wrong)), refusal, "{wrong}");
        }
        assert_eq!(many.judge(None), Err(Refusal::NoAnswer));
        let one = Question::about(1, PlanOrigin::Input);
        assert_eq!(one.prompt(), "Cancel this action? [y/N] ");
        let found = Question::about(1, PlanOrigin::Tenant);
        assert!(found.judge(Some("y")).is_err() && found.judge(Some("1")).is_ok());
    }

    #[test]
    fn a_line_ends_at_its_end_and_nothing_behind_it_is_taken() {
        let mut input = io::Cursor::new(b"yes\r\nno\n\n".to_vec());
        for expected in [Some("yes\r"), Some("no"), Some(""), None, None] {
            let line = read_line(&mut input).unwrap();
            assert_eq!(line.as_deref(), expected);
        }
        let mut long = io::Cursor::new([b"y".repeat(10_000), b"\nrest".to_vec()].concat());
        assert_eq!(
            read_line(&mut long).unwrap().map(|line| line.len()),
            Some(256)
        );
        assert_eq!(read_line(&mut long).unwrap().as_deref(), Some("rest"));
    }
}
