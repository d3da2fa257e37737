//! Performs one effect on the real handles. Decides nothing and retries nothing.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use crate::api::{Canceller, ListQuery, Reader};
use crate::auth::{AuthError, Credential, Freshness};
use crate::model::{ActionId, CancelReply, Destination, LaneId, ReadReply, Reply, ReplyKind};
use crate::store::{RunKey, Store, StoreError};

use super::core::{Effect, Event, RunEvent};

/// One lane's way to its tenant.
#[derive(Debug)]
pub struct LaneHandles {
    canceller: Canceller,
    reads: Arc<ReadHandles>,
}

/// A lane's way to its tenant, or why there is none, in words for the report.
pub type LaneWay = Result<Arc<LaneHandles>, Arc<str>>;

/// What performing an effect led to.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the frequent one, and each is moved once"
)]
pub(super) enum EffectOutput {
    /// Something for the core.
    Event(Event),
    /// Records are on disk; observers may be told.
    Written(LaneId, Vec<RunEvent>),
}

/// An effect under way; fails only where the journal does.
pub(super) type RunningEffect = BoxFuture<'static, Result<EffectOutput, StoreError>>;

impl LaneHandles {
    /// Binds the two halves of the service's client and a way to a token.
    pub fn new(canceller: Canceller, reader: Reader, credential: Credential) -> Self {
        Self {
            canceller,
            reads: Arc::new(ReadHandles::new(reader, credential)),
        }
    }

    /// Returns the half that can read and nothing else; both halves share one token.
    pub fn reads(&self) -> Arc<ReadHandles> {
        Arc::clone(&self.reads)
    }

    async fn cancel(&self, id: ActionId, comment: &str) -> CancelReply {
        match self.reads.held_token() {
            Some(token) => self.canceller.cancel(&token, id, comment).await,
            None => never_left(),
        }
    }

    async fn sign_in(&self, lane: LaneId, refresh: bool) -> Event {
        let freshness = if refresh {
            Freshness::New
        } else {
            Freshness::AtHand
        };
        match self.reads.sign_in(freshness).await {
            Ok(expires_at) => Event::TokenReady { lane, expires_at },
            Err(error) => {
                let reason = match error.hint() {
                    Some(hint) => format!("{error}; {hint}"),
                    None => error.to_string(),
                };
                if error.is_transient() {
                    tracing::warn!(%error, "no new token yet; the sign-in is tried again");
                    Event::TokenUnavailable { lane, reason }
                } else {
                    Event::TokenRefused { lane, reason }
                }
            }
        }
    }
}

