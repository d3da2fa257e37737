//! Sign-ins that the Azure library performs: an app's secret, certificate or federated token, a managed identity, and
//! the Azure CLI's login.
//!
//! Each sign-in builds the library's credential anew: its own cache cannot be told to forget, keeps no token of the
//! CLI's, and looks at a federated token's file every ten minutes only. Our cache stands above it.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::process::Output;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, Secret, TokenCredential};
use azure_core::http::{ClientMethodOptions, ClientOptions, RetryOptions, Transport};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientAssertion, ClientAssertionCredential,
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    Executor, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use crate::clock::Clock;

use super::certificate::Certificate;
use super::refusal::Refusal;
use super::secret_file::read_private;
use super::token::{AuthError, Token};
use super::web::{Line, Web};

/// The Azure CLI is a Python program that signs in itself; one that has not answered by then hangs.
const CLI_PATIENCE: Duration = Duration::from_secs(60);

/// What helps where the CLI gives no token.
const CLI_MEND: &str = "run `az login` (for this tenant: `az login --tenant`), and try again";

/// Where a client secret stands.
#[derive(Clone, Debug)]
pub enum SecretOrigin {
    /// In a variable, by its name.
    Value(SecretString, String),
    /// In a file that only its owner can read; looked at anew for each sign-in.
    File(PathBuf),
}

/// Who signs in, and how that is proved.
#[derive(Clone, Debug)]
pub enum AzureKind {
    /// An app, by its secret.
    ClientSecret {
        /// Its tenant.
        tenant: String,
        /// Its client id.
        client: String,
        /// Its secret.
        secret: SecretOrigin,
    },
    /// An app, by a certificate.
    Certificate {
        /// Its tenant.
        tenant: String,
        /// Its client id.
        client: String,
        /// Its certificate, with the key.
        certificate: Arc<Certificate>,
    },
    /// An app, by a token of somebody whom it trusts, as in Kubernetes.
    WorkloadIdentity {
        /// Its tenant.
        tenant: String,
        /// Its client id.
        client: String,
        /// Where that token stands; whoever writes it also sets its modes.
        token_file: PathBuf,
    },
    /// The machine.
    ManagedIdentity {
        /// The client id of a user-assigned identity; the machine's own where there is none.
        client: Option<String>,
    },
    /// Whoever is logged in to the Azure CLI.
    AzureCli {
        /// The tenant that was asked for, if one was.
        tenant: Option<String>,
    },
}

/// A sign-in through the library.
pub struct AzureSource {
    kind: AzureKind,
    scope: String,
    web: Web,
    clock: Arc<dyn Clock>,
}

impl AzureSource {
    /// Binds a sign-in to a scope and a login service; nothing is sent.
    pub fn new(kind: AzureKind, scope: String, web: Web, clock: Arc<dyn Clock>) -> Self {
        Self {
            kind,
            scope,
            web,
            clock,
        }
    }

    /// Gets a new token; nothing is tried twice.
    ///
    /// # Cancel safety
    /// Safe: a program that was started is ended.
    pub(super) async fn sign_in(&self) -> Result<Token, AuthError> {
        if let AzureKind::AzureCli { tenant } = &self.kind {
            return self.ask_cli(tenant.clone()).await;
        }
        let line = Line::new(self.web.clone());
        let credential = self.credential(&line)?;
        let scopes = [self.scope.as_str()];
        let got = tokio::select! {
            biased;
            // The library would go on trying.
            fault = line.fault() => return Err(fault),
            got = credential.get_token(&scopes, None) => got,
        };
        let got = got.map_err(|_| {
            line.take_fault().unwrap_or_else(|| AuthError::Unavailable {
                place: self.place(),
                what: "it answered something in which no token stands".to_owned(),
            })
        })?;
        self.token(&got)
    }

    fn place(&self) -> String {
        match &self.kind {
            AzureKind::ManagedIdentity { .. } => "the managed identity's endpoint".to_owned(),
            AzureKind::AzureCli { .. } => "the Azure CLI".to_owned(),
            _ => "the login service".to_owned(),
        }
    }

    fn token(&self, got: &AccessToken) -> Result<Token, AuthError> {
        let end = Timestamp::from_nanosecond(got.expires_on.unix_timestamp_nanos()).ok();
        let expires_at = match &self.kind {
            AzureKind::ManagedIdentity { .. } | AzureKind::AzureCli { .. } => end,
            // A life in whole seconds, of which a part was cut off before and none is left for the way here.
            _ => end.and_then(|end| end.checked_sub(SignedDuration::from_secs(1)).ok()),
        };
        Token::brought(got.token.secret(), expires_at, &self.place())
    }

