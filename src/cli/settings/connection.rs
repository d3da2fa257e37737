//! Where calls go, what the service counts them by, and by whose leave they go.
//!
//! An address is accepted here only if the client would take it: https, or plain http to this machine, and nothing in
//! it that could leak. The client looks again; here the message can name the flag.

use std::ffi::OsStr;
use std::path::PathBuf;

use url::{Host, Url};

use crate::cli::args::cloud::{Cloud, Region};
use crate::cli::args::value::Veiled;
use crate::cli::args::{ConnectionArgs, value};

use super::error::SettingsError;
use super::sign_in::{Choice, SignIn};
use super::surroundings::Surroundings;

/// Where the service is and how to sign in.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// The profile of the config file that they come from.
    pub profile: Option<String>,
    /// The address of the service; it holds no secret.
    pub api_url: Url,
    /// The cloud in the ledger's scopes: the preset's name, or `host:port` of an address that no preset knows.
    pub cloud: String,
    /// The tenant, where one was named: a GUID in lower case, or a domain name.
    pub tenant: Option<String>,
    /// The application, where one was named, in lower case.
    pub client_id: Option<String>,
    /// The address of the login service; it holds no secret.
    pub login_url: Url,
    /// What tokens are asked for.
    pub api_scope: String,
    /// Certificates that are trusted besides the public ones.
    pub ca_file: Option<PathBuf>,
    /// Where a virtual machine's managed identity is asked for in place of its own address.
    pub imds_url: Option<Url>,
    /// By which means to sign in. Where it takes a tenant or an application, that is named.
    pub sign_in: SignIn,
    /// How that came to be chosen.
    pub choice: Choice,
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
        let (api_url, label, cloud) = match custom {
            // A host of the service that was typed out is still the service: its calls must be counted with those of
            // the preset, and it takes the preset's tokens.
            Some(url) => {
                let known = known_cloud(&url, cloud);
                let label =
                    known.map_or_else(|| host_and_port(&url), |known| known.as_str().to_owned());
                (url, label, known.unwrap_or(cloud))
            }
            None => (preset(cloud, region)?, cloud.as_str().to_owned(), cloud),
        };
        let (sign_in, choice) = SignIn::resolve(&typed.sign_in, around)?;
        let profile = around.config.as_ref().and_then(|config| config.profile());
        let settings = Self {
            profile: profile.map(str::to_owned),
            api_url,
            cloud: label,
            tenant: around.layered(scope.tenant_id, "AZURE_TENANT_ID", value::tenant)?,
            client_id: around.layered(scope.client_id, "AZURE_CLIENT_ID", value::client)?,
            login_url: login_address(typed.sign_in.login_url.as_ref(), cloud, around)?,
            api_scope: around
                .layered(
                    typed.sign_in.api_scope,
                    "MDE_CANCEL_API_SCOPE",
                    value::api_scope,
                )?
                .unwrap_or_else(|| default_scope(cloud).to_owned()),
            ca_file: around.layered_path(typed.sign_in.ca_file, "MDE_CANCEL_CA_FILE"),
            imds_url: imds_address(around)?,
            sign_in,
            choice,
        };
        settings.check_parties()?;
        Ok(settings)
    }

    /// Refuses a means of signing in that does not know for whom.
    fn check_parties(&self) -> Result<(), SettingsError> {
        let needs_app = matches!(
            self.sign_in,
            SignIn::ClientSecret(_)
                | SignIn::Certificate(_)
                | SignIn::WorkloadIdentity(_)
                | SignIn::DeviceCode
        );
        let means = self.choice.means.as_str();
        if needs_app && self.tenant.is_none() {
            let what = "a tenant: give --tenant-id or set AZURE_TENANT_ID";
            return Err(SettingsError::Incomplete { means, what });
        }
        if needs_app && self.client_id.is_none() {
            let what = "an application: give --client-id or set AZURE_CLIENT_ID";
            return Err(SettingsError::Incomplete { means, what });
        }
        Ok(())
    }
}

/// Returns what tokens are asked for in a cloud (MDE facts, 3.3). The audience is not the host's name: the commercial
/// one kept its old one. Those of the government clouds are not documented and in use by others.
fn default_scope(cloud: Cloud) -> &'static str {
    match cloud {
        Cloud::Commercial => "https://api.securitycenter.microsoft.com/.default",
        Cloud::Gcc => "https://api-gcc.securitycenter.microsoft.us/.default",
        Cloud::GccHigh | Cloud::Dod => "https://api-gov.securitycenter.microsoft.us/.default",
    }
}

fn login_address(
    typed: Option<&Veiled>,
    cloud: Cloud,
    around: &Surroundings<'_>,
) -> Result<Url, SettingsError> {
    if let Some(typed) = typed {
        return check_address(typed.expose(), "--login-url");
    }
    let name = "AZURE_AUTHORITY_HOST";
    if let Some(text) = around.text(name)? {
        // Azure's own tools take the bare host, too.
        let text = if text.contains("://") {
            text
        } else {
            format!("https://{text}")
        };
        return check_address(text.as_ref(), name);
    }
    let address = match cloud {
        Cloud::Commercial | Cloud::Gcc => "https://login.microsoftonline.com",
        Cloud::GccHigh | Cloud::Dod => "https://login.microsoftonline.us",
    };
    Url::parse(address).map_err(|_| SettingsError::Address { origin: "--cloud" })
}

fn imds_address(around: &Surroundings<'_>) -> Result<Option<Url>, SettingsError> {
    let name = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
    around
        .variable(name)
        .map(|text| check_address(&text, name))
        .transpose()
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
    let mut url = Url::parse(text.trim()).map_err(|_| wrong())?;
    // A name with a dot at its end is the same host, whose calls are counted together.
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

/// Returns the cloud whose service is at an address.
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
        // Two clouds share this host, so the address alone does not tell them apart.
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
