//! `doctor`: checks everything that a run needs, and says how to fix what fails.
//!
//! It makes the same calls as a run, with the same clients, so what works here works there. It has nothing that could
//! send a cancel. Its one read is counted in the ledger.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::api::{Connection, ListQuery, Proxy, ReadClient, load_roots};
use crate::auth::{CachePolicy, Claims, Credential, Token};
use crate::cli::args::{CredentialMethod, DoctorArgs, TableFormat, word_of};
use crate::cli::failure::{Failure, RunExit};
use crate::cli::format_time::{Span, clock_time, error_chain, local_zone, visible};
use crate::cli::hint::Hint;
use crate::cli::settings::{CALL_TIMEOUT, ConnectionSettings, Context};
use crate::cli::terminal::{Color, OutputStyle, Style, print};
use crate::clock::{Clock, SystemClock};
use crate::engine::core::StopReason;
use crate::engine::{NeededPermission, Permissions, ReadClients};
use crate::model::{ActionType, Destination, FollowUp};
use crate::quota::Windows;
use crate::retry::RetrySettings;
use crate::store::Store;

use super::prepared_run::open_store;
use super::service_clients::{CallerIdentity, connect, credential};
use super::service_reads::{reads, unread};

/// Entra and the service tolerate five minutes; less than this isn't worth a warning.
const SKEW: SignedDuration = SignedDuration::from_mins(1);

/// A token that can't be renewed and expires sooner than this may expire during a run.
const SHORT_LIFE: SignedDuration = SignedDuration::from_hours(1);

/// How long to wait for a record.
const PATIENCE: Duration = Duration::from_secs(15);

const TYPES: [ActionType; 9] = [
    ActionType::Isolate,
    ActionType::Unisolate,
    ActionType::RestrictCodeExecution,
    ActionType::UnrestrictCodeExecution,
    ActionType::RunAntiVirusScan,
    ActionType::CollectInvestigationPackage,
    ActionType::StopAndQuarantineFile,
    ActionType::LiveResponse,
    ActionType::Offboard,
];

const NAME: usize = 10;

/// The name of the state folder's check.
const STATE: &str = "state";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum CheckStatus {
    Ok,
    /// A run can work without it.
    Warn,
    /// Nothing can be sent.
    Fail,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    status: CheckStatus,
    text: String,
    fix: Option<String>,
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn ok(&mut self, name: &'static str, text: impl Into<String>) {
        self.add(name, CheckStatus::Ok, text.into(), None);
    }

    fn warn(&mut self, name: &'static str, text: impl Into<String>, fix: &str) {
        self.add(name, CheckStatus::Warn, text.into(), Some(fix.to_owned()));
    }

    fn fail(&mut self, name: &'static str, text: impl Into<String>, fix: Option<&str>) {
        let fix = fix.map(str::to_owned);
        self.add(name, CheckStatus::Fail, text.into(), fix);
    }

    /// Adds a failed check, with the first hint as its fix.
    fn failure(&mut self, name: &'static str, failure: Failure) {
        let mut hints = failure.hints.into_iter();
        let fix = hints.find_map(|hint| match hint {
            Hint::Text(text) => Some(text),
            Hint::Command(..) => None,
        });
        let text = error_chain(failure.error.as_ref());
        self.add(name, CheckStatus::Fail, text, fix);
    }

    fn add(&mut self, name: &'static str, status: CheckStatus, text: String, fix: Option<String>) {
        self.0.push(Check {
            name,
            status,
            text,
            fix,
        });
    }

    fn exit(&self) -> RunExit {
        let failed = self
            .0
            .iter()
            .filter(|check| check.status == CheckStatus::Fail);
        let exits = failed.map(|check| match check.name {
            STATE => RunExit::State,
            _ => RunExit::Unreachable,
        });
        exits.fold(RunExit::Done, RunExit::worst)
    }

    fn table(&self, color: Color) -> String {
        let mut out = String::new();
        for check in &self.0 {
            let (style, word) = match check.status {
                CheckStatus::Ok => (Style::Good, "ok  "),
                CheckStatus::Warn => (Style::Warning, "warn"),
                CheckStatus::Fail => (Style::Error, "fail"),
            };
            let word = color.apply(style, word);
            let mut lines = check.text.lines();
            let first = visible(lines.next().unwrap_or_default());
            // Writing to a string can't fail.
            writeln!(out, "{word}  {:NAME$}  {first}", check.name).unwrap_or_default();
            let fix = check.fix.as_ref().map(|fix| format!("fix: {fix}"));
            for line in lines.chain(fix.as_deref()) {
                writeln!(out, "{:6}{:NAME$}  {}", "", "", visible(line)).unwrap_or_default();
            }
        }
        out
    }

    fn json(&self) -> String {
        let json = serde_json::to_string_pretty(&self.0);
        json.unwrap_or_default() + "\n"
    }
}

