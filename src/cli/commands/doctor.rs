//! `doctor`: looks at everything that a run needs, from the settings to the permissions, and says what mends what fails.
//!
//! It cancels nothing: it holds no object that could. The one read that it makes is counted in the ledger like any
//! other. What the token's claims say is shown and believed as far as advice goes.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{ApiSettings, Connection, Proxies, Reader};
use crate::auth::{Claims, Credential, Freshness, Token};
use crate::cli::args::connection::CredentialChoice;
use crate::cli::failure::{Failure, RunExit};
use crate::cli::settings::{ConnectionSettings, DoctorSettings};
use crate::cli::terminal::print;
use crate::clock::{Clock, SystemClock};
use crate::model::{Destination, ReadReply, ReplyKind, Scope};
use crate::retry::RetrySettings;
use crate::store::{CallId, Purpose, Record, Store, StoreError, Take, Taken};

use super::carry::open_store;
use super::checkup::{Checkup, Finding};
use super::ending::Look;
use super::service_error::ServiceError;
use super::sign_in::{credential, trust, user_agent};

const STATE_FOLDER: &str = "state folder";

const STATE_FILE: &str = "state file";

/// A clock that is further off than this is worth a word; Entra and the service forgive five minutes.
const SKEW: i64 = 60;

/// A ready token that ends sooner than this ends before most runs do.
const SHORT_LIFE: i64 = 3600;

/// Looks at everything and prints one line for each thing.
///
/// # Errors
/// Returns that standard output cannot be written.
pub async fn doctor(settings: DoctorSettings, look: Look) -> Result<RunExit, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut checkup = Checkup::default();
    config(&settings, &mut checkup);
    let store = state(&settings, &*clock, &mut checkup);
    match &settings.connection {
        Ok(connection) => {
            chosen(connection, &mut checkup);
            proxy(&settings, &mut checkup);
            calls(
                &settings,
                connection,
                (&clock, store.as_ref()),
                &mut checkup,
            )
            .await;
        }
        Err(error) => {
            let mend = error.hints().into_iter().next();
            checkup.fail("sign-in", error.to_string(), mend);
        }
    }
    print(&checkup.render(look.paint)).map_err(Failure::of_output)?;
    Ok(checkup.exit())
}

fn config(settings: &DoctorSettings, checkup: &mut Checkup) {
    let text = match &settings.config {
        None => "no config file; flags and environment say it all".to_owned(),
        Some((path, None)) => format!("{}, no profile", path.display()),
        Some((path, Some(profile))) => format!("{}, profile {profile}", path.display()),
    };
    checkup.ok("config", text);
}

/// Opens the state folder, which proves that it can be.
fn state(settings: &DoctorSettings, clock: &dyn Clock, checkup: &mut Checkup) -> Option<Store> {
    let dir = match &settings.state_dir {
        Ok(dir) => dir,
        Err(error) => {
            let mend = error.hints().into_iter().next();
            checkup.state_fails(STATE_FOLDER, error.to_string(), mend);
            return None;
        }
    };
    match open_store(dir, RetrySettings::default().timeout_grace, clock) {
        Ok(store) => {
            checkup.ok(STATE_FOLDER, dir.display().to_string());
            Some(store).filter(|store| file(store, checkup))
        }
        Err(failure) => {
            let mend = "free it, or name another folder with --state-dir";
            let text = format!("{:#}", failure.error);
            checkup.state_fails(STATE_FOLDER, text, Some(mend.to_owned()));
            None
        }
    }
}

/// Reads the state file through, and returns whether it is whole: opening it looks at its first pages alone.
fn file(store: &Store, checkup: &mut Checkup) -> bool {
    let wrong = match store.reader().and_then(|reader| reader.damage()) {
        Ok(None) => {
            checkup.ok(STATE_FILE, "read through, and whole".to_owned());
            return true;
        }
        Ok(Some(damage)) => format!("damaged: {damage}"),
        Err(error) => full(&error),
    };
    let mend = "put the folder aside, or name another with --state-dir, and wait an hour, for what was spent of the quota \
                stands in it; then give the inputs of unfinished runs to new ones, for cancelling an action twice has no \
                further effect";
    checkup.state_fails(STATE_FILE, wrong, Some(mend.to_owned()));
    false
}

