//! Tables for a terminal. Numbers, ids and words of a note are never split.

use console::{Alignment, measure_text_width, pad_str, truncate_str};

use super::format_time::wrap;

/// With less room than this beside the cells, notes go below.
const NOTE: usize = 30;

/// The minimum width of a column that may be cut.
const LEAST: usize = 8;

pub(super) struct Table<const N: usize> {
    /// The cells, and a note at the end of the row.
    rows: Vec<([String; N], String)>,
    /// Right-aligned columns.
    pub(super) right: &'static [usize],
    /// Columns that may be cut to fit the width.
    pub(super) cut: &'static [usize],
    /// The indent of a note below its row.
    pub(super) indent: usize,
}

impl<const N: usize> Table<N> {
    pub(super) fn new() -> Self {
        Self {
            rows: Vec::new(),
            right: &[],
            cut: &[],
            indent: 4,
        }
    }

    pub(super) fn row(&mut self, cells: [impl Into<String>; N]) {
        self.noted(cells, String::new());
    }

    pub(super) fn noted(&mut self, cells: [impl Into<String>; N], note: String) {
        self.rows.push((cells.map(Into::into), note));
    }

    /// Returns the widths of the columns and of the gap between them.
    fn widths(&self, width: usize) -> ([usize; N], usize) {
        let mut widths = [0; N];
        for (cells, _) in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(cells) {
                *widest = measure_text_width(cell).max(*widest);
            }
        }
        let fits = |widths: &[usize; N], gap| {
            widths.iter().sum::<usize>() + gap * N.saturating_sub(1) <= width
        };
        let gap = if fits(&widths, 2) { 2 } else { 1 };
        while !fits(&widths, gap) {
            let cut = self.cut.iter().max_by_key(|&&column| widths[column]);
            match cut {
                Some(&column) if widths[column] > LEAST => widths[column] -= 1,
                _ => break,
            }
        }
        (widths, gap)
    }

    pub(super) fn lines(&self, width: usize) -> Vec<String> {
        let (widths, gap) = self.widths(width);
        let beside = widths.iter().sum::<usize>() + gap * N;
        let room = width.saturating_sub(beside);
        let (columns, indent) = if room < NOTE {
            (width.saturating_sub(self.indent), self.indent)
        } else {
            (room, beside)
        };
        let mut lines = Vec::new();
        for (cells, note) in &self.rows {
            let mut line = String::new();
            for (column, cell) in cells.iter().enumerate() {
                let alignment = if self.right.contains(&column) {
                    Alignment::Right
                } else {
                    Alignment::Left
                };
                let cell = truncate_str(cell, widths[column], "…");
                line.push_str(&pad_str(&cell, widths[column], alignment, None));
                line.push_str(&" ".repeat(gap));
            }
            let notes = wrap(note, columns, 0).into_iter();
            let mut notes = notes.filter(|note| !note.is_empty());
            if room >= NOTE {
                line.extend(notes.next());
            }
            lines.push(line.trim_end().to_owned());
            lines.extend(notes.map(|note| format!("{:indent$}{note}", "")));
        }
        lines
    }

    /// Joins the lines, each with the prefix `before`.
    pub(super) fn render(&self, width: usize, before: &str) -> String {
        let mut text = String::new();
        for line in self.lines(width.saturating_sub(before.len())) {
            text.extend([before, &line, "\n"]);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(width: usize) -> String {
        let mut table = Table::new();
        table.right = &[1];
        table.cut = &[0];
        table.row(["who", "rows"]);
        let note = "excluded by keep.txt: dc-01.contoso.com".to_owned();
        table.noted(["soc-automation@contoso.com", "1,204"], note);
        table.row(["total", "1,204"]);
        table.render(width, "")
    }

    #[test]
    fn a_note_wraps_between_words_and_is_below_where_there_is_no_room() {
        insta::assert_snapshot!(text(70), @"
        who                          rows
        soc-automation@contoso.com  1,204  excluded by keep.txt:
                                           dc-01.contoso.com
        total                       1,204
        ");
        insta::assert_snapshot!(text(50), @"
        who                          rows
        soc-automation@contoso.com  1,204
            excluded by keep.txt: dc-01.contoso.com
        total                       1,204
        ");
        insta::assert_snapshot!(text(20), @"
        who             rows
        soc-automatio… 1,204
            excluded by
            keep.txt:
            dc-01.contoso.com
        total          1,204
        ");
    }
}
