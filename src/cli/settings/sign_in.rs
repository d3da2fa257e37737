//! The connection: addresses, tenant, app and sign-in.
//!
//! Addresses use https, or plain http to this machine, and contain nothing that could leak. The sign-in method is chosen
//! before anything is sent. If it fails, no other is tried: a run must never act as another identity because a secret has
//! expired.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

use anyhow::anyhow;
use secrecy::SecretString;
use url::{Host, Url};

use crate::cli::args::{Cloud, ConnectionArgs, CredentialMethod, Region, word_of};
use crate::cli::failure::Failure;
use crate::cli::flag_values::{Sensitive, is_secret_itself};

use super::{Layers, Origin, not_text};

#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    pub profile: Option<String>,
    pub api_url: Url,
    /// For the ledger's scopes: the cloud's name, or `host:port` of an unknown address.
    pub cloud: String,
    /// A GUID or a domain name, in lower case.
    pub tenant: Option<String>,
    pub client_id: Option<String>,
    pub login_url: Url,
    pub api_scope: String,
    /// Trusted in addition to the public certificates.
    pub ca_file: Option<PathBuf>,
    /// Replaces the address of a virtual machine's metadata service.
    pub imds_url: Option<Url>,
    /// If it needs a tenant or an app, that is set.
    pub sign_in: SignIn,
    pub choice: CredentialChoice,
}

#[derive(Clone, Debug)]
pub enum SignIn {
    Token(SecretSource),
    ClientSecret(SecretSource),
    Certificate(PathBuf),
    WorkloadIdentity(PathBuf),
    ManagedIdentity,
    AzureCli,
    DeviceCode,
}

#[derive(Clone, Debug)]
pub enum SecretSource {
    Environment(SecretString, String),
    /// Read each time.
    File(PathBuf),
}

/// The choice of the sign-in method, for `doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialChoice {
    pub method: CredentialMethod,
    pub reason: String,
    /// The methods that `auto` skipped, and why.
    pub skipped: Vec<(CredentialMethod, &'static str)>,
}

/// Commands that can do without a sign-in check for this error.
#[derive(Debug, thiserror::Error)]
pub enum MissingCredential {
    #[error("there is nothing to sign in with")]
    Nothing,
    #[error("signing in by {method} needs {what}")]
    Part { method: String, what: &'static str },
}

impl From<MissingCredential> for Failure {
    fn from(missing: MissingCredential) -> Self {
        let hints: &[&str] = match missing {
            MissingCredential::Nothing => &[
                "as an app, use --tenant-id and --client-id with AZURE_CLIENT_SECRET or --client-secret-file",
                "with a token of your own, set MDE_CANCEL_TOKEN or use --token-file",
                "as yourself, use --credential azure-cli or device-code",
                "to try it without a tenant, use --sandbox",
            ],
            MissingCredential::Part { .. } => &[],
        };
        hints
            .iter()
            .fold(Self::refused(missing), |failure, &hint| failure.hint(hint))
    }
}

impl ConnectionSettings {
    pub(super) fn resolve(
        typed: &ConnectionArgs,
        origins: &BTreeMap<String, Origin>,
        layers: Layers<'_>,
    ) -> Result<Self, Failure> {
        let flags = ConnectionFlags {
            typed,
            origins,
            layers,
        };
        let (api_url, label, cloud) = match &typed.api_url {
            // A known host belongs to its cloud: its calls share the cloud's quota, and it accepts the same tokens.
            Some(url) => {
                let url = flags.address(url, "api_url")?;
                let known = known_cloud(&url, typed.cloud);
                let label = known.map_or_else(|| host_and_port(&url), word_of);
                (url, label, known.unwrap_or(typed.cloud))
            }
            None => (
                preset(typed.cloud, typed.region)?,
                word_of(typed.cloud),
                typed.cloud,
            ),
        };
        let [_, login, scope] = addresses(cloud);
        let (sign_in, choice) = flags.sign_in()?;
        let settings = Self {
            profile: layers.profile.map(str::to_owned),
            api_url,
            cloud: label,
            tenant: typed.tenant_id.clone(),
            client_id: typed.client_id.clone(),
            login_url: match &typed.login_url {
                Some(url) => flags.address(url, "login_url")?,
                None => known_address(login)?,
            },
            api_scope: typed.api_scope.clone().unwrap_or_else(|| scope.to_owned()),
            ca_file: typed.ca_file.clone(),
            imds_url: imds_url(layers)?,
            sign_in,
            choice,
        };
        settings.check_parties()?;
        Ok(settings)
    }

