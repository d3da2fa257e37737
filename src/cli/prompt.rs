//! The question before anything is sent, and what counts as a yes.
//!
//! Only a person at a terminal can answer. Where ids come through standard input the terminal behind it is asked; where
//! there is none, that is a no. A small plan takes a word; a large one takes its number, which nobody types by habit. What
//! was typed before the question was asked is no answer, and a wrong answer is asked about once more.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};

use tokio::sync::oneshot;

use crate::engine::PlanId;
use crate::platform;

use super::failure::{Failure, RunExit};
use super::terminal::{Color, stderr_width};
use super::text::{Count, Number};

/// Above this the number must be typed.
const TYPE_COUNT_ABOVE: u64 = 1000;

const QUESTIONS: u32 = 2;

/// The longest answer that is looked at; nobody means more.
const MAX_ANSWER: usize = 256;

/// The width where the terminal does not tell its own.
const DEFAULT_WIDTH: u16 = 80;

/// What standard input is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StdinUse {
    Ids,
    /// Nothing is: an answer may come from it.
    Free,
}

/// What is to be agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    YesOrNo(u64),
    /// So many that their number must be typed.
    TypeTheCount(u64),
    /// Machines to release: their number is always typed.
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
                "an action, a comment or the tenant is another one than in the approved plan; look at the plan with --dry-run, \
                 and have its new id approved"
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

/// Where the rows of a plan come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlanOrigin {
    Input,
    /// From a selection in the tenant.
    Tenant,
    /// From another run's journal, which found machines to release.
    Journal,
}

impl Question {
    /// Asks about a plan of `count` calls. What the tenant was asked for, nobody has seen in a file.
    pub(super) fn about(count: u64, origin: PlanOrigin) -> Self {
        match origin {
            PlanOrigin::Journal => Self::TypeTheMachines(count),
            PlanOrigin::Tenant => Self::TypeTheCount(count),
            PlanOrigin::Input if count > TYPE_COUNT_ABOVE => Self::TypeTheCount(count),
            PlanOrigin::Input => Self::YesOrNo(count),
        }
    }

    /// Returns the question, which says what to type.
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

    /// Returns the question after an answer that was none.
    fn second_prompt(self) -> String {
        match self {
            Self::YesOrNo(_) => "Please type y or n: ".to_owned(),
            Self::TypeTheCount(count) | Self::TypeTheMachines(count) => {
                format!("That is not {count}. Type {count} to send, Enter sends nothing: ")
            }
        }
    }

    /// Judges an answer; none at all means that the terminal was closed.
    fn judge(self, answer: Option<&str>) -> Result<(), Refusal> {
        let answer = answer.ok_or(Refusal::NoAnswer)?.trim().to_ascii_lowercase();
        if matches!(answer.as_str(), "" | "n" | "no") {
            return Err(Refusal::No);
        }
        match self {
            Self::YesOrNo(_) if answer == "y" || answer == "yes" => Ok(()),
            Self::YesOrNo(_) => Err(Refusal::Unclear),
            // As it is written above, or with what sets thousands apart.
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

/// The terminal on which somebody can be asked.
pub(super) struct Terminal {
    input: Box<dyn Answers + Send>,
    output: Box<dyn Write + Send>,
    pub(super) width: u16,
    pub(super) color: Color,
}

impl Terminal {
    /// Finds the terminal: standard input and standard error where they are one, else the one that this process was
    /// started from, where ids take standard input.
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

    /// Shows `text` and the question, and says whether the answer agrees.
    ///
    /// # Cancel safety
    /// The question stays asked, and an answer that comes later is nobody's.
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
        // A thread, not a pool's: one that waits for a silent person must not keep the process from ending.
        std::thread::Builder::new()
            .name("answer".to_owned())
            .spawn(move || {
                // Where nobody waits any more, the run was stopped.
                told.send(converse(&mut input, &mut *output, &text, question))
                    .ok();
            })?;
        answer.await.unwrap_or(Ok(Err(Refusal::NoAnswer)))
    }
}

pub(super) trait Answers: Read {
    /// Forgets what was typed before the question.
    fn forget_typed(&self) -> io::Result<()>;
}

impl Answers for io::Stdin {
    fn forget_typed(&self) -> io::Result<()> {
        platform::forget_typed(self)
    }
}

impl Answers for File {
    fn forget_typed(&self) -> io::Result<()> {
        platform::forget_typed(self)
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
        input.forget_typed()?;
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
