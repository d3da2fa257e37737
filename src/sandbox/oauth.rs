//! The login service: checks sign-in requests, and issues tokens or errors.
//!
//! A token is an unsigned JWT with a hash instead of the signature, by which the sandbox recognizes its own tokens,
//! even after a restart. It protects nothing.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::call_log::CallKind;
use super::random;
use super::settings::TokenSettings;

/// The accepted audiences (MDE `exposed-apis-create-app-webapp.md`, and those in use for the government clouds).
pub(super) const AUDIENCES: [&str; 5] = [
    "https://api.securitycenter.microsoft.com",
    "https://securitycenter.onmicrosoft.com/windowsatpservice",
    "https://securitycenter.onmicrosoft.us/windowsatpservice",
    "https://api-gcc.securitycenter.microsoft.us",
    "https://api-gov.securitycenter.microsoft.us",
];

/// Returns the roles that permit a call; one of them suffices (MDE `cancel-machine-action.md`). A sign-in needs none.
pub(super) fn roles_for(kind: CallKind) -> &'static [&'static str] {
    match kind {
        CallKind::Cancel => &[
            "Machine.CollectForensics",
            "Machine.Isolate",
            "Machine.RestrictExecution",
            "Machine.Scan",
            "Machine.Offboard",
            "Machine.StopAndQuarantine",
            "Machine.LiveResponse",
        ],
        CallKind::Release => &["Machine.Isolate", "Machine.RestrictExecution"],
        CallKind::Get | CallKind::List => &["Machine.Read.All", "Machine.ReadWrite.All"],
        CallKind::Token => &[],
    }
}

/// The caller according to the token; `-` for unknown values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// `tenant/app`, the key of quotas.
    pub(super) client: Arc<str>,
    pub(super) app: String,
    pub(super) roles: Vec<String>,
    audience: String,
    /// In seconds since 1970.
    expires: i64,
    is_ours: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenClaims {
    aud: String,
    tid: Option<String>,
    appid: Option<String>,
    azp: Option<String>,
    exp: i64,
    roles: Vec<String>,
}

impl Caller {
    /// Reads any bearer token; the tenant and app of an opaque one are unknown.
    pub(super) fn of(token: &str) -> Self {
        let claims = read_claims(token).unwrap_or_default();
        let unknown = || "-".to_owned();
        let tenant = claims.tid.unwrap_or_else(unknown);
        let app = claims.appid.or(claims.azp).unwrap_or_else(unknown);
        let sealed = token.rsplit_once('.');
        Self {
            client: format!("{tenant}/{app}").into(),
            app,
            roles: claims.roles,
            audience: claims.aud,
            expires: claims.exp,
            is_ours: sealed.is_some_and(|(signed, seal)| seal == seal_of(signed)),
        }
    }

    /// Returns whether this sandbox issued the token and it is still valid.
    pub(super) fn is_valid(&self, now: Timestamp) -> bool {
        self.is_ours && now.as_second() < self.expires
    }

    /// Returns whether the token is for this API and permits the call.
    pub(super) fn may(&self, kind: CallKind) -> bool {
        let wanted = roles_for(kind);
        let is_for_us = AUDIENCES.contains(&self.audience.trim_end_matches('/'));
        wanted.is_empty() || is_for_us && self.roles.iter().any(|role| wanted.contains(&&**role))
    }
}

fn read_claims(token: &str) -> Option<TokenClaims> {
    let payload = token.split('.').nth(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn seal_of(signed: &str) -> String {
    let sealed = format!("the sandbox's own tokens{signed}");
    let hash = ring::digest::digest(&ring::digest::SHA256, sealed.as_bytes());
    URL_SAFE_NO_PAD.encode(hash)
}

pub(super) fn issue(
    tenant: &str,
    app: &str,
    audience: &str,
    settings: &TokenSettings,
    now: Timestamp,
) -> String {
    let issued = now.as_second();
    let lifetime = i64::try_from(settings.lifetime.as_secs()).unwrap_or(i64::MAX);
    let salt = now.subsec_nanosecond().unsigned_abs().into();
    let payload = json!({
        "aud": audience, "iss": format!("https://sts.windows.net/{tenant}/"), "iat": issued, "nbf": issued,
        "exp": issued.saturating_add(lifetime), "appid": app, "tid": tenant, "roles": settings.roles, "ver": "1.0",
        "uti": random::roll(0, salt, &issued.to_le_bytes()).to_string(),
    });
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"none"}"#),
        URL_SAFE_NO_PAD.encode(payload.to_string())
    );
    let seal = seal_of(&signed);
    format!("{signed}.{seal}")
}

/// A failed sign-in, with the login service's texts.
struct SignInFailure {
    error: &'static str,
    number: u32,
    text: String,
}

