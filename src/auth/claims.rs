//! The claims of a token, parsed without verification.
//!
//! They prove nothing: only the service verifies a token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::Value;

/// The longest claim text that is kept, in characters.
const MAX_CLAIM: usize = 200;

/// The most entries kept of a claim list.
const MAX_ENTRIES: usize = 200;

/// The claims that messages and checks use; each may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// `tid`.
    pub tenant: Option<String>,
    /// The app it was issued to: `appid` or `azp`.
    pub app: Option<String>,
    /// The services it is valid for: `aud`.
    pub audience: Vec<String>,
    /// `exp`.
    pub expires_at: Option<Timestamp>,
    /// `iat`.
    pub issued_at: Option<Timestamp>,
    /// An app's permissions: `roles`.
    pub roles: Vec<String>,
    /// A user's delegated permissions: `scp`.
    pub scopes: Vec<String>,
    /// The name of the user or the app.
    pub name: Option<String>,
}

impl Claims {
    /// Returns the token's audience if it is not the service of `scope`.
    pub fn foreign_audience(&self, scope: &str) -> Option<&str> {
        let wanted = scope.trim_end_matches("/.default").trim_end_matches('/');
        let fits = |audience: &String| {
            let audience = audience.trim_end_matches('/');
            audience.eq_ignore_ascii_case(wanted)
                || AUDIENCES
                    .iter()
                    .any(|known| audience.eq_ignore_ascii_case(known))
        };
        let first = self.audience.first()?;
        (!self.audience.iter().any(fits)).then_some(first.as_str())
    }

    /// Parses the claims of a JWT; `None` if `token` is opaque.
    pub fn read(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
        let json: Value = serde_json::from_slice(&bytes).ok()?;
        json.is_object().then(|| Self {
            tenant: first(&json, &["tid"]),
            app: first(&json, &["appid", "azp"]),
            audience: list(&json, "aud"),
            expires_at: instant(json.get("exp")),
            issued_at: instant(json.get("iat")),
            roles: list(&json, "roles"),
            scopes: first_whole(&json, "scp"),
            name: first(
                &json,
                &[
                    "upn",
                    "preferred_username",
                    "unique_name",
                    "app_displayname",
                ],
            ),
        })
    }
}

/// Other audiences of the service, besides the address in a cloud's scope: its application id and its old names.
const AUDIENCES: &[&str] = &[
    "fc780465-2017-40d4-a0c5-307022471b92",
    "https://api.securitycenter.microsoft.com",
    "https://securitycenter.onmicrosoft.com/windowsatpservice",
    "https://securitycenter.onmicrosoft.us/windowsatpservice",
];

/// Returns the first of the named claims that is a string.
fn first(json: &Value, names: &[&str]) -> Option<String> {
    names
        .iter()
        .filter_map(|name| json.get(*name)?.as_str())
        .find_map(bounded)
}

