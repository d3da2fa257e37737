//! Sign-in against a scripted login service: what is sent, what is understood, and what is never retried.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::BoxFuture;
use mde_cancel::api::{Proxies, RootCerts, Scheme, WebSettings, web_client};
use mde_cancel::auth::{
    AuthError, CachePolicy, Certificate, Credential, DeviceCode, DevicePrompt, EntraSignIn,
    GrantType, LoginClient, ManagedIdentity, SecretOrigin, SignInMethod, TokenSource,
};
use mde_cancel::clock::{Clock, SystemClock};
use mde_cancel::model::{BootId, Moment, Uptime};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::support::{RawServer, Then, answer, table};

const SCOPE: &str = "https://api.securitycenter.microsoft.com/.default";
const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const APP: &str = "99999999-2222-3333-4444-555555555555";
const SECRET: &str = "s3cr3t-marker~1";
const PEM: &str = include_str!("../data/sign-in-test.pem");

/// A clock that jumps to the end of every wait.
#[derive(Debug)]
struct Hasty(Mutex<Moment>);

impl Clock for Hasty {
    fn now(&self) -> Moment {
        *self.0.lock().unwrap()
    }

    fn boot(&self) -> BootId {
        BootId::new("test")
    }

    fn sleep_until(&self, until: Uptime) -> BoxFuture<'_, ()> {
        let mut now = self.0.lock().unwrap();
        let wait = until.since(now.uptime);
        *now = now.after(wait);
        Box::pin(std::future::ready(()))
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(Hasty(Mutex::new(SystemClock::new().now())))
}

fn login_client(login: &str) -> LoginClient {
    let client = |scheme| {
        let settings = WebSettings {
            timeout: Duration::from_secs(30),
            user_agent: "mde-cancel/test".to_owned(),
            trust: RootCerts::Nothing,
            proxies: Proxies::Off,
        };
        web_client(scheme, settings).unwrap()
    };
    LoginClient::new(
        client(Scheme::Https),
        client(Scheme::Http),
        login.parse().unwrap(),
    )
}

fn credential(method: SignInMethod, login: &str) -> Credential {
    let sign_in = EntraSignIn::new(method, SCOPE.to_owned(), login_client(login), clock());
    Credential::new(TokenSource::SignIn(sign_in), Some(TENANT.to_owned()))
}

fn by_app(grant: GrantType, login: &str) -> Credential {
    let method = SignInMethod::App {
        tenant: TENANT.to_owned(),
        client: APP.to_owned(),
        grant,
    };
    credential(method, login)
}

fn secret(value: &str) -> GrantType {
    let name = "AZURE_CLIENT_SECRET".to_owned();
    GrantType::ClientSecret(SecretOrigin::Value(SecretString::from(value), name))
}

fn by_secret(login: &str) -> Credential {
    by_app(secret(SECRET), login)
}

