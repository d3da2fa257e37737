//! Asks for confirmation before anything is sent.
//!
//! The answer must come from a terminal. If standard input has the ids, the process's terminal is used; without one, the
//! answer is no. A small plan needs a y; a large one needs its number, which nobody types by habit. Keys pressed before the
//! question are discarded, and an unclear answer is asked for once more.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};

use tokio::sync::oneshot;

use crate::engine::PlanId;
use crate::platform;

use super::failure::{Failure, RunExit};
use super::format_time::{Count, Number};
use super::terminal::{Color, stderr_width};

/// Larger plans need their number typed.
const TYPE_COUNT_ABOVE: u64 = 1000;

const QUESTIONS: u32 = 2;

/// Longer answers are cut.
const MAX_ANSWER: usize = 256;

/// Used if the terminal's width is unknown.
const DEFAULT_WIDTH: u16 = 80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StdinUse {
    Ids,
    /// Can be used for the answer.
    Free,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    YesOrNo(u64),
    TypeTheCount(u64),
    /// For a release.
    TypeTheMachines(u64),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("nothing was sent: you answered no")]
    No,
    #[error("nothing was sent: the answer was neither y nor n")]
    Unclear,
    #[error("nothing was sent: the answer was not {count}, the number of {what}")]
    WrongCount { count: u64, what: &'static str },
    #[error("nothing was sent: no answer came")]
    NoAnswer,
    #[error("nothing was sent: stopped by {signal} before you answered")]
    Stopped { signal: String },
    #[error("nothing was sent: the plan has {}, --max-actions allows {}", Count::new(*.count, "action"), Number(*.most))]
    TooMany { count: u64, most: u64 },
    #[error(
        "nothing was sent: the selection has at least {count} actions, --max-actions allows {most}; the rest was not read"
    )]
    TooManySelected { count: u64, most: u64 },
    #[error("nothing was sent: this is plan {plan}, not {approved}, which --plan names")]
    OtherPlan { plan: PlanId, approved: PlanId },
    #[error(
        "nothing was sent: {} that the tenant doesn't list yet would be sent if found later, and plan {approved} doesn't have {}",
        Count::new(*.missing, "action"), if *.missing == 1 { "it" } else { "them" }
    )]
    MissingMayBeSent { missing: u64, approved: PlanId },
    #[error("nothing was sent: there is no terminal to ask on")]
    NoTerminal,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let hints = match &refusal {
            Refusal::NoTerminal => {
                vec!["look at the plan with --dry-run, then send it with --yes".to_owned()]
            }
            Refusal::TooMany { count, .. } => vec![format!(
                "narrow the selection, or allow more with --max-actions {count}"
            )],
            Refusal::TooManySelected { .. } => {
                vec!["narrow the selection, or allow more with --max-actions".to_owned()]
            }
            Refusal::OtherPlan { .. } => vec![
                "since the approval, an action, a comment or the tenant has changed: look at the plan with --dry-run and have its \
                 new id approved"
                    .to_owned(),
                "a file written by `preview --format csv` keeps its id while its actions end".to_owned(),
            ],
            Refusal::MissingMayBeSent { .. } => vec![
                "freeze the plan with `preview --format csv`, and run that file: it has the same id, and skips them"
                    .to_owned(),
            ],
            _ => Vec::new(),
        };
        let failure = Self::new(RunExit::Refused, refusal);
        hints.into_iter().fold(failure, Failure::hint)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlanOrigin {
    Input,
    /// Selected from the tenant.
    Tenant,
    /// Machines to release, from another run's journal.
    Journal,
}

impl Question {
    /// Nobody has seen the rows of a selection in a file, so their number must be typed.
    pub(super) fn about(count: u64, origin: PlanOrigin) -> Self {
        match origin {
            PlanOrigin::Journal => Self::TypeTheMachines(count),
            PlanOrigin::Tenant => Self::TypeTheCount(count),
            PlanOrigin::Input if count > TYPE_COUNT_ABOVE => Self::TypeTheCount(count),
            PlanOrigin::Input => Self::YesOrNo(count),
        }
    }

    fn prompt(self) -> String {
        match self {
            Self::YesOrNo(count) => format!(
                "Cancel {}? y sends the cancels, Enter sends nothing [y/N]: ",
                Count::new(count, "action")
            ),
            Self::TypeTheCount(count) => format!(
                "To cancel {}, type {count} (Enter sends nothing): ",
                Count::new(count, "action")
            ),
            Self::TypeTheMachines(count) => format!(
                "To release {}, type {count} (Enter sends nothing): ",
                Count::new(count, "machine")
            ),
        }
    }

    fn second_prompt(self) -> String {
        match self {
            Self::YesOrNo(_) => "Please type y or n: ".to_owned(),
            Self::TypeTheCount(count) | Self::TypeTheMachines(count) => {
                format!("That is not {count}. Type {count} to send, Enter sends nothing: ")
            }
        }
    }

