//! Tokens: how they are asked for, what stands in them, and who a caller is.
//!
//! A token looks like a JWT and is not signed; in place of the signature stands a hash by which the sandbox knows its
//! own again, even after a restart. It protects nothing.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::json;
use sha2::Digest as _;
use url::form_urlencoded;

use super::dice;
use super::settings::TokenSettings;

/// What a token may be for (MDE `exposed-apis-create-app-webapp.md`, and what is in use for the government clouds).
const AUDIENCES: [&str; 5] = [
    "https://api.securitycenter.microsoft.com",
    "https://securitycenter.onmicrosoft.com/windowsatpservice",
    "https://securitycenter.onmicrosoft.us/windowsatpservice",
    "https://api-gcc.securitycenter.microsoft.us",
    "https://api-gov.securitycenter.microsoft.us",
];

/// Any of these permits a cancel (MDE `cancel-machine-action.md`).
pub(super) const CANCEL_ROLES: &[&str] = &[
    "Machine.CollectForensics",
    "Machine.Isolate",
    "Machine.RestrictExecution",
    "Machine.Scan",
    "Machine.Offboard",
    "Machine.StopAndQuarantine",
    "Machine.LiveResponse",
];

/// Any of these permits a read.
pub(super) const READ_ROLES: &[&str] = &["Machine.Read.All", "Machine.ReadWrite.All"];

/// Which protocol a sign-in speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    V1,
    V2,
}

/// Who calls, as the token says; dashes where it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// `tenant/app`: what quotas are counted by.
    pub(super) party: Arc<str>,
    pub(super) app: String,
    pub(super) roles: Vec<String>,
    audience: String,
    /// In seconds since 1970.
    expires: i64,
    /// Whether this sandbox made the token.
    ours: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Claims {
    aud: String,
    tid: Option<String>,
    appid: Option<String>,
    azp: Option<String>,
    exp: i64,
    roles: Vec<String>,
}

impl Caller {
    /// Reads a bearer token of any kind; an opaque one names nobody.
    pub(super) fn of(token: &str) -> Self {
        let claims = read_claims(token).unwrap_or_default();
        let tenant = claims.tid.unwrap_or_else(|| "-".to_owned());
        let app = claims
            .appid
            .or(claims.azp)
            .unwrap_or_else(|| "-".to_owned());
        let ours = token
            .rsplit_once('.')
            .is_some_and(|(signed, seal)| seal == seal_of(signed));
        Self {
            party: format!("{tenant}/{app}").into(),
            app,
            roles: claims.roles,
            audience: claims.aud,
            expires: claims.exp,
            ours,
        }
    }

    /// Returns whether this sandbox made the token and it is still valid.
    pub(super) fn is_valid(&self, now: Timestamp) -> bool {
        self.ours && now.as_second() < self.expires
    }

    /// Returns whether the token is for this API and carries one of `wanted`.
    pub(super) fn may(&self, wanted: &[&str]) -> bool {
        AUDIENCES.contains(&self.audience.trim_end_matches('/'))
            && self
                .roles
                .iter()
                .any(|role| wanted.contains(&role.as_str()))
    }
}

fn read_claims(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn seal_of(signed: &str) -> String {
    let hash = sha2::Sha256::new()
        .chain_update("the sandbox's own tokens")
        .chain_update(signed)
        .finalize();
    URL_SAFE_NO_PAD.encode(hash)
}

/// Makes a token.
pub(super) fn issue(
    tenant: &str,
    app: &str,
    audience: &str,
    settings: &TokenSettings,
    now: Timestamp,
) -> String {
    let issued = now.as_second();
    let lifetime = i64::try_from(settings.lifetime.as_secs()).unwrap_or(i64::MAX);
    let payload = json!({
        "aud": audience, "iss": format!("https://sts.windows.net/{tenant}/"), "iat": issued, "nbf": issued,
        "exp": issued.saturating_add(lifetime), "appid": app, "tid": tenant, "roles": settings.roles, "ver": "1.0",
        "uti": dice::roll(0, now.subsec_nanosecond().unsigned_abs().into(), &issued.to_le_bytes()).to_string(),
    });
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"none"}"#),
        URL_SAFE_NO_PAD.encode(payload.to_string())
    );
    let seal = seal_of(&signed);
    format!("{signed}.{seal}")
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
pub(super) fn sign_in(
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

    const SCOPE: &str = "scope=https%3A%2F%2Fapi.securitycenter.microsoft.com%2F.default";

    fn ask(form: &str) -> (u16, serde_json::Value) {
        let settings = TokenSettings {
            secret: Some("right".into()),
            tenants: vec!["t1".to_owned()],
            ..TokenSettings::default()
        };
        sign_in(
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
    fn a_foreign_or_altered_token_is_not_ours() {
        let settings = TokenSettings::default();
        let token = issue("t", "a", AUDIENCES[0], &settings, Timestamp::UNIX_EPOCH);
        assert!(Caller::of(&token).is_valid(Timestamp::UNIX_EPOCH));
        for other in [
            format!("{token}x"),
            token.replacen('.', ".x", 1),
            "opaque".to_owned(),
            String::new(),
        ] {
            assert!(
                !Caller::of(&other).is_valid(Timestamp::UNIX_EPOCH),
                "{other}"
            );
        }
        assert_eq!(&*Caller::of("opaque").party, "-/-");
        let elsewhere = issue(
            "t",
            "a",
            "https://graph.microsoft.com",
            &settings,
            Timestamp::UNIX_EPOCH,
        );
        assert!(!Caller::of(&elsewhere).may(READ_ROLES));
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
            sign_in(
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
