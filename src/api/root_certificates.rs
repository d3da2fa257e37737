//! The trusted root certificates: those of this machine (or of `SSL_CERT_FILE` and `SSL_CERT_DIR` instead), the bundled
//! public roots, which make a bare container work, and those of `--ca-file`.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;

use crate::platform::{Exposure, exposure};

/// In bytes; all public roots together take a quarter of it.
const MAX_CA_FILE: u64 = 1024 * 1024;

/// The object identifier of PKCS#7 signedData.
const SIGNED_DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";

/// The version field at the start of a PKCS#12 file.
const PKCS12_VERSION: &[u8] = b"\x02\x01\x03";

#[derive(Clone)]
pub struct Roots {
    pub(super) store: Arc<RootCertStore>,
    pub of_machine: usize,
    pub public: usize,
    pub of_ca_file: usize,
    /// Sources that could not be used. The others are.
    pub warnings: Vec<String>,
}

/// Why no certificate of a CA file can be used.
#[derive(Debug, thiserror::Error)]
pub enum CaFileError {
    #[error("the CA file {path} cannot be read")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Anyone who can change it decides which servers get the token.
    #[error("the CA file {path} {exposure}")]
    Exposed { path: PathBuf, exposure: Exposure },
    #[error("the CA file {path} {problem}")]
    NoCertificate {
        path: PathBuf,
        problem: String,
        hint: Option<String>,
    },
}

impl CaFileError {
    /// Returns the fix, as an imperative without a period.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Unreadable { .. } => Some("check --ca-file"),
            Self::Exposed { exposure, .. } => Some(exposure.public_hint()),
            Self::NoCertificate { hint, .. } => hint.as_deref(),
        }
    }
}

/// Returns the roots of this machine and the bundled ones, loaded once, with those of `ca_file`.
pub fn load_roots(ca_file: Option<&Path>) -> Result<Roots, CaFileError> {
    static BASE: OnceLock<Roots> = OnceLock::new();
    let mut roots = BASE.get_or_init(load_base).clone();
    if let Some(path) = ca_file {
        add_ca_file(&mut roots, path)?;
    }
    Ok(roots)
}

fn load_base() -> Roots {
    let mut store = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (of_machine, _) = store.add_parsable_certificates(native.certs);
    let mut warnings: Vec<_> = native.errors.iter().map(ToString::to_string).collect();
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if of_machine == 0
            && native.errors.is_empty()
            && let Some(value) = std::env::var_os(name)
        {
            let value = value.display();
            warnings.push(format!(
                "{name} ({value}) has no certificate in PEM form; the system's certificates don't replace it"
            ));
        }
    }
    let public = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
    let (public, _) = store.add_parsable_certificates(public);
    Roots {
        store: Arc::new(store),
        of_machine,
        public,
        of_ca_file: 0,
        warnings,
    }
}

