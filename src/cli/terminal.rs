//! Whether anything is coloured, how wide the terminal is, and the one way text reaches standard output.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};

use console::{Style, Term};

use crate::platform::{forget_typed, has_reader_left};

/// The width where nobody tells one: a pipe, a file.
const DEFAULT_WIDTH: u16 = 80;

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorMode {
    /// On a terminal that can, unless NO_COLOR is set.
    #[default]
    Auto,
    Always,
    Never,
}

impl ColorMode {
    /// Decides for one stream: what was asked for beats NO_COLOR, which beats what the terminal can do.
    pub fn resolve(
        self,
        is_terminal: bool,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Paint {
        let refused = environment("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = environment("TERM").is_some_and(|value| value == "dumb");
        match self {
            Self::Always => Paint::Colored,
            Self::Auto if is_terminal && !refused && !dumb => Paint::Colored,
            Self::Auto | Self::Never => Paint::Plain,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Plain,
    Colored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Caution,
    Bad,
    Faint,
}

impl Paint {
    /// Returns `text` in the colour of `tone`, or as it is.
    pub(super) fn apply(self, tone: Tone, text: &str) -> String {
        if self == Self::Plain {
            return text.to_owned();
        }
        let style = match tone {
            Tone::Good => Style::new().green(),
            Tone::Caution => Style::new().yellow(),
            Tone::Bad => Style::new().red().bold(),
            Tone::Faint => Style::new().dim(),
        };
        // Forced: the decision was made, and the library's own guess must not overrule it.
        style.force_styling(true).apply_to(text).to_string()
    }
}

/// Returns how many columns standard output has; 80 where it is no terminal.
pub fn stdout_width() -> u16 {
    Term::stdout()
        .size_checked()
        .map_or(DEFAULT_WIDTH, |(_, columns)| columns)
}

/// Returns how many columns standard error has; `None` where it is no terminal.
pub(super) fn stderr_width() -> Option<u16> {
    let term = Term::stderr();
    term.is_term()
        .then(|| term.size_checked().map_or(DEFAULT_WIDTH, |size| size.1))
}

/// Writes `text` to standard output; a reader who left (`| head`, a closed terminal) is no fault.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if has_reader_left(&error) => Ok(()),
        result => result,
    }
}

/// Asks a question on standard error that only `y` or `yes` agrees to. Returns `None` where nobody sits there to answer.
pub(super) fn ask(question: &str) -> io::Result<Option<bool>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() || !io::stderr().is_terminal() {
        return Ok(None);
    }
    // What was typed before the question is no answer to it.
    forget_typed(&stdin)?;
    write!(io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    stdin.read_line(&mut answer)?;
    Ok(Some(agrees(&answer)))
}

fn agrees(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_beats_no_color_which_beats_the_terminal() {
        let nothing = |_: &str| None;
        let no_color = |name: &str| (name == "NO_COLOR").then(|| OsString::from("1"));
        let empty = |name: &str| (name == "NO_COLOR").then(OsString::new);
        let dumb = |name: &str| (name == "TERM").then(|| OsString::from("dumb"));
        for (mode, is_terminal, paint) in [
            (ColorMode::Auto, true, Paint::Colored),
            (ColorMode::Auto, false, Paint::Plain),
            (ColorMode::Always, false, Paint::Colored),
            (ColorMode::Never, true, Paint::Plain),
        ] {
            assert_eq!(mode.resolve(is_terminal, nothing), paint, "{mode:?}");
        }
        assert_eq!(ColorMode::Auto.resolve(true, no_color), Paint::Plain);
        assert_eq!(ColorMode::Auto.resolve(true, empty), Paint::Colored);
        assert_eq!(ColorMode::Auto.resolve(true, dumb), Paint::Plain);
        assert_eq!(ColorMode::Always.resolve(true, no_color), Paint::Colored);
    }

    #[test]
    fn nothing_but_yes_agrees() {
        for answer in ["y\n", "Y", " yes \r\n", "YES"] {
            assert!(agrees(answer), "{answer:?}");
        }
        for answer in ["", "\n", "n", "no", "yep", "yes please", "1"] {
            assert!(!agrees(answer), "{answer:?}");
        }
    }

    #[test]
    fn plain_text_holds_no_escape_sequence_and_coloured_text_does() {
        assert_eq!(Paint::Plain.apply(Tone::Bad, "x"), "x");
        let colored = Paint::Colored.apply(Tone::Bad, "x");
        assert!(colored.starts_with('\u{1b}') && colored.ends_with('m'));
    }
}
