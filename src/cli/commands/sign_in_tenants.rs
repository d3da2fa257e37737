//! The lanes of a run: one per tenant, each with its own credential and scopes.
//!
//! If a tenant can't be signed in to, only its lane stops: its rows say why, and the others continue. Lanes with the
//! same address share connections, so that hundreds of tenants need no more sockets than there are calls in flight.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use url::Url;

use crate::api::Connection;
use crate::auth::{CachePolicy, Credential, LoginClient};
use crate::cli::failure::Failure;
use crate::cli::hint::Hint;
use crate::cli::journaled_config::{RunConfig, StoredTenant};
use crate::cli::settings::{ConnectionSettings, same_tenant};
use crate::clock::{Clock, SystemClock};
use crate::engine::{LaneClientResult, LaneClients, LaneName, LaneNames};
use crate::input::Input;
use crate::model::{LaneId, RunId, SEVERAL};
use crate::platform;
use crate::store::NewRun;

use super::sandbox::EmbeddedSandbox;
use super::service_clients::{
    self, CallerIdentity, connect, credential_over, handles, login_client,
};

/// Concurrent sign-ins: enough for hundreds of tenants in seconds, few enough for one login service.
const SIGN_INS_AT_ONCE: usize = 32;

/// The run continues a slower sign-in, so that one slow login service doesn't delay the other tenants.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct LaneSetup {
    pub(super) way: LaneClientResult,
    pub(super) identity: CallerIdentity,
    pub(super) profile: Option<String>,
}

pub(super) struct Lanes {
    pub(super) all: Vec<LaneSetup>,
    pub(super) names: Arc<LaneNames>,
    pub(super) sandbox: Option<EmbeddedSandbox>,
}

impl LaneSetup {
    fn name(&self) -> LaneName {
        self.identity.lane_name(self.profile.as_deref())
    }
}

impl Lanes {
    /// Starts the run's sandbox, with one lane.
    pub(super) async fn sandbox(
        inputs: &[Input],
        config: &RunConfig,
        run: RunId,
        state_dir: &Path,
    ) -> Result<Self, Failure> {
        let (settings, scale, timeout) =
            (config.input_settings(), config.time_scale, config.timeout);
        let (handles, sandbox) =
            EmbeddedSandbox::start(inputs, &settings, run, state_dir, scale, timeout).await?;
        let identity = CallerIdentity::of_sandbox(run);
        Ok(Self::one(handles, identity, None, Some(sandbox)))
    }

    pub(super) async fn single(
        tenant: &ConnectionSettings,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let (credential, identity) = service_clients::sign_in(tenant, timeout).await?;
        let handles = handles(connect(tenant, timeout)?, credential);
        Ok(Self::one(handles, identity, tenant.profile.clone(), None))
    }

    fn one(
        handles: LaneClients,
        identity: CallerIdentity,
        profile: Option<String>,
        sandbox: Option<EmbeddedSandbox>,
    ) -> Self {
        let lane = LaneSetup {
            way: Ok(Arc::new(handles)),
            identity,
            profile,
        };
        // In a sandbox, the tenants of rows don't matter.
        let names = if sandbox.is_some() {
            LaneNames::default()
        } else {
            LaneNames::new(vec![lane.name()])
        };
        Self {
            names: Arc::new(names),
            all: vec![lane],
            sandbox,
        }
    }

    /// Signs in to several tenants concurrently.
    pub(super) async fn several(
        tenants: &[ConnectionSettings],
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut clients = ClientPool::default();
        let ready: Vec<_> = tenants
            .iter()
            .map(|settings| (settings, clients.prepare(settings, timeout, &clock)))
            .collect();
        let signing = ready
            .into_iter()
            .map(|(settings, ready)| sign_in(settings, ready, Arc::clone(&clock)));
        let all: Vec<LaneSetup> = stream::iter(signing)
            .buffered(SIGN_INS_AT_ONCE)
            .collect()
            .await;
        let names = LaneNames::new(all.iter().map(LaneSetup::name).collect());
        // Only tokens show which domain names and ids are the same tenant.
        if let Some((one, other)) = names.ambiguous() {
            let profile = |lane: LaneId| {
                let profile = all[usize::from(lane.0)].profile.as_deref();
                profile.unwrap_or_default()
            };
            let tenant = all[usize::from(one.0)].identity.true_tenant();
            return Err(same_tenant(profile(one), profile(other), &tenant));
        }
        Ok(Self {
            all,
            names: Arc::new(names),
            sandbox: None,
        })
    }

