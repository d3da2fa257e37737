//! Gets a managed identity's token from a virtual machine's metadata service or from App Service.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

use super::login_client::{LoginClient, LoginResponse};
use super::token::AuthError;

const METADATA_SERVICE: &str = "http://169.254.169.254/metadata/identity/oauth2/token";

const API_VERSION: &str = "2019-08-01";

/// Short, because the endpoint is local; off Azure, the metadata service's address doesn't respond.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A managed identity, with its endpoint on this machine.
#[derive(Debug)]
pub struct ManagedIdentity {
    endpoint: Url,
    /// The secret by which App Service recognizes processes of the app.
    header: Option<SecretString>,
    /// The client id of a user-assigned identity.
    client: Option<String>,
}

impl ManagedIdentity {
    /// Finds the endpoint from the variables that Azure's services set. The default is the metadata service, at
    /// `metadata_host` if set.
    pub fn find(
        client: Option<String>,
        metadata_host: Option<&Url>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, AuthError> {
        let endpoint = variable("IDENTITY_ENDPOINT");
        let header = variable("IDENTITY_HEADER");
        let is_set = |name| variable(name).is_some();
        let unsupported = match (&endpoint, &header) {
            (Some(_), Some(_)) if is_set("IDENTITY_SERVER_THUMBPRINT") => Some("Service Fabric"),
            (Some(_), None) if is_set("IMDS_ENDPOINT") => Some("Azure Arc"),
            (None, _) if is_set("MSI_ENDPOINT") && is_set("MSI_SECRET") => Some("Azure ML"),
            (None, _) if is_set("MSI_ENDPOINT") => Some("Cloud Shell"),
            _ => None,
        };
        if let Some(service) = unsupported {
            return Err(AuthError::UnsupportedIdentity { service });
        }
        let address = match (&endpoint, &header) {
            (Some(endpoint), Some(_)) => endpoint.as_str(),
            _ => METADATA_SERVICE,
        };
        let foreign = |address: &str| AuthError::ForeignEndpoint {
            address: address.to_owned(),
        };
        let mut endpoint = Url::parse(address).map_err(|_| foreign(address))?;
        if let (METADATA_SERVICE, Some(host)) = (address, metadata_host) {
            let path = endpoint.path().to_owned();
            endpoint = host.clone();
            endpoint.set_path(&path);
        }
        if !is_on_this_machine(&endpoint) {
            let host = endpoint.host_str().unwrap_or_default();
            return Err(foreign(&format!("{}://{host}", endpoint.scheme())));
        }
        Ok(Self {
            endpoint,
            header: header.map(SecretString::from),
            client,
        })
    }

    pub(super) async fn ask(
        &self,
        login: &LoginClient,
        resource: &str,
    ) -> Result<LoginResponse, AuthError> {
        let mut url = self.endpoint.clone();
        url.query_pairs_mut()
            .extend_pairs([("api-version", API_VERSION), ("resource", resource)])
            .extend_pairs(self.client.iter().map(|client| ("client_id", client)));
        let mut call = login
            .client(&url)
            .get(url.clone())
            .timeout(TIMEOUT)
            .header("Metadata", "true");
        if let Some(header) = &self.header {
            call = call.header("X-IDENTITY-HEADER", header.expose_secret());
        }
        login
            .identity_response(call, &url, self.header.clone())
            .await
    }
}

/// Returns whether an address is on this machine, or link-local: offered by its host to it alone.
fn is_on_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_link_local(),
        Some(Host::Ipv6(address)) => address.is_loopback() || address.is_unicast_link_local(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(set: &[(&str, &str)]) -> Result<ManagedIdentity, AuthError> {
        ManagedIdentity::find(None, None, |name| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_variables_of_a_service_tell_its_endpoint() {
        let metadata = find(&[]).unwrap();
        assert_eq!(metadata.endpoint.as_str(), METADATA_SERVICE);
        let app_service = [
            ("IDENTITY_ENDPOINT", "http://127.0.0.1:41/msi/token"),
            ("IDENTITY_HEADER", "s3cr3t-header"),
        ];
        let found = find(&app_service).unwrap();
        assert_eq!(found.endpoint.as_str(), "http://127.0.0.1:41/msi/token");
        assert!(!format!("{found:?}").contains("s3cr3t"));
        let mut fabric = app_service.to_vec();
        fabric.push(("IDENTITY_SERVER_THUMBPRINT", "x"));
        for (set, service) in [
            (&fabric[..], "Service Fabric"),
            (
                &[
                    ("IDENTITY_ENDPOINT", "http://localhost:1"),
                    ("IMDS_ENDPOINT", "http://localhost:2"),
                ],
                "Azure Arc",
            ),
            (&[("MSI_ENDPOINT", "x"), ("MSI_SECRET", "y")], "Azure ML"),
            (&[("MSI_ENDPOINT", "x")], "Cloud Shell"),
        ] {
            let error = find(set).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("a managed identity of {service} is not supported")
            );
        }
    }

    #[test]
    fn an_endpoint_that_is_not_on_this_machine_is_refused() {
        for foreign in [
            "http://evil.example/msi",
            "https://10.0.0.1/msi",
            "no address",
        ] {
            let set = [("IDENTITY_ENDPOINT", foreign), ("IDENTITY_HEADER", "x")];
            let error = find(&set).unwrap_err();
            assert!(
                matches!(error, AuthError::ForeignEndpoint { .. }),
                "{foreign}"
            );
        }
        let host: Url = "http://127.0.0.1:99".parse().unwrap();
        let moved = ManagedIdentity::find(None, Some(&host), |_| None).unwrap();
        assert_eq!(
            moved.endpoint.as_str(),
            "http://127.0.0.1:99/metadata/identity/oauth2/token"
        );
    }
}