fn chosen(connection: &ConnectionSettings, checkup: &mut Checkup) {
    let choice = &connection.choice;
    let mut text = format!("{}, chosen by {}", choice.means.as_str(), choice.because);
    for (means, why_not) in &choice.passed_over {
        // Writing to a string cannot fail.
        write!(text, "\nnot {}: {why_not}", means.as_str()).unwrap_or_default();
    }
    checkup.ok("credential", text);
    let api = connection.api_url.host_str().unwrap_or_default();
    let login = connection.login_url.host_str().unwrap_or_default();
    let scope = &connection.api_scope;
    checkup.ok(
        "cloud",
        format!(
            "{}: {api}, sign-in at {login} for {scope}",
            connection.cloud
        ),
    );
}

fn proxy(settings: &DoctorSettings, checkup: &mut Checkup) {
    let text = match &settings.proxy {
        Some(proxy) => format!("https goes through {proxy}, but for what NO_PROXY names"),
        None => "none in the environment".to_owned(),
    };
    checkup.ok("proxy", text);
}

/// Signs in and makes the one read.
async fn calls(
    settings: &DoctorSettings,
    connection: &ConnectionSettings,
    (clock, store): (&Arc<dyn Clock>, Option<&Store>),
    checkup: &mut Checkup,
) {
    let opened = Connection::open(ApiSettings {
        base: connection.api_url.clone(),
        timeout: settings.timeout,
        user_agent: user_agent(),
        trust: trust(connection),
        proxies: Proxies::FromEnvironment,
    });
    let reader = match opened {
        Ok(opened) => Reader::new(opened),
        Err(error) => {
            let mend = "check --ca-file and --api-url".to_owned();
            return checkup.fail("TLS trust", full(&error), Some(mend));
        }
    };
    let trusted = match &connection.ca_file {
        None => "the machine's certificates and the public roots".to_owned(),
        Some(path) => format!(
            "the machine's certificates, the public roots and {}",
            path.display()
        ),
    };
    checkup.ok("TLS trust", trusted);
    let credential = match credential(connection, settings.timeout, clock) {
        Ok(credential) => credential,
        Err(error) => {
            let mend = match &error {
                ServiceError::Auth(error) => error.hint().map(str::to_owned),
                _ => None,
            };
            return checkup.fail("sign-in", full(&error), mend);
        }
    };
    let token = match credential.token(Freshness::AtHand).await {
        Ok(token) => token,
        Err(error) => {
            let mend = error.hint().map(str::to_owned);
            return checkup.fail("sign-in", full(&error), mend);
        }
    };
    let now = clock.now().wall;
    signed_in((&credential, &token), now, checkup);
    claims(connection, &token, checkup);
    let Some(store) = store else {
        let text = "not asked: without a state folder the call could not be counted";
        return checkup.warn("service", text.to_owned(), None);
    };
    let (scope, counted) = (scope(connection, &token), (store, &**clock));
    match read(settings, scope, (&reader, &token), counted).await {
        Ok(probed) => heard(connection, probed, clock.now().wall, checkup),
        Err(error) => checkup.state_fails(STATE_FOLDER, full(&error), None),
    }
}

fn signed_in((credential, token): (&Credential, &Token), now: Timestamp, checkup: &mut Checkup) {
    let Some(end) = token.expires_at else {
        return checkup.ok("sign-in", "a token whose end is not known".to_owned());
    };
    let left = end.duration_since(now).as_secs();
    let text = format!("a token that ends at {end:.0}");
    if credential.is_renewable() || left > SHORT_LIFE {
        checkup.ok("sign-in", text);
    } else if left <= 0 {
        let mend = "get a new token".to_owned();
        checkup.warn(
            "sign-in",
            format!("a token that ended at {end:.0}"),
            Some(mend),
        );
    } else {
        let mend = "use a credential that can be renewed for runs over that".to_owned();
        checkup.warn(
            "sign-in",
            format!("{text} and cannot be renewed"),
            Some(mend),
        );
    }
}

