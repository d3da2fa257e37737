//! What `doctor` found: one line for each thing that was looked at, with the mend where something is wrong.

use std::fmt::Write as _;

use crate::cli::failure::RunExit;
use crate::cli::terminal::{Paint, Tone};
use crate::cli::text::visible;

/// How wide the names of the things are.
const NAME: usize = 12;

/// How one thing stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Nothing is wrong.
    Ok(String),
    /// A run can do without, or may.
    Warn(String, &'static str),
    /// Nothing can be sent.
    Fail(String, &'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grade {
    Ok,
    Warn,
    Fail,
}

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Checkup {
    lines: Vec<(Grade, &'static str, String, Option<String>)>,
    exit: RunExit,
}

impl Checkup {
    pub(super) fn ok(&mut self, name: &'static str, text: String) {
        self.lines.push((Grade::Ok, name, text, None));
    }

    pub(super) fn warn(&mut self, name: &'static str, text: String, mend: Option<String>) {
        self.lines.push((Grade::Warn, name, text, mend));
    }

    /// Notes something without which nothing can be sent.
    pub(super) fn fail(&mut self, name: &'static str, text: String, mend: Option<String>) {
        self.lines.push((Grade::Fail, name, text, mend));
        self.exit = self.exit.worst(RunExit::Unreachable);
    }

    /// Notes that the state folder, or the file in it, cannot be used.
    pub(super) fn state_fails(&mut self, name: &'static str, text: String, mend: Option<String>) {
        self.lines.push((Grade::Fail, name, text, mend));
        self.exit = self.exit.worst(RunExit::State);
    }

    pub(super) fn add(&mut self, name: &'static str, finding: Finding) {
        match finding {
            Finding::Ok(text) => self.ok(name, text),
            Finding::Warn(text, mend) => self.warn(name, text, Some(mend.to_owned())),
            Finding::Fail(text, mend) => self.fail(name, text, Some(mend.to_owned())),
        }
    }

    /// Returns how the program ends over it.
    pub(super) fn exit(&self) -> RunExit {
        self.exit
    }

    pub(super) fn render(&self, paint: Paint) -> String {
        let mut out = String::new();
        for (grade, name, text, mend) in &self.lines {
            let (tone, word) = match grade {
                Grade::Ok => (Tone::Good, "ok  "),
                Grade::Warn => (Tone::Caution, "warn"),
                Grade::Fail => (Tone::Bad, "fail"),
            };
            let word = paint.apply(tone, word);
            let mut pieces = text.lines();
            let first = pieces.next().unwrap_or_default();
            // Writing to a string cannot fail.
            writeln!(out, "{word}  {name:NAME$}  {}", visible(first)).unwrap_or_default();
            for piece in pieces {
                writeln!(out, "{:6}{:NAME$}  {}", "", "", visible(piece)).unwrap_or_default();
            }
            if let Some(mend) = mend {
                writeln!(out, "{:6}{:NAME$}  mend: {}", "", "", visible(mend)).unwrap_or_default();
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_one_line_with_its_mend_below_and_the_worst_decides() {
        let mut checkup = Checkup::default();
        checkup.ok("config", "none".to_owned());
        assert_eq!(checkup.exit(), RunExit::Done);
        checkup.warn(
            "clock",
            "is off\u{1b}[2J".to_owned(),
            Some("set it".to_owned()),
        );
        assert_eq!(checkup.exit(), RunExit::Done);
        checkup.fail("sign-in", "refused".to_owned(), None);
        assert_eq!(checkup.exit(), RunExit::Unreachable);
        checkup.state_fails("state folder", "full".to_owned(), None);
        assert_eq!(checkup.exit(), RunExit::State);
        insta::assert_snapshot!(checkup.render(Paint::Plain), @r"
        ok    config        none
        warn  clock         is off\u{1b}[2J
                            mend: set it
        fail  sign-in       refused
        fail  state folder  full
        ");
    }
}