    fn check_parties(&self) -> Result<(), Failure> {
        let needs_app = matches!(
            self.sign_in,
            SignIn::ClientSecret(_)
                | SignIn::Certificate(_)
                | SignIn::WorkloadIdentity(_)
                | SignIn::DeviceCode
        );
        let what = match (&self.tenant, &self.client_id) {
            (None, _) if needs_app => "a tenant: use --tenant-id or set AZURE_TENANT_ID",
            (_, None) if needs_app => "an app: use --client-id or set AZURE_CLIENT_ID",
            _ => return Ok(()),
        };
        Err(lacks(self.choice.method, what))
    }
}

fn lacks(method: CredentialMethod, what: &'static str) -> Failure {
    let method = word_of(method);
    MissingCredential::Part { method, what }.into()
}

fn refuse(text: String) -> Failure {
    Failure::refused(anyhow!(text))
}

struct ConnectionFlags<'a> {
    typed: &'a ConnectionArgs,
    origins: &'a BTreeMap<String, Origin>,
    layers: Layers<'a>,
}

impl ConnectionFlags<'_> {
    fn origin(&self, id: &str) -> &Origin {
        self.origins.get(id).unwrap_or(&Origin::Default)
    }

    fn address(&self, text: &Sensitive, id: &str) -> Result<Url, Failure> {
        let is_login = id == "login_url";
        let origin = self.origin(id).to_string();
        let text = text.expose();
        // Like Azure's own tools, accept a host without https://.
        let bare = text
            .to_str()
            .filter(|text| is_login && !text.contains("://"));
        match bare {
            Some(host) => check_address(format!("https://{host}").as_ref(), &origin),
            None => check_address(text, &origin),
        }
    }

    fn sign_in(&self) -> Result<(SignIn, CredentialChoice), Failure> {
        use CredentialMethod as Method;
        let choice = self.choose()?;
        let sign_in = match choice.method {
            Method::Token => {
                let lacks = "a token: set MDE_CANCEL_TOKEN or use --token-file";
                self.token()?.map(SignIn::Token).ok_or(lacks)
            }
            Method::ClientSecret => {
                let lacks = "a secret: set AZURE_CLIENT_SECRET or use --client-secret-file";
                self.client_secret()?.map(SignIn::ClientSecret).ok_or(lacks)
            }
            Method::Certificate => {
                let file = self.typed.client_certificate_file.as_ref();
                let file = self.path(file, "client_certificate_file")?;
                file.map(SignIn::Certificate).ok_or(
                    "a PEM file with certificate and key: use --client-certificate-file or set AZURE_CLIENT_CERTIFICATE_PATH",
                )
            }
            Method::WorkloadIdentity => {
                let file = self.typed.federated_token_file.as_ref();
                let file = self.path(file, "federated_token_file")?;
                file.map(SignIn::WorkloadIdentity).ok_or(
                    "a federated token: use --federated-token-file or set AZURE_FEDERATED_TOKEN_FILE",
                )
            }
            Method::ManagedIdentity => Ok(SignIn::ManagedIdentity),
            Method::AzureCli => Ok(SignIn::AzureCli),
            Method::DeviceCode => Ok(SignIn::DeviceCode),
            Method::Auto => return Err(MissingCredential::Nothing.into()),
        };
        let sign_in = sign_in.map_err(|what| lacks(choice.method, what))?;
        Ok((sign_in, choice))
    }

    /// The order is: the typed method, the method of a typed file, the method from a variable or the config file, the first
    /// method that is set up. `device-code` is never chosen by itself, because nobody may be there to enter the code.
    fn choose(&self) -> Result<CredentialChoice, Failure> {
        use CredentialMethod as Method;
        let named = self.typed.credential;
        let origin = self.origin("credential");
        let is_typed = |id: &str| matches!(self.origin(id), Origin::Flag(_));
        let by_file = [
            ("token_file", Method::Token),
            ("client_secret_file", Method::ClientSecret),
            ("client_certificate_file", Method::Certificate),
            ("federated_token_file", Method::WorkloadIdentity),
        ];
        let by_file = by_file.into_iter().find(|(id, _)| is_typed(id));
        let chosen = match by_file {
            Some((id, method)) if named == Method::Auto || !is_typed("credential") => {
                Some((method, self.origin(id)))
            }
            _ if named != Method::Auto => Some((named, origin)),
            _ => None,
        };
        if let Some((method, origin)) = chosen {
            return Ok(CredentialChoice {
                method,
                reason: origin.to_string(),
                skipped: Vec::new(),
            });
        }
        let mut skipped = Vec::new();
        for method in [
            Method::Token,
            Method::ClientSecret,
            Method::Certificate,
            Method::WorkloadIdentity,
            Method::ManagedIdentity,
            Method::AzureCli,
        ] {
            match self.detect(method) {
                Ok(reason) => {
                    return Ok(CredentialChoice {
                        method,
                        reason,
                        skipped,
                    });
                }
                Err(why_not) => skipped.push((method, why_not)),
            }
        }
        Err(MissingCredential::Nothing.into())
    }

    /// Returns the setting that shows that a method is set up, or why it isn't.
    fn detect(&self, method: CredentialMethod) -> Result<String, &'static str> {
        use CredentialMethod as Method;
        let is_set = |name: &str| self.layers.variable(name).map(|_| name.to_owned());
        let by = |id: &str| self.origins.get(id).map(ToString::to_string);
        let by_key = |key: &str| {
            let (_, origin) = self.layers.config(key)?;
            Some(origin.to_string())
        };
        match method {
            Method::Token => is_set("MDE_CANCEL_TOKEN")
                .or_else(|| by("token_file"))
                .or_else(|| by_key("token-env"))
                .ok_or("there is no MDE_CANCEL_TOKEN and no token file"),
            Method::ClientSecret => is_set("AZURE_CLIENT_SECRET")
                .or_else(|| by("client_secret_file"))
                .or_else(|| by_key("client-secret-env"))
                .ok_or("there is no AZURE_CLIENT_SECRET and no secret file"),
            Method::Certificate => {
                by("client_certificate_file").ok_or("there is no certificate file")
            }
            Method::WorkloadIdentity => {
                by("federated_token_file").ok_or("there is no federated token file")
            }
            // On a virtual machine nothing shows it, and a probe elsewhere would take long.
            Method::ManagedIdentity => is_set("IDENTITY_ENDPOINT")
                .ok_or("IDENTITY_ENDPOINT is not set; on a virtual machine, name the method"),
            Method::AzureCli => self
                .has_az()
                .then(|| "az is on PATH".to_owned())
                .ok_or("az is not on PATH"),
            Method::DeviceCode | Method::Auto => Err("it must be named"),
        }
    }

    fn has_az(&self) -> bool {
        let names: &[&str] = if cfg!(windows) {
            &["az.cmd", "az.exe"]
        } else {
            &["az"]
        };
        let path = self.layers.variable("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .any(|folder| names.iter().any(|name| folder.join(name).is_file()))
    }

    fn token(&self) -> Result<Option<SecretSource>, Failure> {
        let is_set = self.layers.variable("MDE_CANCEL_TOKEN").is_some();
        if is_set && matches!(self.origin("token_file"), Origin::Variable(_)) {
            let error = anyhow!("both MDE_CANCEL_TOKEN and MDE_CANCEL_TOKEN_FILE are set");
            let hint = "unset one of them, or use --token-file";
            return Err(Failure::refused(error).hint(hint));
        }
        let file = self.typed.token_file.as_ref();
        self.secret("MDE_CANCEL_TOKEN", file, "token_file", "token-env")
    }

    fn client_secret(&self) -> Result<Option<SecretSource>, Failure> {
        let file = self.typed.client_secret_file.as_ref();
        let (id, key) = ("client_secret_file", "client-secret-env");
        self.secret("AZURE_CLIENT_SECRET", file, id, key)
    }

    /// The order is: a typed file, the variable, a file from a variable, the config file's variable, the config file's file.
    fn secret(
        &self,
        variable: &str,
        file: Option<&Sensitive>,
        id: &str,
        key: &str,
    ) -> Result<Option<SecretSource>, Failure> {
        let value = |name: &str| -> Result<Option<SecretSource>, Failure> {
            let Some(text) = self.layers.sources.variable(name) else {
                return Ok(None);
            };
            let text = text.into_string().map_err(|_| not_text(name))?;
            Ok(Some(SecretSource::Environment(
                SecretString::from(text),
                name.to_owned(),
            )))
        };
        let file = || Ok(self.path(file, id)?.map(SecretSource::File));
        let of_config = self.layers.config(key);
        match self.origin(id) {
            Origin::Flag(_) => file(),
            _ if self.layers.variable(variable).is_some() => value(variable),
            Origin::Variable(_) => file(),
            _ => match of_config {
                Some((name, _)) => match value(&name.to_string_lossy())? {
                    None => file(),
                    found => Ok(found),
                },
                None => file(),
            },
        }
    }

    fn path(&self, text: Option<&Sensitive>, id: &str) -> Result<Option<PathBuf>, Failure> {
        let Some(text) = text.map(Sensitive::expose) else {
            return Ok(None);
        };
        let origin = self.origin(id);
        if text.is_empty() {
            return Err(refuse(format!("{origin} is empty")));
        }
        if is_secret_itself(text) {
            let failure = refuse(format!(
                "{origin} must name a file, but holds the secret itself"
            ));
            return Err(failure.hint(
                "write the secret to a file that only you can read, and name that; or set MDE_CANCEL_TOKEN or \
                 AZURE_CLIENT_SECRET",
            ));
        }
        Ok(Some(PathBuf::from(text)))
    }
}