fn add_ca_file(roots: &mut Roots, path: &Path) -> Result<(), CaFileError> {
    let mut bytes = Vec::new();
    let unreadable = |source| CaFileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    match exposure(&file, path).map_err(unreadable)? {
        None | Some(Exposure::Readable) => {}
        Some(exposure) => {
            let path = path.to_owned();
            return Err(CaFileError::Exposed { path, exposure });
        }
    }
    file.take(MAX_CA_FILE)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let shown = path.display();
    let unusable = |problem: String, hint: Option<String>| CaFileError::NoCertificate {
        path: path.to_owned(),
        problem,
        hint,
    };
    let store = Arc::make_mut(&mut roots.store);
    // DER: a SEQUENCE with a long length.
    if matches!(bytes.as_slice(), [0x30, 0x81..=0x84, ..]) {
        let head = &bytes[..bytes.len().min(64)];
        let has = |part: &[u8]| head.windows(part.len()).any(|window| window == part);
        let bundle = if has(SIGNED_DATA) {
            let hint = format!("openssl pkcs7 -inform DER -print_certs -in {shown} -out ca.pem");
            Some(("is a PKCS#7 bundle", hint))
        } else if has(PKCS12_VERSION) {
            let hint = format!("openssl pkcs12 -nokeys -in {shown} -out ca.pem");
            Some(("is a PKCS#12 file", hint))
        } else {
            None
        };
        if let Some((problem, hint)) = bundle {
            return Err(unusable(problem.to_owned(), Some(hint)));
        }
        let added = store.add(CertificateDer::from(bytes));
        added.map_err(|error| unusable(format!("is not a certificate: {error}"), None))?;
        roots.of_ca_file = 1;
        return Ok(());
    }
    let mut hint = None;
    let mut bad = Vec::new();
    for (number, block) in (1..).zip(pem_blocks(&text_of(&bytes))) {
        let problem = match (block.label.as_str(), block.der) {
            ("CERTIFICATE" | "X509 CERTIFICATE", Some(der)) => {
                match store.add(CertificateDer::from(der)) {
                    Ok(()) => {
                        roots.of_ca_file += 1;
                        continue;
                    }
                    Err(error) => format!("is not a certificate: {error}"),
                }
            }
            ("CERTIFICATE" | "X509 CERTIFICATE", None) => "is no base64".to_owned(),
            ("PKCS7", _) => {
                hint = Some(format!(
                    "openssl pkcs7 -print_certs -in {shown} -out ca.pem"
                ));
                "is a PKCS#7 bundle".to_owned()
            }
            ("TRUSTED CERTIFICATE", _) => {
                hint = Some(format!("openssl x509 -in {shown} -out ca.pem"));
                "is a certificate in OpenSSL's own form".to_owned()
            }
            (label, _) => format!("is a {label}, not a certificate"),
        };
        bad.push(format!("block {number} (line {}) {problem}", block.line));
    }
    if roots.of_ca_file == 0 {
        let problem = if bad.is_empty() {
            hint = Some("export the authority's certificate as PEM or DER".to_owned());
            "has no certificate".to_owned()
        } else {
            format!("has no usable certificate: {}", bad.join(", "))
        };
        return Err(unusable(problem, hint));
    }
    let warnings = bad
        .iter()
        .map(|bad| format!("the CA file {shown}: {bad}; ignored"));
    roots.warnings.extend(warnings);
    Ok(())
}

/// Decodes UTF-8, or UTF-16 as written by PowerShell's `>`.
fn text_of(bytes: &[u8]) -> String {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return String::from_utf8_lossy(bytes).into_owned(),
    };
    let units: Vec<u16> = bytes[2..]
        .chunks_exact(2)
        .map(|pair| unit([pair[0], pair[1]]))
        .collect();
    String::from_utf16_lossy(&units)
}

struct PemBlock {
    label: String,
    /// The line of `BEGIN`.
    line: usize,
    der: Option<Vec<u8>>,
}

