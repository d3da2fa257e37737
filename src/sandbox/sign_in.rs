//! The sign-in: the form it takes and the answers of the login service, right and wrong (MDE facts 3.3 and 4.6).

use std::time::Duration;

use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::json;
use url::form_urlencoded;

use super::dice;
use super::settings::TokenSettings;
use super::token::issue;

/// Which protocol a sign-in speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    V1,
    V2,
}

/// A sign-in that failed, in the login service's words.
struct Failure {
    status: u16,
    error: &'static str,
    number: u32,
    text: String,
}

impl Failure {
    fn new(error: &'static str, number: u32, text: impl Into<String>) -> Self {
        Self {
            status: if error == "invalid_client" { 401 } else { 400 },
            error,
            number,
            text: text.into(),
        }
    }
}

/// Answers a sign-in: status and body.
pub(super) fn answer(
    protocol: Protocol,
    tenant: &str,
    form: &[u8],
    settings: &TokenSettings,
    now: Timestamp,
) -> (u16, serde_json::Value) {
    match grant(protocol, tenant, form, settings, now) {
        Ok(token) => (200, token_body(protocol, &token, settings.lifetime, now)),
        Err(failure) => {
            let trace = dice::guid(1, u64::from(failure.number), tenant.as_bytes()).to_string();
            let stamp = now.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
            let (error, number, text) = (failure.error, failure.number, failure.text);
            let body = json!({
                "error": error,
                "error_description": format!(
                    "AADSTS{number}: {text} Trace ID: {trace} Correlation ID: {trace} Timestamp: {stamp}"
                ),
                "error_codes": [number], "timestamp": stamp, "trace_id": trace, "correlation_id": trace,
                "error_uri": format!("https://login.microsoftonline.com/error?code={number}"),
            });
            (failure.status, body)
        }
    }
}

fn token_body(
    protocol: Protocol,
    token: &str,
    lifetime: Duration,
    now: Timestamp,
) -> serde_json::Value {
    let seconds = lifetime.as_secs();
    match protocol {
        Protocol::V2 => json!({
            "token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token,
        }),
        // The old endpoint writes its numbers as text.
        Protocol::V1 => json!({
            "token_type": "Bearer", "expires_in": seconds.to_string(), "ext_expires_in": seconds.to_string(),
            "expires_on": now.as_second().saturating_add_unsigned(seconds).to_string(),
            "not_before": now.as_second().to_string(), "access_token": token,
        }),
    }
}

fn grant(
    protocol: Protocol,
    tenant: &str,
    form: &[u8],
    settings: &TokenSettings,
    now: Timestamp,
) -> Result<String, Failure> {
    let pairs: Vec<_> = form_urlencoded::parse(form).collect();
    let field = |name: &str| {
        pairs
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_ref())
    };
    let need = |name: &str| {
        field(name).ok_or_else(|| {
            Failure::new(
                "invalid_request",
                900_144,
                format!("The request body must contain the following parameter: '{name}'."),
            )
        })
    };
    if !settings.tenants.is_empty() && !settings.tenants.iter().any(|known| known == tenant) {
        let text = format!("Tenant '{tenant}' not found.");
        return Err(Failure::new("invalid_request", 90_002, text));
    }
    let grant_type = need("grant_type")?;
    if grant_type != "client_credentials" {
        let text = format!("The grant type '{grant_type}' is not supported.");
        return Err(Failure::new("unsupported_grant_type", 70_003, text));
    }
    let app = need("client_id")?;
    let audience = audience(protocol, &need)?;
    match (field("client_secret"), field("client_assertion")) {
        (None, None) => {
            let text = "The request body must contain 'client_assertion' or 'client_secret'.";
            return Err(Failure::new("invalid_client", 7_000_218, text));
        }
        (Some(given), None) => {
            if let Some(right) = &settings.secret
                && right.expose_secret() != given
            {
                let text = format!("Invalid client secret provided for app '{app}'.");
                return Err(Failure::new("invalid_client", 7_000_215, text));
            }
        }
        (_, Some(assertion)) => check_assertion(field("client_assertion_type"), assertion)?,
    }
    Ok(issue(tenant, app, &audience, settings, now))
}

