//! Reads outside a run's core: for a preview, for lists, and for selections from the tenant.
//!
//! Each call takes its slot in the ledger's list scope as a run's reads do, so that all of them together keep to one
//! allowance. It waits for slots and cooldowns by itself, tries transient faults again with a growing pause, and asks
//! for a new token once. It holds no canceller, so whoever has nothing else cannot send a cancel.
//!
//! One call at a time: the allowance of reads is used up long before a second one would gain anything.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use crate::api::{ListQuery, MAX_BATCH};
use crate::auth::{AuthError, Freshness};
use crate::clock::Clock;
use crate::model::{
    ActionId, Destination, MachineAction, Moment, ReadPage, ReadReply, Reply, ReplyKind,
    RetryAfter, Throttle, Uptime,
};
use crate::quota::{Pacer, Window, Windows};
use crate::retry::{
    Absence, MAX_STRANGE_404S, RetrySettings, backoff, judge_absence, judge_throttle, wait_of,
};
use crate::store::{CallId, Purpose, Record, ScopeKey, Store, StoreError, Take, Taken};

use super::core::{GateSettings, reasons};
use super::effects::ReadHandles;

/// A wait for the allowance that is longer than this is said, so that nobody takes it for a hang.
const SAID: Duration = Duration::from_secs(2);

