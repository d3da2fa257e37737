//! What the login service says when it gives no token, in one line and with the mend.
//!
//! Numbers are for hints alone: whether a sign-in may be tried again is told by the word in `error` and the status
//! (MDE facts, 4.6). The text of an answer is somebody else's: it is cut to one sentence, cleaned and bounded.

use std::fmt;

use serde_json::Value;

/// The longest text kept of an answer, in characters.
const MAX_TEXT: usize = 240;

/// What stands behind a number of the login service: what is wrong, and what mends it.
const KNOWN: &[(u32, &str, &str)] = &[
    (
        7_000_215,
        "the client secret is wrong",
        "give the secret's value, not its id, in AZURE_CLIENT_SECRET or the file of --client-secret-file",
    ),
    (
        7_000_222,
        "the client secret has expired",
        "make a new secret for the app registration and give its value",
    ),
    (
        7_000_112,
        "the app is disabled",
        "have the enterprise application enabled for sign-in",
    ),
    (
        7_000_218,
        "the app needs a secret or a certificate to sign in",
        "give one, or allow public client flows in the app registration (for device-code)",
    ),
    (
        700_016,
        "the tenant does not know the app",
        "check --client-id and --tenant-id; an administrator of the tenant must consent to the app once",
    ),
    (
        65_001,
        "nobody consented to the app's permissions",
        "have an administrator of the tenant grant consent to the app",
    ),
    (
        65_002,
        "the client app is not preauthorized for this API",
        "sign in with an app registration of your own instead of the Azure CLI's user login",
    ),
    (
        700_027,
        "the signature made with the certificate was refused",
        "check that this certificate is uploaded to the app registration and has not expired",
    ),
    (
        700_021,
        "no federated credential of the app matches the federated token",
        "compare issuer, subject and audience of the app's federated credential with the token's",
    ),
    (
        70_021,
        "no federated credential of the app matches the federated token",
        "compare issuer, subject and audience of the app's federated credential with the token's",
    ),
    (
        700_213,
        "no federated credential of the app matches the federated token",
        "compare issuer, subject and audience of the app's federated credential with the token's",
    ),
    (
        90_002,
        "there is no such tenant",
        "check --tenant-id, and --cloud: each cloud has tenants of its own",
    ),
    (
        900_023,
        "there is no such tenant",
        "check --tenant-id, and --cloud: each cloud has tenants of its own",
    ),
    (
        70_011,
        "the scope that was asked for is not valid",
        "check --api-scope; it ends in /.default",
    ),
    (
        500_011,
        "the tenant does not know the service that the token is to be for",
        "check that the tenant has Defender for Endpoint, and check --cloud and --api-scope: each cloud has an audience of its own",
    ),
    (
        53_003,
        "conditional access forbids this sign-in",
        "have the policy exempt this app, or run where the policy allows it",
    ),
    (
        70_020,
        "the code was not entered in time",
        "start again, and enter the code while it is valid",
    ),
    (
        700_082,
        "the sign-in has expired",
        "start again and sign in anew",
    ),
];

/// A sign-in that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The word in `error`; empty where there is none.
    pub(super) error: String,
    /// The number behind `AADSTS`.
    number: Option<u32>,
    /// What is wrong.
    text: String,
    /// What to do about it.
    mend: &'static str,
    /// By which the provider finds the sign-in in its logs.
    trace: Option<String>,
}

impl Refusal {
    /// Reads the body of a refusal; `None` where it is none that the protocol knows.
    pub(super) fn read(body: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(body).ok()?;
        let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default();
        // App Service and IMDS write it as an object or as two words.
        let error = text("error");
        let described = text("error_description");
        if error.is_empty() && described.is_empty() {
            return None;
        }
        let number = json
            .get("error_codes")
            .and_then(|codes| codes.get(0))
            .and_then(Value::as_u64)
            .and_then(|number| u32::try_from(number).ok())
            .or_else(|| number_in(described));
        let known = number.and_then(|number| KNOWN.iter().find(|known| known.0 == number));
        let trace = clean(text("trace_id"));
        Some(Self {
            error: clean(error),
            number,
            text: match known {
                Some((_, what, _)) => (*what).to_owned(),
                None => sentence(described, error),
            },
            mend: known.map_or(
                "look the number up in the documentation of Entra's sign-in errors",
                |known| known.2,
            ),
            trace: (!trace.is_empty()).then_some(trace),
        })
    }

    /// Makes the refusal of a source that has no words of its own.
    pub(super) fn told(text: impl Into<String>, mend: &'static str) -> Self {
        Self {
            error: String::new(),
            number: None,
            text: clean(&text.into()),
            mend,
            trace: None,
        }
    }