fn jwt(tenant: &str, number: usize) -> String {
    let claims = json!({"tid": tenant, "n": number}).to_string();
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

/// Gives the scripted answers in turn, then the last one up to five more times.
struct LoginService(RawServer);

fn login_service(answers: &[(u16, String)]) -> LoginService {
    let last = answers.iter().rev().take(1).cycle().take(5);
    let script = answers.iter().chain(last).map(|(status, body)| {
        let headers = "Content-Type: application/json\r\nConnection: close\r\n";
        let bytes = answer(&format!("{status} X"), headers, body);
        (bytes, Then::Closes)
    });
    LoginService(RawServer::with(script.collect()))
}

impl LoginService {
    fn address(&self) -> &str {
        self.0.base.trim_end_matches('/')
    }

    fn calls(&self) -> Vec<String> {
        self.0.calls()
    }

    /// The value of this form field in each call that has it.
    fn fields(&self, name: &str) -> Vec<String> {
        let calls = self.calls();
        let fields = calls.iter().filter_map(|call| {
            let (_, body) = call.split_once("\r\n\r\n")?;
            let mut pairs = url::form_urlencoded::parse(body.as_bytes());
            let (_, value) = pairs.find(|(key, _)| key == name)?;
            Some(value.into_owned())
        });
        fields.collect()
    }
}

async fn token_error(credential: &Credential) -> AuthError {
    credential.token(CachePolicy::Cached).await.unwrap_err()
}

fn granted(number: usize) -> (u16, String) {
    let body = json!({
        "token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": jwt(TENANT, number),
    });
    (200, body.to_string())
}

fn refused(status: u16, error: &str, number: u32) -> (u16, String) {
    let body = json!({
        "error": error, "error_codes": [number], "trace_id": "t-1",
        "error_description": format!("AADSTS{number}: They say so. Trace ID: t-1 Timestamp: x"),
    });
    (status, body.to_string())
}

fn private_file(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    use std::io::Write as _;
    let path = folder.join(name);
    let mut file = mde_cancel::platform::open_private_file(&path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    path
}

#[tokio::test]
async fn a_secret_signs_in_once_and_again_only_when_a_new_token_is_wanted() {
    let server = login_service(&[granted(1), granted(2)]);
    let credential = by_secret(server.address());
    for _ in 0..3 {
        let token = credential.token(CachePolicy::Cached).await.unwrap();
        assert_eq!(token.secret.expose_secret(), jwt(TENANT, 1));
        assert!(token.expires_at.is_some());
    }
    let token = credential.token(CachePolicy::New).await.unwrap();
    assert_eq!(token.secret.expose_secret(), jwt(TENANT, 2));
    let calls = server.calls();
    assert_eq!(calls.len(), 2);
    let path = format!("POST /{TENANT}/oauth2/v2.0/token HTTP/1.1");
    assert!(calls[0].starts_with(&path), "{}", calls[0]);
    for (field, value) in [
        ("client_id", APP),
        ("client_secret", SECRET),
        ("grant_type", "client_credentials"),
        ("scope", SCOPE),
    ] {
        assert_eq!(server.fields(field)[0], value);
    }
    assert!(!format!("{credential:?}").contains("s3cr3t"));
}

#[tokio::test]
async fn concurrent_callers_share_one_sign_in() {
    let server = login_service(&[granted(1), granted(2)]);
    let credential = by_secret(server.address());
    let all =
        futures::future::join_all((0..16).map(|_| credential.token(CachePolicy::Cached))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn a_refusal_is_one_clear_line_with_the_mend_and_is_not_tried_twice() {
    for [status, error, number, text] in table(
        "
        401 | invalid_client      | 7000215 | the client secret is wrong
        401 | invalid_client      | 7000222 | the client secret has expired
        400 | invalid_request     | 90002   | there is no such tenant
        400 | unauthorized_client | 700016  | the tenant does not know the app
        400 | invalid_grant       | 65001   | nobody consented to the app's permissions
        400 | invalid_resource    | 500011  | the tenant does not know the service that the token is to be for
        400 | invalid_scope       | 70011   | the scope that was asked for is not valid
        ",
    ) {
        let answer = refused(status.parse().unwrap(), error, number.parse().unwrap());
        let server = login_service(&[answer]);
        let error = token_error(&by_secret(server.address())).await;
        assert_eq!(
            error.to_string(),
            format!("the login service 127.0.0.1 refused: {text} (AADSTS{number}, trace t-1)")
        );
        assert!(error.hint().is_some() && !error.is_transient());
        assert_eq!(server.calls().len(), 1, "{number}");
    }
}

#[tokio::test]
async fn login_service_faults_are_not_refusals_and_are_not_retried_twice() {
    for (status, body) in [
        (503, "<html>busy</html>".to_owned()),
        (429, String::new()),
        (500, refused(500, "server_error", 90_033).1),
        (302, String::new()),
        (400, refused(400, "temporarily_unavailable", 90_006).1),
        (200, "<html>please log in to the hotel</html>".to_owned()),
    ] {
        let server = login_service(&[(status, body)]);
        let error = token_error(&by_secret(server.address())).await;
        assert!(error.is_transient(), "{status}: {error}");
        assert_eq!(server.calls().len(), 1, "{status}");
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let error = token_error(&by_secret(&address)).await;
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("no connection"), "{error}");
}

#[tokio::test]
async fn a_login_service_that_echoes_the_secret_in_any_writing_does_not_get_it_into_a_message() {
    let hard = "s3cr3t/ma\"rk+er~1";
    for echo in [
        r#"{"error":"x","error_description":"you sent s3cr3t\/ma\"rk+er~1"}"#,
        r#"{"error":"x","error_description":"you sent \u00733cr3t/ma\u0022rk+er~1"}"#,
        r#"{"error":"x","error_description":"bad body: client_secret=s3cr3t%2Fma%22rk%2Ber%7E1&a=b"}"#,
    ] {
        for status in [200, 400, 503] {
            let server = login_service(&[(status, echo.to_owned())]);
            let error = token_error(&by_app(secret(hard), server.address())).await;
            let told = format!("{error} {error:?}");
            assert!(!told.contains("s3cr3t"), "{status} {echo}: {told}");
            assert!(status != 400 || told.contains("[redacted]"), "{told}");
        }
    }
}

#[tokio::test]
async fn a_token_of_another_tenant_is_refused_and_not_kept() {
    let other = json!({"expires_in": 3599, "access_token": jwt(APP, 1), "token_type": "Bearer"});
    let server = login_service(&[(200, other.to_string())]);
    let credential = by_secret(server.address());
    for _ in 0..2 {
        let error = credential.token(CachePolicy::Cached).await.unwrap_err();
        assert!(matches!(error, AuthError::WrongTenant { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_secret_file_is_read_anew_for_each_sign_in_and_its_end_of_line_is_no_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = private_file(folder.path(), "secret", "first\n");
    let server = login_service(&[granted(1), granted(2)]);
    let grant = GrantType::ClientSecret(SecretOrigin::File(path.clone()));
    let credential = by_app(grant, server.address());
    credential.token(CachePolicy::Cached).await.unwrap();
    std::fs::write(&path, "second\r\n").unwrap();
    credential.token(CachePolicy::New).await.unwrap();
    assert_eq!(server.fields("client_secret"), ["first", "second"]);
    std::fs::write(&path, "\n").unwrap();
    let error = credential.token(CachePolicy::New).await.unwrap_err();
    assert!(matches!(error, AuthError::Empty { .. }), "{error}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = credential.token(CachePolicy::New).await.unwrap_err();
        assert!(
            error.to_string().contains("can be read by others"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_certificate_signs_a_statement_that_its_own_key_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let path = private_file(folder.path(), "app.pem", PEM);
    let server = login_service(&[granted(1)]);
    let grant = GrantType::Certificate(Arc::new(Certificate::from_file(&path).unwrap()));
    by_app(grant, server.address())
        .token(CachePolicy::Cached)
        .await
        .unwrap();
    assert_eq!(
        server.fields("client_assertion_type"),
        ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
    );
    let assertion = server.fields("client_assertion").remove(0);
    let parts: Vec<_> = assertion.split('.').collect();
    let read = |part: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let (head, claims) = (read(parts[0]), read(parts[1]));
    assert_eq!(head["alg"], "PS256");
    assert!(head["x5t#S256"].as_str().unwrap().len() == 43, "{head}");
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!(APP), &json!(APP)));
    let audience = format!("{}/{TENANT}/oauth2/v2.0/token", server.address());
    assert_eq!(claims["aud"], audience);
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["nbf"].as_i64().unwrap(),
        600
    );
    let key = public_key();
    let key =
        ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PSS_2048_8192_SHA256, key);
    let signed = assertion.rsplit_once('.').unwrap().0;
    let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
    key.verify(signed.as_bytes(), &signature).unwrap();
}

fn public_key() -> Vec<u8> {
    use ring::signature::KeyPair as _;
    use rustls_pki_types::pem::PemObject as _;
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from_pem_slice(PEM.as_bytes()).unwrap();
    let pair = ring::signature::RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
    pair.public_key().as_ref().to_vec()
}

#[test]
fn a_file_that_nothing_can_be_signed_with_is_refused_by_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate) = PEM.split_once("-----BEGIN CERTIFICATE-----").unwrap();
    let certificate = format!("-----BEGIN CERTIFICATE-----{certificate}");
    let encrypted = format!(
        "{certificate}-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    );
    for (text, problem) in [
        ("", "holds no certificate in PEM form"),
        (key, "holds no certificate in PEM form"),
        (certificate.as_str(), "holds no private key in PEM form"),
        (encrypted.as_str(), "holds a key that is encrypted"),
        (
            &format!("{key}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "holds a key that does not belong to its first certificate",
        ),
    ] {
        let path = private_file(folder.path(), "x.pem", "");
        std::fs::write(&path, text).unwrap();
        let error = Certificate::from_file(&path).unwrap_err();
        let expected = format!("the certificate file {} {problem}", path.display());
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn a_federated_token_is_sent_as_it_stands_in_its_file_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("federated");
    std::fs::write(&path, "federated-1").unwrap();
    let server = login_service(&[granted(1), granted(2)]);
    let credential = by_app(GrantType::FederatedToken(path.clone()), server.address());
    credential.token(CachePolicy::Cached).await.unwrap();
    std::fs::write(&path, "federated-2").unwrap();
    credential.token(CachePolicy::New).await.unwrap();
    assert_eq!(
        server.fields("client_assertion"),
        ["federated-1", "federated-2"]
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o646)).unwrap();
        let error = credential.token(CachePolicy::New).await.unwrap_err();
        assert!(
            error.to_string().ends_with("can be changed by others"),
            "{error}"
        );
    }
    std::fs::remove_file(&path).unwrap();
    let error = credential.token(CachePolicy::New).await.unwrap_err();
    assert!(matches!(error, AuthError::Unreadable { .. }), "{error}");
}

#[tokio::test]
async fn a_virtual_machines_identity_is_asked_for_once_and_its_refusal_ends_the_wait() {
    let good = json!({
        "access_token": jwt(TENANT, 1), "expires_on": "2000000000", "resource": "x", "token_type": "Bearer",
    });
    let none = json!({"error": "invalid_request", "error_description": "Identity not found"});
    let server = login_service(&[
        (200, good.to_string()),
        (400, none.to_string()),
        (404, String::new()),
    ]);
    let host = server.address().parse().unwrap();
    let identity = ManagedIdentity::find(Some(APP.to_owned()), Some(&host), |_| None).unwrap();
    let credential = credential(SignInMethod::ManagedIdentity(identity), server.address());
    let token = credential.token(CachePolicy::Cached).await.unwrap();
    assert_eq!(token.expires_at.unwrap().as_second(), 2_000_000_000);
    let refused = credential.token(CachePolicy::New).await.unwrap_err();
    assert!(
        refused.to_string().ends_with("refused: Identity not found"),
        "{refused}"
    );
    let absent = credential.token(CachePolicy::New).await.unwrap_err();
    assert!(!absent.is_transient(), "{absent}");
    let calls = server.calls();
    assert_eq!(calls.len(), 3);
    let head = calls[0].to_ascii_lowercase();
    assert!(
        head.starts_with("get /metadata/identity/oauth2/token?"),
        "{head}"
    );
    assert!(
        head.contains("metadata: true") && head.contains(APP),
        "{head}"
    );
}

#[tokio::test]
async fn app_services_endpoint_gets_the_header_that_proves_who_asks_and_it_comes_back_in_no_error()
{
    let header = "s3cr3t-identity-header";
    let echo = json!({"error": "x", "error_description": format!("bad header {header}")});
    let good = json!({"access_token": jwt(TENANT, 1), "expires_in": "3600"});
    let server = login_service(&[(200, good.to_string()), (400, echo.to_string())]);
    let identity = ManagedIdentity::find(None, None, |name| match name {
        "IDENTITY_ENDPOINT" => Some(format!("{}/msi/token", server.address())),
        "IDENTITY_HEADER" => Some(header.to_owned()),
        _ => None,
    });
    let method = SignInMethod::ManagedIdentity(identity.unwrap());
    let credential = credential(method, "https://login.example");
    let token = credential.token(CachePolicy::Cached).await.unwrap();
    assert!(token.expires_at.is_some());
    let error = credential.token(CachePolicy::New).await.unwrap_err();
    assert!(
        error.to_string().ends_with("bad header [redacted]"),
        "{error}"
    );
    let head = server.calls()[0].to_ascii_lowercase();
    assert!(
        head.starts_with("get /msi/token?api-version=2019-08-01&resource="),
        "{head}"
    );
    assert!(
        head.contains(&format!("x-identity-header: {header}")),
        "{head}"
    );
}

fn device(login: &str, shown: &Arc<Mutex<Vec<DevicePrompt>>>) -> Credential {
    let shown = Arc::clone(shown);
    let show = move |prompt: &DevicePrompt| shown.lock().unwrap().push(prompt.clone());
    let person = DeviceCode::new(TENANT.to_owned(), APP.to_owned(), Arc::new(show));
    credential(SignInMethod::DeviceCode(person), login)
}

fn begun(interval: u64) -> (u16, String) {
    let body = json!({
        "device_code": "device-s3cr3t", "user_code": "ABC\u{1b}[2JDEF", "expires_in": 900, "interval": interval,
        "verification_uri": "https://login.example/device",
    });
    (200, body.to_string())
}

fn person_granted(number: usize) -> (u16, String) {
    let body = json!({
        "access_token": jwt(TENANT, number), "expires_in": "3599", "refresh_token": format!("refresh-{number}"),
    });
    (200, body.to_string())
}

#[tokio::test]
async fn a_person_is_asked_once_and_later_tokens_come_by_the_refresh_token() {
    let server = login_service(&[
        begun(1),
        refused(400, "authorization_pending", 70_016),
        person_granted(1),
        person_granted(2),
        person_granted(3),
    ]);
    let shown = Arc::default();
    let credential = device(server.address(), &shown);
    credential.token(CachePolicy::Cached).await.unwrap();
    credential.token(CachePolicy::New).await.unwrap();
    let token = credential.token(CachePolicy::New).await.unwrap();
    assert_eq!(token.secret.expose_secret(), jwt(TENANT, 3));
    let prompts = shown.lock().unwrap().clone();
    assert_eq!(prompts.len(), 1);
    assert_eq!(prompts[0].code, "ABC\\u{1b}[2JDEF");
    assert_eq!(server.fields("refresh_token"), ["refresh-1", "refresh-2"]);
    assert_eq!(server.fields("scope")[0], format!("{SCOPE} offline_access"));
    assert!(!format!("{credential:?}").contains("refresh-"));
}

#[tokio::test]
async fn a_refresh_token_that_comes_back_unchanged_is_sent_again_as_it_is() {
    let server = login_service(&[
        begun(1),
        person_granted(1),
        person_granted(1),
        person_granted(1),
    ]);
    let credential = device(server.address(), &Arc::default());
    for _ in 0..3 {
        credential.token(CachePolicy::New).await.unwrap();
    }
    assert_eq!(server.fields("refresh_token"), ["refresh-1", "refresh-1"]);
}

#[tokio::test]
async fn a_declined_or_expired_device_code_ends_the_sign_in() {
    for (error, number) in [
        ("authorization_declined", 70_018),
        ("expired_token", 70_020),
    ] {
        let server = login_service(&[begun(1), refused(400, error, number)]);
        let shown = Arc::default();
        let error = token_error(&device(server.address(), &shown)).await;
        assert!(!error.is_transient(), "{error}");
        assert!(!format!("{error} {error:?}").contains("device-s3cr3t"));
        assert_eq!(server.calls().len(), 2);
    }
    let server = login_service(&[refused(400, "unauthorized_client", 700_016)]);
    let error = token_error(&device(server.address(), &Arc::default())).await;
    assert!(
        error
            .to_string()
            .contains("the tenant does not know the app"),
        "{error}"
    );
}
