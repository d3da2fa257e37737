//! Performs one effect on the real handles. Decides nothing and retries nothing.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use futures::future::BoxFuture;
use secrecy::SecretString;

use crate::api::Canceller;
use crate::api::Reader;
use crate::auth::Credential;
use crate::auth::Freshness;
use crate::domain::ActionId;
use crate::domain::CancelReply;
use crate::domain::Destination;
use crate::domain::LaneId;
use crate::domain::ReadReply;
use crate::domain::Reply;
use crate::domain::ReplyKind;
use crate::store::RunKey;
use crate::store::Store;
use crate::store::StoreError;

use super::core::Effect;
use super::core::Event;
use super::core::RunEvent;

/// One lane's way to its tenant.
#[derive(Debug)]
pub struct LaneHandles {
    canceller: Canceller,
    reader: Reader,
    credential: Credential,
    // std Mutex: nothing awaits while it is held.
    token: Mutex<Option<SecretString>>,
}

/// What performing an effect led to.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the frequent one, and each is moved once"
)]
pub(super) enum Performed {
    /// Something for the core.
    Event(Event),
    /// Records are on disk; observers may be told.
    Written(Vec<RunEvent>),
    /// Nothing more.
    Nothing,
}

/// An effect under way; fails only where the journal does.
pub(super) type Performing = BoxFuture<'static, Result<Performed, StoreError>>;

impl LaneHandles {
    /// Binds the two halves of the service's client and a way to a token.
    pub fn new(canceller: Canceller, reader: Reader, credential: Credential) -> Self {
        Self {
            canceller,
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

    async fn cancel(&self, id: ActionId, comment: &str) -> CancelReply {
        match self.held_token() {
            Some(token) => self.canceller.cancel(&token, id, comment).await,
            None => never_left(),
        }
    }

    async fn read(&self, destination: Destination, ids: &[ActionId]) -> ReadReply {
        match (self.held_token(), destination, ids) {
            (None, ..) => never_left(),
            (Some(token), Destination::Get, &[id]) => self.reader.action(&token, id).await,
            (Some(token), ..) => self.reader.actions(&token, ids).await,
        }
    }

    async fn sign_in(&self, lane: LaneId, refresh: bool) -> Event {
        let freshness = if refresh {
            Freshness::New
        } else {
            Freshness::AtHand
        };
        match self.credential.token(freshness).await {
            Ok(token) => {
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.secret);
                Event::TokenReady { lane }
            }
            Err(error) => Event::TokenRefused {
                lane,
                reason: error.to_string(),
            },
        }
    }
}

/// A call for which no token is held; the core asks for one before any call, so this is a fault of ours that must
/// still not be taken for an answer.
fn never_left<T>() -> Reply<T> {
    Reply {
        kind: ReplyKind::NeverLeft("no token is held".to_owned()),
        http_status: None,
        error: None,
    }
}

/// Begins an effect. What goes to the journal is on its way before this returns, so that effects keep their order.
pub(super) fn perform(
    effect: Effect,
    store: &Store,
    run: RunKey,
    lanes: &[Arc<LaneHandles>],
) -> Performing {
    let handles = |lane: LaneId| lanes.get(usize::from(lane.0)).map(Arc::clone);
    match effect {
        Effect::Load { lane, after, limit } => {
            let rows = store.load_rows(run, lane, after, limit);
            Box::pin(async move {
                let rows = rows.await?;
                Ok(Performed::Event(Event::Loaded { lane, rows }))
            })
        }
        Effect::Take { lane, ticket, take } => {
            let taken = store.take(take);
            Box::pin(async move {
                let taken = taken.await?;
                Ok(Performed::Event(Event::Taken {
                    lane,
                    ticket,
                    taken,
                }))
            })
        }
        Effect::Write { records, tell } => {
            let written = store.write(records);
            Box::pin(async move {
                written.await?;
                Ok(Performed::Written(tell))
            })
        }
        Effect::Post {
            lane,
            ticket,
            id,
            comment,
        } => {
            let handles = handles(lane);
            Box::pin(async move {
                let Some(handles) = handles else {
                    return Ok(Performed::Nothing);
                };
                let reply = handles.cancel(id, &comment).await;
                Ok(Performed::Event(Event::Replied {
                    lane,
                    ticket,
                    reply,
                }))
            })
        }
        Effect::Read {
            lane,
            ticket,
            destination,
            ids,
        } => {
            let handles = handles(lane);
            Box::pin(async move {
                let Some(handles) = handles else {
                    return Ok(Performed::Nothing);
                };
                let reply = handles.read(destination, &ids).await;
                Ok(Performed::Event(Event::Read {
                    lane,
                    ticket,
                    reply,
                }))
            })
        }
        Effect::Token { lane, refresh } => {
            let handles = handles(lane);
            Box::pin(async move {
                let Some(handles) = handles else {
                    return Ok(Performed::Nothing);
                };
                Ok(Performed::Event(handles.sign_in(lane, refresh).await))
            })
        }
        Effect::Tell(event) => Box::pin(async move { Ok(Performed::Written(vec![event])) }),
    }
}
