//! Whether anything is coloured, how wide the terminal is, and the one way text reaches standard output.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};

use console::Term;

use crate::platform::{forget_typed, has_reader_left};

use super::text::wrap;

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
    ) -> Color {
        let refused = environment("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = environment("TERM").is_some_and(|value| value == "dumb");
        match self {
            Self::Always => Color::Colored,
            Self::Auto if is_terminal && !refused && !dumb => Color::Colored,
            Self::Auto | Self::Never => Color::Plain,
        }
    }
}

/// How commands print: standard output's columns and colours, and standard error's colours.
#[derive(Clone, Copy, Debug)]
pub struct OutputStyle {
    pub width: u16,
    pub color: Color,
    pub error_color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    Plain,
    Colored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Good,
    Warning,
    Error,
    Dim,
}

impl Color {
    /// Returns `text` in the colours of `style`, or as it is.
    pub(super) fn apply(self, style: Style, text: &str) -> String {
        if self == Self::Plain {
            return text.to_owned();
        }
        let style = match style {
            Style::Good => console::Style::new().green(),
            Style::Warning => console::Style::new().yellow(),
            Style::Error => console::Style::new().red().bold(),
            Style::Dim => console::Style::new().dim(),
        };
        // Forced: the decision was made, and the library's own guess must not overrule it.
        style.force_styling(true).apply_to(text).to_string()
    }
}

/// Text for a terminal, line by line.
pub(super) struct Page {
    pub(super) text: String,
    columns: usize,
    color: Color,
}

impl Page {
    pub(super) fn new(width: u16, color: Color) -> Self {
        Self {
            text: String::new(),
            columns: width.into(),
            color,
        }
    }

    /// Adds a line as it is.
    pub(super) fn raw(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Adds a line that is wrapped between words, all of it behind `before` and what is wrapped further right.
    pub(super) fn push(&mut self, before: &str, style: Option<Style>, line: &str, indent: usize) {
        let columns = self.columns.saturating_sub(before.len());
        for line in wrap(line, columns, indent) {
            let line = format!("{before}{line}");
            match style {
                Some(style) => self.raw(&self.color.apply(style, &line)),
                None => self.raw(&line),
            }
        }
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
        for (mode, is_terminal, color) in [
            (ColorMode::Auto, true, Color::Colored),
            (ColorMode::Auto, false, Color::Plain),
            (ColorMode::Always, false, Color::Colored),
            (ColorMode::Never, true, Color::Plain),
        ] {
            assert_eq!(mode.resolve(is_terminal, nothing), color, "{mode:?}");
        }
        assert_eq!(ColorMode::Auto.resolve(true, no_color), Color::Plain);
        assert_eq!(ColorMode::Auto.resolve(true, empty), Color::Colored);
        assert_eq!(ColorMode::Auto.resolve(true, dumb), Color::Plain);
        assert_eq!(ColorMode::Always.resolve(true, no_color), Color::Colored);
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
}
