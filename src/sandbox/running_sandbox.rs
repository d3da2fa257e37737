//! A running sandbox: a cheap handle that serves, and that a test asks what it saw.
//!
//! A call is stamped, counted, given its fault, worked on and logged in one step under one lock ([`Sandbox::admit`]);
//! only then is it delayed, spoilt or answered. So what happened to an action doesn't depend on whether its caller
//! stayed for the answer.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hyper::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::model::{ActionId, Moment, RowContext};
use crate::platform::append_private_file;

use super::actions::{Actions, MockAction};
use super::call_log::{CallEnd, CallKind, LoggedCall};
use super::faults::{FaultInjector, FaultKind, Injected};
use super::generate::Generator;
use super::http_server::Severed;
use super::oauth::{self, AUDIENCES, Caller};
use super::random;
use super::rate_limit::RateLimiter;
use super::response::{Answer, Body, ErrorAnswer, Rendered};
use super::settings::SandboxSettings;

/// The most tokens whose claims are kept; beyond it all are read anew, which costs time and nothing else.
const CALLERS: usize = 256;

/// An imitation of the service. Clones are the same sandbox.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    settings: SandboxSettings,
    start: Moment,
    // std Mutexes: nothing awaits while one is held.
    state: Mutex<SandboxState>,
    callers: Mutex<HashMap<String, Arc<Caller>>>,
    log_file: OnceLock<File>,
    stopping: CancellationToken,
}

/// Everything that changes.
struct SandboxState {
    actions: Actions,
    limiter: RateLimiter,
    faults: FaultInjector,
    calls: Vec<LoggedCall>,
    /// How many calls have arrived.
    number: u64,
}

/// A sandbox as stored, for another process to continue with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedSandbox {
    records: Vec<MockAction>,
    absent: Vec<String>,
    /// Endpoint, client, and when each counted call arrived.
    arrivals: Vec<(CallKind, String, Vec<Timestamp>)>,
    faults: Vec<(u64, u64)>,
    number: u64,
    /// When made-up actions are as their generator says.
    epoch: Timestamp,
}

/// A call on its way.
pub(super) struct Call {
    pub(super) kind: CallKind,
    pub(super) ids: Vec<ActionId>,
    pub(super) machine: Option<String>,
    pub(super) caller: Arc<Caller>,
    /// Why it is turned away before it is even counted.
    pub(super) refused: Option<ErrorAnswer>,
}

impl Sandbox {
    /// Returns a sandbox that nobody can reach yet.
    pub fn new(settings: SandboxSettings) -> Self {
        let epoch = settings.clock.now().wall;
        Self::with_epoch(settings, epoch)
    }

    fn with_epoch(settings: SandboxSettings, epoch: Timestamp) -> Self {
        let state = SandboxState {
            actions: Actions::new(settings.unknown_ids.clone(), epoch),
            limiter: RateLimiter::default(),
            faults: FaultInjector::new(&settings.faults, settings.seed),
            calls: Vec::new(),
            number: 0,
        };
        Self(Arc::new(Inner {
            start: settings.clock.now(),
            settings,
            state: Mutex::new(state),
            callers: Mutex::default(),
            log_file: OnceLock::new(),
            stopping: CancellationToken::new(),
        }))
    }

    /// Continues with a stored sandbox that had the same settings.
    pub fn restore(settings: SandboxSettings, saved: SavedSandbox) -> Self {
        let sandbox = Self::with_epoch(settings, saved.epoch);
        let start = sandbox.0.start;
        let mut state = sandbox.state();
        for id in &saved.absent {
            if let Ok(id) = ActionId::parse(id) {
                state.actions.leave_out(id);
            }
        }
        for record in saved.records {
            state.actions.put(record);
        }
        for (kind, client, arrivals) in saved.arrivals {
            let arrivals = arrivals.into_iter().map(|at| start.uptime_at(at)).collect();
            state.limiter.restore(&client, kind, arrivals);
        }
        state.faults.restore(&saved.faults);
        state.number = saved.number;
        drop(state);
        sandbox
    }

