//! Makes text from outside safe to compare, to show and to write as CSV.
//!
//! Hidden characters are ignored in comparisons and escaped in output. [`encode`] also defuses spreadsheet formulas,
//! and [`decode`] reverses it.

use std::borrow::Cow;

/// A spreadsheet treats a cell that starts with one of these as a formula. The last four are full-width.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// The column that marks a CSV as written by `list`; its cells are decoded when read.
pub const LISTED_BY: &str = "listed_by";

/// Returns whether `letter` is invisible, looks like a plain blank, or controls the terminal: control characters,
/// Unicode's `Cf`, fillers, and blanks other than the ASCII and the ideographic one.
pub fn is_hidden(letter: char) -> bool {
    if letter.is_ascii() {
        return letter.is_ascii_control();
    }
    letter.is_control()
        || matches!(letter,
            '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{2800}' // blanks
            | '\u{AD}' | '\u{34F}' | '\u{61C}' // soft hyphen, grapheme joiner, Arabic letter mark
            | '\u{600}'..='\u{605}' | '\u{6DD}' | '\u{70F}' | '\u{890}' | '\u{891}' | '\u{8E2}' // signs around numbers
            | '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}' // Hangul fillers
            | '\u{17B4}' | '\u{17B5}' // Khmer vowels without a shape
            | '\u{180B}'..='\u{180F}' // Mongolian selectors and separator
            | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' // no width; separators of lines; direction
            | '\u{2060}'..='\u{206F}' // joiners, operators and isolates without width
            | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' // variation selectors, byte order mark
            | '\u{FFF0}'..='\u{FFFB}' // reserved, annotations
            | '\u{110BD}' | '\u{110CD}' // Kaithi number signs
            | '\u{13430}'..='\u{1343F}' | '\u{1BCA0}'..='\u{1BCA3}' // hieroglyph and shorthand controls
            | '\u{1D173}'..='\u{1D17A}' // beams and slurs
            | '\u{E0000}'..='\u{E0FFF}' // tags and more selectors
        )
}

/// Normalizes a name for comparison: lower case, without blanks, `_`, `-` and hidden characters.
///
/// Lookalike letters stay, so a name spelled with them is an unknown name. NUL stays too.
pub fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, ' ' | '_' | '-') || (is_hidden(letter) && letter != '\0') {
            continue;
        }
        // The common case: almost every name is ASCII, and a run may read a million of them.
        if letter.is_ascii() {
            folded.push(letter.to_ascii_lowercase());
        } else if !letter.is_whitespace() {
            folded.extend(letter.to_lowercase());
        }
    }
    folded
}

/// Escapes hidden characters as `\u{..}`, so that the text stays on one line and cannot control a terminal.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_hidden(letter) {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

/// Shortens a text for a message: one line, collapsed blanks, at most `limit` characters including a final `…`.
pub fn truncate_line(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = visible(&line);
    if line.chars().nth(limit).is_none() {
        return line.into_owned();
    }
    let beginning: String = line.chars().take(limit.saturating_sub(1)).collect();
    format!("{beginning}…")
}

/// Returns a CSV cell for any text: one line, no hidden characters, and no formula. [`decode`] restores the exact text.
pub fn encode(text: &str) -> Cow<'_, str> {
    let formula = is_formula(text);
    if !formula
        && !text
            .char_indices()
            .any(|(at, letter)| is_escaped(text, at, letter))
    {
        return Cow::Borrowed(text);
    }
    let mut cell = String::with_capacity(text.len() + 16);
    if formula {
        cell.push('\'');
    }
    for (at, letter) in text.char_indices() {
        if is_escaped(text, at, letter) {
            cell.extend(letter.escape_unicode());
        } else {
            cell.push(letter);
        }
    }
    Cow::Owned(cell)
}

/// Reverses [`encode`]. Use it only for cells that we wrote.
pub fn decode(cell: &str) -> Cow<'_, str> {
    let cell = match cell.strip_prefix('\'') {
        Some(rest) if is_formula(rest) => rest,
        _ => cell,
    };
    if !cell.contains('\\') {
        return Cow::Borrowed(cell);
    }
    let (mut text, mut rest) = (String::with_capacity(cell.len()), cell);
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let (letter, length) = read_escape(&rest[at..]).unwrap_or(('\\', 1));
        text.push(letter);
        rest = &rest[at + length..];
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Returns whether a spreadsheet may run the cell. Leading quotes are skipped, so that [`decode`] can tell which of
/// them [`encode`] added.
fn is_formula(text: &str) -> bool {
    text.trim_start_matches(['\'', ' ']).starts_with(FORMULA)
}

