//! A token, the errors of getting one, and the checks that a new token is for the same tenant and app.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use crate::model::Span;
use crate::platform::Exposure;

use super::claims::Claims;
use super::oauth_error::OAuthError;

/// In bytes. Real tokens have less than 8 KB, and gateways reject headers far below this size.
pub(super) const MAX_TOKEN: usize = 64 * 1024;

/// A token that expires sooner counts as ending. Renewal starts up to five minutes before expiry.
const SOON: SignedDuration = SignedDuration::from_mins(6);

#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("{origin} ends at {end}, and there is no newer one")]
    Ending { origin: String, end: String },
    #[error("{origin} expired at {end}, {ago} ago")]
    Expired {
        origin: String,
        end: String,
        ago: Span,
    },
    #[error("the certificate file {path} {problem}")]
    Certificate {
        path: PathBuf,
        problem: &'static str,
    },
    #[error("{origin} is empty")]
    Empty { origin: String },
    #[error("the managed identity's endpoint {address} is not on this machine")]
    ForeignEndpoint { address: String },
    #[error("{name} {value:?} has characters that cannot be passed to the Azure CLI")]
    InvalidArgument { name: &'static str, value: String },
    #[error("{origin} holds something that is no token")]
    NotAToken { origin: String },
    /// Secrets must not be in files that others can read or change.
    #[error("the {what} {path} {exposure}")]
    Exposed {
        what: &'static str,
        path: PathBuf,
        exposure: Exposure,
    },
    #[error("nothing can be signed: the system gives no random numbers")]
    NoRandomness,
    #[error("the service refused {origin}")]
    RefusedToken { origin: String },
    #[error("{place} refused: {error}")]
    Refused { place: String, error: OAuthError },
    #[error("{origin} holds more than the {MAX_TOKEN} bytes that a token may have")]
    TooLong { origin: String },
    /// No response, or none that we understand; a retry may help.
    #[error("{place} gave no token: {what}")]
    Unavailable { place: String, what: String },
    #[error("the {what} {path} cannot be read")]
    Unreadable {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("a managed identity of {service} is not supported")]
    UnsupportedIdentity { service: &'static str },
    #[error(
        "{origin} is for {}, but Defender needs {}",
        bare(audience),
        bare(wanted)
    )]
    WrongAudience {
        origin: String,
        audience: String,
        wanted: String,
    },
    #[error("the new token is for {got}, but the one before it was for {had}")]
    AnotherIdentity { had: String, got: String },
    #[error("the new token cannot be read, so it may be for another tenant than the one before it")]
    OpaqueNewToken,
    #[error("the token is for tenant {got}, but tenant {asked} was asked for")]
    WrongTenant { asked: String, got: String },
    /// A token from outside may be for any tenant.
    #[error("the token is for tenant {got}, and whether that is {asked} can't be checked")]
    UncheckedTenant { asked: String, got: String },
}

impl AuthError {
    /// Returns whether the same sign-in may succeed later. Other errors are never retried.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Refused { error, .. } => error.is_transient(),
            _ => false,
        }
    }

    /// Returns the fix, as an imperative without a period.
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Certificate { .. } => {
                "put the certificate and its unencrypted RSA key, both as PEM, into the file of AZURE_CLIENT_CERTIFICATE_PATH"
            }
            Self::Ending { .. } | Self::Expired { .. } => {
                "get a new token, or use a method that renews it: --credential azure-cli"
            }
            Self::Exposed { exposure, .. } => exposure.hint(),
            Self::ForeignEndpoint { .. } => {
                "check IDENTITY_ENDPOINT and AZURE_POD_IDENTITY_AUTHORITY_HOST"
            }
            Self::Refused { error, .. } => error.hint(),
            Self::RefusedToken { .. } => {
                "get a new token, and check that it is for this tenant and --cloud"
            }
            Self::Unavailable { .. } => {
                "check the network, the proxy and --login-url, or try again later"
            }
            Self::UnsupportedIdentity { .. } => {
                "choose another --credential, for example azure-cli after `az login --identity`"
            }
            Self::WrongAudience { wanted, .. } => {
                let command = format!("az account get-access-token --resource {wanted}");
                return Some(command.into());
            }
            Self::AnotherIdentity { .. } | Self::OpaqueNewToken => {
                "check which program writes the token, and sign in with the first identity"
            }
            Self::WrongTenant { .. } => "check --tenant-id and where the token comes from",
            Self::UncheckedTenant { got, .. } => {
                let hint = format!(
                    "with a token of your own or a managed identity, name the tenant by its id; if it is this one: --tenant-id {got}"
                );
                return Some(hint.into());
            }
            Self::Empty { .. }
            | Self::InvalidArgument { .. }
            | Self::NoRandomness
            | Self::NotAToken { .. }
            | Self::TooLong { .. }
            | Self::Unreadable { .. } => return None,
        };
        Some(hint.into())
    }
}

