//! Turns the login service's errors into one line with a hint.
//!
//! AADSTS numbers select the hints only; the `error` code and the status decide whether a retry may help. Foreign text
//! is sanitized and cut to one sentence.

use std::fmt;

use serde_json::Value;

use crate::model::{Redactor, truncate_line};

/// The longest text that is kept, in characters.
const MAX_TEXT: usize = 240;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthError {
    /// The code in `error`; may be empty.
    pub(super) error: String,
    /// The AADSTS number.
    number: Option<u32>,
    text: String,
    hint: &'static str,
    /// The trace id, by which the provider finds the sign-in in its logs.
    trace: Option<String>,
}

impl OAuthError {
    /// Returns `None` if the body is not an OAuth error.
    pub(super) fn read(body: &str, redactor: &Redactor) -> Option<Self> {
        let json: Value = serde_json::from_str(body).ok()?;
        let text = |name: &str| {
            let text = json.get(name).and_then(Value::as_str).unwrap_or_default();
            redactor.redact(text)
        };
        let (error, described) = (text("error"), text("error_description"));
        if error.is_empty() && described.is_empty() {
            return None;
        }
        let number = json
            .get("error_codes")
            .and_then(|codes| codes.get(0))
            .and_then(Value::as_u64)
            .and_then(|number| u32::try_from(number).ok())
            .or_else(|| number_in(&described));
        let known = number.and_then(known);
        let trace = clean(&text("trace_id"));
        Some(Self {
            error: clean(&error),
            number,
            text: match known {
                Some((what, _)) => what.to_owned(),
                None => sentence(&described, &error),
            },
            hint: known.map_or(
                "look the number up in the documentation of Entra's sign-in errors",
                |(_, hint)| hint,
            ),
            trace: (!trace.is_empty()).then_some(trace),
        })
    }

    /// Builds an error for a source that doesn't use OAuth.
    pub(super) fn new(text: impl AsRef<str>, hint: &'static str) -> Self {
        Self {
            error: String::new(),
            number: None,
            text: clean(text.as_ref()),
            hint,
            trace: None,
        }
    }

    /// Parses the output of a program. A known AADSTS number determines text and hint; otherwise `hint` is used.
    pub(super) fn of_program(printed: &str, hint: &'static str) -> Self {
        let number = number_in(printed);
        match number.and_then(known) {
            Some((what, hint)) => Self {
                number,
                ..Self::new(what, hint)
            },
            None => Self::new(printed, hint),
        }
    }

    /// Returns whether the same sign-in may succeed later.
    pub(super) fn is_transient(&self) -> bool {
        matches!(
            self.error.as_str(),
            "temporarily_unavailable" | "server_error"
        )
    }

    pub(super) fn hint(&self) -> &'static str {
        self.hint
    }
}

impl fmt::Display for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match (self.number, &self.trace) {
            (Some(number), Some(trace)) => write!(f, " (AADSTS{number}, trace {trace})"),
            (Some(number), None) => write!(f, " (AADSTS{number})"),
            (None, _) => Ok(()),
        }
    }
}

/// Sanitizes and shortens foreign text.
pub(super) fn clean(text: &str) -> String {
    truncate_line(text, MAX_TEXT)
}

