//! Makes text from the input and the service harmless for those who look at it: spreadsheets and terminals.
//!
//! [`defuse`] is one half of an exact pair. The other half, which reading our own report back needs: where a cell begins
//! with one or more `'` and then one of `= + - @` tab CR, take one `'` away. To look only at the second character would
//! not do, for `'=` and `''=` would then be one cell.
//! [`visible`] is no half of a pair: what it spells out stays spelled out.

use std::borrow::Cow;

/// What makes a spreadsheet run a cell as a formula when it stands first.
const ARMING: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Whether the breaks that a quoted cell may hold (tab, line feed, carriage return) stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaks {
    /// They stay: for a format that quotes them.
    Kept,
    /// They are spelled out too: for a line on a terminal.
    Shown,
}

/// Puts a `'` before a cell that a spreadsheet would run as a formula.
///
/// A cell that begins with one or more `'` and then such a character gets one more, so that taking one away always
/// gives the text back.
pub fn defuse(text: &str) -> Cow<'_, str> {
    if text.trim_start_matches('\'').starts_with(ARMING) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Spells out what acts on a screen instead of standing on it: control characters, marks that turn the direction of
/// writing, and characters without width that hide text.
///
/// A cancel comment or a file name may hold them; a terminal that obeyed them could be made to show what is not there.
/// They become what a programmer would write, for example `\u{1b}`. A backslash stays single, for `DOMAIN\user` is
/// common and should read as it is.
pub fn visible(text: &str, breaks: Breaks) -> Cow<'_, str> {
    // Nearly every text is of such letters alone, and a report has dozens a row.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let acts =
        |letter: char| acts_on_screen(letter) && !(breaks == Breaks::Kept && is_break(letter));
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if !acts(letter) {
            shown.push(letter);
        } else if is_break(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.extend(letter.escape_unicode());
        }
    }
    Cow::Owned(shown)
}

fn is_break(letter: char) -> bool {
    matches!(letter, '\t' | '\n' | '\r')
}

/// Returns whether a letter acts on a screen instead of standing on it.
pub(super) fn acts_on_screen(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' // marks of direction, the space without width
            | '\u{2028}'..='\u{202e}' // separators of lines and paragraphs; embeddings and overrides
            | '\u{2060}'..='\u{206f}' // joiners and operators without width; isolates
            | '\u{feff}' // the byte order mark
            | '\u{fff9}'..='\u{fffb}' // annotations
            | '\u{e0000}'..='\u{e007f}' // tags
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_defused_and_nothing_else() {
        for text in ["=1+1", "+1", "-5", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-"] {
            assert_eq!(defuse(text), format!("'{text}"), "{text:?}");
        }
        for text in ["", "a=1", " =1", "'", "'quoted'", "''", "host-1", "\n=1"] {
            assert!(matches!(defuse(text), Cow::Borrowed(_)), "{text:?}");
        }
    }

    #[test]
    fn what_acts_on_a_screen_is_spelled_out() {
        for (text, shown) in [
            ("plain", "plain"),
            ("DOMAIN\\user", "DOMAIN\\user"),
            ("a\u{1b}[31mb", "a\\u{1b}[31mb"),
            ("txt.\u{202e}exe", "txt.\\u{202e}exe"),
            ("a\u{9b}2Jb\0\u{7f}", "a\\u{9b}2Jb\\u{0}\\u{7f}"),
            ("one\r\n\ttwo", "one\\r\\n\\ttwo"),
            ("Zürich 東京", "Zürich 東京"),
        ] {
            assert_eq!(visible(text, Breaks::Shown), shown, "{text:?}");
        }
    }

    #[test]
    fn breaks_stay_where_a_format_quotes_them() {
        assert_eq!(
            visible("one\r\n\ttwo\u{7}", Breaks::Kept),
            "one\r\n\ttwo\\u{7}"
        );
        assert!(matches!(visible("a\nb", Breaks::Kept), Cow::Borrowed(_)));
    }
}
