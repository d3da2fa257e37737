//! Colors, terminal width, standard output, and questions.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};

use console::Term;

use crate::platform::{discard_typed, has_reader_left};

use super::format_time::wrap;

/// The width if there is no terminal.
const DEFAULT_WIDTH: u16 = 80;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorMode {
    /// On a terminal that supports it, unless NO_COLOR is set.
    #[default]
    Auto,
    Always,
    Never,
}

impl ColorMode {
    /// Decides for one stream: the flag overrides NO_COLOR, which overrides the terminal.
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

/// How commands print: the width and colors of standard output, and the colors of standard error.
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
        // Forced, because the library's own detection must not override the decision.
        style.force_styling(true).apply_to(text).to_string()
    }
}

/// Builds text for a terminal, line by line.
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

    /// Adds a line without wrapping.
    pub(super) fn raw(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Adds a wrapped line. Every line starts with `before`; wrapped lines are indented further.
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

/// Returns the width of standard output, or 80 without a terminal.
pub fn stdout_width() -> u16 {
    Term::stdout()
        .size_checked()
        .map_or(DEFAULT_WIDTH, |(_, columns)| columns)
}

/// Returns the width of standard error, or `None` without a terminal.
pub(super) fn stderr_width() -> Option<u16> {
    let term = Term::stderr();
    term.is_term()
        .then(|| term.size_checked().map_or(DEFAULT_WIDTH, |size| size.1))
}

/// Writes `text` to standard output. A reader that left (`| head`, a closed terminal) is not an error.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if has_reader_left(&error) => Ok(()),
        result => result,
    }
}

/// Asks a question on standard error; only `y` and `yes` agree. Returns `None` without a terminal.
pub(super) fn ask(question: &str) -> io::Result<Option<bool>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() || !io::stderr().is_terminal() {
        return Ok(None);
    }
    // Keys typed before the question don't answer it.
    discard_typed(&stdin)?;
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