impl SignInFailure {
    fn new(error: &'static str, number: u32, text: impl Into<String>) -> Self {
        Self {
            error,
            number,
            text: text.into(),
        }
    }
}

/// Returns status and body of the response to a sign-in.
pub(super) fn sign_in(
    tenant: &str,
    form: &[u8],
    settings: &TokenSettings,
    now: Timestamp,
) -> (u16, Value) {
    let failure = match grant(tenant, form, settings, now) {
        Ok(token) => {
            let seconds = settings.lifetime.as_secs();
            let body = json!({
                "token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token,
            });
            return (200, body);
        }
        Err(failure) => failure,
    };
    let (error, number) = (failure.error, failure.number);
    let trace = random::guid(1, u64::from(number), tenant.as_bytes()).to_string();
    let stamp = now.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    let description = format!(
        "AADSTS{number}: {} Trace ID: {trace} Correlation ID: {trace} Timestamp: {stamp}",
        failure.text
    );
    let body = json!({
        "error": error, "error_description": description, "error_codes": [number], "timestamp": stamp,
        "trace_id": trace, "correlation_id": trace,
        "error_uri": format!("https://login.microsoftonline.com/error?code={number}"),
    });
    (if error == "invalid_client" { 401 } else { 400 }, body)
}

fn grant(
    tenant: &str,
    form: &[u8],
    settings: &TokenSettings,
    now: Timestamp,
) -> Result<String, SignInFailure> {
    let pairs: Vec<_> = form_urlencoded::parse(form).collect();
    let field = |name: &str| {
        let mut found = pairs
            .iter()
            .filter(|(key, value)| key == name && !value.is_empty());
        found.next().map(|(_, value)| &**value)
    };
    let need = |name: &str| {
        let text = || format!("The request body must contain the following parameter: '{name}'.");
        field(name).ok_or_else(|| SignInFailure::new("invalid_request", 900_144, text()))
    };
    if !settings.tenants.is_empty() && !settings.tenants.iter().any(|known| known == tenant) {
        let text = format!("Tenant '{tenant}' not found.");
        return Err(SignInFailure::new("invalid_request", 90_002, text));
    }
    let grant_type = need("grant_type")?;
    if grant_type != "client_credentials" {
        let text = format!("The grant type '{grant_type}' is not supported.");
        return Err(SignInFailure::new("unsupported_grant_type", 70_003, text));
    }
    let app = need("client_id")?;
    let scope = need("scope")?;
    let Some(audience) = scope.strip_suffix("/.default") else {
        let text =
            format!("The provided value for the input parameter 'scope' is not valid: {scope}.");
        return Err(SignInFailure::new("invalid_scope", 70_011, text));
    };
    match (field("client_secret"), field("client_assertion")) {
        (None, None) => {
            let text = "The request body must contain 'client_assertion' or 'client_secret'.";
            return Err(SignInFailure::new("invalid_client", 7_000_218, text));
        }
        (Some(given), None) => {
            let right = settings.secret.as_ref();
            if right.is_some_and(|right| right.expose_secret() != given) {
                let text = format!("Invalid client secret provided for app '{app}'.");
                return Err(SignInFailure::new("invalid_client", 7_000_215, text));
            }
        }
        (_, Some(assertion)) => {
            let kind = field("client_assertion_type");
            let is_jwt = kind == Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
            let parts: Vec<_> = assertion.split('.').collect();
            if !is_jwt || parts.len() != 3 || parts.contains(&"") {
                let text = "Client assertion failed signature validation.";
                return Err(SignInFailure::new("invalid_client", 700_027, text));
            }
        }
    }
    Ok(issue(tenant, app, audience, settings, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: &str = "scope=https%3A%2F%2Fapi.securitycenter.microsoft.com%2F.default";
    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn ask(form: &str) -> (u16, Value) {
        let settings = TokenSettings {
            secret: Some("right".into()),
            tenants: vec!["t1".to_owned()],
            ..TokenSettings::default()
        };
        sign_in("t1", form.as_bytes(), &settings, NOW)
    }

    #[test]
    fn a_foreign_or_altered_token_is_not_ours() {
        let settings = TokenSettings::default();
        let token = issue("t", "a", AUDIENCES[0], &settings, NOW);
        assert!(Caller::of(&token).is_valid(NOW));
        for other in [
            format!("{token}x"),
            token.replacen('.', ".x", 1),
            "opaque".to_owned(),
            String::new(),
        ] {
            assert!(!Caller::of(&other).is_valid(NOW), "{other}");
        }
        assert_eq!(&*Caller::of("opaque").client, "-/-");
        let elsewhere = issue("t", "a", "https://graph.microsoft.com", &settings, NOW);
        assert!(!Caller::of(&elsewhere).may(CallKind::Get));
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
}
