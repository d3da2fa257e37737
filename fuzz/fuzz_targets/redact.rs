//! A secret anywhere in any text, in any spelling of an honest echo: none of it stays.
#![no_main]

use std::fmt::Write as _;

use libfuzzer_sys::fuzz_target;
use mde_cancel::model::Redactor;
use secrecy::SecretString;

/// The characters of tokens and client secrets, and those that some spelling escapes.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJabcdefghijklmnopqrstuv0123456789-_.~/+=&\"<>%\\'!e J#@:|";

/// Shorter secrets may appear in an honest message.
const SHORTEST: usize = 12;

/// The longest start of a secret that may stay.
const STAYS: usize = 23;

fn written(secret: &str, spelling: u8) -> String {
    let mut text = String::new();
    for letter in secret.chars() {
        let code = u32::from(letter);
        match (spelling % 6, letter) {
            (1, '"' | '\\') | (2, '"' | '\\' | '/') => write!(text, "\\{letter}"),
            (3, _) => write!(text, "\\u{code:04x}"),
            (4, '!'..='/' | ':'..='@') => write!(text, "%{code:02X}"),
            (5, '!'..='/' | ':'..='@') => write!(text, "&#x{code:x};"),
            _ => write!(text, "{letter}"),
        }
        .expect("memory takes it");
    }
    text
}

fuzz_target!(|parts: (Vec<u8>, String, String, u8)| {
    let (secret, before, after, spelling) = parts;
    let letter = |byte: &u8| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]);
    let secret: String = secret.iter().map(letter).collect();
    let redactor = Redactor::new([SecretString::from(secret.as_str())]);
    if secret.len() < SHORTEST {
        return;
    }
    let echo = written(&secret, spelling);
    let text = redactor.redact(&format!("{before}{echo}{after}")).into_owned();
    assert!(!text.contains(&echo), "{secret:?} stays in {text:?}");
    let end = secret.len().min(STAYS + 1);
    assert!(!text.contains(&secret[..end]), "{secret:?} begins in {text:?}");
});
