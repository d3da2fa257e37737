//! Sign-in with a certificate, by an assertion signed with its key.
//!
//! The assertion is a JWT with PS256 and the certificate's thumbprint (x5t#S256), as documented by Entra. Each sign-in
//! creates a new one, valid for ten minutes.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{KeyPair as _, RSA_PSS_SHA256, RsaKeyPair};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::ExposeSecret as _;
use serde_json::json;
use uuid::Uuid;

use super::secret_file::read_private;
use super::token::AuthError;

/// The validity of an assertion, in seconds.
const LIFETIME: i64 = 600;

#[derive(Debug)]
pub struct Certificate {
    key: Arc<RsaKeyPair>,
    /// Base64 of the certificate's SHA-256 hash.
    thumbprint: String,
}

impl Certificate {
    /// Reads a PEM file with both, in any order; uses the first of several certificates.
    pub fn from_file(path: &Path) -> Result<Self, AuthError> {
        let pem = read_private(path, "certificate file")?;
        Self::parse(pem.expose_secret()).map_err(|problem| AuthError::Certificate {
            path: path.to_owned(),
            problem,
        })
    }

    fn parse(pem: &str) -> Result<Self, &'static str> {
        let pem = pem.as_bytes();
        let certificate = CertificateDer::pem_slice_iter(pem)
            .next()
            .and_then(Result::ok)
            .ok_or("holds no certificate in PEM form")?;
        let is_encrypted = pem
            .windows(b"ENCRYPTED".len())
            .any(|word| word == b"ENCRYPTED");
        if is_encrypted {
            return Err("holds a key that is encrypted");
        }
        let key = match PrivateKeyDer::from_pem_slice(pem) {
            Ok(PrivateKeyDer::Pkcs8(key)) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
            Ok(PrivateKeyDer::Pkcs1(key)) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
            Ok(_) => return Err("holds a key that is no RSA key"),
            Err(_) => return Err("holds no private key in PEM form"),
        };
        let key = key.map_err(|_| "holds a key that is no RSA key of 2048 bits or more")?;
        // A certificate contains the public key in exactly this form.
        let public = key.public_key().as_ref();
        if !certificate.windows(public.len()).any(|part| part == public) {
            return Err("holds a key that does not belong to its first certificate");
        }
        Ok(Self {
            key: Arc::new(key),
            thumbprint: URL_SAFE_NO_PAD.encode(digest(&SHA256, &certificate)),
        })
    }

    /// Signs an assertion of `client` for `audience`.
    pub(super) fn assertion(
        &self,
        client: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<String, AuthError> {
        let now = now.as_second();
        let head = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint});
        let claims = json!({
            "aud": audience, "iss": client, "sub": client, "jti": Uuid::new_v4(),
            "nbf": now, "iat": now, "exp": now.saturating_add(LIFETIME),
        });
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(head.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(
                &RSA_PSS_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(|_| AuthError::NoRandomness)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
