//! Tokens: what stands in them, and who a caller is.
//!
//! A token looks like a JWT and is not signed; in place of the signature stands a hash by which the sandbox knows its
//! own again, even after a restart. It protects nothing.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use sha2::Digest as _;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