    fn credential(&self, line: &Arc<Line>) -> Result<Arc<dyn TokenCredential>, AuthError> {
        let client_options = self.options(line);
        let assertions = |client_options| ClientAssertionCredentialOptions { client_options };
        let (kind, made): (_, azure_core::Result<Arc<dyn TokenCredential>>) = match &self.kind {
            AzureKind::ClientSecret {
                tenant,
                client,
                secret,
            } => {
                let secret = secret.read()?;
                let secret = Secret::new(secret.expose_secret().to_owned());
                let options = ClientSecretCredentialOptions { client_options };
                let made =
                    ClientSecretCredential::new(tenant, client.clone(), secret, Some(options));
                ("client-secret", made.map(|made| made as _))
            }
            AzureKind::Certificate {
                tenant,
                client,
                certificate,
            } => {
                let statement = Statement {
                    certificate: Arc::clone(certificate),
                    client: client.clone(),
                    audience: self.web.endpoint(tenant, "token").to_string(),
                    clock: Arc::clone(&self.clock),
                };
                let options = Some(assertions(client_options));
                let made = ClientAssertionCredential::new(
                    tenant.clone(),
                    client.clone(),
                    statement,
                    options,
                );
                ("certificate", made.map(|made| made as _))
            }
            AzureKind::WorkloadIdentity {
                tenant,
                client,
                token_file,
            } => {
                std::fs::metadata(token_file).map_err(|source| AuthError::Unreadable {
                    what: "federated token file",
                    path: token_file.clone(),
                    source,
                })?;
                let options = WorkloadIdentityCredentialOptions {
                    credential_options: assertions(client_options),
                    client_id: Some(client.clone()),
                    tenant_id: Some(tenant.clone()),
                    token_file_path: Some(token_file.clone()),
                };
                let made = WorkloadIdentityCredential::new(Some(options));
                ("workload-identity", made.map(|made| made as _))
            }
            AzureKind::ManagedIdentity { client } => {
                let options = ManagedIdentityCredentialOptions {
                    user_assigned_id: client.clone().map(UserAssignedId::ClientId),
                    client_options,
                };
                let made = ManagedIdentityCredential::new(Some(options));
                ("managed-identity", made.map(|made| made as _))
            }
            AzureKind::AzureCli { tenant } => {
                let options = AzureCliCredentialOptions {
                    tenant_id: tenant.clone(),
                    ..AzureCliCredentialOptions::default()
                };
                let made = AzureCliCredential::new(Some(options));
                ("azure-cli", made.map(|made| made as _))
            }
        };
        // These errors are about the settings and hold no secret.
        made.map_err(|error| AuthError::Missing {
            kind,
            what: format!("other settings: {error}"),
        })
    }

    fn options(&self, line: &Arc<Line>) -> ClientOptions {
        let mut cloud = CustomConfiguration::default();
        cloud.authority_host = self.web.authority();
        ClientOptions {
            transport: Some(Transport::new(Arc::clone(line) as _)),
            retry: RetryOptions::none(),
            cloud: Some(Arc::new(CloudConfiguration::from(cloud))),
            ..ClientOptions::default()
        }
    }

    async fn ask_cli(&self, tenant: Option<String>) -> Result<Token, AuthError> {
        let runner = Arc::new(Runner::default());
        let options = AzureCliCredentialOptions {
            tenant_id: tenant,
            executor: Some(Arc::clone(&runner) as _),
            ..AzureCliCredentialOptions::default()
        };
        let credential =
            AzureCliCredential::new(Some(options)).map_err(|error| AuthError::Missing {
                kind: "azure-cli",
                what: format!("other settings: {error}"),
            })?;
        let scopes = [self.scope.as_str()];
        let asked = credential.get_token(&scopes, None);
        let Ok(got) = tokio::time::timeout(CLI_PATIENCE, asked).await else {
            return Err(AuthError::Unavailable {
                place: self.place(),
                what: format!("no answer within {} s", CLI_PATIENCE.as_secs()),
            });
        };
        match got {
            Ok(got) => self.token(&got),
            Err(_) => Err(runner.complaint(self.place())),
        }
    }
}

impl fmt::Debug for AzureSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureSource")
            .field("kind", &self.kind)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl SecretOrigin {
    fn read(&self) -> Result<SecretString, AuthError> {
        let (secret, origin) = match self {
            Self::Value(secret, origin) => (secret.clone(), origin.clone()),
            Self::File(path) => (
                read_private(path, "client secret file")?,
                format!("the client secret file {}", path.display()),
            ),
        };
        // Editors and `echo` leave an end of line there, which is no part of any secret.
        let bare = secret.expose_secret().trim_start_matches('\u{feff}').trim();
        if bare.is_empty() {
            return Err(AuthError::Empty { origin });
        }
        Ok(SecretString::from(bare))
    }
}

/// The statement that an app with a certificate makes.
struct Statement {
    certificate: Arc<Certificate>,
    client: String,
    audience: String,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statement")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl ClientAssertion for Statement {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let now = self.clock.now().wall;
        self.certificate
            .assertion(&self.client, &self.audience, now)
            .map_err(|_| {
                azure_core::Error::with_message(
                    azure_core::error::ErrorKind::Credential,
                    "the system gives no random numbers",
                )
            })
    }
}

/// Runs the CLI, ends it when nobody waits for it any more, and keeps its complaint.
#[derive(Debug, Default)]
struct Runner {
    // std Mutex: nothing awaits while it is held.
    complaint: Mutex<Option<String>>,
}

impl Runner {
    fn complaint(&self, place: String) -> AuthError {
        let words = self
            .complaint
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let refusal = match words {
            Some(words) if words.contains("not found") && words.contains("az") => Refusal::told(
                "it is not on PATH",
                "install the Azure CLI, or choose another --credential",
            ),
            Some(words) => Refusal::in_words(&words, CLI_MEND),
            // What it printed is not repeated: a token may stand in it.
            None => Refusal::told(
                "what it printed is no token with an end",
                "install Azure CLI 2.54 or newer",
            ),
        };
        AuthError::Refused { place, refusal }
    }
}

#[async_trait::async_trait]
impl Executor for Runner {
    async fn run(&self, program: &OsStr, args: &[&OsStr]) -> std::io::Result<Output> {
        let output = tokio::process::Command::new(program)
            .args(args)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            *self
                .complaint
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(words);
        }
        Ok(output)
    }
}