    /// `None` means that the terminal was closed.
    fn judge(self, answer: Option<&str>) -> Result<(), Refusal> {
        let answer = answer.ok_or(Refusal::NoAnswer)?.trim().to_ascii_lowercase();
        if matches!(answer.as_str(), "" | "n" | "no") {
            return Err(Refusal::No);
        }
        match self {
            Self::YesOrNo(_) if answer == "y" || answer == "yes" => Ok(()),
            Self::YesOrNo(_) => Err(Refusal::Unclear),
            // With or without thousands separators.
            Self::TypeTheCount(count) | Self::TypeTheMachines(count)
                if answer == count.to_string() || answer == Number(count).to_string() =>
            {
                Ok(())
            }
            Self::TypeTheCount(count) => Err(Refusal::WrongCount {
                count,
                what: "actions to cancel",
            }),
            Self::TypeTheMachines(count) => Err(Refusal::WrongCount {
                count,
                what: "machines to release",
            }),
        }
    }
}

pub(super) struct Terminal {
    input: Box<dyn Answers + Send>,
    output: Box<dyn Write + Send>,
    pub(super) width: u16,
    pub(super) color: Color,
}

impl Terminal {
    /// Uses standard input and standard error if they are a terminal. If ids come through standard input, uses the process's
    /// terminal for the answer.
    pub(super) fn find(stdin: StdinUse, color: Color) -> Result<Self, Refusal> {
        let open = |file: io::Result<File>| file.map_err(|_| Refusal::NoTerminal);
        let input: Box<dyn Answers + Send> = match stdin {
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
            color,
        })
    }

    /// Shows `text` and the question.
    ///
    /// # Cancel safety
    /// The question stays on the screen; a later answer is ignored.
    pub(super) async fn ask(
        self,
        text: &str,
        question: Question,
    ) -> io::Result<Result<(), Refusal>> {
        let Self {
            mut input,
            mut output,
            ..
        } = self;
        let text = text.to_owned();
        let (told, answer) = oneshot::channel();
        // Its own thread: a pool's would keep the process alive while it waits for an answer.
        std::thread::Builder::new()
            .name("answer".to_owned())
            .spawn(move || {
                // Without a receiver, the run was stopped.
                told.send(converse(&mut input, &mut *output, &text, question))
                    .ok();
            })?;
        answer.await.unwrap_or(Ok(Err(Refusal::NoAnswer)))
    }
}

pub(super) trait Answers: Read {
    /// Discards keys pressed before the question.
    fn discard_typed(&self) -> io::Result<()>;
}

impl Answers for io::Stdin {
    fn discard_typed(&self) -> io::Result<()> {
        platform::discard_typed(self)
    }
}

impl Answers for File {
    fn discard_typed(&self) -> io::Result<()> {
        platform::discard_typed(self)
    }
}

fn converse(
    input: &mut Box<dyn Answers + Send>,
    output: &mut dyn Write,
    text: &str,
    question: Question,
) -> io::Result<Result<(), Refusal>> {
    write!(output, "{text}")?;
    let mut prompt = question.prompt();
    let mut refusal = Refusal::NoAnswer;
    for _ in 0..QUESTIONS {
        input.discard_typed()?;
        write!(output, "{prompt}")?;
        output.flush()?;
        refusal = match question.judge(read_line(&mut **input)?.as_deref()) {
            Ok(()) => return Ok(Ok(())),
            Err(refusal) => refusal,
        };
        if !matches!(refusal, Refusal::Unclear | Refusal::WrongCount { .. }) {
            break;
        }
        prompt = question.second_prompt();
    }
    Ok(Err(refusal))
}

/// Reads byte by byte, so that nothing after the line is consumed.
fn read_line(input: &mut dyn Read) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match input.read(&mut byte) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => break,
            Ok(_) if byte == *b"\n" => break,
            Ok(_) if line.len() < MAX_ANSWER => line.extend_from_slice(&byte),
            // Too long for a yes.
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
        assert_eq!(
            few.prompt(),
            "Cancel 1,000 actions? y sends the cancels, Enter sends nothing [y/N]: "
        );
        for yes in ["y", "Y", " yes\r", "YES"] {
            assert_eq!(few.judge(Some(yes)), Ok(()), "{yes}");
        }
        for no in ["", "n", "No ", "\r"] {
            assert_eq!(few.judge(Some(no)), Err(Refusal::No), "{no}");
        }
        for unclear in ["yess", "1000", "ja"] {
            assert_eq!(few.judge(Some(unclear)), Err(Refusal::Unclear), "{unclear}");
        }
        let many = Question::about(1001, PlanOrigin::Input);
        assert_eq!(
            many.prompt(),
            "To cancel 1,001 actions, type 1001 (Enter sends nothing): "
        );
        for count in ["1001", " 1,001 "] {
            assert_eq!(many.judge(Some(count)), Ok(()), "{count}");
        }
        for wrong in ["y", "yes", "1000", "01001", "1001 or so"] {
            let refusal = Err(Refusal::WrongCount {
                count: 1001,
                what: "actions to cancel",
            });
            assert_eq!(many.judge(Some(wrong)), refusal, "{wrong}");
        }
        assert_eq!(many.judge(Some("")), Err(Refusal::No));
        assert_eq!(many.judge(None), Err(Refusal::NoAnswer));
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
