//! Small rules for the texts of cells: bounds, and names made fit for a message.

/// The longest id text that is kept for the report on a bad row.
const ID_CHARS: usize = 100;

/// The longest comment that is sent, as long as one given on the command line may be; the most that is kept of any cell.
const CELL_CHARS: usize = 4096;

/// The longest name, and the most names, that a message lists.
const NAME_CHARS: usize = 40;
const NAMES: usize = 30;

/// Returns a text without blanks around it and cut to `chars` characters.
fn bounded(text: &str, chars: usize) -> String {
    let trimmed = text.trim();
    // No character takes less than a byte, so a text of few bytes needs no counting.
    if trimmed.len() <= chars {
        return trimmed.to_owned();
    }
    trimmed.chars().take(chars).collect()
}

/// Returns what stood in an id cell, cut for the report.
pub(super) fn id_text(text: &str) -> String {
    bounded(text, ID_CHARS)
}

/// Returns the text of a cell that gives context, or nothing where it is blank. What is longer than 4,096 characters
/// is cut: of what is only shown, nobody misses the rest.
pub(super) fn context_text(text: &str) -> Option<String> {
    let text = bounded(text, CELL_CHARS);
    (!text.is_empty()).then_some(text)
}

/// Says why a comment cannot be sent: nobody wants half of one on the record.
pub(super) fn comment_fault(text: &str) -> Option<String> {
    let text = text.trim();
    // No character takes less than a byte, so a text of few bytes needs no counting.
    (text.len() > CELL_CHARS && text.chars().count() > CELL_CHARS)
        .then(|| "the comment has more than 4,096 characters".to_owned())
}

/// Lists names for a message: bounded, and with control characters made visible.
pub(super) fn list<N: AsRef<str>>(names: &[N]) -> String {
    let mut text = names
        .iter()
        .take(NAMES)
        .map(|name| visible(name.as_ref()))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > NAMES {
        text = format!("{text} and {} more", names.len() - NAMES);
    }
    if names.iter().any(|name| name.as_ref().contains('\0')) {
        text.push_str(" (UTF-16 without a byte order mark?)");
    }
    text
}

/// Returns a name as a message may print it.
pub(super) fn visible(name: &str) -> String {
    let cut = bounded(name, NAME_CHARS);
    let dots = if name.trim().len() > cut.len() {
        "…"
    } else {
        ""
    };
    format!("`{}{dots}`", cut.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_by_characters_and_blank_ones_are_none() {
        assert_eq!(id_text(&"ä".repeat(300)).chars().count(), 100);
        assert_eq!(
            context_text(&"ж".repeat(9000)).unwrap().chars().count(),
            4096
        );
        assert_eq!(context_text(" a b ").unwrap(), "a b");
        assert_eq!(context_text(" \t "), None);
    }

    #[test]
    fn names_in_messages_are_bounded_and_visible() {
        assert_eq!(list(&["a", "b\u{1b}[2J"]), "`a`, `b\\u{1b}[2J`");
        assert_eq!(visible(&"x".repeat(50)), format!("`{}…`", "x".repeat(40)));
        assert!(list(&vec!["x"; 50]).ends_with("`x` and 20 more"));
        assert!(list(&["i\0d\0"]).ends_with("(UTF-16 without a byte order mark?)"));
    }
}
