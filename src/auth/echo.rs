//! What was sent in secret, and must not come back in any message should a server echo it.

use std::borrow::Cow;

use azure_core::http::headers::Headers;
use serde_json::Value;
use url::form_urlencoded;

/// The fields of a form that hold secrets.
const SECRET_FIELDS: [&str; 4] = [
    "client_secret",
    "client_assertion",
    "refresh_token",
    "device_code",
];

/// The headers that do: App Service's, of today and of old.
const SECRET_HEADERS: [&str; 2] = ["x-identity-header", "secret"];

const IN_ITS_PLACE: &str = "[redacted]";

/// The secrets of one call, in each writing that was sent.
#[derive(Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Notes those in a form: as they are, and as they were written.
    pub(super) fn of_form(form: &[u8]) -> Self {
        let pairs = form.split(|byte| *byte == b'&');
        let secrets = pairs.flat_map(|pair| {
            let written = pair.splitn(2, |byte| *byte == b'=').nth(1);
            let secret = form_urlencoded::parse(pair)
                .find(|(name, _)| SECRET_FIELDS.contains(&name.as_ref()))
                .map(|(_, value)| value);
            let written = secret.as_ref().and(written).map(String::from_utf8_lossy);
            [secret, written].into_iter().flatten()
        });
        Self(secrets.map(Cow::into_owned).collect()).longest_first()
    }

    /// Adds those in headers.
    pub(super) fn and_of(mut self, headers: &Headers) -> Self {
        let secret = headers
            .iter()
            .filter(|(name, _)| SECRET_HEADERS.contains(&name.as_str()))
            .map(|(_, value)| value.as_str().to_owned());
        self.0.extend(secret);
        self.longest_first()
    }

    /// What holds another one is taken out before it is broken up.
    fn longest_first(mut self) -> Self {
        self.0.retain(|secret| !secret.is_empty());
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        self
    }

    /// Takes them out of an answer; in JSON, whichever way its letters are written there.
    pub(super) fn taken_out_of(&self, answer: &str) -> String {
        match serde_json::from_str(answer) {
            Ok(json) => self.out_of_json(json).to_string(),
            Err(_) => self.out_of_text(answer),
        }
    }

    fn out_of_text(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| {
            text.replace(secret, IN_ITS_PLACE)
        })
    }

    fn out_of_json(&self, json: Value) -> Value {
        match json {
            Value::String(text) => Value::String(self.out_of_text(&text)),
            Value::Array(parts) => parts.into_iter().map(|it| self.out_of_json(it)).collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| (self.out_of_text(&name), self.out_of_json(value)))
                .collect(),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echoed_secret_does_not_stay_whichever_way_it_is_written() {
        let secrets =
            Secrets::of_form(b"client_id=a&client_secret=s%2Fcr%22t&scope=x&device_code=");
        for (echo, told) in [
            ("you sent s/cr\"t for a", "you sent [redacted] for a"),
            (
                "got client_secret=s%2Fcr%22t",
                "got client_secret=[redacted]",
            ),
            (
                r#"{"error":"no s\/cr\u0022t"}"#,
                r#"{"error":"no [redacted]"}"#,
            ),
            (r#"[{"s/cr\"t":[1,null]}]"#, r#"[{"[redacted]":[1,null]}]"#),
        ] {
            assert_eq!(secrets.taken_out_of(echo), told);
        }
    }

    #[test]
    fn a_header_that_proves_who_asks_does_not_stay_either() {
        let mut headers = Headers::new();
        headers.insert("x-identity-header", "proof");
        headers.insert("metadata", "true");
        let secrets = Secrets::default().and_of(&headers);
        assert_eq!(secrets.taken_out_of("proof? true"), "[redacted]? true");
    }
}