/// Returns a cloud's API address, login address and scope. Scopes don't follow the hosts: the commercial one is still the
/// old one. Those of the government clouds are undocumented, but other tools use them.
fn addresses(cloud: Cloud) -> [&'static str; 3] {
    match cloud {
        Cloud::Commercial => [
            "https://api.security.microsoft.com",
            "https://login.microsoftonline.com",
            "https://api.securitycenter.microsoft.com/.default",
        ],
        Cloud::Gcc => [
            "https://api-gcc.securitycenter.microsoft.us",
            "https://login.microsoftonline.com",
            "https://api-gcc.securitycenter.microsoft.us/.default",
        ],
        Cloud::GccHigh | Cloud::Dod => [
            "https://api-gov.securitycenter.microsoft.us",
            "https://login.microsoftonline.us",
            "https://api-gov.securitycenter.microsoft.us/.default",
        ],
    }
}

fn imds_url(layers: Layers<'_>) -> Result<Option<Url>, Failure> {
    let name = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
    let text = layers.variable(name);
    text.map(|text| check_address(&text, name)).transpose()
}

/// Returns the address of a cloud's API, or of a region's.
fn preset(cloud: Cloud, region: Option<Region>) -> Result<Url, Failure> {
    let Some(region) = region.map(word_of) else {
        return known_address(addresses(cloud)[0]);
    };
    if cloud == Cloud::Commercial {
        return known_address(&format!("https://{region}.api.security.microsoft.com"));
    }
    let cloud = word_of(cloud);
    let error = format!("region {region} exists in the commercial cloud only, not in {cloud}");
    Err(refuse(error)
        .hint("leave out --region (MDE_CANCEL_REGION), or name another --cloud (MDE_CANCEL_CLOUD)"))
}

