//! Provides the tokens of a lane from any kind of source.
//!
//! Every token passes the tenant check before it is used.

use std::sync::OnceLock;

use super::entra::EntraSignIn;
use super::static_token::StaticToken;
use super::token::{AuthError, Token};

/// Whether a cached token may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachePolicy {
    AtHand,
    /// Get a new token: the service rejected the cached one, or it expires soon.
    New,
}

#[derive(Debug)]
pub enum TokenSource {
    /// A token from outside, for example the environment or a file.
    Ready(StaticToken),
    SignIn(EntraSignIn),
}

impl TokenSource {
    /// Returns whether the source requests tokens for a specific tenant.
    fn asks_for_tenant(&self) -> bool {
        match self {
            Self::Ready(_) => false,
            Self::SignIn(sign_in) => sign_in.asks_for_tenant(),
        }
    }
}

/// A source of tokens for one tenant. Caches the last token and never retries.
#[derive(Debug)]
pub struct Credential {
    source: TokenSource,
    tenant: Option<String>,
    // tokio's Mutex, locked during a sign-in, so that concurrent callers share its token.
    held: tokio::sync::Mutex<Option<Token>>,
    /// The first token; later ones must match its tenant and app.
    first: OnceLock<Token>,
}

impl Credential {
    pub fn new(source: TokenSource, tenant: Option<String>) -> Self {
        Self {
            source,
            tenant,
            held: tokio::sync::Mutex::new(None),
            first: OnceLock::new(),
        }
    }

    /// Returns whether the source can provide a newer token.
    pub fn is_renewable(&self) -> bool {
        match &self.source {
            TokenSource::Ready(ready) => ready.is_renewable(),
            TokenSource::SignIn(_) => true,
        }
    }

    /// Returns a token for the tenant. Cancel safe: the cached token stays.
    pub async fn token(&self, freshness: CachePolicy) -> Result<Token, AuthError> {
        let mut held = self.held.lock().await;
        if let (CachePolicy::AtHand, Some(token)) = (freshness, &*held) {
            return Ok(token.clone());
        }
        let token = match (&self.source, freshness) {
            (TokenSource::Ready(ready), CachePolicy::AtHand) => ready.held(),
            (TokenSource::Ready(ready), CachePolicy::New) => ready.refresh().await?,
            (TokenSource::SignIn(sign_in), _) => sign_in.token().await?,
        };
        let checked = match &self.tenant {
            Some(asked) => token.check_tenant(asked, self.source.asks_for_tenant()),
            None => Ok(()),
        };
        let first = self.first.get_or_init(|| token.clone());
        if let Err(error) = checked.and_then(|()| token.check_same_as(first)) {
            *held = None;
            return Err(error);
        }
        *held = Some(token.clone());
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use secrecy::{ExposeSecret as _, SecretString};

    use super::*;
    use crate::platform::open_private_file;

    const TENANT: &str = "11111111-2222-3333-4444-555555555555";

    fn write(path: &Path, text: &[u8]) {
        let mut file = open_private_file(path).unwrap();
        file.set_len(0).unwrap();
        file.write_all(text).unwrap();
    }

    fn jwt(tenant: &str) -> String {
        let claims = serde_json::json!({ "tid": tenant }).to_string();
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    async fn text_of(credential: &Credential, freshness: CachePolicy) -> String {
        let token = credential.token(freshness).await.unwrap();
        token.secret.expose_secret().to_owned()
    }

    #[tokio::test]
    async fn a_token_file_is_read_again_when_a_new_token_is_wanted_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        write(&path, b"first\n");
        let ready = StaticToken::from_file(&path).unwrap();
        let credential = Credential::new(TokenSource::Ready(ready), None);
        write(&path, b"second\n");
        assert_eq!(text_of(&credential, CachePolicy::AtHand).await, "first");
        assert_eq!(text_of(&credential, CachePolicy::New).await, "second");
        assert_eq!(text_of(&credential, CachePolicy::AtHand).await, "second");
        write(&path, b"\n");
        let error = credential.token(CachePolicy::New).await.unwrap_err();
        assert!(matches!(error, AuthError::Empty { .. }));
        assert_eq!(text_of(&credential, CachePolicy::AtHand).await, "second");
    }

    #[tokio::test]
    async fn a_token_from_the_environment_cannot_be_refreshed() {
        let value = SecretString::from("the-secret");
        let ready = StaticToken::from_value(&value, "MDE_CANCEL_TOKEN").unwrap();
        let credential = Credential::new(TokenSource::Ready(ready), None);
        assert_eq!(
            text_of(&credential, CachePolicy::AtHand).await,
            "the-secret"
        );
        let error = credential.token(CachePolicy::New).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the service refused the access token in MDE_CANCEL_TOKEN"
        );
        assert!(!format!("{credential:?}").contains("the-secret"));
    }

