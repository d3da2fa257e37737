//! Takes secrets out of text that came from somewhere else.

use std::borrow::Cow;
use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

/// Shorter secrets aren't searched for: they may well stand in an honest message.
const SHORTEST: usize = 12;

/// So many characters from the start of a secret count as the secret: text may have been cut off behind them.
const ENOUGH: usize = 24;

const REPLACEMENT: &str = "[redacted]";

/// Replaces secrets in text, also where they are escaped as in JSON, in a URL or in HTML, or cut off at the end.
#[derive(Clone, Default)]
pub struct Redactor(Vec<SecretString>);

impl Redactor {
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let mut secrets: Vec<_> = secrets.into_iter().collect();
        secrets.retain(|secret| secret.expose_secret().len() >= SHORTEST);
        // One secret may be the start of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        Self(secrets)
    }

    pub fn redact<'text>(&self, text: &'text str) -> Cow<'text, str> {
        let mut kept = String::new();
        let mut copied = 0;
        let mut at = 0;
        while let Some(letter) = text[at..].chars().next() {
            match self.matched(&text[at..]) {
                Some(length) => {
                    kept.push_str(&text[copied..at]);
                    kept.push_str(REPLACEMENT);
                    at += length;
                    copied = at;
                }
                None => at += letter.len_utf8(),
            }
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        kept.push_str(&text[copied..]);
        Cow::Owned(kept)
    }

    /// Returns the length of the secret that `text` begins with.
    fn matched(&self, text: &str) -> Option<usize> {
        self.0.iter().find_map(|secret| {
            let secret = secret.expose_secret();
            let (mut length, mut agreed) = (0, 0);
            for letter in secret.chars() {
                let Some(written) = length_of(letter, &text[length..]) else {
                    break;
                };
                length += written;
                agreed += 1;
            }
            (agreed >= ENOUGH || agreed == secret.chars().count()).then_some(length)
        })
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

/// Returns how many bytes of `text` write `letter`, plain or escaped; `None` where it begins with something else.
fn length_of(letter: char, text: &str) -> Option<usize> {
    match escaped(text) {
        Some((code, length)) if code == u32::from(letter) => Some(length),
        _ => text.starts_with(letter).then(|| letter.len_utf8()),
    }
}

/// Returns the character that an escape at the start of `text` stands for, and the escape's length.
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
