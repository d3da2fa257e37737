//! A running sandbox: a cheap handle that serves, and that a test asks what it saw.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::SignedDuration;

use crate::model::{ActionId, Moment, RowContext};

use super::allowance::WorstCount;
use super::log::{CallEnd, LoggedCall, write_line};
use super::mix::Mix;
use super::record::Record;
use super::rule::Faults;
use super::script::Script;
use super::settings::SandboxSettings;
use super::state::{Admitted, LogFile, SavedSandbox, State};
use super::token;
use super::token::Caller;

/// The most tokens whose claims are kept; beyond it all are read anew, which costs time and nothing else.
const CALLERS: usize = 256;

/// An imitation of the service. Clones are the same sandbox.
#[derive(Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

struct Inner {
    settings: SandboxSettings,
    start: Moment,
    // std Mutexes: nothing awaits while one is held.
    state: Mutex<State>,
    callers: Mutex<HashMap<String, Arc<Caller>>>,
    /// Whoever shows no token.
    anonymous: Arc<Caller>,
    file: Mutex<Option<File>>,
    /// Whether there is a file, so that calls need not lock it to find out.
    writes: AtomicBool,
}

impl Sandbox {
    /// Returns a sandbox that nobody can reach yet.
    pub fn new(settings: SandboxSettings) -> Self {
        let start = settings.clock.now();
        let state = State::new(&settings, start);
        Self::with(settings, start, state)
    }

    /// Takes a sandbox up again that was put away with the same settings.
    pub fn restore(settings: SandboxSettings, saved: SavedSandbox) -> Self {
        let start = settings.clock.now();
        let world = Moment {
            wall: saved.epoch,
            ..start
        };
        let mut state = State::new(&settings, world);
        for id in &saved.absent {
            if let Ok(id) = ActionId::parse(id) {
                state.actions.remove(id);
            }
        }
        for record in saved.records {
            state.actions.put(record);
        }
        for (kind, party, arrivals) in saved.arrivals {
            let arrivals = arrivals.into_iter().map(|at| start.uptime_at(at)).collect();
            state.allowances.recount((kind, party.into(), arrivals));
        }
        state.script.recount(&saved.script);
        state.number = saved.number;
        Self::with(settings, start, state)
    }

    fn with(settings: SandboxSettings, start: Moment, state: State) -> Self {
        Self {
            inner: Arc::new(Inner {
                settings,
                start,
                state: Mutex::new(state),
                callers: Mutex::new(HashMap::new()),
                anonymous: Arc::new(Caller::of("")),
                file: Mutex::new(None),
                writes: AtomicBool::new(false),
            }),
        }
    }

    /// Returns all that another process needs to go on with this sandbox. Remembered calls are not among it.
    pub fn save(&self) -> SavedSandbox {
        let now = self.now();
        let mut state = self.state();
        let records = state.actions.all(now.wall);
        let arrivals = state.allowances.counted().into_iter();
        SavedSandbox {
            records: records.into_iter().map(Arc::unwrap_or_clone).collect(),
            absent: state.actions.absent().map(|id| id.to_string()).collect(),
            arrivals: arrivals
                .map(|(kind, party, at)| {
                    let stamps = at.into_iter().map(|at| now.wall_at(at)).collect();
                    (kind, party.to_string(), stamps)
                })
                .collect(),
            script: state.script.counts(),
            number: state.number,
            epoch: state.actions.epoch(),
        }
    }

    /// Adds or replaces an action. Lists show it after the lag of the settings.
    pub fn add(&self, mut record: Record) {
        let lag = self.inner.settings.lists.lag;
        if !lag.is_zero() && record.listed_from.is_none() {
            record.listed_from = SignedDuration::try_from(lag)
                .ok()
                .and_then(|lag| self.now().wall.checked_add(lag).ok());
        }
        self.state().actions.put(record);
    }

    /// Makes the service forget an action.
    pub fn remove(&self, id: ActionId) {
        self.state().actions.remove(id);
    }

    /// Makes up the actions of an input: what a row tells is taken over, the rest is thrown by `mix`. What is there
    /// already stays.
    pub fn seed_from(&self, rows: impl IntoIterator<Item = (ActionId, RowContext)>, mix: &Mix) {
        for (id, context) in rows {
            self.state().actions.seed(id, &context, mix);
        }
    }