/// Returns an audience without scheme and trailing slash.
fn bare(audience: &str) -> &str {
    let audience = audience.strip_prefix("https://").unwrap_or(audience);
    audience.trim_end_matches('/')
}

#[derive(Clone, Debug)]
pub struct Token {
    pub secret: SecretString,
    /// When it expires, if known.
    pub expires_at: Option<Timestamp>,
    /// `None` if it is opaque.
    pub claims: Option<Claims>,
}

impl Token {
    /// Parses a token from `origin`. Ignores blanks, a byte order mark, quotes and the word `Bearer`, which people and
    /// tools add.
    pub(super) fn parse(text: &str, origin: &str) -> Result<Self, AuthError> {
        let origin = || origin.to_owned();
        if text.len() > MAX_TOKEN {
            return Err(AuthError::TooLong { origin: origin() });
        }
        let bare = text.trim_start_matches('\u{feff}').trim();
        let bare = bare
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(bare);
        let bare = match bare.split_once(char::is_whitespace) {
            Some((word, rest)) if word.eq_ignore_ascii_case("bearer") => rest.trim(),
            _ => bare.trim(),
        };
        if bare.is_empty() {
            return Err(AuthError::Empty { origin: origin() });
        }
        if !bare.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AuthError::NotAToken { origin: origin() });
        }
        let claims = Claims::read(bare);
        Ok(Self {
            secret: SecretString::from(bare),
            expires_at: claims.as_ref().and_then(|claims| claims.expires_at),
            claims,
        })
    }

    /// Takes a token from a sign-in, with the expiry from its response.
    pub(super) fn received(
        text: &str,
        expires_at: Option<Timestamp>,
        origin: &str,
    ) -> Result<Self, AuthError> {
        let token = Self::parse(text, origin)?;
        Ok(Self {
            expires_at: expires_at.or(token.expires_at),
            ..token
        })
    }

    /// Explains why the service rejected this token from `origin`, or soon will, when there is no newer one.
    pub(super) fn refused(&self, origin: String, scope: &str, now: Timestamp) -> AuthError {
        let claims = self.claims.as_ref();
        if let Some(audience) = claims.and_then(|claims| claims.foreign_audience(scope)) {
            return AuthError::WrongAudience {
                origin,
                audience: audience.chars().flat_map(shown).collect(),
                wanted: scope.trim_end_matches("/.default").to_owned(),
            };
        }
        let Some(at) = self.expires_at else {
            return AuthError::RefusedToken { origin };
        };
        let zoned = at.to_zoned(TimeZone::try_system().unwrap_or(TimeZone::UTC));
        let end = zoned.strftime("%Y-%m-%d %H:%M %Z").to_string();
        let left = at.duration_since(now);
        match Duration::try_from(-left) {
            Ok(ago) => AuthError::Expired {
                origin,
                end,
                ago: Span(ago),
            },
            Err(_) if left < SOON => AuthError::Ending { origin, end },
            Err(_) => AuthError::RefusedToken { origin },
        }
    }

    /// Checks that the token is for the same tenant and app as the first one, as far as known. Quotas depend on both,
    /// and only the first tenant was confirmed.
    pub(super) fn check_same_as(&self, first: &Self) -> Result<(), AuthError> {
        let Some(had) = &first.claims else {
            return Ok(());
        };
        let Some(got) = &self.claims else {
            return Err(AuthError::OpaqueNewToken);
        };
        let differs = |had: &Option<String>, got: &Option<String>| match (had, got) {
            (Some(had), Some(got)) => !had.eq_ignore_ascii_case(got),
            _ => false,
        };
        let what = if differs(&had.tenant, &got.tenant) {
            |claims: &Claims| ("tenant", claims.tenant.clone())
        } else if differs(&had.app, &got.app) {
            |claims: &Claims| ("app", claims.app.clone())
        } else {
            return Ok(());
        };
        let name = |claims| {
            let (what, id) = what(claims);
            let id: String = id.unwrap_or_default().chars().flat_map(shown).collect();
            format!("{what} {id}")
        };
        Err(AuthError::AnotherIdentity {
            had: name(had),
            got: name(got),
        })
    }

    /// Checks that the token is for the tenant `asked`.
    ///
    /// A token without a `tid` passes. A domain name cannot be compared, so it passes only with `was_asked_for`: if the
    /// token was requested from that tenant.
    pub fn check_tenant(&self, asked: &str, was_asked_for: bool) -> Result<(), AuthError> {
        let got = self
            .claims
            .as_ref()
            .and_then(|claims| claims.tenant.as_deref());
        let Some(got) = got else { return Ok(()) };
        let got_id = uuid::Uuid::try_parse(got);
        let asked = asked.trim().to_owned();
        let got = got.chars().flat_map(shown).collect();
        match uuid::Uuid::try_parse(&asked) {
            Ok(id) if got_id != Ok(id) => Err(AuthError::WrongTenant { asked, got }),
            Err(_) if !was_asked_for => Err(AuthError::UncheckedTenant { asked, got }),
            _ => Ok(()),
        }
    }
}