fn audience<'form>(
    protocol: Protocol,
    need: &impl Fn(&str) -> Result<&'form str, Failure>,
) -> Result<String, Failure> {
    match protocol {
        Protocol::V2 => {
            let scope = need("scope")?;
            scope
                .strip_suffix("/.default")
                .map(str::to_owned)
                .ok_or_else(|| {
                    let text = format!(
                        "The provided value for the input parameter 'scope' is not valid: {scope}."
                    );
                    Failure::new("invalid_scope", 70_011, text)
                })
        }
        Protocol::V1 => {
            let resource = need("resource")?;
            if resource.ends_with("/.default") {
                let text =
                    format!("The resource principal named {resource} was not found in the tenant.");
                return Err(Failure::new("invalid_resource", 500_011, text));
            }
            Ok(resource.to_owned())
        }
    }
}

fn check_assertion(kind: Option<&str>, assertion: &str) -> Result<(), Failure> {
    let right_kind = kind == Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let parts: Vec<_> = assertion.split('.').collect();
    if right_kind && parts.len() == 3 && parts.iter().all(|part| !part.is_empty()) {
        return Ok(());
    }
    let text = "Client assertion failed signature validation.";
    Err(Failure::new("invalid_client", 700_027, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::token::{CANCEL_ROLES, Caller, READ_ROLES};

    const SCOPE: &str = "scope=https%3A%2F%2Fapi.securitycenter.microsoft.com%2F.default";

    fn ask(form: &str) -> (u16, serde_json::Value) {
        let settings = TokenSettings {
            secret: Some("right".into()),
            tenants: vec!["t1".to_owned()],
            ..TokenSettings::default()
        };
        answer(
            Protocol::V2,
            "t1",
            form.as_bytes(),
            &settings,
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn a_token_says_who_asked_and_is_known_again() {
        let (status, body) = ask(&format!(
            "grant_type=client_credentials&client_id=app1&client_secret=right&{SCOPE}"
        ));
        assert_eq!((status, body["expires_in"].as_u64()), (200, Some(3599)));
        let caller = Caller::of(body["access_token"].as_str().unwrap());
        assert_eq!(&*caller.party, "t1/app1");
        assert!(caller.may(READ_ROLES) && caller.may(CANCEL_ROLES));
        assert!(caller.is_valid(Timestamp::from_second(3598).unwrap()));
        assert!(!caller.is_valid(Timestamp::from_second(3599).unwrap()));
    }

    #[test]
    fn a_failed_sign_in_says_what_is_wrong_as_the_login_service_does() {
        let base = "grant_type=client_credentials&client_id=app1";
        for (form, status, error, number) in [
            (
                format!("{base}&client_secret=wrong&{SCOPE}"),
                401,
                "invalid_client",
                7_000_215,
            ),
            (format!("{base}&{SCOPE}"), 401, "invalid_client", 7_000_218),
            (
                format!("{base}&client_secret=right"),
                400,
                "invalid_request",
                900_144,
            ),
            (
                format!("{base}&client_secret=right&scope=x"),
                400,
                "invalid_scope",
                70_011,
            ),
            (
                format!("{base}&client_assertion=x&{SCOPE}"),
                401,
                "invalid_client",
                700_027,
            ),
            (
                format!("grant_type=password&{SCOPE}"),
                400,
                "unsupported_grant_type",
                70_003,
            ),
        ] {
            let (got, body) = ask(&form);
            assert_eq!(
                (got, body["error"].as_str()),
                (status, Some(error)),
                "{form}"
            );
            assert_eq!(body["error_codes"][0], number, "{form}");
            let text = body["error_description"].as_str().unwrap();
            assert!(text.starts_with(&format!("AADSTS{number}: ")), "{text}");
        }
    }

    #[test]
    fn the_old_endpoint_wants_a_resource_and_writes_numbers_as_text() {
        let settings = TokenSettings::default();
        let ask = |form: &str| {
            answer(
                Protocol::V1,
                "t",
                form.as_bytes(),
                &settings,
                Timestamp::UNIX_EPOCH,
            )
        };
        let base = "grant_type=client_credentials&client_id=a&client_secret=s&resource=https://api.securitycenter.microsoft.com";
        assert_eq!(ask(base).1["expires_in"], "3599");
        assert_eq!(
            ask(&format!("{base}/.default")).1["error"],
            "invalid_resource"
        );
    }
}
