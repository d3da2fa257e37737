//! Where calls go and by whose leave, as typed. No flag takes a secret: whatever stands on a command line, every user
//! of the machine can read.

use clap::Args;

use super::cloud::{Cloud, Region};
use super::value;
use super::value::Veiled;

/// Where calls go, and by whose leave.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// What the service counts by.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// How to sign in.
    #[command(flatten)]
    pub sign_in: SignInArgs,
}

/// What the service counts by: cloud, tenant and app.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub struct ScopeArgs {
    /// Expect this tenant: a GUID or a domain name [default: the token's] [env: AZURE_TENANT_ID]
    #[arg(long, value_name = "TENANT", value_parser = value::tenant)]
    pub tenant_id: Option<String>,
    /// Count calls for this application [default: the token's] [env: AZURE_CLIENT_ID]
    #[arg(long, value_name = "GUID", value_parser = value::client)]
    pub client_id: Option<String>,
    /// Use this cloud [default: commercial] [env: MDE_CANCEL_CLOUD]
    #[arg(long, value_name = "CLOUD", value_enum)]
    pub cloud: Option<Cloud>,
    /// Use this geography's host of the commercial cloud [env: MDE_CANCEL_REGION]
    #[arg(long, value_name = "REGION", value_enum, conflicts_with = "api_url")]
    pub region: Option<Region>,
    /// Call the service at this address; plain http for loopback only [env: MDE_CANCEL_API_URL]
    #[arg(long, value_name = "URL")]
    pub api_url: Option<Veiled>,
}

/// How to sign in.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub struct SignInArgs {
    /// Sign in by this means; `auto` takes the first whose settings are there: token, client-secret, certificate
    /// (AZURE_CLIENT_CERTIFICATE_PATH), workload-identity (AZURE_FEDERATED_TOKEN_FILE), managed-identity, azure-cli
    /// [default: auto] [env: MDE_CANCEL_CREDENTIAL]
    #[arg(long, value_name = "MEANS", value_enum)]
    pub credential: Option<CredentialChoice>,
    /// Read the app's secret from this file, which only its owner may read; it may also stand in AZURE_CLIENT_SECRET,
    /// never in a flag [env: MDE_CANCEL_CLIENT_SECRET_FILE]
    #[arg(long, value_name = "PATH", conflicts_with = "token_file")]
    pub client_secret_file: Option<Veiled>,
    /// Read a ready access token from this file, again whenever a new one is needed; a token may also stand in
    /// MDE_CANCEL_TOKEN, never in a flag [env: MDE_CANCEL_TOKEN_FILE]
    #[arg(long, value_name = "PATH")]
    pub token_file: Option<Veiled>,
    /// Sign in at this address [default: the cloud's] [env: AZURE_AUTHORITY_HOST]
    #[arg(long, value_name = "URL", hide_short_help = true)]
    pub login_url: Option<Veiled>,
    /// Ask for tokens of this scope [default: the cloud's] [env: MDE_CANCEL_API_SCOPE]
    #[arg(long, value_name = "SCOPE", hide_short_help = true, value_parser = value::api_scope)]
    pub api_scope: Option<String>,
    /// Also trust the certificates in this file (PEM or DER), as for a proxy that opens TLS [env: MDE_CANCEL_CA_FILE]
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    pub ca_file: Option<std::path::PathBuf>,
}

/// The means of signing in, as typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CredentialChoice {
    /// The first whose settings are there
    #[default]
    Auto,
    /// An app, by its secret
    ClientSecret,
    /// An app, by a certificate
    Certificate,
    /// An app, by a federated token, as in Kubernetes
    WorkloadIdentity,
    /// The Azure machine's own identity
    ManagedIdentity,
    /// The Azure CLI's login
    AzureCli,
    /// A person, by a code that is entered in a browser
    DeviceCode,
    /// A ready token
    Token,
}

impl CredentialChoice {
    /// The words by which it is written.
    pub const WORDS: &'static [&'static str] = &[
        "auto",
        "client-secret",
        "certificate",
        "workload-identity",
        "managed-identity",
        "azure-cli",
        "device-code",
        "token",
    ];

    /// Returns the word by which flags and messages name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ClientSecret => "client-secret",
            Self::Certificate => "certificate",
            Self::WorkloadIdentity => "workload-identity",
            Self::ManagedIdentity => "managed-identity",
            Self::AzureCli => "azure-cli",
            Self::DeviceCode => "device-code",
            Self::Token => "token",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn means_are_typed_as_they_are_shown() {
        let mut words = Vec::new();
        for means in CredentialChoice::value_variants() {
            let typed = means.to_possible_value().unwrap();
            assert_eq!(typed.get_name(), means.as_str());
            words.push(means.as_str());
        }
        assert_eq!(words, CredentialChoice::WORDS);
    }
}