    /// Returns the tenant, app and cloud that the journal stores for the whole run.
    fn parties(&self) -> [String; 3] {
        let of = |party: fn(&CallerIdentity) -> &String| {
            let mut all = self.all.iter().map(|lane| party(&lane.identity));
            let first = all.next().cloned().unwrap_or_default();
            if all.all(|other| *other == first) {
                first
            } else {
                SEVERAL.to_owned()
            }
        };
        let tenant = if self.names.are_several() {
            SEVERAL.to_owned()
        } else {
            of(|identity| &identity.tenant)
        };
        [
            tenant,
            of(|identity| &identity.app),
            of(|identity| &identity.cloud),
        ]
    }

    /// Describes a new run of these tenants for the journal.
    pub(super) fn new_run(
        &self,
        id: RunId,
        created: Timestamp,
        settings: String,
        inputs: Vec<String>,
    ) -> NewRun {
        let [tenant, app, cloud] = self.parties();
        NewRun {
            id,
            created,
            settings,
            inputs: serde_json::Value::from(inputs).to_string(),
            tenant,
            app,
            cloud,
            host: platform::host_name(),
            user: platform::user_name(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Returns what the journal stores about several tenants, so that a resume finds them.
    pub(super) fn kept(&self) -> Vec<StoredTenant> {
        if !self.names.are_several() {
            return Vec::new();
        }
        let kept = self.all.iter().map(|lane| StoredTenant {
            profile: lane.profile.clone().unwrap_or_default(),
            cloud: lane.identity.cloud.clone(),
            tenant: lane.identity.tenant.clone(),
            app: lane.identity.app.clone(),
        });
        kept.collect()
    }

    /// Returns where calls go, for display.
    pub(super) fn place(&self) -> Vec<(&'static str, String)> {
        match self.all.as_slice() {
            [lane] => lane.identity.place().into(),
            lanes => {
                let shown = lanes.iter().map(|lane| lane.name().shown);
                let shown: Vec<_> = shown.map(Option::unwrap_or_default).collect();
                vec![
                    ("tenants", format!("{}: {}", lanes.len(), shown.join(", "))),
                    ("rate", "each tenant by its own quota".to_owned()),
                ]
            }
        }
    }
}

/// A connection and a credential, before anything is sent.
type Ready = Result<(Connection, Credential), Failure>;

/// Clients shared by lanes with the same addresses.
#[derive(Default)]
struct ClientPool {
    connections: HashMap<(Url, Option<PathBuf>), Connection>,
    logins: HashMap<Option<PathBuf>, LoginClient>,
}

impl ClientPool {
    fn prepare(
        &mut self,
        settings: &ConnectionSettings,
        timeout: Duration,
        clock: &Arc<dyn Clock>,
    ) -> Ready {
        let place = (settings.api_url.clone(), settings.ca_file.clone());
        let connection = match self.connections.entry(place) {
            Entry::Occupied(open) => open.get().clone(),
            Entry::Vacant(place) => place.insert(connect(settings, timeout)?).clone(),
        };
        let login = || {
            let login = match self.logins.entry(settings.ca_file.clone()) {
                Entry::Occupied(login) => login.get().clone(),
                Entry::Vacant(place) => place.insert(login_client(settings, timeout)?).clone(),
            };
            Ok(login.with_login(settings.login_url.clone()))
        };
        let credential = credential_over(settings, clock, login)?;
        Ok((connection, credential))
    }
}

async fn sign_in(settings: &ConnectionSettings, ready: Ready, clock: Arc<dyn Clock>) -> LaneSetup {
    let profile = settings.profile.clone();
    let unsigned = |way: LaneClientResult| LaneSetup {
        way,
        identity: CallerIdentity::of(settings, None, None),
        profile: settings.profile.clone(),
    };
    let (connection, credential) = match ready {
        Ok(ready) => ready,
        Err(error) => return unsigned(Err(closed(settings, &error))),
    };
    let until = clock.now().uptime.after(PATIENCE);
    let token = tokio::select! {
        token = credential.token(CachePolicy::Cached) => Some(token),
        () = clock.sleep_until(until) => None,
    };
    match token {
        Some(Ok(token)) => {
            let token_ends = token.expires_at.filter(|_| !credential.is_renewable());
            LaneSetup {
                identity: CallerIdentity::of(settings, Some(token), token_ends),
                way: Ok(Arc::new(handles(connection, credential))),
                profile,
            }
        }
        Some(Err(error)) if !error.is_transient() => unsigned(Err(closed(settings, &error.into()))),
        // The run retries the sign-in.
        Some(Err(_)) | None => unsigned(Ok(Arc::new(handles(connection, credential)))),
    }
}

/// Returns why a tenant's rows won't be attempted.
fn closed(settings: &ConnectionSettings, failure: &Failure) -> Arc<str> {
    let error = &failure.error;
    let profile = settings.profile.as_deref().unwrap_or_default();
    tracing::warn!(profile, %error, "no sign-in; the rows of this tenant are not attempted");
    match failure.hints.first() {
        Some(Hint::Text(hint)) => Arc::from(format!("{error}; {hint}")),
        _ => Arc::from(error.to_string()),
    }
}
