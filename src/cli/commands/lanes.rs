//! The lanes of a run: one for each tenant, each with a credential and scopes of its own.
//!
//! What keeps one tenant from being signed in to is that lane's matter alone: its rows say why, and the others go on.
//! Lanes that call one address share their connections, so that hundreds of tenants need no more sockets than calls are
//! under way.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use url::Url;

use crate::api::{ApiError, Connection};
use crate::auth::{Credential, Freshness, LoginClient, Token};
use crate::cli::settings::ConnectionSettings;
use crate::clock::{Clock, SystemClock};
use crate::engine::{LaneName, LaneNames, LaneWay};
use crate::model::{Destination, SEVERAL, Scope};

use super::order::KeptLane;
use super::service::{Identity, Service, connect, handles};
use super::service_error::ServiceError;
use super::sign_in::{credential_over, login_client};

/// Sign-ins under way at once: enough that hundreds are done in seconds, few enough for one login service.
const SIGN_INS_AT_ONCE: usize = 32;

/// A sign-in that takes longer is left to the run, so that one slow login service keeps no other tenant waiting.
const PATIENCE: Duration = Duration::from_secs(5);

/// One tenant of a run.
pub(super) struct Lane {
    pub(super) way: LaneWay,
    pub(super) identity: Identity,
    /// The profile that it comes from.
    pub(super) profile: Option<String>,
}

/// Every tenant of a run.
pub(super) struct Lanes {
    pub(super) all: Vec<Lane>,
    pub(super) names: Arc<LaneNames>,
    /// Keeps an embedded sandbox going.
    pub(super) service: Option<Service>,
}

impl Lane {
    /// Returns the scope of one kind of call.
    pub(super) fn scope(&self, destination: Destination) -> Scope {
        self.identity.scope(destination)
    }

    fn name(&self) -> LaneName {
        self.identity.lane_name(self.profile.as_deref())
    }
}

impl Lanes {
    /// Makes the one lane of a run in one tenant.
    pub(super) fn one(service: Service, profile: Option<String>) -> Self {
        let lane = Lane {
            way: Ok(Arc::clone(&service.lane)),
            identity: service.identity.clone(),
            profile,
        };
        Self {
            names: Arc::new(LaneNames::new(vec![lane.name()])),
            all: vec![lane],
            service: Some(service),
        }
    }

    /// Signs in to several tenants side by side.
    pub(super) async fn several(tenants: &[ConnectionSettings], timeout: Duration) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut clients = Clients {
            timeout,
            clock: Arc::clone(&clock),
            connections: Vec::new(),
            logins: Vec::new(),
        };
        let ready: Vec<_> = tenants
            .iter()
            .map(|settings| (settings, clients.prepare(settings)))
            .collect();
        let signing = ready
            .into_iter()
            .map(|(settings, ready)| sign_in(settings, ready, Arc::clone(&clock)));
        let all: Vec<Lane> = stream::iter(signing)
            .buffered(SIGN_INS_AT_ONCE)
            .collect()
            .await;
        let names = all.iter().map(Lane::name).collect();
        Self {
            all,
            names: Arc::new(LaneNames::new(names)),
            service: None,
        }
    }

    /// Returns what the journal calls tenant, app and cloud of the whole run.
    pub(super) fn parties(&self) -> [String; 3] {
        let of = |party: fn(&Identity) -> &String| {
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

    /// Returns what the journal keeps of several tenants, so that a resume finds them again.
    pub(super) fn kept(&self) -> Vec<KeptLane> {
        if !self.names.are_several() {
            return Vec::new();
        }
        let kept = self.all.iter().map(|lane| KeptLane {
            profile: lane.profile.clone().unwrap_or_default(),
            cloud: lane.identity.cloud.clone(),
            tenant: lane.identity.tenant.clone(),
            app: lane.identity.app.clone(),
        });
        kept.collect()
    }

    /// Names where calls go, for people.
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

/// A way to a token and one to the service, before anything is sent.
type Ready = Result<(Connection, Credential), ServiceError>;

/// Clients that lanes share where they lead to one place.
struct Clients {
    timeout: Duration,
    clock: Arc<dyn Clock>,
    connections: Vec<((Url, Option<PathBuf>), Connection)>,
    logins: Vec<(Option<PathBuf>, LoginClient)>,
}

impl Clients {
    fn prepare(&mut self, settings: &ConnectionSettings) -> Ready {
        let connection = self.connection(settings)?;
        let clock = Arc::clone(&self.clock);
        let credential = credential_over(settings, &clock, || self.login(settings))?;
        Ok((connection, credential))
    }

    fn connection(&mut self, settings: &ConnectionSettings) -> Result<Connection, ServiceError> {
        let place = (settings.api_url.clone(), settings.ca_file.clone());
        if let Some((_, open)) = self.connections.iter().find(|(known, _)| *known == place) {
            return Ok(open.clone());
        }
        let open = connect(settings, self.timeout)?;
        self.connections.push((place, open.clone()));
        Ok(open)
    }

    fn login(&mut self, settings: &ConnectionSettings) -> Result<LoginClient, ApiError> {
        let known = self
            .logins
            .iter()
            .find(|(file, _)| *file == settings.ca_file);
        let login = if let Some((_, login)) = known {
            login.clone()
        } else {
            let login = login_client(settings, self.timeout)?;
            self.logins.push((settings.ca_file.clone(), login.clone()));
            login
        };
        Ok(login.with_login(settings.login_url.clone()))
    }
}

async fn sign_in(settings: &ConnectionSettings, ready: Ready, clock: Arc<dyn Clock>) -> Lane {
    let profile = settings.profile.clone();
    let unsigned = |way: LaneWay| Lane {
        way,
        identity: Identity::of(settings, None, None),
        profile: settings.profile.clone(),
    };
    let (connection, credential) = match ready {
        Ok(ready) => ready,
        Err(error) => return unsigned(Err(closed(settings, &error))),
    };
    let until = clock.now().uptime.after(PATIENCE);
    let token = tokio::select! {
        token = credential.token(Freshness::AtHand) => Some(token),
        () = clock.sleep_until(until) => None,
    };
    match token {
        Some(Ok(Token {
            claims, expires_at, ..
        })) => {
            let token_ends = expires_at.filter(|_| !credential.is_renewable());
            Lane {
                identity: Identity::of(settings, claims, token_ends),
                way: Ok(Arc::new(handles(connection, credential))),
                profile,
            }
        }
        Some(Err(error)) if !error.is_transient() => {
            unsigned(Err(closed(settings, &ServiceError::Auth(error))))
        }
        // The run asks again, as it does in its midst.
        Some(Err(_)) | None => unsigned(Ok(Arc::new(handles(connection, credential)))),
    }
}

/// Says why a tenant's rows will not be attempted.
fn closed(settings: &ConnectionSettings, error: &ServiceError) -> Arc<str> {
    let hint = error.hint();
    let profile = settings.profile.as_deref().unwrap_or_default();
    tracing::warn!(profile, %error, "no sign-in; the rows of this tenant are not attempted");
    match hint {
        Some(hint) => Arc::from(format!("{error}; {hint}")),
        None => Arc::from(error.to_string()),
    }
}
