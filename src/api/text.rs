//! Server text as data: made harmless to look at, and bounded.
//!
//! It never drops a character without a trace: what a terminal would act on is shown as its code point instead.

use crate::model::brief;

/// Rewrites `text` so that a terminal shows it on one line and does nothing else.
pub(super) fn visible(text: &str) -> String {
    brief(text, usize::MAX)
}

/// Cuts `text` to at most `limit` characters, the last of which then says that something is missing.
pub(super) fn bounded(text: &str, limit: usize) -> String {
    if text.chars().nth(limit).is_none() {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(limit.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_becomes_visible() {
        assert_eq!(visible("\u{1b}[31mred\u{7}"), "\\u{1b}[31mred\\u{7}");
        assert_eq!(visible("a\u{202e}b\u{200b}c"), "a\\u{202e}b\\u{200b}c");
        assert_eq!(visible("\u{9b}2J"), "\\u{9b}2J");
        assert_eq!(visible("  one\r\n\t two\u{2028}three "), "one two three");
        assert_eq!(visible("Zürich 日本"), "Zürich 日本");
    }

    #[test]
    fn a_cut_text_says_so_and_keeps_to_its_limit() {
        assert_eq!(bounded("abc", 3), "abc");
        assert_eq!(bounded("abcd", 3), "ab…");
        assert_eq!(bounded("ääää", 3), "ää…");
        assert_eq!(bounded("", 0), "");
    }
}
