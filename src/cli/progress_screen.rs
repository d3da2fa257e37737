//! Puts the lines of the bars on a terminal, and takes them off again, also where its window was resized meanwhile.
//!
//! The library ends a line by filling it with blanks up to the last column. Terminals that lay their text out anew when
//! the window changes then put two lines into one or one into three, and the next drawing leaves old lines behind or wipes
//! lines of the log. Here each line ends with a line feed, the last one too, so that what is typed meanwhile (`^C`) stands in
//! a row of its own; and how many rows it takes is counted at the width there is when it is taken off. A terminal that cuts lines where others wrap them loses as many lines of its log as a narrower window
//! makes it seem to have: nobody tells which kind it is.

use std::io;
use std::sync::{Mutex, PoisonError};

use indicatif::TermLike;

/// A terminal between the library and the real one.
#[derive(Debug)]
pub(super) struct ProgressScreen<T> {
    term: T,
    /// The columns of each line that is on the screen. std Mutex: nothing awaits while it is held.
    drawn: Mutex<Vec<usize>>,
}

impl<T: TermLike> ProgressScreen<T> {
    pub(super) fn new(term: T) -> Self {
        Self {
            term,
            drawn: Mutex::default(),
        }
    }

    fn erase(&self) -> io::Result<()> {
        let drawn = std::mem::take(&mut *self.drawn.lock().unwrap_or_else(PoisonError::into_inner));
        let columns = usize::from(self.term.width()).max(1);
        let rows: usize = drawn
            .iter()
            .map(|width| width.div_ceil(columns).max(1))
            .sum();
        if rows > 0 {
            self.term.clear_line()?;
        }
        for _ in 0..rows {
            self.term.move_cursor_up(1)?;
            self.term.clear_line()?;
        }
        Ok(())
    }
}

impl<T: TermLike> TermLike for ProgressScreen<T> {
    fn width(&self) -> u16 {
        self.term.width()
    }

    /// One row is left for what is typed.
    fn height(&self) -> u16 {
        self.term.height().saturating_sub(1)
    }

    /// The library's first step before it draws or wipes; it counts in the rows of the width that was.
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        self.erase()
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    /// Writes a line; blanks alone are what the library fills the one before with.
    fn write_str(&self, text: &str) -> io::Result<()> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        drawn.push(console::measure_text_width(text));
        self.term.write_str(text)?;
        self.term.write_str("\n")
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.term.flush()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;

    /// A terminal of a few columns that wraps as real ones do: when the next letter comes, not when the line is full; and
    /// whose lines are laid out anew when its width changes.
    #[derive(Clone, Debug)]
    pub(in crate::cli) struct Screen {
        state: Arc<Mutex<State>>,
    }

    #[derive(Debug, Default)]
    struct State {
        columns: usize,
        rows: Vec<Row>,
        row: usize,
        column: usize,
        flushes: usize,
    }

    #[derive(Clone, Debug, Default)]
    struct Row {
        cells: Vec<char>,
        /// Whether it goes on in the next row, for it was full.
        goes_on: bool,
    }

    impl State {
        fn put(&mut self, letter: char) {
            if self.column == self.columns {
                self.row_here().goes_on = true;
                (self.row, self.column) = (self.row + 1, 0);
            }
            let column = self.column;
            let row = self.row_here();
            row.cells.resize(row.cells.len().max(column + 1), ' ');
            row.cells[column] = letter;
            self.column += 1;
        }

        fn row_here(&mut self) -> &mut Row {
            let needed = self.rows.len().max(self.row + 1);
            self.rows.resize(needed, Row::default());
            &mut self.rows[self.row]
        }
    }

    impl Screen {
        pub(in crate::cli) fn new(columns: usize) -> Self {
            let state = State {
                columns,
                ..State::default()
            };
            Self {
                state: Arc::new(Mutex::new(state)),
            }
        }

        pub(in crate::cli) fn put(&self, text: &str) {
            let mut state = self.state.lock().unwrap();
            for letter in text.chars() {
                match letter {
                    '\r' => state.column = 0,
                    '\n' => {
                        state.row_here();
                        (state.row, state.column) = (state.row + 1, 0);
                    }
                    _ => {
                        assert!(!letter.is_control(), "{text:?}");
                        state.put(letter);
                    }
                }
            }
        }

        pub(in crate::cli) fn resize(&self, columns: usize) {
            let mut state = self.state.lock().unwrap();
            let old = std::mem::take(&mut *state);
            (state.columns, state.flushes) = (columns, old.flushes);
            let mut cursor = (0, 0);
            for (number, row) in old.rows.iter().enumerate() {
                let is_end = number == old.row;
                for (column, &letter) in row.cells.iter().enumerate() {
                    if is_end && column == old.column {
                        cursor = (state.row, state.column);
                    }
                    state.put(letter);
                }
                if is_end && old.column >= row.cells.len() {
                    cursor = (state.row, state.column);
                }
                if !row.goes_on {
                    state.row_here();
                    (state.row, state.column) = (state.row + 1, 0);
                }
            }
            if old.row < old.rows.len() {
                (state.row, state.column) = cursor;
            }
        }

        pub(in crate::cli) fn rows(&self) -> Vec<String> {
            let state = self.state.lock().unwrap();
            let rows = state.rows.iter().map(|row| row.cells.iter().collect());
            let rows = rows.map(|row: String| row.trim_end().to_owned());
            rows.filter(|row| !row.is_empty()).collect()
        }

        pub(in crate::cli) fn flushes(&self) -> usize {
            self.state.lock().unwrap().flushes
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            self.state.lock().unwrap().columns.try_into().unwrap()
        }

        fn move_cursor_up(&self, n: usize) -> io::Result<()> {
            let mut state = self.state.lock().unwrap();
            state.row = state.row.saturating_sub(n);
            Ok(())
        }

        fn move_cursor_down(&self, n: usize) -> io::Result<()> {
            self.state.lock().unwrap().row += n;
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.put(text);
            self.put("\n");
            Ok(())
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.put(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            let mut state = self.state.lock().unwrap();
            *state.row_here() = Row::default();
            state.column = 0;
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            self.state.lock().unwrap().flushes += 1;
            Ok(())
        }
    }
}
