//! A running sandbox: a cheap handle that serves requests, and that tests can inspect.
//!
//! A call is timestamped, counted, given its fault, applied and logged under one lock ([`Sandbox::admit`]), and only
//! then delayed, spoiled or answered. Its effect therefore doesn't depend on whether the client waits for the response.

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
use super::http_server::Aborted;
use super::oauth::{self, AUDIENCES, Caller};
use super::random;
use super::rate_limit::RateLimiter;
use super::response::{Answer, Body, ErrorAnswer, Rendered};
use super::settings::SandboxSettings;

/// An imitation of the service. Clones share their state.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    settings: SandboxSettings,
    start: Moment,
    // std Mutex: no `.await` while locked.
    state: Mutex<SandboxState>,
    log_file: OnceLock<File>,
    stopping: CancellationToken,
}

struct SandboxState {
    actions: Actions,
    limiter: RateLimiter,
    faults: FaultInjector,
    calls: Vec<LoggedCall>,
    /// How many calls have arrived.
    number: u64,
}

/// A stored sandbox that another process can continue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedSandbox {
    records: Vec<MockAction>,
    absent: Vec<String>,
    /// Endpoint, client, and the arrivals of counted calls.
    arrivals: Vec<(CallKind, String, Vec<Timestamp>)>,
    faults: Vec<(u64, u64)>,
    number: u64,
    /// The time for which actions are generated.
    epoch: Timestamp,
}

pub(super) struct Call {
    pub(super) kind: CallKind,
    pub(super) ids: Vec<ActionId>,
    pub(super) machine: Option<String>,
    pub(super) caller: Caller,
    /// Why it is rejected before it is counted.
    pub(super) refused: Option<ErrorAnswer>,
}

impl Sandbox {
    /// Doesn't serve yet; see [`serve`](super::serve).
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
            log_file: OnceLock::new(),
            stopping: CancellationToken::new(),
        }))
    }

    /// Continues a stored sandbox; `settings` must be the same.
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

    /// Returns the state for [`Sandbox::restore`], without logged calls.
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

    pub fn add(&self, record: MockAction) {
        self.state().actions.put(record);
    }

    /// Adds the actions of an input: values from its rows, the rest generated. Existing actions stay.
    pub fn seed_from(
        &self,
        rows: impl IntoIterator<Item = (ActionId, RowContext)>,
        generator: &Generator,
    ) {
        for (id, context) in rows {
            self.state().actions.seed(id, &context, generator);
        }
    }

    /// Generates `count` actions and returns their ids, including those that the service doesn't know.
    pub fn generate(&self, count: u64, generator: &Generator) -> Vec<ActionId> {
        let ids: Vec<_> = (0..count)
            .filter_map(|number| generator.id(number))
            .collect();
        let rows = ids.iter().map(|id| (*id, RowContext::default()));
        self.seed_from(rows, generator);
        ids
    }

    /// Returns the current state of an action, which is generated if needed.
    pub fn action(&self, id: ActionId) -> Option<MockAction> {
        let now = self.now().wall;
        let mut state = self.state();
        state
            .actions
            .find(id, now)
            .map(|record| MockAction::clone(record))
    }

    /// Returns how many cancels of an action were processed, even without effect.
    pub fn cancels_of(&self, id: ActionId) -> u32 {
        self.action(id).map_or(0, |record| record.cancels)
    }

    /// Returns every call in the order of arrival, if the settings keep them.
    pub fn log(&self) -> Vec<LoggedCall> {
        self.state().calls.clone()
    }

    /// Returns how many calls a quota rejected. A script's own 429s don't count.
    pub fn violations(&self) -> u64 {
        self.state().limiter.refused
    }

    /// Returns a token as issued by the sign-in.
    pub fn token(&self, tenant: &str, app: &str) -> String {
        let settings = &self.0.settings.tokens;
        oauth::issue(tenant, app, AUDIENCES[0], settings, self.now().wall)
    }

    /// Appends every call that ends from now on to a file, as JSON Lines. Only the first file counts.
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

    /// Cancelled when the server stops.
    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    /// Ignores poisoning: a panic while locked leaves nothing inconsistent that a test relies on.
    fn state(&self) -> MutexGuard<'_, SandboxState> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Processes a call from arrival to end; `work` is its effect on the actions.
    pub(super) async fn perform(
        &self,
        mut call: Call,
        work: impl FnOnce(&mut Actions, Timestamp) -> Result<Answer, ErrorAnswer>,
    ) -> Result<Response<Body>, Aborted> {
        let settings = self.settings();
        let (open, injected, answer) = self.admit(&mut call, work);
        let drawn = random::roll(settings.seed, open.call.number, b"latency");
        let delay = settings.latency.draw(drawn).saturating_add(injected.delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let fault = injected.fault.map(|fault| fault.kind);
        let severed = match fault {
            Some(FaultKind::Reset) => Some(Aborted::Reset),
            Some(FaultKind::Close) => Some(Aborted::Closed),
            Some(FaultKind::Hang) => {
                self.stopping().cancelled().await;
                Some(Aborted::Closed)
            }
            _ => None,
        };
        if let Some(severed) = severed {
            open.end(CallEnd::Aborted, None);
            return Err(severed);
        }
        let problem = fault.and_then(|fault| ErrorAnswer::of_fault(fault, call.kind, &call.caller));
        let answer = problem.map_or(answer, Err);
        let mut rendered = Rendered::new(answer, settings.page, open.call.number);
        if let Some(fault) = fault {
            rendered = rendered.with_fault(fault);
        }
        open.end(CallEnd::Answered, Some(rendered.status));
        let slowly = match fault {
            Some(FaultKind::Slow(span)) => Some(span),
            _ => None,
        };
        Ok(rendered.into_response(slowly))
    }

    /// Timestamps a call, decides its result and applies it. The answer is empty if a fault replaces it.
    fn admit(
        &self,
        call: &mut Call,
        work: impl FnOnce(&mut Actions, Timestamp) -> Result<Answer, ErrorAnswer>,
    ) -> (OpenCall<'_>, Injected, Result<Answer, ErrorAnswer>) {
        let settings = self.settings();
        let mut state = self.state();
        let state = &mut *state;
        // Under the lock, so that timestamps are in the order of counting.
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
            Err(problem)
        } else if let Err(refusal) = state.limiter.admit(client, call.kind, now.uptime, windows) {
            over_quota = true;
            Err(ErrorAnswer::over_quota(refusal))
        } else {
            injected = state.faults.inject(call.kind, &call.ids, since_start);
            let fault = injected.fault.as_ref();
            if fault.is_some_and(|fault| !fault.is_applied) {
                Ok(Answer::Empty)
            } else if settings.tokens.strict && !call.caller.may(call.kind) {
                Err(ErrorAnswer::forbidden(call.kind, &call.caller))
            } else {
                work(&mut state.actions, now.wall)
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

/// A call that has not ended. Dropping it, as when the client disconnects, completes it in the log.
struct OpenCall<'sandbox> {
    sandbox: &'sandbox Sandbox,
    call: LoggedCall,
    /// Its position in the kept calls, from 1.
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
