//! Performs one effect on the real handles. Decides and retries nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use secrecy::SecretString;

use crate::api::{Filter, ListQuery, MAX_TOP, ReadClient, SendClient};
use crate::auth::{CachePolicy, Credential};
use crate::model::{
    ActionType, CancelReply, Destination, LaneId, ReadPage, ReadReply, Reply, ReplyKind, Request,
    Selection,
};
use crate::store::{Record, RunKey, ScopeUse, Store, StoreError};

use super::core::{CallTicket, Effect, Event, ReadQuery, RunEvent};
use super::ingest::RunCounts;

/// The clients of one tenant.
#[derive(Debug)]
pub struct LaneClients {
    sender: SendClient,
    reads: Arc<ReadClients>,
}

/// A lane's clients, or why there are none, for the report.
pub type LaneClientResult = Result<Arc<LaneClients>, Arc<str>>;

pub(super) struct Handles {
    /// The ledger, and the journal of a run.
    pub(super) store: Store,
    /// The journal of a preview.
    pub(super) scratch: Option<Store>,
    pub(super) run: RunKey,
    /// One per lane.
    pub(super) lanes: Vec<Result<Arc<ReadClients>, Arc<str>>>,
    /// One per lane; empty if nothing may be sent.
    pub(super) senders: Vec<LaneClientResult>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the frequent one, and each is moved once"
)]
pub(super) enum EffectOutput {
    Event(Event),
    /// The records are on disk; tell the observers.
    Written(LaneId, Vec<RunEvent>),
    /// A requested page, or the service's refusal.
    Page(Result<ReadPage, String>),
    /// Rows of the input are on disk.
    Appended {
        shares: RunCounts,
        rest: Rest,
    },
    /// The window usage of some lanes.
    Used(BTreeMap<usize, ScopeUse>),
}

/// What follows the rows of an input that were read so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    More,
    Nothing,
    /// The reading thread died.
    BrokenOff,
}

/// An effect in progress. Fails only if the journal fails.
pub(super) type RunningEffect = BoxFuture<'static, Result<EffectOutput, StoreError>>;

impl LaneClients {
    pub fn new(sender: SendClient, reader: ReadClient, credential: Credential) -> Self {
        Self {
            sender,
            reads: Arc::new(ReadClients::new(reader, credential)),
        }
    }

    /// Returns the half that can only read; both halves share one token.
    pub fn reads(&self) -> Arc<ReadClients> {
        Arc::clone(&self.reads)
    }

    async fn send(&self, request: &Request, comment: &str) -> CancelReply {
        match self.reads.held_token() {
            Some(token) => self.sender.send(&token, request, comment).await,
            None => never_left(),
        }
    }
}

impl Handles {
    pub(super) fn journal(&self) -> &Store {
        self.scratch.as_ref().unwrap_or(&self.store)
    }

    fn reader(&self, lane: LaneId) -> Result<Arc<ReadClients>, Arc<str>> {
        let reader = self.lanes.get(usize::from(lane.0)).cloned();
        reader.unwrap_or_else(|| Err("there is no such tenant in this run".into()))
    }

    fn read<F>(
        &self,
        lane: LaneId,
        call_token: CallTicket,
        ask: impl FnOnce(Arc<ReadClients>) -> F + Send + 'static,
    ) -> RunningEffect
    where
        F: Future<Output = ReadReply> + Send,
    {
        let (store, reader) = (self.store.clone(), self.reader(lane));
        Box::pin(async move {
            store.check()?;
            let reply = match reader {
                Ok(reader) => ask(reader).await,
                Err(_) => never_left(),
            };
            Ok(EffectOutput::Event(Event::Read {
                lane,
                call_token,
                reply,
            }))
        })
    }

    /// Starts an effect. Journal writes are queued before this returns, so effects keep their order. A call leaves only
    /// while the journal can be written: its slot may come from the last commit before a failed one.
    pub(super) fn run_effect(&self, effect: Effect) -> RunningEffect {
        let store = self.store.clone();
        match effect {
            Effect::Load { lane, from, limit } => {
                let rows = self.journal().load_rows(self.run, lane, from, limit);
                Box::pin(async move {
                    let rows = rows.await?;
                    Ok(EffectOutput::Event(Event::Loaded { lane, rows }))
                })
            }
            Effect::SlotRequest {
                lane,
                call_token,
                take,
            } => {
                let taken = store.take(take);
                Box::pin(async move {
                    let taken = taken.await?;
                    Ok(EffectOutput::Event(Event::SlotAnswer {
                        lane,
                        call_token,
                        taken,
                    }))
                })
            }
            Effect::Write {
                lane,
                records,
                tell,
            } => {
                let (about_calls, about_rows) = match &self.scratch {
                    Some(_) => records.into_iter().partition(Record::is_about_calls),
                    None => (records, Vec::new()),
                };
                let written = store.write(about_calls);
                let noted = self.scratch.as_ref().map(|it| it.write(about_rows));
                Box::pin(async move {
                    written.await?;
                    if let Some(noted) = noted {
                        noted.await?;
                    }
                    Ok(EffectOutput::Written(lane, tell))
                })
            }
            Effect::Post {
                lane,
                call_token,
                request,
                comment,
            } => {
                let handles = self.senders.get(usize::from(lane.0)).cloned();
                Box::pin(async move {
                    store.check()?;
                    let reply = match handles {
                        Some(Ok(handles)) => handles.send(&request, &comment).await,
                        _ => never_left(),
                    };
                    Ok(EffectOutput::Event(Event::Replied {
                        lane,
                        call_token,
                        reply,
                    }))
                })
            }
            Effect::Read {
                lane,
                call_token,
                destination,
                query,
            } => self.read(lane, call_token, move |reader| async move {
                reader.look(destination, &query).await
            }),
            Effect::ReadPage {
                lane,
                call_token,
                query,
            } => self.read(lane, call_token, move |reader| async move {
                reader.page(&query).await
            }),
            Effect::Token { lane, refresh } => {
                let reader = self.reader(lane);
                Box::pin(async move {
                    let event = match reader {
                        Ok(reader) => reader.sign_in(lane, refresh).await,
                        Err(reason) => Event::TokenRefused {
                            lane,
                            reason: reason.to_string(),
                        },
                    };
                    Ok(EffectOutput::Event(event))
                })
            }
            Effect::Respond { page, .. } => Box::pin(async { Ok(EffectOutput::Page(page)) }),
            Effect::Tell { lane, event } => {
                Box::pin(async move { Ok(EffectOutput::Written(lane, vec![event])) })
            }
        }
    }
}