fn is_escaped(text: &str, at: usize, letter: char) -> bool {
    match letter {
        // Would be read as an escape.
        '\\' => read_escape(&text[at..]).is_some(),
        // A spreadsheet that splits at `;` starts a new cell here, even within quotes.
        _ if FORMULA.contains(&letter) => {
            text[..at].trim_end_matches(['\'', '"', ' ']).ends_with(';')
        }
        _ => is_hidden(letter),
    }
}

/// Parses an escape at the start of `text` into its character and its length in bytes.
fn read_escape(text: &str) -> Option<(char, usize)> {
    let (hex, _) = text.strip_prefix("\\u{")?.split_once('}')?;
    let is_hex = (1..=6).contains(&hex.len()) && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let code = u32::from_str_radix(hex, 16).ok().filter(|_| is_hex)?;
    Some((char::from_u32(code)?, hex.len() + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_what_nobody_reads() {
        for (text, expected) in [
            ("Machine Action-Id", "machineactionid"),
            ("a_b\tc\nd\u{85}e\u{A0}f\u{3000}g", "abcdefg"),
            ("\u{FEFF}I\u{200D}d\u{E0020}", "id"),
            ("a.b/c?d'e\"", "a.b/c?d'e\""),
            ("Größe\u{301}", "größe\u{301}"),
            ("\u{200B}-", ""),
            ("i\0d\0", "i\0d\0"),
        ] {
            assert_eq!(folded(text), expected, "{text:?}");
        }
    }

    #[test]
    fn hidden_characters_are_spelled_out() {
        for (text, shown) in [
            ("plain", "plain"),
            ("DOMAIN\\user", "DOMAIN\\user"),
            ("a\u{1b}[31mb", "a\\u{1b}[31mb"),
            ("txt.\u{202e}exe", "txt.\\u{202e}exe"),
            ("a\u{9b}2Jb\0\u{7f}", "a\\u{9b}2Jb\\u{0}\\u{7f}"),
            ("one\r\n\ttwo", "one\\u{d}\\u{a}\\u{9}two"),
            ("host\u{a0}\u{2028}", "host\\u{a0}\\u{2028}"),
            ("Zürich 東京\u{3000}本社", "Zürich 東京\u{3000}本社"),
        ] {
            assert_eq!(visible(text), shown, "{text:?}");
        }
    }

    #[test]
    fn what_a_message_shows_is_one_bounded_line() {
        for (text, limit, shown) in [
            ("  one\r\n\t two\u{2028}three ", 99, "one two three"),
            (
                "host\u{a0}\u{a0}\u{3000}  Send? [y/N]",
                99,
                "host Send? [y/N]",
            ),
            ("a\u{202e}b\u{200b}c", 99, "a\\u{202e}b\\u{200b}c"),
            ("abc", 3, "abc"),
            ("ääää", 3, "ää…"),
            ("", 0, ""),
        ] {
            assert_eq!(truncate_line(text, limit), shown, "{text:?}");
        }
    }

    #[test]
    fn a_cell_is_one_harmless_line_and_reads_back_exactly() {
        for (text, cell) in [
            ("", ""),
            (
                "ws-1, \"quoted\" C:\\temp DOMAIN\\tom",
                "ws-1, \"quoted\" C:\\temp DOMAIN\\tom",
            ),
            ("=1+1", "'=1+1"),
            ("-svc", "'-svc"),
            ("  @SUM(A1)", "'  @SUM(A1)"),
            ("＝1", "'＝1"),
            ("'=x", "''=x"),
            ("'' -x", "''' -x"),
            ("'tis", "'tis"),
            ("''", "''"),
            ("\n=1", "\\u{a}=1"),
            (
                "two\r\nlines\u{2028}\u{85}",
                "two\\u{d}\\u{a}lines\\u{2028}\\u{85}",
            ),
            ("ws;=2+2;z", "ws;\\u{3d}2+2;z"),
            ("ws; \"'=2", "ws; \"'\\u{3d}2"),
            ("\\u{41}", "\\u{5c}u{41}"),
            (
                "\\u{zz} \\u{} \\u{110000} \\",
                "\\u{zz} \\u{} \\u{110000} \\",
            ),
        ] {
            assert_eq!(encode(text), cell, "{text:?}");
            assert_eq!(decode(cell), text, "{cell:?}");
        }
    }
}