/// Checks everything and prints the result.
pub async fn doctor(
    args: &DoctorArgs,
    context: Context,
    style: OutputStyle,
) -> Result<RunExit, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut checks = Checks::default();
    check_config(&context, &mut checks);
    let store = check_state(&context, &*clock, &mut checks);
    match context.into_connection() {
        Ok(connection) => {
            let mut doctor = Doctor {
                connection: &connection,
                clock,
                checks,
            };
            doctor.check_service(store.as_ref()).await;
            checks = doctor.checks;
        }
        Err(failure) => checks.failure("sign-in", failure),
    }
    let text = match args.format {
        TableFormat::Table => checks.table(style.color),
        TableFormat::Json => checks.json(),
    };
    print(&text).map_err(Failure::of_output)?;
    Ok(checks.exit())
}

fn check_config(context: &Context, checks: &mut Checks) {
    let text = match &context.config {
        None => "no config file".to_owned(),
        Some((path, None)) => format!("{}, no profile", path.display()),
        Some((path, Some(profile))) => format!("{}, profile {profile}", path.display()),
    };
    checks.ok("config", text);
}

/// Opens the state folder and reads its file through; opening alone looks at the first pages.
fn check_state(context: &Context, clock: &dyn Clock, checks: &mut Checks) -> Option<Store> {
    let grace = RetrySettings::default().timeout_grace;
    let opened = context.state_dir().and_then(|dir| {
        let store = open_store(&dir, grace, clock)?;
        Ok((dir, store))
    });
    let (dir, store) = match opened {
        Ok(opened) => opened,
        Err(failure) => {
            checks.failure(STATE, failure);
            return None;
        }
    };
    let damage = match store.reader().and_then(|reader| reader.damage()) {
        Ok(None) => {
            let text = format!("{}: writable, integrity check passed", dir.display());
            checks.ok(STATE, text);
            return Some(store);
        }
        Ok(Some(damage)) => format!("damaged: {damage}"),
        Err(error) => error_chain(&error),
    };
    let fix = "move the folder away or choose another with --state-dir, and wait an hour: what was used of the quota was \
               counted in it; then run the inputs of unfinished runs again, for cancelling an action twice has no effect";
    checks.fail(STATE, format!("{}: {damage}", dir.display()), Some(fix));
    None
}

/// Checks sign-in and service.
struct Doctor<'run> {
    connection: &'run ConnectionSettings,
    clock: Arc<dyn Clock>,
    checks: Checks,
}

