//! Names as people write them, made fit to be compared; what is shown stays as it was given.

/// Lower-cases a name and drops what people put in, leave out or cannot see: blanks, `_`, `-`, control characters, and
/// characters that take no place on a screen.
///
/// A guard must not be passed by a character that nobody sees. Letters that only look alike are left as they are: what
/// is spelled with them is a name nobody knows. So is a NUL, which shows that a text is UTF-16 read as something else.
pub fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for letter in text.chars().filter(|letter| !is_dropped(*letter)) {
        // Nearly every name is ASCII, and a run may read a million of them.
        if letter.is_ascii() {
            folded.push(letter.to_ascii_lowercase());
        } else {
            folded.extend(letter.to_lowercase());
        }
    }
    folded
}

fn is_dropped(letter: char) -> bool {
    if letter.is_ascii() {
        return matches!(letter, ' ' | '_' | '-' | '\u{1}'..='\u{1F}' | '\u{7F}');
    }
    letter.is_whitespace() || letter.is_control() || is_invisible(letter)
}

/// Returns whether a character is one of format (Unicode's `Cf`) or one that fonts are told to show as nothing.
fn is_invisible(letter: char) -> bool {
    matches!(letter,
        '\u{AD}' | '\u{34F}' | '\u{61C}' // soft hyphen, grapheme joiner, Arabic letter mark
        | '\u{600}'..='\u{605}' | '\u{6DD}' | '\u{70F}' | '\u{890}' | '\u{891}' | '\u{8E2}' // signs around numbers
        | '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}' // Hangul fillers
        | '\u{17B4}' | '\u{17B5}' // Khmer vowels without a shape
        | '\u{180B}'..='\u{180F}' // Mongolian selectors and separator
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' // no width; direction
        | '\u{2060}'..='\u{206F}' // joiners, operators and isolates without width
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' // variation selectors, byte order mark
        | '\u{FFF0}'..='\u{FFFB}' // reserved, annotations
        | '\u{110BD}' | '\u{110CD}' // Kaithi number signs
        | '\u{13430}'..='\u{1343F}' | '\u{1BCA0}'..='\u{1BCA3}' // hieroglyph and shorthand controls
        | '\u{1D173}'..='\u{1D17A}' // beams and slurs
        | '\u{E0000}'..='\u{E0FFF}' // tags and more selectors
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_reads_is_dropped() {
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
}