/// What reads need to know from the start.
#[derive(Clone, Debug)]
pub struct ReadsSettings {
    /// The gate of lists: scope, windows and pace count here; one call at a time leaves, and the ledger knows cooldowns.
    pub gate: GateSettings,
    pub retry: RetrySettings,
    /// How long a service may answer nothing but transient faults, or nothing at all, before we give up.
    pub patience: Duration,
    /// The seed of all chance.
    pub seed: u64,
}

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum ReadsError {
    /// The permission is missing (403).
    #[error(
        "reading machine actions is forbidden ({what}); grant the app Machine.Read.All, or the signed-in user Machine.Read"
    )]
    Forbidden { what: String },
    /// The service read the call and refused it for good.
    #[error("the service refused the read: {what}")]
    Refused { what: String },
    /// There is no token.
    #[error("sign-in failed")]
    SignIn(#[source] AuthError),
    /// The token is not taken, and a fresh one is not either (401).
    #[error("the service refused a fresh token, too ({what})")]
    TokenRefused { what: String },
    /// DNS says so, and nothing was ever heard from the service.
    #[error("the host name {host} does not exist")]
    NoSuchHost { host: String },
    /// Whatever answers there is not the service, which was never heard.
    #[error("there is no such address: {address} answers 404 without the service's own error body")]
    NoSuchAddress { address: String },
    /// Nothing but transient faults for too long.
    #[error("no answer to a read for {} s; last: {what}", .lasted.as_secs())]
    GaveUp {
        what: String,
        lasted: Duration,
        /// Whether anything was ever heard from the service.
        was_heard: bool,
    },
    /// The ledger.
    #[error("reads stopped because the ledger cannot be written")]
    Store(#[from] StoreError),
}

/// Reads records through the shared ledger, one call at a time.
pub struct Reads {
    handles: Arc<ReadHandles>,
    store: Store,
    clock: Arc<dyn Clock>,
    scope: ScopeKey,
    windows: Arc<Windows>,
    pacer: Pacer,
    retry: RetrySettings,
    patience: Duration,
    rng: SmallRng,
    /// At most so many ids in one call; halved where the service does not take that many.
    batch: usize,
    /// Pages of so many records are known to be given out.
    known_size: usize,
    /// 429s since the last good answer: the exponent of our own backoff.
    throttles: u32,
    /// Transient faults since the last answer.
    faults: u32,
    /// Since when calls have brought no proper answer.
    silent_since: Option<Uptime>,
    /// Whether anything was ever heard from the service.
    has_answered: bool,
    /// 404s that are not the service's own, before anything else that it said about a call.
    strange_404s: Option<u32>,
    /// Whether a token was refused and nothing good came since.
    token_doubted: bool,
    calls: u64,
}

/// What one call asks for.
#[derive(Clone, Copy)]
enum Wish<'a> {
    Records(&'a [ActionId]),
    Page(&'a ListQuery),
}

impl Reads {
    /// Makes one of what a lane can read with; sends nothing.
    pub fn new(
        handles: Arc<ReadHandles>,
        store: Store,
        clock: Arc<dyn Clock>,
        settings: ReadsSettings,
    ) -> Self {
        Self {
            handles,
            store,
            clock,
            scope: settings.gate.scope,
            pacer: Pacer::new(settings.gate.pace, settings.gate.learned),
            windows: settings.gate.windows,
            retry: settings.retry,
            patience: settings.patience,
            rng: SmallRng::seed_from_u64(settings.seed),
            batch: MAX_BATCH,
            known_size: 0,
            throttles: 0,
            faults: 0,
            silent_since: None,
            has_answered: false,
            strange_404s: Some(0),
            token_doubted: false,
            calls: 0,
        }
    }

    /// Returns for how long a state that was read may be relied on.
    pub(super) fn stale_after(&self) -> Duration {
        self.retry.stale_after
    }

    /// Returns how many calls left so far, whatever came back.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Reads the records of these actions, with a call for each hundred of them. What the service does not know is
    /// missing from the answer, whose order is the service's.
    ///
    /// A list may lag behind by seconds, so what is missing should be looked for once more, later.
    ///
    /// # Errors
    /// Returns why the rest cannot be read; what was read before is lost with it, so that whoever wants to keep it asks
    /// for a hundred at a time.
    ///
    /// # Cancel safety
    /// Safe: a call on the wire counts as one that may still be delivered, and holds its slot accordingly.
    pub async fn by_ids(&mut self, ids: &[ActionId]) -> Result<Vec<MachineAction>, ReadsError> {
        let mut found: Vec<MachineAction> = Vec::new();
        let mut left: VecDeque<ActionId> = ids.iter().copied().collect();
        while !left.is_empty() {
            let some: Vec<_> = left.drain(..left.len().min(self.batch)).collect();
            let reply = self.call(Wish::Records(&some)).await?;
            let ReplyKind::Answer(page) = reply.kind else {
                if some.len() == 1 {
                    return Err(refused(&reply));
                }
                // The service does not take a filter of this length.
                self.batch = some.len() / 2;
                some.into_iter().rev().for_each(|id| left.push_front(id));
                continue;
            };
            let absence = judge_absence(&page, some.len(), self.known_size);
            let known: HashSet<_> = page.records.iter().map(|record| record.id).collect();
            let absent = some.iter().copied().filter(|id| !known.contains(id));
            if known.len() == some.len() {
                self.known_size = self.known_size.max(some.len());
            }
            if absence == Absence::Unrelated {
                self.batch = (some.len() / 2).max(1);
            }
            if absence != Absence::Proven && some.len() > 1 {
                absent.rev().for_each(|id| left.push_front(id));
            }
            found.extend(page.records);
        }
        Ok(found)
    }

    /// Reads one page of the tenant's actions.
    ///
    /// # Errors
    /// Returns why the page cannot be read; a filter that the service does not take is [`ReadsError::Refused`].
    ///
    /// # Cancel safety
    /// As [`Reads::by_ids`].
    pub async fn page(&mut self, query: &ListQuery) -> Result<ReadPage, ReadsError> {
        let reply = self.call(Wish::Page(query)).await?;
        match reply.kind {
            ReplyKind::Answer(page) => Ok(page),
            _ => Err(refused(&reply)),
        }
    }

    /// Asks until there is an answer that another try would not change: records, a 404, or a refusal.
    async fn call(&mut self, wish: Wish<'_>) -> Result<ReadReply, ReadsError> {
        loop {
            if self.handles.held_token().is_none() {
                self.sign_in(Freshness::AtHand).await?;
            }
            let reply = self.send(wish).await?;
            let was_heard = self.has_answered;
            self.has_answered |= reply.is_response();
            if reply.is_proper() || matches!(reply.kind, ReplyKind::Throttled(_)) {
                self.faults = 0;
                self.silent_since = None;
            }
            if reply.is_proper() {
                self.strange_404s = None;
            }
            match &reply.kind {
                ReplyKind::Answer(_) | ReplyKind::NotFound | ReplyKind::Refused => {
                    self.throttles = 0;
                    self.token_doubted = false;
                    return Ok(reply);
                }
                ReplyKind::NoSuchHost(host) if !was_heard => {
                    return Err(ReadsError::NoSuchHost { host: host.clone() });
                }
                ReplyKind::NoSuchAddress(address) => {
                    if let Some(count) = &mut self.strange_404s {
                        *count += 1;
                        if *count >= MAX_STRANGE_404S {
                            let address = address.clone();
                            return Err(ReadsError::NoSuchAddress { address });
                        }
                    }
                    // A filter of many ids may be too long for whatever stands in front of the service.
                    if matches!(wish, Wish::Records(ids) if ids.len() > 1) {
                        return Ok(reply);
                    }
                    self.pause(None, &reply).await?;
                }
                ReplyKind::Forbidden => {
                    return Err(ReadsError::Forbidden {
                        what: reasons::of_reply(&reply),
                    });
                }
                ReplyKind::Unauthorized if self.token_doubted => {
                    return Err(ReadsError::TokenRefused {
                        what: reasons::of_reply(&reply),
                    });
                }
                ReplyKind::Unauthorized => {
                    self.token_doubted = true;
                    self.sign_in(Freshness::New).await?;
                }
                // The next slot is not given before the cooldown is over.
                ReplyKind::Throttled(_) => {}
                ReplyKind::NotApplied(wait) | ReplyKind::ServerFault(wait) => {
                    self.pause(*wait, &reply).await?;
                }
                ReplyKind::Garbled
                | ReplyKind::Redirected
                | ReplyKind::TimedOut
                | ReplyKind::Broken(_)
                | ReplyKind::NoSuchHost(_)
                | ReplyKind::NeverLeft(_) => self.pause(None, &reply).await?,
            }
        }
    }

    async fn sign_in(&self, freshness: Freshness) -> Result<(), ReadsError> {
        let signed_in = self.handles.sign_in(freshness).await;
        signed_in.map(drop).map_err(ReadsError::SignIn)
    }

    /// Takes a slot, sends one call and writes down how it ended.
    async fn send(&mut self, wish: Wish<'_>) -> Result<ReadReply, ReadsError> {
        let mut call = self.slot().await?;
        if self.handles.is_token_over(self.clock.now().wall) {
            // It ended while the slot was waited for, which may have taken an hour.
            self.store.write(vec![Record::Withdrawn { call }]).await?;
            self.sign_in(Freshness::New).await?;
            call = self.slot().await?;
        }
        let since = *self.silent_since.get_or_insert(self.clock.now().uptime);
        // A service that was never heard is given up in time, whatever a call's own time-out is.
        let until = if self.has_answered {
            Uptime::MAX
        } else {
            since.after(self.patience)
        };
        let reply = self.ask(call, wish, until).await;
        let now = self.clock.now();
        let records = match &reply.kind {
            ReplyKind::NeverLeft(_) | ReplyKind::NoSuchHost(_) => {
                vec![Record::Withdrawn { call }]
            }
            kind => {
                self.calls += 1;
                let grace = match kind {
                    ReplyKind::TimedOut => self.retry.timeout_grace,
                    _ => Duration::ZERO,
                };
                let mut records = vec![replied(call, now, grace)];
                if let ReplyKind::Throttled(throttle) = kind {
                    self.throttled(now, throttle, &mut records);
                } else if reply.is_proper() {
                    self.pacer.passed();
                }
                records.extend(self.new_pace(now));
                records
            }
        };
        self.store.write(records).await?;
        Ok(reply)
    }

    async fn ask(&self, call: CallId, wish: Wish<'_>, until: Uptime) -> ReadReply {
        let mut on_wire = OnWire {
            call: Some(call),
            store: &self.store,
            clock: &*self.clock,
            grace: self.retry.timeout_grace,
        };
        let asking = async {
            match wish {
                Wish::Records(ids) => self.handles.look(Destination::List, ids).await,
                Wish::Page(query) => self.handles.page(query).await,
            }
        };
        let reply = tokio::select! {
            biased;
            reply = asking => reply,
            () = self.clock.sleep_until(until) => Reply {
                kind: ReplyKind::TimedOut,
                http_status: None,
                error: None,
            },
        };
        on_wire.call = None;
        reply
    }

    /// Waits for a slot of the list scope.
    async fn slot(&mut self) -> Result<CallId, ReadsError> {
        loop {
            let now = self.clock.now();
            if let Err(until) = self.pacer.check(now.uptime) {
                self.clock.sleep_until(until).await;
                continue;
            }
            let take = Take {
                scope: self.scope,
                windows: Arc::clone(&self.windows),
                now,
                purpose: Purpose::Read,
            };
            let (why, until) = match self.store.take(take).await? {
                Taken::Go(call) => return Ok(call),
                Taken::NotBefore(until) => ("the allowance of reads is used up", until),
                Taken::CoolingDown(until) => ("the service told reads to wait", until),
                Taken::InProgress(_) => {
                    let soon = now.uptime.after(Duration::from_secs(1));
                    ("another run is working on the action", soon)
                }
            };
            if until.since(now.uptime) >= SAID {
                tracing::warn!(until = %format_args!("{:.0}", now.wall_at(until)), "{why}");
            }
            self.clock.sleep_until(until).await;
        }
    }

    /// Takes in a 429: the cooldown that all of the scope keep to, and the allowance that it may name.
    fn throttled(&mut self, now: Moment, throttle: &Throttle, records: &mut Vec<Record>) {
        self.throttles = self.throttles.saturating_add(1);
        let own = backoff(&self.retry, self.throttles, &mut self.rng);
        let named = throttle.allowance;
        let counted = named.and_then(|(limit, period)| Window::named(limit, period));
        let believed = Throttle {
            allowance: named.filter(|_| counted.is_some()),
            ..*throttle
        };
        let verdict = judge_throttle(now, &believed, own, &self.retry);
        if verdict.hint_ignored {
            tracing::warn!("a Retry-After of over 24 hours is ignored");
        }
        let is_adopted = counted.is_some_and(|window| {
            records.push(Record::Limit {
                scope: self.scope,
                window,
                at: now.wall,
            });
            self.adopt(window)
        });
        // A smaller allowance explains the refusal, and the windows keep to it from now on.
        if !is_adopted {
            self.pacer.refused(&self.windows, counted);
        }
        let until = verdict.until.max(now.uptime.after(self.pacer.rest()));
        records.push(Record::Cooldown {
            scope: self.scope,
            until,
            wall: now.wall_at(until),
            cause: reasons::of_throttle(throttle),
        });
    }

    /// Takes an allowance over where it is smaller than ours. Returns whether it is.
    fn adopt(&mut self, window: Window) -> bool {
        let mut windows = (*self.windows).clone();
        let is_smaller = windows.adopt(window.limit, window.period);
        if is_smaller {
            tracing::warn!(%window, "the service named a smaller allowance for reads, and it is kept");
            self.windows = Arc::new(windows);
        }
        is_smaller
    }

    /// Returns what is to be written down where the learned pace has changed.
    fn new_pace(&mut self, now: Moment) -> Option<Record> {
        self.pacer.has_learned().then(|| Record::Pace {
            scope: self.scope,
            pace: self.pacer.learned(),
            at: now.wall,
        })
    }

    /// Waits before the next try after a transient fault, or gives up.
    async fn pause(
        &mut self,
        asked: Option<RetryAfter>,
        reply: &ReadReply,
    ) -> Result<(), ReadsError> {
        let now = self.clock.now();
        let since = *self.silent_since.get_or_insert(now.uptime);
        self.faults = self.faults.saturating_add(1);
        let lasted = now.uptime.since(since);
        let what = reasons::of_fault(reply);
        // The last try leaves soon enough to be answered in time.
        let last = self.patience / 12 * 11;
        if lasted >= last {
            let was_heard = self.has_answered;
            return Err(ReadsError::GaveUp {
                what,
                lasted,
                was_heard,
            });
        }
        if self.faults == 1 {
            tracing::warn!(%what, patience = ?self.patience, "a read brought no answer; it is tried again");
        } else {
            tracing::info!(%what, "a read brought no answer; it is tried again");
        }
        let asked = asked
            .map(|hint| wait_of(now, hint))
            .filter(|&wait| wait <= self.retry.hint_bound)
            .unwrap_or_default();
        let own = backoff(&self.retry, self.faults, &mut self.rng);
        let wait = own.min(last.saturating_sub(lasted)).max(asked);
        self.clock.sleep_until(now.uptime.after(wait)).await;
        Ok(())
    }
}

/// A call that is on the wire. Dropped before its answer was read, it is written down as one that we ended.
struct OnWire<'a> {
    call: Option<CallId>,
    store: &'a Store,
    clock: &'a dyn Clock,
    grace: Duration,
}

impl Drop for OnWire<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            // It is written whether anybody waits for it or not.
            drop(
                self.store
                    .write(vec![replied(call, self.clock.now(), self.grace)]),
            );
        }
    }
}

fn replied(call: CallId, now: Moment, grace: Duration) -> Record {
    Record::Replied {
        call,
        at: now,
        ended: now.uptime.after(grace),
        row: None,
    }
}

fn refused(reply: &ReadReply) -> ReadsError {
    ReadsError::Refused {
        what: reasons::of_reply(reply),
    }
}