/// Says what the token says of itself.
fn claims(connection: &ConnectionSettings, token: &Token, checkup: &mut Checkup) {
    let Some(claims) = &token.claims else {
        let text = "the token is opaque: tenant, app and permissions cannot be told";
        return checkup.warn("claims", text.to_owned(), None);
    };
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "not named".to_owned());
    let name = claims
        .name
        .as_ref()
        .map(|name| format!(", for {name}"))
        .unwrap_or_default();
    checkup.ok(
        "claims",
        format!(
            "tenant {}, app {}{name}",
            or_none(&claims.tenant),
            or_none(&claims.app)
        ),
    );
    let wanted = connection.api_scope.trim_end_matches("/.default");
    let fits = claims.audience.iter().any(|audience| {
        audience.trim_end_matches('/') == wanted.trim_end_matches('/') || audience == SERVICE_APP
    });
    if !fits && !claims.audience.is_empty() {
        let text = format!(
            "the token is for {}, and {wanted} is what the service takes",
            claims.audience.join(", ")
        );
        let mend = if connection.choice.means == CredentialChoice::Token {
            format!("get a token for {}", connection.api_scope)
        } else {
            "check --cloud and --api-scope".to_owned()
        };
        checkup.warn("audience", text, Some(mend));
    }
    permissions(claims, checkup);
}

/// The service's own application, whose id some tokens carry as their audience.
const SERVICE_APP: &str = "fc780465-2017-40d4-a0c5-307022471b92";

/// What each permission lets be cancelled, as the documentation fits them together.
const CANCELS: [(&str, &str); 7] = [
    ("Machine.Isolate", "Isolate, Unisolate"),
    (
        "Machine.RestrictExecution",
        "RestrictCodeExecution, UnrestrictCodeExecution",
    ),
    ("Machine.Scan", "RunAntiVirusScan"),
    ("Machine.CollectForensics", "CollectInvestigationPackage"),
    ("Machine.Offboard", "Offboard"),
    ("Machine.StopAndQuarantine", "StopAndQuarantineFile"),
    ("Machine.LiveResponse", "LiveResponse"),
];

/// Any of these lets records be read.
const READS: [&str; 4] = [
    "Machine.Read.All",
    "Machine.ReadWrite.All",
    "Machine.Read",
    "Machine.ReadWrite",
];

fn permissions(claims: &Claims, checkup: &mut Checkup) {
    let granted: Vec<&str> = claims
        .roles
        .iter()
        .chain(&claims.scopes)
        .map(String::as_str)
        .collect();
    let mut may = Vec::new();
    let mut missing = Vec::new();
    for (permission, types) in CANCELS {
        if granted.contains(&permission) {
            may.push(types);
        } else {
            missing.push(permission);
        }
    }
    if may.is_empty() {
        let text = "the token permits no cancel".to_owned();
        let mend = format!(
            "grant the app the permission of what it is to cancel ({}), consent to it, and sign in anew",
            missing.join(", ")
        );
        checkup.fail("may cancel", text, Some(mend));
    } else if missing.is_empty() {
        checkup.ok("may cancel", "every type".to_owned());
    } else {
        let text = format!("{}; not granted: {}", may.join(", "), missing.join(", "));
        checkup.ok("may cancel", text);
    }
    if granted.iter().any(|permission| READS.contains(permission)) {
        checkup.ok("may read", "states can be read first".to_owned());
    } else {
        let text = "the token permits no read: states cannot be read before and after".to_owned();
        let mend = "grant Machine.Read.All, or run with --no-precheck".to_owned();
        checkup.warn("may read", text, Some(mend));
    }
}

fn scope(connection: &ConnectionSettings, token: &Token) -> Scope {
    let claims = token.claims.clone().unwrap_or_default();
    let or_dash = |named: &Option<String>, claimed: Option<String>| {
        named.clone().or(claimed).unwrap_or_else(|| "-".to_owned())
    };
    Scope {
        cloud: connection.cloud.clone(),
        tenant: or_dash(&connection.tenant, claims.tenant),
        app: or_dash(&connection.client_id, claims.app),
        destination: Destination::List,
    }
}

/// What the one read led to.
enum Probed {
    /// The ledger allows no call now.
    Held,
    /// It was made.
    Made(ReadReply, Option<Timestamp>),
}