    /// Returns all that another process needs to continue with this sandbox. Logged calls are not included.
    pub fn save(&self) -> SavedSandbox {
        let now = self.now();
        let mut state = self.state();
        let records = state.actions.all(now.wall);
        let arrivals = state.limiter.counted().map(|(client, kind, arrivals)| {
            let stamps = arrivals.iter().map(|at| now.wall_at(*at)).collect();
            (kind, client.to_owned(), stamps)
        });
        SavedSandbox {
            records,
            absent: state.actions.absent().map(ToString::to_string).collect(),
            arrivals: arrivals.collect(),
            faults: state.faults.counts(),
            number: state.number,
            epoch: state.actions.epoch(),
        }
    }

    /// Adds or replaces an action.
    pub fn add(&self, record: MockAction) {
        self.state().actions.put(record);
    }

    /// Makes up the actions of an input: what a row says is taken over, the rest is generated. Existing actions stay.
    pub fn seed_from(
        &self,
        rows: impl IntoIterator<Item = (ActionId, RowContext)>,
        generator: &Generator,
    ) {
        for (id, context) in rows {
            self.state().actions.seed(id, &context, generator);
        }
    }

    /// Makes up `count` actions and returns the ids, those that the generator leaves out of the service included.
    pub fn generate(&self, count: u64, generator: &Generator) -> Vec<ActionId> {
        let ids: Vec<_> = (0..count)
            .filter_map(|number| generator.id(number))
            .collect();
        let rows = ids.iter().map(|id| (*id, RowContext::default()));
        self.seed_from(rows, generator);
        ids
    }

    /// Returns an action in its present state; one never seen before is made up as for a caller.
    pub fn action(&self, id: ActionId) -> Option<MockAction> {
        let now = self.now().wall;
        let mut state = self.state();
        state
            .actions
            .find(id, now)
            .map(|record| MockAction::clone(record))
    }

    /// Returns how many cancels of an action the service worked on, whether they changed anything or not.
    pub fn cancels_of(&self, id: ActionId) -> u32 {
        self.action(id).map_or(0, |record| record.cancels)
    }

    /// Returns every call in the order of arrival, where the settings keep them.
    pub fn log(&self) -> Vec<LoggedCall> {
        self.state().calls.clone()
    }

    /// Returns how many calls a quota refused. A script's own 429s are not among them.
    pub fn violations(&self) -> u64 {
        self.state().limiter.refused
    }

    /// Returns a token as the sign-in hands it out.
    pub fn token(&self, tenant: &str, app: &str) -> String {
        let settings = &self.0.settings.tokens;
        oauth::issue(tenant, app, AUDIENCES[0], settings, self.now().wall)
    }

    /// Writes every call that ends from now on to the end of a file, one JSON line each. Only the first file counts.
    pub fn log_to(&self, path: &Path) -> io::Result<()> {
        let file = append_private_file(path)?;
        self.0.log_file.set(file).ok();
        Ok(())
    }

    pub(super) fn settings(&self) -> &SandboxSettings {
        &self.0.settings
    }

    pub(super) fn now(&self) -> Moment {
        self.0.settings.clock.now()
    }