/// Begins an effect. What goes to the journal is on its way before this returns, so that effects keep their order. A call
/// leaves only while the journal can be written: its slot may be from the last commit before the one that failed.
pub(super) fn run_effect(
    effect: Effect,
    store: &Store,
    run: RunKey,
    lanes: &[LaneWay],
) -> RunningEffect {
    let way = |lane: LaneId| lanes.get(usize::from(lane.0));
    let handles = |lane: LaneId| way(lane).and_then(|way| way.as_ref().ok()).map(Arc::clone);
    match effect {
        Effect::Load { lane, from, limit } => {
            let rows = store.load_rows(run, lane, from, limit);
            Box::pin(async move {
                let rows = rows.await?;
                Ok(EffectOutput::Event(Event::Loaded { lane, rows }))
            })
        }
        Effect::Take {
            lane,
            call_token,
            take,
        } => {
            let taken = store.take(take);
            Box::pin(async move {
                let taken = taken.await?;
                Ok(EffectOutput::Event(Event::Taken {
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
            let written = store.write(records);
            Box::pin(async move {
                written.await?;
                Ok(EffectOutput::Written(lane, tell))
            })
        }
        Effect::Post {
            lane,
            call_token,
            id,
            comment,
        } => {
            let (handles, store) = (handles(lane), store.clone());
            Box::pin(async move {
                store.check()?;
                let reply = match handles {
                    Some(handles) => handles.cancel(id, &comment).await,
                    None => never_left(),
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
            ids,
        } => {
            let (handles, store) = (handles(lane), store.clone());
            Box::pin(async move {
                store.check()?;
                let reply = match handles {
                    Some(handles) => handles.reads.look(destination, &ids).await,
                    None => never_left(),
                };
                Ok(EffectOutput::Event(Event::Read {
                    lane,
                    call_token,
                    reply,
                }))
            })
        }
        Effect::ReadPage {
            lane,
            call_token,
            query,
        } => {
            let (handles, store) = (handles(lane), store.clone());
            Box::pin(async move {
                store.check()?;
                let reply = match handles {
                    Some(handles) => handles.reads.page(&query).await,
                    None => never_left(),
                };
                Ok(EffectOutput::Event(Event::Read {
                    lane,
                    call_token,
                    reply,
                }))
            })
        }
        Effect::Token { lane, refresh } => {
            let way = way(lane).cloned();
            Box::pin(async move {
                let event = match way {
                    None => Event::TokenRefused {
                        lane,
                        reason: "there is no such tenant in this run".to_owned(),
                    },
                    Some(Ok(handles)) => handles.sign_in(lane, refresh).await,
                    Some(Err(reason)) => Event::TokenRefused {
                        lane,
                        reason: reason.to_string(),
                    },
                };
                Ok(EffectOutput::Event(event))
            })
        }
        Effect::Respond { .. } => Box::pin(async { Ok(EffectOutput::Event(Event::Tick)) }),
        Effect::Tell { lane, event } => {
            Box::pin(async move { Ok(EffectOutput::Written(lane, vec![event])) })
        }
    }
}

/// A call that leaves so shortly before the token's end may arrive behind it.
const LAST_MOMENT: SignedDuration = SignedDuration::from_millis(200);

/// A reader with a way to a token. Whoever holds nothing else cannot send a cancel.
#[derive(Debug)]
pub struct ReadHandles {
    reader: Reader,
    credential: Credential,
    // std Mutex: nothing awaits while it is held.
    token: Mutex<Option<HeldToken>>,
}

/// The token at hand.
#[derive(Clone, Debug)]
struct HeldToken {
    secret: SecretString,
    /// When it ends, where that is known and a newer one can be had then.
    ends: Option<Timestamp>,
}

impl ReadHandles {
    /// Binds the reading half of the service's client and a way to a token.
    pub fn new(reader: Reader, credential: Credential) -> Self {
        Self {
            reader,
            credential,
            token: Mutex::new(None),
        }
    }

    /// Returns the token at hand, where there is one.
    pub(super) fn held_token(&self) -> Option<SecretString> {
        self.held().map(|held| held.secret)
    }

    /// Returns whether the token at hand has ended, or will have when a call that leaves now arrives.
    pub(super) fn is_token_over(&self, now: Timestamp) -> bool {
        let end = self.held().and_then(|held| held.ends);
        end.is_some_and(|end| end.duration_since(now) <= LAST_MOMENT)
    }

    fn held(&self) -> Option<HeldToken> {
        self.token
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Gets a token, and keeps it for the calls to come. Returns when it ends, where that is known and a newer one can
    /// be had then; one that cannot be renewed is carried until the service refuses it.
    pub(super) async fn sign_in(
        &self,
        freshness: Freshness,
    ) -> Result<Option<Timestamp>, AuthError> {
        let token = self.credential.token(freshness).await?;
        let ends = token.expires_at.filter(|_| self.credential.is_renewable());
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(HeldToken {
            secret: token.secret,
            ends,
        });
        Ok(ends)
    }

    /// Looks at the records of these actions, with one call.
    pub(super) async fn look(&self, destination: Destination, ids: &[ActionId]) -> ReadReply {
        match (self.held_token(), destination, ids) {
            (None, ..) => never_left(),
            (Some(token), Destination::Get, &[id]) => self.reader.action(&token, id).await,
            (Some(token), ..) => self.reader.actions(&token, ids).await,
        }
    }

    /// Reads one page of the tenant's actions.
    pub(super) async fn page(&self, query: &ListQuery) -> ReadReply {
        match self.held_token() {
            None => never_left(),
            Some(token) => self.reader.list(&token, query).await,
        }
    }
}

/// A call for which no token is held; one is asked for before any call, so this is a fault of ours that must still not
/// be taken for an answer.
pub(super) fn never_left<T>() -> Reply<T> {
    Reply {
        kind: ReplyKind::NeverLeft("no token is held".to_owned()),
        http_status: None,
        error: None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};
    use crate::engine::core::CallToken;
    use crate::model::Destination;
    use crate::store::{Process, StoreOptions};

    fn failing(dir: &Path) -> Store {
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
        Store::open_with(dir, process, clock.now(), options).unwrap()
    }

    #[tokio::test]
    async fn a_call_for_a_tenant_that_is_not_there_is_answered_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let store = failing(folder.path());
        let (lane, call_token) = (LaneId(7), CallToken(1));
        let id = ActionId::from_bytes([1; 16]).unwrap();
        let post = Effect::Post {
            lane,
            call_token,
            id,
            comment: "x".into(),
        };
        let Ok(EffectOutput::Event(Event::Replied { reply, .. })) =
            run_effect(post, &store, RunKey(1), &[]).await
        else {
            panic!("it is not answered");
        };
        assert!(matches!(reply.kind, crate::model::ReplyKind::NeverLeft(_)));
        let token = Effect::Token {
            lane,
            refresh: false,
        };
        let refused = run_effect(token, &store, RunKey(1), &[]).await;
        assert!(matches!(
            refused,
            Ok(EffectOutput::Event(Event::TokenRefused { .. }))
        ));
    }

    #[tokio::test]
    async fn a_call_that_was_allowed_before_a_commit_failed_does_not_leave_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = failing(folder.path());
        let (lane, call_token) = (LaneId(0), CallToken(1));
        let id = ActionId::from_bytes([1; 16]).unwrap();
        let calls = || {
            let post = Effect::Post {
                lane,
                call_token,
                id,
                comment: "x".into(),
            };
            let read = Effect::Read {
                lane,
                call_token,
                destination: Destination::Get,
                ids: vec![id],
            };
            [post, read].map(|effect| run_effect(effect, &store, RunKey(1), &[]))
        };
        for allowed in calls() {
            assert!(allowed.await.is_ok());
        }
        let begun = calls();
        // The answer is dropped, as where the runner has not come to it yet.
        drop(store.write(Vec::new()));
        store.write(Vec::new()).await.unwrap_err();
        for call in begun {
            assert!(call.await.is_err());
        }
    }
}