/// Returns a list of strings; a single string is a list of one.
fn list(json: &Value, name: &str) -> Vec<String> {
    match json.get(name) {
        Some(Value::Array(entries)) => entries
            .iter()
            .filter_map(|entry| bounded(entry.as_str()?))
            .take(MAX_ENTRIES)
            .collect(),
        Some(Value::String(text)) => bounded(text).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Returns the words of a string, or a list.
fn first_whole(json: &Value, name: &str) -> Vec<String> {
    match json.get(name) {
        Some(Value::String(text)) => text
            .split_whitespace()
            .filter_map(bounded)
            .take(MAX_ENTRIES)
            .collect(),
        _ => list(json, name),
    }
}

/// Parses seconds since 1970, as a number or a string.
fn instant(value: Option<&Value>) -> Option<Timestamp> {
    let seconds = match value? {
        Value::Number(number) => number
            .as_i64()
            .or_else(|| number.to_string().split('.').next()?.parse().ok())?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    Timestamp::from_second(seconds).ok()
}

fn bounded(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.chars().take(MAX_CLAIM).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::proptest;
    use serde_json::json;

    use super::*;
    use crate::proptest_config::proptest_config;

    fn jwt(claims: &Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[test]
    fn an_app_token_tells_tenant_app_roles_and_end() {
        let claims = Claims::read(&jwt(&json!({
            "tid": "t-1", "appid": "a-1", "aud": "https://api.securitycenter.microsoft.com",
            "exp": 1_770_091_506, "roles": ["Machine.Isolate", 7, "Machine.Scan"], "app_displayname": "soc-bot"
        })))
        .unwrap();
        assert_eq!(claims.tenant.as_deref(), Some("t-1"));
        assert_eq!(claims.app.as_deref(), Some("a-1"));
        assert_eq!(
            claims.audience,
            ["https://api.securitycenter.microsoft.com"]
        );
        assert_eq!(
            claims.expires_at,
            Timestamp::from_second(1_770_091_506).ok()
        );
        assert_eq!(claims.roles, ["Machine.Isolate", "Machine.Scan"]);
        assert_eq!(claims.name.as_deref(), Some("soc-bot"));
        assert!(claims.scopes.is_empty());
    }

    #[test]
    fn a_delegated_token_tells_scopes_and_user() {
        let claims = Claims::read(&jwt(&json!({
            "azp": "a-2", "scp": "Machine.Isolate  Machine.Read", "upn": "me@corp.example", "exp": "1770091506",
            "aud": ["x", "y"]
        })))
        .unwrap();
        assert_eq!(claims.app.as_deref(), Some("a-2"));
        assert_eq!(claims.scopes, ["Machine.Isolate", "Machine.Read"]);
        assert_eq!(claims.name.as_deref(), Some("me@corp.example"));
        assert_eq!(claims.audience, ["x", "y"]);
        assert_eq!(
            claims.expires_at,
            Timestamp::from_second(1_770_091_506).ok()
        );
    }

    #[test]
    fn odd_claims_are_absent_and_an_opaque_token_has_none() {
        let odd = json!({"tid": 7, "appid": null, "aud": {}, "exp": 1e300, "roles": {}, "scp": 1, "upn": ""});
        assert_eq!(Claims::read(&jwt(&odd)), Some(Claims::default()));
        assert_eq!(
            Claims::read(&jwt(&json!({"exp": 10.9})))
                .unwrap()
                .expires_at,
            Timestamp::from_second(10).ok()
        );
        let list = jwt(&json!([1]));
        let four = format!("{}.x", jwt(&json!({})));
        for text in [
            "",
            "opaque",
            "a.b",
            "a.!.c",
            "a.e30",
            "e30.bm9qc29u.c2ln",
            &list,
            &four,
        ] {
            assert_eq!(Claims::read(text), None, "{text}");
        }
    }

    #[test]
    fn an_audience_is_foreign_where_it_is_none_of_the_services_names() {
        let of = |audience: &[&str]| Claims {
            audience: audience.iter().map(|&text| text.to_owned()).collect(),
            ..Claims::default()
        };
        let scope = "https://api-gcc.securitycenter.microsoft.us/.default";
        for own in [
            &[][..],
            &["https://api-gcc.securitycenter.microsoft.us/"],
            &["https://api.securitycenter.microsoft.com"],
            &["x", "fc780465-2017-40d4-a0c5-307022471b92"],
        ] {
            assert_eq!(of(own).foreign_audience(scope), None, "{own:?}");
        }
        let graph = of(&["https://graph.microsoft.com"]);
        assert_eq!(
            graph.foreign_audience(scope),
            Some("https://graph.microsoft.com")
        );
    }

    proptest! {
        #![proptest_config(proptest_config(256))]

        #[test]
        fn no_token_makes_it_panic(text in any::<String>(), bytes in any::<Vec<u8>>()) {
            Claims::read(&text);
            Claims::read(&format!("a.{}.c", URL_SAFE_NO_PAD.encode(bytes)));
        }
    }
}