/// Escapes characters that could control a terminal.
fn shown(letter: char) -> impl Iterator<Item = char> {
    let (plain, escaped) = if letter.is_ascii_graphic() {
        (Some(letter), None)
    } else {
        (None, Some(letter.escape_unicode()))
    };
    plain.into_iter().chain(escaped.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use secrecy::ExposeSecret as _;

    use super::*;

    const TENANT: &str = "11111111-2222-3333-4444-555555555555";
    const OTHER: &str = "99999999-2222-3333-4444-555555555555";

    fn token_with(claims: &serde_json::Value) -> Token {
        let jwt = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
        Token::parse(&jwt, "a test").unwrap()
    }

    #[test]
    fn what_people_leave_around_a_token_is_taken_off() {
        for text in [
            "abc.def",
            " abc.def\r\n",
            "\u{feff}abc.def\n",
            "\"abc.def\"\n",
            "Bearer abc.def",
            "bearer  abc.def ",
        ] {
            let token = Token::parse(text, "x").unwrap();
            assert_eq!(token.secret.expose_secret(), "abc.def", "{text:?}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused_by_place_and_never_shown() {
        let long = "secret".repeat(MAX_TOKEN);
        for (text, expected) in [
            ("", "the file f is empty"),
            (" \n\u{feff}", "the file f holds something that is no token"),
            ("\"\"", "the file f is empty"),
            ("secret two", "the file f holds something that is no token"),
            (
                "secret\nsecret",
                "the file f holds something that is no token",
            ),
            ("secret\u{7}", "the file f holds something that is no token"),
            ("sécret", "the file f holds something that is no token"),
            (
                &long,
                "the file f holds more than the 65536 bytes that a token may have",
            ),
        ] {
            let error = Token::parse(text, "the file f").unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert!(!format!("{error:?}").contains("cret"));
        }
    }

    #[test]
    fn a_refused_token_says_why_as_far_as_its_claims_tell() {
        let scope = "https://api.securitycenter.microsoft.com/.default";
        let now: Timestamp = "2026-01-31T08:53:00Z".parse().unwrap();
        let told = |claims: serde_json::Value| {
            let error = token_with(&claims).refused("the token in X".to_owned(), scope, now);
            (error.to_string(), error.hint().unwrap().into_owned())
        };
        let exp = |minutes: i64| now.as_second() + minutes * 60;
        let (text, hint) = told(serde_json::json!({"exp": exp(-41)}));
        assert!(
            text.starts_with("the token in X expired at 2026-01-31 "),
            "{text}"
        );
        assert!(text.ends_with(", 41 min 00 s ago"), "{text}");
        assert!(hint.contains("--credential azure-cli"), "{hint}");
        let (text, _) = told(serde_json::json!({"exp": exp(3)}));
        assert!(text.ends_with(", and there is no newer one"), "{text}");
        for claims in [serde_json::json!({}), serde_json::json!({"exp": exp(30)})] {
            assert_eq!(told(claims).0, "the service refused the token in X");
        }
        let graph = serde_json::json!({"aud": "https://graph.microsoft.com/", "exp": exp(-41)});
        assert_eq!(
            told(graph),
            (
                "the token in X is for graph.microsoft.com, but Defender needs api.securitycenter.microsoft.com".to_owned(),
                "az account get-access-token --resource https://api.securitycenter.microsoft.com".to_owned()
            )
        );
    }

    #[test]
    fn debug_hides_the_secret() {
        let token = Token::parse("very-secret-token", "x").unwrap();
        assert!(!format!("{token:?}").contains("very"));
    }

    #[test]
    fn a_token_of_another_tenant_is_told_and_so_is_one_that_nobody_asked_the_tenant_for() {
        let token = token_with(&serde_json::json!({"tid": TENANT, "exp": 1_770_091_506}));
        assert!(token.expires_at.is_some());
        assert!(token.check_tenant(TENANT, false).is_ok());
        let loud = format!(" {} ", TENANT.to_uppercase());
        assert!(token.check_tenant(&loud, false).is_ok());
        assert!(token.check_tenant("contoso.onmicrosoft.com", true).is_ok());
        let error = token.check_tenant("contoso.onmicrosoft.com", false);
        let hint = error.unwrap_err().hint().unwrap().into_owned();
        assert!(hint.ends_with(&format!("--tenant-id {TENANT}")), "{hint}");
        let error = token.check_tenant(OTHER, true).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the token is for tenant {TENANT}, but tenant {OTHER} was asked for")
        );
        let odd = token_with(&serde_json::json!({"tid": "x\u{1b}y"}));
        assert!(
            odd.check_tenant(TENANT, true)
                .unwrap_err()
                .to_string()
                .contains("x\\u{1b}y")
        );
        assert!(
            token_with(&serde_json::json!({}))
                .check_tenant(TENANT, false)
                .is_ok()
        );
        assert!(
            Token::parse("opaque", "x")
                .unwrap()
                .check_tenant(TENANT, false)
                .is_ok()
        );
    }
}
