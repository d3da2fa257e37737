//! How one line of the bars is laid out in the columns there are.
//!
//! Pure. No line is wider than its budget.

use std::borrow::Cow;

/// What parts the pieces of a line.
pub(super) const BETWEEN: &str = " · ";

/// Draws a bar of `cells` cells in ASCII: block characters are two columns wide in some East Asian terminals, and the
/// line would wrap.
pub(super) fn bar(done: u64, total: u64, cells: usize) -> String {
    let share = |cells: usize| {
        let filled = u128::from(done.min(total)) * cells as u128 / u128::from(total.max(1));
        usize::try_from(filled).unwrap_or(cells)
    };
    let filled = share(cells);
    let head = if filled < cells { ">" } else { "" };
    let rest = cells - filled - head.len();
    format!("[{}{head}{}] ", "=".repeat(filled), " ".repeat(rest))
}

/// Joins as many pieces as fit into `budget` columns; what does not fit is left out, with a mark.
pub(super) fn fit(head: &str, pieces: &[String], budget: usize) -> String {
    const MARK: &str = " …";
    let width = console::measure_text_width;
    let mut line = head.to_owned();
    for (position, piece) in pieces.iter().enumerate() {
        let between = if position == 0 { "" } else { BETWEEN };
        let last = position + 1 == pieces.len();
        let reserved = if last { 0 } else { width(MARK) };
        if position > 0 && width(&line) + width(between) + width(piece) + reserved > budget {
            line.push_str(MARK);
            break;
        }
        line.push_str(between);
        line.push_str(piece);
    }
    console::truncate_str(&line, budget, "…").into_owned()
}

/// Joins words and the time that follows them; where both are too long, the words are cut.
pub(super) fn fit_time(words: &str, time: &str, budget: usize) -> String {
    let room = budget.saturating_sub(console::measure_text_width(time));
    // Of no room at all the mark itself would take some.
    let words = match room {
        0 => Cow::Borrowed(""),
        room => console::truncate_str(words, room, "…"),
    };
    console::truncate_str(&format!("{words}{time}"), budget, "…").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_only_at_the_end() {
        assert_eq!(bar(0, 0, 4), "[>   ] ");
        assert_eq!(bar(999, 1000, 4), "[===>] ");
        assert_eq!(bar(1000, 1000, 4), "[====] ");
        assert_eq!(bar(u64::MAX, 3, 4), "[====] ");
        assert_eq!(bar(1, 2, 0), "[] ");
    }

    #[test]
    fn a_piece_that_does_not_fit_is_left_out_whole() {
        let pieces = ["1,204/5,000", "cancelled 1,090", "failed 1"].map(str::to_owned);
        for (budget, line) in [
            (50, "1,204/5,000 · cancelled 1,090 · failed 1"),
            (40, "1,204/5,000 · cancelled 1,090 · failed 1"),
            (39, "1,204/5,000 · cancelled 1,090 …"),
            (30, "1,204/5,000 …"),
            (8, "1,204/5…"),
        ] {
            assert_eq!(fit("", &pieces, budget), line, "{budget}");
        }
    }

    #[test]
    fn words_are_cut_before_the_time_is() {
        for (budget, line) in [
            (17, "paused until 9 h"),
            (15, "paus… until 9 h"),
            (10, " until 9 h"),
            (6, " unti…"),
        ] {
            assert_eq!(fit_time("paused", " until 9 h", budget), line);
        }
    }
}
