//! Removes secrets from text of other programs and services.
//!
//! A [`Redactor`] finds each secret also in JSON, URL and HTML escapes, and where the text is cut off within the
//! secret.

use std::borrow::Cow;
use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

/// Minimum length in bytes: shorter secrets may occur in harmless text.
const SHORTEST: usize = 12;

/// This many leading characters count as a match, because text may be cut off after them.
const ENOUGH: usize = 24;

const REPLACEMENT: &str = "[redacted]";

/// Replaces known secrets in text. See the module docs.
#[derive(Clone, Default)]
pub struct Redactor(Vec<SecretString>);

impl Redactor {
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let mut secrets: Vec<_> = secrets.into_iter().collect();
        secrets.retain(|secret| secret.expose_secret().len() >= SHORTEST);
        Self(secrets)
    }

    pub fn redact<'text>(&self, text: &'text str) -> Cow<'text, str> {
        let mut kept = String::new();
        // Matches overlap if a secret contains its own beginning.
        let (mut copied, mut matched) = (0, 0);
        for (at, _) in text.char_indices() {
            let Some(length) = self.matched(&text[at..]) else {
                continue;
            };
            if at >= matched {
                kept.push_str(&text[copied..at]);
                kept.push_str(REPLACEMENT);
            }
            matched = matched.max(at + length);
            copied = matched;
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        kept.push_str(&text[copied..]);
        Cow::Owned(kept)
    }

    /// Returns the length of the secret at the start of `text`.
    fn matched(&self, text: &str) -> Option<usize> {
        let lengths = self.0.iter().filter_map(|secret| {
            let secret = secret.expose_secret();
            let mut letters = secret.chars();
            let first = letters.next()?;
            // `%25` can mean `%` or itself: follow both readings.
            let mut ends: Vec<_> = lengths_of(first, text).collect();
            let mut agreed = usize::from(!ends.is_empty());
            let mut length = ends.iter().copied().max()?;
            for letter in letters {
                ends = ends
                    .iter()
                    .flat_map(|end| lengths_of(letter, &text[*end..]).map(move |more| end + more))
                    .collect();
                ends.sort_unstable();
                ends.dedup();
                let Some(longest) = ends.last() else { break };
                length = *longest;
                agreed += 1;
            }
            (agreed >= ENOUGH || agreed == secret.chars().count()).then_some(length)
        });
        lengths.max()
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

/// Returns the possible lengths in bytes of `letter` at the start of `text`, plain and escaped.
fn lengths_of(letter: char, text: &str) -> impl Iterator<Item = usize> {
    let plain = text.starts_with(letter).then(|| letter.len_utf8());
    let escape = escaped(text).filter(|(code, _)| *code == u32::from(letter));
    plain.into_iter().chain(escape.map(|(_, length)| length))
}

/// Parses an escape at the start of `text` into its character code and its length.
fn escaped(text: &str) -> Option<(u32, usize)> {
    let hex = |range| u32::from_str_radix(text.get(range)?, 16).ok();
    match text.as_bytes() {
        [b'\\', b'u', ..] => Some((hex(2..6)?, 6)),
        [b'\\', other, ..] => Some((u32::from(*other), 2)),
        [b'%', ..] => Some((hex(1..3)?, 3)),
        [b'&', ..] => html_entity(text),
        _ => None,
    }
}

fn html_entity(text: &str) -> Option<(u32, usize)> {
    let end = text.bytes().take(10).position(|byte| byte == b';')?;
    let code = match text.get(1..end)? {
        "amp" => u32::from('&'),
        "quot" => u32::from('"'),
        "lt" => u32::from('<'),
        "gt" => u32::from('>'),
        number => {
            let digits = number.strip_prefix('#')?;
            match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => digits.parse().ok()?,
            }
        }
    };
    Some((code, end + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::proptest;

    use super::*;
    use crate::proptest_config::proptest_config;

    const SECRET: &str = "eyJ0/x+z\"Q~&=marker.0123456789abcdefghij";

    fn redact(text: &str) -> String {
        Redactor::new([SecretString::from(SECRET)])
            .redact(text)
            .into_owned()
    }

    #[test]
    fn an_echoed_secret_is_replaced_whichever_way_it_is_written() {
        let json = SECRET.replace('"', "\\\"").replace('/', "\\/");
        let escaped = SECRET.replace('e', "\\u0065").replace('9', "\\u0039");
        let percent: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        let html = SECRET.replace('&', "&amp;").replace('"', "&#34;");
        for written in [SECRET, &json, &escaped, &percent, &html] {
            assert_eq!(
                redact(&format!("you sent {written}, twice {written}")),
                "you sent [redacted], twice [redacted]",
                "{written}"
            );
        }
    }

    #[test]
    fn a_secret_that_is_cut_off_is_replaced_and_a_few_of_its_letters_are_not() {
        assert_eq!(redact(&format!("got {}", &SECRET[..30])), "got [redacted]");
        assert_eq!(redact("eyJ0/x+z is no secret"), "eyJ0/x+z is no secret");
        let short = Redactor::new([SecretString::from("sandbox")]);
        assert_eq!(short.redact("the sandbox"), "the sandbox");
    }

    #[test]
    fn what_looks_like_an_escape_in_a_secret_does_not_hide_it() {
        for secret in [
            r"a\\b%25c&#38;d.0123456789",
            r"\\q5q||||7%A&amp;",
            "%%25%%25%%25%%25",
        ] {
            let redactor = Redactor::new([SecretString::from(secret)]);
            let json = secret.replace('\\', r"\\");
            let percent: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            for written in [secret, &json, &percent] {
                assert_eq!(redactor.redact(written), "[redacted]", "{secret}");
            }
        }
    }

    #[test]
    fn a_beginning_of_a_secret_before_the_secret_hides_nothing_of_it() {
        let secret = format!("{}-the-end", "ab".repeat(15));
        let redactor = Redactor::new([SecretString::from(secret.as_str())]);
        assert_eq!(
            redactor.redact(&format!("x ab{secret} y")),
            "x [redacted] y"
        );
    }

    #[test]
    fn the_longer_of_two_secrets_is_taken_whole() {
        let longer = format!("{SECRET}-and-more");
        let both = Redactor::new([SECRET, &longer].map(SecretString::from));
        assert_eq!(both.redact(&longer), "[redacted]");
    }

    proptest! {
        #![proptest_config(proptest_config(256))]

        #[test]
        fn no_text_makes_it_panic_and_text_without_a_secret_stays(text in any::<String>()) {
            proptest::prop_assert_eq!(redact(&text), text);
        }
    }
}
