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
    Cached,
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
        if let (CachePolicy::Cached, Some(token)) = (freshness, &*held) {
            return Ok(token.clone());
        }
        let token = match (&self.source, freshness) {
            (TokenSource::Ready(ready), CachePolicy::Cached) => ready.held(),
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
    use std::path::PathBuf;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use secrecy::{ExposeSecret as _, SecretString};
    use serde_json::json;

    use super::*;
    use crate::platform::open_private_file;

    const TENANT: &str = "11111111-2222-3333-4444-555555555555";

    struct TokenFile(tempfile::TempDir);

    impl TokenFile {
        fn with(text: impl AsRef<[u8]>) -> Self {
            let file = Self(tempfile::tempdir().unwrap());
            file.write(text);
            file
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("token")
        }

        fn write(&self, text: impl AsRef<[u8]>) {
            let mut file = open_private_file(&self.path()).unwrap();
            file.set_len(0).unwrap();
            file.write_all(text.as_ref()).unwrap();
        }

        fn read(&self) -> Result<StaticToken, AuthError> {
            StaticToken::from_file(&self.path())
        }

        fn credential(&self, tenant: Option<&str>) -> Credential {
            let source = TokenSource::Ready(self.read().unwrap());
            Credential::new(source, tenant.map(str::to_owned))
        }
    }

    fn jwt(claims: &serde_json::Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    async fn text_of(credential: &Credential, freshness: CachePolicy) -> String {
        let token = credential.token(freshness).await.unwrap();
        token.secret.expose_secret().to_owned()
    }

    #[tokio::test]
    async fn a_token_file_is_read_again_when_a_new_token_is_wanted_and_not_before() {
        let file = TokenFile::with("first\n");
        let credential = file.credential(None);
        file.write("second\n");
        assert_eq!(text_of(&credential, CachePolicy::Cached).await, "first");
        assert_eq!(text_of(&credential, CachePolicy::New).await, "second");
        assert_eq!(text_of(&credential, CachePolicy::Cached).await, "second");
        file.write("\n");
        let error = credential.token(CachePolicy::New).await.unwrap_err();
        assert!(matches!(error, AuthError::Empty { .. }));
        assert_eq!(text_of(&credential, CachePolicy::Cached).await, "second");
    }

    #[tokio::test]
    async fn a_token_from_the_environment_cannot_be_refreshed() {
        let value = SecretString::from("the-secret");
        let ready = StaticToken::from_value(&value, "MDE_CANCEL_TOKEN").unwrap();
        let credential = Credential::new(TokenSource::Ready(ready), None);
        assert_eq!(
            text_of(&credential, CachePolicy::Cached).await,
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
        for (token, is_useless) in [
            ("opaque".to_owned(), false),
            (jwt(&json!({"exp": 4_000_000_000_u64})), false),
            (jwt(&json!({"exp": 1_000_000_000})), true),
            (jwt(&json!({"aud": "https://graph.example"})), true),
        ] {
            let file = TokenFile::with(token);
            let renewed = file.credential(None).token(CachePolicy::New).await;
            assert_eq!(renewed.is_err(), is_useless, "{renewed:?}");
        }
    }

    #[tokio::test]
    async fn a_new_token_of_another_tenant_is_refused_too() {
        let token = jwt(&json!({ "tid": TENANT }));
        let file = TokenFile::with(&token);
        let credential = file.credential(Some(TENANT));
        assert_eq!(text_of(&credential, CachePolicy::Cached).await, token);
        file.write(jwt(
            &json!({ "tid": "99999999-2222-3333-4444-555555555555" }),
        ));
        for freshness in [CachePolicy::New, CachePolicy::Cached] {
            let error = credential.token(freshness).await.unwrap_err();
            assert!(matches!(error, AuthError::WrongTenant { .. }));
        }
    }

    #[tokio::test]
    async fn a_new_token_is_for_the_tenant_and_the_app_of_the_first_whoever_was_asked_for() {
        let token = |tenant: &str, app: &str| jwt(&json!({ "tid": tenant, "appid": app }));
        let first = token(TENANT, "app-1");
        for (second, told) in [
            (token("contoso", "app-1"), Some("tenant contoso")),
            (token(TENANT, "app-2"), Some("app app-2")),
            ("opaque".to_owned(), Some("cannot be read")),
            (token(&TENANT.to_uppercase(), "app-1"), None),
            (jwt(&json!({ "tid": TENANT })), None),
        ] {
            let file = TokenFile::with(&first);
            let credential = file.credential(None);
            assert_eq!(text_of(&credential, CachePolicy::Cached).await, first);
            file.write(&second);
            for freshness in [CachePolicy::New, CachePolicy::Cached] {
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
        let file = TokenFile(tempfile::tempdir().unwrap());
        let missing = file.read().unwrap_err();
        assert!(matches!(missing, AuthError::Unreadable { .. }));
        file.write(b"\xff\xfea\0b\0");
        let binary = file.read().unwrap_err();
        assert!(matches!(binary, AuthError::NotAToken { .. }));
        file.write(vec![b'a'; 1 << 20]);
        let long = file.read().unwrap_err();
        assert!(matches!(long, AuthError::TooLong { .. }));
        for error in [missing, binary, long] {
            assert!(error.to_string().contains(file.path().to_str().unwrap()));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = TokenFile::with("the-secret");
        for mode in [0o604, 0o640] {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(file.path(), mode).unwrap();
            let error = file.read().unwrap_err();
            assert!(matches!(error, AuthError::Exposed { .. }));
            assert!(!format!("{error} {error:?}").contains("the-secret"));
        }
    }
}