/// Returns the message and the hint of a known AADSTS number.
fn known(number: u32) -> Option<(&'static str, &'static str)> {
    Some(match number {
        7_000_215 => (
            "the client secret is wrong",
            "give the secret's value, not its id, in AZURE_CLIENT_SECRET or the file of --client-secret-file",
        ),
        7_000_222 => (
            "the client secret has expired",
            "make a new secret for the app registration and give its value",
        ),
        7_000_112 => (
            "the app is disabled",
            "have the enterprise application enabled for sign-in",
        ),
        7_000_218 => (
            "the app needs a secret or a certificate to sign in",
            "give one, or allow public client flows in the app registration (for device-code)",
        ),
        700_016 => (
            "the tenant does not know the app",
            "check --client-id and --tenant-id; an administrator of the tenant must consent to the app once",
        ),
        65_001 => (
            "nobody consented to the app's permissions",
            "have an administrator of the tenant grant consent to the app",
        ),
        65_002 => (
            "the client app is not preauthorized for this API",
            "sign in with an app registration of your own instead of the Azure CLI's user login",
        ),
        700_027 => (
            "the signature made with the certificate was refused",
            "check that this certificate is uploaded to the app registration and has not expired",
        ),
        700_024 => (
            "the federated token that the sign-in was made with has expired",
            "sign in again in this job: in a workflow, run its login step again",
        ),
        70_021 | 700_021 | 700_211 | 700_212 | 700_213 => (
            "no federated credential of the app matches the federated token",
            "compare issuer, subject and audience of the app's federated credential with the token's",
        ),
        90_002 | 900_023 => (
            "there is no such tenant",
            "check --tenant-id, and --cloud: each cloud has tenants of its own",
        ),
        70_011 => (
            "the scope that was asked for is not valid",
            "check --api-scope; it ends in /.default",
        ),
        500_011 => (
            "the tenant does not know the service that the token is to be for",
            "check that the tenant has Defender for Endpoint, and check --cloud and --api-scope: each cloud has an audience of its own",
        ),
        53_003 => (
            "conditional access forbids this sign-in",
            "have the policy exempt this app, or run where the policy allows it",
        ),
        70_020 => (
            "the code was not entered in time",
            "start again, and enter the code while it is valid",
        ),
        700_082 => ("the sign-in has expired", "start again and sign in anew"),
        _ => return None,
    })
}

/// Parses the number of `AADSTS7000215: Invalid client secret provided.`
fn number_in(text: &str) -> Option<u32> {
    let rest = text.split_once("AADSTS")?.1;
    let end = rest
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// Extracts the message without number, trace id and time.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::proptest;
    use serde_json::json;

    use super::*;
    use crate::proptest_config::proptest_config;

    fn read(body: &str) -> Option<OAuthError> {
        OAuthError::read(body, &Redactor::default())
    }

    fn refusal(error: &str, number: u32, text: &str) -> OAuthError {
        let body = json!({
            "error": error, "error_codes": [number], "trace_id": "aaaa",
            "error_description": format!("AADSTS{number}: {text} Trace ID: aaaa Correlation ID: b Timestamp: c"),
        });
        read(&body.to_string()).unwrap()
    }

    #[test]
    fn a_known_refusal_is_one_line_with_its_hint() {
        for (number, what, hint) in [
            (
                7_000_222,
                "the client secret has expired",
                "make a new secret",
            ),
            (90_002, "there is no such tenant", "check --tenant-id"),
            (900_023, "there is no such tenant", "check --tenant-id"),
        ] {
            let refused = refusal("invalid_client", number, "Whatever it says.");
            let expected = format!("{what} (AADSTS{number}, trace aaaa)");
            assert_eq!(refused.to_string(), expected);
            assert!(refused.hint().starts_with(hint), "{}", refused.hint());
            assert!(!refused.is_transient());
        }
    }

    #[test]
    fn an_unknown_refusal_keeps_its_own_sentence_and_no_more() {
        let unknown = refusal("invalid_grant", 50_196, "The loop was\u{1b}[2J detected.");
        assert_eq!(
            unknown.to_string(),
            "The loop was\\u{1b}[2J detected. (AADSTS50196, trace aaaa)"
        );
        let bare = read(r#"{"error":"access_denied"}"#).unwrap();
        assert_eq!(bare.to_string(), "access_denied");
        let number = r#"{"error":"x","error_description":"AADSTS90002: Tenant 'x' not found.\r\nTrace ID: 1"}"#;
        assert_eq!(
            read(number).unwrap().to_string(),
            "there is no such tenant (AADSTS90002)"
        );
        let long = refusal("x", 1, &"y".repeat(5000)).to_string();
        assert!(long.chars().count() < 300, "{long}");
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
            assert_eq!(read(body), None, "{body}");
        }
    }

    proptest! {
        #![proptest_config(proptest_config(256))]

        #[test]
        fn no_body_makes_it_panic_or_breaks_the_line(text in any::<String>()) {
            read(&text);
            let body = json!({"error": text, "error_description": text});
            if let Some(refusal) = read(&body.to_string()) {
                assert!(!refusal.to_string().chars().any(char::is_control));
            }
        }
    }
}