    #[tokio::test]
    async fn a_file_without_a_newer_token_says_why_the_old_one_is_useless_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let claims = |claims: serde_json::Value| {
            format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
        };
        for (token, is_useless) in [
            ("opaque".to_owned(), false),
            (claims(serde_json::json!({"exp": 4_000_000_000_u64})), false),
            (claims(serde_json::json!({"exp": 1_000_000_000})), true),
            (
                claims(serde_json::json!({"aud": "https://graph.example"})),
                true,
            ),
        ] {
            write(&path, token.as_bytes());
            let ready = StaticToken::from_file(&path).unwrap();
            let credential = Credential::new(TokenSource::Ready(ready), None);
            let renewed = credential.token(CachePolicy::New).await;
            assert_eq!(renewed.is_err(), is_useless, "{renewed:?}");
        }
    }

    #[tokio::test]
    async fn a_new_token_of_another_tenant_is_refused_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        write(&path, jwt(TENANT).as_bytes());
        let ready = StaticToken::from_file(&path).unwrap();
        let credential = Credential::new(TokenSource::Ready(ready), Some(TENANT.to_owned()));
        assert_eq!(text_of(&credential, CachePolicy::AtHand).await, jwt(TENANT));
        write(
            &path,
            jwt("99999999-2222-3333-4444-555555555555").as_bytes(),
        );
        for freshness in [CachePolicy::New, CachePolicy::AtHand] {
            let error = credential.token(freshness).await.unwrap_err();
            assert!(matches!(error, AuthError::WrongTenant { .. }));
        }
    }

    #[tokio::test]
    async fn a_new_token_is_for_the_tenant_and_the_app_of_the_first_whoever_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = |tenant: &str, app: &str| {
            let claims = serde_json::json!({ "tid": tenant, "appid": app }).to_string();
            format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
        };
        let first = token(TENANT, "app-1");
        for (second, told) in [
            (token("contoso", "app-1"), Some("tenant contoso")),
            (token(TENANT, "app-2"), Some("app app-2")),
            ("opaque".to_owned(), Some("cannot be read")),
            (token(&TENANT.to_uppercase(), "app-1"), None),
            (jwt(TENANT), None),
        ] {
            write(&path, first.as_bytes());
            let ready = StaticToken::from_file(&path).unwrap();
            let credential = Credential::new(TokenSource::Ready(ready), None);
            assert_eq!(text_of(&credential, CachePolicy::AtHand).await, first);
            write(&path, second.as_bytes());
            for freshness in [CachePolicy::New, CachePolicy::AtHand] {
                let got = credential.token(freshness).await;
                match told {
                    Some(told) => assert!(got.unwrap_err().to_string().contains(told)),
                    None => assert_eq!(got.unwrap().secret.expose_secret(), second),
                }
            }
        }
    }

    #[test]
    fn a_missing_a_binary_and_an_endless_file_are_refused_by_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let missing = StaticToken::from_file(&path).unwrap_err();
        assert!(matches!(missing, AuthError::Unreadable { .. }));
        write(&path, b"\xff\xfea\0b\0");
        let binary = StaticToken::from_file(&path).unwrap_err();
        assert!(matches!(binary, AuthError::NotAToken { .. }));
        write(&path, &vec![b'a'; 1 << 20]);
        let long = StaticToken::from_file(&path).unwrap_err();
        assert!(matches!(long, AuthError::TooLong { .. }));
        for error in [missing, binary, long] {
            assert!(error.to_string().contains(path.to_str().unwrap()));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        write(&path, b"the-secret");
        for mode in [0o604, 0o640] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = StaticToken::from_file(&path).unwrap_err();
            assert!(matches!(error, AuthError::Exposed { .. }));
            assert!(!format!("{error} {error:?}").contains("the-secret"));
        }
    }
}