fn pem_blocks(text: &str) -> Vec<PemBlock> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, usize, String)> = None;
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim_start_matches('\u{feff}').trim();
        let label = |word: &str| {
            let rest = text.strip_prefix("-----")?.strip_prefix(word)?;
            Some(rest.strip_prefix(' ')?.strip_suffix("-----")?.to_owned())
        };
        if let Some(label) = label("BEGIN") {
            open = Some((label, line, String::new()));
        } else if label("END").is_some() {
            if let Some((label, line, base64)) = open.take() {
                let der = STANDARD.decode(base64).ok();
                blocks.push(PemBlock { label, line, der });
            }
        } else if let Some((.., base64)) = &mut open {
            base64.extend(text.split_whitespace());
        }
    }
    // A truncated block.
    blocks.extend(open.map(|(label, line, _)| PemBlock {
        label,
        line,
        der: None,
    }));
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHORITY: &str = include_str!("../../tests/data/tls/authority.pem");

    fn load(bytes: &[u8]) -> Result<Roots, CaFileError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        load_roots(Some(file.path()))
    }

    fn der() -> Vec<u8> {
        pem_blocks(AUTHORITY).remove(0).der.unwrap()
    }

    fn utf16(text: &str) -> Vec<u8> {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [0xff, 0xfe].into_iter().chain(units).collect()
    }

    #[test]
    fn a_certificate_is_taken_in_every_form_that_holds_it_plainly() {
        let base = load_roots(None).unwrap();
        for bytes in [
            AUTHORITY.as_bytes().to_vec(),
            der(),
            format!("\u{feff}{AUTHORITY}").into_bytes(),
            AUTHORITY.replace('\n', "\r\n").into_bytes(),
            utf16(AUTHORITY),
            format!("Subject: CN=an authority\n{AUTHORITY}").into_bytes(),
        ] {
            let roots = load(&bytes).unwrap();
            assert_eq!(roots.of_ca_file, 1);
            assert_eq!(roots.warnings, base.warnings);
            assert_eq!(roots.store.len(), base.store.len() + 1);
        }
        assert!(base.public > 100);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_change_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), AUTHORITY).unwrap();
        for (mode, is_refused) in [(0o644, false), (0o666, true), (0o620, true)] {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(file.path(), mode).unwrap();
            let loaded = load_roots(Some(file.path()));
            assert_eq!(loaded.is_err(), is_refused);
        }
        let error = load_roots(Some(file.path())).err().unwrap();
        assert!(error.to_string().ends_with("can be changed by others"));
        assert!(error.hint().unwrap().contains("chmod go-w"), "{error:?}");
    }

    #[test]
    fn a_bad_block_among_good_ones_is_named_and_left_out() {
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let text = format!("{AUTHORITY}{broken}{AUTHORITY}{key}");
        let roots = load(text.as_bytes()).unwrap();
        assert_eq!(roots.of_ca_file, 2);
        let lines = AUTHORITY.lines().count();
        let named: Vec<_> = roots.warnings.iter().rev().take(2).rev().collect();
        assert!(
            named[0].contains(&format!(
                "block 2 (line {}) is not a certificate: ",
                lines + 1
            )),
            "{named:?}"
        );
        assert!(named[1].contains("is a PRIVATE KEY, not a certificate; ignored"));
    }

    #[test]
    fn a_file_without_a_usable_certificate_says_what_it_is_and_how_to_convert_it() {
        let pkcs7_der = [&[0x30, 0x82, 1, 0][..], SIGNED_DATA, &[0; 200]].concat();
        let pkcs12 = [&[0x30, 0x82, 1, 0][..], PKCS12_VERSION, &[0; 200]].concat();
        let pkcs7 = "-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n";
        let trusted = AUTHORITY.replace(" CERTIFICATE-", " TRUSTED CERTIFICATE-");
        let cut = &AUTHORITY[..AUTHORITY.len() / 2];
        let typo = AUTHORITY.replacen("MII", "M!I", 1);
        for (bytes, problem, hint) in [
            (&b""[..], "has no certificate", "export the authority"),
            (b"hello", "has no certificate", "export the authority"),
            (
                &pkcs7_der,
                "is a PKCS#7 bundle",
                "openssl pkcs7 -inform DER -print_certs -in ",
            ),
            (&pkcs12, "is a PKCS#12 file", "openssl pkcs12 -nokeys -in "),
            (
                pkcs7.as_bytes(),
                "block 1 (line 1) is a PKCS#7 bundle",
                "openssl pkcs7 -print_certs -in ",
            ),
            (
                trusted.as_bytes(),
                "is a certificate in OpenSSL's own form",
                "openssl x509 -in ",
            ),
            (cut.as_bytes(), "block 1 (line 2) is no base64", ""),
            (typo.as_bytes(), "block 1 (line 2) is no base64", ""),
            (&[0x30, 0x82, 1, 0, 7], "is not a certificate: ", ""),
        ] {
            let Err(error) = load(bytes) else {
                panic!("{problem}: taken");
            };
            assert!(error.to_string().contains(problem), "{problem}: {error}");
            assert!(
                error.hint().unwrap_or_default().starts_with(hint),
                "{error:?}"
            );
        }
    }
}
