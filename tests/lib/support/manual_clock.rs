//! A clock that stands still until a test moves it; sleepers wake when it passes their time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use mde_cancel::clock::Clock;
use mde_cancel::model::{BootId, Moment, Uptime};

#[derive(Clone, Debug)]
pub(crate) struct ManualClock {
    now: Arc<Mutex<Moment>>,
    moved: tokio::sync::watch::Sender<()>,
}

impl ManualClock {
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            now: Arc::new(Mutex::new(now)),
            moved: tokio::sync::watch::Sender::new(()),
        }
    }

    pub(crate) fn advance(&self, span: Duration) {
        let mut now = self.lock();
        *now = now.after(span);
        drop(now);
        self.moved.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Moment> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        *self.lock()
    }

    fn boot(&self) -> BootId {
        BootId::new("manual")
    }

    fn sleep_until(&self, until: Uptime) -> BoxFuture<'_, ()> {
        let mut moved = self.moved.subscribe();
        Box::pin(async move {
            while self.now().uptime < until {
                if moved.changed().await.is_err() {
                    return;
                }
            }
        })
    }
}