    /// Reads what a program said of a refusal, in which a number may stand; `mend` helps where it is not a known one.
    pub(super) fn in_words(text: &str, mend: &'static str) -> Self {
        let number = number_in(text);
        let known = number.and_then(|number| KNOWN.iter().find(|known| known.0 == number));
        match known {
            Some((_, what, mend)) => Self {
                number,
                ..Self::told(*what, mend)
            },
            None => Self::told(text, mend),
        }
    }

    /// Returns whether the same sign-in may be taken a little later.
    pub(super) fn is_transient(&self) -> bool {
        matches!(
            self.error.as_str(),
            "temporarily_unavailable" | "server_error"
        )
    }

    /// Returns what to do about it.
    pub fn mend(&self) -> &'static str {
        self.mend
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match (self.number, &self.trace) {
            (Some(number), Some(trace)) => write!(f, " (AADSTS{number}, trace {trace})"),
            (Some(number), None) => write!(f, " (AADSTS{number})"),
            (None, _) => Ok(()),
        }
    }
}

/// Finds the number in `AADSTS7000215: Invalid client secret provided.`
fn number_in(text: &str) -> Option<u32> {
    let rest = text.split_once("AADSTS")?.1;
    let end = rest
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// Returns the sentence that says what is wrong, without number, trace and time.
fn sentence(described: &str, error: &str) -> String {
    let bare = match described.split_once(": ") {
        Some((number, rest)) if number.trim_start().starts_with("AADSTS") => rest,
        _ => described,
    };
    let end = [" Trace ID", "\r", "\n"]
        .iter()
        .filter_map(|mark| bare.find(mark))
        .min()
        .unwrap_or(bare.len());
    let text = clean(&bare[..end]);
    if text.is_empty() { clean(error) } else { text }
}

/// Returns `text` as one line of bounded length in which nothing can steer a terminal.
pub(super) fn clean(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().filter(|letter| {
            !letter.is_control() && !matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        }));
    }
    if let Some((end, _)) = line.char_indices().nth(MAX_TEXT) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::proptest;
    use serde_json::json;

    use super::*;

    fn refusal(error: &str, number: u32, text: &str) -> Refusal {
        let body = json!({
            "error": error, "error_codes": [number], "trace_id": "aaaa",
            "error_description": format!("AADSTS{number}: {text} Trace ID: aaaa Correlation ID: b Timestamp: c"),
        });
        Refusal::read(&body.to_string()).unwrap()
    }

    #[test]
    fn every_known_refusal_is_one_line_with_the_mend() {
        for (number, what, mend) in KNOWN {
            let refusal = refusal("invalid_client", *number, "Whatever it says.");
            assert_eq!(
                refusal.to_string(),
                format!("{what} (AADSTS{number}, trace aaaa)")
            );
            assert_eq!(refusal.mend(), *mend);
            assert!(!refusal.is_transient());
            assert!(!what.ends_with('.') && !mend.ends_with('.'), "{number}");
        }
    }

    #[test]
    fn an_unknown_refusal_keeps_its_own_sentence_and_no_more() {
        let unknown = refusal("invalid_grant", 50_196, "The loop was\u{1b}[2J detected.");
        assert_eq!(
            unknown.to_string(),
            "The loop was[2J detected. (AADSTS50196, trace aaaa)"
        );
        let bare = Refusal::read(r#"{"error":"access_denied"}"#).unwrap();
        assert_eq!(bare.to_string(), "access_denied");
        let number = r#"{"error":"x","error_description":"AADSTS90002: Tenant 'x' not found.\r\nTrace ID: 1"}"#;
        assert_eq!(
            Refusal::read(number).unwrap().to_string(),
            "there is no such tenant (AADSTS90002)"
        );
        let long = refusal("x", 1, &"y".repeat(5000)).to_string();
        assert!(long.chars().count() < 300, "{long}");
    }

    #[test]
    fn only_the_word_tells_whether_to_try_again() {
        for (word, transient) in [
            ("temporarily_unavailable", true),
            ("server_error", true),
            ("invalid_client", false),
            ("unauthorized_client", false),
            ("invalid_scope", false),
            ("invalid_resource", false),
            ("invalid_request", false),
        ] {
            assert_eq!(
                refusal(word, 7_000_215, "x").is_transient(),
                transient,
                "{word}"
            );
        }
    }

    #[test]
    fn what_is_no_refusal_of_the_protocol_is_none() {
        for body in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"error":7}"#,
            r#"{"error":{"code":"x"}}"#,
        ] {
            assert_eq!(Refusal::read(body), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic_or_breaks_the_line(text in any::<String>()) {
            Refusal::read(&text);
            let body = json!({"error": text, "error_description": text});
            if let Some(refusal) = Refusal::read(&body.to_string()) {
                assert!(!refusal.to_string().chars().any(char::is_control));
            }
        }
    }
}