async fn read(
    settings: &DoctorSettings,
    scope: Scope,
    (reader, token): (&Reader, &Token),
    (store, clock): (&Store, &dyn Clock),
) -> Result<Probed, StoreError> {
    let known = store.scope(&scope, clock.now()).await?;
    let mut windows = settings.allowance.read.clone();
    for window in known.adopted.as_slice() {
        windows.adopt(window.limit, window.period);
    }
    let take = Take {
        scope: known.key,
        windows: Arc::new(windows),
        now: clock.now(),
        purpose: Purpose::Read,
    };
    let Taken::Go(call) = store.take(take).await? else {
        return Ok(Probed::Held);
    };
    let (reply, time) = reader.probe(&token.secret).await;
    store.write(vec![ended(call, &reply, clock)]).await?;
    Ok(Probed::Made(reply, time))
}

fn ended(call: CallId, reply: &ReadReply, clock: &dyn Clock) -> Record {
    let at = clock.now();
    let grace = match reply.kind {
        ReplyKind::NeverLeft(_) | ReplyKind::NoSuchHost(_) => return Record::Withdrawn { call },
        ReplyKind::TimedOut => RetrySettings::default().timeout_grace,
        _ => Duration::ZERO,
    };
    Record::Replied {
        call,
        at,
        ended: at.uptime.after(grace),
        row: None,
    }
}

/// Says what the service's answer tells.
fn heard(connection: &ConnectionSettings, probed: Probed, now: Timestamp, checkup: &mut Checkup) {
    let (reply, time) = match probed {
        Probed::Held => {
            let text = "not asked: the quota or a cooldown holds every read back now".to_owned();
            let mend = "see `mde-cancel quota`".to_owned();
            return checkup.warn("service", text, Some(mend));
        }
        Probed::Made(reply, time) => (reply, time),
    };
    if let Some(time) = time {
        let skew = now.duration_since(time).as_secs();
        if skew.abs() > SKEW {
            let side = if skew > 0 { "ahead of" } else { "behind" };
            let text = format!(
                "this machine's clock is {} s {side} the service's",
                skew.abs()
            );
            checkup.warn("clock", text, Some("set the clock".to_owned()));
        } else {
            checkup.ok("clock", "as the service's".to_owned());
        }
    }
    let host = connection.api_url.host_str().unwrap_or_default();
    let said = reply
        .error
        .as_ref()
        .map(|error| format!(": {} {}", error.code, error.message))
        .unwrap_or_default();
    let status = reply.http_status.unwrap_or_default();
    let text = format!("{host} answered {status}{said}");
    let finding = match reply.kind {
        ReplyKind::Answer(_) => Finding::Ok(format!("{host} answers, and records can be read")),
        ReplyKind::Forbidden => Finding::Warn(
            text,
            "grant Machine.Read.All, or run with --no-precheck; if every call is forbidden, check --api-scope",
        ),
        ReplyKind::Unauthorized => Finding::Fail(
            text,
            "the service does not take this token: check its end, --cloud and --api-scope",
        ),
        ReplyKind::Throttled(_) => Finding::Warn(
            text,
            "somebody else uses this app's quota; wait, or use another app",
        ),
        ReplyKind::NotFound => {
            Finding::Fail(text, "check --api-url: nothing of the service is there")
        }
        ReplyKind::NoSuchAddress(address) => Finding::Fail(
            format!("{address} answers 404 without the service's own error body"),
            "check --api-url: what answers there is not the service",
        ),
        ReplyKind::NoSuchHost(host) => Finding::Fail(
            format!("the host name {host} does not exist"),
            "check --api-url and the proxy",
        ),
        ReplyKind::Redirected => Finding::Fail(
            text,
            "something stands before the service: check the proxy and --api-url",
        ),
        ReplyKind::Garbled | ReplyKind::Refused => {
            Finding::Fail(text, "check --api-url and what stands between")
        }
        ReplyKind::NotApplied(_) | ReplyKind::ServerFault(_) => Finding::Warn(
            text,
            "the service has trouble; a run waits until it is over",
        ),
        ReplyKind::TimedOut => Finding::Fail(
            format!("{host} gave no answer in time"),
            "check the network, the proxy and MDE_CANCEL_TIMEOUT",
        ),
        ReplyKind::Broken(what) | ReplyKind::NeverLeft(what) => Finding::Fail(
            format!("{host} cannot be reached: {what}"),
            "check the network, the proxy, --api-url and --ca-file",
        ),
    };
    checkup.add("service", finding);
}

/// Returns an error with its causes, each once.
fn full(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let words = deeper.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = deeper.source();
    }
    text
}