impl Doctor<'_> {
    async fn check_service(&mut self, store: Option<&Store>) {
        self.check_choice();
        let Some(opened) = self.open_connection() else {
            return;
        };
        let is_reached = self.check_network(&opened).await;
        let Some((credential, token)) = self.check_sign_in().await else {
            return;
        };
        if is_reached {
            self.check_read(opened, credential, &token, store).await;
        } else {
            self.checks
                .warn("read", "not tried", "reach the service first");
        }
        self.check_permissions(&token);
    }

    fn check_choice(&mut self) {
        let choice = &self.connection.choice;
        let mut text = format!("{} ({})", word_of(choice.method), choice.reason);
        for (method, why_not) in &choice.skipped {
            // Writing to a string can't fail.
            write!(text, "\nnot {}: {why_not}", word_of(*method)).unwrap_or_default();
        }
        self.checks.ok("credential", text);
    }

    fn open_connection(&mut self) -> Option<Connection> {
        let connection = self.connection;
        if connection.api_url.scheme() == "https"
            && let Ok(roots) = load_roots(connection.ca_file.as_deref())
            && !roots.warnings.is_empty()
        {
            let text = format!(
                "{} of this machine's certificates, {} public ones and {} of --ca-file are trusted\n{}",
                roots.of_machine,
                roots.public,
                roots.of_ca_file,
                roots.warnings.join("\n")
            );
            self.checks.warn(
                "trust",
                text,
                "check --ca-file, SSL_CERT_FILE and SSL_CERT_DIR",
            );
        }
        match connect(connection, CALL_TIMEOUT) {
            Ok(opened) => Some(opened),
            Err(error) => {
                self.checks.failure("network", error);
                None
            }
        }
    }

    /// Calls the service without a token. Any answer will do, even a refusal. Returns whether there was one.
    async fn check_network(&mut self, opened: &Connection) -> bool {
        let url = &self.connection.api_url;
        let host = url.host_str().unwrap_or_default();
        let proxy = (url.scheme() == "https").then(|| Proxy::of(url)).flatten();
        let through = proxy
            .as_ref()
            .map(|proxy| format!(" through proxy {}", proxy.name()))
            .unwrap_or_default();
        let asked = self.clock.now().uptime;
        match opened.reach().await {
            Ok(date) => {
                let took = self.clock.now().uptime.since(asked).as_millis();
                self.checks
                    .ok("network", format!("{host} reached in {took} ms{through}"));
                self.check_clock(date);
                true
            }
            Err(what) => {
                let mut text = format!("{host} not reached{through}: {what}");
                let mut fix = "check the network, the proxy, --api-url and --ca-file";
                if let Some(proxy) = &proxy
                    && let Some(refusal) = proxy.refusal(url).await
                {
                    // Writing to a string can't fail.
                    write!(text, "\nthe proxy says: {refusal}").unwrap_or_default();
                    fix = "give the proxy a name and a password in HTTPS_PROXY (http://NAME:PASSWORD@HOST:PORT), or have \
                           it let this host through";
                }
                self.checks.fail("network", text, Some(fix));
                false
            }
        }
    }

    fn check_clock(&mut self, date: Option<Timestamp>) {
        let Some(date) = date else { return };
        let skew = self.clock.now().wall.duration_since(date);
        if skew.abs() <= SKEW {
            return self.checks.ok("clock", "as the service's");
        }
        let side = if skew.is_positive() {
            "ahead of"
        } else {
            "behind"
        };
        let text = format!("{} {side} the service", Span(skew.unsigned_abs()));
        self.checks.warn(
            "clock",
            text,
            "synchronize the clock; sign-in fails beyond 5 min",
        );
    }

    async fn check_sign_in(&mut self) -> Option<(Credential, Token)> {
        let signed_in = async {
            let credential = credential(self.connection, CALL_TIMEOUT, &self.clock)?;
            let token = credential.token(CachePolicy::Cached).await?;
            Ok::<_, Failure>((credential, token))
        };
        let (credential, token) = match signed_in.await {
            Ok(signed_in) => signed_in,
            Err(error) => {
                self.checks.failure("sign-in", error);
                return None;
            }
        };
        let now = self.clock.now().wall;
        let claims = token.claims.clone().unwrap_or_default();
        let named = |name: &Option<String>| name.clone().unwrap_or_else(|| "unknown".to_owned());
        let name = claims.name.as_ref().map(|name| format!(" ({name})"));
        let who = if token.claims.is_some() {
            let (tenant, app) = (named(&claims.tenant), named(&claims.app));
            format!("tenant {tenant}, app {app}{}", name.unwrap_or_default())
        } else {
            "the token doesn't say its tenant and app".to_owned()
        };
        let zone = local_zone();
        let valid = match token.expires_at {
            None => "token expiry unknown".to_owned(),
            Some(end) => {
                let word = if end <= now {
                    "expired at"
                } else {
                    "valid until"
                };
                format!("token {word} {}", clock_time(end, now, &zone))
            }
        };
        if token.expires_at.is_some_and(|end| end <= now) && !credential.is_renewable() {
            let fix = "get a new token, or use a method that renews it: --credential azure-cli";
            self.checks
                .fail("sign-in", format!("{who}, {valid}"), Some(fix));
            return None;
        }
        let is_short = token
            .expires_at
            .is_some_and(|end| end.duration_since(now) < SHORT_LIFE);
        if credential.is_renewable() {
            self.checks
                .ok("sign-in", format!("{who}, {valid}, renewable"));
        } else if is_short {
            let fix = "for longer runs, use a method that renews it: --credential azure-cli";
            self.checks
                .warn("sign-in", format!("{who}, {valid}, not renewable"), fix);
        } else {
            self.checks
                .ok("sign-in", format!("{who}, {valid}, not renewable"));
        }
        Some((credential, token))
    }

    /// Reads one record as a run does.
    async fn check_read(
        &mut self,
        opened: Connection,
        credential: Credential,
        token: &Token,
        store: Option<&Store>,
    ) {
        let Some(store) = store else {
            let fix = "fix the state folder first: calls are counted there";
            return self.checks.warn("read", "not tried", fix);
        };
        let identity = CallerIdentity::of(self.connection, Some(token.clone()), None);
        let scope = identity.scope(Destination::List);
        let handles = Arc::new(ReadClients::new(ReadClient::new(opened), credential));
        let windows = Windows::half_of_documented();
        let retry = RetrySettings::default();
        let newest = ListQuery {
            filter: None,
            top: NonZeroU32::MIN,
            skip: 0,
        };
        let read = async {
            let mut reads = reads(handles, &scope, store, &self.clock, windows, retry).await?;
            reads.page(&newest).await.map_err(unread)
        };
        let until = self.clock.now().uptime.after(PATIENCE);
        let read = tokio::select! {
            read = read => Some(read),
            () = self.clock.sleep_until(until) => None,
        };
        match read {
            Some(Ok(_)) => self.checks.ok("read", "may read action states"),
            Some(Err(failure)) => self.check_refusal(failure, token),
            None => self.checks.warn(
                "read",
                format!(
                    "no record came within {}: the service fails or asks to wait, or no quota is left",
                    Span(PATIENCE)
                ),
                "see `mde-cancel quota`, or wait, as a run does",
            ),
        }
    }

    /// Explains why no record could be read.
    fn check_refusal(&mut self, failure: Failure, token: &Token) {
        let claims = token.claims.clone().unwrap_or_default();
        let audience = claims.foreign_audience(&self.connection.api_scope);
        let is_told = |why: &str| {
            audience.is_none_or(|audience| why.contains(audience.trim_start_matches("https://")))
        };
        let Some(reason) = failure.error.downcast_ref::<StopReason>() else {
            let name = if failure.exit == RunExit::State {
                STATE
            } else {
                "read"
            };
            return self.checks.failure(name, failure);
        };
        match (reason, audience) {
            // The reason already says why this token is refused.
            (StopReason::SignIn(why), _) if is_told(why) => {
                let failure = Failure {
                    error: anyhow!(why.clone()),
                    ..failure
                };
                self.checks.failure("read", failure);
            }
            (StopReason::SignIn(_) | StopReason::ReadingForbidden(_), Some(audience)) => {
                let wanted = self.connection.api_scope.trim_end_matches("/.default");
                let text = format!("the token is for {audience}, but Defender needs {wanted}");
                let fix = "check --cloud, --api-scope and --tenant-id";
                self.checks.fail("read", text, Some(fix));
            }
            (StopReason::ReadingForbidden(_), None) => {
                let grant = self.fix_of_grants("Machine.Read.All", &claims);
                let fix = format!("{grant}; or run with --no-precheck");
                self.checks.fail("read", reason.to_string(), Some(&fix));
            }
            _ => self.checks.failure("read", failure),
        }
    }

    /// Compares the token's claims with what cancels need. Only the service decides.
    fn check_permissions(&mut self, token: &Token) {
        let Some(claims) = &token.claims else {
            let text = "can't tell what this token may cancel: it doesn't say";
            let fix = "check that the app has a permission for each type, such as Machine.Isolate for isolations";
            return self.checks.warn("cancel", text, fix);
        };
        let types: Vec<_> = TYPES.iter().map(|kind| (kind.as_str(), 1)).collect();
        let needed = Permissions::forecast(claims, &types)
            .map(|found| found.cancelling)
            .unwrap_or_default();
        let (held, missing): (Vec<_>, Vec<_>) = needed.iter().partition(|needed| needed.is_held);
        let types = |needed: &NeededPermission| {
            let names: Vec<_> = needed.types.iter().map(|(kind, _)| kind.as_str()).collect();
            names.join(", ")
        };
        let may: Vec<_> = held.iter().copied().map(types).collect();
        if may.is_empty() {
            let text = "the token permits no cancel";
            let fix = self.fix_of_grants("Machine.Isolate (or what fits the type)", claims);
            self.checks.fail("cancel", text, Some(&fix));
        } else if missing.is_empty() {
            self.checks.ok("cancel", "may cancel every type");
        } else {
            let missing: Vec<_> = missing
                .into_iter()
                .map(|needed| format!("{} ({})", needed.name, types(needed)))
                .collect();
            let (may, missing) = (may.join(", "), missing.join(", "));
            self.checks.ok(
                "cancel",
                format!("may cancel {may}\nnot granted: {missing}"),
            );
        }
        self.check_releases(&held);
    }

    /// Says which machines `release` may release, as far as the token's claims tell.
    fn check_releases(&mut self, held: &[&NeededPermission]) {
        let (mut may, mut missing) = (Vec::new(), Vec::new());
        for (need, machines) in [
            (FollowUp::Unisolate, "isolated"),
            (FollowUp::Unrestrict, "restricted"),
        ] {
            let permission = need.permission().unwrap_or_default();
            if held.iter().any(|held| held.name == permission) {
                may.push(machines);
            } else {
                missing.push(format!("{permission} ({machines} machines)"));
            }
        }
        let mut text = match may.as_slice() {
            [] => "may release no machine".to_owned(),
            may => format!("may release {} machines", may.join(" and ")),
        };
        if !missing.is_empty() {
            text = format!("{text}\nnot granted: {}", missing.join(", "));
        }
        self.checks.ok("release", text);
    }

    fn fix_of_grants(&self, permission: &str, claims: &Claims) -> String {
        if self.connection.choice.method != CredentialMethod::ManagedIdentity {
            return format!("grant {permission} to the app, consent, and get a new token");
        }
        let now = self.clock.now().wall;
        let age = claims.issued_at.and_then(|issued| {
            let age = Duration::try_from(now.duration_since(issued)).ok()?;
            Some(format!("; this one was issued {} ago", Span(age)))
        });
        format!(
            "grant {permission} to the managed identity; a new grant can take up to 24 h to show in its tokens{}",
            age.unwrap_or_default()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_is_one_line_with_its_fix_below_and_the_worst_decides() {
        let mut checks = Checks::default();
        checks.ok("config", "no config file");
        checks.warn("clock", "is off\u{1b}[2J", "set it");
        assert_eq!(checks.exit(), RunExit::Done);
        checks.fail("sign-in", "refused\nand why", None);
        assert_eq!(checks.exit(), RunExit::Unreachable);
        checks.fail(STATE, "full", Some("free it"));
        assert_eq!(checks.exit(), RunExit::State);
        insta::assert_snapshot!(checks.table(Color::Plain), @r"
        ok    config      no config file
        warn  clock       is off\u{1b}[2J
                          fix: set it
        fail  sign-in     refused
                          and why
        fail  state       full
                          fix: free it
        ");
        let json: serde_json::Value = serde_json::from_str(&checks.json()).unwrap();
        assert_eq!(json[1]["status"], "warn");
        assert_eq!(json[3]["fix"], "free it");
    }
}