/// A client that can only read, and a credential.
#[derive(Debug)]
pub struct ReadClients {
    reader: ReadClient,
    credential: Credential,
    // A std Mutex: nothing awaits while it is locked.
    token: Mutex<Option<SecretString>>,
}

impl ReadClients {
    pub fn new(reader: ReadClient, credential: Credential) -> Self {
        Self {
            reader,
            credential,
            token: Mutex::new(None),
        }
    }

    fn held_token(&self) -> Option<SecretString> {
        self.token
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Gets a token and keeps it for later calls. Reports its expiry only if the token can be renewed; one that can't
    /// is used until the service refuses it.
    async fn sign_in(&self, lane: LaneId, refresh: bool) -> Event {
        let freshness = if refresh {
            CachePolicy::New
        } else {
            CachePolicy::Cached
        };
        match self.credential.token(freshness).await {
            Ok(token) => {
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.secret);
                let expires_at = token.expires_at;
                let expires_at = expires_at.filter(|_| self.credential.is_renewable());
                Event::TokenReady { lane, expires_at }
            }
            Err(error) => {
                let reason = match error.hint() {
                    Some(hint) => format!("{error}; {hint}"),
                    None => error.to_string(),
                };
                if error.is_transient() {
                    tracing::warn!(%error, "sign-in failed; retrying");
                    Event::TokenUnavailable { lane, reason }
                } else {
                    Event::TokenRefused { lane, reason }
                }
            }
        }
    }

    /// Reads these records with one call.
    async fn look(&self, destination: Destination, query: &ReadQuery) -> ReadReply {
        let Some(token) = self.held_token() else {
            return never_left();
        };
        match query {
            ReadQuery::Actions(ids) => match (destination, ids.as_slice()) {
                (Destination::Get, &[id]) => self.reader.action(&token, id).await,
                _ => self.reader.actions(&token, ids).await,
            },
            ReadQuery::Machines(machines) => {
                let selection = Selection {
                    types: vec![
                        ActionType::Isolate,
                        ActionType::Unisolate,
                        ActionType::RestrictCodeExecution,
                        ActionType::UnrestrictCodeExecution,
                    ],
                    machine_ids: machines.clone(),
                    ..Selection::default()
                };
                let query = ListQuery {
                    filter: Filter::of(&selection).text(),
                    top: MAX_TOP,
                    skip: 0,
                };
                self.reader.list(&token, &query).await
            }
        }
    }

    async fn page(&self, query: &ListQuery) -> ReadReply {
        match self.held_token() {
            None => never_left(),
            Some(token) => self.reader.list(&token, query).await,
        }
    }
}

/// The reply to a call without a token or client. The core never makes one, but if it does, this must not count as an
/// answer.
fn never_left<T>() -> Reply<T> {
    Reply {
        kind: ReplyKind::NotSent("no token is held".to_owned()),
        http_status: None,
        error: None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};
    use crate::model::{ActionId, Destination};
    use crate::store::{Process, StoreOptions};

    fn failing(dir: &Path) -> Handles {
        let clock = SystemClock::new();
        let process = Process {
            id: uuid::Uuid::new_v4(),
            pid: 1,
            host: "here".to_owned(),
            boot: clock.boot(),
        };
        let options = StoreOptions {
            fail_at_commit: Some(1),
            ..StoreOptions::default()
        };
        Handles {
            store: Store::open_with(dir, process, clock.now(), options).unwrap(),
            scratch: None,
            run: RunKey(1),
            lanes: Vec::new(),
            senders: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_call_that_was_allowed_before_a_commit_failed_does_not_leave_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let handles = failing(folder.path());
        let (lane, call_token) = (LaneId(0), CallTicket(1));
        let id = ActionId::from_bytes([1; 16]).unwrap();
        let calls = || {
            let post = Effect::Post {
                lane,
                call_token,
                request: Request::Cancel(id),
                comment: "x".into(),
            };
            let read = Effect::Read {
                lane,
                call_token,
                destination: Destination::Get,
                query: ReadQuery::Actions(vec![id]),
            };
            [post, read].map(|effect| handles.run_effect(effect))
        };
        for allowed in calls() {
            assert!(allowed.await.is_ok());
        }
        let begun = calls();
        // The answer is dropped, as if the runner hadn't got to it yet.
        drop(handles.store.write(Vec::new()));
        handles.store.write(Vec::new()).await.unwrap_err();
        for call in begun {
            assert!(call.await.is_err());
        }
    }
}