    /// Is cancelled when the server stops.
    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    fn state(&self) -> MutexGuard<'_, SandboxState> {
        lock(&self.0.state)
    }

    /// Returns what a token says about its bearer.
    pub(super) fn caller(&self, token: &str) -> Arc<Caller> {
        let mut callers = lock(&self.0.callers);
        if let Some(known) = callers.get(token) {
            return known.clone();
        }
        let caller = Arc::new(Caller::of(token));
        if callers.len() >= CALLERS {
            callers.clear();
        }
        callers.insert(token.to_owned(), caller.clone());
        caller
    }

    /// Takes a call from its arrival to its end; `work` is what it asks of the actions.
    pub(super) async fn perform(
        &self,
        mut call: Call,
        work: impl FnOnce(&mut Actions, Timestamp) -> Answer,
    ) -> Result<Response<Body>, Severed> {
        let settings = self.settings();
        let (open, injected, answer) = self.admit(&mut call, work);
        let drawn = random::roll(settings.seed, open.call.number, b"latency");
        let delay = settings.latency.draw(drawn).saturating_add(injected.delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let fault = injected.fault.map(|fault| fault.kind);
        let severed = match fault {
            Some(FaultKind::Reset) => Some(Severed::Reset),
            Some(FaultKind::Close) => Some(Severed::Closed),
            Some(FaultKind::Hang) => {
                self.stopping().cancelled().await;
                Some(Severed::Closed)
            }
            _ => None,
        };
        if let Some(severed) = severed {
            open.end(CallEnd::Severed, None);
            return Err(severed);
        }
        let problem = fault.and_then(|fault| ErrorAnswer::of_fault(fault, call.kind, &call.caller));
        let answer = problem.map(Answer::Error).or(answer);
        let number = open.call.number;
        let mut rendered = Rendered::new(answer.unwrap_or(Answer::Empty), settings.page, number);
        if let Some(fault) = fault {
            rendered = rendered.spoilt_by(fault);
        }
        open.end(CallEnd::Answered, Some(rendered.status));
        let slowly = match fault {
            Some(FaultKind::Slow(span)) => Some(span),
            _ => None,
        };
        Ok(rendered.into_response(slowly))
    }

    /// Stamps a call, decides everything about it, and does its work. There is no answer where a fault takes its place.
    fn admit(
        &self,
        call: &mut Call,
        work: impl FnOnce(&mut Actions, Timestamp) -> Answer,
    ) -> (OpenCall<'_>, Injected, Option<Answer>) {
        let settings = self.settings();
        let mut state = self.state();
        let state = &mut *state;
        // Read under the lock: arrivals are stamped in the order in which they are counted.
        let now = self.now();
        let since_start = now.uptime.since(self.0.start.uptime);
        state.number += 1;
        let changes = state.actions.changes;
        let windows = match call.kind {
            CallKind::Token => &[],
            _ => settings.quota.as_slice(),
        };
        let mut injected = Injected::default();
        let mut over_quota = false;
        let client = &call.caller.client;
        let answer = if let Some(problem) = call.refused.take() {
            Some(Answer::Error(problem))
        } else if let Err(refusal) = state.limiter.admit(client, call.kind, now.uptime, windows) {
            over_quota = true;
            Some(Answer::Error(ErrorAnswer::over_quota(refusal)))
        } else {
            injected = state.faults.inject(call.kind, &call.ids, since_start);
            let is_skipped = injected
                .fault
                .as_ref()
                .is_some_and(|fault| !fault.is_applied);
            if is_skipped {
                None
            } else if settings.tokens.strict && !call.caller.may(call.kind) {
                let problem = ErrorAnswer::forbidden(call.kind, &call.caller);
                Some(Answer::Error(problem))
            } else {
                Some(work(&mut state.actions, now.wall))
            }
        };
        let logged = LoggedCall {
            number: state.number,
            at: now.wall,
            since_start,
            kind: call.kind,
            ids: std::mem::take(&mut call.ids),
            machine: call.machine.take(),
            client: client.to_string(),
            status: None,
            fault: injected.fault.as_ref().map(|fault| fault.text.to_string()),
            over_quota,
            changed: state.actions.changes > changes,
            end: CallEnd::Open,
        };
        if settings.keeps_calls {
            state.calls.push(logged.clone());
        }
        let open = OpenCall {
            sandbox: self,
            place: state.calls.len(),
            call: logged,
        };
        (open, injected, answer)
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

/// A call that has not ended: it is completed in the log, on drop too, when its caller has gone away.
struct OpenCall<'sandbox> {
    sandbox: &'sandbox Sandbox,
    call: LoggedCall,
    /// In the calls that are kept, from 1.
    place: usize,
}

impl OpenCall<'_> {
    fn end(mut self, end: CallEnd, status: Option<u16>) {
        self.call.end = end;
        self.call.status = status;
    }
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        if self.call.end == CallEnd::Open {
            self.call.end = CallEnd::Abandoned;
        }
        let sandbox = &self.sandbox.0;
        if sandbox.settings.keeps_calls
            && let Some(call) = self.sandbox.state().calls.get_mut(self.place - 1)
        {
            call.status = self.call.status;
            call.end = self.call.end;
        }
        if let Some(file) = sandbox.log_file.get()
            && let Err(error) = self.call.write(file)
        {
            tracing::warn!(%error, "the sandbox's log cannot be written");
        }
    }
}

/// Locks; a thread that panicked with the lock held has broken nothing that a test could still rely on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