fn known_address(text: &str) -> Result<Url, Failure> {
    check_address(text.as_ref(), "--cloud")
}

fn check_address(text: &OsStr, origin: &str) -> Result<Url, Failure> {
    let wrong = || {
        refuse(format!(
            "{origin} is not an address that starts with https://"
        ))
    };
    let text = text.to_str().ok_or_else(wrong)?;
    let mut url = Url::parse(text.trim()).map_err(|_| wrong())?;
    // A final dot doesn't change the host, and its calls share one quota.
    if let Some(Host::Domain(name)) = url.host()
        && let Some(bare) = name.strip_suffix('.').map(str::to_owned)
    {
        url.set_host(Some(&bare)).map_err(|_| wrong())?;
    }
    let (Some(host), "http" | "https") = (url.host(), url.scheme()) else {
        return Err(wrong());
    };
    let is_loopback = match &host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    let has_surplus = !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some();
    if has_surplus {
        return Err(refuse(format!(
            "{origin} must not have a user name, a password, a query or a fragment"
        )));
    }
    if url.scheme() == "http" && !is_loopback {
        return Err(refuse(format!(
            "{origin}: plain http is accepted for loopback addresses only, not for {host}"
        )));
    }
    Ok(url)
}

fn known_cloud(url: &Url, cloud: Cloud) -> Option<Cloud> {
    let host = url.host_str().unwrap_or_default();
    let known = match host {
        "api.security.microsoft.com"
        | "api.securitycenter.microsoft.com"
        | "api.securitycenter.windows.com"
        | "api-us.securitycenter.microsoft.com"
        | "api-eu.securitycenter.microsoft.com"
        | "api-uk.securitycenter.microsoft.com"
        | "api-au.securitycenter.microsoft.com" => Cloud::Commercial,
        "api-gcc.securitycenter.microsoft.us" => Cloud::Gcc,
        // Two clouds share this host.
        "api-gov.securitycenter.microsoft.us" if cloud == Cloud::Dod => Cloud::Dod,
        "api-gov.securitycenter.microsoft.us" => Cloud::GccHigh,
        _ if host.ends_with(".api.security.microsoft.com") => Cloud::Commercial,
        _ => return None,
    };
    (url.port_or_known_default() == Some(443)).then_some(known)
}

fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{host}:{port}")
}
