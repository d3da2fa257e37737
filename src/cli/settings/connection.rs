//! Where calls go, what the service counts them by, and by whose leave they go.
//!
//! An address is accepted here only if the client would take it: https, or plain http to this machine, and nothing in
//! it that could leak. The client looks again; here the message can name the flag.

use std::ffi::OsStr;
use std::path::PathBuf;

use secrecy::SecretString;
use url::Host;
use url::Url;

use crate::cli::args::ConnectionArgs;
use crate::cli::args::cloud::Cloud;
use crate::cli::args::cloud::Region;
use crate::cli::args::value;
use crate::cli::args::value::Veiled;

use super::error::SettingsError;
use super::surroundings::Surroundings;

/// The variable that may hold a token; there is no flag for one.
const TOKEN: &str = "MDE_CANCEL_TOKEN";

/// Where the service is and how to sign in.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// The address of the service; it holds no secret.
    pub api_url: Url,
    /// The cloud in the ledger's scopes: the preset's name, or `host:port` of an address that no preset knows.
    pub cloud: String,
    /// The tenant, where one was named: a GUID in lower case, or a domain name.
    pub tenant: Option<String>,
    /// The application, where one was named, in lower case.
    pub client_id: Option<String>,
    /// Where the token comes from.
    pub token: TokenOrigin,
}

/// Where a ready token comes from.
#[derive(Clone, Debug)]
pub enum TokenOrigin {
    /// The environment variable MDE_CANCEL_TOKEN.
    Environment(SecretString),
    /// A file, read again when a new token is needed.
    File(PathBuf),
}

impl ConnectionSettings {
    pub(super) fn resolve(
        typed: ConnectionArgs,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        let scope = typed.scope;
        // An address of which any part was typed is not mixed with parts from variables, which would win over it.
        let is_typed = scope.cloud.is_some() || scope.region.is_some() || scope.api_url.is_some();
        let cloud = around
            .layered_word(
                scope.cloud,
                "MDE_CANCEL_CLOUD",
                &["commercial", "gcc", "gcc-high", "dod"],
            )?
            .unwrap_or_default();
        let (region, custom) = if is_typed {
            (scope.region, typed_address(scope.api_url.as_ref())?)
        } else {
            let regions = &["us", "eu", "uk", "au", "swa", "ina", "aea"];
            let region = around.layered_word(None, "MDE_CANCEL_REGION", regions)?;
            (region, variable_address(around)?)
        };
        let (api_url, cloud) = match custom {
            Some(url) => {
                let label = label_of(&url, cloud);
                (url, label)
            }
            None => (preset(cloud, region)?, cloud.as_str().to_owned()),
        };
        Ok(Self {
            api_url,
            cloud,
            tenant: around.layered(scope.tenant_id, "AZURE_TENANT_ID", value::tenant)?,
            client_id: around.layered(scope.client_id, "AZURE_CLIENT_ID", value::client)?,
            token: token(typed.token_file.as_ref(), around)?,
        })
    }
}

fn preset(cloud: Cloud, region: Option<Region>) -> Result<Url, SettingsError> {
    let address = match (cloud, region) {
        (Cloud::Commercial, None) => "https://api.security.microsoft.com".to_owned(),
        (Cloud::Commercial, Some(region)) => {
            format!("https://{}.api.security.microsoft.com", region.as_str())
        }
        (Cloud::Gcc, None) => "https://api-gcc.securitycenter.microsoft.us".to_owned(),
        (Cloud::GccHigh | Cloud::Dod, None) => {
            "https://api-gov.securitycenter.microsoft.us".to_owned()
        }
        (cloud, Some(region)) => {
            return Err(SettingsError::RegionElsewhere {
                region: region.as_str(),
                cloud: cloud.as_str(),
            });
        }
    };
    Url::parse(&address).map_err(|_| SettingsError::Address { origin: "--cloud" })
}

fn typed_address(typed: Option<&Veiled>) -> Result<Option<Url>, SettingsError> {
    typed
        .map(|text| check_address(text.expose(), "--api-url"))
        .transpose()
}

fn variable_address(around: &Surroundings<'_>) -> Result<Option<Url>, SettingsError> {
    let name = "MDE_CANCEL_API_URL";
    around
        .raw(name)
        .map(|text| check_address(&text, name))
        .transpose()
}

fn check_address(text: &OsStr, origin: &'static str) -> Result<Url, SettingsError> {
    let wrong = || SettingsError::Address { origin };
    let text = text.to_str().ok_or_else(wrong)?;
    let url = Url::parse(text.trim()).map_err(|_| wrong())?;
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
        return Err(SettingsError::AddressSurplus { origin });
    }
    if url.scheme() == "http" && !is_loopback {
        return Err(SettingsError::PlainHttp {
            origin,
            host: host.to_string(),
        });
    }
    Ok(url)
}

/// Returns the cloud that an address belongs to. A host of the service that was typed out is still the service: its
/// calls must be counted with those of the preset.
fn label_of(url: &Url, cloud: Cloud) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let known = match host {
        "api.security.microsoft.com"
        | "api.securitycenter.microsoft.com"
        | "api.securitycenter.windows.com"
        | "api-us.securitycenter.microsoft.com"
        | "api-eu.securitycenter.microsoft.com"
        | "api-uk.securitycenter.microsoft.com"
        | "api-au.securitycenter.microsoft.com" => Some(Cloud::Commercial),
        "api-gcc.securitycenter.microsoft.us" => Some(Cloud::Gcc),
        // Two clouds share this host, so the address alone does not tell them apart.
        "api-gov.securitycenter.microsoft.us" if cloud == Cloud::Dod => Some(Cloud::Dod),
        "api-gov.securitycenter.microsoft.us" => Some(Cloud::GccHigh),
        _ if host.ends_with(".api.security.microsoft.com") => Some(Cloud::Commercial),
        _ => None,
    };
    match known {
        Some(cloud) if port == 443 => cloud.as_str().to_owned(),
        _ => format!("{host}:{port}"),
    }
}

fn token(typed: Option<&Veiled>, around: &Surroundings<'_>) -> Result<TokenOrigin, SettingsError> {
    let file = |text: &OsStr, origin| {
        value::token_path(text)
            .map(TokenOrigin::File)
            .map_err(|source| SettingsError::TokenFile { origin, source })
    };
    if let Some(typed) = typed {
        return file(typed.expose(), "--token-file");
    }
    let name = "MDE_CANCEL_TOKEN_FILE";
    match (around.text(TOKEN)?, around.raw(name)) {
        (Some(_), Some(_)) => Err(SettingsError::TwoTokens),
        (Some(token), None) => Ok(TokenOrigin::Environment(SecretString::from(token))),
        (None, Some(path)) => file(&path, name),
        (None, None) => Err(SettingsError::NoToken),
    }
}