    /// Makes up `count` actions and returns the ids, those that the mix leaves out of the service included.
    pub fn generate(&self, count: u64, mix: &Mix) -> Vec<ActionId> {
        let ids: Vec<_> = (0..count).filter_map(|number| mix.id(number)).collect();
        self.seed_from(ids.iter().map(|id| (*id, RowContext::default())), mix);
        ids
    }

    /// Replaces the script of mishaps; all its counts start anew.
    pub fn set_faults(&self, faults: &Faults) {
        self.state().script = Script::new(faults, self.inner.settings.seed);
    }

    /// Returns an action as it stands; one never seen before is made up as for a caller.
    pub fn action(&self, id: ActionId) -> Option<Record> {
        let now = self.now().wall;
        self.state()
            .actions
            .find(id, now)
            .map(|record| Record::clone(record))
    }

    /// Returns how many cancels of an action the service worked on, whether they changed anything or not.
    pub fn cancels_of(&self, id: ActionId) -> u32 {
        self.action(id).map_or(0, |record| record.cancels)
    }

    /// Returns every call remembered, in the order of arrival.
    pub fn log(&self) -> Vec<LoggedCall> {
        self.state().calls.clone()
    }

    /// Returns how many calls a quota refused. A script's own 429s are not among them.
    pub fn violations(&self) -> u64 {
        self.state().allowances.refused
    }

    /// Returns the most calls, refused ones included, that each window of each party has seen.
    pub fn worst_counts(&self) -> Vec<WorstCount> {
        self.state().allowances.worst(&self.inner.settings.quota)
    }

    /// Returns a token as the sign-in hands it out.
    pub fn token(&self, tenant: &str, app: &str) -> String {
        let audience = "https://api.securitycenter.microsoft.com";
        token::issue(
            tenant,
            app,
            audience,
            &self.inner.settings.tokens,
            self.now().wall,
        )
    }

    /// Writes every call that ends from now on to the end of a file, one JSON line each.
    ///
    /// # Errors
    /// Returns the system's error where the file cannot be opened.
    pub fn log_to(&self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        *lock(&self.inner.file) = Some(file);
        self.inner.writes.store(true, Ordering::Release);
        Ok(())
    }

    /// Returns how it was told to behave.
    pub fn settings(&self) -> &SandboxSettings {
        &self.inner.settings
    }

    pub(super) fn now(&self) -> Moment {
        self.inner.settings.clock.now()
    }

    pub(super) fn start(&self) -> Moment {
        self.inner.start
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.inner.state)
    }

    pub(super) fn log_file(&self) -> LogFile {
        if self.inner.writes.load(Ordering::Acquire) {
            LogFile::Written
        } else {
            LogFile::None
        }
    }

    /// Returns the caller of whom nothing is known.
    pub(super) fn anonymous(&self) -> Arc<Caller> {
        self.inner.anonymous.clone()
    }

    /// Returns what a token says about its bearer.
    pub(super) fn caller(&self, token: &str) -> Arc<Caller> {
        let mut callers = lock(&self.inner.callers);
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

    fn complete(&self, logged: &LoggedCall, place: Option<usize>) {
        if let Some(place) = place
            && let Some(call) = self.state().calls.get_mut(place)
        {
            call.status = logged.status;
            call.end = logged.end;
        }
        if self.log_file() == LogFile::Written
            && let Some(file) = lock(&self.inner.file).as_mut()
            && let Err(error) = write_line(file, logged)
        {
            tracing::warn!(%error, "the sandbox's log cannot be written");
        }
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

/// A call's open line in the log: completed by hand, or on drop, when its caller has gone away.
pub(super) struct Ticket<'sandbox> {
    sandbox: &'sandbox Sandbox,
    logged: Option<LoggedCall>,
    place: Option<usize>,
}

impl<'sandbox> Ticket<'sandbox> {
    pub(super) fn new(sandbox: &'sandbox Sandbox, admitted: &mut Admitted) -> Self {
        Self {
            sandbox,
            logged: admitted.logged.take(),
            place: admitted.place,
        }
    }

    pub(super) fn end(mut self, end: CallEnd, status: Option<u16>) {
        self.close(end, status);
    }

    fn close(&mut self, end: CallEnd, status: Option<u16>) {
        if let Some(mut logged) = self.logged.take() {
            logged.end = end;
            logged.status = status;
            self.sandbox.complete(&logged, self.place);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.close(CallEnd::Abandoned, None);
    }
}

/// Locks; a thread that panicked with the lock held has broken nothing that a test could still rely on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
